"""Volatility with leverage at parameters that a sampler may propose and nobody would believe."""

from __future__ import annotations

import numpy as np
import pytest

from aisle_smc.ssm import log_evidence, simulate, wti
from aisle_smc.ssm.zoo import StochasticVolatility

# Chains came by such places on a year of oil returns: an error of today that is millions of
# standard deviations sends the log-variance of tomorrow where its exponential is no number.
WILD = {
    False: {"mu": 2.57, "rho": -0.977, "sigma": 1.5, "leverage": -0.9},
    True: {"mu": 13.29, "rho": -0.9924, "sigma": 8.85, "leverage": 0.9997, "df": 93.9},
}


@pytest.fixture(scope="module", params=[False, True], ids=["normal errors", "Student-t errors"])
def model(request):
    return StochasticVolatility(leverage=True, student_t=request.param)


def wild(model):
    return WILD["df" in model.parameter_names]


def test_evidence_of_wild_parameters_is_a_number(model):
    oil = wti()
    year = (oil.dates >= np.datetime64("2008-01-01")) & (oil.dates < np.datetime64("2009-01-01"))
    values = [log_evidence(model, wild(model), oil.returns[year], n=100, seed=s) for s in range(8)]
    assert not np.isnan(values).any()
    assert max(values) < 0.0


def test_path_of_wild_parameters_stays_finite(model):
    path = simulate(model, wild(model), T=400, seed=1)
    assert np.isfinite(path.states).all()
