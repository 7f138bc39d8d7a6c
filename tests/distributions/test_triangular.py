"""Triangular maps: exact densities, the right order, and what they are good for."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from aisle_kernels import pareto
from scipy.stats import norm

from aisle_smc.distributions.features import standard_of
from aisle_smc.distributions.ordering import explained
from aisle_smc.distributions.regression import fit_regression
from aisle_smc.distributions.student_t import StudentT
from aisle_smc.distributions.triangular import Triangular, fit_triangular, without_copies
from tests.oracles import triangular as oracle


def equal(n):
    return np.full(n, 1.0 / n)


# --- targets with exact draws --------------------------------------------------------------------


def rospair(d):
    """Pairs: a ~ N(1, 1/2), b | a ~ N(a^2, 1/20)."""

    def sample(n, rng):
        x = np.empty((n, d))
        x[:, 0::2] = 1.0 + math.sqrt(0.5) * rng.standard_normal((n, d // 2))
        x[:, 1::2] = x[:, 0::2] ** 2 + math.sqrt(0.05) * rng.standard_normal((n, d // 2))
        return x

    def log_p(x):
        a, b = x[:, 0::2], x[:, 1::2]
        normaliser = 0.5 * d * math.log(math.pi / math.sqrt(10.0))
        return -(10.0 * (a**2 - b) ** 2 + (a - 1.0) ** 2).sum(axis=1) - normaliser

    return sample, log_p, d


def funnel(d):
    """v ~ N(0, 9), x_i ~ N(0, e^v)."""

    def sample(n, rng):
        v = 3.0 * rng.standard_normal((n, 1))
        return np.concatenate([v, np.exp(v / 2.0) * rng.standard_normal((n, d - 1))], axis=1)

    def log_p(x):
        v = x[:, :1]
        return norm.logpdf(v[:, 0], 0.0, 3.0) + norm.logpdf(x[:, 1:], 0.0, np.exp(v / 2)).sum(
            axis=1
        )

    return sample, log_p, d


def correlated_funnel(d):
    """t ~ N(0, 1), the others N(0, e^t R) with correlations of 0.95."""
    root = np.linalg.cholesky(0.95 + 0.05 * np.eye(d - 1))

    def sample(n, rng):
        t = rng.standard_normal((n, 1))
        return np.concatenate(
            [t, np.exp(t / 2.0) * (rng.standard_normal((n, d - 1)) @ root.T)], axis=1
        )

    def log_p(x):
        t = x[:, 0]
        e = np.linalg.solve(root, (x[:, 1:] * np.exp(-t / 2.0)[:, None]).T)
        jacobian = np.log(np.diag(root)).sum() + 0.5 * (d - 1) * t
        return norm.logpdf(t) + norm.logpdf(e).sum(axis=0) - jacobian

    return sample, log_p, d


def margins(d):
    """Independent: two peaks, log-gamma, two peaks, ..."""

    def sample(n, rng):
        x = np.log(rng.standard_gamma(1.0, (n, d)))
        side = np.where(rng.random((n, d // 2)) < 0.5, -3.0, 3.0)
        x[:, 0::2] = side + 0.6 * rng.standard_normal((n, d // 2))
        return x

    def log_p(x):
        a, b = x[:, 0::2], x[:, 1::2]
        peaks = np.logaddexp(norm.logpdf(a, -3.0, 0.6), norm.logpdf(a, 3.0, 0.6)) - math.log(2.0)
        return peaks.sum(axis=1) + (b - np.exp(b)).sum(axis=1)

    return sample, log_p, d


def gaussian(d):
    a = np.random.default_rng(3).standard_normal((d, d))
    root = np.linalg.cholesky(a @ a.T / d + 0.05 * np.eye(d))

    def sample(n, rng):
        return 5.0 + rng.standard_normal((n, d)) @ root.T

    def log_p(x):
        e = np.linalg.solve(root, (x - 5.0).T)
        return norm.logpdf(e).sum(axis=0) - np.log(np.diag(root)).sum()

    return sample, log_p, d


def banana():
    def sample(n, rng):
        a = 2.0 * rng.standard_normal(n)
        return np.stack([a, 0.5 * a**2 - 1.0 + 0.3 * rng.standard_normal(n)], axis=1)

    def log_p(x):
        return norm.logpdf(x[:, 0], 0.0, 2.0) + norm.logpdf(x[:, 1], 0.5 * x[:, 0] ** 2 - 1.0, 0.3)

    return sample, log_p, 2


def hierarchy(d):
    """m and log s normal, the others N(m, s^2)."""

    def sample(n, rng):
        m, log_s = rng.standard_normal((2, n, 1))
        x = m + np.exp(log_s) * rng.standard_normal((n, d - 2))
        return np.concatenate([m, log_s, x], axis=1)

    def log_p(x):
        top = norm.logpdf(x[:, :2]).sum(axis=1)
        return top + norm.logpdf(x[:, 2:], x[:, :1], np.exp(x[:, 1:2])).sum(axis=1)

    return sample, log_p, d


def shuffled(target, seed=1):
    sample, log_p, d = target
    order = np.random.default_rng(seed).permutation(d)
    back = np.argsort(order)
    return (lambda n, rng: sample(n, rng)[:, order]), (lambda x: log_p(x[:, back])), d


TARGETS = {
    "rospair": (shuffled(rospair(10)), 3000, 0.8),
    "funnel": (shuffled(funnel(10)), 3000, 0.8),
    "correlated funnel": (shuffled(correlated_funnel(20)), 3000, 0.7),
    "margins": (margins(10), 3000, 0.7),
    "gaussian": (gaussian(60), 10_000, 0.5),
    "banana": (shuffled(banana()), 2000, 0.9),
    "hierarchy": (shuffled(hierarchy(10)), 3000, 0.8),
}


def log_weights(q, log_p, n, rng):
    x = q.sample(n, rng)
    return log_p(x) - q.log_density(x)


def efficiency(log_w):
    w = np.exp(log_w - log_w.max())
    return w.sum() ** 2 / (w**2).sum() / w.size


@pytest.mark.parametrize("name", TARGETS)
def test_proposal_for_importance_sampling(name):
    (sample, log_p, _), n, least = TARGETS[name]
    rng = np.random.default_rng(11)
    q = fit_triangular(sample(n, rng), equal(n), rng)
    log_w = log_weights(q, log_p, 4000, rng)
    assert efficiency(log_w) > least
    assert pareto.pareto_k(log_w, pareto.tail_length(4000, 1.0)) < 0.5
    w = np.exp(log_w)
    assert abs(w.mean() - 1.0) < 4.0 * w.std(ddof=1) / math.sqrt(4000)


@pytest.mark.parametrize("name", ["rospair", "banana"])
def test_the_wrong_order_is_a_worse_proposal(name):
    (sample, log_p, _), n, least = TARGETS[name]
    rng = np.random.default_rng(12)
    x = sample(n, rng)
    right = fit_triangular(x, equal(n), rng)
    wrong = replace(right, order=right.order[::-1]).fit(x, equal(n))
    np.testing.assert_array_equal(wrong.order, right.order[::-1])
    assert efficiency(log_weights(wrong, log_p, 4000, rng)) < least - 0.1


# --- a small map with every part, built by hand --------------------------------------------------


def small():
    """Three coordinates in the order 2, 0, 1 with every kind of term."""
    rng = np.random.default_rng(0)
    n = 600
    a = rng.standard_normal(n) + 0.5 * rng.random(n)
    b = 0.5 * a + np.exp(0.5 * a) * np.log(rng.standard_gamma(1.0, n))
    c = a**2 - a * b + 0.4 * b + np.log1p(b**2) * rng.standard_normal(n) + 3.0
    q = fit_triangular(np.stack([b, c, a], axis=1), equal(n), rng)
    return replace(q, order=np.array([2, 0, 1])).fit(np.stack([b, c, a], axis=1), equal(n))


def test_the_small_map_has_every_part():
    q = small()
    for part in (q.linear, q.quadratic, q.scale_linear, q.scale_even):
        assert np.count_nonzero(part) > 0
    for part in (q.linear, q.scale_linear, q.scale_even):
        assert not np.triu(part).any()
    assert (q.pairs[:, 0] != q.pairs[:, 1]).any()


def test_log_density_is_the_naive_one():
    q = small()
    rng = np.random.default_rng(1)
    # Far points too, where the nonlinear terms are clipped.
    x = 4.0 * rng.standard_t(2.0, (200, 3))
    expected = [oracle.log_density(q, point) for point in x]
    np.testing.assert_allclose(q.log_density(x), expected, rtol=1e-10, atol=1e-10)


def test_draws_are_the_naive_ones():
    q = small()
    x = q.sample(50, np.random.default_rng(2))
    e = q.residuals.sample(50, np.random.default_rng(2))
    expected = [oracle.point(q, residuals) for residuals in e]
    np.testing.assert_allclose(x, expected, rtol=1e-10, atol=1e-10)


def test_blocks_make_no_difference():
    q = small()
    x = q.sample(9000, np.random.default_rng(3))
    parts = [q.log_density(x[i : i + 1000]) for i in range(0, 9000, 1000)]
    np.testing.assert_allclose(q.log_density(x), np.concatenate(parts), rtol=1e-12, atol=1e-12)


def z_score(log_ratio):
    """How many standard errors the mean of ratios is from one."""
    ratio = np.exp(log_ratio)
    return (ratio.mean() - 1.0) / (ratio.std(ddof=1) / math.sqrt(ratio.size))


def horn(rng):
    """A map of two coordinates with a scale that varies by a factor of ten."""
    v = 1.5 * rng.standard_normal(1000)
    x = v + np.exp(0.5 * v) * rng.standard_normal(1000)
    return fit_triangular(np.stack([x, v], axis=1), equal(1000), rng)


def weighted_draws(q, n, rng):
    """Points of a wide Student-t law, and the density of the map relative to it."""
    draws = q.sample(4000, rng)
    t = StudentT(location=draws.mean(axis=0), root=np.linalg.cholesky(np.cov(draws.T)), df=2.0)
    x = t.sample(n, rng)
    return x, t.log_density(x)


@pytest.mark.parametrize("shape", [lambda rng: small(), horn], ids=["small", "horn"])
def test_density_integrates_to_one(shape):
    # With 20 000 points an error of 0.08 would show.
    rng = np.random.default_rng(4)
    q = shape(rng)
    x, log_t = weighted_draws(q, 20_000, rng)
    assert abs(z_score(q.log_density(x) - log_t)) < 4.0


def test_a_density_without_the_jacobian_does_not():
    rng = np.random.default_rng(4)
    q = horn(rng)
    x, log_t = weighted_draws(q, 5000, rng)
    forgotten = np.array([oracle.log_scales(q, point) for point in x])
    assert abs(z_score(q.log_density(x) - log_t)) < 4.0
    assert abs(z_score(q.log_density(x) + forgotten - log_t)) > 4.0
    assert abs(z_score(q.log_density(x) + 2.0 * forgotten - log_t)) > 4.0  # the wrong sign


def test_density_is_that_of_the_draws():
    # The means of bounded functions, by draws and by weighted points of a wide law.
    q = small()
    rng = np.random.default_rng(5)
    x, log_t = weighted_draws(q, 20_000, rng)
    ratio = np.exp(q.log_density(x) - log_t)

    def features(x):
        z = np.tanh((x - [0.0, 3.0, 0.0]) / 2.0)
        return np.concatenate([z, z**2, z * np.roll(z, 1, axis=1)], axis=1)

    weighted = ratio[:, None] * features(x)

    def largest(proposal):
        drawn = features(proposal.sample(20_000, rng))
        error = np.sqrt((drawn.var(axis=0) + weighted.var(axis=0)) / 20_000)
        return np.abs((drawn.mean(axis=0) - weighted.mean(axis=0)) / error).max()

    assert largest(q) < 4.0
    assert largest(replace(q, scale_linear=-q.scale_linear)) > 4.0


# --- invariances ---------------------------------------------------------------------------------


def test_scaling_the_coordinates_moves_the_density_by_the_determinant():
    rng = np.random.default_rng(6)
    sample, _, d = hierarchy(5)
    x, fresh = sample(1500, rng), sample(300, rng)
    shift, scale = 100.0 * rng.standard_normal(d), np.exp(3.0 * rng.standard_normal(d))
    q = fit_triangular(x, equal(1500), np.random.default_rng(7))
    moved = fit_triangular(shift + scale * x, equal(1500), np.random.default_rng(7))
    np.testing.assert_array_equal(moved.order, q.order)
    expected = q.log_density(fresh) - np.log(scale).sum()
    np.testing.assert_allclose(moved.log_density(shift + scale * fresh), expected, atol=1e-8)


def test_the_names_of_the_coordinates_do_not_matter():
    rng = np.random.default_rng(8)
    sample, _, d = rospair(6)
    x, fresh = sample(2000, rng), sample(300, rng)
    order = rng.permutation(d)
    q = fit_triangular(x, equal(2000), np.random.default_rng(9))
    other = replace(q, order=np.argsort(order)[q.order]).fit(x[:, order], equal(2000))
    again = q.fit(x, equal(2000))
    np.testing.assert_allclose(
        other.log_density(fresh[:, order]), again.log_density(fresh), rtol=1e-10
    )


def test_fitting_again_to_the_same_points_changes_nothing():
    rng = np.random.default_rng(10)
    x = hierarchy(5)[0](800, rng)
    q = fit_triangular(x, equal(800), rng)
    again = q.fit(x, equal(800))
    assert pickle.dumps(again) == pickle.dumps(q)


def test_copies_and_points_of_no_weight_are_no_evidence():
    rng = np.random.default_rng(11)
    x, w = banana()[0](500, rng), rng.dirichlet(np.ones(500))
    q = fit_triangular(x, w, np.random.default_rng(1))
    copies = np.concatenate([x, x[::2], np.full((3, 2), 1e6)])
    shares = np.concatenate([w, w[::2], np.zeros(3)])
    shares[:500:2], shares[500:750] = 0.25 * w[::2], 0.75 * w[::2]
    other = fit_triangular(copies, shares, np.random.default_rng(1))
    fresh = banana()[0](50, rng)
    np.testing.assert_allclose(other.log_density(fresh), q.log_density(fresh), rtol=1e-9)


def test_merging_keeps_the_mass():
    x = np.array([[1.0, 2.0], [0.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    points, w = without_copies(x, np.array([0.1, 0.2, 0.3, 0.4]))
    assert points.tolist() == [[0.0, 1.0], [1.0, 2.0], [1.0, 3.0]]
    np.testing.assert_allclose(w, [0.2, 0.4, 0.4])


def test_weights_stand_for_draws():
    # Draws of a wide law, weighted into the banana.
    rng = np.random.default_rng(13)
    _, log_p, _ = banana()
    n = 8000
    x = np.stack([3.0 * rng.standard_normal(n), 5.0 * rng.standard_normal(n) + 1.0], axis=1)
    log_w = log_p(x) - norm.logpdf(x[:, 0], 0.0, 3.0) - norm.logpdf(x[:, 1], 1.0, 5.0)
    w = np.exp(log_w - log_w.max())
    q = fit_triangular(x, w / w.sum(), rng)
    assert efficiency(log_weights(q, log_p, 4000, rng)) > 0.85
    ignored = fit_triangular(x, equal(n), rng)
    assert efficiency(log_weights(ignored, log_p, 4000, rng)) < 0.3


# --- parts of the fit ----------------------------------------------------------------------------


def test_directions_of_pairs():
    rng = np.random.default_rng(14)
    x = np.ascontiguousarray(
        np.concatenate([rospair(2)[0](1500, rng), funnel(2)[0](1500, rng)], axis=1).T
    )
    w = equal(1500)
    gain = explained(standard_of(x, w).features(x), w)
    lead = gain - gain.T
    assert lead[0, 1] > 0.3
    assert lead[2, 3] > 0.3
    assert np.abs(lead[:2, 2:]).max() < 0.02


def test_regression_on_noise_selects_nothing():
    selected = 0
    for seed in range(20):
        x = np.random.default_rng(seed).standard_normal((6, 400))
        features = standard_of(x[:5], equal(400)).features(x[:5])
        selected += fit_regression(features, x[5], equal(400), 400.0).terms
    assert selected <= 1


def test_regression_on_a_drifting_scale():
    # y = exp(u) (1 + noise): the mean moves with the scale, and no square is needed for it.
    rng = np.random.default_rng(15)
    u = rng.standard_normal((1, 2000))
    y = np.exp(0.5 * u[0]) * (2.0 + 0.5 * rng.standard_normal(2000))
    fit = fit_regression(standard_of(u, equal(2000)).features(u), y, equal(2000), 2000.0)
    assert fit.pairs.shape[0] == 0
    assert abs(fit.linear[0]) < 0.1
    assert fit.residuals.mean() / fit.residuals.std() == pytest.approx(4.0, rel=0.1)


def test_few_points_make_a_linear_map():
    rng = np.random.default_rng(16)
    q = fit_triangular(rospair(4)[0](20, rng), equal(20), rng)
    assert q.pairs.size == 0
    assert not q.scale_linear.any()
    assert q.order.tolist() == [0, 1, 2, 3]


# --- edges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_hardly_any_points(n):
    rng = np.random.default_rng(n)
    q = fit_triangular(rng.standard_normal((n, 4)), equal(n), rng)
    assert np.isfinite(q.log_density(q.sample(100, rng))).all()


@pytest.mark.parametrize("kind", ["constant", "copy", "integers", "huge", "cauchy"])
def test_awkward_coordinates(kind):
    rng = np.random.default_rng(17)
    x = rng.standard_normal((400, 3))
    if kind == "constant":
        x[:, 1] = 2.0
    elif kind == "copy":
        x[:, 1] = x[:, 0]
    elif kind == "integers":
        x = np.round(x)
    elif kind == "huge":
        x *= [1e150, 1.0, 1e-150]
    else:
        x = rng.standard_cauchy((400, 3)) ** 3
    q = fit_triangular(x, equal(400), rng)
    assert np.isfinite(q.log_density(x)).all()
    assert np.isfinite(q.log_density(q.sample(100, rng))).all()


def test_one_coordinate():
    rng = np.random.default_rng(18)
    q = fit_triangular(3.0 + rng.standard_normal((500, 1)), equal(500), rng)
    assert q.dim == 1
    assert q.log_density(np.array([[3.0]]))[0] == pytest.approx(norm.logpdf(0.0), abs=0.15)


def test_no_density_at_infinity():
    q = small()
    far = np.zeros((4, 3))
    far[0, 1], far[1], far[2], far[3] = math.inf, -math.inf, 1e200, [math.inf, -math.inf, 0.0]
    assert q.log_density(far).tolist() == [-math.inf] * 4


def test_bad_input():
    rng = np.random.default_rng(19)
    q = small()
    with pytest.raises(ValueError, match=r"shape \(n, 3\).*got shape \(5, 2\)"):
        q.log_density(np.zeros((5, 2)))
    with pytest.raises(ValueError, match="NaN"):
        q.log_density(np.full((2, 3), math.nan))
    with pytest.raises(ValueError, match=r"shape \(n, 3\)"):
        q.fit(np.zeros((5, 2)), equal(5))
    with pytest.raises(ValueError, match="all zero"):
        fit_triangular(np.zeros((5, 2)), np.zeros(5), rng)
    with pytest.raises(TypeError, match="Generator"):
        q.sample(3, 1)
    with pytest.raises(ValueError, match="at least 1"):
        q.sample(0, rng)


def test_pickle():
    q = small()
    other = pickle.loads(pickle.dumps(q))
    assert isinstance(other, Triangular)
    x = q.sample(5, np.random.default_rng(1))
    np.testing.assert_array_equal(other.log_density(x), q.log_density(x))
