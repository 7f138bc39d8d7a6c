from __future__ import annotations

import math
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from scipy.stats import norm

from aisle_smc.ssm import (
    PythonModel,
    StateSpaceModel,
    VectorModel,
    forecast,
    particle_filter,
    pmmh,
)
from aisle_smc.ssm.math import normal_logpdf


class Walk(NamedTuple):
    step_sd: float
    noise: float


class Step(NamedTuple):
    step: float
    unused: float


WALK = Walk(0.7, 1.3)
Y = np.array([0.0, 1.0, np.nan, 2.0, 1.5])


# Functions made once are compiled once.
WALKING = {
    "params": Walk,
    "initial": lambda rng: rng.normal(0.0, 1.0),
    "transition": lambda rng, x, p: rng.normal(x, p.step_sd),
    "log_observation": lambda y, x, p: normal_logpdf(y, x, p.noise),
    "observe": lambda rng, x, p: rng.normal(x, p.noise),
}


def random_walk(**changes):
    return StateSpaceModel(**{**WALKING, **changes})


def counter(kind=StateSpaceModel, **changes):
    """Everything known: the state goes up by the parameter."""
    vector = kind is VectorModel
    functions = {
        "params": Step,
        "prior": {"unused": 5.0, "step": norm(0.0, 10.0)},
        "initial": (lambda n: np.zeros(n)) if vector else (lambda: 0.0),
        "transition": lambda x, p: x + p.step,
        "log_observation": lambda y, x: 0.0 * x,
        "observe": lambda x: 10.0 * x,
    }
    return kind(**{**functions, **changes})


def filtered():
    """The exact filtering moments at the last time, by the Kalman recursion."""
    mean, variance = 0.0, 1.0
    for t, y in enumerate(Y):
        variance += WALK.step_sd**2 if t else 0.0
        if not math.isnan(y):
            gain = variance / (variance + WALK.noise**2)
            mean, variance = mean + gain * (y - mean), variance * (1 - gain)
    return mean, variance


def test_forecast_from_a_filter_is_exact():
    # 40 independent filters of 500 particles with 500 draws each.
    h, runs, model = 4, 40, random_walk()
    means, squares, seen = (np.empty((runs, h)) for _ in range(3))
    mean, variance = filtered()
    for i in range(runs):
        result = particle_filter(model, WALK, Y, 500, seed=i)
        ahead = forecast(result, h, seed=i, draws=500)
        means[i] = ahead.states.mean(axis=0)
        squares[i] = ((ahead.states - mean) ** 2).mean(axis=0)
        seen[i] = ((ahead.observations - mean) ** 2).mean(axis=0)
    spread = variance + WALK.step_sd**2 * np.arange(1, h + 1)
    for sample, truth in ((means, mean), (squares, spread), (seen, spread + WALK.noise**2)):
        z = (sample.mean(axis=0) - truth) / (sample.std(axis=0) / math.sqrt(runs))
        assert np.abs(z).max() < 4
    # The negative twin: the variance of one step fewer is out of the question.
    late = spread - WALK.step_sd**2
    z = (squares.mean(axis=0) - late) / (squares.std(axis=0) / math.sqrt(runs))
    assert np.abs(z).min() > 4


def test_the_seed_is_everything():
    result = particle_filter(random_walk(), WALK, Y, 100)
    one, same, other = (forecast(result, 3, seed=s).observations for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("kind", [StateSpaceModel, PythonModel, VectorModel])
def test_time_and_covariates_go_on(kind):
    model = counter(
        kind, covariates=float, transition=lambda x, u, t: 0.0 * x + 100.0 * t + u, prior=None
    )
    result = particle_filter(model, (0.0, 0.0), np.zeros(3), 10, u=[0.0, 0.0, 0.0])
    ahead = forecast(result, 2, u=[0.5, 0.25], draws=4)
    np.testing.assert_array_equal(ahead.states, [[300.5, 400.25]] * 4)
    assert ahead.first == 3


@pytest.mark.parametrize("kind", [StateSpaceModel, PythonModel, VectorModel])
def test_the_last_observation_is_seen(kind):
    model = counter(
        kind, transition=lambda x, y_prev: 0.0 * x + y_prev, observe=lambda x: x + 1.0, prior=None
    )
    result = particle_filter(model, (0.0, 0.0), np.array([0.0, 4.0]), 10)
    ahead = forecast(result, 3, draws=2)
    np.testing.assert_array_equal(ahead.states, [[4.0, 5.0, 6.0]] * 2)


def test_observe_sees_the_observation_before():
    model = counter(observe=lambda y_prev, x, x_prev: y_prev + 100.0 * (x - x_prev), prior=None)
    result = particle_filter(model, (1.0, 0.0), np.array([0.0, 4.0]), 10)
    ahead = forecast(result, 2, draws=2)
    np.testing.assert_array_equal(ahead.observations, [[104.0, 204.0]] * 2)


def posterior(model, steps, last):
    """A stand-in with what a forecast reads from a posterior: chains, draws, times."""
    steps, last = np.asarray(steps, dtype=float), np.asarray(last, dtype=np.float32)
    states = np.zeros((*last.shape, 3), dtype=np.float32)
    states[..., -1] = last
    return SimpleNamespace(
        model=model,
        y=np.zeros(3),
        u=None,
        names=("step",),
        parameters=steps[..., None],
        states=states,
    )


@pytest.mark.parametrize("kind", [StateSpaceModel, PythonModel, VectorModel])
def test_each_draw_of_a_posterior_keeps_its_parameters_and_state(kind):
    source = posterior(counter(kind), [[1.0, 2.0], [3.0, 4.0]], [[10, 20], [30, 40]])
    ahead = forecast(source, 2)
    np.testing.assert_array_equal(ahead.states, [[11, 12], [22, 24], [33, 36], [44, 48]])
    np.testing.assert_array_equal(ahead.observations, 10.0 * ahead.states)
    assert ahead.states.dtype == np.float64


def test_a_posterior_is_thinned_evenly():
    steps = np.zeros((2, 50))
    source = posterior(counter(), steps, np.arange(100).reshape(2, 50))
    ahead = forecast(source, 1, draws=10)
    np.testing.assert_array_equal(ahead.states[:, 0], np.arange(0, 100, 10))


def test_forecast_from_pmmh():
    model = random_walk(prior={"step_sd": norm(0.7, 0.01), "noise": 1.3})
    fit = pmmh(model, Y, 50, draws=60, tune=20, chains=2, workers=1, progress=False)
    ahead = fit.forecast(3)
    assert ahead.states.shape == ahead.observations.shape == (120, 3)
    mean, variance = filtered()
    sd = math.sqrt(variance + 3 * WALK.step_sd**2)
    assert abs(ahead.states[:, 2].mean() - mean) < 4 * sd / math.sqrt(30)


def test_quantiles():
    result = particle_filter(random_walk(), WALK, Y, 200)
    ahead = forecast(result, 3, draws=400)
    bands = ahead.quantiles([0.1, 0.5, 0.9])
    assert bands.states.shape == bands.observations.shape == (3, 3)
    assert (np.diff(bands.observations, axis=0) > 0).all()
    # Observations spread more than states.
    assert (np.ptp(bands.observations, axis=0) > np.ptp(bands.states, axis=0)).all()
    with pytest.raises(ValueError, match="levels between 0 and 1"):
        ahead.quantiles([5.0])


def test_named_components_and_their_dataset():
    pytest.importorskip("xarray")

    class State(NamedTuple):
        level: float
        y: float

    model = counter(
        state=State,
        prior=None,
        initial=lambda: State(0.0, 1.0),
        transition=lambda x: State(x.level + 1.0, x.y),
        log_observation=lambda y: 0.0,
        observe=lambda x: x.level,
    )
    result = particle_filter(model, (0.0, 0.0), np.zeros(4), 10)
    ahead = forecast(result, 2, draws=5)
    assert ahead.states.shape == (5, 2, 2)
    assert ahead.quantiles(0.5).states.shape == (1, 2, 2)
    data = ahead.to_xarray()
    assert set(data) == {"level", "y", "y_"}
    np.testing.assert_array_equal(data["time"], [4, 5])
    np.testing.assert_array_equal(data["level"][0], [4.0, 5.0])
    assert repr(ahead) == "Forecast: 5 draws, 2 steps from t = 4"


@pytest.mark.parametrize(
    ("changes", "arguments", "words"),
    [
        ({"observe": None}, {"h": 2}, "forecast needs the model function observe"),
        ({}, {"h": 0}, "h must be at least 1"),
        ({}, {"h": 2, "draws": 0}, "draws must be at least 1"),
        ({}, {"h": 2, "u": [1.0, 2.0]}, "declares none"),
        ({"covariates": float}, {"h": 2}, "forecast of 2 steps needs the covariates u .* 2 rows"),
        ({"covariates": float}, {"h": 2, "u": [1.0]}, "u must have 2 rows"),
    ],
)
def test_bad_input(changes, arguments, words):
    model = random_walk(**changes)
    u = np.zeros(5) if "covariates" in changes else None
    result = particle_filter(model, WALK, Y, 10, u=u)
    with pytest.raises(ValueError, match=words):
        forecast(result, **arguments)
