"""The next level: the share it keeps, and the trap of keeping the wrong share."""

from __future__ import annotations

import math

import numpy as np
import pytest
from aisle_kernels import weights as kernels
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

from aisle_smc import stream
from aisle_smc.moves import Portfolio, RandomWalk
from aisle_smc.resampling import systematic
from aisle_smc.tempering import Temperature, Tempering, Threshold
from aisle_smc.tempering.levels import next_temperature
from aisle_smc.tempering.standard import Cloud, increment
from tests.oracles.paths import Bent, score


def kept(log_w, log_ratio, step):
    """The conditional effective sample size, as a share."""
    w = np.exp(log_w - logsumexp(log_w))
    log_g = np.where(np.isneginf(log_ratio), -math.inf, step * log_ratio)
    log_g = log_g - log_g[w > 0.0].max()
    g = np.exp(np.where(w > 0.0, log_g, -math.inf))
    return (w @ g) ** 2 / (w @ g**2)


# --- the next temperature ------------------------------------------------------------------------


@given(
    st.integers(0, 10**6),
    st.floats(-3.0, 6.0),
    st.floats(0.0, 0.99),
    st.floats(0.2, 0.95),
    st.booleans(),
)
def test_the_step_keeps_the_share(seed, log10_spread, beta, efficiency, weighted):
    rng = np.random.default_rng(seed)
    log_ratio = -(10.0**log10_spread) * rng.exponential(size=60) + rng.normal() * 1e3
    log_w = rng.normal(size=60) if weighted else np.zeros(60)
    found = next_temperature(log_w, log_ratio, beta, efficiency)
    assert beta < found <= 1.0
    if found == 1.0:
        assert kept(log_w, log_ratio, 1.0 - beta) >= efficiency
        return
    # A temperature near one cannot be written finely enough for a steep ratio.
    rounding = 60.0 * 10.0**log10_spread * np.spacing(found)
    assert abs(kept(log_w, log_ratio, found - beta) - efficiency) < 1e-6 + rounding


def test_log_ratios_near_minus_a_million():
    rng = np.random.default_rng(1)
    log_ratio = -1e6 - 1e5 * rng.standard_gamma(2.0, size=200)
    found = next_temperature(np.zeros(200), log_ratio, 0.0, 0.5)
    assert 1e-7 < found < 1e-4
    assert kept(np.zeros(200), log_ratio, found) == pytest.approx(0.5, abs=1e-6)
    shifted = next_temperature(np.zeros(200), log_ratio + 1e6, 0.0, 0.5)
    assert shifted == pytest.approx(found, rel=1e-6)


def test_half_of_the_base_without_target():
    rng = np.random.default_rng(2)
    log_ratio = np.where(np.arange(100) < 50, -math.inf, 8.0 * rng.normal(size=100))
    found = next_temperature(np.zeros(100), log_ratio, 0.0, 0.4)
    assert kept(np.zeros(100), log_ratio, found) == pytest.approx(0.4, abs=1e-6)
    # More than the half that is left cannot be kept: as small a step as there is.
    assert 0.0 < next_temperature(np.zeros(100), log_ratio, 0.0, 0.6) < 1e-20
    # Once they weigh nothing, the dead do not count.
    log_w = np.where(np.arange(100) < 50, -math.inf, 0.0)
    found = next_temperature(log_w, log_ratio, 0.1, 0.6)
    assert kept(log_w, log_ratio, found - 0.1) == pytest.approx(0.6, abs=1e-6)


def test_equal_ratios_go_to_the_target_at_once():
    for value in (0.0, -1e6, 300.0):
        assert next_temperature(np.zeros(10), np.full(10, value), 0.0, 0.99) == 1.0


def test_numbers_that_stand_for_nothing():
    """A target that says -1e300 where it means -inf."""
    log_ratio = np.where(np.arange(100) < 50, -1e300, 0.1 * np.arange(100))
    first = next_temperature(np.zeros(100), log_ratio, 0.0, 0.9)
    log_w = first * log_ratio
    second = next_temperature(log_w, log_ratio, first, 0.9)
    assert 0.01 < second <= 1.0


# --- levels --------------------------------------------------------------------------------------


def test_levels_at_their_ends():
    log_ratio = np.array([-math.inf, -2.0, 3.0])
    assert Temperature(0.0).log_potential(log_ratio).tolist() == [0.0, 0.0, 0.0]
    assert Temperature(0.5).log_potential(log_ratio).tolist() == [-math.inf, -1.0, 1.5]
    assert Threshold(-2.0).log_potential(log_ratio).tolist() == [-math.inf, -math.inf, 0.0]
    assert Threshold(-math.inf).log_potential(log_ratio).tolist() == [0.0, 0.0, 0.0]
    assert (Temperature(0.3).slope, Threshold(1.0).slope) == (0.3, 0.0)


# --- the trap ------------------------------------------------------------------------------------

BRIDGE = Bent(shape=((2.0, 3.0), (40.0, 30.0)), rate=((1.0, 2.0), (30.0, 10.0)))
SHARE, N = 0.5, 50


def by_ordinary_ess(log_w, log_ratio, beta, share):
    """The trap: keep a share of the ordinary effective sample size."""

    def enough(after):
        w = log_w + (after * log_ratio - beta * log_ratio)
        return kernels.ess(w) >= share * len(w)

    if enough(1.0):
        return 1.0
    low, high = beta, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if enough(middle) else (low, middle)
    return low


def run(rule, seed):
    """Temper by a rule, resampling below the same share; count stages and resamplings."""
    rng = stream(seed)
    walk = Portfolio(kernels=(RandomWalk(scale=0.5),))
    particles = Tempering(bridge=BRIDGE, portfolio=walk).start(N, rng)
    level, stages, resampled = Temperature(0.0), 0, 0
    while level.beta < 1.0:
        points = particles.x.points
        before = level
        level = Temperature(rule(particles.log_w, points.log_ratio, level.beta, SHARE))
        particles = particles.reweight(increment(before, level, points))
        if particles.ess < SHARE * N:
            particles = particles.resample(systematic, rng)
            resampled += 1
        swept = walk.sweep(particles.x.points, level, BRIDGE, rng, 3, np.ones(2))
        particles = particles.move(Cloud(points=swept.points, portfolio=walk))
        stages += 1
    return math.exp(particles.log_evidence - BRIDGE.log_mass(1.0)), stages, resampled


def test_the_conditional_rule_is_no_trap():
    """The standard error is 5 %."""
    ratios, stages, resampled = np.transpose([run(next_temperature, s) for s in range(200)])
    assert stages.max() <= 7
    assert resampled.min() >= 1
    assert abs(score(ratios, 1.0)) < 4


def test_the_trap_is_seen():
    """It never resamples, hardly gets on, and ends with one particle's tale."""
    ratios, stages, resampled = np.transpose([run(by_ordinary_ess, s) for s in range(40)])
    assert resampled.max() == 0
    assert np.median(stages) > 50
    assert abs(score(ratios, 1.0)) > 5
