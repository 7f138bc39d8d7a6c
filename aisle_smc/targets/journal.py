"""The journal of a run: every evaluation in a file, so that a killed run repeats none of them."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from aisle_smc.arrays import Array, Floats
from aisle_smc.checkpoint import compare
from aisle_smc.targets.forms import Part
from aisle_smc.targets.records import Record, RecordFile

__all__ = ["Journal"]

# Kind, batch, first row, rows, parameters, checksum of the parameters.
_LABEL = struct.Struct("<IQQQQI")
_GRADIENTS, _BLOBS = 1, 2
_CONDITIONS = b"conditions"


@dataclass(frozen=True, slots=True)
class _Rows:
    """The record of some rows of a batch."""

    record: Record
    kind: int
    batch: int
    first: int
    count: int
    k: int
    crc: int

    def matches(self, theta: Floats, kind: int) -> bool:
        """Whether a batch has exactly these points, and the same is asked of them."""
        rows = theta[self.first : self.first + self.count]
        same = (self.k, self.kind, self.count) == (theta.shape[1], kind, rows.shape[0])
        return same and _crc(rows) == self.crc


class Journal:
    """Keep the values of a target in a file, and give them back to the same run done again.

    Parameters
    ----------
    path : path
        The file; made if there is none.
    fingerprint : mapping from str to str
        What the run is made from, one description or digest for each part
        (see :func:`aisle_smc.checkpoint.digest`).

    Raises
    ------
    ValueError
        If the file is no journal, is damaged at its head, or belongs to something else; every
        part that differs is named.
    BlockingIOError
        If another run has the file open.

    Notes
    -----
    A deterministic run that is started again asks for the same points in the same order.  A
    record holds the place of its rows (batch and first row), a checksum of their parameters, and
    their values, and is used where place and checksum match.  Where they do not, the run is
    another one, and that record and all that follow are dropped.

    A record has reached the operating system when :meth:`append` returns, so it survives the
    death of the process.  The disk is told to write at most every five seconds: a power cut can
    cost as much.  A record that a death cut in half is dropped at the next start.

    Blobs are kept as pickles, and unpickling runs code: continue only files you wrote yourself.

    Examples
    --------
    >>> import tempfile
    >>> theta, values = np.array([[0.5], [1.5]]), Part(np.array([-1.0, -2.0]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     journal = Journal(f"{folder}/run.journal", {"seed": "1"})
    ...     journal.append(0, 0, theta, values)
    ...     journal.close()
    ...     again, found = Journal(f"{folder}/run.journal", {"seed": "1"}), Part(np.zeros(2))
    ...     known = again.replay(0, theta, found)
    ...     again.close()
    >>> known.tolist(), found.log_density.tolist()
    ([True, True], [-1.0, -2.0])
    """

    def __init__(self, path: str | os.PathLike[str], fingerprint: Mapping[str, str]) -> None:
        self._file = RecordFile(path, fingerprint)
        self._batches: dict[int, list[_Rows]] = {}
        self._conditions: Record | None = None
        try:
            for record in self._file.scan():
                if record.label == _CONDITIONS:
                    self._conditions = record
                else:
                    self._keep(_Rows(record, *_LABEL.unpack(record.label)))
        except BaseException:
            self._file.close()
            raise

    @property
    def path(self) -> str:
        """Where the file is."""
        return self._file.path

    @property
    def note(self) -> str:
        """What a reader should know: damage, evaluations that were of no use, no lock."""
        return "\n".join(self._file.notes)

    @property
    def rows(self) -> int:
        """How many evaluations the file holds."""
        return sum(rows.count for batch in self._batches.values() for rows in batch)

    def require(self, conditions: Mapping[str, str]) -> None:
        """Raise unless the values in the file were made under these conditions.

        Parameters
        ----------
        conditions : mapping from str to str
            What becomes known after the file is open, such as how the target is evaluated.

        Raises
        ------
        ValueError
            If a condition differs; each is named.
        """
        if self._conditions is not None:
            then = json.loads(self._file.read(self._conditions))
            compare(self.path, then, conditions)
        else:
            body = json.dumps(dict(conditions)).encode()
            self._conditions = self._append(_CONDITIONS, body)

    def replay(self, batch: int, theta: Floats, whole: Part) -> Array:
        """Fill in what the file knows of a batch.

        Parameters
        ----------
        batch : int
            The number of the batch, from 0.
        theta : ndarray, shape (n, k)
            Its points.
        whole : Part
            Arrays to fill, for values and whatever else is asked for.

        Returns
        -------
        ndarray of bool, shape (n,)
            The rows that the file knew.
        """
        known = np.zeros(theta.shape[0], dtype=bool)
        for rows in self._batches.get(batch, ()):
            if not rows.matches(theta, _kind(whole)):
                self._drop(rows)
                break
            whole.put(rows.first, self._values(rows))
            known[rows.first : rows.first + rows.count] = True
        return known

    def append(self, batch: int, first: int, theta: Floats, part: Part) -> None:
        """Write the values of some rows of a batch.

        Parameters
        ----------
        batch, first : int
            The number of the batch, and of the first row in it.
        theta : ndarray, shape (m, k)
            The points of these rows.
        part : Part
            Their values.

        Raises
        ------
        OSError
            If the file cannot take them; it then holds all that it held before.
        TypeError
            If blobs cannot be pickled.
        """
        assert part.log_density is not None
        body = part.log_density.astype("<f8").tobytes()
        if part.gradients is not None:
            body += part.gradients.astype("<f8").tobytes()
        if part.blobs is not None:
            try:
                body += pickle.dumps(np.ascontiguousarray(part.blobs), protocol=5)
            except Exception as error:
                raise TypeError(
                    f"blobs that go into {self.path} must be numbers, arrays or objects that can "
                    f"be pickled; this failed: {error}; return other blobs, or keep no file"
                ) from error
        numbers = (_kind(part), batch, first, *theta.shape, _crc(theta))
        record = self._append(_LABEL.pack(*numbers), body)
        self._keep(_Rows(record, *numbers))

    def close(self) -> None:
        """Write what is left to the disk and let go of the file; again does nothing."""
        self._file.close()

    def _keep(self, rows: _Rows) -> None:
        self._batches.setdefault(rows.batch, []).append(rows)

    def _append(self, label: bytes, body: bytes) -> Record:
        try:
            return self._file.append(label, body)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror}: the journal cannot take {len(body)} bytes more; the "
                f"{self.rows} evaluations before them are safe in it; make room and run the same "
                "call again, which goes on from there",
                self.path,
            ) from error

    def _values(self, rows: _Rows) -> Part:
        body = self._file.read(rows.record)
        n, k = rows.count, rows.k
        gradients = blobs = None
        used = 8 * n
        if rows.kind & _GRADIENTS:
            gradients = np.frombuffer(body, "<f8", n * k, used).reshape(n, k)
            used += 8 * n * k
        if rows.kind & _BLOBS:
            blobs = pickle.loads(body[used:])
        return Part(np.frombuffer(body, "<f8", n), gradients, blobs)

    def _drop(self, stale: _Rows) -> None:
        """Forget a record and all after it."""
        before = self.rows
        self._batches = {
            batch: kept
            for batch, each in self._batches.items()
            if (kept := [rows for rows in each if rows.record.start < stale.record.start])
        }
        self._file.truncate(stale.record)
        self._file.notes.append(
            f"from batch {stale.batch} on {self.path} held {before - self.rows} evaluations of "
            "other points than this run asks for: dropped"
        )


def _kind(part: Part) -> int:
    return _GRADIENTS * (part.gradients is not None) | _BLOBS * (part.blobs is not None)


def _crc(theta: Floats) -> int:
    return zlib.crc32(theta.astype("<f8").tobytes())
