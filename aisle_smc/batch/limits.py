"""What a task may use: time, memory, evaluations."""

from __future__ import annotations

import contextlib
import faulthandler
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from aisle_smc.batch.files import opened

__all__ = ["Limits", "bounded", "read_bytes", "read_seconds"]

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_BYTES |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
# Beyond these the timer and the operating system take no number.
_MOST = {"seconds": (366 * 86400.0, "a year"), "memory": (2.0**60, "2^60 bytes")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one task may use.

    Parameters
    ----------
    seconds : float, optional
        Wall-clock time.  A task that takes longer is ended with its process, whatever it does.
    memory : int, optional
        Bytes that it may add to what its process holds when it starts (Linux).
    evaluations : int, optional
        Evaluations of a density.

    Raises
    ------
    TypeError, ValueError
        Unless they are positive numbers, whole ones but for `seconds`; of at most a year, and at
        most 2^60 bytes.
    """

    seconds: float | None = None
    memory: int | None = None
    evaluations: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"the limit {field.name} must be a number; got {value!r}")
            if not (0 < value < math.inf):
                raise ValueError(f"the limit {field.name} must be positive; got {value!r}")
            if field.name != "seconds" and value != int(value):
                raise ValueError(f"the limit {field.name} must be a whole number; got {value!r}")
            most, words = _MOST.get(field.name, (math.inf, ""))
            if value > most:
                raise ValueError(
                    f"the limit {field.name} must be at most {words}; got {value!r}; leave it out "
                    "for no limit"
                )

    def over(self, other: Limits) -> Limits:
        """Return these limits, with those of `other` where these say nothing."""
        names = [field.name for field in fields(self)]
        mine = {name: getattr(self, name) for name in names}
        return Limits(**{n: getattr(other, n) if mine[n] is None else mine[n] for n in names})

    @property
    def need_process(self) -> bool:
        """Whether keeping them may cost the process of the task its life."""
        return self.seconds is not None or self.memory is not None


def read_seconds(value: Any) -> float:
    """Read a time: a number of seconds, or text such as ``"90 s"``, ``"10 min"``, ``"2 h"``.

    Examples
    --------
    >>> read_seconds("1.5 min"), read_seconds(3)
    (90.0, 3.0)
    """
    return _quantity(value, _SECONDS, "a time", "90 s, 10 min, 2 h")


def read_bytes(value: Any) -> int:
    """Read an amount of memory: a number of bytes, or text such as ``"500 MB"``, ``"2 GiB"``.

    Examples
    --------
    >>> read_bytes("2 GB"), read_bytes(1024)
    (2000000000, 1024)
    """
    amount = _quantity(value, _BYTES, "an amount of memory", "500 MB, 2 GiB")
    if not math.isfinite(amount):
        raise ValueError(f"an amount of memory must be finite; got {value!r}")
    return int(amount)


def _quantity(value: Any, units: dict[str, Any], what: str, examples: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = re.fullmatch(r"\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*([a-zA-Z]+)\s*", str(value))
    unit = match and units.get(match[2].lower())
    if match is None or unit is None:
        raise ValueError(f"{what} must be a number or text like {examples}; got {value!r}")
    return float(match[1]) * float(unit)


@contextlib.contextmanager
def bounded(limits: Limits, dump: Path) -> Iterator[None]:
    """Run a block under limits of time and memory.

    Parameters
    ----------
    limits : Limits
        When the time is over, the process writes where every thread stood into `dump` and ends;
        a thread of C does that, so that compiled code that never returns is ended too.  Beyond
        the memory an allocation fails, which Python code sees as ``MemoryError``.
    dump : Path
        A file that is not empty after the block has overrun its time.
    """
    with contextlib.ExitStack() as stack:
        if limits.memory is not None:
            stack.enter_context(_less_memory(limits.memory))
        if limits.seconds is not None:
            file = stack.enter_context(opened(dump, "w"))
            stack.callback(dump.unlink, missing_ok=True)
            faulthandler.dump_traceback_later(limits.seconds, exit=True, file=file)
            stack.callback(faulthandler.cancel_dump_traceback_later)
        yield


@contextlib.contextmanager
def _less_memory(extra: int) -> Iterator[None]:
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    held = pages * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = held + extra
    if hard != resource.RLIM_INFINITY:
        allowed = min(allowed, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
