"""Executors on this machine: processes (joblib's loky) and threads."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from aisle_smc.batch.shipment import pack, save
from aisle_smc.batch.worker import Report, Session, cannot_load, enter, perform, read_mark

__all__ = ["Death", "Ended", "Executor", "Processes", "Threads", "cores"]


@dataclass(frozen=True, slots=True)
class Death:
    """A process that ended in the middle of its work.

    Attributes
    ----------
    reason : str
        What is known of it.
    suspect : int or None
        The task it was at, if that is known.
    lost : bool
        Whether the chunk was lost on the way, which says nothing of its tasks.
    """

    reason: str
    suspect: int | None
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """A chunk of tasks that came back, with a report or with the news of a death."""

    indices: Sequence[int]
    report: Report | None = None
    death: Death | None = None


class Executor(Protocol):
    """Something that runs chunks of tasks."""

    @property
    def workers(self) -> int:
        """How many tasks run at the same time."""

    @property
    def room(self) -> int:
        """How many more chunks it takes now."""

    def submit(self, indices: Sequence[int]) -> None:
        """Start a chunk."""

    def collect(self, timeout: float) -> list[Ended]:
        """Wait until something has ended, or for `timeout` seconds."""

    def running(self) -> list[tuple[int, float]]:
        """Return the tasks at work, as far as they are known, and since when."""

    def close(self, *, now: bool) -> None:
        """Send the workers home; `now` ends what they are at."""


def cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


@dataclass(slots=True)
class _Slot:
    """Room for one process."""

    number: int
    pool: Any = None
    future: Future[Report] | None = None
    indices: Sequence[int] = ()


class Processes:
    """Processes of this machine, each in a pool of its own.

    A process that dies, by a crash, the kernel or its limit, takes nobody with it, and the task it
    was at is known.  ``joblib.Parallel`` gives up all its processes when one of them dies, and
    cannot tell which task did it.

    Parameters
    ----------
    session : Session
        What the workers need to know.
    workers : int
        How many processes.
    """

    def __init__(self, session: Session, workers: int) -> None:
        self._slots = [_Slot(number) for number in range(workers)]
        self._folder = session.folder / "work"
        self._shipment = self._folder / "shipment.bin"
        self._folder.mkdir(parents=True, exist_ok=True)
        save(pack(session.token, session), self._shipment)
        # The number of threads of a BLAS can change the last bit of a result, so it is one
        # whatever the number of workers; our own threads do not change any.
        names = ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "NUMEXPR")
        self._environment = {f"{name}_NUM_THREADS": "1" for name in names}
        self._environment["NUMBA_NUM_THREADS"] = str(session.threads)

    @property
    def workers(self) -> int:
        """How many processes."""
        return len(self._slots)

    @property
    def room(self) -> int:
        """How many processes have nothing to do."""
        return sum(slot.future is None for slot in self._slots)

    def submit(self, indices: Sequence[int]) -> None:
        """Give a chunk to a process that has nothing to do."""
        from joblib.externals.loky.process_executor import BrokenProcessPool

        slot = next(slot for slot in self._slots if slot.future is None)
        slot.indices = indices
        try:
            slot.future = self._pool(slot).submit(perform, indices)
        except BrokenProcessPool:  # it died while it had nothing to do
            self._bury(slot)
            slot.future = self._pool(slot).submit(perform, indices)

    def _pool(self, slot: _Slot) -> Any:
        """Return the pool of a slot, with a process that may have to start first."""
        from joblib.externals.loky.process_executor import ProcessPoolExecutor

        if slot.pool is None:
            slot.pool = ProcessPoolExecutor(
                1,
                initializer=enter,
                initargs=(self._shipment, self._mark(slot), os.getpid()),
                env=self._environment,
            )
        return slot.pool

    def _bury(self, slot: _Slot) -> None:
        slot.pool.shutdown(wait=True, kill_workers=True)
        slot.pool = None
        self._mark(slot).unlink(missing_ok=True)

    def collect(self, timeout: float) -> list[Ended]:
        """Wait for a chunk to end or a process to die."""
        from joblib.externals.loky.process_executor import BrokenProcessPool

        busy = {slot.future: slot for slot in self._slots if slot.future is not None}
        done, _ = wait(busy, timeout=timeout, return_when=FIRST_COMPLETED)
        ended = []
        for slot in (busy[future] for future in busy if future in done):
            future, slot.future = slot.future, None
            assert future is not None
            try:
                ended.append(Ended(slot.indices, report=future.result()))
            except BrokenProcessPool as error:
                at = read_mark(self._mark(slot))
                death = Death(_reason(error), None if at is None else at[0])
                self._bury(slot)
                ended.append(Ended(slot.indices, death=death))
            except Exception as error:
                raise cannot_load(error) from error
        return ended

    def running(self) -> list[tuple[int, float]]:
        """Return what each process is at."""
        marks = (read_mark(self._mark(slot)) for slot in self._slots if slot.future is not None)
        return [mark for mark in marks if mark is not None]

    def close(self, *, now: bool) -> None:
        """End the processes."""
        for slot in self._slots:
            if slot.pool is not None:
                slot.pool.shutdown(wait=True, kill_workers=now)
            self._mark(slot).unlink(missing_ok=True)
        self._shipment.unlink(missing_ok=True)

    def _mark(self, slot: _Slot) -> Path:
        return self._folder / f"process-{slot.number}.mark"


@dataclass(slots=True)
class Threads:
    """Threads of this process, for tasks that let go of Python's lock.

    While there are any, every BLAS of this process has one thread, as it has in processes.

    Raises
    ------
    ImportError
        If threadpoolctl is not installed.
    """

    session: Session
    workers: int
    _pool: ThreadPoolExecutor | None = field(default=None, init=False)
    _alone: Any = field(default=None, init=False)
    _busy: dict[Future[Report], Sequence[int]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        # SciPy has a BLAS of its own; loaded later it would escape.
        import scipy.linalg  # noqa: F401

        self._alone = _one_thread()

    @property
    def room(self) -> int:
        """How many threads have nothing to do."""
        return self.workers - len(self._busy)

    def submit(self, indices: Sequence[int]) -> None:
        """Give a chunk to a thread."""
        if self._pool is None:
            # OpenMP keeps a limit for each thread, OpenBLAS one for all.
            self._pool = ThreadPoolExecutor(
                self.workers, thread_name_prefix="study", initializer=_one_thread
            )
        self._busy[self._pool.submit(self.session.run, indices)] = indices

    def collect(self, timeout: float) -> list[Ended]:
        """Wait for a chunk to end."""
        done, _ = wait(self._busy, timeout=timeout, return_when=FIRST_COMPLETED)
        return [Ended(self._busy.pop(future), report=future.result()) for future in list(done)]

    def running(self) -> list[tuple[int, float]]:
        """Return nothing: threads keep no marks."""
        return []

    def close(self, *, now: bool) -> None:
        """Wait for the threads, which nothing can end."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._alone.restore_original_limits()


def _one_thread() -> Any:
    """Give every BLAS one thread, and return what takes that back."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise ImportError(
            f"threads need threadpoolctl ({error}): pip install 'aisle-smc[batch]'"
        ) from None
    return threadpool_limits(1)


def _reason(error: BaseException) -> str:
    """Return how a process ended, from what loky says of it: SIGKILL(-9) for instance."""
    codes = re.search(r"\{(.+?)\}", str(error))
    return f"it ended with {codes[1]}" if codes else "its process ended"
