"""What a person reads after a mistake in a model, in its parameters or in the data."""

from __future__ import annotations

import inspect
import math
import pickle
import re
from typing import NamedTuple

import numba
import numpy as np
import pytest
import scipy.stats
from scipy.stats import gamma, norm

from aisle_smc import DegenerateWeights
from aisle_smc.ssm import (
    Auxiliary,
    Guided,
    PythonModel,
    StateSpaceModel,
    VectorModel,
    log_evidence,
    log_evidences,
    particle_filter,
)
from aisle_smc.ssm.math import normal_logpdf
from aisle_smc.ssm.reasons import reason

compiled_only = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")


class Params(NamedTuple):
    mu: float
    sigma: float


class Pair(NamedTuple):
    a: float
    b: float


def initial(rng, p):
    return rng.normal(p.mu, p.sigma)


def transition(rng, x, p):
    return rng.normal(x, p.sigma)


def log_observation(y, x):
    return normal_logpdf(y, x, 1.0)


RIGHT = {
    "params": Params,
    "initial": initial,
    "transition": transition,
    "log_observation": log_observation,
}
P = Params(0.0, 1.0)
Y = np.array([0.1, 0.2, 0.3])


def model(kind=StateSpaceModel, **changes):
    return kind(**{**RIGHT, **changes})


# --- data ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [particle_filter, log_evidence])
@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([], r"y must hold at least one observation; got an empty series"),
        ([[1.0, 2.0]], r"y must have shape \(T,\), columns y; got shape \(1, 2\)"),
        (3.0, r"y must have shape \(T,\), columns y; got shape \(\)"),
        ([0.0, np.inf], r"y must be finite, or NaN where missing; y\[1\] is inf"),
        ([0.0, -np.inf], r"y\[1\] is -inf"),
    ],
)
def test_bad_data(run, y, words):
    with pytest.raises(ValueError, match=words):
        run(model(), P, y, 10)


def test_data_that_are_no_numbers():
    with pytest.raises(TypeError, match="y must be numbers; got list"):
        particle_filter(model(), P, ["a", "b"], 10)


def test_data_of_the_wrong_width():
    wide = model(observation=Pair, log_observation=lambda y, x: -((y.a - x) ** 2))
    with pytest.raises(ValueError, match=r"shape \(T, 2\), columns a, b; got shape \(3,\)"):
        particle_filter(wide, P, Y, 10)
    with pytest.raises(ValueError, match=r"y\[0, 1\] is inf"):
        particle_filter(wide, P, [[0.0, np.inf]], 10)


@pytest.mark.parametrize("run", [particle_filter, log_evidence, log_evidences])
@pytest.mark.parametrize("n", [0, -3])
def test_too_few_particles(run, n):
    params = [P] if run is log_evidences else P
    with pytest.raises(ValueError, match=f"n must be at least 1; got {n}"):
        run(model(), params, Y, n)


@pytest.mark.parametrize("n", [2.5, "10", None, True])
def test_a_number_of_particles_that_is_none(n):
    with pytest.raises(TypeError, match="n must be an int >= 1; got"):
        particle_filter(model(), P, Y, n)


@pytest.mark.parametrize(
    ("u", "words"),
    [
        (None, r"needs covariates u, 3 rows of u; got none"),
        ([1.0], "u must have 3 rows, one for each time; got 1"),
        ([1.0, np.nan, 2.0], "covariates must be finite; row 1 of u is nan"),
    ],
)
def test_bad_covariates(u, words):
    with pytest.raises(ValueError, match=words):
        particle_filter(model(covariates=float), P, Y, 10, u=u)


# --- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"mu": 0.0}, "must name exactly the parameters mu, sigma; missing: sigma"),
        ({"mu": 0.0, "sigam": 1.0}, "unknown: sigam; missing: sigma"),
        ([1.0], r"params must hold 2 values \(mu, sigma\); got 1"),
        ({"mu": 0.0, "sigma": math.nan}, "parameter sigma must be finite; got nan"),
        ({"mu": 0.0, "sigma": -1.0}, "sigma"),
    ],
)
def test_bad_parameters(params, words):
    bounded = model(prior={"mu": norm(0.0, 1.0), "sigma": gamma(2.0)})
    with pytest.raises(ValueError, match=words):
        particle_filter(bounded, params, Y, 10)


def test_a_parameter_out_of_its_prior_says_so():
    bounded = model(prior={"mu": norm(0.0, 1.0), "sigma": gamma(2.0)})
    with pytest.raises(ValueError, match=r"sigma.*-1"):
        log_evidence(bounded, (0.0, -1.0), Y, 10)
    with pytest.raises(ValueError, match="the prior must name exactly the parameters mu, sigma"):
        model(prior={"mu": norm(0.0, 1.0)})


# --- the form of a model -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [StateSpaceModel, VectorModel, PythonModel])
def test_an_unknown_argument_lists_the_known_ones(kind):
    with pytest.raises(TypeError) as caught:
        model(kind, transition=lambda rng, x, params: x)
    text = str(caught.value)
    assert "unknown argument 'params'" in text
    for name in ("rng", "x", "x_prev", "y_prev", "p", "t", "u"):
        assert re.search(rf"\n  {name} +the ", text), name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"transition": lambda rng, x, y: x}, "'y' is the observation of this time; a transition"),
        ({"log_observation": lambda y, xprev: 0.0}, "Did you mean 'x_prev'"),
        ({"log_observation": lambda *values: 0.0}, r"must name its arguments; got '\*values'"),
        ({"log_observation": 3.0}, "log_observation must be a function; got float"),
        ({"params": dict}, "params must be a NamedTuple class"),
        ({"state": "float"}, "state must be float, a NamedTuple class of floats, or the length"),
        ({"observation": 0}, "observation must be float, a NamedTuple"),
    ],
)
def test_a_wrong_form(changes, words):
    with pytest.raises(TypeError, match=words):
        model(**changes)


# --- functions that do not compile ---------------------------------------------------------------


def plain_helper(z):
    return z * z


class Cage:
    """Something that compiled code cannot hold."""


cage = Cage()


def undefined(y, x):
    z = y - x
    return normal_lpdf(z, 0.0, 1.0)  # noqa: F821 - the mistake


def scipy_call(y, x):
    return scipy.stats.norm.logpdf(y, x, 1.0)


def misspelt_field(y, x, p):
    scale = 2.0 * x
    return normal_logpdf(y, scale, p.sigm)


def field_of_a_number(y, x):
    return -((y - x.level) ** 2)


def two_types(y, x):
    if y > 0:
        return "no"
    return 1.0


def two_types_of_a_name(y, x):
    z = (1.0, 2.0) if y > 0 else 3.0
    return z


def mixed_list(y, x):
    parts = [y]
    parts.append("a")
    return parts[0]


def formatted(y, x):
    print(f"{y:.2f}")
    return 0.0


def calls_plain_python(y, x):
    return -plain_helper(y - x)


def uses_an_object(y, x):
    return cage.value


def by_name(y, x, p):
    return p["mu"]


def no_such_draw(rng, x):
    return rng.multivariate_normal(x, 1.0)


def too_many(rng, x):
    return rng.normal(x, 1.0, 3, 4, 5)


def two_types_in_turn(y, x):
    z = (1.0, 2.0)
    if y > 0:
        z = 3.0
    return z


MISTAKES = [
    (two_types_in_turn, "z is ", None),
    (undefined, "name 'normal_lpdf' is not defined", 2),
    (scipy_call, "scipy.stats.norm cannot be called from compiled code", 1),
    (misspelt_field, "Params has no field 'sigm' (it has mu, sigma); did you mean 'sigma'?", 2),
    (
        field_of_a_number,
        "float64 has no attribute 'level' (for named components declare",
        1,
    ),
    (two_types, "it returns values of different types: ", None),
    (
        two_types_of_a_name,
        "a value is a tuple of 2 float64 in one place and float64 in another",
        1,
    ),
    (mixed_list, "list.append of list(float64) cannot take ('a')", 2),
    (formatted, "f-strings not supported", 1),
    (
        calls_plain_python,
        "plain_helper is a plain Python function: decorate it with",
        1,
    ),
    (uses_an_object, "Cage", 1),
    (by_name, "there is no compiled version of getitem(Params, 'mu')", 1),
    (no_such_draw, "the compiled random generator has no method 'multivariate_normal'", 1),
    (too_many, "normal(rng, float64, float64, 3, 4, 5)", 1),
]


@compiled_only
@pytest.mark.parametrize(
    ("mistake", "words", "line"), MISTAKES, ids=[m[0].__name__ for m in MISTAKES]
)
def test_what_does_not_compile_names_reason_and_line(mistake, words, line):
    role = "transition" if mistake in (no_such_draw, too_many) else "log_observation"
    with pytest.raises(TypeError) as caught:
        particle_filter(model(**{role: mistake}), P, Y, 10)
    text = str(caught.value)
    lines, first = inspect.getsourcelines(mistake)
    assert text.startswith(f"{role} {mistake.__name__} ({__file__}:{first}) does not compile:\n")
    assert words in text, text
    if line is None:  # one of several lines is as much to blame as another
        number = int(re.search(r"at line (\d+): ", text)[1])
        assert first < number < first + len(lines)
        line = number - first
    assert f"at line {first + line}: {lines[line].strip()}" in text
    # A person reads it: the reason, the line, and what else there is.
    assert len(text.splitlines()) <= 5
    assert len(text) < 800
    assert "PythonModel" in text
    assert caught.value.__suppress_context__


def test_an_unknown_complaint_is_passed_on():
    found = reason("Failed in nopython mode\nSomething nobody has seen\nDuring: x", undefined, ())
    assert found == "  Something nobody has seen"
    assert reason("", undefined, ()) == "  Numba gives no reason"


# --- functions that return the wrong thing -------------------------------------------------------


@compiled_only
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"transition": lambda x: (x, x)},
            r"transition .* must return one number; it returns",
        ),
        ({"transition": lambda x: None}, "must return one number; it returns nothing"),
        ({"initial": lambda rng: 1j}, "initial .* must return one number; it returns complex"),
        ({"log_observation": lambda y, x: "a"}, "log_observation .* must return one number"),
        ({"log_observation": lambda y, x: (x, x)}, "2 log-densities for an observation of 1"),
        ({"state": Pair, "initial": lambda: 1.0}, "must return a Pair of 2 numbers; it returns"),
        ({"state": Pair, "initial": lambda: (1.0, 2.0, 3.0)}, "must return a Pair of 2 numbers"),
        ({"state": 2, "initial": lambda: 1.0}, "it must name `out` and fill it|fills `out`|out"),
        ({"log_transition": lambda x: (x, x)}, "log_transition .* must return one number"),
    ],
)
def test_wrong_return_types(changes, words):
    with pytest.raises(TypeError, match=words):
        particle_filter(model(**changes), P, Y, 10)


# --- algorithms whose functions are missing ------------------------------------------------------


@pytest.mark.parametrize("kind", [StateSpaceModel, VectorModel, PythonModel])
@pytest.mark.parametrize(
    ("proposal", "words"),
    [
        (Guided(), "guided filter needs the model functions proposal, log_proposal, log_transi"),
        (Auxiliary(), "auxiliary filter needs the model function log_lookahead"),
        (Auxiliary(Guided()), "proposal, log_proposal, log_transition, log_lookahead"),
    ],
)
def test_missing_functions_are_named(kind, proposal, words):
    changes = {"initial": lambda rng, n: rng.normal(size=n)} if kind is VectorModel else {}
    each = model(kind, **changes)
    with pytest.raises(ValueError, match=words) as caught:
        particle_filter(each, P, Y, 10, proposal=proposal)
    assert "this model has initial, transition, log_observation" in str(caught.value)


# --- in the middle of a run ----------------------------------------------------------------------


def nan_above(y, x, t):
    return math.nan if t == 2 and x > 0.0 else 0.0


@pytest.mark.parametrize("kind", [StateSpaceModel, PythonModel])
@pytest.mark.parametrize("run", [particle_filter, log_evidence])
def test_a_nan_density_names_time_particle_and_parameters(kind, run):
    with pytest.raises(ValueError, match="nan at time 2") as caught:
        run(model(kind, log_observation=nan_above), P, [0.0, 1.0, 2.5, 3.0], 50)
    text = str(caught.value)
    assert re.search(r"density of the model is nan at time 2, particle \d+", text)
    assert re.search(r"state: x=0\.\d+|state: x=[1-9]", text)
    assert "observation: 2.5" in text
    assert "parameters: mu=0.0, sigma=1.0" in text


def test_an_infinite_density_is_an_error_too():
    with pytest.raises(ValueError, match="density of the model is inf at time 0, particle 0"):
        particle_filter(model(log_observation=lambda y, x: math.inf), P, Y, 5)


def none_at_two(y, x, t):
    return -math.inf if t == 2 else 0.0


@pytest.mark.parametrize("kind", [StateSpaceModel, PythonModel])
def test_weights_that_all_vanish_are_reported(kind):
    lost = model(kind, log_observation=none_at_two)
    y = [0.0, 1.0, 2.5, 3.0]
    with pytest.raises(DegenerateWeights) as caught:
        particle_filter(lost, P, y, 50)
    text = str(caught.value)
    for words in (
        "every particle has weight zero at time 2: none of 50 can explain the observation 2.5",
        "parameters: mu=0.0, sigma=1.0",
        "last ESS: 50, 50",
    ):
        assert words in text
    assert caught.value.t == 2
    assert caught.value.ess == (50.0, 50.0)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.t, again.ess) == (text, 2, (50.0, 50.0))
    # For an algorithm on parameters it is an evidence of zero.
    assert log_evidence(lost, P, y, 50) == -math.inf
    np.testing.assert_array_equal(log_evidences(lost, [P, P], y, 50), [-math.inf, -math.inf])


def test_weights_that_vanish_at_the_start_are_reported():
    lost = model(log_observation=lambda y, x: -math.inf)
    with pytest.raises(DegenerateWeights, match="last ESS: none, this is the first time"):
        particle_filter(lost, P, Y, 5)


class Level(NamedTuple):
    sd: float


def pair_model(**changes):
    functions = {
        "params": Level,
        "observation": Pair,
        "initial": lambda z: z,
        "transition": lambda z, x, p: x + p.sd * z,
        "log_observation": lambda y, x: (-0.5 * (y.a - x) ** 2, -0.5 * (y.b - 2.0 * x) ** 2),
    }
    return StateSpaceModel(**(functions | changes))


class Frame:
    """The part of a data frame that counts: named columns in an order of their own."""

    columns = ("b", "a")

    def __init__(self, **values):
        self.values = values

    def __getitem__(self, name):
        return self.values[name]

    @property
    def shape(self):
        return (3, 2)


def test_masked_values_are_missing_and_frames_match_by_name():
    model = pair_model()
    a, b = np.array([0.1, 0.2, 0.3]), np.array([1.0, np.nan, 3.0])
    plain = model.observations(np.column_stack([a, b]))
    masked = np.ma.masked_array(np.column_stack([a, [1.0, 99.0, 3.0]]), mask=np.isnan(plain))
    np.testing.assert_array_equal(model.observations(masked), plain)
    by_name = {"b": np.ma.masked_invalid(b), "a": a}
    np.testing.assert_array_equal(model.observations(by_name), plain)
    np.testing.assert_array_equal(model.observations(Frame(a=a, b=b)), plain)


def test_no_series_is_an_error():
    with pytest.raises(ValueError, match="y must be a series"):
        particle_filter(pair_model(), [1.0], None)


def test_undeclared_covariates_are_an_error():
    with pytest.raises(TypeError, match="covariates="):
        pair_model(transition=lambda z, x, p, u: x + p.sd * z + u)


def test_nan_state_at_a_missing_observation_is_an_error():
    model = pair_model(transition=lambda z, x, p, y_prev: x + p.sd * z + 0.0 * y_prev.a)
    y = np.array([[0.1, 0.2], [np.nan, np.nan], [np.nan, np.nan]])
    with pytest.raises(ValueError, match=r"a state is NaN at time 2, particle 0.*y_prev"):
        particle_filter(model, [1.0], y, 20)


def test_missing_component_with_one_density_says_what_to_do():
    model = pair_model(log_observation=lambda y, x: -0.5 * (y.a - x) ** 2 - 0.5 * (y.b - x) ** 2)
    with pytest.raises(ValueError, match="one log-density for each component"):
        particle_filter(model, [1.0], np.array([[0.1, np.nan]]), 20)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threshold": np.nan}, "threshold must be 0"),
        ({"threshold": -1.0}, "threshold must be 0"),
        ({"threshold": "x"}, "threshold must be a number"),
        ({"proposal": Guided}, "the value and not the class"),
        ({"proposal": "guided"}, "proposal must be"),
        ({"resampler": "systematic"}, "resampler must be"),
    ],
)
def test_options_are_checked_before_work(options, said):
    y = np.array([[0.1, 0.2]])
    for run in (particle_filter, log_evidence):
        with pytest.raises((TypeError, ValueError), match=said):
            run(pair_model(), [1.0], y, 20, **options)
