"""Holes of proposals: found by the points of a pool, and covered."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from aisle_smc import sample
from aisle_smc.distributions import Defensive, Gaussian, StudentT
from aisle_smc.moves import Points
from aisle_smc.targets import Target
from aisle_smc.tempering import BASE, TARGET, Pool
from aisle_smc.tempering.holes import covering, hidden, log_excess, relative_variance

D = 2
CENTRE = np.array([10.0, 0.0])
# A mode around zero with 0.9 of the mass, and a narrower one that is easily left out.
BIG, SMALL = 0.9, 0.1
PRIOR = Gaussian(mean=np.zeros(D), root=6.0 * np.eye(D))


def log_target(x):
    parts = [
        math.log(BIG) + norm.logpdf(x).sum(axis=1),
        math.log(SMALL) + norm.logpdf(x, CENTRE, 0.5).sum(axis=1),
    ]
    return logsumexp(parts, axis=0)


def started(n=40_000, seed=1):
    z = PRIOR.sample(n, np.random.default_rng(seed))
    log_base = PRIOR.log_density(z)
    points = Points(z=z, log_base=log_base, log_ratio=log_target(z) - log_base)
    return Pool.started(points, BASE, 10)


def blind():
    """Return a proposal that fits the large mode and does not know the other."""
    fitted = Gaussian(mean=np.zeros(D), root=1.1 * np.eye(D))
    return Defensive(proposal=fitted, safety=StudentT(location=np.zeros(D), root=2.0 * np.eye(D)))


def whole():
    narrow = Gaussian(mean=CENTRE, root=0.55 * np.eye(D))
    return Defensive(proposal=blind(), safety=narrow, share=SMALL)


def test_the_ratio_is_that_of_the_normalised_densities():
    pool, q = started(), whole()
    weights, log_r = log_excess(pool, TARGET, q)
    exact = log_target(pool.points.z) - q.log_density(pool.points.z)
    held = weights > 0.0
    # The mass of the target is one; that of the pool's estimate is off by a constant.
    assert np.ptp((log_r - exact)[held]) < 1e-12
    assert abs(np.mean((log_r - exact)[held])) < 0.05


def test_the_variance_is_that_of_draws():
    narrow = Gaussian(mean=CENTRE, root=0.55 * np.eye(D))
    q = Defensive(proposal=blind(), safety=narrow, share=0.02)
    x = q.sample(400_000, np.random.default_rng(2))
    w = np.exp(log_target(x) - q.log_density(x))
    assert relative_variance(started(), TARGET, q) == pytest.approx(w.var(), rel=0.1)


def test_a_mode_left_out_shows_in_the_pool_and_not_in_the_draws():
    pool, q = started(), blind()
    x = q.sample(4000, np.random.default_rng(3))
    w = np.exp(log_target(x) - q.log_density(x))
    # By its own draws the proposal is good, and the mean of the weights misses a tenth.
    assert w.var() < 0.5
    assert w.mean() == pytest.approx(BIG, abs=0.03)
    assert relative_variance(pool, TARGET, q) > 100.0
    assert hidden(pool, TARGET, q, float(w.max())) == pytest.approx(SMALL, abs=0.02)
    assert hidden(pool, TARGET, whole(), float(w.max())) == 0.0


def test_a_cover_brings_draws_into_the_hole():
    pool = started()
    rng = np.random.default_rng(4)
    q = covering(blind(), pool, TARGET, rng)
    assert hidden(pool, TARGET, q, 1.0) < 1e-3
    x = q.sample(4000, rng)
    near = np.linalg.norm(x - CENTRE, axis=1) < 1.0
    assert near.sum() > 100
    w = np.exp(log_target(x) - q.log_density(x))
    assert abs(w.mean() - 1.0) < 4.0 * w.std() / math.sqrt(w.size)


def test_without_a_hole_nothing_is_laid_over():
    q = whole()
    assert covering(q, started(), TARGET, np.random.default_rng(5)) is q


def two_modes(d):
    """Return log-density, its gradient, and the evidence under normal priors of scale 4."""
    centres = np.zeros((2, d))
    centres[1, 0] = 10.0
    scales = np.array([1.0, 0.6])

    def parts(x):
        squares = np.square(x[:, None, :] - centres).sum(axis=2)
        return (
            math.log(0.5) - 0.5 * squares / scales**2 - d * np.log(scales * math.sqrt(2 * np.pi))
        )

    def density(x):
        return logsumexp(parts(x), axis=1)

    def gradient(x):
        share = np.exp(parts(x) - density(x)[:, None]) / scales**2
        return (share[:, :, None] * (centres - x[:, None, :])).sum(axis=1)

    spread = np.sqrt(16.0 + scales**2)
    masses = norm.logpdf(centres, 0.0, spread[:, None]).sum(axis=1)
    return density, gradient, math.log(0.5) + logsumexp(masses)


@pytest.mark.parametrize("slopes", [False, True], ids=["values", "gradients"])
@pytest.mark.parametrize("d", [2, 5])
def test_a_small_far_mode_is_kept_once_it_was_seen(d, slopes):
    """It holds a twentieth of the mass; proposals that drop it look the better for it."""
    density, gradient, exact = two_modes(d)
    seen = 0
    for seed in (0, 1, 2, 3, 7, 16, 22, 24):
        points = []

        def watched(x, f=density, points=points):
            points.append(np.atleast_2d(x))
            return f(x)

        watch = Target(watched, gradient=gradient) if slopes else watched
        result = sample(watch, [norm(0.0, 4.0)] * d, progress=False, seed=seed)
        centre = np.zeros(d)
        centre[0] = 10.0
        found = np.linalg.norm(np.concatenate(points) - centre, axis=1) < 2.0
        if found.any():
            seen += 1
            assert abs(result.log_evidence - exact) < 4.0 * result.log_evidence_error
    assert seen >= 4
