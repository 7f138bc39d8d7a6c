"""Moments, quantiles and intervals of weighted rows, and what the tail of their weights means.

Weights are positive and sum to one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from aisle_smc.arrays import Floats, Integers
from aisle_smc.summary import Row, Summary

__all__ = [
    "VARIANCE",
    "judge",
    "khat_limit",
    "quantiles",
    "shortest_interval",
    "spread",
    "summarise",
]

COLUMNS = ("mean", "sd", "hdi_3%", "hdi_97%", "mcse_mean", "ess")
HDI = 0.94
# Shape of a tail below which there is a variance.
VARIANCE = 0.5


def spread(
    x: Floats, weights: Floats, mean: Floats, groups: Integers | None = None
) -> tuple[Floats, Floats]:
    """Return standard deviations, ``sqrt(sum W (x - mean)^2)``, and standard errors of the means.

    Parameters
    ----------
    x : ndarray, shape (n, ...)
        Finite.
    weights : ndarray, shape (n,)
        Normalised weights.
    mean : ndarray, shape (...)
        Their weighted mean.
    groups : ndarray of int, shape (n,), optional
        Independent groups that the rows come in; by default each row is independent.

    Returns
    -------
    sd, error : ndarray, shape (...)
        The error is that of importance sampling, ``sqrt(sum W^2 (x - mean)^2)``, or that of a
        ratio of means over G groups, ``sqrt(G / (G - 1) sum_g (sum_g W (x - mean))^2)``; NaN for
        a single group.

    References
    ----------
    Owen (2013), Monte Carlo theory, methods and examples, section 9.2.
    """
    away = x - mean
    scale = np.asarray(np.abs(away).max(axis=0))  # so that no square overflows
    scale[scale == 0.0] = 1.0
    away = away / scale
    sd = scale * np.sqrt(np.tensordot(weights, away**2, axes=1))
    if groups is None:
        return sd, scale * np.sqrt(np.tensordot(weights**2, away**2, axes=1))
    _, place = np.unique(groups, return_inverse=True)
    count = int(place.max()) + 1
    sums = np.zeros((count, *scale.shape))
    np.add.at(sums, place, away * weights.reshape(-1, *[1] * scale.ndim))
    factor = count / (count - 1) if count > 1 else math.nan
    return sd, scale * np.sqrt(factor * np.sum(sums**2, axis=0))


def quantiles(x: Floats, weights: Floats, levels: Floats) -> Floats:
    """Return the quantiles of each column, shape (..., d) for levels of shape (...).

    The k-th smallest value stands at the probability ``W_1 + ... + W_{k-1} + W_k / 2``; between
    values the quantile is linear.
    """
    out = np.empty((*levels.shape, x.shape[1]))
    for j in range(x.shape[1]):
        order = np.argsort(x[:, j], kind="stable")
        ordered = weights[order]
        out[..., j] = np.interp(levels, np.cumsum(ordered) - 0.5 * ordered, x[order, j])
    return out


def shortest_interval(values: Floats, weights: Floats, mass: float) -> tuple[float, float]:
    """Return the ends of the shortest interval between values that holds at least `mass`."""
    order = np.argsort(values, kind="stable")
    ends, total = values[order], np.cumsum(weights[order])
    before = np.concatenate([[0.0], total[:-1]])
    # Rounding must not ask for one value more.
    needed = before + (mass - 1e-12) * total[-1]
    first = needed <= total[-1]
    left = ends[first]
    right = ends[np.searchsorted(total, needed[first])]
    best = int(np.argmin(right - left))
    return float(left[best]), float(right[best])


def summarise(
    names: Sequence[str], x: Floats, weights: Floats, groups: Integers | None = None
) -> Summary:
    """Return the table of weighted columns; see :meth:`WeightedDraws.summary`."""
    mean = weights @ x
    sd, error = spread(x, weights, mean, groups)
    rows = []
    for j, name in enumerate(names):
        low, high = shortest_interval(x[:, j], weights, HDI)
        # A parameter that never varies says nothing: the weights are left.
        ess = (sd[j] / error[j]) ** 2 if error[j] > 0.0 else 1.0 / np.sum(weights**2)
        values = (mean[j], sd[j], low, high, error[j], ess)
        rows.append(Row(name, dict(zip(COLUMNS, map(float, values), strict=True))))
    return Summary(tuple(rows), COLUMNS)


def khat_limit(n: int) -> float:
    """Return the shape of the tail of `n` weights up to which averages over them can be trusted.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling, section
    3.2: the bound grows with the number of draws, up to 0.7.
    """
    return min(1.0 - 1.0 / math.log10(max(n, 11)), 0.7)


def judge(khat: float, n: int) -> str:
    """Say in words what the tail of `n` weights means for averages over them."""
    if khat == -math.inf:
        return "the largest weights are equal: averages can be trusted"
    if khat == math.inf:
        return "too few draws with weight to say whether averages can be trusted; draw more"
    limit = khat_limit(n)
    if khat <= limit:
        return f"Pareto k-hat {khat:.2f}: averages and their errors can be trusted"
    return (
        f"Pareto k-hat {khat:.2f}, above {limit:.2f}: a few draws carry the weight; "
        "trust neither averages nor their errors"
    )
