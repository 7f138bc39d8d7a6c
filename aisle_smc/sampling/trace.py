"""The history of a run, a row for each stage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from aisle_smc.particles import Particles
from aisle_smc.sampling.estimates import replicated
from aisle_smc.sampling.frozen import Judged
from aisle_smc.sampling.meter import Meter
from aisle_smc.tempering import History, Threshold

__all__ = ["Step", "drawn_step", "explored_step", "replicates_step"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One stage of a run, as it ended.

    Attributes
    ----------
    phase : str
        "proposal", "prior", "tempering", "nested", "stay", "final" or "replicates".
    evaluations : int
        Evaluations so far.
    log_evidence, error : float
        The estimate for the level of the stage, and its standard error where known, in nats.
    ess : float
        Effective sample size for that level.
    beta : float
        Inverse temperature; NaN on the nested path.
    acceptance : float
        Mean acceptance of the Markov moves, or the share of effective draws of a proposal.
    khat : float
        Shape of the tail of the weights, where known.
    seconds : float
        Seconds so far.
    kernel : str
        What made the points.
    """

    phase: str
    evaluations: int
    log_evidence: float
    error: float = math.nan
    ess: float = math.nan
    beta: float = 1.0
    acceptance: float = math.nan
    khat: float = math.nan
    seconds: float = 0.0
    kernel: str = ""


def explored_step(particles: Particles, meter: Meter) -> Step:
    """Return the row of a stage of the exploration."""
    history = cast(History, particles.x)
    if not history.records:
        return Step(
            phase="prior",
            evaluations=meter.evaluations,
            log_evidence=0.0,
            ess=particles.ess,
            beta=0.0,
            seconds=meter.seconds,
        )
    last = history.records[-1]
    earlier = history.records[:-1]
    stays = bool(earlier) and earlier[-1].level.slope >= 1.0
    nested = isinstance(last.level, Threshold)
    return Step(
        phase="nested" if nested else "stay" if stays else "tempering",
        evaluations=meter.evaluations,
        log_evidence=particles.log_evidence,
        ess=last.ess,
        beta=math.nan if nested else last.level.slope,
        acceptance=last.efficiency if math.isnan(last.acceptance) else last.acceptance,
        seconds=meter.seconds,
        kernel=last.kernel,
    )


def drawn_step(phase: str, found: Judged, meter: Meter) -> Step:
    """Return the row of independent draws from a proposal."""
    return Step(
        phase=phase,
        evaluations=meter.evaluations,
        log_evidence=found.log_evidence,
        error=found.error,
        ess=found.ess,
        acceptance=found.ess / found.n,
        khat=found.khat,
        seconds=meter.seconds,
        kernel="frozen proposal",
    )


def replicates_step(replicates: Sequence[Particles], meter: Meter) -> Step:
    """Return the row of one more replicate."""
    found = replicated(replicates)
    return Step(
        phase="replicates",
        evaluations=meter.evaluations,
        log_evidence=replicates[-1].log_evidence if found is None else found.log_evidence,
        error=math.nan if found is None else found.error,
        seconds=meter.seconds,
        kernel="unadapted sampler",
    )
