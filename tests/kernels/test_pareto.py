"""The tail of importance weights: fit, smoothing, and the weights that have no tail."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
from aisle_kernels import pareto
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import pareto as oracle

COMPILED = not numba.config.DISABLE_JIT
INF = math.inf


def smooth(log_w, length=None):
    log_w = np.asarray(log_w, dtype=np.float64)
    if length is None:
        length = pareto.tail_length(log_w.shape[0], 1.0)
    out = np.full_like(log_w, np.nan)
    before = log_w.copy()
    k = pareto.psis(log_w, length, out)
    np.testing.assert_array_equal(log_w, before)
    assert pareto.pareto_k(log_w, length) == k
    return out, k


def generalised_pareto(rng, n, k, sigma):
    u = rng.uniform(size=n)
    return np.sort(sigma * (u**-k - 1.0) / k)


@pytest.mark.parametrize(
    ("n", "efficiency", "length"),
    [
        (0, 1.0, 0),
        (24, 1.0, 4),
        (25, 1.0, 5),
        (225, 1.0, 45),
        (226, 1.0, 45),
        (10_000, 1.0, 300),
        (10_000, 0.25, 600),
        (10_000, 4.0, 150),
        (1000, 0.01, 200),
    ],
)
def test_tail_length(n, efficiency, length):
    assert pareto.tail_length(n, efficiency) == length


@given(st.integers(5, 80), st.sampled_from([-0.4, 0.01, 0.5, 2.0]), st.integers(0, 2**32 - 1))
def test_fit_agrees_with_the_formulas(n, k, seed):
    x = generalised_pareto(np.random.default_rng(seed), n, k, 2.5)
    np.testing.assert_allclose(pareto.gpd_fit(x), oracle.gpd_fit(x), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("unit", [2.0**-1000, 2.0**-20, 2.0**900])
def test_fit_does_not_depend_on_the_unit(unit):
    x = generalised_pareto(np.random.default_rng(60), 40, 0.7, 1.0)
    k, sigma = pareto.gpd_fit(x)
    assert pareto.gpd_fit(x * unit) == (k, sigma * unit)


def test_fit_is_calibrated():
    # 200 samples of 300: the bias towards 1/2 of the prior is 3 %, and its size is known.
    rng = np.random.default_rng(61)
    size, replicates = (300, 200) if COMPILED else (100, 20)
    for k in (-0.3, 0.2, 0.9):
        fits = []
        for _ in range(replicates):
            estimate, _ = pareto.gpd_fit(generalised_pareto(rng, size, k, 3.0))
            fits.append((estimate * (size + 10.0) - 5.0) / size)
        z = (np.mean(fits) - k) / (np.std(fits, ddof=1) / math.sqrt(replicates))
        assert abs(z) < 4.0, (k, z)
        # Power: a shape off by 0.1 would be seen.
        wrong = (np.mean(fits) - k - 0.2) / (np.std(fits, ddof=1) / math.sqrt(replicates))
        assert abs(wrong) > 4.0


def test_fit_of_exponential_quantiles_is_finite():
    x = -np.log1p(-(np.arange(50) + 0.5) / 50)
    k, sigma = pareto.gpd_fit(x)
    assert k == pytest.approx(0.05, abs=0.1)
    assert sigma == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("n", [25, 60, 225, 226, 1000])
@pytest.mark.parametrize("spread", [0.01, 0.5, 1.0, 3.0, 20.0])
def test_smoothing_agrees_with_the_formulas(n, spread):
    rng = np.random.default_rng(n)
    log_w = spread * rng.normal(size=n) + 1000.0
    length = pareto.tail_length(n, 1.0)
    out, k = smooth(log_w)
    expected, expected_k = oracle.psis(log_w, length)
    assert k == pytest.approx(expected_k, rel=1e-8, abs=1e-9)
    np.testing.assert_allclose(out, expected, rtol=1e-8, atol=1e-8)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 5.0), st.floats(-1e4, 1e4))
def test_smoothing_is_a_monotone_change_of_the_tail_only(seed, spread, shift):
    rng = np.random.default_rng(seed)
    log_w = spread * rng.standard_t(4.0, size=120) + shift
    length = pareto.tail_length(120, 1.0)
    out, k = smooth(log_w)
    assert math.isfinite(k)
    assert np.exp(out).sum() == pytest.approx(1.0, rel=1e-12)
    order = np.argsort(log_w)
    assert (np.diff(out[order]) >= -1e-9).all()
    body = order[:-length]
    difference = (out - log_w)[body]
    np.testing.assert_allclose(difference, difference[0], atol=1e-9 * max(1.0, abs(shift)))
    # Truncation: no smoothed weight above the largest raw one, on the same scale.
    assert out.max() - difference[0] <= log_w.max() + 1e-9 * max(1.0, abs(shift))


def test_constant_weights_have_no_tail():
    for n in (1, 4, 25, 400):
        out, k = smooth(np.full(n, -3.0))
        assert k == -INF
        np.testing.assert_allclose(out, -math.log(n), rtol=1e-14)


def test_a_constant_tail_is_no_tail():
    log_w = np.append(np.random.default_rng(62).uniform(-5.0, -1.0, 80), np.zeros(20))
    out, k = smooth(log_w)
    assert k == -INF
    np.testing.assert_allclose(np.exp(out), np.exp(log_w) / np.exp(log_w).sum(), rtol=1e-12)


def test_few_draws_in_the_tail_say_nothing():
    log_w = np.arange(24.0)
    out, k = smooth(log_w)
    assert k == INF
    np.testing.assert_allclose(np.exp(out), np.exp(log_w) / np.exp(log_w).sum(), rtol=1e-12)


def test_few_draws_above_the_threshold_say_nothing():
    assert smooth(np.append(np.zeros(96), [1.0, 2.0, 3.0, 4.0]))[1] == INF
    # Negative twin: five are enough.
    assert math.isfinite(smooth(np.append(np.zeros(95), [1.0, 2.0, 3.0, 4.0, 5.0]))[1])


def test_all_weights_zero():
    out, k = smooth(np.full(50, -INF))
    assert k == INF
    np.testing.assert_array_equal(out, -INF)


def test_a_single_positive_weight():
    log_w = np.full(50, -INF)
    log_w[17] = 3.0
    out, k = smooth(log_w)
    assert k == INF
    np.testing.assert_array_equal(out, np.where(np.arange(50) == 17, 0.0, -INF))


def test_zero_weights_count_as_draws():
    rng = np.random.default_rng(63)
    log_w = rng.normal(size=200)
    log_w[rng.permutation(200)[:120]] = -INF
    out, k = smooth(log_w)
    expected, expected_k = oracle.psis(log_w, 40)
    assert k == pytest.approx(expected_k, rel=1e-10)
    np.testing.assert_array_equal(np.isneginf(out), np.isneginf(log_w))
    np.testing.assert_allclose(np.exp(out), np.exp(expected), rtol=1e-10)


def test_zero_weights_in_the_tail():
    log_w = np.append(np.full(90, -INF), np.random.default_rng(64).normal(size=10))
    out, k = smooth(log_w)
    assert math.isfinite(k)
    assert np.exp(out).sum() == pytest.approx(1.0)
    np.testing.assert_array_equal(np.isneginf(out), np.isneginf(log_w))


def test_ties_at_the_threshold_fill_the_tail():
    log_w = np.append(np.zeros(90), np.arange(1.0, 11.0))
    out, k = smooth(log_w)
    assert math.isfinite(k)
    assert np.exp(out).sum() == pytest.approx(1.0)
    # The last of the ties are in the tail; the others are left alone.
    assert np.unique(out[:80]).size == 1
    assert (out[80:90] >= out[0]).all()


def test_weights_that_underflow():
    out, k = smooth(50.0 * np.arange(100.0))
    assert k > 10.0
    assert not np.isnan(out).any()
    assert smooth(5000.0 * np.arange(100.0))[1] == INF


def test_smoothing_reduces_the_variance_of_heavy_weights():
    # Importance sampling of E x^2 = 1 under N(0, 1) from N(0, 0.55^2): a mean, no variance.
    rng = np.random.default_rng(65)
    raw, smoothed = [], []
    for _ in range(150):
        x = 0.55 * rng.normal(size=100)
        log_w = -0.5 * x**2 + 0.5 * (x / 0.55) ** 2
        out, _ = smooth(log_w)
        w = np.exp(log_w - log_w.max())
        raw.append(np.sum(w * x**2) / w.sum())
        smoothed.append(np.sum(np.exp(out) * x**2))
    assert np.var(smoothed) < 0.9 * np.var(raw)
    assert abs(np.mean(smoothed) - 1.0) < 0.5


@pytest.mark.parametrize("efficiency", [1.0, 0.4, 1.7])
@pytest.mark.parametrize("n", [30, 100, 226, 2000])
def test_agrees_with_arviz(n, efficiency):
    base = pytest.importorskip("arviz_stats.base", reason="the comparison is with ArviZ")
    rng = np.random.default_rng(n)
    for spread in (0.1, 1.0, 4.0):
        log_w = spread * rng.standard_t(5.0, size=n)
        length = pareto.tail_length(n, efficiency)
        if length < 5:
            continue
        out, k = smooth(log_w, length)
        expected, expected_k = base.array_stats.psislw(-log_w, r_eff=efficiency)
        assert k == pytest.approx(float(expected_k), rel=1e-8, abs=1e-8)
        np.testing.assert_allclose(out, expected, rtol=1e-8, atol=1e-8)
