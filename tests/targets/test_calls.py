from __future__ import annotations

import functools

import numpy as np
import pytest

from aisle_smc.targets import evaluator
from aisle_smc.targets.calls import calls, show_point, where

NAMES = ("mu", "sigma", "nu")
THETA = np.array([1.0, 2.0, 3.0])


def arguments(*args, **named):
    return args, named


def first(function, names=NAMES):
    return calls(function, names)[0]


def test_names_in_any_order_are_columns():
    def f(nu, mu, sigma):
        return nu, mu, sigma

    assert first(f).row(THETA) == (3.0, 1.0, 2.0)
    assert type(first(f).row(THETA)[0]) is float


def test_columns_of_a_batch_are_contiguous_copies():
    theta = np.arange(12.0).reshape(4, 3)
    mu, sigma, nu = first(lambda mu, sigma, nu: (mu, sigma, nu)).batch(theta)
    assert nu.tolist() == [2.0, 5.0, 8.0, 11.0]
    assert mu.flags.c_contiguous
    sigma[:] = 0.0
    assert theta[0, 1] == 1.0


@pytest.mark.parametrize(
    ("function", "ways"),
    [
        (lambda x: x, ["vector"]),
        (lambda x, data=None: x, ["vector"]),
        (lambda *args: args, ["vector"]),
        (lambda *args, **named: args, ["vector"]),
        (lambda mu, sigma, nu: 0, ["names"]),
        (lambda mu, /, sigma, *, nu: 0, ["names"]),
        (lambda mu, data=None, sigma=1, nu=2: 0, ["names", "vector"]),
        (lambda **named: 0, ["names"]),
        (lambda mu, **named: 0, ["names", "vector"]),
        # Part of the parameters: one argument may be the vector, two cannot.
        (lambda mu: 0, ["vector", "names"]),
        (lambda mu, sigma: 0, ["names"]),
        (np.sum, ["vector"]),
        (functools.partial(lambda x, y: 0, y=1), ["vector"]),
    ],
)
def test_ways_of_calling(function, ways):
    found = calls(function, NAMES)
    assert ["vector" if way.leading is None else "names" for way in found] == ways


def test_each_argument_gets_its_parameter():
    def f(mu, /, data=7, sigma=1, *, nu=2, scale=5):
        return mu, data, sigma, nu, scale

    assert first(f).row(THETA) == (1.0, 7, 2.0, 3.0, 5)
    assert first(lambda **named: named).row(THETA) == {"mu": 1.0, "sigma": 2.0, "nu": 3.0}
    assert first(lambda sigma, **named: (sigma, named)).row(THETA) == (2, {"mu": 1, "nu": 3})


def test_the_vector_is_the_functions_own():
    def spoil(x):
        x[:] = 0.0
        return -1.0

    theta = np.ones((5, 3))
    first(spoil).row(theta[0])
    first(spoil).batch(theta)
    assert (theta == 1.0).all()


@pytest.mark.parametrize(
    "function", [lambda a, b: 0, lambda mu, other: 0, lambda mu, sigma, nu, extra: 0, lambda: 0]
)
def test_arguments_that_fit_nothing_are_listed_with_the_parameters(function):
    with pytest.raises(
        TypeError, match=r"it takes \(.*\), and the parameters are \(mu, sigma, nu"
    ):
        calls(function, NAMES)


def test_one_parameter_is_a_number_or_a_vector():
    probe = np.array([[0.5], [1.5], [2.5]])
    for function in (lambda x: -x, lambda x: -x[0], lambda t: -t, lambda t: -t[0]):
        with evaluator(function, ["x"], probe) as evaluate:
            assert evaluate([[3.0], [4.0]]).log_density.tolist() == [-3.0, -4.0]


def test_part_of_the_parameters_by_name_is_found():
    probe = np.array([[0.5, 1.0], [1.5, 2.0], [2.5, 3.0]])
    with evaluator(lambda sigma: -2 * sigma, ["mu", "sigma"], probe) as evaluate:
        assert evaluate([[3.0, 1.0], [4.0, 2.0]]).log_density.tolist() == [-2.0, -4.0]


def test_a_function_has_a_name_and_a_place():
    assert where(first).startswith("first (")
    assert "test_calls.py" in where(functools.partial(first, names=NAMES))
    assert where(np.sum).startswith("sum")


def test_a_long_point_is_cut():
    shown = show_point([f"x{j}" for j in range(40)], np.arange(40.0))
    assert shown.startswith("x0 = 0.0, ")
    assert shown.endswith("... (28 more)")
