"""Families on the whole line: x(z), z(x) and dx/dz of the member with loc 0 and scale 1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special as sp

from aisle_smc.normal_scores.tails import (
    LOG_2,
    LOG_PI,
    LOG_ROOT_2PI,
    ROOT_HALF,
    Array,
    choose,
    exponential,
    from_exponential,
    from_median,
    hazard,
    tail,
)


def norm(z: Array) -> Any:
    """Return ``x = z``."""
    return z


def norm_inverse(x: Array) -> Any:
    """Invert `norm`."""
    return x


def norm_slope(z: Array, x: Array) -> Any:
    """Return the derivative of `norm`."""
    return np.ones_like(z)


def cauchy(z: Array) -> Any:
    """Return ``x = tan(pi (p - 1/2))``."""
    size = np.abs(z)
    near = np.tan(0.5 * math.pi * sp.erf(size * ROOT_HALF))
    return choose(z, near, 1.0 / np.tan(math.pi * sp.ndtr(-size)))


def cauchy_inverse(x: Array) -> Any:
    """Invert `cauchy`."""
    size = np.abs(x)
    near = from_median(np.arctan(size) * (2.0 / math.pi))
    far = np.abs(sp.ndtri(np.arctan(1.0 / size) / math.pi))
    return choose(x, near, far)


def cauchy_slope(z: Array, x: Array) -> Any:
    """Return the derivative of `cauchy`."""
    return np.exp(LOG_PI - 0.5 * z * z - LOG_ROOT_2PI + 2.0 * np.log(np.hypot(1.0, x)))


def laplace(z: Array) -> Any:
    """Return ``x = log 2p``, and the mirror image above the median."""
    size = np.abs(z)
    near = -np.log1p(-sp.erf(size * ROOT_HALF))
    return choose(z, near, -LOG_2 - sp.log_ndtr(-size))


def laplace_inverse(x: Array) -> Any:
    """Invert `laplace`."""
    size = np.abs(x)
    return choose(x, from_median(-np.expm1(-size)), -sp.ndtri_exp(-LOG_2 - size))


def laplace_slope(z: Array, x: Array) -> Any:
    """Return the derivative of `laplace`."""
    return hazard(np.abs(z))


def logistic(z: Array) -> Any:
    """Return ``x = log p - log q``."""
    size = np.abs(z)
    near = 2.0 * np.arctanh(sp.erf(size * ROOT_HALF))
    return choose(z, near, sp.log_ndtr(size) - sp.log_ndtr(-size))


def logistic_inverse(x: Array) -> Any:
    """Invert `logistic`."""
    size = np.abs(x)
    far = -sp.ndtri_exp(-size - np.log1p(np.exp(-size)))
    return choose(x, from_median(np.tanh(0.5 * size)), far)


def logistic_slope(z: Array, x: Array) -> Any:
    """Return the derivative of `logistic`."""
    return hazard(z) + hazard(-z)


def gumbel_r(z: Array) -> Any:
    """Return ``x = -log(-log p)``."""
    return -np.log(exponential(-z))


def gumbel_r_inverse(x: Array) -> Any:
    """Invert `gumbel_r`."""
    return -from_exponential(np.exp(-x))


def gumbel_r_slope(z: Array, x: Array) -> Any:
    """Return the derivative of `gumbel_r`."""
    return hazard(-z) / exponential(-z)


def gumbel_l(z: Array) -> Any:
    """Return ``x = log(-log q)``."""
    return -gumbel_r(-z)


def gumbel_l_inverse(x: Array) -> Any:
    """Invert `gumbel_l`."""
    return -gumbel_r_inverse(-x)


def gumbel_l_slope(z: Array, x: Array) -> Any:
    """Return the derivative of `gumbel_l`."""
    return gumbel_r_slope(-z, x)


def t(z: Array, df: Array) -> Any:
    """Return the quantile of Student's t with `df` degrees of freedom."""
    share = tail(z)
    # Far out the tail is a power of x to rounding, and SciPy loses its digits from 1e50 on.
    log_far = (_t_log_tail(df) - np.log(share)) / df
    far = log_far > _t_log_far(df)
    x = sp.stdtrit(df, share)
    if far.any():
        x = np.where(far, np.exp(log_far), x)
    return np.copysign(x, z)


def t_inverse(x: Array, df: Array) -> Any:
    """Invert `t`."""
    log_size = np.log(np.abs(x))
    z = sp.ndtri(sp.stdtr(df, -np.abs(x)))
    far = log_size > _t_log_far(df)
    if far.any():
        z = np.where(far, sp.ndtri_exp(_t_log_tail(df) - df * log_size), z)
    return np.copysign(z, x)


def _t_log_far(df: Array) -> Any:
    """Return log of an x beyond which the tail differs from its limit by less than 1e-19."""
    return 25.0 + np.log1p(df)


def _t_log_tail(df: Array) -> Any:
    """Return log of the limit of ``x^df P(X > x)``."""
    return (0.5 * df - 1.0) * np.log(df) - sp.betaln(0.5 * df, 0.5)


def t_slope(z: Array, x: Array, df: Array) -> Any:
    """Return the derivative of `t`."""
    # log f = log poch(df/2, 1/2) - log(pi df)/2 - (df + 1)/2 log(1 + x^2/df), x^2 never formed
    top = np.log(sp.poch(0.5 * df, 0.5)) - 0.5 * (LOG_PI + np.log(df))
    log_f = top - (df + 1.0) * np.log(np.hypot(1.0, x / np.sqrt(df)))
    return np.exp(-0.5 * z * z - LOG_ROOT_2PI - log_f)


def johnsonsu(z: Array, a: Array, b: Array) -> Any:
    """Return ``x = sinh((z - a) / b)``."""
    return np.sinh((z - a) / b)


def johnsonsu_inverse(x: Array, a: Array, b: Array) -> Any:
    """Invert `johnsonsu`."""
    return a + b * np.arcsinh(x)


def johnsonsu_slope(z: Array, x: Array, a: Array, b: Array) -> Any:
    """Return the derivative of `johnsonsu`."""
    return np.cosh((z - a) / b) / b
