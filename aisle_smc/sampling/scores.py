"""Gradients of the log-densities of proposals, for moves that follow them."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

from aisle_smc.arrays import Floats
from aisle_smc.distributions import Defensive, Distribution, Gaussian, Mixture, StudentT

__all__ = ["Standard", "score"]


class Standard:
    """The standard normal distribution, without the linear algebra of a general one."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw `n` points, shape (n, d)."""
        return rng.standard_normal((n, self.dim))

    def log_density(self, x: Floats) -> Floats:
        """Return the log-density of each row of `x`, shape (n,)."""
        return np.asarray(-0.5 * (np.einsum("ij,ij->i", x, x) + self.dim * np.log(2.0 * np.pi)))

    def fit(self, x: Floats, weights: Floats) -> Standard:
        """Return itself: there is nothing to fit."""
        return self


def score(distribution: Distribution, x: Floats) -> Floats:
    """Return the gradient of a log-density, shape (n, d).

    Notes
    -----
    Exact for normal and Student-t distributions, their mixtures and defensive ones; by central
    differences for others.
    """
    if isinstance(distribution, Standard):
        return -x
    if isinstance(distribution, Gaussian):
        return -_precision_times(distribution.root, x - distribution.mean)
    if isinstance(distribution, StudentT):
        apart = x - distribution.location
        pulled = _precision_times(distribution.root, apart)
        distance = np.einsum("ij,ij->i", apart, pulled)
        df, d = distribution.df, distribution.dim
        return np.asarray(-pulled * ((df + d) / (df + distance))[:, None])
    if isinstance(distribution, Mixture):
        return _mixed(distribution.parts, np.log(distribution.weights), distribution, x)
    if isinstance(distribution, Defensive):
        parts = distribution.proposal, distribution.safety
        share = distribution.share
        return _mixed(parts, np.log([1.0 - share, share]), distribution, x)
    return _differences(distribution, x)


def _precision_times(root: Floats, apart: Floats) -> Floats:
    white = solve_triangular(root, apart.T, lower=True, check_finite=False)
    return np.asarray(solve_triangular(root, white, lower=True, trans=1, check_finite=False).T)


def _mixed(
    parts: tuple[Distribution, ...], log_share: Floats, whole: Distribution, x: Floats
) -> Floats:
    """Return the scores of the parts, averaged by their responsibilities."""
    log_q = whole.log_density(x)
    total = np.zeros_like(x)
    for part, share in zip(parts, log_share, strict=True):
        responsible = np.exp(share + part.log_density(x) - log_q)
        total += responsible[:, None] * score(part, x)
    return total


def _differences(distribution: Distribution, z: Floats) -> Floats:
    """Return the gradient of a log-density by central differences, shape (n, d)."""
    out = np.empty_like(z)
    for j in range(z.shape[1]):
        h = 1e-5 * np.maximum(np.abs(z[:, j]), 1.0)
        up, down = z.copy(), z.copy()
        up[:, j] += h
        down[:, j] -= h
        with np.errstate(invalid="ignore"):
            rise = distribution.log_density(up) - distribution.log_density(down)
        # At the edge of the support, and outside of it, there is no slope to follow.
        out[:, j] = np.where(np.isfinite(rise), rise, 0.0) / (2.0 * h)
    return out
