"""The figures of a study: differences between models, their probabilities, parameters, times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.batch.comparison import R_HAT_MOST, Comparison, column_of, number, places
from aisle_smc.plots.style import CHAINS, MUTED, canvas, panel, say, style
from aisle_smc.report.pictures import PHONE, Picture, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_difference", "draw_parameters", "draw_probability", "draw_times"]

PARAMETERS_AT_MOST = 6
TICKS_WIDE, TICKS_NARROW = 24, 9


def draw_difference(found: Comparison, words: str) -> Picture:
    """Draw how far each model is from the reference on each data set.

    Parameters
    ----------
    found : Comparison
        Two models or more.
    words : str
        What is compared, such as ``"log-evidence"``.
    """
    difference, error = found.differences()
    # One estimate gone astray would leave nothing to be seen of the others.
    doubtful = found.doubtful | found.doubtful[:, [found.reference]]
    infinite = np.isinf(difference) & ~doubtful
    difference = np.where(doubtful | infinite, np.nan, difference)
    best = found.models[found.reference]

    def draw(width: float) -> Figure:
        figure, axes = canvas(1, 1, width=width, heights=[2.9])
        ax = axes[0, 0]
        ax.axhline(0.0, color=MUTED, linewidth=0.8)
        for k, name in enumerate(found.models):
            if k != found.reference:
                _dots(ax, k, name, difference[:, k], error[:, k], found)
        panel(ax, f"{words} less that of {best} (nats)")
        _set_axis(ax, found.sets, width)
        say(figure, ax)
        return figure

    return _picture(
        f"{found.kind}-{found.measure}",
        f"{_capital(words)}: each model less {best}",
        f"Above zero a model does better on that data set than {best}, "
        + (
            "the one that is best altogether. "
            if found.ranked
            else "the first of them; none can be called the best. "
        )
        + "Bars are two Monte-Carlo standard errors either way; where none can be seen they are "
        "smaller than the dots."
        + (" Estimates that are not to be relied on are left out." if doubtful.any() else "")
        + (" Infinite differences have no dot." if infinite.any() else ""),
        draw,
    )


def draw_probability(found: Comparison) -> Picture:
    """Draw posterior model probabilities by data set."""
    p, _ = found.probabilities()
    left = [name for name, kept in zip(found.models, found.kept, strict=True) if not kept]

    def draw(width: float) -> Figure:
        figure, axes = canvas(1, 1, width=width, heights=[2.6])
        ax = axes[0, 0]
        below = np.zeros(len(found.sets))
        for k in np.flatnonzero(found.kept).tolist():
            share = np.nan_to_num(p[:, k])
            ax.bar(
                np.arange(len(found.sets)), share, 0.82, bottom=below, color=_colour(k),
                label=found.models[k],
            )  # fmt: skip
            below = below + share
        ax.set_ylim(0.0, 1.0)
        ax.set_title("posterior probability of each model")
        _set_axis(ax, found.sets, width)
        say(figure, ax)
        return figure

    return _picture(
        f"{found.kind}-probabilities",
        "Posterior probabilities of the models",
        "Under equal prior probabilities, each data set judged by itself."
        + (
            ""
            if found.counted.all()
            else " Those without a bar are incomplete or not to be relied on."
        )
        + (f" Left out: {', '.join(left)}." if left else ""),
        draw,
    )


def draw_parameters(rows: Sequence[Mapping[str, Any]]) -> Picture | None:
    """Draw posterior means and deviations by data set; None if none are to be relied on."""
    fits = [row for row in rows if row["status"] == "done" and row["kind"] in {"fit", "sample"}]
    names = list(
        dict.fromkeys(
            key.removeprefix("mean.")
            for row in fits
            for key in row["outcome"]
            if key.startswith("mean.")
        )
    )[:PARAMETERS_AT_MOST]
    cells = [column_of(row) for row in fits]
    models = places(model for model, _ in cells)
    sets = places(name for _, name in cells)
    if not names or len(sets) < 2:
        return None
    grid = np.full((len(names), len(models), len(sets), 2), np.nan)
    # The best of the replicates stands for the others: where chains converged they differ by the
    # error of the draws alone.
    best: dict[tuple[str, str], Mapping[str, Any]] = {}
    for row, cell in zip(fits, cells, strict=True):
        if cell not in best or _r_hat(row) <= _r_hat(best[cell]):
            best[cell] = row
    astray = [cell for cell, row in best.items() if number(row, "r_hat") > R_HAT_MOST]
    if len(astray) == len(best):
        return None
    for (model, where), row in best.items():
        if (model, where) not in astray:
            for i, name in enumerate(names):
                at = i, models[model], sets[where]
                grid[at] = number(row, f"mean.{name}"), number(row, f"sd.{name}")

    def draw(width: float) -> Figure:
        count = len(names)
        figure, axes = canvas(count, 1, width=width, heights=[1.35] * count, sharex=True)
        for i, ax in enumerate(axes[:, 0]):
            for k, model in enumerate(models):
                mean, sd = grid[i, k].T
                _dots(ax, k, model, mean, 0.5 * sd, None, of=len(models))
            panel(ax, names[i])
        _set_axis(axes[-1, 0], list(sets), width)
        say(figure, *axes[:, 0])
        return figure

    return _picture(
        "parameters",
        "The parameters",
        "Posterior means on each data set; bars are one posterior standard deviation either way."
        + (
            " Of several replicates the one with the best R-hat is shown."
            if len(best) < len(fits)
            else ""
        )
        + (
            f" {len(astray)} of {len(best)} left out, with an R-hat above {R_HAT_MOST:g}."
            if astray
            else ""
        ),
        draw,
    )


def draw_times(rows: Sequence[Mapping[str, Any]]) -> Picture | None:
    """Draw how the time that tasks took is distributed; None if hardly any have ended."""
    taken: dict[str, list[float]] = {}
    for row in rows:
        if row["status"] == "done" and row["seconds"]:
            kind = f"{row['kind']}, {column_of(row)[0]}"
            taken.setdefault(kind, []).append(row["seconds"])
    if sum(map(len, taken.values())) < 5 or len(taken) > 12:
        return None

    def draw(width: float) -> Figure:
        figure, axes = canvas(1, 1, width=width, heights=[0.55 + 0.32 * len(taken)])
        ax = axes[0, 0]
        for place, seconds in enumerate(taken.values()):
            # A spread of its own for each dot, the same every time.
            up = (np.arange(len(seconds)) * 0.618) % 1.0 - 0.5
            ax.plot(
                seconds, place + 0.6 * up, "o", markersize=2.5, alpha=0.6, color=_colour(0),
                markeredgewidth=0,
            )  # fmt: skip
        ax.set_yticks(range(len(taken)), list(taken))
        ax.invert_yaxis()
        ax.grid(axis="x")
        ax.set_xscale("log")
        ax.set_xlabel("seconds")
        _plain_seconds(ax)
        return figure

    return _picture(
        "times",
        "How long tasks took",
        "One dot for each task that is done; the scale is logarithmic.",
        draw,
    )


def _plain_seconds(ax: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _dots(
    ax: Axes,
    k: int,
    name: str,
    value: Floats,
    error: Floats,
    found: Comparison | None,
    of: int = 0,
) -> None:
    """Draw a model's values, beside those of the others, with bars of two errors."""
    count = of or (len(found.models) if found is not None else 1)
    aside = 0.5 * ((k + 0.5) / count - 0.5)
    x = np.arange(value.shape[0]) + aside
    ax.errorbar(
        x, value, yerr=2 * np.nan_to_num(error), fmt="o", markersize=2.8, color=_colour(k),
        elinewidth=0.9, capsize=0, label=name,
    )  # fmt: skip


def _r_hat(row: Mapping[str, Any]) -> float:
    """Return an R-hat, the worst if there is none."""
    r_hat = number(row, "r_hat")
    return float("inf") if np.isnan(r_hat) else r_hat


def _set_axis(ax: Axes, sets: Sequence[str], width: float) -> None:
    """Name the data sets, as many as there is room for."""
    most = TICKS_NARROW if width < 5 else TICKS_WIDE
    longest = max(map(len, sets))
    if longest > 6:
        most = max(2, most // 2)
    step = -(-len(sets) // most)
    shown = list(range(0, len(sets), step))
    upright = longest * len(shown) > (11 * width)
    ax.set_xticks(
        shown,
        [sets[i] if len(sets[i]) <= 24 else f"{sets[i][:23]}…" for i in shown],
        rotation=60 if upright else 0,
        ha="right" if upright else "center",
    )
    ax.set_xlim(-0.6, len(sets) - 0.4)


def _colour(k: int) -> str:
    return CHAINS[k % len(CHAINS)]


def _picture(name: str, title: str, caption: str, draw: Callable[[float], Figure]) -> Picture:
    with style():
        wide, narrow = (png(draw(width)) for width in (7.6, PHONE))
    return Picture(name=name, title=title, caption=caption, wide=wide, narrow=narrow)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
