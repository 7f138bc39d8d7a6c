r"""Small dense linear algebra: Cholesky factors, triangular solves and products.

Numba hands ``@`` and ``numpy.linalg`` to SciPy's BLAS; these loops need neither, and for the few
dimensions of a state or a parameter vector a call costs more than the work.  Factors are lower
triangular, :math:`A = L L^\top`; what lies above a diagonal is never read.

References
----------
.. [1] G. H. Golub and C. F. Van Loan (2013). Matrix Computations, 4th edition, algorithms 3.1.1
   (substitution) and 4.2.1 (Cholesky, here by rows), section 6.5.4 (updating).
"""

from __future__ import annotations

import numpy as np

from ._jit import kernel
from .vecmath import log


@kernel
def cholesky(a, out):
    r"""Factor a symmetric positive-definite matrix as :math:`A = L L^\top`.

    Parameters
    ----------
    a : ndarray, shape (d, d)
        The matrix; only its lower triangle is read.
    out : ndarray, shape (d, d)
        Receives L with zeros above the diagonal. May be ``a`` itself.

    Returns
    -------
    bool
        Whether ``a`` is numerically positive definite. If not, ``out`` is unspecified.
    """
    d = a.shape[0]
    for i in range(d):
        for j in range(i):
            total = a[i, j]
            for k in range(j):
                total -= out[i, k] * out[j, k]
            out[i, j] = total / out[j, j]
        pivot = a[i, i]
        for k in range(i):
            pivot -= out[i, k] * out[i, k]
        # Written so that a NaN fails as well.
        if not (pivot > 0.0 and pivot < np.inf):
            return False
        out[i, i] = np.sqrt(pivot)
        for j in range(i + 1, d):
            # With out = a, only the upper triangle is overwritten here, which is not read.
            out[i, j] = 0.0
    return True


@kernel
def cholesky_update(factor, v, sign, out):
    r"""Factor :math:`L L^\top + s\, v v^\top` from L in O(d^2), for s = 1 or -1.

    Parameters
    ----------
    factor : ndarray, shape (d, d)
        The lower Cholesky factor L.
    v : ndarray, shape (d,)
        The vector; scale it beforehand.
    sign : float
        1 adds the outer product, -1 takes it away.
    out : ndarray, shape (d, d)
        Receives the new factor with zeros above the diagonal. May be ``factor`` itself.

    Returns
    -------
    bool
        Whether the result is numerically positive definite; always so for ``sign = 1`` and finite
        input. If not, ``out`` is unspecified.
    """
    d = factor.shape[0]
    rest = np.empty(d, np.float64)
    for i in range(d):
        rest[i] = v[i]
        for j in range(d):
            out[i, j] = factor[i, j] if j <= i else 0.0
    for j in range(d):
        old = out[j, j]
        square = old * old + sign * rest[j] * rest[j]
        if not (square > 0.0 and square < np.inf):
            return False
        new = np.sqrt(square)
        cosine = new / old
        sine = rest[j] / old
        out[j, j] = new
        for i in range(j + 1, d):
            out[i, j] = (out[i, j] + sign * sine * rest[i]) / cosine
            rest[i] = cosine * rest[i] - sine * out[i, j]
    return True


@kernel
def solve_lower(factor, b, out):
    """Solve ``L x = b`` by forward substitution.

    Parameters
    ----------
    factor : ndarray, shape (d, d)
        Lower triangular with a nonzero diagonal.
    b : ndarray, shape (d,)
        The right-hand side.
    out : ndarray, shape (d,)
        Receives x. May be ``b`` itself.
    """
    for i in range(factor.shape[0]):
        total = b[i]
        for j in range(i):
            total -= factor[i, j] * out[j]
        out[i] = total / factor[i, i]


@kernel
def solve_lower_transposed(factor, b, out):
    r"""Solve :math:`L^\top x = b` by back substitution.

    Parameters
    ----------
    factor : ndarray, shape (d, d)
        Lower triangular with a nonzero diagonal.
    b : ndarray, shape (d,)
        The right-hand side.
    out : ndarray, shape (d,)
        Receives x. May be ``b`` itself.
    """
    d = factor.shape[0]
    for i in range(d - 1, -1, -1):
        total = b[i]
        for j in range(i + 1, d):
            total -= factor[j, i] * out[j]
        out[i] = total / factor[i, i]


@kernel
def solve_cholesky(factor, b, out):
    r"""Solve :math:`L L^\top x = b`.

    Parameters
    ----------
    factor : ndarray, shape (d, d)
        The lower Cholesky factor L.
    b : ndarray, shape (d,)
        The right-hand side.
    out : ndarray, shape (d,)
        Receives x. May be ``b`` itself.
    """
    solve_lower(factor, b, out)
    solve_lower_transposed(factor, out, out)


@kernel
def log_det_from_cholesky(factor):
    r"""Return :math:`\log \det L L^\top = 2 \sum_i \log L_{ii}`.

    Parameters
    ----------
    factor : ndarray, shape (d, d)
        The lower Cholesky factor L, with a positive diagonal.

    Returns
    -------
    float
        The log-determinant of the factored matrix, 0 for d = 0.
    """
    total = 0.0
    for i in range(factor.shape[0]):
        total += log(factor[i, i])
    return 2.0 * total


@kernel
def matvec(a, x, out):
    """Multiply a matrix and a vector.

    Parameters
    ----------
    a : ndarray, shape (m, d)
        The matrix.
    x : ndarray, shape (d,)
        The vector.
    out : ndarray, shape (m,)
        Receives ``a x``. Must not be ``x``.
    """
    for i in range(a.shape[0]):
        total = 0.0
        for j in range(a.shape[1]):
            total += a[i, j] * x[j]
        out[i] = total


@kernel
def matmul(a, b, out):
    """Multiply two matrices.

    Parameters
    ----------
    a : ndarray, shape (m, d)
        The left factor.
    b : ndarray, shape (d, n)
        The right factor; pass ``b.T`` for a product with a transpose.
    out : ndarray, shape (m, n)
        Receives ``a b``. Must be neither factor.
    """
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            total = 0.0
            for k in range(a.shape[1]):
                total += a[i, k] * b[k, j]
            out[i, j] = total


@kernel
def quadratic_form(a, x):
    r"""Return :math:`x^\top A x`.

    Parameters
    ----------
    a : ndarray, shape (d, d)
        The matrix, not necessarily symmetric.
    x : ndarray, shape (d,)
        The vector.

    Returns
    -------
    float
        The value of the form.
    """
    total = 0.0
    for i in range(a.shape[0]):
        row = 0.0
        for j in range(a.shape[1]):
            row += a[i, j] * x[j]
        total += x[i] * row
    return total


@kernel
def inverse_quadratic_form(factor, x):
    r"""Return :math:`x^\top (L L^\top)^{-1} x`, the squared Mahalanobis length.

    Parameters
    ----------
    factor : ndarray, shape (d, d)
        The lower Cholesky factor L.
    x : ndarray, shape (d,)
        The vector.

    Returns
    -------
    float
        The value of the form, never negative.
    """
    z = np.empty(factor.shape[0], np.float64)
    solve_lower(factor, x, z)
    total = 0.0
    for i in range(z.shape[0]):
        total += z[i] * z[i]
    return total
