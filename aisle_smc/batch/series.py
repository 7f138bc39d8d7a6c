"""Named data: the series that models see, read from a file or taken from the package."""

from __future__ import annotations

import csv
import gzip
import math
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from aisle_smc.arrays import Array, Floats
from aisle_smc.batch.words import did_you_mean

__all__ = ["SHIPPED", "Series", "as_series", "read_series", "shipped"]

SHIPPED = ("nile", "wti")
_MISSING = {"", "na", "n/a", "nan", "null", "none", "."}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """Observations in time.

    Parameters
    ----------
    y : ndarray, shape (T,) or (T, k)
        Observations, NaN where missing.
    u : ndarray, optional
        Covariates, one row for each time.
    time : ndarray, shape (T,), optional
        Dates or numbers of the times.

    Raises
    ------
    ValueError
        If lengths differ or there is nothing.
    """

    y: Floats
    u: Floats | None = None
    time: Array | None = None

    def __post_init__(self) -> None:
        for name in ("y", "u"):
            given = getattr(self, name)
            if given is not None:
                # A copy that nobody writes to: workers see it as a mapped file.
                values = np.array(given, dtype=np.float64)
                values.flags.writeable = False
                object.__setattr__(self, name, values)
        if self.time is not None:
            object.__setattr__(self, "time", np.array(self.time))
        if self.y.ndim == 0 or self.y.shape[0] == 0:
            raise ValueError(f"a series needs observations; got shape {self.y.shape}")
        for name in ("u", "time"):
            other = getattr(self, name)
            if other is not None and other.shape[:1] != self.y.shape[:1]:
                raise ValueError(
                    f"{name} must have one row for each of {self.y.shape[0]} observations; got "
                    f"shape {other.shape}"
                )

    def between(self, first: Any = None, last: Any = None) -> Series:
        """Return the part from `first` to `last`, both included: times, if the series has them.

        Raises
        ------
        ValueError
            If nothing lies between them, or the series has no times.
        """
        if first is None and last is None:
            return self
        if self.time is None:
            raise ValueError("a part of a series is chosen by its times, and this one has none")
        keep = np.ones(self.time.shape[0], dtype=bool)
        if first is not None:
            keep &= self.time >= _moment(first, self.time)
        if last is not None:
            keep &= self.time <= _moment(last, self.time)
        if not keep.any():
            raise ValueError(
                f"the series has no times from {first} to {last}; it runs from {self.time[0]} to "
                f"{self.time[-1]}"
            )
        u = None if self.u is None else self.u[keep]
        return Series(y=self.y[keep], u=u, time=self.time[keep])


def as_series(value: Any) -> Series:
    """Return observations as a series: a series itself, or an array."""
    return value if isinstance(value, Series) else Series(y=value)


def shipped(name: str) -> Series:
    """Return a series that comes with the package: ``nile``, or the returns of ``wti``."""
    from aisle_smc.ssm.data import nile, wti

    if name == "nile":
        flow = nile()
        return Series(y=flow.volume, time=flow.years)
    if name == "wti":
        oil = wti()
        return Series(y=oil.returns, time=oil.dates)
    raise ValueError(
        f"no series {name!r} comes with the package; it has {', '.join(SHIPPED)}"
        f"{did_you_mean(name, SHIPPED)}"
    )


def read_series(
    path: Path, columns: list[str], covariates: list[str] | None = None, time: str = ""
) -> Series:
    """Read a series from a CSV file with column names in its first line.

    Parameters
    ----------
    path : Path
        The file, packed by gzip if it ends in ``.gz``.
    columns, covariates : list of str
        Which columns are observed, in this order, and which are covariates.
    time : str
        The column of dates (2019-01-31) or numbers.

    Raises
    ------
    ValueError
        If the file or a column is missing, or a cell is no number.
    """
    if not path.is_file():
        near = [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else []
        raise ValueError(f"no data file {path}{did_you_mean(path.name, near)}")
    packed = path.read_bytes()
    text = (gzip.decompress(packed) if path.suffix == ".gz" else packed).decode("utf-8-sig")
    rows = [row for row in csv.reader(text.splitlines(), skipinitialspace=True) if any(row)]
    if len(rows) < 2:
        raise ValueError(f"{path} must have a line of column names and at least one row of data")
    names, cells = [cell.strip() for cell in rows[0]], rows[1:]

    def column(name: str) -> list[str]:
        if name not in names:
            raise ValueError(
                f"{path} has no column {name!r}; its columns are {', '.join(names)}"
                f"{did_you_mean(name, names)}"
            )
        place = names.index(name)
        return [row[place].strip() if place < len(row) else "" for row in cells]

    def numbers(wanted: list[str]) -> Floats:
        return np.column_stack([_numbers(path, name, column(name)) for name in wanted])

    y = numbers(columns)
    u = numbers(covariates) if covariates else None
    return Series(
        y=y[:, 0] if len(columns) == 1 else y,
        u=u[:, 0] if u is not None and u.shape[1] == 1 else u,
        time=_times(path, time, column(time)) if time else None,
    )


def _numbers(path: Path, name: str, cells: list[str]) -> Floats:
    values = np.empty(len(cells))
    for i, cell in enumerate(cells):
        try:
            values[i] = math.nan if cell.lower() in _MISSING else float(cell)
        except ValueError:
            raise ValueError(
                f"column {name!r} of {path} must hold numbers, or nothing where one is missing; "
                f"row {i + 1} has {cell!r}"
            ) from None
    return values


def _times(path: Path, name: str, cells: list[str]) -> Array:
    for kind in (np.float64, "datetime64[s]"):
        try:
            times = np.array(cells).astype(kind)
        except ValueError:
            continue
        whole = times.astype("datetime64[D]" if times.dtype.kind == "M" else np.int64)
        return whole if (whole == times).all() else times
    raise ValueError(
        f"column {name!r} of {path} must hold dates such as 2019-01-31, or numbers; it starts "
        f"with {cells[0]!r}"
    )


def _moment(value: Any, times: Array) -> Any:
    if times.dtype.kind == "M":
        return np.datetime64(value.isoformat() if isinstance(value, date | datetime) else value)
    return value
