"""The proposals of every kind, in double precision, for the tests of proposals and bridge."""

from __future__ import annotations

import torch
from torch.distributions import Independent, Normal

from aisle_smc.neural import (
    BernoulliProposal,
    CategoricalProposal,
    DefensiveProposal,
    FlowProposal,
    GaussianProposal,
    MixtureProposal,
    StudentTProposal,
)

DIM = 2
FEATURES = 4


def safe():
    return Independent(Normal(torch.zeros(DIM).double(), 4.0 * torch.ones(DIM).double()), 1)


CONTINUOUS = {
    "gaussian": lambda e=None: GaussianProposal(DIM, e),
    "full gaussian": lambda e=None: GaussianProposal(DIM, e, covariance="full"),
    "student": lambda e=None: StudentTProposal(DIM, e, df=4.0),
    "full student": lambda e=None: StudentTProposal(DIM, e, df=4.0, covariance="full"),
    "learnt student": lambda e=None: StudentTProposal(DIM, e, covariance="full"),
    "mixture": lambda e=None: MixtureProposal(DIM, e, parts=3),
    "spline": lambda e=None: FlowProposal.spline(DIM, encoder=e, hidden=(16,), transforms=2),
    "masked": lambda e=None: FlowProposal.masked(DIM, encoder=e, hidden=(16,), transforms=2),
    "defensive": lambda e=None: DefensiveProposal(GaussianProposal(DIM, e), safe(), share=0.3),
}
DISCRETE = {
    "categorical": lambda e=None: CategoricalProposal(DIM, e, classes=3),
    "bernoulli": lambda e=None: BernoulliProposal(DIM, e),
}
ALL = CONTINUOUS | DISCRETE
INVERTIBLE = [name for name in CONTINUOUS if name not in ("learnt student", "defensive")]


def build(name, encoder=None, seed=0):
    """Return a proposal in double precision, its parameters moved off their start."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = ALL[name](encoder).double()
        with torch.no_grad():
            for each in module.parameters():
                each.add_(0.3 * torch.randn_like(each))
    return module


def data(n=5, seed=1):
    return torch.randn(n, FEATURES, generator=torch.Generator().manual_seed(seed)).double()
