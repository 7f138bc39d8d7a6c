"""Locations that wander as Markov chains: the upper layer of layered adaptive sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from aisle_smc.arguments import check_count
from aisle_smc.importance.drawn import Round
from aisle_smc.importance.proposals import Proposals
from aisle_smc.importance.spread import Spread, kernel, located

__all__ = ["MarkovLocations"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkovLocations:
    """Move each location by random-walk Metropolis steps that leave the target invariant.

    The mixture of the proposals then tends to the target smoothed by their spread, whatever the
    weights of the draws are: the upper layer needs none of them.

    Attributes
    ----------
    steps : int
        Metropolis steps a round, each one evaluation for each location.
    step : float or None
        Length of a step in units of the proposals' roots; ``2.38 / sqrt(d)`` by default.
    spread : Spread
        How wide the proposals are.

    References
    ----------
    Martino, Elvira, Luengo and Corander (2017), Layered adaptive importance sampling: with
    parallel independent chains.
    """

    steps: int = 1
    step: float | None = None
    spread: Spread = kernel

    def __post_init__(self) -> None:
        check_count("steps", self.steps)
        if self.step is not None and not self.step > 0.0:
            raise ValueError(f"step must be positive, or None for 2.38 / sqrt(d); got {self.step}")

    def adapt(self, last: Round) -> Proposals:
        """Return the proposals at the new states of their chains."""
        present = located(last)
        count, dim = present.count, present.dim
        x, log_density = present.locations, present.log_density
        if log_density is None:
            log_density = last.target(x).log_density
        step = 2.38 / math.sqrt(dim) if self.step is None else self.step
        roots = step * present.roots.transpose(0, 2, 1)
        for _ in range(self.steps):
            noise = last.rng.standard_normal((count, 1, dim))
            proposed = x + (noise @ roots)[:, 0, :]
            value = last.target(proposed).log_density
            # A chain that starts where the target vanishes takes the first point that has mass.
            with np.errstate(invalid="ignore"):
                log_ratio = np.where(np.isneginf(value), -math.inf, value - log_density)
            moved = -last.rng.standard_exponential(count) < log_ratio
            x = np.where(moved[:, None], proposed, x)
            log_density = np.where(moved, value, log_density)
        return replace(
            present,
            locations=x,
            roots=self.spread.roots(last, np.arange(count)),
            log_density=log_density,
            gradients=None,
        )
