"""Normal scores: a prior is N(0, I) in them, to the ends of both tails."""

import math
import pickle

import numpy as np
import pytest
from scipy import special, stats

from aisle_smc.normal_scores.families import FAMILIES
from aisle_smc.priors import Prior

SHAPES = {
    "beta": 2, "chi": 1, "chi2": 1, "erlang": 1, "fisk": 1, "gamma": 1, "invgamma": 1,
    "invweibull": 1, "johnsonsb": 2, "johnsonsu": 2, "lognorm": 1, "loguniform": 2, "lomax": 1,
    "pareto": 1, "powerlaw": 1, "reciprocal": 2, "t": 1, "truncnorm": 2, "weibull_max": 1,
    "weibull_min": 1,
}  # fmt: skip
COARSE = {"fisk", "loguniform", "reciprocal", "truncnorm"}  # SciPy takes a tail as 1 - the other
families = pytest.mark.parametrize("family", FAMILIES)
BULK = np.linspace(-5.0, 5.0, 101)[:, None]
TAILS = np.linspace(-8.0, 8.0, 161)[:, None]
FAR = np.array([-1e9, -37.5, -37.0, -30.0, -20.0, -9.0, 9.0, 20.0, 30.0, 37.0, 37.5, 1e9])[:, None]


def members(family, count=6):
    """Distributions of a family with random arguments, every other one with loc 0."""
    rng = np.random.default_rng(len(family))
    found = []
    for k in range(count):
        shapes = np.exp(rng.normal(size=SHAPES.get(family, 0))).tolist()
        if family == "erlang":
            shapes = [int(rng.integers(1, 9))]
        if family in ("loguniform", "reciprocal"):
            shapes = [shapes[0], shapes[0] * (1.5 + 10.0 * shapes[1])]
        if family == "truncnorm":
            a = float(rng.normal(scale=2.0))
            shapes = [(a, a + 3.0), (a, math.inf), (-math.inf, a), (3.0, 4.0), (-9.0, -7.0)][k % 5]
        loc, scale = float(rng.normal(scale=k % 2)), float(np.exp(rng.normal()))
        found.append(getattr(stats, family)(*shapes, loc=loc, scale=scale))
    return found


def each(family):
    for frozen in members(family):
        prior = Prior({"x": frozen})
        assert not prior._scores().others, "the fast map of this family was not taken"
        yield frozen, prior


def blur(prior, theta, z):
    """How far rounding of theta moves z: where theta has no digits left, z has none."""
    return 4.0 * np.spacing(np.abs(theta)) / prior.normal_jacobian(z)


@families
def test_scores_and_parameters_are_inverse(family):
    for _, prior in each(family):
        for z in (BULK, TAILS):
            theta = prior.from_normal(z)
            error = np.abs(prior.to_normal(theta) - z)
            assert np.all(error <= 1e-11 * (1.0 + np.abs(z)) + blur(prior, theta, z))
            again = prior.from_normal(prior.to_normal(theta))
            spacing = 8.0 * np.spacing(np.abs(theta))
            # A number computed in logs, such as exp(700), has lost the digits of its log.
            assert np.all(np.abs(again - theta) <= spacing + 2e-12 * np.abs(theta))


@families
def test_quantiles_agree_with_scipy(family):
    for frozen, prior in each(family):
        theta = prior.from_normal(BULK)
        with np.errstate(all="ignore"):
            low, high = frozen.ppf(special.ndtr(BULK)), frozen.isf(special.ndtr(-BULK))
        expected = np.where(BULK < 0.0, low, high)
        room = 1e-9 * prior.normal_jacobian(BULK) + 1e-12 * np.abs(expected)
        assert np.all(np.abs(theta - expected) <= room)


@families
def test_tail_masses_agree_with_scipy(family):
    for frozen, prior in each(family):
        theta = prior.from_normal(TAILS)
        with np.errstate(all="ignore"):
            low, high = frozen.logcdf(theta), frozen.logsf(theta)
        mass = np.where(TAILS < 0.0, low, high)
        expected = special.log_ndtr(-np.abs(TAILS))
        # Near an end whose coordinate has no digits left, its mass has none either.
        room = 1e-9 + 10.0 * blur(prior, theta, TAILS)
        if family in COARSE:
            room = room + 4e-16 / np.exp(expected)
        sure = room < 0.1
        assert sure.sum() > 100
        assert np.all(np.abs(mass - expected)[sure] <= room[sure])


@families
def test_far_out_everything_stays_finite_and_in_order(family):
    for frozen, prior in each(family):
        lower, upper = frozen.support()
        theta = prior.from_normal(FAR)
        assert np.isfinite(theta).all()
        assert np.all((theta > lower) & (theta < upper))
        assert np.all(np.diff(theta, axis=0) >= 0.0)
        assert np.isfinite(prior.normal_jacobian(FAR)).all()
        assert np.all(prior.normal_jacobian(FAR) >= 0.0)
        assert np.isfinite(prior.to_normal(theta)).all()


@families
def test_jacobian_is_the_derivative(family):
    z, h = np.linspace(-4.0, 4.0, 81)[:, None] + 0.005, 1e-4
    for _, prior in each(family):
        # By Richardson's rule from two central differences, with an error of order h^4.
        near, far = (
            (prior.from_normal(z + k * h) - prior.from_normal(z - k * h)) / (2 * k * h)
            for k in (1.0, 2.0)
        )
        slope = prior.normal_jacobian(z)
        room = 1e-9 * slope + 8.0 * np.spacing(np.abs(prior.from_normal(z))) / h
        assert np.all(np.abs((4.0 * near - far) / 3.0 - slope) <= room)


@families
def test_density_of_the_scores_is_standard_normal(family):
    for _, prior in each(family):
        theta = prior.from_normal(TAILS)
        total = prior.log_density(theta) + np.log(prior.normal_jacobian(TAILS))[:, 0]
        expected = stats.norm.logpdf(TAILS[:, 0])
        room = 1e-10 + 10.0 * blur(prior, theta, TAILS)[:, 0] * (1.0 + np.abs(TAILS[:, 0]))
        sure = room < 0.01
        assert sure.sum() > 80
        assert np.all(np.abs(total - expected)[sure] <= room[sure])


@families
def test_normal_draws_become_draws_of_the_prior(family):
    z = np.random.default_rng(11).standard_normal((3000, 1))
    for frozen, prior in each(family):
        assert stats.kstest(prior.from_normal(z)[:, 0], frozen.cdf).pvalue > 1e-3


@families
def test_negative_twin_the_logistic_for_the_normal_is_found(family):
    # Phi(z) is 1 / (1 + exp(-1.702 z)) but for 0.01, a usual short cut.
    z = np.random.default_rng(11).standard_normal((40_000, 1))
    wrong = special.ndtri(special.expit(1.702 * z))
    frozen = members(family, 1)[0]
    draws = Prior({"x": frozen}).from_normal(wrong)[:, 0]
    assert stats.kstest(draws, frozen.cdf).pvalue < 1e-3


def mixed():
    return Prior(
        {
            "a": stats.norm(1, 2),
            "b": stats.gamma(2.0, scale=0.1),
            "k": 3.0,
            "c": stats.norm(-5, 0.1),
            "d": stats.triang(0.3),
            "e": stats.beta(20, 1.5),
            "f": stats.gamma(0.5, loc=4.0),
            "g": stats.uniform(-1, 3),
        }
    )


def test_parameters_are_mapped_as_each_one_alone():
    prior = mixed()
    z = np.random.default_rng(0).normal(size=(5, 3, 7))
    theta, slope = prior.from_normal(z), prior.normal_jacobian(z)
    assert theta.shape == slope.shape == z.shape
    for j, name in enumerate(prior.free):
        alone = Prior({name: prior.distributions[name]})
        np.testing.assert_array_equal(theta[..., j], alone.from_normal(z[..., j, None])[..., 0])
        np.testing.assert_array_equal(
            slope[..., j], alone.normal_jacobian(z[..., j, None])[..., 0]
        )
    np.testing.assert_allclose(prior.to_normal(theta), z, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(prior.from_normal(z[0, 0]), theta[0, 0])


def test_gradients_chain_to_the_scores():
    prior = mixed()
    z = np.random.default_rng(1).normal(size=(4, 7))
    h = 1e-6

    def value(at):
        return np.sin(prior.from_normal(at)).sum(axis=-1)

    chained = np.cos(prior.from_normal(z)) * prior.normal_jacobian(z)
    for j in range(7):
        step = h * np.eye(7)[j]
        by_hand = (value(z + step) - value(z - step)) / (2 * h)
        np.testing.assert_allclose(chained[:, j], by_hand, rtol=1e-5, atol=1e-8)


def test_scores_survive_pickling_and_leave_the_prior_as_it_was():
    prior = mixed()
    before = repr(prior)
    z = np.full(7, 0.3)
    theta = prior.from_normal(z)
    assert repr(prior) == before
    copy = pickle.loads(pickle.dumps(prior))
    np.testing.assert_array_equal(copy.from_normal(z), theta)


def test_a_prior_without_free_parameters_has_no_scores():
    prior = Prior({"a": 1.0})
    assert prior.from_normal(np.empty((3, 0))).shape == (3, 0)
    assert prior.to_normal(np.empty((3, 0))).shape == (3, 0)


def test_arguments_are_checked_and_left_alone():
    prior = mixed()
    with pytest.raises(ValueError, match="expected 7 numbers"):
        prior.from_normal(np.zeros(6))
    z = np.full((2, 7), 50.0)
    prior.from_normal(z)
    np.testing.assert_array_equal(z, 50.0)
    theta = prior.from_normal(np.zeros(7))
    theta[1] = -0.1
    with pytest.raises(ValueError, match="'b' must lie in"):
        prior.to_normal(theta)
    assert np.isnan(prior.from_normal(np.full(7, np.nan))).all()


def test_a_truncation_far_out_is_none():
    wide = Prior({"x": stats.truncnorm(-1e6, 1e6, loc=2.0, scale=3.0)})
    np.testing.assert_allclose(wide.from_normal(TAILS), 2.0 + 3.0 * TAILS, rtol=1e-14)


def test_upper_tail_of_the_loglogistic_has_its_digits():
    # SciPy's own is 1 less the lower tail; the odds of the two tails are x^-c.
    z = np.linspace(1.0, 30.0, 30)[:, None]
    x = Prior({"x": stats.fisk(2.5)}).from_normal(z)
    odds = special.log_ndtr(-z) - special.log_ndtr(z)
    np.testing.assert_allclose(-2.5 * np.log(x), odds, rtol=1e-13)


def test_truncated_normal_keeps_its_digits_at_a_bound_of_zero():
    # Positive by truncation, as scales often are: mean 1, standard deviation 1, above 0.
    prior = Prior({"sigma": stats.truncnorm(-1.0, math.inf, loc=1.0)})
    z = np.array([[-8.0], [-20.0], [-35.0]])
    mass = special.ndtr(z) * special.ndtr(1.0) / stats.norm.pdf(1.0)
    # Near 0 the density is level, but for a factor exp(theta) that is 1 here.
    np.testing.assert_allclose(prior.from_normal(z), mass, rtol=1e-12)


# --- distributions without a fast map ------------------------------------------------------------


class Triangle(stats.rv_continuous):
    def _pdf(self, x):
        return 2.0 * x


OTHERS = {
    "quantiles of its own": stats.gengamma(2.0, 1.5),
    "no upper quantile": stats.triang(0.3),
    "no quantiles": stats.vonmises_line(2.0, loc=1.0),
    "no quantiles, upper tail known": stats.exponnorm(1.5),
    "a density only": Triangle(a=0.0, b=1.0, name="triangle")(),
    "a histogram": stats.rv_histogram(([1, 3, 0, 2], [0.0, 1.0, 2.0, 3.0, 4.0]))(),
    "heavy, with noise far out": stats.levy(),
    "warns far out": stats.wald(),
}
others = pytest.mark.parametrize("kind", OTHERS)


@others
def test_other_distributions_are_mapped_by_their_own_functions(kind):
    frozen = OTHERS[kind]
    prior = Prior({"x": frozen})
    assert prior._scores().others
    z = np.random.default_rng(2).standard_normal((400, 1))
    theta = prior.from_normal(z)
    np.testing.assert_allclose(prior.to_normal(theta), z, rtol=1e-10, atol=1e-11)
    mass = np.where(z < 0.0, frozen.cdf(theta), frozen.sf(theta))
    np.testing.assert_allclose(mass, special.ndtr(-np.abs(z)), rtol=1e-9)
    assert stats.kstest(theta[:, 0], frozen.cdf).pvalue > 1e-3


@others
def test_other_distributions_stay_finite_and_in_order(kind):
    prior = Prior({"x": OTHERS[kind]})
    lower, upper = OTHERS[kind].support()
    z = np.sort(np.concatenate([FAR[:, 0], np.linspace(-10.0, 10.0, 41)]))[:, None]
    theta = prior.from_normal(z)
    assert np.all((theta > lower) & (theta < upper) & np.isfinite(theta))
    # Near 1 a quantile of 1 - q has steps of its own.
    assert np.all(np.diff(theta, axis=0) >= -1e-9 * np.abs(theta[1:]))
    assert np.isfinite(prior.normal_jacobian(z)).all()
    assert np.isfinite(prior.to_normal(theta)).all()


def test_jacobian_of_another_distribution_is_the_derivative():
    z, h = np.linspace(-3.0, 3.0, 31)[:, None], 1e-4
    for kind in ("quantiles of its own", "no quantiles"):
        prior = Prior({"x": OTHERS[kind]})
        difference = (prior.from_normal(z + h) - prior.from_normal(z - h)) / (2 * h)
        np.testing.assert_allclose(prior.normal_jacobian(z), difference, rtol=1e-6)


def test_a_distribution_that_contradicts_itself_is_refused():
    class Wrong(stats.rv_continuous):
        def _pdf(self, x):
            return np.exp(-x)

        def _cdf(self, x):
            return -np.expm1(-x)

        def _ppf(self, q):
            return q  # not the inverse

    prior = Prior({"x": Wrong(a=0.0, name="wrong")()})
    with pytest.raises(ValueError, match=r"'x' must have quantiles .* wrong\(\)"):
        prior.from_normal([0.0])
