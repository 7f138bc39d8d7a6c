"""What the rounds of an importance sampler leave: points, what is known there, who drew them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aisle_smc.arrays import Array, Floats, Integers
from aisle_smc.importance.proposals import Proposals
from aisle_smc.targets import Evaluator

__all__ = ["Drawn", "Round", "draw", "follow"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """The draws of one round or several, in their order.

    Attributes
    ----------
    points : ndarray, shape (n, d)
        Where they are.
    log_density : ndarray, shape (n,)
        The target there, in nats; ``-inf`` where it vanishes.
    log_own : ndarray, shape (n,)
        Log-density of the proposal that made each draw.
    log_proposal : ndarray, shape (n,)
        Log of what the target is divided by, which is for a weighting to say.
    rounds : tuple of Proposals
        The proposals of each round.
    sizes : tuple of int
        The number of draws of each round.
    blobs : ndarray, shape (n, ...), or None
        What else the target returned.
    """

    points: Floats
    log_density: Floats
    log_own: Floats
    log_proposal: Floats
    rounds: tuple[Proposals, ...]
    sizes: tuple[int, ...]
    blobs: Array | None = None

    @property
    def n(self) -> int:
        """Number of draws."""
        return int(self.log_density.shape[0])

    @property
    def log_w(self) -> Floats:
        """Log-weights, shape (n,), in nats."""
        return self.log_density - self.log_proposal

    @property
    def proposals(self) -> Proposals:
        """The proposals of the last round."""
        return self.rounds[-1]

    @property
    def latest(self) -> Drawn:
        """The draws of the last round alone."""
        if len(self.rounds) == 1:
            return self
        return replace(
            self[np.arange(self.n - self.sizes[-1], self.n)],
            rounds=self.rounds[-1:],
            sizes=self.sizes[-1:],
        )

    @property
    def strata(self) -> Integers:
        """Number of draws of each proposal of each round, in order; none has zero."""
        parts = [each.sizes(n) for n, each in zip(self.sizes, self.rounds, strict=True)]
        counts = np.concatenate(parts)
        return counts[counts > 0]

    def __getitem__(self, index: Any) -> Drawn:
        """Select draws; which proposals made them is forgotten."""
        return Drawn(
            points=self.points[index],
            log_density=self.log_density[index],
            log_own=self.log_own[index],
            log_proposal=self.log_proposal[index],
            rounds=(),
            sizes=(),
            blobs=None if self.blobs is None else self.blobs[index],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Round:
    """What an adaptation learns from.

    Attributes
    ----------
    proposals : Proposals
        What is to be adapted.
    drawn : Drawn
        The draws of the last round, or of all rounds where the weighting keeps them.
    weights : ndarray, shape (n,)
        Their normalised weights.
    target : Evaluator
        The target, for adaptations that ask it for more.
    t : int
        Number of rounds so far, counted from one.
    rng : numpy.random.Generator
        For adaptations that are random.
    """

    proposals: Proposals
    drawn: Drawn
    weights: Floats
    target: Evaluator
    t: int
    rng: np.random.Generator


def draw(target: Evaluator, proposals: Proposals, n: int, rng: np.random.Generator) -> Drawn:
    """Draw a round and evaluate the target; each draw is weighted by its own proposal.

    Raises
    ------
    ValueError
        If a proposal draws what it gives no density, or the target is NaN somewhere.
    """
    points = proposals.sample(n, rng)
    if points.shape != (n, proposals.dim):
        raise ValueError(
            f"proposals must draw points of shape {(n, proposals.dim)}; they drew {points.shape}; "
            "correct `sample`"
        )
    log_own = proposals.log_own(points)
    if log_own.shape != (n,) or not np.isfinite(log_own).all():
        raise _no_density(points, log_own, n)
    found = target(points)
    return Drawn(
        points=points,
        log_density=found.log_density,
        log_own=log_own,
        log_proposal=log_own,
        rounds=(proposals,),
        sizes=(n,),
        blobs=found.blobs,
    )


def follow(before: Drawn, after: Drawn, log_proposal: Floats) -> Drawn:
    """Return two rounds or more as one, weighted by a new denominator."""
    blobs = None
    if before.blobs is not None and after.blobs is not None:
        blobs = np.concatenate([before.blobs, after.blobs])
    return Drawn(
        points=np.concatenate([before.points, after.points]),
        log_density=np.concatenate([before.log_density, after.log_density]),
        log_own=np.concatenate([before.log_own, after.log_own]),
        log_proposal=log_proposal,
        rounds=before.rounds + after.rounds,
        sizes=before.sizes + after.sizes,
        blobs=blobs,
    )


def _no_density(points: Floats, log_own: Floats, n: int) -> ValueError:
    if log_own.shape != (n,):
        return ValueError(
            f"the log-density of a proposal must have shape {(n,)}, one value per point; got "
            f"shape {log_own.shape}; correct `log_density`"
        )
    i = int(np.flatnonzero(~np.isfinite(log_own))[0])
    return ValueError(
        "a proposal must have a finite log-density wherever it draws, for the weight divides by "
        f"it; at its draw {i}, {points[i].tolist()}, it is {log_own[i]}; check that `sample` and "
        "`log_density` are of the same distribution"
    )
