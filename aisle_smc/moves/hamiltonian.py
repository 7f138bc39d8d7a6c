"""Moves that follow gradients: the Langevin algorithm and Hamiltonian Monte Carlo."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.moves.metropolis import Moved, metropolis
from aisle_smc.moves.points import Bridge, Level, Points
from aisle_smc.moves.walks import covariance_root, stepped

__all__ = ["MALA", "Hamiltonian"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hamiltonian:
    """Leapfrog trajectories in coordinates whitened by the population's covariance.

    Attributes
    ----------
    root : ndarray, shape (d, d), or None
        Lower root of the population's covariance, the inverse mass; None for the identity.
    step : float
        Mean leapfrog step, in units of ``d**(-1/4)``; each move draws its own, between 0.8 and
        1.2 of it.
    leapfrogs : int
        Steps of a trajectory.
    fit : bool
        Whether `root` follows the population.  Without it the coordinates are taken as white,
        which suits a base that is a normal approximation.

    References
    ----------
    Neal (2011), MCMC using Hamiltonian dynamics, equations 5.18 to 5.20.
    """

    root: Floats | None = None
    step: float = 1.0
    leapfrogs: int = 5
    fit: bool = True

    @property
    def name(self) -> str:
        """A word for tables."""
        return "Hamiltonian"

    @property
    def calls(self) -> int:
        """Evaluations of the target for each point and application."""
        return self.leapfrogs

    def move(
        self, points: Points, level: Level, bridge: Bridge, rng: np.random.Generator
    ) -> Moved:
        """Apply the kernel once to every point."""
        return _trajectory(points, level, bridge, rng, self.root, self.step, self.leapfrogs)

    def fitted(self, z: Floats, weights: Floats, rng: np.random.Generator) -> Hamiltonian:
        """Return the kernel whitened by the population's covariance."""
        return replace(self, root=covariance_root(z, weights)) if self.fit else self

    def rescaled(self, acceptance: float) -> Hamiltonian:
        """Return the kernel with its step changed towards an acceptance of 0.8."""
        return replace(self, step=stepped(self.step, acceptance, 0.8))


@dataclass(frozen=True, slots=True, kw_only=True)
class MALA:
    """The Metropolis-adjusted Langevin algorithm: a single leapfrog step.

    Attributes
    ----------
    root : ndarray, shape (d, d), or None
        Lower root of the population's covariance; None for the identity.
    step : float
        The leapfrog step in units of ``d**(-1/6)``; the Langevin step is half its square.

    References
    ----------
    Roberts and Rosenthal (1998), Optimal scaling of discrete approximations to Langevin
    diffusions: acceptance 0.574.
    """

    root: Floats | None = None
    step: float = 1.0

    @property
    def name(self) -> str:
        """A word for tables."""
        return "Langevin"

    @property
    def calls(self) -> int:
        """Evaluations of the target for each point and application."""
        return 1

    def move(
        self, points: Points, level: Level, bridge: Bridge, rng: np.random.Generator
    ) -> Moved:
        """Apply the kernel once to every point."""
        d = points.z.shape[1]
        # _trajectory counts in d**(-1/4).
        step = self.step * d ** (0.25 - 1.0 / 6.0)
        return _trajectory(points, level, bridge, rng, self.root, step, 1)

    def fitted(self, z: Floats, weights: Floats, rng: np.random.Generator) -> MALA:
        """Return the kernel whitened by the population's covariance."""
        return replace(self, root=covariance_root(z, weights))

    def rescaled(self, acceptance: float) -> MALA:
        """Return the kernel with its step changed towards an acceptance of 0.574."""
        return replace(self, step=stepped(self.step, acceptance, 0.574))


def _trajectory(
    points: Points,
    level: Level,
    bridge: Bridge,
    rng: np.random.Generator,
    root: Floats | None,
    step: float,
    leapfrogs: int,
) -> Moved:
    """Follow Hamilton's equations by leapfrog steps, and accept the end by its energy."""

    def follow(start: Points, momentum: Floats, size: Floats) -> tuple[Points, Floats]:
        return leapfrog(start, momentum, size, leapfrogs, level, bridge, root)

    return accepted(points, level, bridge, rng, step * points.z.shape[1] ** -0.25, follow)


def accepted(
    points: Points,
    level: Level,
    bridge: Bridge,
    rng: np.random.Generator,
    step: float,
    follow: Callable[[Points, Floats, Floats], tuple[Points, Floats]],
) -> Moved:
    """Draw momenta and steps, follow trajectories, and accept their ends by the energy.

    Parameters
    ----------
    points : Points
        Where the chains are.
    level : Level
        The density left invariant.
    bridge : Bridge
        Base and target.
    rng : numpy.random.Generator
        Source of steps, momenta and acceptance.
    step : float
        Mean step; each point draws its own, between 0.8 and 1.2 of it.
    follow : callable
        Takes points with scores, momenta (n, d) and steps (n, 1), and returns points and momenta
        by a map that keeps volume and is undone when the momenta are turned round.
    """
    if points.scores is None:
        points = bridge.at(points.z, scores=True)
    n, d = points.z.shape
    size = step * (0.8 + 0.4 * rng.random((n, 1)))
    momentum = rng.standard_normal((n, d))
    there, ended = follow(points, momentum, size)
    with np.errstate(over="ignore"):
        before = 0.5 * np.square(momentum).sum(axis=1)
        after = 0.5 * np.square(ended).sum(axis=1)
    return metropolis(points, there, before - after, level, rng)


def leapfrog(
    points: Points,
    momentum: Floats,
    size: Floats,
    steps: int,
    level: Level,
    bridge: Bridge,
    root: Floats | None,
) -> tuple[Points, Floats]:
    """Take leapfrog steps through a level; return where they end, and with what momentum.

    Parameters
    ----------
    points : Points
        The starts, with scores.
    momentum : ndarray, shape (n, d)
        Momenta in whitened coordinates.
    size : ndarray, shape (n, 1)
        Size of a step, negative for backwards.
    steps : int
        How many to take.
    level : Level
        Minus its log-density is the potential energy.
    bridge : Bridge
        Base and target.
    root : ndarray, shape (d, d), or None
        Lower root of the inverse mass; None for the identity.
    """

    def force(here: Points) -> Floats:
        slope = level_score(here, level)
        # Where the target vanishes there is no gradient to follow; such a trajectory is refused.
        slope = np.where(np.isfinite(slope), slope, 0.0)
        return np.asarray(slope if root is None else slope @ root)

    def drift(z: Floats, momentum: Floats) -> tuple[Floats, Floats]:
        move = size * momentum
        return z + (move if root is None else move @ root.T), momentum

    return kicked(points, momentum, size, steps, bridge, force, drift)


def kicked(
    points: Points,
    momentum: Floats,
    size: Floats,
    steps: int,
    bridge: Bridge,
    force: Callable[[Points], Floats],
    drift: Callable[[Floats, Floats], tuple[Floats, Floats]],
) -> tuple[Points, Floats]:
    """Drift, with kicks of the momentum between: half of one first and last (Strang).

    Parameters
    ----------
    points, momentum, size, steps, bridge
        As in :func:`leapfrog`.
    force : callable
        What a step of size one kicks by, shape (n, d), at points with scores.
    drift : callable
        Takes coordinates and momenta through one step, by a map that keeps volume and is undone
        when the momenta are turned round.

    Notes
    -----
    A trajectory that diverges is brought back to its start with an infinite momentum, which no
    one accepts.
    """
    here = points
    with np.errstate(invalid="ignore", over="ignore"):
        momentum = momentum + 0.5 * size * force(here)
        for k in range(steps):
            z, momentum = drift(here.z, momentum)
            lost = np.flatnonzero(~np.isfinite(z).all(axis=1))
            if lost.size > 0:
                z[lost], momentum = points.z[lost], momentum.copy()
                momentum[lost] = math.inf
            here = bridge.at(z, scores=True)
            last = k == steps - 1
            momentum = momentum + (0.5 if last else 1.0) * size * force(here)
    return here, momentum


def level_score(points: Points, level: Level) -> Floats:
    """Return the gradient of a level's log-density, shape (n, d), where it has one."""
    assert points.scores is not None
    base, ratio = points.scores
    return np.asarray(base + level.slope * ratio)
