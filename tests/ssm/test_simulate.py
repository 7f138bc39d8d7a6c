from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest

from aisle_smc.ssm import PythonModel, StateSpaceModel, VectorModel, simulate
from tests.ssm.dialects import TREND, VOLATILITY, numpy_volatility, trend, volatility


class Step(NamedTuple):
    step: float


class Back(NamedTuple):
    """The state that remembers."""

    x: float
    seen: float


def walk(kind=StateSpaceModel, **changes):
    vector = kind is VectorModel
    functions = {
        "params": Step,
        "initial": (lambda n: np.zeros(n)) if vector else (lambda: 0.0),
        "transition": lambda x, p: x + p.step,
        "log_observation": lambda y, x: -((y - x) ** 2),
        "observe": lambda x: 10.0 * x,
    }
    return kind(**{**functions, **changes})


@pytest.mark.parametrize("n", [1, 3])
def test_shapes(n):
    lead = () if n == 1 else (n,)
    one = simulate(volatility, VOLATILITY, 5, n=n)
    assert one.states.shape == one.observations.shape == (*lead, 5)
    two = simulate(trend(StateSpaceModel), TREND, 5, n=n)
    assert two.states.shape == two.observations.shape == (*lead, 5, 2)
    assert repr(one) == f"Simulation: states {(*lead, 5)}, observations {(*lead, 5)}"


def test_the_seed_is_everything():
    one, same, other = (simulate(volatility, VOLATILITY, 9, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.observations, same.observations)
    assert not np.array_equal(one.observations, other.observations)


@pytest.mark.parametrize("model", [volatility, numpy_volatility])
def test_moments_are_those_of_the_stationary_model(model):
    n = 20_000
    drawn = simulate(model, VOLATILITY, 3, n=n, seed=5)
    p = VOLATILITY
    variance = p.sigma**2 / (1 - p.rho**2)
    x = drawn.states - p.mu
    for sample, truth in (
        (x[:, 2], 0.0),
        (x[:, 2] ** 2, variance),
        (x[:, 0] * x[:, 2], variance * p.rho**2),
        (drawn.observations[:, 2] ** 2, math.exp(p.mu + variance / 2)),
    ):
        z = (sample.mean() - truth) / (sample.std() / math.sqrt(n))
        assert abs(z) < 4
    # The negative twin: a lag of one in place of two is 20 standard errors away.
    lag = x[:, 0] * x[:, 2]
    assert abs(lag.mean() - variance * p.rho) / (lag.std() / math.sqrt(n)) > 4


def test_time_zero_is_the_initial_state():
    drawn = simulate(walk(), (2.0,), 4)
    np.testing.assert_array_equal(drawn.states, [0.0, 2.0, 4.0, 6.0])
    np.testing.assert_array_equal(drawn.observations, [0.0, 20.0, 40.0, 60.0])


@pytest.mark.parametrize("kind", [StateSpaceModel, PythonModel, VectorModel])
@pytest.mark.parametrize("n", [1, 3])
def test_a_transition_sees_its_own_series_last_observation(kind, n):
    def observe(rng, x):
        return x + rng.normal(0.0, 1.0, len(x))

    model = walk(
        kind,
        transition=(lambda x, y_prev: 0.0 * x + y_prev)
        if kind is VectorModel
        else (lambda y_prev: y_prev),
        observe=observe if kind is VectorModel else (lambda rng, x: x + rng.normal()),
    )
    drawn = simulate(model, (0.0,), 6, n=n, seed=3)
    states, observations = (a.reshape(n, 6) for a in (drawn.states, drawn.observations))
    np.testing.assert_array_equal(states[:, 1:], observations[:, :-1])
    assert np.unique(observations).size == 6 * n


def test_series_drawn_one_by_one_do_not_depend_on_their_number():
    model = walk(transition=lambda rng, y_prev: rng.normal(y_prev), observe=lambda x: x)
    few, many = (simulate(model, (0.0,), 6, n=n, seed=3).states for n in (2, 5))
    np.testing.assert_array_equal(few, many[:2])


@pytest.mark.parametrize("looks_back", [False, True])
def test_observe_is_given_what_came_before(looks_back):
    # The observation counts up by itself and by the step between two states.
    def observe(y_prev, x, x_prev, t):
        return 1.0 if t == 0 else y_prev + 100.0 * (x - x_prev)

    def transition(x, p, y_prev):
        return x + p.step + 0.0 * y_prev

    model = walk(observe=observe, **({"transition": transition} if looks_back else {}))
    drawn = simulate(model, (0.5,), 4, n=2)
    np.testing.assert_array_equal(drawn.observations, [[1.0, 51.0, 101.0, 151.0]] * 2)


def test_named_components_look_back_too():
    class Pair(NamedTuple):
        a: float
        b: float

    model = StateSpaceModel(
        params=Step,
        state=Back,
        observation=Pair,
        initial=lambda: Back(1.0, -1.0),
        transition=lambda x, y_prev: Back(x.x + 1.0, y_prev.b),
        log_observation=lambda y: 0.0,
        observe=lambda x: Pair(x.x, 7.0 * x.x),
    )
    drawn = simulate(model, (0.0,), 3)
    np.testing.assert_array_equal(drawn.states, [[1, -1], [2, 7], [3, 14]])
    np.testing.assert_array_equal(drawn.observations, [[1, 7], [2, 14], [3, 21]])


def test_covariates_give_the_length():
    model = walk(covariates=float, transition=lambda x, u: x + u)
    drawn = simulate(model, (0.0,), u=[9.0, 1.0, 2.0])
    np.testing.assert_array_equal(drawn.states, [0.0, 1.0, 3.0])


def test_no_observe_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="simulate needs the model function observe"):
        simulate(walk(observe=None), (0.0,), 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "needs T"),
        ({"T": 0}, "T must be at least 1"),
        ({"T": 3, "n": 0}, "n must be at least 1"),
        ({"T": 3, "u": [1.0, 2.0, 3.0]}, "declares none"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(ValueError, match=words):
        simulate(walk(), (0.0,), **arguments)
