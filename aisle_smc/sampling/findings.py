"""What a run has found: draws, replicates and the pool, and how far each can be relied on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
from aisle_kernels import weights as kernels

from aisle_smc.arrays import Floats, Integers
from aisle_smc.moves import Points, join
from aisle_smc.particles import Particles
from aisle_smc.sampling.bridges import FromBase
from aisle_smc.sampling.estimates import Estimate, replicated
from aisle_smc.sampling.frozen import Source, judge
from aisle_smc.tempering import TARGET, History, Pool
from aisle_smc.tempering.fits import tail_shape
from aisle_smc.tempering.holes import hidden

__all__ = ["Findings"]

# Shape of the tail that makes a second exploration unnecessary.
WELL = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the phases of a run have found.

    Attributes
    ----------
    proper : bool
        Whether the target has a prior, and so a finite evidence.
    history : History or None
        The exploration.
    source : Source or None
        What independent draws come from.
    drawn : Particles or None
        Those draws.
    outdated : bool
        Whether this exploration has not led to draws; there may be some of one before it.
    replicates : tuple of Particles
        Runs of samplers that do not adapt.
    """

    proper: bool
    history: History | None
    source: Source | None
    drawn: Particles | None
    outdated: bool
    replicates: tuple[Particles, ...]

    @property
    def trusted(self) -> bool:
        """Whether the draws of the frozen proposal can be relied on."""
        if self.drawn is None or self.outdated:
            return False
        found = judge(self.drawn.log_w)
        return found.reliable and not self.hidden > found.error

    @property
    def settled(self) -> bool:
        """Whether exploring again would hardly give better draws."""
        if self.drawn is None or self.outdated:
            return True
        found = judge(self.drawn.log_w)
        if self.hidden > found.error:
            return False
        khat = found.khat
        # Without a prior a very heavy tail may be that of a density with no finite integral.
        return found.even or khat < WELL or (khat > 1.0 and not self.proper)

    @property
    def hidden(self) -> float:
        """Share of the mass that the exploration has seen where the draws have not been."""
        if self.drawn is None or self.history is None:
            return 0.0
        log_w = self.drawn.log_w
        if not (found := judge(log_w)).ess > 0.0:
            return 0.0
        top = math.exp(float(log_w.max()) - found.log_evidence)
        return hidden(self.history.pool, TARGET, cast(FromBase, self.source).base, top)

    def estimates(self) -> dict[str, Estimate]:
        """Return every estimate of the evidence that there is, by method."""
        found: dict[str, Estimate] = {}
        if self.drawn is not None:
            found["draws"] = Estimate.of_draws(judge(self.drawn.log_w))
        other = replicated(self.replicates)
        if other is not None:
            found["replicates"] = other
        if self.history is not None:
            pool, log_w = _weighed(self.history.pool)
            _, error = pool.log_evidence(TARGET)
            found["pool"] = Estimate(
                log_evidence=Particles(None, log_w).log_evidence,
                error=error,
                khat=tail_shape(log_w),
            )
        return found

    def points(self, method: str) -> tuple[Points, Floats, Integers | None]:
        """Return the posterior's points by one method, their log-weights, and their groups."""
        if method == "draws":
            assert self.drawn is not None
            return join(cast(tuple[Points, ...], self.drawn.x)), self.drawn.log_w, None
        if method == "replicates":
            parts = [p.x.points for p in self.replicates]
            log_w = np.concatenate([p.log_w + p.log_z for p in self.replicates])
            groups = np.repeat(np.arange(len(parts)), [part.n for part in parts])
            return join([p.without_scores() for p in parts]), log_w, groups
        assert self.history is not None
        pool, log_w = _weighed(self.history.pool)
        return pool.points, log_w, pool.island


def _weighed(whole: Pool) -> tuple[Pool, Floats]:
    """Return a pool with its weights: the points of known density, where they suffice."""
    exact, whole = whole.exact, whole.solved
    log_w, other = exact.log_weights(TARGET), whole.log_weights(TARGET)
    if kernels.ess(log_w) < 0.1 * kernels.ess(other):
        return whole, other
    return exact, log_w
