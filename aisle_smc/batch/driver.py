"""The driver: hands tasks to workers, enters what comes back, and survives what may happen."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aisle_smc.batch.chunks import Chunks
from aisle_smc.batch.executors import Death, Ended, Executor, Processes, Threads, cores
from aisle_smc.batch.files import FolderFiles, record_in
from aisle_smc.batch.lock import Lock, locked
from aisle_smc.batch.progress import Progress
from aisle_smc.batch.record import Record, encode
from aisle_smc.batch.store import LOCK, WORK, Store
from aisle_smc.batch.worker import DEATHS, Session, died_under
from aisle_smc.errors import AisleError

__all__ = ["Driver", "drive"]

_BEAT = 1.0
# Processes that die before they begin with anything, one after the other.
_STILLBORN = 4


def drive(
    study: Any,
    store: Store,
    *,
    workers: int | None,
    executor: Any,
    progress: bool,
    retry_failed: bool,
) -> None:
    """Run what is still to be run of a study.

    Raises
    ------
    AisleError
        If another driver is at it, the disk is full, the cluster is gone, or the place where
        results were kept.
    ValueError
        If a model does not compile.
    KeyboardInterrupt
        After Ctrl-C, with how to go on.
    """
    with locked(store.folder / LOCK) as lock, store.held():
        tasks = list(study)
        store.enrol(tasks)
        _settle(store)
        statuses = store.statuses()
        if retry_failed:
            again = [name for name, status in statuses.items() if status == "failed"]
            _forget(store, again)
            statuses |= dict.fromkeys(again, "pending")
        pending = [task for task in tasks if statuses[task.fingerprint] == "pending"]
        if not pending:
            return
        _clear(store)
        pending.sort(key=lambda task: (-task.priority, task.index))
        study.prepare(pending)
        token = secrets.token_hex(8)
        store.files.mark(token)
        FolderFiles(store.folder / WORK).mark(token)
        count = Counter(statuses.values())
        shown = Progress(study.name, len(tasks), count["done"], count["failed"], show=progress)
        with _hired(study, store, token, workers, executor, pending) as hired:
            Driver(
                store=store,
                executor=hired,
                chunks=Chunks((task.index, study.place(task.index)[1]) for task in pending),
                fingerprints={task.index: task.fingerprint for task in pending},
                lock=lock,
                progress=shown,
            ).run()


def _settle(store: Store) -> None:
    """Bring the index in line with the result files, which a crash may have left otherwise.

    Notes
    -----
    All result files are listed, at every start.
    """
    statuses, there = store.statuses(), store.results()
    store.record(_unheard(store, statuses, there))
    lost = [name for name, what in statuses.items() if what == "done" and name not in there]
    if lost and not there and store.elsewhere:
        place = store.files.where("").rstrip("/")
        raise AisleError(
            f"none of the {len(lost)} results of the study in {store.folder} is at {place}, where "
            "they are kept: make that place reachable, mount it for example; to compute them all "
            "again, use another folder for the study"
        )
    if lost:
        store.reopen(lost, status="done")


def _unheard(store: Store, statuses: Mapping[str, str], there: set[str]) -> list[Record]:
    """Return the records of tasks that have ended without the index having heard of it."""
    pending = (name for name, what in statuses.items() if what == "pending" and name in there)
    return store.found(pending)


def _forget(store: Store, fingerprints: Sequence[str]) -> None:
    """Let failed tasks start afresh."""
    store.reopen(fingerprints)
    for name in fingerprints:
        (store.folder / WORK / "checkpoints" / f"{name}.aisle").unlink(missing_ok=True)


def _clear(store: Store) -> None:
    """Remove what tasks of earlier runs have left, apart from their checkpoints.

    Notes
    -----
    What a driver or a machine that was stopped leaves behind says nothing against the tasks that
    were at work then: they did not cost their processes' lives, and limits may have changed.  Only
    for a driver that holds the lock, so that no other one waits for these files.
    """
    for place in ("attempts", "dumps"):
        for path in (store.folder / WORK / place).glob("*"):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _hired(
    study: Any, store: Store, token: str, workers: int | None, executor: Any, pending: list[Any]
) -> Iterator[Executor]:
    """Hire workers for a block."""
    limited = any(task.limits.need_process for task in pending)
    if sys.platform != "linux" and any(task.limits.memory is not None for task in pending):
        raise ValueError("limits of memory need Linux; leave them out")

    def session(threads: int, *, twice: bool = False) -> Session:
        return Session(study, store.files, store.folder.resolve(), token, threads, twice)

    made: Executor
    if executor in ("processes", "threads"):
        count = min(workers or cores(), len(pending))
        threads = max(1, cores() // count)
        if executor == "processes":
            made = Processes(session(threads), count)
        elif limited:
            raise ValueError(
                "limits of time and memory need processes: nothing can end a thread; leave out "
                'executor="threads", or the limits'
            )
        else:
            made = Threads(session(threads), count)
    else:
        from aisle_smc.batch.cluster import Cluster

        made = Cluster(session(1, twice=True), executor, workers, limited=limited)
    try:
        yield made
    except BaseException:
        made.close(now=True)
        raise
    made.close(now=False)


@dataclass
class Driver:
    """One run of a study.

    Parameters
    ----------
    store : Store
        Where everything is kept.
    executor : Executor
        Who does the work.
    chunks : Chunks
        What is to be done.
    fingerprints : dict from int to str
        The fingerprint of each task.
    lock : Lock
        The study's lock.
    progress : Progress
        What is shown.
    """

    store: Store
    executor: Executor
    chunks: Chunks
    fingerprints: dict[int, str]
    lock: Lock
    progress: Progress
    _deaths: Counter[int] = field(default_factory=Counter)
    _stillborn: int = 0
    _under_way: int = 0
    _sent: dict[int, float] = field(default_factory=dict)
    _beat: float = 0.0

    def run(self) -> None:
        """Run until every task has ended.

        Raises
        ------
        AisleError
            If the disk is full or workers do not start.
        KeyboardInterrupt
            After Ctrl-C.
        """
        try:
            self._loop()
        except AisleError as error:
            raise AisleError(self._how_to_go_on(str(error))) from error
        except KeyboardInterrupt:
            self.executor.close(now=True)
            self._enter(self._left_behind())
            raise KeyboardInterrupt(self._how_to_go_on("stopped")) from None
        finally:
            self.progress.close()
            with contextlib.suppress(Exception):
                self.store.note(running=[], rate=None)

    def _loop(self) -> None:
        while len(self.chunks) or self._under_way:
            while len(self.chunks) and self.executor.room > 0:
                indices = self.chunks.take(self.executor.workers)
                self._sent[indices[0]] = time.monotonic()
                self._under_way += 1
                self.executor.submit(indices)
            for ended in self.executor.collect(0.2):
                self._under_way -= 1
                began = self._sent.pop(ended.indices[0])
                if ended.report is not None:
                    self.chunks.took(ended.indices, time.monotonic() - began)
                    self._stillborn = 0
                    self._reported(ended)
                elif ended.death is not None:
                    self._died(ended.indices, ended.death)
            self._heartbeat()

    def _reported(self, ended: Ended) -> None:
        report = ended.report
        assert report is not None
        for name, content in report.contents.items():
            self._safely(self.store.files.write, name, content)
        self._enter(report.records)
        if report.trouble:
            raise AisleError(f"results cannot be written ({report.trouble})")

    def _died(self, indices: Sequence[int], death: Death) -> None:
        """Enter what a dead process had finished, and hand the rest out again."""
        finished = {r.fingerprint: r for r in self._files_of(indices)}
        self._enter(list(finished.values()))
        left = [index for index in indices if self.fingerprints[index] not in finished]
        suspect = death.suspect
        if suspect is None:
            self._stillborn += 1
            # A lost scheduler takes all chunks with it at once, and may do so again.
            most = 10 * self.executor.workers if death.lost else 0
            if self._stillborn >= _STILLBORN + most:
                raise AisleError(f"workers do not start ({death.reason})")
            self.chunks.back(left)
            return
        self._stillborn = 0
        if suspect in left:
            self._deaths[suspect] += 1
            if self._deaths[suspect] >= DEATHS:
                left.remove(suspect)
                self._give_up(suspect, death)
        self.chunks.back(left)

    def _give_up(self, index: int, death: Death) -> None:
        record = Record(
            fingerprint=self.fingerprints[index],
            status="failed",
            fault=died_under(death.reason),
            started=time.time(),
        )
        name = f"{record.fingerprint}.result"
        self._safely(self.store.files.write, name, encode(record, None))
        self._enter([record])

    def _files_of(self, indices: Sequence[int]) -> list[Record]:
        names = (f"{self.fingerprints[index]}.result" for index in indices)
        return [r for name in names if (r := record_in(self.store.files, name)) is not None]

    def _left_behind(self) -> list[Record]:
        """Return the records of tasks that ended without the driver having heard of it."""
        return _unheard(self.store, self.store.statuses(), self.store.results())

    def _enter(self, records: Sequence[Record]) -> None:
        if not records:
            return
        self._safely(self.store.record, records)
        count = Counter(record.status for record in records)
        self.progress.update(count["done"], count["failed"], self._under_way)

    def _safely(self, write: Callable[..., None], *given: Any) -> None:
        """Write, and say what to do if the disk is full."""
        try:
            write(*given)
        except (OSError, sqlite3.OperationalError) as error:
            raise AisleError(f"results cannot be written ({error})") from error

    def _heartbeat(self) -> None:
        now = time.monotonic()
        if now - self._beat < _BEAT:
            return
        self._beat = now
        with contextlib.suppress(Exception):  # a full disk is noticed where it matters
            self.lock.beat()
            self.store.note(
                running=self.executor.running(),
                workers=self.executor.workers,
                rate=self.progress.rate,
            )
        self.progress.update(0, 0, self._under_way)

    def _how_to_go_on(self, what: str) -> str:
        done = self.progress.done
        return (
            f"{what}: {done} of {self.progress.total} tasks are done and kept in "
            f"{Path(self.store.folder)}; run the study again to go on"
        )
