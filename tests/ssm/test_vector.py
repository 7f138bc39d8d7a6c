from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from aisle_smc.ssm import (
    Auxiliary,
    Bootstrap,
    Guided,
    PythonModel,
    StateSpaceModel,
    VectorModel,
    log_evidence,
    particle_filter,
    simulate,
)
from tests.ssm.dialects import (
    TREND,
    VOLATILITY,
    numpy_volatility,
    trend,
    trend_series,
    vector_volatility,
    volatility,
)


class Scale(NamedTuple):
    sd: float


def model(**changes):
    functions = {
        "params": Scale,
        "initial": lambda rng, n: rng.normal(size=n),
        "transition": lambda rng, x, p: rng.normal(x, p.sd),
        "log_observation": lambda y, x: -0.5 * (y - x) ** 2,
    }
    return VectorModel(**{**functions, **changes})


def torch_volatility():
    torch = pytest.importorskip("torch")
    return vector_volatility(torch, torch.as_tensor, array=torch.as_tensor)


def returns(length):
    rng = np.random.default_rng(3)
    y = rng.normal(0.0, 0.7, length)
    y[5] = np.nan
    return y


@pytest.mark.parametrize("n", [2, 50, 1500])
def test_numpy_and_compiled_volatility_agree(n):
    y = returns(40)
    compiled = log_evidence(volatility, VOLATILITY, y, n, seed=4)
    assert log_evidence(numpy_volatility, VOLATILITY, y, n, seed=4) == pytest.approx(
        compiled, abs=1e-11
    )


def test_torch_and_compiled_volatility_agree():
    y = returns(40)
    compiled = log_evidence(volatility, VOLATILITY, y, 100, seed=4)
    own = log_evidence(torch_volatility(), VOLATILITY, y, 100, seed=4)
    assert own == pytest.approx(compiled, abs=1e-11)


@pytest.mark.parametrize("proposal", [Bootstrap(), Guided(), Auxiliary(), Auxiliary(Guided())])
def test_dialects_agree_on_the_trend(proposal):
    y = trend_series()
    torch = pytest.importorskip("torch")
    compiled = log_evidence(trend(StateSpaceModel), TREND, y, 64, proposal=proposal, seed=1)
    for each in (trend(VectorModel), trend(VectorModel, array=torch.as_tensor)):
        found = log_evidence(each, TREND, y, 64, proposal=proposal, seed=1)
        assert found == pytest.approx(compiled, abs=1e-11)


def test_another_model_is_told_apart():
    # The negative twin: one changed coefficient moves the evidence far beyond rounding.
    y = trend_series()
    own = log_evidence(trend(VectorModel), TREND, y, 64, seed=1)
    other = log_evidence(trend(VectorModel), TREND._replace(noise=0.8001), y, 64, seed=1)
    assert abs(own - other) > 1e-6


def test_log_transition_of_all_pairs_agrees():
    y = trend_series()
    rng = np.random.default_rng(0)
    x_prev, x = rng.normal(size=(7, 2)), rng.normal(size=(5, 2))
    torch = pytest.importorskip("torch")
    expected = None
    for each in (
        trend(StateSpaceModel),
        trend(VectorModel),
        trend(PythonModel, chunk=2),
        trend(VectorModel, array=torch.as_tensor),
    ):
        bound = each.bind(TREND, y, np.zeros(len(y)))
        log_p = bound.log_transition(4, x_prev, x)
        assert log_p.shape == (5, 7)
        expected = log_p if expected is None else expected
        np.testing.assert_allclose(log_p, expected, rtol=0, atol=1e-12)


def test_simulations_agree():
    one = simulate(volatility, VOLATILITY, 20, n=5, seed=2)
    other = simulate(numpy_volatility, VOLATILITY, 20, n=5, seed=2)
    np.testing.assert_allclose(one.states, other.states, rtol=0, atol=1e-12)
    np.testing.assert_allclose(one.observations, other.observations, rtol=1e-12)


def test_tensors_that_need_a_gradient_are_read():
    torch = pytest.importorskip("torch")
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    learning = model(
        log_observation=lambda y, x: -0.5 * weight * (y - x) ** 2, array=torch.as_tensor
    )
    plain = model()
    y = np.array([0.1, 0.2])
    assert log_evidence(learning, (1.0,), y, 10) == log_evidence(plain, (1.0,), y, 10)


def test_array_states_and_array_parameters():
    class Matrix(NamedTuple):
        a: np.ndarray

    rotate = VectorModel(
        params=Matrix,
        state=2,
        observation=2,
        initial=lambda rng, n: rng.normal(size=(n, 2)),
        transition=lambda rng, x, p: x @ p.a.T + 0.1 * rng.normal(size=x.shape),
        log_observation=lambda y, x: -0.5 * ((y - x) ** 2).sum(axis=1),
    )
    turn = [[0.0, -1.0], [1.0, 0.0]]
    result = particle_filter(rotate, {"a": turn}, np.zeros((4, 2)), 50)
    assert result.mean.shape == (4, 2)
    assert np.isfinite(result.log_evidence)


def test_a_component_may_be_one_number_for_all():
    class State(NamedTuple):
        level: float
        age: float

    counting = model(
        state=State,
        initial=lambda rng, n: State(rng.normal(size=n), 0.0),
        transition=lambda rng, x, t: State(rng.normal(x.level), float(t)),
        log_observation=lambda y, x: -0.5 * (y - x.level) ** 2,
    )
    result = particle_filter(counting, (1.0,), np.zeros(4), 20)
    np.testing.assert_allclose(result.mean[:, 1], [0.0, 1.0, 2.0, 3.0], rtol=1e-14)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"initial": lambda rng: 0.0}, r"initial .* must return shape \(9,\).*it returned shape"),
        ({"transition": lambda x: x[:, None]}, r"transition .* returned shape \(9, 1\)"),
        ({"log_observation": lambda y, x: 0.0}, r"log_observation .* returned shape \(\)"),
    ],
)
def test_wrong_shapes_are_named(changes, words):
    with pytest.raises(ValueError, match=words):
        log_evidence(model(**changes), (1.0,), np.zeros(3), 9)


def test_wrong_number_of_components_is_named():
    class State(NamedTuple):
        a: float
        b: float

    wrong = model(state=State, initial=lambda rng, n: rng.normal(size=n))
    with pytest.raises(TypeError, match="must return a State of 2 arrays; it returned ndarray"):
        log_evidence(wrong, (1.0,), np.zeros(3), 9)


def test_wrong_number_of_log_densities_is_named():
    wrong = model(observation=2, log_observation=lambda y, x: (-(x**2),) * 3)
    with pytest.raises(TypeError, match="returned 3 log-densities for an observation of 2"):
        log_evidence(wrong, (1.0,), np.zeros((3, 2)), 9)


def test_an_exception_says_where_it_happened():
    def transition(rng, x, t):
        if t == 2:
            raise KeyError("table")
        return x

    with pytest.raises(KeyError) as caught:
        log_evidence(model(transition=transition), (1.0,), np.zeros(4), 9)
    assert "transition transition" in caught.value.__notes__[0]
    assert "at time 2, for 9 particles" in caught.value.__notes__[0]


def test_out_belongs_to_other_dialects():
    with pytest.raises(TypeError, match="unknown argument 'out'"):
        model(transition=lambda rng, x, out: None)


def test_names_of_models_are_kept():
    assert model().parameter_names == ("sd",)
    assert set(trend(VectorModel).functions()) >= {"proposal", "log_lookahead", "observe"}
