"""The closed-form step: exact on a grid, where the weights are those of the whole target."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from aisle_smc import Particles, stream
from aisle_smc.distributions import Gaussian, Mixture
from aisle_smc.divergences import (
    KL,
    Alpha,
    ChiSquare,
    ExclusiveKL,
    General,
    Hellinger,
    JensenShannon,
    TailAdaptive,
    Truncation,
    WeightTempering,
    coefficients,
    update,
)
from tests.oracles import skewed

X = skewed.Z[:, None]
LOG_GAMMA = skewed.log_gamma(skewed.Z)
STEP = skewed.Z[1] - skewed.Z[0]


@dataclass(frozen=True)
class Normal:
    mean: float
    log_sd: float

    def log_density(self, x):
        return skewed.log_normal(x[:, 0], self.mean, self.log_sd)

    def fit(self, x, weights):
        mean = weights @ x[:, 0]
        return Normal(mean, 0.5 * math.log(weights @ (x[:, 0] - mean) ** 2))


@dataclass(frozen=True)
class TwoNormals:
    """A mixture of two, whose fit is a single EM step."""

    share: float
    parts: tuple[Normal, Normal]

    def log_density(self, x):
        a, b = (part.log_density(x) for part in self.parts)
        return np.logaddexp(math.log(self.share) + a, math.log1p(-self.share) + b)

    def fit(self, x, weights):
        first = np.exp(math.log(self.share) + self.parts[0].log_density(x) - self.log_density(x))
        share = float(weights @ first)
        return TwoNormals(
            share,
            (
                self.parts[0].fit(x, weights * first / share),
                self.parts[1].fit(x, weights * (1 - first) / (1 - share)),
            ),
        )


def step(proposal, divergence, log_target=LOG_GAMMA, **options):
    """One step on a grid that stands for every particle of the target."""
    log_ratio = log_target - proposal.log_density(X)
    population = Particles(X, log_target)
    return update(proposal, population, divergence, log_ratio=log_ratio, **options).proposal


def value(proposal, divergence):
    log_q = proposal.log_density(X)
    log_y = LOG_GAMMA - skewed.log_evidence() - log_q
    return float(np.sum(divergence.f(log_y) * np.exp(log_q)) * STEP)


def gradient(proposal, divergence):
    """Descent direction by the score form, on the same grid."""
    log_q = proposal.log_density(X)
    found = coefficients(LOG_GAMMA - log_q, divergence, log_v=log_q, path=False)
    return skewed.atoms(skewed.Z, proposal.mean, proposal.log_sd)[1] @ found.score


START = Normal(-1.0, 0.4)


# --- Kullback-Leibler ----------------------------------------------------------------------------


def test_kl_is_moment_matching_in_one_step():
    pi = np.exp(LOG_GAMMA) / np.exp(LOG_GAMMA).sum()
    mean = pi @ skewed.Z
    found = step(START, KL())
    assert found.mean == pytest.approx(mean, rel=1e-13)
    assert math.exp(2 * found.log_sd) == pytest.approx(pi @ (skewed.Z - mean) ** 2, rel=1e-12)
    np.testing.assert_allclose(gradient(found, KL()), 0.0, atol=1e-12)
    assert np.abs(gradient(START, KL())).min() > 0.1
    again = step(found, KL())
    assert again.mean == pytest.approx(found.mean, rel=1e-13)


def test_kl_of_a_mixture_falls_by_em():
    proposal = TwoNormals(0.3, (Normal(-0.5, 0.0), Normal(2.0, 0.3)))
    values = [value(proposal, KL())]
    for _ in range(300):
        proposal = step(proposal, KL())
        values.append(value(proposal, KL()))
    assert (np.diff(values) < 1e-13).all()
    assert values[-1] < 0.1 * values[0]
    # A stationary point of the divergence: responsibilities times scores have mean zero.
    log_q = proposal.log_density(X)
    w = coefficients(LOG_GAMMA - log_q, KL(), log_v=log_q, path=False).score
    responsible = np.exp(math.log(proposal.share) + proposal.parts[0].log_density(X) - log_q)
    best = value(step(START, KL()), KL())
    assert values[-1] < best
    assert abs(w @ responsible) < 1e-4


# --- other orders --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "divergence",
    [Alpha(order=0.25), Hellinger(), Alpha(order=0.75), KL(), Alpha(order=1.5), ChiSquare()],
    ids=repr,
)
def test_fixed_points_are_stationary(divergence):
    proposal = START
    values = [value(proposal, divergence)]
    for _ in range(150):
        proposal = step(proposal, divergence)
        values.append(value(proposal, divergence))
    np.testing.assert_allclose(gradient(proposal, divergence), 0.0, atol=1e-10)
    assert values[-1] < 0.2 * values[0]
    if divergence.order <= 1.0:
        assert (np.diff(values) < 1e-14).all()
    # Each order has a point of its own.
    if divergence.order != 1.0:
        assert np.abs(gradient(proposal, KL())).max() > 1e-4


@pytest.mark.parametrize("order", [0.2, 0.5, 0.8, 1.0])
def test_a_mixture_never_climbs(order):
    proposal = TwoNormals(0.3, (Normal(-0.5, 0.0), Normal(2.0, 0.3)))
    values = []
    for _ in range(40):
        proposal = step(proposal, Alpha(order=order))
        values.append(value(proposal, Alpha(order=order)))
    assert (np.diff(values) < 1e-14).all()


@pytest.mark.parametrize("order", [0.3, 0.5, 1.0])
def test_error_shrinks_by_one_minus_the_order_inside_the_family(order):
    """The target is a normal: natural parameters become a mixture of both, exactly."""
    log_target = skewed.log_normal(skewed.Z, 0.7, 0.1) + 5.0
    proposal = Normal(0.2, 0.4)
    found = step(proposal, Alpha(order=order), log_target)
    here, there = math.exp(-0.8), math.exp(-0.2)  # precisions
    precision = order * there + (1 - order) * here
    assert math.exp(-2 * found.log_sd) == pytest.approx(precision, rel=1e-12)
    mean = (order * there * 0.7 + (1 - order) * here * 0.2) / precision
    assert found.mean == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("order", [1.5, 2.0, 3.0])
def test_orders_above_one_need_the_mixed_step(order):
    """Mixed: quadratic convergence.  The negative twin, the bare weights: no convergence."""
    log_target = skewed.log_normal(skewed.Z, 0.7, 0.1)
    mixed = bare = Normal(0.68, 0.11)
    errors = {"mixed": [], "bare": []}
    for _ in range(4):
        mixed = step(mixed, Alpha(order=order), log_target)
        omega = order * log_target + (1 - order) * bare.log_density(X)
        omega = np.exp(omega - omega.max())
        bare = bare.fit(X, omega / omega.sum())
        errors["mixed"].append(abs(mixed.mean - 0.7))
        errors["bare"].append(abs(bare.mean - 0.7))
    assert errors["mixed"][-1] < 1e-12
    factor = errors["bare"][1] / errors["bare"][0]
    assert factor == pytest.approx(order - 1, rel=0.25)
    if order >= 2.0:
        assert errors["bare"][-1] > 0.9 * errors["bare"][0]


# --- draws ---------------------------------------------------------------------------------------


def draws(n, seed=1, proposal=START):
    x = proposal.mean + math.exp(proposal.log_sd) * stream(seed).standard_normal((n, 1))
    return Particles(x, skewed.log_gamma(x[:, 0]) - proposal.log_density(x))


@pytest.mark.parametrize("divergence", [KL(), Alpha(order=0.5), ChiSquare()], ids=repr)
def test_weights_on_draws_from_the_proposal(divergence):
    particles = draws(50)
    found = update(START, particles, divergence)
    w = np.exp(divergence.order * particles.log_w)
    w /= w.sum()
    assert found.ess == pytest.approx(1 / (w**2).sum(), rel=1e-12)
    keep = min(1.0, 1 / divergence.order)
    np.testing.assert_allclose(found.weights, keep * w + (1 - keep) / 50, rtol=1e-12)
    assert found.proposal == START.fit(particles.x, found.weights)
    assert found.exponent is found.stabiliser is None
    given = update(START, particles, divergence, log_ratio=particles.log_w)
    np.testing.assert_allclose(given.weights, found.weights, rtol=1e-12)


def test_particles_from_elsewhere():
    """The bare power of the weights would be another target: the negative twin."""
    other = Normal(0.5, 0.5)
    n = 200_000
    particles = draws(n, proposal=other)
    log_ratio = skewed.log_gamma(particles.x[:, 0]) - START.log_density(particles.x)
    exact = step(START, Alpha(order=0.5))
    found = update(START, particles, Alpha(order=0.5), log_ratio=log_ratio).proposal
    wrong = update(START, particles, Alpha(order=0.5)).proposal
    assert abs(found.mean - exact.mean) < 0.02
    assert abs(wrong.mean - exact.mean) > 0.2


def test_proposals_of_the_package():
    particles = draws(2000, proposal=Normal(0.5, 0.5))
    w = np.exp(particles.log_w) / np.exp(particles.log_w).sum()
    gaussian = Gaussian.from_covariance(np.zeros(1), np.eye(1))
    found = update(gaussian, particles).proposal
    mean = w @ particles.x[:, 0]
    np.testing.assert_allclose(found.mean, [mean], rtol=1e-12)
    np.testing.assert_allclose(
        found.covariance, [[w @ (particles.x[:, 0] - mean) ** 2]], rtol=1e-12
    )
    shifted = Gaussian.from_covariance(np.ones(1), np.eye(1))
    mixture = Mixture(weights=np.array([0.5, 0.5]), parts=(gaussian, shifted))
    better = update(mixture, particles).proposal
    assert w @ better.log_density(particles.x) > w @ mixture.log_density(particles.x)
    assert w @ better.log_density(particles.x) > w @ found.log_density(particles.x)


def test_stabilised_weights():
    particles = draws(300, seed=4, proposal=Normal(-3.0, -0.3))
    raw = update(START, particles)
    assert raw.khat > 0.5
    capped = update(START, particles, stabiliser=Truncation())
    assert capped.ess == raw.ess
    assert capped.khat == raw.khat
    assert capped.weights.max() < raw.weights.max()
    w = np.exp(Truncation().apply(particles.log_w).log_w)
    np.testing.assert_allclose(capped.weights, w / w.sum(), rtol=1e-12)
    assert capped.proposal == START.fit(particles.x, capped.weights)
    tempered = update(START, particles, Alpha(order=0.9), WeightTempering(share=0.3))
    assert 0 < tempered.exponent < 1
    assert tempered.stabiliser == WeightTempering(share=0.3, least=tempered.exponent)
    assert 1 / (tempered.weights**2).sum() == pytest.approx(90, rel=1e-6)


def test_powers_far_below_the_smallest_float_are_tempered():
    """Weights are handled as logs until the last: these are exp(-4000 k)."""
    particles = Particles(np.arange(10.0)[:, None], -4000.0 * np.arange(10.0))
    found = update(START, particles, Alpha(order=0.5), WeightTempering(share=0.5))
    assert 1 / (found.weights**2).sum() == pytest.approx(5.0, rel=1e-6)


def test_nothing_to_fit():
    particles = Particles(np.zeros((4, 1)), np.full(4, -math.inf))
    for divergence in (KL(), ChiSquare(), Hellinger()):
        for stabiliser in (None, Truncation(), WeightTempering()):
            found = update(START, particles, divergence, stabiliser)
            assert found.degenerate
            assert found.proposal is START
            assert not found.weights.any()
            assert found.ess == 0.0
            assert found.khat == math.inf


def test_some_without_weight():
    particles = Particles(np.array([[0.0], [1.0], [2.0]]), np.array([0.0, -math.inf, 1.0]))
    for divergence in (KL(), Alpha(order=0.5)):
        found = update(START, particles, divergence)
        assert found.weights[1] == 0.0
        assert found.weights.sum() == pytest.approx(1.0)
    assert update(START, particles, ChiSquare()).weights[1] == pytest.approx(1 / 6)
    ratio = np.array([0.0, -math.inf, 1.0])
    assert update(START, particles, Alpha(order=0.5), log_ratio=ratio).weights[1] == 0.0
    with pytest.raises(ValueError, match="those of particle 1 are"):
        update(START, particles, ChiSquare(), log_ratio=ratio)


@pytest.mark.parametrize(
    "divergence",
    [
        ExclusiveKL(),
        Alpha(order=0.0),
        Alpha(order=-1.0),
        JensenShannon(),
        TailAdaptive(),
        General(function=np.square, first=lambda y: 2 * y, second=lambda y: 2 + 0 * y),
    ],
    ids=lambda divergence: type(divergence).__name__,
)
def test_divergences_without_a_closed_form(divergence):
    with pytest.raises(ValueError, match="closed-form update needs KL"):
        update(START, draws(10), divergence)


def test_bad_populations():
    with pytest.raises(ValueError, match=r"particles.log_w\[2\] is nan"):
        update(START, Particles(np.zeros((3, 1)), np.array([0.0, 1.0, math.nan])))
    with pytest.raises(ValueError, match=r"log_ratio must have shape \(10,\)"):
        update(START, draws(10), Hellinger(), log_ratio=np.zeros(9))
    with pytest.raises(ValueError, match=r"one population; got shape \(3, 2\)"):
        update(START, Particles(np.zeros((3, 1)), np.zeros((3, 2))))
