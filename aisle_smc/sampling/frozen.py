"""The last step of a run: fresh draws from a proposal that no longer changes.

Whatever was learnt from the pool is in the proposal; the draws that make the estimate come after
it was frozen, so that the evidence is unbiased and its error is that of independent draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol, cast

import numpy as np
from aisle_kernels import weights as kernels
from aisle_kernels.pareto import pareto_k, tail_length

from aisle_smc.arrays import Floats
from aisle_smc.moves import Points
from aisle_smc.particles import Particles
from aisle_smc.weighted.statistics import VARIANCE, khat_limit

__all__ = ["DOMINATES", "FIRST", "MOST", "Frozen", "Judged", "Source", "judge"]

# Share of the variance of the weights that the heaviest of them may make and not stand out.  Of
# 4000 weights with a Pareto tail of shape 0.5, 0.6, 0.7 it stays below in 0.8, 0, 0 % of cases.
STANDS_OUT = 0.05
# Share above which it dominates: the error is then that of one draw.  Of 16 000 weights with a
# Pareto tail of shape 0.2, 0.3, 0.4 that is so in 0, 5, 20 % of cases.
DOMINATES = 0.2
# Draws before a heavy tail is believed.
SECOND_LOOK = 16_000

# Batches before the first look at the weights, and draws at most.
FIRST, MOST = 4, 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the weights of independent draws say.

    Attributes
    ----------
    n : int
        Number of draws.
    log_evidence, error : float
        The log of the mean weight, and its standard error by the delta method, in nats.
    ess : float
        Effective sample size.
    khat : float
        Shape of the upper tail of the weights.
    largest : float
        Share of the variance of the weights that the heaviest of them makes.
    """

    n: int
    log_evidence: float
    error: float
    ess: float
    khat: float
    largest: float = 1.0

    @property
    def even(self) -> bool:
        """Whether no weight stands out, so that the shape of the tail does not matter.

        Notes
        -----
        Where weights have no variance, one of them makes a share of their sum of squares that
        does not vanish however many there are (Darling, 1952).  The shape that is fitted
        to a tail may be high although it ends soon, as with weights between 0.9 and 3.
        """
        return self.largest < STANDS_OUT

    @property
    def reliable(self) -> bool:
        """Whether the weights have a mean that so many draws can find."""
        if not math.isfinite(self.log_evidence):
            return False
        return self.even or self.khat < khat_limit(self.n)

    @property
    def dominated(self) -> bool:
        """Whether one weight makes so much of the variance that the error rests on it.

        Notes
        -----
        The shape that is fitted to a tail does not see its last few weights; a tail that is
        light until it ends in one far draw may go on where no draw has been.
        """
        return self.largest > DOMINATES

    @property
    def calibrated(self) -> bool:
        """Whether the weights have a variance, so that the error means what it says."""
        light = self.khat < VARIANCE and not self.dominated
        return self.reliable and (self.even or light)


def judge(log_w: Floats) -> Judged:
    """Return evidence, error, effective sample size and tail shape of log-weights."""
    n = log_w.shape[0]
    value = float(kernels.log_mean_exp(log_w))
    if not math.isfinite(value):
        return Judged(n=n, log_evidence=value, error=math.nan, ess=0.0, khat=math.inf)
    ess = float(kernels.ess(log_w))
    # The relative variance of the weights is n / ess - 1.
    error = math.sqrt(max(n / ess - 1.0, 0.0) / max(n - 1, 1))
    tail = tail_length(n, 1.0)
    khat = float(pareto_k(log_w, tail)) if tail >= 5 else math.inf
    # Of the sum of (W - 1/n)^2, which is 1 / ess - 1 / n.
    top = math.exp(float(log_w.max()) - value) / n - 1.0 / n
    variance = 1.0 / ess - 1.0 / n
    largest = min(top**2 / variance, 1.0) if variance > 1e-12 / n else 0.0
    return Judged(n=n, log_evidence=value, error=error, ess=ess, khat=khat, largest=largest)


class Source(Protocol):
    """What draws points and weighs them for a posterior."""

    def start(self, n: int, rng: np.random.Generator) -> Points:
        """Draw points; ``exp(log_ratio)`` are weights whose mean is the evidence."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A stage that draws from a frozen proposal until the estimates are good enough.

    Attributes
    ----------
    source : Source
        The frozen proposal, with the target to weigh its draws for.
    ess, error : float
        Effective sample size and standard error of the log-evidence to reach.
    most : int
        Draws that may be made, all stages together.
    batch : int
        Draws of one evaluation.
    batches : int
        Evaluations of this stage.

    Notes
    -----
    The population is a tuple of points, a batch each.

    The weights are looked at after 4, 5, ... batches, an eighth more each time, whatever the aims
    are.  So a run that stops and goes on later makes the draws of one that aimed higher at once.
    """

    source: Source
    ess: float
    error: float
    most: int
    batch: int = 1000
    batches: int = FIRST

    def start(self, n: int, rng: np.random.Generator) -> Particles:
        """Draw and weigh the first batches; `n` is not used."""
        return self._more((), rng)

    def next(self, particles: Particles) -> Frozen | None:
        """Return the stage that draws more, or None when the estimates are good enough."""
        done, size = particles.n // self.batch, FIRST
        while size < done:
            size += max(size // 8, 1)
        if size == done:
            found = judge(particles.log_w)
            reached = found.ess >= self.ess and found.error <= self.error
            # The shape of the tail is itself an estimate: more draws before a judgement.
            unsure = not found.calibrated and found.khat < 1.0 and found.n < SECOND_LOOK
            if found.n >= MOST or ((reached or not found.reliable) and not unsure):
                return None
            size += max(size // 8, 1)
        # What is left of the allowance is used up; the batch after that exceeds it.
        allowed = self.most // self.batch - done
        return replace(self, batches=max(min(size - done, allowed), 1))

    def lookahead(self, particles: Particles) -> None:
        """Return None: nothing is resampled."""
        return

    def move(self, particles: Particles, rng: np.random.Generator) -> Particles:
        """Draw and weigh more batches."""
        return self._more(cast(tuple[Points, ...], particles.x), rng)

    def _more(self, parts: tuple[Points, ...], rng: np.random.Generator) -> Particles:
        parts = (*parts, *(self.source.start(self.batch, rng) for _ in range(self.batches)))
        return Particles(parts, np.concatenate([p.log_ratio for p in parts]))
