"""A study: a frozen description of many tasks, and how to run it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from aisle_smc.arguments import check_count
from aisle_smc.batch.apart import shared_labels, tell_apart
from aisle_smc.batch.driver import drive
from aisle_smc.batch.grid import Cell, Grid
from aisle_smc.batch.identity import identity
from aisle_smc.batch.kinds import kind_of, preparation
from aisle_smc.batch.limits import Limits
from aisle_smc.batch.origin import Origin, claim
from aisle_smc.batch.reading import check_name, read_study
from aisle_smc.batch.result import StudyResult
from aisle_smc.batch.store import Store
from aisle_smc.batch.tasks import Task
from aisle_smc.batch.words import did_you_mean
from aisle_smc.version import __version__

__all__ = ["Study"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Study:
    """Many tasks: grids of models, data, methods and settings, each repeated.

    Parameters
    ----------
    tasks : Grid or sequence of Grid
        What is to be done.  Where grids of one kind would look alike in a table, it has a column
        for every option in which they differ.
    data : mapping from str to Series, array or object, optional
        Data by name; the option ``data`` of a task is one of these names.  Each travels once to
        every worker.
    seed : int
        Task `i` draws from ``SeedSequence(seed, spawn_key=(i,))``.
    replicates : int
        How often every cell of the grids is repeated.  Replicates come last in the order of
        tasks, after the grids in which the last axis runs fastest: more of them leave the others
        as they are.
    limits : Limits
        Of every task that has none of its own.
    name : str
        For the folder, tables and pages; without slashes.

    Attributes
    ----------
    origin : Origin or None
        The file that the study was read from.

    Raises
    ------
    TypeError, ValueError
        If a task cannot work: an unknown option or name of data, an empty grid, a model that
        cannot see its series.

    Examples
    --------
    >>> def power(base, exponent):
    ...     return base**exponent
    >>> study = Study(
    ...     tasks=Grid(kind="function", options={"function": power},
    ...                over={"base": [2, 3], "exponent": [1, 2]}),
    ... )
    >>> study
    Study('study', 4 tasks, seed 0)
    >>> study.task(3)
    Task(3, function: function=power, base=3, exponent=2)
    """

    tasks: Any = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    replicates: int = 1
    limits: Limits = field(default_factory=Limits)
    name: str = "study"
    origin: Origin | None = field(default=None, init=False, repr=False)
    _digests: dict[Any, str] = field(default_factory=dict, init=False, repr=False)
    _apart: tuple[Mapping[str, Any], ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        grids = (self.tasks,) if isinstance(self.tasks, Grid) else tuple(self.tasks)
        if not grids:
            raise ValueError("a study needs at least one grid of tasks")
        for grid in grids:
            if not isinstance(grid, Grid):
                raise TypeError(f"tasks must be grids; got {grid!r}")
        check_name(self.name)
        check_count("replicates", self.replicates)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed must be a nonnegative int; got {self.seed!r}")
        object.__setattr__(self, "tasks", grids)
        held = {name: _frozen(value) for name, value in self.data.items()}
        object.__setattr__(self, "data", MappingProxyType(held))
        for number, grid in enumerate(grids):
            self._check(number, grid)
        subjects = [kind_of(grid.kind).subject for grid in grids]
        most = [grid.limits.over(self.limits).evaluations for grid in grids]
        object.__setattr__(self, "_apart", tell_apart(grids, subjects, most, self._digest))

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Return the study that a TOML file describes.

        Parameters
        ----------
        path : path
            See the page on batch runs for its keys.

        Raises
        ------
        ValueError
            For a mistake in the file; the table and the nearest known key are named.
        """
        study = cls(**read_study(path))
        object.__setattr__(study, "origin", Origin.of(path))
        return study

    def __reduce__(self) -> tuple[Any, ...]:
        return _unchecked, (
            self.tasks, dict(self.data), self.seed, self.replicates, self.limits, self.name,
            self.origin, self._digests, self._apart,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"Study({self.name!r}, {len(self)} tasks, seed {self.seed})"

    def __len__(self) -> int:
        return self.replicates * self.cells

    @property
    def cells(self) -> int:
        """How many tasks the grids have, replicates left out."""
        return sum(map(len, self.tasks))

    def __iter__(self) -> Iterator[Task]:
        return map(self.task, range(len(self)))

    def place(self, index: int) -> tuple[int, int, int]:
        """Return replicate, grid, and cell in the grid, of a task."""
        if not 0 <= index < len(self):
            raise IndexError(f"the study has {len(self)} tasks; got number {index}")
        replicate, place = divmod(index, self.cells)
        number = 0
        while place >= len(self.tasks[number]):
            place -= len(self.tasks[number])
            number += 1
        return replicate, number, place

    def task(self, index: int) -> Task:
        """Return task number `index`."""
        replicate, number, place = self.place(index)
        grid = self.tasks[number]
        cell = grid.cell(place)
        labels = shared_labels(grid, kind_of(grid.kind).subject) | cell.labels
        labels |= self._apart[number]
        if self.replicates > 1:
            labels["replicate"] = replicate
        limits = grid.limits.over(self.limits)
        return Task(
            index=index,
            kind=grid.kind,
            options=cell.options,
            labels=labels,
            replicate=replicate,
            seed=self.seed,
            limits=limits,
            priority=grid.priority,
            fingerprint=self._fingerprint(index, number, grid, cell, limits),
        )

    def data_of(self, task: Task) -> Any:
        """Return the data that a task names, or None."""
        name = task.options.get("data")
        return None if name is None else self.data[name]

    def prepare(self, tasks: Iterable[Task]) -> None:
        """Compile, in this process, what some tasks use.

        Raises
        ------
        ValueError
            If a model does not compile or run; the task is named.
        """
        done = set()
        for task in tasks:
            key = preparation(task)
            if key in done:
                continue
            done.add(key)
            try:
                kind_of(task.kind).prepare(task.options, self.data_of(task))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{task}: {error}") from error

    def run(
        self,
        workers: int | None = None,
        executor: Any = "processes",
        *,
        folder: str | os.PathLike[str] | None = None,
        results: str | None = None,
        progress: bool = True,
        retry_failed: bool = False,
    ) -> StudyResult:
        """Run every task that has not been run before.

        Parameters
        ----------
        workers : int, optional
            How many tasks run at a time: all cores by default.  Results do not depend on it.
        executor : str or distributed.Client
            ``"processes"``; ``"threads"``, for compiled functions that let go of Python's lock;
            ``"dask"``, a Dask cluster of processes on this machine; the address of a Dask
            scheduler, such as ``"tcp://host:8786"``; or a client of yours.
        folder : path, optional
            Where the study is kept; by default a folder of the study's name.
        results : str, optional
            Where result files go, if not into `folder`: another folder, or an address that
            fsspec knows, such as ``"s3://bucket/study"``.
        progress : bool
            Show how far it is.
        retry_failed : bool
            Run tasks that failed once more.

        Returns
        -------
        StudyResult

        Raises
        ------
        ValueError, TypeError
            For what cannot work, before the first task runs; for a folder that holds the study
            of another file.
        AisleError
            If another process runs the study, the disk is full, or the cluster is gone; what is
            done is kept.
        KeyboardInterrupt
            After Ctrl-C; what is done is kept.

        Notes
        -----
        What a task does wrong does not stop the others: it is recorded as failed, with its
        traceback.  A process that dies is replaced and its task tried again, three times at most.
        A result is written whole, to the disk, before it counts; running again does what is left.
        """
        if workers is not None:
            check_count("workers", workers)
        store = Store.create(self.name if folder is None else folder, results)
        claim(store, self.origin)
        drive(
            self,
            store,
            workers=workers,
            executor=executor,
            progress=progress,
            retry_failed=retry_failed,
        )
        return StudyResult(self, store)

    def _check(self, number: int, grid: Grid) -> None:
        """Look every value of every axis over, with the first values of the others."""
        kind = kind_of(grid.kind)
        where = f"tasks number {number + 1} ({grid.kind})"
        if not grid.values(kind.subject):
            given = [*grid.over, *grid.options]
            near = [name for name in given if did_you_mean(name, [kind.subject])]
            said = f"; it says {near[0]!r}" if near else ""
            raise ValueError(f"{where} must say which {kind.subject}{said}")
        for name in grid.values("data"):
            if name is not None and not (isinstance(name, str) and name in self.data):
                known = ", ".join(self.data) or "nothing"
                near_name = did_you_mean(str(name), self.data)
                raise ValueError(f"{where}: no data {name!r}; the study has {known}{near_name}")
        limits = grid.limits.over(self.limits)
        for cell in grid.probes(kind.judged):
            name = cell.options.get("data")
            try:
                kind.check(cell.options, None if name is None else self.data[name], limits)
            except (ValueError, TypeError) as error:
                told = "".join(f", {key}={value}" for key, value in cell.labels.items())
                kind_of_error = TypeError if isinstance(error, TypeError) else ValueError
                raise kind_of_error(f"{where}{told}: {error}") from error

    def _fingerprint(self, index: int, number: int, grid: Grid, cell: Cell, limits: Limits) -> str:
        places = dict(zip(grid.over, cell.places, strict=True))
        parts = [__version__, grid.kind, f"{self.seed} {index}", f"{limits.evaluations}"]
        data = cell.options.get("data")
        for name in sorted(cell.options):
            if name == "data" and data is not None:
                continue  # its content counts, by whatever name
            value = cell.options[name]
            parts.append(f"{name}={self._digest((number, name, places.get(name)), value)}")
        if data is not None:
            parts.append(f"the data: {self._digest(data, self.data[data])}")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]

    def _digest(self, key: Any, value: Any) -> str:
        """Return a value's digest, taken once."""
        if key not in self._digests:
            self._digests[key] = identity(value)
        return self._digests[key]


def _frozen(value: Any) -> Any:
    """Return data as workers see them: arrays that nobody can write to."""
    if isinstance(value, np.ndarray):
        value = np.array(value)
        value.flags.writeable = False
    return value


def _unchecked(
    tasks: tuple[Grid, ...],
    data: dict[str, Any],
    seed: int,
    replicates: int,
    limits: Limits,
    name: str,
    origin: Origin | None,
    digests: dict[Any, str],
    apart: tuple[Mapping[str, Any], ...],
) -> Study:
    """Return a study that was checked, and its values known, where it was made."""
    study = object.__new__(Study)
    for field_name, value in (
        ("tasks", tasks),
        ("data", MappingProxyType(data)),
        ("seed", seed),
        ("replicates", replicates),
        ("limits", limits),
        ("name", name),
        ("origin", origin),
        ("_digests", digests),
        ("_apart", apart),
    ):
        object.__setattr__(study, field_name, value)
    return study
