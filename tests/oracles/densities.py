"""The log-densities as the textbooks write them, on their support, by the C library."""

from __future__ import annotations

import math

LOG_2_PI = math.log(2.0 * math.pi)


def normal_logpdf(x, mean, sd):
    return -0.5 * ((x - mean) / sd) ** 2 - math.log(sd) - 0.5 * LOG_2_PI


def half_normal_logpdf(x, sd):
    return normal_logpdf(x, 0.0, sd) + math.log(2.0)


def lognormal_logpdf(x, mean_log, sd_log):
    return normal_logpdf(math.log(x), mean_log, sd_log) - math.log(x)


def student_t_logpdf(x, df, loc, scale):
    return (
        math.lgamma(0.5 * (df + 1.0))
        - math.lgamma(0.5 * df)
        - 0.5 * math.log(df * math.pi)
        - math.log(scale)
        - 0.5 * (df + 1.0) * math.log1p(((x - loc) / scale) ** 2 / df)
    )


def cauchy_logpdf(x, loc, scale):
    return -math.log(math.pi * scale) - math.log1p(((x - loc) / scale) ** 2)


def laplace_logpdf(x, loc, scale):
    return -abs(x - loc) / scale - math.log(2.0 * scale)


def uniform_logpdf(x, low, high):
    return -math.log(high - low) if low <= x <= high else -math.inf


def exponential_logpdf(x, rate):
    return math.log(rate) - rate * x


def gamma_logpdf(x, shape, rate):
    return shape * math.log(rate) - math.lgamma(shape) + (shape - 1.0) * math.log(x) - rate * x


def beta_logpdf(x, a, b):
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return (a - 1.0) * math.log(x) + (b - 1.0) * math.log1p(-x) - log_beta


def poisson_logpmf(k, mean):
    return k * math.log(mean) - mean - math.lgamma(k + 1.0)


def binomial_logpmf(k, n, p):
    return math.log(math.comb(n, k)) + k * math.log(p) + (n - k) * math.log1p(-p)


def negative_binomial_logpmf(k, mean, dispersion):
    p = dispersion / (dispersion + mean)
    paths = math.lgamma(k + dispersion) - math.lgamma(dispersion) - math.lgamma(k + 1.0)
    return paths + dispersion * math.log(p) + k * math.log(mean / (mean + dispersion))


def mvn_logpdf(x, mean, chol):
    """Density of ``mean + chol @ z``, by substitution without scratch space."""
    z: list[float] = []
    for i, row in enumerate(chol):
        known = math.fsum(row[j] * z[j] for j in range(i))
        z.append((x[i] - mean[i] - known) / row[i])
    return sum(
        normal_logpdf(value, 0.0, 1.0) - math.log(row[i])
        for i, (value, row) in enumerate(zip(z, chol, strict=True))
    )
