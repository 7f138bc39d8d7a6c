"""Ready models, each a page written the way users write theirs."""

from __future__ import annotations

from aisle_smc.ssm.zoo.linear_gaussian import LinearGaussian, LinearGaussianParams
from aisle_smc.ssm.zoo.local_level import LocalLevel
from aisle_smc.ssm.zoo.ricker import Ricker
from aisle_smc.ssm.zoo.sir import SIR
from aisle_smc.ssm.zoo.theta_logistic import ThetaLogistic
from aisle_smc.ssm.zoo.volatility import StochasticVolatility

__all__ = [
    "SIR",
    "LinearGaussian",
    "LinearGaussianParams",
    "LocalLevel",
    "Ricker",
    "StochasticVolatility",
    "ThetaLogistic",
]
