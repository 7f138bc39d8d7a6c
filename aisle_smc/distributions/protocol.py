"""What a proposal can do: draw points, give their log-density, be fitted to weighted points."""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable

import numpy as np

from aisle_smc.arguments import check_count
from aisle_smc.arrays import Floats

__all__ = [
    "Distribution",
    "check_draw",
    "read_points",
    "read_weighted",
    "settle",
    "without_copies",
]


@runtime_checkable
class Distribution(Protocol):
    """A distribution of vectors that can be sampled, evaluated and fitted.

    Points are rows of a float64 array of shape (n, d); log-densities are in nats.  The two
    methods are exact partners: `log_density` is the normalised density of what `sample` draws.
    """

    @property
    def dim(self) -> int:
        """Number of coordinates."""

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw `n` independent points, shape (n, d)."""

    def log_density(self, x: Floats) -> Floats:
        """Return the log-density of each row of `x`, shape (n,); -inf off the support."""

    def fit(self, x: Floats, weights: Floats) -> Self:
        """Return the member of the same family closest to weighted points, a new value."""


def check_draw(n: int, rng: np.random.Generator) -> None:
    """Raise unless `n` is a count and `rng` a generator."""
    check_count("n", n)
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"rng must be a numpy.random.Generator; got {type(rng).__name__}; "
            "pass numpy.random.default_rng(seed)"
        )


def _floats(x: Floats) -> Floats:
    """Return `x` as float64 in the layout that compiled loops were compiled for."""
    return np.require(x, np.float64, ["C", "W"])


def read_points(x: Floats, dim: int) -> Floats:
    """Return `x` as a float64 array of shape (n, dim), or raise."""
    points = _floats(x)
    if points.ndim != 2 or points.shape[1] != dim:
        raise ValueError(
            f"x must have shape (n, {dim}), one point per row; got shape {points.shape}; "
            "pass x[None, :] for one point and x[:, None] for points on the line"
        )
    return points


def read_weighted(x: Floats, weights: Floats, dim: int | None = None) -> tuple[Floats, Floats]:
    """Return the points that carry weight, and their weights with sum one.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        Points.
    weights : ndarray, shape (n,)
        Weights, zero or more; they need not sum to one.
    dim : int, optional
        The dimension the points must have.

    Returns
    -------
    x : ndarray, shape (m, d)
        The points of positive weight.
    weights : ndarray, shape (m,)
        Their weights, which sum to one.

    Raises
    ------
    ValueError
        If a shape is wrong, a weight is negative or not finite, no weight is positive, or a point
        that carries weight is not finite; the index is named.
    """
    points = _floats(x)
    if points.ndim != 2 or points.shape[1] == 0 or (dim is not None and points.shape[1] != dim):
        wanted = "d" if dim is None else str(dim)
        raise ValueError(
            f"x must have shape (n, {wanted}), one point per row; got shape {points.shape}; "
            "pass x[:, None] for points on the line"
        )
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != points.shape[:1]:
        raise ValueError(
            f"weights must have shape {points.shape[:1]}, one per point; got shape {w.shape}"
        )
    bad = ~((w >= 0.0) & (w < np.inf))
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"weights must be finite and not negative; weights[{i}] is {w[i]}; "
            "pass normalised weights, exp(log_w - logsumexp(log_w))"
        )
    kept = w > 0.0
    if not kept.any():
        raise ValueError(
            f"at least one weight must be positive; got {w.size} weights, all zero; "
            "a distribution cannot be fitted to no points"
        )
    unfit = kept & ~np.isfinite(points).all(axis=1)
    if unfit.any():
        i = int(np.flatnonzero(unfit)[0])
        raise ValueError(
            f"points that carry weight must be finite; x[{i}] is {points[i]} with weight {w[i]}; "
            "give such points weight zero or leave them out"
        )
    if not kept.all():
        points, w = points[kept], w[kept]
    # Divided by the largest first, so that tiny and huge weights neither vanish nor overflow.
    w = w / w.max()
    return points, w / w.sum()


def without_copies(x: Floats, w: Floats) -> tuple[Floats, Floats]:
    """Return the distinct points with their summed weights.

    Copies, as a Markov chain that rejects leaves them, would be seen by both halves of a held-out
    score and make every overfit look good.
    """
    order = np.argsort(x[:, 0], kind="stable")
    first = x[order, 0]
    if (first[1:] != first[:-1]).all():
        return x, w
    order = np.lexsort(x.T[::-1])
    ordered = x[order]
    new = np.ones(order.size, dtype=bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return ordered[new], np.add.reduceat(w[order], np.flatnonzero(new))


def settle(log_q: Floats, x: Floats) -> Floats:
    """Return log-densities with the NaN of infinite points replaced by -inf, or raise.

    A point at infinity has distance ``inf - inf`` from some plane; its density is zero.
    """
    lost = np.isnan(log_q)
    if not lost.any():
        return log_q
    wrong = lost & np.isnan(x).any(axis=1)
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        raise ValueError(f"x must not hold NaN; x[{i}] is {x[i]}; drop such points beforehand")
    return np.where(lost, -np.inf, log_q)
