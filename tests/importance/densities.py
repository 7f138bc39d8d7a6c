"""Skewed densities with known mass, and what tests of estimators share."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import log_ndtr

from aisle_smc.targets import evaluator

LOG_2_PI = math.log(2.0 * math.pi)


def skewed(x):
    """Return the log of 3 times a skew-normal density on the line."""
    z = (x[:, 0] - 0.4) / 1.3
    return math.log(3.0 / 1.3) - 0.5 * z**2 - 0.5 * LOG_2_PI + math.log(2.0) + log_ndtr(2.6 * z)


def gaussian(x, mean, covariance):
    away = np.linalg.solve(np.linalg.cholesky(covariance), (x - mean).T)
    _, log_det = np.linalg.slogdet(covariance)
    return -0.5 * np.square(away).sum(axis=0) - 0.5 * log_det - 0.5 * x.shape[1] * LOG_2_PI


LEFT = np.array([-2.5, 1.0]), np.array([[1.0, 0.7], [0.7, 1.5]])
RIGHT = np.array([2.5, -1.0]), np.array([[0.6, -0.3], [-0.3, 0.4]])


def bimodal(x):
    """Return the log of 5 times a mixture of two different Gaussians in the plane."""
    left, right = gaussian(x, *LEFT), gaussian(x, *RIGHT)
    return math.log(5.0) + np.logaddexp(math.log(0.3) + left, math.log(0.7) + right)


BIMODAL_MEAN = 0.3 * LEFT[0] + 0.7 * RIGHT[0]


def banana(x):
    """Return an unnormalised log-density on a bent ridge; its mass is pi."""
    return -0.5 * x[:, 0] ** 2 - 2.0 * (x[:, 1] - 0.5 * x[:, 0] ** 2) ** 2


def banana_gradient(x):
    away = x[:, 1] - 0.5 * x[:, 0] ** 2
    return np.stack([-x[:, 0] + 4.0 * away * x[:, 0], -4.0 * away], axis=1)


def half_line(x):
    """Return a gamma density of shape 3 times 2; -inf on the other half."""
    with np.errstate(invalid="ignore", divide="ignore"):
        value = 2.0 * np.log(x[:, 0]) - x[:, 0]
    return np.where(x[:, 0] > 0.0, value, -np.inf)


def evaluate(function, dim):
    """Return the evaluator of a vectorised function, as the one-call functions make it."""
    probe = np.random.default_rng(0).normal(size=(4, dim)) + 1.0
    return evaluator(function, [f"x{j}" for j in range(dim)], probe, vectorized=True)


def score(values, truth):
    """Return how many standard errors the mean of independent replicates is off."""
    values = np.asarray(values, dtype=float)
    return (values.mean() - truth) / (values.std(ddof=1) / math.sqrt(values.size))
