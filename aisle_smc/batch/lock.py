"""The lock that keeps a second driver off a study."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisle_smc.errors import AisleError

__all__ = ["Lock", "alive", "holder", "locked"]

# Where a file system has no locks between machines, a driver elsewhere is alive if it wrote its
# name less than this many seconds ago.
_STALE = 60.0


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock that is held."""

    path: Path
    handle: int

    def beat(self) -> None:
        """Say that the driver is alive."""
        os.utime(self.path)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[Lock]:
    """Hold the lock of a study for a block.

    Raises
    ------
    AisleError
        If another driver holds it; which one is said.

    Notes
    -----
    The lock is the operating system's: it goes with the process that holds it, however that ends.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _take(handle, patience=0.5):
            raise AisleError(f"{_who(path)}; wait for it, or stop it, and run again")
        other = holder(path)
        elsewhere = other is not None and other.get("host") != socket.gethostname()
        if elsewhere and time.time() - path.stat().st_mtime < _STALE:
            raise AisleError(f"{_who(path)}; if it was killed, run again in {_STALE:.0f} seconds")
        me = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(me).encode(), 0)
        try:
            yield Lock(path, handle)
        finally:
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def holder(path: Path) -> dict[str, Any] | None:
    """Return who took the lock last and did not give it back: pid, host, since."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def alive(path: Path) -> bool:
    """Whether a driver holds the lock now."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        other = holder(path)
        if other is not None and other.get("host") != socket.gethostname():
            return time.time() - path.stat().st_mtime < _STALE
        return not _take(handle)
    finally:
        os.close(handle)


def _who(path: Path) -> str:
    other = holder(path) or {}
    name = f"process {other.get('pid', '?')} on {other.get('host', '?')}"
    return f"the study in {path.parent} is being run by {name}"


def _take(handle: int, patience: float = 0.0) -> bool:
    """Take the lock and say whether it could be taken; whoever only looks has it for a moment."""
    until = time.monotonic() + patience
    while not _try(handle):
        if time.monotonic() >= until:
            return False
        time.sleep(0.05)
    return True


def _try(handle: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, 1 << 30, os.SEEK_SET)  # a locked byte cannot be read
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
