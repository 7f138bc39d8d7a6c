"""Every proposal: density and draws are partners, shapes and bits are what they should be."""

from __future__ import annotations

import math
import pickle
from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, stats

from aisle_smc.distributions import (
    Defensive,
    Distribution,
    Elliptical,
    Gaussian,
    Independent,
    LogRadius,
    Mixture,
    StudentT,
)
from tests.distributions.densities import (
    Skewed,
    gaussian,
    mass_score,
    partner_score,
    root,
    student,
)

RADIUS = LogRadius(
    knots=np.array([-0.5, 0.2, 0.4, 0.9]),
    heights=np.array([0.0, 1.5, -1.0, 0.5]),
    left=2.0,
    right=-4.5,
)


def elliptical(d):
    return Elliptical(location=np.arange(1.0, d + 1.0), root=root(d), radius=RADIUS)


def mixture(d):
    far = Gaussian(mean=np.full(d, 4.0), root=0.5 * np.eye(d))
    return Mixture(weights=np.array([0.3, 0.45, 0.25]), parts=(gaussian(d), student(d), far))


def mixed(d):
    return Mixture(weights=np.array([0.3, 0.7]), parts=(elliptical(d), gaussian(d)))


def product(d):
    if d == 1:
        return Independent(parts=(mixture(1),))
    return Independent(parts=(student(d - 1), gaussian(1)), blocks=((*range(1, d),), (0,)))


KINDS = {
    "gaussian": gaussian,
    "student": student,
    "mixture": mixture,
    "mixture of kinds": mixed,
    "elliptical": elliptical,
    "independent": product,
    "defensive": lambda d: Defensive(proposal=gaussian(d), safety=student(d, 3.0, 5), share=0.3),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
@pytest.mark.parametrize("d", [1, 2, 3])
def test_density_integrates_to_one(kind, d):
    assert abs(mass_score(KINDS[kind](d))) < 4.0


@every_kind
@pytest.mark.parametrize("d", [1, 2, 5])
def test_draws_have_the_density(kind, d):
    assert abs(partner_score(KINDS[kind](d))) < 4.0


@every_kind
def test_both_tests_find_a_forgotten_determinant(kind):
    q = Skewed(KINDS[kind](2), shift=math.log(np.prod(np.diag(root(2)))))
    assert abs(mass_score(q)) > 6.0
    assert abs(partner_score(q)) > 6.0


@every_kind
def test_partner_test_finds_stretched_draws(kind):
    assert abs(partner_score(Skewed(KINDS[kind](2), stretch=1.6), n=300)) > 5.0


@every_kind
def test_density_on_the_line_by_quadrature(kind):
    q = KINDS[kind](1)

    def density(t):
        return float(np.exp(q.log_density(np.array([[t]])))[0])

    pieces = [-400.0, -20.0, 0.0, 0.5, 1.0, 1.5, 4.0, 20.0, 400.0]
    mass = sum(
        integrate.quad(density, a, b, limit=400, epsabs=1e-9)[0] for a, b in pairwise(pieces)
    )
    # A tail with three degrees of freedom leaves some 1e-7 beyond 400.
    assert mass == pytest.approx(1.0, abs=2e-6)


@every_kind
def test_protocol_shapes_and_bits(kind):
    q = KINDS[kind](3)
    assert isinstance(q, Distribution)
    assert q.dim == 3
    x = q.sample(7, np.random.default_rng(1))
    assert x.shape == (7, 3)
    assert x.dtype == np.float64
    np.testing.assert_array_equal(x, q.sample(7, np.random.default_rng(1)))
    log_q = q.log_density(x)
    assert log_q.shape == (7,)
    # Layout and neighbours make no difference, and nothing is written.
    kept = x.copy()
    np.testing.assert_array_equal(q.log_density(np.asfortranarray(x)), log_q)
    np.testing.assert_array_equal(q.log_density(x[2:3]), log_q[2:3])
    x.setflags(write=False)
    np.testing.assert_array_equal(q.log_density(x), log_q)
    np.testing.assert_array_equal(x, kept)
    again = pickle.loads(pickle.dumps(q))
    np.testing.assert_array_equal(again.log_density(x), log_q)
    np.testing.assert_array_equal(
        again.sample(5, np.random.default_rng(2)), q.sample(5, np.random.default_rng(2))
    )


@every_kind
def test_infinity_has_no_density_and_nan_is_an_error(kind):
    q = KINDS[kind](2)
    x = np.array([[math.inf, 0.0], [0.0, -math.inf], [math.inf, -math.inf], [0.0, 0.0]])
    log_q = q.log_density(x)
    assert log_q[:3].tolist() == [-math.inf] * 3
    assert np.isfinite(log_q[3])
    with pytest.raises(ValueError, match=r"x\[1\]"):
        q.log_density(np.array([[0.0, 0.0], [0.0, math.nan]]))


@every_kind
def test_wrong_arguments(kind):
    q = KINDS[kind](2)
    rng = np.random.default_rng(0)
    for x in (np.zeros(2), np.zeros((4, 3)), np.zeros((2, 2, 2))):
        with pytest.raises(ValueError, match=r"shape \(n, 2\).*got shape"):
            q.log_density(x)
    with pytest.raises(ValueError, match="at least 1"):
        q.sample(0, rng)
    with pytest.raises(TypeError, match="n must be an int"):
        q.sample(2.0, rng)
    with pytest.raises(TypeError, match="rng must be"):
        q.sample(2, 1)
    x, w = q.sample(5, rng), np.full(5, 0.2)
    for bad, match in [
        (np.ones(4), "weights must have shape"),
        (np.array([1.0, 1.0, -0.1, 1.0, 1.0]), r"weights\[2\]"),
        (np.array([1.0, math.nan, 1.0, 1.0, 1.0]), r"weights\[1\]"),
        (np.zeros(5), "at least one weight"),
    ]:
        with pytest.raises(ValueError, match=match):
            q.fit(x, bad)
    x[3, 1] = math.nan
    with pytest.raises(ValueError, match=r"x\[3\]"):
        q.fit(x, w)
    with pytest.raises(ValueError, match="shape"):
        q.fit(x[:, :1], w)


@every_kind
def test_points_of_weight_zero_do_not_count(kind):
    q = KINDS[kind](2)
    rng = np.random.default_rng(0)
    x = q.sample(200, rng)
    w = rng.uniform(size=200)
    w[::3] = 0.0
    found = q.fit(x, w).log_density(x[:9])
    x2 = x.copy()
    x2[::3] = math.nan
    np.testing.assert_array_equal(q.fit(x2, 4.0 * w).log_density(x[:9]), found)


@every_kind
@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_fit_survives_few_points_and_copies(kind, n):
    q = KINDS[kind](3)
    rng = np.random.default_rng(n)
    for x in (rng.normal(size=(n, 3)), np.ones((n, 3)), np.repeat(rng.normal(size=(1, 3)), n, 0)):
        for w in (np.ones(n), 1e-200 * np.ones(n), 10.0 ** -np.arange(0.0, 30.0 * n, 30.0)):
            fitted = q.fit(x, w)
            assert np.isfinite(fitted.log_density(x)).all()
            assert np.isfinite(fitted.sample(10, rng)).all()


# --- against SciPy -------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 6])
def test_gaussian_and_student_are_those_of_scipy(d):
    x = np.random.default_rng(0).normal(size=(50, d))
    q = gaussian(d)
    expected = stats.multivariate_normal(q.mean, q.covariance).logpdf(x)
    np.testing.assert_allclose(q.log_density(x), expected, rtol=1e-10)
    p = student(d, 3.7)
    expected = stats.multivariate_t(p.location, p.root @ p.root.T, df=3.7).logpdf(x)
    np.testing.assert_allclose(p.log_density(x), expected.reshape(-1), rtol=1e-10)


def test_mixture_is_the_sum_of_its_parts():
    q = mixture(3)
    x = q.sample(50, np.random.default_rng(0))
    p = sum(w * np.exp(part.log_density(x)) for w, part in zip(q.weights, q.parts, strict=True))
    np.testing.assert_allclose(q.log_density(x), np.log(p), rtol=1e-12)
    general = mixed(3)
    p = sum(
        w * np.exp(part.log_density(x))
        for w, part in zip(general.weights, general.parts, strict=True)
    )
    np.testing.assert_allclose(general.log_density(x), np.log(p), rtol=1e-12)


def test_rows_of_a_mixture_are_in_random_order():
    far = Gaussian(mean=np.full(1, 100.0), root=np.eye(1))
    q = Mixture(weights=np.array([0.5, 0.5]), parts=(gaussian(1), far))
    rng = np.random.default_rng(0)
    first_half = [(q.sample(20, rng)[:10] > 50.0).sum() for _ in range(200)]
    # Binomial(10, 1/2) has variance 2.5; in order of the parts the first half would come from one.
    assert np.mean(first_half) == pytest.approx(5.0, abs=4.0 * math.sqrt(2.5 / 200))
    assert np.var(first_half) == pytest.approx(2.5, rel=0.45)


# --- what cannot be built ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: Gaussian(mean=np.zeros((1, 2)), root=np.eye(2)), "mean must be a finite vector"),
        (lambda: Gaussian(mean=np.array([math.nan]), root=np.eye(1)), "mean must be a finite"),
        (lambda: Gaussian(mean=np.zeros(2), root=np.eye(3)), "root must have shape"),
        (lambda: Gaussian(mean=np.zeros(2), root=np.ones((2, 2))), "lower triangular"),
        (lambda: Gaussian(mean=np.zeros(2), root=np.zeros((2, 2))), "positive diagonal"),
        (lambda: Gaussian.from_covariance(np.zeros(2), np.ones((2, 2))), "positive definite"),
        (lambda: Gaussian.from_covariance(np.zeros(2), np.array([[1, 2], [0, 1.0]])), "symmetric"),
        (lambda: Gaussian.from_covariance(np.zeros(2), np.ones(2)), r"shape \(d, d\)"),
        (lambda: StudentT(location=np.zeros(1), root=np.eye(1), df=0.0), "df must be positive"),
        (lambda: StudentT(location=np.zeros(1), root=np.eye(1), df=math.inf), "use Gaussian"),
        (lambda: Mixture(weights=np.ones(0), parts=()), "at least one part"),
        (lambda: Mixture(weights=np.ones(2), parts=(gaussian(1),) * 2), "sum to one"),
        (
            lambda: Mixture(weights=np.array([2.0, -1.0]), parts=(gaussian(1),) * 2),
            "probabilities",
        ),
        (lambda: Mixture(weights=np.ones(2) / 2, parts=(gaussian(1), gaussian(2))), "one dimen"),
        (lambda: Independent(parts=()), "at least one part"),
        (lambda: Independent(parts=(gaussian(2),), blocks=((0,),)), "as many coordinates"),
        (lambda: Independent(parts=(gaussian(1),) * 2, blocks=((0,), (0,))), "once"),
        (lambda: Defensive(proposal=gaussian(1), safety=gaussian(2)), "one dimension"),
        (
            lambda: Defensive(proposal=gaussian(1), safety=gaussian(1), share=0.0),
            "between 0 and 1",
        ),
        (lambda: LogRadius(knots=np.zeros(2), heights=np.zeros(2), left=1, right=-1), "increase"),
        (
            lambda: LogRadius(knots=np.zeros(1), heights=np.zeros(2), left=1, right=-1),
            "one length",
        ),
        (
            lambda: LogRadius(knots=np.zeros(1), heights=np.zeros(1), left=0, right=-1),
            "both sides",
        ),
    ],
)
def test_impossible_values(build, match):
    with pytest.raises(ValueError, match=match):
        build()
