"""Split Hamiltonian steps: exact for the normal part, reversible, volume preserving."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aisle_smc import stream
from aisle_smc.moves import Hamiltonian, SplitHamiltonian, splitting
from aisle_smc.moves.metropolis import log_density
from aisle_smc.moves.splitting import rotated
from aisle_smc.tempering import BASE, Temperature, Threshold
from tests.oracles.paths import Bent, Normal

BRIDGE = Bent()
LEVEL = Temperature(0.6)


def starts(n, seed=0):
    rng = stream(seed)
    points = BRIDGE.at(BRIDGE.draw(LEVEL.beta, n, rng), scores=True)
    return points, rng.standard_normal((n, 2))


def test_there_and_back():
    points, momentum = starts(50)
    angle = np.full((50, 1), 0.2)
    there, p = rotated(points, momentum, angle, 7, LEVEL, BRIDGE)
    assert np.abs(there.z - points.z).max() > 0.5
    for back, q in (
        rotated(there, -p, angle, 7, LEVEL, BRIDGE),
        rotated(there, p, -angle, 7, LEVEL, BRIDGE),
    ):
        np.testing.assert_allclose(back.z, points.z, atol=1e-10)
        np.testing.assert_allclose(np.abs(q), np.abs(momentum), atol=1e-10)
    again, _ = rotated(there, p, angle, 7, LEVEL, BRIDGE)
    assert np.abs(again.z - points.z).max() > 0.1, "without the flip it goes on"


def volume(follow):
    """The determinants of a map of (z, p), by central differences."""
    points, momentum = starts(20)
    h, jacobian = 1e-5, np.empty((20, 4, 4))
    for j in range(4):
        dz, dp = np.zeros(2), np.zeros(2)
        (dz if j < 2 else dp)[j % 2] = h
        up, down = (
            np.concatenate(follow(points.z + sign * dz, momentum + sign * dp), axis=1)
            for sign in (1.0, -1.0)
        )
        jacobian[:, :, j] = (up - down) / (2.0 * h)
    assert np.abs(jacobian[:, 0, 0] - 1.0).max() > 0.03
    return np.linalg.det(jacobian)


def test_volume_is_preserved():
    def follow(z, p):
        start = BRIDGE.at(z, scores=True)
        there, q = rotated(start, p, np.full((20, 1), 0.3), 5, LEVEL, BRIDGE)
        return there.z, q

    np.testing.assert_allclose(volume(follow), 1.0, atol=1e-6)

    def wrong(z, p):
        """Rotate the momentum with the coordinates it has just moved."""
        z = math.cos(0.3) * z + math.sin(0.3) * p
        return z, math.cos(0.3) * p - math.sin(0.3) * z

    assert np.abs(volume(wrong) - 1.0).min() > 0.05


def energy_error(points, momentum, angle, steps, level, bridge):
    size = np.full((points.n, 1), angle)
    there, p = rotated(points, momentum, size, steps, level, bridge)
    before = log_density(points, level) - 0.5 * np.square(momentum).sum(axis=1)
    return log_density(there, level) - 0.5 * np.square(p).sum(axis=1) - before


def test_energy_errs_by_the_square_of_the_angle():
    points, momentum = starts(30)
    coarse = energy_error(points, momentum, 0.8 / 20, 20, LEVEL, BRIDGE)
    fine = energy_error(points, momentum, 0.8 / 40, 40, LEVEL, BRIDGE)
    assert 3.8 < np.sqrt(np.mean(coarse**2) / np.mean(fine**2)) < 4.2


@pytest.mark.parametrize("level", [BASE, Threshold(-math.inf)], ids=str)
def test_the_normal_distribution_is_followed_exactly(level):
    """In 500 dimensions, by a single quarter turn, after which nothing is left of the start."""
    d = 500
    bridge = Normal(y=tuple(np.linspace(-1.0, 2.0, d)))
    points = bridge.at(stream(1).standard_normal((20, d)), scores=True)
    momentum = stream(2).standard_normal((20, d))
    turn = np.full((20, 1), 0.5 * math.pi)
    there, p = rotated(points, momentum, turn, 1, level, bridge)
    np.testing.assert_allclose(there.z, momentum, atol=1e-12)
    np.testing.assert_allclose(p, -points.z, atol=1e-12)
    kernel = SplitHamiltonian(angle=0.5 * math.pi)
    assert kernel.calls == 1
    assert kernel.move(points, level, bridge, stream(3)).acceptance == pytest.approx(1.0, abs=1e-9)
    other = Hamiltonian(step=0.5 * math.pi * d**0.25, leapfrogs=1, fit=False)
    assert other.move(points, level, bridge, stream(3)).acceptance < 0.01


def test_the_kick_leaves_out_the_normal_part(monkeypatch):
    """With the whole force it would count twice, and the error would grow with the dimension."""
    d = 500
    bridge = Normal(y=tuple(np.linspace(-0.1, 0.1, d)), sd=5.0)
    level = Temperature(1.0)
    points = bridge.at(bridge.draw(1.0, 50, stream(1)), scores=True)
    momentum = stream(2).standard_normal((50, d))
    assert np.abs(energy_error(points, momentum, 0.4, 4, level, bridge)).max() < 1.0
    right = splitting.level_score
    monkeypatch.setattr(splitting, "level_score", lambda p, level: right(p, level) - p.z)
    assert np.abs(energy_error(points, momentum, 0.4, 4, level, bridge)).min() > 5.0


def test_trajectories_are_quarter_turns():
    assert [SplitHamiltonian(angle=a).calls for a in (1.5, 0.8, 0.5, 0.1, 1e-3)] == [
        1,
        2,
        3,
        16,
        50,
    ]
    kernel = SplitHamiltonian()
    for _ in range(20):
        kernel = kernel.rescaled(1.0)
    assert kernel.calls == 1
    assert kernel.angle == pytest.approx(0.5 * math.pi)
    assert kernel.rescaled(0.3).calls > 1


def test_trajectories_that_diverge_are_refused():
    bridge = Normal(sd=1e-100)
    points = bridge.at(stream(1).standard_normal((30, 2)), scores=True)
    moved = SplitHamiltonian(angle=0.5).move(points, Temperature(1.0), bridge, stream(2))
    assert moved.acceptance == 0.0
    np.testing.assert_array_equal(moved.points.z, points.z)


def test_scores_are_asked_for_once():
    asked = []

    class Counting:
        def at(self, z, *, scores=False):
            asked.append(scores)
            return BRIDGE.at(z, scores=scores)

    points, _ = starts(5)
    kernel = SplitHamiltonian(angle=0.5)
    moved = kernel.move(points, LEVEL, Counting(), stream(1))
    assert asked == [True] * 3 == [True] * kernel.calls
    kernel.move(moved.points.without_scores(), LEVEL, Counting(), stream(1))
    assert asked == [True] * 7
