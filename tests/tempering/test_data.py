"""Data tempering: exact sequential evidences at small n, batches, and what can go wrong."""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import expon, multivariate_normal, norm

from aisle_smc import resume, smc, stream
from aisle_smc.distributions import Gaussian
from aisle_smc.errors import BadDensity, DegenerateWeights
from aisle_smc.moves import CrankNicolson, Hamiltonian, Portfolio, RandomWalk
from aisle_smc.tempering import Plan
from aisle_smc.tempering.data import DataTempering, Observed, Partial, Pointwise
from aisle_smc.tempering.ibis import averaged, ibis
from tests.oracles.paths import score

# An intercept and a slope with normal priors, normal errors of known size: all is exact.
RNG = np.random.default_rng(20)
T = 12
DESIGN = np.stack([np.ones(T), RNG.normal(size=T)], axis=1)
SD, MEAN, ROOT = 0.8, np.array([0.3, -0.5]), np.array([[1.2, 0.0], [0.4, 0.9]])
Y = DESIGN @ np.array([1.5, -1.0]) + SD * RNG.normal(size=T)
PRIOR = Gaussian(mean=MEAN, root=ROOT)


def log_likelihoods(theta, first, last):
    gap = Y[first:last] - theta @ DESIGN[first:last].T
    return -0.5 * np.square(gap / SD) - math.log(SD) - 0.5 * math.log(2.0 * math.pi)


def exact():
    """Log-evidences of the data up to each time."""
    covariance = DESIGN @ ROOT @ ROOT.T @ DESIGN.T + SD**2 * np.eye(T)
    return np.array(
        [
            multivariate_normal(DESIGN[:t] @ MEAN, covariance[:t, :t]).logpdf(Y[:t])
            for t in range(1, T + 1)
        ]
    )


EXACT = exact()
LIKELIHOOD = Pointwise(function=log_likelihoods, length=T, names=("a", "b"))
WALK = Portfolio(kernels=(RandomWalk(scale=0.4),))
FREE = DataTempering(prior=PRIOR, likelihood=LIKELIHOOD, portfolio=WALK)


def planned(*levels, sweeps=1):
    return replace(FREE, plans=tuple(Plan(level=v, portfolio=WALK, sweeps=sweeps) for v in levels))


LEVELS = (
    Observed(0, 0.4),
    Observed(1),
    Observed(2, 0.5),
    Observed(2, 0.7),
    Observed(6),
    Observed(T),
)


def sequence(stage, n, rng, threshold=0.5):
    """Return the log-evidence of the data up to each time, from one run."""
    out = np.full(T, -math.inf)
    for following, particles in smc(stage, n, rng, threshold=threshold):
        found, done = following.log_evidences, following.level.count
        if found is not None and found.size:
            out[done - found.size : done] = found
            if following.level.share == 0.0:
                assert particles.log_evidence == pytest.approx(found[-1], abs=1e-10)
    return out


# --- unbiased ------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.0, 0.8, 2.0])
@pytest.mark.parametrize(("n", "runs"), [(2, 600), (5, 400), (50, 100)])
def test_planned_sequential_evidences_are_unbiased(n, runs, threshold):
    """Of every time at once; standard errors of 2 to 12 %."""
    stage = planned(*LEVELS)
    found = [sequence(stage, n, stream(0, r), threshold) for r in range(runs)]
    ratios = np.exp(np.array(found) - EXACT)
    for t in (0, 1, 2, 5, 8, T - 1):
        assert abs(score(ratios[:, t], 1.0)) < 4
    assert ratios.std(axis=0).max() / math.sqrt(runs) < 0.15


def test_chosen_batches_cost_little():
    for efficiency in (0.3, 0.8):
        stage = replace(FREE, efficiency=efficiency)
        found = np.array([sequence(stage, 100, stream(1, r)) for r in range(60)])
        ratios = np.exp(found - EXACT)
        error = ratios.std(axis=0, ddof=1) / math.sqrt(60)
        assert error.max() < 0.06
        assert (np.abs(ratios.mean(axis=0) - 1.0) < 0.03 + 4 * error).all()


@dataclass(frozen=True, eq=False)
class Wrong:
    """A stage with something wrong."""

    stage: DataTempering
    move_wrongly: Any

    @property
    def level(self):
        return self.stage.level

    @property
    def log_evidences(self):
        return None

    def start(self, n, rng):
        return self.stage.start(n, rng)

    def next(self, particles):
        following = self.stage.next(particles)
        return None if following is None else replace(self, stage=following)

    def lookahead(self, particles):
        return self.stage.lookahead(particles)

    def move(self, particles, rng):
        return self.move_wrongly(self.stage, particles, rng)


def first_batch_twice(stage, particles, rng):
    """The first batch is weighed in the start and in the first stage."""
    if stage.level == LEVELS[0]:
        particles = particles.reweight(stage.gain if particles.ancestors is None else 0.0)
    return stage.move(particles, rng)


def gains_of_other_particles(stage, particles, rng):
    """After resampling, each particle is given what was computed for its place."""
    if particles.ancestors is None:
        return stage.move(particles, rng)
    log_w = particles.log_w + stage.gain
    return replace(stage.move(particles, rng), log_w=log_w)


def moves_at_the_last_posterior(stage, particles, rng):
    """The particles are weighed for a batch and moved as if it had not been seen."""
    moved = stage.move(particles, rng)
    earlier = Partial(prior=PRIOR, likelihood=LIKELIHOOD, level=Observed(0))
    swept = WALK.sweep(earlier.at(moved.x.points.z), Observed(0), earlier, rng, 4, np.ones(2))
    bridge = Partial(prior=PRIOR, likelihood=LIKELIHOOD, level=stage.level)
    return moved.move(replace(moved.x, points=bridge.at(swept.points.z)))


@pytest.mark.parametrize(
    ("wrong", "threshold"),
    [
        (first_batch_twice, 0.0),
        (gains_of_other_particles, 2.0),
        (moves_at_the_last_posterior, 0.8),
    ],
)
def test_wrong_stages_are_seen(wrong, threshold):
    found = []
    for r in range(300):
        *_, (_, last) = smc(Wrong(planned(*LEVELS), wrong), 20, stream(2, r), threshold=threshold)
        found.append(math.exp(last.log_evidence - EXACT[-1]))
    assert abs(score(found, 1.0)) > 6


# --- stages --------------------------------------------------------------------------------------


def test_points_carry_the_likelihood_of_what_was_observed():
    for stage, particles in smc(replace(FREE, efficiency=0.7), 40, stream(3)):
        points = particles.x.points
        bridge = Partial(prior=PRIOR, likelihood=LIKELIHOOD, level=stage.level)
        again = bridge.at(points.z)
        np.testing.assert_allclose(points.log_ratio, again.log_ratio, atol=1e-10)
        np.testing.assert_allclose(points.log_base, again.log_base, atol=1e-12)
    whole = log_likelihoods(points.z, 0, T).sum(axis=1)
    np.testing.assert_allclose(points.log_ratio, whole, atol=1e-10)


def test_batches_keep_their_share():
    """Each is the longest that does, and a share of an observation keeps exactly it."""
    shares = 0
    before = None
    for stage, particles in smc(replace(FREE, efficiency=0.6), 300, stream(4)):
        if before is not None:
            last, z = before

            def kept(level, last=last, z=z):
                here = Partial(prior=PRIOR, likelihood=LIKELIHOOD, level=last[0]).at(z).log_ratio
                there = Partial(prior=PRIOR, likelihood=LIKELIHOOD, level=level).at(z).log_ratio
                g = np.exp(there - here)
                w = np.exp(last[1] - last[1].max())
                return (w @ g) ** 2 / (w @ g**2) / w.sum()

            level = stage.level
            if level.share > 0.0:
                shares += 1
                assert kept(level) == pytest.approx(0.6, abs=1e-6)
                assert kept(Observed(level.count + 1)) < 0.6
            else:
                assert kept(level) > 0.6
                assert level.count == T or kept(Observed(level.count + 1)) < 0.6
        before = (stage.level, particles.log_w), particles.x.points.z
    assert stage.level == Observed(T)
    assert shares >= 1


def test_used_kernels_make_a_plan():
    """A run that adapts can be repeated without adaptation, and from the same stream."""
    stage = replace(FREE, portfolio=Portfolio(kernels=(RandomWalk(),)))
    steps = list(smc(stage, 30, stream(5)))[1:]
    plans = tuple(Plan(level=s.level, portfolio=p.x.used, sweeps=stage.sweeps) for s, p in steps)
    *_, (_, again) = smc(replace(stage, plans=plans), 30, stream(5))
    # Fitting a random walk draws no random numbers, so that even the bits agree.
    np.testing.assert_array_equal(steps[-1][1].x.points.z, again.x.points.z)
    assert steps[-1][1].log_evidence == again.log_evidence


def test_stopped_anywhere_it_ends_with_the_same_bits():
    stage = replace(FREE, efficiency=0.7, portfolio=Portfolio(kernels=(CrankNicolson(parts=2),)))
    rng, saved = stream(6), []
    for following, last in smc(stage, 60, rng):
        saved.append(pickle.dumps((following, last, rng)))
    assert len(saved) > 4
    for state in saved[:-1]:
        *_, (_, again) = resume(*pickle.loads(state))
        np.testing.assert_array_equal(last.x.points.z, again.x.points.z)
        assert last.log_evidence == again.log_evidence


@pytest.mark.parametrize(
    "levels",
    [
        (Observed(3), Observed(3)),
        (Observed(3), Observed(2, 0.9)),
        (Observed(T, 0.1),),
        (Observed(T + 1),),
    ],
)
def test_plans_go_forward(levels):
    with pytest.raises(ValueError, match=r"a plan must go on from .* to a later level"):
        list(smc(planned(*levels), 10, stream(7)))


def test_blocks_do_not_matter(monkeypatch):
    asked = []

    def counted(theta, first, last):
        asked.append((theta.shape[0], first, last))
        return log_likelihoods(theta, first, last)

    likelihood = replace(LIKELIHOOD, function=counted)
    z = PRIOR.sample(10, stream(8))
    whole = likelihood.total(z, Observed(7, 0.5))
    sums = list(likelihood.sums(z, 2, 9))
    assert asked == [(10, 0, 7), (10, 7, 8), (10, 2, 3), (10, 3, 5), (10, 5, 9)]
    asked.clear()
    monkeypatch.setattr("aisle_smc.tempering.data.NUMBERS", 30)
    np.testing.assert_allclose(likelihood.total(z, Observed(7, 0.5)), whole, rtol=1e-13)
    for one, other in zip(likelihood.sums(z, 2, 9), sums, strict=True):
        np.testing.assert_array_equal(one, other)
    assert max(last - first for _, first, last in asked) == 3


# --- what can go wrong ---------------------------------------------------------------------------


def failing(value, at):
    def function(theta, first, last):
        found = log_likelihoods(theta, first, last)
        if first <= at < last:
            found[:, at - first] = np.where(theta[:, 0] > -9.0, value, 0.0)
        return found

    return replace(FREE, likelihood=replace(LIKELIHOOD, function=function))


def test_an_impossible_observation_is_no_evidence():
    for threshold in (0.0, 0.5, 2.0):
        *_, (stage, last) = smc(failing(-math.inf, 4), 30, stream(9), threshold=threshold)
        assert last.log_evidence == -math.inf
        assert stage.level.count == 4
    *_, (_, last) = smc(
        replace(failing(-math.inf, 4), plans=planned(Observed(T)).plans), 30, stream(9)
    )
    assert last.log_evidence == -math.inf


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_bad_likelihood_names_observation_and_point(value):
    with pytest.raises(BadDensity, match=rf"observation 4 is {value} at a = .*, b = ") as caught:
        list(smc(failing(value, 4), 30, stream(10)))
    assert set(caught.value.point) == {"a", "b"}


def test_a_wrong_shape_is_named():
    likelihood = replace(LIKELIHOOD, function=lambda theta, first, last: np.zeros(len(theta)))
    with pytest.raises(ValueError, match=r"must return shape \(30, 1\).*it returned \(30,\)"):
        list(smc(replace(FREE, likelihood=likelihood), 30, stream(11)))


def test_kernels_with_gradients_are_refused():
    stage = replace(FREE, portfolio=Portfolio(kernels=(Hamiltonian(),)))
    with pytest.raises(ValueError, match="without gradients"):
        list(smc(stage, 30, stream(12)))


@dataclass(frozen=True)
class Half:
    """A prior on the positive numbers; the likelihood must not be asked elsewhere."""

    dim = 1

    def sample(self, n, rng):
        return rng.exponential(size=(n, 1))

    def log_density(self, z):
        return np.where(z[:, 0] > 0.0, -z[:, 0], -math.inf)


def test_the_likelihood_is_asked_inside_the_prior_only():
    def positive(theta, first, last):
        assert (theta > 0.0).all()
        return np.log(theta) - theta * np.ones(last - first)

    stage = DataTempering(
        prior=Half(),
        likelihood=Pointwise(function=positive, length=5, names=("rate",)),
        portfolio=Portfolio(kernels=(RandomWalk(scale=2.0),)),
    )
    # Of t observations of an exponential law, each at 1: t! / (t + 1)^(t + 1).
    found = [[p.log_evidence for _, p in smc(stage, 100, stream(13, r))][-1] for r in range(40)]
    truth = math.lgamma(6.0) - 6.0 * math.log(6.0)
    assert abs(np.mean(np.exp(np.array(found) - truth)) - 1.0) < 0.1


# --- in one call ---------------------------------------------------------------------------------


def test_ibis_finds_evidences_and_posterior():
    prior = {"a": norm(0.3, 1.2), "b": norm(-0.5, 0.9), "unused": 3.0}
    found = ibis(log_likelihoods, prior, T, n=300, seed=1)
    covariance = DESIGN @ np.diag([1.2**2, 0.9**2]) @ DESIGN.T + SD**2 * np.eye(T)
    truth = [
        multivariate_normal(DESIGN[:t] @ MEAN, covariance[:t, :t]).logpdf(Y[:t])
        for t in range(1, T + 1)
    ]
    errors = found.log_evidence_errors
    assert errors.max() < 0.1
    # With seven degrees of freedom the ratio is Student's.
    assert (np.abs(found.log_evidences - truth) < 6.0 * errors).all()
    assert np.abs(found.log_evidences - truth).max() < 0.2
    assert found.log_evidence == found.log_evidences[-1]
    np.testing.assert_allclose(np.cumsum(found.log_predictives), found.log_evidences)
    precision = DESIGN.T @ DESIGN / SD**2 + np.diag([1 / 1.44, 1 / 0.81])
    mean = np.linalg.solve(precision, DESIGN.T @ Y / SD**2 + MEAN / np.array([1.44, 0.81]))
    sd = np.sqrt(np.diag(np.linalg.inv(precision)))
    np.testing.assert_allclose((found.draws.mean - mean) / sd, 0.0, atol=0.15)
    np.testing.assert_allclose(found.draws.sd / sd, 1.0, atol=0.1)
    assert found.draws.names == ("a", "b")
    assert found.batches[-1] == T
    assert list(found.batches) == sorted(set(found.batches))
    assert "of 12 observations, from 8 runs" in repr(found)
    again = ibis(log_likelihoods, prior, T, n=300, seed=1)
    np.testing.assert_array_equal(found.log_evidences, again.log_evidences)
    np.testing.assert_array_equal(found.draws.x, again.draws.x)


def test_an_observation_that_says_nearly_everything():
    """A precise first observation of one rate: the prior is left by shares of it."""

    def precise(theta, first, last):
        return np.array([-0.5 * ((2.0 - theta[:, 0]) / 1e-3) ** 2] * (last - first)).T

    found = ibis(precise, {"rate": expon(scale=3.0)}, 2, n=400, seed=2)
    # Two such likelihoods are normal with half the variance; the prior is flat across them.
    height = -2.0 / 3.0 - math.log(3.0) + math.log(1e-3 * math.sqrt(2.0 * math.pi))
    truth = np.array([height, height - 0.5 * math.log(2.0)])
    assert found.log_evidence_errors.max() < 0.3
    assert (np.abs(found.log_evidences - truth) < 5.0 * found.log_evidence_errors).all()


def test_an_impossible_observation_is_named():
    with pytest.raises(DegenerateWeights, match="observation 4 has likelihood zero") as caught:
        ibis(failing(-math.inf, 4).likelihood.function, {"a": norm(), "b": norm()}, T, n=50)
    assert caught.value.t == 4


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"runs": 1}, "runs must be at least 2"),
        ({"efficiency": 1.0}, "efficiency must lie between 0 and 1"),
        ({"threshold": -1.0}, "threshold"),
        ({"sweeps": 0}, "sweeps must be at least 1"),
    ],
)
def test_options_are_read_first(options, match):
    with pytest.raises(ValueError, match=match):
        ibis(log_likelihoods, {"a": norm(), "b": norm()}, T, **options)


def test_the_mean_of_runs():
    log_z = np.log([[1.0, 2.0, 0.5], [3.0, 2.0, 1.5]])
    log_z[:, 2] = [-math.inf, math.log(2.0)]
    log_z = np.concatenate([log_z, np.full((2, 1), -math.inf)], axis=1)
    means, errors = averaged(log_z)
    np.testing.assert_allclose(means, [math.log(2.0), math.log(2.0), 0.0, -math.inf], atol=1e-15)
    np.testing.assert_allclose(errors, [0.5, 0.0, 1.0, math.inf])
    shifted, _ = averaged(log_z - 1e6)
    np.testing.assert_allclose(shifted[:3] + 1e6, means[:3], atol=1e-9)
