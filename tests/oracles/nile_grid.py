"""The local-level model of the Nile, and its exact posterior on a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

from aisle_smc.ssm.data import nile
from aisle_smc.ssm.kalman import LinearGaussianSystem, kalman_smoother, log_likelihood
from aisle_smc.ssm.math import normal_logpdf
from aisle_smc.ssm.model import StateSpaceModel

Y = nile().volume


class Params(NamedTuple):
    level: float
    noise: float


def initial(rng):
    return rng.normal(1000.0, 316.22776601683796)


def transition(rng, x, p):
    return rng.normal(x, p.level)


def log_observation(y, x, p):
    return normal_logpdf(y, x, p.noise)


def observe(rng, x, p):
    return rng.normal(x, p.noise)


MODEL = StateSpaceModel(
    params=Params,
    initial=initial,
    transition=transition,
    log_observation=log_observation,
    observe=observe,
    # Asymmetric, and the constant's name comes first: nothing may depend on an order.
    prior={"noise": stats.gamma(4.0, scale=40.0), "level": stats.lognorm(0.8, scale=40.0)},
    name="local level",
)


def system(level: float, noise: float) -> LinearGaussianSystem:
    return LinearGaussianSystem(
        transition_matrix=1.0,
        transition_covariance=level**2,
        observation_matrix=1.0,
        observation_covariance=noise**2,
        initial_mean=1000.0,
        initial_covariance=1e5,
    )


@dataclass(frozen=True)
class Exact:
    """Moments by name (log-parameters), smoothed means, and the log-evidence."""

    mean: dict[str, float]
    sd: dict[str, float]
    state_mean: np.ndarray
    log_evidence: float


def exact(y: np.ndarray = Y, points: int = 41, *, wide: bool = False) -> Exact:
    """Integrate over a grid of the logs; the posterior is smooth and vanishes at the ends."""
    low, high = ((1.0, 10.0), (1000.0, 500.0)) if wide else ((5.0, 70.0), (200.0, 190.0))
    level, noise = (np.linspace(np.log(low[k]), np.log(high[k]), points) for k in range(2))
    log_p = np.array(
        [[log_likelihood(system(np.exp(a), np.exp(b)), y) for b in noise] for a in level]
    )
    prior = MODEL.prior.distributions
    log_p += (prior["level"].logpdf(np.exp(level)) + level)[:, None]
    log_p += prior["noise"].logpdf(np.exp(noise)) + noise
    top = log_p.max()
    mass = np.exp(log_p - top)
    cell = (level[1] - level[0]) * (noise[1] - noise[0])
    p = mass / mass.sum()
    assert max(p[0].sum(), p[-1].sum(), p[:, 0].sum(), p[:, -1].sum()) < 1e-5
    mean = {"level": p.sum(1) @ level, "noise": p.sum(0) @ noise}
    second = {"level": p.sum(1) @ level**2, "noise": p.sum(0) @ noise**2}
    states = np.zeros(y.shape[0])
    for i in range(0, points, 2):
        for j in range(0, points, 2):
            if p[i, j] > 1e-5:
                smoothed = kalman_smoother(system(np.exp(level[i]), np.exp(noise[j])), y)
                states += p[i, j] * smoothed.mean[:, 0]
    return Exact(
        mean=mean,
        sd={name: float(np.sqrt(second[name] - mean[name] ** 2)) for name in mean},
        state_mean=states / p[::2, ::2][p[::2, ::2] > 1e-5].sum(),
        log_evidence=float(top + np.log(mass.sum() * cell)),
    )
