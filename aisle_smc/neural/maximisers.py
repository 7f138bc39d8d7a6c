"""Proposals of the highest weighted likelihood, by formula or by expectation-maximisation.

Points are rows; weights are positive with sum one.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

from aisle_smc.arrays import Floats
from aisle_smc.distributions.moments import (
    effective_count,
    shrunk_moments,
    tempered,
    weighted_moments,
    whiten,
)

__all__ = ["fit_bernoulli", "fit_categorical", "fit_gaussian", "fit_mixture", "fit_student"]

STEPS = 200
TOLERANCE = 1e-9
HIGHEST_DF = 200.0


def fit_gaussian(z: Floats, w: Floats, *, full: bool) -> tuple[Floats, Floats]:
    """Return the mean (d,) and a root (d, d) of the covariance, diagonal unless `full`.

    Notes
    -----
    With too few effective points, weights are tempered, and a full covariance is drawn towards
    its diagonal.
    """
    if full:
        return shrunk_moments(z, w)
    mean, covariance = weighted_moments(z, tempered(w, 2.0))
    return mean, np.diag(np.sqrt(np.maximum(np.diag(covariance), 0.0)))


def fit_student(
    z: Floats, w: Floats, df: float | None, *, full: bool, least_df: float
) -> tuple[Floats, Floats, float]:
    r"""Return centre (d,), root (d, d) and degrees of freedom of a Student-t distribution.

    Weighted expectation-maximisation: each point counts :math:`(\nu + d) / (\nu + \delta)` times,
    with :math:`\delta` its squared distance from the centre.

    References
    ----------
    Liu and Rubin (1995), ML estimation of the t distribution using EM and its extensions, ECM and
    ECME; Kent, Tyler and Vardi (1994), A curious likelihood identity: the faster step.
    """
    d = z.shape[1]
    centre, root = fit_gaussian(z, w, full=full)
    root = root + np.diag(np.where(np.diag(root) > 0.0, 0.0, 1.0))
    nu, before = 5.0 if df is None else df, -math.inf
    for _ in range(STEPS):
        distance = np.square(whiten(z, centre, root)).sum(axis=1)
        if df is None:
            nu = _best_df(distance, w, d, least_df)
        score = _student_score(nu, distance, w, d) - np.log(np.diag(root)).sum()
        if score - before < TOLERANCE:
            break
        before = score
        counts = w * (nu + d) / (nu + distance)
        centre, moved = fit_gaussian(z, counts / counts.sum(), full=full)
        root = moved + np.diag(np.where(np.diag(moved) > 0.0, 0.0, np.diag(root)))
    return centre, root, float(nu)


def _student_score(nu: float, distance: Floats, w: Floats, d: int) -> float:
    """Return the weighted log-likelihood, up to what does not depend on `nu` and distances."""
    constant = gammaln(0.5 * (nu + d)) - gammaln(0.5 * nu) - 0.5 * d * math.log(nu)
    return float(constant - 0.5 * (nu + d) * (w @ np.log1p(distance / nu)))


def _best_df(distance: Floats, w: Floats, d: int, least: float) -> float:
    found = minimize_scalar(
        lambda log_nu: -_student_score(math.exp(log_nu), distance, w, d),
        bounds=(math.log(least + 1e-2), math.log(HIGHEST_DF)),
        method="bounded",
    )
    return math.exp(found.x)


def fit_mixture(
    z: Floats, w: Floats, present: tuple[Floats, Floats, Floats]
) -> tuple[Floats, Floats, Floats]:
    """Return shares (C,), centres (C, d) and scales (C, d) of a mixture of diagonal Gaussians.

    From the present parts, and from centres at points drawn by weight: the likelier result.

    Notes
    -----
    Every part is given one effective point of its own beside those that it has, as wide as all
    points together: none vanishes or shrinks onto a single point.
    """
    w = tempered(w, 2.0)
    mean, covariance = weighted_moments(z, w)
    variance = np.diag(covariance)
    wide = np.sqrt(np.where(variance > 0.0, variance, 1.0))
    parts = present[0].size
    chosen = np.random.default_rng(0).choice(z.shape[0], parts, p=w)
    fresh = (np.full(parts, 1.0 / parts), z[chosen], np.tile(wide, (parts, 1)))
    found = [_mixture_em(z, w, start, mean, wide) for start in (present, fresh)]
    return max(found, key=lambda each: each[0])[1]


def _mixture_em(
    z: Floats, w: Floats, start: tuple[Floats, Floats, Floats], mean: Floats, wide: Floats
) -> tuple[float, tuple[Floats, Floats, Floats]]:
    """Return the weighted log-likelihood and the mixture."""
    shares, centres, scales = start
    extra = 1.0 / effective_count(w)
    before = -math.inf
    # Standardised, so that far points and large numbers neither overflow nor cancel.
    u = (z - mean) / wide
    centres, scales = (centres - mean) / wide, scales / wide
    for _ in range(STEPS):
        e = (u[:, None, :] - centres) / scales
        log_p = np.log(shares) - 0.5 * np.square(e).sum(axis=2) - np.log(scales).sum(axis=1)
        top = log_p.max(axis=1, keepdims=True)
        log_q = top[:, 0] + np.log(np.exp(log_p - top).sum(axis=1))
        score = float(w @ log_q)
        if score - before < TOLERANCE:
            break
        before = score
        share = w[:, None] * np.exp(log_p - log_q[:, None])
        mass = share.sum(axis=0)
        shares = (mass + extra) / (mass + extra).sum()
        centres = np.where(
            mass[:, None] > 0.0, share.T @ u / np.maximum(mass, 1e-300)[:, None], centres
        )
        square = np.einsum("nc,ncd->cd", share, np.square(u[:, None, :] - centres))
        scales = np.sqrt((square + extra) / (mass + extra)[:, None])
    return before, (shares, centres * wide + mean, scales * wide)


def fit_categorical(z: Floats, w: Floats, classes: int) -> Floats:
    """Return the weighted frequencies of each class, shape (d, C).

    Notes
    -----
    One effective point more is shared out evenly, so that nothing becomes impossible.
    """
    extra = 1.0 / effective_count(w)
    seen = np.einsum("n,ndc->dc", w, z[:, :, None] == np.arange(classes))
    return np.asarray((seen + extra / classes) / (seen.sum(axis=1, keepdims=True) + extra))


def fit_bernoulli(z: Floats, w: Floats) -> Floats:
    """Return the weighted frequencies of ones, shape (d,), as :func:`fit_categorical` does."""
    return fit_categorical(z, w, 2)[:, 1]
