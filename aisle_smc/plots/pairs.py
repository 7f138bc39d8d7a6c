"""The figure of a posterior: every parameter, and every pair of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aisle_smc.arrays import Array, Floats
from aisle_smc.plots.style import BLUE, INK, MUTED, PANELS_AT_MOST, WIDE, canvas, say, style
from aisle_smc.weighted import WeightedDraws

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_pairs"]

DOTS_AT_MOST = 4000
# Share of the draws of a parameter that lies outside of the panels, on each side.
OUTSIDE = 0.005
BINS = 64  # along each side of a pair
# A prior may rise this far above the posterior before it leaves the panel.
PRIOR_AT_MOST = 1.6


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """What is drawn, of whichever source.

    Attributes
    ----------
    names : tuple of str
        The parameters shown.
    x : ndarray, shape (n, k)
        Draws.
    weights : ndarray, shape (n,)
        Their normalised weights.
    ess : float
        How many equally weighted draws they are worth.
    dots : ndarray, shape (m, k)
        Equally weighted draws, few enough to be seen.
    limits : ndarray, shape (2, k)
        What is shown of each parameter.
    prior : Prior or None
        The prior, if it is known.
    """

    names: tuple[str, ...]
    x: Floats
    weights: Floats
    ess: float
    dots: Floats
    limits: Floats
    prior: Any


def plot_pairs(source: Any, *, width: float = WIDE) -> Figure:
    """Draw the posterior of every parameter and of every pair.

    Parameters
    ----------
    source : Posterior or WeightedDraws
        What :func:`aisle_smc.ssm.pmmh` returns, or a weighted sample.
    width : float
        Width in inches; below 5 the figure is laid out for a phone.

    Returns
    -------
    matplotlib.figure.Figure

    Notes
    -----
    On the diagonal, histograms with the prior as a line; below it, draws with the smallest regions
    that hold 50 and 90 % of them; above it, correlations.  The first eight parameters
    are shown, and of each what lies within its 0.5 and 99.5 % points and a margin.

    Histograms, regions and correlations are those of the weights.  The dots of a weighted sample
    are equally weighted draws, as many as its effective sample size, always the same ones.
    """
    sample = _read(source)
    k = len(sample.names)
    limits = sample.limits
    reach = np.ptp(limits, axis=0)
    margin = 0.03 * reach + (reach == 0)
    side = min(width / k, 2.6)
    with style():
        figure, axes = canvas(k, k, width=max(side * k, 3.2), heights=[side * 0.86] * k)
        for i in range(k):
            for j in range(k):
                one = axes[i, j]
                one.grid(False)
                if j > i:
                    _correlation(one, sample, j, i)
                    continue
                if i == j:
                    _marginal(one, sample, i)
                else:
                    _joint(one, sample, j, i)
                    one.set_ylim(limits[0, i] - margin[i], limits[1, i] + margin[i])
                one.set_xlim(limits[0, j] - margin[j], limits[1, j] + margin[j])
                _ticks(one, left=j == 0 and i > 0, bottom=i == k - 1, narrow=side < 1.6)
                if i == k - 1:
                    one.set_xlabel(sample.names[j], color=INK)
                if j == 0 and i > 0:
                    one.set_ylabel(sample.names[i], color=INK)
        say(figure, axes[0, 0])
    return figure


def _read(source: Any) -> _Sample:
    names = source.names[:PANELS_AT_MOST]
    k = len(names)
    if isinstance(source, WeightedDraws):
        sample = source.select(source.weights > 0.0)
        x, weights, ess, prior = sample.x[:, :k], sample.weights, sample.ess, sample.prior
        dots = sample.draws(min(DOTS_AT_MOST, max(round(ess), 1)))[:, :k]
        low, high = sample.quantile([OUTSIDE, 1.0 - OUTSIDE])[:, :k]
    else:
        x = source.parameters.reshape(-1, len(source.names))[:, :k]
        weights, ess, prior = np.full(x.shape[0], 1.0 / x.shape[0]), x.shape[0], source.model.prior
        dots = x[:: max(1, x.shape[0] // DOTS_AT_MOST)]
        low, high = np.quantile(x, (OUTSIDE, 1.0 - OUTSIDE), axis=0)
    # The bulk, not the last outlier.
    pad = 0.12 * np.where(high > low, high - low, np.maximum(np.abs(high), 1.0))
    limits = np.stack(
        [np.maximum(low - pad, x.min(axis=0)), np.minimum(high + pad, x.max(axis=0))]
    )
    return _Sample(
        names=names, x=x, weights=weights, ess=ess, dots=dots, limits=limits, prior=prior
    )


def _marginal(axes: Axes, sample: _Sample, i: int) -> None:
    bins = int(np.clip(np.sqrt(sample.ess), 12, 40))
    low, high = sample.limits[:, i]
    if not high > low:
        low, high = low - 0.5, low + 0.5
    heights, _, _ = axes.hist(
        sample.x[:, i], bins=bins, range=(low, high),
        weights=sample.weights * (bins / (high - low)), color=BLUE, alpha=0.45, label="posterior",
    )  # fmt: skip
    top = 1.05 * float(np.max(heights))
    density = _prior_density(sample.prior, sample.names[i])
    if density is not None:
        x = np.linspace(low, high, 200)
        values = np.asarray(density(x))
        axes.plot(x, values, color=INK, lw=1.0, ls=(0, (3, 2)), label="prior")
        highest = np.max(values, initial=0.0, where=np.isfinite(values))
        top = max(top, min(1.05 * highest, PRIOR_AT_MOST * top))
    axes.set_ylim(0, top)


def _joint(axes: Axes, sample: _Sample, j: int, i: int) -> None:
    from scipy.ndimage import gaussian_filter

    limits = sample.limits[:, (j, i)]
    axes.plot(
        sample.dots[:, j], sample.dots[:, i], "o", ms=1.4, mew=0, color=BLUE, alpha=0.25,
        rasterized=True,
    )  # fmt: skip
    if not (limits[1] > limits[0]).all():
        return
    mass, x_edges, y_edges = np.histogram2d(
        sample.x[:, j], sample.x[:, i], bins=BINS, range=limits.T, weights=sample.weights
    )
    # The bandwidth shrinks as that of a kernel estimate in two dimensions.
    density = gaussian_filter(mass, 0.12 * BINS * sample.ess ** (-1.0 / 6.0), mode="constant")
    order = np.argsort(density, axis=None)[::-1]
    # Smoothing widens a density, so the regions are sized by what lies in them; draws beyond the
    # limits count too.
    held = np.cumsum(mass.ravel()[order])
    at = np.minimum(np.searchsorted(held, (0.5, 0.9)), order.size - 1)
    contours = sorted({float(level) for level in density.ravel()[order[at]]})
    density = np.pad(density, 1)
    axes.contour(
        _middles(x_edges), _middles(y_edges), density.T, levels=contours, colors=INK,
        linewidths=0.8,
    )  # fmt: skip


def _middles(edges: Array) -> Array:
    """Return the middles of bins, and of one more on each side."""
    step = edges[1] - edges[0]
    return np.asarray(np.arange(-1, edges.size) * step + edges[0] + 0.5 * step)


def _correlation(axes: Axes, sample: _Sample, j: int, i: int) -> None:
    axes.set_axis_off()
    pair = sample.x[:, (j, i)]
    if not (np.ptp(pair, axis=0) > 0.0).all():
        return
    away = (pair - sample.weights @ pair) * np.sqrt(sample.weights)[:, None]
    away /= np.linalg.norm(away, axis=0)
    r = float(away[:, 0] @ away[:, 1])
    text = f"{r:+.2f}".replace("-", "\N{MINUS SIGN}") if abs(r) >= 0.005 else "0.00"
    axes.text(
        0.5, 0.5, text, ha="center", va="center", color=MUTED, size=8 + 4 * abs(r),
        transform=axes.transAxes,
    )  # fmt: skip


def _prior_density(prior: Any, name: str) -> Any:
    return None if prior is None else getattr(prior.distributions.get(name), "pdf", None)


def _ticks(axes: Axes, *, left: bool, bottom: bool, narrow: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    most = 2 if narrow else 3
    axes.xaxis.set_major_locator(MaxNLocator(most, prune="both"))
    axes.yaxis.set_major_locator(MaxNLocator(most, prune="both"))
    axes.tick_params(
        left=left, labelleft=left, bottom=bottom, labelbottom=bottom, length=2.5, labelsize=8
    )
    axes.spines["left"].set_visible(left)
