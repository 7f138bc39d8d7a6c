"""The figure of the chains: their traces and their ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.plots.style import (
    CHAINS,
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

__all__ = ["plot_traces"]

POINTS_OF_A_TRACE = 1500


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
