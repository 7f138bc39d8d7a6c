"""Regression of one coordinate on earlier ones: quadratic mean, log-linear scale.

The model of a response given features is

    y = m(u) + exp(s(u)) e,

with `m` linear in all features and in selected squares and products, and `s` linear in selected
features and squares.  Both are fitted by maximum likelihood of a Student-t law for `e`, which
bounds the influence of any point; what `e` really is does not matter for consistency of `s`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aisle_smc.arrays import Floats, Integers

__all__ = ["Row", "fit_row", "products", "quadratic_terms"]

# Degrees of freedom of the working law of the residuals.
NU = 5.0
# Rounds of adding terms, and how many of each kind a round may add.
ROUNDS = 8
TERMS = 6
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
    scale_linear, scale_square : ndarray, shape (p,)
        Slopes of the log-scale in the clipped features and in their squares.
    low, high : float
        Bounds of the log-scale.
    residuals : ndarray, shape (n,)
        ``e`` at the points of the fit.
    """

    offset: float
    linear: Floats
    pairs: Integers
    quadratic: Floats
    log_scale: float
    scale_linear: Floats
    scale_square: Floats
    low: float
    high: float
    residuals: Floats


def products(u: Floats, c: Floats, pairs: Integers) -> Floats:
    """Return the quadratic features of `pairs`, shape (m, n).

    The product of two features where both are inside their bounds; outside it goes on as the
    tangent plane does, ``u_a c_b + u_b c_a - c_a c_b`` with the clipped features `c`.
    """
    a, b = pairs[:, 0], pairs[:, 1]
    return np.asarray(u[a] * c[b] + (u[b] - c[b]) * c[a])


def fit_row(u: Floats, c: Floats, y: Floats, w: Floats, size: float) -> Row:
    """Fit the regression of `y` on earlier coordinates.

    Parameters
    ----------
    u : ndarray, shape (p, n)
        Features, standardised.
    c : ndarray, shape (p, n)
        The same, clipped to their bounds.
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
    tried_pairs = np.tri(p, k=-1, dtype=bool)
    tried_terms = np.zeros(2 * p, dtype=bool)
    scale = ScaleFit.constant(y - _middle(y, w), w)
    most = int(min(size / 10.0, 40.0 + 2.0 * p))
    mean = fit_mean(u, np.empty((0, y.size)), y, w, scale.values, y - _middle(y, w), size, 0.0)
    scale = fit_scale(c, terms, mean.residuals, w, size, scale, 0.0)
    for _ in range(ROUNDS if p and size > 30.0 else 0):
        new_pairs = _promising_pairs(c, mean, w, scale.values, tried_pairs, size)
        new_terms = _promising_terms(c, mean.residuals, w, scale.values, tried_terms, size)
        if new_pairs.size == 0 and new_terms.size == 0:
            break
        pairs = np.concatenate([pairs, new_pairs])[:most]
        terms = np.concatenate([terms, new_terms])
        tried_pairs[new_pairs[:, 0], new_pairs[:, 1]] = True
        tried_terms[new_terms] = True
        scale = fit_scale(c, terms, mean.residuals, w, size, scale, 0.0)
        for threshold in (0.0, _threshold(size, p * (p + 1) // 2)):
            mean = fit_mean(
                u, products(u, c, pairs), y, w, scale.values, mean.residuals, size, threshold
            )
            pairs = pairs[mean.kept]
            bar = _threshold(size, 2 * p) if threshold else 0.0
            scale = fit_scale(c, terms, mean.residuals, w, size, scale, bar)
            terms = scale.terms
    for _ in range(2):
        mean = fit_mean(u, products(u, c, pairs), y, w, scale.values, mean.residuals, size, 0.0)
        scale = fit_scale(c, terms, mean.residuals, w, size, scale, 0.0)
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
        scale_square=slopes[p:],
        low=low,
        high=high,
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
    """A weighted least-squares fit; `kept` says which quadratic features survived."""

    offset: float
    linear: Floats
    quadratic: Floats
    kept: Floats
    residuals: Floats


def fit_mean(
    u: Floats,
    q: Floats,
    y: Floats,
    w: Floats,
    log_scale: Floats,
    residuals: Floats,
    size: float,
    threshold: float,
) -> MeanFit:
    """Take one step of reweighted least squares with a ridge chosen by its evidence.

    Quadratic features whose squared t-statistic (by the sandwich formula) is less than `threshold`
    are dropped, the worst half of them at a time.
    """
    p, n = u.shape
    precision = np.exp(-2.0 * log_scale)
    d = w * precision * (NU + 1.0) / (NU + residuals**2 * precision)
    # Where the scale varies, the centre of e moves the mean by a multiple of the scale; that
    # multiple is left to the law of e.
    free = [np.ones(n)]
    spread = np.exp(log_scale)
    if spread.max() > 1.001 * spread.min():
        free.append(spread / spread.mean())
    f = len(free)
    x = np.concatenate([np.stack(free), u, q])
    weighted = x * d
    gram, right = weighted @ x.T, weighted @ y
    # Free columns are projected out; what remains has unit diagonal.
    pull = np.linalg.solve(gram[:f, :f] + 1e-12 * np.eye(f) * gram[0, 0], gram[:f, f:])
    own = gram[f:, f:] - gram[f:, :f] @ pull
    target = right[f:] - pull.T @ right[:f]
    unit = 1.0 / np.sqrt(np.maximum(np.diag(own), 1e-12 * np.diag(gram)[f:] + 1e-300))
    own, target = own * np.outer(unit, unit), target * unit
    noise = None
    if threshold > 0.0 and q.shape[0]:
        influence = (x * (d * residuals) ** 2) @ x.T
        project = np.concatenate([-pull.T, np.eye(x.shape[0] - f)], axis=1) * unit[:, None]
        noise = project @ influence @ project.T
    kept = np.ones(x.shape[0] - f, dtype=bool)
    while True:
        coefficients, inverse = _ridge(own[np.ix_(kept, kept)], target[kept], size)
        if noise is None or not kept[p:].any():
            break
        variance = np.diag(inverse @ noise[np.ix_(kept, kept)] @ inverse)
        score = coefficients**2 / np.maximum(variance, 1e-300)
        score[:p] = np.inf
        weak = np.flatnonzero(score < threshold)
        if weak.size == 0:
            break
        worst = weak[np.argsort(score[weak], kind="stable")[: (weak.size + 1) // 2]]
        kept[np.flatnonzero(kept)[worst]] = False
    beta = np.zeros(x.shape[0] - f)
    beta[kept] = coefficients * unit[kept]
    base = np.linalg.solve(
        gram[:f, :f] + 1e-12 * np.eye(f) * gram[0, 0], right[:f] - gram[:f, f:] @ beta
    )
    fitted = base @ x[:f] + beta @ x[f:]
    return MeanFit(
        offset=float(base[0]),
        linear=beta[:p],
        quadratic=beta[p:][kept[p:]],
        kept=kept[p:],
        residuals=y - fitted,
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
    c: Floats, mean: MeanFit, w: Floats, log_scale: Floats, tried: Floats, size: float
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
    """Log-scales: a constant and terms, numbered 0 to p - 1 (features), p to 2p - 1 (squares)."""

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


def _scale_features(c: Floats, terms: Integers) -> Floats:
    p = c.shape[0]
    chosen = c[terms % p] if terms.size else np.empty((0, c.shape[1]))
    chosen[terms >= p] **= 2
    return np.concatenate([np.ones((1, c.shape[1])), chosen])


def fit_scale(
    c: Floats,
    terms: Integers,
    residuals: Floats,
    w: Floats,
    size: float,
    start: ScaleFit,
    threshold: float,
) -> ScaleFit:
    """Maximise the Student-t likelihood of the residuals over the log-scale, a concave problem."""
    b = np.zeros(terms.size + 1)
    b[0] = start.coefficients[0]
    for i, term in enumerate(start.terms):
        b[1 + np.flatnonzero(terms == term)] = start.coefficients[1 + i]
    g = _scale_features(c, terms)
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
        g = _scale_features(c, terms)
    return ScaleFit(terms=terms, coefficients=b, values=np.asarray(b @ g))


def _scale_by_logs(g: Floats, b: Floats, residuals: Floats, w: Floats, size: float) -> Floats:
    """Return better coefficients by regression of ``log |r|``: no step is too long for it."""
    logs = np.log(np.maximum(np.abs(residuals) * np.exp(-(b @ g)), TINY))
    gram = (g * w) @ g.T + np.eye(b.size) / size
    step = np.linalg.solve(gram, g @ (w * (logs - w @ logs)))
    step[0] -= step @ (g @ w) - 0.0
    return np.asarray(b + step)


def _promising_terms(
    c: Floats, residuals: Floats, w: Floats, log_scale: Floats, tried: Floats, size: float
) -> Integers:
    """Return the untried terms of the log-scale that a score test finds most promising."""
    p = c.shape[0]
    rho = residuals**2 * np.exp(-2.0 * log_scale)
    score = w * ((NU + 1.0) * rho / (NU + rho) - 1.0)
    centred = c - (c @ w)[:, None]
    square = centred**2
    middle = square @ w
    test = np.empty(2 * p)
    test[:p] = (centred @ score) ** 2 / np.maximum(square @ score**2, 1e-300)
    # (q - mean)^2 = q^2 - 2 q mean + mean^2, without another array of that size.
    spread = square**2 @ score**2 - 2.0 * middle * (square @ score**2)
    spread += middle**2 * float(score @ score)
    test[p:] = (square @ score - middle * score.sum()) ** 2 / np.maximum(spread, 1e-300)
    test[tried] = 0.0
    best = np.argsort(-test, kind="stable")[:TERMS]
    return best[test[best] > 0.5 * _threshold(size, 2 * p)]


def quadratic_terms(pairs: list[Integers]) -> Integers:
    """Return all different pairs, shape (m, 2), in increasing order."""
    stacked = np.concatenate([*pairs, np.empty((0, 2), dtype=np.int64)])
    return np.unique(stacked, axis=0).astype(np.int64)
