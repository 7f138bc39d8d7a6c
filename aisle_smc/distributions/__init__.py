"""Proposals: distributions of vectors that are sampled, evaluated and fitted to weighted points.

Every one has ``dim``, ``sample(n, rng)``, ``log_density(x)`` and ``fit(x, weights)``
(:class:`Distribution`); points are rows, log-densities are in nats.
"""

from __future__ import annotations

from aisle_smc.distributions.adapters import as_distribution
from aisle_smc.distributions.defensive import Defensive
from aisle_smc.distributions.elliptical import Elliptical
from aisle_smc.distributions.elliptical_fit import fit_elliptical_mixture
from aisle_smc.distributions.gaussian import Gaussian
from aisle_smc.distributions.independent import Independent, fit_independent
from aisle_smc.distributions.mixture import Mixture
from aisle_smc.distributions.mixture_fit import fit_mixture
from aisle_smc.distributions.protocol import Distribution
from aisle_smc.distributions.radial import LogRadius
from aisle_smc.distributions.selection import fit_proposal
from aisle_smc.distributions.student_t import StudentT
from aisle_smc.distributions.triangular import Triangular, fit_triangular

__all__ = [
    "Defensive",
    "Distribution",
    "Elliptical",
    "Gaussian",
    "Independent",
    "LogRadius",
    "Mixture",
    "StudentT",
    "Triangular",
    "as_distribution",
    "fit_elliptical_mixture",
    "fit_independent",
    "fit_mixture",
    "fit_proposal",
    "fit_triangular",
]
