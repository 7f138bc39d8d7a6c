"""What cannot be used is refused before work starts, in words that say what to do."""

from __future__ import annotations

import math
import re

import numba
import numpy as np
import pytest
from scipy import stats
from scipy.stats import multivariate_normal, norm, poisson, uniform

from aisle_smc import Target, sample
from aisle_smc.errors import AisleError, BadDensity, DegenerateWeights, TargetFailed
from aisle_smc.targets import Journal
from aisle_smc.tempering import Temperature, Threshold
from tests.sampling.toys import QUIET

PRIOR = {"a": norm(0, 2), "b": norm(0, 1)}
INIT = np.random.default_rng(1).normal(size=(30, 2))


def batch(x):
    return -0.5 * np.square(x - 1.0).sum(axis=-1)


def run(target=batch, *arguments, **options):
    return sample(target, *arguments, **{**QUIET, "n": 100, **options})


# --- what the target returns ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        (lambda x: batch(x) + 0j, TypeError, "must return .*real.*; it returned .*complex"),
        (lambda x: complex(batch(x)), TypeError, "returned complex"),
        (lambda x: np.array([batch(x)], dtype=object), TypeError, "ndarray of object"),
        (lambda x: "low", TypeError, "it returned str"),
        (lambda x: None, TypeError, "it returned nothing"),
        (lambda x: x, ValueError, r"shape \(2,\)"),
        (lambda x: np.zeros((2, 3)), ValueError, r"shape \(2, 3\)"),
        (lambda x: [], ValueError, "empty|nothing|0"),
    ],
)
def test_wrong_returns(target, error, words):
    with pytest.raises(error, match=words):
        run(target, PRIOR)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (lambda x: x, r"log-densities of shape \(3,\).*shape \(3, 2\)"),
        (lambda x: batch(x)[:-1], r"shape \(2,\)"),
        (lambda x: float(batch(x)[0]), "one for each point"),
    ],
)
def test_wrong_shapes_of_batches(target, words):
    with pytest.raises((TypeError, ValueError), match=words):
        run(target, PRIOR, vectorized=True)


def far(x):
    """Whether a point, or one of a batch, lies where these functions break."""
    return np.asarray(x)[..., 0] > 2.5


@numba.njit
def compiled_gap(x):
    return np.nan if x[0] > 2.5 else -0.5 * (x[0] - 1.0) ** 2


@pytest.mark.parametrize(
    "target",
    [
        lambda x: np.where(far(x), np.nan, batch(x)),
        lambda x: math.nan if far(x) else float(batch(x)),
        compiled_gap,
    ],
)
@pytest.mark.parametrize("workers", [1, None])
def test_nan_names_the_point(target, workers):
    with pytest.raises(BadDensity, match=r"returned nan at a = .*, b = .*; return -inf") as caught:
        run(target, PRIOR, workers=workers)
    assert caught.value.point["a"] > 2.5
    assert set(caught.value.point) == {"a", "b"}


def test_plus_infinity_names_the_point():
    with pytest.raises(BadDensity, match="returned inf at a = "):
        run(lambda x: np.where(far(x), np.inf, batch(x)), PRIOR)


def test_an_exception_is_shown_with_its_point(tmp_path):
    def target(x):
        if far(x).any():
            raise RuntimeError("the solver did not converge")
        return batch(x)

    file = tmp_path / "run"
    with pytest.raises(TargetFailed, match="the solver did not converge") as caught:
        run(target, PRIOR, file=file)
    assert caught.value.point["a"] > 2.5
    assert re.search(r"failed at a = 2\.[5-9]\d*|failed at a = [3-9]", str(caught.value))
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert isinstance(caught.value, AisleError)


def test_what_was_evaluated_before_an_error_is_in_the_file(tmp_path):
    calls = []

    def target(x):
        calls.append(x)
        if len(calls) == 500:
            raise RuntimeError("the solver did not converge")
        return float(batch(x))

    file = tmp_path / "run"
    with pytest.raises(TargetFailed):
        run(target, PRIOR, file=file)
    with pytest.raises(ValueError, match="holds a run of something else") as caught:
        Journal(file, {})
    assert "target" in str(caught.value)
    # Each value takes 16 bytes or more.
    assert file.stat().st_size > 8 * 400


def test_other_shapes_later():
    with pytest.raises(ValueError, match=r"must return .* at .*a = "):
        run(lambda x: np.zeros(2) if far(x) else float(batch(x)), PRIOR)


def test_parameters_that_do_not_fit():
    with pytest.raises(TypeError, match=r"takes \(a, b, c\), and the parameters are \(a, b\)"):
        run(lambda a, b, c: 0.0, PRIOR)
    with pytest.raises(TargetFailed, match="IndexError: index 2 is out of bounds"):
        run(lambda x: float(x[2]), PRIOR)
    with pytest.raises(TypeError, match="must be callable; got NoneType"):
        run(None, PRIOR)
    with pytest.raises(TypeError, match="the gradient of a target must be callable"):
        run(Target(batch, gradient=3.0), PRIOR)


# --- nothing there -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"prior": PRIOR},
        {"prior": multivariate_normal([0.0, 0.0])},
        {"bounds": [(0.0, 1.0), (0.0, 1.0)]},
        {"init": INIT},
        {"prior": PRIOR, "init": INIT},
        {"prior": {"a": uniform(0, 1), "b": norm(0, 1)}, "periodic": ["a"]},
    ],
    ids=["prior", "joint", "box", "init", "prior and init", "periodic"],
)
@pytest.mark.parametrize("slopes", [False, True])
def test_minus_infinity_everywhere(options, slopes):
    target = Target(
        lambda x: np.full(x.shape[0], -np.inf),
        gradient=(lambda x: np.zeros_like(x)) if slopes else None,
        vectorized=True,
    )
    with pytest.raises(DegenerateWeights, match="it is -inf at all 6400 points") as caught:
        run(target, **options)
    assert "narrow the prior" in str(caught.value)


def test_minus_infinity_but_for_a_speck():
    with pytest.raises(DegenerateWeights, match="must be positive somewhere"):
        run(lambda x: np.where(np.abs(x - 0.3).max(axis=1) < 1e-9, 0.0, -np.inf), PRIOR)


# --- priors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prior", "error", "words"),
    [
        ({"a": norm, "b": norm(0, 1)}, TypeError, "'norm' without its parameters; freeze it"),
        ({"a": poisson(3), "b": norm(0, 1)}, TypeError, "discrete .*'poisson', which has no dens"),
        ({"a": None, "b": norm(0, 1)}, TypeError, "improper and flat priors are not supported"),
        ({"a": lambda: 0.0, "b": 1.0}, TypeError, "came function, which is not one"),
        ({"a": norm(0, -1), "b": norm(0, 1)}, ValueError, "correct its arguments"),
        ({"a": norm(0, 1), "b": "c"}, TypeError, "came 'c', which is none of a"),
        ({"a": 1.0, "b": 2.0}, ValueError, "fixes every parameter"),
        ({}, ValueError, "at least one parameter"),
        ([], ValueError, "at least one parameter"),
        (norm, TypeError, "freeze the distribution"),
        (stats.multivariate_normal, TypeError, "freeze|cannot use"),
        (poisson(3), TypeError, "discrete|density|cannot use"),
        (lambda n: n, TypeError, "cannot use <function .* as a distribution"),
        (3.0, TypeError, "cannot use 3.0 as a distribution"),
        ("flat", TypeError, "cannot use 'flat' as a distribution"),
    ],
)
def test_priors_without_a_density(prior, error, words):
    with pytest.raises(error, match=words):
        run(batch, prior)


def test_neither_prior_nor_bounds_nor_draws():
    with pytest.raises(TypeError, match=r"needs a prior .* bounds or first draws .* got none"):
        run(batch)


def test_prior_and_bounds():
    with pytest.raises(ValueError, match=r"prior and bounds were both given; .*leave bounds"):
        run(batch, PRIOR, bounds=[(0, 1), (0, 1)])


@pytest.mark.parametrize(
    ("prior", "names"),
    [
        (PRIOR, ["b", "a"]),
        (list(PRIOR.values()), ["a"]),
        (list(PRIOR.values()), ["a", "a"]),
        (multivariate_normal([0.0, 0.0]), ["a", "b", "c"]),
        (multivariate_normal([0.0, 0.0]), ["a", 3]),
        (multivariate_normal([0.0, 0.0]), "ab"),
    ],
)
def test_names_that_do_not_fit(prior, names):
    with pytest.raises(ValueError, match="names must be"):
        run(batch, prior, names=names)


def test_names_of_bounds():
    with pytest.raises(ValueError, match="names must be those of the bounds, a, b"):
        run(batch, bounds={"a": (0, 1), "b": (0, 1)}, names=["b", "a"])


# --- bounds and first draws ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "error", "words"),
    [
        ([(0, None), (0, 1)], ValueError, r"'x0' are \(0, inf\); narrow them, or give init"),
        ([(-math.inf, 1), (0, 1)], ValueError, "bounds must be finite"),
        ([(1, 0), (0, 1)], ValueError, r"low < high; got \(1, 0\)"),
        ([(1, 1), (0, 1)], ValueError, "low < high"),
        ([(math.nan, 1), (0, 1)], ValueError, "low < high"),
        ([(0, 1, 2), (0, 1)], ValueError, r"pair of numbers .*; got \(0, 1, 2\)"),
        ([("low", "high"), (0, 1)], ValueError, "pair of numbers"),
        ([3.0, 4.0], ValueError, "pair of numbers"),
        (3.0, TypeError, "bounds must be pairs .*; got 3.0"),
        ("01", TypeError, "bounds must be pairs"),
        ([], ValueError, "at least one|no parameter|empty"),
    ],
)
def test_bounds_that_are_none(bounds, error, words):
    with pytest.raises(error, match=words):
        run(batch, bounds=bounds)


@pytest.mark.parametrize(
    ("init", "error", "words"),
    [
        (INIT[:5], ValueError, "at least 10 draws, .*; got 5"),
        (INIT[:, 0], ValueError, r"shape \(m, d\); got shape \(30,\)"),
        (INIT[:, :, None], ValueError, r"got shape \(30, 2, 1\)"),
        (np.where(INIT > 1.0, np.nan, INIT), ValueError, r"must be finite; init\[\d+\] is"),
        (INIT + 0j, TypeError, "real numbers .*; got complex128"),
        ("draws", TypeError, "real numbers"),
        (INIT.astype(object), TypeError, "real numbers .*; got object"),
        (3.0, ValueError, r"got shape \(\)"),
        (np.tile([[1.1, 0.9]], (20, 1)), ValueError, "column 0 is 1.1 in all 20 draws; give"),
        (np.where([True, False], INIT, 0.5), ValueError, "column 1 is 0.5 in all 30 draws"),
    ],
)
def test_first_draws_that_are_none(init, error, words):
    with pytest.raises(error, match=words):
        run(batch, init=init)


def test_bounds_that_exclude_first_draws():
    init = np.abs(INIT)
    init[3, 0] = -0.536953
    with pytest.raises(ValueError, match=r"init\[3\] has x0 = -0.536953, outside of \(0, 9\)"):
        run(batch, init=init, bounds=[(0, 9), (0, 9)])
    # The bound itself is outside: the density is integrated over open intervals.
    with pytest.raises(ValueError, match="strictly inside"):
        run(batch, init=np.maximum(INIT, 0.0), bounds=[(0, None), (None, None)])


def test_a_prior_that_excludes_first_draws():
    with pytest.raises(ValueError, match=r"init\[\d+\] is a = .*, where the prior density is"):
        run(batch, {"a": uniform(0, 1), "b": norm(0, 1)}, init=INIT)


def test_first_draws_of_another_dimension():
    with pytest.raises(ValueError, match=r"shape \(m, 2\); got shape \(30, 3\)"):
        run(batch, PRIOR, init=np.column_stack([INIT, INIT[:, 0]]))
    with pytest.raises(ValueError, match="init has 2 parameters and bounds 3"):
        run(batch, init=INIT, bounds=[(-9, 9)] * 3)
    with pytest.raises(ValueError, match="init has no draws of b; it has a"):
        run(batch, PRIOR, init={"a": INIT[:, 0]})
    with pytest.raises(ValueError, match=r"init must be draws of shape \(m, 3\)"):
        run(batch, init=INIT, names=["a", "b", "c"])


def test_first_draws_of_what_is_no_parameter():
    more = {"a": INIT[:, 0], "b": INIT[:, 1], "zz": INIT[:, 0]}
    with pytest.raises(ValueError, match=r"init has draws of zz, which is no parameter; .* a, b"):
        run(batch, PRIOR, init=more)
    with pytest.raises(ValueError, match="init has draws of zz"):
        run(batch, init=more, bounds={"a": (-9, 9), "b": (-9, 9)})


def test_first_draws_with_a_joint_prior():
    with pytest.raises(ValueError, match="with a joint prior leave init out"):
        run(batch, multivariate_normal([0.0, 0.0]), init=INIT)


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"ess": -3}, ValueError, "ess must be positive; got -3"),
        ({"ess": 0}, ValueError, "ess must be positive"),
        ({"ess": math.nan}, ValueError, "ess must be positive"),
        ({"ess": "many"}, TypeError, "ess must be a positive number; got 'many'"),
        ({"ess": True}, TypeError, "ess must be a positive number"),
        ({"evidence_error": 0.0}, ValueError, "evidence_error must be positive"),
        ({"evidence_error": None}, TypeError, "evidence_error must be a positive number"),
        ({"max_evaluations": 0}, ValueError, "max_evaluations must be at least 1; got 0"),
        ({"max_evaluations": 1e4}, TypeError, "max_evaluations must be an int"),
        ({"max_seconds": 0}, ValueError, "max_seconds must be positive"),
        ({"max_seconds": "an hour"}, TypeError, "max_seconds must be a positive number"),
        ({"seed": -1}, ValueError, "seed must be nonnegative"),
        ({"seed": 1.5}, TypeError, "seed must be an int"),
        ({"seed": None}, TypeError, "seed must be an int"),
        ({"n": 9}, ValueError, "at least 10 points to learn from; got n = 9; leave n out"),
        ({"n": 0}, ValueError, "n must be at least 1"),
        ({"n": 100.0}, TypeError, "n must be an int"),
        ({"workers": 0}, ValueError, "workers must be at least 1"),
        ({"workers": "all"}, TypeError, "workers must be an int"),
        ({"vectorized": "yes"}, TypeError, "vectorized must be True"),
        ({"path": 0.3}, ValueError, "path must be a level of aisle_smc.tempering"),
        ({"path": Temperature(0.5)}, ValueError, "that leaves the base as it is"),
        ({"path": Threshold(0.0)}, ValueError, "that leaves the base as it is"),
        ({"periodic": ["c"]}, ValueError, "periodic parameter must be one of the free ones, a, b"),
        ({"periodic": "b"}, ValueError, "must have a bounded support"),
        ({"periodic": ["a"], "init": INIT}, ValueError, "periodic parameters need .* no init"),
    ],
)
def test_numbers_that_mean_nothing(options, error, words):
    with pytest.raises(error, match=words):
        run(batch, PRIOR, **options)


@pytest.mark.parametrize("ess", [-1.0, math.nan, "all"])
def test_aims_of_refine_are_checked_too(ess):
    result = run(batch, PRIOR)
    with pytest.raises((TypeError, ValueError), match="ess must be"):
        result.refine(ess=ess)
    with pytest.raises(ValueError, match="max_evaluations must be at least 1"):
        result.refine(max_evaluations=0)


def test_misspelt_arguments_are_refused():
    with pytest.raises(TypeError, match="unexpected keyword argument 'max_evaluation'"):
        run(batch, PRIOR, max_evaluation=100)
