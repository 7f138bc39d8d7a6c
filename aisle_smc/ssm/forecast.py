"""Forecasts: states and observations drawn onwards from the end of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from aisle_smc.arguments import check_count
from aisle_smc.arrays import Floats
from aisle_smc.resampling import systematic
from aisle_smc.ssm.description import Bound, Model
from aisle_smc.ssm.filters import FilterResult
from aisle_smc.ssm.simulate import looks_back, needs_observe, one_by_one, together
from aisle_smc.streams import stream

__all__ = ["Forecast", "ForecastQuantiles", "forecast"]


class ForecastQuantiles(NamedTuple):
    """Quantiles of a forecast, the axis of levels first."""

    states: Floats
    observations: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forecast:
    """Equally weighted draws of the future.

    Attributes
    ----------
    states : ndarray, shape (m, h) or (m, h, d)
        States.
    observations : ndarray, shape (m, h) or (m, h, k)
        Observations.
    first : int
        Time index of the first step, the length of the series.
    state_names, observation_names : tuple of str
        Names of the components.
    """

    states: Floats
    observations: Floats
    first: int
    state_names: tuple[str, ...]
    observation_names: tuple[str, ...]

    @property
    def h(self) -> int:
        """Number of steps ahead."""
        return int(self.states.shape[1])

    def quantiles(self, levels: Sequence[float] | float = (0.05, 0.5, 0.95)) -> ForecastQuantiles:
        """Return quantiles for each step.

        Parameters
        ----------
        levels : sequence of float
            Levels between 0 and 1.

        Returns
        -------
        ForecastQuantiles
            ``states`` and ``observations``, shapes (len(levels), h) or (len(levels), h, d).

        Raises
        ------
        ValueError
            If a level is not between 0 and 1.
        """
        p = np.atleast_1d(np.asarray(levels, dtype=np.float64))
        if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
            raise ValueError(f"quantiles needs levels between 0 and 1; got {levels}")
        return ForecastQuantiles(
            np.quantile(self.states, p, axis=0), np.quantile(self.observations, p, axis=0)
        )

    def to_xarray(self) -> Any:
        """Return the draws as an ``xarray.Dataset`` (needs the ``report`` extra).

        One variable for each component of the state and the observation, dimensions ``draw`` and
        ``time``; where a state and an observation share a name, the observation's is given a
        trailing underscore.
        """
        import xarray

        states = self.states.reshape(*self.states.shape[:2], -1)
        observations = self.observations.reshape(*self.observations.shape[:2], -1)
        columns = {name: states[:, :, k] for k, name in enumerate(self.state_names)}
        for k, name in enumerate(self.observation_names):
            columns[f"{name}_" if name in self.state_names else name] = observations[:, :, k]
        return xarray.Dataset(
            {name: (("draw", "time"), values) for name, values in columns.items()},
            coords={"time": self.first + np.arange(self.h)},
        )

    def __repr__(self) -> str:
        m, h = self.states.shape[:2]
        return f"Forecast: {m} draws, {h} steps from t = {self.first}"


def forecast(source: Any, h: int, *, u: Any = None, seed: int = 0, draws: int = 1000) -> Forecast:
    """Draw states and observations of the `h` times after the data.

    Parameters
    ----------
    source : FilterResult or Posterior
        What is known at the end of the data: the last population of a filter at fixed parameters,
        or the parameters and last states of a posterior.
    h : int
        Steps ahead.
    u : array_like, optional
        Covariates of those times, `h` rows, if the model declares them.
    seed : int
        The same seed gives the same bits.
    draws : int
        Number of draws.  A posterior gives no more than it has: its draws are thinned evenly.

    Returns
    -------
    Forecast

    Raises
    ------
    ValueError, TypeError
        For bad input, and if the model has no ``observe``.

    Notes
    -----
    From a filter the forecast is conditional on its parameters; from a posterior it carries their
    uncertainty too.  The time index goes on from the data.  A model that looks at the last
    observation (``y_prev``) sees the last of the data and then the ones drawn.
    """
    check_count("h", h)
    check_count("draws", draws)
    model = source.model
    needs_observe(model, "forecast")
    length = source.y.shape[0]
    y = np.concatenate([source.y, np.full((h, *source.y.shape[1:]), np.nan)])
    filtered = isinstance(source, FilterResult)
    past = source.u if filtered else model.covariate_rows(source.u, length)
    rows = np.concatenate([past, _future_rows(model, u, h)])
    if filtered:
        particles, rng = source.particles, stream(seed)
        last = particles.x[systematic.draw(particles.weights, draws, rng)[0]]
        # Systematic selection leaves neighbours together; nothing may depend on their order.
        last = last[rng.permutation(draws)]
        bound = model.bind(source.params, y, rows)
        if looks_back(model):
            states, observations = one_by_one([bound] * draws, last, h, seed)
        else:
            states, observations = together(bound, last, draws, h, rng)
    else:
        bounds, last = _posterior_ends(source, y, rows, draws)
        states, observations = one_by_one(bounds, last, h, seed)
    return Forecast(
        states=states,
        observations=observations,
        first=length,
        state_names=model.state_names,
        observation_names=model.observation_names,
    )


def _future_rows(model: Model, u: Any, h: int) -> Floats:
    """Return the covariates of the times ahead."""
    if model.covariates is not None and u is None:
        raise ValueError(
            f"a forecast of {h} steps needs the covariates u of those times, {h} rows; got none"
        )
    return model.covariate_rows(u, h)


def _posterior_ends(
    posterior: Any, y: Floats, u: Floats, draws: int
) -> tuple[list[Bound], Floats]:
    """Return models and last states of evenly spaced draws of a posterior."""
    model = posterior.model
    chains, length = posterior.parameters.shape[:2]
    total = chains * length
    count = min(draws, total)
    chosen = np.arange(count) * total // count
    theta = posterior.parameters.reshape(total, -1)[chosen]
    last = posterior.states.reshape(total, *posterior.states.shape[2:])[chosen, -1]
    # Fixed and tied parameters too.
    rows = model.prior.with_constants(theta).tolist()
    bounds = [
        model.bind(model.parameters(dict(zip(model.prior.names, row, strict=True))), y, u)
        for row in rows
    ]
    return bounds, np.asarray(last, dtype=np.float64)
