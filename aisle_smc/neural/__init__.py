r"""Importance-weighted learning on torch: proposals and models trained by weighted particles.

The only part of the package that needs torch, and zuko for flows: ``aisle-smc[neural]``.
"""

from __future__ import annotations

from aisle_smc.neural.estimators import ESTIMATORS, Estimator, Rows, estimator, grouped
from aisle_smc.neural.offpolicy import off_policy
from aisle_smc.neural.ratios import Ratio, SignalToNoise
from aisle_smc.neural.replicates import by_vmap, on_copies, one_by_one
from aisle_smc.neural.slopes import Slope, plot_slopes, slope
from aisle_smc.neural.snr import signal_to_noise
from aisle_smc.neural.steps import Step
from aisle_smc.neural.surrogates import markovian, sleep, surrogate

__all__ = [
    "ESTIMATORS",
    "Estimator",
    "Ratio",
    "Rows",
    "SignalToNoise",
    "Slope",
    "Step",
    "by_vmap",
    "estimator",
    "grouped",
    "markovian",
    "off_policy",
    "on_copies",
    "one_by_one",
    "plot_slopes",
    "signal_to_noise",
    "sleep",
    "slope",
    "surrogate",
]
