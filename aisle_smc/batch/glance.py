"""A study at one glance: how it stands, what is at work by name, what failed and how often."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from aisle_smc.batch.status import Status, status
from aisle_smc.batch.store import Store

__all__ = ["AtWork", "FaultKind", "Glance", "fault_kinds", "glance", "told"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AtWork:
    """A task at work.

    Attributes
    ----------
    task : int
        Its number.
    labels : dict
        What tells it from the others; empty if the index does not know the number.
    seconds : float
        For how long.
    """

    task: int
    labels: dict[str, Any]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultKind:
    """Tasks that failed for the same reason.

    Attributes
    ----------
    reason : str
        One line.
    count : int
        How many.
    task : int
        The first of them.
    labels : dict
        What tells that one from the others.
    traceback : str
        Where that one failed.
    """

    reason: str
    count: int
    task: int
    labels: dict[str, Any]
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """What a person wants to see of a study.

    Attributes
    ----------
    name : str
        What it is called, if the run said so.
    command : str
        What was typed to run it, if that is known.
    status : Status
        Counts, rate, time left.
    at_work : tuple of AtWork
        Tasks at work, the longest first.
    faults : tuple of FaultKind
        The commonest reasons of failures.
    """

    name: str
    command: str
    status: Status
    at_work: tuple[AtWork, ...]
    faults: tuple[FaultKind, ...]

    @property
    def over(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.status.driver is None


def glance(folder: str | os.PathLike[str], *, faults: int = 5) -> Glance:
    """Return how the study in a folder stands.

    Parameters
    ----------
    folder : path
        The study's folder.
    faults : int
        How many reasons of failures, at most.

    Raises
    ------
    ValueError
        If there is no study.

    Notes
    -----
    Reads the index alone, no result: 100 000 tasks take a small part of a second.
    """
    found = status(folder)
    store = Store.open(folder)
    known = _labels(store, [running.task for running in found.running])
    at_work = [
        AtWork(task=r.task, labels=known.get(r.task, {}), seconds=r.seconds) for r in found.running
    ]
    return Glance(
        name=store.fact("name", ""),
        command=store.fact("command", ""),
        status=found,
        at_work=tuple(sorted(at_work, key=lambda task: -task.seconds)),
        faults=tuple(fault_kinds(store, faults)) if found.summary.failed else (),
    )


def fault_kinds(store: Store, most: int) -> list[FaultKind]:
    """Return the commonest reasons of failures, with the first task of each."""
    with store._reading() as index:
        kinds = index.execute(
            "SELECT fault, COUNT(*), MIN(position) FROM tasks "
            "WHERE current = 1 AND status = 'failed' GROUP BY fault ORDER BY 2 DESC, 3 LIMIT ?",
            (most,),
        ).fetchall()
        firsts = [
            index.execute(
                "SELECT labels, traceback FROM tasks "
                "WHERE current = 1 AND status = 'failed' AND position = ?",
                (position,),
            ).fetchone()
            for _, _, position in kinds
        ]
    return [
        FaultKind(
            reason=reason, count=count, task=task, labels=json.loads(labels), traceback=traceback
        )
        for (reason, count, task), (labels, traceback) in zip(kinds, firsts, strict=True)
    ]


def told(labels: dict[str, Any]) -> str:
    """Return what tells a task from the others, in one line.

    Examples
    --------
    >>> told({"model": "leverage", "replicate": 1})
    'model=leverage, replicate=1'
    """
    return ", ".join(f"{name}={value}" for name, value in labels.items())


def _labels(store: Store, positions: list[int]) -> dict[int, dict[str, Any]]:
    if not positions:
        return {}
    places = ", ".join("?" * len(positions))
    with store._reading() as index:
        found = index.execute(
            f"SELECT position, labels FROM tasks WHERE current = 1 AND position IN ({places})",
            positions,
        ).fetchall()
    return {position: json.loads(labels) for position, labels in found}
