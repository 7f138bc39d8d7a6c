r"""Holes of a proposal: where the pool has found mass that the proposal would hardly ever draw.

A proposal that leaves a mode out looks better by its own draws than one that has it, for none of
them falls there.  Points from elsewhere tell: at the pool's points, weighted for a level with
density :math:`\gamma / Z`, the ratio :math:`r = \gamma / (q Z)` is large in a hole, and

.. math:: \sum_i W_i r_i - 1

estimates the relative variance of the weights that draws from :math:`q` would have, drawn or not.

References
----------
Owen (2013), Monte Carlo theory, methods and examples, section 9.3, for weights that look good
because the proposal has missed what matters.
"""

from __future__ import annotations

import math

import numpy as np
from aisle_kernels import weights as kernels

from aisle_smc.arrays import Floats
from aisle_smc.distributions import Defensive, Distribution, Mixture, StudentT
from aisle_smc.moves import Level
from aisle_smc.tempering.pool import Pool

__all__ = ["covering", "hidden", "log_excess", "relative_variance"]

# Ratio of target to proposal from which on a place counts as a hole, and the mass it must hold.
DEEP, MASS = 30.0, 1e-3
# Centres of what is laid over a hole, widths around each in units of the whole population, and
# the share of draws that are made there.
CENTRES, WIDTHS, SHARE = 6, (0.5, 0.25, 0.125), 0.3


def log_excess(pool: Pool, level: Level, q: Distribution) -> tuple[Floats, Floats]:
    """Compare a level with a proposal at all points of a pool.

    Returns
    -------
    weights : ndarray, shape (N,)
        Normalised weights of the points for the level.
    log_r : ndarray, shape (N,)
        Log of the normalised density of the level over that of the proposal, in nats; ``-inf``
        where the level has no density.
    """
    log_w = np.ascontiguousarray(pool.log_weights(level))
    weights = np.empty_like(log_w)
    kernels.normalise(log_w, weights)
    points = pool.points
    log_density = level.log_potential(points.log_ratio) + points.log_base
    log_z = float(kernels.log_mean_exp(log_w))
    with np.errstate(invalid="ignore"):
        log_r = log_density - q.log_density(points.z) - log_z
    return weights, np.where(weights > 0.0, log_r, -math.inf)


def relative_variance(pool: Pool, level: Level, q: Distribution) -> float:
    """Return the relative variance of the weights of draws from `q`, as the pool estimates it."""
    weights, log_r = log_excess(pool, level, q)
    held = weights > 0.0
    with np.errstate(over="ignore"):
        return float(weights[held] @ np.exp(log_r[held])) - 1.0


def hidden(pool: Pool, level: Level, q: Distribution, top: float) -> float:
    """Return the share of the mass at places that draws have not shown.

    Parameters
    ----------
    pool : Pool
        Points of an exploration.
    level : Level
        What is drawn for.
    q : Distribution
        What the draws come from.
    top : float
        The largest weight of a draw over their mean.
    """
    weights, log_r = log_excess(pool, level, q)
    return float(weights[log_r > math.log(max(DEEP, 3.0 * top))].sum())


def covering(q: Defensive, pool: Pool, level: Level, rng: np.random.Generator) -> Defensive:
    """Return a proposal with something laid over its holes, or the same where it has none.

    Notes
    -----
    How wide a mode is cannot be told from the one or two points that fell into it: each of a few
    of them becomes the centre of Student-t distributions of several widths.
    """
    weights, log_r = log_excess(pool, level, q)
    deep = np.flatnonzero(log_r > math.log(DEEP))
    mass = float(weights[deep].sum())
    if mass < MASS:
        return q
    share = weights[deep] / mass
    count = min(CENTRES, int(np.count_nonzero(share)))
    chosen = deep[rng.choice(deep.size, size=count, replace=False, p=share)]
    whole = StudentT(location=np.zeros(q.dim), root=np.eye(q.dim)).fit(pool.points.z, weights)
    parts = tuple(
        StudentT(location=pool.points.z[i], root=width * whole.root, df=5.0)
        for i in chosen
        for width in WIDTHS
    )
    cover = Mixture(weights=np.full(len(parts), 1.0 / len(parts)), parts=parts)
    return Defensive(proposal=q, safety=cover, share=SHARE)
