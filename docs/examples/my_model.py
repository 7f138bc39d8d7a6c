"""A model to start from: a growth rate that wanders, seen through counts.

To look it over: ``aisle check --model docs/examples/my_model.py:model``; to fit it:
``aisle fit --model docs/examples/my_model.py:model --data my.csv --column count``.
"""

from __future__ import annotations

from typing import NamedTuple

from numpy.random import Generator
from scipy.stats import gamma, halfnorm

from aisle_smc.ssm import StateSpaceModel
from aisle_smc.ssm.math import exp, negative_binomial_logpmf


class Params(NamedTuple):
    """What is to be estimated."""

    wander: float
    dispersion: float


class State(NamedTuple):
    """What is hidden: the log of the expected count, and its rate of growth."""

    log_mean: float
    growth: float


def initial(rng: Generator) -> State:
    """Draw the state at the first observation."""
    return State(rng.normal(3.0, 1.0), rng.normal(0.0, 0.1))


def transition(rng: Generator, x: State, p: Params) -> State:
    """Draw the next state."""
    return State(x.log_mean + x.growth, rng.normal(0.8 * x.growth, p.wander))


def log_observation(y: float, x: State, p: Params) -> float:
    """Return the log-probability of a count."""
    return negative_binomial_logpmf(y, exp(x.log_mean), p.dispersion)


def observe(rng: Generator, x: State, p: Params) -> float:
    """Draw a count."""
    return float(rng.poisson(rng.gamma(p.dispersion, exp(x.log_mean) / p.dispersion)))


model = StateSpaceModel(
    params=Params,
    state=State,
    initial=initial,
    transition=transition,
    log_observation=log_observation,
    observe=observe,
    prior={"wander": halfnorm(scale=0.1), "dispersion": gamma(4.0, scale=5.0)},
    name="wandering growth",
)
