"""Which coordinates of weighted points depend on one another."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from aisle_smc.arrays import Floats
from aisle_smc.distributions.moments import effective_count

__all__ = ["dependent_blocks"]

Mask: TypeAlias = npt.NDArray[np.bool_]

FEATURES = 6
# Chance of a false link anywhere among independent coordinates.
FALSE_LINK = 1e-3


def dependent_blocks(x: Floats, w: Floats) -> tuple[tuple[int, ...], ...]:
    r"""Return the blocks of coordinates that are linked by pairwise dependence.

    Each coordinate becomes its weighted rank :math:`u \in (0, 1)`, and each rank six features
    :math:`\sqrt2 \cos(\pi k u)`: bounded, of variance one and uncorrelated for a continuous
    coordinate.  The first sees monotone dependence, the second that of size on place, the others
    finer shapes.  Two coordinates are linked if one of the 36 weighted correlations exceeds
    :math:`z / \sqrt m`, with effective number of points :math:`m` and :math:`z` so large that
    independent coordinates are linked with probability below 1e-3 in all.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        Points.
    w : ndarray, shape (n,)
        Positive weights with sum one.

    Returns
    -------
    tuple of tuple of int
        The connected components, each in increasing order, in order of their first coordinate.

    References
    ----------
    Kallenberg and Ledwina (1999), Data-driven rank tests for independence, section 2 (there with
    Legendre polynomials).
    """
    n, d = x.shape
    features = np.empty((n, d, FEATURES))
    for j in range(d):
        order = np.argsort(x[:, j], kind="stable")
        rank = np.empty(n)
        rank[order] = np.cumsum(w[order]) - 0.5 * w[order]
        features[:, j, 0] = np.cos(math.pi * rank)
    # Chebyshev's recurrence: cos (k + 1) t = 2 cos t cos k t - cos (k - 1) t.
    first, before = 2.0 * features[:, :, 0], np.ones((n, d))
    for k in range(1, FEATURES):
        features[:, :, k] = first * features[:, :, k - 1] - before
        before = features[:, :, k - 1]
    flat = features.reshape(n, d * FEATURES)
    flat -= w @ flat
    spread = np.sqrt(w @ np.square(flat))
    flat /= np.where(spread > 0.0, spread, 1.0)
    correlation = np.abs((flat * w[:, None]).T @ flat).reshape(d, FEATURES, d, FEATURES)
    strongest = correlation.max(axis=(1, 3))
    tests = FEATURES**2 * max(d * (d - 1) // 2, 1)
    threshold = -float(ndtri(0.5 * FALSE_LINK / tests)) / math.sqrt(effective_count(w))
    return _components(strongest > threshold)


def _components(linked: Mask) -> tuple[tuple[int, ...], ...]:
    """Return the connected components of a graph given by its adjacency matrix."""
    left = np.ones(linked.shape[0], dtype=bool)
    found = []
    while left.any():
        block = np.zeros_like(left)
        block[np.argmax(left)] = True
        while True:
            wider = block | linked[block].any(axis=0)
            if (wider == block).all():
                break
            block = wider
        found.append(tuple(np.flatnonzero(block).tolist()))
        left &= ~block
    return tuple(found)
