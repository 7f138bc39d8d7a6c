"""Sums over log-weights: exact oracles, edges of the floating-point range, equal bits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from aisle_kernels import weights as kernels
from aisle_kernels.vecmath import exp, log
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.oracles import weights as oracle

INF, NAN = math.inf, math.nan

# Both sides of a vector, of a block of 1024, and of two blocks.
SIZES = [1, 2, 7, 8, 9, 1023, 1024, 1025, 1031, 1032, 2048, 2051]

log_weights = hnp.arrays(
    np.float64,
    st.integers(1, 40),
    elements=st.one_of(st.floats(-800, 800), st.sampled_from([-INF, 0.0, -745.0, -1e300])),
)


def sample(size, spread=3.0, seed=0):
    return spread * np.random.default_rng(seed + size).normal(size=size) - 1000.0


def exponentiated(log_w):
    out = np.full(len(log_w), 7.0)
    m, s, q = kernels.exponentiate(np.asarray(log_w, dtype=float), out)
    return m, s, q, out


def assert_same_bits(a, b):
    assert np.array_equal(np.asarray(a).view(np.int64), np.asarray(b).view(np.int64))


def scalars(log_w):
    functions = (
        kernels.largest,
        kernels.log_sum_exp,
        kernels.log_mean_exp,
        kernels.ess,
        kernels.max_weight,
    )
    return [f(np.asarray(log_w, dtype=float)) for f in functions]


@pytest.mark.parametrize("size", SIZES)
def test_against_oracle(size):
    log_w = sample(size)
    m, s, q, e = exponentiated(log_w)
    m_true, s_true, q_true, e_true = oracle.exponentiate(log_w)
    assert m == m_true
    np.testing.assert_allclose(e, e_true, rtol=1e-15 * 4)
    np.testing.assert_allclose([s, q], [s_true, q_true], rtol=1e-13)
    expected = [
        m_true,
        oracle.log_sum_exp(log_w),
        oracle.log_mean_exp(log_w),
        oracle.ess(log_w),
        oracle.max_weight(log_w),
    ]
    np.testing.assert_allclose(scalars(log_w), expected, rtol=1e-13)
    out = np.empty(size)
    assert kernels.normalise(log_w, out) == kernels.log_mean_exp(log_w)
    np.testing.assert_allclose(out, oracle.normalise(log_w), rtol=1e-13)
    assert out.sum() == pytest.approx(1.0, rel=1e-14)


@given(log_weights)
def test_against_oracle_anywhere(log_w):
    m, s, q, e = exponentiated(log_w)
    m_true, s_true, q_true, e_true = oracle.exponentiate(log_w)
    assert m == m_true
    np.testing.assert_allclose(e, e_true, rtol=4e-15, atol=1e-323)
    np.testing.assert_allclose([s, q], [s_true, q_true], rtol=1e-13)


@given(log_weights)
def test_bounds(log_w):
    n = log_w.size
    if log_w.max() == -INF:
        assert scalars(log_w)[3:] == [0.0, 0.0]
        return
    _, s, q, e = exponentiated(log_w)
    assert e.max() == 1.0
    assert 1.0 <= q <= s * (1 + 1e-14)
    assert s <= n
    assert 1.0 - 1e-12 <= kernels.ess(log_w) <= n * (1 + 1e-12)
    assert 1.0 / n <= kernels.max_weight(log_w) <= 1.0


@pytest.mark.parametrize("size", SIZES)
def test_one_pass_gives_the_bits_of_everything(size):
    log_w = sample(size)
    m, s, q, e = exponentiated(log_w)
    assert s == oracle.sum_in_lanes(e)
    assert q == oracle.sum_in_lanes(e * e)
    assert e[0] == exp(log_w[0] - m)
    assert kernels.log_sum_exp(log_w) == m + log(s)
    assert kernels.log_mean_exp(log_w) == m + log(s / size)
    assert kernels.ess(log_w) == s * s / q
    assert kernels.max_weight(log_w) == 1.0 / s
    out = np.empty(size)
    assert kernels.exponentiate_from(log_w, m, out) == (m, s, q)
    assert_same_bits(out, e)


@pytest.mark.parametrize("size", [9, 1032])
def test_a_view_has_the_bits_of_its_copy(size):
    wide = np.repeat(sample(size), 2)
    assert scalars(wide[::2]) == scalars(wide[::2].copy())
    a, b = np.empty(size), np.empty(2 * size)
    assert kernels.exponentiate(wide[::2], a) == kernels.exponentiate(wide[::2], b[::2])
    assert_same_bits(a, b[::2].copy())


@pytest.mark.parametrize("size", [1, 5, 8, 1025])
def test_no_mass(size):
    log_w = np.full(size, -INF)
    m, s, q, e = exponentiated(log_w)
    assert (m, s, q) == (-INF, 0.0, 0.0)
    assert not e.any()
    assert scalars(log_w) == [-INF, -INF, -INF, 0.0, 0.0]
    out = np.ones(size)
    assert kernels.normalise(log_w, out) == -INF
    assert not out.any()
    assert kernels.cess(log_w, np.zeros(size)) == 0.0


@pytest.mark.parametrize("size", [3, 8, 9, 1025])
def test_infinite_mass_is_the_limit(size):
    log_w = sample(size)
    log_w[[0, -1]] = INF
    log_w[1] = -INF
    m, s, q, e = exponentiated(log_w)
    assert (m, s, q) == (INF, 2.0, 2.0)
    assert_same_bits(e, (log_w == INF).astype(float))
    assert scalars(log_w) == [INF, INF, INF, 2.0, 0.5]
    out = np.empty(size)
    assert kernels.normalise(log_w, out) == INF
    assert_same_bits(out, e / 2)


@pytest.mark.parametrize("size", [1, 3, 8, 9, 1025, 1033])
@pytest.mark.parametrize("others", [0.0, -INF, INF])
def test_nan_is_never_swallowed(size, others):
    for where in {0, size // 2, size - 1}:
        log_w = np.full(size, others)
        log_w[where] = NAN
        m, s, q, e = exponentiated(log_w)
        assert np.isnan([m, s, q]).all()
        assert np.isnan(e).all()
        assert np.isnan(scalars(log_w)).all()
        out = np.empty(size)
        assert math.isnan(kernels.normalise(log_w, out))
        assert np.isnan(out).all()
        assert np.isnan(kernels.exponentiate_from(log_w, kernels.largest(log_w), out)).all()
        assert math.isnan(kernels.cess(log_w, np.zeros(size)))
        assert math.isnan(kernels.cess(np.zeros(size), log_w))


def test_far_apart():
    log_w = np.array([1e308, -1e308, -1e308])
    assert exponentiated(log_w)[:3] == (1e308, 1.0, 1.0)
    log_w = np.array([-5e5, -5e5 - 740.0])
    _, s, q, e = exponentiated(log_w)
    assert 0.0 < e[1] < 2.3e-308
    assert (s, q) == (1.0, 1.0)


def test_one_particle():
    assert scalars([-3.0]) == [-3.0, -3.0, -3.0, 1.0, 1.0]
    assert kernels.cess(np.array([-3.0]), np.array([-800.0])) == 1.0


@given(log_weights, st.data())
def test_cess(log_w, data):
    n = log_w.size
    log_g = data.draw(hnp.arrays(np.float64, n, elements=st.floats(-30, 30)))
    value = kernels.cess(log_w, log_g)
    assert 0.0 <= value <= n
    if log_w.max() > -INF:
        assert value == pytest.approx(oracle.cess(log_w, log_g), rel=1e-10)
        assert kernels.cess(log_w, np.zeros(n)) == pytest.approx(n, rel=1e-13)
        assert kernels.cess(log_w, log_g + 5.0) == pytest.approx(value, rel=1e-11)
        assert kernels.cess(np.zeros(n), log_g) == pytest.approx(kernels.ess(log_g), rel=1e-11)


def test_cess_at_the_edges():
    zero = np.zeros(4)
    # No common mass; the increment of a particle without weight does not matter, were it infinite.
    assert kernels.cess(np.array([0, -INF]), np.array([-INF, 0.0])) == 0.0
    assert kernels.cess(np.array([0, -INF]), np.array([-1.0, INF])) == 2.0
    # Infinite increments: n times the weight under them.
    assert kernels.cess(zero, np.array([INF, 0, 3.0, 1.0])) == pytest.approx(1.0, rel=1e-14)
    assert kernels.cess(zero, np.array([INF, 0, INF, INF])) == pytest.approx(3.0, rel=1e-14)
    assert kernels.cess(np.array([INF, INF, 0, 1.0]), np.array([0.0, 0, 9, 9])) == pytest.approx(
        4.0, rel=1e-14
    )
    # The weight under the largest increment is below the smallest float, and still it is all.
    assert kernels.cess(np.array([0.0, -900.0]), np.array([-1e4, 0.0])) == pytest.approx(
        2.0 * math.exp(-900.0) + 0.0, abs=1e-300
    )
    assert kernels.cess(np.array([0.0, -900.0]), np.array([-900.0, 0.0])) == pytest.approx(
        0.0, abs=1e-300
    )
    assert kernels.cess(np.array([0.0, -40.0]), np.array([-40.0, 0.0])) == pytest.approx(
        2 * (2 * math.exp(-40.0)) ** 2 / math.exp(-40.0), rel=1e-12
    )


def test_negative_twin_normalising_without_the_maximum():
    """The textbook formula loses all mass where ours does not."""
    log_w = sample(20)
    with np.errstate(under="ignore", divide="ignore"):
        assert np.log(np.exp(log_w).sum()) == -INF
    assert kernels.log_sum_exp(log_w) == pytest.approx(oracle.log_sum_exp(log_w))


def test_nothing_changes_the_log_weights():
    log_w = sample(100)
    before = log_w.copy()
    out = np.empty(100)
    scalars(log_w)
    kernels.cess(log_w, log_w)
    kernels.normalise(log_w, out)
    assert_same_bits(log_w, before)
