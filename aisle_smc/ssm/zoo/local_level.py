"""The local level model: a level that wanders, seen through noise."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any, NamedTuple

from numba import njit

from aisle_smc.ssm.math import normal_logpdf
from aisle_smc.ssm.model import StateSpaceModel


class LocalLevelParams(NamedTuple):
    """Parameters of :func:`LocalLevel`."""

    level_sd: float
    observation_sd: float
    initial_mean: float
    initial_sd: float


def initial(z, p):
    """Draw the first level."""
    return p.initial_mean + p.initial_sd * z


def log_initial(x, p):
    """Return the log-density of the first level."""
    return normal_logpdf(x, p.initial_mean, p.initial_sd)


def transition(z, x, p):
    """Draw the next level."""
    return x + p.level_sd * z


def log_transition(x, x_prev, p):
    """Return the log-density of a move."""
    return normal_logpdf(x, x_prev, p.level_sd)


def log_observation(y, x, p):
    """Return the log-density of an observation."""
    return normal_logpdf(y, x, p.observation_sd)


def observe(rng, x, p):
    """Draw an observation."""
    return rng.normal(x, p.observation_sd)


@njit
def condition(y, mean, sd, noise_sd):
    """Return mean and standard deviation of a normal variable that was observed with noise."""
    gain = sd**2 / (sd**2 + noise_sd**2)
    return mean + gain * (y - mean), sd * sqrt(1.0 - gain)


def initial_proposal(z, y, p):
    """Draw the first level given its observation."""
    mean, sd = condition(y, p.initial_mean, p.initial_sd, p.observation_sd)
    return mean + sd * z


def log_initial_proposal(x, y, p):
    """Return the log-density of ``initial_proposal``."""
    mean, sd = condition(y, p.initial_mean, p.initial_sd, p.observation_sd)
    return normal_logpdf(x, mean, sd)


def proposal(z, x, y, p):
    """Draw the next level given its observation."""
    mean, sd = condition(y, x, p.level_sd, p.observation_sd)
    return mean + sd * z


def log_proposal(x, x_prev, y, p):
    """Return the log-density of ``proposal``."""
    mean, sd = condition(y, x_prev, p.level_sd, p.observation_sd)
    return normal_logpdf(x, mean, sd)


def log_lookahead(y, x, p):
    """Return the log-density of the next observation given the level of today."""
    return normal_logpdf(y, x, sqrt(p.level_sd**2 + p.observation_sd**2))


def LocalLevel(
    *,
    scale: float = 1.0,
    initial_mean: float = 0.0,
    initial_sd: float = 10.0,
    prior: Mapping[str, Any] | None = None,
) -> StateSpaceModel:
    r"""Return the local level model.

    .. math::
        x_0 \sim N(m_0, s_0^2), \qquad x_t = x_{t-1} + N(0, \tau^2), \qquad
        y_t = x_t + N(0, \sigma^2)

    with :math:`\tau` = ``level_sd`` and :math:`\sigma` = ``observation_sd``.

    Parameters
    ----------
    scale : float
        A rough size of the changes in the series: scale of both half-Cauchy priors.
    initial_mean, initial_sd : float
        Where the first level may lie; parameters of the model, constants of its prior.
    prior : mapping, optional
        Replaces single entries of the default prior.

    Returns
    -------
    StateSpaceModel
        With the optimal proposal and the exact look-ahead: the auxiliary guided filter draws from
        :math:`p(x_t \mid x_{t-1}, y_t)` and weighs by :math:`p(y_t \mid x_{t-1})`.

    Notes
    -----
    The half-Cauchy prior for standard deviations is Gelman's (2006): flat near zero, and so
    heavy-tailed that a `scale` wrong by a factor of ten does little harm.

    References
    ----------
    Durbin and Koopman (2012), Time Series Analysis by State Space Methods, chapter 2.
    Gelman (2006), Prior distributions for variance parameters in hierarchical models.

    Examples
    --------
    >>> model = LocalLevel(scale=100.0, initial_mean=1000.0, initial_sd=300.0)
    >>> print(model.prior)
    level_sd ~ halfcauchy(scale=100)
    observation_sd ~ halfcauchy(scale=100)
    initial_mean = 1000
    initial_sd = 300
    """
    from scipy.stats import halfcauchy

    return StateSpaceModel(
        params=LocalLevelParams,
        prior={
            "level_sd": halfcauchy(scale=scale),
            "observation_sd": halfcauchy(scale=scale),
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
        name="local level",
    )
