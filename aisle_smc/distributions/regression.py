"""Regression of one coordinate on earlier ones: quadratic mean, log-linear scale.

The model of a response given features is

    y = m(u) + exp(s(u)) e,

with `m` linear in all features and in selected squares and products, and `s` linear in selected
features and in ``log(1 + u^2)``.  Both are fitted by maximum likelihood of a Student-t law for
`e`, which bounds the influence of any point.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from aisle_smc.arrays import Floats, Integers

Flags: TypeAlias = npt.NDArray[np.bool_]

__all__ = ["Row", "even", "fit_row", "products", "quadratic_terms"]

# Degrees of freedom of the working law of the residuals.
NU = 5.0
# Rounds of adding terms, and how many of each kind a round may add.
ROUNDS = 8
TERMS = 6
TRIES = 2
# How far the fitted log-scales may be exceeded, in nats.
MARGIN = 0.5
# Residuals below this share of the typical one say nothing more about the scale.
TINY = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """A fitted regression.

    Attributes
    ----------
    offset : float
        Constant of the mean.
    linear : ndarray, shape (p,)
        Slopes of the mean.
    pairs : ndarray of int, shape (m, 2)
        Which features the quadratic terms multiply.
    quadratic : ndarray, shape (m,)
        Their coefficients.
    log_scale : float
        Constant of the log-scale.
    scale_linear, scale_even : ndarray, shape (p,)
        Slopes of the log-scale in the clipped features and in their `even` functions.
    low, high : float
        Bounds of the log-scale.
    log_scales, residuals : ndarray, shape (n,)
        ``s`` and ``e`` at the points of the fit.
    """

    offset: float
    linear: Floats
    pairs: Integers
    quadratic: Floats
    log_scale: float
    scale_linear: Floats
    scale_even: Floats
    low: float
    high: float
    log_scales: Floats
    residuals: Floats

    @property
    def terms(self) -> int:
        """Number of nonlinear terms."""
        slopes = np.count_nonzero(self.scale_linear) + np.count_nonzero(self.scale_even)
        return int(self.pairs.shape[0] + slopes)


def even(c: Floats) -> Floats:
    """Return ``log(1 + c^2)``: in a log-scale it makes the scale a power of a distant feature."""
    return np.asarray(np.log1p(c**2))


def products(u: Floats, c: Floats, pairs: Integers) -> Floats:
    """Return the quadratic features of `pairs`, shape (m, n).

    The product of two features where both are inside their bounds; outside it goes on as the
    tangent plane does, ``u_a c_b + u_b c_a - c_a c_b`` with the clipped features `c`.
    """
    a, b = pairs[:, 0], pairs[:, 1]
    return np.asarray(u[a] * c[b] + (u[b] - c[b]) * c[a])


def fit_row(u: Floats, c: Floats, h: Floats, y: Floats, w: Floats, size: float) -> Row:
    """Fit the regression of `y` on earlier coordinates.

    Parameters
    ----------
    u : ndarray, shape (p, n)
        Features, standardised.
    c : ndarray, shape (p, n)
        The same, clipped to their bounds.
    h : ndarray, shape (p, n)
        Their :func:`even` functions.
    y : ndarray, shape (n,)
        Response, standardised.
    w : ndarray, shape (n,)
        Positive weights with sum one.
    size : float
        Effective number of points.
    """
    p = u.shape[0]
    pairs: Integers = np.empty((0, 2), dtype=np.int64)
    terms: Integers = np.empty(0, dtype=np.int64)
    # How often each term was tried; one that failed beside others may have a second try.
    tried_pairs = 2 * np.tri(p, k=-1, dtype=np.int64)
    tried_terms = np.zeros(2 * p, dtype=np.int64)
    scale = ScaleFit.constant(y - _middle(y, w), w)
    drifts = False
    most = int(min(size / 10.0, 40.0 + 2.0 * p))
    mean = fit_mean(u, u[:0], y, w, scale, y - _middle(y, w), size, drifts=False)
    scale = fit_scale(c, h, terms, mean.residuals, w, size, scale)
    for _ in range(ROUNDS if p and size > 30.0 else 0):
        barred_pairs, barred_terms = tried_pairs >= TRIES, tried_terms >= TRIES
        barred_pairs[pairs[:, 0], pairs[:, 1]] = True
        barred_terms[terms] = True
        new_pairs = _promising_pairs(c, mean, w, scale.values, barred_pairs, size)
        new_terms = _promising_terms(c, h, mean.residuals, w, scale.values, barred_terms, size)
        if new_pairs.size == 0 and new_terms.size == 0:
            break
        pairs = np.concatenate([pairs, new_pairs])[:most]
        terms = np.concatenate([terms, new_terms])
        tried_pairs[new_pairs[:, 0], new_pairs[:, 1]] += 1
        tried_terms[new_terms] += 1
        scale = fit_scale(c, h, terms, mean.residuals, w, size, scale)
        # Reweighting starts from plain least squares: weights by the residuals of a mean without
        # the new terms would be weights against them.
        start = mean.residuals if new_pairs.size == 0 else np.zeros_like(y)
        for _ in range(2):
            mean = fit_mean(u, products(u, c, pairs), y, w, scale, start, size, drifts=drifts)
            start = mean.residuals
            scale = fit_scale(c, h, terms, start, w, size, scale)
        mean = fit_mean(
            u,
            products(u, c, pairs),
            y,
            w,
            scale,
            start,
            size,
            drifts=terms.size > 0,
            threshold=_threshold(size, p * (p + 1) // 2),
        )
        pairs, drifts = pairs[mean.kept], mean.drift != 0.0
        scale = fit_scale(
            c, h, terms, mean.residuals, w, size, scale, threshold=_threshold(size, 2 * p)
        )
        terms = scale.terms
        drifts = drifts and terms.size > 0
    for _ in range(2 if pairs.size or terms.size else 1):
        mean = fit_mean(u, products(u, c, pairs), y, w, scale, mean.residuals, size, drifts=drifts)
        scale = fit_scale(c, h, terms, mean.residuals, w, size, scale)
    slopes = np.zeros(2 * p)
    slopes[terms] = scale.coefficients[1:]
    low, high = float(scale.values.min()) - MARGIN, float(scale.values.max()) + MARGIN
    fitted = mean.offset + mean.linear @ u + mean.quadratic @ products(u, c, pairs)
    return Row(
        offset=mean.offset,
        linear=mean.linear,
        pairs=pairs,
        quadratic=mean.quadratic,
        log_scale=float(scale.coefficients[0]),
        scale_linear=slopes[:p],
        scale_even=slopes[p:],
        low=low,
        high=high,
        log_scales=scale.values,
        residuals=(y - fitted) * np.exp(-scale.values),
    )


def _middle(y: Floats, w: Floats) -> float:
    order = np.argsort(y, kind="stable")
    return float(y[order][np.searchsorted(np.cumsum(w[order]), 0.5)])


def _threshold(size: float, candidates: int) -> float:
    """Return the square of the t-statistic at which a term pays for itself and for the search."""
    return float(np.log(size) + 2.0 * np.log(max(candidates, 1)))


# --- the mean ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeanFit:
    """A fit of the mean.

    `drift` is the coefficient of the scale itself in the mean: where e is not centred, the mean
    moves with the scale.  It is left to the law of e.  `kept` says which quadratic features
    survived.
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
    scale: ScaleFit,
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
    y, w : ndarray, shape (n,)
        Response and weights.
    scale : ScaleFit
        The scale of the residuals.
    start : ndarray, shape (n,)
        Residuals so far, which say how far each point is trusted; zeros for plain least squares.
    size : float
        Effective number of points.
    drifts : bool
        Whether the scale is a feature of the mean.
    threshold : float
        Quadratic features, and the drift, are dropped when their squared t-statistic (by the
        sandwich formula) is less: the drift first, then the worst half of them at a time.
    """
    p, m, n = u.shape[0], q.shape[0], y.size
    precision = np.exp(-2.0 * scale.values)
    d = w * precision * (NU + 1.0) / (NU + start**2 * precision)
    drifting = [np.exp(scale.values - scale.values.mean())[None, :]] if drifts else []
    x = np.concatenate([np.ones((1, n)), u, q, *drifting])
    weighted = x * d
    gram, right = weighted @ x.T, weighted @ y
    # The constant is projected out; what remains has unit diagonal.
    pull = gram[0, 1:] / gram[0, 0]
    own = gram[1:, 1:] - np.outer(pull, gram[0, 1:])
    unit = 1.0 / np.sqrt(np.maximum(np.diag(own), 1e-12 * np.diag(gram)[1:] + 1e-300))
    own, target = own * np.outer(unit, unit), (right[1:] - pull * right[0]) * unit
    kept = np.ones(x.shape[0] - 1, dtype=bool)
    noise: Floats | None = None
    while True:
        some, inverse = _ridge(own[np.ix_(kept, kept)], target[kept], size)
        beta = np.zeros(kept.size)
        beta[kept] = some * unit[kept]
        offset = float(right[0] / gram[0, 0] - pull @ beta)
        residuals = y - offset - beta @ x[1:]
        if threshold == 0.0 or not kept[p:].any():
            break
        if noise is None:
            trust = (NU + 1.0) / (NU + residuals**2 * precision)
            influence = (x * (w * precision * trust * residuals) ** 2) @ x.T
            # The score falls by less than the weights say, since they fall with the residuals.
            slope = trust * (1.0 - 2.0 * residuals**2 * precision * trust / (NU + 1.0))
            shrink = float(slope @ (w * precision)) / float(trust @ (w * precision))
            project = np.concatenate([-pull[:, None], np.eye(kept.size)], axis=1) * unit[:, None]
            noise = project @ influence @ project.T
        variance = np.diag(inverse @ noise[np.ix_(kept, kept)] @ inverse)
        test = np.full(kept.size, np.inf)
        test[kept] = some**2 * shrink**2 / np.maximum(variance, 1e-300)
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


def _ridge(gram: Floats, right: Floats, size: float) -> tuple[Floats, Floats]:
    """Return ridge coefficients and the inverse matrix, with the ridge of highest evidence."""
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


def _promising_pairs(
    c: Floats, mean: MeanFit, w: Floats, log_scale: Floats, tried: Flags, size: float
) -> Integers:
    """Return the untried products that a score test finds most promising, shape (m, 2)."""
    p = c.shape[0]
    precision = np.exp(-2.0 * log_scale)
    score = w * precision * mean.residuals / (NU + mean.residuals**2 * precision)
    centred = c - (c @ w)[:, None]
    square = centred**2
    test = ((centred * score) @ centred.T) ** 2
    test /= np.maximum((square * score**2) @ square.T, 1e-300)
    test[tried] = 0.0
    best = np.argsort(-test, axis=None, kind="stable")[:TERMS]
    best = best[test.ravel()[best] > 0.5 * _threshold(size, p * (p + 1) // 2)]
    return np.stack(np.unravel_index(best, test.shape), axis=1).astype(np.int64)


# --- the scale -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScaleFit:
    """Log-scales: a constant and terms.

    Terms are numbered, 0 to p - 1 for features and p to 2p - 1 for their even functions.
    """

    terms: Integers
    coefficients: Floats
    values: Floats

    @staticmethod
    def constant(residuals: Floats, w: Floats) -> ScaleFit:
        """Return the scale that does not vary, from the middle of the residuals' sizes."""
        size = np.abs(residuals)
        middle = _middle(size, w) or float(w @ size) or 1.0
        start = np.log(1.48 * middle)
        return ScaleFit(
            terms=np.empty(0, dtype=np.int64),
            coefficients=np.array([start]),
            values=np.full(w.size, start),
        )


def _scale_features(c: Floats, h: Floats, terms: Integers) -> Floats:
    p, n = c.shape
    plain = terms < p
    chosen = np.ones((terms.size + 1, n))
    chosen[1:][plain] = c[terms[plain]]
    chosen[1:][~plain] = h[terms[~plain] - p]
    return chosen


def fit_scale(
    c: Floats,
    h: Floats,
    terms: Integers,
    residuals: Floats,
    w: Floats,
    size: float,
    start: ScaleFit,
    *,
    threshold: float = 0.0,
) -> ScaleFit:
    """Maximise the Student-t likelihood of the residuals over the log-scale, a concave problem."""
    b = np.zeros(terms.size + 1)
    b[0] = start.coefficients[0]
    for i, term in enumerate(start.terms):
        b[1 + np.flatnonzero(terms == term)] = start.coefficients[1 + i]
    g = _scale_features(c, h, terms)
    if terms.size > start.terms.size:
        b = _scale_by_logs(g, b, residuals, w, size)
    while True:
        for _ in range(4):
            rho = residuals**2 * np.exp(-2.0 * (b @ g))
            score = w * ((NU + 1.0) * rho / (NU + rho) - 1.0)
            bend = w * 2.0 * NU * (NU + 1.0) * rho / (NU + rho) ** 2
            # Half the observed and half the expected curvature: never too small.
            ridge = np.eye(b.size) / size
            ridge[0, 0] = 1e-12
            curve = (g * (0.5 * bend + w * NU / (NU + 3.0))) @ g.T + ridge
            step = np.linalg.solve(curve, g @ score - ridge @ b)
            b = b + step / max(1.0, float(np.abs(step @ g).max()))
        if threshold == 0.0 or terms.size == 0:
            break
        inverse = np.linalg.inv((g * bend) @ g.T + ridge)
        variance = np.diag(inverse @ ((g * score**2) @ g.T) @ inverse)[1:]
        test = b[1:] ** 2 / np.maximum(variance, 1e-300)
        weak = np.flatnonzero(test < threshold)
        if weak.size == 0:
            break
        worst = weak[np.argsort(test[weak], kind="stable")[: (weak.size + 1) // 2]]
        keep = np.setdiff1d(np.arange(terms.size), worst)
        b, terms = b[np.concatenate([[0], 1 + keep])], terms[keep]
        g = _scale_features(c, h, terms)
    return ScaleFit(terms=terms, coefficients=b, values=np.asarray(b @ g))


def _scale_by_logs(g: Floats, b: Floats, residuals: Floats, w: Floats, size: float) -> Floats:
    """Return better coefficients by regression of ``log |r|``: no step is too long for it."""
    logs = np.log(np.maximum(np.abs(residuals) * np.exp(-(b @ g)), TINY))
    gram = (g * w) @ g.T + np.eye(b.size) / size
    step = np.linalg.solve(gram, g @ (w * (logs - w @ logs)))
    step[0] -= step @ (g @ w) - 0.0
    return np.asarray(b + step)


def _promising_terms(
    c: Floats,
    h: Floats,
    residuals: Floats,
    w: Floats,
    log_scale: Floats,
    tried: Floats,
    size: float,
) -> Integers:
    """Return the untried terms of the log-scale that a score test finds most promising."""
    p = c.shape[0]
    rho = residuals**2 * np.exp(-2.0 * log_scale)
    score = w * ((NU + 1.0) * rho / (NU + rho) - 1.0)
    test = np.empty(2 * p)
    for half, feature in ((test[:p], c), (test[p:], h)):
        centred = feature - (feature @ w)[:, None]
        half[:] = (centred @ score) ** 2 / np.maximum(centred**2 @ score**2, 1e-300)
    test[tried] = 0.0
    best = np.argsort(-test, kind="stable")[:TERMS]
    return best[test[best] > 0.5 * _threshold(size, 2 * p)]


def quadratic_terms(pairs: list[Integers]) -> Integers:
    """Return all different pairs, shape (m, 2), in increasing order."""
    stacked = np.concatenate([*pairs, np.empty((0, 2), dtype=np.int64)])
    return np.unique(stacked, axis=0).astype(np.int64)
