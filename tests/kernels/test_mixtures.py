"""Mixtures of Student-t laws on the line against the textbook formulas, and their EM."""

from __future__ import annotations

import math

import numpy as np
import pytest
from aisle_kernels import mixtures
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import mixtures as oracle

CHOICES = np.array([3.0, 5.0, 10.0, 30.0])


def some_mixture(rng, *shape):
    """Random mixtures with components in the last axis."""
    share = rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])
    location = 3.0 * rng.standard_normal(shape)
    return share, location, np.exp(rng.standard_normal(shape)), rng.choice(CHOICES, size=shape)


def evaluated(x, *mixture):
    out = np.full(x.shape[1], np.nan)
    mixtures.log_density(x, *mixture, out)
    return out


@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 4), st.integers(0, 40))
def test_log_density(seed, d, k, n):
    rng = np.random.default_rng(seed)
    mixture = some_mixture(rng, d, k)
    x = 20.0 * rng.standard_normal((d, n))
    expected = oracle.log_density(x, *mixture)
    np.testing.assert_allclose(evaluated(x, *mixture), expected, rtol=1e-11, atol=1e-11)


def test_more_points_than_a_block_holds():
    rng = np.random.default_rng(1)
    mixture = some_mixture(rng, 2, 3)
    x = rng.standard_normal((2, 1100))
    pieces = [
        evaluated(np.ascontiguousarray(x[:, i : i + 100]), *mixture) for i in range(0, 1100, 100)
    ]
    np.testing.assert_array_equal(evaluated(x, *mixture), np.concatenate(pieces))


def test_components_after_the_last_share_do_not_count():
    rng = np.random.default_rng(2)
    mixture = some_mixture(rng, 2, 2)
    padded = [np.concatenate([part, np.full((2, 1), np.nan)], axis=1) for part in mixture]
    padded[0][:, 2] = 0.0
    x = rng.standard_normal((2, 9))
    np.testing.assert_array_equal(evaluated(x, *padded), evaluated(x, *mixture))


def test_no_density_at_infinity_and_little_far_away():
    one = np.ones((1, 1))
    far = evaluated(np.array([[math.inf, -math.inf, 1e100]]), one, one, one, 3.0 * one)
    assert far[:2].tolist() == [-math.inf, -math.inf]
    assert far[2] == pytest.approx(
        oracle.log_density(np.array([[1e100]]), one, one, one, 3 * one)[0]
    )


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_one_iteration(seed, k):
    rng = np.random.default_rng(seed)
    x, w = 3.0 * rng.standard_normal(25), rng.dirichlet(np.ones(25))
    start = some_mixture(rng, k)
    share, location, scale, df = (part.copy() for part in start)
    value = mixtures.em(x, w, share, location, scale, df, CHOICES, 1e-9, 1, -1.0)
    assert value == pytest.approx(w @ oracle.mixture_log_density(x, *start), rel=1e-11)
    expected = oracle.em_step(x, w, *start)
    for found, right in zip((share, location, scale), expected, strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(df, start[3])


@given(st.integers(0, 2**32), st.integers(1, 3))
def test_the_likelihood_never_falls(seed, k):
    # Of the parameter-expanded iteration too; the degrees of freedom are those of the best choice.
    rng = np.random.default_rng(seed)
    x, w = rng.standard_t(3.0, 30), rng.dirichlet(np.ones(30))
    mixture = [part.copy() for part in some_mixture(rng, k)]
    values = []
    for _ in range(12):
        values.append(w @ oracle.mixture_log_density(x, *mixture))
        mixtures.em(x, w, *mixture, CHOICES, 1e-3, 4, -1.0)
    assert np.diff(values).min() > -1e-9


def test_degrees_of_freedom_of_one_component():
    rng = np.random.default_rng(3)
    for df, expected in ((3.0, {3.0, 5.0}), (1000.0, {30.0})):
        x = rng.standard_t(df, 800)
        mixture = [np.array([a]) for a in (1.0, 0.0, 1.0, 10.0)]
        mixtures.em(x, np.full(800, 1 / 800), *mixture, CHOICES, 1e-3, 100, 1e-9)
        assert mixture[3][0] in expected


def test_a_lost_component_keeps_its_place():
    x = np.linspace(-1.0, 1.0, 20)
    mixture = [np.array(a) for a in ([0.5, 0.5], [0.0, 1e100], [1.0, 1.0], [30.0, 30.0])]
    mixtures.em(x, np.full(20, 0.05), *mixture, CHOICES, 1e-3, 10, -1.0)
    assert mixture[1][1] == 1e100
    assert mixture[0].tolist() == pytest.approx([1.0, 0.0], abs=1e-10)


def test_no_scale_below_the_least():
    mixture = [np.array([a]) for a in (1.0, 0.3, 1.0, 5.0)]
    mixtures.em(np.full(5, 0.3), np.full(5, 0.2), *mixture, CHOICES, 0.25, 20, -1.0)
    assert mixture[2][0] == 0.25
