"""What a study returns: its table, the value of each task, and the faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aisle_smc.batch.progress import duration
from aisle_smc.batch.store import Store
from aisle_smc.batch.table import Table, tidy

__all__ = ["Fault", "StudyResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A task that failed.

    Attributes
    ----------
    task : int
        Its number.
    labels : dict
        What tells it from the others.
    reason : str
        One line.
    traceback : str
        Where it happened.
    """

    task: int
    labels: dict[str, Any]
    reason: str
    traceback: str


@dataclass(frozen=True, slots=True, repr=False)
class StudyResult:
    """What came of a study.

    Attributes
    ----------
    study : Study
        What was asked for.
    store : Store
        Where everything is kept.
    """

    study: Any
    store: Store

    def table(self) -> Table:
        """Return one row for each task: status, parameters, results, time."""
        return tidy(self.store.rows())

    def value(self, task: int) -> Any:
        """Return what task number `task` returned.

        Raises
        ------
        FileNotFoundError
            If it has not ended.
        """
        return self.store.value(self.study.task(task).fingerprint)

    def values(self) -> Iterator[tuple[int, Any]]:
        """Return number and value of every task that is done."""
        for row in self.store.rows(status="done"):
            yield row["position"], self.store.value(row["fingerprint"])

    def draws(self, task: int) -> Any:
        """Return the posterior of a fit or a sample as an ``xarray.DataTree``.

        Raises
        ------
        FileNotFoundError
            If the task has not written one.
        """
        return self.store.draws(self.study.task(task).fingerprint)

    @property
    def faults(self) -> list[Fault]:
        """The tasks that failed."""
        return [
            Fault(
                task=row["position"],
                labels=row["labels"],
                reason=row["fault"],
                traceback=row["traceback"],
            )
            for row in self.store.rows(status="failed")
        ]

    @property
    def ok(self) -> bool:
        """Whether every task is done."""
        summary = self.store.summary()
        return summary.done == summary.total

    def __repr__(self) -> str:
        summary = self.store.summary()
        lines = [
            f"StudyResult: {self.study.name}, {summary.done} of {summary.total} tasks done, "
            f"{duration(summary.seconds)} of work"
        ]
        faults = self.faults
        lines += [f"  task {fault.task} failed: {fault.reason}" for fault in faults[:5]]
        if len(faults) > 5:
            lines.append(f"  and {len(faults) - 5} more; see faults")
        return "\n".join(lines)
