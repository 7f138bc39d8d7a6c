"""Standardised coordinates, and the nonlinear features made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from aisle_smc.arrays import Floats, Integers
from aisle_smc.distributions.moments import scale_of
from aisle_smc.distributions.univariate import weighted_quantiles

__all__ = ["Features", "Flags", "Standard", "even", "products", "standard_of"]

Flags: TypeAlias = npt.NDArray[np.bool_]

# Nonlinear features see a coordinate clipped to these quantiles, moved away from the median by a
# share of their distance from it.
CLIP = 1e-3
WIDEN = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Features:
    """Coordinates, one per row and one point per column, as regressions see them.

    Attributes
    ----------
    plain : ndarray, shape (p, n)
        Standardised coordinates.
    clipped : ndarray, shape (p, n)
        The same, moved to the nearest point of their range.
    even : ndarray, shape (p, n)
        Their :func:`even` functions.
    """

    plain: Floats
    clipped: Floats
    even: Floats

    def rows(self, which: slice | list[int]) -> Features:
        """Return some of the coordinates."""
        return Features(
            plain=self.plain[which], clipped=self.clipped[which], even=self.even[which]
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Standard:
    """What standardises coordinates, and their range after that; all of shape (d,)."""

    centre: Floats
    spread: Floats
    low: Floats
    high: Floats

    def features(self, x: Floats) -> Features:
        """Return the features of points, one per column."""
        z = (x - self.centre[:, None]) / self.spread[:, None]
        c = np.clip(z, self.low[:, None], self.high[:, None])
        return Features(plain=z, clipped=c, even=even(c))


def standard_of(x: Floats, w: Floats) -> Standard:
    """Return median, spread and range of weighted points, one per column.

    All are quantiles, which heavy tails cannot move; the spread is half the distance between
    those that are two standard deviations apart for a normal law.
    """
    levels = np.array([CLIP, 0.15865525, 0.5, 0.84134475, 1.0 - CLIP])
    marks = np.array([weighted_quantiles(row, w, levels) for row in x])
    centre = marks[:, 2]
    spread = (marks[:, 3] - marks[:, 1]) / 2.0
    if not spread.all():
        spread = np.where(spread > 0.0, spread, scale_of(np.ascontiguousarray(x.T), w))
    return Standard(
        centre=centre,
        spread=spread,
        low=(1.0 + WIDEN) * (marks[:, 0] - centre) / spread,
        high=(1.0 + WIDEN) * (marks[:, 4] - centre) / spread,
    )


def even(c: Floats) -> Floats:
    """Return ``log(1 + c^2)``: in a log-scale it makes the scale a power of a distant feature."""
    return np.asarray(np.log1p(c**2))


def products(u: Floats, c: Floats, pairs: Integers) -> Floats:
    """Return products of coordinates that go on linearly outside their range.

    Parameters
    ----------
    u, c : ndarray, shape (p, n)
        Coordinates, and the same clipped.
    pairs : ndarray of int, shape (m, 2)
        Which two coordinates to multiply; the same twice for a square.

    Returns
    -------
    ndarray, shape (m, n)
        The tangent plane of the product at the clipped point, ``u_a c_b + u_b c_a - c_a c_b``:
        the product itself inside the range.
    """
    a, b = pairs[:, 0], pairs[:, 1]
    return np.asarray(u[a] * c[b] + (u[b] - c[b]) * c[a])
