"""Evidences and means that can be worked out, and what careless samplers make of them.

Each defect known of other samplers has its test here, and the test is shown to see it.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import norm

from aisle_smc.distributions import Gaussian
from aisle_smc.tempering import Threshold
from aisle_smc.tempering.levels import next_temperature
from tests.sampling import toys
from tests.sampling.toys import score


def within(mean, truth, sd, ess):
    """Whether means are within five of their standard errors."""
    return bool((np.abs(mean - truth) < 5.0 * sd / math.sqrt(ess)).all())


@pytest.mark.parametrize("toy", toys.TOYS, ids=lambda toy: toy.__name__)
def test_evidence_and_mean(toy):
    toy = toy()
    result = toy.run(ess=1500.0, evidence_error=0.05)
    assert result.method != "pool"
    assert result.trusted
    assert result.log_evidence_error <= 0.05
    assert abs(score(result, toy.log_evidence)) < 4
    # Replicates resample, so their draws are worth less than their weights say.
    independent = result.method == "draws"
    assert result.ess >= (1500.0 if independent else 300.0)
    assert within(result.mean, toy.mean, result.sd, result.ess if independent else 100.0)


@pytest.mark.parametrize("toy", [toys.skewed, toys.two_modes], ids=lambda toy: toy.__name__)
def test_the_nested_path_leads_to_the_same_place(toy):
    toy = toy()
    result = toy.run(path=Threshold(-math.inf))
    assert {step.phase for step in result.trace} >= {"nested", "final"}
    assert abs(score(result, toy.log_evidence)) < 4


@pytest.mark.parametrize("n", [10, 20, 50])
def test_few_points_a_stage_make_no_wrong_evidence(n):
    toy = toys.conjugate()
    for seed in range(5):
        result = toy.run(n=n, seed=seed)
        assert result.method != "pool"
        assert abs(score(result, toy.log_evidence)) < 4


# --- mass at a bound -----------------------------------------------------------------------------


def right_at_the_boundary(mean, log_evidence, error):
    """The check of the corner: means within one percent, log Z within three errors."""
    toy = toys.boundary()
    close = np.abs(mean / toy.mean - 1.0) < 0.01
    return bool(close.all()) and abs(log_evidence - toy.log_evidence) < 3.0 * error


def test_mass_in_a_corner():
    result = toys.boundary().run(ess=60_000.0, evidence_error=0.01)
    assert result.log_evidence_error < 0.005
    assert right_at_the_boundary(result.mean, result.log_evidence, result.log_evidence_error)


def in_the_corner(n, beta, rng):
    """Draw from ``exp(-20 beta sum u)`` on the cube, exactly."""
    return -np.log1p(rng.random((n, 4)) * np.expm1(-20.0 * beta)) / (20.0 * beta)


def walked(u, beta, rng, redraw):
    """Walk randomly, and refuse steps that leave the cube, or draw them again."""
    for _ in range(6):
        scale = 0.6 * u.std(axis=0)
        to = u + scale * rng.normal(size=u.shape)
        outside = ((to < 0.0) | (to > 1.0)).any(axis=1)
        while redraw and outside.any():
            again = u[outside] + scale * rng.normal(size=(outside.sum(), 4))
            to[outside] = again
            outside[outside] = ((again < 0.0) | (again > 1.0)).any(axis=1)
        gain = beta * (toys.boundary_log_density(to) - toys.boundary_log_density(u))
        accepted = (np.log(rng.random(u.shape[0])) < gain) & ~outside
        u = np.where(accepted[:, None], to, u)
    return u


@pytest.mark.parametrize("redraw", [False, True])
def test_proposals_redrawn_until_inside_are_seen(redraw):
    """Without the Hastings factor of redrawing, a walk leaves the corner too often.

    The ladder of temperatures starts from exact draws at each, so what is off is the walk.
    """
    rng = np.random.default_rng(5)
    betas = [0.05, 0.15, 0.3, 0.55, 1.0]
    whole = (1.0 - math.exp(-20.0 * betas[0])) / (20.0 * betas[0])
    log_z, variance = 4.0 * math.log(whole), 0.0
    for beta, after in pairwise(betas):
        u = walked(in_the_corner(4000, beta, rng), beta, rng, redraw)
        w = np.exp((after - beta) * toys.boundary_log_density(u))
        log_z += math.log(w.mean())
        variance += w.var() / w.mean() ** 2 / w.size
    u = walked(in_the_corner(60_000, 1.0, rng), 1.0, rng, redraw)
    assert right_at_the_boundary(u.mean(axis=0), log_z, math.sqrt(variance)) is not redraw


# --- proposals outside of the prior --------------------------------------------------------------


@pytest.mark.parametrize("toy", [toys.cut_off_by_name, toys.cut_off_joint])
def test_a_tenth_of_the_peak_outside_of_the_prior(toy):
    toy = toy()
    result = toy.run(evidence_error=0.02)
    assert abs(score(result, toy.log_evidence)) < 4
    assert ((result.x >= 0.0) & (result.x <= 1.0))[result.weights > 0.0].all()
    # The peak with nothing cut off would be a tenth off.
    assert abs(score(result, 0.0)) > 3


def test_draws_outside_of_the_prior_count():
    """Of a fixed proposal: dividing by the number of draws inside is seen."""
    toy = toys.cut_off_joint()
    q = Gaussian(mean=toys.CENTRE, root=np.diag(1.1 * toys.WIDTH))
    x = q.sample(20_000, np.random.default_rng(1))
    log_w = toy.arguments["prior"].log_density(x) + toy.function(x) - q.log_density(x)
    w = np.exp(log_w)
    error = w.std() / w.mean() / math.sqrt(w.size)
    assert 0.08 < np.mean(w == 0.0) < 0.14
    assert abs(math.log(w.mean()) - toy.log_evidence) < 4 * error
    assert abs(math.log(w.sum() / np.count_nonzero(w)) - toy.log_evidence) > 4 * error


def test_the_target_is_not_called_outside_of_a_joint_prior():
    toy, seen = toys.cut_off_joint(), []

    def log_likelihood(x):
        seen.append(x)
        return toys.narrow_log_likelihood(x)

    result = toys.Toy(log_likelihood, toy.arguments, 0.0, toy.mean).run()
    points = np.concatenate([np.atleast_2d(x) for x in seen])
    assert ((points > 0.0) & (points < 1.0)).all()
    # Draws outside are among the draws, with weight zero; they cost no evaluation.
    assert np.isneginf(result.log_likelihood).sum() > 100
    assert (result.weights[np.isneginf(result.log_likelihood)] == 0.0).all()


# --- likelihoods of zero -------------------------------------------------------------------------


def test_draws_of_likelihood_zero_count():
    """Replacing them by others makes the evidence of the toy too large by log 2."""
    toy = toys.half()
    result = toy.run()
    assert abs(score(result, toy.log_evidence)) < 4
    theta = toy.arguments["prior"]
    x = np.column_stack([d.rvs(50_000, random_state=j) for j, d in enumerate(theta.values())])
    w = np.exp(toy.function(x))
    error = w.std() / w.mean() / math.sqrt(w.size)
    assert abs(math.log(w.mean()) - toy.log_evidence) < 4 * error
    replaced = math.log(w[w > 0.0].mean())
    assert abs(replaced - toy.log_evidence) > 4 * error
    assert abs(score(result, toy.log_evidence + math.log(2.0))) > 4


@pytest.mark.parametrize("share", [0.05, 0.003])
def test_a_prior_of_which_little_is_possible(share):
    """So few of the first draws have any likelihood that more of them are needed."""
    edge = float(norm.ppf(1.0 - share))

    def log_likelihood(x):
        return np.where(x[:, 0] > edge, -x[:, 1], -np.inf)

    result = toys.Toy(
        log_likelihood, {"prior": {"a": norm(0, 1), "b": norm(0, 1)}}, 0.0, np.zeros(2)
    ).run()
    assert abs(score(result, math.log(share) + 0.5)) < 4
    first = result.trace[0]
    assert first.phase == "prior"
    assert first.evaluations > (300 if share < 0.05 else 299)


# --- weights and temperatures --------------------------------------------------------------------


def test_linear_weights_would_underflow():
    toy = toys.near_minus_a_million()
    result = toy.run()
    assert abs(score(result, toy.log_evidence)) < 4
    with np.errstate(divide="ignore"):
        assert np.log(np.mean(np.exp(result.log_likelihood))) == -math.inf


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_temperatures_of_a_skewed_likelihood(sign):
    """The solver keeps half of the effective draws; one with the wrong sign would not."""
    toy, n = toys.rates([0.0, 0.0], [30.0, 9.0], [1, 2]), 300
    theta = np.random.default_rng(3).gamma([1.0, 2.0], size=(n, 2))
    log_ratio = toy.function(theta)
    beta = next_temperature(np.zeros(n), sign * log_ratio, 0.0, 0.5)
    w = np.exp(beta * (log_ratio - log_ratio.max()))
    kept = w.sum() ** 2 / np.square(w).sum() / n
    assert bool(abs(kept - 0.5) < 1e-6) is (sign > 0.0)
