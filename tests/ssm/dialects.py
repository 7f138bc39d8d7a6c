"""Two models, each written in every dialect, for tests that compare them.

Stochastic volatility draws from `rng`; the trend is a NamedTuple state of two components with an
observation of two, takes its noise as `z`, and has every optional function.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from aisle_smc.ssm import PythonModel, StateSpaceModel, VectorModel
from aisle_smc.ssm.math import exp, normal_logpdf

LOG_2PI = math.log(2 * math.pi)


class Volatility(NamedTuple):
    mu: float
    rho: float
    sigma: float


VOLATILITY = Volatility(-1.0, 0.95, 0.3)


def first(rng, p):
    return p.mu + p.sigma / math.sqrt(1 - p.rho**2) * rng.standard_normal()


def following(rng, x, p):
    return p.mu + p.rho * (x - p.mu) + p.sigma * rng.standard_normal()


def log_following(x, x_prev, p):
    return normal_logpdf(x, p.mu + p.rho * (x_prev - p.mu), p.sigma)


def log_return(y, x):
    return normal_logpdf(y, 0.0, exp(0.5 * x))


def draw_return(rng, x):
    return math.exp(0.5 * x) * rng.standard_normal()


VOLATILITY_FUNCTIONS = {
    "params": Volatility,
    "initial": first,
    "transition": following,
    "log_observation": log_return,
    "log_transition": log_following,
    "observe": draw_return,
}

volatility = StateSpaceModel(**VOLATILITY_FUNCTIONS)
python_volatility = PythonModel(**VOLATILITY_FUNCTIONS)


def vector_volatility(xp, own, **options):
    """The same over arrays of the module `xp`; `own` turns NumPy's into them."""
    return VectorModel(
        params=Volatility,
        initial=lambda rng, n, p: (
            p.mu + p.sigma / math.sqrt(1 - p.rho**2) * own(rng.standard_normal(n))
        ),
        transition=lambda rng, x, p: (
            p.mu + p.rho * (x - p.mu) + p.sigma * own(rng.standard_normal(len(x)))
        ),
        log_observation=lambda y, x: -0.5 * (y * xp.exp(-0.5 * x)) ** 2 - 0.5 * (x + LOG_2PI),
        log_transition=lambda x, x_prev, p: (
            -0.5 * ((x - p.mu - p.rho * (x_prev - p.mu)) / p.sigma) ** 2
            - (math.log(p.sigma) + 0.5 * LOG_2PI)
        ),
        observe=lambda rng, x: xp.exp(0.5 * x) * own(rng.standard_normal(len(x))),
        **options,
    )


numpy_volatility = vector_volatility(np, np.asarray)


class Trend(NamedTuple):
    level_sd: float
    slope_sd: float
    noise: float


class Line(NamedTuple):
    level: float
    slope: float


class Two(NamedTuple):
    near: float
    far: float


TREND = Trend(0.5, 0.3, 0.8)


def _gaussian(x, mean, sd):
    """The log-density of a normal, written once for numbers and arrays alike."""
    return -0.5 * ((x - mean) / sd) ** 2 - (math.log(sd) + 0.5 * LOG_2PI)


@lru_cache
def trend(kind, **options):
    """The trend in the dialect of `kind`; per-particle and whole-population functions are alike.

    Every function is arithmetic on numbers or arrays, so one text serves all dialects.
    """
    gaussian = _gaussian
    if kind is StateSpaceModel:
        import numba

        gaussian = numba.njit(_gaussian)

    def initial(z, p):
        return Line(z.level, 0.1 + p.slope_sd * z.slope)

    def transition(z, x, p):
        return Line(x.level + x.slope + p.level_sd * z.level, 0.9 * x.slope + p.slope_sd * z.slope)

    def log_transition(x, x_prev, p):
        return gaussian(x.level, x_prev.level + x_prev.slope, p.level_sd) + gaussian(
            x.slope, 0.9 * x_prev.slope, p.slope_sd
        )

    def log_observation(y, x, p):
        return (
            gaussian(y.near, x.level, p.noise),
            gaussian(y.far, x.level + 5.0 * x.slope, 2.0 * p.noise),
        )

    # The proposal leans towards the first component of the observation.
    def proposal(z, x, y, p):
        ahead = 0.7 * (x.level + x.slope) + 0.3 * y.near
        return Line(ahead + p.level_sd * z.level, 0.9 * x.slope + 1.2 * p.slope_sd * z.slope)

    def log_proposal(x, x_prev, y, p):
        ahead = 0.7 * (x_prev.level + x_prev.slope) + 0.3 * y.near
        return gaussian(x.level, ahead, p.level_sd) + gaussian(
            x.slope, 0.9 * x_prev.slope, 1.2 * p.slope_sd
        )

    def log_lookahead(y, x, p):
        return gaussian(y.near, x.level + x.slope, p.noise + p.level_sd)

    def observe(rng, x, p):
        return Two(rng.normal(x.level, p.noise), rng.normal(x.level + 5 * x.slope, 2 * p.noise))

    return kind(
        params=Trend,
        state=Line,
        observation=Two,
        initial=initial,
        transition=transition,
        log_transition=log_transition,
        log_observation=log_observation,
        proposal=proposal,
        log_proposal=log_proposal,
        log_lookahead=log_lookahead,
        observe=observe,
        **options,
    )


def trend_series(length=25):
    """A series of pairs without missing first components while anything is observed."""
    rng = np.random.default_rng(8)
    y = np.cumsum(rng.normal(0.1, 0.5, (length, 2)), axis=0)
    y[3, 1] = np.nan
    y[7] = np.nan
    return y
