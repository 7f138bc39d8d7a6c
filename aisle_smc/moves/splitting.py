"""Hamiltonian moves in which the normal part of a density is followed without error."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.moves.hamiltonian import accepted, kicked, level_score
from aisle_smc.moves.metropolis import Moved
from aisle_smc.moves.points import Bridge, Level, Points
from aisle_smc.moves.walks import stepped

__all__ = ["SplitHamiltonian", "rotated"]

QUARTER = 0.5 * math.pi
# Steps of a trajectory at most.
LONGEST = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitHamiltonian:
    r"""Rotations of coordinates and momenta, kicked by what makes a density differ from N(0, I).

    The Hamiltonian is split into :math:`\tfrac12 |z|^2 + \tfrac12 |p|^2`, whose flow is a rotation
    by the angle of the step, and the rest, whose flow changes momenta only:

    .. math:: p \leftarrow p + \tfrac\epsilon2 (\nabla \log\pi(z) + z), \quad
        (z, p) \leftarrow (z \cos\epsilon + p \sin\epsilon, p \cos\epsilon - z \sin\epsilon),
        \quad p \leftarrow p + \tfrac\epsilon2 (\nabla \log\pi(z) + z).

    A trajectory is a quarter turn, after which coordinates of a normal density are independent of
    what they were; the error of a step is that of the rest alone, whatever the dimension.

    Attributes
    ----------
    angle : float
        Mean step, in radians; each point draws its own, between 0.8 and 1.2 of it.

    References
    ----------
    Beskos, Pinski, Sanz-Serna and Stuart (2011), Hybrid Monte Carlo on Hilbert spaces; Shahbaba,
    Lan, Johnson and Neal (2014), Split Hamiltonian Monte Carlo, section 2.1.
    """

    angle: float = 0.8

    @property
    def name(self) -> str:
        """A word for tables."""
        return "split Hamiltonian"

    @property
    def calls(self) -> int:
        """Evaluations of the target for each point and application."""
        return min(max(round(QUARTER / self.angle), 1), LONGEST)

    def move(
        self, points: Points, level: Level, bridge: Bridge, rng: np.random.Generator
    ) -> Moved:
        """Apply the kernel once to every point."""

        def follow(start: Points, momentum: Floats, angle: Floats) -> tuple[Points, Floats]:
            return rotated(start, momentum, angle, self.calls, level, bridge)

        return accepted(points, level, bridge, rng, self.angle, follow)

    def fitted(self, z: Floats, weights: Floats, rng: np.random.Generator) -> SplitHamiltonian:
        """Return the kernel itself: there is nothing to fit."""
        return self

    def rescaled(self, acceptance: float) -> SplitHamiltonian:
        """Return the kernel with its step changed towards an acceptance of 0.8."""
        return replace(self, angle=min(stepped(self.angle, acceptance, 0.8), QUARTER))


def rotated(
    points: Points, momentum: Floats, angle: Floats, steps: int, level: Level, bridge: Bridge
) -> tuple[Points, Floats]:
    """Take steps of rotation and kick; return where they end, and with what momentum.

    Parameters
    ----------
    points : Points
        The starts, with scores.
    momentum : ndarray, shape (n, d)
        Momenta.
    angle : ndarray, shape (n, 1)
        Angle of a step in radians, negative for backwards.
    steps : int
        How many to take.
    level : Level
        Minus its log-density is the potential energy.
    bridge : Bridge
        Base and target.
    """
    cosine, sine = np.cos(angle), np.sin(angle)

    def force(here: Points) -> Floats:
        rest = level_score(here, level) + here.z
        return np.where(np.isfinite(rest), rest, 0.0)

    def drift(z: Floats, momentum: Floats) -> tuple[Floats, Floats]:
        return cosine * z + sine * momentum, cosine * momentum - sine * z

    return kicked(points, momentum, angle, steps, bridge, force, drift)
