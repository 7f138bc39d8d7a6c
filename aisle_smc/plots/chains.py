"""Figures of the chains: parameters in pairs, traces and their ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aisle_smc.arrays import Array, Floats
from aisle_smc.plots.style import (
    BLUE,
    CHAINS,
    INK,
    MUTED,
    PANELS_AT_MOST,
    WIDE,
    canvas,
    panel,
    say,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_pairs", "plot_traces"]

DOTS_AT_MOST = 4000
# Share of the draws of a parameter that lies outside of the panels, on each side.
OUTSIDE = 0.005
POINTS_OF_A_TRACE = 1500


def plot_pairs(posterior: Any, *, width: float = WIDE) -> Figure:
    """Draw the posterior of every parameter and of every pair.

    Parameters
    ----------
    posterior : Posterior
        What :func:`aisle_smc.ssm.pmmh` returns.
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
    """
    draws = posterior.parameters.reshape(-1, len(posterior.names))[:, :PANELS_AT_MOST]
    names = posterior.names[:PANELS_AT_MOST]
    k = len(names)
    side = min(width / k, 2.6)
    limits = _limits(draws)
    with style():
        figure, axes = canvas(k, k, width=max(side * k, 3.2), heights=[side * 0.86] * k)
        for i in range(k):
            for j in range(k):
                one = axes[i, j]
                one.grid(False)
                if j > i:
                    _correlation(one, draws[:, j], draws[:, i])
                    continue
                if i == j:
                    _marginal(
                        one, draws[:, i], limits[:, i], _prior_density(posterior.model, names[i])
                    )
                else:
                    _joint(one, draws[:, (j, i)], limits[:, (j, i)])
                _ticks(one, left=j == 0 and i > 0, bottom=i == k - 1, narrow=side < 1.6)
                if i == k - 1:
                    one.set_xlabel(names[j], color=INK)
                if j == 0 and i > 0:
                    one.set_ylabel(names[i], color=INK)
                margin = 0.03 * np.ptp(limits, axis=0) + (np.ptp(limits, axis=0) == 0)
                one.set_xlim(limits[0, j] - margin[j], limits[1, j] + margin[j])
                if j < i:
                    one.set_ylim(limits[0, i] - margin[i], limits[1, i] + margin[i])
        say(figure, axes[0, 0])
    return figure


def plot_traces(posterior: Any, *, width: float = WIDE) -> Figure:
    """Draw the chains of every parameter and of the log-evidence, with their ranks.

    Parameters
    ----------
    posterior : Posterior
        What :func:`aisle_smc.ssm.pmmh` returns.
    width : float
        Width in inches; below 5 the figure is laid out for a phone.

    Returns
    -------
    matplotlib.figure.Figure

    Notes
    -----
    Ranks are taken over all chains together; a chain that explores the same distribution as the
    others has a level histogram of ranks (Vehtari, Gelman, Simpson, Carpenter and Burkner, 2021).
    """
    names = posterior.names[:PANELS_AT_MOST]
    rows = [(name, posterior.parameters[:, :, j]) for j, name in enumerate(names)]
    rows.append(("Log-evidence estimate (nats)", posterior.log_evidences))
    with style():
        heights = [1.15] * len(rows)
        heights[-1] += 0.55
        figure, axes = canvas(
            len(rows), 2, width=width, heights=heights, sharex="col", width_ratios=(2.4, 1)
        )
        for (name, chains), (trace, ranks) in zip(rows, axes, strict=True):
            _trace(trace, chains)
            panel(trace, name)
            _ranks(ranks, chains)
        axes[0, 1].set_title("Ranks by chain", color=MUTED)
        axes[-1, 0].set_xlabel("draw")
        axes[-1, 1].set_xlabel("rank of the draw")
        say(figure, axes[0, 0])
    return figure


def _trace(axes: Axes, chains: Floats) -> None:
    step = max(1, chains.shape[1] // POINTS_OF_A_TRACE)
    at = np.arange(0, chains.shape[1], step)
    for c, chain in enumerate(chains):
        colour = CHAINS[c % len(CHAINS)]
        axes.plot(at, chain[::step], color=colour, lw=0.5, alpha=0.7, label=f"chain {c + 1}")


def _ranks(axes: Axes, chains: Floats) -> None:
    from scipy.stats import rankdata

    total = chains.size
    ranks = rankdata(chains).reshape(chains.shape)
    bins = int(np.clip(chains.shape[1] // 25, 5, 20))
    edges = np.linspace(0.5, total + 0.5, bins + 1)
    for c, chain in enumerate(ranks):
        counts = np.histogram(chain, edges)[0] * bins / chains.shape[1]
        axes.stairs(counts, edges, baseline=None, color=CHAINS[c % len(CHAINS)], lw=1.0)
    axes.axhline(1.0, color=MUTED, lw=0.7, ls=(0, (4, 3)))
    axes.set_ylim(bottom=0)
    axes.set_xticks([0, total])
    axes.set_yticks([0, 1])
    axes.grid(False)


def _marginal(axes: Axes, values: Floats, limits: Floats, prior: Any) -> None:
    bins = int(np.clip(np.sqrt(values.size), 12, 40))
    low, high = limits if limits[1] > limits[0] else (limits[0] - 0.5, limits[0] + 0.5)
    weights = np.full(values.size, bins / (values.size * (high - low)))
    axes.hist(
        values, bins=bins, range=(low, high), weights=weights, color=BLUE, alpha=0.45,
        label="posterior",
    )  # fmt: skip
    if prior is not None:
        x = np.linspace(low, high, 200)
        axes.plot(x, prior(x), color=INK, lw=1.0, ls=(0, (3, 2)), label="prior")
    axes.set_ylim(bottom=0)


def _joint(axes: Axes, pairs: Floats, limits: Floats) -> None:
    from scipy.ndimage import gaussian_filter

    step = max(1, pairs.shape[0] // DOTS_AT_MOST)
    x, y = pairs[::step].T
    axes.plot(x, y, "o", ms=1.4, mew=0, color=BLUE, alpha=0.25, rasterized=True)
    if not (limits[1] > limits[0]).all():
        return
    counts, x_edges, y_edges = np.histogram2d(pairs[:, 0], pairs[:, 1], bins=48, range=limits.T)
    density = np.pad(gaussian_filter(counts, 2.2, mode="constant"), 1)
    ordered = np.sort(density.ravel())[::-1]
    # Draws beyond the limits count too: the regions hold their share of all of them.
    mass = np.cumsum(ordered) / ordered.sum() * counts.sum() / pairs.shape[0]
    at = np.minimum(np.searchsorted(mass, (0.9, 0.5)), ordered.size - 1)
    contours = sorted({float(level) for level in ordered[at]})
    axes.contour(
        _middles(x_edges), _middles(y_edges), density.T, levels=contours, colors=INK,
        linewidths=0.8,
    )  # fmt: skip


def _middles(edges: Array) -> Array:
    """Return the middles of bins, and of one more on each side."""
    step = edges[1] - edges[0]
    return np.asarray(np.arange(-1, edges.size) * step + edges[0] + 0.5 * step)


def _correlation(axes: Axes, x: Floats, y: Floats) -> None:
    axes.set_axis_off()
    if np.ptp(x) > 0 and np.ptp(y) > 0:
        r = np.corrcoef(x, y)[0, 1]
        text = f"{r:+.2f}".replace("-", "\N{MINUS SIGN}") if abs(r) >= 0.005 else "0.00"
        axes.text(
            0.5, 0.5, text, ha="center", va="center", color=MUTED, size=8 + 4 * abs(r),
            transform=axes.transAxes,
        )  # fmt: skip


def _prior_density(model: Any, name: str) -> Any:
    prior = model.prior.distributions.get(name) if model.prior is not None else None
    return getattr(prior, "pdf", None)


def _ticks(axes: Axes, *, left: bool, bottom: bool, narrow: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    most = 2 if narrow else 3
    axes.xaxis.set_major_locator(MaxNLocator(most, prune="both"))
    axes.yaxis.set_major_locator(MaxNLocator(most, prune="both"))
    axes.tick_params(
        left=left, labelleft=left, bottom=bottom, labelbottom=bottom, length=2.5, labelsize=8
    )
    axes.spines["left"].set_visible(left)


def _limits(draws: Floats) -> Floats:
    """Return what is shown of each parameter, shape (2, k): the bulk, not the last outlier."""
    low, high = np.quantile(draws, (OUTSIDE, 1.0 - OUTSIDE), axis=0)
    pad = 0.12 * np.where(high > low, high - low, np.maximum(np.abs(high), 1.0))
    return np.stack(
        [np.maximum(low - pad, draws.min(axis=0)), np.minimum(high + pad, draws.max(axis=0))]
    )
