"""The figures of a report, each drawn wide and narrow, with a caption that says what to see."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from aisle_smc.arrays import Array
from aisle_smc.plots import (
    View,
    plot_ess,
    plot_forecast,
    plot_pairs,
    plot_states,
    plot_traces,
)
from aisle_smc.plots.forecasts import draw_future
from aisle_smc.plots.series import filter_at_mean, path_quantiles, view_of
from aisle_smc.plots.style import time_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

__all__ = ["Picture", "draw_pictures"]

PHONE = 3.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A figure as PNG for a page and for a phone, with its words."""

    name: str
    title: str
    caption: str
    wide: bytes
    narrow: bytes


def draw_pictures(posterior: Any, *, view: View = View(), horizon: int = 20) -> list[Picture]:  # noqa: B008 - a frozen value
    """Draw every figure of a report.

    Parameters
    ----------
    posterior : Posterior
        What :func:`aisle_smc.ssm.pmmh` returns.
    view : View
        Dates, units and the scale of the state.
    horizon : int
        Steps of the forecast; 0 leaves it out, and so does a model with covariates, whose coming
        values are not known.

    Returns
    -------
    list of Picture
        The states first, then the parameters, the forecast, the filter and the chains.
    """
    view = view_of(posterior.model, view)
    time = time_of(view, posterior.y.shape[0])
    result = filter_at_mean(posterior)
    pictures = [
        _picture(
            "states",
            "The hidden path" if view.scale is None else "Volatility over time",
            _states_caption(posterior, view, time),
            lambda width: plot_states(posterior, view=view, width=width),
        ),
        _picture(
            "pairs",
            "The parameters",
            _pairs_caption(posterior),
            lambda width: plot_pairs(posterior, width=width),
        ),
    ]
    if horizon > 0 and posterior.model.covariates is None and can_observe(posterior.model):
        pictures.append(
            _picture(
                "forecast",
                f"The next {horizon} steps",
                _forecast_caption(posterior, horizon),
                lambda width: plot_forecast(posterior, horizon, view=view, width=width),
            )
        )
    return [
        *pictures,
        _picture(
            "ess",
            "The particle filter at work",
            _ess_caption(result, time),
            lambda width: plot_ess(result, view=view, width=width),
        ),
        _picture(
            "traces",
            "The chains",
            "Left, the chains as they ran, the last row being the noisy log-evidence that they "
            "see; they should look alike and forget where they were. Right, the ranks of each "
            "chain's draws among all: level around one when the chains explore the same "
            "distribution.",
            lambda width: plot_traces(posterior, width=width),
        ),
    ]


def can_observe(model: Any) -> bool:
    """Whether the model can draw observations, which a forecast needs."""
    return getattr(model, "observe", None) is not None


def png(figure: Figure, dpi: int = 200) -> bytes:
    """Return a figure as PNG, the same bytes for the same figure."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def _picture(name: str, title: str, caption: str, draw: Callable[[float], Figure]) -> Picture:
    return Picture(
        name=name, title=title, caption=caption, wide=png(draw(7.6)), narrow=png(draw(PHONE))
    )


def _three(value: float) -> str:
    """Write a number with three significant digits, trailing zeros included."""
    size = int(np.floor(np.log10(abs(value)))) if value else 0
    return f"{value:.{int(np.clip(2 - size, 0, 8))}f}" if -5 < size < 7 else f"{value:.2e}"


def _when(time: Array, t: int) -> str:
    return f"on {time[t]}" if time.dtype.kind == "M" else f"at {time[t]}"


def _states_caption(posterior: Any, view: View, time: Array) -> str:
    missing = int(np.isnan(posterior.y).sum())
    bridged = {0: "", 1: " One missing observation is bridged by the model."}.get(
        missing, f" {missing} missing observations are bridged by the model."
    )
    if view.scale is None or posterior.states.ndim != 3:
        return (
            "What the state was, given every observation: the median of the trajectories drawn "
            "with the parameters, and the bands that hold 50 and 90 % of them at each time."
            f"{bridged}"
        )
    track = np.asarray(view.scale(path_quantiles(posterior.states, time.shape[0])[:, :, 0]))
    peak, last = int(np.argmax(track[2])), track[:, -1]
    return (
        "Median volatility with the bands that hold 50 and 90 % of the drawn paths at each time; "
        f"dots are the sizes of the observed moves. It is highest {_when(time, peak)}, at "
        f"{_three(track[2, peak])}, and ends at {_three(last[2])} (90 % band {_three(last[0])} to "
        f"{_three(last[4])}).{bridged}"
    )


def _pairs_caption(posterior: Any) -> str:
    draws = posterior.parameters.reshape(-1, len(posterior.names))
    text = (
        "On the diagonal the posterior of each parameter, with its prior as a dashed line; below, "
        "each pair with the regions that hold 50 and 90 % of the draws; above, correlations."
    )
    with np.errstate(invalid="ignore"):
        r = np.nan_to_num(np.atleast_2d(np.corrcoef(draws.T)))
    r[np.tril_indices(r.shape[0])] = 0.0
    i, j = np.unravel_index(int(np.argmax(np.abs(r))), r.shape)
    if abs(r[i, j]) > 0.3:
        names = posterior.names
        text += f" The strongest is between {names[i]} and {names[j]}, {r[i, j]:.2f}."
    silent = [
        name
        for k, name in enumerate(posterior.names)
        if draws[:, k].std() > 0.8 * float(posterior.model.prior.distributions[name].std())
    ]
    if silent:
        text += f" About {' and '.join(silent)} the data said little that the prior had not."
    return text


def _forecast_caption(posterior: Any, horizon: int) -> str:
    coming = draw_future(posterior, horizon).observations
    first = np.asarray(coming, dtype=np.float64).reshape(coming.shape[0], horizon, -1)[:, 0]
    text = (
        "The end of the series, and what the fitted model expects next; parameters and the last "
        "state are as uncertain as the fit left them."
    )
    if first.shape[1] == 1:
        low, high = np.quantile(first, (0.05, 0.95))
        low_, high_ = _three(low), _three(high)
        text += f" With probability 90 % the next observation is between {low_} and {high_}."
    return text


def _ess_caption(result: Any, time: Array) -> str:
    low = int(np.argmin(result.ess))
    surprise = int(np.argmin(result.log_evidence_increments))
    return (
        f"A filter of {result.n} particles at the posterior mean. Its effective sample size is "
        f"lowest {_when(time, low)}, {result.ess[low]:.0f}: the times at which one observation "
        "left few particles standing are those where the model was surprised. The most "
        f"surprising observation came {_when(time, surprise)}."
    )
