"""The log-densities against textbook formulas, their total mass, and their edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from aisle_kernels import densities
from aisle_kernels._jit import scalar
from aisle_kernels.vecmath import exp
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import densities as oracle

INF, NAN = math.inf, math.nan

real = st.floats(min_value=-50.0, max_value=50.0)
scale = st.floats(min_value=1e-3, max_value=1e3)
positive = st.floats(min_value=1e-3, max_value=1e3)
inner = st.floats(min_value=1e-6, max_value=1.0 - 1e-6)
count = st.integers(min_value=0, max_value=10_000)

ARGUMENTS = {
    "normal_logpdf": st.tuples(real, real, scale),
    "half_normal_logpdf": st.tuples(positive, scale),
    "lognormal_logpdf": st.tuples(positive, real, scale),
    "student_t_logpdf": st.tuples(real, positive, real, scale),
    "cauchy_logpdf": st.tuples(real, real, scale),
    "laplace_logpdf": st.tuples(real, real, scale),
    "uniform_logpdf": st.tuples(real, real, positive).map(lambda a: (a[0], a[1], a[1] + a[2])),
    "exponential_logpdf": st.tuples(positive, positive),
    "gamma_logpdf": st.tuples(positive, positive, positive),
    "beta_logpdf": st.tuples(inner, positive, positive),
    "poisson_logpmf": st.tuples(count, positive),
    "binomial_logpmf": st.tuples(count, count, inner).map(
        lambda a: (min(a[0], a[1]), max(a[0], a[1]), a[2])
    ),
    "negative_binomial_logpmf": st.tuples(count, positive, positive),
}


@pytest.mark.parametrize("name", list(ARGUMENTS))
@given(data=st.data())
def test_agrees_with_the_textbook(name, data):
    arguments = data.draw(ARGUMENTS[name])
    value = getattr(densities, name)(*map(float, arguments))
    # The oracle's own terms, up to a million here, cancel: hence the absolute part.
    assert value == pytest.approx(getattr(oracle, name)(*arguments), rel=1e-12, abs=1e-9)


TYPICAL = {
    "normal_logpdf": (0.7, -0.3, 1.9),
    "half_normal_logpdf": (0.7, 1.9),
    "lognormal_logpdf": (0.7, -0.3, 0.8),
    "student_t_logpdf": (0.7, 3.5, -0.3, 1.9),
    "cauchy_logpdf": (0.7, -0.3, 1.9),
    "laplace_logpdf": (0.7, -0.3, 1.9),
    "uniform_logpdf": (0.7, -0.3, 1.9),
    "exponential_logpdf": (0.7, 1.9),
    "gamma_logpdf": (0.7, 2.5, 1.9),
    "beta_logpdf": (0.3, 2.5, 1.9),
    "poisson_logpmf": (3, 4.2),
    "binomial_logpmf": (3, 11, 0.3),
    "negative_binomial_logpmf": (3, 4.2, 1.9),
}


@pytest.mark.parametrize("name", list(TYPICAL))
def test_to_the_last_digits_at_a_typical_point(name):
    value = getattr(densities, name)(*TYPICAL[name])
    assert value == pytest.approx(getattr(oracle, name)(*TYPICAL[name]), rel=1e-14)


MASS = {
    "normal_logpdf": [(-0.3, 1.9)],
    "half_normal_logpdf": [(1.9,)],
    "lognormal_logpdf": [(-0.3, 0.8)],
    "student_t_logpdf": [(3.5, -0.3, 1.9), (60.0, 1.0, 0.5)],
    "laplace_logpdf": [(-0.3, 1.9)],
    "exponential_logpdf": [(1.9,)],
    "gamma_logpdf": [(2.5, 1.9), (1.0, 0.4)],
    "beta_logpdf": [(2.5, 1.9), (7.0, 3.0)],
}


@pytest.mark.parametrize(("name", "parameters"), [(n, p) for n in MASS for p in MASS[n]])
def test_density_integrates_to_one(name, parameters):
    # x = sinh(t), exp(t) or logistic(t) and the rectangle rule: exponentially accurate.
    t = np.arange(-12.0, 12.0, 0.02)
    if name == "beta_logpdf":
        x = 1.0 / (1.0 + np.exp(-t))
        slope = x * (1.0 - x)
    elif name.startswith(("half_normal", "lognormal", "exponential", "gamma")):
        x = slope = np.exp(t)
    else:
        x, slope = np.sinh(t), np.cosh(t)
    function = getattr(densities, name)
    log_density = np.array([function(v, *parameters) for v in x])
    mass = np.sum(np.exp(log_density) * slope) * 0.02
    assert mass == pytest.approx(1.0, abs=2e-5)


@pytest.mark.parametrize(
    ("name", "parameters", "mean", "variance"),
    [
        ("poisson_logpmf", (4.2,), 4.2, 4.2),
        ("binomial_logpmf", (30, 0.3), 9.0, 6.3),
        ("negative_binomial_logpmf", (4.2, 1.9), 4.2, 4.2 + 4.2**2 / 1.9),
        ("negative_binomial_logpmf", (4.2, 1e9), 4.2, 4.2 + 4.2**2 / 1e9),
    ],
)
def test_mass_mean_and_variance_of_counts(name, parameters, mean, variance):
    k = np.arange(0, 400)
    p = np.exp([getattr(densities, name)(v, *parameters) for v in k])
    assert p.sum() == pytest.approx(1.0, rel=1e-12)
    assert p @ k == pytest.approx(mean, rel=1e-12)
    assert p @ (k - mean) ** 2 == pytest.approx(variance, rel=1e-10)


EDGES = [
    # The support.
    ("normal_logpdf", (INF, 0.0, 1.0), -INF),
    ("normal_logpdf", (-INF, 0.0, 1.0), -INF),
    ("normal_logpdf", (1e200, 0.0, 1.0), -INF),
    ("half_normal_logpdf", (-1e-9, 1.0), -INF),
    ("half_normal_logpdf", (0.0, 1.0), 0.5 * math.log(2.0 / math.pi)),
    ("half_normal_logpdf", (-1.0, -1.0), NAN),
    ("lognormal_logpdf", (0.0, 0.0, 1.0), -INF),
    ("lognormal_logpdf", (-1.0, 0.0, 1.0), -INF),
    ("lognormal_logpdf", (INF, 0.0, 1.0), -INF),
    ("lognormal_logpdf", (-1.0, NAN, 1.0), NAN),
    ("lognormal_logpdf", (-1.0, 0.0, -1.0), NAN),
    ("student_t_logpdf", (INF, 3.0, 0.0, 1.0), -INF),
    ("student_t_logpdf", (1e200, 1.0, 0.0, 1.0), -math.log(math.pi) - 400.0 * math.log(10.0)),
    ("student_t_logpdf", (0.7, INF, -0.3, 1.9), oracle.normal_logpdf(0.7, -0.3, 1.9)),
    ("student_t_logpdf", (0.7, 1e15, -0.3, 1.9), oracle.normal_logpdf(0.7, -0.3, 1.9)),
    ("cauchy_logpdf", (-INF, 0.0, 1.0), -INF),
    ("cauchy_logpdf", (1e200, 0.0, 1.0), -math.log(math.pi) - 400.0 * math.log(10.0)),
    ("laplace_logpdf", (INF, 0.0, 1.0), -INF),
    ("uniform_logpdf", (0.0, 0.0, 2.0), -math.log(2.0)),
    ("uniform_logpdf", (2.0, 0.0, 2.0), -math.log(2.0)),
    ("uniform_logpdf", (2.1, 0.0, 2.0), -INF),
    ("uniform_logpdf", (INF, 0.0, 2.0), -INF),
    ("exponential_logpdf", (0.0, 2.0), math.log(2.0)),
    ("exponential_logpdf", (-1e-300, 2.0), -INF),
    ("exponential_logpdf", (INF, 2.0), -INF),
    ("gamma_logpdf", (0.0, 0.5, 2.0), INF),
    ("gamma_logpdf", (0.0, 1.0, 2.0), math.log(2.0)),
    ("gamma_logpdf", (0.0, 1.5, 2.0), -INF),
    ("gamma_logpdf", (-1.0, 0.5, 2.0), -INF),
    ("gamma_logpdf", (INF, 0.5, 2.0), -INF),
    ("beta_logpdf", (0.0, 0.5, 2.0), INF),
    ("beta_logpdf", (1.0, 2.0, 0.5), INF),
    ("beta_logpdf", (0.0, 1.0, 2.0), math.log(2.0)),
    ("beta_logpdf", (1.0, 2.0, 1.0), math.log(2.0)),
    ("beta_logpdf", (0.0, 2.0, 2.0), -INF),
    ("beta_logpdf", (1.0, 2.0, 2.0), -INF),
    ("beta_logpdf", (-0.1, 2.0, 2.0), -INF),
    ("beta_logpdf", (1.1, 2.0, 2.0), -INF),
    ("poisson_logpmf", (0, 0.0), 0.0),
    ("poisson_logpmf", (3, 0.0), -INF),
    ("poisson_logpmf", (0, 2.5), -2.5),
    ("poisson_logpmf", (2.5, 2.5), -INF),
    ("poisson_logpmf", (-1, 2.5), -INF),
    ("poisson_logpmf", (INF, 2.5), -INF),
    ("poisson_logpmf", (0, 5e-324), -5e-324),
    ("binomial_logpmf", (0, 0, 0.5), 0.0),
    ("binomial_logpmf", (0, 7, 0.0), 0.0),
    ("binomial_logpmf", (1, 7, 0.0), -INF),
    ("binomial_logpmf", (7, 7, 1.0), 0.0),
    ("binomial_logpmf", (6, 7, 1.0), -INF),
    ("binomial_logpmf", (8, 7, 0.5), -INF),
    ("binomial_logpmf", (-1, 7, 0.5), -INF),
    ("binomial_logpmf", (1.5, 7, 0.5), -INF),
    ("negative_binomial_logpmf", (0, 0.0, 2.0), 0.0),
    ("negative_binomial_logpmf", (2, 0.0, 2.0), -INF),
    ("negative_binomial_logpmf", (3, 4.2, INF), oracle.poisson_logpmf(3, 4.2)),
    ("negative_binomial_logpmf", (0, 0.0, INF), 0.0),
    ("negative_binomial_logpmf", (3, 4.2, 1e15), oracle.poisson_logpmf(3, 4.2)),
    ("negative_binomial_logpmf", (1.5, 4.2, 2.0), -INF),
    ("negative_binomial_logpmf", (-2, 4.2, 2.0), -INF),
    # Scales at the ends of the range of numbers: an overflow in a model is not a NaN.
    ("normal_logpdf", (1.0, 0.0, 0.0), -INF),
    ("normal_logpdf", (0.0, 0.0, 0.0), -INF),
    ("normal_logpdf", (1.0, 0.0, INF), -INF),
    ("normal_logpdf", (INF, 0.0, INF), -INF),
    ("student_t_logpdf", (1.0, 3.0, 0.0, 0.0), -INF),
    ("student_t_logpdf", (0.0, 3.0, 0.0, 0.0), -INF),
    ("student_t_logpdf", (1.0, 3.0, 0.0, INF), -INF),
    ("cauchy_logpdf", (1.0, 0.0, 0.0), -INF),
    ("laplace_logpdf", (1.0, 0.0, 0.0), -INF),
    ("laplace_logpdf", (1.0, 0.0, INF), -INF),
    ("lognormal_logpdf", (2.0, 0.0, 0.0), -INF),
    ("exponential_logpdf", (1.0, 0.0), -INF),
    ("exponential_logpdf", (1.0, INF), -INF),
    ("exponential_logpdf", (0.0, INF), -INF),
    ("gamma_logpdf", (1.0, 0.5, 0.0), -INF),
    ("gamma_logpdf", (1.0, 0.5, INF), -INF),
    ("poisson_logpmf", (3, INF), -INF),
    ("poisson_logpmf", (0, INF), -INF),
    ("negative_binomial_logpmf", (3, INF, 2.0), -INF),
    # Outside the domain of a parameter.
    ("normal_logpdf", (0.0, 0.0, -1.0), NAN),
    ("normal_logpdf", (INF, 0.0, -1.0), NAN),
    ("student_t_logpdf", (0.0, 0.0, 0.0, 1.0), NAN),
    ("student_t_logpdf", (0.0, -3.0, 0.0, 1.0), NAN),
    ("student_t_logpdf", (0.0, 3.0, 0.0, -1.0), NAN),
    ("student_t_logpdf", (INF, -3.0, 0.0, 1.0), NAN),
    ("cauchy_logpdf", (0.0, 0.0, -1.0), NAN),
    ("laplace_logpdf", (0.0, 0.0, -1.0), NAN),
    ("uniform_logpdf", (0.0, 2.0, 0.0), NAN),
    ("uniform_logpdf", (0.0, 0.0, 0.0), NAN),
    ("exponential_logpdf", (1.0, -1.0), NAN),
    ("gamma_logpdf", (1.0, 0.0, 1.0), NAN),
    ("gamma_logpdf", (1.0, INF, 1.0), NAN),
    ("gamma_logpdf", (1.0, 1.0, -1.0), NAN),
    ("beta_logpdf", (0.5, 0.0, 1.0), NAN),
    ("beta_logpdf", (0.5, 1.0, -1.0), NAN),
    ("beta_logpdf", (0.5, INF, 1.0), NAN),
    ("poisson_logpmf", (1, -1.0), NAN),
    ("binomial_logpmf", (1, 7, 1.1), NAN),
    ("binomial_logpmf", (1, 7, -0.1), NAN),
    ("binomial_logpmf", (1, 7.5, 0.5), NAN),
    ("binomial_logpmf", (0, -1, 0.5), NAN),
    ("binomial_logpmf", (1, INF, 0.5), NAN),
    ("negative_binomial_logpmf", (1, -1.0, 2.0), NAN),
    ("negative_binomial_logpmf", (1, 1.0, 0.0), NAN),
    ("negative_binomial_logpmf", (1, 1.0, -2.0), NAN),
]


@pytest.mark.parametrize(("name", "arguments", "expected"), EDGES)
def test_edges(name, arguments, expected):
    value = getattr(densities, name)(*map(float, arguments))
    if math.isfinite(expected) and expected != 0.0:
        assert value == pytest.approx(expected, rel=1e-14)
    else:
        np.testing.assert_equal(value, expected)


@pytest.mark.parametrize("name", list(TYPICAL))
def test_nan_anywhere_gives_nan(name):
    for i in range(len(TYPICAL[name])):
        arguments = list(map(float, TYPICAL[name]))
        arguments[i] = NAN
        assert math.isnan(getattr(densities, name)(*arguments)), i
        # The value being out of the support does not hide a bad parameter.
        if i > 0:
            arguments[0] = -0.5
            assert math.isnan(getattr(densities, name)(*arguments)), i


@pytest.mark.parametrize("name", list(TYPICAL))
def test_numpy_scalars_and_integers_give_the_same_bits_without_a_warning(name):
    function = getattr(densities, name)
    arguments = TYPICAL[name]
    assert function(*map(np.float64, arguments)) == function(*map(float, arguments))
    assert function(*arguments) == function(*map(float, arguments))
    for extreme in (1e308, -1e308, 0.0, INF, -INF):
        for i in range(len(arguments)):
            mixed = [np.float64(v) for v in arguments]
            mixed[i] = np.float64(extreme)
            function(*mixed)


def test_large_counts_keep_their_digits():
    # Near the mode of a large binomial or negative binomial the normal limit holds to O(1/n).
    sd = math.sqrt(1e6 * 0.3 * 0.7)
    value = densities.binomial_logpmf(3e5, 1e6, 0.3)
    assert value == pytest.approx(-math.log(sd) - 0.5 * oracle.LOG_2_PI, abs=1e-5)
    poisson = densities.poisson_logpmf(50.0, 60.0)
    value = densities.negative_binomial_logpmf(50.0, 60.0, 1e12)
    assert value == pytest.approx(poisson, abs=1e-9)
    # Negative twin: the textbook form has lost them at this size.
    assert abs(oracle.negative_binomial_logpmf(50, 60.0, 1e12) - poisson) > 1e-6


@given(
    st.lists(st.tuples(real, real), min_size=1, max_size=5),
    st.lists(st.floats(-2.0, 2.0), min_size=25, max_size=25),
    st.lists(st.floats(0.1, 3.0), min_size=5, max_size=5),
)
def test_multivariate_normal(pairs, entries, diagonal):
    d = len(pairs)
    chol = np.tril(np.array(entries).reshape(5, 5)[:d, :d], -1) + np.diag(diagonal[:d])
    x, mean = (np.array(v) for v in zip(*pairs, strict=True))
    exact = oracle.mvn_logpdf(x, mean, chol.tolist())
    # What lies above the diagonal is not read.
    full = chol + np.triu(np.full((d, d), NAN), 1)
    assert densities.mvn_logpdf(x, mean, full) == pytest.approx(exact, rel=1e-10)


def test_multivariate_normal_edges():
    chol = np.array([[2.0, 0.0], [1.0, 3.0]])
    zero = np.zeros(2)
    for x in ([INF, 0.0], [0.0, -INF], [INF, INF]):
        assert densities.mvn_logpdf(np.array(x), zero, chol) == -INF
    for x in ([NAN, 0.0], [INF, NAN]):
        assert math.isnan(densities.mvn_logpdf(np.array(x), zero, chol))
    for bad in (0.0, -1.0, NAN):
        broken = chol.copy()
        broken[1, 1] = bad
        assert math.isnan(densities.mvn_logpdf(zero, zero, broken))
    assert densities.mvn_logpdf(np.empty(0), np.empty(0), np.empty((0, 0))) == 0.0


@scalar
def volatility_loop(y, x, out):
    for i in range(x.shape[0]):
        out[i] = densities.normal_logpdf(y, 0.0, exp(0.5 * x[i]))


def test_inside_a_loop_as_models_use_it():
    x = np.array([-3000.0, -1600.0, -3.0, 0.0, 2.0, 1600.0, 3000.0])
    out = np.empty_like(x)
    volatility_loop(0.3, x, out)
    # A volatility that under- or overflows is a particle of weight zero, not an error.
    expected = [-INF, -INF, *(oracle.normal_logpdf(0.3, 0.0, math.exp(v / 2)) for v in x[2:5])]
    np.testing.assert_allclose(out, [*expected, -INF, -INF], rtol=1e-14)


SCIPY = {
    "normal_logpdf": ("norm", lambda x, m, s: (x, m, s)),
    "half_normal_logpdf": ("halfnorm", lambda x, s: (x, 0.0, s)),
    "lognormal_logpdf": ("lognorm", lambda x, m, s: (x, s, 0.0, np.exp(m))),
    "student_t_logpdf": ("t", lambda x, d, m, s: (x, d, m, s)),
    "cauchy_logpdf": ("cauchy", lambda x, m, s: (x, m, s)),
    "laplace_logpdf": ("laplace", lambda x, m, s: (x, m, s)),
    "uniform_logpdf": ("uniform", lambda x, a, b: (x, a, b - a)),
    "exponential_logpdf": ("expon", lambda x, r: (x, 0.0, 1.0 / r)),
    "gamma_logpdf": ("gamma", lambda x, a, b: (x, a, 0.0, 1.0 / b)),
    "beta_logpdf": ("beta", lambda x, a, b: (x, a, b)),
    "poisson_logpmf": ("poisson", lambda k, m: (k, m)),
    "binomial_logpmf": ("binom", lambda k, n, p: (k, n, p)),
    "negative_binomial_logpmf": ("nbinom", lambda k, m, r: (k, r, r / (r + m))),
}


@pytest.mark.parametrize("name", list(SCIPY))
def test_agrees_with_scipy(name):
    stats = pytest.importorskip("scipy.stats", reason="the comparison is with SciPy")
    family, translate = SCIPY[name]
    rng = np.random.default_rng(31)
    log_density = getattr(getattr(stats, family), "logpmf" if "pmf" in name else "logpdf")
    for _ in range(40):
        jitter = np.exp(0.5 * rng.normal(size=len(TYPICAL[name])))
        arguments = [v * j for v, j in zip(TYPICAL[name], jitter, strict=True)]
        if name.endswith("pmf"):
            arguments[0] = float(round(arguments[0]))
        if name == "binomial_logpmf":
            arguments[1] = float(round(arguments[1]))
        if name in ("binomial_logpmf", "beta_logpdf"):
            i = -1 if name == "binomial_logpmf" else 0
            arguments[i] = min(arguments[i], 0.9)
        exact = log_density(*translate(*arguments))
        value = getattr(densities, name)(*arguments)
        np.testing.assert_allclose(value, exact, rtol=1e-10, atol=1e-12)
