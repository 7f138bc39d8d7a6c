"""The normal distribution closest to a posterior, from gradients at its own draws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy.linalg import solve_triangular

from aisle_smc.arrays import Floats
from aisle_smc.distributions import Gaussian
from aisle_smc.sampling.bridges import Posterior
from aisle_smc.sampling.scores import Standard
from aisle_smc.sampling.spaces import AffineSpace

__all__ = ["closest"]

# Steps at most, and the gain in nats that is worth one.
STEPS, WORTH = 10, 1.0
# A step leaves at least this share of the precision in every direction.
LEAST = 0.25


def closest(posterior: Posterior, guess: Gaussian, rng: np.random.Generator) -> Gaussian:
    r"""Return the normal distribution that is closest to a posterior, as far as draws tell.

    Of all :math:`q = N(m, \Lambda^{-1})` the one with the least :math:`\mathrm{KL}(q \| p)` has

    .. math:: E_q[\nabla \log p] = 0, \qquad \Lambda = -E_q[\nabla^2 \log p].

    With :math:`x = m + L y`, :math:`L L^T = \Lambda^{-1}` and the residual score
    :math:`r(y) = \nabla_y \log p + y`, which vanishes where p is q, Stein's identity gives the
    change of the precision in units of its present value, and a step of Newton's method

    .. math:: D = -\tfrac12 E[y r^T + r y^T], \qquad
        m \leftarrow m + L (I + D)^{-1} E[r], \qquad
        \Lambda \leftarrow L^{-T} (I + D) L^{-1}.

    Steps are taken while they promise a gain of :math:`\tfrac12 |E r|^2 + \tfrac14 \|D\|^2` nats
    that is worth their gradients.

    Parameters
    ----------
    posterior : Posterior
        The target, with gradients.
    guess : Gaussian
        Where to begin.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    Gaussian
        The best by its bound on the log-evidence, the mean of log p - log q: `guess` itself where
        no step has raised it.

    Notes
    -----
    Each step takes 2 d gradients, as many as a Hessian by central differences.  They come in pairs
    (y, -y): D sees only the odd part of r, and its mean only the even one.  The noise of D from k
    pairs has the squared norm :math:`d E|r_{odd}|^2 / 2k`, and D is shrunk to the share of its
    squared norm that is more than that.

    References
    ----------
    Opper and Archambeau (2009), The variational Gaussian approximation revisited, section 3;
    Khan and Rue (2023), The Bayesian learning rule, section 1.3, for the step; Ledoit and
    Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices, for the
    shrinkage.
    """
    d = guess.dim
    space = AffineSpace(inner=posterior.space, mean=guess.mean, root=guess.root)
    best, bound = space, -math.inf
    for _ in range(STEPS):
        half = rng.standard_normal((d, d))
        y = np.concatenate([half, -half])
        found = replace(posterior, space=space).scored(y)
        value = float((found.log_density - Standard(d).log_density(y)).mean())
        # Where the target vanishes the value is -inf, which is no rise.
        if not value > bound:
            break
        best, bound = space, value
        residual = found.score + y
        shift = residual.mean(axis=0)
        change = _precision_change(half, 0.5 * (residual[:d] - residual[d:]))
        gain = 0.5 * float(np.square(shift).sum()) + 0.25 * float(np.square(change).sum())
        if gain < WORTH:
            break
        space = _stepped(space, shift, change)
    return guess if best.root is guess.root else Gaussian(mean=best.mean, root=best.root)


def _precision_change(y: Floats, odd: Floats) -> Floats:
    """Return D, shape (d, d), from white draws and the odd part of the residual scores there."""
    pairs, d = y.shape
    change = y.T @ odd / pairs
    change = -0.5 * (change + change.T)
    size = float(np.square(change).sum())
    noise = 0.5 * d * float(np.square(odd).sum()) / pairs**2
    share = max(1.0 - noise / size, 0.0) if size > 0.0 else 0.0
    return np.asarray(share * change)


def _stepped(space: AffineSpace, shift: Floats, change: Floats) -> AffineSpace:
    """Take one step of Newton's method, or of less where a precision would hardly be positive."""
    d = shift.size
    share = 1.0
    while True:
        precision = share * change
        precision.flat[:: d + 1] += 1.0
        try:
            np.linalg.cholesky(precision - LEAST * np.eye(d))
            break
        except np.linalg.LinAlgError:
            share *= 0.5
    # precision = U U^T with U upper, so that U^-T is the lower root of its inverse.
    upper = np.linalg.cholesky(precision[::-1, ::-1])[::-1, ::-1]
    white = solve_triangular(upper, np.eye(d), trans=1, lower=False, check_finite=False)
    move = white @ (white.T @ shift)
    return replace(space, mean=space.mean + space.root @ move, root=np.tril(space.root @ white))
