"""The series of a run: what ``--data``, ``--column``, ``--covariates`` and ``--time`` mean."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aisle_smc.arrays import Array, Floats
from aisle_smc.cli.table import Table, nearest, read_table
from aisle_smc.plots import View

__all__ = ["Observations", "load_observations"]

SHIPPED = ("wti", "nile")
WTI_ROWS = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """A series with its words.

    Attributes
    ----------
    y : ndarray, shape (T,) or (T, k)
        NaN where missing.
    u : ndarray or None
        Covariates.
    time : ndarray or None
        Time axis.
    view : View
        How to show it.
    title : str
        What was observed, in a few words.
    words : str
        The same with its length, its span and its gaps.
    origin : str
        File or source.
    digest : str
        Hash by which a run knows its data again.
    names : tuple of str
        Names of the columns.
    """

    y: Floats
    u: Floats | None
    time: Array | None
    view: View
    title: str
    words: str
    origin: str
    digest: str
    names: tuple[str, ...]


def load_observations(
    model: Any,
    data: str,
    columns: Sequence[str] = (),
    covariates: Sequence[str] = (),
    time: str = "",
) -> Observations:
    """Read the series that a model is to see.

    Parameters
    ----------
    model : Model
        Its forms say how many columns and covariates are needed.
    data : str
        A CSV file, or the name of a series that comes with the package.
    columns, covariates : sequence of str
        Names of columns.
    time : str
        Name of the column of times; a column called date, time, year and the like if empty.

    Raises
    ------
    ValueError
        For anything missing; what there is, is listed.
    """
    if data in SHIPPED and not Path(data).exists():
        if columns or covariates or time:
            raise ValueError(
                f"{data!r} is a series that comes with the package; --column, --covariates and "
                "--time choose columns of a CSV file: leave them out, or give a file"
            )
        return _shipped(data, model)
    if not data.lower().endswith((".csv", ".gz", ".tsv", ".txt")) and not Path(data).exists():
        raise ValueError(
            f"no data {data!r}; expected a CSV file or one of the series that come with the "
            f"package, {', '.join(SHIPPED)}{nearest(data, SHIPPED)}"
        )
    table = read_table(data)
    taken = (*columns, *covariates)
    # A column that is asked for must be there; one that is guessed need not.
    time_name = time or table.guess_time(taken)
    axis = table.time(time_name) if time_name else None
    chosen = list(columns) or _only_column(model, table, (*covariates, time_name or ""))
    wanted = model.observation_names
    if len(chosen) != len(wanted):
        raise ValueError(
            f"the model observes {len(wanted)} value{'s' * (len(wanted) != 1)} at each time "
            f"({', '.join(wanted)}); got {len(chosen)} column{'s' * (len(chosen) != 1)} "
            f"({', '.join(chosen)}); give --column once for each, in this order"
        )
    y = np.column_stack([table.numbers(name) for name in chosen])
    scalar = model.observation is float
    u = np.column_stack([table.numbers(name) for name in covariates]) if covariates else None
    return Observations(
        y=y[:, 0] if scalar else y,
        u=u[:, 0] if u is not None and model.covariates is float else u,
        time=axis,
        view=View(time=axis, time_label=_label(axis, time_name), observation=chosen[0]),
        title=f"{' and '.join(chosen)} in {table.path.name}",
        words=f"{_words(y, axis)} of {' and '.join(chosen)} in {table.path.name}",
        origin=str(table.path),
        digest=hashlib.sha256(repr((table.digest, chosen, list(covariates))).encode()).hexdigest(),
        names=tuple(chosen),
    )


def _label(axis: Array | None, name: str | None) -> str:
    return name or "" if axis is not None and axis.dtype.kind != "M" else ""


def _only_column(model: Any, table: Table, taken: Sequence[str]) -> list[str]:
    """Return the columns meant when none is named: those called as the model calls them."""
    if all(name in table.names for name in model.observation_names):
        return list(model.observation_names)
    left = [name for name in table.names if name not in taken]
    if len(left) == 1:
        return left
    raise ValueError(
        f"say which column of {table.path} holds the observations, with --column; "
        f"its columns are {', '.join(table.names)}"
    )


def _shipped(name: str, model: Any) -> Observations:
    from aisle_smc.ssm.data import nile, wti

    if model.observation is not float or model.covariates is not None:
        raise ValueError(
            f"the series {name!r} has one value at each time and no covariates; the model "
            f"observes {', '.join(model.observation_names)}; give a CSV file with --data"
        )
    if name == "nile":
        flow = nile()
        return Observations(
            y=flow.volume,
            u=None,
            time=flow.years,
            view=View(
                time=flow.years,
                time_label="year",
                observation="Annual flow of the Nile (10\u2078 m\u00b3)",
            ),
            title="the annual flow of the Nile",
            words=f"the annual flow of the Nile, {flow.years[0]} to {flow.years[-1]}",
            origin=flow.origin,
            digest="nile",
            names=("volume",),
        )
    oil = wti(last=WTI_ROWS)
    volatility = model.name.startswith("stochastic volatility")
    return Observations(
        y=oil.returns,
        u=None,
        time=oil.dates,
        view=View(
            time=oil.dates,
            observation="Return (% per day)",
            state="Volatility (% per day)" if volatility else "",
        ),
        title="daily returns of WTI crude oil",
        words=f"{_words(oil.returns, oil.dates)} of daily returns of WTI crude oil",
        origin=oil.origin,
        digest=f"wti {WTI_ROWS}",
        names=("return",),
    )


def _words(y: Floats, axis: Array | None) -> str:
    missing = int(np.isnan(y).sum())
    said = [f"{axis[0]} to {axis[-1]}"] if axis is not None else []
    said += [f"{missing} missing"] if missing else []
    return f"{y.shape[0]} rows" + (f" ({', '.join(said)})" if said else "")
