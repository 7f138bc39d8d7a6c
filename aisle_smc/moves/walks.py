"""Random walks: steps that know the population's covariance, or differences of its members."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.moves.metropolis import Moved, metropolis
from aisle_smc.moves.points import Bridge, Level, Points

__all__ = ["DifferentialEvolution", "RandomWalk", "covariance_root", "stepped"]


def stepped(scale: float, acceptance: float, best: float) -> float:
    """Return a step size changed towards the acceptance that serves best."""
    return scale * math.exp(min(max(2.0 * (acceptance - best), -0.7), 0.7))


def covariance_root(z: Floats, weights: Floats) -> Floats:
    """Return the lower root of a weighted covariance, drawn towards its diagonal.

    Notes
    -----
    With an effective number of points `m` the off-diagonal part counts ``m / (m + d)``: a
    population smaller than its dimension still gives a positive-definite matrix.
    """
    d = z.shape[1]
    centred = z - weights @ z
    covariance = (centred * weights[:, None]).T @ centred
    size = 1.0 / float(np.square(weights).sum())
    variances = np.diag(covariance).copy()
    variances += 1e-10 * variances.max() + 1e-300
    covariance *= size / (size + d)
    np.fill_diagonal(covariance, variances)
    return np.asarray(np.linalg.cholesky(covariance))


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomWalk:
    """A Gaussian step with the covariance of the population: ``z' = z + scale root noise``.

    Attributes
    ----------
    root : ndarray, shape (d, d), or None
        Lower root of the population's covariance; None before the first fit.
    scale : float
        Size of a step, in units of ``2.38 / sqrt(d)``.

    References
    ----------
    Roberts, Gelman and Gilks (1997); Haario, Saksman and Tamminen (2001).
    """

    root: Floats | None = None
    scale: float = 1.0

    @property
    def name(self) -> str:
        """A word for tables."""
        return "random walk"

    @property
    def calls(self) -> int:
        """Evaluations of the target for each point and application."""
        return 1

    def move(
        self, points: Points, level: Level, bridge: Bridge, rng: np.random.Generator
    ) -> Moved:
        """Apply the kernel once to every point."""
        n, d = points.z.shape
        step = rng.standard_normal((n, d)) * (2.38 * self.scale / math.sqrt(d))
        if self.root is not None:
            step = step @ self.root.T
        return metropolis(points, bridge.at(points.z + step), 0.0, level, rng)

    def fitted(self, z: Floats, weights: Floats, rng: np.random.Generator) -> RandomWalk:
        """Return the walk with the population's covariance."""
        return replace(self, root=covariance_root(z, weights))

    def rescaled(self, acceptance: float) -> RandomWalk:
        """Return the walk with its step changed towards an acceptance of 0.234."""
        return replace(self, scale=stepped(self.scale, acceptance, 0.234))


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferentialEvolution:
    """A step along the difference of two members of an archive.

        z' = z + gamma (a_i - a_j) + noise,    gamma = 1 one time in ten

    With ``gamma = 1`` a chain in one mode can land in another that the archive knows.

    Attributes
    ----------
    archive : ndarray, shape (m, d), or None
        A population frozen before the stage, drawn by weight; None before the first fit.
    scale : float
        Size of an ordinary step, in units of ``2.38 / sqrt(2 d)``.

    References
    ----------
    ter Braak (2006); ter Braak and Vrugt (2008), whose archive makes the chains independent of
    each other.
    """

    archive: Floats | None = None
    scale: float = 1.0

    @property
    def name(self) -> str:
        """A word for tables."""
        return "differences"

    @property
    def calls(self) -> int:
        """Evaluations of the target for each point and application."""
        return 1

    def move(
        self, points: Points, level: Level, bridge: Bridge, rng: np.random.Generator
    ) -> Moved:
        """Apply the kernel once to every point."""
        if self.archive is None:
            raise ValueError("fit the kernel to a population before its first move")
        n, d = points.z.shape
        archive = self.archive
        m = archive.shape[0]
        first = rng.integers(m, size=n)
        second = (first + 1 + rng.integers(max(m - 1, 1), size=n)) % m
        gamma = np.where(rng.random(n) < 0.1, 1.0, self.scale * 2.38 / math.sqrt(2.0 * d))
        gap = archive[first] - archive[second]
        noise = rng.standard_normal((n, d)) * (1e-3 * archive.std(axis=0))
        z = points.z + gamma[:, None] * gap + noise
        return metropolis(points, bridge.at(z), 0.0, level, rng)

    def fitted(
        self, z: Floats, weights: Floats, rng: np.random.Generator
    ) -> DifferentialEvolution:
        """Return the kernel with an archive drawn from the population by weight."""
        drawn = rng.choice(z.shape[0], size=min(z.shape[0], 2000), p=weights)
        return replace(self, archive=z[drawn])

    def rescaled(self, acceptance: float) -> DifferentialEvolution:
        """Return the kernel with its step changed towards an acceptance of 0.234."""
        return replace(self, scale=stepped(self.scale, acceptance, 0.234))
