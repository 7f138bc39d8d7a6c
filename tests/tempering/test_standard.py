"""Tempering and its waste-free form: unbiased with plans, stopped and resumed to the same bits."""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from aisle_smc import resume, smc, stream
from aisle_smc.moves import (
    CrankNicolson,
    DifferentialEvolution,
    Hamiltonian,
    Independence,
    Portfolio,
    RandomWalk,
)
from aisle_smc.resampling import multinomial, systematic
from aisle_smc.tempering import (
    Persistent,
    Plan,
    Temperature,
    Tempering,
    Threshold,
    WasteFree,
    replicate,
)
from aisle_smc.tempering.standard import Cloud
from tests.oracles.paths import Bent, Normal, score

BENT = Bent(cut=-0.5)
NORMAL = Normal()
BRIDGES = {"bent, partly vanishing": BENT, "normal": NORMAL}
WALK = Portfolio(kernels=(RandomWalk(scale=0.4),))
# How many runs make the standard error 2 to 6 % at each number of particles.
RUNS = {2: 600, 5: 300, 50: 100}


def plans(bridge, levels=(0.1, 0.4, 1.0), sweeps=1):
    """Fix the levels, and kernels fitted to exact draws of none of them."""
    rng = stream(0)
    z = bridge.draw(0.3, 300, rng)
    portfolio = Portfolio(kernels=(RandomWalk(scale=0.5), DifferentialEvolution(), Hamiltonian()))
    portfolio = portfolio.fitted(z, np.full(300, 1 / 300), rng)
    portfolio = replace(portfolio, merits=(1.0, 1.0, 1.5))
    return tuple(
        Plan(level=Temperature(beta), portfolio=portfolio, sweeps=sweeps) for beta in levels
    )


def planned(bridge, **options):
    return Tempering(bridge=bridge, portfolio=WALK, plans=plans(bridge, **options))


def ratios(stage, n, runs, log_z, *, threshold=0.5, key=0, resampler=systematic):
    """Return estimate over truth for independent runs."""
    found = []
    for r in range(runs):
        *_, (_, last) = smc(stage, n, stream(key, r), threshold=threshold, resampler=resampler)
        found.append(math.exp(last.log_evidence - log_z))
    return found


# --- unbiased ------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.0, 0.8, 2.0])
@pytest.mark.parametrize("n", RUNS)
@pytest.mark.parametrize("name", BRIDGES)
def test_planned_evidence_is_unbiased(name, n, threshold):
    """Whenever it resamples, also where all particles of a run may die."""
    bridge = BRIDGES[name]
    found = ratios(planned(bridge), n, RUNS[n], bridge.log_mass(1.0), threshold=threshold)
    assert abs(score(found, 1.0)) < 4
    assert np.std(found) / math.sqrt(len(found)) < 0.07
    if name == "bent, partly vanishing" and n == 2:
        assert min(found) == 0.0


def test_nested_thresholds_are_unbiased():
    """The mass above the last of three thresholds."""
    bridge = Normal(y=(1.5,))
    levels = [-3.0, -2.3, -2.05]
    stage = Tempering(
        bridge=bridge,
        portfolio=WALK,
        plans=tuple(Plan(level=Threshold(v), portfolio=WALK, sweeps=2) for v in levels),
    )
    truth = bridge.log_mass_above(levels[-1])
    assert truth < math.log(0.1)
    for n, runs in ((2, 500), (10, 300)):
        found = ratios(stage, n, runs, truth)
        assert abs(score(found, 1.0)) < 4
        assert min(found) == 0.0 or n > 2


@dataclass(frozen=True)
class Fixed:
    """A kernel that learns nothing."""

    kernel: Any
    name: str = "fixed"
    calls: int = 1

    def move(self, points, level, bridge, rng):
        return self.kernel.move(points, level, bridge, rng)

    def fitted(self, z, weights, rng):
        return self

    def rescaled(self, acceptance):
        return self


def waste_free_ratio(bridge, n, length, seed, resampler=systematic, levels=(0.1, 0.4, 1.0)):
    """Run waste-free stages at fixed levels with a fixed kernel."""
    rng = stream(1, seed)
    stage = WasteFree(
        bridge=bridge,
        portfolio=Portfolio(kernels=(Fixed(RandomWalk(scale=0.4)),)),
        length=length,
        resampler=resampler,
    )
    particles = stage.start(n, rng)
    for beta in levels:
        stage = replace(stage, before=stage.level, level=Temperature(beta))
        particles = stage.move(particles, rng)
    return math.exp(particles.log_evidence - bridge.log_mass(1.0))


@pytest.mark.parametrize("resampler", [systematic, multinomial], ids=repr)
@pytest.mark.parametrize(("n", "length", "runs"), [(2, 2, 600), (6, 3, 400), (50, 5, 100)])
@pytest.mark.parametrize("name", BRIDGES)
def test_waste_free_evidence_is_unbiased(name, n, length, runs, resampler):
    found = [waste_free_ratio(BRIDGES[name], n, length, s, resampler) for s in range(runs)]
    assert abs(score(found, 1.0)) < 4
    assert np.std(found) / math.sqrt(runs) < 0.09


@pytest.mark.parametrize(
    ("first", "options"),
    [
        (Tempering(bridge=BENT, portfolio=Portfolio(kernels=(CrankNicolson(),)), sweeps=4), {}),
        (
            Tempering(
                bridge=NORMAL,
                portfolio=Portfolio(
                    kernels=(RandomWalk(), DifferentialEvolution(), Hamiltonian())
                ),
            ),
            {},
        ),
        (
            WasteFree(bridge=BENT, portfolio=Portfolio(kernels=(RandomWalk(),)), length=5),
            {"threshold": 0.0},
        ),
    ],
    ids=["Crank-Nicolson", "three kernels", "waste-free"],
)
def test_adaptation_costs_little(first, options):
    """Levels and kernels chosen from 100 particles bias the evidence by at most a few percent."""
    found = ratios(first, 100, 60, first.bridge.log_mass(1.0), **options)
    error = np.std(found, ddof=1) / math.sqrt(60)
    assert error < 0.04
    assert abs(np.mean(found) - 1.0) < 0.03 + 4 * error


# --- the negative twins --------------------------------------------------------------------------


@dataclass(frozen=True)
class Wrong:
    """A stage whose move does something else."""

    stage: Tempering
    move_wrongly: Any

    def start(self, n, rng):
        return self.stage.start(n, rng)

    def next(self, particles):
        following = self.stage.next(particles)
        return None if following is None else replace(self, stage=following)

    def lookahead(self, particles):
        return self.stage.lookahead(particles)

    def move(self, particles, rng):
        return self.move_wrongly(self.stage, particles, rng)


def forgets_the_lookahead(stage, particles, rng):
    """Offspring drawn by the coming weights are given them once more."""
    if particles.ancestors is not None:
        particles = replace(particles, log_w=np.zeros(particles.n))
    return stage.move(particles, rng)


def forgets_the_weights(stage, particles, rng):
    """Particles that were not resampled start again from equal weights."""
    if particles.ancestors is None:
        particles = replace(particles, log_w=np.zeros(particles.n))
    return stage.move(particles, rng)


def weighs_afterwards(stage, particles, rng):
    """The particles move to the level first, and are weighed for it where they land."""
    log_w = particles.log_w
    log_g = stage.lookahead(particles)
    moved = stage.move(particles, rng)
    if log_g is None or particles.ancestors is not None:
        return moved
    return replace(moved, log_w=log_w + np.maximum(stage.lookahead(moved), -1e3))


@pytest.mark.parametrize(
    ("wrong", "threshold"),
    [(forgets_the_lookahead, 2.0), (forgets_the_weights, 0.0), (weighs_afterwards, 0.0)],
)
@pytest.mark.parametrize("n", [5, 50])
def test_wrong_weights_are_seen(wrong, threshold, n):
    stage = Wrong(planned(NORMAL, sweeps=3), wrong)
    found = ratios(stage, n, RUNS[n], NORMAL.log_mass(1.0), threshold=threshold)
    assert abs(score(found, 1.0)) > 6


@dataclass(frozen=True)
class Careless:
    """Draws ancestors whatever they weigh, if only they weigh something."""

    def draw(self, w, m, rng):
        return rng.choice(np.flatnonzero(w > 0.0), size=m), None


def test_careless_ancestors_are_seen():
    found = [waste_free_ratio(NORMAL, 50, 5, s, Careless()) for s in range(100)]
    assert abs(score(found, 1.0)) > 6


# --- no mass -------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.0, 0.5, 2.0])
def test_a_target_that_vanishes_has_no_evidence(threshold):
    nothing = Bent(cut=1e3)
    portfolio = Portfolio(kernels=(RandomWalk(), Independence()))
    for stage in (
        Tempering(bridge=nothing, portfolio=portfolio),
        Tempering(bridge=nothing, portfolio=portfolio, plans=plans(BENT)),
        WasteFree(bridge=nothing, portfolio=portfolio, length=5),
    ):
        *_, (_, last) = smc(stage, 20, stream(2), threshold=threshold)
        assert last.log_evidence == -math.inf
        assert last.ess == 0.0


def test_replicates_count_those_that_died():
    """A third of these runs end without a particle; without them the mean would be too high."""
    bridge = Bent(shape=((2.0, 3.0),) * 2, rate=((1.0, 2.0),) * 2, cut=0.6)
    stage = planned(bridge)
    found = replicate(stage, 2, [stream(3, r) for r in range(200)])
    log_z = np.array([p.log_evidence for p in found])
    ratios = np.exp(log_z - bridge.log_mass(1.0))
    assert 0.2 < np.isneginf(log_z).mean() < 0.6
    assert abs(score(ratios, 1.0)) < 4
    assert abs(score(ratios[ratios > 0.0], 1.0)) > 4
    again = replicate(stage, 2, [stream(3, 5)])
    assert again[0].log_evidence == found[5].log_evidence


# --- stages --------------------------------------------------------------------------------------


def test_stages_follow_their_plans():
    stage = planned(NORMAL, levels=(0.2, 1.0))
    seen = [(s.before.beta, s.level.beta) for s, _ in smc(stage, 10, stream(4))]
    assert seen == [(0.0, 0.0), (0.0, 0.2), (0.2, 1.0)]


def test_adaptive_levels_rise_to_the_target():
    stage = Tempering(bridge=NORMAL, portfolio=WALK, efficiency=0.9)
    steps = [(s.level.beta, p) for s, p in smc(stage, 50, stream(5))]
    betas = [beta for beta, _ in steps]
    assert betas[0] == 0.0
    assert betas[-1] == 1.0
    assert betas == sorted(set(betas))
    assert len(betas) > 4
    for _, particles in steps[1:]:
        assert 0.0 < particles.x.acceptance <= 1.0
        assert 0.0 < particles.x.decorrelation <= 1.0


def test_waste_free_keeps_every_state_of_a_chain():
    stage = WasteFree(bridge=NORMAL, portfolio=WALK, length=4)
    *_, (_, last) = smc(stage, 40, stream(6), threshold=0.0)
    points = last.x.points
    assert points.n == last.n == 40
    assert not last.log_w.any()
    again = NORMAL.at(points.z)
    np.testing.assert_array_equal(points.log_ratio, again.log_ratio)
    # State k of the chain of ancestor i is in row 10 k + i: most steps are small, and some none.
    apart = np.abs(points.z[10:20] - points.z[:10]).max(axis=1)
    assert (apart < 2.5).all()


@pytest.mark.parametrize(("n", "length"), [(10, 1), (10, 3)])
def test_chains_must_divide_the_particles(n, length):
    stage = WasteFree(bridge=NORMAL, portfolio=WALK, length=length)
    with pytest.raises(ValueError, match=rf"length {length} for n = {n}"):
        stage.start(n, stream(7))


# --- stopping and going on -----------------------------------------------------------------------

MANY = Portfolio(
    kernels=(
        RandomWalk(),
        DifferentialEvolution(),
        CrankNicolson(parts=2),
        Independence(parts=2),
        Hamiltonian(leapfrogs=2),
    )
)


def clouds(particles):
    """Everything that a population holds, as arrays."""
    x = particles.x
    if isinstance(x, Cloud):
        return [x.points.z, x.points.log_ratio, particles.log_w, np.array([particles.log_z])]
    return [x.pool.points.z, x.pool.ratios, particles.log_w]


@pytest.mark.parametrize(
    ("stage", "n", "threshold"),
    [
        (Tempering(bridge=BENT, portfolio=MANY, efficiency=0.8), 60, 0.7),
        (planned(BENT), 20, 0.7),
        (WasteFree(bridge=BENT, portfolio=MANY, length=5, efficiency=0.8), 60, 0.0),
        (Persistent(bridge=BENT, portfolio=MANY, efficiency=0.6, stay=1), 120, 0.0),
    ],
    ids=["tempering", "planned", "waste-free", "persistent"],
)
def test_stopped_anywhere_it_ends_with_the_same_bits(stage, n, threshold):
    rng = stream(8)
    saved, last = [], None
    for following, last in smc(stage, n, rng, threshold=threshold):
        saved.append(pickle.dumps((following, last, rng)))
    assert len(saved) >= 4
    for state in saved[:-1]:
        *_, (_, again) = resume(*pickle.loads(state), threshold=threshold)
        for one, other in zip(clouds(last), clouds(again), strict=True):
            np.testing.assert_array_equal(one, other)
    assert list(resume(*pickle.loads(saved[-1]), threshold=threshold)) == []
