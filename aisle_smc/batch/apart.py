"""Grids that look alike: which of their options tell the tasks of one from those of another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import Any

from aisle_smc.batch.grid import Grid
from aisle_smc.batch.words import label

__all__ = ["EVALUATIONS", "GRID", "shared_labels", "tell_apart"]

# Labels that are no options: a limit on which results depend, and the last resort.
EVALUATIONS, GRID = "limits.evaluations", "grid number"

# Takes a key and a value, and returns the value's digest.
Digest = Callable[[Any, Any], str]


@dataclass(slots=True)
class _Shown:
    """What a table shows of the tasks of a grid.

    `values` has, for each label, its values by the text that stands for them, with their keys for
    the digest; `hidden` has the options that all tasks share and no label shows.
    """

    number: int
    kind: str
    values: dict[str, dict[str, tuple[Any, Any]]]
    hidden: dict[str, Any]
    extra: dict[str, Any] = field(default_factory=dict)

    def like(self, other: _Shown) -> bool:
        """Whether a task of this grid and one of the other have the same labels."""
        mine, its = self.values, other.values
        return (
            self.kind == other.kind
            and mine.keys() == its.keys()
            and not any(mine[name].keys().isdisjoint(its[name]) for name in mine)
        )

    def show(self, name: str, told: Any) -> None:
        """Add a label."""
        value = self.hidden.pop(name, told)
        self.values[name] = {str(told): ((self.number, name, None), value)}
        self.extra[name] = told


def shared_labels(grid: Grid, subject: str) -> dict[str, Any]:
    """Return the labels that all tasks of a grid have, whatever the other grids are.

    Examples
    --------
    >>> shared_labels(Grid(kind="fit", options={"model": "plain", "n": 100}), "model")
    {'model': 'plain'}
    """
    names = (subject, "data")
    return {name: label(grid.options[name]) for name in names if name in grid.options}


def tell_apart(
    grids: Sequence[Grid],
    subjects: Sequence[str],
    evaluations: Sequence[int | None],
    digest: Digest,
) -> tuple[Mapping[str, Any], ...]:
    """Return the labels that each grid needs besides those of its axes, subject and data.

    Parameters
    ----------
    grids : sequence of Grid
        All grids of a study.
    subjects : sequence of str
        For each, the option that says what its tasks are about.
    evaluations : sequence of int or None
        For each, the limit of evaluations.
    digest : callable
        Returns the digest of a value, given a key (grid, option, place on the axis) and the value.

    Returns
    -------
    tuple of mapping from str to object
        For each grid; empty if its tasks look like those of no other grid of its kind, or like
        tasks that differ by nothing but their seeds.

    Raises
    ------
    TypeError
        If nothing tells a value of grids that look alike from others.

    Notes
    -----
    Grids of a kind that look alike get a label for every shared option in which they differ.  That
    may make them look like further grids, so it is done until nothing changes.  Different values
    of the same text are told apart by the number of the grid.
    """
    if len(grids) == 1:
        return ({},)
    shown = [
        _shown(k, grid, subject, most)
        for k, (grid, subject, most) in enumerate(zip(grids, subjects, evaluations, strict=True))
    ]
    while any([_show_differences(group, digest) for group in _groups(shown)]):
        pass
    for group in _groups(shown):
        if any(_differ(one, other, digest) for one, other in combinations(group, 2)):
            for grid in group:
                grid.show(GRID, grid.number + 1)
    return tuple(grid.extra for grid in shown)


def _shown(number: int, grid: Grid, subject: str, evaluations: int | None) -> _Shown:
    values: dict[str, dict[str, tuple[Any, Any]]] = {}
    for name, told in shared_labels(grid, subject).items():
        values[name] = {str(told): ((number, name, None), grid.options[name])}
    for axis in grid.axes:
        pairs = zip(axis.labels, axis.values, strict=True)
        values[axis.name] = {
            str(told): ((number, axis.name, place), value)
            for place, (told, value) in enumerate(pairs)
        }
    hidden = {name: value for name, value in grid.options.items() if name not in values}
    if evaluations is not None:
        hidden[EVALUATIONS] = evaluations
    return _Shown(number, grid.kind, values, hidden)


def _groups(shown: Sequence[_Shown]) -> list[list[_Shown]]:
    """Return the grids that look alike, directly or by way of others, where there are several."""
    groups: dict[int, list[_Shown]] = {}
    # By one label of a grid: not every grid has to be held against every other.
    by_label: dict[tuple[str, str, str], list[_Shown]] = {}
    for grid in shown:
        group = groups[grid.number] = [grid]
        places = [
            [by_label.setdefault((grid.kind, name, text), []) for text in grid.values[name]]
            for name in grid.values
        ]
        fewest = min(places, key=_total)
        for other in chain.from_iterable(fewest):
            if groups[other.number] is not group and grid.like(other):
                group += groups[other.number]
                groups |= dict.fromkeys((member.number for member in group), group)
        for held in chain.from_iterable(places):
            held.append(grid)
    several = {id(group): group for group in groups.values() if len(group) > 1}
    return [sorted(group, key=lambda grid: grid.number) for group in several.values()]


def _total(lists: Sequence[Sequence[_Shown]]) -> int:
    return sum(len(grids) for grids in lists)


def _show_differences(group: Sequence[_Shown], digest: Digest) -> bool:
    """Show every hidden option in which the grids of a group differ; say whether there is one."""
    different = []
    for name in dict.fromkeys(name for grid in group for name in grid.hidden):
        found = {
            digest((grid.number, name, None), grid.hidden[name]) if name in grid.hidden else None
            for grid in group
        }
        if len(found) > 1:
            different.append(name)
    for name in different:
        for grid in group:
            if name in grid.hidden:
                grid.show(name, label(grid.hidden[name]))
    return bool(different)


def _differ(one: _Shown, other: _Shown, digest: Digest) -> bool:
    """Whether the same text stands for different values in two grids that look alike."""
    return one.like(other) and any(
        digest(*one.values[name][text]) != digest(*other.values[name][text])
        for name in one.values
        for text in one.values[name].keys() & other.values[name].keys()
    )
