"""Compiled elementary functions and log-densities to use inside a model's functions."""

from __future__ import annotations

from aisle_kernels.densities import (
    beta_logpdf,
    binomial_logpmf,
    exponential_logpdf,
    gamma_logpdf,
    lognormal_logpdf,
    mvn_logpdf,
    negative_binomial_logpmf,
    normal_logpdf,
    poisson_logpmf,
    student_t_logpdf,
)
from aisle_kernels.vecmath import exp, expm1, log, log1p

__all__ = [
    "beta_logpdf",
    "binomial_logpmf",
    "exp",
    "expm1",
    "exponential_logpdf",
    "gamma_logpdf",
    "log",
    "log1p",
    "lognormal_logpdf",
    "mvn_logpdf",
    "negative_binomial_logpmf",
    "normal_logpdf",
    "poisson_logpmf",
    "student_t_logpdf",
]
