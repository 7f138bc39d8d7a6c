"""The one visual language of all figures: colours, lines, letters, time axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aisle_smc.arrays import Array, Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["View", "band", "canvas", "future_of", "panel", "say", "style", "time_axis", "time_of"]

# The palette of Okabe and Ito (2008), told apart by all common kinds of colour vision; the yellow
# and the black are left out because they vanish on white and among the letters.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
CHAINS = (BLUE, VERMILION, GREEN, PURPLE, "#E69F00", "#56B4E9")
INK, MUTED, HAIRLINE, POINTS = "#24292f", "#656d76", "#d9dde2", "#57606a"

WIDE = 7.6
PANELS_AT_MOST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How a series is shown: its time axis, its words and units, the scale of its state.

    Parameters
    ----------
    time : array_like, shape (T,), optional
        Dates (datetime64) or numbers of the observations; their index by default.
    time_label : str
        What the time axis says, if dates do not speak for themselves.
    observation : str
        Label of the observations, with their unit; the model's own name by default.
    state : str
        Label of the state, with its unit; the model's own name by default.
    scale : callable, optional
        An increasing function of a scalar state to draw in its stead, such as the volatility
        ``exp(x / 2)`` of a log-variance.
    magnitude : bool
        Draw observations by their absolute value, on the panel of the state.
    """

    time: Any = None
    time_label: str = ""
    observation: str = ""
    state: str = ""
    scale: Callable[[Any], Any] | None = None
    magnitude: bool = False


@contextmanager
def style() -> Iterator[None]:
    """Apply the style to what is drawn inside, and to nothing else."""
    import matplotlib

    with matplotlib.rc_context(
        {
            "font.family": ["DejaVu Sans"],
            "font.size": 8.5,
            "text.color": INK,
            "axes.edgecolor": MUTED,
            "axes.linewidth": 0.6,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.labelcolor": MUTED,
            "axes.labelsize": 8.5,
            "axes.titlesize": 9,
            "axes.titlelocation": "left",
            "axes.titlecolor": INK,
            "axes.titlepad": 7,
            "axes.grid": True,
            "axes.grid.axis": "y",
            "axes.axisbelow": True,
            "axes.xmargin": 0.01,
            "axes.unicode_minus": True,
            "axes.formatter.useoffset": False,
            "grid.color": HAIRLINE,
            "grid.linewidth": 0.5,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "xtick.labelcolor": INK,
            "ytick.labelcolor": INK,
            "xtick.major.size": 3,
            "ytick.major.size": 0,
            "xtick.major.width": 0.6,
            "lines.linewidth": 1.2,
            "lines.solid_capstyle": "round",
            "legend.frameon": False,
            "legend.fontsize": 8.5,
            "legend.handlelength": 1.4,
            "legend.columnspacing": 1.6,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "figure.dpi": 100,
            "savefig.dpi": 200,
        }
    ):
        yield


def canvas(
    rows: int, columns: int, *, width: float, heights: Sequence[float], **grid: Any
) -> tuple[Figure, Array]:
    """Return an empty figure and its axes, shape (rows, columns); heights in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(h_pad=0.06, w_pad=0.05)
    figure = Figure(figsize=(width, sum(heights)), layout=layout)
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, height_ratios=list(heights), **grid)
    return figure, axes


def panel(axes: Axes, title: str) -> None:
    """Say what the vertical axis shows, above it where it reads without turning the head."""
    axes.set_title(title)
    axes.margins(y=0.06)


def band(
    axes: Axes, x: Array, levels: Sequence[float], quantiles: Floats, colour: str, name: str = ""
) -> None:
    """Draw quantiles, shape (len(levels), T), as nested bands with their median if it is there.

    A named band puts only its name in the legend; one entry for all bands is left to the caller.
    """
    from matplotlib.colors import to_rgb

    pairs = len(levels) // 2
    for i in range(pairs):
        # Opaque tints: where two translucent bands meet, a third shade would appear.
        tint = 0.80 - 0.28 * i / max(pairs - 1, 1)
        axes.fill_between(
            x,
            quantiles[i],
            quantiles[-1 - i],
            color=tuple(tint + (1 - tint) * c for c in to_rgb(colour)),
            linewidth=0,
            label="_" if name else f"{100 * (levels[-1 - i] - levels[i]):.0f} % band",
        )
    if len(levels) % 2:
        axes.plot(x, quantiles[pairs], color=colour, label=name or "median")


def say(figure: Figure, *panels: Axes) -> None:
    """Put one legend for these panels under the figure, each entry once."""
    entries: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        entries = dict(sorted(entries.items(), key=lambda entry: _rank(entry[0])))
        narrow = figure.get_figwidth() < 5
        figure.legend(
            entries.values(),
            entries.keys(),
            loc="outside lower center",
            markerscale=1.8,
            ncols=min(len(entries), 2 if narrow else 6),
        )


def _rank(label: str) -> int:
    """Order a legend: what was seen first, then what was learnt, then what is to come."""
    order = ("observed", "truth", "state", "forecast", "median")
    return order.index(label) if label in order else len(order)


def time_of(view: View, length: int) -> Array:
    """Return the time of each observation; raise unless there are `length` of them."""
    if view.time is None:
        return np.arange(length)
    time = np.asarray(view.time)
    if time.shape != (length,):
        raise ValueError(
            f"time must have shape ({length},), one for each observation; got shape {time.shape}"
        )
    return time


def future_of(time: Array, h: int) -> Array:
    """Continue a time axis by `h` steps: over weekdays if it only has those, else evenly."""
    last = time[-1]
    ahead: Array
    if time.dtype.kind == "M":
        days = time.astype("datetime64[D]")
        if time.shape[0] >= 10 and np.is_busday(days).all():
            ahead = np.busday_offset(days[-1], np.arange(1, h + 1), roll="backward")
            return np.asarray(ahead.astype(time.dtype))
    step = float(np.median(np.diff(time).astype(np.float64))) if time.shape[0] > 1 else 1.0
    ahead = np.arange(1, h + 1) * step
    if time.dtype.kind == "M":
        ahead = np.rint(ahead).astype("timedelta64[" + np.datetime_data(time.dtype)[0] + "]")
    return np.asarray(last + ahead)


def time_axis(axes: Axes, time: Array, view: View) -> None:
    """Give a time axis its ticks: concise dates, whole numbers, or numbers."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import MaxNLocator

    narrow = axes.figure.get_figwidth() < 5  # type: ignore[union-attr]
    most = 5 if narrow else 9
    if time.dtype.kind == "M":
        locator = AutoDateLocator(minticks=3, maxticks=most)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        formatter = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_formatter(formatter)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(most, integer=time.dtype.kind in "iu"))
    axes.set_xlabel(view.time_label or ("time index" if view.time is None else ""))
