"""The store of a study: a folder with an index (SQLite) and one result file for each task."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisle_smc.batch.files import Files, files_at, record_in
from aisle_smc.batch.outcome import read_netcdf
from aisle_smc.batch.record import Record, decode, plain
from aisle_smc.batch.tasks import Task

__all__ = ["Store", "Summary"]

INDEX = "index.sqlite"
LOCK = "driver.lock"
WORK = "work"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    fingerprint TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    kind TEXT NOT NULL,
    labels TEXT NOT NULL,
    current INTEGER NOT NULL DEFAULT 1,
    status TEXT NOT NULL DEFAULT 'pending',
    outcome TEXT NOT NULL DEFAULT '{}',
    fault TEXT NOT NULL DEFAULT '',
    traceback TEXT NOT NULL DEFAULT '',
    seconds REAL,
    started REAL,
    worker TEXT NOT NULL DEFAULT '',
    file TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_status ON tasks (current, status, seconds);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_ENROL = """
INSERT INTO tasks (fingerprint, position, kind, labels) VALUES (?, ?, ?, ?)
ON CONFLICT (fingerprint) DO UPDATE SET
    position = excluded.position, labels = excluded.labels, current = 1
"""
_RECORD = """
UPDATE tasks SET status = ?, outcome = ?, fault = ?, traceback = ?, seconds = ?, started = ?,
    worker = ?, file = ?
WHERE fingerprint = ? AND status != 'done'
"""
_REOPEN = """
UPDATE tasks SET status = 'pending', outcome = '{}', fault = '', traceback = '', seconds = NULL
WHERE fingerprint = ? AND status = ?
"""
_COLUMNS = (
    "position", "fingerprint", "kind", "labels", "status", "outcome", "fault", "traceback",
    "seconds", "started", "worker", "file",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How many tasks of a study are in which state, and how long they took.

    Attributes
    ----------
    done, failed, pending : int
        Tasks of the study as it was last run.
    former : int
        Tasks kept from earlier versions of the study.
    seconds : float
        Wall-clock time of all tasks done, added up.
    """

    done: int
    failed: int
    pending: int
    former: int
    seconds: float

    @property
    def total(self) -> int:
        """All tasks of the study."""
        return self.done + self.failed + self.pending


@dataclass(frozen=True, slots=True)
class Store:
    """Where a study keeps what it knows.

    Parameters
    ----------
    folder : Path
        A folder of this machine.
    files : Files
        Where result files are.

    Notes
    -----
    A result is on the disk before the index hears of it: what the index lost in a crash is found
    again from the files.  The index may be read and written by several processes at a time
    (write-ahead log); it must not lie on a network file system, which result files may.
    """

    folder: Path
    files: Files

    @classmethod
    def create(cls, folder: str | os.PathLike[str], results: str | None = None) -> Store:
        """Open the store in a folder, and make it if there is none.

        Parameters
        ----------
        folder : path
            The folder.
        results : str, optional
            Where result files go: a folder or an fsspec address; by default into the folder, or
            where they went before.

        Raises
        ------
        ValueError
            If the results of this store are somewhere else.
        """
        path = Path(folder).resolve()
        results = results and _absolute(results)
        if path.exists() and not path.is_dir():
            raise ValueError(f"a study is kept in a folder; {path} is a file")
        path.mkdir(parents=True, exist_ok=True)
        if not (path / INDEX).exists():
            _new_index(path)
        with _connected(path) as index:
            said = _fact(index, "results")
            known = None if said is None else json.loads(said)
            if known is not None and results is not None and results != known:
                raise ValueError(
                    f"the results of the study in {path} are kept at {known or path}; got "
                    f"results={results!r}; leave it out, or choose another folder"
                )
            if known is None:
                _set_fact(index, "results", json.dumps(results or ""))
        return cls.open(path)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Store:
        """Open the store in a folder.

        Raises
        ------
        ValueError
            If the folder holds none.
        """
        # A task may change the working directory, so paths are absolute from here on.
        path = Path(folder).resolve()
        if not (path / INDEX).is_file():
            raise ValueError(f"no study in {path}: it has no {INDEX}")
        with _looked_at(path) as index:
            where = json.loads(_fact(index, "results") or '""')
        return cls(path, files_at(where or str(path / "results")))

    @property
    def elsewhere(self) -> bool:
        """Whether results are kept at a place of their own, which may be out of reach."""
        return self.files != files_at(str(self.folder / "results"))

    # --- writing ------------------------------------------------------------------------------

    def enrol(self, tasks: Iterable[Task]) -> None:
        """Enter the tasks of a study; those that are known keep what is known of them."""
        rows = (
            (task.fingerprint, task.index, task.kind, json.dumps(dict(task.labels), default=plain))
            for task in tasks
        )
        with self._transaction() as index:
            index.execute("UPDATE tasks SET current = 0 WHERE current = 1")
            index.executemany(_ENROL, rows)

    def record(self, records: Sequence[Record]) -> None:
        """Enter what is known of tasks that have ended; what is done stays done."""
        rows = [
            (
                r.status, json.dumps(dict(r.values), default=plain), r.fault, r.traceback,
                r.seconds, r.started, r.worker, r.file, r.fingerprint,
            )
            for r in records
        ]  # fmt: skip
        with self._transaction() as index:
            index.executemany(_RECORD, rows)

    def reopen(self, fingerprints: Iterable[str], *, status: str = "failed") -> None:
        """Forget that tasks have failed, or are done, so that they are run again."""
        names = list(fingerprints)
        for name in names:
            self.files.remove(f"{name}.result")
        with self._transaction() as index:
            index.executemany(_REOPEN, [(name, status) for name in names])

    def note(self, **facts: Any) -> None:
        """Write facts of the run, for whoever looks at it."""
        with self._transaction() as index:
            for name, value in facts.items():
                _set_fact(index, name, json.dumps(value))

    # --- reading ------------------------------------------------------------------------------

    def fact(self, name: str, otherwise: Any = None) -> Any:
        """Return a fact of the run."""
        with self._reading() as index:
            found = _fact(index, name)
        return otherwise if found is None else json.loads(found)

    def statuses(self) -> dict[str, str]:
        """Return the status of every task of the study by fingerprint."""
        with self._reading() as index:
            return dict(index.execute("SELECT fingerprint, status FROM tasks WHERE current = 1"))

    def summary(self) -> Summary:
        """Count the tasks by status."""
        with self._reading() as index:
            found = index.execute(
                "SELECT current, status, COUNT(*), SUM(seconds) FROM tasks GROUP BY 1, 2"
            ).fetchall()
        count = {(current, status): number for current, status, number, _ in found}
        return Summary(
            done=count.get((1, "done"), 0),
            failed=count.get((1, "failed"), 0),
            pending=count.get((1, "pending"), 0),
            former=sum(number for (current, _), number in count.items() if not current),
            seconds=sum(s or 0.0 for now, what, _, s in found if now and what == "done"),
        )

    def rows(
        self, *, status: str | None = None, former: bool = False, slowest: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Return what is known of the tasks, in their order.

        Parameters
        ----------
        status : str, optional
            Only those done, failed or pending.
        former : bool
            Also tasks of earlier versions of the study.
        slowest : int, optional
            Only this many, those that took longest, the slowest first.

        Yields
        ------
        dict
            position, fingerprint, kind, labels (dict), status, outcome (dict), fault, traceback,
            seconds, started, worker, file.
        """
        query = f"SELECT {', '.join(_COLUMNS)} FROM tasks WHERE 1"
        given: list[Any] = []
        if not former:
            query += " AND current = 1"
        if status is not None:
            query += " AND status = ?"
            given.append(status)
        if slowest is None:
            query += " ORDER BY current DESC, position"
        else:
            query += " AND seconds IS NOT NULL ORDER BY seconds DESC LIMIT ?"
            given.append(slowest)
        with self._reading() as index:
            found = index.execute(query, given).fetchall()
        for values in found:
            row = dict(zip(_COLUMNS, values, strict=True))
            row["labels"] = json.loads(row["labels"])
            row["outcome"] = json.loads(row["outcome"])
            yield row

    def value(self, fingerprint: str) -> Any:
        """Return what a task returned.

        Raises
        ------
        FileNotFoundError
            If it has not ended.
        """
        return decode(self.files.read(f"{fingerprint}.result"))[1]

    def draws(self, fingerprint: str) -> Any:
        """Return the posterior that a task wrote, as an ``xarray.DataTree``.

        Raises
        ------
        FileNotFoundError
            If it has written none.
        """
        return read_netcdf(self.files.read(f"{fingerprint}.nc"))

    def results(self) -> set[str]:
        """Return the fingerprints of the tasks whose result files are there."""
        names = (name.rpartition(".") for name in self.files.names())
        return {fingerprint for fingerprint, _, suffix in names if suffix == "result"}

    def found(self, pending: Iterable[str]) -> list[Record]:
        """Return the records in the result files of tasks that the index takes for pending."""
        records = (record_in(self.files, f"{name}.result") for name in pending)
        return [record for record in records if record is not None]

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the index open for a block: closing it for the last time merges its log."""
        with _connected(self.folder) as index:
            _fact(index, "results")
            yield

    # --- the index ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with _looked_at(self.folder) as index:
            yield index

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _connected(self.folder) as index:
            # At once: a reader that becomes a writer later could not wait for another one.
            index.execute("BEGIN IMMEDIATE")
            yield index
            index.execute("COMMIT")


def _new_index(folder: Path) -> None:
    """Make an index that is there with all its tables, or not at all."""
    name = f".{secrets.token_hex(8)}.sqlite"
    try:
        with _connected(folder, name, "rwc") as index:
            index.execute("PRAGMA journal_mode = WAL")
            index.executescript(_SCHEMA)
        with contextlib.suppress(FileExistsError):  # someone else was faster
            os.link(folder / name, folder / INDEX)
    finally:
        (folder / name).unlink(missing_ok=True)


def _absolute(results: str) -> str:
    return results if "://" in results else str(Path(results).resolve())


@contextlib.contextmanager
def _connected(folder: Path, name: str = INDEX, mode: str = "rw") -> Iterator[sqlite3.Connection]:
    """Open the index for a moment: a connection must not pass from process to process."""
    # Unless told to, SQLite makes an empty index where there is none.
    address = f"{(folder / name).as_uri()}?mode={mode}"
    index = sqlite3.connect(address, uri=True, timeout=60.0, isolation_level=None)
    try:
        index.execute("PRAGMA synchronous = NORMAL")
        yield index
    finally:
        index.close()


@contextlib.contextmanager
def _looked_at(folder: Path) -> Iterator[sqlite3.Connection]:
    """Open the index to read it, also where nothing can be written."""
    mode = "rw"
    if not os.access(folder, os.W_OK):
        try:
            with _connected(folder) as index:
                _fact(index, "results")
        except sqlite3.OperationalError:
            # Readers of a log need a file beside it; what is still in the log is not seen.
            mode = "ro&immutable=1"
    with _connected(folder, mode=mode) as index:
        yield index


def _fact(index: sqlite3.Connection, name: str) -> str | None:
    found = index.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return None if found is None else str(found[0])


def _set_fact(index: sqlite3.Connection, name: str, value: str) -> None:
    index.execute(
        "INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )
