"""Posteriors whose evidence and mean are known, and comparisons of results bit by bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special
from scipy.stats import expon, gamma, norm, uniform

from aisle_smc import sample

QUIET = {"progress": False, "n": 300, "ess": 500.0, "evidence_error": 0.1}


@dataclass(frozen=True)
class Toy:
    """A posterior with its answers: log Z, the means, and how far these may be off."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    log_evidence: float
    mean: np.ndarray

    def run(self, **options):
        return sample(self.function, **{**QUIET, **self.arguments, **options})


def score(result, log_evidence):
    """By how many of its own errors a result is off."""
    return (result.log_evidence - log_evidence) / result.log_evidence_error


def same_bits(one, other):
    """Assert that two results are the same to the last bit."""
    assert one.method == other.method
    assert one.log_evidence == other.log_evidence
    assert one.log_evidence_error == other.log_evidence_error
    assert one.x.tobytes() == other.x.tobytes()
    assert one.weights.tobytes() == other.weights.tobytes()
    assert one.log_likelihood.tobytes() == other.log_likelihood.tobytes()
    if one.blobs is not None:
        assert one.blobs.dtype == other.blobs.dtype
        assert one.blobs.tolist() == other.blobs.tolist()


# --- conjugate families --------------------------------------------------------------------------

OBSERVED, NOISE, SPREAD = np.array([1.2, -0.4]), np.array([0.5, 0.3]), np.array([2.0, 1.0])


def normal_log_likelihood(x):
    return norm.logpdf(OBSERVED, x, NOISE).sum(axis=1)


def conjugate():
    """Normal means with normal priors."""
    return Toy(
        normal_log_likelihood,
        {"prior": {"a": norm(0, SPREAD[0]), "b": norm(0, SPREAD[1])}},
        float(norm.logpdf(OBSERVED, 0.0, np.hypot(NOISE, SPREAD)).sum()),
        OBSERVED * SPREAD**2 / (SPREAD**2 + NOISE**2),
    )


def rates(powers, slopes, shapes, offset=0.0):
    """``x^k exp(-b x)`` under gamma priors: skewed, and the mass may touch zero."""
    k, b, s = (np.asarray(v, dtype=float) for v in (powers, slopes, shapes))

    def log_likelihood(x):
        with np.errstate(divide="ignore"):
            return (k * np.log(x) - b * x).sum(axis=1) + offset

    log_z = special.gammaln(s + k) - special.gammaln(s) - (s + k) * np.log1p(b)
    prior = {f"r{j}": expon() if a == 1 else gamma(a) for j, a in enumerate(s)}
    return Toy(log_likelihood, {"prior": prior}, float(log_z.sum() + offset), (s + k) / (1.0 + b))


def skewed():
    return rates([0.5, 3.0], [2.0, 0.5], [1, 2])


def near_minus_a_million():
    """Log-likelihoods of minus a million at prior draws, and minus another one everywhere."""
    return rates([3.0, 1.0], [1e6, 20.0], [1, 2], offset=-1e6)


# --- bounds --------------------------------------------------------------------------------------


def boundary_log_density(u):
    return -20.0 * u.sum(axis=1)


def boundary():
    """All mass within a few hundredths of a corner of the unit cube."""
    e = math.exp(-20.0)
    return Toy(
        boundary_log_density,
        {"bounds": [(0.0, 1.0)] * 4},
        4.0 * math.log((1.0 - e) / 20.0),
        np.full(4, 0.05 - e / (1.0 - e)),
    )


@dataclass(frozen=True)
class Box:
    """A uniform joint prior, explored in the parameters themselves: proposals leave it."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def dim(self):
        return len(self.low)

    def sample(self, n, rng):
        return rng.uniform(self.low, self.high, size=(n, self.dim))

    def log_density(self, x):
        inside = ((x > self.low) & (x < self.high)).all(axis=1)
        volume = np.subtract(self.high, self.low).prod()
        return np.where(inside, -math.log(volume), -math.inf)

    def fit(self, x, weights):
        return self


CENTRE, WIDTH = np.array([0.205, 0.6]), np.array([0.16, 0.1])


def narrow_log_likelihood(x):
    """A normal peak of which a tenth lies below zero in the first coordinate."""
    return norm.logpdf(x, CENTRE, WIDTH).sum(axis=1)


def cut_off(prior):
    """A peak with a tenth of its mass outside of the prior, the unit square."""
    a, b = -CENTRE / WIDTH, (1.0 - CENTRE) / WIDTH
    mass = norm.cdf(b) - norm.cdf(a)
    mean = CENTRE + WIDTH * (norm.pdf(a) - norm.pdf(b)) / mass
    return Toy(
        narrow_log_likelihood, {"prior": prior}, float(np.log(mass).sum()), np.asarray(mean)
    )


def cut_off_by_name():
    return cut_off({"a": uniform(0, 1), "b": uniform(0, 1)})


def cut_off_joint():
    return cut_off(Box((0.0, 0.0), (1.0, 1.0)))


def half():
    """A likelihood that rules out half of the prior and falls from the edge on."""

    def log_likelihood(x):
        return np.where(x[:, 0] > 0.0, -x[:, 0] + norm.logpdf(0.7, x[:, 1], 0.4), -np.inf)

    # The integral of N(a; 0, 4) exp(-a) over a > 0, and the mean of a there.
    log_half = 2.0 + norm.logcdf(-2.0)
    mean = -4.0 + 2.0 * math.exp(norm.logpdf(2.0) - norm.logsf(2.0))
    return Toy(
        log_likelihood,
        {"prior": {"a": norm(0, 2), "b": norm(0, 1)}},
        float(log_half + norm.logpdf(0.7, 0.0, math.hypot(1.0, 0.4))),
        np.array([mean, 0.7 / 1.16]),
    )


# --- shapes --------------------------------------------------------------------------------------

MODES = np.array([[-4.0, 1.0], [3.0, -2.0]])
MASS, SIZE = np.array([0.7, 0.3]), np.array([0.3, 0.5])


def two_modes_log_likelihood(x):
    parts = [norm.logpdf(x, m, s).sum(axis=1) for m, s in zip(MODES, SIZE, strict=True)]
    return special.logsumexp(parts, axis=0, b=MASS[:, None])


def two_modes():
    """Two modes, far apart and of different size and mass."""
    total = SIZE**2 + 9.0
    log_parts = np.log(MASS) + norm.logpdf(MODES, 0.0, np.sqrt(total)[:, None]).sum(axis=1)
    means = MODES * (9.0 / total)[:, None]
    share = special.softmax(log_parts)
    return Toy(
        two_modes_log_likelihood,
        {"prior": {"a": norm(0, 3), "b": norm(0, 3)}},
        float(special.logsumexp(log_parts)),
        share @ means,
    )


def banana():
    """``b`` within a tenth of the square of ``a``."""

    def log_likelihood(x):
        return norm.logpdf(x[:, 1], x[:, 0] ** 2, 0.1)

    # All of it lies inside the bounds, but for less than one part in a million.
    return Toy(
        log_likelihood,
        {"prior": {"a": norm(0.5, 1), "b": uniform(-1, 31)}},
        -math.log(31.0),
        np.array([0.5, 1.25]),
    )


TOYS = [
    conjugate,
    skewed,
    near_minus_a_million,
    boundary,
    cut_off_by_name,
    cut_off_joint,
    half,
    two_modes,
    banana,
]
