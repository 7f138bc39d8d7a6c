"""Covariances usable when few points carry weight: shrinkage, and roots never singular."""

from __future__ import annotations

import numpy as np

from ._jit import kernel, scalar
from .student import invert_lower

# Below this many effective points per dimension a covariance is drawn to a simpler shape.
_ENOUGH = 2.0
# A conditional standard deviation is never less than this share of the marginal one.
_THINNEST = 1e-6


@scalar
def _factor(a, out):
    """Write the Cholesky factor of the upper triangle of a matrix, and say whether it has one."""
    d = a.shape[0]
    # By rows of the transposed factor, whose updates run along rows.
    for i in range(d):
        pivot = a[i, i]
        if not (pivot > 0.0 and pivot < np.inf):
            return False
        root = np.sqrt(pivot)
        for j in range(i, d):
            a[i, j] /= root
        for k in range(i + 1, d):
            c = a[i, k]
            for j in range(k, d):
                a[k, j] -= c * a[i, j]
    for i in range(d):
        for j in range(d):
            out[i, j] = a[j, i] if j <= i else 0.0
    return True


@scalar
def _root(covariance, scale, scratch, out):
    """Write a lower-triangular root of one covariance, see `roots_of`."""
    d = covariance.shape[0]
    for i in range(d):
        for j in range(i, d):
            scratch[i, j] = covariance[i, j]
    if _factor(scratch, out):
        thin = False
        for i in range(d):
            sd = np.sqrt(covariance[i, i])
            thin |= not out[i, i] > 2.0 * _THINNEST * max(sd, scale[i])
        if not thin:
            return
    share, kept = 1e-14, 1.0
    while True:
        for i in range(d):
            a = np.sqrt(max(covariance[i, i], (_THINNEST * scale[i]) ** 2))
            for j in range(i + 1, d):
                b = np.sqrt(max(covariance[j, j], (_THINNEST * scale[j]) ** 2))
                scratch[i, j] = kept * covariance[i, j] / (a * b)
            scratch[i, i] = 1.0
        regular = _factor(scratch, out)
        for i in range(d):
            regular &= out[i, i] > 0.5 * _THINNEST
        if regular or kept == 0.0:
            break
        kept *= 1.0 - share
        # Powers of ten, the last of which leaves no correlation.
        share = 1e-12 if share < 1e-13 else min(10.0 * share, 1.0)
    for i in range(d):
        a = np.sqrt(max(covariance[i, i], (_THINNEST * scale[i]) ** 2))
        for j in range(i + 1):
            out[i, j] *= a


@kernel
def roots_of(covariance, scale, out):
    """Evaluate lower-triangular roots of covariances, never singular.

    The Cholesky factors, or where one does not exist or is too thin that of the nearest
    correlation matrix that has one: correlations are multiplied by ``1 - 10^-j`` with the largest
    j that will do.

    Parameters
    ----------
    covariance : ndarray, shape (k, d, d)
        Symmetric and positive semi-definite up to rounding.
    scale : ndarray, shape (d,)
        Positive standard deviations to fall back on where a variance is zero.
    out : ndarray, shape (k, d, d)
        Receives the roots.
    """
    d = scale.size
    scratch = np.empty((d, d))
    for c in range(covariance.shape[0]):
        _root(covariance[c], scale, scratch, out[c])


@kernel
def shrink(scatter, total, count):
    """Draw scatter matrices of few points to the shape of them all, in place.

    What the common shape lacks in points it takes from a sphere, that is, since points are white,
    from the covariance of all.

    Parameters
    ----------
    scatter : ndarray, shape (k, d, d)
        Scatter matrices; receives the shrunk ones.
    total, count : ndarray, shape (k,)
        Weight and effective number of the points of each.
    """
    k, d = scatter.shape[0], scatter.shape[1]
    enough = _ENOUGH * (d + 1)
    weight, points, fewest = 0.0, 0.0, np.inf
    for c in range(k):
        weight += total[c]
        points += count[c]
        fewest = min(fewest, count[c])
    if fewest >= enough:
        return
    within = np.zeros((1, d, d))
    for c in range(k):
        for i in range(d):
            for j in range(d):
                within[0, i, j] += total[c] / weight * scatter[c, i, j]
    trace = 0.0
    for i in range(d):
        within[0, i, i] += 1e-8
        trace += within[0, i, i]
    lack = max(0.0, 1.0 - points / enough)
    for i in range(d):
        for j in range(d):
            within[0, i, j] *= 1.0 - lack
        within[0, i, i] += lack * trace / d
    root, inverse = np.zeros((1, d, d)), np.zeros((1, d, d))
    roots_of(within, np.ones(d), root)
    invert_lower(root, inverse)
    for c in range(k):
        share = 1.0 - count[c] / enough
        if share <= 0.0:
            continue
        # The trace of scatter times the inverse of the common shape.
        size = 0.0
        for m in range(d):
            for i in range(m + 1):
                row = 0.0
                for j in range(m + 1):
                    row += scatter[c, i, j] * inverse[0, m, j]
                size += row * inverse[0, m, i]
        size = (count[c] * size / d + 1.0) / (count[c] + 1.0)
        for i in range(d):
            for j in range(d):
                drawn = share * size * within[0, i, j]
                scatter[c, i, j] = (1.0 - share) * scatter[c, i, j] + drawn
