"""Tables of text: read a CSV file and take numbers, times and covariates from its columns."""

from __future__ import annotations

import csv
import gzip
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from aisle_smc.arrays import Array, Floats

__all__ = ["Table", "nearest", "read_table"]

MISSING = {"", "na", "n/a", "nan", "null", "none", "."}
TIMES = ("date", "time", "datetime", "timestamp", "day", "week", "month", "year", "t")
FORMATS = ("%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of text with named columns.

    Attributes
    ----------
    path : pathlib.Path
        Where it came from.
    names : tuple of str
        The columns.
    lines : tuple of int
        Line of the file on which each row stands.
    cells : tuple of tuple of str
        The rows.
    digest : str
        Hash of the bytes, by which a run knows its data again.
    """

    path: Path
    names: tuple[str, ...]
    lines: tuple[int, ...]
    cells: tuple[tuple[str, ...], ...]
    digest: str

    def __len__(self) -> int:
        return len(self.cells)

    def text(self, name: str) -> list[str]:
        """Return a column as text; raise, naming the nearest, if there is none of that name."""
        if name not in self.names:
            raise ValueError(
                f"{self.path} has no column {name!r}; its columns are {', '.join(self.names)}"
                f"{nearest(name, self.names)}"
            )
        j = self.names.index(name)
        return [row[j] for row in self.cells]

    def numbers(self, name: str) -> Floats:
        """Return a column as numbers, NaN where a cell is empty or says it is missing."""
        values = np.empty(len(self))
        for i, cell in enumerate(self.text(name)):
            try:
                values[i] = math.nan if cell.lower() in MISSING else float(cell)
            except ValueError:
                raise ValueError(
                    f"column {name!r} of {self.path} must hold numbers, or nothing where one is "
                    f"missing; line {self.lines[i]} has {cell!r}{_decimal_comma(cell)}"
                ) from None
        if np.isnan(values).all():
            raise ValueError(
                f"column {name!r} of {self.path} must hold numbers; all its {len(self)} cells "
                f"are empty or missing; its columns are {', '.join(self.names)}"
            )
        return values

    def time(self, name: str) -> Array:
        """Return a column of dates or numbers as a time axis."""
        cells = self.text(name)
        for i, cell in enumerate(cells):
            if cell.lower() in MISSING:
                raise ValueError(
                    f"time column {name!r} of {self.path} must have no gaps; "
                    f"line {self.lines[i]} is empty there"
                )
        read = _numbers(cells)
        try:
            read = _dates(cells) if read is None else read
        except ValueError as error:
            raise ValueError(f"time column {name!r} of {self.path} is unclear: {error}") from None
        if read is None:
            bad = next((i for i, cell in enumerate(cells) if _dates([cell]) is None), 0)
            raise ValueError(
                f"time column {name!r} of {self.path} must hold dates such as 2019-01-31, or "
                f"numbers; line {self.lines[bad]} has {cells[bad]!r}"
            )
        return read

    def guess_time(self, taken: Sequence[str]) -> str | None:
        """Return the column that looks like a time axis, if there is one."""
        for name in self.names:
            if name.strip().lower() in TIMES and name not in taken:
                try:
                    self.time(name)
                except ValueError:
                    continue
                return name
        return None


def read_table(path: str | Path) -> Table:
    """Read a CSV file, separated by commas, semicolons or tabs, with column names in line 1.

    Parameters
    ----------
    path : str or pathlib.Path
        The file; ``.gz`` is unpacked.

    Raises
    ------
    ValueError
        If the file is missing, empty or ragged.
    """
    path = Path(path)
    if not path.is_file():
        folder = path.parent
        near = [p.name for p in folder.glob("*.csv*")] if folder.is_dir() else []
        raise ValueError(
            f"no data file {path}; expected a CSV file with column names in its first line"
            f"{nearest(path.name, near)}"
        )
    packed = path.read_bytes()
    try:
        text = (gzip.decompress(packed) if path.suffix == ".gz" else packed).decode("utf-8-sig")
    except (UnicodeDecodeError, OSError, EOFError) as error:
        raise ValueError(f"{path} must be text in UTF-8; it cannot be read: {error}") from None
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    lines: list[int] = []
    rows: list[tuple[str, ...]] = []
    reader = csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True)
    for cells in reader:
        if any(cell.strip() for cell in cells):
            lines.append(reader.line_num)
            rows.append(tuple(cell.strip() for cell in cells))
    if len(rows) < 2:
        raise ValueError(
            f"{path} must have a line of column names and at least one row of data; "
            f"it has {len(rows)} line{'s' * (len(rows) != 1)}"
        )
    names = rows[0]
    if _numbers([cell for cell in names if cell.lower() not in MISSING] or ["x"]) is not None:
        raise ValueError(
            f"the first line of {path} must name the columns; it holds numbers: "
            f"{', '.join(names[:5])}; put a line of names before it"
        )
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(names):
            raise ValueError(
                f"{path} has {len(names)} columns ({', '.join(names)}); "
                f"line {line} has {len(row)} cells"
            )
    return Table(
        path=path,
        names=names,
        lines=tuple(lines[1:]),
        cells=tuple(rows[1:]),
        digest=hashlib.sha256(packed).hexdigest(),
    )


def nearest(word: str, known: Sequence[str]) -> str:
    """Return "; did you mean ...?" with the known word most like this one, or nothing."""
    folded = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), list(folded), n=1, cutoff=0.5)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


def _numbers(cells: Sequence[str]) -> Array | None:
    try:
        values = np.array([float(cell) for cell in cells])
    except ValueError:
        return None
    if not np.isfinite(values).all():
        return None
    whole = (values == np.rint(values)).all() and np.abs(values).max(initial=0.0) < 2**53
    return values.astype(np.int64) if whole else values


def _dates(cells: Sequence[str]) -> Array | None:
    try:
        iso = [cell.removesuffix("Z").replace(" ", "T") for cell in cells]
        return _whole_days(np.array(iso, dtype="datetime64[s]"))
    except ValueError:
        pass
    read = []
    for form in FORMATS:
        try:
            moments = [datetime.strptime(cell, form) for cell in cells]
        except ValueError:
            continue
        read.append(_whole_days(np.array(moments, dtype="datetime64[s]")))
    # 01/02/2019 is January or February: the order of the rows decides, or else nobody can.
    ordered = [days for days in read if (np.diff(days).astype(np.int64) >= 0).all()]
    if len(ordered) > 1 and not all(np.array_equal(ordered[0], days) for days in ordered):
        raise ValueError("it could be day/month or month/day; write dates as 2019-01-31")
    return next(iter([*ordered, *read]), None)


def _whole_days(moments: Array) -> Array:
    days = moments.astype("datetime64[D]")
    return days if (days == moments).all() else moments


def _decimal_comma(cell: str) -> str:
    point = cell.replace(",", ".")
    if cell.count(",") == 1 and _numbers([point]) is not None:
        return f"; write a decimal point: {point}"
    return ""
