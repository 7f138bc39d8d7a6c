"""A file of records that only grows, and that is whole again after any death of its writer."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aisle_smc.checkpoint import compare

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Record", "RecordFile"]

_MAGIC = b"aisle journal 1\n"
_SIZES = struct.Struct("<II")  # bytes and checksum of the fingerprint, which follows
# Of each record: the length of its label and body, the checksum of both and these lengths.
_MARK = b"rec1"
_HEAD = struct.Struct("<4sIQ")
_CHECK = struct.Struct("<I")
_FRONT = _HEAD.size + _CHECK.size
_SYNC_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Record:
    """A record in the file: where it starts, what it says of itself, and where its body is."""

    start: int
    label: bytes
    size: int

    @property
    def body(self) -> int:
        """Where the body starts."""
        return self.start + _FRONT + len(self.label)

    @property
    def end(self) -> int:
        """Where the next record starts."""
        return self.body + self.size


class RecordFile:
    """Append labelled bodies to a file that belongs to one run.

    Parameters
    ----------
    path : path
        The file; made if there is none.
    fingerprint : mapping from str to str
        What the run is made from, one description or digest for each part.

    Attributes
    ----------
    notes : list of str
        What a reader should know of the file.

    Raises
    ------
    ValueError
        If the file is another kind of file, is damaged at its head, or belongs to another run;
        every part that differs is named.
    BlockingIOError
        If another run has it open.
    """

    def __init__(self, path: str | os.PathLike[str], fingerprint: Mapping[str, str]) -> None:
        self.path = os.fspath(path)
        self.notes: list[str] = []
        self._synced = time.monotonic()
        self._handle: int | None = os.open(
            self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666
        )
        try:
            self._lock()
            self._end = self._read_head(dict(fingerprint))
        except BaseException:
            self.close()
            raise

    def scan(self) -> Iterator[Record]:
        """Yield the whole records, and cut off what follows the last of them."""
        size = os.fstat(self._file).st_size
        while (record := self._record_at(self._end, size)) is not None:
            self._end = record.end
            yield record
        if self._end < size:
            self.notes.append(
                f"the last {size - self._end} bytes of {self.path} were not whole: dropped"
            )
            os.ftruncate(self._file, self._end)

    def read(self, record: Record) -> bytes:
        """Return the body of a record."""
        return self._read(record.body, record.size)

    def append(self, label: bytes, body: bytes) -> Record:
        """Write a record; if that fails the file is as it was before.

        Raises
        ------
        OSError
            If the disk is full or the file cannot grow for another reason.
        """
        head = _HEAD.pack(_MARK, len(label), len(body))
        check = _CHECK.pack(zlib.crc32(body, zlib.crc32(label, zlib.crc32(head))))
        self._write(head + check + label + body)
        record = Record(self._end, label, len(body))
        self._end = record.end
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self.sync()
        return record

    def truncate(self, record: Record) -> None:
        """Forget a record and all that follow it."""
        os.ftruncate(self._file, record.start)
        self._end = record.start

    def sync(self) -> None:
        """Have the disk write all that was appended."""
        os.fsync(self._file)
        self._synced = time.monotonic()

    def close(self) -> None:
        """Write what is left to the disk and let go of the file; again does nothing."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            with contextlib.suppress(OSError):
                self.close()

    @property
    def _file(self) -> int:
        if self._handle is None:
            raise ValueError(f"{self.path} must be open; it was closed; open it again to go on")
        return self._handle

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                error.errno,
                "one run at a time can use this file, and another has it open; wait for that one "
                "to end, or choose another file",
                self.path,
            ) from None
        except OSError as error:  # some network file systems
            self.notes.append(f"{self.path} cannot be locked ({error}): give it to one run only")

    def _read_head(self, fingerprint: dict[str, str]) -> int:
        """Compare the head of the file with this run, or write it; return where it ends."""
        text = json.dumps(fingerprint).encode()
        mine = _MAGIC + _SIZES.pack(len(text), zlib.crc32(text)) + text
        found = self._read(0, len(mine))
        if len(found) < len(mine) and mine.startswith(found):
            # Empty, or its writer died before it had written this much.
            self._end = 0
            self._write(mine)
            self.sync()
            return len(mine)
        if not found.startswith(_MAGIC):
            raise ValueError(
                f"{self.path} must be a journal of evaluations; it starts with {found[:16]!r}; "
                "choose another file name, or delete the file to start afresh"
            )
        front = len(_MAGIC) + _SIZES.size
        sizes = self._read(len(_MAGIC), _SIZES.size)
        length, crc = _SIZES.unpack(sizes) if len(sizes) == _SIZES.size else (0, 1)
        text = self._read(front, length)
        if zlib.crc32(text) != crc:
            raise ValueError(
                f"{self.path} is damaged: the {length} bytes that say what it was made from do "
                "not match their checksum; restore a copy, or delete the file to start afresh"
            )
        compare(self.path, json.loads(text), fingerprint)
        return front + int(length)

    def _record_at(self, start: int, size: int) -> Record | None:
        front = self._read(start, _FRONT)
        if len(front) < _FRONT:
            return None
        mark, labelled, length = _HEAD.unpack_from(front)
        if mark != _MARK or start + _FRONT + labelled + length > size:
            return None
        record = Record(start, self._read(start + _FRONT, labelled), length)
        crc = zlib.crc32(record.label, zlib.crc32(front[: _HEAD.size]))
        crc = zlib.crc32(self.read(record), crc)
        return record if _CHECK.unpack_from(front, _HEAD.size) == (crc,) else None

    def _write(self, content: bytes) -> None:
        """Write at the end, all or nothing."""
        file = self._file
        view = memoryview(content)
        try:
            os.lseek(file, self._end, os.SEEK_SET)
            while view:
                view = view[os.write(file, view) :]
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(file, self._end)
            raise

    def _read(self, start: int, size: int) -> bytes:
        os.lseek(self._file, start, os.SEEK_SET)
        parts = []
        while size > 0 and (part := os.read(self._file, min(size, 1 << 30))):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
