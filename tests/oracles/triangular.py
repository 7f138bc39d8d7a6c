"""Triangular maps one point and one coordinate at a time."""

from __future__ import annotations

import math

from tests.oracles.mixtures import mixture_log_density


def row(q, j, z):
    """Mean and log-scale of coordinate j, in the order of the map, given the earlier ones."""
    low, high = q.standard.low, q.standard.high
    c = [min(max(z[k], low[k]), high[k]) for k in range(j)]
    mean = q.offset[j] + sum(q.linear[j, k] * z[k] for k in range(j))
    for m, (a, b) in enumerate(q.pairs):
        if q.quadratic[j, m] != 0.0:
            tangent = c[a] * c[b] + c[b] * (z[a] - c[a]) + c[a] * (z[b] - c[b])
            mean += q.quadratic[j, m] * tangent
    s = q.log_scale[j]
    for k in range(j):
        s += q.scale_linear[j, k] * c[k] + q.scale_even[j, k] * math.log(1.0 + c[k] ** 2)
    return mean, min(max(s, q.scale_low[j]), q.scale_high[j])


def standardised(q, x):
    return [
        (x[q.order[j]] - q.standard.centre[j]) / q.standard.spread[j] for j in range(len(q.order))
    ]


def log_scales(q, x):
    """Sum of the log-scales at one point."""
    z = standardised(q, x)
    return sum(row(q, j, z)[1] for j in range(len(z)))


def log_density(q, x):
    """Log-density at one point."""
    z = standardised(q, x)
    laws = q.residuals
    total = 0.0
    for j in range(len(z)):
        mean, s = row(q, j, z)
        law = laws.shares[j], laws.locations[j], laws.scales[j], laws.df[j]
        total += mixture_log_density([(z[j] - mean) / math.exp(s)], *law)[0]
        total -= s + math.log(q.standard.spread[j])
    return total


def point(q, e):
    """The point that has residuals e."""
    z, x = [], [0.0] * len(e)
    for j in range(len(e)):
        mean, s = row(q, j, z)
        z.append(mean + math.exp(s) * e[j])
        x[q.order[j]] = q.standard.centre[j] + q.standard.spread[j] * z[j]
    return x
