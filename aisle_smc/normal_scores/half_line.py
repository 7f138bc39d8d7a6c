"""Families on a half-line: x(z), z(x) and dx/dz of the member with loc 0 and scale 1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special as sp

from aisle_smc.normal_scores.tails import (
    ROOT_HALF,
    Array,
    exponential,
    from_exponential,
    hazard,
    tail,
)
from aisle_smc.normal_scores.whole_line import (
    cauchy_slope,
    logistic,
    logistic_inverse,
    logistic_slope,
)


def lognorm(z: Array, s: Array) -> Any:
    """Return ``x = exp(s z)``."""
    return np.exp(s * z)


def lognorm_inverse(x: Array, s: Array) -> Any:
    """Invert `lognorm`."""
    return np.log(x) / s


def lognorm_slope(z: Array, x: Array, s: Array) -> Any:
    """Return the derivative of `lognorm`."""
    return s * x


def expon(z: Array) -> Any:
    """Return ``x = -log q``."""
    return exponential(z)


def expon_inverse(x: Array) -> Any:
    """Invert `expon`."""
    return from_exponential(x)


def expon_slope(z: Array, x: Array) -> Any:
    """Return the derivative of `expon`."""
    return hazard(z)


def weibull_min(z: Array, c: Array) -> Any:
    """Return ``x = (-log q)^(1/c)``."""
    return exponential(z) ** (1.0 / c)


def weibull_min_inverse(x: Array, c: Array) -> Any:
    """Invert `weibull_min`."""
    return from_exponential(x**c)


def weibull_min_slope(z: Array, x: Array, c: Array) -> Any:
    """Return the derivative of `weibull_min`."""
    e = exponential(z)
    return e ** (1.0 / c - 1.0) * hazard(z) / c


def weibull_max(z: Array, c: Array) -> Any:
    """Return ``x = -(-log p)^(1/c)``."""
    return -weibull_min(-z, c)


def weibull_max_inverse(x: Array, c: Array) -> Any:
    """Invert `weibull_max`."""
    return -weibull_min_inverse(-x, c)


def weibull_max_slope(z: Array, x: Array, c: Array) -> Any:
    """Return the derivative of `weibull_max`."""
    return weibull_min_slope(-z, -x, c)


def invweibull(z: Array, c: Array) -> Any:
    """Return ``x = (-log p)^(-1/c)``."""
    return exponential(-z) ** (-1.0 / c)


def invweibull_inverse(x: Array, c: Array) -> Any:
    """Invert `invweibull`."""
    return -from_exponential(x**-c)


def invweibull_slope(z: Array, x: Array, c: Array) -> Any:
    """Return the derivative of `invweibull`."""
    return x / c * (hazard(-z) / exponential(-z))


def rayleigh(z: Array) -> Any:
    """Return ``x = sqrt(-2 log q)``."""
    return np.sqrt(2.0 * exponential(z))


def rayleigh_inverse(x: Array) -> Any:
    """Invert `rayleigh`."""
    return from_exponential(0.5 * x * x)


def rayleigh_slope(z: Array, x: Array) -> Any:
    """Return the derivative of `rayleigh`."""
    return hazard(z) / x


def lomax(z: Array, c: Array) -> Any:
    """Return ``x = q^(-1/c) - 1``."""
    return np.expm1(exponential(z) / c)


def lomax_inverse(x: Array, c: Array) -> Any:
    """Invert `lomax`."""
    return from_exponential(c * np.log1p(x))


def lomax_slope(z: Array, x: Array, c: Array) -> Any:
    """Return the derivative of `lomax`."""
    return (1.0 + x) * hazard(z) / c


def fisk(z: Array, c: Array) -> Any:
    """Return ``x = (p / q)^(1/c)``."""
    return np.exp(logistic(z) / c)


def fisk_inverse(x: Array, c: Array) -> Any:
    """Invert `fisk`."""
    return logistic_inverse(c * np.log(x))


def fisk_slope(z: Array, x: Array, c: Array) -> Any:
    """Return the derivative of `fisk`."""
    return x / c * logistic_slope(z, x)


def halfnorm(z: Array) -> Any:
    """Return ``x = -Phi^{-1}(q / 2)``."""
    t = tail(z)
    return np.where(z < 0.0, sp.erfinv(t) / ROOT_HALF, -sp.ndtri(0.5 * t))


def halfnorm_inverse(x: Array) -> Any:
    """Invert `halfnorm`."""
    low = sp.ndtri(sp.erf(x * ROOT_HALF))
    return np.where(x < 0.67, low, -sp.ndtri(sp.erfc(x * ROOT_HALF)))


def halfnorm_slope(z: Array, x: Array) -> Any:
    """Return the derivative of `halfnorm`."""
    return 0.5 * np.exp(0.5 * (x - z) * (x + z))


def halfcauchy(z: Array) -> Any:
    """Return ``x = tan(pi p / 2)``."""
    x = np.tan(0.5 * math.pi * tail(z))
    return np.where(z < 0.0, x, 1.0 / x)


def halfcauchy_inverse(x: Array) -> Any:
    """Invert `halfcauchy`."""
    share = np.arctan(np.minimum(x, 1.0 / x)) * (2.0 / math.pi)
    return np.copysign(sp.ndtri(share), x - 1.0)


def halfcauchy_slope(z: Array, x: Array) -> Any:
    """Return the derivative of `halfcauchy`."""
    return 0.5 * cauchy_slope(z, x)


def halflogistic(z: Array) -> Any:
    """Return ``x = 2 artanh p``."""
    t = tail(z)
    return np.where(z < 0.0, 2.0 * np.arctanh(t), np.log((2.0 - t) / t))


def halflogistic_inverse(x: Array) -> Any:
    """Invert `halflogistic`."""
    e = np.exp(-x)
    return np.where(x < 1.1, sp.ndtri(np.tanh(0.5 * x)), -sp.ndtri(2.0 * e / (1.0 + e)))


def halflogistic_slope(z: Array, x: Array) -> Any:
    """Return the derivative of `halflogistic`."""
    return 2.0 * hazard(z) / (1.0 + sp.ndtr(z))
