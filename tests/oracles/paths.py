"""Bridges whose every level is known: exact draws, gradients and masses.

A product of log-gamma laws stays one along a geometric path, for the exponents of

    log p(u) = sum_j a_j u_j - b_j exp(u_j) + constant

are linear in shapes a and rates b.  It is skewed, and bending it into a banana changes no volume.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincc, gammaln, ndtr

from aisle_smc.moves import Points


@dataclass(frozen=True)
class Bent:
    """From one bent product of log-gamma laws to another, which vanishes for ``z_0 <= cut``."""

    shape: tuple = ((2.0, 3.0), (5.0, 1.2))
    rate: tuple = ((1.0, 2.0), (4.0, 0.6))
    bend: float = 0.4
    offset: float = 0.7
    cut: float = -math.inf

    dim = 2
    has_scores = True

    def at(self, z, *, scores=False):
        u = z - self.bend * np.stack([np.zeros(len(z)), z[:, 0] ** 2], axis=1)
        with np.errstate(over="ignore"):
            base, target = (np.array(self.shape)[:, None] * u).sum(axis=2) - (
                np.array(self.rate)[:, None] * np.exp(u)
            ).sum(axis=2)
        base = base + self._constant
        target = np.where(z[:, 0] > self.cut, target + self.offset, -math.inf)
        found = None
        if scores:
            with np.errstate(over="ignore"):
                g = np.array(self.shape)[:, None] - np.array(self.rate)[:, None] * np.exp(u)
                g[:, :, 0] -= 2.0 * self.bend * z[:, 0] * g[:, :, 1]
            g[1] = np.where(z[:, :1] > self.cut, g[1] - g[0], math.nan)
            found = g
        with np.errstate(invalid="ignore"):
            ratio = np.where(np.isneginf(target), -math.inf, target - base)
        return Points(z=z, log_base=base, log_ratio=ratio, scores=found)

    @property
    def _constant(self):
        a, b = self.shape[0], self.rate[0]
        return float(np.sum(a * np.log(b) - gammaln(a)))

    def _mixed(self, beta):
        mix = np.array([1.0 - beta, beta])
        return mix @ np.array(self.shape), mix @ np.array(self.rate)

    def start(self, n, rng):
        return self.at(self.draw(0.0, n, rng))

    def draw(self, beta, n, rng):
        """Exact draws of the level ``base^(1 - beta) target^beta``."""
        a, b = self._mixed(beta)
        kept = np.empty((0, 2))
        while len(kept) < n:
            u = np.log(rng.standard_gamma(a, size=(n, 2)) / b)
            u[:, 1] += self.bend * u[:, 0] ** 2
            kept = np.concatenate([kept, u[u[:, 0] > self.cut] if beta > 0.0 else u])
        return kept[:n]

    def draw_above(self, least, n, rng):
        """Exact draws of the base where the log-ratio exceeds `least`."""
        kept = np.empty((0, 2))
        while len(kept) < n:
            z = self.draw(0.0, n, rng)
            kept = np.concatenate([kept, z[self.at(z).log_ratio > least]])
        return kept[:n]

    def log_mass(self, beta):
        """Log of the integral of ``base^(1 - beta) target^beta``."""
        a, b = self._mixed(beta)
        whole = (1.0 - beta) * self._constant + beta * self.offset
        whole += float(np.sum(gammaln(a) - a * np.log(b)))
        if beta > 0.0 and self.cut > -math.inf:
            whole += math.log(gammaincc(a[0], b[0] * math.exp(self.cut)))
        return whole


@dataclass(frozen=True)
class Normal:
    """From N(0, I) to its product with the normal likelihood of one datum for each coordinate."""

    y: tuple = (1.5, -0.4)
    sd: float = 0.7
    offset: float = -2.0

    has_scores = True

    @property
    def dim(self):
        return len(self.y)

    def at(self, z, *, scores=False):
        off = np.array(self.y) - z
        ratio = self.offset - 0.5 * np.square(off / self.sd).sum(axis=1)
        base = -0.5 * np.square(z).sum(axis=1) - 0.5 * self.dim * math.log(2.0 * math.pi)
        both = np.stack([-z, off / self.sd**2]) if scores else None
        return Points(z=z, log_base=base, log_ratio=ratio, scores=both)

    def start(self, n, rng):
        return self.at(rng.standard_normal((n, self.dim)))

    def draw(self, beta, n, rng):
        precision = 1.0 + beta / self.sd**2
        mean = beta * np.array(self.y) / self.sd**2 / precision
        return mean + rng.standard_normal((n, self.dim)) / math.sqrt(precision)

    def log_mass(self, beta):
        if beta == 0.0:
            return 0.0
        v = self.sd**2 / beta
        terms = -0.5 * np.square(self.y) / (1.0 + v) + 0.5 * math.log(v / (1.0 + v))
        return beta * self.offset + float(np.sum(terms))

    def log_mass_above(self, least):
        """Log of the base's mass where the log-ratio exceeds `least`, in one dimension."""
        (y,) = self.y
        radius = self.sd * math.sqrt(2.0 * (self.offset - least))
        return math.log(ndtr(y + radius) - ndtr(y - radius))


def score(values, truth):
    """How many standard errors the mean of independent replicates is off."""
    values = np.asarray(values, dtype=float)
    return (values.mean() - truth) / (values.std(ddof=1) / math.sqrt(values.size))
