"""State-space models: describe one, filter it, fit it."""

from aisle_smc.ssm.blocks import Blocks
from aisle_smc.ssm.check import check_model
from aisle_smc.ssm.data import nile, wti
from aisle_smc.ssm.evidence import EvidenceFilter, log_evidence, log_evidences
from aisle_smc.ssm.filters import FilterResult, particle_filter
from aisle_smc.ssm.forecast import Forecast, forecast
from aisle_smc.ssm.hmm import HiddenMarkovModel, forward, forward_backward, viterbi
from aisle_smc.ssm.kalman import (
    LinearGaussianSystem,
    kalman_filter,
    kalman_smoother,
    log_likelihood,
)
from aisle_smc.ssm.marginal import MarginalEvidence, marginal_evidence
from aisle_smc.ssm.model import StateSpaceModel
from aisle_smc.ssm.pmmh import pmmh
from aisle_smc.ssm.posterior import Posterior
from aisle_smc.ssm.proposals import Auxiliary, Bootstrap, Guided
from aisle_smc.ssm.python import PythonModel
from aisle_smc.ssm.simulate import Simulation, simulate
from aisle_smc.ssm.vector import VectorModel
from aisle_smc.ssm.zoo import (
    SIR,
    LinearGaussian,
    LocalLevel,
    Ricker,
    StochasticVolatility,
    ThetaLogistic,
)

__all__ = [
    "SIR",
    "Auxiliary",
    "Blocks",
    "Bootstrap",
    "EvidenceFilter",
    "FilterResult",
    "Forecast",
    "Guided",
    "HiddenMarkovModel",
    "LinearGaussian",
    "LinearGaussianSystem",
    "LocalLevel",
    "MarginalEvidence",
    "Posterior",
    "PythonModel",
    "Ricker",
    "Simulation",
    "StateSpaceModel",
    "StochasticVolatility",
    "ThetaLogistic",
    "VectorModel",
    "check_model",
    "forecast",
    "forward",
    "forward_backward",
    "kalman_filter",
    "kalman_smoother",
    "log_evidence",
    "log_evidences",
    "log_likelihood",
    "marginal_evidence",
    "nile",
    "particle_filter",
    "pmmh",
    "simulate",
    "viterbi",
    "wti",
]
