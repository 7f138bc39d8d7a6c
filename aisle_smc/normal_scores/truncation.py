"""Truncated normal on (a, b): maps to the signed distance to the nearer end, as in `intervals`.

Away from the ends, ``Phi(x) = q Phi(a) + p Phi(b)`` is solved in logs, in the tail that is the
smaller.  Near an end that equation has no digits left for ``d = x - a``; there the mass
``p (Phi(b) - Phi(a)) = r phi(a)`` is inverted by its series (Abramowitz and Stegun 26.2.5 turned
around; Steinbrecher and Shaw 2008 for the quantile):

    d = r + a r^2/2 + (2a^2+1) r^3/6 + (6a^3+7a) r^4/24 + (24a^4+46a^2+7) r^5/120 + ...
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special as sp

from aisle_smc.normal_scores.tails import LOG_ROOT_2PI, Array

_SERIES = 1e-3  # r max(1, |a|) below which five terms of the series leave 1e-15


def log_mass(low: Any, high: Any) -> Any:
    """Return ``log(Phi(high) - Phi(low))`` for ``low < high``."""
    flip = low > 0.0
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    larger = sp.log_ndtr(high)
    return larger + np.log1p(-np.exp(sp.log_ndtr(low) - larger))


def _solve(end: Array, log_share: Array, log_total: Array, distance: Array) -> Any:
    """Replace distances from a lower end by their series where that is the more accurate."""
    r = np.exp(log_share + log_total + 0.5 * end * end + LOG_ROOT_2PI)
    e = end * end
    series = end * (24.0 * e + 46.0) * end + 7.0
    series = (6.0 * e + 7.0) * end / 24.0 + r * series / 120.0
    series = r * (1.0 + r * (0.5 * end + r * ((2.0 * e + 1.0) / 6.0 + r * series)))
    return np.where(r * np.maximum(1.0, np.abs(end)) < _SERIES, series, distance)


def _log_share(end: Array, distance: Array, log_direct: Array) -> Any:
    """Return log of the mass within a distance of a lower end, by the series where it is near."""
    d, e = distance, end * end
    series = (e - 6.0) * e + 3.0
    series = (e - 1.0) / 6.0 - d * ((e - 3.0) * end / 24.0 - d * series / 120.0)
    series = 1.0 - d * (0.5 * end - d * series)
    near = d * np.maximum(1.0, np.abs(end)) < _SERIES
    log_near = np.log(d) - 0.5 * e - LOG_ROOT_2PI + np.log(np.where(near, series, 1.0))
    return np.where(near, log_near, log_direct)


def truncnorm(z: Array, a: Array, b: Array) -> Any:
    """Return the signed distance from the nearer of `a` and `b`."""
    log_p, log_q, log_total = sp.log_ndtr(z), sp.log_ndtr(-z), log_mass(a, b)
    below = np.logaddexp(log_q + sp.log_ndtr(a), log_p + sp.log_ndtr(b))
    above = np.logaddexp(log_q + sp.log_ndtr(-a), log_p + sp.log_ndtr(-b))
    x = np.where(below < above, sp.ndtri_exp(below), -sp.ndtri_exp(above))
    low = _solve(a, log_p, log_total, x - a)
    high = _solve(-b, log_q, log_total, b - x)
    return np.where(low <= high, low, -high)


def truncnorm_inverse(s: Array, a: Array, b: Array) -> Any:
    """Invert `truncnorm`."""
    upper = np.signbit(s)
    size = np.abs(s)
    x = np.where(upper, b, a) + s
    log_total = log_mass(a, b)
    log_p = _log_share(a, np.where(upper, np.inf, size), log_mass(a, x))
    log_q = _log_share(-b, np.where(upper, size, np.inf), log_mass(x, b))
    low, high = np.minimum(log_p - log_total, 0.0), np.minimum(log_q - log_total, 0.0)
    return np.where(low < high, sp.ndtri_exp(low), -sp.ndtri_exp(high))


def truncnorm_slope(z: Array, s: Array, a: Array, b: Array) -> Any:
    """Return ``phi(z) / f(x)``, the ratio formed in logs."""
    x = np.where(np.signbit(s), b, a) + s
    return np.exp(0.5 * (x - z) * (x + z) + log_mass(a, b))
