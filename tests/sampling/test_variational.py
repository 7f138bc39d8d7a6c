"""The closest normal distribution: exact answers, and what a wrong step would do."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from aisle_smc import Prior, Target
from aisle_smc.distributions import Gaussian
from aisle_smc.moves import Portfolio, SplitHamiltonian
from aisle_smc.sampling import variational
from aisle_smc.sampling.bridges import FromBase, Posterior
from aisle_smc.sampling.laplace import laplace
from aisle_smc.sampling.meter import Meter
from aisle_smc.sampling.scores import Standard
from aisle_smc.sampling.spaces import AffineSpace, PriorSpace
from aisle_smc.sampling.variational import closest
from aisle_smc.smc import smc
from aisle_smc.streams import stream
from aisle_smc.targets import evaluator
from aisle_smc.tempering import Temperature, Tempering
from aisle_smc.tempering.standard import Plan

D = 60
TURN = np.linalg.qr(np.random.default_rng(0).normal(size=(D, D)))[0]
COUNTS = np.arange(D) % 3.0
RATE, WIDE = 1.0, 1.5


def posterior(function, slope):
    names = [f"x{j}" for j in range(D)]
    space = PriorSpace(prior=Prior(dict.fromkeys(names, norm(0, 1))))
    target = Target(function, gradient=slope)
    probes = np.random.default_rng(1).normal(size=(4, D))
    return Posterior(space=space, evaluator=evaluator(target, names, probes), meter=Meter())


def skewed():
    """Poisson counts whose log-rates are turned parameters: independent after the turn back."""

    def function(x):
        field = WIDE * x @ TURN
        return (COUNTS * field - RATE * np.exp(field)).sum(axis=1)

    def slope(x):
        return WIDE * (COUNTS - RATE * np.exp(WIDE * x @ TURN)) @ TURN.T

    return posterior(function, slope)


def skewed_log_evidence():
    grid = np.linspace(-12.0, 12.0, 20_001)
    log_f = COUNTS[:3, None] * grid - RATE * np.exp(grid) + norm.logpdf(grid, 0.0, WIDE)
    return D / 3 * float(np.log(np.exp(log_f).sum(axis=1) * (grid[1] - grid[0])).sum())


def best(count):
    """Mean and variance of the normal distribution closest to that of one log-rate."""

    def mean(variance):
        # E[count - rate exp(f) - f / wide^2] = 0, and 1 / variance = 1 / wide^2 + E[rate exp(f)].
        return WIDE**2 * (count - 1.0 / variance) + 1.0

    def gap(variance):
        return 1.0 / variance - WIDE**-2 - RATE * math.exp(mean(variance) + 0.5 * variance)

    variance = brentq(gap, 0.05, WIDE**2 - 1e-9)
    return mean(variance), variance


def divergence(q, mean, covariance):
    """KL from one normal distribution to another, in nats."""
    inverse = np.linalg.inv(covariance)
    away = q.mean - mean
    own = q.root @ q.root.T
    log_det = np.linalg.slogdet(covariance)[1] - 2.0 * np.log(np.diag(q.root)).sum()
    return 0.5 * (np.trace(inverse @ own) + away @ inverse @ away - D + log_det)


def conjugate():
    """A linear model: its posterior is normal; return it with mean and covariance."""
    rng = np.random.default_rng(2)
    design = rng.normal(size=(D, D)) * np.linspace(0.1, 1.0, D) / 3.0
    seen = rng.normal(size=D) + 2.0

    def function(x):
        return -0.5 * np.square(seen - x @ design.T).sum(axis=1)

    def slope(x):
        return (seen - x @ design.T) @ design

    covariance = np.linalg.inv(np.eye(D) + design.T @ design)
    return posterior(function, slope), covariance @ design.T @ seen, covariance


def beside(mean, covariance):
    """A normal distribution off by a standard deviation and half the variance, up or down."""
    root = np.linalg.cholesky(covariance)
    off = np.linalg.cholesky((root * np.where(np.arange(D) % 2, 1.5, 0.6)) @ root.T)
    return Gaussian(mean=mean + 0.5 * root.sum(axis=1), root=off)


def test_a_normal_posterior_is_found():
    whole, mean, covariance = conjugate()
    guess = beside(mean, covariance)
    assert divergence(guess, mean, covariance) > 10.0
    found = closest(whole, guess, stream(1))
    assert divergence(found, mean, covariance) < 1.0


def test_a_normal_posterior_is_left_as_it_is():
    whole, mean, covariance = conjugate()
    exact = Gaussian(mean=mean, root=np.linalg.cholesky(covariance))
    assert closest(whole, exact, stream(1)) is exact
    assert whole.meter.evaluations == 2 * D


def best_of_skewed():
    mean, variance = np.array([best(k) for k in COUNTS]).T
    return TURN @ mean / WIDE, (TURN * variance) @ TURN.T / WIDE**2


def test_a_skewed_posterior_has_the_closest_one():
    """Laplace's approximation is centred at the modes, where the closest one is not."""
    mean, covariance = best_of_skewed()
    whole = skewed()
    guess = laplace_of(whole)
    found = closest(whole, guess, stream(3))
    assert divergence(guess, mean, covariance) > 2.0
    assert divergence(found, mean, covariance) < 1.0


def laplace_of(whole):
    guess = laplace(whole, np.zeros((1, D)))
    part = guess.parts[0]
    return Gaussian(mean=part.location, root=part.root)


@pytest.mark.parametrize("sign", [-1.0, 0.0])
def test_other_changes_of_the_precision_do_not_get_there(sign, monkeypatch):
    right = variational._precision_change
    monkeypatch.setattr(variational, "_precision_change", lambda y, odd: sign * right(y, odd))
    whole, mean, covariance = conjugate()
    found = closest(whole, beside(mean, covariance), stream(1))
    assert divergence(found, mean, covariance) > 3.0


def test_what_has_no_bound_is_left_as_it_is():
    whole = posterior(lambda x: np.where(x[:, 0] > 0.0, 0.0, -np.inf), np.zeros_like)
    guess = Gaussian(mean=np.full(D, 0.5), root=np.eye(D))
    assert closest(whole, guess, stream(4)) is guess


def test_scores_in_white_coordinates():
    """Both ways to them agree, with each other and with differences of the density."""
    whole = skewed()
    root = np.linalg.cholesky(best_of_skewed()[1])
    space = AffineSpace(inner=whole.space, mean=np.linspace(-0.5, 0.5, D), root=root)
    white = replace(whole, space=space)
    z = np.random.default_rng(3).normal(size=(5, D))
    found = white.scored(z)
    np.testing.assert_allclose(found.log_density, white.log_density(z), rtol=1e-12)
    _, slope, _ = white.likelihood(z, scores=True)
    np.testing.assert_allclose(found.score, slope + space.reference_score(z), atol=1e-12)
    step = 1e-5 * np.eye(D)
    for row, score in zip(z, found.score, strict=True):
        rise = white.log_density(row + step) - white.log_density(row - step)
        np.testing.assert_allclose(score, rise / 2e-5, atol=1e-6)


# --- evidence from there on ----------------------------------------------------------------------

PLANS = tuple(
    Plan(level=Temperature(beta), portfolio=Portfolio(kernels=(SplitHamiltonian(),)), sweeps=1)
    for beta in (0.2, 0.5, 1.0)
)


def evidence_z(space, whole, n=50, number=60):
    """By how many standard errors the mean of unbiased evidences is off, and its error."""
    white = replace(whole, space=space)
    way = FromBase(posterior=white, base=Standard(D))
    stage = Tempering(bridge=way, portfolio=PLANS[0].portfolio, plans=PLANS)
    log_z = np.empty(number)
    for r in range(number):
        *_, (_, particles) = smc(stage, n, stream(6, r))
        log_z[r] = particles.log_evidence
    ratio = np.exp(log_z - skewed_log_evidence())
    error = ratio.std(ddof=1) / math.sqrt(number)
    return (ratio.mean() - 1.0) / error, error


def whitened(whole):
    q = closest(whole, laplace_of(whole), stream(5))
    return AffineSpace(inner=whole.space, mean=q.mean, root=q.root)


def test_the_evidence_of_a_skewed_posterior():
    """A bias of a quarter would be seen."""
    whole = skewed()
    z, error = evidence_z(whitened(whole), whole)
    assert error < 0.06
    assert abs(z) < 4.0


@dataclass(frozen=True, kw_only=True)
class Unscaled(AffineSpace):
    """A space that forgets by how much it stretches volumes."""

    def log_reference(self, z):
        return self.inner.log_reference(self.inside(z))


def test_a_forgotten_determinant_is_seen():
    whole = skewed()
    right = whitened(whole)
    wrong = Unscaled(inner=right.inner, mean=right.mean, root=right.root)
    assert abs(evidence_z(wrong, whole, number=20)[0]) > 6.0
