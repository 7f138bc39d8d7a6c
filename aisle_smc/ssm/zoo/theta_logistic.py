"""The theta-logistic model: a population that grows until it is crowded."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any, NamedTuple

from numba import njit

from aisle_smc.ssm.math import exp, normal_logpdf
from aisle_smc.ssm.model import StateSpaceModel
from aisle_smc.ssm.zoo.local_level import condition


class ThetaLogisticParams(NamedTuple):
    """Parameters of :func:`ThetaLogistic`."""

    growth: float
    log_capacity: float
    theta: float
    process_sd: float
    observation_sd: float
    initial_mean: float
    initial_sd: float


@njit
def grow(x, p):
    """Return the expected log-abundance one step later."""
    return x + p.growth * (1.0 - exp(p.theta * (x - p.log_capacity)))


def initial(z, p):
    """Draw the first log-abundance."""
    return p.initial_mean + p.initial_sd * z


def log_initial(x, p):
    """Return the log-density of the first log-abundance."""
    return normal_logpdf(x, p.initial_mean, p.initial_sd)


def transition(z, x, p):
    """Draw the next log-abundance."""
    return grow(x, p) + p.process_sd * z


def log_transition(x, x_prev, p):
    """Return the log-density of a move."""
    return normal_logpdf(x, grow(x_prev, p), p.process_sd)


def log_observation(y, x, p):
    """Return the log-density of an observed log-count."""
    return normal_logpdf(y, x, p.observation_sd)


def observe(rng, x, p):
    """Draw a log-count."""
    return rng.normal(x, p.observation_sd)


def initial_proposal(z, y, p):
    """Draw the first log-abundance given its observation."""
    mean, sd = condition(y, p.initial_mean, p.initial_sd, p.observation_sd)
    return mean + sd * z


def log_initial_proposal(x, y, p):
    """Return the log-density of ``initial_proposal``."""
    mean, sd = condition(y, p.initial_mean, p.initial_sd, p.observation_sd)
    return normal_logpdf(x, mean, sd)


def proposal(z, x, y, p):
    """Draw the next log-abundance given its observation."""
    mean, sd = condition(y, grow(x, p), p.process_sd, p.observation_sd)
    return mean + sd * z


def log_proposal(x, x_prev, y, p):
    """Return the log-density of ``proposal``."""
    mean, sd = condition(y, grow(x_prev, p), p.process_sd, p.observation_sd)
    return normal_logpdf(x, mean, sd)


def log_lookahead(y, x, p):
    """Return the log-density of the next observation given today's log-abundance."""
    return normal_logpdf(y, grow(x, p), sqrt(p.process_sd**2 + p.observation_sd**2))


def ThetaLogistic(
    *,
    initial_mean: float = 0.0,
    initial_sd: float = 1.0,
    prior: Mapping[str, Any] | None = None,
) -> StateSpaceModel:
    r"""Return the theta-logistic model of log-abundance.

    .. math::
        x_t = x_{t-1} + r \bigl(1 - e^{\theta (x_{t-1} - k)}\bigr) + N(0, \tau^2), \qquad
        y_t = x_t + N(0, \sigma^2)

    with r = ``growth``, k = ``log_capacity``, :math:`\tau` = ``process_sd`` and :math:`\sigma` =
    ``observation_sd``; :math:`\theta = 1` is the Ricker map.

    Parameters
    ----------
    initial_mean, initial_sd : float
        Where the first log-abundance may lie; parameters of the model, constants of its prior.
        The prior of ``log_capacity`` is centred at `initial_mean`, two units wide: a factor of
        seven either way.
    prior : mapping, optional
        Replaces single entries of the default prior.

    Returns
    -------
    StateSpaceModel
        With the optimal proposal and the exact look-ahead.

    Notes
    -----
    Growth and theta trade off along a ridge of the likelihood, the curvature of which a short
    series hardly shows (Polansky et al. 2009): their priors are proper and moderate, ``growth``
    with mean 0.5 and ``theta`` with median 1, the logistic case, within a factor of seven.  The
    two standard deviations have mean 0.3, i.e. 30 % per step, and vanish at zero, because a
    likelihood in which either noise alone explains the series is unbounded or nearly so.

    References
    ----------
    Polansky, de Valpine, Lloyd-Smith and Getz (2009), Likelihood ridges and multimodality in
    population growth rate models.  Peters, Hosack and Hayes (2010), Ecological non-linear state
    space model selection via adaptive particle Markov chain Monte Carlo.
    """
    from scipy.stats import gamma, lognorm, norm

    return StateSpaceModel(
        params=ThetaLogisticParams,
        prior={
            "growth": gamma(2.0, scale=0.25),
            "log_capacity": norm(initial_mean, 2.0),
            "theta": lognorm(1.0),
            "process_sd": gamma(2.0, scale=0.15),
            "observation_sd": gamma(2.0, scale=0.15),
            "initial_mean": initial_mean,
            "initial_sd": initial_sd,
            **(prior or {}),
        },
        initial=initial,
        log_initial=log_initial,
        transition=transition,
        log_transition=log_transition,
        log_observation=log_observation,
        observe=observe,
        initial_proposal=initial_proposal,
        log_initial_proposal=log_initial_proposal,
        proposal=proposal,
        log_proposal=log_proposal,
        log_lookahead=log_lookahead,
        name="theta-logistic",
    )
