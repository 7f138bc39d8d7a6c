"""The one stage of adaptive importance sampling."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from aisle_kernels import weights as kernels

from aisle_smc.arguments import check_count
from aisle_smc.distributions import Distribution
from aisle_smc.importance.adaptation import Adaptation, keep, normalised
from aisle_smc.importance.drawn import Drawn, Round, draw
from aisle_smc.importance.proposals import Defended, Proposals, Several
from aisle_smc.importance.weighting import Weighting, balance
from aisle_smc.particles import Particles
from aisle_smc.targets import Evaluator

__all__ = ["AdaptiveImportance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveImportance:
    """A round of adaptive importance sampling, run by :func:`aisle_smc.smc`.

    Each round draws from the proposals, weighs the draws, and the next one begins by adapting the
    proposals.  The population of a round is a :class:`Drawn`; its proposals are the last of
    ``particles.x.rounds``.  With `fresh` draws a last round freezes the adapted proposals and
    draws from them once more, weighted by their whole mixture.

    Attributes
    ----------
    target : Evaluator
        The unnormalised log-density.
    proposals : Proposals
        Those of the first round.
    weighting : Weighting
        What the target is divided by.
    adaptation : Adaptation
        How proposals come from the draws before.
    iterations : int
        Rounds that adapt, the first included.
    fresh : int
        Draws of the frozen last round; 0 for no such round.
    safety : Distribution or None
        What a share of the fresh draws comes from instead, against targets that the adapted
        proposals miss in part.
    share : float
        That share.
    t : int
        The number of this round, from zero.

    Raises
    ------
    ValueError, TypeError
        If a count is not one.

    Notes
    -----
    Run it with ``smc(stage, n, rng, threshold=0.0)``: it draws afresh in each round, and where
    resampling is part of a method it is done by the adaptation, for the proposals alone.
    Resampled particles are refused, since weights that were reset say nothing of the evidence.

    Given the rounds before, every round's evidence is unbiased under the weightings of
    :class:`Mixed`, and hence so is any average of rounds with weights fixed beforehand.  Under
    :class:`Temporal` it is not.
    """

    target: Evaluator
    proposals: Proposals
    weighting: Weighting = balance
    adaptation: Adaptation = keep
    iterations: int = 1
    fresh: int = 0
    safety: Distribution | None = None
    share: float = 0.05
    t: int = 0

    def __post_init__(self) -> None:
        check_count("iterations", self.iterations)
        if self.fresh:
            check_count("fresh", self.fresh)
        if not 0.0 < self.share < 1.0:
            raise ValueError(f"share must be above 0 and below 1; got {self.share}")

    def start(self, n: int, rng: np.random.Generator) -> Particles:
        """Draw the first round from the proposals given."""
        return _population(self.weighting.weigh(self._draw(self.proposals, n, rng), None))

    def next(self, particles: Particles) -> AdaptiveImportance | None:
        """Return the stage of the next round, or None after the last one."""
        last = self.iterations - 1 + (self.fresh > 0)
        return replace(self, t=self.t + 1) if self.t < last else None

    def lookahead(self, particles: Particles) -> None:
        """Return None: new draws do not descend from old ones."""
        return

    def move(self, particles: Particles, rng: np.random.Generator) -> Particles:
        """Adapt the proposals and draw a round from them."""
        if particles.ancestors is not None:
            raise ValueError(
                "adaptive importance sampling needs the weights of its draws, and these particles "
                "were resampled; run it with smc(..., threshold=0.0)"
            )
        before = cast(Drawn, particles.x)
        adapted = self.adaptation.adapt(
            Round(
                proposals=before.proposals,
                drawn=before,
                weights=normalised(before.log_w),
                target=self.target,
                t=self.t,
                rng=rng,
            )
        )
        if self.t == self.iterations:
            if self.fresh <= adapted.count:
                # Too few for a draw of each: a draw of the mixture is one of any.
                adapted = Several((adapted.distribution(),))
            if self.safety is not None:
                adapted = Defended(proposals=adapted, safety=self.safety, share=self.share)
            return _population(balance.weigh(self._draw(adapted, self.fresh, rng), None))
        drawn = self._draw(adapted, before.sizes[-1], rng)
        return _population(self.weighting.weigh(drawn, before))

    def _draw(self, proposals: Proposals, n: int, rng: np.random.Generator) -> Drawn:
        if n < proposals.count:
            raise ValueError(
                f"each of {proposals.count} proposals needs at least one draw; got n = {n}; draw "
                "more, or use fewer proposals"
            )
        return draw(self.target, proposals, n, rng)


def _population(drawn: Drawn) -> Particles:
    """Return draws as a population whose largest weight is one."""
    log_w = drawn.log_w
    top = float(kernels.largest(log_w))
    return Particles(drawn, log_w - top, top) if top > -np.inf else Particles(drawn, log_w)
