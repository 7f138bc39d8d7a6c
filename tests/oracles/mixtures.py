"""Mixtures of Student-t laws on the line, by the textbook formulas."""

from __future__ import annotations

import math

import numpy as np

gammaln = np.vectorize(math.lgamma, otypes=[float])


def logsumexp(values, axis, keepdims=False):
    top = np.max(values, axis=axis, keepdims=True)
    total = np.log(np.exp(values - top).sum(axis=axis, keepdims=True)) + top
    return total if keepdims else np.squeeze(total, axis=axis)


def component_log_densities(x, location, scale, df):
    """Shape (n, k)."""
    z = (np.asarray(x)[:, None] - location) / scale
    constant = gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * np.log(df * np.pi)
    return constant - np.log(scale) - (df + 1) / 2 * np.log1p(z**2 / df)


def mixture_log_density(x, share, location, scale, df):
    with np.errstate(divide="ignore"):
        return logsumexp(component_log_densities(x, location, scale, df) + np.log(share), axis=1)


def log_density(x, share, location, scale, df):
    """Independent coordinates: x of shape (d, n), the mixtures of shape (d, k)."""
    return sum(
        mixture_log_density(*row) for row in zip(x, share, location, scale, df, strict=True)
    )


def em_step(x, w, share, location, scale, df):
    """One update of shares, locations and scales."""
    log_r = component_log_densities(x, location, scale, df) + np.log(share)
    r = w[:, None] * np.exp(log_r - logsumexp(log_r, axis=1, keepdims=True))
    z = (x[:, None] - location) / scale
    u = r * (df + 1) / (df + z**2)
    new = (u * x[:, None]).sum(axis=0) / u.sum(axis=0)
    spread = (u * (x[:, None] - new) ** 2).sum(axis=0) / u.sum(axis=0)
    return r.sum(axis=0), new, np.sqrt(spread)
