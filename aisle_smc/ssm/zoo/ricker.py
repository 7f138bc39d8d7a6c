"""The Ricker model: a chaotic population, counted by a Poisson sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from aisle_smc.ssm.math import exp, normal_logpdf, poisson_logpmf
from aisle_smc.ssm.model import StateSpaceModel


class RickerParams(NamedTuple):
    """Parameters of :func:`Ricker`."""

    log_growth: float
    process_sd: float
    sampling: float
    initial_mean: float
    initial_sd: float


def initial(z, p):
    """Draw the first log-density of the population."""
    return p.initial_mean + p.initial_sd * z


def log_initial(x, p):
    """Return the log-density of the first state."""
    return normal_logpdf(x, p.initial_mean, p.initial_sd)


def transition(z, x, p):
    """Draw the log-density of the population one generation later."""
    return p.log_growth + x - exp(x) + p.process_sd * z


def log_transition(x, x_prev, p):
    """Return the log-density of a move."""
    return normal_logpdf(x, p.log_growth + x_prev - exp(x_prev), p.process_sd)


def log_observation(y, x, p):
    """Return the log-probability of a count."""
    return poisson_logpmf(y, p.sampling * exp(x))


def observe(rng, x, p):
    """Draw a count."""
    return rng.poisson(p.sampling * exp(x))


def Ricker(
    *,
    initial_mean: float = 1.0,
    initial_sd: float = 1.0,
    prior: Mapping[str, Any] | None = None,
) -> StateSpaceModel:
    r"""Return the Ricker model of log population density, with Poisson counts.

    .. math::
        x_t = \log r + x_{t-1} - e^{x_{t-1}} + N(0, \sigma^2), \qquad
        y_t \sim \mathrm{Poisson}(\phi\, e^{x_t})

    with :math:`\log r` = ``log_growth``, :math:`\sigma` = ``process_sd`` and :math:`\phi` =
    ``sampling``.

    Parameters
    ----------
    initial_mean, initial_sd : float
        Where the first state may lie; parameters of the model, constants of its prior.
    prior : mapping, optional
        Replaces single entries of the default prior.

    Returns
    -------
    StateSpaceModel

    Notes
    -----
    The deterministic map settles for :math:`\log r < 2`, cycles above and is chaotic from about
    2.69 on (May 1976), where the likelihood of a model with little process noise is so rough that
    it needs many particles.  The prior of ``log_growth``, mean 3 and standard deviation 1, covers
    the three regimes; that of ``process_sd`` has mean 0.4 and vanishes at zero, that of
    ``sampling`` has median 10 within a factor of seven.  Wood's own setting is
    :math:`\log r = 3.8, \sigma = 0.3, \phi = 10`.

    References
    ----------
    Wood (2010), Statistical inference for noisy nonlinear ecological dynamic systems, equation 1.
    May (1976), Simple mathematical models with very complicated dynamics.
    """
    from scipy.stats import gamma, lognorm, norm

    return StateSpaceModel(
        params=RickerParams,
        prior={
            "log_growth": norm(3.0, 1.0),
            "process_sd": gamma(2.0, scale=0.2),
            "sampling": lognorm(1.0, scale=10.0),
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
        name="Ricker",
    )
