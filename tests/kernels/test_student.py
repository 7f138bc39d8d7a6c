"""Student-t and Gaussian parts at many points: textbook formulas, edges, the far away."""

from __future__ import annotations

import math

import numpy as np
import pytest
from aisle_kernels import student as kernels

from tests.oracles import student as oracle

INF = math.inf
# Both sides of a vector and of a block of 64.
SIZES = [1, 2, 7, 8, 9, 63, 64, 65, 300]


def problem(n, d, k=3, seed=0):
    rng = np.random.default_rng([seed, n, d, k])
    x = rng.normal(size=(n, d))
    location = rng.normal(size=(k, d))
    root = np.tril(rng.normal(size=(k, d, d)), -1) + np.eye(d) * rng.uniform(0.5, 2.0, (k, 1, d))
    inverse = np.tril(np.linalg.inv(root))
    level = rng.normal(size=k) - 1.0
    df = np.array([3.0, INF, 17.5])[:k]
    w = rng.uniform(size=n)
    return x, location, root, inverse, level, df, w / w.sum()


def distances(x, location, inverse):
    out = np.full((len(location), len(x)), np.nan)
    kernels.distances(x, location, inverse, out)
    return out


@pytest.mark.parametrize("d", [1, 2, 3, 5, 6, 10])
def test_inverse(d):
    root = problem(1, d)[2]
    out = np.zeros_like(root)
    kernels.invert_lower(root + np.triu(np.full((d, d), np.nan), 1), out)
    np.testing.assert_allclose(out @ root, np.broadcast_to(np.eye(d), root.shape), atol=1e-12)
    assert not np.triu(out, 1).any()


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("d", [1, 2, 5, 6])
def test_affine(n, d):
    x, location, root, *_ = problem(n, d)
    out = np.full_like(x, np.nan)
    kernels.affine(x, location[0], root[0], location[1], out)
    np.testing.assert_allclose(out, location[1] + (x - location[0]) @ root[0].T, rtol=1e-12)
    same = x.copy()
    kernels.affine(same, location[0], root[0], location[1], same)
    np.testing.assert_array_equal(same, out)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("d", [1, 2, 5, 6, 9])
def test_distances(n, d):
    x, location, _, inverse, *_ = problem(n, d)
    expected = oracle.distances(x, location, inverse)
    np.testing.assert_allclose(distances(x, location, inverse), expected, rtol=1e-12)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_log_density(n, k):
    x, location, _, inverse, level, df, _ = problem(n, 3, k)
    out = np.full(n, np.nan)
    kernels.log_density(x, location, inverse, level, df, out)
    expected = oracle.log_density(x, location, inverse, level, df)
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-13)


def test_one_part_is_the_density_of_the_book():
    x, location, root, inverse, *_ = problem(20, 2, 1)
    df, d, scale = 3.0, 2, root[0] @ root[0].T
    level = math.lgamma((df + d) / 2) - math.lgamma(df / 2) - d / 2 * math.log(df * math.pi)
    level -= 0.5 * math.log(np.linalg.det(scale))
    out = np.empty(20)
    kernels.log_density(x, location, inverse, np.array([level]), np.array([df]), out)
    apart = x - location[0]
    distance = np.einsum("ni,ij,nj->n", apart, np.linalg.inv(scale), apart)
    expected = level - (df + d) / 2 * np.log1p(distance / df)
    np.testing.assert_allclose(out, expected, rtol=1e-12)


def test_rows_do_not_depend_on_their_neighbours():
    x, location, _, inverse, level, df, _ = problem(300, 4)
    whole, single = np.empty(300), np.empty(1)
    kernels.log_density(x, location, inverse, level, df, whole)
    for i in (0, 7, 8, 63, 64, 299):
        kernels.log_density(x[i : i + 1], location, inverse, level, df, single)
        assert single[0] == whole[i]


def test_parts_of_weight_zero_and_points_out_of_reach():
    location, inverse = np.zeros((2, 1)), np.ones((2, 1, 1))
    x = np.array([[0.0], [1e150], [-INF]])
    out = np.empty(3)
    kernels.log_density(x, location, inverse, np.array([-INF, 0.0]), np.array([3.0, INF]), out)
    assert out.tolist() == [0.0, pytest.approx(-5e299), -INF]
    kernels.log_density(x, location, inverse, np.full(2, -INF), np.array([3.0, INF]), out)
    assert out.tolist() == [-INF] * 3


@pytest.mark.parametrize("n", SIZES)
def test_share_out(n):
    x, location, _, inverse, level, df, w = problem(n, 3)
    distance = distances(x, location, inverse)
    share, log_q, sums = np.empty((3, n)), np.empty(n), np.empty((3, 5))
    kernels.share_out(distance, 3, level, df, w, share, log_q, sums)
    expected = oracle.share_out(distance, 3, level, df, w)
    np.testing.assert_allclose(share, expected, rtol=1e-11)
    np.testing.assert_allclose(share.sum(axis=0), w, rtol=1e-14)
    np.testing.assert_allclose(
        log_q, oracle.log_density(x, location, inverse, level, df), rtol=1e-12, atol=1e-13
    )
    np.testing.assert_allclose(sums[:, :2], oracle.tail_sums(distance, share, df, w)[:, :2])
    finite = np.isfinite(df)
    found = oracle.tail_sums(distance[finite], share[finite], df[finite], w)
    np.testing.assert_allclose(sums[finite], found, rtol=1e-10)


def test_a_point_that_no_part_reaches_has_no_share():
    share, log_q, sums = np.empty((1, 2)), np.empty(2), np.empty((1, 5))
    distance = np.array([[1.0, INF]])
    for df in (3.0, INF):
        level, nu, w = np.ones(1), np.full(1, df), np.full(2, 0.5)
        kernels.share_out(distance, 1, level, nu, w, share, log_q, sums)
        assert share.tolist() == [[0.5, 0.0]]
        assert log_q[1] == -INF
        assert sums[0, :2].tolist() == [0.5, 0.25]
        assert df == INF or np.isfinite(sums).all()


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("d", [1, 2, 5])
def test_moment_sums(n, d):
    x, location, _, inverse, level, df, w = problem(n, d)
    distance = distances(x, location, inverse)
    share = oracle.share_out(distance, d, level, df, w)
    mass, shift, scatter = np.empty(3), np.empty((3, d)), np.empty((3, d, d))
    kernels.moment_sums(x, w, share, distance, df, location, mass, shift, scatter)
    expected = oracle.moment_sums(x, share, distance, df, location)
    for found, true in zip((mass, shift, scatter), expected, strict=True):
        np.testing.assert_allclose(found, true, rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(scatter, scatter.transpose(0, 2, 1))


def test_negligible_shares_are_left_out_and_nothing_else():
    x, location, _, _, _, _, w = problem(300, 2, 1)
    distance, df = np.zeros((1, 300)), np.array([INF])
    kept = np.arange(300) % 3 == 0
    share = np.where(kept, w, 1e-11 * w)[None, :]
    mass, shift, scatter = np.empty(1), np.empty((1, 2)), np.empty((1, 2, 2))
    kernels.moment_sums(x, w, share, distance, df, location, mass, shift, scatter)
    assert mass[0] == pytest.approx(w[kept].sum(), rel=1e-14)
    share[0, ~kept] = 1e-9 * w[~kept]
    kernels.moment_sums(x, w, share, distance, df, location, mass, shift, scatter)
    assert mass[0] > w[kept].sum() + 0.5e-9 * w[~kept].sum()
