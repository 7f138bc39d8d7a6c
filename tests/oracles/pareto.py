"""Pareto-smoothed importance sampling from the formulas of the papers, in whole arrays."""

from __future__ import annotations

import numpy as np


def gpd_fit(x):
    """Zhang and Stephens' estimate with the prior of Vehtari and others; ``x`` sorted."""
    n = x.shape[0]
    m = 30 + int(np.sqrt(n))
    j = np.arange(1, m + 1)
    lower_quartile = x[int(n / 4 + 0.5) - 1]
    theta = 1.0 / x[-1] + (1.0 - np.sqrt(m / (j - 0.5))) / (3.0 * lower_quartile)
    k = np.log1p(-theta[:, None] * x).mean(axis=1)
    log_likelihood = n * (np.log(-theta / k) - k - 1.0)
    # The weight of a point is the reciprocal of the sum of the ratios of likelihoods to its own.
    weights = 1.0 / np.exp(log_likelihood[None, :] - log_likelihood[:, None]).sum(axis=1)
    theta_hat = weights @ theta
    k_hat = np.log1p(-theta_hat * x).mean()
    return (n * k_hat + 10.0 * 0.5) / (n + 10.0), -k_hat / theta_hat


def psis(log_w, length):
    """Return the normalised smoothed log-weights and the shape, for distinct weights."""
    w = np.exp(log_w - log_w.max())
    order = np.argsort(w)
    tail = order[-length:]
    threshold = w[order[-length - 1]]
    k, sigma = gpd_fit(w[tail] - threshold)
    p = (np.arange(length) + 0.5) / length
    smoothed = w.copy()
    smoothed[tail] = np.minimum(threshold + sigma / k * ((1.0 - p) ** -k - 1.0), 1.0)
    with np.errstate(divide="ignore"):
        return np.log(smoothed / smoothed.sum()), k
