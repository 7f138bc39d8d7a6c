"""What a task is given and what it gives back."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aisle_smc.batch.tasks import Task

__all__ = ["Call", "Outcome", "netcdf", "read_netcdf"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a task is given.

    Attributes
    ----------
    task : Task
        Seeds and limits.
    options : mapping
        What it is called with.
    data : object
        The data that its options name, or None.
    threads : int
        How many threads it may use.
    checkpoint : path or None
        Where it may keep what a killed run continues from.
    """

    task: Task
    options: Mapping[str, Any]
    data: Any
    threads: int
    checkpoint: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a task gives back.

    Attributes
    ----------
    values : dict
        Numbers and texts for the table.
    value : object
        What is kept beside them; anything that pickles.
    tree : callable, optional
        Makes the ``xarray.DataTree`` of the task's own file, in ArviZ's conventions.
    """

    values: dict[str, Any] = field(default_factory=dict)
    value: Any = None
    tree: Callable[[], Any] | None = None


# The HDF5 library ends the process when two threads are in it at once.
_HDF5 = threading.Lock()


def netcdf(tree: Any) -> bytes:
    """Return an ``xarray.DataTree`` as the bytes of a NetCDF file, compressed."""
    encoding = {
        f"/{name}": {
            key: {"zlib": True, "complevel": 1}
            for key, values in group.data_vars.items()
            if values.ndim > 1 and values.dtype.kind == "f"
        }
        for name, group in tree.children.items()
    }
    with _HDF5, tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tree.nc")
        tree.to_netcdf(path, engine="netcdf4", encoding=encoding)
        return path.read_bytes()


def read_netcdf(content: bytes) -> Any:
    """Return the ``xarray.DataTree`` in the bytes of a NetCDF file."""
    import xarray

    with _HDF5, tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tree.nc")
        path.write_bytes(content)
        with xarray.open_datatree(path, engine="netcdf4") as tree:
            return tree.load()
