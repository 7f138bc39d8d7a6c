"""The figure of a run: what it learnt, and how sound it was, against the evaluations it cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.plots.style import (
    BLUE,
    CHAINS,
    GREEN,
    HAIRLINE,
    MUTED,
    VERMILION,
    WIDE,
    canvas,
    say,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_run"]

DASHES = (0, (4, 3))
# Vehtari, Simpson, Gelman, Yao and Gabry (2024).
KHAT_AT_MOST = 0.7
ERRORS_SHOWN = 2.0  # standard errors on each side of a log-evidence
KERNELS_NAMED = 2
# Temperatures are drawn on a logarithmic scale if they start lower than this.
LOG_BELOW = 0.05
# Each phase has its colour in the strip on top, and those to come later are grey.
PHASES = ("prior", "tempering", "nested", "stay", "adapt", "final")
GAP = 8.0  # between the words of the strip, in pixels


def plot_run(result: Any, *, width: float = WIDE) -> Figure:
    """Draw a run at a glance: log-evidence, temperature, sample size, acceptance and k-hat.

    Parameters
    ----------
    result : object with a trace
        What :func:`aisle_smc.sample` returns.  Its ``trace`` has a row for each step, with
        ``phase``, ``evaluations``, ``log_evidence``, ``error``, ``ess``, ``beta`` (inverse
        temperature), ``acceptance``, ``khat``, ``seconds`` and ``kernel``; evaluations and seconds
        count from the start of the run, and NaN is a number that the step does not have.  The
        estimate is its ``log_evidence`` and ``log_evidence_error``, or else the last step's.
    width : float
        Width in inches; below 5 the figure is laid out for a phone.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the trace is empty.

    Notes
    -----
    The log-evidence is drawn by its difference from the estimate, linear near zero and
    logarithmic beyond; its band is two standard errors wide on each side.  Below an inverse
    temperature of 1 the evidence is that of a tempered target, and is drawn grey.  Panels that no
    step has a number for are left out.
    """
    trace = tuple(result.trace)
    if not trace:
        raise ValueError(
            "a figure of a run needs a trace of at least one step; got an empty trace; draw it "
            "after a step was made"
        )
    at, beta, acceptance, khat = (
        _column(trace, name) for name in ("evaluations", "beta", "acceptance", "khat")
    )
    panels = ["evidence"]
    panels += ["beta"] if np.isfinite(beta).any() else []
    panels += ["ess"]
    panels += ["health"] if np.isfinite(acceptance).any() or np.isfinite(khat).any() else []
    heights = [0.36, 1.8] + [1.2] * (len(panels) - 1)
    heights[-1] += 0.5  # room for the axis and the legend
    with style():
        figure, grid = canvas(len(heights), 1, width=width, heights=heights, sharex=True)
        strip, *rows = grid[:, 0]
        axes = dict(zip(panels, rows, strict=True))
        _evidence(axes["evidence"], at, trace, beta, _given(result))
        if "beta" in axes:
            _temperature(axes["beta"], at, beta)
        _sizes(axes["ess"], at, _column(trace, "ess"))
        if "health" in axes:
            _health(axes["health"], at, trace, acceptance, khat)
        _evaluations(rows[-1], at, f"evaluations of the target, in {_duration(trace[-1].seconds)}")
        say(figure, *rows)
        _phases(strip, rows, at, [step.phase for step in trace])
    return figure


def _given(result: Any) -> tuple[float, float] | None:
    """Return the log-evidence and the error that the result stands by, if it has them."""
    value = float(getattr(result, "log_evidence", math.nan))
    error = float(getattr(result, "log_evidence_error", math.nan))
    return (value, error) if math.isfinite(value) else None


def _column(trace: Sequence[Any], name: str) -> Floats:
    return np.array([getattr(step, name) for step in trace], dtype=np.float64)


def _line(axes: Axes, at: Floats, values: Floats, colour: str, label: str = "_") -> None:
    """Draw a series; where a step does not have it the line has a gap."""
    size = 3.0 if values.size <= 60 else 1.6
    shown = np.where(np.isfinite(values), values, np.nan)
    axes.plot(at, shown, "o-", color=colour, ms=size, mew=0, lw=1.0, label=label)


def _evidence(
    axes: Axes,
    at: Floats,
    trace: Sequence[Any],
    beta: Floats,
    given: tuple[float, float] | None,
) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator, SymmetricalLogLocator

    value, error = _column(trace, "log_evidence"), _column(trace, "error")
    known = np.isfinite(value)
    own = known & ~(beta < 1.0)
    if not known.any():
        axes.set_title("Log-evidence (not known yet)")
        axes.set_yticks([])
        return
    last = int(np.flatnonzero(own if own.any() else known)[-1])
    estimate = (value[last], error[last] if own.any() else math.nan) if given is None else given
    away = np.where(known, value - estimate[0], np.nan)
    half = ERRORS_SHOWN * np.where(np.isfinite(error), error, 0.0)
    # Linear about the estimate, logarithmic far off: a run comes from far and ends near.
    widest = max(float(half[last]), ERRORS_SHOWN * estimate[1] if estimate[1] > 0.0 else 0.0)
    near = 10.0 ** math.ceil(math.log10(max(widest, 1e-6))) if widest > 0.0 else 0.1
    axes.set_yscale("symlog", linthresh=near, linscale=1.0)
    locator = SymmetricalLogLocator(base=10.0, linthresh=near)
    locator.set_params(numticks=7)
    axes.yaxis.set_major_locator(locator)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(_difference))
    if (known & ~own).any():
        # The grey line leads to the first estimate of the target itself.
        until = np.flatnonzero(own)[0] if own.any() else value.size
        lead = known & (np.arange(value.size) <= until)
        axes.plot(
            at[lead], away[lead], color=MUTED, lw=0.9, ls=(0, (3, 2)), label="tempered target"
        )
    if own.any():
        low, high = away[own] - half[own], away[own] + half[own]
        tint = _tint(BLUE, 0.28)
        axes.fill_between(at[own], low, high, color=tint, lw=0, label="two standard errors")
        axes.errorbar(at[last], away[last], half[last], color=BLUE, lw=1.2, capsize=2.5)
        _line(axes, at, np.where(own, away, np.nan), BLUE)
    bottom = min(np.nanmin(away), np.min(away - half, initial=0.0, where=own), -2.0 * near)
    top = max(np.nanmax(away), np.max(away + half, initial=0.0, where=own), 2.0 * near)
    axes.set_ylim(1.3 * bottom, 1.3 * top)
    axes.set_title(f"Log-evidence relative to {_with_error(*estimate)} nats")


def _difference(value: float, position: int | None = None) -> str:
    """Return a difference of log-evidences with its sign."""
    return f"{value:+g}".replace("-", "\N{MINUS SIGN}") if value else "0"


def _sizes(axes: Axes, at: Floats, ess: Floats) -> None:
    from matplotlib.ticker import MaxNLocator

    _line(axes, at, ess, BLUE)
    axes.set_ylim(0, 1.08 * np.max(ess, initial=1.0, where=np.isfinite(ess)))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.set_title("Effective sample size")


def _temperature(axes: Axes, at: Floats, beta: Floats) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    positive = np.where(beta > 0.0, beta, np.nan)
    if np.nanmin(positive, initial=1.0) < LOG_BELOW:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=4))
        axes.yaxis.set_minor_locator(NullLocator())
        beta = positive
    else:
        axes.set_ylim(0, 1.06)
    axes.axhline(1.0, color=MUTED, lw=0.7, ls=DASHES, zorder=1)
    _line(axes, at, beta, BLUE)
    axes.set_title("Inverse temperature (the target has 1)")


def _health(
    axes: Axes, at: Floats, trace: Sequence[Any], acceptance: Floats, khat: Floats
) -> None:
    title = []
    if np.isfinite(acceptance).any():
        _line(axes, at, acceptance, GREEN, "acceptance")
        moved = [step.kernel for step, rate in zip(trace, acceptance, strict=True) if rate == rate]
        kernels = list(dict.fromkeys(name for name in moved if name))
        said = ", ".join(kernels[:KERNELS_NAMED]) + ", ..." * (len(kernels) > KERNELS_NAMED)
        title.append(f"acceptance ({said})" if said else "acceptance")
    if np.isfinite(khat).any():
        _line(axes, at, khat, VERMILION, "k-hat")
        axes.axhline(
            KHAT_AT_MOST, color=VERMILION, lw=0.8, ls=DASHES, zorder=1, label="k-hat limit",
        )  # fmt: skip
        title.append("k-hat")
    both = np.concatenate([acceptance, khat])
    both = both[np.isfinite(both)]
    axes.set_ylim(min(1.1 * float(both.min()), 0.0), max(1.04, 1.08 * float(both.max())))
    text = " and ".join(title)
    axes.set_title(text[:1].upper() + text[1:])


def _evaluations(axes: Axes, at: Floats, label: str) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    narrow = axes.figure.get_figwidth() < 5  # type: ignore[union-attr]
    axes.xaxis.set_major_locator(MaxNLocator(4 if narrow else 7, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlim(0, max(at[-1], 1.0) * 1.012)
    axes.set_xlabel(label)


def _phases(strip: Axes, panels: Sequence[Axes], at: Floats, names: Sequence[str]) -> None:
    """Say above the panels which phase spent which evaluations, and mark where they change."""
    strip.set_axis_off()
    strip.set_ylim(0, 1)
    ends = [
        (name, max(k for k, _ in run)) for name, run in groupby(enumerate(names), itemgetter(1))
    ]
    runs, begin = [], 0.0
    for name, last in ends:
        runs.append((name, begin, float(at[last])))
        begin = float(at[last])
    order = [*PHASES, *names]
    for name, low, high in runs:
        place = order.index(name)
        colour = CHAINS[place] if place < len(PHASES) else MUTED
        strip.broken_barh([(low, high - low)], (0.0, 0.22), facecolor=_tint(colour, 0.6), lw=0)
        for one in panels if high < at[-1] else ():
            one.axvline(high, color=HAIRLINE, lw=0.7, zorder=0.4)
    longest = {
        name: max((run for run in runs if run[0] == name), key=lambda run: run[2] - run[1])
        for name in dict.fromkeys(names)
    }
    _words(strip, [(name, 0.5 * (low + high)) for name, low, high in sorted(
        longest.values(), key=lambda run: run[1])])  # fmt: skip


def _words(strip: Axes, words: Sequence[tuple[str, float]]) -> None:
    """Write words near their places along the strip, shifted until none touches another."""
    figure: Any = strip.figure
    texts = [
        strip.text(x, 0.34, word, ha="center", va="bottom", size=8, color=MUTED)
        for word, x in words
    ]
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    half = [0.5 * text.get_window_extent(renderer).width for text in texts]
    left, right = strip.bbox.x0, strip.bbox.x1
    centres = [float(strip.transData.transform((x, 0.0))[0]) for _, x in words]
    edge = left
    for k, size in enumerate(half):  # to the right, off the word before
        centres[k] = max(centres[k], edge + size)
        edge = centres[k] + size + GAP
    edge = right
    for k in range(len(half) - 1, -1, -1):  # and back, where the last ones left the panel
        centres[k] = min(centres[k], edge - half[k])
        edge = centres[k] - half[k] - GAP
    inverse = strip.transData.inverted()
    for text, centre in zip(texts, centres, strict=True):
        text.set_x(float(inverse.transform((centre, 0.0))[0]))


def _tint(colour: str, share: float) -> tuple[float, ...]:
    """Return an opaque mixture of a colour with white."""
    from matplotlib.colors import to_rgb

    return tuple(1.0 - share + share * c for c in to_rgb(colour))


def _with_error(value: float, error: float) -> str:
    """Return a number and its standard error, to two digits of the error."""
    digits = int(np.clip(1 - math.floor(math.log10(error)), 0, 9)) if error > 0.0 else 2
    text = f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return f"{text} ± {error:.{digits}f}" if error > 0.0 else text


def _duration(seconds: float) -> str:
    if seconds < 120.0:
        return f"{seconds:.1f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 7200.0 else f"{seconds / 3600.0:.1f} h"
