"""Stabilisers: what each keeps, what each bounds, and that they do help."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from aisle_kernels import pareto
from hypothesis import given
from hypothesis import strategies as st

from aisle_smc.divergences import (
    KL,
    Clipping,
    ParetoSmoothing,
    Truncation,
    WeightTempering,
    coefficients,
)

ALL = [
    Truncation(),
    Truncation(multiple=1.5),
    Clipping(),
    Clipping(count=1),
    WeightTempering(),
    WeightTempering(share=0.7, least=0.1),
    ParetoSmoothing(),
    ParetoSmoothing(threshold=-math.inf),
]
EVERY = pytest.mark.parametrize("stabiliser", ALL, ids=repr)
log_weights = (
    st.lists(st.one_of(st.floats(-300.0, 300.0), st.just(-math.inf)), min_size=1, max_size=40)
    .filter(lambda values: max(values) > -math.inf)
    .map(np.array)
)


def total(log_w):
    return np.logaddexp.reduce(log_w)


def ess(log_w):
    return math.exp(2 * total(log_w) - total(2 * log_w))


def heavy_tailed(n=300, sd=3.0, seed=0):
    return sd * np.random.default_rng(seed).standard_normal(n)


# --- what all of them keep -----------------------------------------------------------------------


@EVERY
@given(log_w=log_weights)
def test_total_order_and_zeros_are_kept(stabiliser, log_w):
    found = stabiliser.apply(log_w)
    assert not found.degenerate
    assert total(found.log_w) == pytest.approx(total(log_w), rel=1e-12, abs=1e-11)
    np.testing.assert_array_equal(found.log_w == -math.inf, log_w == -math.inf)
    ranked = found.log_w[np.argsort(log_w, kind="stable")]
    ranked = ranked[ranked > -math.inf]
    assert (np.diff(ranked) >= -1e-9).all()


@EVERY
@pytest.mark.parametrize("shift", [-1e4, 55.5])
def test_the_scale_is_of_no_account(stabiliser, shift):
    log_w = heavy_tailed()
    found, moved = stabiliser.apply(log_w), stabiliser.apply(log_w + shift)
    np.testing.assert_allclose(moved.log_w - shift, found.log_w, rtol=0, atol=1e-7)


@EVERY
@pytest.mark.parametrize("n", [1, 2, 7, 50])
def test_equal_weights_stay_equal(stabiliser, n):
    found = stabiliser.apply(np.full(n, 2.5))
    np.testing.assert_allclose(found.log_w, 2.5, rtol=0, atol=1e-14)


@EVERY
def test_no_weight_at_all(stabiliser):
    log_w = np.full((30, 2), -math.inf)
    log_w[:, 1] = heavy_tailed(30)
    found = stabiliser.apply(log_w)
    assert found.degenerate.tolist() == [True, False]
    assert (found.log_w[:, 0] == -math.inf).all()
    assert np.isfinite(found.log_w[:, 1]).all()
    zero = coefficients(found.log_w, KL())
    assert zero.degenerate.tolist() == [True, False]
    assert not zero.path[:, 0].any()
    assert bool(stabiliser.apply(log_w[:, 0]).degenerate)


@EVERY
def test_columns_are_treated_by_themselves(stabiliser):
    log_w = heavy_tailed(40 * 6).reshape(40, 3, 2)
    log_w[3, 1, 0] = -math.inf
    found = stabiliser.apply(log_w)
    for index in np.ndindex(3, 2):
        alone = stabiliser.apply(log_w[(slice(None), *index)])
        np.testing.assert_allclose(found.log_w[(slice(None), *index)], alone.log_w, rtol=1e-12)
        for what in ("khat", "exponent"):
            if getattr(found, what) is not None:
                assert getattr(found, what)[index] == getattr(alone, what)


@EVERY
def test_bad_weights_are_named_and_good_ones_left_alone(stabiliser):
    log_w = heavy_tailed()
    before = log_w.copy()
    stabiliser.apply(log_w)
    np.testing.assert_array_equal(log_w, before)
    log_w[17] = math.nan
    with pytest.raises(ValueError, match=r"log_w\[17\] is nan"):
        stabiliser.apply(log_w)
    assert pickle.loads(pickle.dumps(stabiliser)) == stabiliser


# --- truncation ----------------------------------------------------------------------------------


def test_truncation_is_the_formula():
    log_w = heavy_tailed()
    w = np.exp(log_w)
    for multiple in (None, 2.0):
        cap = (math.sqrt(w.size) if multiple is None else multiple) * w.mean()
        capped = np.minimum(w, cap)
        found = np.exp(Truncation(multiple=multiple).apply(log_w).log_w)
        np.testing.assert_allclose(found, capped * w.sum() / capped.sum(), rtol=1e-12)
        assert (w > cap).any()


@given(log_weights)
def test_truncation_bounds_the_ratio(log_w):
    found = Truncation().apply(log_w).log_w
    cap = 0.5 * math.log(log_w.size) + total(log_w) - math.log(log_w.size)
    raised = total(log_w) - total(np.minimum(log_w, cap))
    assert found.max() <= cap + raised + 1e-9


# --- clipping ------------------------------------------------------------------------------------


def test_clipping_is_the_formula():
    log_w = heavy_tailed(50)
    for count in (1, 5, 50):
        cap = np.sort(log_w)[-count]
        capped = np.minimum(log_w, cap)
        found = Clipping(count=count).apply(log_w).log_w
        np.testing.assert_allclose(found - total(log_w), capped - total(capped), rtol=1e-12)
        assert (found >= found.max() - 1e-12).sum() == count
    np.testing.assert_array_equal(
        Clipping().apply(log_w).log_w, Clipping(count=8).apply(log_w).log_w
    )


def test_clipping_among_fewer_with_weight():
    found = Clipping(count=4).apply(np.array([0.0, -math.inf, 3.0, -math.inf, -math.inf]))
    assert found.log_w[0] == found.log_w[2] == pytest.approx(np.log((1 + math.exp(3)) / 2))


# --- tempering -----------------------------------------------------------------------------------


@given(log_weights, st.sampled_from([0.05, 0.2, 0.5, 0.9]))
def test_tempering_takes_the_largest_power(log_w, share):
    found = WeightTempering(share=share).apply(log_w)
    beta = float(found.exponent)
    n, alive = log_w.size, log_w > -math.inf
    if alive.sum() < share * n:
        assert beta == 0.0
        assert np.ptp(found.log_w[alive]) == 0.0
        return
    tempered = beta * log_w[alive]
    np.testing.assert_allclose(
        found.log_w[alive] - total(log_w), tempered - total(tempered), atol=1e-9
    )
    assert ess(tempered) >= share * n * (1 - 1e-9)
    if beta < 1.0:
        more = min(1.0, beta + 2.0**-38) * log_w[alive]
        assert ess(more) <= share * n * (1 + 1e-9)
    else:
        np.testing.assert_allclose(found.log_w, log_w, atol=1e-9)


def test_tempering_carries_its_power():
    bad, good, worse = heavy_tailed(sd=6.0), heavy_tailed(sd=2.0), heavy_tailed(sd=9.0)
    stabiliser, powers = WeightTempering(share=0.3), []
    for log_w in (bad, good, worse, 0.1 * good):
        found = stabiliser.apply(log_w)
        stabiliser = found.stabiliser
        powers.append(float(found.exponent))
    assert powers == sorted(powers)
    assert powers[1] == powers[2] > powers[0]
    assert powers[3] == 1.0
    assert stabiliser == WeightTempering(share=0.3, least=1.0)
    # The negative twin: without what it carries the power would fall again.
    assert float(WeightTempering(share=0.3).apply(worse).exponent) < 0.5 * powers[1]


def test_tempering_carries_the_smallest_power_of_the_columns():
    log_w = np.stack([heavy_tailed(sd=6.0), heavy_tailed(sd=2.0)], axis=1)
    found = WeightTempering().apply(log_w)
    assert found.exponent[0] < found.exponent[1]
    assert found.stabiliser.least == found.exponent[0]


# --- Pareto smoothing ----------------------------------------------------------------------------


def test_pareto_smoothing_is_the_kernel():
    log_w = heavy_tailed(500)
    length = math.ceil(min(100, 3 * math.sqrt(500)))
    out = np.empty(500)
    khat = pareto.psis(log_w, length, out)
    found = ParetoSmoothing().apply(log_w)
    assert found.khat == khat > 0.7
    np.testing.assert_allclose(found.log_w, out + total(log_w), rtol=0, atol=1e-12)
    body = np.argsort(log_w)[: 500 - length]
    np.testing.assert_allclose(np.diff(found.log_w[body]), np.diff(log_w[body]), atol=1e-9)
    fewer = ParetoSmoothing(relative_efficiency=4.0).apply(log_w)
    assert fewer.khat == pareto.pareto_k(log_w, math.ceil(1.5 * math.sqrt(500)))


def test_light_and_short_tails_are_left_alone():
    light = np.log(np.random.default_rng(1).uniform(0.5, 1.5, size=400))
    found = ParetoSmoothing().apply(light)
    assert found.khat < 1 / 3
    np.testing.assert_allclose(found.log_w, light, atol=1e-12)
    always = ParetoSmoothing(threshold=-math.inf).apply(light)
    assert np.abs(always.log_w - light).max() > 1e-4
    short = heavy_tailed(12)
    found = ParetoSmoothing().apply(short)
    assert found.khat == math.inf
    np.testing.assert_allclose(found.log_w, short, atol=1e-12)


# --- that they help ------------------------------------------------------------------------------

# Relative root-mean-square error of the wake-phi and path gradients by the mean, 200 draws from
# N(0.4, 0.75^2) in d dimensions for N(0, 1).
MEASURED = {
    (2, None): (0.52, 0.23),
    (2, Truncation()): (0.39, 0.17),
    (2, WeightTempering(share=0.2)): (0.40, 0.18),
    (2, ParetoSmoothing(threshold=-math.inf)): (0.41, None),
    (10, None): (0.89, 0.39),
    (10, Truncation()): (0.60, 0.26),
    (10, WeightTempering(share=0.2)): (0.60, 0.26),
    (10, ParetoSmoothing(threshold=-math.inf)): (0.71, None),
}


@pytest.mark.parametrize("dim", [2, 10])
def test_the_error_of_the_gradient_falls(dim):
    """Against an independent implementation's figures: 600 replicates, standard error 0.01."""
    rng = np.random.default_rng(dim)
    mean, sd = 0.4, 0.75
    e = rng.standard_normal((200, 600, dim))
    z = mean + sd * e
    log_w = np.sum(-0.5 * z**2 + 0.5 * e**2 + math.log(sd), axis=-1)
    atoms = {"score": e / sd, "path": e / sd - z}
    truth = np.full(dim, -mean / sd**2)
    raw = None
    for (of, stabiliser), expected in MEASURED.items():
        if of != dim:
            continue
        used = log_w if stabiliser is None else stabiliser.apply(log_w).log_w
        weights = coefficients(used, KL()).path
        for atom, figure in zip(atoms.values(), expected, strict=True):
            error = np.einsum("kr,krd->rd", weights, atom) - truth
            error = math.sqrt(np.mean(np.sum(error**2, axis=1)) / np.sum(truth**2))
            if figure is not None:
                assert error == pytest.approx(figure, abs=0.04)
            if atom is atoms["score"]:
                raw = error if stabiliser is None else raw
                assert stabiliser is None or error < 0.85 * raw


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Truncation(multiple=0.9), "multiple must be at least 1"),
        (lambda: Truncation(multiple=math.nan), "multiple must be at least 1"),
        (lambda: Clipping(count=0), "count must be at least 1"),
        (
            lambda: Clipping(count=5).apply(np.zeros(4)),
            "at most the number of particles, 4; got 5",
        ),
        (lambda: WeightTempering(share=0.0), r"share must be in \(0, 1\]"),
        (lambda: WeightTempering(share=1.1), r"share must be in \(0, 1\]"),
        (lambda: WeightTempering(least=-0.1), r"least must be in \[0, 1\]"),
        (lambda: ParetoSmoothing(relative_efficiency=0.0), "relative_efficiency must be positive"),
        (lambda: ParetoSmoothing(threshold=math.nan), "threshold must be a number"),
    ],
)
def test_bad_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()
