"""Map independent parameters to standard normal coordinates and back, family by family.

Parameters of the same family are one array operation, whatever their shapes, locs and scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special as sp

from aisle_smc.coordinates import Array, Coordinate
from aisle_smc.normal_scores.families import FAMILIES
from aisle_smc.normal_scores.numerical import Numerical, read_numerical
from aisle_smc.normal_scores.tails import LIMIT

_LARGEST = float(np.finfo(np.float64).max)
_FAR = 38.0  # Phi(-38) is 0 to rounding, so that a truncation there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Hold the parameters of one family.

    Attributes
    ----------
    family : str
        A key of `FAMILIES`.
    columns : ndarray of int, shape (k,)
        Their places on the last axis.
    shapes : tuple of ndarray, shape (k,)
    loc, scale, lower, upper, lowest, highest : ndarray, shape (k,)
        `lowest` and `highest` are the outermost numbers inside the open support.
    """

    family: str
    columns: NDArray[np.intp]
    shapes: tuple[Array, ...]
    loc: Array
    scale: Array
    lower: Array
    upper: Array
    lowest: Array
    highest: Array

    def from_normal(self, z: Array) -> Any:
        """Map normal coordinates of shape (..., k) into the open supports."""
        family = FAMILIES[self.family]
        x = family.forward(z if family.unlimited else _limited(z), *self.shapes)
        origin = np.where(np.signbit(x), self.upper, self.lower) if family.anchored else self.loc
        return np.minimum(np.maximum(origin + self.scale * x, self.lowest), self.highest)

    def to_normal(self, theta: Array) -> Any:
        """Map values inside the open supports to normal coordinates."""
        family = FAMILIES[self.family]
        if family.anchored:
            low, high = theta - self.lower, theta - self.upper
            x = np.where(low <= -high, low, high) / self.scale
        else:
            x = (theta - self.loc) / self.scale
        z = family.inverse(x, *self.shapes)
        return z if family.unlimited else _limited(z)

    def slope(self, z: Array) -> Any:
        """Return d theta / d z."""
        family = FAMILIES[self.family]
        z = z if family.unlimited else _limited(z)
        return self.scale * family.slope(z, family.forward(z, *self.shapes), *self.shapes)


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalScores:
    """Hold the maps of all parameters."""

    groups: tuple[Group, ...]
    others: tuple[Numerical, ...]

    def from_normal(self, z: Array) -> Array:
        """Map normal coordinates, shape (..., d), to parameters."""
        return self._apply("from_normal", z)

    def to_normal(self, theta: Array) -> Array:
        """Map parameters inside their supports, shape (..., d), to normal coordinates."""
        return np.clip(self._apply("to_normal", theta), -_LARGEST, _LARGEST)

    def slope(self, z: Array) -> Array:
        """Return d theta_j / d z_j, shape (..., d), finite."""
        return np.minimum(self._apply("slope", z), _LARGEST)

    def _apply(self, method: str, x: Array) -> Array:
        with np.errstate(all="ignore"):
            # Alone, a group holds every column in order.
            if len(self.groups) == 1 and not self.others:
                return np.asarray(getattr(self.groups[0], method)(x), dtype=np.float64)
            out = np.empty_like(x)
            for group in self.groups:
                out[..., group.columns] = getattr(group, method)(x[..., group.columns])
            for other in self.others:
                out[..., other.column] = getattr(other, method)(x[..., other.column])
        return out


def _limited(z: Array) -> Any:
    return np.minimum(np.maximum(z, -LIMIT), LIMIT)


def read_scores(coordinates: Sequence[Coordinate]) -> NormalScores:
    """Sort parameters by family; one that no fast map reproduces is mapped numerically."""
    found: dict[str, list[Group]] = {}
    others = []
    for column, coordinate in enumerate(coordinates):
        group = _alone(column, coordinate)
        if group is None:
            others.append(read_numerical(column, coordinate))
        else:
            found.setdefault(group.family, []).append(group)
    groups = tuple(_together(rows) for rows in found.values())
    return NormalScores(groups=groups, others=tuple(others))


def _alone(column: int, coordinate: Coordinate) -> Group | None:
    """Return the group of one parameter, or None if its family has no fast map."""
    # Whoever holds a frozen distribution has paid for this import already.
    from scipy import stats

    distribution = coordinate.distribution
    family = getattr(distribution.dist, "name", "")
    known = type(getattr(stats, str(family), None))
    if family not in FAMILIES or type(distribution.dist) is not known:
        return None
    if coordinate.standard is None:
        return None
    shapes, loc, scale = coordinate.standard
    if family == "truncnorm" and max(shapes[0], -shapes[1]) < -_FAR:
        family, shapes = "norm", ()
    group = Group(
        family=family,
        columns=np.array([column]),
        shapes=tuple(np.array([shape]) for shape in shapes),
        loc=np.array([loc]),
        scale=np.array([scale]),
        lower=np.array([coordinate.lower]),
        upper=np.array([coordinate.upper]),
        lowest=np.array([coordinate.lowest]),
        highest=np.array([coordinate.highest]),
    )
    z = np.array([-2.5, -0.7, 0.1, 0.9, 2.2])[:, None]
    with np.errstate(all="ignore"):
        right = np.allclose(group.from_normal(z), distribution.ppf(sp.ndtr(z)), rtol=1e-8)
    return group if right else None


def _together(rows: list[Group]) -> Group:
    def joined(name: str) -> Any:
        return np.concatenate([getattr(row, name) for row in rows])

    return Group(
        family=rows[0].family,
        shapes=tuple(
            np.concatenate(shape) for shape in zip(*(r.shapes for r in rows), strict=True)
        ),
        **{name: joined(name) for name in Group.__slots__ if name not in ("family", "shapes")},
    )
