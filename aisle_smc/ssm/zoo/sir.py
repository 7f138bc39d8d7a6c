"""The SIR epidemic: binomial infections and recoveries, over-dispersed reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from numba import njit

from aisle_smc.ssm.math import binomial_logpmf, expm1, negative_binomial_logpmf
from aisle_smc.ssm.model import StateSpaceModel


class SIRParams(NamedTuple):
    """Parameters of :func:`SIR`."""

    reproduction: float
    infectious_period: float
    reporting: float
    overdispersion: float
    initial_infected: float
    false_reports: float
    population: float


class SIRState(NamedTuple):
    """Numbers of people; the rest of the population is immune."""

    susceptible: float
    infected: float
    new_cases: float


@njit
def chances(x, p):
    """Return the probabilities to catch the disease and to recover from it within one step."""
    contacts = p.reproduction / p.infectious_period * x.infected / p.population
    return -expm1(-contacts), -expm1(-1.0 / p.infectious_period)


@njit
def step(rng, x, p):
    """Draw the state one step later."""
    infection, recovery = chances(x, p)
    new_cases = rng.binomial(int(x.susceptible), infection)
    recovered = rng.binomial(int(x.infected), recovery)
    return SIRState(
        float(x.susceptible - new_cases),
        float(x.infected + new_cases - recovered),
        float(new_cases),
    )


@njit
def expected_reports(x, p):
    """Return the mean of the reported count."""
    return p.reporting * x.new_cases + p.false_reports


def initial(rng, p):
    """Draw the infected before the first count, and their first step."""
    infected = rng.binomial(int(p.population), p.initial_infected)
    return step(rng, SIRState(p.population - infected, float(infected), 0.0), p)


def transition(rng, x, p):
    """Draw the state one step later."""
    return step(rng, x, p)


def log_transition(x, x_prev, p):
    """Return the log-probability of a move."""
    infection, recovery = chances(x_prev, p)
    infections = x_prev.susceptible - x.susceptible
    recoveries = x_prev.infected + infections - x.infected
    log_p = binomial_logpmf(infections, x_prev.susceptible, infection)
    log_p += binomial_logpmf(recoveries, x_prev.infected, recovery)
    return log_p if x.new_cases == infections else -float("inf")


def log_observation(y, x, p):
    """Return the log-probability of a reported count."""
    return negative_binomial_logpmf(y, expected_reports(x, p), p.overdispersion**-2)


def observe(rng, x, p):
    """Draw a reported count."""
    size = p.overdispersion**-2
    return rng.poisson(rng.gamma(size, expected_reports(x, p) / size))


def SIR(
    population: float = 100_000,
    *,
    infectious_period: float = 5.0,
    prior: Mapping[str, Any] | None = None,
) -> StateSpaceModel:
    r"""Return the stochastic SIR model of counts of new cases.

    In a step every susceptible is infected with probability
    :math:`1 - e^{-(R_0 / D) I / N}` and every infected recovers with probability
    :math:`1 - e^{-1/D}`, all independently; of the new cases C

    .. math::
        y_t \sim \mathrm{NegativeBinomial}(\text{mean } m = \rho C_t + \epsilon,
        \text{variance } m + \psi^2 m^2)

    are reported, with :math:`R_0` = ``reproduction``, D = ``infectious_period`` in steps,
    :math:`\rho` = ``reporting``, :math:`\psi` = ``overdispersion``.

    Parameters
    ----------
    population : float
        Number of people N, a constant of the prior.
    infectious_period : float
        A rough guess of D, in steps of the series: median of its prior.
    prior : mapping, optional
        Replaces single entries of the default prior.

    Returns
    -------
    StateSpaceModel
        Its state holds ``susceptible``, ``infected`` and the ``new_cases`` of the last step.

    Notes
    -----
    The priors are of the size that outbreaks of directly transmitted diseases have shown:
    ``reproduction`` with median 2, within a factor of 2.7; ``infectious_period`` within a factor
    of 1.6 of the guess, because counts alone say little about it; ``reporting`` uniform;
    ``overdispersion`` half-normal, which allows the Poisson limit; the share ``initial_infected``
    small, with mean 0.005.  The constant ``false_reports`` :math:`\epsilon = 0.1` keeps a count
    above zero possible where no case occurred.  Everybody starts susceptible or infected: where
    part of the population is immune, `population` is the part that is not.

    References
    ----------
    Bretó, He, Ionides and King (2009), Time series analysis via mechanistic models, section 4.
    He, Ionides and King (2010), Plug-and-play inference for disease dynamics: measles in large and
    small populations as a case study (the over-dispersion of reports).
    """
    from scipy.stats import beta, halfnorm, lognorm, uniform

    return StateSpaceModel(
        params=SIRParams,
        prior={
            "reproduction": lognorm(0.5, scale=2.0),
            "infectious_period": lognorm(0.25, scale=infectious_period),
            "reporting": uniform(0.0, 1.0),
            "overdispersion": halfnorm(scale=0.5),
            "initial_infected": beta(1.0, 200.0),
            "false_reports": 0.1,
            "population": population,
            **(prior or {}),
        },
        state=SIRState,
        initial=initial,
        transition=transition,
        log_transition=log_transition,
        log_observation=log_observation,
        observe=observe,
        name="SIR",
    )
