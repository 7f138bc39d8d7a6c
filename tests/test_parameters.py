"""What a user writes as a prior: ties, boxes and SciPy's several kinds of distribution."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aisle_smc.priors import Prior

numbers = st.floats(-1e12, 1e12)
new_style = pytest.mark.skipif(not hasattr(stats, "Normal"), reason="SciPy before 1.15")


def tied():
    return Prior(
        {
            "late": "mid",
            "a": stats.norm(0, 2),
            "k": 5,
            "mid": "a",
            "b": stats.expon(),
            "same_k": "k",
        }
    )


# --- ties ----------------------------------------------------------------------------------------


def test_chains_of_ties_resolve():
    prior = tied()
    assert prior.names == ("late", "a", "k", "mid", "b", "same_k")
    assert prior.free == ("a", "b")
    assert prior.ties == {"late": "a", "mid": "a", "same_k": "k"}
    assert prior.constants == {"k": 5.0, "same_k": 5.0}
    assert repr(prior) == (
        "Prior(late = mid, a ~ norm(loc=0, scale=2), k = 5, mid = a, b ~ expon(), same_k = k)"
    )
    theta = np.array([[[1.0, 2.0]], [[3.0, 4.0]]])
    np.testing.assert_array_equal(
        prior.with_constants(theta),
        [[[1.0, 1.0, 5.0, 1.0, 2.0, 5.0]], [[3.0, 3.0, 5.0, 3.0, 4.0, 5.0]]],
    )


def test_the_density_is_that_of_the_free_parameters():
    theta = np.array([[0.3, 1.2], [-1.0, 0.1]])
    alone = Prior({"a": stats.norm(0, 2), "b": stats.expon()})
    np.testing.assert_array_equal(tied().log_density(theta), alone.log_density(theta))
    np.testing.assert_array_equal(tied().from_normal(theta), alone.from_normal(theta))


def test_gathering_is_the_transpose_of_spreading():
    prior, rng = tied(), np.random.default_rng(0)
    theta, other, g = rng.normal(size=(4, 2)), rng.normal(size=(4, 2)), rng.normal(size=(4, 6))
    step = prior.with_constants(theta) - prior.with_constants(other)
    gathered = prior.gather(g)
    assert gathered.shape == (4, 2)
    np.testing.assert_allclose((step * g).sum(-1), ((theta - other) * gathered).sum(-1))
    with pytest.raises(ValueError, match=r"expected 6 numbers .*late, a, k"):
        prior.gather(np.zeros(2))


def test_tied_values_may_be_left_out_and_must_agree():
    prior = tied()
    np.testing.assert_array_equal(prior.vector({"a": 1.0, "b": 2.0}), [1.0, 2.0])
    np.testing.assert_array_equal(prior.vector({"a": 1.0, "b": 2.0, "late": 1.0}), [1.0, 2.0])
    with pytest.raises(ValueError, match=r"'mid' is tied to 'a'.*mid = 2 and a = 1"):
        prior.vector({"a": 1.0, "b": 2.0, "mid": 2.0})
    # A model may be run off the tie, at values the prior's distribution allows.
    prior.check({"a": 1.0, "b": 2.0, "mid": 2.0, "k": 7.0})
    positive = Prior({"s": stats.expon(), "t": "s"})
    with pytest.raises(ValueError, match=r"'t' must lie in \(0, inf\)"):
        positive.check({"s": 1.0, "t": -1.0})


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"a": stats.norm(), "b": "aa"}, TypeError, ["'b'", "'aa'", "did you mean 'a'"]),
        ({"a": "x", "b": stats.norm()}, TypeError, ["'a'", "'x'", "none of b"]),
        ({"a": "a"}, ValueError, ["'a'", "ring a = a"]),
        ({"a": "b", "b": "a"}, ValueError, ["ring a = b = a"]),
        ({"c": "a", "a": "b", "b": "a"}, ValueError, ["'c'", "ring c = a = b = a"]),
    ],
)
def test_ties_that_lead_nowhere_are_refused(given, kind, words):
    with pytest.raises(kind) as error:
        Prior(given)
    for word in words:
        assert word in str(error.value)


def test_a_tied_prior_is_pickled():
    copy = pickle.loads(pickle.dumps(tied()))
    assert repr(copy) == repr(tied())
    np.testing.assert_array_equal(copy.with_constants([1.0, 2.0]), [1, 1, 5, 1, 2, 5])


# --- boxes ---------------------------------------------------------------------------------------


def test_a_box_by_name_or_in_order():
    by_name = Prior.box({"a": (0, 1), "b": (-5, 5)})
    for other in (
        Prior.box([(0, 1), (-5, 5)], names=["a", "b"]),
        Prior.box(np.array([[0, 1], [-5, 5]]), ("a", "b")),
    ):
        assert repr(other) == repr(by_name)
    assert Prior.box([(0, 1), (-5, 5)]).names == ("x0", "x1")
    assert by_name.log_density([0.5, 0.0]) == pytest.approx(-math.log(10.0))
    assert by_name.log_density([1.5, 0.0]) == -math.inf


@given(numbers, numbers)
def test_no_point_of_a_box_is_outside_its_bounds(one, two):
    low, high = min(one, two), max(one, two)
    if np.nextafter(low, math.inf) >= np.nextafter(high, -math.inf):
        return
    theta = Prior.box({"x": (low, high)}).from_normal([[-40.0], [-1.0], [3.0], [40.0]])
    assert np.all((theta >= low) & (theta <= high))


@pytest.mark.parametrize(
    ("bounds", "names", "kind", "words"),
    [
        ({"a": (1, 0)}, None, ValueError, ["'a'", "(1, 0)", "wrong order", "swap"]),
        ({"a": (1, 1)}, None, ValueError, ["'a'", "equal", "number"]),
        ({"a": (0, 1), "b": (0, math.inf)}, None, ValueError, ["'b'", "finite", "inf"]),
        ({"a": (math.nan, 1)}, None, ValueError, ["'a'", "finite", "nan"]),
        ({"a": (-1.7e308, 1.7e308)}, None, ValueError, ["'a'", "finite"]),
        ([(0, 1), (2, 1)], None, ValueError, ["'x1'", "wrong order"]),
        ([(0, 1)], ["a", "b"], ValueError, ["1 pairs", "['a', 'b']"]),
        ([(0, 1), (0, 1)], ["a", "a"], ValueError, ["name of its own"]),
        ({"a": (0, 1)}, ["b"], ValueError, ["own names", "['b']"]),
        ({"a": 3.0}, None, TypeError, ["'a'", "pair", "3.0"]),
        ({"a": (0, 1, 2)}, None, TypeError, ["'a'", "pair"]),
        ([0, 1], None, TypeError, ["'x0'", "pair"]),
        ({"a": ("zero", 1)}, None, TypeError, ["'a'", "pair"]),
        ({3: (0, 1)}, None, TypeError, ["strings", "3"]),
        ({}, None, ValueError, ["at least one pair"]),
        (5, None, TypeError, ["bounds", "5"]),
    ],
)
def test_a_wrong_box_is_refused(bounds, names, kind, words):
    with pytest.raises(kind) as error:
        Prior.box(bounds, names)
    for word in words:
        assert word in str(error.value)


# --- what SciPy calls a distribution -------------------------------------------------------------


def test_a_von_mises_distribution_is_one_turn():
    # SciPy's own has the whole line for its support, with infinite mass.
    prior = Prior({"x": stats.vonmises(2.0, loc=1.0)})
    assert prior.coordinates[0].lower == pytest.approx(1.0 - math.pi)
    assert prior.log_density([[0.5], [0.5 + 2 * math.pi]])[1] == -math.inf
    draws = prior.sample(np.random.default_rng(0), 300)[:, 0]
    assert stats.kstest(draws, stats.vonmises_line(2.0, loc=1.0).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    "value",
    [
        stats.multivariate_normal([0.0, 0.0]),
        stats.multivariate_t([0.0, 0.0]),
        stats.dirichlet([1.0, 2.0]),
        stats.wishart(3, np.eye(2)),
        stats.multivariate_normal,
    ],
)
def test_several_variables_in_one_place_are_refused(value):
    with pytest.raises(TypeError, match=r"'x'.*several variables.*pass it alone as prior="):
        Prior({"x": value})


@new_style
def test_normal_and_uniform_variables_are_read_as_frozen():
    prior = Prior({"a": stats.Normal(mu=1.0, sigma=2.0), "b": stats.Uniform(a=-1.0, b=3.0)})
    assert repr(prior) == "Prior(a ~ norm(loc=1, scale=2), b ~ uniform(loc=-1, scale=4))"
    assert repr(Prior({"a": stats.Normal()})) == "Prior(a ~ norm(loc=0, scale=1))"


def variables():
    normal = stats.Normal(mu=0.5, sigma=0.3)
    return {
        "exp(normal)": (stats.exp(normal), stats.lognorm(0.3, scale=math.exp(0.5))),
        "truncated": (
            stats.truncate(stats.Normal(mu=0.0, sigma=1.0), 0.0, 2.0),
            stats.truncnorm(0.0, 2.0),
        ),
        "made": (stats.make_distribution(stats.gamma)(a=2.5), stats.gamma(2.5)),
        "shifted": (3.0 * stats.Normal(mu=0.0, sigma=1.0) + 1.0, stats.norm(1.0, 3.0)),
    }


@new_style
@pytest.mark.parametrize("kind", ["exp(normal)", "truncated", "made", "shifted"])
def test_random_variables_serve_as_priors(kind):
    variable, frozen = variables()[kind]
    prior, twin = Prior({"x": variable}), Prior({"x": frozen})
    z = np.linspace(-5.0, 5.0, 41)[:, None]
    theta = twin.from_normal(z)
    np.testing.assert_allclose(prior.from_normal(z), theta, rtol=1e-9)
    np.testing.assert_allclose(prior.normal_jacobian(z), twin.normal_jacobian(z), rtol=1e-7)
    np.testing.assert_allclose(prior.log_density(theta), twin.log_density(theta), rtol=1e-9)
    np.testing.assert_allclose(
        prior.log_density_unconstrained([0.2]), twin.log_density_unconstrained([0.2]), rtol=1e-12
    )
    draws = prior.sample(np.random.default_rng(1), 5)
    np.testing.assert_allclose(draws, twin.sample(np.random.default_rng(1), 5), rtol=1e-9)
    held = prior.distributions["x"]
    for method in ("mean", "std", "median"):
        assert getattr(held, method)() == pytest.approx(getattr(frozen, method)())
    for method in ("pdf", "cdf", "sf"):
        at = theta[20, 0]
        assert getattr(held, method)(at) == pytest.approx(getattr(frozen, method)(at))
    assert "~" in repr(prior)


@new_style
def test_random_variables_that_are_no_priors_are_refused():
    with pytest.raises(TypeError, match=r"'x'.*array arguments"):
        Prior({"x": stats.Normal(mu=[0.0, 1.0], sigma=1.0)})
    with pytest.raises(TypeError, match=r"'x'.*class Normal without its parameters"):
        Prior({"x": stats.Normal})
    if hasattr(stats, "Binomial"):
        with pytest.raises(TypeError, match=r"'x'.*discrete distribution 'Binomial'"):
            Prior({"x": stats.Binomial(n=3, p=0.2)})


def test_other_objects_are_refused():
    kernel = stats.gaussian_kde([0.0, 1.0, 2.0])
    with pytest.raises(TypeError, match=r"'x'.*came gaussian_kde, which is not one"):
        Prior({"x": kernel})
