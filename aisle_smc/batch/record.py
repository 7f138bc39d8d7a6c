"""The record of one task that has ended, and the file that holds it."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

__all__ = ["Record", "decode", "encode", "plain", "read_header"]

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of a task that has ended.

    Attributes
    ----------
    fingerprint : str
        Which task.
    status : str
        ``"done"`` or ``"failed"``.
    values : dict
        Numbers and texts for the table.
    fault : str
        One line that says why it failed.
    traceback : str
        Where.
    seconds : float
        Wall-clock time it took.
    started : float
        Seconds since 1970.
    worker : str
        ``host:process``.
    file : str
        Name of the task's NetCDF file, if it has one.
    """

    fingerprint: str
    status: str
    values: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""
    traceback: str = ""
    seconds: float = 0.0
    started: float = 0.0
    worker: str = ""
    file: str = ""


def encode(record: Record, value: Any) -> bytes:
    """Return the file of a task: a line of JSON that says all but its value, and the value.

    Raises
    ------
    Exception
        Whatever pickling `value` raises.

    Notes
    -----
    The first line is read without unpickling anything, so that a table can be made of files from
    elsewhere.  A checksum tells a file that was cut short.
    """
    import cloudpickle

    body: bytes = cloudpickle.dumps(value, protocol=5)
    header = {"format": _FORMAT, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    line = json.dumps(header | {"record": asdict(record)}, separators=(",", ":"), default=plain)
    return line.encode() + b"\n" + body


def plain(value: Any) -> Any:
    """Return what JSON does not know as something it knows: a number of NumPy's, or text."""
    return value.item() if isinstance(value, np.generic) else str(value)


def read_header(content: bytes) -> Record:
    """Return the record in a file, or in its first line.

    Raises
    ------
    ValueError
        If there is none.
    """
    try:
        header = json.loads(content.split(b"\n", 1)[0])
        return Record(**header["record"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"this is no record of a task: {error}") from None


def decode(content: bytes) -> tuple[Record, Any]:
    """Return the record in a file and the value.

    Raises
    ------
    ValueError
        If the file is damaged.

    Notes
    -----
    The value is a pickle, and unpickling runs code: open only files of your own studies.
    """
    record = read_header(content)
    line, body = content.split(b"\n", 1)
    header = json.loads(line)
    if len(body) != header["bytes"] or hashlib.sha256(body).hexdigest() != header["sha256"]:
        raise ValueError(f"the file of task {record.fingerprint} is damaged; delete it")
    return record, pickle.loads(body)
