"""What travels to workers: once to each, arrays apart from the rest so that they can be mapped."""

from __future__ import annotations

import mmap
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisle_smc.batch.files import write_whole

__all__ = ["Shipment", "load", "pack", "save"]

_ALIGNED = 64


@dataclass(frozen=True, slots=True, eq=False)
class Shipment:
    """A pickled object and the arrays in it.

    Attributes
    ----------
    name : str
        Which shipment it is: a worker unpacks it once.
    body : bytes
        The pickle, without the arrays.
    buffers : sequence of bytes-like
        The arrays.
    """

    name: str
    body: bytes
    buffers: Sequence[Any]

    def unpack(self) -> Any:
        """Return the object; its arrays are views of the buffers, which nobody may write to."""
        return pickle.loads(self.body, buffers=[memoryview(b).toreadonly() for b in self.buffers])


def pack(name: str, content: Any) -> Shipment:
    """Pickle an object, functions by value where they cannot be imported.

    Raises
    ------
    TypeError
        If it cannot be pickled.
    """
    import cloudpickle

    buffers: list[pickle.PickleBuffer] = []
    try:
        body = cloudpickle.dumps(content, protocol=5, buffer_callback=buffers.append)
    except Exception as error:
        raise TypeError(
            f"the study cannot be sent to worker processes: {type(error).__name__}: {error}; "
            'use functions and data that can be pickled, or executor="threads"'
        ) from error
    return Shipment(name, body, [bytes(buffer.raw()) for buffer in buffers])


def save(shipment: Shipment, path: Path) -> None:
    """Write a shipment to a file that workers map into their memory."""
    parts = [shipment.body, *shipment.buffers]
    head = pickle.dumps((shipment.name, [len(part) for part in parts]))
    content = bytearray(len(head).to_bytes(8, "little") + head)
    for part in parts:
        content.extend(b"\0" * (-len(content) % _ALIGNED))
        content.extend(part)
    write_whole(path, bytes(content))


def load(path: Path) -> Shipment:
    """Return the shipment in a file; its arrays share their memory with other workers."""
    with path.open("rb") as file:
        held = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    place = 8 + int.from_bytes(held[:8], "little")
    name, lengths = pickle.loads(held[8:place])
    parts = []
    for length in lengths:
        place += -place % _ALIGNED
        parts.append(held[place : place + length])
        place += length
    return Shipment(name, bytes(parts[0]), parts[1:])
