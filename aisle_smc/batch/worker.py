"""What a worker does: run tasks within limits, keep each result, turn faults into records."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import signal
import socket
import struct
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from aisle_smc.batch.files import Files, FolderFiles, opened, record_in
from aisle_smc.batch.keeping import Keeping
from aisle_smc.batch.kinds import kind_of, preparation
from aisle_smc.batch.limits import bounded
from aisle_smc.batch.outcome import Call, Outcome, netcdf
from aisle_smc.batch.record import Record, encode
from aisle_smc.batch.shipment import Shipment, load
from aisle_smc.batch.tasks import Task
from aisle_smc.errors import AisleError

__all__ = [
    "DEATHS",
    "Mark",
    "Report",
    "Session",
    "cannot_load",
    "died_under",
    "enter",
    "perform",
    "perform_shipped",
    "read_mark",
]

# A task is given up when this many processes have died under it.
DEATHS = 3
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
# Bytes that a disk must take to count as one with room.
_PROBE = 1 << 20
_TRACEBACK = 20_000


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a few tasks.

    Attributes
    ----------
    records : list of Record
        Of those that have ended.
    contents : dict from str to bytes
        Files that the worker could not write because it does not see the study's folder.
    trouble : str
        Why the worker stopped before the end, if it did: a disk that is full.
    """

    records: list[Record]
    contents: dict[str, bytes] = field(default_factory=dict)
    trouble: str = ""


@dataclass
class Session:
    """What a worker needs to know: the study, where results go, how many threads it has.

    Parameters
    ----------
    study : Study
        The study.
    files : Files
        Where results go.
    folder : Path
        The study's folder, on the driver's machine.
    token : str
        The driver's mark, by which a worker knows whether it sees the same files.
    threads : int
        How many threads a task may use.
    twice : bool
        Whether a task may come a second time though its result is there.
    """

    study: Any
    files: Files
    folder: Path
    token: str
    threads: int
    twice: bool = False
    _prepared: set[Any] = field(default_factory=set, init=False, repr=False)

    @cached_property
    def writes(self) -> bool:
        """Whether this process can write results where they belong."""
        return self.files.seen(self.token)

    @cached_property
    def work(self) -> Path:
        """Where tasks may leave files while they run: in the study's folder, if it is seen."""
        if FolderFiles(self.folder / "work").seen(self.token):
            return self.folder / "work"
        return Path(tempfile.gettempdir(), f"aisle-{self.token}")

    def run(self, indices: Sequence[int], mark: Mark | None = None) -> Report:
        """Run tasks one after the other."""
        keeping = Keeping(self.files if self.writes else None, at_once=len(indices) == 1)
        for index in indices:
            task = self.study.task(index)
            if self.twice and (record := record_in(self.files, f"{task.fingerprint}.result")):
                keeping.records.append(record)
                continue
            if task.limits.need_process:
                keeping.settle()  # this task may be the end of the process
            if mark is not None:
                mark.set(index)
            try:
                keeping.keep(*self._ended(task), self._checkpoint(task))
            except OSError as error:
                keeping.trouble = keeping.trouble or f"{error}"
            finally:
                if mark is not None:
                    mark.set(-1)
            if keeping.trouble:
                break
        keeping.settle()
        keeping.close()
        if self.work != self.folder / "work":
            # Nobody else tidies up on another machine; what is not empty stays.
            for place in ("attempts", "checkpoints", "dumps", "."):
                with contextlib.suppress(OSError):
                    (self.work / place).rmdir()
        return Report(keeping.records, keeping.contents, keeping.trouble)

    def _checkpoint(self, task: Task) -> Path:
        return self.work / "checkpoints" / f"{task.fingerprint}.aisle"

    def _ended(self, task: Task) -> tuple[Record, dict[str, bytes]]:
        """Run a task, unless it has cost its processes their lives before."""
        dump = self.work / "dumps" / f"{task.fingerprint}.txt"
        limit = task.limits.seconds
        overrun = "" if limit is None else _read(dump)
        if limit is not None and overrun:
            until = dump.stat().st_mtime
            dump.unlink()
            return _Beginning(task, until - limit, time.perf_counter() - limit).failed(
                f"it took longer than its limit of {limit:g} s", _main_first(overrun)
            )
        if not self.twice:
            return self._outcome(task, dump)
        # Nobody else can say that the process died under it: it is written down before.
        attempts = self.work / "attempts" / task.fingerprint
        if len(_read(attempts)) >= DEATHS:
            attempts.unlink()
            return _Beginning.of(task).failed(died_under("no reason is known"), "")
        with opened(attempts, "a") as file:
            file.write("x")
        ended = self._outcome(task, dump)
        attempts.unlink(missing_ok=True)
        return ended

    def _outcome(self, task: Task, dump: Path) -> tuple[Record, dict[str, bytes]]:
        contents: dict[str, bytes] = {}
        began = _Beginning.of(task)
        try:
            self._prepare(task)
            began = _Beginning.of(task)
            with bounded(task.limits, dump):
                outcome = self._call(task)
                file = f"{task.fingerprint}.nc" if outcome.tree is not None else ""
                if outcome.tree is not None:
                    contents[file] = netcdf(outcome.tree())
            said = began.record("done", values=outcome.values, file=file)
        except BaseException as error:
            full = isinstance(error, OSError) and error.errno in _NO_ROOM
            if full and not self._has_room(task):
                raise
            memory = task.limits.memory
            over = f" (its limit is {memory:,} bytes)" if memory is not None else ""
            note = over if isinstance(error, MemoryError) else ""
            return began.failed(_line(error) + note, _traceback())
        try:
            contents[f"{task.fingerprint}.result"] = encode(said, outcome.value)
        except Exception as error:
            return began.failed(f"its result cannot be pickled: {_line(error)}", _traceback())
        return said, contents

    def _has_room(self, task: Task) -> bool:
        """Whether results, checkpoints and temporary files can be written: it is tried."""
        content = secrets.token_bytes(_PROBE)  # zeros would cost some file systems nothing
        try:
            if self.writes:
                probe = f"{task.fingerprint}.probe"
                self.files.write(probe, content)
                self.files.remove(probe)
            for folder in (self.work, Path(tempfile.gettempdir())):
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder) as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
        except Exception:  # whatever a file system of the network raises
            return False
        return True

    def _prepare(self, task: Task) -> None:
        """Compile what the task uses, once in this process: no part of its time or limits."""
        key = preparation(task)
        if key not in self._prepared:
            kind_of(task.kind).prepare(task.options, self.study.data_of(task))
            self._prepared.add(key)

    def _call(self, task: Task) -> Outcome:
        checkpoint = self._checkpoint(task)
        if task.kind in {"fit", "sample"}:
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
        call = Call(
            task=task,
            options=task.options,
            data=self.study.data_of(task),
            threads=self.threads,
            checkpoint=checkpoint,
        )
        return kind_of(task.kind).run(call)


@dataclass(frozen=True, slots=True)
class _Beginning:
    """A task that has begun, and the records it may end with."""

    task: Task
    time: float
    clock: float

    @classmethod
    def of(cls, task: Task) -> _Beginning:
        """Return the beginning of a task that begins now."""
        return cls(task, time.time(), time.perf_counter())

    def record(self, status: str, **known: Any) -> Record:
        """Return a record of what is known now."""
        return Record(
            fingerprint=self.task.fingerprint,
            status=status,
            seconds=time.perf_counter() - self.clock,
            started=self.time,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            **known,
        )

    def failed(self, fault: str, where: str) -> tuple[Record, dict[str, bytes]]:
        """Return the record of a failure, and its file."""
        record = self.record("failed", fault=fault, traceback=where)
        return record, {f"{self.task.fingerprint}.result": encode(record, None)}


def died_under(reason: str) -> str:
    """Return the fault of a task that is given up."""
    return f"{DEATHS} worker processes died under it: {reason}"


# --- which task is running, in a file that outlives its process ---------------------------------

_FORMAT = struct.Struct("<qd")


class Mark:
    """Which task a process is at, written where others can read it after its death.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)

    def set(self, index: int) -> None:
        """Write the task's number; -1 for none."""
        os.pwrite(self._handle, _FORMAT.pack(index, time.time()), 0)


def read_mark(path: Path) -> tuple[int, float] | None:
    """Return the number of the task that a process is or was at, and since when, if any."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if len(content) != _FORMAT.size:
        return None
    index, since = _FORMAT.unpack(content)
    return None if index < 0 else (index, since)


# --- a worker process ---------------------------------------------------------------------------

# What this process works on, and its mark: put there when it starts.
_at: dict[str, Any] = {}


def enter(shipment: Path, mark: Path, parent: int) -> None:
    """Start a worker process."""
    # Ctrl-C reaches every process of a terminal; what happens then is for the driver to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    _at["path"], _at["mark"] = shipment, Mark(mark)


def perform(indices: Sequence[int]) -> Report:
    """Run tasks in a worker process."""
    if "session" not in _at:
        _at["session"] = load(_at["path"]).unpack()
    report: Report = _at["session"].run(indices, _at["mark"])
    return report


def perform_shipped(shipment: Shipment, indices: Sequence[int]) -> Report:
    """Run tasks in a process that was not started for this study."""
    with _unpacking:
        if _at.get("name") != shipment.name:
            try:
                _at["session"], _at["name"] = shipment.unpack(), shipment.name
            except OSError as error:  # elsewhere, one of the network says less
                raise cannot_load(error) from error
        session: Session = _at["session"]
    return session.run(indices)


_unpacking = threading.Lock()


def cannot_load(error: BaseException) -> AisleError:
    """Return what to say when a worker cannot unpack a study."""
    if isinstance(error, AisleError):
        return error
    return AisleError(f"a worker cannot load the study: {type(error).__name__}: {error}")


def _follow(parent: int) -> None:
    """End this process when its parent is no more: one that was killed tells nobody."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}".rstrip(": ")


def _traceback() -> str:
    """Return the end of the traceback of what is being handled."""
    return traceback.format_exc()[-_TRACEBACK:]


def _main_first(dump: str) -> str:
    """Return the start of a dump of all threads, which lists the main one last."""
    head, *threads = re.split(r"^(?=(?:Current t|T)hread 0x)", dump, flags=re.MULTILINE)
    return "\n\n".join(part.strip() for part in [head, *reversed(threads)])[:_TRACEBACK] + "\n"


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""
