"""A population that only grows: what a density without a finite integral does to a run."""

from __future__ import annotations

from typing import cast

import numpy as np

from aisle_smc.particles import Particles
from aisle_smc.tempering import History

__all__ = ["GROWTH", "runs_away"]

# Why such a run is stopped.
GROWTH = "growth"
# How many times as wide as where it started a population may become.
WIDEST = 1e5


def runs_away(particles: Particles) -> bool:
    """Say whether half of a population lies 1e5 times farther out than where it started.

    Parameters
    ----------
    particles : Particles
        A stage of the exploration; the first points of its pool are those of the start.

    Notes
    -----
    A path follows its target wherever there is more of it.  If there is more of it the farther out
    one looks, as with a likelihood of separable data and no prior, it has no end.
    """
    pool = cast(History, particles.x).pool
    z = pool.points.z
    first = z[: pool.sources[0].n]
    low, centre, high = np.quantile(first, [0.25, 0.5, 0.75], axis=0)
    far = (np.abs(z - centre) / np.maximum(high - low, 1e-300)).max(axis=1)
    return bool(particles.weights[far > WIDEST].sum() > 0.5)
