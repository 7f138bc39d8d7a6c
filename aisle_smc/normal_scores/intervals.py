"""Families on an interval: maps to the signed distance to the nearer end, in units of scale.

A distance `s` is measured from the lower end if positive and from the upper end if negative (the
sign of a zero counts).  It keeps its digits at both ends, where ``1 - x`` has lost them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special as sp

from aisle_smc.normal_scores.tails import LOG_2, Array, density, hazard, signed, tail, unsigned


def uniform(z: Array) -> Any:
    """Return ``x = p``."""
    return signed(z, tail(z))


def uniform_inverse(s: Array) -> Any:
    """Invert `uniform`."""
    return unsigned(s, np.abs(s))


def uniform_slope(z: Array, s: Array) -> Any:
    """Return the derivative of `uniform`."""
    return density(z)


def loguniform(z: Array, a: Array, b: Array) -> Any:
    """Return ``x = a (b / a)^p``."""
    # Both ends are approached as end * (1 -+ small); the nearer one in x is not that in z.
    log_range = np.log(b / a)
    step = log_range * tail(z)
    low = a * np.expm1(np.where(z < 0.0, step, log_range - step))
    high = b * np.expm1(np.where(z < 0.0, step - log_range, -step))
    return np.where(low <= -high, low, high)


def loguniform_inverse(s: Array, a: Array, b: Array) -> Any:
    """Invert `loguniform`."""
    log_range = np.log(b / a)
    low = np.where(s < 0.0, log_range + np.log1p(s / b), np.log1p(s / a)) / log_range
    high = np.where(s < 0.0, -np.log1p(s / b), log_range - np.log1p(s / a)) / log_range
    return np.where(low < high, sp.ndtri(low), -sp.ndtri(high))


def loguniform_slope(z: Array, s: Array, a: Array, b: Array) -> Any:
    """Return the derivative of `loguniform`."""
    return np.where(np.signbit(s), b + s, a + s) * np.log(b / a) * density(z)


def powerlaw(z: Array, a: Array) -> Any:
    """Return ``x = p^(1/a)``."""
    log_x = sp.log_ndtr(z) / a
    return np.where(log_x < -LOG_2, np.exp(log_x), np.expm1(log_x))


def powerlaw_inverse(s: Array, a: Array) -> Any:
    """Invert `powerlaw`."""
    return sp.ndtri_exp(a * np.where(np.signbit(s), np.log1p(s), np.log(s)))


def powerlaw_slope(z: Array, s: Array, a: Array) -> Any:
    """Return the derivative of `powerlaw`."""
    log_x = sp.log_ndtr(z) / a
    return np.exp(log_x) * hazard(-z) / a


def arcsine(z: Array) -> Any:
    """Return ``x = sin^2(pi p / 2)``."""
    return signed(z, np.sin(0.5 * math.pi * tail(z)) ** 2)


def arcsine_inverse(s: Array) -> Any:
    """Invert `arcsine`."""
    return unsigned(s, np.arcsin(np.sqrt(np.abs(s))) * (2.0 / math.pi))


def arcsine_slope(z: Array, s: Array) -> Any:
    """Return the derivative of `arcsine`."""
    return 0.5 * math.pi * density(z) * np.sin(math.pi * tail(z))


def johnsonsb(z: Array, a: Array, b: Array) -> Any:
    """Return ``x = 1 / (1 + exp(-(z - a) / b))``."""
    y = (z - a) / b
    return np.copysign(sp.expit(-np.abs(y)), -y)


def johnsonsb_inverse(s: Array, a: Array, b: Array) -> Any:
    """Invert `johnsonsb`."""
    size = np.abs(s)
    return a + b * np.copysign(np.log1p(-size) - np.log(size), -s)


def johnsonsb_slope(z: Array, s: Array, a: Array, b: Array) -> Any:
    """Return the derivative of `johnsonsb`."""
    y = (z - a) / b
    return sp.expit(y) * sp.expit(-y) / b
