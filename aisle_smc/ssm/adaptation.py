"""Proposals for Markov chains on the real line: a random walk and an independent mixture.

Both are frozen values in unconstrained coordinates; adapting one returns another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.distributions import Gaussian, Mixture, StudentT

__all__ = ["RandomWalk", "fit_mixture", "reliable", "root_of_draws"]

WIDE = 3.0
EM_STEPS = 30


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
    upper: Floats = np.linalg.qr(root.T).R
    signs = np.where(np.diag(upper) < 0.0, -1.0, 1.0)
    return np.ascontiguousarray((upper * signs[:, None]).T)


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


def fit_mixture(z: Floats, floor: Floats) -> Mixture:
    """Fit two Student-t distributions to draws, and add a wide third one for safety.

    Parameters
    ----------
    z : ndarray, shape (m, d)
        Correlated draws.
    floor : ndarray, shape (d,)
        Standard deviations to fall back on where the draws are too few or all alike.

    Returns
    -------
    Mixture
        Heavier in the tails than the draws: the scale matrices are covariances.

    Notes
    -----
    Expectation-maximisation for two normal distributions, whose covariances are drawn towards
    that of all draws.  Two parts instead of one took the efficiency of importance sampling on a
    stochastic-volatility posterior, skewed with heavy tails, from 0.4 to 0.65; three gained no
    more.  The wide part, a tenth of the mass, bounds the weights where the tails were not visited.
    """
    m, d = z.shape
    centre = z.mean(axis=0)
    covariance = (z - centre).T @ (z - centre) / m
    # Neighbouring draws of a chain are mostly copies: about one in ten counts.
    share = m / (m + 10.0 * (d + 1))
    pooled = share * covariance + (1.0 - share) * 1e-2 * np.diag(floor**2)
    root = np.linalg.cholesky(pooled)
    wide = StudentT(location=centre, root=WIDE * root, df=3.0)
    if m < 40 * (d + 1):
        whole = StudentT(location=centre, root=root)
        return Mixture(weights=np.array([0.9, 0.1]), parts=(whole, wide))
    scale = np.sqrt(np.diag(pooled))
    main_axis = np.linalg.eigh(pooled / np.outer(scale, scale))[1][:, -1]
    along = (z - centre) / scale @ main_axis
    first = (along < np.median(along)).astype(np.float64)
    belongs = np.stack([first, 1.0 - first])
    prior = 10.0 * (d + 2)
    for _ in range(EM_STEPS):
        counts = belongs.sum(axis=1)
        weights = (counts + 1.0) / (m + 2.0)
        parts = []
        for b, count in zip(belongs, counts, strict=True):
            mean = (b @ z + centre) / (count + 1.0)
            spread = (z - mean).T @ ((z - mean) * b[:, None])
            spread = (spread + prior * 0.5 ** (1.0 + 2.0 / d) * pooled) / (count + prior)
            parts.append(Gaussian(mean=mean, root=np.linalg.cholesky(spread)))
        log_q = np.stack(
            [np.log(w) + p.log_density(z) for w, p in zip(weights, parts, strict=True)]
        )
        belongs = np.exp(log_q - log_q.max(axis=0))
        belongs /= belongs.sum(axis=0)
    heavier = (StudentT(location=p.mean, root=p.root) for p in parts)
    return Mixture(weights=np.array([*(0.9 * weights), 0.1]), parts=(*heavier, wide))


def root_of_draws(q: Mixture) -> Floats:
    """Return the lower-triangular root of the covariance of the draws that `q` was fitted to."""
    wide = q.parts[-1]
    assert isinstance(wide, StudentT)
    return np.asarray(wide.root / WIDE)
