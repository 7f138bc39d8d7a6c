r"""Importance-weighted learning on torch: proposals and models trained by weighted particles.

The only part of the package that needs torch, and zuko for flows: ``aisle-smc[neural]``.
"""

from __future__ import annotations

from aisle_smc.neural.estimators import ESTIMATORS, Estimator, Rows, estimator, grouped
from aisle_smc.neural.offpolicy import off_policy
from aisle_smc.neural.steps import Step
from aisle_smc.neural.surrogates import markovian, sleep, surrogate

__all__ = [
    "ESTIMATORS",
    "Estimator",
    "Rows",
    "Step",
    "estimator",
    "grouped",
    "markovian",
    "off_policy",
    "sleep",
    "surrogate",
]
