"""The accept step that all moves share, and what it tells of a move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.moves.points import Bridge, Level, Points

__all__ = ["Kernel", "Moved", "log_density", "metropolis"]


def log_density(points: Points, level: Level) -> Floats:
    """Return the unnormalised log-density of a level at points, in nats."""
    return points.log_base + level.log_potential(points.log_ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Points after one application of a kernel.

    Attributes
    ----------
    points : Points
        Where they are now.
    acceptance : float
        Mean acceptance probability.
    """

    points: Points
    acceptance: float


class Kernel(Protocol):
    """A Markov kernel that leaves every level of a bridge invariant, as a frozen value."""

    @property
    def name(self) -> str:
        """A word for tables."""
        ...

    @property
    def calls(self) -> int:
        """Evaluations of the target for each point and application."""
        ...

    def move(
        self, points: Points, level: Level, bridge: Bridge, rng: np.random.Generator
    ) -> Moved:
        """Apply the kernel once to every point."""
        ...

    def fitted(self, z: Floats, weights: Floats, rng: np.random.Generator) -> Self:
        """Return the kernel with its shape adapted to a weighted population."""
        ...

    def rescaled(self, acceptance: float) -> Self:
        """Return the kernel with its step changed towards its best acceptance."""
        ...


def metropolis(
    points: Points,
    proposed: Points,
    log_correction: Floats | float,
    level: Level,
    rng: np.random.Generator,
) -> Moved:
    """Accept or refuse proposals.

        alpha = min(1, pi(z') q(z | z') / (pi(z) q(z' | z)))

    Parameters
    ----------
    points, proposed : Points
        Where the chains are, and where they could go.
    log_correction : ndarray, shape (n,), or float
        ``log q(z | z') - log q(z' | z)`` in nats; 0 for a symmetric proposal.
    level : Level
        The density left invariant.
    rng : numpy.random.Generator
        Source of one uniform a point.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        gain = log_density(proposed, level) - log_density(points, level) + log_correction
        # A point of density zero leaves for anywhere better; NaN (from -inf to -inf) stays.
        alpha = np.where(np.isnan(gain), 0.0, np.exp(np.minimum(gain, 0.0)))
    accepted = rng.random(points.n) < alpha
    return Moved(
        points=points.replaced(proposed, accepted),
        acceptance=float(alpha.mean()),
    )
