"""Keeping the results of a few tasks: each on the disk before it counts, several at a time."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from aisle_smc.batch.files import Files
from aisle_smc.batch.record import Record

__all__ = ["Keeping"]

# A disk takes as long for one file as for several at a time: waiting for each by itself costs a
# tiny task more than anything else does.
_AT_A_TIME = 8
# Bytes that may wait to be written.
_WAITING = 1 << 24


class Keeping:
    """Write results as they come, and list those that are on the disk.

    Parameters
    ----------
    files : Files or None
        Where they go; None keeps them in `contents`, for someone else to write.
    at_once : bool
        Whether to wait for each.

    Attributes
    ----------
    records : list of Record
        Of the tasks whose results are kept.
    contents : dict from str to bytes
        Files that are still to be written.
    trouble : str
        Why a result could not be written.
    """

    def __init__(self, files: Files | None, *, at_once: bool) -> None:
        self.records: list[Record] = []
        self.contents: dict[str, bytes] = {}
        self.trouble = ""
        self._files, self._at_once = files, at_once
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: list[tuple[Record, Future[None]]] = []
        self._bytes = 0

    def keep(self, record: Record, contents: Mapping[str, bytes], checkpoint: Path) -> None:
        """Keep the files of a task, and drop its checkpoint after.

        Raises
        ------
        OSError
            If they cannot be written.
        """
        if self._files is None:
            self.contents |= contents
            checkpoint.unlink(missing_ok=True)
            self.records.append(record)
        elif self._at_once:
            self._write(contents, checkpoint)
            self.records.append(record)
        else:
            self._bytes += sum(map(len, contents.values()))
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_AT_A_TIME)
            self._waiting.append((record, self._pool.submit(self._write, contents, checkpoint)))
            if self._bytes > _WAITING:
                self.settle()

    def settle(self) -> None:
        """Wait until everything is on the disk, and note what cannot be written."""
        for record, future in self._waiting:
            try:
                future.result()
            except OSError as error:
                self.trouble = self.trouble or f"{error}"
            else:
                self.records.append(record)
        self._waiting, self._bytes = [], 0

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _write(self, contents: Mapping[str, bytes], checkpoint: Path) -> None:
        assert self._files is not None
        for name, content in contents.items():
            self._files.write(name, content)
        checkpoint.unlink(missing_ok=True)
