r"""Importance-weighted learning on torch: proposals and models trained by weighted particles.

The only part of the package that needs torch, and zuko for flows: ``aisle-smc[neural]``.
"""

from __future__ import annotations

from aisle_smc.neural.amortised import AmortisedProposal
from aisle_smc.neural.annealing import Annealing
from aisle_smc.neural.bridge import TorchProposal, for_numpy
from aisle_smc.neural.controller import ByTail, Control, Controller, Regime, TrainingStuck
from aisle_smc.neural.defensive import DefensiveProposal
from aisle_smc.neural.discrete import BernoulliProposal, CategoricalProposal
from aisle_smc.neural.encoders import MLP
from aisle_smc.neural.estimators import ESTIMATORS, Estimator, Rows, estimator, grouped
from aisle_smc.neural.evaluation import Evaluation, evaluate
from aisle_smc.neural.flows import FlowProposal
from aisle_smc.neural.history import Epoch, History, StepNumbers
from aisle_smc.neural.idx import LabelledImages, digits, mnist, read_idx
from aisle_smc.neural.likelihood import MaximumLikelihood
from aisle_smc.neural.offpolicy import off_policy
from aisle_smc.neural.proposals import GaussianProposal, MixtureProposal, StudentTProposal
from aisle_smc.neural.ratios import Ratio, SignalToNoise
from aisle_smc.neural.replicates import by_vmap, on_copies, one_by_one
from aisle_smc.neural.running import Moment
from aisle_smc.neural.slopes import Slope, plot_slopes, slope
from aisle_smc.neural.snr import signal_to_noise
from aisle_smc.neural.steps import Step
from aisle_smc.neural.surrogates import markovian, sleep, surrogate
from aisle_smc.neural.training import Fit, fit
from aisle_smc.neural.weights import ancestors, normalise, resample

__all__ = [
    "ESTIMATORS",
    "MLP",
    "AmortisedProposal",
    "Annealing",
    "BernoulliProposal",
    "ByTail",
    "CategoricalProposal",
    "Control",
    "Controller",
    "DefensiveProposal",
    "Epoch",
    "Estimator",
    "Evaluation",
    "Fit",
    "FlowProposal",
    "GaussianProposal",
    "History",
    "LabelledImages",
    "MaximumLikelihood",
    "MixtureProposal",
    "Moment",
    "Ratio",
    "Regime",
    "Rows",
    "SignalToNoise",
    "Slope",
    "Step",
    "StepNumbers",
    "StudentTProposal",
    "TorchProposal",
    "TrainingStuck",
    "ancestors",
    "by_vmap",
    "digits",
    "estimator",
    "evaluate",
    "fit",
    "for_numpy",
    "grouped",
    "markovian",
    "mnist",
    "normalise",
    "off_policy",
    "on_copies",
    "one_by_one",
    "plot_slopes",
    "read_idx",
    "resample",
    "signal_to_noise",
    "sleep",
    "slope",
    "surrogate",
]
