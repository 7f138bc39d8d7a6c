"""What chains settle between two phases of a run: particles, and proposals from pooled draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.priors import Prior
from aisle_smc.ssm.adaptation import RandomWalk, fit_mixture, reliable, root_of_draws
from aisle_smc.ssm.chain import Chain, Estimate, Phase
from aisle_smc.ssm.evidence import over_threads
from aisle_smc.streams import stream

__all__ = ["PILOT", "choose_particles", "next_phase", "spread_of"]

PILOT = 128
REPLICATES = 40
ROUNDS = 6
SD, SD_LOW, SD_HIGH = 0.75, 0.6, 0.9
FEWEST, MOST, MULTIPLE = 16, 2**17, 16


def spread_of(prior: Prior) -> Floats:
    """Return the prior standard deviations of the unconstrained coordinates, roughly."""
    z = prior.unconstrain(prior.sample(stream(0), 500))
    low, high = np.quantile(z, [0.16, 0.84], axis=0)
    return np.asarray(np.maximum(0.5 * (high - low), 1e-8))


def pooled(chains: Sequence[Chain], skip: float) -> Floats:
    """Return the draws of the last phase, without its first part and without lost chains."""
    begin = int(skip * len(chains[0].trail))
    z = np.array([[z for z, _ in chain.trail[begin:]] for chain in chains])
    log_density = np.array([[value for _, value in chain.trail[begin:]] for chain in chains])
    return reliable(z, log_density)


def next_phase(
    chains: Sequence[Chain], last: Phase | None, n: int, length: int, *, adapt: bool
) -> Phase:
    """Return the phase that follows, with proposals fitted to the last one's draws.

    Notes
    -----
    Deterministic: a function of the chains in their order.
    """
    index = 0 if last is None else last.index + 1
    phase = Phase(index=index, length=length, n=n, adapt=adapt)
    if last is None:
        return phase
    if not chains[0].trail:
        return replace(phase, walk=last.walk, jump=last.jump, share=last.share)
    z = pooled(chains, 0.5 if last.jump is None else 0.0)
    jump = fit_mixture(z, spread_of(chains[0].estimate.prior))
    size = 2.0 / math.sqrt(z.shape[1])
    share = 0.5
    if last.jump is not None:
        # The walks have one shape and learnt their sizes apart: take the geometric mean.
        log_size = [_log_size(chain.walk.root) for chain in chains]
        size = math.exp(float(np.mean(log_size)) - _log_size(root_of_draws(last.jump)))
        tried = sum(chain.jumps for chain in chains)
        rate = sum(chain.jumps_accepted for chain in chains) / max(tried, 1)
        # Independent proposals that are never accepted are time lost; they never vanish, since
        # they are what joins separate modes.
        share = 0.9 if rate > 0.2 else 0.5 if rate > 0.04 else 0.1
    walk = RandomWalk(root=size * root_of_draws(jump))
    return replace(phase, walk=walk, jump=jump, share=share)


def _log_size(root: Floats) -> float:
    return float(np.log(np.abs(np.diag(root))).mean())


def central(chains: Sequence[Chain]) -> Floats:
    """Return the draw nearest to the median of the pooled draws: a point that was visited."""
    if not chains[0].trail:
        best = max(chains, key=lambda chain: chain.point.log_density if chain.point else -math.inf)
        assert best.point is not None
        return best.point.z
    z = pooled(chains, 0.5)
    scale = z.std(axis=0)
    distance = np.abs(z - np.median(z, axis=0)) / np.where(scale > 0.0, scale, 1.0)
    return np.asarray(z[int(np.argmin(distance.sum(axis=1)))])


def choose_particles(
    estimate: Estimate, chains: Sequence[Chain], n: int | None, *, seed: int, workers: int
) -> tuple[int, float]:
    """Return how many particles to use, and the log-evidence's standard deviation with them.

    Parameters
    ----------
    estimate : Estimate
        How evidences are estimated.
    chains : sequence of Chain
        Their draws tell where the centre is.
    n : int or None
        A number already given, for which only the standard deviation is found.
    seed, workers : int
        Seed of the replicates, and threads to run them on.

    Returns
    -------
    n : int
        A multiple of 16, between 16 and 131072, unless given.
    sd : float
        Standard deviation over 40 replicates, so known to about 11 %; infinite if an estimate of
        the evidence was zero.

    Notes
    -----
    The variance is proportional to ``1 / n``; the guess that follows from it is verified and, if
    need be, improved.  For a perfect independent proposal 0.92 would be the best (Pitt et al.
    2012), for a random walk 1.2 (Doucet et al. 2015), if the standard deviation were the same
    everywhere.  Away from the centre it is larger, and there chains get stuck: on 1500 returns
    under stochastic volatility a target of 0.75 gave half as many effective draws again for the
    same time as 0.9 to 1.1, and the cost of erring on this side is small.
    """
    params = estimate.params(central(chains))
    size = n or PILOT
    sd = math.inf
    for attempt in range(ROUNDS):
        key = int(stream(seed, len(chains), 1, attempt).integers(2**62))
        build = partial(estimate.filter, size, False)
        values = np.array(over_threads(build, [params] * REPLICATES, key, workers))
        sd = float(values.std(ddof=1)) if np.isfinite(values).all() else math.inf
        if n is not None or SD_LOW <= sd <= SD_HIGH:
            break
        change = min(max((sd / SD) ** 2, 1.0 / 16.0), 8.0)
        better = MULTIPLE * math.ceil(size * change / MULTIPLE)
        better = min(max(better, FEWEST), MOST)
        if better == size or attempt == ROUNDS - 1:
            break
        size = better
    return size, sd
