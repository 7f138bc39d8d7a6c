"""The evidence of a model with its parameters integrated out: importance sampling squared."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aisle_kernels.pareto import pareto_k, tail_length

from aisle_smc.arguments import check_count
from aisle_smc.particles import Particles
from aisle_smc.ssm.adaptation import fit_mixture
from aisle_smc.ssm.evidence import EvidenceFilter, over_threads
from aisle_smc.ssm.tuning import spread_of
from aisle_smc.streams import stream

__all__ = ["MarginalEvidence", "marginal_evidence"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class MarginalEvidence:
    """The estimate of a model's log-evidence, and how far to trust it.

    Attributes
    ----------
    value : float
        The log-evidence ``log p(y)``, in nats.
    error : float
        Its standard error, by the delta method: ``sd(w) / (mean(w) sqrt(m))``.
    ess : float
        Effective sample size of the weights.
    khat : float
        Shape of the weights' upper tail: below 0.5 they have a variance, above 0.7 neither
        `value` nor `error` can be relied on.  Infinite for too few draws to know it (under 25).
    particles : Particles
        The parameters drawn, with their weights: another, independent, estimate of the posterior.
    """

    value: float
    error: float
    ess: float
    khat: float
    particles: Particles = field(repr=False)

    @property
    def draws(self) -> int:
        """Number of parameters drawn."""
        return self.particles.n

    def __repr__(self) -> str:
        text = f"log-evidence {self.value:.3f} +- {self.error:.3f} (k-hat {self.khat:.2f})"
        reliable = self.khat <= 0.7 and math.isfinite(self.error)
        return text if reliable else f"{text}: not reliable, draw more"


def marginal_evidence(
    posterior: Any,
    *,
    draws: int = 1000,
    n: int | None = None,
    seed: int = 0,
    workers: int | None = None,
) -> MarginalEvidence:
    """Estimate the evidence of a model with its parameters integrated out.

    With parameters ``z_i`` from a mixture `q` of Student-t distributions, fitted to the draws,

        p(y) ~ (1/m) sum_i w_i,    w_i = Z_hat(z_i) p(z_i) / q(z_i),

    which is unbiased because each `Z_hat` is.

    Parameters
    ----------
    posterior : Posterior
        What :func:`aisle_smc.ssm.pmmh` returned; the filters propose as its own did.
    draws : int
        Number of new parameter vectors, one filter each.
    n : int, optional
        Particles of a filter; those of the posterior by default.
    seed : int
        The same seed gives the same bits.
    workers : int, optional
        Number of threads; all cores by default.  The result does not depend on it.

    Returns
    -------
    MarginalEvidence

    Notes
    -----
    The evidence is unbiased given `q`, its log biased down by about half its variance.  The noise
    of the filters enters the weights: with a log-evidence of variance ``s^2`` it takes
    ``exp(s^2)`` times as many draws.

    References
    ----------
    Tran, Scharth, Pitt and Kohn (2013), Importance sampling squared for Bayesian inference in
    latent variable models, algorithm 1 and section 3.
    """
    check_count("draws", draws)
    prior, model = posterior.model.prior, posterior.model
    count = os.cpu_count() or 1 if workers is None else workers
    check_count("workers", count)
    z = prior.unconstrain(posterior.parameters.reshape(-1, len(posterior.names)))
    spread, floor = z.std(axis=0), spread_of(prior)
    # One draw, or a chain that never moved, has no spread but that of rounding.
    q = fit_mixture(z, np.where(spread > 1e-12 * floor, spread, floor))
    # Not the streams of the chains, on which q depends.
    rng = stream(seed, 2**31, 1)
    new = q.sample(draws, rng)
    theta = prior.with_constants(prior.constrain(new))
    place = [prior.names.index(name) for name in model.parameter_names]
    rows = [model.params(*row) for row in theta[:, place].tolist()]

    def build() -> EvidenceFilter:
        return EvidenceFilter(
            model, posterior.y, n or posterior.n, u=posterior.u, proposal=posterior.proposal
        )

    log_z = np.array(over_threads(build, rows, int(rng.integers(2**62)), count))
    log_w = log_z + prior.log_density_unconstrained(new) - q.log_density(new)
    particles = Particles(prior.constrain(new), log_w)
    value = particles.log_evidence
    relative = np.exp(log_w - value) if math.isfinite(value) else np.full(draws, math.nan)
    tail = tail_length(draws, 1.0)
    return MarginalEvidence(
        value=value,
        error=float(relative.std(ddof=1) / math.sqrt(draws)) if draws > 1 else math.nan,
        ess=particles.ess,
        khat=float(pareto_k(log_w, tail)) if tail >= 5 else math.inf,
        particles=particles,
    )
