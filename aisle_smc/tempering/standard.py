"""The classical SMC sampler and its waste-free form, as stages of the one loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.moves import Bridge, Level, Points, Portfolio, join
from aisle_smc.particles import Particles
from aisle_smc.resampling import Resampler, systematic
from aisle_smc.smc import smc
from aisle_smc.tempering.levels import BASE, Temperature, next_temperature

__all__ = ["Cloud", "Plan", "Tempering", "WasteFree", "replicate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A stage decided beforehand.

    Attributes
    ----------
    level : Level
        Its level.
    portfolio : Portfolio
        Its kernels, fitted.
    sweeps : int
        Applications of a kernel to each particle.
    """

    level: Level
    portfolio: Portfolio
    sweeps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """The population of an SMC sampler: points, and the kernels as last adapted.

    Attributes
    ----------
    points : Points
        One for each particle.
    portfolio : Portfolio
        The kernels.
    acceptance, decorrelation : float
        Of the last stage.
    used : Portfolio or None
        The kernels that made it, as fitted: with its level and sweeps they are its :class:`Plan`.
    """

    points: Points
    portfolio: Portfolio
    acceptance: float = math.nan
    decorrelation: float = math.nan
    used: Portfolio | None = None

    def __getitem__(self, index: Any) -> Cloud:
        """Select particles."""
        return replace(self, points=self.points[index])


def increment(before: Level, after: Level, points: Points) -> Floats:
    """Return the log of the ratio of two levels at points, ``-inf`` where the second vanishes."""
    there = after.log_potential(points.log_ratio)
    here = before.log_potential(points.log_ratio)
    with np.errstate(invalid="ignore"):
        return np.where(np.isneginf(there), -math.inf, there - here)


def swept_cloud(
    points: Points,
    portfolio: Portfolio,
    level: Level,
    bridge: Bridge,
    weights: Floats,
    sweeps: int,
    rng: np.random.Generator,
) -> Cloud:
    """Return weighted points after a number of sweeps."""
    variances = weights @ np.square(points.z - weights @ points.z)
    swept = portfolio.sweep(points, level, bridge, rng, sweeps, variances)
    return Cloud(
        points=swept.points,
        portfolio=swept.portfolio,
        acceptance=swept.acceptance,
        decorrelation=swept.decorrelation,
        used=portfolio,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tempering:
    """A stage of a tempered SMC sampler.

    The weights are multiplied by the ratio of this level to the last one, the loop resamples when
    they have grown uneven, and Markov kernels move every particle.

    Attributes
    ----------
    bridge : Bridge
        Base and target.
    portfolio : Portfolio
        The kernels to begin with; adapted from stage to stage unless there are plans.
    efficiency : float
        Conditional effective sample size that a step between levels keeps.
    sweeps : int
        Applications of a kernel to each particle in a stage.
    plans : tuple of Plan, optional
        Levels and kernels decided beforehand, for an estimate that is exactly unbiased.
    level : Level
        The level of this stage.

    Notes
    -----
    With `plans`, or with levels and kernels that do not depend on the population, the evidence is
    unbiased for any number of particles (Del Moral, Doucet and Jasra, 2006, equation 14).  What is
    chosen from the population biases it at order ``1/n`` (Beskos, Jasra, Kantas and Thiery, 2016).

    References
    ----------
    Del Moral, Doucet and Jasra (2006), Sequential Monte Carlo samplers, section 3.3.2.3.
    Zhou, Johansen and Aston (2016) for the choice of the next temperature.
    """

    bridge: Bridge
    portfolio: Portfolio
    efficiency: float = 0.5
    sweeps: int = 5
    plans: tuple[Plan, ...] | None = None
    level: Level = BASE
    before: Level = BASE

    def start(self, n: int, rng: np.random.Generator) -> Particles:
        """Draw the particles from the base."""
        cloud = Cloud(points=self.bridge.start(n, rng), portfolio=self.portfolio)
        return Particles(cloud, np.zeros(n))

    def next(self, particles: Particles) -> Tempering | None:
        """Return the stage at the next level, or None after the target or without any mass."""
        if particles.log_evidence == -math.inf:
            return None
        if self.plans is not None:
            if not self.plans:
                return None
            plan, *rest = self.plans
            return replace(
                self,
                level=plan.level,
                before=self.level,
                portfolio=plan.portfolio,
                sweeps=plan.sweeps,
                plans=tuple(rest),
            )
        beta = self.level.slope
        if beta >= 1.0:
            return None
        points = cast(Cloud, particles.x).points
        beta = next_temperature(particles.log_w, points.log_ratio, beta, self.efficiency)
        return replace(self, level=Temperature(beta), before=self.level)

    def lookahead(self, particles: Particles) -> Floats | None:
        """Return the increments of the log-weights: resampling comes after weighing.

        None if no particle survives them; there is nothing to resample then, and the evidence is
        zero.
        """
        log_g = increment(self.before, self.level, cast(Cloud, particles.x).points)
        return log_g if (particles.log_w + log_g).max() > -math.inf else None

    def move(self, particles: Particles, rng: np.random.Generator) -> Particles:
        """Weigh the particles for this level and move them."""
        cloud = cast(Cloud, particles.x)
        particles = particles.reweight(increment(self.before, self.level, cloud.points))
        if particles.log_evidence == -math.inf:
            return particles
        points, weights, portfolio = cloud.points, particles.weights, self.portfolio
        if self.plans is None:
            portfolio = cloud.portfolio.fitted(points.z, weights, rng)
        return particles.move(
            swept_cloud(points, portfolio, self.level, self.bridge, weights, self.sweeps, rng)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WasteFree:
    """A stage of a waste-free SMC sampler: few ancestors, long chains, every state kept.

    Of n particles ``n / length`` are resampled, and the `length` states of each one's chain are
    the next population.

    Attributes
    ----------
    bridge, portfolio, efficiency, level, before
        As in :class:`Tempering`.
    length : int
        States of a chain, its start included; must divide the number of particles.
    resampler : Resampler
        How ancestors are drawn.

    Notes
    -----
    Run it with ``smc(stage, n, rng, threshold=0.0)``: it resamples itself, at every stage.

    References
    ----------
    Dau and Chopin (2022), Waste-free sequential Monte Carlo, algorithm 2.
    """

    bridge: Bridge
    portfolio: Portfolio
    length: int = 10
    efficiency: float = 0.5
    resampler: Resampler = systematic
    level: Level = BASE
    before: Level = BASE

    def start(self, n: int, rng: np.random.Generator) -> Particles:
        """Draw the particles from the base."""
        if self.length < 2 or n % self.length:
            raise ValueError(
                "waste-free chains need a length of at least 2 that divides the number of "
                f"particles; got length {self.length} for n = {n}; choose n as a multiple"
            )
        cloud = Cloud(points=self.bridge.start(n, rng), portfolio=self.portfolio)
        return Particles(cloud, np.zeros(n))

    def next(self, particles: Particles) -> WasteFree | None:
        """Return the stage at the next level, or None after the target or without any mass."""
        beta = self.level.slope
        if beta >= 1.0 or particles.log_evidence == -math.inf:
            return None
        points = cast(Cloud, particles.x).points
        beta = next_temperature(particles.log_w, points.log_ratio, beta, self.efficiency)
        return replace(self, level=Temperature(beta), before=self.level)

    def lookahead(self, particles: Particles) -> None:
        """Return None: the stage resamples itself."""
        return

    def move(self, particles: Particles, rng: np.random.Generator) -> Particles:
        """Weigh for this level, resample few, and keep their chains."""
        cloud = cast(Cloud, particles.x)
        particles = particles.reweight(increment(self.before, self.level, cloud.points))
        if particles.log_evidence == -math.inf:
            return particles
        z, weights = cloud.points.z, particles.weights
        portfolio = cloud.portfolio.fitted(z, weights, rng)
        variances = weights @ np.square(z - weights @ z)
        few = particles.resample(self.resampler, rng, m=particles.n // self.length)
        begin = cast(Cloud, few.x).points
        swept = portfolio.sweep(
            begin, self.level, self.bridge, rng, self.length - 1, variances, keep=True
        )
        chains = join([begin, *swept.chains])
        moved = Cloud(
            points=chains,
            portfolio=swept.portfolio,
            acceptance=swept.acceptance,
            decorrelation=swept.decorrelation,
        )
        return Particles(moved, np.zeros(chains.n), few.log_z)


def replicate(
    stage: Tempering,
    n: int,
    streams: Sequence[np.random.Generator],
    *,
    threshold: float = 0.5,
    watch: Callable[[], None] = lambda: None,
) -> list[Particles]:
    """Run a planned sampler once for each stream; return the last populations.

    Each evidence is unbiased, they are independent, and so their mean has an honest error.

    Parameters
    ----------
    stage : Tempering
        The first stage, with plans.
    n : int
        Particles of each run.
    streams : sequence of numpy.random.Generator
        One for each run.
    threshold : float
        As in :func:`aisle_smc.smc`.
    watch : callable
        Called after every stage.
    """
    found = []
    for rng in streams:
        for _, particles in smc(stage, n, rng, threshold=threshold):  # noqa: B007 - the last
            watch()
        found.append(particles)
    return found
