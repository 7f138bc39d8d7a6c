"""Stochastic volatility: returns whose log-variance wanders."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan, sqrt
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from aisle_smc.ssm.math import exp, log1p, normal_logpdf, student_t_logpdf
from aisle_smc.ssm.model import StateSpaceModel


class VolatilityParams(NamedTuple):
    """Parameters of :func:`StochasticVolatility`."""

    mu: float
    rho: float
    sigma: float


class LeverageParams(NamedTuple):
    """Parameters of :func:`StochasticVolatility` with leverage."""

    mu: float
    rho: float
    sigma: float
    leverage: float


class StudentParams(NamedTuple):
    """Parameters of :func:`StochasticVolatility` with Student-t errors."""

    mu: float
    rho: float
    sigma: float
    df: float


class LeverageStudentParams(NamedTuple):
    """Parameters of :func:`StochasticVolatility` with leverage and Student-t errors."""

    mu: float
    rho: float
    sigma: float
    leverage: float
    df: float


# --- the model ----------------------------------------------------------------------------------


def initial(z, p):
    """Draw the first log-variance from its stationary distribution."""
    return p.mu + p.sigma / sqrt(1.0 - p.rho**2) * z


def log_initial(x, p):
    """Return the log-density of the first log-variance."""
    return normal_logpdf(x, p.mu, p.sigma / sqrt(1.0 - p.rho**2))


def transition(z, x, p):
    """Draw the next log-variance."""
    return p.mu + p.rho * (x - p.mu) + p.sigma * z


def log_transition(x, x_prev, p):
    """Return the log-density of a move."""
    return normal_logpdf(x, p.mu + p.rho * (x_prev - p.mu), p.sigma)


def log_observation(y, x):
    """Return the log-density of a return."""
    return normal_logpdf(y, 0.0, exp(0.5 * x))


def observe(rng, x):
    """Draw a return."""
    return rng.normal(0.0, exp(0.5 * x))


# --- with Student-t errors ----------------------------------------------------------------------


def student_log_observation(y, x, p):
    """Return the log-density of a return."""
    return student_t_logpdf(y, p.df, 0.0, exp(0.5 * x))


def student_observe(rng, x, p):
    """Draw a return."""
    return exp(0.5 * x) * rng.standard_t(p.df)


# --- with leverage ------------------------------------------------------------------------------

FARTHEST = 1000.0


@njit
def respond(x, error, p):
    """Return mean and standard deviation of the next log-variance given the error of today."""
    mean = p.mu + p.rho * (x - p.mu)
    if isnan(error):
        return mean, p.sigma
    # A particle that today's return has ruled out has an enormous error.  Where it sends the
    # log-variance does not matter, as long as the exponential of that is a number.
    mean = min(max(mean + p.sigma * p.leverage * error, -FARTHEST), FARTHEST)
    return mean, p.sigma * sqrt(1.0 - p.leverage**2)


def leverage_transition(z, x, y_prev, p):
    """Draw the next log-variance, which answers to the return of today."""
    mean, sd = respond(x, y_prev * exp(-0.5 * x), p)
    return mean + sd * z


def leverage_log_transition(x, x_prev, y_prev, p):
    """Return the log-density of a move."""
    mean, sd = respond(x_prev, y_prev * exp(-0.5 * x_prev), p)
    return normal_logpdf(x, mean, sd)


@njit
def normal_score(error, df):
    """Turn a Student-t variable into a nearly standard normal one (Wallace 1959, formula B)."""
    size = sqrt(df * log1p(error**2 / df)) * (8.0 * df + 1.0) / (8.0 * df + 3.0)
    return np.copysign(size, error)


def leverage_student_transition(z, x, y_prev, p):
    """Draw the next log-variance, which answers to the normal score of today's error."""
    mean, sd = respond(x, normal_score(y_prev * exp(-0.5 * x), p.df), p)
    return mean + sd * z


def leverage_student_log_transition(x, x_prev, y_prev, p):
    """Return the log-density of a move."""
    mean, sd = respond(x_prev, normal_score(y_prev * exp(-0.5 * x_prev), p.df), p)
    return normal_logpdf(x, mean, sd)


# --- a guided proposal and a look-ahead ---------------------------------------------------------


@njit
def lean(y, mean, sd):
    """Move the mean of the log-variance one Newton step to its mode given the return."""
    curvature = 0.5 * y**2 * exp(-mean)
    slope = curvature - 0.5
    return mean + sd**2 * slope / (1.0 + sd**2 * curvature)


def initial_proposal(z, y, p):
    """Draw the first log-variance with a look at the return."""
    sd = p.sigma / sqrt(1.0 - p.rho**2)
    return lean(y, p.mu, sd) + sd * z


def log_initial_proposal(x, y, p):
    """Return the log-density of ``initial_proposal``."""
    sd = p.sigma / sqrt(1.0 - p.rho**2)
    return normal_logpdf(x, lean(y, p.mu, sd), sd)


def proposal(z, x, y, p):
    """Draw the next log-variance with a look at its return."""
    return lean(y, p.mu + p.rho * (x - p.mu), p.sigma) + p.sigma * z


def log_proposal(x, x_prev, y, p):
    """Return the log-density of ``proposal``."""
    return normal_logpdf(x, lean(y, p.mu + p.rho * (x_prev - p.mu), p.sigma), p.sigma)


def log_lookahead(y, x, p):
    """Return roughly the log-density of the next return given today's log-variance."""
    mean = p.mu + p.rho * (x - p.mu)
    mode = lean(y, mean, p.sigma)
    return normal_logpdf(y, 0.0, exp(0.5 * mode)) - 0.5 * ((mode - mean) / p.sigma) ** 2


# --- the factory --------------------------------------------------------------------------------


def StochasticVolatility(
    *,
    leverage: bool = False,
    student_t: bool = False,
    prior: Mapping[str, Any] | None = None,
) -> StateSpaceModel:
    r"""Return the stochastic-volatility model of returns.

    .. math::
        y_t = e^{x_t / 2} \epsilon_t, \qquad
        x_t = \mu + \rho (x_{t-1} - \mu) + \sigma \eta_t, \qquad
        x_0 \sim N\Bigl(\mu, \frac{\sigma^2}{1 - \rho^2}\Bigr)

    with standard normal errors.

    Parameters
    ----------
    leverage : bool
        Let :math:`\epsilon_t` and the next shock :math:`\eta_{t+1}` have the correlation
        ``leverage``: below zero, volatility rises after a fall.  A missing return says nothing.
    student_t : bool
        Let :math:`\epsilon_t` have a Student-t distribution with ``df`` degrees of freedom (its
        scale, not its standard deviation, is :math:`e^{x_t/2}`).  With leverage the correlation
        is then that of :math:`\eta_{t+1}` with the normal score of :math:`\epsilon_t`, so that
        volatility keeps its normal distribution.
    prior : mapping, optional
        Replaces single entries of the default prior.

    Returns
    -------
    StateSpaceModel
        Without options it also has a guided proposal and a look-ahead.

    Notes
    -----
    Priors: for ``rho`` that of Kim, Shephard and Chib (1998), :math:`(\rho + 1)/2 \sim
    \mathrm{Beta}(20, 1.5)`; for ``mu`` and ``sigma`` those of Kastner and Frühwirth-Schnatter
    (2014), a wide normal and a half-normal, which unlike an inverse gamma does not push sigma away
    from zero; ``leverage`` uniform as in Omori et al. (2007); ``df`` Gamma with mean 20 as in
    Juárez and Steel (2010), but above 2.  They suit returns in per cent.

    Below 2 the degrees of freedom would spoil every series with a few returns of exactly 0: with
    hardly any, the other returns cost a vanishing volatility nothing, at the zeros the density
    grows without bound, and the evidence is infinite (Fernández and Steel, 1999, Multivariate
    Student-t regression models: pitfalls and inference).

    The proposal is the transition moved one Newton step towards the mode given the return, its
    variance unchanged: like the linearisation of Pitt and Shephard (1999, section 3.2) it has
    bounded weights, and a huge return does not throw it too far.

    References
    ----------
    Taylor (1982); Kim, Shephard and Chib (1998), Stochastic volatility: likelihood inference and
    comparison with ARCH models; Harvey and Shephard (1996) and Omori, Chib, Shephard and Nakajima
    (2007) on leverage; Pitt and Shephard (1999), Filtering via simulation.

    Examples
    --------
    >>> StochasticVolatility(leverage=True, student_t=True).parameter_names
    ('mu', 'rho', 'sigma', 'leverage', 'df')
    """
    from scipy.stats import beta, gamma, halfnorm, norm, uniform

    default: dict[str, Any] = {
        "mu": norm(0.0, 10.0),
        "rho": beta(20.0, 1.5, loc=-1.0, scale=2.0),
        "sigma": halfnorm(scale=1.0),
    }
    if leverage:
        default["leverage"] = uniform(-1.0, 2.0)
    if student_t:
        default["df"] = gamma(2.0, loc=2.0, scale=9.0)
    given = default | dict(prior or {})

    if leverage and student_t:
        return StateSpaceModel(
            params=LeverageStudentParams,
            prior=given,
            initial=initial,
            log_initial=log_initial,
            transition=leverage_student_transition,
            log_transition=leverage_student_log_transition,
            log_observation=student_log_observation,
            observe=student_observe,
            name="stochastic volatility with leverage and Student-t errors",
        )
    if leverage:
        return StateSpaceModel(
            params=LeverageParams,
            prior=given,
            initial=initial,
            log_initial=log_initial,
            transition=leverage_transition,
            log_transition=leverage_log_transition,
            log_observation=log_observation,
            observe=observe,
            name="stochastic volatility with leverage",
        )
    if student_t:
        return StateSpaceModel(
            params=StudentParams,
            prior=given,
            initial=initial,
            log_initial=log_initial,
            transition=transition,
            log_transition=log_transition,
            log_observation=student_log_observation,
            observe=student_observe,
            name="stochastic volatility with Student-t errors",
        )
    return StateSpaceModel(
        params=VolatilityParams,
        prior=given,
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
        name="stochastic volatility",
    )
