"""Figures along time: states with bands, observations, effective sample sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from aisle_smc.arrays import Array, Floats
from aisle_smc.plots.style import (
    BLUE,
    GREEN,
    PANELS_AT_MOST,
    POINTS,
    WIDE,
    View,
    band,
    canvas,
    panel,
    say,
    style,
    time_axis,
    time_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_ess", "plot_filter", "plot_states", "view_of"]

PATHS_AT_MOST = 4000
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def half_exp(x: Any) -> Any:
    """Return ``exp(x / 2)``, the volatility of a log-variance."""
    return np.exp(0.5 * np.asarray(x))


def view_of(model: Any, view: View) -> View:
    """Return the view with what is known about ready-made models filled in."""
    if model.name.startswith("stochastic volatility") and view.scale is None:
        return replace(
            view,
            scale=half_exp,
            state=view.state or "Volatility exp(x / 2)",
            observation=view.observation or "observation",
            magnitude=True,
        )
    return view


@dataclass(frozen=True, slots=True, kw_only=True)
class _Panel:
    """One panel: a component of the state, of the observations, or both where one scale fits."""

    title: str
    state: int = -1
    observation: int = -1


def _panels(model: Any, view: View, medians: Floats, y: Floats) -> list[_Panel]:
    """Arrange states (T, d) and observations (T, k) on panels.

    An observation is drawn on the first state whose path predicts it better than its own mean.
    """
    states = [view.state] if view.state and medians.shape[1] == 1 else list(model.state_names)
    seen = [view.observation] if view.observation and y.shape[1] == 1 else []
    seen = seen or list(model.observation_names)
    if view.magnitude:
        return [_Panel(title=f"{states[0]} over |{_plain(seen[0])}|", state=0, observation=0)]
    host: dict[int, int] = {}
    for j in range(y.shape[1]):
        column = y[:, j]
        known = np.isfinite(column)
        for i in range(medians.shape[1]):
            if i not in host and known.sum() > 1:
                error = np.mean((column[known] - medians[known, i]) ** 2)
                if error < np.var(column[known]):
                    host[i] = j
                    break
    panels = [
        _Panel(title=seen[j], observation=j) for j in range(y.shape[1]) if j not in host.values()
    ]
    for i, state in enumerate(states):
        name = state if view.state else f"state {state}"
        title = f"{seen[host[i]]}, with {name}" if i in host else f"{name[:1].upper()}{name[1:]}"
        panels.append(_Panel(title=title, state=i, observation=host.get(i, -1)))
    return panels[:PANELS_AT_MOST]


def _plain(label: str) -> str:
    """Return a label without its unit: "Return (% per day)" is "Return"."""
    return label.split(" (")[0].strip().lower() or "observation"


def columns_of(values: Any) -> Floats:
    """Return a series as columns, shape (T, k)."""
    array = np.asarray(values, dtype=np.float64)
    return array[:, None] if array.ndim == 1 else array


def dots(axes: Axes, time: Array, values: Floats, view: View, label: str = "observed") -> None:
    shown = np.abs(values) if view.magnitude else values
    size = 2.6 if values.shape[0] <= 200 else 1.5
    axes.plot(time, shown, "o", color=POINTS, ms=size, mew=0, alpha=0.75, label=label, zorder=1.5)


def stack(count: int, width: float, extra: Sequence[float] = ()) -> tuple[Figure, Array]:
    """Return a figure of stacked panels that share the time axis."""
    tall = {1: 2.9, 2: 2.2}.get(count, 1.6)
    heights = [tall] * count + list(extra)
    heights[-1] += 0.5  # room for the legend
    figure, grid = canvas(len(heights), 1, width=width, heights=heights, sharex=True)
    return figure, grid[:, 0]


def _draw(
    axes: Axes,
    spec: _Panel,
    time: Array,
    view: View,
    levels: Sequence[float],
    quantiles: Floats,
    y: Floats,
    *,
    colour: str = BLUE,
    name: str = "",
) -> None:
    """Draw one panel; quantiles have shape (levels, T, d) in the natural scale of the state."""
    scale = view.scale if view.scale is not None and quantiles.shape[2] == 1 else None
    if spec.observation >= 0:
        dots(axes, time, y[:, spec.observation], view)
    if spec.state >= 0:
        track = quantiles[:, :, spec.state]
        band(axes, time, levels, track if scale is None else scale(track), colour, name)
    panel(axes, spec.title)


def _reach(axes: Axes, values: Floats, track: Floats) -> None:
    """Start a panel of magnitudes at zero and let it reach the largest."""
    top = max(float(np.nanmax(np.abs(values), initial=0.0)), float(np.nanmax(track)))
    axes.set_ylim(0, 1.05 * top)


def plot_states(posterior: Any, *, view: View = View(), width: float = WIDE) -> Figure:  # noqa: B008 - a frozen value
    """Draw the smoothed path of every component of the state, with 50 and 90 % bands.

    Parameters
    ----------
    posterior : Posterior
        What :func:`aisle_smc.ssm.pmmh` returns.
    view : View
        Dates, units, and a scale for the state.
    width : float
        Width in inches; below 5 the figure is laid out for a phone.

    Returns
    -------
    matplotlib.figure.Figure

    Notes
    -----
    The bands are pointwise and hold parameter uncertainty too: each draw of the chains carries
    one trajectory.  Observations share the panel of a state that predicts them better than their
    mean does.
    """
    view = view_of(posterior.model, view)
    y = columns_of(posterior.y)
    time = time_of(view, y.shape[0])
    quantiles = path_quantiles(posterior.states, y.shape[0])
    panels = _panels(posterior.model, view, quantiles[2], y)
    with style():
        figure, axes = stack(len(panels), width)
        for one, spec in zip(axes, panels, strict=True):
            _draw(one, spec, time, view, LEVELS, quantiles, y)
        if view.magnitude:
            _reach(axes[0], y, (view.scale or np.abs)(quantiles[4]))
        time_axis(axes[-1], time, view)
        say(figure, *axes)
    return figure


def plot_filter(
    result: Any,
    truth: Any = None,
    *,
    view: View = View(),  # noqa: B008 - a frozen value
    width: float = WIDE,
) -> Figure:
    """Draw what a filter knew at each time: states, observations, surprises, particles left.

    Parameters
    ----------
    result : FilterResult
        What :func:`aisle_smc.ssm.particle_filter` returns.
    truth : array_like, shape (T,) or (T, d), optional
        The states of a simulation, to compare with.
    view, width
        As in :func:`plot_states`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    view = view_of(result.model, view)
    y, mean = columns_of(result.y), columns_of(result.mean)
    time = time_of(view, y.shape[0])
    levels, quantiles = result.quantile_levels, np.asarray(result.quantiles)
    if len(levels) >= 2:
        quantiles = np.moveaxis(quantiles.reshape(*quantiles.shape[:2], -1), 1, 0)
        order = np.argsort(levels)
        levels, quantiles = tuple(np.asarray(levels)[order]), quantiles[order]
    else:
        spread = 1.6448536269514722 * np.sqrt(columns_of(result.variance))
        levels, quantiles = (0.05, 0.5, 0.95), np.stack([mean - spread, mean, mean + spread])
    panels = _panels(result.model, view, quantiles[len(levels) // 2], y)
    with style():
        figure, axes = stack(len(panels), width, (1.25, 1.25))
        for one, spec in zip(axes, panels, strict=False):
            _draw(one, spec, time, view, levels, quantiles, y)
            if truth is not None and spec.state >= 0:
                values = columns_of(truth)[:, spec.state]
                shown = values if view.scale is None else view.scale(values)
                one.plot(time, shown, color=GREEN, lw=0.9, label="truth")
        if view.magnitude:
            _reach(axes[0], y, (view.scale or np.abs)(quantiles[-1]))
        _increments(axes[-2], time, result)
        _sizes(axes[-1], time, result)
        time_axis(axes[-1], time, view)
        say(figure, *axes[: len(panels)])
    return figure


def plot_ess(
    source: Any,
    *,
    view: View = View(),  # noqa: B008 - a frozen value
    width: float = WIDE,
    seed: int = 0,
) -> Figure:
    """Draw the effective sample size of a filter over time, and how surprising each time was.

    Parameters
    ----------
    source : FilterResult or Posterior
        For a posterior, a filter is run at its mean with the number of particles of the chains.
    view, width
        As in :func:`plot_states`.
    seed : int
        Seed of that filter.

    Returns
    -------
    matplotlib.figure.Figure
    """
    result = source if hasattr(source, "ess") else filter_at_mean(source, seed=seed)
    time = time_of(view, result.ess.shape[0])
    with style():
        figure, grid = canvas(2, 1, width=width, heights=(1.9, 1.7), sharex=True)
        _sizes(grid[0, 0], time, result)
        _increments(grid[1, 0], time, result)
        time_axis(grid[1, 0], time, view)
    return figure


def path_quantiles(states: Any, length: int) -> Floats:
    """Return the 5, 25, 50, 75 and 95 % points of the last `length` states, shape (5, length, d).

    Of more than some thousand paths every k-th is used: the edges of the bands do not move.
    """
    paths = np.asarray(states)[:, :, -length:]
    paths = paths.reshape(-1, length, math.prod(paths.shape[3:]))
    step = -(-paths.shape[0] // PATHS_AT_MOST)
    return np.asarray(np.quantile(paths[::step], LEVELS, axis=0), dtype=np.float64)


def filter_at_mean(posterior: Any, *, seed: int = 0) -> Any:
    """Run a filter at the posterior mean, with the particles the chains had."""
    from aisle_smc.ssm.filters import particle_filter

    return particle_filter(
        posterior.model,
        mean_parameters(posterior),
        posterior.y,
        posterior.n,
        u=posterior.u,
        seed=seed,
    )


def mean_parameters(posterior: Any) -> dict[str, float]:
    """Return the posterior mean of every parameter, fixed and tied ones included."""
    draws = posterior.parameters.reshape(-1, len(posterior.names))
    prior = posterior.model.prior
    mean = prior.with_constants(draws.mean(axis=0)).tolist()
    whole = dict(zip(prior.names, mean, strict=True))
    return {name: whole[name] for name in posterior.model.parameter_names}


def _sizes(axes: Axes, time: Array, result: Any) -> None:
    axes.plot(time, result.ess, color=BLUE, lw=0.6)
    panel(axes, f"Effective sample size of {result.n} particles")
    axes.set_ylim(0, 1.04 * result.n)


def _increments(axes: Axes, time: Array, result: Any) -> None:
    # A missing observation says nothing: its zero is no surprise that did not happen.
    seen = np.isfinite(columns_of(result.y)).any(axis=1)
    increments = np.where(seen, result.log_evidence_increments, np.nan)
    size = 2.6 if time.shape[0] <= 200 else 1.6
    axes.plot(time, increments, "o", ms=size, mew=0, color=BLUE, alpha=0.7)
    panel(axes, "Log-evidence of each observation (nats)")
