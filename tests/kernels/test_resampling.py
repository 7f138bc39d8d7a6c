"""Resampling schemes: exact oracles, unbiased counts, adversarial weights, known-wrong twins."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
from aisle_kernels import resampling as kernels
from aisle_kernels._jit import scalar
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import resampling as oracle

SCHEMES = ["multinomial", "residual", "stratified", "systematic", "ssp", "killing"]
SORTED = ["multinomial", "residual", "stratified", "systematic", "ssp"]
ANY_M = SORTED
COMPILED = not numba.config.DISABLE_JIT
REPLICATES = 40_000 if COMPILED else 400
LAST_UNIFORM = 1.0 - 2.0**-53


def uniforms(scheme, n, m):
    return getattr(kernels, f"{scheme}_uniforms")(n, m)


def resample(scheme, w, u, m):
    ancestors = np.full(m, -7, dtype=np.int64)
    getattr(kernels, scheme)(np.asarray(w, dtype=float), np.asarray(u, dtype=float), ancestors)
    return ancestors


def offspring(scheme, w, u, m):
    return np.bincount(resample(scheme, w, u, m), minlength=len(w))


def sizes(scheme):
    same = [(1, 1), (2, 2), (5, 5), (37, 37), (300, 300)]
    return same if scheme == "killing" else [*same, (5, 3), (3, 5), (1, 9), (37, 200), (200, 37)]


CASES = [(scheme, n, m) for scheme in SCHEMES for n, m in sizes(scheme)]


@pytest.mark.parametrize(("scheme", "n", "m"), CASES)
@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0, 6.0])
def test_against_oracle(scheme, n, m, spread):
    rng = np.random.default_rng(n * 1000 + m)
    for _ in range(5):
        # Equal weights put points on the boundaries of parents for some uniforms, not for these.
        w = np.exp(spread * rng.normal(size=n)) * (rng.random(n) < 0.8 if n > 2 else 1.0)
        w[rng.integers(n)] = 1.7
        u = rng.random(uniforms(scheme, n, m))
        expected = getattr(oracle, scheme)(w, u, m)
        assert np.array_equal(resample(scheme, w, u, m), expected)


@pytest.mark.parametrize(("scheme", "n", "m"), CASES)
def test_uniforms_decide_everything(scheme, n, m):
    """The same uniforms give the same bits; others, where there is a choice, another result."""
    rng = np.random.default_rng(3)
    w = rng.random(n)
    u = rng.random(uniforms(scheme, n, m))
    before = w.copy(), u.copy()
    first = resample(scheme, w, u, m)
    assert np.array_equal(first, resample(scheme, w, u, m))
    assert np.array_equal(before[0], w)
    assert np.array_equal(before[1], u)
    if n > 2:
        others = [resample(scheme, w, rng.random(u.size), m) for _ in range(20)]
        assert any(not np.array_equal(first, other) for other in others)


# The expected number of offspring.


@scalar
def count_moments(scheme, w, u, m, mean, square):
    """Add up counts and their squares over the rows of u."""
    n = w.size
    ancestors = np.empty(m, np.int64)
    count = np.empty(n)
    for r in range(u.shape[0]):
        scheme(w, u[r], ancestors)
        count[:] = 0.0
        for a in ancestors:
            count[a] += 1.0
        for i in range(n):
            mean[i] += count[i]
            square[i] += count[i] * count[i]


def scores(scheme, number, w, m):
    """Return z of the mean count of each parent against m W, from independent replicates."""
    rng = np.random.default_rng(20)
    n = len(w)
    mean, square = np.zeros(n), np.zeros(n)
    count_moments(scheme, w, rng.random((REPLICATES, number)), m, mean, square)
    mean /= REPLICATES
    # An integer with expectation x varies by at least f (1 - f), f the fraction of x: that serves
    # where a rare count was never seen. Where it is 0 the count must be right to rounding.
    x = m * w / w.sum()
    least = (x - np.floor(x)) * (np.ceil(x) - x)
    sd = np.sqrt(np.maximum(square / REPLICATES - mean**2, least))
    return (mean - x) / np.maximum(sd / math.sqrt(REPLICATES), 1e-9)


WEIGHTS = [
    np.array([0.5, 3.1, 0.05, 1.3, 0.0]),
    np.array([1.0, 0.35]),
    np.array([8.0, 0.1, 0.2, 0.1, 0.4, 0.3, 0.02]),
]


# A count has a standard deviation of at most about 1 here: z = 4 is an error of 0.02 compiled
# (0.2 uncompiled), and the wrong variants below err by 0.1 and more.
@pytest.mark.parametrize("w", WEIGHTS, ids=len)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_expected_counts(scheme, w):
    n = len(w)
    for m in [n] if scheme == "killing" else [n, 1, 2, 11]:
        z = scores(getattr(kernels, scheme), uniforms(scheme, n, m), w, m)
        assert np.abs(z).max() < 4.0, m


@scalar
def residual_without_n(w, u, ancestors):
    """Take the integer part of W instead of m W; then a draw with the fractional parts of m W."""
    m = ancestors.size
    x = w / w.sum()
    kernels.residual(x * m - np.floor(x * m), u, ancestors)


@scalar
def systematic_for_n(w, u, ancestors):
    """Space the m points as if they were n."""
    points = np.empty(w.size, np.int64)
    kernels.systematic(w, u, points)
    for k in range(ancestors.size):
        ancestors[k] = points[k % w.size]


@scalar
def systematic_midpoints(w, u, ancestors):
    """Ignore the uniform."""
    kernels.systematic(w, np.array([0.5]), ancestors)


@scalar
def killing_normalised(w, u, ancestors):
    """Survive with the normalised weight, replace uniformly."""
    n = w.size
    total = w.sum()
    for i in range(n):
        ancestors[i] = i if u[i] < w[i] / total else int(u[n + i] * n)


@pytest.mark.parametrize(
    ("wrong", "number", "m"),
    [
        (residual_without_n, 12, 11),
        (systematic_for_n, 1, 3),
        (systematic_midpoints, 1, 5),
        (killing_normalised, 10, 5),
    ],
    ids=["residual", "m", "seed", "killing"],
)
def test_negative_twins_fail_expected_counts(wrong, number, m):
    assert np.abs(scores(wrong, number, WEIGHTS[0], m)).max() > 6.0


# Counts next to their expectations.

weight = st.one_of(
    st.floats(0.0, 10.0),
    st.sampled_from([0.0, 0.0, 1.0, 5e-324, 1e-320, 2.3e-308, 1e-300, 1e300, 1.7e308]),
)
unit = st.one_of(st.floats(0.0, LAST_UNIFORM), st.sampled_from([0.0, 0.5, LAST_UNIFORM]))


@st.composite
def problems(draw, scheme):
    w = draw(st.lists(weight, min_size=1, max_size=12).filter(lambda w: max(w) > 0))
    n = len(w)
    m = n if scheme == "killing" else draw(st.integers(1, 15))
    number = uniforms(scheme, n, m)
    u = draw(st.lists(unit, min_size=number, max_size=number))
    return np.array(w), np.array(u), m


def expectation(w, m):
    top = float(np.max(w))
    scaled = np.array([float(v) / top for v in w])
    return m * scaled / math.fsum(scaled)


@pytest.mark.parametrize("scheme", SCHEMES)
@given(data=st.data())
def test_any_weights(scheme, data):
    w, u, m = data.draw(problems(scheme))
    ancestors = resample(scheme, w, u, m)
    assert ancestors.min() >= 0
    assert ancestors.max() < len(w)
    assert (w[ancestors] > 0.0).all()
    if scheme in SORTED:
        assert (np.diff(ancestors) >= 0).all()
    x = expectation(w, m)
    count = np.bincount(ancestors, minlength=len(w))
    if scheme in ("systematic", "ssp"):
        assert (count >= np.floor(x - 1e-9)).all()
        assert (count <= np.ceil(x + 1e-9)).all()
    if scheme == "residual":
        assert (count >= np.floor(x - 1e-9)).all()
    if scheme == "stratified":
        assert (count >= np.floor(x - 1e-9) - 1).all()
        assert (count <= np.ceil(x + 1e-9) + 1).all()


def adversarial():
    rng = np.random.default_rng(0)
    n = 33
    base = rng.random(n)
    base[[0, 5, 6, 7, n - 1]] = 0.0
    base /= base.sum()
    for i in (0, n // 2, n - 1):
        yield f"one-hot at {i}", np.eye(n)[i]
        yield f"subnormal one-hot at {i}", np.eye(n)[i] * 1e-320
        yield f"all but {i} negligible", np.where(np.arange(n) == i, 1.0, 1e-320)
    yield "sum below one", base * (1 - 1e-12)
    yield "sum above one", base * (1 + 1e-12)
    yield "subnormal", np.full(n, 1e-320)
    yield "subnormal and unequal", np.where(np.arange(n) % 3, 0.0, 5e-324)
    yield "sum overflows", np.full(n, 1.7e308)
    yield "sum overflows, tiny among them", np.where(np.arange(n) % 4, 1e-310, 1.7e308)
    yield "equal", np.full(n, 1.0 / n)
    yield "tail of zeros", np.where(np.arange(n) < 20, 0.1, 0.0)
    yield "head of zeros", np.where(np.arange(n) < 20, 0.0, 0.1)
    yield "one particle", np.array([0.3])
    yield "one subnormal particle", np.array([5e-324])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_adversarial_weights(scheme):
    for name, w in adversarial():
        n = len(w)
        for m in [n] if scheme == "killing" else [1, 2, n, 3 * n + 1]:
            for value in (0.0, 2.0**-53, 0.5, LAST_UNIFORM):
                u = np.full(uniforms(scheme, n, m), value)
                ancestors = resample(scheme, w, u, m)
                assert (ancestors >= 0).all(), (name, m, value)
                assert (ancestors < n).all(), (name, m, value)
                assert (w[ancestors] > 0.0).all(), (name, m, value)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("w", [np.zeros(3), np.zeros(9), np.full(9, np.nan), np.full(9, np.inf)])
def test_no_usable_weight_reads_nothing_out_of_range(scheme, w):
    """The caller never asks; if it does, all parents are 0."""
    u = np.full(uniforms(scheme, w.size, w.size), 0.7)
    assert not resample(scheme, w, u, w.size).any()


def test_negative_twin_unguarded_walk():
    """Normalised weights that sum to 1 - 1e-12 send an unguarded search past the end."""
    w = np.full(7, (1 - 1e-12) / 7)
    u = np.array([LAST_UNIFORM])
    with pytest.raises(ValueError, match="beyond the total"):
        oracle.parent_at(w, (6 + u[0]) / 7)
    assert resample("systematic", w, u, 7)[-1] == 6


@given(
    st.lists(st.integers(0, 64), min_size=1, max_size=20).filter(sum),
    st.sampled_from([2.0**-1060, 2.0**-1000, 2.0**-300, 2.0**1000, 2.0**1017]),
)
def test_scale_of_the_weights_does_not_matter(counts, power):
    w = np.array(counts, dtype=float)
    rng = np.random.default_rng(1)
    for scheme in SCHEMES:
        u = rng.random(uniforms(scheme, w.size, w.size))
        expected = resample(scheme, w, u, w.size)
        assert np.array_equal(resample(scheme, w * power, u, w.size), expected)


@pytest.mark.parametrize("n", [1, 3, 8, 33])
def test_equal_weights_keep_everyone(n):
    for scheme in ("residual", "systematic", "stratified", "ssp", "killing"):
        u = np.full(uniforms(scheme, n, n), 0.4)
        assert np.array_equal(resample(scheme, np.ones(n), u, n), np.arange(n))


def test_killing_leaves_survivors_in_place():
    rng = np.random.default_rng(8)
    w = rng.random(50)
    u = rng.random(100)
    ancestors = resample("killing", w, u, 50)
    alive = u[:50] < w / w.max()
    assert 10 < alive.sum() < 40
    assert np.array_equal(ancestors[alive], np.flatnonzero(alive))


def test_numbers_of_uniforms_compile():
    @scalar
    def number(n, m):
        return kernels.multinomial_uniforms(n, m) + kernels.killing_uniforms(n, m)

    assert number(3, 5) == 12


# Optimal finite-state resampling.


def thin(w, u, m):
    ancestors, weights = np.full(m, -7, dtype=np.int64), np.full(m, -7.0)
    w = np.asarray(w, dtype=float)
    used = kernels.optimal(w, np.array([u], dtype=float), ancestors, weights)
    return used, ancestors, weights


@pytest.mark.parametrize(("n", "m"), [(2, 1), (5, 3), (5, 4), (40, 7), (300, 100), (300, 299)])
@pytest.mark.parametrize("spread", [0.3, 1.0, 4.0])
def test_optimal_against_oracle(n, m, spread):
    rng = np.random.default_rng(n + m)
    for _ in range(5):
        w = np.exp(spread * rng.normal(size=n))
        u = rng.random()
        used, ancestors, weights = thin(w, u, m)
        expected, expected_weights = oracle.optimal(w, [u], m)
        assert used == m
        assert np.array_equal(ancestors, expected)
        np.testing.assert_allclose(weights, expected_weights, rtol=1e-10)


@given(
    st.lists(weight, min_size=1, max_size=15).filter(lambda w: max(w) > 0),
    unit,
    st.integers(1, 18),
)
def test_optimal_with_any_weights(w, u, m):
    w = np.array(w)
    used, ancestors, weights = thin(w, u, m)
    W = expectation(w, 1)
    assert used <= min(np.count_nonzero(w), m)
    # Weights of less than 1e-280 of the largest may be lost where the sum overflows.
    assert used >= min(np.count_nonzero(W > 1e-280), m)
    assert (np.diff(ancestors[:used]) > 0).all()
    assert (w[ancestors] > 0).all()
    assert (ancestors[used:] == ancestors[used - 1]).all()
    assert not weights[used:].any()
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1.0, abs=1e-9)
    if used < m:
        np.testing.assert_allclose(weights[:used], W[ancestors[:used]], rtol=1e-9, atol=1e-280)
    # At weight kappa or, for at least kappa, exactly.
    kappa = weights[:used].min()
    assert (np.abs(weights[:used] - np.maximum(W[ancestors[:used]], kappa)) < 1e-9).all()


def test_optimal_weights_are_unbiased():
    """A grid integrates step functions of the one uniform to its step."""
    w = np.array([3.0, 0.05, 0.7, 0.25, 0.0, 1.1, 0.4])
    size = 4000 if COMPILED else 500
    mean = np.zeros(w.size)
    for u in (np.arange(size) + 0.5) / size:
        _, ancestors, weights = thin(w, u, 4)
        np.add.at(mean, ancestors, weights / size)
    np.testing.assert_allclose(mean, w / w.sum(), atol=1.0 / size)


def test_optimal_without_mass():
    used, ancestors, weights = thin(np.zeros(4), 0.5, 3)
    assert used == 0
    assert not ancestors.any()
    assert not weights.any()


def test_optimal_keeps_ties_together():
    used, ancestors, weights = thin([1.0, 1.0, 1.0, 1.0], 0.3, 2)
    assert used == 2
    assert np.array_equal(weights, [0.5, 0.5])
    used, ancestors, weights = thin([5.0, 5.0, 1.0, 1.0], 0.3, 3)
    assert np.array_equal(ancestors[:2], [0, 1])
    np.testing.assert_allclose(weights, [5 / 12, 5 / 12, 2 / 12])


def test_optimal_never_drops_a_heavy_particle_for_a_tie_among_the_light():
    """Found by a search: the tie was broken in favour of those that came first."""
    w = np.array([1.0] * 11 + [2.3e-308, 2.3e-308, 5e-324, 1.0])
    used, ancestors, weights = thin(w, 0.0, 14)
    assert used == 14
    assert 14 in ancestors
    assert weights.sum() == pytest.approx(1.0)
