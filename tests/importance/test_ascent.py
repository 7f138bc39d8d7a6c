"""Locations that climb: derivatives, steps, scales and repulsion."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aisle_smc import stream
from aisle_smc.importance import Ascend, Located
from aisle_smc.importance.ascent import _field
from aisle_smc.importance.derivatives import curvature, gradient
from aisle_smc.targets import Target, evaluator
from tests.importance.densities import (
    LEFT,
    RIGHT,
    banana,
    banana_gradient,
    bimodal,
    evaluate,
    gaussian,
    half_line,
)
from tests.importance.rounds import a_round, scattered

PROBE = np.random.default_rng(0).normal(size=(4, 2)) + 1.0
SLOPED = evaluator(Target(banana, gradient=banana_gradient, vectorized=True), ["a", "b"], PROBE)
PLAIN = evaluate(banana, 2)


def banana_hessian(x):
    away = x[:, 1] - 0.5 * x[:, 0] ** 2
    out = np.empty((len(x), 2, 2))
    out[:, 0, 0] = -1.0 + 4.0 * away - 4.0 * x[:, 0] ** 2
    out[:, 0, 1] = out[:, 1, 0] = 4.0 * x[:, 0]
    out[:, 1, 1] = -4.0
    return out


@pytest.mark.parametrize("target", [PLAIN, SLOPED], ids=["values", "gradients"])
def test_derivatives(target):
    x = np.random.default_rng(1).normal(size=(9, 2))
    scale = np.full((9, 2), [1.0, 0.5])
    value, slope = gradient(target, x, scale)
    np.testing.assert_allclose(value, banana(x), rtol=1e-12)
    np.testing.assert_allclose(slope, banana_gradient(x), rtol=1e-5, atol=1e-5)
    calls = target.calls
    value, slope, hessian = curvature(target, x, scale)
    # 2 d + 1 gradients or 1 + d + d^2 values.
    assert target.calls - calls == 9 * (5 if target.has_gradients else 7)
    np.testing.assert_allclose(value, banana(x), rtol=1e-12)
    np.testing.assert_allclose(slope, banana_gradient(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(hessian, banana_hessian(x), rtol=1e-4, atol=1e-4)


def test_cross_derivatives_in_four_dimensions():
    rng = np.random.default_rng(2)
    a = rng.normal(size=(4, 4))
    precision = a @ a.T + np.eye(4)
    target = evaluate(lambda x: -0.5 * np.einsum("ni,ij,nj->n", x, precision, x), 4)
    _, _, hessian = curvature(target, rng.normal(size=(3, 4)), np.full((3, 4), 0.7))
    np.testing.assert_allclose(hessian, np.broadcast_to(-precision, (3, 4, 4)), atol=1e-6)


def half_line_gradient(x):
    return np.where(x > 0.0, 2.0 / np.where(x > 0.0, x, 1.0) - 1.0, 0.0)


@pytest.mark.parametrize("sloped", [False, True])
def test_nothing_is_known_next_to_the_edge(sloped):
    function = Target(half_line, gradient=half_line_gradient if sloped else None, vectorized=True)
    target = evaluator(function, ["x"], np.array([[1.0], [2.0]]))
    _, _, hessian = curvature(target, np.array([[1e-6], [2.0]]), np.ones((2, 1)))
    assert np.isnan(hessian[0]).all() or not np.isfinite(hessian[0]).any()
    assert hessian[1, 0, 0] == pytest.approx(-0.5, rel=1e-4)


@pytest.mark.parametrize("target", [PLAIN, SLOPED], ids=["values", "gradients"])
def test_ascent_never_falls_and_arrives(target):
    proposals = scattered(8, df=5.0)
    for t in range(1, 30):
        before = banana(proposals.locations)
        proposals = Ascend().adapt(a_round(proposals, target=target, t=t))
        assert (banana(proposals.locations) >= before - 1e-12).all()
        np.testing.assert_allclose(proposals.log_density, banana(proposals.locations))
    np.testing.assert_allclose(proposals.locations, 0.0, atol=1e-4)
    scales = proposals.roots @ proposals.roots.transpose(0, 2, 1)
    np.testing.assert_allclose(scales, np.broadcast_to(np.diag([1.0, 0.25]), (8, 2, 2)), atol=1e-3)


def test_one_newton_step_solves_a_gaussian():
    """From the right scale; its own Hessian then gives the covariance."""
    mean, covariance = LEFT
    target = evaluate(lambda x: gaussian(x, mean, covariance), 2)
    located = Located(
        locations=np.array([[3.0, -4.0], [0.0, 7.0]]), roots=np.linalg.cholesky(covariance)[None]
    )
    adapted = Ascend().adapt(a_round(located, n=6, target=target))
    np.testing.assert_allclose(adapted.locations, np.tile(mean, (2, 1)), atol=1e-5)
    np.testing.assert_allclose(
        adapted.roots @ adapted.roots.transpose(0, 2, 1), np.tile(covariance, (2, 1, 1)), atol=1e-5
    )


def test_a_step_is_not_longer_than_twenty_units():
    """Far up a steep slope the target might not be defined."""
    steep = evaluate(lambda x: 1e6 * x[:, 0], 1)
    located = Located(locations=np.array([[1.0]]), roots=np.full((1, 1, 1), 0.5))
    adapted = Ascend().adapt(a_round(located, n=3, target=steep))
    assert adapted.locations[0, 0] == pytest.approx(11.0)


def test_where_the_target_is_not_concave_the_scale_stays():
    """Half way between the modes the density bends upwards."""
    between = 0.5 * (LEFT[0] + RIGHT[0])
    target = evaluate(bimodal, 2)
    _, _, hessian = curvature(target, between[None], np.ones((1, 2)))
    assert np.linalg.eigvalsh(hessian[0]).max() > 0.0
    flat = evaluate(lambda x: 0.1 * x[:, 0] ** 2 - x[:, 1] ** 2, 2)
    located = Located(locations=np.zeros((1, 2)), roots=np.diag([0.5, 2.0])[None])
    adapted = Ascend().adapt(a_round(located, n=5, target=flat))
    np.testing.assert_array_equal(adapted.roots[0], located.roots[0])


def test_a_location_without_density_stays():
    target = evaluate(half_line, 1)
    located = Located(locations=np.array([[-2.0], [1.0]]), roots=np.full((1, 1, 1), 0.5))
    adapted = Ascend(repulsion=1.0).adapt(a_round(located, n=6, target=target))
    assert adapted.locations[0, 0] == -2.0
    assert adapted.log_density[0] == -math.inf
    assert adapted.locations[1, 0] > 1.0


def test_the_field_pushes_apart_and_does_not_depend_on_coordinates():
    x = np.array([[0.0, 0.0], [0.4, 0.1], [3.0, -2.0], [3.0, -2.0]])
    roots = np.broadcast_to(np.eye(2), (4, 2, 2))
    push = _field(x, roots)
    naive = np.zeros_like(x)
    for k in range(4):
        for j in range(4):
            away = x[k] - x[j]
            if away.any():
                naive[k] += away / np.linalg.norm(away) ** 2 / 4
    np.testing.assert_allclose(push, naive, rtol=1e-12)
    assert push[0] @ (x[1] - x[0]) < 0.0 < push[1] @ (x[1] - x[0])
    stretch = np.array([[20.0, 0.0], [0.3, 0.01]])
    moved = _field(x @ stretch.T, np.broadcast_to(stretch, (4, 2, 2)))
    np.testing.assert_allclose(moved, push @ stretch.T, rtol=1e-9)
    close = np.array([[0.0, 0.0], [1e-9, 0.0]])
    assert np.linalg.norm(_field(close, roots[:2]), axis=1).max() <= 1.0


def test_repulsion_keeps_locations_apart():
    alone, apart = scattered(8), scattered(8)
    for t in range(1, 12):
        alone = Ascend().adapt(a_round(alone, target=PLAIN, t=t))
        apart = Ascend(repulsion=1.0, decay=1.0).adapt(a_round(apart, target=PLAIN, t=t))
    assert np.std(apart.locations[:, 0]) > 0.5 > np.std(alone.locations[:, 0])


def test_bad_options():
    with pytest.raises(ValueError, match="repulsion must be 0 or more"):
        Ascend(repulsion=-1.0)
    with pytest.raises(ValueError, match="decay above 0 and at most 1"):
        Ascend(repulsion=1.0, decay=1.5)
    with pytest.raises(ValueError, match="halvings must be at least 1"):
        Ascend(halvings=0)


def test_the_stream_is_not_touched():
    """Ascent is deterministic: the next draws are those of a method without it."""
    last = a_round(scattered(4), seed=9)
    Ascend().adapt(last)
    expected = stream(9)
    scattered(4).sample(40, expected)
    assert last.rng.random() == expected.random()
