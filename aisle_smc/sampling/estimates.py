"""Estimates of a log-evidence, each with its error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aisle_smc.particles import Particles
from aisle_smc.sampling.frozen import Judged
from aisle_smc.tempering.fits import tail_shape

__all__ = ["REPLICATES_AT_LEAST", "Estimate", "replicated"]

REPLICATES_AT_LEAST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One estimate of a log-evidence.

    Attributes
    ----------
    log_evidence, error : float
        In nats.
    khat : float
        Shape of the tail of the weights; NaN where it has no meaning.
    even : bool
        Whether no weight stands out, so that the shape does not matter.
    dominated : bool
        Whether one weight makes more than a fifth of their variance.
    """

    log_evidence: float
    error: float
    khat: float = math.nan
    even: bool = False
    dominated: bool = False

    @classmethod
    def of_draws(cls, found: Judged) -> Estimate:
        """Return the estimate by independent draws, from what their weights say."""
        return cls(
            log_evidence=found.log_evidence,
            error=found.error,
            khat=found.khat,
            even=found.even,
            dominated=found.dominated,
        )


def replicated(replicates: Sequence[Particles]) -> Estimate | None:
    """Return the mean of unbiased evidences, or None for too few to know its error.

    Notes
    -----
    The standard deviation of a few replicates is itself uncertain: deviations in units of the
    plain error have the variance of Student's t, (R - 1) / (R - 3), by which the error is widened.

    Where the evidences of single runs have a heavy tail, the mean of a few is too low and its
    error too small; `khat` is the shape of that tail.
    """
    log_z = np.array([particles.log_evidence for particles in replicates])
    if log_z.size < REPLICATES_AT_LEAST or not np.isfinite(log_z).any():
        return None
    top = float(log_z.max())
    z = np.exp(log_z - top)
    mean = float(z.mean())
    error = float(z.std(ddof=1)) / mean / math.sqrt(z.size)
    error *= math.sqrt((z.size - 1) / (z.size - 3))
    return Estimate(log_evidence=top + math.log(mean), error=error, khat=tail_shape(log_z))
