"""What importance sampling found: the evidence with its error, and draws of the posterior."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from aisle_kernels import weights as kernels
from aisle_kernels.pareto import pareto_k, tail_length

from aisle_smc.distributions import Distribution
from aisle_smc.importance.drawn import Drawn
from aisle_smc.weighted import WeightedDraws
from aisle_smc.weighted.statistics import VARIANCE, khat_limit

__all__ = ["Estimate", "ImportanceResult", "estimate"]


class Estimate(NamedTuple):
    """The evidence that some draws give.

    Attributes
    ----------
    draws : int
        Their number.
    log_evidence : float
        In nats; ``-inf`` when no draw has weight.
    error : float
        Its standard error, by the delta method; NaN for a single draw.
    ess : float
        Effective sample size of the weights.
    khat : float
        Shape of the weights' upper tail, infinite for too few draws to know it (under 25).
    """

    draws: int
    log_evidence: float
    error: float
    ess: float
    khat: float


def estimate(drawn: Drawn) -> Estimate:
    r"""Estimate the evidence from weighted draws.

    .. math:: \hat Z = \frac1n \sum_i w_i, \qquad
        \widehat{\mathrm{Var}}(\hat Z) = \frac1{n^2} \sum_k n_k s_k^2,

    with the sample variance :math:`s_k^2` of the weights of proposal k, whose number of draws was
    fixed beforehand; the error of the log is that of :math:`\hat Z` divided by it.  Where a
    proposal made a single draw, the variance of all weights together stands in, which is no
    smaller on average.

    Raises
    ------
    ValueError
        If it is not known which proposals the draws are from.

    Notes
    -----
    The evidence is unbiased for the weightings of :class:`Mixed`; its log is biased down by about
    half its variance.
    """
    if not drawn.rounds:
        raise ValueError(
            "an evidence needs all draws of a round with their weights; these were selected or "
            "resampled from one, which leaves no evidence; keep the round itself"
        )
    n, log_w = drawn.n, drawn.log_w
    log_evidence = float(kernels.log_mean_exp(log_w))
    if log_evidence == -math.inf:
        return Estimate(n, log_evidence, math.inf, 0.0, math.inf)
    sizes = drawn.strata
    if (sizes < 2).any():
        sizes = np.array([n])
    # Scaled by the largest weight, not the mean, so that nothing overflows.
    top = float(kernels.largest(log_w))
    w = np.exp(log_w - top)
    error = math.nan
    if n > 1:
        first = np.cumsum(sizes) - sizes
        mean = np.add.reduceat(w, first) / sizes
        squares = np.add.reduceat(np.square(w - np.repeat(mean, sizes)), first)
        error = math.sqrt(float((squares * sizes / (sizes - 1)).sum())) / n
        error /= math.exp(log_evidence - top)
    tail = tail_length(n, 1.0)
    khat = float(pareto_k(log_w, tail)) if tail >= 5 else math.inf
    return Estimate(n, log_evidence, error, float(kernels.ess(log_w)), khat)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class ImportanceResult:
    """What importance sampling found, and how far to trust it.

    Attributes
    ----------
    log_evidence : float
        Log of the integral of the target, in nats.
    log_evidence_error : float
        Its standard error.
    n : int
        Number of draws that gave it.
    ess : float
        Effective sample size of their weights.
    khat : float
        Shape of their upper tail: below 0.5 they have a variance, above 0.7 neither the evidence
        nor its error can be relied on.
    draws : WeightedDraws or None
        The draws that gave the evidence; None when none has weight.
    recycled : WeightedDraws or None
        The draws of the adapting rounds, pooled with the weights of the method: for expectations.
        None where there was nothing to adapt, or no weight.
    proposal : Distribution
        What the draws came from, as one distribution; draw from it again for more.
    rounds : tuple of Estimate
        What each round gave by itself, or with those before where the weighting recycles; the
        fresh draws come last.
    evaluations : int
        Points at which the target was evaluated.
    method : str
        What was run.
    unbiased : bool
        Whether the evidence, not its log, is unbiased: False when it comes from recycled draws.
    """

    log_evidence: float
    log_evidence_error: float
    n: int
    ess: float
    khat: float
    draws: WeightedDraws | None
    recycled: WeightedDraws | None = None
    proposal: Distribution
    rounds: tuple[Estimate, ...]
    evaluations: int
    method: str
    unbiased: bool = True

    def __repr__(self) -> str:
        lines = [
            f"{self.method}: log-evidence {self.log_evidence:.3f} +- "
            f"{self.log_evidence_error:.3f} from {self.n} draws, ESS {self.ess:.0f}",
            f"  {_judgement(self)}",
            f"  {self.evaluations} evaluations of the target"
            + (f" in {len(self.rounds)} rounds" if len(self.rounds) > 1 else ""),
        ]
        return "\n".join(lines)


def _judgement(result: ImportanceResult) -> str:
    if result.ess == 0.0:
        return "no draw has weight: the proposal misses the target; use a wider one, or draw more"
    if result.khat == math.inf:
        return "too few draws to tell whether the error can be trusted; draw more"
    limit = khat_limit(result.n)
    if result.khat > limit:
        return (
            f"Pareto k-hat {result.khat:.2f}, above {limit:.2f}: a few draws carry the weight; "
            "trust neither the evidence nor its error; use a wider or better adapted proposal"
        )
    if result.khat > VARIANCE:
        return (
            f"Pareto k-hat {result.khat:.2f}: the weights hardly have a variance, and the error "
            "may be too small; draw more, or use a wider or better adapted proposal"
        )
    text = f"Pareto k-hat {result.khat:.2f}: the weights look as if they had a variance"
    if result.khat == -math.inf:
        text = "the largest weights are equal: the weights have a variance"
    if not result.unbiased:
        return f"{text}; but recycled draws bias the evidence low, which the error leaves out"
    return f"{text}: the error holds unless a part of the target was missed altogether"


def weighted_draws(drawn: Drawn, names: tuple[str, ...]) -> WeightedDraws | None:
    """Return draws as a sample of named parameters, None if none has weight."""
    log_w = drawn.log_w
    if not np.isfinite(log_w).any():
        return None
    return WeightedDraws(
        names=names,
        x=drawn.points,
        log_w=log_w,
        blobs=drawn.blobs,
        log_density=drawn.log_density,
    )
