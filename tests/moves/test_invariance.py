"""Every kernel leaves every level as it is, and a wrong one does not.

Draws that are exactly distributed must stay so.  Given a frozen kernel the particles are
independent of one another, so that the differences between after and before are independent
replicates whatever their number.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from aisle_smc import stream
from aisle_smc.distributions import Mixture, StudentT
from aisle_smc.moves import (
    MALA,
    CrankNicolson,
    DifferentialEvolution,
    Hamiltonian,
    Independence,
    Moved,
    RandomWalk,
    SplitHamiltonian,
    hamiltonian,
    metropolis,
    reversible,
)
from aisle_smc.tempering import Temperature, Threshold
from tests.oracles.paths import Bent

BRIDGE = Bent(cut=-0.5)
N, STEPS = 8000, 3
LEVELS = [Temperature(0.0), Temperature(0.3), Temperature(1.0), Threshold(-3.0)]


def fitted(kernel):
    """Fit a kernel to a population that is none of the levels."""
    z = BRIDGE.draw(0.6, 400, stream(1))
    return kernel.fitted(z, np.full(400, 1.0 / 400), stream(2))


KERNELS = {
    "random walk": fitted(RandomWalk(scale=0.5)),
    "white random walk": RandomWalk(scale=0.3),
    "differences": fitted(DifferentialEvolution(scale=0.5)),
    "Crank-Nicolson": fitted(CrankNicolson(rho=0.6)),
    "independence": fitted(Independence()),
    "Langevin": fitted(MALA(step=0.9)),
    "Hamiltonian": fitted(Hamiltonian(step=0.9, leapfrogs=4)),
    "white Hamiltonian": Hamiltonian(step=0.4, leapfrogs=3, fit=False),
    "split Hamiltonian": SplitHamiltonian(angle=0.5),
}


def exact(level, n, rng):
    if isinstance(level, Threshold):
        return BRIDGE.draw_above(level.least, n, rng)
    return BRIDGE.draw(level.beta, n, rng)


def features(z):
    a, b = z.T
    return np.stack(
        [a, b, a * a, b * b, a * b, np.tanh(a + b), np.exp(0.5 * a), np.tanh(3.0 * b)], axis=1
    )


def drift(move, level, seed=3):
    """Apply a kernel to exact draws; return z-scores of what it did to their moments."""
    rng = stream(seed)
    points = BRIDGE.at(exact(level, N, rng))
    before = features(points.z)
    for _ in range(STEPS):
        moved = move(points, level, BRIDGE, rng)
        assert moved.acceptance > 0.03
        points = moved.points
    gap = features(points.z) - before
    return gap.mean(axis=0) / (gap.std(axis=0, ddof=1) / math.sqrt(N))


@pytest.mark.parametrize("level", LEVELS, ids=str)
@pytest.mark.parametrize("name", KERNELS)
def test_exact_draws_stay_exact(name, level):
    """Shifts of 0.02 to 0.05 standard deviations would be seen."""
    assert np.abs(drift(KERNELS[name].move, level)).max() < 4


# --- the negative twins --------------------------------------------------------------------------


def uncorrected(points, proposed, log_correction, level, rng):
    return metropolis(points, proposed, 0.0, level, rng)


def upside_down(points, proposed, log_correction, level, rng):
    return metropolis(points, proposed, -log_correction, level, rng)


@pytest.mark.parametrize("level", LEVELS, ids=str)
@pytest.mark.parametrize(
    ("name", "module", "wrong"),
    [
        ("Crank-Nicolson", reversible, uncorrected),
        ("Crank-Nicolson", reversible, upside_down),
        ("independence", reversible, uncorrected),
        ("independence", reversible, upside_down),
        ("Langevin", hamiltonian, uncorrected),
        ("Hamiltonian", hamiltonian, uncorrected),
        ("Hamiltonian", hamiltonian, upside_down),
        ("split Hamiltonian", hamiltonian, uncorrected),
        ("split Hamiltonian", hamiltonian, upside_down),
    ],
)
def test_wrong_corrections_are_seen(name, module, wrong, level, monkeypatch):
    monkeypatch.setattr(module, "metropolis", wrong)
    assert np.abs(drift(KERNELS[name].move, level)).max() > 6


def drifting_walk(points, level, bridge, rng):
    """A random walk whose steps are not centred."""
    z = points.z + 0.15 + 0.4 * rng.standard_normal(points.z.shape)
    return metropolis(points, bridge.at(z), 0.0, level, rng)


def sorted_differences(points, level, bridge, rng):
    """Differences of an archive, always from the lower member to the higher."""
    archive = KERNELS["differences"].archive
    i, j = rng.integers(len(archive), size=(2, points.n))
    gap = 0.4 * (archive[i] - archive[j])
    gap *= np.sign(gap[:, :1])
    return metropolis(points, bridge.at(points.z + gap), 0.0, level, rng)


def crowd(points, level, bridge, rng):
    """Differences of the chains themselves, with the chain that moves among them."""
    i = np.arange(points.n)
    gap = points.z[i // 2 * 2] - points.z[i // 2 * 2 + 1]
    return metropolis(points, bridge.at(points.z + 0.5 * gap), 0.0, level, rng)


@pytest.mark.parametrize("level", LEVELS, ids=str)
@pytest.mark.parametrize("wrong", [drifting_walk, sorted_differences, crowd])
def test_asymmetric_steps_are_seen(wrong, level):
    assert np.abs(drift(wrong, level)).max() > 6


def test_a_neighbouring_level_is_seen():
    def elsewhere(points, level, bridge, rng):
        return KERNELS["random walk"].move(points, Temperature(0.5), bridge, rng)

    assert np.abs(drift(elsewhere, Temperature(0.3))).max() > 6


# --- where the target vanishes -------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS[1:], ids=str)
@pytest.mark.parametrize("name", KERNELS)
def test_no_one_enters_where_the_target_vanishes(name, level):
    rng = stream(4)
    points = BRIDGE.at(exact(level, 500, rng))
    for _ in range(10):
        points = KERNELS[name].move(points, level, BRIDGE, rng).points
    assert np.isfinite(level.log_potential(points.log_ratio)).all()


@pytest.mark.parametrize("level", LEVELS[1:], ids=str)
@pytest.mark.parametrize("name", KERNELS)
def test_chains_get_out_of_where_the_target_vanishes(name, level):
    rng = stream(5)
    points = BRIDGE.at(np.full((100, 2), [-0.8, 0.3]))
    assert np.isneginf(level.log_potential(points.log_ratio)).all()
    for _ in range(100):
        points = KERNELS[name].move(points, level, BRIDGE, rng).points
    assert np.isfinite(level.log_potential(points.log_ratio)).all()


@pytest.mark.parametrize("name", KERNELS)
def test_points_know_their_own_densities(name):
    rng = stream(6)
    level = Temperature(0.3)
    moved = KERNELS[name].move(BRIDGE.at(exact(level, 300, rng), scores=True), level, BRIDGE, rng)
    assert isinstance(moved, Moved)
    again = BRIDGE.at(moved.points.z, scores=True)
    np.testing.assert_array_equal(moved.points.log_base, again.log_base)
    np.testing.assert_array_equal(moved.points.log_ratio, again.log_ratio)
    if moved.points.scores is not None:
        np.testing.assert_array_equal(moved.points.scores, again.scores)


# --- the accept step -----------------------------------------------------------------------------


def test_accepts_with_the_probability_it_says():
    rng = stream(7)
    here, there = BRIDGE.at(np.full((4000, 2), 0.9)), BRIDGE.at(np.full((4000, 2), 1.2))
    level = Temperature(0.3)
    gain = there.log_base + 0.3 * there.log_ratio - here.log_base - 0.3 * here.log_ratio + 0.1
    alpha = min(1.0, math.exp(gain[0]))
    assert 0.2 < alpha < 0.9
    moved = metropolis(here, there, 0.1, level, rng)
    assert moved.acceptance == pytest.approx(alpha, rel=1e-12)
    share = (moved.points.z[:, 0] == 1.2).mean()
    assert abs(share - alpha) < 4 * math.sqrt(alpha * (1 - alpha) / 4000)


def test_from_nowhere_to_nowhere_stays():
    nowhere = BRIDGE.at(np.array([[-1.0, 0.0]]))
    also = BRIDGE.at(np.array([[-2.0, 0.0]]))
    moved = metropolis(nowhere, also, 0.0, Temperature(0.5), stream(8))
    assert moved.acceptance == 0.0
    np.testing.assert_array_equal(moved.points.z, nowhere.z)


# --- fitting -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [DifferentialEvolution(), CrankNicolson(), Independence()])
def test_unfitted_kernels_ask_to_be_fitted(kernel):
    with pytest.raises(ValueError, match="fit the kernel to a population"):
        kernel.move(BRIDGE.at(np.zeros((2, 2))), LEVELS[0], BRIDGE, stream(9))


def test_a_part_of_weight_zero_is_never_chosen():
    parts = tuple(StudentT(location=np.full(2, m), root=np.eye(2), df=5.0) for m in (40.0, 0.0))
    kernel = CrankNicolson(mixture=Mixture(weights=np.array([0.0, 1.0]), parts=parts), rho=1.0)
    z = BRIDGE.draw(1.0, 300, stream(10))
    moved = kernel.move(BRIDGE.at(z), LEVELS[0], BRIDGE, stream(11))
    assert moved.acceptance > 0.1


@pytest.mark.parametrize("name", KERNELS)
def test_steps_follow_their_acceptance(name):
    kernel = KERNELS[name]
    sizes = [
        getattr(kernel.rescaled(a), field)
        for a in (0.0, 0.1, 0.95)
        for field in ("scale", "rho", "step", "angle")
        if hasattr(kernel, field)
    ]
    assert sizes == sorted(sizes)
    assert sizes == [] or sizes[0] < sizes[-1]
    many = kernel
    for _ in range(20):
        many = many.rescaled(1.0)
    assert getattr(many, "rho", 1.0) <= 1.0
