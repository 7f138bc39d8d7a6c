"""A grid: one kind of task, what all its tasks share, and the values that they run through."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from aisle_smc.batch.limits import Limits
from aisle_smc.batch.words import label

__all__ = ["Axis", "Cell", "Grid"]


@dataclass(frozen=True, slots=True)
class Axis:
    """The values of one option, and what to call each in a table."""

    name: str
    labels: tuple[Any, ...]
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of the values of a grid.

    Attributes
    ----------
    options : dict
        What the task is called with.
    labels : dict
        What tells it from the other cells, as a table shows it.
    places : tuple of int
        Which value of each axis it has.
    """

    options: dict[str, Any]
    labels: dict[str, Any]
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """Tasks of one kind: every combination of the values of some options.

    Parameters
    ----------
    kind : str
        ``"fit"``, ``"filter"``, ``"score"``, ``"sample"`` or ``"function"``; see
        :mod:`aisle_smc.batch.kinds`.
    over : mapping from str to sequence or mapping, optional
        The values of each option, the last option running fastest.  A mapping gives each value
        the label that stands in the table.
    options : mapping, optional
        Options that all tasks share.
    limits : Limits
        Of each task; what they leave open is taken from the study.
    priority : int
        Tasks of higher priority start first.

    Raises
    ------
    TypeError, ValueError
        If an axis has no values or two that look the same, or an option stands in both places.

    Examples
    --------
    >>> grid = Grid(kind="function", over={"x": [1, 2], "y": [10, 20]})
    >>> len(grid), grid.cell(2).options
    (4, {'x': 2, 'y': 10})
    """

    kind: str
    over: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    priority: int = 0
    axes: tuple[Axis, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        axes = tuple(_axis(name, values) for name, values in self.over.items())
        for axis in axes:
            if axis.name in self.options:
                raise ValueError(f"{axis.name!r} is both an axis and a fixed option: choose")
        if isinstance(self.priority, bool) or not isinstance(self.priority, int):
            raise TypeError(f"priority must be an int; got {self.priority!r}")
        object.__setattr__(self, "axes", axes)
        object.__setattr__(self, "over", MappingProxyType(dict(self.over)))
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    def __reduce__(self) -> tuple[Any, ...]:
        return _grid, (self.kind, dict(self.over), dict(self.options), self.limits, self.priority)

    def __len__(self) -> int:
        return math.prod(len(axis.values) for axis in self.axes)

    def cell(self, place: int) -> Cell:
        """Return combination number `place`, the last axis running fastest."""
        places = []
        for axis in reversed(self.axes):
            place, which = divmod(place, len(axis.values))
            places.append(which)
        places.reverse()
        options, labels = dict(self.options), {}
        for axis, which in zip(self.axes, places, strict=True):
            options[axis.name] = axis.values[which]
            labels[axis.name] = axis.labels[which]
        return Cell(options, labels, tuple(places))

    def values(self, name: str) -> tuple[Any, ...]:
        """Return every value that an option takes; nothing if it is not given."""
        for axis in self.axes:
            if axis.name == name:
                return axis.values
        return (self.options[name],) if name in self.options else ()

    def probes(self, axes: Container[str] | None = None) -> Iterator[Cell]:
        """Return cells in which every value of some axes occurs, with the first of the others.

        Parameters
        ----------
        axes : container of str, optional
            Which axes; all by default.
        """
        yield self.cell(0)
        stride = len(self)
        for axis in self.axes:
            stride //= len(axis.values)
            if axes is None or axis.name in axes:
                for which in range(1, len(axis.values)):
                    yield self.cell(which * stride)


def _grid(
    kind: str, over: dict[str, Any], options: dict[str, Any], limits: Limits, priority: int
) -> Grid:
    return Grid(kind=kind, over=over, options=options, limits=limits, priority=priority)


def _axis(name: str, values: Any) -> Axis:
    if isinstance(values, Mapping):
        labels, held = tuple(values), tuple(values.values())
    elif isinstance(values, Sequence | np.ndarray | range) and not isinstance(values, str | bytes):
        held = tuple(values)
        labels = tuple(label(value) for value in held)
    else:
        raise TypeError(
            f"the axis {name!r} must be a list of values, or a mapping from labels to values; got "
            f"{values!r}; an option with one value for all tasks belongs to options"
        )
    if not held:
        raise ValueError(f"the axis {name!r} of the grid is empty; give it at least one value")
    if len(set(labels)) < len(labels):
        twice = next(text for text in labels if labels.count(text) > 1)
        raise ValueError(
            f"the axis {name!r} has {twice!r} twice; tell its values apart by a mapping from "
            "labels to values, or use replicates for repetitions"
        )
    return Axis(name, labels, held)
