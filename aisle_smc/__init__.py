"""One weighted-particle engine for importance sampling, SMC samplers and particle filters."""

from aisle_smc.errors import AisleError, DegenerateWeights
from aisle_smc.particles import Particles, merge
from aisle_smc.priors import Prior
from aisle_smc.resampling import (
    Resampler,
    killing,
    multinomial,
    optimal,
    residual,
    ssp,
    stratified,
    systematic,
)
from aisle_smc.sampling import SampleResult, bridge, sample
from aisle_smc.smc import Stage, resume, smc
from aisle_smc.streams import stream
from aisle_smc.targets import Target
from aisle_smc.tempering import Temperature, Threshold
from aisle_smc.version import __version__
from aisle_smc.weighted import WeightedDraws

__all__ = [
    "AisleError",
    "DegenerateWeights",
    "Particles",
    "Prior",
    "Resampler",
    "SampleResult",
    "Stage",
    "Target",
    "Temperature",
    "Threshold",
    "WeightedDraws",
    "__version__",
    "bridge",
    "killing",
    "merge",
    "multinomial",
    "optimal",
    "residual",
    "resume",
    "sample",
    "smc",
    "ssp",
    "stratified",
    "stream",
    "systematic",
]
