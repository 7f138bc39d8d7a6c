"""Regression of one coordinate on others: quadratic mean, log-linear scale, free residual law.

The model of a response y given features u is

    y = m(u) + exp(s(u)) e,

with `m` linear in all features and in selected squares and products, and `s` linear in selected
features and in their even functions ``log(1 + u^2)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aisle_smc.arrays import Floats, Integers
from aisle_smc.distributions.features import Features, products
from aisle_smc.distributions.regression_mean import fit_mean, promising_pairs
from aisle_smc.distributions.regression_scale import (
    ScaleFit,
    constant_scale,
    fit_scale,
    promising_terms,
)

__all__ = ["Regression", "fit_regression"]

# Rounds of adding nonlinear terms, half as many beyond so many features; how many of each kind a
# round may add; and how often one may be tried.
ROUNDS = 8
MANY = 24
TERMS = 6
TRIES = 2
# With fewer effective points the regression is linear.
ENOUGH = 30.0
# How far the log-scales of the fit may be exceeded, in nats.
MARGIN = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Regression:
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
        Slopes of the log-scale in the clipped features and in their even functions.
    scale_low, scale_high : float
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
    scale_low: float
    scale_high: float
    log_scales: Floats
    residuals: Floats

    @property
    def terms(self) -> int:
        """Number of nonlinear terms."""
        slopes = np.count_nonzero(self.scale_linear) + np.count_nonzero(self.scale_even)
        return int(self.pairs.shape[0] + slopes)


def fit_regression(features: Features, y: Floats, w: Floats, size: float) -> Regression:
    """Fit the regression of `y` on features, nonlinear where the points leave no doubt.

    Rounds of adding terms by their score tests alternate with dropping those whose t-statistic
    does not pay for the term and for the search, ``t^2 > log(size) + 2 log(candidates)``.

    Parameters
    ----------
    features : Features
        p features at n points; p may be zero.
    y : ndarray, shape (n,)
        Response, standardised.
    w : ndarray, shape (n,)
        Positive weights with sum one.
    size : float
        Effective number of points.
    """
    u, c = features.plain, features.clipped
    p = u.shape[0]
    pairs: Integers = np.empty((0, 2), dtype=np.int64)
    terms: Integers = np.empty(0, dtype=np.int64)
    pair_bar, term_bar = _threshold(size, p * (p + 1) // 2), _threshold(size, 2 * p)
    # How often each was tried: one that failed beside others may have a second try.
    tried_pairs = TRIES * np.tri(p, k=-1, dtype=np.int64)
    tried_terms = np.zeros(2 * p, dtype=np.int64)
    drifts = False
    mean = fit_mean(u, u[:0], y, w, constant_scale(y, w).values, y, size, drifts=False)
    scale = constant_scale(mean.residuals, w)
    scale = fit_scale(features, terms, mean.residuals, w, size, scale)
    rounds = 0 if size < ENOUGH or p == 0 else ROUNDS if p <= MANY else ROUNDS // 2
    for _ in range(rounds):
        barred_pairs, barred_terms = tried_pairs >= TRIES, tried_terms >= TRIES
        barred_pairs[pairs[:, 0], pairs[:, 1]] = True
        barred_terms[terms] = True
        known = features, mean.residuals, w, scale.values
        new_pairs = promising_pairs(*known, barred_pairs, most=TERMS, threshold=0.5 * pair_bar)
        new_terms = promising_terms(*known, barred_terms, most=TERMS, threshold=0.5 * term_bar)
        if new_pairs.size == 0 and new_terms.size == 0:
            break
        tried_pairs[new_pairs[:, 0], new_pairs[:, 1]] += 1
        tried_terms[new_terms] += 1
        pairs, terms = np.concatenate([pairs, new_pairs]), np.concatenate([terms, new_terms])
        scale = fit_scale(features, terms, mean.residuals, w, size, scale)
        # Reweighting starts from plain least squares: weights by the residuals of a mean without
        # the new terms would be weights against them.
        start = mean.residuals if new_pairs.size == 0 else np.zeros_like(y)
        q = products(u, c, pairs)
        for _ in range(2):
            mean = fit_mean(u, q, y, w, scale.values, start, size, drifts=drifts)
            start = mean.residuals
            scale = fit_scale(features, terms, start, w, size, scale)
        drifts = terms.size > 0
        mean = fit_mean(u, q, y, w, scale.values, start, size, drifts=drifts, threshold=pair_bar)
        scale = fit_scale(features, terms, mean.residuals, w, size, scale, threshold=term_bar)
        pairs, terms = pairs[mean.kept], scale.terms
        drifts = mean.drift != 0.0 and terms.size > 0
    q = products(u, c, pairs)
    for _ in range(2 if pairs.size or terms.size else 1):
        mean = fit_mean(u, q, y, w, scale.values, mean.residuals, size, drifts=drifts)
        scale = fit_scale(features, terms, mean.residuals, w, size, scale)
    # The drift, a multiple of the scale, is left to the law of e.
    fitted = mean.offset + mean.linear @ u + mean.quadratic @ q
    residuals = (y - fitted) * np.exp(-scale.values)
    slopes = _slopes(scale, p)
    return Regression(
        offset=mean.offset,
        linear=mean.linear,
        pairs=pairs,
        quadratic=mean.quadratic,
        log_scale=float(scale.coefficients[0]),
        scale_linear=slopes[:p],
        scale_even=slopes[p:],
        scale_low=float(scale.values.min()) - MARGIN,
        scale_high=float(scale.values.max()) + MARGIN,
        log_scales=scale.values,
        residuals=residuals,
    )


def _slopes(scale: ScaleFit, p: int) -> Floats:
    slopes = np.zeros(2 * p)
    slopes[scale.terms] = scale.coefficients[1:]
    return slopes


def _threshold(size: float, candidates: int) -> float:
    """Return the square of the t-statistic at which a term pays for itself and for the search."""
    return float(np.log(size) + 2.0 * np.log(max(candidates, 1)))
