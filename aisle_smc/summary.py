"""The table of a posterior: a row of numbers for each parameter, printed to a sensible digit."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["Row", "Summary"]


@dataclass(frozen=True, slots=True)
class Row:
    """One parameter of a summary: its name and its numbers by column."""

    name: str
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Summary:
    """A table with a row for each parameter.

    Attributes
    ----------
    rows : tuple of Row
        One for each parameter; each has a number for every column, the spread ``sd`` among them.
    columns : tuple of str
        Names of the columns: ``hdi_3%`` and ``hdi_97%`` are the ends of the shortest interval of
        probability 94 %.

    Examples
    --------
    >>> Summary((Row("rate", {"mean": 1.23456, "sd": 0.0123}),), ("mean", "sd"))
            mean      sd
    rate  1.2346  0.0123
    """

    rows: tuple[Row, ...]
    columns: tuple[str, ...]

    def __getitem__(self, name: str) -> Mapping[str, float]:
        """Return the numbers of one parameter."""
        for row in self.rows:
            if row.name == name:
                return row.values
        raise KeyError(name)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the table, with all digits, to a file of comma-separated values."""
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["parameter", *self.columns])
            for row in self.rows:
                writer.writerow([row.name, *(repr(row.values[c]) for c in self.columns)])

    def __str__(self) -> str:
        cells = [["", *self.columns]]
        for row in self.rows:
            digits = _digits(row.values["sd"])
            cells.append([row.name, *(_cell(c, row.values[c], digits) for c in self.columns)])
        widths = [max(len(line[k]) for line in cells) for k in range(len(cells[0]))]
        lines = [
            "  ".join([line[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(
                line[1:], widths[1:], strict=True)]).rstrip()
            for line in cells
        ]  # fmt: skip
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)


def _digits(sd: float) -> int:
    """Return how many decimals show a spread to two digits."""
    if not np.isfinite(sd) or sd <= 0.0:
        return 3
    return int(np.clip(1 - np.floor(np.log10(sd)), 0, 12)) + 1


def _cell(column: str, value: float, digits: int) -> str:
    if column.startswith("ess"):
        return f"{value:.0f}"
    if column == "r_hat":
        return f"{value:.3f}"
    return f"{value:.{digits + (column == 'mcse_mean')}f}"
