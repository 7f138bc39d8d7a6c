"""What every proposal must satisfy: its density integrates to one, and is that of its draws."""

from __future__ import annotations

import math

import numpy as np

from aisle_smc.distributions import Gaussian, StudentT

REPLICATES = 40


def root(d, seed=0):
    """Return an asymmetric lower-triangular root with a determinant far from one."""
    rng = np.random.default_rng([seed, d])
    return np.tril(rng.normal(size=(d, d)), -1) + np.diag(rng.uniform(1.5, 3.0, d))


def gaussian(d, seed=0):
    centre = np.random.default_rng([seed, d, 1]).normal(size=d)
    return Gaussian(mean=centre, root=root(d, seed))


def student(d, df=5.0, seed=0):
    centre = np.random.default_rng([seed, d, 1]).normal(size=d)
    return StudentT(location=centre, root=root(d, seed), df=df)


def score(values, truth):
    """Return how many standard errors the mean of independent replicates is off."""
    values = np.asarray(values)
    return (values.mean() - truth) / (values.std(ddof=1) / math.sqrt(values.size))


def mass_score(q, n=100, seed=0):
    """Score the integral of q's density, estimated with draws from a wide Student-t.

    The wide one has the covariance of draws from q for its scale matrix and two degrees of
    freedom, so that the ratios are bounded.
    """
    rng = np.random.default_rng(seed)
    draws = q.sample(4000, rng)
    spread = np.linalg.cholesky(np.atleast_2d(np.cov(draws.T)))
    wide = StudentT(location=draws.mean(axis=0), root=spread, df=2.0)
    found = []
    for _ in range(REPLICATES):
        y = wide.sample(n, rng)
        found.append(np.exp(q.log_density(y) - wide.log_density(y)).mean())
    return score(found, 1.0)


def partner_score(q, n=100, seed=0):
    """Score E_q[g / q] = 1 for a narrow density g about a point that q reaches."""
    rng = np.random.default_rng([seed, 1])
    draws = q.sample(4000, rng)
    spread = 0.5 * np.linalg.cholesky(np.atleast_2d(np.cov(draws.T)))
    g = Gaussian(mean=np.median(draws, axis=0) + spread[:, 0] / 3.0, root=spread)
    found = []
    for _ in range(REPLICATES):
        y = q.sample(n, rng)
        found.append(np.exp(g.log_density(y) - q.log_density(y)).mean())
    return score(found, 1.0)


class Skewed:
    """A wrong copy of a distribution: its log-density is off, or its draws are stretched."""

    def __init__(self, q, *, shift=0.0, stretch=1.0):
        self.q, self.shift, self.stretch, self.dim = q, shift, stretch, q.dim

    def sample(self, n, rng):
        return self.stretch * self.q.sample(n, rng)

    def log_density(self, x):
        return self.q.log_density(x) + self.shift
