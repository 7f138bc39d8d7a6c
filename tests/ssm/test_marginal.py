"""The evidence with parameters integrated out, against quadrature over the exact likelihood."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from aisle_smc.ssm import marginal
from aisle_smc.ssm.marginal import marginal_evidence
from aisle_smc.ssm.pmmh import pmmh
from tests.oracles.nile_grid import MODEL, exact
from tests.oracles.nile_grid import Y as NILE

# Nineteen years: few enough for quick filters, enough for a posterior unlike the prior.
Y = NILE[:19]
N = 30


@cache
def posterior():
    return pmmh(MODEL, Y, N, draws=400, tune=200, seed=1, progress=False)


@cache
def truth():
    return exact(Y, points=81, wide=True).log_evidence


def z_score(replicates=40):
    """E[Z_hat] / Z - 1 over seeds, in standard errors, and the relative error of Z_hat."""
    ratio = np.array(
        [
            np.exp(marginal_evidence(posterior(), draws=60, seed=seed).value - truth())
            for seed in range(replicates)
        ]
    )
    return (ratio.mean() - 1.0) / (ratio.std(ddof=1) / np.sqrt(replicates)), ratio.std(ddof=1)


def test_evidence_is_unbiased():
    z, spread = z_score()
    assert abs(z) < 4.0
    # Power: a bias of 10 % would be seen.
    assert spread < 0.2


def test_forgetting_the_jacobian_is_noticed(monkeypatch):
    monkeypatch.setattr(
        type(MODEL.prior),
        "log_density_unconstrained",
        lambda self, z: self.log_density(self.constrain(z)),
    )
    assert abs(z_score(20)[0]) > 4.0


def test_error_is_that_of_replicates():
    found = [marginal_evidence(posterior(), draws=100, seed=seed) for seed in range(40)]
    errors = np.mean([f.error for f in found])
    spread = np.std([f.value for f in found], ddof=1)
    assert 0.7 < errors / spread < 1.4


def test_same_bits_for_any_number_of_workers():
    one, two, eight = (
        marginal_evidence(posterior(), draws=25, seed=3, workers=w) for w in (1, 2, 8)
    )
    assert np.array_equal(one.particles.log_w, two.particles.log_w)
    assert one.value == two.value == eight.value
    assert marginal_evidence(posterior(), draws=25, seed=4).value != one.value


def test_what_it_says():
    found = marginal_evidence(posterior(), draws=200, seed=0)
    assert found.draws == 200
    assert found.particles.x.shape == (200, 2)
    assert 0.0 < found.ess <= 200.0
    assert found.khat < 0.7
    assert "log-evidence -" in repr(found)
    assert "not reliable" in repr(replace(found, khat=0.9))
    # Another estimate of the posterior mean.
    mean = found.particles.expect(np.log)
    chains = np.log(posterior().parameters).reshape(-1, 2)
    assert np.all(np.abs(mean - chains.mean(0)) < 0.5 * chains.std(0))


def test_posterior_offers_it(monkeypatch):
    kept = posterior().with_evidence(30, seed=2)
    assert kept.evidence is kept.log_evidence
    assert posterior().evidence is None
    calls = []
    monkeypatch.setattr(
        "aisle_smc.ssm.posterior.marginal_evidence",
        lambda *_, **__: calls.append(1) or marginal.marginal_evidence(posterior(), draws=5),
    )
    fresh = replace(posterior())
    assert fresh.log_evidence is fresh.log_evidence
    assert calls == [1]


@pytest.mark.parametrize("change", [{"draws": 0}, {"workers": 0}, {"seed": -1}])
def test_bad_input(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        marginal_evidence(posterior(), **change)


def test_too_few_draws_are_said_to_be_too_few():
    for draws in (1, 2, 24):
        found = marginal_evidence(posterior(), draws=draws)
        assert found.khat == np.inf
        assert "not reliable" in repr(found)
    found = marginal_evidence(posterior(), draws=30)
    assert "not reliable" in repr(replace(found, khat=np.nan))
    assert "not reliable" in repr(replace(found, khat=0.1, error=np.nan))
    assert "not reliable" not in repr(replace(found, khat=0.1))


@pytest.mark.parametrize("copies", [1, 300])
def test_draws_without_spread_get_that_of_the_prior(copies):
    one = np.repeat(posterior().parameters[:1, :1], copies, axis=1)
    found = marginal_evidence(replace(posterior(), parameters=one), draws=200)
    assert np.isfinite(found.value)
    assert (found.particles.x.std(axis=0) > 0.0).all()
