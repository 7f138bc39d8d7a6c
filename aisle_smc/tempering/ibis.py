"""Iterated batch importance sampling in one call: evidences of the data so far, and draws."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from aisle_smc.arguments import check_count, check_threshold
from aisle_smc.arrays import Floats
from aisle_smc.distributions import Gaussian
from aisle_smc.errors import DegenerateWeights
from aisle_smc.moves import CrankNicolson, DifferentialEvolution, Portfolio
from aisle_smc.particles import Particles, merge
from aisle_smc.priors import Prior
from aisle_smc.smc import smc
from aisle_smc.streams import stream
from aisle_smc.tempering.data import DataTempering, LogLikelihoods, Pointwise
from aisle_smc.tempering.standard import Cloud, Plan
from aisle_smc.weighted import WeightedDraws

__all__ = ["IbisResult", "ibis"]

# Keys of the streams: the run that adapts, and the runs that repeat it.
PILOT, REPEATS = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class IbisResult:
    """What iterated batch importance sampling found.

    Attributes
    ----------
    log_evidences : ndarray, shape (T,)
        Log of ``p(y_1, ..., y_t)`` for t = 1 to T, in nats.
    log_evidence_errors : ndarray, shape (T,)
        Their standard errors, from independent runs; infinite where no run has mass.
    draws : WeightedDraws
        Draws of the posterior given all data.
    batches : tuple of int
        Observations after each batch.
    runs : int
        Independent runs behind the errors.
    """

    log_evidences: Floats
    log_evidence_errors: Floats
    draws: WeightedDraws
    batches: tuple[int, ...]
    runs: int

    @property
    def log_evidence(self) -> float:
        """Log-evidence of all data, in nats."""
        return float(self.log_evidences[-1])

    @property
    def log_evidence_error(self) -> float:
        """Its standard error, in nats."""
        return float(self.log_evidence_errors[-1])

    @property
    def log_predictives(self) -> Floats:
        """Log of ``p(y_t | y_1, ..., y_{t-1})`` for t = 1 to T, in nats."""
        return np.diff(self.log_evidences, prepend=0.0)

    def __repr__(self) -> str:
        return (
            f"IbisResult: log-evidence {self.log_evidence:.3f} +- {self.log_evidence_error:.3f} "
            f"of {self.log_evidences.size} observations, from {self.runs} runs of "
            f"{len(self.batches)} batches\n  {self.draws!r}"
        )


def ibis(
    log_likelihoods: LogLikelihoods,
    prior: Prior | Mapping[str, Any],
    length: int,
    *,
    n: int = 1000,
    runs: int = 8,
    seed: int = 0,
    efficiency: float = 0.5,
    sweeps: int = 5,
    threshold: float = 0.5,
    portfolio: Portfolio | None = None,
) -> IbisResult:
    """Sample a posterior one batch of observations after another.

    A first run chooses batches and fits kernels; the others repeat them as they are, which makes
    every evidence unbiased, and their spread is the error.

    Parameters
    ----------
    log_likelihoods : callable
        ``log_likelihoods(theta, first, last)`` returns the log-likelihoods of observations `first`
        to `last - 1` at each row of theta (n, d), shape (n, last - first), in nats; ``-inf`` is
        allowed.  Each may depend on the observations before it, as in an autoregression.
    prior : Prior or mapping
        The prior; `theta` has a column for each free parameter, in its order.
    length : int
        Number of observations.
    n : int
        Particles of each run.
    runs : int
        Runs that repeat the first one, at least 2.
    seed : int
        The result is a function of it.
    efficiency : float
        Conditional effective sample size that a batch keeps, between 0 and 1.
    sweeps : int
        Applications of a kernel to each particle after a batch.
    threshold : float
        Resample when the effective sample size falls below ``threshold * n``.
    portfolio : Portfolio, optional
        Kernels without gradients; by default :class:`CrankNicolson` and
        :class:`DifferentialEvolution`.

    Returns
    -------
    IbisResult

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range, or `log_likelihoods` returns a wrong shape.
    BadDensity
        If a log-likelihood is NaN or ``+inf``.
    DegenerateWeights
        If an observation is impossible for every particle of the first run, or of all others.

    Notes
    -----
    The evidences are unbiased for any `n`; their logs are biased down by about half the variance.
    Cost: a likelihood of all data for each particle, sweep and run, times the sum over batches of
    their share of the data, typically 2 to 4.

    References
    ----------
    Chopin (2002), A sequential particle filter method for static models, Biometrika 89.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import norm
    >>> y = np.array([0.3, 1.9, 1.1, 0.7])
    >>> def log_likelihoods(theta, first, last):
    ...     return -0.5 * (y[first:last] - theta) ** 2 - 0.5 * np.log(2 * np.pi)
    >>> found = ibis(log_likelihoods, {"mu": norm(0, 2)}, 4, n=200)
    >>> found.log_evidences.round(1).tolist()
    [-1.7, -3.7, -4.8, -5.9]
    """
    prior = prior if isinstance(prior, Prior) else Prior(prior)
    for what, value in (("length", length), ("n", n), ("runs", runs), ("sweeps", sweeps)):
        check_count(what, value)
    check_threshold(threshold)
    if runs < 2:
        raise ValueError(f"runs must be at least 2, for an error from their spread; got {runs}")
    if not 0.0 < efficiency < 1.0:
        raise ValueError(f"efficiency must lie between 0 and 1; got {efficiency}; try 0.5")
    first = DataTempering(
        prior=Gaussian(mean=np.zeros(len(prior.free)), root=np.eye(len(prior.free))),
        likelihood=Pointwise(
            function=log_likelihoods, length=length, names=prior.free, prior=prior
        ),
        portfolio=portfolio or Portfolio(kernels=(CrankNicolson(), DifferentialEvolution())),
        efficiency=efficiency,
        sweeps=sweeps,
    )
    plans, batches = [], []
    for stage, particles in smc(first, n, stream(seed, PILOT), threshold=threshold):
        if stage.level.count == 0 and stage.level.share == 0.0:
            continue
        if particles.log_evidence == -math.inf:
            raise _impossible(stage.level.count, n)
        kernels = cast(Cloud, particles.x).used
        assert kernels is not None
        plans.append(Plan(level=stage.level, portfolio=kernels, sweeps=sweeps))
        if stage.level.share == 0.0:
            batches.append(stage.level.count)
    planned = DataTempering(
        prior=first.prior,
        likelihood=first.likelihood,
        portfolio=first.portfolio,
        plans=tuple(plans),
    )
    log_z = np.full((runs, length), -math.inf)
    last: list[Particles] = []
    for r in range(runs):
        steps = smc(planned, n, stream(seed, REPEATS, r), threshold=threshold)
        for stage, particles in steps:  # noqa: B007 - the last
            done, found = stage.level.count, stage.log_evidences
            if found is not None and found.size:
                log_z[r, done - found.size : done] = found
        z = cast(Cloud, particles.x).points.z
        last.append(Particles(z, particles.log_w, particles.log_z))
    means, errors = averaged(log_z)
    if means[-1] == -math.inf:
        raise _impossible(int(np.argmax(np.isneginf(means))), n * runs)
    merged = merge(last)
    return IbisResult(
        log_evidences=means,
        log_evidence_errors=errors,
        draws=WeightedDraws(
            names=prior.free, x=prior.from_normal(merged.x), log_w=merged.log_w, prior=prior
        ),
        batches=tuple(batches),
        runs=runs,
    )


def averaged(log_z: Floats) -> tuple[Floats, Floats]:
    """Return the log of the mean of each column, and its standard error.

    Parameters
    ----------
    log_z : ndarray, shape (runs, T)
        Log-evidences of independent runs, ``-inf`` for those without mass.
    """
    top = log_z.max(axis=0)
    z = np.exp(log_z - np.where(np.isfinite(top), top, 0.0))
    mean, spread = z.mean(axis=0), z.std(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = spread / mean / math.sqrt(log_z.shape[0])
        return np.log(mean) + top, np.where(mean > 0.0, errors, math.inf)


def _impossible(t: int, n: int) -> DegenerateWeights:
    return DegenerateWeights(
        f"observation {t} has likelihood zero at all {n} particles, which had the observations "
        "before it; look at its value and at what the prior allows, or raise n",
        t=t,
    )
