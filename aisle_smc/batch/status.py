"""How a study stands, while it runs or after."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from aisle_smc.batch.lock import alive, holder
from aisle_smc.batch.progress import duration
from aisle_smc.batch.store import LOCK, Store, Summary

__all__ = ["Running", "Status", "status"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A task at work.

    Attributes
    ----------
    task : int
        Its number.
    seconds : float
        For how long.
    """

    task: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Status:
    """How a study stands.

    Attributes
    ----------
    summary : Summary
        How many tasks are done, failed and pending.
    driver : dict or None
        Who runs it now: pid, host, since; None if nobody does.
    running : tuple of Running
        Tasks at work, as the driver last said.
    rate : float or None
        Tasks in a second.
    left : float or None
        Seconds that the rest will take at that rate.
    """

    summary: Summary
    driver: dict[str, Any] | None
    running: tuple[Running, ...]
    rate: float | None
    left: float | None

    def __repr__(self) -> str:
        s = self.summary
        text = f"{s.done} of {s.total} tasks done, {s.failed} failed, {s.pending} to do"
        if s.former:
            text += f" ({s.former} kept from earlier versions of the study)"
        if self.driver is None:
            return f"{text}\nnobody runs it"
        lines = [text, f"run by process {self.driver.get('pid')} on {self.driver.get('host')}"]
        if self.rate:
            left = "" if self.left is None else f", {duration(self.left)} left"
            lines.append(f"{self.rate:.3g} tasks a second{left}")
        lines += [f"  task {r.task} since {duration(r.seconds)}" for r in self.running]
        return "\n".join(lines)


def status(folder: str | os.PathLike[str]) -> Status:
    """Return how the study in a folder stands.

    Parameters
    ----------
    folder : path
        The study's folder.

    Raises
    ------
    ValueError
        If there is no study.
    """
    store = Store.open(folder)
    summary, lock = store.summary(), store.folder / LOCK
    if not alive(lock):
        return Status(summary=summary, driver=None, running=(), rate=None, left=None)
    now, rate = time.time(), store.fact("rate")
    running = tuple(
        Running(task=int(task), seconds=max(0.0, now - since))
        for task, since in store.fact("running", [])
    )
    left = summary.pending / rate if rate else None
    return Status(summary=summary, driver=holder(lock), running=running, rate=rate, left=left)
