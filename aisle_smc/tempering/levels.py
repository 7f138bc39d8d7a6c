"""Levels between a base and a target, and how the next one is chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from aisle_kernels import weights as kernels

from aisle_smc.arrays import Floats

__all__ = ["BASE", "TARGET", "Temperature", "Threshold", "next_temperature"]


@dataclass(frozen=True, slots=True)
class Temperature:
    """The level ``base^(1 - beta) target^beta``.

    Attributes
    ----------
    beta : float
        Inverse temperature: 0 at the base, 1 at the target.
    """

    beta: float

    @property
    def slope(self) -> float:
        """Derivative of the log-potential by the log-ratio."""
        return self.beta

    def log_potential(self, log_ratio: Floats) -> Floats:
        """Return ``beta log_ratio``; at the base 0 everywhere, also where the target vanishes."""
        if self.beta == 0.0:
            return np.zeros_like(log_ratio)
        return np.asarray(self.beta * log_ratio)


@dataclass(frozen=True, slots=True)
class Threshold:
    """The level ``base 1{log_ratio > least}``: the nested path.

    Attributes
    ----------
    least : float
        What the log-ratio must exceed, in nats.

    References
    ----------
    Skilling (2006); Salomone, South, Drovandi and Kroese (2018), Unbiased and consistent nested
    sampling via sequential Monte Carlo.
    """

    least: float

    @property
    def slope(self) -> float:
        """Derivative of the log-potential by the log-ratio, zero inside the region."""
        return 0.0

    def log_potential(self, log_ratio: Floats) -> Floats:
        """Return 0 inside the region and ``-inf`` outside of it; without a bound 0 everywhere."""
        if self.least == -math.inf:
            return np.zeros_like(log_ratio)
        return np.where(log_ratio > self.least, 0.0, -math.inf)


BASE = Temperature(0.0)
TARGET = Temperature(1.0)


def next_temperature(log_w: Floats, log_ratio: Floats, beta: float, efficiency: float) -> float:
    r"""Return the largest temperature that keeps a share of the conditional ESS.

    .. math:: \mathrm{CESS}(\beta') = \frac{(\sum_i W_i g_i)^2}{\sum_i W_i g_i^2},
        \qquad g_i = e^{(\beta' - \beta) \ell_i}

    Parameters
    ----------
    log_w : ndarray, shape (n,)
        Log-weights of the population at `beta`, in nats.
    log_ratio : ndarray, shape (n,)
        Log-ratios of the population, in nats.
    beta : float
        Present inverse temperature, below 1.
    efficiency : float
        Share of the conditional effective sample size to keep, between 0 and 1.

    Returns
    -------
    float
        The next inverse temperature, at most 1.

    Notes
    -----
    The *conditional* effective sample size starts from 1 at every temperature whatever the
    weights are, so that the path moves on and resampling is decided by the weights alone.  With
    the ordinary one and a target equal to the threshold of resampling, the weights never fall
    below it: the population is never resampled and the path crawls.

    References
    ----------
    Zhou, Johansen and Aston (2016), Toward automatic model comparison, section 3.3.
    """

    def kept(step: float) -> float:
        log_g = np.where(np.isneginf(log_ratio), -math.inf, step * log_ratio)
        return float(kernels.cess(log_w, log_g) / log_w.shape[0])

    whole = 1.0 - beta
    if kept(whole) >= efficiency:
        return 1.0
    # In the logarithm of the step: with log-ratios of a million the first one is tiny.
    low, high = -60.0, 0.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        if kept(whole * math.exp(middle)) >= efficiency:
            low = middle
        else:
            high = middle
    return beta + whole * math.exp(low)
