"""Splitting a part of a mixture in two, and merging two that are one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from aisle_smc.arrays import Floats
from aisle_smc.distributions.moments import effective_count, shrunk_moments, whiten
from aisle_smc.distributions.student_em import Parts, calibrated, em, join, start

__all__ = ["merged", "split"]

Mask: TypeAlias = npt.NDArray[np.bool_]

TRIES = 2
LLOYD_STEPS = 6
LOCAL_STEPS = 12
FEWEST = 8.0


def split(x: Floats, c: Floats, part: Parts, rng: np.random.Generator) -> Parts | None:
    """Return two parts for the points of one, fitted to that share of the points alone.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        Points.
    c : ndarray, shape (n,)
        What of each point's weight belongs to the part.
    part : Parts
        The one part.
    rng : numpy.random.Generator
        Starts the clusterings.

    Returns
    -------
    Parts or None
        None where the points are too few or all alike.

    Notes
    -----
    Ways to halve the points are compared by how much the two halves, each with its own mean and
    covariance, raise the likelihood; the best one starts expectation-maximisation.
    """
    own = c > 1e-3 * c.max()
    x, c = x[own], c[own] / c[own].sum()
    if effective_count(c) < FEWEST:
        return None
    y = whiten(x, part.location[0], part.root[0])
    best, highest = None, -math.inf
    for mask in _ways(y, c, rng):
        gain = _gain(y, c, mask)
        if gain > highest:
            best, highest = mask, gain
    if best is None:
        return None
    halves = start(x, c, c * np.stack([best, ~best]), part.df[0])
    found = em(x, c, halves, steps=LOCAL_STEPS)
    return calibrated(x, c, found) if found.k == 2 else None


def _ways(y: Floats, c: Floats, rng: np.random.Generator) -> Iterator[Mask]:
    """Yield ways to halve points that are centred and of the order of one in every direction."""
    for _ in range(TRIES):
        yield _two_means(y, c, rng)
    square = np.square(y).sum(axis=1)
    # Core and shell: two scales about one centre.
    yield square < _median(square, c)
    # Along the line on which the size of the rest depends, as in a funnel.
    away = square - c @ square
    line = y @ ((c * np.clip(away, -4.0 * y.shape[1], 4.0 * y.shape[1])) @ y)
    yield line < _median(line, c)


def _median(values: Floats, c: Floats) -> float:
    """Return the weighted median."""
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(c[order])
    middle = min(int(np.searchsorted(cumulated, 0.5 * cumulated[-1])), values.size - 1)
    return float(values[order[middle]])


def _gain(y: Floats, c: Floats, mask: Mask) -> float:
    """Return what two Gaussians gain over one in log-likelihood, if none of a point is shared."""
    gain = 0.0
    for side in (mask, ~mask):
        p = float(c[side].sum())
        if effective_count(c[side]) < 0.5 * FEWEST:
            return -math.inf
        _, root = shrunk_moments(y[side], c[side] / p)
        gain += p * (math.log(p) - float(np.log(np.diag(root)).sum()))
    return gain


def _two_means(y: Floats, c: Floats, rng: np.random.Generator) -> Mask:
    """Return a two-means clustering of weighted points as a mask.

    References
    ----------
    Arthur and Vassilvitskii (2007), k-means++: the advantages of careful seeding, section 2.2.
    """
    first = y[rng.choice(c.size, p=c)]
    far = c * np.square(y - first).sum(axis=1)
    if not far.sum() > 0.0:
        return np.zeros(c.size, dtype=bool)
    a, b = first, y[rng.choice(c.size, p=far / far.sum())]
    mask = np.zeros(c.size, dtype=bool)
    for _ in range(LLOYD_STEPS):
        # |y - a|^2 < |y - b|^2 as one product.
        mask = y @ (b - a) < 0.5 * float((b - a) @ (b + a))
        left, right = c[mask], c[~mask]
        if not (left.sum() > 0.0 and right.sum() > 0.0):
            break
        a, b = left @ y[mask] / left.sum(), right @ y[~mask] / right.sum()
    return mask


def merged(parts: Parts, i: int, j: int) -> Parts:
    """Return the parts with two of them replaced by one of the same mean and scatter."""
    w = parts.weights[[i, j]]
    p = w / w.sum()
    mean = p @ parts.location[[i, j]]
    away = parts.location[[i, j]] - mean
    scatter = np.einsum("k,kab,kcb->ac", p, parts.root[[i, j]], parts.root[[i, j]])
    scatter += (away * p[:, None]).T @ away
    one = Parts(
        weights=np.array([w.sum()]),
        location=mean[None, :],
        root=np.linalg.cholesky(scatter)[None, :, :],
        df=np.exp(p @ np.log(parts.df[[i, j]]))[None],
    )
    kept = np.ones(parts.k, dtype=bool)
    kept[[i, j]] = False
    if not kept.any():
        return one
    rest = Parts(
        weights=parts.weights[kept],
        location=parts.location[kept],
        root=parts.root[kept],
        df=parts.df[kept],
    )
    return join([rest, one])
