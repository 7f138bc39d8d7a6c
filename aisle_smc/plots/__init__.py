"""Figures: each function takes a result and returns a matplotlib figure, touching no global."""

from aisle_smc.plots.chains import plot_traces
from aisle_smc.plots.forecasts import plot_forecast
from aisle_smc.plots.pairs import plot_pairs
from aisle_smc.plots.runs import plot_run
from aisle_smc.plots.series import plot_ess, plot_filter, plot_states
from aisle_smc.plots.style import View

__all__ = [
    "View",
    "plot_ess",
    "plot_filter",
    "plot_forecast",
    "plot_pairs",
    "plot_run",
    "plot_states",
    "plot_traces",
]
