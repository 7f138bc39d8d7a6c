"""Whatever goes wrong while points are evaluated names the first point at fault."""

from __future__ import annotations

import math
import pickle

import numba
import numpy as np
import pytest

from aisle_smc.errors import AisleError, BadDensity, TargetFailed
from aisle_smc.targets import evaluator
from aisle_smc.targets.faults import Fault, first_failing

NAMES = ("a", "b")
PROBE = np.random.default_rng(1).normal(size=(6, 2))
THETA = np.random.default_rng(2).normal(size=(900, 2))
# Far out: 20 raises, 30 is not a number, 40 is infinite.
BAD = {20.0: TargetFailed, 30.0: BadDensity, 40.0: BadDensity}


@numba.njit
def compiled(x):
    if x[0] == 20.0:
        raise ValueError("too far")
    return -(x[0] ** 2) + (math.nan if x[0] == 30.0 else 0.0) + (np.inf if x[0] == 40.0 else 0.0)


def row(x):
    if x[0] == 20.0:
        raise ValueError("too far")
    return {30.0: math.nan, 40.0: math.inf}.get(x[0], -float(x[0] ** 2))


def vectorised(x):
    a = x[:, 0]
    if (a == 20.0).any():
        raise ValueError("too far")
    out = -(a**2)
    out[a == 30.0] = np.nan
    out[a == 40.0] = np.inf
    return out


def by_name(a, b):
    return row([a, b])


@pytest.mark.parametrize("function", [compiled, row, vectorised, by_name])
@pytest.mark.parametrize("far", [20.0, 30.0, 40.0])
@pytest.mark.parametrize("at", [0, 299, 899])
def test_the_first_point_at_fault_is_named(function, far, at):
    theta = THETA.copy()
    theta[at:, 0] = far  # and all the others
    with (
        evaluator(function, NAMES, PROBE) as evaluate,
        pytest.raises(BAD[far]) as caught,
    ):
        evaluate(theta)
    text = str(caught.value)
    assert f"a = {far}, b = {theta[at, 1].item()!r}" in text
    assert caught.value.point == {"a": far, "b": theta[at, 1]}
    assert "test_faults.py" in text
    if far == 20.0:
        assert "ValueError: too far" in text
        assert isinstance(caught.value.__cause__, ValueError)
    else:
        assert str(caught.value.value) == {30.0: "nan", 40.0: "inf"}[far]


def test_minus_infinity_is_no_fault():
    with evaluator(lambda x: -np.inf if x[0] > 0 else 0.0, NAMES, PROBE) as evaluate:
        found = evaluate(THETA)
    np.testing.assert_array_equal(found.log_density == -np.inf, THETA[:, 0] > 0)


def test_minus_infinity_everywhere_is_no_fault_of_the_evaluator():
    with evaluator(lambda x: -np.inf, NAMES, PROBE) as evaluate:
        assert (evaluate(THETA).log_density == -np.inf).all()


@pytest.mark.parametrize(
    ("later", "error", "words"),
    [
        (lambda x: None, TypeError, "one real number as log-density; it returned nothing, at a"),
        (lambda x: x, ValueError, r"ndarray of float64, shape \(2,\), at a = 20.0"),
        (lambda x: 1j, TypeError, "one real number as log-density; it returned complex 1j, at a"),
    ],
)
def test_a_return_that_changes_is_refused(later, error, words):
    theta = THETA.copy()
    theta[99, 0] = 20.0
    with (
        evaluator(lambda x: later(x) if x[0] > 10 else -x @ x, NAMES, PROBE) as evaluate,
        pytest.raises(error, match=words),
    ):
        evaluate(theta)


def test_a_batch_of_another_shape_is_refused():
    def f(x):
        return -np.sum(x[: -1 if x[0, 0] == 20.0 else None] ** 2, axis=1)

    theta = THETA.copy()
    theta[512, 0] = 20.0
    with (
        evaluator(f, NAMES, PROBE) as evaluate,
        pytest.raises(ValueError, match=r"\(256,\), one for .* the first of them a = 20.0, "),
    ):
        evaluate(theta)


def test_points_that_fail_only_together_are_said_to():
    def f(x):
        if len(x) > 100:
            raise MemoryError("too many")
        return -np.sum(x**2, axis=1)

    with (
        evaluator(f, NAMES, PROBE) as evaluate,
        pytest.raises(TargetFailed, match=r"failed at 256 points handed over together, the first"),
    ):
        evaluate(THETA)


@pytest.mark.parametrize("n", [1, 2, 3, 17, 256])
def test_bisection_finds_the_first(n):
    theta = np.arange(float(n))[:, None]
    for bad in range(n):
        calls = []

        def call(rows, bad=bad, calls=calls):
            calls.append(len(rows))
            if (rows >= bad).any():
                raise KeyError(int(rows.max()))

        fault = first_failing(call, theta, KeyError("all"))
        assert (fault.row, fault.rows, fault.known) == (bad, 1, 0)
        assert len(calls) <= math.ceil(math.log2(n)) + 1


def test_interrupts_are_left_alone():
    def f(x):
        if x[0] == 20.0:
            raise KeyboardInterrupt
        return -x @ x

    theta = THETA.copy()
    theta[5, 0] = 20.0
    with evaluator(f, NAMES, PROBE) as evaluate, pytest.raises(KeyboardInterrupt):
        evaluate(theta)


class Stubborn(Exception):
    """An exception that cannot be unpickled."""

    def __init__(self, one, two):
        super().__init__(one)


def test_faults_travel_even_when_their_exception_cannot():
    fault = Fault(row=3, known=3, error=Stubborn("why", 2), raised=True).portable()
    came = pickle.loads(pickle.dumps(fault)).moved(10)
    assert (came.row, came.known) == (13, 13)
    assert "Stubborn: why" in str(came.report(np.zeros((20, 2)), NAMES, [row]))


@pytest.mark.parametrize(
    "error",
    [
        BadDensity("bad", point={"a": 1.0}, value=math.inf),
        TargetFailed("failed", point={"a": 1.0}),
    ],
)
def test_errors_pickle(error):
    came = pickle.loads(pickle.dumps(error))
    assert isinstance(came, AisleError)
    assert str(came) == str(error)
    assert came.point == error.point
    assert vars(came) == vars(error)
