"""The log-scale of a regression: linear in selected features, by Student-t likelihood."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aisle_smc.arrays import Floats, Integers
from aisle_smc.distributions.features import Features, Flags

__all__ = ["NU", "ScaleFit", "constant_scale", "fit_scale", "promising_terms"]

# Degrees of freedom of the working law of the residuals.
NU = 5.0
# Residuals below this share of the typical one say nothing more about the scale.
TINY = 1e-3
# Log-scales are this far from zero at most.
LARGE = 30.0
STEPS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScaleFit:
    """A fitted log-scale: a constant and terms.

    Attributes
    ----------
    terms : ndarray of int, shape (k,)
        The terms: from 0 to p - 1 the clipped features, from p to 2 p - 1 their even functions.
    coefficients : ndarray, shape (k + 1,)
        The constant, then the coefficients of the terms.
    values : ndarray, shape (n,)
        The log-scale at the points, in nats.
    """

    terms: Integers
    coefficients: Floats
    values: Floats


def constant_scale(residuals: Floats, w: Floats) -> ScaleFit:
    """Return a scale that does not vary, from the middle of the sizes of the residuals."""
    size = np.abs(residuals)
    order = np.argsort(size, kind="stable")
    middle = float(size[order][np.searchsorted(np.cumsum(w[order]), 0.5 * w.sum())])
    start = np.log(1.4826 * (middle or float(w @ size) or 1.0))
    return ScaleFit(
        terms=np.empty(0, dtype=np.int64),
        coefficients=np.array([start]),
        values=np.full(w.size, start),
    )


def fit_scale(
    features: Features,
    terms: Integers,
    residuals: Floats,
    w: Floats,
    size: float,
    start: ScaleFit,
    *,
    threshold: float = 0.0,
) -> ScaleFit:
    r"""Maximise a Student-t likelihood over the log-scale.

    .. math::
        \sum_i w_i \Bigl( -s_i - \frac{\nu + 1}{2} \log(1 + r_i^2 e^{-2 s_i} / \nu) \Bigr),

    which is concave in the coefficients of s.

    Parameters
    ----------
    features : Features
        p features at n points.
    terms : ndarray of int, shape (k,)
        Terms of the log-scale.
    residuals, w : ndarray, shape (n,)
        Residuals of the mean, and weights with sum one.
    size : float
        Effective number of points.
    start : ScaleFit
        Where to start; it may have other terms.
    threshold : float
        Terms whose squared t-statistic is less are dropped, the worst half of them at a time.
    """
    b = np.zeros(terms.size + 1)
    b[0] = start.coefficients[0]
    for term, coefficient in zip(start.terms, start.coefficients[1:], strict=True):
        b[1 + np.flatnonzero(terms == term)] = coefficient
    g = _columns(features, terms)
    if terms.size > start.terms.size:
        b = _by_logs(g, b, residuals, w, size)
    while True:
        # A hair of shrinkage, which keeps the systems regular.
        ridge = np.eye(b.size) / size
        ridge[0, 0] = 1e-12
        for _ in range(STEPS):
            score, bend = _derivatives(residuals, b @ g, w)
            # Half the observed and half the expected curvature: never too small.
            curve = (g * (0.5 * bend + w * NU / (NU + 3.0))) @ g.T + ridge
            step = np.linalg.solve(curve, g @ score - ridge @ b)
            b = b + step / max(1.0, float(np.abs(step @ g).max()))
        if threshold == 0.0 or terms.size == 0:
            break
        inverse = np.linalg.inv((g * bend) @ g.T + ridge)
        typical = float((score**2 / w).sum()) / float(bend.sum()) / size
        sandwich = inverse @ ((g * score**2) @ g.T) @ inverse
        variance = np.maximum(np.diag(sandwich), typical * np.diag(inverse))[1:]
        test = b[1:] ** 2 / np.maximum(variance, 1e-300)
        weak = np.flatnonzero(test < threshold)
        if weak.size == 0:
            break
        worst = weak[np.argsort(test[weak], kind="stable")[: (weak.size + 1) // 2]]
        kept = np.setdiff1d(np.arange(terms.size), worst)
        b, terms = b[np.append(0, 1 + kept)], terms[kept]
        g = _columns(features, terms)
    return ScaleFit(terms=terms, coefficients=b, values=np.clip(b @ g, -LARGE, LARGE))


def promising_terms(
    features: Features,
    residuals: Floats,
    w: Floats,
    log_scale: Floats,
    barred: Flags,
    *,
    most: int,
    threshold: float,
) -> Integers:
    """Return the terms that a score test finds most promising.

    Parameters
    ----------
    features : Features
        p features at n points.
    residuals, w, log_scale : ndarray, shape (n,)
        Residuals, weights and the log-scale so far.
    barred : ndarray of bool, shape (2 p,)
        Terms not to propose.
    most : int
        How many terms to return at most.
    threshold : float
        What the squared test statistic must exceed.
    """
    p = features.plain.shape[0]
    score, _ = _derivatives(residuals, log_scale, w)
    test = np.empty(2 * p)
    for half, feature in ((test[:p], features.clipped), (test[p:], features.even)):
        centred = feature - (feature @ w)[:, None]
        half[:] = (centred @ score) ** 2 / np.maximum(centred**2 @ score**2, 1e-300)
    test[barred] = 0.0
    best = np.argsort(-test, kind="stable")[:most]
    return best[test[best] > threshold]


def _columns(features: Features, terms: Integers) -> Floats:
    """Return a row of ones and a row for each term, shape (k + 1, n)."""
    p, n = features.plain.shape
    plain = terms < p
    out = np.ones((terms.size + 1, n))
    out[1:][plain] = features.clipped[terms[plain]]
    out[1:][~plain] = features.even[terms[~plain] - p]
    return out


def _derivatives(residuals: Floats, log_scale: Floats, w: Floats) -> tuple[Floats, Floats]:
    """Return the first derivative of each term of the likelihood, and minus the second."""
    rho = residuals**2 * np.exp(-2.0 * np.clip(log_scale, -LARGE, LARGE))
    share = rho / (NU + rho)
    return w * ((NU + 1.0) * share - 1.0), w * 2.0 * (NU + 1.0) * share * (1.0 - share)


def _by_logs(g: Floats, b: Floats, residuals: Floats, w: Floats, size: float) -> Floats:
    """Return better slopes by regression of ``log |r|``, for which no step is too long."""
    values = np.clip(b @ g, -LARGE, LARGE)
    logs = np.log(np.maximum(np.abs(residuals) * np.exp(-values), TINY))
    gram = (g * w) @ g.T + np.eye(b.size) / size
    step = np.linalg.solve(gram, g @ (w * (logs - w @ logs)))
    step[0] -= step @ (g @ w)
    return np.asarray(b + step)
