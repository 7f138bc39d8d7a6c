"""The results of a study as one tidy table: a row for each task."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisle_smc.batch.files import write_whole

__all__ = ["Table", "tidy"]

_HEAD = ("task", "kind", "status")
# The order of what is known of a task: first these, then whatever else it returned.
_FIRST = ("log_evidence", "log_evidence_error", "khat", "ess", "r_hat", "evaluations")
_LAST = ("seconds", "fault", "fingerprint")


@dataclass(frozen=True, slots=True, repr=False)
class Table:
    """Rows with named columns; None where a cell is empty.

    Attributes
    ----------
    columns : tuple of str
        Their names.
    cells : tuple of tuple
        The rows.
    """

    columns: tuple[str, ...]
    cells: tuple[tuple[Any, ...], ...]

    def __len__(self) -> int:
        return len(self.cells)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self.cells:
            yield dict(zip(self.columns, row, strict=True))

    def __getitem__(self, name: str) -> list[Any]:
        """Return a column."""
        if name not in self.columns:
            raise KeyError(f"no column {name!r}; there are {', '.join(self.columns)}")
        place = self.columns.index(name)
        return [row[place] for row in self.cells]

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame``."""
        import pandas

        return pandas.DataFrame({name: self[name] for name in self.columns})

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the table as CSV, and write it to a file if one is given."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.cells)
        if path is not None:
            write_whole(Path(path), text.getvalue().encode())
        return text.getvalue()

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the table as Parquet.

        Raises
        ------
        ImportError
            If pyarrow is not installed.
        """
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise ImportError("Parquet needs pyarrow: pip install pyarrow") from error
        arrays = {name: _typed(self[name]) for name in self.columns}
        pyarrow.parquet.write_table(pyarrow.table(arrays), path)

    def __repr__(self) -> str:
        return f"Table({len(self)} rows: {', '.join(self.columns)})"


def tidy(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Return the rows of a store as a table.

    Parameters
    ----------
    rows : iterable of mapping
        As :meth:`aisle_smc.batch.Store.rows` returns them.

    Notes
    -----
    A result that is called like one of the table's own columns stands as ``result.NAME``, a
    parameter that is called like one of them or like a result as ``option.NAME``.
    """
    held = list(rows)
    outcomes = dict.fromkeys(name for row in held for name in row["outcome"])
    labels = dict.fromkeys(name for row in held for name in row["labels"])
    order = [name for name in _FIRST if name in outcomes]
    order += [name for name in outcomes if name not in _FIRST]
    own = {*_HEAD, *_LAST}
    found = _apart("result", order, own)
    parameters = _apart("option", labels, own | set(found.values()) | set(outcomes))
    columns = (*_HEAD, *parameters.values(), *found.values(), *_LAST)
    return Table(
        columns,
        tuple(
            (
                row["position"],
                row["kind"],
                row["status"],
                *(row["labels"].get(name) for name in parameters),
                *(row["outcome"].get(name) for name in found),
                row["seconds"],
                row["fault"] or None,
                row["fingerprint"],
            )
            for row in held
        ),
    )


def _apart(what: str, names: Iterable[str], taken: set[str]) -> dict[str, str]:
    """Return the column of each name: the name itself, or after `what` if that is taken."""
    given, columns = dict.fromkeys(names), {}
    for name in given:
        column = name
        while column in taken or (column != name and column in given):
            column = f"{what}.{column}"
        columns[name] = column
    return columns


def _typed(values: list[Any]) -> list[Any]:
    """Return a column in which every value has the same type, text if they differ."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) <= 1 or kinds <= {int, float}:
        return [float(v) if kinds == {int, float} and v is not None else v for v in values]
    return [None if value is None else str(value) for value in values]
