"""What a run should reach, and what it may spend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aisle_smc.arguments import check_count

__all__ = ["Aim"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a run should reach, and what it may spend.

    Attributes
    ----------
    ess : float
        Effective sample size of the posterior draws.
    evidence_error : float
        Standard error of the log-evidence, in nats.
    max_evaluations : int or None
        Evaluations at most.
    max_seconds : float or None
        Seconds at most.
    patience : int
        How far replicates may go: they may cost ``2^patience`` times what came before them.

    Raises
    ------
    TypeError, ValueError
        If one of them is not a positive number.
    """

    ess: float
    evidence_error: float
    max_evaluations: int | None = None
    max_seconds: float | None = None
    patience: int = 1

    def __post_init__(self) -> None:
        for name in ("ess", "evidence_error", "max_seconds"):
            value = getattr(self, name)
            if name == "max_seconds" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float | np.number):
                raise TypeError(f"{name} must be a positive number; got {value!r}")
            if not value > 0.0:
                raise ValueError(f"{name} must be positive; got {value}")
        if self.max_evaluations is not None:
            check_count("max_evaluations", self.max_evaluations)
