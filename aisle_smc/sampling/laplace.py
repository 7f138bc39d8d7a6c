"""A first guess from gradients: the modes of a posterior and its curvature there."""

from __future__ import annotations

import math

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.distributions import Gaussian, Mixture, StudentT
from aisle_smc.sampling.bridges import Posterior

__all__ = ["MANY", "laplace", "modes"]

APART = 3.0
# Dimensions from which on the approximation is one normal distribution.
MANY = 100


def modes(posterior: Posterior, starts: Floats, *, steps: int = 500) -> Floats:
    """Climb to the modes of a posterior from several starts.

    Parameters
    ----------
    posterior : Posterior
        The target, with gradients.
    starts : ndarray, shape (m, d)
        Where to begin.
    steps : int
        Iterations of each climb, at most.

    Returns
    -------
    ndarray, shape (k, d)
        Where the climbs ended, those without a finite density left out; the highest first.

    Notes
    -----
    L-BFGS (Liu and Nocedal, 1989), by SciPy.
    """
    from scipy.optimize import minimize

    ends: list[tuple[float, Floats]] = []

    def height(z: Floats) -> tuple[float, Floats]:
        row = z[None, :]
        found = posterior.scored(row)
        total = float(found.log_density[0])
        if not math.isfinite(total):
            return 1e300, np.zeros_like(z)
        return -total, -found.score[0]

    for start in starts:
        found = minimize(
            height, start, jac=True, method="L-BFGS-B", options={"maxiter": steps, "maxcor": 20}
        )
        if found.fun < 1e300 and np.isfinite(found.x).all():
            ends.append((float(found.fun), np.asarray(found.x)))
    ends.sort(key=lambda end: end[0])
    return np.array([z for _, z in ends]).reshape(-1, starts.shape[1])


def curvature(posterior: Posterior, mode: Floats) -> Floats:
    """Return minus the Hessian of the log-posterior, shape (d, d), from its gradients."""
    d = mode.size
    h = 1e-4 * np.maximum(np.abs(mode), 1.0)
    z = np.concatenate([mode + np.diag(h), mode - np.diag(h)])
    slope = posterior.scored(z).score
    hessian = (slope[:d] - slope[d:]) / (2.0 * h)[:, None]
    return np.asarray(-0.5 * (hessian + hessian.T))


def laplace(posterior: Posterior, starts: Floats) -> Mixture | Gaussian | None:
    """Return normal approximations at the modes, widened, or None where there are none.

    Parameters
    ----------
    posterior : Posterior
        The target, with gradients.
    starts : ndarray, shape (m, d)
        Where the climbs begin.

    Returns
    -------
    Mixture, Gaussian or None
        One part a mode, by its approximate mass.  In up to 100 dimensions the parts are Student-t
        distributions, whose tails outweigh the posterior's; in more of them even those tails are
        too far out to be of use, and a single normal distribution is returned.

    References
    ----------
    Tierney and Kadane (1986).
    """
    parts: list[tuple[float, Floats, Floats]] = []
    for mode in modes(posterior, starts):
        if any(_near(mode, centre, root) for _, centre, root in parts):
            continue
        root = _root(curvature(posterior, mode))
        if root is None:
            continue
        height = float(posterior.log_density(mode[None, :])[0])
        log_mass = height + float(np.log(np.diag(root)).sum())
        parts.append((log_mass, mode, root))
    if not parts:
        return None
    d = starts.shape[1]
    if d > MANY:
        _, mode, root = parts[0]
        return Gaussian(mean=mode, root=root)
    masses = np.array([mass for mass, _, _ in parts])
    weights = np.exp(masses - masses.max())
    # A mode that the masses rule out may have been measured badly.
    weights = np.maximum(weights / weights.sum(), 0.02)
    df = float(max(10, d))
    students = tuple(StudentT(location=mode, root=root, df=df) for _, mode, root in parts)
    return Mixture(weights=weights / weights.sum(), parts=students)


def _near(a: Floats, b: Floats, root: Floats) -> bool:
    """Say whether two modes are one, in units of the spread around the second."""
    white = np.linalg.solve(root, a - b)
    return float(np.sqrt(np.mean(np.square(white)))) < APART / math.sqrt(a.size)


def _root(precision: Floats) -> Floats | None:
    """Return the lower root of the inverse of a curvature, mended where it is not a minimum."""
    if not np.isfinite(precision).all():
        return None
    values, vectors = np.linalg.eigh(precision)
    if not values[-1] > 0.0:
        return None
    values = np.maximum(values, 1e-6 * values[-1])
    covariance = (vectors / values) @ vectors.T
    try:
        return np.asarray(np.linalg.cholesky(covariance))
    except np.linalg.LinAlgError:
        return None
