"""Lifted models and the fused loop against plain loops over particles, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from aisle_kernels._jit import scalar
from aisle_kernels.fused import evidence_loop
from aisle_kernels.lift import Layout, Recipe, lift
from aisle_kernels.noise import BLOCK
from aisle_kernels.resampling import (
    multinomial,
    multinomial_uniforms,
    systematic,
    systematic_uniforms,
)

from tests.oracles.models import (
    DRIFT,
    DRIFT_DATA,
    DRIFT_PARAMS,
    GROWTH,
    GROWTH_DATA,
    GROWTH_PARAMS,
    RING,
    RING_DATA,
    RING_PARAMS,
    filter_one_by_one,
)

# Uncompiled, the words of the noise generator wrap around with a warning.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in scalar")

MODELS = {
    "number": (DRIFT, DRIFT_PARAMS, *DRIFT_DATA, 0),
    "named": (GROWTH, GROWTH_PARAMS, *GROWTH_DATA, 2),
    "row": (RING, RING_PARAMS, *RING_DATA, 2),
}
GUIDED = [("number", False), ("number", True), ("named", False), ("row", False), ("row", True)]
SIZES = [1, 7, 8, 9, 100, BLOCK + 11]


def layout(form):
    if form is None:
        return Layout()
    return Layout(form) if isinstance(form, int) else Layout(len(form._fields), form)


COMPILED = {}


def lifted(name, guided):
    """Return the lifted model, each function compiled once."""
    model, *_, components = MODELS[name]
    for role, function in model.functions.items():
        COMPILED.setdefault(function, (role, scalar(function), model.names(role)))
    forms = (model.state, model.observation, model.covariates)
    functions = tuple(COMPILED[function] for function in model.functions.values())
    return lift(Recipe(functions, *map(layout, forms), components, guided))


def stream(seed=0):
    return np.random.Generator(np.random.SFC64(seed))


@pytest.mark.parametrize(("name", "guided"), GUIDED)
def test_population_functions_are_loops_over_particles(name, guided):
    model, p, ys, us, _ = MODELS[name]
    population = lifted(name, guided)
    for n in SIZES:
        rng, plain = stream(n), stream(n)
        x, log_g = np.empty(model.shape(n)), np.empty(n)
        population.start(rng, p, ys, us, x, log_g)
        expected, weights = model.start(plain, p, ys, us, n, guided)
        np.testing.assert_array_equal(x, expected)
        np.testing.assert_array_equal(log_g, weights)
        for t in range(1, len(ys)):
            ancestors = rng.integers(n, size=n)
            plain.integers(n, size=n)
            new = np.empty_like(x)
            population.move(rng, t, p, ys, us, x, ancestors, new, log_g)
            expected, weights = model.move(plain, t, p, ys, us, x, ancestors, guided)
            np.testing.assert_array_equal(new, expected)
            np.testing.assert_array_equal(log_g, weights)
            x = new
        assert rng.random() == plain.random()


@pytest.mark.parametrize("name", MODELS)
def test_look_ahead_and_observe(name):
    model, p, ys, us, _ = MODELS[name]
    population = lifted(name, False)
    n = 37
    x, x_prev = stream(1).normal(size=(2, *model.shape(n)))
    y_prev = stream(2).normal(size=(n, *ys.shape[1:]))
    for t in range(1, len(ys)):
        log_eta, y = np.empty(n), np.empty_like(y_prev)
        population.look_ahead(t, p, ys, us, x, log_eta)
        np.testing.assert_array_equal(log_eta, model.look_ahead(t, p, ys, us, x))
        population.observe(stream(3), t, p, y_prev, us, x, x_prev, y)
        expected = model.observe(stream(3), t, p, y_prev, us, x, x_prev)
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("name", ["number", "row"])
def test_transition_densities_of_all_pairs(name):
    model, p, ys, us, _ = MODELS[name]
    x, x_prev = stream(1).normal(size=model.shape(5)), stream(2).normal(size=model.shape(9))
    log_p = np.empty((5, 9))
    lifted(name, False).log_transition(3, p, ys, us, x_prev, x, log_p)
    np.testing.assert_array_equal(log_p, model.log_transition(3, p, ys, us, x_prev, x))


def test_an_absent_function_is_an_absent_population_function():
    assert lifted("named", False).log_transition is None


def test_a_model_is_lifted_once():
    assert lifted("number", False) is lifted("number", False)


class Work:
    """The arrays that the fused loop works on."""

    def __init__(self, model, length, n, uniforms, keep=True):
        shape, rows = model.shape(n), length if keep else 0
        self.arrays = [
            np.empty(shape),
            np.empty(shape),
            *(np.empty(n) for _ in range(3)),
            np.empty(n, dtype=np.int64),
            np.empty(uniforms(n, n)),
            np.empty(length),
            np.empty(length),
            np.empty((rows, *shape)),
            np.empty((rows, n), dtype=np.int64),
        ]

    @property
    def trace(self):
        return self.arrays[7:]


FUSED = [
    ("number", False, False, multinomial, multinomial_uniforms),
    ("number", True, True, systematic, systematic_uniforms),
    ("named", False, True, systematic, systematic_uniforms),
    ("row", True, False, systematic, systematic_uniforms),
]


@pytest.mark.parametrize(("name", "guided", "auxiliary", "resample", "uniforms"), FUSED)
def test_fused_filter_is_the_plain_filter(name, guided, auxiliary, resample, uniforms):
    model, p, ys, us, _ = MODELS[name]
    advance = evidence_loop(lifted(name, guided), auxiliary, resample, uniforms)
    for n in [1, 8, 50, BLOCK + 11]:
        for threshold in [0.0, 0.6, 1.1]:
            rng, plain = stream(n), stream(n)
            work = Work(model, len(ys), n, uniforms)
            log_z, flag = advance(rng, p, ys, us, 0, len(ys), threshold, 0.0, *work.arrays)
            expected = filter_one_by_one(
                model, p, ys, us, n, plain, resample, uniforms,
                threshold=threshold, guided=guided, auxiliary=auxiliary,
            )  # fmt: skip
            assert flag == -1
            assert np.isfinite(log_z)
            log_evidence, ess, states, ancestors = work.trace
            np.testing.assert_array_equal(log_evidence, expected.log_evidence)
            np.testing.assert_array_equal(ess, expected.ess)
            np.testing.assert_array_equal(states, expected.states)
            np.testing.assert_array_equal(ancestors, expected.ancestors)
            np.testing.assert_array_equal(work.arrays[0], states[-1])
            assert rng.random() == plain.random()


def test_a_filter_in_pieces_is_the_whole_filter():
    name, guided, auxiliary, resample, uniforms = FUSED[1]
    model, p, ys, us, _ = MODELS[name]
    advance = evidence_loop(lifted(name, guided), auxiliary, resample, uniforms)
    whole, pieces = (Work(model, len(ys), 30, uniforms) for _ in range(2))
    advance(stream(), p, ys, us, 0, len(ys), 0.9, 0.0, *whole.arrays)
    rng, log_z = stream(), 0.0
    for begin, end in [(0, 1), (1, 4), (4, 4), (4, 6), (6, 7)]:
        log_z, flag = advance(rng, p, ys, us, begin, end, 0.9, log_z, *pieces.arrays)
        assert flag == -1
    for a, b in zip(whole.trace, pieces.trace, strict=True):
        np.testing.assert_array_equal(a, b)


def test_paths_are_kept_only_where_there_are_rows():
    name, guided, auxiliary, resample, uniforms = FUSED[0]
    model, p, ys, us, _ = MODELS[name]
    advance = evidence_loop(lifted(name, guided), auxiliary, resample, uniforms)
    kept, bare = (Work(model, len(ys), 30, uniforms, keep=keep) for keep in (True, False))
    advance(stream(), p, ys, us, 0, len(ys), 0.9, 0.0, *kept.arrays)
    advance(stream(), p, ys, us, 0, len(ys), 0.9, 0.0, *bare.arrays)
    np.testing.assert_array_equal(kept.arrays[7], bare.arrays[7])
    np.testing.assert_array_equal(kept.arrays[0], bare.arrays[0])


@pytest.mark.parametrize(
    ("noise_sd", "mark"), [(-1.0, np.nan), (1e-200, -np.inf)], ids=["nan", "no weight left"]
)
def test_the_loop_stops_where_weights_fail(noise_sd, mark):
    """A negative scale makes the density NaN; a tiny one leaves no particle any weight."""
    name, guided, auxiliary, resample, uniforms = FUSED[0]
    model, p, ys, us, _ = MODELS[name]
    advance = evidence_loop(lifted(name, guided), auxiliary, resample, uniforms)
    ys = np.where(np.arange(len(ys)) < 3, np.nan, ys)
    work = Work(model, len(ys), 30, uniforms)
    p = p._replace(noise_sd=noise_sd)
    _, flag = advance(stream(), p, ys, us, 0, len(ys), 0.9, 0.0, *work.arrays)
    assert flag == 3
    np.testing.assert_array_equal(work.arrays[7][3], mark)
    np.testing.assert_array_equal(work.arrays[0], work.arrays[9][3])
