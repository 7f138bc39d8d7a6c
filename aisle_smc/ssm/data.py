"""Time series that come with the package, each with its origin."""

from __future__ import annotations

import csv
import gzip
import math
from dataclasses import dataclass
from importlib.resources import files
from operator import index
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

A = TypeVar("A", bound=NDArray[Any])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nile:
    """Hold the annual flow of the Nile.

    Attributes
    ----------
    years : ndarray of int64, shape (100,)
        1871 to 1970.
    volume : ndarray, shape (100,)
        Flow at Aswan in 10^8 cubic metres per year.
    origin : str
        Where the numbers come from, and their licence.
    """

    years: NDArray[np.int64]
    volume: NDArray[np.float64]
    origin: str

    def __repr__(self) -> str:
        return f"Nile({len(self.years)} years, {self.years[0]} to {self.years[-1]})"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wti:
    """Hold the daily price of West Texas Intermediate crude oil and its returns.

    Attributes
    ----------
    dates : ndarray of datetime64[D], shape (n,)
        Every weekday of the span, in order; all arrays share these rows.
    price : ndarray, shape (n,)
        Spot price in US dollars per barrel; NaN where the market was closed.
    returns : ndarray, shape (n,)
        ``100 * (log(price[t]) - log(price[t - 1]))`` in percent, NaN where either is missing.
    origin : str
        Where the numbers come from, and their licence.
    """

    dates: NDArray[np.datetime64]
    price: NDArray[np.float64]
    returns: NDArray[np.float64]
    origin: str

    def __repr__(self) -> str:
        closed = int(np.isnan(self.price).sum())
        return (
            f"Wti({len(self.dates)} days, {self.dates[0]} to {self.dates[-1]}, "
            f"{closed} without a price)"
        )


def nile() -> Nile:
    """Read the annual flow of the Nile at Aswan, 1871 to 1970.

    Returns
    -------
    Nile
        100 years, none missing; the arrays are read-only.

    Notes
    -----
    Public domain.  The level drops around 1899, when the first dam at Aswan was begun.

    References
    ----------
    Cobb (1978), The problem of the Nile: conditional solution to a changepoint problem,
    Biometrika 65(2).

    Examples
    --------
    >>> nile()
    Nile(100 years, 1871 to 1970)
    >>> nile().volume[:3].tolist()
    [1120.0, 1160.0, 963.0]
    """
    years, volume = _columns("nile.csv.gz", ("year", "volume"))
    return Nile(
        years=_frozen(np.array(years, dtype=np.int64)),
        volume=_frozen(np.array(volume, dtype=np.float64)),
        origin="Annual flow of the Nile at Aswan, Cobb (1978), Biometrika 65(2). Public domain.",
    )


def wti(last: int | None = None) -> Wti:
    """Read the daily spot price of West Texas Intermediate crude oil, 1986 to 2019.

    Parameters
    ----------
    last : int, optional
        Keep only this many rows from the end; their returns are those of the whole series, so
        the first of them is not lost.  All 8611 rows if omitted.

    Returns
    -------
    Wti
        Rows for all weekdays, 290 of them without a price; the arrays are read-only.

    Raises
    ------
    ValueError
        If `last` is below 1 or above the number of rows.

    Notes
    -----
    A return is the change of the log-price from one row to the next, in percent.  It is NaN on a
    row without a price *and on the row after it*: the change across a gap covers two or more
    days, so it is no daily return, and a model of daily returns gives it the wrong variance.  The
    first row of the whole series has none before it and so no return either.  Rows with NaN stay
    in the series, so that the time index keeps counting weekdays; filters treat them as missing.

    U.S. government data, public domain.

    References
    ----------
    U.S. Energy Information Administration, Crude Oil Prices: West Texas Intermediate, series
    DCOILWTICO of FRED, Federal Reserve Bank of St. Louis.

    Examples
    --------
    >>> wti()
    Wti(8611 days, 1986-01-02 to 2019-01-03, 290 without a price)
    >>> wti(last=1500).returns.shape
    (1500,)
    """
    dates, prices = _columns("wti.csv.gz", ("date", "usd_per_barrel"))
    n = len(dates)
    rows = n if last is None else index(last)
    if not 1 <= rows <= n:
        raise ValueError(
            f"last must be between 1 and the {n} rows of the series; came {last}; "
            "omit it to get all rows"
        )
    price = np.array([float(p) if p else math.nan for p in prices])
    returns = np.full(n, math.nan)
    returns[1:] = 100.0 * np.diff(np.log(price))
    return Wti(
        dates=_frozen(np.array(dates, dtype="datetime64[D]")[n - rows :]),
        price=_frozen(price[n - rows :]),
        returns=_frozen(returns[n - rows :]),
        origin=(
            "Spot price of West Texas Intermediate crude oil, US dollars per barrel: U.S. Energy "
            "Information Administration through FRED (DCOILWTICO). U.S. government data, public "
            "domain."
        ),
    )


def _columns(name: str, header: tuple[str, str]) -> tuple[list[str], list[str]]:
    """Read a compressed two-column table as text."""
    packed = files("aisle_smc.ssm").joinpath("datasets", name).read_bytes()
    rows = list(csv.reader(gzip.decompress(packed).decode("ascii").splitlines()))
    if tuple(rows[0]) != header:
        raise ValueError(
            f"expected the columns {header} in {name}; came {tuple(rows[0])}; "
            "reinstall the package: a file of it was replaced"
        )
    return [row[0] for row in rows[1:]], [row[1] for row in rows[1:]]


def _frozen(array: A) -> A:
    array.flags.writeable = False
    return array
