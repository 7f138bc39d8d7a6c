"""Gamma and beta families: maps by the inverse incomplete functions, each half from its own tail.

The gamma family and its relatives are maps of the half-line; the beta family is one of the
interval and works with the signed distance to the nearer end, as in `intervals`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special as sp

from aisle_smc.normal_scores.tails import LOG_ROOT_2PI, Array, tail


def _halves(z: Array, low: Any, high: Any, *shapes: Array, skip: Any = False) -> Any:
    """Call one inverse where z < 0 and the other elsewhere: they are too slow to call both."""
    # Chosen by indices: SciPy's functions corrupt memory when given `where=` (1.17, NumPy 2.4).
    share = tail(z)
    out = np.full_like(share, np.nan)
    for side, inverse in ((z < 0.0, low), (z >= 0.0, high)):
        chosen = side & ~np.asarray(skip)
        full = (np.broadcast_to(shape, z.shape)[chosen] for shape in shapes)
        out[chosen] = inverse(*full, share[chosen])
    return out


def _from_shares(p: Array, q: Array) -> Any:
    return np.where(p < q, sp.ndtri(p), -sp.ndtri(q))


def gamma(z: Array, a: Array) -> Any:
    """Return ``P^{-1}(a, p)``, the inverse of the regularised incomplete gamma function."""
    return _halves(z, sp.gammaincinv, sp.gammainccinv, a)


def gamma_inverse(x: Array, a: Array) -> Any:
    """Invert `gamma`."""
    return _from_shares(sp.gammainc(a, x), sp.gammaincc(a, x))


def gamma_slope(z: Array, x: Array, a: Array) -> Any:
    """Return ``phi(z) / f(x)``, the ratio formed in logs."""
    log_f = sp.xlogy(a - 1.0, x) - x - sp.gammaln(a)
    return np.exp(-0.5 * z * z - LOG_ROOT_2PI - log_f)


def chi2(z: Array, df: Array) -> Any:
    """Return twice a gamma variable of shape df / 2."""
    return 2.0 * gamma(z, 0.5 * df)


def chi2_inverse(x: Array, df: Array) -> Any:
    """Invert `chi2`."""
    return gamma_inverse(0.5 * x, 0.5 * df)


def chi2_slope(z: Array, x: Array, df: Array) -> Any:
    """Return the derivative of `chi2`."""
    return 2.0 * gamma_slope(z, 0.5 * x, 0.5 * df)


def chi(z: Array, df: Array) -> Any:
    """Return the root of a chi-square variable."""
    return np.sqrt(chi2(z, df))


def chi_inverse(x: Array, df: Array) -> Any:
    """Invert `chi`."""
    return chi2_inverse(x * x, df)


def chi_slope(z: Array, x: Array, df: Array) -> Any:
    """Return ``phi(z) / f(x)``, the ratio formed in logs."""
    log_f = sp.xlogy(df - 1.0, x) - 0.5 * x * x - sp.gammaln(0.5 * df)
    return np.exp(-0.5 * z * z - LOG_ROOT_2PI - log_f + (0.5 * df - 1.0) * np.log(2.0))


def maxwell(z: Array) -> Any:
    """Return a chi variable with 3 degrees of freedom."""
    return chi(z, np.array(3.0))


def maxwell_inverse(x: Array) -> Any:
    """Invert `maxwell`."""
    return chi_inverse(x, np.array(3.0))


def maxwell_slope(z: Array, x: Array) -> Any:
    """Return the derivative of `maxwell`."""
    return chi_slope(z, x, np.array(3.0))


def invgamma(z: Array, a: Array) -> Any:
    """Return the reciprocal of a gamma variable."""
    return 1.0 / gamma(-z, a)


def invgamma_inverse(x: Array, a: Array) -> Any:
    """Invert `invgamma`."""
    return -gamma_inverse(1.0 / x, a)


def invgamma_slope(z: Array, x: Array, a: Array) -> Any:
    """Return ``phi(z) / f(x)``, the ratio formed in logs."""
    log_f = -(a + 1.0) * np.log(x) - 1.0 / x - sp.gammaln(a)
    return np.exp(-0.5 * z * z - LOG_ROOT_2PI - log_f)


def beta(z: Array, a: Array, b: Array) -> Any:
    """Return ``I^{-1}(a, b; p)`` as the signed distance to the nearer end."""
    low, high = _beta_end(z, a, b), _beta_end(-z, b, a)
    series = np.where(np.isnan(low), -high, low)
    s = _halves(z, sp.betaincinv, sp.betainccinv, a, b, skip=~np.isnan(series))
    s = np.where(np.isnan(series), s, series)
    # From 0.9 on, 1 - x would lose a digit or more.
    beyond = s > 0.9
    s = np.where((s > 0.5) & ~beyond, s - 1.0, s)
    if beyond.any():
        y = _halves(z, sp.betainccinv, sp.betaincinv, b, a, skip=~beyond)
        s = np.where(beyond, -y, s)
    return s


def _beta_end(z: Array, a: Array, b: Array) -> Any:
    """Return the distance to the lower end where its series holds, NaN elsewhere.

    ``I_x(a, b) = x^a / (a B(a, b)) (1 + a (1-b) / (a+1) x + a (1-b) (2-b) / (2 (a+2)) x^2 ...)``
    (DLMF 8.17.7).  SciPy's inverse returns NaN in much of this region.
    """
    first = np.exp((sp.log_ndtr(z) + np.log(a) + sp.betaln(a, b)) / a)
    x = first
    for _ in range(2):
        tail_terms = a * (1.0 - b) * x * (1.0 / (a + 1.0) + 0.5 * (2.0 - b) * x / (a + 2.0))
        x = first * np.exp(-np.log1p(tail_terms) / a)
    return np.where(first * (1.0 + b) < 1e-5, x, np.nan)


def beta_inverse(s: Array, a: Array, b: Array) -> Any:
    """Invert `beta`."""
    upper = np.signbit(s)
    size = np.abs(s)
    first, second = np.where(upper, b, a), np.where(upper, a, b)
    near, far = sp.betainc(first, second, size), sp.betaincc(first, second, size)
    return np.where(upper, _from_shares(far, near), _from_shares(near, far))


def beta_slope(z: Array, s: Array, a: Array, b: Array) -> Any:
    """Return ``phi(z) / f(x)``, the ratio formed in logs."""
    upper = np.signbit(s)
    near, far = np.log(np.abs(s)), np.log1p(-np.abs(s))
    log_x, log_rest = np.where(upper, far, near), np.where(upper, near, far)
    log_f = (a - 1.0) * log_x + (b - 1.0) * log_rest - sp.betaln(a, b)
    return np.exp(-0.5 * z * z - LOG_ROOT_2PI - log_f)
