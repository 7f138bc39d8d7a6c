"""Proposals for Markov chains on the real line: a random walk and an independent Student-t.

Both are frozen values in unconstrained coordinates; adapting one returns another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import gammaln

from aisle_smc.arrays import Floats

__all__ = ["RandomWalk", "StudentT", "fit_student_t", "reliable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomWalk:
    """A Gaussian random walk ``z + root @ noise`` that learns from its acceptance.

    Attributes
    ----------
    root : ndarray, shape (d, d)
        Lower-triangular root of the covariance of a step.
    target : float
        Acceptance to steer for.
    steps : int
        How often it has learnt.

    Notes
    -----
    The best acceptance of a random walk whose density carries noise is lower than the usual 0.234:
    0.07 in many dimensions, about 0.15 for a few parameters with a log-density of standard
    deviation 1.

    References
    ----------
    Vihola (2012), Robust adaptive Metropolis algorithm with coerced acceptance rate, equation 1.
    Sherlock, Thiery, Roberts and Rosenthal (2015), On the efficiency of pseudo-marginal random
    walk Metropolis algorithms, corollary 1.
    """

    root: Floats
    target: float = 0.15
    steps: int = 0

    def propose(self, z: Floats, noise: Floats) -> Floats:
        """Return the end of a step from `z`."""
        return np.asarray(z + self.root @ noise)

    def learn(self, noise: Floats, acceptance: float) -> RandomWalk:
        """Return the walk with its shape and size changed along the step just tried.

        The new covariance is ``root (I + a noise noise' / |noise|^2) root'`` with
        ``a = min(1, d / steps^(2/3)) (acceptance - target)``.
        """
        d = noise.size
        gain = min(1.0, d * (self.steps + 1) ** (-2.0 / 3.0)) * (acceptance - self.target)
        # The symmetric root of I + a v v' for a unit vector v needs no factorisation.
        direction = noise / math.sqrt(float(noise @ noise))
        change = math.sqrt(max(1.0 + gain, 0.05)) - 1.0
        step = self.root + change * np.outer(self.root @ direction, direction)
        return replace(self, root=_lower(step), steps=self.steps + 1)

    def rescale(self, acceptance: float) -> RandomWalk:
        """Return the walk with its size alone changed, by a step that dies out."""
        gain = 1.5 * (self.steps + 1) ** (-0.6) * (acceptance - self.target) / self.target
        factor = math.exp(min(max(gain, -0.5), 0.5))
        return replace(self, root=self.root * factor, steps=self.steps + 1)


def _lower(root: Floats) -> Floats:
    """Return the lower-triangular root of ``root root'``."""
    upper = np.linalg.qr(root.T, mode="r")
    signs = np.where(np.diag(upper) < 0.0, -1.0, 1.0)
    return np.ascontiguousarray((upper * signs[:, None]).T)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentT:
    """A multivariate Student-t distribution, heavier in the tails than what it was fitted to.

    Attributes
    ----------
    location : ndarray, shape (d,)
        The centre.
    root : ndarray, shape (d, d)
        Lower-triangular root of the scale matrix.
    df : float
        Degrees of freedom.
    """

    location: Floats
    root: Floats
    df: float = 5.0
    _inverse: Floats = field(init=False, repr=False)
    _log_norm: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        d, df = self.location.size, self.df
        object.__setattr__(self, "_inverse", np.linalg.inv(self.root))
        log_norm = gammaln(0.5 * (df + d)) - gammaln(0.5 * df) - 0.5 * d * math.log(df * math.pi)
        log_norm -= float(np.log(np.abs(np.diag(self.root))).sum())
        object.__setattr__(self, "_log_norm", float(log_norm))

    def sample(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw `n` points, shape (n, d)."""
        mixing = np.sqrt(0.5 * self.df / rng.standard_gamma(0.5 * self.df, size=n))
        noise = rng.standard_normal((n, self.location.size))
        return np.asarray(self.location + (noise * mixing[:, None]) @ self.root.T)

    def log_density(self, z: Floats) -> Floats:
        """Return the log-density in nats of points of shape (..., d)."""
        white = (z - self.location) @ self._inverse.T
        distance = np.square(white).sum(axis=-1) / self.df
        d = self.location.size
        return np.asarray(self._log_norm - 0.5 * (self.df + d) * np.log1p(distance))


def reliable(z: Floats, log_density: Floats) -> Floats:
    """Return those draws of several chains that come from where the mass is.

    Parameters
    ----------
    z : ndarray, shape (chains, draws, d)
        Draws of chains that may not have converged.
    log_density : ndarray, shape (chains, draws)
        Log-density estimates there, in nats.

    Returns
    -------
    ndarray, shape (m, d)
        The draws not further below the best chain's median than a draw from a common posterior
        can be (a margin of ``15 + 2 d`` nats).
    """
    best = float(np.median(log_density, axis=1).max())
    return np.asarray(z[log_density > best - 15.0 - 2.0 * z.shape[-1]])


def fit_student_t(z: Floats, floor: Floats) -> StudentT:
    """Fit the moments of draws, with a little of `floor` where the draws are few.

    Parameters
    ----------
    z : ndarray, shape (m, d)
        Correlated draws.
    floor : ndarray, shape (d,)
        Standard deviations to fall back on.

    Returns
    -------
    StudentT
        Its scale matrix is the draws' covariance, so its own covariance is 5/3 of that.
    """
    m, d = z.shape
    covariance = np.atleast_2d(np.cov(z.T, bias=True)) if m > 1 else np.zeros((d, d))
    # Neighbouring draws of a chain are mostly copies: about one in ten counts.
    share = m / (m + 10.0 * (d + 1))
    spread = share * covariance + (1.0 - share) * 1e-2 * np.diag(floor**2)
    return StudentT(location=z.mean(axis=0), root=np.linalg.cholesky(spread))
