"""Simulation-based calibration: whether a model's functions describe one joint distribution.

Let ``theta_1, ..., theta_m`` be independent draws of the prior, `J` a uniform index and `y` a
series simulated at ``theta_J``.  Given the draws and `y`, the index has probabilities

    w_j = p(y | theta_j) / sum_k p(y | theta_k),

so the randomised distribution function of ``theta_J`` under these weights,

    U = sum_{j: theta_j < theta_J} w_j + V w_J,      V uniform on (0, 1),

is uniform for every `m`: no Markov chain has to converge, and no effective sample size has to be
large.  With evidences estimated by a filter this holds up to their noise.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from aisle_kernels import weights as kernels

from aisle_smc.arrays import Floats
from aisle_smc.errors import AisleError
from aisle_smc.ssm.evidence import log_evidences
from aisle_smc.ssm.proposals import Bootstrap, Guided
from aisle_smc.ssm.simulate import simulate
from aisle_smc.streams import stream

__all__ = ["Calibration", "calibrate"]


class Calibration(NamedTuple):
    """What simulation-based calibration found.

    Attributes
    ----------
    ranks : ndarray, shape (series, parameters)
        Values of U, uniform if model and filter agree.
    noise : float
        Standard deviation of the log-evidences; well below one for the theory above.
    failed : int
        Series that could not be simulated or weighed.
    """

    ranks: Floats
    noise: float
    failed: int


def calibrate(model: Any, u: Any, T: int, series: int, n: int, m: int, seed: int) -> Calibration:
    """Simulate series from the prior and rank their parameters among other draws of it.

    Parameters
    ----------
    model : StateSpaceModel, VectorModel or PythonModel
        With a prior and ``observe``.
    u : ndarray or None
        Covariates, `T` rows.
    T : int
        Length of each series.
    series : int
        How many.
    n : int
        Particles of a filter.
    m : int
        Draws of the prior for each series.
    seed : int
        Series ``i`` draws from the streams of ``(seed, i, ...)``.

    References
    ----------
    Cook, Gelman and Rubin (2006); Talts, Betancourt, Simpson, Vehtari and Gelman (2018).
    """
    prior = model.prior
    ranks, gaps, failed = [], [], 0
    guided = model.proposal is not None and model.log_proposal is not None
    proposal = Guided() if guided and model.log_transition is not None else Bootstrap()
    for i in range(series):
        rng = stream(seed, i)
        theta = prior.sample(rng, m)
        values = prior.with_constants(theta)
        many = [model.parameters(dict(zip(prior.names, row, strict=True))) for row in values]
        truth = int(rng.integers(m))
        seeds = rng.integers(2**63, size=2).tolist()
        try:
            y = simulate(model, many[truth], T, u=u, seed=seeds[0]).observations
            again = [*many, many[truth]]
            log_w = log_evidences(model, again, y, n, u=u, proposal=proposal, seed=seeds[1])
        except (ValueError, AisleError):
            failed += 1
            continue
        w = np.empty(m)
        if not np.isfinite(kernels.normalise(log_w[:m], w)):
            failed += 1
            continue
        below = theta < theta[truth]
        ranks.append(w @ below + rng.random() * w[truth])
        gaps.append(log_w[truth] - log_w[m])
    noise = np.sqrt(0.5 * np.mean(np.square(gaps))) if gaps else np.inf
    return Calibration(np.array(ranks).reshape(-1, len(prior.free)), float(noise), failed)
