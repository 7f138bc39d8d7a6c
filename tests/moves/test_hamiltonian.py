"""Leapfrog steps: reversible, volume preserving, of second order; the Langevin step is one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from aisle_smc import stream
from aisle_smc.moves import MALA, Hamiltonian
from aisle_smc.moves.hamiltonian import leapfrog
from aisle_smc.moves.metropolis import log_density
from aisle_smc.tempering import Temperature
from tests.oracles.paths import Bent, Normal

BRIDGE = Bent()
LEVEL = Temperature(0.6)
ROOT = np.array([[0.8, 0.0], [0.3, 0.6]])


def starts(n, seed=0):
    rng = stream(seed)
    points = BRIDGE.at(BRIDGE.draw(LEVEL.beta, n, rng), scores=True)
    return points, rng.standard_normal((n, 2))


@pytest.mark.parametrize("root", [None, ROOT], ids=["white", "whitened"])
def test_there_and_back(root):
    points, momentum = starts(50)
    size = np.full((50, 1), 0.2)
    there, p = leapfrog(points, momentum, size, 7, LEVEL, BRIDGE, root)
    assert np.abs(there.z - points.z).max() > 0.5
    back, p = leapfrog(there, -p, size, 7, LEVEL, BRIDGE, root)
    np.testing.assert_allclose(back.z, points.z, atol=1e-10)
    np.testing.assert_allclose(-p, momentum, atol=1e-10)
    again, _ = leapfrog(there, p, -size, 7, LEVEL, BRIDGE, root)
    assert np.abs(again.z - points.z).max() > 0.1, "back takes the flip or a step back, not both"


@pytest.mark.parametrize("root", [None, ROOT], ids=["white", "whitened"])
def test_volume_is_preserved(root):
    """The determinant of the map (z, p) to (z', p'), by central differences."""
    points, momentum = starts(20)

    def mapped(z, p):
        there, q = leapfrog(
            BRIDGE.at(z, scores=True), p, np.full((20, 1), 0.3), 5, LEVEL, BRIDGE, root
        )
        return np.concatenate([there.z, q], axis=1)

    h, jacobian = 1e-5, np.empty((20, 4, 4))
    for j in range(4):
        dz, dp = np.zeros(2), np.zeros(2)
        (dz if j < 2 else dp)[j % 2] = h
        up, down = mapped(points.z + dz, momentum + dp), mapped(points.z - dz, momentum - dp)
        jacobian[:, :, j] = (up - down) / (2.0 * h)
    assert np.abs(jacobian[:, 0, 0] - 1.0).max() > 0.1
    np.testing.assert_allclose(np.linalg.det(jacobian), 1.0, atol=1e-6)


def test_energy_errs_by_the_square_of_the_step():
    points, momentum = starts(30)

    def error(steps):
        size = np.full((30, 1), 0.8 / steps)
        there, p = leapfrog(points, momentum, size, steps, LEVEL, BRIDGE, ROOT)
        before = log_density(points, LEVEL) - 0.5 * np.square(momentum).sum(axis=1)
        return log_density(there, LEVEL) - 0.5 * np.square(p).sum(axis=1) - before

    ratio = np.sqrt(np.mean(error(20) ** 2) / np.mean(error(40) ** 2))
    assert 3.8 < ratio < 4.2


@dataclass
class Scripted:
    """A generator that gives what it is told: sizes, then momenta, then accept everything."""

    noise: np.ndarray

    def random(self, shape):
        return np.full(shape, 0.5) if isinstance(shape, tuple) else np.zeros(shape)

    def standard_normal(self, shape):
        return self.noise


def test_langevin_is_one_leapfrog_and_the_textbook_step():
    """The step is in units of d^(-1/6) for one and of d^(-1/4) for the other."""
    points, noise = starts(40)
    step = 0.5
    one = MALA(root=ROOT, step=step).move(points, LEVEL, BRIDGE, Scripted(noise))
    other = Hamiltonian(root=ROOT, step=step * 2.0 ** (1 / 12), leapfrogs=1).move(
        points, LEVEL, BRIDGE, Scripted(noise)
    )
    np.testing.assert_allclose(one.points.z, other.points.z, atol=1e-13)
    eps = step * 2.0 ** (-1 / 6)
    gradient = points.scores[0] + LEVEL.beta * points.scores[1]
    covariance = ROOT @ ROOT.T
    mean = points.z + 0.5 * eps**2 * gradient @ covariance
    np.testing.assert_allclose(one.points.z, mean + eps * noise @ ROOT.T, atol=1e-12)

    # Its acceptance probability is that of the Gaussian proposal.
    there = one.points
    back = there.z + 0.5 * eps**2 * (there.scores[0] + 0.6 * there.scores[1]) @ covariance
    inverse = np.linalg.inv(ROOT)
    forward = -0.5 * np.square((there.z - mean) @ inverse.T).sum(axis=1) / eps**2
    backward = -0.5 * np.square((points.z - back) @ inverse.T).sum(axis=1) / eps**2
    gain = log_density(there, LEVEL) - log_density(points, LEVEL) + backward - forward
    alpha = np.exp(np.minimum(gain, 0.0)).mean()
    assert 0.3 < alpha < 0.999
    assert one.acceptance == pytest.approx(alpha, rel=1e-9)


def test_scores_are_asked_for_once():
    asked = []

    @dataclass(frozen=True)
    class Counting:
        inner: Bent

        def at(self, z, *, scores=False):
            asked.append(scores)
            return self.inner.at(z, scores=scores)

    points, _ = starts(5)
    kernel = Hamiltonian(leapfrogs=3)
    moved = kernel.move(points, LEVEL, Counting(BRIDGE), stream(1))
    assert asked == [True] * 3 == [True] * kernel.calls
    kernel.move(moved.points.without_scores(), LEVEL, Counting(BRIDGE), stream(1))
    assert asked == [True] * 7


def test_trajectories_that_diverge_are_refused():
    points, _ = starts(30)
    for step in (1e3, 1e150, 1e300):
        moved = Hamiltonian(root=ROOT, step=step, leapfrogs=5).move(
            points, LEVEL, BRIDGE, stream(2)
        )
        assert moved.acceptance == 0.0
        np.testing.assert_array_equal(moved.points.z, points.z)


def test_matched_coordinates_hardly_refuse():
    """A white Gaussian in 50 dimensions: the step is in units of d^(-1/4)."""
    bridge = Normal(y=tuple(np.linspace(-1.0, 1.0, 50)), sd=1.0)
    rng = stream(3)
    points = bridge.at(bridge.draw(1.0, 400, rng), scores=True)
    kernel = Hamiltonian(root=np.eye(50) * math.sqrt(0.5), step=1.0, leapfrogs=5)
    assert kernel.move(points, Temperature(1.0), bridge, rng).acceptance > 0.8
    halved = replace(kernel, step=0.5).move(points, Temperature(1.0), bridge, rng)
    assert halved.acceptance > 0.95
