"""Targets that can be drawn from exactly, with their log-densities."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import gammaln, logsumexp

from aisle_smc.distributions import Gaussian, Mixture


class Banana:
    """Standard normals, the second bent by the square of the first, twice as wide."""

    dim = 10

    def sample(self, n, rng):
        x = rng.standard_normal((n, self.dim))
        x[:, 0] *= 2.0
        x[:, 1] += 0.5 * (x[:, 0] ** 2 - 4.0)
        return x

    def log_density(self, x):
        y = x.copy()
        y[:, 1] -= 0.5 * (x[:, 0] ** 2 - 4.0)
        y[:, 0] /= 2.0
        return -0.5 * (y**2).sum(axis=1) - 5.0 * math.log(2.0 * math.pi) - math.log(2.0)


class Funnel:
    """v ~ N(0, 9), the others N(0, e^v)."""

    dim = 10

    def sample(self, n, rng):
        x = rng.standard_normal((n, self.dim))
        x[:, 0] *= 3.0
        x[:, 1:] *= np.exp(0.5 * x[:, :1])
        return x

    def log_density(self, x):
        v = x[:, 0]
        rest = 0.5 * (x[:, 1:] ** 2).sum(axis=1) * np.exp(-v) + 4.5 * v
        return -0.5 * v**2 / 9.0 - rest - 5.0 * math.log(2.0 * math.pi) - math.log(3.0)


class Shells:
    """Two Gaussian shells of radius 2 and width 0.1 about (+-3.5, 0, ...)."""

    def __init__(self, dim):
        self.dim = dim
        self.grid = np.linspace(1.0, 3.0, 40_001)
        log_p = (dim - 1) * np.log(self.grid) - 0.5 * ((self.grid - 2.0) / 0.1) ** 2
        mass = np.cumsum(np.exp(log_p - log_p.max()))
        self.cumulated = mass / mass[-1]
        area = math.log(2.0) + 0.5 * dim * math.log(math.pi) - float(gammaln(0.5 * dim))
        step = self.grid[1] - self.grid[0]
        self.log_norm = math.log(2.0 * step * mass[-1]) + log_p.max() + area

    def sample(self, n, rng):
        x = rng.standard_normal((n, self.dim))
        r = np.interp(rng.random(n), self.cumulated, self.grid)
        x *= (r / np.sqrt((x**2).sum(axis=1)))[:, None]
        x[:, 0] += np.where(rng.random(n) < 0.5, 3.5, -3.5)
        return x

    def log_density(self, x):
        sides = []
        for side in (3.5, -3.5):
            y = x.copy()
            y[:, 0] -= side
            sides.append(-0.5 * ((np.sqrt((y**2).sum(axis=1)) - 2.0) / 0.1) ** 2)
        return logsumexp(sides, axis=0) - self.log_norm


class Product:
    """Independent coordinates, each (draw, log-density)."""

    def __init__(self, *columns):
        self.columns, self.dim = columns, len(columns)

    def sample(self, n, rng):
        return np.stack([draw(n, rng) for draw, _ in self.columns], axis=1)

    def log_density(self, x):
        return sum(log_p(x[:, j]) for j, (_, log_p) in enumerate(self.columns))


def log_gamma(*centres, scale=1.0 / 30.0):
    """Log-gamma variables of shape one, in equal parts about centres."""

    def draw(n, rng):
        return rng.choice(centres, n) + scale * np.log(rng.standard_gamma(1.0, n))

    def log_p(t):
        y = (t[:, None] - np.array(centres)) / scale
        return logsumexp(y - np.exp(y), axis=1) - math.log(scale * len(centres))

    return draw, log_p


def normal(*centres, scale=1.0 / 30.0):
    """Normal variables, in equal parts about centres."""

    def draw(n, rng):
        return rng.choice(centres, n) + scale * rng.standard_normal(n)

    def log_p(t):
        y = (t[:, None] - np.array(centres)) / scale
        return logsumexp(-0.5 * y**2, axis=1) - math.log(
            scale * len(centres) * math.sqrt(2.0 * math.pi)
        )

    return draw, log_p


def double_well():
    """The density proportional to exp(-x^4 + 6 x^2 + x / 2)."""
    grid = np.linspace(-4.0, 4.0, 40_001)
    log_p = -(grid**4) + 6.0 * grid**2 + 0.5 * grid
    mass = np.cumsum(np.exp(log_p - log_p.max()))
    log_z = math.log(mass[-1] * (grid[1] - grid[0])) + log_p.max()

    def draw(n, rng):
        return np.interp(rng.random(n), mass / mass[-1], grid)

    return draw, lambda t: -(t**4) + 6.0 * t**2 + 0.5 * t - log_z


LOG_GAMMA_10 = Product(
    log_gamma(1 / 3, 2 / 3),
    normal(1 / 3, 2 / 3),
    *[log_gamma(2 / 3)] * 4,
    *[normal(2 / 3)] * 4,
)
MANY_WELL_32 = Product(*[double_well(), normal(0.0, scale=1.0)] * 16)


class Rosenbrock:
    """Five independent pairs (a, a^2 + noise)."""

    dim = 10

    def sample(self, n, rng):
        a = 1.0 + math.sqrt(0.5) * rng.standard_normal((n, 5))
        x = np.empty((n, 10))
        x[:, 0::2] = a
        x[:, 1::2] = a**2 + math.sqrt(0.05) * rng.standard_normal((n, 5))
        return x

    def log_density(self, x):
        a, b = x[:, 0::2], x[:, 1::2]
        terms = -((a - 1.0) ** 2) - 10.0 * (b - a**2) ** 2
        return terms.sum(axis=1) - 5.0 * math.log(math.pi) + 2.5 * math.log(10.0)


def forty(seed):
    """Forty equal standard normals in the plane about centres uniform on [-40, 40]^2."""
    centres = np.random.default_rng(seed).uniform(-40.0, 40.0, (40, 2))
    parts = tuple(Gaussian(mean=m, root=np.eye(2)) for m in centres)
    return Mixture(weights=np.full(40, 1.0 / 40.0), parts=parts)


def divergence(target, q, rng, n=5000):
    """Return KL(target | q), from fresh points."""
    x = target.sample(n, rng)
    return float(np.mean(target.log_density(x) - q.log_density(x)))


def efficiency(target, q, rng, n=10_000):
    """Return the effective share of n draws from q weighted for the target."""
    x = q.sample(n, rng)
    log_w = target.log_density(x) - q.log_density(x)
    w = np.exp(log_w - log_w.max())
    return float(w.sum() ** 2 / (w**2).sum() / n)
