"""Log-weights summed with exact sums and the library's exponential, and lane by lane."""

import math

import numpy as np


def exponentiate(log_w):
    """Return m, s, q and the exponentials."""
    log_w = np.asarray(log_w, dtype=float)
    if np.isnan(log_w).any():
        return math.nan, math.nan, math.nan, np.full(log_w.size, math.nan)
    m = float(log_w.max())
    if m == math.inf:
        e = (log_w == math.inf).astype(float)
    elif m == -math.inf:
        e = np.zeros(log_w.size)
    else:
        with np.errstate(over="ignore", under="ignore"):
            e = np.exp(log_w - m)
            squares = e**2
        return m, math.fsum(e), math.fsum(squares), e
    return m, float(e.sum()), float(e.sum()), e


def log_sum_exp(log_w):
    m, s, _, _ = exponentiate(log_w)
    return m + (math.log(s) if s > 0 else s if math.isnan(s) else -math.inf)


def log_mean_exp(log_w):
    return log_sum_exp(log_w) - math.log(len(log_w))


def normalise(log_w):
    _, s, _, e = exponentiate(log_w)
    return e / s if s != 0 else e


def ess(log_w):
    _, s, q, _ = exponentiate(log_w)
    return s**2 / q if s != 0 else 0.0


def max_weight(log_w):
    return float(normalise(log_w).max())


def cess(log_w, log_g):
    """For moderate arguments only."""
    W = normalise(log_w)
    g = np.where(W > 0, np.exp(log_g), 0.0)
    return len(W) * (W @ g) ** 2 / (W @ g**2)


def sum_in_lanes(e):
    """Return the sum in eight lanes over the whole array, the remainder added in order."""
    n8 = e.size // 8 * 8
    s = np.zeros(8)
    for row in e[:n8].reshape(-1, 8):
        s = s + row
    total = ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]))
    for value in e[n8:]:
        total = total + value
    return float(total)
