"""The kinds of task return what the functions behind them return, whoever runs them."""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from scipy.stats import gamma, norm

from aisle_smc import sample
from aisle_smc.batch import Grid, Limits, Series, Study
from aisle_smc.batch.identity import identity
from aisle_smc.priors import Prior
from aisle_smc.ssm import (
    Blocks,
    LocalLevel,
    PythonModel,
    StateSpaceModel,
    StochasticVolatility,
    nile,
    particle_filter,
    pmmh,
)
from aisle_smc.streams import stream

FLOW = nile().volume[:30]


def bell(mu, sd):
    return -0.5 * ((mu - 1.0) / 0.1) ** 2 - 0.5 * (sd - 2.0) ** 2


class Scale(NamedTuple):
    sd: float


def start(rng):
    return rng.normal()


def step(rng, x, p):
    return rng.normal(x, p.sd)


def weigh(y, x):
    return -0.5 * (y - x) ** 2


# The one needs a compiler in every process that uses it, the other one in none.
COMPILED = StateSpaceModel(params=Scale, initial=start, transition=step, log_observation=weigh)
INTERPRETED = PythonModel(
    params=Scale,
    initial=start,
    transition=step,
    log_observation=weigh,
    prior={"sd": gamma(2.0)},
)


@pytest.mark.parametrize(
    ("executor", "model"), [("threads", COMPILED), ("processes", INTERPRETED)]
)
def test_filters_are_those_of_particle_filter(tmp_path, executor, model):
    options = {"model": model, "params": {"sd": 0.5}, "data": "flow"}
    study = Study(
        tasks=Grid(kind="filter", options=options, over={"n": [20, 40]}),
        data={"flow": FLOW / 1000.0},
        seed=2,
        replicates=2,
    )
    result = study.run(2, executor, folder=tmp_path, progress=False)
    assert result.ok
    for task, row in zip(study, result.table(), strict=True):
        n = task.options["n"]
        expected = particle_filter(model, [0.5], FLOW / 1000.0, n, seed=task.number)
        assert row["log_evidence"] == expected.log_evidence
        assert row["log_evidence_error"] == expected.log_evidence_error
        kept = result.value(task.index)["log_evidence_increments"]
        assert np.array_equal(kept, expected.log_evidence_increments)
    assert len(set(result.table()["log_evidence"])) == 4


def test_fit_is_that_of_pmmh_and_leaves_an_arviz_file(tmp_path):
    """A fit in a process of its own has the bits of the same call here."""
    series = Series(y=FLOW[:8] / 1000.0, time=nile().years[:8])
    few = {"n": 10, "draws": 20, "tune": 10, "chains": 2}
    study = Study(
        tasks=Grid(
            kind="fit",
            options={"model": INTERPRETED, "data": "flow", "evidence_draws": 30, **few},
        ),
        data={"flow": series},
        seed=5,
    )
    result = study.run(1, folder=tmp_path, progress=False)
    assert result.ok, result.faults
    task, (row,) = study.task(0), result.table()
    expected = pmmh(INTERPRETED, series.y, **few, progress=False, seed=task.number)
    evidence = expected.with_evidence(30, seed=task.number).log_evidence
    assert row["log_evidence"] == evidence.value
    assert row["log_evidence_error"] == evidence.error
    assert (row["particles"], row["evaluations"]) == (10, 2 * 30 + 30)
    tree = result.draws(0)
    assert np.array_equal(tree["posterior"]["sd"].values, expected["sd"])
    assert tree["posterior"]["time"].values.tolist() == nile().years[:8].tolist()
    assert not list((tmp_path / "work" / "checkpoints").glob("*"))
    assert not list((tmp_path / "work").glob("*.nc"))


def test_sample_is_that_of_sample(tmp_path):
    prior = {"mu": norm(0, 1), "sd": gamma(2.0)}
    study = Study(
        tasks=Grid(kind="sample", options={"target": bell, "prior": prior, "n": 100}),
        limits=Limits(evaluations=900),
        seed=1,
    )
    result = study.run(1, "threads", folder=tmp_path, progress=False)
    task, (row,) = study.task(0), result.table()
    expected = sample(
        bell, prior, n=100, max_evaluations=900, progress=False, seed=task.number, workers=1
    )
    assert row["log_evidence"] == expected.log_evidence
    assert row["mean.mu"] == expected.mean[0]
    assert row["evaluations"] == expected.evaluations <= 900
    assert "posterior" in result.draws(0).children


def test_function_gets_what_it_names(tmp_path):
    def named(x, rng, seed, data, max_evaluations, checkpoint):
        return {
            "x": x,
            "random": float(rng.random()),
            "seed": seed,
            "sum": float(data.sum()),
            "most": max_evaluations,
            "where": checkpoint.name,
            "array": np.ones(2),
        }

    study = Study(
        tasks=Grid(kind="function", options={"function": named, "data": "a"}, over={"x": [1, 2]}),
        data={"a": np.arange(4)},
        limits=Limits(evaluations=12),
        seed=9,
    )
    result = study.run(1, "threads", folder=tmp_path, progress=False)
    for task, row in zip(study, result.table(), strict=True):
        assert row["random"] == stream(9, task.index).random()
        assert (row["seed"], row["sum"], row["most"]) == (task.number, 6.0, 12)
        assert row["where"].startswith(task.fingerprint)
    assert "array" not in result.table().columns
    assert result.value(1)["array"].tolist() == [1.0, 1.0]


FITTED = {"model": LocalLevel(), "data": "flow"}
FILTERED = {**FITTED, "n": 9, "params": {"level_sd": 1.0, "observation_sd": 2.0}}
SAMPLED = {"target": bell, "prior": {"mu": norm(0, 1), "sd": gamma(2.0)}}


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("fit", {"model": 3, "data": "flow"}, "model must be a StateSpaceModel"),
        ("fit", {"model": LocalLevel()}, "needs data"),
        ("fit", {"model": LocalLevel(), "data": "two"}, "y must have shape"),
        ("fit", {"model": LocalLevel(), "data": "flow", "particles": 3}, "known are"),
        ("filter", {"model": LocalLevel(), "data": "flow", "n": 10}, "needs params"),
        ("filter", {"model": LocalLevel(), "data": "flow", "n": 9, "params": {}}, "missing"),
        *(("fit", FITTED | wrong, said) for wrong, said in (
            ({"n": 0}, "n must be at least 1"), ({"n": "10"}, "n must be an int"),
            ({"draws": 0}, "draws must be at least 1"), ({"draws": 10.5}, "draws must be an int"),
            ({"chains": -1}, "chains must be at least 1"), ({"chains": True}, "chains must be an"),
            ({"tune": -1}, "tune must be at least 1"), ({"tune": False}, "tune must be an int"),
            ({"evidence_draws": "many"}, "evidence_draws must be an int"),
            ({"threshold": -0.5}, "threshold must be 0"), ({"threshold": "half"}, "a number"),
            ({"resampler": "systematic"}, "resampler must be one of"),
            ({"proposal": "guided"}, "proposal must be Bootstrap"),
            ({"initial": 5}, "initial must hold values of level_sd"), ({"initial": []}, "got .]"),
            ({"initial": {"level_sd": 1.0}}, "missing: observation_sd"),
            ({"correlation": 0.9}, "correlation must be Blocks"),
            ({"correlation": Blocks(31)}, "at most the 30 observations; got 31"),
        )),
        *(("filter", FILTERED | wrong, said) for wrong, said in (
            ({"n": -3}, "n must be at least 1"), ({"n": 1.5}, "n must be an int"),
            ({"threshold": -1}, "threshold must be 0"), ({"resampler": 3}, "must be a scheme"),
            ({"proposal": 3}, "proposal must be Bootstrap"),
        )),
        *(("sample", SAMPLED | wrong, said) for wrong, said in (
            ({"ess": 0}, "ess must be positive"), ({"ess": "2000"}, "ess must be a positive"),
            ({"evidence_error": -1.0}, "evidence_error must be positive"),
            ({"max_evaluations": 0}, "max_evaluations must be at least 1"),
            ({"n": 9}, "at least 10 points"), ({"n": "9"}, "n must be an int"),
            ({"path": 0.5}, "path must be a Temperature"),
        )),
        ("sample", {"target": bell}, "needs a prior"),
        ("sample", {"target": 1, "prior": {}}, "must be callable"),
        ("function", {"function": 1}, "must be callable"),
        ("function", {"function": bell, "mu": 1, "sb": 2}, "did you mean 'sd'"),
        ("function", {"function": bell, "mu": 1, "sd": 2, "data": "flow"}, "no argument `data`"),
    ],
)  # fmt: skip
def test_options_that_cannot_work(kind, options, said):
    with pytest.raises((ValueError, TypeError), match=said):
        Study(
            tasks=Grid(kind=kind, options=options),
            data={"flow": FLOW, "two": np.ones((5, 2))},
        )


@pytest.mark.parametrize(
    ("kind", "options"), [("fit", FITTED), ("filter", FILTERED), ("sample", SAMPLED)]
)
def test_options_that_can_work(kind, options):
    start = {"initial": FILTERED["params"]}
    few = {
        "fit": {"tune": 0, "evidence_draws": 0, "threshold": 0.0, **start},
        "filter": {"threshold": 2},
    }
    for more in ({}, few.get(kind, {"n": 10, "ess": 5})):
        assert len(Study(tasks=Grid(kind=kind, options=options | more), data={"flow": FLOW})) == 1


def test_filter_has_no_evaluations_to_limit():
    grid = Grid(kind="filter", options=FILTERED, limits=Limits(evaluations=100))
    with pytest.raises(ValueError, match="counts no evaluations, so that the limit of 100"):
        Study(tasks=grid, data={"flow": FLOW})


def test_fit_beyond_its_limit_of_evaluations():
    grid = Grid(
        kind="fit",
        options={"model": LocalLevel(), "data": "flow", "draws": 10, "tune": 0, "chains": 1},
        limits=Limits(evaluations=1000),
    )
    with pytest.raises(ValueError, match="1010 filter runs exceeds the limit of 1000"):
        Study(tasks=grid, data={"flow": FLOW})


# --- identity ------------------------------------------------------------------------------------


class Plain:
    def __init__(self, a):
        self.a = a


def scaled(x, *, by=2):
    return x * by


@pytest.mark.parametrize(
    "make",
    [
        lambda: 3.0,
        lambda: {"a": [1, (2, None)], "b": {4, 5}},
        lambda: np.arange(3),
        lambda: norm(0, 1),
        lambda: {"mu": norm(0, 1), "sd": gamma(2.0, scale=3.0)},
        lambda: Prior({"mu": norm(0, 1), "nu": "mu", "k": 3}),
        LocalLevel,
        lambda: StochasticVolatility(leverage=True),
        lambda: partial(scaled, by=3),
        lambda: Plain(np.ones(2)),
        lambda: Plain(Plain(3)).a.__init__,
        lambda: Limits(seconds=3.0),
        lambda: math.sqrt,
        lambda: np.exp,
        lambda: Plain,
    ],
)
def test_same_thing_made_twice_has_one_identity(make):
    assert identity(make()) == identity(make())


def test_different_things_have_different_identities():
    things = [
        3, 3.0, "3", [3], (3,), {"3": 3}, None, True, np.array([3]), np.array([3.0]),
        norm(0, 1), norm(0, 2), gamma(2.0), Prior({"mu": norm(0, 1)}), Prior({"mu": norm(0, 2)}),
        Prior({"mu": norm(0, 1), "nu": "mu"}), Prior({"mu": norm(0, 1), "nu": 1.0}),
        LocalLevel(), LocalLevel(prior={"level_sd": 3.0}), StochasticVolatility(),
        StochasticVolatility(leverage=True), partial(scaled, by=3), partial(scaled, by=4), scaled,
        Plain(1), Plain(2), Plain, Limits(seconds=1.0), Limits(seconds=2.0), math.sqrt, math.sin,
        np.exp, np.log,
    ]  # fmt: skip
    assert len({identity(thing) for thing in things}) == len(things)


def test_rings_end():
    ring = Plain(None)
    ring.a = ring
    assert identity(ring) == identity(ring)


def test_what_nothing_tells_apart_is_refused():
    with pytest.raises(TypeError, match="known again in another process"):
        identity(i for i in range(3))
