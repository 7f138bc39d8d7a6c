r"""Multivariate Student-t and Gaussian parts at many points: distances, log-densities, EM sums.

Part :math:`k` has centre :math:`\mu_k`, inverse root :math:`A_k` (lower triangular), level
:math:`a_k` and :math:`\nu_k` degrees of freedom, infinite for a Gaussian part:

.. math::
    m_{ki} = |A_k (x_i - \mu_k)|^2, \qquad
    \log p_{ki} = a_k - \tfrac{\nu_k + d}{2} \log(1 + m_{ki} / \nu_k)
    \quad\text{or}\quad a_k - \tfrac12 m_{ki}.

Points are taken in blocks, their coordinates laid out one after the other, so that inner loops
run over points and vectorise; second moments are added up along rows of their matrix instead.
Every sum has its fixed order: a result is a function of the arrays and of nothing else.

References
----------
.. [1] C. Liu and D. B. Rubin (1995). ML estimation of the t distribution using EM and its
   extensions, ECM and ECME. Statistica Sinica 5, section 3.
"""

from __future__ import annotations

import numpy as np

from ._jit import kernel, scalar
from .vecmath import exp, log, log1p

# Points per block: a block of 64 coordinates then takes 32 kB, a first-level cache.
_BLOCK = 64
# A share of a point smaller than this is left out of the sums.
_NEGLIGIBLE = 1e-10


@scalar
def _padded(m):
    """Return the least power of two that is at least m and eight."""
    size = 8
    while size < m:
        size *= 2
    return size


@scalar
def _fold(values, size):
    """Return the sum of the first `size` values, a power of two; they are overwritten.

    Halves are added to halves, which vectorises and rounds little.
    """
    half = size // 2
    while half > 0:
        for p in range(half):
            values[p] += values[p + half]
        half //= 2
    return values[0]


@scalar
def _lower_times(a, x, i, m, y):
    """Write row i of a lower-triangular matrix times coordinates, for m points."""
    for p in range(m):
        y[p] = a[i, 0] * x[0, p]
    j = 1
    while j + 3 <= i:
        c0, c1, c2, c3 = a[i, j], a[i, j + 1], a[i, j + 2], a[i, j + 3]
        for p in range(m):
            left = c0 * x[j, p] + c1 * x[j + 1, p]
            y[p] += left + (c2 * x[j + 2, p] + c3 * x[j + 3, p])
        j += 4
    while j <= i:
        c0 = a[i, j]
        for p in range(m):
            y[p] += c0 * x[j, p]
        j += 1


@scalar
def _block_distances(x, begin, m, location, inverse, away, y, out):
    """Write the squared distances of m points from one part."""
    d = x.shape[1]
    for p in range(m):
        for j in range(d):
            away[j, p] = x[begin + p, j] - location[j]
    for p in range(m):
        out[p] = 0.0
    for i in range(d):
        _lower_times(inverse, away, i, m, y)
        for p in range(m):
            out[p] += y[p] * y[p]


@scalar
def _block_terms(distance, level, df, d, m, out):
    """Write the log-densities of m points under one part from their distances."""
    if df < np.inf:
        half = 0.5 * (df + d)
        over = 1.0 / df
        for p in range(m):
            out[p] = level - half * log1p(float(distance[p]) * over)
    else:
        for p in range(m):
            out[p] = level - 0.5 * distance[p]


@scalar
def _block_sum(terms, k, m, top, total):
    """Leave exp(terms - top) in terms, their largest in top and their sum in total."""
    for p in range(m):
        top[p] = terms[0, p]
        total[p] = 0.0
    for c in range(1, k):
        for p in range(m):
            top[p] = terms[c, p] if terms[c, p] > top[p] else top[p]
    for p in range(m):
        # A point out of reach of every part: any finite reference leaves zeros.
        top[p] = top[p] if top[p] > -1e300 else -1e300
    for c in range(k):
        for p in range(m):
            terms[c, p] = exp(float(terms[c, p] - top[p]))
            total[p] += terms[c, p]


@kernel
def invert_lower(root, out):
    """Invert lower-triangular matrices.

    Parameters
    ----------
    root : ndarray, shape (k, d, d)
        Matrices with a nonzero diagonal; what lies above it is not read.
    out : ndarray, shape (k, d, d)
        Receives the inverses on and below the diagonals; what lies above is left as it is.
    """
    d = root.shape[1]
    for k in range(root.shape[0]):
        for j in range(d):
            out[k, j, j] = 1.0 / root[k, j, j]
            for i in range(j + 1, d):
                total = 0.0
                for m in range(j, i):
                    total += root[k, i, m] * out[k, m, j]
                out[k, i, j] = -total / root[k, i, i]


@kernel
def affine(x, before, factor, after, out):
    r"""Map points by a lower-triangular matrix, :math:`y = b + F (x - a)`.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        Points.
    before : ndarray, shape (d,)
        The shift :math:`a`.
    factor : ndarray, shape (d, d)
        The lower-triangular :math:`F`.
    after : ndarray, shape (d,)
        The shift :math:`b`.
    out : ndarray, shape (n, d)
        Receives the images; may be ``x`` itself.
    """
    n, d = x.shape
    away = np.empty((d, _BLOCK), np.float64)
    y = np.empty(_BLOCK, np.float64)
    for begin in range(0, n, _BLOCK):
        m = min(_BLOCK, n - begin)
        for p in range(m):
            for j in range(d):
                away[j, p] = x[begin + p, j] - before[j]
        for i in range(d):
            _lower_times(factor, away, i, m, y)
            for p in range(m):
                out[begin + p, i] = after[i] + y[p]


@kernel
def distances(x, location, inverse, out):
    """Evaluate the squared distances of points from parts.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        Points.
    location : ndarray, shape (k, d)
        Centres.
    inverse : ndarray, shape (k, d, d)
        Inverse roots, lower triangular.
    out : ndarray, shape (k, n)
        Receives the squared distances.
    """
    n, d = x.shape
    away = np.empty((d, _BLOCK), np.float64)
    y = np.empty(_BLOCK, np.float64)
    for begin in range(0, n, _BLOCK):
        m = min(_BLOCK, n - begin)
        for k in range(location.shape[0]):
            block = out[k, begin : begin + m]
            _block_distances(x, begin, m, location[k], inverse[k], away, y, block)


@kernel
def log_density(x, location, inverse, level, df, out):
    r"""Evaluate the log-density of a mixture, :math:`\log \sum_k p_{ki}`.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        Points.
    location : ndarray, shape (k, d)
        Centres.
    inverse : ndarray, shape (k, d, d)
        Inverse roots, lower triangular.
    level : ndarray, shape (k,)
        Logs of weight times density at the centre (nats); ``-inf`` for weight zero.
    df : ndarray, shape (k,)
        Degrees of freedom, ``inf`` for a Gaussian part.
    out : ndarray, shape (n,)
        Receives the log-densities (nats).
    """
    n, d = x.shape
    k = location.shape[0]
    away = np.empty((d, _BLOCK), np.float64)
    terms = np.empty((k, _BLOCK), np.float64)
    y = np.empty(_BLOCK, np.float64)
    top = np.empty(_BLOCK, np.float64)
    for begin in range(0, n, _BLOCK):
        m = min(_BLOCK, n - begin)
        for c in range(k):
            _block_distances(x, begin, m, location[c], inverse[c], away, y, top)
            _block_terms(top, level[c], df[c], d, m, terms[c])
        if k == 1:
            # Without the detour by exp and log the last digits stay.
            for p in range(m):
                out[begin + p] = terms[0, p]
        else:
            _block_sum(terms, k, m, top, y)
            for p in range(m):
                out[begin + p] = top[p] + log(float(y[p]))


@kernel
def share_out(distance, d, level, df, w, share, log_q, sums):
    r"""Share points out among parts, :math:`c_{ki} = w_i p_{ki} / \sum_l p_{li}`.

    Adds up besides what the likelihood of the degrees of freedom depends on.

    Parameters
    ----------
    distance : ndarray, shape (k, n)
        Squared distances, as `distances` leaves them.
    d : int
        Dimension of the points.
    level, df : ndarray, shape (k,)
        As for `log_density`.
    w : ndarray, shape (n,)
        Weights of the points.
    share : ndarray, shape (k, n)
        Receives the shares; all zero for a point that no part reaches.
    log_q : ndarray, shape (n,)
        Receives the log-densities of the mixture (nats).
    sums : ndarray, shape (k, 5)
        Receives :math:`\sum c`, :math:`\sum c\, w`, :math:`\sum c \log(1 + m/\nu)`,
        :math:`\sum c\, m / (\nu + m)` and :math:`\sum c\, m / (\nu + m)^2`; the last three mean
        nothing for a Gaussian part.
    """
    k, n = distance.shape
    logs = np.empty((k, _BLOCK), np.float64)
    terms = np.empty((k, _BLOCK), np.float64)
    top = np.empty(_BLOCK, np.float64)
    total = np.empty(_BLOCK, np.float64)
    rows = np.empty((5, _BLOCK), np.float64)
    for c in range(k):
        for r in range(5):
            sums[c, r] = 0.0
    for begin in range(0, n, _BLOCK):
        m = min(_BLOCK, n - begin)
        size = _padded(m)
        for c in range(k):
            block = distance[c, begin : begin + m]
            _block_terms(block, level[c], df[c], d, m, terms[c])
            for p in range(m):
                logs[c, p] = terms[c, p]
        _block_sum(terms, k, m, top, total)
        for p in range(m):
            log_q[begin + p] = top[p] + log(float(total[p]))
            top[p] = w[begin + p] / total[p] if total[p] > 0.0 else 0.0
        for c in range(k):
            nu = df[c]
            a = level[c]
            back = -2.0 / (nu + d)
            for r in range(5):
                for p in range(m, size):
                    rows[r, p] = 0.0
            for p in range(m):
                part = terms[c, p] * top[p]
                share[c, begin + p] = part
                # What is not reached may be infinitely far, and adds nothing.
                away = distance[c, begin + p] if part > 0.0 else 0.0
                fall = logs[c, p] - a if part > 0.0 else 0.0
                near = part / (nu + away)
                rows[0, p] = part
                rows[1, p] = part * w[begin + p]
                rows[2, p] = part * (fall * back)
                rows[3, p] = away * near
                rows[4, p] = away * near / (nu + away)
            for r in range(5):
                sums[c, r] += _fold(rows[r], size)


@kernel
def moment_sums(x, w, share, distance, df, location, mass, shift, scatter):
    r"""Add up the first two moments of the points of each part about its present centre.

    With :math:`u_{ki} = c_{ki} (\nu_k + d) / (\nu_k + m_{ki})`, or :math:`u = c` for a Gaussian
    part, the sums are :math:`\sum_i u`, :math:`\sum_i u (x_i - \mu)` and
    :math:`\sum_i u (x_i - \mu)(x_i - \mu)^\top`.  A share below 1e-10 of the point's weight is
    left out.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        Points.
    w : ndarray, shape (n,)
        Weights of the points.
    share, distance : ndarray, shape (k, n)
        Shares and squared distances.
    df : ndarray, shape (k,)
        Degrees of freedom, ``inf`` for a Gaussian part.
    location : ndarray, shape (k, d)
        Present centres.
    mass : ndarray, shape (k,)
        Receives the sums of u.
    shift : ndarray, shape (k, d)
        Receives the first moments.
    scatter : ndarray, shape (k, d, d)
        Receives the second moments, symmetric.
    """
    n, d = x.shape
    away, u = np.empty((8, d), np.float64), np.empty(8, np.float64)
    a0, a1, a2, a3, a4, a5, a6, a7 = (
        away[0],
        away[1],
        away[2],
        away[3],
        away[4],
        away[5],
        away[6],
        away[7],
    )
    for c in range(location.shape[0]):
        nu = df[c]
        mass[c] = 0.0
        for i in range(d):
            shift[c, i] = 0.0
            for j in range(d):
                scatter[c, i, j] = 0.0
        at = 0
        while at < n:
            m = 0
            while at < n and m < 8:
                part = share[c, at]
                if part > _NEGLIGIBLE * w[at]:
                    if nu < np.inf:
                        part *= (nu + d) / (nu + distance[c, at])
                    u[m] = part
                    mass[c] += part
                    for j in range(d):
                        away[m, j] = x[at, j] - location[c, j]
                    m += 1
                at += 1
            while m < 8:
                u[m] = 0.0
                for j in range(d):
                    away[m, j] = 0.0
                m += 1
            # Eight points at a time to each row, which is then loaded and stored once for all.
            for i in range(d):
                c0, c1, c2, c3 = u[0] * a0[i], u[1] * a1[i], u[2] * a2[i], u[3] * a3[i]
                c4, c5, c6, c7 = u[4] * a4[i], u[5] * a5[i], u[6] * a6[i], u[7] * a7[i]
                shift[c, i] += ((c0 + c1) + (c2 + c3)) + ((c4 + c5) + (c6 + c7))
                row = scatter[c, i]
                for j in range(i + 1):
                    left = (c0 * a0[j] + c1 * a1[j]) + (c2 * a2[j] + c3 * a3[j])
                    right = (c4 * a4[j] + c5 * a5[j]) + (c6 * a6[j] + c7 * a7[j])
                    row[j] += left + right
        for i in range(d):
            for j in range(i):
                scatter[c, j, i] = scatter[c, i, j]
