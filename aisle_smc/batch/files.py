"""Result files: in a folder, or wherever fsspec reaches; each is written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from aisle_smc.batch.record import Record, read_header

__all__ = [
    "Files",
    "FolderFiles",
    "RemoteFiles",
    "files_at",
    "opened",
    "record_in",
    "write_whole",
]

# What file systems say that write folders when they like.
_UNKNOWN = {errno.EINVAL, errno.EBADF, errno.ENOTSUP}


class Files(Protocol):
    """Where result files are kept, by the fingerprints of their tasks."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file so that it is there whole, or as it was before."""

    def read(self, name: str) -> bytes:
        """Return a file; raise ``FileNotFoundError`` if there is none."""

    def remove(self, name: str) -> None:
        """Remove a file if there is one."""

    def names(self) -> Iterator[str]:
        """Return the names of all files, whole ones only."""

    def seen(self, token: str) -> bool:
        """Whether this process sees the place that the driver marked with a token."""

    def mark(self, token: str) -> None:
        """Mark the place with a token."""

    def where(self, name: str) -> str:
        """Return the address of a file."""


def files_at(address: str) -> Files:
    """Return the files at a folder or at an fsspec address such as ``s3://bucket/study``."""
    return RemoteFiles(address) if "://" in address else FolderFiles(Path(address))


def record_in(files: Files, name: str) -> Record | None:
    """Return the record in a file, or None if there is no readable one."""
    try:
        return read_header(files.read(name))
    except (OSError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """Files in a folder of this machine, or of a file system that it shares."""

    folder: Path

    def write(self, name: str, content: bytes) -> None:
        """Write to a temporary name, to the disk itself, and rename."""
        write_whole(self._path(name), content)

    def read(self, name: str) -> bytes:
        """Return a file."""
        return self._path(name).read_bytes()

    def remove(self, name: str) -> None:
        """Remove a file if there is one."""
        self._path(name).unlink(missing_ok=True)

    def names(self) -> Iterator[str]:
        """Return the names of all files."""
        for part in sorted(self.folder.glob("??")):
            for entry in os.scandir(part):
                if not entry.name.startswith("."):
                    yield entry.name

    def seen(self, token: str) -> bool:
        """Whether the folder has the driver's mark."""
        try:
            return (self.folder / ".token").read_text(encoding="ascii") == token
        except OSError:
            return False

    def mark(self, token: str) -> None:
        """Write the driver's mark."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / ".token").write_text(token, encoding="ascii")

    def where(self, name: str) -> str:
        """Return the path of a file."""
        return str(self._path(name))

    def _path(self, name: str) -> Path:
        # Two letters make a folder: a hundred thousand files in one are slow everywhere.
        return self.folder / name[:2] / name


@dataclass(frozen=True, slots=True)
class RemoteFiles:
    """Files wherever fsspec reaches: object storage, an archive, another machine."""

    address: str

    def _at(self, name: str = "") -> tuple[Any, str]:
        import fsspec

        system, path = fsspec.core.url_to_fs(self.address)
        return system, f"{path.rstrip('/')}/{name[:2]}/{name}" if name else path.rstrip("/")

    def write(self, name: str, content: bytes) -> None:
        """Write a file; where there are folders, to a temporary name that is then changed."""
        system, path = self._at(name)
        system.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        if "file" in (protocol := system.protocol) or protocol == "local":
            write_whole(Path(path), content)
        else:
            # An object appears when all of it is there.
            system.pipe_file(path, content)

    def read(self, name: str) -> bytes:
        """Return a file."""
        system, path = self._at(name)
        return bytes(system.cat_file(path))

    def remove(self, name: str) -> None:
        """Remove a file if there is one."""
        system, path = self._at(name)
        with contextlib.suppress(FileNotFoundError):
            system.rm_file(path)

    def names(self) -> Iterator[str]:
        """Return the names of all files."""
        system, path = self._at()
        system.invalidate_cache()
        for found in system.find(path):
            name = found.rsplit("/", 1)[-1]
            if not name.startswith("."):
                yield name

    def seen(self, token: str) -> bool:
        """Return True: an address is the same everywhere."""
        return True

    def mark(self, token: str) -> None:
        """Do nothing: an address is the same everywhere."""

    def where(self, name: str) -> str:
        """Return the address of a file."""
        return f"{self.address.rstrip('/')}/{name[:2]}/{name}"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file to a temporary name, to the disk itself, and rename it, on the disk as well.

    Raises
    ------
    OSError
        If it cannot be written; what `path` held before is still there.
    """
    name = path.parent / f".{secrets.token_hex(8)}"
    try:
        # Opened like any file, so that the umask says who may read it.
        file = name.open("xb")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        _to_disk(path.parent.parent)
        file = name.open("xb")
    try:
        with file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            name.unlink()
        raise
    _to_disk(path.parent)


def _to_disk(folder: Path) -> None:
    """Write what a folder holds to the disk, where folders can be opened."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
    finally:
        os.close(handle)


def opened(path: Path, mode: str) -> IO[str]:
    """Open a file in a folder that neighbours make when they need it and remove when empty."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            return path.open(mode)
