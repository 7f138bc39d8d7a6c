"""The elementary functions in extended precision, and the distance from them in last places."""

from __future__ import annotations

import math

import numpy as np

EXTENDED = np.finfo(np.longdouble).nmant >= 60
"""Whether ``longdouble`` is wider than double here; if not, the reference may be off by 1."""

REFERENCES = {"exp": np.exp, "log": np.log, "expm1": np.expm1, "log1p": np.log1p}


def reference(name, x):
    """Evaluate one of the four functions in extended precision."""
    with np.errstate(all="ignore"):
        return REFERENCES[name](np.asarray(x, dtype=np.longdouble))


def ulp_error(values, exact):
    """Return the errors in units of the last place of the exact values, subnormals included."""
    with np.errstate(all="ignore"):
        unit = np.maximum(np.spacing(np.abs(exact.astype(np.float64))), 5e-324)
        error = np.abs((values - exact) / unit.astype(np.longdouble))
        same = (values == exact.astype(np.float64)) | (np.isnan(values) & np.isnan(exact))
        return np.where(same & ~np.isfinite(values), 0.0, error).astype(np.float64)


def log_gamma(x):
    """Return log Gamma by the C library."""
    return math.lgamma(x)


def log_rising_factorial(x, m):
    """Sum the logarithms of the factors of the rising factorial, for a whole ``m``."""
    return math.fsum(math.log(x + i) for i in range(m))
