"""The one loop: everything that moves forward in time is a stage run by :func:`smc`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol, Self, TypeVar

import numpy as np
from aisle_kernels import weights as kernels

from aisle_smc.arrays import Floats
from aisle_smc.particles import Particles
from aisle_smc.resampling import Resampler, systematic

__all__ = ["Stage", "resume", "smc"]


class Stage(Protocol):
    """One step of an algorithm, as a frozen value."""

    def start(self, n: int, rng: np.random.Generator) -> Particles:
        """Return the first population, weighted for the first target."""
        ...

    def next(self, particles: Particles) -> Self | None:
        """Return the stage that follows this population, or None when it was the last."""
        ...

    def lookahead(self, particles: Particles) -> Floats | None:
        """Return log look-ahead weights, shape (n,), or None for none."""
        ...

    def move(self, particles: Particles, rng: np.random.Generator) -> Particles:
        """Propagate the population and weight it for this stage's target."""
        ...


S = TypeVar("S", bound=Stage)


def smc(
    stage: S,
    n: int,
    rng: np.random.Generator,
    *,
    resampler: Resampler = systematic,
    threshold: float = 0.5,
) -> Iterator[tuple[S, Particles]]:
    """Run a sequential Monte Carlo algorithm, one population at a time.

    Parameters
    ----------
    stage : Stage
        The first stage.
    n : int
        Number of particles.
    rng : numpy.random.Generator
        The only source of randomness.
    resampler : Resampler
        How offspring are drawn.
    threshold : float
        Resample when the effective sample size falls below ``threshold * n``; 0 never
        resamples, anything above 1 always does.

    Yields
    ------
    stage : Stage
        The stage just completed.
    particles : Particles
        Its weighted population; ``particles.ancestors`` is None when it was not resampled.

    Notes
    -----
    ``(stage, particles, rng)`` is the whole state: pickle the three together and hand them to
    :func:`resume` to continue to the same bits.
    """
    particles = stage.start(n, rng)
    yield stage, particles
    yield from resume(stage, particles, rng, resampler=resampler, threshold=threshold)


def resume(
    stage: S,
    particles: Particles,
    rng: np.random.Generator,
    *,
    resampler: Resampler = systematic,
    threshold: float = 0.5,
) -> Iterator[tuple[S, Particles]]:
    """Continue :func:`smc` after the population that `stage` produced."""
    while (following := stage.next(particles)) is not None:
        stage = following
        log_eta = stage.lookahead(particles)
        log_v = particles.log_w if log_eta is None else particles.log_w + log_eta
        if kernels.ess(log_v) < threshold * particles.n:
            particles = particles.resample(resampler, rng, log_eta)
        else:
            particles = replace(particles, ancestors=None)
        particles = stage.move(particles, rng)
        yield stage, particles
