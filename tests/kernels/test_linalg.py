"""Small dense linear algebra against products, and exact rational arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
from aisle_kernels import linalg
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import linalg as oracle


@st.composite
def problems(draw):
    """Draw a well-conditioned lower factor, its product, and a vector."""
    d = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    factor = np.tril(rng.normal(size=(d, d)), -1) + np.diag(rng.uniform(0.5, 3.0, d))
    return factor, factor @ factor.T, rng.normal(size=d)


def with_garbage_above(factor):
    return factor + np.triu(np.full_like(factor, np.nan), 1)


@given(problems())
def test_cholesky_returns_the_factor(problem):
    factor, a, _ = problem
    out = np.full_like(a, np.nan)
    assert linalg.cholesky(a, out)
    np.testing.assert_allclose(out, factor, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(out @ out.T, a, rtol=1e-13, atol=1e-13)
    assert not np.triu(out, 1).any()


@given(problems())
def test_cholesky_in_place_reads_the_lower_triangle_only(problem):
    _, a, _ = problem
    out = np.empty_like(a)
    linalg.cholesky(a, out)
    work = with_garbage_above(np.tril(a))
    assert linalg.cholesky(work, work)
    np.testing.assert_array_equal(work, out)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_cholesky_says_what_is_positive_definite(seed, d):
    rng = np.random.default_rng(seed)
    a = rng.integers(-3, 6, size=(d, d)).astype(float)
    a = np.tril(a) + np.tril(a, -1).T + np.diag(rng.integers(0, 6, size=d))
    exact = oracle.is_positive_definite(a)
    # Singular integer matrices are on the edge, where rounding may decide either way.
    if oracle.determinant(a) != 0:
        assert linalg.cholesky(a, np.empty_like(a)) == exact


@pytest.mark.parametrize(
    "a",
    [
        [[0.0]],
        [[-1.0]],
        [[math.nan]],
        [[math.inf]],
        [[1.0, 0.0], [2.0, 1.0]],
        [[1.0, 0.0], [math.nan, 1.0]],
        [[1.0, 0.0], [1.0, 1.0]],
    ],
)
def test_cholesky_refuses(a):
    a = np.array(a)
    assert not linalg.cholesky(a, np.empty_like(a))


@given(problems())
def test_solves(problem):
    factor, a, b = problem
    lower = with_garbage_above(factor)
    out = np.empty_like(b)
    linalg.solve_lower(lower, b, out)
    np.testing.assert_allclose(factor @ out, b, rtol=1e-9, atol=1e-10)
    linalg.solve_lower_transposed(lower, b, out)
    np.testing.assert_allclose(factor.T @ out, b, rtol=1e-9, atol=1e-10)
    linalg.solve_cholesky(lower, b, out)
    np.testing.assert_allclose(a @ out, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["solve_lower", "solve_lower_transposed", "solve_cholesky"])
def test_solves_work_in_place(name):
    rng = np.random.default_rng(41)
    factor = np.tril(rng.normal(size=(5, 5))) + 3.0 * np.eye(5)
    b = rng.normal(size=5)
    out = np.empty(5)
    function = getattr(linalg, name)
    function(factor, b, out)
    work = b.copy()
    function(factor, work, work)
    np.testing.assert_array_equal(work, out)


def test_lower_and_transposed_solves_differ():
    # Negative twin: a symmetric factor would hide the exchange of the two.
    factor = np.array([[2.0, 0.0], [1.0, 4.0]])
    b = np.array([2.0, 8.0])
    out = np.empty(2)
    linalg.solve_lower(factor, b, out)
    np.testing.assert_array_equal(out, [1.0, 1.75])
    linalg.solve_lower_transposed(factor, b, out)
    np.testing.assert_array_equal(out, [0.0, 2.0])


@given(problems())
def test_log_determinant(problem):
    factor, a, _ = problem
    exact = math.log(float(oracle.determinant(factor))) * 2.0
    value = linalg.log_det_from_cholesky(with_garbage_above(factor))
    assert value == pytest.approx(exact, rel=1e-12, abs=1e-13)
    assert value == pytest.approx(math.log(float(oracle.determinant(a))), rel=1e-8, abs=1e-9)


def test_log_determinant_does_not_overflow():
    factor = np.diag(np.full(50, 1e20))
    assert linalg.log_det_from_cholesky(factor) == pytest.approx(2000.0 * math.log(10.0))
    assert linalg.log_det_from_cholesky(np.empty((0, 0))) == 0.0


@given(problems(), st.sampled_from([1.0, -1.0]), st.floats(0.01, 0.9))
def test_rank_one_update(problem, sign, size):
    factor, a, v = problem
    # Taking away less than the whole length along v leaves the matrix positive definite.
    v = v * math.sqrt(size / linalg.inverse_quadratic_form(factor, v))
    out = np.empty_like(factor)
    assert linalg.cholesky_update(with_garbage_above(factor), v, sign, out)
    np.testing.assert_allclose(out @ out.T, a + sign * np.outer(v, v), rtol=1e-8, atol=1e-9)
    assert not np.triu(out, 1).any()
    assert (np.diag(out) > 0.0).all()
    work = factor.copy()
    assert linalg.cholesky_update(work, v, sign, work)
    np.testing.assert_array_equal(work, out)


def test_rank_one_downdate_says_when_it_fails():
    factor = np.array([[2.0, 0.0], [1.0, 1.0]])
    out = np.empty((2, 2))
    assert not linalg.cholesky_update(factor, np.array([3.0, 0.0]), -1.0, out)
    assert not linalg.cholesky_update(factor, np.array([0.0, 2.0]), -1.0, out)
    assert not linalg.cholesky_update(factor, np.array([math.nan, 0.0]), 1.0, out)


@given(problems(), st.integers(1, 4))
def test_products(problem, m):
    _, a, x = problem
    d = x.shape[0]
    left = np.random.default_rng(m).normal(size=(m, d))
    out = np.empty(m)
    linalg.matvec(left, x, out)
    np.testing.assert_allclose(out, np.einsum("ij,j->i", left, x), rtol=1e-12, atol=1e-13)
    product = np.empty((m, d))
    linalg.matmul(left, a, product)
    np.testing.assert_allclose(product, np.einsum("ij,jk->ik", left, a), rtol=1e-12, atol=1e-12)
    gram = np.empty((m, m))
    linalg.matmul(left, left.T, gram)
    np.testing.assert_allclose(gram, np.einsum("ij,kj->ik", left, left), rtol=1e-12, atol=1e-12)


@given(problems())
def test_quadratic_forms(problem):
    factor, a, x = problem
    skew = np.triu(np.ones_like(a), 1)
    value = linalg.quadratic_form(a + skew, x)
    assert value == pytest.approx(oracle.quadratic_form(a + skew, x), rel=1e-10, abs=1e-10)
    inverse = linalg.inverse_quadratic_form(with_garbage_above(factor), x)
    assert inverse == pytest.approx(oracle.inverse_quadratic_form(a, x), rel=1e-6)
