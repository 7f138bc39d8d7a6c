"""Priors: densities that integrate to one in both coordinates, maps that never touch a bound."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from aisle_smc.priors import Prior

FAMILIES = {
    "norm": stats.norm(-1.0, 2.0),
    "t": stats.t(3, loc=1.0, scale=0.5),
    "gamma": stats.gamma(2.0, scale=0.1),
    "gamma, shape below one": stats.gamma(0.5, scale=3.0),
    "expon": stats.expon(scale=4.0),
    "halfnorm": stats.halfnorm(scale=0.7),
    "lognorm": stats.lognorm(0.8, scale=2.0),
    "invgamma": stats.invgamma(3.0, scale=2.0),
    "gamma, shifted": stats.gamma(3.0, loc=-5.0, scale=2.0),
    "below": stats.weibull_max(2.0, loc=3.0, scale=1.5),
    "beta": stats.beta(20, 1.5),
    "beta, unbounded density": stats.beta(0.6, 0.7),
    "uniform": stats.uniform(-1.0, 2.0),
    "truncnorm": stats.truncnorm(-1.0, 3.0, loc=0.5, scale=2.0),
}
families = pytest.mark.parametrize("family", FAMILIES)


@families
def test_density_of_z_integrates_to_one(family):
    prior = Prior({"x": FAMILIES[family]})
    # Trapezoid sums over the real line converge exponentially for smooth integrands; the
    # integrand is smooth in z for every family, and decays at least as fast as exp(-z/2).
    z = np.linspace(-60.0, 60.0, 60_001)
    density = np.exp(prior.log_density_unconstrained(z[:, None]))
    if family in ("norm", "t"):
        total = integrate.quad(lambda v: math.exp(prior.log_density([v])), -np.inf, np.inf)[0]
    else:
        total = density.sum() * (z[1] - z[0])
    assert total == pytest.approx(1.0, abs=1e-7)


@families
def test_negative_twin_without_the_jacobian_does_not_integrate_to_one(family):
    if family in ("norm", "t"):
        pytest.skip("the map is the identity: there is no Jacobian to forget")
    prior = Prior({"x": FAMILIES[family]})
    z = np.linspace(-30.0, 30.0, 3001)
    wrong = np.exp(prior.log_density(prior.constrain(z[:, None]))).sum() * (z[1] - z[0])
    assert abs(wrong - 1.0) > 0.05


@families
def test_jacobian_is_the_derivative_of_the_map(family):
    prior = Prior({"x": FAMILIES[family]})
    z = np.linspace(-6.0, 6.0, 41)[:, None]
    h = 1e-5
    derivative = (prior.constrain(z + h) - prior.constrain(z - h))[:, 0] / (2 * h)
    np.testing.assert_allclose(np.exp(prior.log_jacobian(z)), derivative, rtol=1e-4)


@families
def test_constrain_and_unconstrain_are_inverse(family):
    prior = Prior({"x": FAMILIES[family]})
    theta = prior.sample(np.random.default_rng(1), 500)
    np.testing.assert_allclose(prior.constrain(prior.unconstrain(theta)), theta, rtol=1e-9)
    z = np.linspace(-12.0, 12.0, 25)[:, None]
    np.testing.assert_allclose(prior.unconstrain(prior.constrain(z)), z, rtol=1e-6, atol=1e-9)


@families
def test_the_map_increases_and_never_reaches_a_bound(family):
    prior = Prior({"x": FAMILIES[family]})
    lower, upper = FAMILIES[family].support()
    z = np.concatenate([-np.geomspace(1e-3, 1e4, 60)[::-1], np.geomspace(1e-3, 1e4, 60)])
    theta = prior.constrain(z[:, None])[:, 0]
    assert np.all(theta > lower)
    assert np.all(theta < upper)
    assert np.all(np.isfinite(theta))
    assert np.all(np.diff(theta) >= 0)
    assert np.isfinite(prior.log_jacobian(z[:, None])).all()
    density = prior.log_density_unconstrained(z[:, None])
    assert not np.isnan(density).any()
    assert np.all(density < np.inf)


@families
def test_one_point_agrees_with_many(family):
    prior = Prior({"x": FAMILIES[family]})
    z = np.linspace(-40.0, 40.0, 33)[:, None]
    one_by_one = np.array([prior.log_density_unconstrained(row) for row in z])
    np.testing.assert_allclose(
        prior.log_density_unconstrained(z), one_by_one, rtol=1e-11, atol=1e-11
    )
    parts = prior.log_density(prior.constrain(z)) + prior.log_jacobian(z)
    np.testing.assert_allclose(parts, one_by_one, rtol=1e-11, atol=1e-11)


@families
def test_samples_have_the_distribution(family):
    frozen = FAMILIES[family]
    draws = Prior({"x": frozen}).sample(np.random.default_rng(7), 4000)[:, 0]
    # Power: a shift by a tenth of a standard deviation is found with probability above 0.999.
    assert stats.kstest(draws, frozen.cdf).pvalue > 1e-4
    lower, upper = frozen.support()
    assert np.all((draws > lower) & (draws < upper))


def test_first_draws_do_not_depend_on_how_many():
    prior = mixed()
    few = prior.sample(np.random.default_rng(3), 4)
    many = prior.sample(np.random.default_rng(3), 9)
    np.testing.assert_array_equal(few, many[:4])


def test_draws_that_underflow_stay_inside():
    draws = Prior({"x": stats.gamma(1e-3)}).sample(np.random.default_rng(0), 200)
    assert np.all(draws > 0)


def mixed():
    return Prior(
        {
            "mu": stats.norm(loc=0, scale=10),
            "df": 5,
            "rho": stats.beta(20, 1.5),
            "sigma": stats.gamma(2, scale=0.1),
        }
    )


def test_several_parameters_add_up_and_keep_their_order():
    prior = mixed()
    assert prior.names == ("mu", "df", "rho", "sigma")
    assert prior.free == ("mu", "rho", "sigma")
    assert prior.constants == {"df": 5.0}
    theta = np.array([[0.5, 0.9, 0.2], [-1.0, 0.99, 0.1]])
    expected = (
        stats.norm(0, 10).logpdf(theta[:, 0])
        + stats.beta(20, 1.5).logpdf(theta[:, 1])
        + stats.gamma(2, scale=0.1).logpdf(theta[:, 2])
    )
    np.testing.assert_allclose(prior.log_density(theta), expected, rtol=1e-14)
    assert prior.log_density(theta[0]) == pytest.approx(expected[0])
    assert prior.log_density(theta[None, :, :]).shape == (1, 2)
    np.testing.assert_array_equal(
        prior.with_constants(theta), [[0.5, 5.0, 0.9, 0.2], [-1.0, 5.0, 0.99, 0.1]]
    )
    np.testing.assert_array_equal(
        prior.vector({"sigma": 0.2, "rho": 0.9, "mu": 0.5, "df": 4}), theta[0]
    )


def test_only_constants_is_a_prior_of_dimension_zero():
    prior = Prior({"a": 1, "b": 2.5})
    assert prior.free == ()
    assert prior.log_density_unconstrained(np.empty(0)) == 0.0
    assert prior.sample(np.random.default_rng(0), 3).shape == (3, 0)
    np.testing.assert_array_equal(prior.with_constants(np.empty((2, 0))), [[1, 2.5], [1, 2.5]])


@settings(deadline=None)
@given(st.floats(allow_nan=True, allow_infinity=True))
def test_density_is_never_nan_whatever_comes(value):
    for frozen in (stats.norm(0, 1), stats.gamma(0.5), stats.beta(0.5, 0.5), stats.t(3)):
        prior = Prior({"x": frozen})
        for density in (prior.log_density([value]), prior.log_density([[value]])[0]):
            assert not math.isnan(density)
            assert density < math.inf
        assert not math.isnan(prior.log_density_unconstrained([value]))
        assert not math.isnan(prior.log_density_unconstrained([[value]])[0])


def test_outside_the_support_the_density_is_zero():
    prior = mixed()
    assert prior.log_density([0.0, 1.1, 0.1]) == -math.inf
    assert prior.log_density([0.0, 0.9, -0.1]) == -math.inf
    assert prior.log_density([0.0, 0.9, 0.0]) == -math.inf
    # Both infinities meet: a density unbounded at its end, and a value outside another support.
    both = Prior({"a": stats.gamma(0.5), "b": stats.beta(2, 2)})
    assert both.log_density([0.0, 2.0]) == -math.inf


def test_pickling_keeps_everything():
    prior = mixed()
    copy = pickle.loads(pickle.dumps(prior))
    assert repr(copy) == repr(prior)
    z = np.array([0.3, 1.0, -2.0])
    assert copy.log_density_unconstrained(z) == prior.log_density_unconstrained(z)
    assert copy.constants == prior.constants


def test_the_given_dict_is_copied():
    given = {"mu": stats.norm(0, 1)}
    prior = Prior(given)
    given["sigma"] = stats.expon()
    assert prior.names == ("mu",)
    assert list(prior.distributions) == ["mu"]


def test_repr_reads_like_a_model():
    assert repr(mixed()) == (
        "Prior(mu ~ norm(loc=0, scale=10), df = 5, rho ~ beta(a=20, b=1.5), "
        "sigma ~ gamma(a=2, scale=0.1))"
    )
    assert str(mixed()).splitlines()[1] == "df = 5"
    assert str(Prior({"x": stats.t(3, 1, 2)})) == "x ~ t(df=3, loc=1, scale=2)"


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (stats.poisson(3), TypeError, ["'x'", "discrete", "'poisson'", "fix the parameter"]),
        (stats.poisson, TypeError, ["'x'", "discrete", "'poisson'"]),
        (stats.norm, TypeError, ["'x'", "without its parameters", "scipy.stats.norm(...)"]),
        (None, TypeError, ["'x'", "None", "improper"]),
        ("flat", TypeError, ["'x'", "'flat'", "improper"]),
        (object(), TypeError, ["'x'", "object", "univariate"]),
        (True, TypeError, ["'x'", "bool"]),
        (stats.multivariate_normal([0, 0]), TypeError, ["'x'", "multivariate_normal_frozen"]),
        (stats.norm([0, 1], 1), TypeError, ["'x'", "array arguments", "own name"]),
        (stats.norm(0, math.inf), ValueError, ["'x'", "norm(loc=0, scale=inf)", "improper"]),
        (stats.norm(0, -1), ValueError, ["'x'", "norm(loc=0, scale=-1)", "correct"]),
        (stats.gamma(-2), ValueError, ["'x'", "gamma(a=-2)"]),
        (math.nan, ValueError, ["'x'", "nan", "finite"]),
        (math.inf, ValueError, ["'x'", "inf", "finite"]),
    ],
)
def test_what_is_not_a_prior_is_an_error(value, kind, words):
    with pytest.raises(kind) as error:
        Prior({"x": value})
    for word in words:
        assert word in str(error.value)


def test_shape_of_the_mapping_is_checked():
    with pytest.raises(ValueError, match="empty dict"):
        Prior({})
    with pytest.raises(TypeError, match="came list"):
        Prior([stats.norm(0, 1)])
    with pytest.raises(TypeError, match="names are strings; came 3"):
        Prior({3: stats.norm(0, 1)})


def test_check_names_the_parameter():
    prior = mixed()
    prior.check({"mu": 0.0, "df": 7, "rho": 0.9, "sigma": 0.1})
    prior.check({"mu": 0.0, "rho": 0.9, "sigma": 0.1})
    with pytest.raises(ValueError, match=r"'rho' must lie in \(0, 1\).*came 1.5"):
        prior.check({"mu": 0.0, "rho": 1.5, "sigma": 0.1})
    with pytest.raises(ValueError, match=r"'sigma'.*came nan"):
        prior.check({"mu": 0.0, "rho": 0.9, "sigma": math.nan})
    with pytest.raises(ValueError, match=r"'mu'.*came inf"):
        prior.check({"mu": math.inf, "rho": 0.9, "sigma": 0.1})
    with pytest.raises(ValueError, match="missing: sigma, unknown: sgima"):
        prior.check({"mu": 0.0, "rho": 0.9, "sgima": 0.1})
    with pytest.raises(ValueError, match="'df' must be a finite number"):
        prior.check({"mu": 0.0, "df": math.nan, "rho": 0.9, "sigma": 0.1})


def test_check_accepts_a_bound_where_the_density_is_positive():
    Prior({"x": stats.uniform(0, 1)}).check({"x": 0.0})
    Prior({"x": stats.uniform(0, 1)}).check({"x": 1.0})
    with pytest.raises(ValueError, match="'x' must lie in"):
        Prior({"x": stats.gamma(2)}).check({"x": 0.0})


def test_unconstrain_names_the_parameter_outside():
    with pytest.raises(ValueError, match=r"'sigma' must lie in.*came 0"):
        mixed().unconstrain([[0.0, 0.9, 0.1], [0.0, 0.9, 0.0]])


@pytest.mark.parametrize("shape", [(), (2,), (3, 2)])
def test_a_vector_of_the_wrong_length_is_an_error(shape):
    with pytest.raises(ValueError, match=r"expected 3 numbers .*mu, rho, sigma"):
        mixed().log_density(np.zeros(shape))


def test_a_distribution_of_the_users_own_works():
    class Triangle(stats.rv_continuous):
        def _pdf(self, x):
            return 2.0 * x

    prior = Prior({"x": Triangle(a=0.0, b=1.0, name="triangle")()})
    assert prior.log_density([0.25]) == pytest.approx(math.log(0.5))
    z = np.linspace(-30.0, 30.0, 6001)
    total = np.exp(prior.log_density_unconstrained(z[:, None])).sum() * 0.01
    assert total == pytest.approx(1.0, abs=1e-8)
