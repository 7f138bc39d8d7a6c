"""Several kernels side by side: the one that moves farthest for a call gets most of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.moves.metropolis import Kernel
from aisle_smc.moves.points import Bridge, Level, Points

__all__ = ["Portfolio", "Swept"]

EXPLORE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """A population after the sweeps of a stage, and what they taught.

    Attributes
    ----------
    points : Points
        Where the particles are now.
    portfolio : Portfolio
        The kernels for the next stage.
    acceptance : float
        Mean acceptance probability of the sweeps.
    decorrelation : float
        Half the mean squared distance from the start, in units of the population's variance, of
        the coordinate where it is least: 0 for particles that stay, 1 for independent ones.
    chains : tuple of Points
        The states after each sweep, where they were asked for.
    """

    points: Points
    portfolio: Portfolio
    acceptance: float
    decorrelation: float
    chains: tuple[Points, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Portfolio:
    """Kernels with a share of the sweeps each.

    The merit of a kernel is its mean squared jump for each call, in units of the population's
    variances, where last measured.  Within a stage everything is frozen.

    Attributes
    ----------
    kernels : tuple of Kernel
        The kernels.
    merits : tuple of float
        One for each kernel; infinite before the first trial.
    names_used : tuple of str
        Kernels of the last stage.
    owed : tuple of float
        Sweeps that each kernel's share has earned so far and that it has not had: stages of a
        few sweeps come round to every kernel in time.

    References
    ----------
    Fearnhead and Taylor (2013), An adaptive sequential Monte Carlo sampler: expected squared jump
    distance as the criterion.
    """

    kernels: tuple[Kernel, ...]
    merits: tuple[float, ...] = ()
    names_used: tuple[str, ...] = ()
    owed: tuple[float, ...] = ()

    def fitted(self, z: Floats, weights: Floats, rng: np.random.Generator) -> Portfolio:
        """Return the portfolio with the shape of every kernel adapted to a population."""
        return replace(self, kernels=tuple(k.fitted(z, weights, rng) for k in self.kernels))

    def joined(self, kernel: Kernel) -> Portfolio:
        """Return the portfolio with one more kernel, in the place of one of the same name."""
        names = [k.name for k in self.kernels]
        if kernel.name in names:
            kernels = list(self.kernels)
            kernels[names.index(kernel.name)] = kernel
            return replace(self, kernels=tuple(kernels))
        return replace(
            self,
            kernels=(*self.kernels, kernel),
            merits=(*self.merits, math.inf) if self.merits else (),
            owed=(*self.owed, 0.0) if self.owed else (),
        )

    def schedule(self, sweeps: int) -> tuple[int, ...]:
        """Return which kernel makes each of the coming sweeps.

        Notes
        -----
        Kernels without a merit come first; then the shares are those of the squared merits, but
        for a share of `EXPLORE` that all have equally.
        """
        return self._deal(sweeps)[0]

    def _deal(self, sweeps: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Return the schedule, and what is owed after it."""
        size = len(self.kernels)
        merits = np.array(self.merits or [math.inf] * size)
        owed = np.array(self.owed or [0.0] * size)
        order = [int(k) for k in np.flatnonzero(np.isinf(merits))][:sweeps]
        known = np.where(np.isinf(merits), 0.0, merits)
        square = np.square(known / known.max()) if known.max() > 0.0 else np.ones(size)
        share = square / square.sum()
        share = (1.0 - EXPLORE) * share + EXPLORE / size
        for _ in range(sweeps - len(order)):
            owed += share
            k = int(np.argmax(owed))
            owed[k] -= 1.0
            order.append(k)
        return tuple(order), tuple(owed.tolist())

    def sweep(
        self,
        points: Points,
        level: Level,
        bridge: Bridge,
        rng: np.random.Generator,
        sweeps: int,
        variances: Floats,
        *,
        keep: bool = False,
    ) -> Swept:
        """Move every particle a number of times.

        Parameters
        ----------
        points : Points
            The particles, each approximately from the level.
        level : Level
            The density left invariant.
        bridge : Bridge
            Base and target.
        rng : numpy.random.Generator
            Source of randomness.
        sweeps : int
            Applications of a kernel to each particle.
        variances : ndarray, shape (d,)
            The population's variances, the unit of jumps.
        keep : bool
            Return the state after every sweep.
        """
        # A coordinate in which the population is one point gives no unit: its jumps count nothing.
        start, scale = points.z, np.where(variances > 1e-200, variances, math.inf)
        jumps: dict[int, list[float]] = {}
        taken: dict[int, list[float]] = {}
        chains = []
        order, owed = self._deal(sweeps)
        for k in order:
            kernel = self.kernels[k]
            moved = kernel.move(points, level, bridge, rng)
            jump = float((np.square(moved.points.z - points.z) / scale).mean())
            jumps.setdefault(k, []).append(jump / kernel.calls)
            taken.setdefault(k, []).append(moved.acceptance)
            points = moved.points
            if keep:
                chains.append(points)
        merits = list(self.merits or [math.inf] * len(self.kernels))
        kernels = list(self.kernels)
        for k, values in jumps.items():
            merits[k] = float(np.mean(values))
            kernels[k] = kernels[k].rescaled(float(np.mean(taken[k])))
        # The slowest coordinate tells whether the population has moved.
        apart = float((np.square(points.z - start) / scale).mean(axis=0).min())
        return Swept(
            points=points,
            portfolio=Portfolio(
                kernels=tuple(kernels),
                merits=tuple(merits),
                names_used=tuple(self.kernels[k].name for k in jumps),
                owed=owed,
            ),
            acceptance=float(np.mean([a for values in taken.values() for a in values])),
            decorrelation=min(0.5 * apart, 1.0),
            chains=tuple(chains),
        )
