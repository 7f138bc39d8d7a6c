"""Parameters on a circle: turn it so that the cut lies where there is little mass.

The ends of the support of a periodic parameter are the same point, yet its normal score sends them
to minus and plus infinity.  A mode at that cut is torn into two, far apart.  In ``u = Phi(z)``,
which is uniform under the prior, turning the circle,

    u' = (u + shift) mod 1,        z' = Phi^{-1}(u'),

preserves the standard normal distribution of `z`, and moves the cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special as sp

from aisle_smc.coordinates import Array, Coordinate

_LEAST = 2.0**-56  # a turned point lies at least so far from the cut: rounding leaves no more
_SPARSE = 0.02


def rotate(z: ArrayLike, shifts: ArrayLike, inverse: bool = False) -> Array:
    """Turn coordinates around their circles.

    Parameters
    ----------
    z : array_like, shape (..., d)
        Normal scores.
    shifts : array_like, shape (d,)
        Shares of a turn; coordinates with shift 0 are returned as they are.
    inverse : bool, default False
        Whether to turn back.

    Returns
    -------
    ndarray, shape (..., d)
        Finite for every finite `z`.

    Notes
    -----
    Points are held by their distance to the cut on the nearer side.  Turning back recovers `u` to
    1e-16, so `z` to about ``1e-16 / phi(z)``.

    Examples
    --------
    >>> rotate([[-2.0, 1.0]], [0.5, 0.0]).round(6).tolist()
    [[0.057057, 1.0]]
    >>> rotate([[0.057057, 1.0]], [0.5, 0.0], inverse=True).round(5).tolist()
    [[-2.0, 1.0]]
    """
    z = np.asarray(z, dtype=np.float64)
    shifts = np.asarray(shifts, dtype=np.float64)
    moved = np.flatnonzero(shifts != 0.0)
    out = z.copy()
    part = z[..., moved]
    # The distance to the cut, positive on its right (small u) and negative on its left.
    t = np.copysign(sp.ndtr(-np.abs(part)), -part)
    t = t + (-shifts[moved] if inverse else shifts[moved])
    t = t - np.rint(t)
    out[..., moved] = np.copysign(sp.ndtri(np.maximum(np.abs(t), _LEAST)), -t)
    return out


def widest_gap(z: ArrayLike, weights: ArrayLike | None = None, sparse: float = _SPARSE) -> float:
    """Return the shift that puts the cut in the middle of the emptiest part of a circle.

    That part is the widest arc between two points with at most a given share of the mass strictly
    between them.

    Parameters
    ----------
    z : array_like, shape (n,)
        Normal scores of one parameter.
    weights : array_like, shape (n,), optional
        Weights, at least one of them positive; equal by default.  They need not be normalised.
    sparse : float, default 0.02
        The share of the mass that may lie in the gap, so that a stray point does not split it.

    Returns
    -------
    float
        In [0, 1), for `rotate`.

    Raises
    ------
    ValueError
        If weights do not fit, are negative or not finite, or are all zero.

    Notes
    -----
    O(n log n).

    Examples
    --------
    >>> from scipy.special import ndtri
    >>> round(widest_gap(ndtri([0.9, 0.98, 0.04, 0.1])), 6)  # the mode straddles the cut
    0.5
    """
    z = np.asarray(z, dtype=np.float64)
    w = np.ones(z.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    total = w.sum() if w.shape == z.shape and z.ndim == 1 else np.nan
    if not (np.isfinite(total) and total > 0.0 and (w >= 0.0).all()) or np.isnan(z).any():
        raise ValueError(
            f"expected scores and non-negative weights of shape (n,), some positive; came shapes "
            f"{z.shape} and {w.shape} with sum {total}; pass the draws of one parameter"
        )
    u = sp.ndtr(z[w > 0.0])
    order = np.argsort(u, kind="stable")
    u, w = u[order], w[w > 0.0][order] / total
    # Once more round the circle, so that an arc may pass the present cut.
    u, mass = np.concatenate([u, u + 1.0]), np.cumsum(np.concatenate([w, w]))
    start = np.arange(u.size // 2)
    end = np.searchsorted(mass, mass[start] + sparse, side="right")
    end = np.minimum(np.maximum(end, start + 1), start + u.size // 2)
    widest = int(np.argmax(u[end] - u[start]))
    middle = 0.5 * (u[widest] + u[end[widest]])
    return float(-middle % 1.0) % 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """Hold how far the circle of each coordinate is turned.

    Attributes
    ----------
    shifts : ndarray, shape (d,)
        Shares of a turn, 0 for a coordinate that is left as it is.

    Examples
    --------
    >>> rotation = Rotation(shifts=np.array([0.5, 0.0]))
    >>> turned = rotation.apply([[-2.0, 1.0]])
    >>> rotation.undo(turned).round(12).tolist()
    [[-2.0, 1.0]]
    """

    shifts: Array

    @classmethod
    def fit(cls, z: ArrayLike, weights: ArrayLike | None, columns: Sequence[int]) -> Self:
        """Turn the circles of some columns of draws, shape (n, d), by their widest gaps."""
        z = np.asarray(z, dtype=np.float64)
        shifts = np.zeros(z.shape[-1])
        for column in columns:
            shifts[column] = widest_gap(z[:, column], weights)
        return cls(shifts=shifts)

    def apply(self, z: ArrayLike) -> Array:
        """Turn normal scores, shape (..., d)."""
        return rotate(z, self.shifts)

    def undo(self, turned: ArrayLike) -> Array:
        """Turn normal scores back, shape (..., d)."""
        return rotate(turned, self.shifts, inverse=True)

    def jacobian(self, turned: ArrayLike) -> Array:
        """Return d z_j / d turned_j = phi(turned_j) / phi(z_j) of `undo`, shape (..., d)."""
        turned = np.asarray(turned, dtype=np.float64)
        z = self.undo(turned)
        return np.asarray(np.exp(0.5 * (z - turned) * (z + turned)))


def circular_columns(coordinates: Sequence[Coordinate], names: Sequence[str]) -> NDArray[np.intp]:
    """Return the places of periodic parameters.

    Parameters
    ----------
    coordinates : sequence of Coordinate
        The free parameters, as in ``Prior.coordinates``.
    names : sequence of str
        Those that are periodic: the two ends of their supports are the same point.

    Returns
    -------
    ndarray of int, shape (len(names),)

    Raises
    ------
    ValueError
        If a name is not that of a free parameter, or the parameter's support is not bounded.
    """
    free = [coordinate.name for coordinate in coordinates]
    if isinstance(names, str):
        names = (names,)
    places = []
    for name in names:
        if name not in free:
            raise ValueError(
                f"a periodic parameter must be one of the free ones, {', '.join(free)}; "
                f"came {name!r}; correct the name, or name the one that it is tied to"
            )
        coordinate = coordinates[free.index(name)]
        if coordinate.support != "interval":
            raise ValueError(
                f"a periodic parameter must have a bounded support, whose two ends are the same "
                f"point; came {name!r} on ({coordinate.lower:g}, {coordinate.upper:g}); "
                "give it a bounded prior such as scipy.stats.uniform(0, 2 * pi), or leave it out"
            )
        places.append(free.index(name))
    return np.array(places, dtype=np.intp)
