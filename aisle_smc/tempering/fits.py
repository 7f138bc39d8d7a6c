"""Proposals fitted to weighted points of a pool, with a wide part for safety."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from aisle_kernels import weights as kernels
from aisle_kernels.pareto import pareto_k, tail_length

from aisle_smc.arrays import Floats
from aisle_smc.distributions import Defensive, Distribution, StudentT, fit_mixture

__all__ = ["POINTS", "POINTS_AT_TARGET", "defended", "heavy", "simple", "tail_shape"]

# Standard deviations of the wide part of a proposal, in those of the population.
WIDE = 2.0
# Points that a fit on the way, and one at the target, are made to.
POINTS, POINTS_AT_TARGET = 2500, 8000


def simple(z: Floats, weights: Floats, rng: np.random.Generator) -> Distribution:
    """Fit a mixture of few parts: enough for the first step away from a base."""
    return fit_mixture(z, weights, rng, most=4)


def defended(fitted: Distribution, z: Floats, weights: Floats) -> Defensive:
    """Return a fitted proposal with a wide part around the same points for safety.

    References
    ----------
    Hesterberg (1995), Weighted average importance sampling and defensive mixture distributions.
    """
    d = z.shape[1]
    whole = StudentT(location=np.zeros(d), root=np.eye(d)).fit(z, weights)
    wide = replace(whole, root=WIDE * whole.root)
    return Defensive(proposal=fitted, safety=wide, share=0.05)


def tail_shape(log_w: Floats) -> float:
    """Return the shape of the upper tail of log-weights, infinite where it is not known."""
    length = tail_length(log_w.shape[0], 1.0)
    return float(pareto_k(log_w, length)) if length >= 5 else math.inf


def heavy(z: Floats, log_w: Floats, most: int = POINTS_AT_TARGET) -> tuple[Floats, Floats]:
    """Return the points that carry all but a millionth of the mass, for fitting.

    Notes
    -----
    Of more than `most` points, about that many are kept, by systematic sampling; a point heavier
    than ``1 / most`` is always among them, and counts as often as it was drawn.
    """
    weights = np.empty_like(log_w)
    kernels.normalise(log_w, weights)
    order = np.argsort(weights, kind="stable")
    light = int(np.searchsorted(np.cumsum(weights[order]), 1e-6))
    keep = np.sort(order[light:])
    z, weights = z[keep], weights[keep] / weights[keep].sum()
    if weights.shape[0] <= most:
        return z, weights
    drawn = np.bincount(
        np.searchsorted(np.cumsum(weights), (np.arange(most) + 0.5) / most),
        minlength=weights.shape[0] + 1,
    )[:-1]
    kept = np.flatnonzero(drawn)
    return z[kept], drawn[kept] / drawn[kept].sum()
