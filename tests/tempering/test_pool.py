"""The pool: weights against the mixture of all sources, and masses solved for all at once."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from aisle_kernels import weights as kernels
from scipy.special import logsumexp

from aisle_smc import Particles, merge, stream
from aisle_smc.distributions import Gaussian, StudentT
from aisle_smc.tempering import Pool, Source, Temperature, Threshold
from aisle_smc.tempering.pool import log_mass, log_masses, log_sum_rows
from tests.oracles.paths import Bent, Normal, score

BRIDGE = Bent()
TARGET = Temperature(1.0)
BETAS = (0.1, 0.4, 1.0)
WIDE = StudentT(location=np.array([0.3, 0.5]), root=np.array([[0.8, 0.0], [0.3, 1.0]]), df=4.0)
NARROW = Gaussian(mean=np.array([0.2, 1.0]), root=np.eye(2) * 0.7)


def started(n, rng, islands=10):
    return Pool.started(BRIDGE.start(n, rng), Temperature(0.0), islands)


def with_levels(bridge, betas, n, rng, noise=0.0, islands=10):
    """A pool of exact draws of levels, whose masses were estimated with some noise."""
    pool = Pool.started(bridge.start(n, rng), Temperature(0.0), islands)
    for beta in betas:
        log_z = bridge.log_mass(beta) + noise * rng.standard_normal()
        points = bridge.at(bridge.draw(beta, n, rng))
        pool = pool.added(points, Source(n=n, level=Temperature(beta), log_z=log_z))
    return pool


def with_proposals(pool, rng, proposals=(WIDE, NARROW), sizes=(30, 50)):
    for q, n in zip(proposals, sizes, strict=True):
        pool = pool.added(BRIDGE.at(q.sample(n, rng)), Source(n=n, proposal=q))
    return pool


# --- weights -------------------------------------------------------------------------------------


def test_mixture_of_the_sources():
    """Written out: the density of each source over the base, weighted by its share."""
    pool = with_proposals(with_levels(BRIDGE, BETAS, 20, stream(0), noise=0.3), stream(1))
    base, ratio = pool.points.log_base, pool.points.log_ratio
    terms = []
    for source in pool.sources:
        if source.proposal is not None:
            log_p = source.proposal.log_density(pool.points.z) - base
        else:
            log_p = source.level.beta * ratio - source.log_z
        terms.append(np.log(source.n / 160) + log_p)
    expected = logsumexp(terms, axis=0)
    np.testing.assert_allclose(pool.log_mixture, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(pool.log_weights(TARGET), ratio - expected, atol=1e-11)


def test_proposals_weigh_as_merged_populations_do():
    rng = stream(2)
    pool = with_proposals(started(40, rng), rng)
    edges = np.cumsum([0, 40, 30, 50])

    def base(z):
        return BRIDGE.at(z).log_base

    densities = [base, WIDE.log_density, NARROW.log_density]
    parts = []
    for q, first, last in zip(densities, edges[:-1], edges[1:], strict=True):
        points = pool.points[first:last]
        log_w = points.log_base + points.log_ratio - q(points.z)
        parts.append(Particles(points.z, log_w))
    merged = merge(parts, densities)
    np.testing.assert_allclose(pool.log_weights(TARGET), merged.log_w + merged.log_z, atol=1e-12)
    value, _ = pool.log_evidence(TARGET)
    assert value == pytest.approx(merged.log_evidence, abs=1e-12)


def test_the_order_of_sources_does_not_matter():
    rng = stream(3)
    first = with_levels(BRIDGE, (0.4,), 40, rng, noise=0.2)
    a = BRIDGE.at(WIDE.sample(30, rng))
    b = BRIDGE.at(BRIDGE.draw(1.0, 50, rng))
    of_a = Source(n=30, proposal=WIDE)
    of_b = Source(n=50, level=TARGET, log_z=-2.0)
    one = first.added(a, of_a).added(b, of_b)
    other = first.added(b, of_b).added(a, of_a)
    rows = np.r_[0:80, 130:160, 80:130]
    np.testing.assert_array_equal(one.points.z, other.points.z[rows])
    np.testing.assert_array_equal(one.island, other.island[rows])
    np.testing.assert_allclose(
        one.log_weights(TARGET), other.log_weights(TARGET)[rows], rtol=1e-13, atol=1e-13
    )
    np.testing.assert_allclose(
        one.log_evidence(TARGET), other.log_evidence(TARGET), rtol=1e-9, atol=1e-9
    )


def test_points_without_target_weigh_nothing():
    bridge = Bent(cut=0.2)
    pool = Pool.started(bridge.start(100, stream(4)), Temperature(0.0), 5)
    log_w = pool.log_weights(TARGET)
    assert np.isneginf(log_w).sum() > 10
    np.testing.assert_array_equal(np.isneginf(log_w), np.isneginf(pool.points.log_ratio))
    assert pool.log_evidence(Threshold(1e9)) == (-math.inf, pytest.approx(math.nan, nan_ok=True))


def test_sums_of_rows():
    values = np.array([[-math.inf, -math.inf], [-1e6, -1e6], [700.0, -math.inf]])
    found = log_sum_rows(values)
    np.testing.assert_allclose(found, [-math.inf, -1e6 + math.log(2.0), 700.0])


# --- masses --------------------------------------------------------------------------------------


def iterated(pool):
    """Solve the equations by iterating them to the end, in logarithms."""
    sizes = np.array([s.n for s in pool.sources])
    masses = np.array([s.log_z for s in pool.sources])
    free = np.array([not s.known for s in pool.sources])
    for _ in range(20_000):
        below = logsumexp(pool.ratios + np.log(sizes / pool.n) - masses, axis=1)
        new = logsumexp(pool.ratios - below[:, None], axis=0) - math.log(pool.n)
        new = np.where(free, new, masses)
        change, masses = np.abs(new - masses).max(), new
        if change < 1e-13:
            break
    return masses


@pytest.mark.parametrize(
    ("bridge", "betas", "noise"),
    [
        (BRIDGE, BETAS, 0.5),
        (BRIDGE, (1.0,), 8.0),
        (Bent(shape=((2.0, 3.0), (40.0, 30.0)), rate=((1.0, 2.0), (30.0, 10.0))), BETAS, 0.5),
        (Normal(y=(-3.0, 1.0, 4.0), sd=0.3), tuple(np.geomspace(2e-3, 1.0, 9)), 1.0),
    ],
)
def test_masses_solve_the_equations(bridge, betas, noise):
    pool = with_levels(bridge, betas, 60, stream(5), noise=noise)
    found = log_masses(pool.ratios, pool.sources)
    np.testing.assert_allclose(found, iterated(pool), atol=1e-8)
    assert found[0] == 0.0
    again = log_masses(pool.ratios, pool.sources, found)
    np.testing.assert_array_equal(found, again)
    # The mass of a level among the sources is the same, asked for as a target.
    level = pool.sources[-1].level
    target = level.log_potential(pool.points.log_ratio)
    assert log_mass(pool.ratios, pool.sources, found, target) == pytest.approx(found[-1], abs=1e-8)


def test_a_long_path_is_solved_to_the_end():
    """25 levels in ten dimensions, where 300 rounds of iteration were 0.08 nats off."""
    bridge = Normal(y=tuple(np.linspace(-6.0, 9.0, 10)), sd=0.3)
    pool = with_levels(bridge, np.geomspace(1e-3, 1.0, 25), 100, stream(6))
    masses = log_masses(pool.ratios, pool.sources)
    share = 1.0 / 26
    below = log_sum_rows(pool.ratios + math.log(share) - masses)
    sums = np.exp(pool.ratios - masses - below[:, None]).mean(axis=0)
    np.testing.assert_allclose(sums[1:], 1.0, atol=1e-8)
    truth = [bridge.log_mass(s.level.beta) for s in pool.sources]
    assert np.abs(masses - truth).max() < 0.6


def test_proposals_and_base_keep_their_masses():
    rng = stream(7)
    pool = with_proposals(with_levels(BRIDGE, BETAS, 30, rng, noise=1.0), rng)
    found = log_masses(pool.ratios, pool.sources)
    assert found[[0, 4, 5]].tolist() == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(found, iterated(pool), atol=1e-8)
    exact = pool.exact
    assert exact.n == 110
    assert [s.known for s in exact.sources] == [True] * 3
    np.testing.assert_array_equal(exact.ratios[:30], pool.ratios[:30][:, [0, 4, 5]])


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_evidence_of_exact_levels(noise):
    """Standard error 0.6 %; the masses that the stages estimated do not matter."""
    truth = BRIDGE.log_mass(1.0)
    found = np.array(
        [
            with_levels(BRIDGE, BETAS, 100, stream(8, r), noise).log_evidence(TARGET)
            for r in range(100)
        ]
    )
    assert abs(score(np.exp(found[:, 0] - truth), 1.0)) < 4
    # The error bar is right on average, and its own spread is that of ten islands.
    spread = found[:, 0].std(ddof=1)
    assert np.sqrt(np.mean(found[:, 1] ** 2)) == pytest.approx(spread, rel=0.25)
    assert 0.1 < found[:, 1].std() / found[:, 1].mean() < 0.5


def test_first_guesses_of_masses_are_seen():
    """The negative twin: weights against masses that were never solved for."""
    truth = BRIDGE.log_mass(1.0)
    found = []
    for r in range(100):
        pool = with_levels(BRIDGE, BETAS[:2], 100, stream(8, r))
        guesses = np.array([0.0, BRIDGE.log_mass(0.1) + 0.5, BRIDGE.log_mass(0.4) - 0.5])
        log_z = log_mass(pool.ratios, pool.sources, guesses, pool.points.log_ratio)
        found.append(math.exp(log_z - truth))
    assert abs(score(found, 1.0)) > 6


def test_a_source_left_out_by_the_jackknife():
    """As many islands as there are points of a level: each island's absence takes one away."""
    rng = stream(9)
    pool = started(20, rng, islands=20)
    pool = pool.added(
        BRIDGE.at(BRIDGE.draw(1.0, 3, rng)), Source(n=3, level=TARGET, log_z=BRIDGE.log_mass(1.0))
    )
    value, error = pool.log_evidence(TARGET)
    assert math.isfinite(value)
    assert 0.0 < error < 3.0
    single = Pool.started(BRIDGE.start(20, rng), Temperature(0.0), 1)
    assert math.isnan(single.log_evidence(TARGET)[1])


# --- islands -------------------------------------------------------------------------------------


def test_islands_are_dealt_evenly_and_resampled_within():
    rng = stream(10)
    pool = with_levels(BRIDGE, BETAS, 30, rng, islands=4)
    assert np.bincount(pool.island).tolist() == [32, 28, 32, 28]
    log_w = pool.log_weights(TARGET)
    drawn = pool.resampled(50, log_w, stream(11))
    assert drawn.n == 50
    home = {tuple(z): j for z, j in zip(pool.points.z, pool.island, strict=True)}
    origin = [home[tuple(z)] for z in drawn.z]
    # Added again they are of the islands that they come from, also where 4 does not divide 50.
    again = pool.added(drawn, Source(n=50, level=TARGET, log_z=0.0)).island[-50:]
    assert origin == again.tolist()
    assert np.bincount(again).tolist() == [13, 12, 13, 12]


def test_the_masses_of_a_solved_pool_are_those_of_all_points():
    pool = with_levels(BRIDGE, BETAS, 200, stream(14))
    astray = tuple(s if s.known else replace(s, log_z=s.log_z + 1.0) for s in pool.sources)
    wrong = replace(pool, sources=astray)
    value, _ = pool.log_evidence(TARGET)

    def weighed(one):
        return float(kernels.log_mean_exp(one.log_weights(TARGET)))

    assert weighed(wrong.solved) == pytest.approx(value, abs=1e-7)
    assert abs(weighed(wrong) - value) > 0.05
    assert wrong.exact.solved is not None
    assert weighed(wrong.exact.solved) == weighed(wrong.exact)


def test_an_island_without_mass_goes_on_from_the_others():
    pool = started(40, stream(12), islands=4)
    log_w = np.where(pool.island == 2, -math.inf, 0.0)
    drawn = pool.resampled(40, log_w, stream(13))
    assert drawn.n == 40
    dead = {tuple(z) for z in pool.points.z[pool.island == 2]}
    assert not dead & {tuple(z) for z in drawn.z}


def test_resampling_keeps_expectations():
    pool = with_levels(BRIDGE, BETAS, 40, stream(14))
    log_w = pool.log_weights(TARGET)
    expected = 0.0
    for j in range(10):
        mine = pool.island == j
        w = np.exp(log_w[mine] - logsumexp(log_w[mine]))
        expected += w @ pool.points.z[mine, 1] / 10
    means = [pool.resampled(20, log_w, stream(15, r)).z[:, 1].mean() for r in range(400)]
    assert abs(score(means, expected)) < 4
