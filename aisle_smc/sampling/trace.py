"""The history of a run, a row for each stage."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Step"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One stage of a run, as it ended.

    Attributes
    ----------
    phase : str
        "prior", "tempering", "nested", "stay", "final" or "replicates".
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
