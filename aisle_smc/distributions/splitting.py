"""Splitting a part of a mixture in two, and merging two that are one."""

from __future__ import annotations

import math

import numpy as np

from aisle_smc.arrays import Array, Floats
from aisle_smc.distributions.moments import effective_count
from aisle_smc.distributions.student_em import Parts, _maximise, em

__all__ = ["join", "merged", "split"]

TRIES = 3
LLOYD_STEPS = 8
LOCAL_STEPS = 12


def two_clusters(y: Floats, w: Floats, rng: np.random.Generator) -> Array | None:
    """Return the better of a few two-means clusterings as a mask, None if there is none.

    Parameters
    ----------
    y : ndarray, shape (n, d)
        Points, of the order of one in every direction.
    w : ndarray, shape (n,)
        Positive weights.
    rng : numpy.random.Generator
        Picks the starts: one point at random, the other in proportion to its squared distance.

    References
    ----------
    Arthur and Vassilvitskii (2007), k-means++: the advantages of careful seeding, section 2.2.
    """
    best, best_cost = None, math.inf
    p = w / w.sum()
    for _ in range(TRIES):
        first = y[rng.choice(p.size, p=p)]
        far = p * np.square(y - first).sum(axis=1)
        if not far.sum() > 0.0:
            continue
        centres = np.stack([first, y[rng.choice(p.size, p=far / far.sum())]])
        for _ in range(LLOYD_STEPS):
            # |y - a|^2 < |y - b|^2 as one product.
            a, b = centres
            mask = y @ (b - a) < 0.5 * float((b - a) @ (b + a))
            masses = np.array([p[mask].sum(), p[~mask].sum()])
            if not masses.min() > 0.0:
                break
            centres = np.stack([p[mask] @ y[mask], p[~mask] @ y[~mask]]) / masses[:, None]
        if not masses.min() > 0.0:
            continue
        # Two-means loses what lies between the centres.
        cost = -float(masses[0] * masses[1] * np.square(centres[0] - centres[1]).sum())
        if cost < best_cost:
            best, best_cost = mask, cost
    return best


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
        Starts the clustering.
    """
    own = c > 1e-3 * c.max()
    x, c = x[own], c[own] / c[own].sum()
    if effective_count(c) < 8.0:
        return None
    inverse = np.linalg.inv(part.root[0])
    mask = two_clusters((x - part.location[0]) @ inverse.T, c, rng)
    if mask is None:
        return None
    start = Parts(
        weights=np.array([c[mask].sum(), c[~mask].sum()]),
        location=np.repeat(part.location, 2, axis=0),
        root=np.repeat(part.root, 2, axis=0),
        df=np.repeat(part.df, 2),
    )
    # The first step sees no distances: all u are one, and the parts get plain moments.
    d = x.shape[1]
    start = _maximise(x, c * np.stack([mask, ~mask]), np.full((2, x.shape[0]), float(d)), start)
    if start.k < 2:
        return None
    found = em(x, c, start, steps=LOCAL_STEPS)
    return found if found.k == 2 else None


def join(pieces: list[Parts]) -> Parts:
    """Return parts put side by side; their weights are scaled to sum to one."""
    w = np.concatenate([piece.weights for piece in pieces])
    return Parts(
        weights=w / w.sum(),
        location=np.concatenate([piece.location for piece in pieces]),
        root=np.concatenate([piece.root for piece in pieces]),
        df=np.concatenate([piece.df for piece in pieces]),
    )


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
