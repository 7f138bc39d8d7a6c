"""Spreading the evaluation of points over threads or processes, with the same values as in one."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.errors import AisleError
from aisle_smc.targets.work import Outcome, Span, Work

__all__ = ["Crew", "Processes", "Serial", "Threads", "hire"]

# What makes processes worth their start when nobody asked for them: seconds for one point.
_POINT_SECONDS = 5e-4
# What makes a batch worth waking workers for when nobody asked for them: seconds for it all.
_THREADS_SECONDS, _PROCESSES_SECONDS = 2e-3, 2e-2


class Crew(Protocol):
    """Workers that evaluate the pieces of a batch.

    ``run`` yields outcomes in any order.  After a fault it starts nothing new, but yields all that
    was started: the pieces before the fault are then among what came.
    """

    @property
    def workers(self) -> int:
        """How many there are."""

    @property
    def worth(self) -> float:
        """Seconds of work below which a batch is better done by the calling thread."""

    def run(
        self, which: int, theta: Floats, pieces: Sequence[Span]
    ) -> Iterator[tuple[Span, Outcome]]:
        """Do work number `which` for each piece of the points."""

    def close(self) -> None:
        """Send the workers home."""


@dataclass(frozen=True, slots=True)
class Serial:
    """No workers: the calling thread does it all."""

    works: Sequence[Work]
    workers: int = 1
    worth: float = 0.0

    def run(
        self, which: int, theta: Floats, pieces: Sequence[Span]
    ) -> Iterator[tuple[Span, Outcome]]:
        """Evaluate one piece after the other."""
        for first, last in pieces:
            outcome = self.works[which](theta[first:last])
            yield (first, last), outcome
            if outcome.fault is not None:
                return

    def close(self) -> None:
        """Do nothing."""


@dataclass(slots=True)
class Threads:
    """Threads of this process, for functions that let go of Python's lock."""

    works: Sequence[Work]
    workers: int
    worth: float = 0.0
    _pool: ThreadPoolExecutor | None = field(default=None, init=False)

    def run(
        self, which: int, theta: Floats, pieces: Sequence[Span]
    ) -> Iterator[tuple[Span, Outcome]]:
        """Evaluate pieces as threads become free."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="target")
        pool, work = self._pool, self.works[which]
        # A copy of the context each: numpy.errstate is that of the caller.
        submit = (
            (span, pool.submit(copy_context().run, work, theta[span[0] : span[1]]))
            for span in pieces
        )
        yield from _gather(submit, self.workers)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


@dataclass(slots=True)
class Processes:
    """Processes, for Python functions that cost more than sending a point does.

    The functions travel once to each process, when it starts.  Processes use as many threads for
    linear algebra as this one, since their number can change the last bit of a result.

    Ctrl-C reaches every process of a terminal.  Workers are deaf to it from their first moment:
    they end with the run, and without a word.
    """

    payload: bytes
    workers: int
    worth: float = 0.0
    _pool: Any = field(default=None, init=False)

    def run(
        self, which: int, theta: Floats, pieces: Sequence[Span]
    ) -> Iterator[tuple[Span, Outcome]]:
        """Evaluate pieces as processes become free."""
        from joblib.externals.loky.process_executor import (
            BrokenProcessPool,
            ProcessPoolExecutor,
        )

        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.workers, initializer=_receive, initargs=(self.payload, os.getpid())
            )
        pool, errors = self._pool, np.geterr()

        def send(span: Span) -> Future[Outcome]:
            with _uninterrupted():  # the processes start here, and inherit it
                points = theta[span[0] : span[1]]
                return cast(Future[Outcome], pool.submit(_work_away, which, points, errors))

        submit = ((span, send(span)) for span in pieces)
        try:
            yield from _gather(submit, self.workers)
        except BrokenProcessPool as error:
            self._pool = None
            raise AisleError(
                f"one of {self.workers} worker processes died while it evaluated the target: "
                f"{str(error).strip()}; it may have run out of memory, or the function crashed; "
                "workers=1 evaluates in this process and shows where"
            ) from error
        except BaseException:
            # Interrupted: what is running is not waited for.
            pool.shutdown(kill_workers=True)
            self._pool = None
            raise

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None


def _gather(
    submit: Iterable[tuple[Span, Future[Outcome]]], workers: int
) -> Iterator[tuple[Span, Outcome]]:
    """Yield outcomes as they come, with two pieces for each worker under way at any time."""
    submit = iter(submit)
    running: dict[Future[Outcome], Span] = {}
    fault = False
    try:
        while True:
            while not fault and len(running) < 2 * workers:
                try:
                    span, future = next(submit)
                except StopIteration:
                    break
                running[future] = span
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda each: running[each]):
                span, outcome = running.pop(future), future.result()
                fault = fault or outcome.fault is not None
                yield span, outcome
    finally:
        for future in running:
            future.cancel()


def hire(works: Sequence[Work], seconds: float, workers: int | None) -> tuple[Crew, str]:
    """Return the workers that suit some functions, and a note if they are not those asked for.

    Parameters
    ----------
    works : sequence of Work
        What is to be evaluated.
    seconds : float
        About what a point costs.
    workers : int, optional
        How many; all cores if None, where that pays.

    Raises
    ------
    TypeError
        If processes are asked for and the functions cannot be sent to them.
    """
    kinds = {dialect.name for work in works for dialect in work.dialects}
    count = _cores() if workers is None else workers
    serial = Serial(works)
    if count == 1 or (workers is None and multiprocessing.parent_process() is not None):
        return serial, ""  # a worker process of someone else shares its cores already
    if "python" not in kinds:
        if workers is None and kinds != {"compiled"}:
            return serial, ""
        return Threads(works, count, _THREADS_SECONDS if workers is None else 0.0), ""
    if workers is None and seconds < _POINT_SECONDS:
        return serial, ""
    try:
        from joblib.externals.loky.backend.reduction import dumps
    except ImportError:
        return serial, (
            "joblib is not installed, so that Python functions are evaluated in one process: "
            "pip install aisle-smc[batch]"
        )
    try:
        payload = bytes(dumps(tuple(works)))  # by cloudpickle: lambdas and closures too
    except Exception as error:
        reason = (
            f"the function cannot be sent to worker processes: {type(error).__name__}: {error}"
        )
        if workers is None:
            return serial, reason
        raise TypeError(
            f"workers={workers} needs a function that can be pickled; {reason}; "
            "make it close over data only, or use workers=1"
        ) from error
    return Processes(payload, count, _PROCESSES_SECONDS if workers is None else 0.0), ""


# What a worker process evaluates, put there when it starts.
_received: dict[str, Any] = {}


def _receive(payload: bytes, parent: int) -> None:
    """Keep the functions for later, and make sure to die with the parent and not before it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _received["payload"] = payload
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Keep interrupts from this thread, until the end, and from processes started here."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    # Its start would lift the block again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _follow(parent: int) -> None:
    """End this process when its parent is no more: one that was killed tells nobody."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _work_away(which: int, theta: Floats, errors: Any) -> Outcome:
    """Evaluate points in a worker process."""
    if "works" not in _received:
        _received["works"] = pickle.loads(_received["payload"])
    works: Sequence[Callable[[Floats], Outcome]] = _received["works"]
    with np.errstate(**errors):
        return works[which](theta).portable()


def _cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1
