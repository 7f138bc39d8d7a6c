r"""Slopes of signal-to-noise ratios: how they grow with the number of particles or of groups.

For an estimator with K particles and M groups the ratio is of order
:math:`K^{\beta} M^{1/2}`, with :math:`\beta = 1/2` for most and :math:`-1/2` for the proposal's
gradient of IWAE and of VIMCO. :func:`slope` measures the exponent, :func:`plot_slopes` draws it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import least_squares

from aisle_smc.arrays import Floats
from aisle_smc.neural.ratios import Ratio
from aisle_smc.plots.style import CHAINS, WIDE, canvas, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Slope", "plot_slopes", "slope"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Slope:
    r"""A line through log ratios: :math:`\log r(n) = \text{intercept} + \text{value} \log n`.

    Attributes
    ----------
    value : float
        The exponent.
    error : float
        Its standard error.
    intercept : float
        Log of the ratio at a count of one.
    misfit : float
        Root of the mean squared residual over n - 2, each in its own standard error: about 1 for
        a line, more for a curve, which lengthens `error` as much. NaN for two counts.
    """

    value: float
    error: float
    intercept: float
    misfit: float

    def at(self, count: float) -> float:
        """Return the ratio that the line has at a count."""
        return math.exp(self.intercept + self.value * math.log(count))

    def __repr__(self) -> str:
        return f"slope {self.value:.3f} ± {self.error:.3f}"


def slope(ratios: Mapping[float, Ratio]) -> Slope:
    r"""Fit the exponent of a signal-to-noise ratio in a count.

    Parameters
    ----------
    ratios : mapping of Ratio
        By the number of particles K, or of groups or datapoints M: for example
        ``{K: signal_to_noise(...).group().total}``. From independent draws.

    Returns
    -------
    Slope

    Raises
    ------
    ValueError
        If fewer than two counts have a finite, positive squared ratio with an error.

    Notes
    -----
    Weighted least squares of the *squared* ratios on ``exp(2 (a + b log n))``, each with its
    standard error: those are unbiased and nearly normal where noise hides the signal and the log
    of a ratio would be far off, or not exist. Where all ratios are precise this is the weighted
    line through their logs. Ratios of small counts are usually the most precise ones and weigh
    most; leave out those that are too small for the asymptotic slope.

    Examples
    --------
    >>> from aisle_smc.neural.ratios import Ratio
    >>> found = {k: Ratio(squared=0.09 * k, squared_error=0.001 * k, level=0.95) for k in (4, 64)}
    >>> slope(found)
    slope 0.500 ± 0.003
    """
    counts = np.array([float(count) for count in ratios])
    squares = np.array([ratio.squared for ratio in ratios.values()])
    errors = np.array([ratio.squared_error for ratio in ratios.values()])
    known = np.isfinite(squares) & np.isfinite(errors) & (errors > 0.0) & (counts > 0.0)
    resolved = known & (squares > 0.0)
    if resolved.sum() < 2 or not known.all():
        raise ValueError(
            "a slope needs a finite ratio with an error at every count, two of them or more "
            f"positive; got {dict(ratios)!r}; draw more replicates where the ratio is zero"
        )
    log_n = np.log(counts)
    design = np.stack([np.ones_like(log_n), log_n], 1)

    def residuals(line: Floats) -> Floats:
        return np.asarray((np.exp(2.0 * design @ line) - squares) / errors)

    def jacobian(line: Floats) -> Floats:
        return np.asarray((2.0 * np.exp(2.0 * design @ line) / errors)[:, None] * design)

    weight = squares[resolved] / errors[resolved]
    start = np.linalg.lstsq(
        design[resolved] * weight[:, None],
        0.5 * np.log(squares[resolved]) * weight,
        rcond=None,
    )[0]
    fit = least_squares(residuals, start, jac=jacobian, x_scale="jac")
    spare = counts.size - 2
    misfit = math.sqrt(2.0 * fit.cost / spare) if spare else math.nan
    covariance = np.linalg.inv(fit.jac.T @ fit.jac)
    return Slope(
        value=float(fit.x[1]),
        error=math.sqrt(covariance[1, 1]) * (max(1.0, misfit) if spare else 1.0),
        intercept=float(fit.x[0]),
        misfit=misfit,
    )


def plot_slopes(
    curves: Mapping[str, Mapping[float, Ratio]],
    *,
    title: str = "Signal-to-noise ratio of the gradient",
    axis: str = "particles K",
    width: float = WIDE,
) -> Figure:
    """Draw signal-to-noise ratios against a count, with their intervals and fitted slopes.

    Parameters
    ----------
    curves : mapping of mappings of Ratio
        By name, such as that of the estimator, and by count.
    title, axis : str
        What is drawn, and what is counted.
    width : float
        Width in inches.

    Returns
    -------
    matplotlib.figure.Figure

    Notes
    -----
    Both axes are logarithmic. A ratio that its interval does not tell from zero is drawn by the
    upper end of the interval alone, as a bar that leaves the figure below.
    """
    with style():
        figure, grid = canvas(1, 1, width=width, heights=[0.55 * width])
        axes = grid[0, 0]
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        last = max(max(ratios) for ratios in curves.values())
        ends: list[tuple[float, str, str]] = []
        lines: list[float] = []
        for i, (name, ratios) in enumerate(curves.items()):
            colour = CHAINS[i % len(CHAINS)]
            fit = slope(ratios)
            _curve(axes, ratios, fit, colour, dashed=i >= len(CHAINS))
            value = f"{fit.value:+.3f}".replace("-", "\N{MINUS SIGN}")
            ends.append((fit.at(max(ratios)), f"{name}  {value} ± {fit.error:.3f}", colour))
            lines += [fit.at(count) for count in ratios]
        low, high = math.log(min(lines) / 1.6), math.log(max(lines) * 1.6)
        high = max(high, _name(axes, last, ends, (high - low) / (0.55 * width)))
        axes.set_ylim(math.exp(low), math.exp(high))
        axes.set_title(title)
        axes.set_xlabel(axis)
        axes.xaxis.set_major_formatter(lambda count, _: f"{count:g}")
    return figure


def _curve(
    axes: Axes, ratios: Mapping[float, Ratio], fit: Slope, colour: str, *, dashed: bool
) -> None:
    counts = sorted(ratios)
    for count in counts:
        ratio = ratios[count]
        # A bar down to zero has no end on a logarithmic axis.
        foot = ratio.lower if ratio.lower > 0.0 else 1e-3 * fit.at(count)
        axes.plot([count, count], [foot, ratio.upper], color=colour, lw=0.9)
    shown = [count for count in counts if ratios[count].lower > 0.0]
    axes.plot(shown, [ratios[n].value for n in shown], "o", color=colour, ms=3.2, mew=0)
    line = [counts[0], counts[-1]]
    dashes = (0, (4, 3)) if dashed else "-"
    axes.plot(line, [fit.at(n) for n in line], color=colour, lw=0.8, ls=dashes)


def _name(axes: Axes, last: float, ends: list[tuple[float, str, str]], inch: float) -> float:
    """Name each line at its end, apart from the others; return the log of the highest name.

    `inch` is how much of the axis, as a difference of logs, an inch takes.
    """
    below = -math.inf
    for value, said, colour in sorted(ends):
        below = max(math.log(value), below + 0.18 * inch)
        axes.annotate(
            said,
            (last, math.exp(below)),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            annotation_clip=False,
        )
    return below
