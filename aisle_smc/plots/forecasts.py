"""The figure of what comes next: the end of a series and the fan of its futures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.plots.series import LEVELS, columns_of, dots, path_quantiles, stack, view_of
from aisle_smc.plots.style import (
    BLUE,
    MUTED,
    PANELS_AT_MOST,
    VERMILION,
    WIDE,
    View,
    band,
    future_of,
    panel,
    say,
    style,
    time_axis,
    time_of,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_future", "plot_forecast"]

FUTURES = 8000


def plot_forecast(
    posterior: Any,
    h: int,
    *,
    u: Any = None,
    view: View = View(),  # noqa: B008 - a frozen value
    width: float = WIDE,
    seed: int = 0,
) -> Figure:
    """Draw the end of the series and the fan of what comes next.

    Parameters
    ----------
    posterior : Posterior
        What :func:`aisle_smc.ssm.pmmh` returns.
    h : int
        How many steps ahead.
    u : array_like, optional
        Covariates of the coming steps, if the model has any.
    view, width
        As in :func:`plot_states`.
    seed : int
        Seed of the forecast.

    Returns
    -------
    matplotlib.figure.Figure

    Notes
    -----
    The bands are pointwise quantiles of the predictive distribution: 50 and 90 % of futures lie
    inside at each time, parameters and the last state being as uncertain as the fit left them.
    """
    view = view_of(posterior.model, view)
    y = columns_of(posterior.y)
    time = time_of(view, y.shape[0])
    coming = draw_future(posterior, h, u=u, seed=seed)
    back = min(y.shape[0], max(3 * h, 20))
    ahead = future_of(time, h)
    states = path_quantiles(posterior.states, back)
    future_x = _fan(coming.states, h)
    future_y = _fan(coming.observations, h)
    # Continue from the last known state, so that the fan is not cut off from its stem.
    joined = np.concatenate([states[:, -1:], future_x], axis=1)
    now = np.concatenate([time[-1:], ahead])
    scale = view.scale if view.scale is not None and states.shape[2] == 1 else None
    x_names = [f"State {name}" for name in posterior.model.state_names]
    if view.state and states.shape[2] == 1:
        x_names = [view.state]
    y_names = [view.observation] if view.observation and y.shape[1] == 1 else []
    y_names = y_names or list(posterior.model.observation_names)
    rows = min(y.shape[1] + states.shape[2], PANELS_AT_MOST)
    with style():
        figure, axes = stack(rows, width)
        for j, one in enumerate(axes[: y.shape[1]]):
            recent = replace(view, magnitude=False)
            band(one, ahead, LEVELS, future_y[:, :, j], VERMILION, "forecast")
            dots(one, time[-back:], y[-back:, j], recent)
            panel(one, y_names[j])
        for i, one in enumerate(axes[y.shape[1] :]):
            past, next_ = states[:, :, i], joined[:, :, i]
            if scale is not None:
                past, next_ = scale(past), scale(next_)
            band(one, time[-back:], LEVELS, past, BLUE, "state")
            band(one, now, LEVELS, next_, VERMILION, "forecast")
            panel(one, x_names[i])
        for one in axes:
            one.axvline(time[-1], color=MUTED, lw=0.7, ls=(0, (4, 3)), zorder=1)
        time_axis(axes[-1], np.concatenate([time[-back:], ahead]), view)
        # One neutral pair of shades explains the bands of both colours.
        axes[0].fill_between([], [], [], color="#c4c9cf", lw=0, label="50 and 90 % bands")
        say(figure, *axes)
    return figure


def draw_future(posterior: Any, h: int, *, u: Any = None, seed: int = 0) -> Any:
    """Draw enough futures for bands whose edges do not tremble."""
    from aisle_smc.ssm.forecast import forecast

    return forecast(posterior, h, u=u, seed=seed, draws=FUTURES)


def _fan(draws: Any, h: int) -> Floats:
    values = np.asarray(draws, dtype=np.float64)
    return np.quantile(values.reshape(values.shape[0], h, -1), LEVELS, axis=0)
