"""Weighted expectation-maximisation for a mixture of Student-t parts, on arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import gammaln, polygamma, psi

from aisle_smc.arrays import Floats
from aisle_smc.distributions.moments import ENOUGH, root_of, shrunk_moments

__all__ = ["Parts", "em", "log_density", "one_part"]

LOWEST_DF = 3.0
HIGHEST_DF = 1000.0
# A weak prior on log df, normal about log 20 with standard deviation 2, in units of one point: it
# only matters where the data say nothing, as for Gaussian points.
TYPICAL_LOG_DF = math.log(20.0)
LOG_DF_PRECISION = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Student-t parts side by side.

    Attributes
    ----------
    weights : ndarray, shape (k,)
        Probabilities.
    location : ndarray, shape (k, d)
        Centres.
    root : ndarray, shape (k, d, d)
        Lower-triangular roots of the scale matrices.
    df : ndarray, shape (k,)
        Degrees of freedom.
    """

    weights: Floats
    location: Floats
    root: Floats
    df: Floats

    @property
    def k(self) -> int:
        """Number of parts."""
        return int(self.weights.size)

    def take(self, kept: Floats) -> Parts:
        """Return the chosen parts, their probabilities scaled to one."""
        w = self.weights[kept]
        return Parts(
            weights=w / w.sum(),
            location=self.location[kept],
            root=self.root[kept],
            df=self.df[kept],
        )


def one_part(x: Floats, w: Floats, df: float = 10.0) -> Parts:
    """Return a single part with the weighted mean and covariance of points."""
    mean, root = shrunk_moments(x, w)
    return Parts(
        weights=np.ones(1),
        location=mean[None, :],
        root=root[None, :, :] * math.sqrt((df - 2.0) / df),
        df=np.full(1, df),
    )


def distances(x: Floats, parts: Parts) -> Floats:
    """Return the squared Mahalanobis distances of points from parts, shape (k, n)."""
    out = np.empty((parts.k, x.shape[0]))
    for k in range(parts.k):
        white = (x - parts.location[k]) @ np.linalg.inv(parts.root[k]).T
        out[k] = np.square(white).sum(axis=1)
    return out


def log_norms(parts: Parts) -> Floats:
    """Return the log of the normalising constant of each part, shape (k,)."""
    df, d = parts.df, parts.location.shape[1]
    log_det = np.log(np.diagonal(parts.root, axis1=1, axis2=2)).sum(axis=1)
    return np.asarray(
        gammaln(0.5 * (df + d)) - gammaln(0.5 * df) - 0.5 * d * np.log(df * math.pi) - log_det
    )


def log_densities(distance: Floats, parts: Parts) -> Floats:
    """Return log (weight times density) of each part at given distances, shape (k, n)."""
    df, d = parts.df[:, None], parts.location.shape[1]
    with np.errstate(divide="ignore"):
        log_weights = np.log(parts.weights)[:, None]
    tails = 0.5 * (df + d) * np.log1p(distance / df)
    return np.asarray(log_weights + log_norms(parts)[:, None] - tails)


def log_sum(log_p: Floats) -> Floats:
    """Return log sum exp over the first axis; -inf where all are."""
    top = log_p.max(axis=0)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(top + np.log(np.exp(log_p - top).sum(axis=0)))


def log_density(x: Floats, parts: Parts) -> Floats:
    """Return the log-density of the mixture at points, shape (n,)."""
    return log_sum(log_densities(distances(x, parts), parts))


def em(x: Floats, w: Floats, parts: Parts, *, steps: int = 50, tolerance: float = 1e-4) -> Parts:
    """Improve parts by expectation-maximisation of the weighted log-likelihood.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        Points, of the order of one in every direction where covariances may be shrunk.
    w : ndarray, shape (n,)
        Positive weights with sum one.
    parts : Parts
        Where to start.
    steps : int
        Iterations at most.
    tolerance : float
        Stop when an iteration raises ``sum w log q`` by less, in nats.

    Returns
    -------
    Parts
        Possibly fewer: a part that has lost its points is dropped.
    """
    before = -math.inf
    for _ in range(steps):
        distance = distances(x, parts)
        log_p = log_densities(distance, parts)
        log_q = log_sum(log_p)
        score = float(w @ log_q)
        if score - before < tolerance:
            break
        before = score
        parts = _maximise(x, w * np.exp(log_p - log_q), distance, parts)
    return parts


def _maximise(x: Floats, c: Floats, distance: Floats, parts: Parts) -> Parts:
    """Return the parts that are best for points shared out as `c`, shape (k, n)."""
    d = x.shape[1]
    total = c.sum(axis=1)
    square = np.square(c).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        count = np.where(square > 0.0, total**2 / square, 0.0)
    alive = (count >= min(2.0, count.max())) & (total > 0.0)
    if not alive.all():
        c, distance, total, count = c[alive], distance[alive], total[alive], count[alive]
        parts = parts.take(alive)
    df = _better_df(c, distance, total, count, parts.df, d)
    u = c * ((df + d)[:, None] / (df[:, None] + distance))
    mass = u.sum(axis=1)
    location = (u @ x) / mass[:, None]
    scatter = np.empty((parts.k, d, d))
    for k in range(parts.k):
        away = x - location[k]
        # Divided by the mass of u and not of c: the same at the maximum, and much sooner there
        # (Kent, Tyler and Vardi 1994; the parameter-expanded step of Liu, Rubin and Wu 1998).
        scatter[k] = (away * u[k][:, None]).T @ away / mass[k]
    return replace(
        parts,
        weights=total / total.sum(),
        location=location,
        root=shrunk_roots(scatter, total, count),
        df=df,
    )


def shrunk_roots(scatter: Floats, total: Floats, count: Floats) -> Floats:
    """Return roots of scatter matrices, those of few points drawn to the shape of them all."""
    k, d = scatter.shape[:2]
    share = np.maximum(0.0, 1.0 - count / (ENOUGH * (d + 1)))
    unit = np.ones(d)
    out = np.empty_like(scatter)
    if (share > 0.0).any():
        within = np.einsum("k,kij->ij", total / total.sum(), scatter) + 1e-8 * np.eye(d)
        inverse = np.linalg.inv(within)
    for j in range(k):
        a = scatter[j]
        if share[j] > 0.0:
            size = (count[j] * float((inverse * a).sum()) / d + 1.0) / (count[j] + 1.0)
            a = (1.0 - share[j]) * a + share[j] * size * within
        out[j] = root_of(a, unit)
    return out


def _better_df(
    c: Floats, distance: Floats, total: Floats, count: Floats, df: Floats, d: int
) -> Floats:
    """Return degrees of freedom after one Newton step in log df on each part's likelihood."""
    ratio = distance / (df[:, None] + distance)
    a = (c * np.log1p(distance / df[:, None])).sum(axis=1) / total
    b = (c * ratio).sum(axis=1) / total
    e = (c * ratio / (df[:, None] + distance)).sum(axis=1) / total
    rise = d / df
    first = psi(0.5 * (df + d)) - psi(0.5 * df) - rise - a + (1.0 + rise) * b
    second = 0.5 * polygamma(1, 0.5 * (df + d)) - 0.5 * polygamma(1, 0.5 * df) + rise / df
    second = second + b / df - rise * b / df - (1.0 + rise) * e
    log_df = np.log(df)
    slope = 0.5 * df * first * count - LOG_DF_PRECISION * (log_df - TYPICAL_LOG_DF)
    bend = 0.5 * df * (df * second + first) * count - LOG_DF_PRECISION
    step = np.where(bend < 0.0, -slope / np.where(bend < 0.0, bend, -1.0), np.sign(slope))
    log_df = log_df + np.clip(step, -0.7, 0.7)
    return np.asarray(np.clip(np.exp(log_df), LOWEST_DF, HIGHEST_DF))
