"""Scores of forecasts: how probable a fitted model found what it had not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from aisle_kernels.weights import log_mean_exp

from aisle_smc.arguments import check_count
from aisle_smc.arrays import Floats
from aisle_smc.ssm.evidence import EvidenceFilter
from aisle_smc.streams import stream

__all__ = ["Score", "leave_future_out"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Score:
    """A leave-future-out score.

    Attributes
    ----------
    value : float
        Sum of `log_densities`, in nats; higher is better.
    error : float
        Its Monte-Carlo standard error, from the spread over draws of the parameters.
    log_densities : ndarray, shape (h,)
        Predictive log-density of each observation of the future given those before it; 0 where
        it is missing.
    first : int
        Time index of the first of them.
    observed : int
        How many of them are not missing.
    """

    value: float
    error: float
    log_densities: Floats
    first: int
    observed: int


def leave_future_out(
    posterior: Any, y: Any, *, u: Any = None, n: int | None = None, draws: int = 200, seed: int = 0
) -> Score:
    r"""Score one-step-ahead forecasts of observations that a posterior has not seen.

    With parameters :math:`\theta_s` drawn given the first :math:`m` observations alone,

    .. math::
        \sum_{t = m}^{T - 1} \log \frac{1}{S} \sum_{s = 1}^{S}
        \hat p(y_t \mid y_0, \dots, y_{t - 1}, \theta_s).

    Parameters
    ----------
    posterior : Posterior
        The fit of the model to the first part of the series.
    y : array_like, shape (T,) or (T, k)
        The whole series; it starts with the one of the posterior.
    u : array_like, optional
        Covariates of the whole series.
    n : int, optional
        Particles of each filter; those of the fit by default.
    draws : int
        How many draws of the parameters; a posterior gives no more than it has.
    seed : int
        The same seed gives the same bits.

    Returns
    -------
    Score

    Raises
    ------
    ValueError
        If the series is not longer than the posterior's, or starts with something else.

    Notes
    -----
    The states are filtered up to each day, the parameters stay as the first part left them: the
    score of someone who fits once and forecasts every day.  The sum of log-densities is the only
    local proper score (Bernardo 1979).  Refitting before each forecast would give
    :math:`\log Z_{0:T-1} - \log Z_{0:m-1}`, the difference of two log-evidences (Dawid 1984), at
    the price of a fit for each; unlike that and the evidence, this score hardly depends on the
    width of the prior.  Bürkner, Gabry and Vehtari (2020) call it leave-future-out
    cross-validation and refit when the draws have become too unlike; here nothing is refitted.

    The logarithm biases the score down by about half its variance over draws, `error` squared.
    Cost ``draws`` runs of the filter.

    References
    ----------
    Dawid (1984), Statistical theory: the prequential approach.
    Bernardo (1979), Expected information as expected utility.
    Bürkner, Gabry and Vehtari (2020), Approximate leave-future-out cross-validation for Bayesian
    time series models, equations 1 to 5.
    """
    check_count("draws", draws)
    model = posterior.model
    series = model.observations(y)
    first, length = posterior.y.shape[0], series.shape[0]
    if length <= first or not np.array_equal(series[:first], posterior.y, equal_nan=True):
        raise ValueError(
            f"y must begin with the {first} observations of the posterior and go on; got "
            f"{length} observations" + ("" if length <= first else " that begin with others")
        )
    run = EvidenceFilter(
        model, series, posterior.n if n is None else n, u=u, proposal=posterior.proposal
    )
    parameters = posterior.parameters.reshape(-1, posterior.parameters.shape[-1])
    count = min(draws, parameters.shape[0])
    chosen = parameters[np.arange(count) * parameters.shape[0] // count]
    log_p = np.empty((count, length - first))
    for s, row in enumerate(model.prior.with_constants(chosen).tolist()):
        run(model.parameters(dict(zip(model.prior.names, row, strict=True))), stream(seed, s))
        log_p[s] = _increments(run.log_evidences)[first:]
    log_densities = np.array([log_mean_exp(np.ascontiguousarray(column)) for column in log_p.T])
    seen = ~np.isnan(series[first:].reshape(length - first, -1)).all(axis=1)
    return Score(
        value=float(log_densities.sum()),
        error=_error(log_p, log_densities, _independent(posterior, count)),
        log_densities=log_densities,
        first=first,
        observed=int(seen.sum()),
    )


def _increments(log_evidences: Floats) -> Floats:
    """Return the log-density of each observation; all are impossible after one that is."""
    before = np.concatenate([[0.0], log_evidences[:-1]])
    dead = np.isneginf(before)
    return np.where(dead, -np.inf, log_evidences - np.where(dead, 0.0, before))


def _error(log_p: Floats, log_densities: Floats, independent: float) -> float:
    """Return the standard error of the sum of the log-means, by the delta method."""
    if log_p.shape[0] < 2 or not np.isfinite(log_densities).all():
        return float("nan")
    influence = np.exp(log_p - log_densities).sum(axis=1)
    return float(influence.std(ddof=1) / np.sqrt(independent))


def _independent(posterior: Any, count: int) -> float:
    """Return how many independent draws the thinned ones are worth, at most."""
    rows = posterior.summary().rows
    return float(np.nanmin([count, *(row.values["ess_bulk"] for row in rows)]))
