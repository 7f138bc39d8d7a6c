"""Fits of Student-t parts against the textbook formulas, and what they do with few points."""

from __future__ import annotations

import math

import numpy as np
import pytest
from aisle_kernels import covariances
from aisle_kernels import student_fit as kernels

from tests.oracles import student
from tests.oracles import student_fit as oracle

EULER = 0.5772156649015329


def problem(n, d, k, seed=0):
    """Return points, weights and parts whose distances are moderate."""
    rng = np.random.default_rng([seed, n, d, k])
    x, w = 1.5 * rng.standard_t(5.0, (n, d)), rng.dirichlet(np.full(n, 2.0))
    root = np.tril(0.3 * rng.normal(size=(k, d, d)), -1) + np.eye(d)
    location = rng.normal(size=(k, d))
    return x, w, [rng.dirichlet(np.full(k, 5.0)), location, root, rng.uniform(4.0, 30.0, k)]


def shared(x, w, parts):
    weights, location, root, df = parts
    distance = student.distances(x, location, np.linalg.inv(root))
    level = oracle.levels(weights, root, df)
    share = student.share_out(distance, x.shape[1], level, df, w)
    return distance, share, student.tail_sums(distance, share, df, w)


@pytest.mark.parametrize("n", [1, 2, 3, 9, 10, 11, 40])
def test_digamma_and_trigamma(n):
    k = np.arange(1.0, n)
    whole = -EULER + (1.0 / k).sum(), math.pi**2 / 6 - (1.0 / k**2).sum()
    odd = 2.0 * np.arange(1.0, n + 1) - 1.0
    half = (
        -EULER - 2.0 * math.log(2.0) + (2.0 / odd).sum(),
        math.pi**2 / 2 - (4.0 / odd**2).sum(),
    )
    for x, (first, second) in ((float(n), whole), (n + 0.5, half)):
        assert kernels.digamma(x) == pytest.approx(first, abs=1e-13)
        assert kernels.trigamma(x) == pytest.approx(second, abs=1e-13)
        assert oracle.digamma(x) == pytest.approx(first, abs=1e-8)
        assert oracle.trigamma(x) == pytest.approx(second, abs=1e-8)


@pytest.mark.parametrize("d", [1, 2, 5, 12])
def test_roots_are_cholesky_factors(d):
    a = np.random.default_rng(d).normal(size=(3, d, d + 2))
    covariance = a @ a.transpose(0, 2, 1)
    out = np.full((3, d, d), np.nan)
    covariances.roots_of(covariance, np.ones(d), out)
    np.testing.assert_allclose(out, np.linalg.cholesky(covariance), rtol=1e-9, atol=1e-12)


def test_roots_of_singular_and_indefinite_matrices():
    given = np.array([[[1.0, 1.0], [1.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]], np.zeros((2, 2))])
    out = np.full((3, 2, 2), np.nan)
    covariances.roots_of(given, np.array([1.0, 3.0]), out)
    np.testing.assert_allclose(out[0] @ out[0].T, given[0], atol=1e-9)
    assert out[0, 1, 1] > 1e-6
    # Correlations times 1 - 10^-k for k from 14 down to 0: only the last leaves a matrix.
    np.testing.assert_allclose(out[1], np.eye(2), atol=1e-15)
    np.testing.assert_allclose(out[2], np.diag([1e-6, 3e-6]), rtol=1e-12)


def test_levels():
    _, _, (weights, _, root, df) = problem(1, 3, 3)
    df[1] = math.inf
    out = np.empty(3)
    kernels.levels(weights, root, df, out)
    np.testing.assert_allclose(out, oracle.levels(weights, root, df), rtol=1e-12)
    kernels.levels(np.zeros(3), root, df, out)
    assert out.tolist() == [-math.inf] * 3


@pytest.mark.parametrize("count", [[1.0, 3.0, 50.0], [1.0, 1.0, 0.5], [8.0, 9.0, 10.0]])
def test_scatter_of_few_points_is_shrunk(count):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(3, 3, 5))
    scatter, total, count = a @ a.transpose(0, 2, 1), np.array([0.2, 0.3, 0.5]), np.array(count)
    found = scatter.copy()
    covariances.shrink(found, total, count)
    np.testing.assert_allclose(found, oracle.shrink(scatter, total, count), rtol=1e-9)
    assert (found == scatter).all() == (count.min() >= 8.0)


@pytest.mark.parametrize(("n", "d", "k"), [(40, 1, 1), (60, 2, 3), (30, 4, 2), (300, 3, 2)])
def test_one_iteration(n, d, k):
    x, w, parts = problem(n, d, k)
    expected = oracle.em_step(x, w, *parts)
    assert kernels.em(x, w, *parts, 1, 1e-4) == k
    for found, right in zip(parts, expected, strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-6, atol=1e-8)


def test_two_iterations_are_one_after_another():
    x, w, parts = problem(100, 3, 2)
    others = [part.copy() for part in parts]
    kernels.em(x, w, *parts, 2, -1.0)
    for _ in range(2):
        kernels.em(x, w, *others, 1, -1.0)
    for one, other in zip(parts, others, strict=True):
        np.testing.assert_array_equal(one, other)


def test_iterations_climb_and_stop():
    x, w, parts = problem(400, 2, 2)

    def score():
        weights, location, root, df = parts
        level = oracle.levels(weights, root, df)
        return w @ student.log_density(x, location, np.linalg.inv(root), level, df)

    values = [score()]
    for _ in range(10):
        kernels.em(x, w, *parts, 1, -math.inf)
        values.append(score())
    # The prior of the degrees of freedom takes next to nothing back.
    assert np.diff(values).min() > -1e-5
    assert values[-1] > values[0] + 0.1
    kernels.em(x, w, *parts, 500, 1e-6)
    there = score()
    kernels.em(x, w, *parts, 1, -math.inf)
    assert 0.0 < score() - there < 1e-6 < there - values[-1]


def test_a_part_without_points_is_dropped():
    x, w, parts = problem(60, 2, 3)
    parts[1][0] = 1e6
    kept = [part[1:].copy() for part in parts]
    assert kernels.em(x, w, *parts, 5, 1e-4) == 2
    kept[0] /= kept[0].sum()
    # The first of the five found the part empty.
    assert kernels.em(x, w, *kept, 4, 1e-4) == 2
    for one, other in zip(parts, kept, strict=True):
        np.testing.assert_allclose(one[:2], other, rtol=1e-9)


def test_unseen_distances():
    x, w, parts = problem(30, 3, 2)
    distance, share, _ = shared(x, w, parts)
    out = np.empty(distance.shape)
    kernels.unseen(distance, share, parts[3], 3, out)
    np.testing.assert_allclose(out, oracle.unseen(distance, share, parts[3], 3), rtol=1e-11)
    assert (out > distance).all()
    assert (out <= 10.0 * distance * (1.0 + 1e-12)).all()


def test_calibration():
    x, w, parts = problem(50, 3, 2)
    distance, share, sums = shared(x, w, parts)
    far = oracle.unseen(distance, share, parts[3], 3)
    df, size = parts[3].copy(), np.empty(2)
    kernels.calibrate(far, share, sums, 3, df, size)
    expected = oracle.calibrate(far, share, sums, 3, parts[3])
    np.testing.assert_allclose([df, size], expected, rtol=1e-6)


def test_points_that_are_all_alike_have_no_size():
    share = np.full((1, 5), 0.2)
    df, size = np.full(1, 10.0), np.empty(1)
    kernels.calibrate(np.zeros((1, 5)), share, np.array([[1.0, 0.2, 0, 0, 0]]), 2, df, size)
    assert size[0] == 0.1
    assert 3.0 <= df[0] <= 1000.0
