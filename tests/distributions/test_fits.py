"""Fits of one distribution: moments, recovery, affine maps, few points and singular ones."""

from __future__ import annotations

import numpy as np
import pytest

from aisle_smc.distributions import Defensive, Elliptical, Gaussian, LogRadius, Mixture, StudentT
from aisle_smc.distributions.moments import (
    effective_count,
    inverse_root,
    root_of,
    tempered,
    weighted_moments,
    whiten,
)
from aisle_smc.distributions.student_em import Parts, share_out, start, unseen
from tests.distributions.densities import gaussian, root, student


def elliptical(d):
    law = LogRadius(knots=np.zeros(1), heights=np.zeros(1), left=float(d), right=-5.0)
    return Elliptical(location=np.zeros(d), root=np.eye(d), radius=law)


KINDS = {"gaussian": gaussian, "student": student, "elliptical": elliptical}
every_kind = pytest.mark.parametrize("kind", KINDS)


def weighted(n, d, seed=0):
    """Return heavy-tailed points of uneven weight."""
    rng = np.random.default_rng([seed, n, d])
    x = student(d, 4.0).sample(n, rng)
    return x, rng.standard_gamma(1.0, size=n)


# --- moments -------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 7])
def test_gaussian_has_the_weighted_moments(d):
    x, w = weighted(300, d)
    q = gaussian(d).fit(x, w)
    np.testing.assert_allclose(q.mean, np.average(x, axis=0, weights=w), rtol=1e-12)
    expected = np.atleast_2d(np.cov(x.T, aweights=w, ddof=0))
    np.testing.assert_allclose(q.covariance, expected, rtol=1e-11)


def test_moments_far_from_the_origin():
    x, w = weighted(300, 3)
    w /= w.sum()
    mean, covariance = weighted_moments(x, w)
    far_mean, far_covariance = weighted_moments(x + 1e8, w)
    np.testing.assert_allclose(far_mean - 1e8, mean, rtol=0.0, atol=1e-8)
    np.testing.assert_allclose(far_covariance, covariance, rtol=1e-6)


def test_whole_weights_are_copies():
    rng = np.random.default_rng(0)
    x, times = rng.normal(size=(60, 2)), rng.integers(0, 5, size=60)
    one = gaussian(2).fit(x, times)
    other = gaussian(2).fit(np.repeat(x, times, axis=0), np.ones(times.sum()))
    np.testing.assert_allclose(one.root, other.root, rtol=1e-12)


def test_inverse_root():
    r = root(5)
    np.testing.assert_allclose(inverse_root(r) @ r, np.eye(5), atol=1e-14)
    np.testing.assert_allclose(whiten(np.ones((3, 5)), np.zeros(5), r) @ r.T, np.ones((3, 5)))


# --- recovery ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "df"), [(1, 4.0), (3, 8.0), (10, 4.0)])
def test_student_finds_its_parameters(d, df):
    rng = np.random.default_rng(d)
    truth = student(d, df)
    q = truth.fit(truth.sample(40_000, rng), np.ones(40_000))
    assert q.df == pytest.approx(df, rel=0.1)
    scale = truth.root @ truth.root.T
    size = np.sqrt(np.diag(scale))
    np.testing.assert_allclose((q.location - truth.location) / size, 0.0, atol=0.03)
    np.testing.assert_allclose(
        (q.root @ q.root.T - scale) / np.outer(size, size), 0.0, atol=0.05 * np.sqrt(1 + 4 / df)
    )


def test_student_of_normal_points_has_light_tails_and_of_cauchy_points_the_heaviest():
    rng = np.random.default_rng(0)
    assert student(4).fit(rng.normal(size=(4000, 4)), np.ones(4000)).df > 50.0
    assert student(4).fit(rng.standard_cauchy(size=(4000, 4)), np.ones(4000)).df == 3.0


@every_kind
def test_weights_move_the_fit_to_the_target(kind):
    # Points of N(0, 2^2 I) weighted for N(m, I): the fit is that of the target.
    rng = np.random.default_rng(3)
    wide = Gaussian(mean=np.zeros(2), root=2.0 * np.eye(2))
    target = Gaussian(mean=np.array([1.0, -0.5]), root=np.eye(2))
    x = wide.sample(20_000, rng)
    w = np.exp(target.log_density(x) - wide.log_density(x))
    fresh = target.sample(5000, rng)

    def divergence(weights):
        q = KINDS[kind](2).fit(x, weights)
        return float(np.mean(target.log_density(fresh) - q.log_density(fresh)))

    assert abs(divergence(w)) < 0.02
    assert divergence(np.ones_like(w)) > 0.3


@every_kind
@pytest.mark.parametrize("d", [1, 2, 5])
def test_fits_follow_affine_maps(kind, d):
    # log q'(A x + b) = log q(x) - log |det A|, for any A; a diagonal one at any scale.
    x, w = weighted(400, d)
    rng = np.random.default_rng(9)
    q = KINDS[kind](d).fit(x, w)
    scales = np.diag(10.0 ** rng.uniform(-8.0, 8.0, d))
    turned = np.linalg.qr(rng.normal(size=(d, d))).Q @ np.diag(rng.uniform(0.2, 5.0, d))
    for a in (turned, scales):
        b = a @ rng.normal(size=d)
        y = x @ a.T + b
        moved = KINDS[kind](d).fit(y, w).log_density(y)
        np.testing.assert_allclose(
            moved, q.log_density(x) - np.linalg.slogdet(a)[1], rtol=0.0, atol=1e-8
        )


# --- few, singular, degenerate -------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("n", [2, 5, 11, 30, 100])
def test_more_dimensions_than_points(kind, n):
    d = 20
    truth = gaussian(d)
    rng = np.random.default_rng(n)
    x = truth.sample(n, rng)
    q = KINDS[kind](d).fit(x, np.ones(n))
    fresh = truth.sample(1000, rng)
    # Nothing is expected of so few points but that the truth stays within reach.
    bound = 400.0 if kind == "gaussian" else 120.0
    assert np.mean(truth.log_density(fresh) - q.log_density(fresh)) < bound * (
        d / n if n < d else 1
    )
    assert np.linalg.cond(q.root) < 1e8


@every_kind
def test_collinear_points(kind):
    rng = np.random.default_rng(0)
    t = rng.normal(size=500)
    x = np.stack([t, 2.0 * t - 1.0, rng.normal(size=500)], axis=1)
    q = KINDS[kind](3).fit(x, np.ones(500))
    draws = q.sample(500, rng)
    assert np.isfinite(q.log_density(draws)).all()
    assert np.abs(2.0 * draws[:, 0] - 1.0 - draws[:, 1]).max() < 1e-2


@every_kind
def test_a_coordinate_without_spread(kind):
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(size=300), np.full(300, 7.0)], axis=1)
    q = KINDS[kind](2).fit(x, np.ones(300))
    assert np.isfinite(q.log_density(x)).all()


def test_root_of_a_singular_matrix_is_close_and_regular():
    a = np.ones((3, 3))
    found = root_of(a, np.ones(3))
    assert np.diag(found).min() > 0.0
    np.testing.assert_allclose(found @ found.T, a, atol=1e-9)
    indefinite = np.array([[1.0, 2.0], [2.0, 1.0]])
    assert np.isfinite(root_of(indefinite, np.ones(2))).all()


# --- tempered weights ----------------------------------------------------------------------------


@pytest.mark.parametrize("least", [2.0, 5.0, 50.0])
def test_tempered_weights_keep_what_is_asked(least):
    w = np.exp(np.random.default_rng(0).normal(scale=25.0, size=200))
    w /= w.sum()
    assert effective_count(w) < 2.0
    kept = tempered(w, least)
    assert kept.sum() == pytest.approx(1.0)
    assert effective_count(kept) == pytest.approx(least, rel=1e-6)
    np.testing.assert_array_equal(np.argsort(kept), np.argsort(w))
    np.testing.assert_allclose(
        np.diff(np.log(kept)) / np.diff(np.log(w)),
        np.log(kept / kept[0])[1] / np.log(w / w[0])[1],
        rtol=1e-6,
    )


def test_weights_that_suffice_are_left_alone_and_too_few_become_equal():
    w = np.array([0.5, 0.25, 0.25])
    assert tempered(w, 2.0) is w
    np.testing.assert_allclose(tempered(w, 7.0), 1 / 3)


def test_tempering_beats_a_collapse_onto_one_point():
    d = 6
    rng = np.random.default_rng(1)
    target, wide = gaussian(d), student(d, 3.0, seed=4)
    x = wide.sample(60, rng)
    w = np.exp(target.log_density(x) - wide.log_density(x))
    assert effective_count(w) < d
    fresh = target.sample(2000, rng)
    q = student(d).fit(x, w)
    # What moments of the weights as they are would give.
    mean, covariance = weighted_moments(x, w / w.sum())
    p = StudentT(location=mean, root=root_of(covariance, np.ones(d)), df=3.0)
    assert q.log_density(fresh).mean() > p.log_density(fresh).mean() + 1.0


# --- leaving points out --------------------------------------------------------------------------


def test_unseen_distances_are_those_without_the_point():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(40, 3)), rng.uniform(0.1, 1.0, 40)
    w /= w.sum()
    one = start(x, w, w[None, :])
    one = Parts(weights=one.weights, location=one.location, root=one.root, df=np.full(1, 1e12))
    found = unseen(share_out(x, w, one), one.df, 3)[0]
    for i in (0, 5, 17):
        rest = np.arange(40) != i
        mean, covariance = weighted_moments(x[rest], w[rest] / w[rest].sum())
        away = x[i] - mean
        assert found[i] == pytest.approx(away @ np.linalg.solve(covariance, away), rel=1e-6)


def test_calibration_pays_where_points_are_few():
    # Thirty points in ten dimensions: a scatter matrix is far too tight about them.
    d, gains = 10, []
    truth = gaussian(d)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = truth.sample(30, rng)
        fresh = truth.sample(500, rng)
        plain = gaussian(d).fit(x, np.ones(30))
        gains.append(
            student(d).fit(x, np.ones(30)).log_density(fresh).mean()
            - plain.log_density(fresh).mean()
        )
    assert np.mean(gains) > 4.0 * np.std(gains) / np.sqrt(20)
    assert np.mean(gains) > 0.5


# --- wrappers ------------------------------------------------------------------------------------


def test_defensive_refits_the_proposal_only():
    q = Defensive(proposal=gaussian(2), safety=student(2), share=0.1)
    x, w = weighted(200, 2)
    fitted = q.fit(x, w)
    assert fitted.safety is q.safety
    assert fitted.share == 0.1
    np.testing.assert_array_equal(fitted.proposal.root, gaussian(2).fit(x, w).root)


def test_mixture_of_one_student_is_the_student():
    x, w = weighted(300, 3)
    alone = student(3).fit(x, w)
    one = Mixture(weights=np.ones(1), parts=(student(3),)).fit(x, w)
    np.testing.assert_allclose(one.log_density(x), alone.log_density(x), atol=0.05)
