"""Elliptical distributions: any law of the radius, exactly normalised, efficiently fitted."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, stats

from aisle_smc.distributions import Elliptical, Gaussian, LogRadius, StudentT
from aisle_smc.distributions.radial import fit_log_radius
from tests.distributions.densities import root, score
from tests.distributions.shapes import efficiency

LAWS = {
    "one knot": LogRadius(knots=np.zeros(1), heights=np.zeros(1), left=1.5, right=-3.0),
    "flat": LogRadius(knots=np.array([-1.0, 2.0]), heights=np.zeros(2), left=3.0, right=-0.5),
    "bumps": LogRadius(
        knots=np.array([-2.0, -1.9, 0.0, 0.1, 3.0]),
        heights=np.array([-1.0, 2.0, -6.0, 1.0, 1.0 + 1e-12]),
        left=7.0,
        right=-30.0,
    ),
    "steep": LogRadius(
        knots=np.array([0.0, 1e-3, 1.0]), heights=np.array([-700.0, 0.0, -700.0]), left=1, right=-1
    ),
}


# --- the law of the logarithm of the radius ------------------------------------------------------


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_law_integrates_to_one(law):
    def density(s):
        return float(np.exp(law.log_density(np.array([s])))[0])

    ends = [law.knots[0] - 40.0 / law.left, *law.knots, law.knots[-1] - 40.0 / law.right]
    total = sum(
        integrate.quad(density, a, b, epsabs=1e-12, limit=200)[0] for a, b in pairwise(ends)
    )
    assert total == pytest.approx(1.0, rel=1e-7)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_law_draws_what_it_says(law):
    def mass_below(s):
        ends = [law.knots[0] - 40.0 / law.left, *law.knots[law.knots < s], s]
        return sum(
            integrate.quad(lambda t: float(np.exp(law.log_density(np.array([t])))[0]), a, b)[0]
            for a, b in pairwise(ends)
            if b > a
        )

    draws = law.sample(20_000, np.random.default_rng(0))
    for level in (0.001, 0.1, 0.5, 0.9, 0.999):
        s = float(np.quantile(draws, level))
        assert abs(mass_below(s) - level) < 4.0 * math.sqrt(level * (1.0 - level) / 20_000) + 1e-7


def test_negative_twin_of_the_draws():
    law = LAWS["bumps"]
    other = LogRadius(knots=law.knots, heights=law.heights, left=7.0, right=-3.0)
    high = float(np.quantile(law.sample(20_000, np.random.default_rng(0)), 0.99))
    share = np.mean(other.sample(20_000, np.random.default_rng(1)) > high)
    assert abs(share - 0.01) > 6.0 * math.sqrt(0.01 * 0.99 / 20_000)


def test_uniforms_at_the_ends():
    class Ends:
        def random(self, n):
            return np.resize([0.0, np.nextafter(1.0, 0.0), 0.5], n)

    for law in LAWS.values():
        drawn = law.sample(6, Ends())
        assert np.isfinite(drawn).all()


@pytest.mark.parametrize("d", [1, 2, 5, 20])
def test_fit_of_a_gaussian_radius(d):
    rng = np.random.default_rng(d)
    chi = stats.chi(d)
    s = np.log(chi.rvs(5000, random_state=rng))
    law = fit_log_radius(s, np.full(5000, 1 / 5000), d)
    fresh = np.log(chi.rvs(20_000, random_state=rng))
    divergence = np.mean(chi.logpdf(np.exp(fresh)) + fresh - law.log_density(fresh))
    assert 0.0 < divergence < 0.01
    assert law.left == d


def test_fit_keeps_two_radii_apart():
    rng = np.random.default_rng(0)
    r = np.where(rng.random(4000) < 0.5, 1.0, 2.0) + 0.02 * rng.normal(size=4000)
    law = fit_log_radius(np.log(r), np.full(4000, 1 / 4000), 10)
    at = law.log_density(np.log([1.0, 1.4, 2.0]))
    assert at[0] - at[1] > 4.0
    assert at[2] - at[1] > 4.0


@pytest.mark.parametrize("df", [4.0, 10.0])
def test_tail_has_the_power_of_the_points(df):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(20):
        r = rng.pareto(df, 4000) + 1.0
        found.append(-fit_log_radius(np.log(r), np.full(4000, 1 / 4000), 2).right)
    # Hill's estimator from ten points, drawn to lighter tails by two more.
    assert 0.8 * df < np.median(found) < 1.5 * df


def test_tail_is_never_heavier_than_that_of_a_variance():
    r = np.random.default_rng(0).pareto(0.7, 4000) + 1.0
    assert fit_log_radius(np.log(r), np.full(4000, 1 / 4000), 2).right == -3.0


@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_law_of_few_and_equal_radii(n):
    rng = np.random.default_rng(n)
    for s in (np.zeros(n), rng.normal(size=n), 100.0 + 1e-9 * rng.normal(size=n)):
        law = fit_log_radius(s, np.full(n, 1 / n), 3)
        assert np.isfinite(law.log_density(s)).all()
        assert np.isfinite(law.sample(100, rng)).all()


# --- the distribution ----------------------------------------------------------------------------


def test_gaussian_radius_gives_the_gaussian():
    d = 3
    s = np.linspace(-6.0, 2.0, 4001)
    log_p = stats.chi(d).logpdf(np.exp(s)) + s
    law = LogRadius(knots=s, heights=log_p, left=float(d), right=-40.0)
    q = Elliptical(location=np.arange(3.0), root=root(d), radius=law)
    p = Gaussian(mean=np.arange(3.0), root=root(d))
    x = p.sample(200, np.random.default_rng(0))
    np.testing.assert_allclose(q.log_density(x), p.log_density(x), atol=2e-5)
    # Without the Jacobian of the radius it would not be.
    assert np.abs(law.log_density(np.log(np.abs(x[:, 0]))) - p.log_density(x)).max() > 0.1


def test_density_at_the_centre():
    def at_centre(left):
        law = LogRadius(knots=np.zeros(1), heights=np.zeros(1), left=left, right=-3.0)
        q = Elliptical(location=np.zeros(2), root=np.eye(2), radius=law)
        return q.log_density(np.array([[0.0, 0.0], [1e-9, 0.0]]))

    assert at_centre(2.0)[0] == pytest.approx(at_centre(2.0)[1])
    assert at_centre(3.0)[0] == -math.inf
    assert at_centre(1.0)[0] == math.inf


def test_directions_are_uniform():
    q = Elliptical(location=np.zeros(3), root=np.eye(3), radius=LAWS["flat"])
    x = q.sample(20_000, np.random.default_rng(0))
    u = x / np.sqrt((x**2).sum(axis=1, keepdims=True))
    for values, truth in ((u[:, 0], 0.0), (u[:, 0] ** 2, 1 / 3), (u[:, 0] * u[:, 1], 0.0)):
        assert abs(score(values, truth)) < 4.0


class Ball:
    """Uniform in the unit ball."""

    def __init__(self, d):
        self.d = d

    def sample(self, n, rng):
        x = rng.standard_normal((n, self.d))
        return x / np.sqrt((x**2).sum(axis=1, keepdims=True)) * rng.random((n, 1)) ** (1 / self.d)

    def log_density(self, x):
        volume = 0.5 * self.d * math.log(math.pi) - math.lgamma(0.5 * self.d + 1.0)
        return np.where((x**2).sum(axis=1) < 1.0, -volume, -math.inf)


class Shell:
    """Log-normal radius about one, of width 0.05, stretched along the axes."""

    def __init__(self, d):
        self.stretch = np.arange(1.0, d + 1.0)
        law = LogRadius(
            knots=np.linspace(-0.4, 0.4, 401),
            heights=-0.5 * np.square(np.linspace(-0.4, 0.4, 401) / 0.05),
            left=100.0,
            right=-100.0,
        )
        self.q = Elliptical(location=np.zeros(d), root=np.diag(self.stretch), radius=law)

    def sample(self, n, rng):
        return self.q.sample(n, rng)

    def log_density(self, x):
        return self.q.log_density(x)


@pytest.mark.parametrize(
    ("target", "least"),
    [
        (Gaussian(mean=np.ones(5), root=root(5)), 0.95),
        (StudentT(location=np.ones(5), root=root(5), df=4.0), 0.95),
        (Ball(5), 0.85),
        (Shell(5), 0.85),
        (Shell(2), 0.8),
    ],
    ids=["gaussian", "student", "ball", "shell", "ring"],
)
def test_fits_are_efficient(target, least):
    rng = np.random.default_rng(0)
    x = target.sample(3000, rng)
    begin = Elliptical(
        location=np.zeros(x.shape[1]), root=np.eye(x.shape[1]), radius=LAWS["one knot"]
    )
    q = begin.fit(x, np.ones(3000))
    assert efficiency(target, q, rng) > least


def test_a_student_t_cannot_do_a_shell():
    rng = np.random.default_rng(0)
    target = Shell(5)
    q = StudentT(location=np.zeros(5), root=np.eye(5)).fit(target.sample(3000, rng), np.ones(3000))
    assert efficiency(target, q, rng) < 0.3


def test_scoring_finds_the_centre_of_a_shell_better_than_the_mean_does():
    # The mean of 400 points on a shell of width 0.05 knows its centre to 1 / sqrt(400 d); the
    # likelihood knows it 20 times better.
    errors, means = [], []
    for seed in range(10):
        x = Shell(3).sample(400, np.random.default_rng(seed))
        begin = Elliptical(location=np.zeros(3), root=np.eye(3), radius=LAWS["one knot"])
        errors.append(np.square(begin.fit(x, np.ones(400)).location).sum())
        means.append(np.square(x.mean(axis=0)).sum())
    assert np.mean(errors) < 0.1 * np.mean(means)
