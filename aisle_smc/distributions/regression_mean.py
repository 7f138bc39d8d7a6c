"""The mean of a regression: linear and selected quadratic terms, by reweighted least squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aisle_smc.arrays import Floats, Integers
from aisle_smc.distributions.features import Features, Flags
from aisle_smc.distributions.regression_scale import NU

__all__ = ["MeanFit", "fit_mean", "promising_pairs"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeanFit:
    """A fitted mean.

    Attributes
    ----------
    offset : float
        The constant.
    linear : ndarray, shape (p,)
        Coefficients of the features.
    quadratic : ndarray, shape (m,)
        Coefficients of the quadratic features that were kept.
    drift : float
        Coefficient of the scale: where e is not centred, the mean moves with the scale.
    kept : ndarray of bool
        Which quadratic features were kept.
    residuals : ndarray, shape (n,)
        The response less all of these.
    """

    offset: float
    linear: Floats
    quadratic: Floats
    drift: float
    kept: Flags
    residuals: Floats


def fit_mean(
    u: Floats,
    q: Floats,
    y: Floats,
    w: Floats,
    log_scale: Floats,
    start: Floats,
    size: float,
    *,
    drifts: bool,
    threshold: float = 0.0,
) -> MeanFit:
    """Take one step of reweighted least squares with a ridge chosen by its evidence.

    Parameters
    ----------
    u, q : ndarray, shapes (p, n) and (m, n)
        Linear and quadratic features.
    y, w, log_scale : ndarray, shape (n,)
        Response, weights with sum one, and log-scale of the residuals.
    start : ndarray, shape (n,)
        Residuals so far, which say how far each point is trusted; zeros for plain least squares.
    size : float
        Effective number of points.
    drifts : bool
        Whether the scale itself is a feature.
    threshold : float
        Quadratic features, and the drift, are dropped when their squared t-statistic is less: the
        drift first, then the worst half of them at a time.
    """
    p, m, n = u.shape[0], q.shape[0], y.size
    base = w * np.exp(-2.0 * log_scale)
    precision = base / w
    drifting = [np.exp(log_scale - log_scale.mean())[None, :]] if drifts else []
    x = np.concatenate([np.ones((1, n)), u, q, *drifting])
    weighted = x * (base * _trust(start, precision))
    gram, right = weighted @ x.T, weighted @ y
    # The constant is projected out; what remains has unit diagonal.
    pull = gram[0, 1:] / gram[0, 0]
    own = gram[1:, 1:] - np.outer(pull, gram[0, 1:])
    unit = 1.0 / np.sqrt(np.maximum(np.diag(own), 1e-12 * np.diag(gram)[1:] + 1e-300))
    own, target = own * np.outer(unit, unit), (right[1:] - pull * right[0]) * unit
    project = np.concatenate([-pull[:, None], np.eye(unit.size)], axis=1) * unit[:, None]
    noise: Floats | None = None
    kept = np.ones(unit.size, dtype=bool)
    while True:
        some, inverse = _ridge(own[np.ix_(kept, kept)], target[kept], size)
        beta = np.zeros(kept.size)
        beta[kept] = some * unit[kept]
        offset = float(right[0] / gram[0, 0] - pull @ beta)
        residuals = y - offset - beta @ x[1:]
        if threshold == 0.0 or not kept[p:].any():
            break
        if noise is None:
            trust = _trust(residuals, precision)
            pulls = trust * residuals
            noise = project @ ((x * (base * pulls) ** 2) @ x.T) @ project.T
            typical = float(base @ pulls**2) / float(w @ trust) / size
            # The score falls by less than the weights say, since they fall with the residuals.
            slope = trust * (1.0 - 2.0 * precision * residuals * pulls / (NU + 1.0))
            shrink = float(base @ slope) / float(base @ trust)
        # The sandwich is too small where single points dominate, the model where it is wrong.
        variance = np.maximum(
            np.diag(inverse @ noise[np.ix_(kept, kept)] @ inverse), typical * np.diag(inverse)
        )
        test = np.full(kept.size, np.inf)
        test[kept] = (some * shrink) ** 2 / np.maximum(variance, 1e-300)
        test[:p] = np.inf
        weak = np.flatnonzero(test < threshold)
        if weak.size == 0:
            break
        if weak[-1] == p + m:
            kept[p + m] = False
        else:
            kept[weak[np.argsort(test[weak], kind="stable")[: (weak.size + 1) // 2]]] = False
    return MeanFit(
        offset=offset,
        linear=beta[:p],
        quadratic=beta[p : p + m][kept[p : p + m]],
        drift=float(beta[p + m :].sum()),
        kept=kept[p : p + m],
        residuals=residuals,
    )


def promising_pairs(
    features: Features,
    residuals: Floats,
    w: Floats,
    log_scale: Floats,
    barred: Flags,
    *,
    most: int,
    threshold: float,
) -> Integers:
    """Return the products that a score test finds most promising, shape (k, 2).

    Parameters
    ----------
    features : Features
        p features at n points.
    residuals, w, log_scale : ndarray, shape (n,)
        Residuals, weights and log-scale so far.
    barred : ndarray of bool, shape (p, p)
        Products not to propose.
    most : int
        How many to return at most.
    threshold : float
        What the squared test statistic must exceed.
    """
    precision = np.exp(-2.0 * log_scale)
    score = w * precision * _trust(residuals, precision) * residuals
    centred = features.clipped - (features.clipped @ w)[:, None]
    square = centred**2
    test = ((centred * score) @ centred.T) ** 2
    test /= np.maximum((square * score**2) @ square.T, 1e-300)
    test[barred] = 0.0
    best = np.argsort(-test, axis=None, kind="stable")[:most]
    best = best[test.ravel()[best] > threshold]
    return np.stack(np.unravel_index(best, test.shape), axis=1).astype(np.int64)


def _trust(residuals: Floats, precision: Floats) -> Floats:
    """Return the factors by which a Student-t law weighs points."""
    return np.asarray((NU + 1.0) / (NU + residuals**2 * precision))


def _ridge(gram: Floats, right: Floats, size: float) -> tuple[Floats, Floats]:
    """Return ridge coefficients and the inverse matrix, with the ridge of highest evidence.

    With eigenvalues h of the matrix and rotated right side g, the log-evidence of the ridge r is,
    up to a constant, half the sum of ``log(r / (r + m h)) + (m g)^2 / (m h + r)`` for m points.
    """
    if right.size == 0:
        return right, gram
    h, vectors = np.linalg.eigh(gram)
    h = np.maximum(h, 0.0)
    rotated = vectors.T @ right
    ridges = np.geomspace(1e-4, 10.0 * size, 30)[:, None]
    evidence = np.log(ridges / (ridges + size * h)) + (size * rotated) ** 2 / (size * h + ridges)
    best = float(ridges[np.argmax(evidence.sum(axis=1)), 0]) / size
    inverse = (vectors / (h + best)) @ vectors.T
    return inverse @ right, inverse
