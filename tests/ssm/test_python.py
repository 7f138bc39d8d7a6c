from __future__ import annotations

import math
import pickle
import subprocess
import sys
import textwrap
from typing import NamedTuple

import numpy as np
import pytest

from aisle_smc import AisleError, stream
from aisle_smc.ssm import (
    Auxiliary,
    Bootstrap,
    EvidenceFilter,
    Guided,
    PythonModel,
    StateSpaceModel,
    log_evidence,
    simulate,
)
from aisle_smc.ssm.interpreter import Failure
from tests.ssm.dialects import (
    TREND,
    VOLATILITY,
    python_volatility,
    trend,
    trend_series,
    volatility,
)


class Scale(NamedTuple):
    sd: float


def model(**changes):
    functions = {
        "params": Scale,
        "initial": lambda rng: rng.normal(),
        "transition": lambda rng, x, p: rng.normal(x, p.sd),
        "log_observation": lambda y, x: -0.5 * (y - x) ** 2,
    }
    return PythonModel(**{**functions, **changes})


def estimates(each, params, y, n, proposal, runs):
    """Log-evidences of independent runs."""
    run = EvidenceFilter(each, y, n, proposal=proposal)
    p = each.parameters(params)
    return np.array([run(p, stream(11, i)) for i in range(runs)])


def z_of_ratio(one, other):
    """How far apart the means of two samples of evidences are, in standard errors."""
    centre = other.mean()
    a, b = np.exp(one - centre), np.exp(other - centre)
    return (a.mean() - b.mean()) / math.sqrt(a.var() / a.size + b.var() / b.size)


@pytest.mark.parametrize("proposal", [Bootstrap(), Guided(), Auxiliary(Guided())])
def test_evidence_is_that_of_the_compiled_model(proposal):
    # 80 and 3000 runs of 40 particles over 5 times: the standard deviation of an evidence is
    # less than its size, so the test has power against a bias of 40 %.
    y = trend_series(10)[:5]
    slow = estimates(trend(PythonModel), TREND, y, 40, proposal, 80)
    fast = estimates(trend(StateSpaceModel), TREND, y, 40, proposal, 3000)
    assert abs(z_of_ratio(slow, fast)) < 4
    # The negative twin: an observation noise that is twice too large is noticed.
    wrong = estimates(trend(PythonModel), TREND._replace(noise=1.6), y, 40, proposal, 80)
    assert abs(z_of_ratio(wrong, fast)) > 4


@pytest.mark.parametrize("workers", [2, 8])
def test_the_same_bits_for_any_number_of_workers(workers):
    # 40 particles in chunks of 16 leave a last chunk of eight.
    y = np.array([0.1, -0.3, np.nan, 0.8])
    one = log_evidence(python_volatility, VOLATILITY, y, 40, seed=3)
    several = model_with(python_volatility, workers=workers)
    assert log_evidence(several, VOLATILITY, y, 40, seed=3) == one
    assert log_evidence(several, VOLATILITY, y, 40, seed=4) != one


def model_with(each, **changes):
    names = [*each.functions(), "params", "state", "observation", "chunk", "workers"]
    return PythonModel(**{**{name: getattr(each, name) for name in names}, **changes})


def test_workers_take_lambdas_closures_and_noise():
    shift = 0.3
    y = trend_series(8)[:3]
    one = trend(PythonModel, chunk=8)
    two = trend(PythonModel, chunk=8, workers=2)
    assert log_evidence(one, TREND, y, 20, proposal=Guided()) == log_evidence(
        two, TREND, y, 20, proposal=Guided()
    )
    closed = model(log_observation=lambda y, x: -0.5 * (y - x - shift) ** 2)
    z = np.zeros(2)
    assert log_evidence(closed, (1.0,), z, 20) == log_evidence(
        model_with(closed, workers=2), (1.0,), z, 20
    )


def test_workers_take_functions_of_main(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(
        textwrap.dedent("""
        from typing import NamedTuple
        import numpy as np
        from aisle_smc.ssm import PythonModel, log_evidence

        class Params(NamedTuple):
            sd: float

        class State(NamedTuple):
            level: float

        def initial(rng):
            return State(rng.normal())

        def transition(rng, x, p):
            return State(rng.normal(x.level, p.sd))

        def log_observation(y, x):
            return -0.5 * (y - x.level) ** 2

        def model(workers):
            return PythonModel(params=Params, state=State, initial=initial, transition=transition,
                               log_observation=log_observation, workers=workers)

        if __name__ == "__main__":
            one, two = (log_evidence(model(w), (1.0,), np.ones(3), 40) for w in (1, 2))
            assert one == two, (one, two)
            print("same")
        """)
    )
    run = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.stdout.strip() == "same", run.stderr


def test_the_chunk_is_part_of_the_result():
    y = np.zeros(3)
    assert log_evidence(model(chunk=4), (1.0,), y, 20) != log_evidence(model(), (1.0,), y, 20)


def test_every_particle_has_its_own_draws():
    # Chunks with one stream each, and a fresh key for each step: no two states coincide.
    bound = python_volatility.bind(VOLATILITY, np.full(3, np.nan), np.zeros(3))
    rng = stream(0)
    x, _ = bound.start(rng, 100)
    later, _ = bound.move(rng, 1, x)
    assert np.unique(np.concatenate([x, later])).size == 200


def test_array_states_fill_out_or_return_a_row():
    def fill(rng, out):
        out[:] = rng.normal(size=2)

    def fill_next(rng, x, out):
        out[:] = 0.9 * x + rng.normal(size=2)

    options = {"state": 2, "log_observation": lambda y, x: -0.5 * (y - x[0]) ** 2}
    filled = model(initial=fill, transition=fill_next, **options)
    returned = model(
        initial=lambda rng: rng.normal(size=2),
        transition=lambda rng, x: 0.9 * x + rng.normal(size=2),
        **options,
    )
    y = np.array([0.5, -0.5, 1.0])
    assert log_evidence(filled, (1.0,), y, 30) == log_evidence(returned, (1.0,), y, 30)


def test_an_entry_that_out_misses_is_seen():
    def half(rng, out):
        out[0] = rng.normal()

    forgetful = model(state=2, initial=half, log_observation=lambda y, x: -(x[1] ** 2))
    with pytest.raises(ValueError, match="is nan at time 0, particle 0"):
        log_evidence(forgetful, (1.0,), np.zeros(2), 5)


def test_functions_get_python_numbers():
    seen = []

    def log_observation(y, x, t, y_prev, x_prev):
        seen.append((type(y), type(x), type(t), type(x_prev)))
        return 0.0

    log_evidence(model(log_observation=log_observation), (1.0,), np.zeros(2), 1)
    assert set(seen) == {(float, float, int, float)}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_names_role_time_particle_and_state(workers):
    def transition(rng, x, p, t):
        if t == 2:
            return 1.0 / (x - x)
        return x

    broken = model(transition=transition, initial=lambda rng: 0.5, workers=workers, chunk=5)
    with pytest.raises(AisleError) as caught:
        log_evidence(broken, (1.0,), np.zeros(4), 12)
    text = str(caught.value)
    assert "transition transition (" in text
    assert "failed at time 2, particle 0: ZeroDivisionError" in text
    assert "x = 0.5" in text
    assert "p = Scale(sd=1.0)" in text
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    notes = getattr(caught.value.__cause__, "__notes__", [])
    assert any("return 1.0 / (x - x)" in note for note in notes) == (workers == 2)


def test_the_first_particle_to_fail_is_the_same_for_any_chunk():
    def log_observation(y, x):
        if x > 1.0:
            raise OverflowError("too far")
        return 0.0

    first = None
    bound = model().bind(Scale(1.0), np.full(1, np.nan), np.zeros(1))
    x = bound.start(stream(5), 40)[0]
    first = int(np.argmax(x > 1.0))
    for workers in (1, 2):
        broken = model(log_observation=log_observation, workers=workers)
        with pytest.raises(AisleError, match=f"at time 0, particle {first}: OverflowError"):
            log_evidence(broken, (1.0,), np.zeros(1), 40, seed=5)


class Stubborn(Exception):
    """An exception that cannot be unpickled."""

    def __init__(self, one, two):
        super().__init__(one)


def test_failures_travel_even_when_their_exception_cannot():
    sent = Failure("f", 3, {"x": 1.0}, Stubborn("why", 2)).portable()
    came = pickle.loads(pickle.dumps(sent))
    assert came.particle == 3
    assert "Stubborn: why" in str(came.report(1, 10))
    assert "particle 13" in str(came.report(1, 10))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"initial": lambda rng: (1.0, 2.0)},
            "initial .* must return one number; it ret",
        ),
        ({"transition": lambda x: None}, "transition .* must return one number; it returned noth"),
        ({"transition": lambda x: "1"}, "must return one number; it returned str"),
        ({"log_observation": lambda y, x: [x]}, "log_observation .* must return one number"),
        ({"log_observation": lambda y, x: None}, "log_observation .* it returned nothing"),
        ({"log_observation": lambda y, x: (x, x)}, "returned 2 log-densities for an obs.* of 1"),
        ({"state": 2, "initial": lambda rng: 1.0}, "initial .* must return a row of 2 numbers"),
        ({"state": 2, "initial": lambda out: out}, r"must return nothing \(it fills `out`\)"),
    ],
)
def test_wrong_returns_are_named(changes, words):
    with pytest.raises(TypeError, match=words):
        log_evidence(model(**changes), (1.0,), np.zeros(3), 9)


def test_wrong_number_of_fields_is_named():
    class State(NamedTuple):
        a: float
        b: float

    wrong = model(state=State, initial=lambda rng: (1.0, 2.0, 3.0))
    with pytest.raises(TypeError, match="must return a State of 2 numbers; it returned tuple"):
        log_evidence(wrong, (1.0,), np.zeros(3), 9)


def test_joblib_missing_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(ImportError, match=r"pip install aisle-smc\[batch\]"):
        log_evidence(model(workers=2), (1.0,), np.zeros(2), 40)
    # One chunk needs no second process.
    assert np.isfinite(log_evidence(model(workers=2), (1.0,), np.zeros(2), 16))


@pytest.mark.parametrize("option", [{"workers": 0}, {"chunk": 0}])
def test_counts_are_at_least_one(option):
    with pytest.raises(ValueError, match="must be at least 1"):
        model(**option)


def test_vector_arguments_are_unknown():
    with pytest.raises(TypeError, match="unknown argument 'n'"):
        model(initial=lambda rng, n: 0.0)


def test_simulation_is_that_of_the_compiled_model_in_law():
    one = simulate(volatility, VOLATILITY, 4, n=4000, seed=1).states
    other = simulate(python_volatility, VOLATILITY, 4, n=4000, seed=2).states
    for k in (1, 2):
        a, b = one**k, other**k
        z = (a.mean(0) - b.mean(0)) / np.sqrt((a.var(0) + b.var(0)) / 4000)
        assert np.abs(z).max() < 4
