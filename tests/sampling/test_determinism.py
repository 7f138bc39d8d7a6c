"""The bits of a result depend on the seed alone: not on workers, nor on where a run stopped."""

from __future__ import annotations

import math
import threading
import time

import numba
import numpy as np
import pytest
from scipy.stats import norm, uniform

from aisle_smc import sample
from aisle_smc.sampling.session import Session
from tests.sampling import toys
from tests.sampling.toys import QUIET, same_bits

PRIOR = {"a": norm(0, 2), "b": norm(0, 1)}


@numba.njit
def compiled(x):
    return -0.5 * (x[0] - 1.0) ** 2 - np.exp(1.3 * x[1]), x[0] * x[1]


def vectorised(x):
    return -0.5 * (x[:, 0] - 1.0) ** 2 - np.exp(1.3 * x[:, 1]), x[:, 0] * x[:, 1]


def python(x):
    return -0.5 * (x[0] - 1.0) ** 2 - math.exp(1.3 * x[1]), x[0] * x[1]


def run(function, **options):
    return sample(function, PRIOR, **{**QUIET, **options})


@pytest.mark.parametrize("function", [compiled, vectorised, python])
def test_the_seed_decides(function):
    one, other = run(function), run(function)
    same_bits(one, other)
    assert one.trace[-1].log_evidence == one.log_evidence
    changed = run(function, seed=1)
    assert changed.log_evidence != one.log_evidence
    assert not np.isin(changed.x, one.x).any()


@pytest.mark.parametrize("function", [compiled, vectorised])
def test_threads_change_nothing(function):
    options = {"n": 500, "ess": 1000.0}
    alone = run(function, workers=1, **options)
    for workers in (2, 8, None):
        same_bits(alone, run(function, workers=workers, **options))


@pytest.mark.parametrize("workers", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_processes_change_nothing(workers):
    same_bits(run(python, workers=1), run(python, workers=workers))


def test_no_threads_are_left_behind():
    before = threading.active_count()
    result = run(compiled, workers=3)
    assert threading.active_count() == before
    result.refine(ess=5000.0)
    assert threading.active_count() == before


# --- going on ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole():
    return run(vectorised, ess=12_000.0)


def facts(result):
    """What a later run must not change, seconds included."""
    kept = result.x.tobytes(), result.log_likelihood.tobytes(), dict(result.estimates)
    return (*kept, repr(result), result.trace, dict(result.seconds))


@pytest.mark.parametrize("file", [None, "journal"])
def test_one_result_can_be_refined_twice(tmp_path, whole, file):
    """Each time from where it stopped, whatever was refined in between."""
    first = run(vectorised, file=file and tmp_path / file)
    before = facts(first)
    far, near = first.refine(ess=12_000.0), first.refine(ess=5000.0)
    assert near.evaluations < far.evaluations
    same_bits(far, whole)
    same_bits(near, run(vectorised, ess=5000.0))
    same_bits(near.refine(ess=12_000.0), whole)
    again = first.refine(ess=12_000.0)
    same_bits(again, far)
    for other in (again, whole):
        assert other.evaluations == far.evaluations
        assert [s.evaluations for s in other.trace] == [s.evaluations for s in far.trace]
    # The target is a small part of each run, and not of all of them together.
    assert again.seconds["target"] < again.total_seconds
    assert facts(first) == before


def test_replicates_of_one_result_are_not_those_of_another(monkeypatch):
    monkeypatch.setattr(Session, "_proposal", lambda self: None)
    options = {"n": 100, "evidence_error": 0.02}
    first = run(vectorised, **options)
    assert first.method == "replicates"
    once = first.refine()
    twice = once.refine()
    assert twice.x.shape[0] > once.x.shape[0] > first.x.shape[0]
    same_bits(first.refine(), once)


def test_an_interrupted_refinement_harms_nothing(whole):
    calls = 0

    def trap(x):
        nonlocal calls
        calls += 1
        if calls == limit:
            raise KeyboardInterrupt
        return vectorised(x)

    limit = -1
    first = run(trap)
    before, limit = facts(first), calls + 10
    with pytest.raises(
        KeyboardInterrupt, match=r"^refine\(\) was interrupted; the result that it"
    ):
        first.refine(ess=12_000.0)
    assert facts(first) == before
    same_bits(first.refine(ess=12_000.0), whole)


@pytest.mark.parametrize("ess", [500.0, 4000.0, 5000.0, 9000.0])
def test_refining_is_aiming_higher_at_once(whole, ess):
    first = run(vectorised, ess=ess)
    assert first.evaluations < whole.evaluations
    kept = first.x.copy()
    refined = first.refine(ess=12_000.0)
    same_bits(refined, whole)
    assert refined.evaluations == whole.evaluations
    assert refined.aim.ess == 12_000.0
    # What was there before has not changed.
    assert first.x.tobytes() == kept.tobytes()
    assert first.ess < refined.ess


def test_refining_step_by_step(whole):
    result = run(vectorised)
    for ess in (3000.0, 6000.0, 12_000.0):
        result = result.refine(ess=ess)
    same_bits(result, whole)
    assert [step.phase for step in result.trace] == [step.phase for step in whole.trace]


def test_refining_from_a_file(whole, tmp_path):
    path = tmp_path / "run"
    first = run(vectorised, file=path)
    refined = first.refine(ess=12_000.0)
    same_bits(refined, whole)
    same_bits(run(vectorised, file=path, ess=12_000.0), whole)
    same_bits(run(vectorised, file=path), first)


def test_a_smaller_error_is_an_aim_too():
    first = run(vectorised)
    error = 0.5 * first.log_evidence_error
    refined = first.refine(evidence_error=error)
    assert refined.log_evidence_error <= error < first.log_evidence_error
    same_bits(refined, run(vectorised, evidence_error=error))


class Counted:
    """A vectorised function that remembers how many points it was called for."""

    def __init__(self):
        self.points = 0

    def __call__(self, x):
        self.points += x.shape[0] if x.ndim == 2 else 1
        return vectorised(x)


# The first stage takes 300, all stages before the draws a few hundred more, each batch 1000.
LIMITS = [300, 301, 899, 900, 1250, 2000, 3456, 5000, 7777]


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("kept", [False, True], ids=["memory", "file"])
def test_no_more_evaluations_than_allowed(whole, tmp_path, limit, kept):
    file = tmp_path / "run" if kept else None
    function = Counted()
    first = run(function, ess=12_000.0, max_evaluations=limit, file=file)
    probes = 200  # to tell the dialect
    assert first.evaluations <= limit
    assert function.points <= limit + probes
    assert first.stopped == "max_evaluations"
    assert not first.trusted
    assert "stopped by max_evaluations" in repr(first)
    if first.method == "draws":
        # Nothing that could have become a draw was wasted.
        assert limit - first.evaluations < 1000
        assert first.posterior.n == 1000 * (first.posterior.n // 1000)
    function.points = 0
    same_bits(first.refine(), whole)
    if kept:
        assert function.points <= whole.evaluations - first.evaluations + probes


def test_limits_one_after_the_other(whole):
    result = run(vectorised, ess=12_000.0, max_evaluations=LIMITS[0])
    spent = result.evaluations
    for limit in LIMITS[1:]:
        result = result.refine(max_evaluations=limit)
        assert spent <= result.evaluations <= limit
        assert result.stopped == "max_evaluations"
        spent = result.evaluations
    same_bits(result.refine(), whole)


def test_too_few_evaluations_for_one_stage():
    with pytest.raises(ValueError, match="0 evaluations were made, and a stage takes 300"):
        run(vectorised, max_evaluations=299)


def test_seconds_are_limited():
    def slow(x):
        time.sleep(0.05)
        return vectorised(x)

    begun = time.perf_counter()
    first = run(slow, vectorized=True, ess=1e6, max_seconds=0.5)
    assert time.perf_counter() - begun < 20
    assert first.stopped == "max_seconds"
    assert "stopped by max_seconds" in repr(first)
    again = first.refine(ess=1e6, max_seconds=0.5)
    assert again.evaluations > first.evaluations
    assert again.stopped == "max_seconds"
    n = first.posterior.n
    if first.method == again.method == "draws":
        assert again.x[:n].tobytes() == first.x.tobytes()


def test_replicates_go_on_too(monkeypatch, tmp_path):
    """Where no proposal fits, refine() buys more replicates, the same from memory and a file."""
    monkeypatch.setattr(Session, "_proposal", lambda self: None)
    toy = toys.skewed()
    options = {"n": 100, "evidence_error": 1e-3}
    first, kept = toy.run(**options), toy.run(**options, file=tmp_path / "run")
    before = first.estimates["replicates"]
    assert before.error > 1e-3
    same_bits(first, kept)
    refined = first.refine()
    assert refined.evaluations > first.evaluations
    assert refined.estimates["replicates"].error < before.error
    same_bits(refined, kept.refine())
    cut = toy.run(**options, max_evaluations=first.evaluations - 100)
    assert cut.stopped == "max_evaluations"
    same_bits(toy.run(**options), first)


def test_a_turned_circle_is_part_of_what_goes_on():
    def log_density(t, y):
        return 3.0 * np.cos(t) - 0.5 * y**2 + 0.5 * y

    prior = {"t": uniform(0, 2 * math.pi), "y": norm(0, 1)}
    options = {**QUIET, "periodic": ["t"]}
    whole = sample(log_density, prior, **{**options, "ess": 6000.0})
    for limit in (2000, 4000):
        first = sample(log_density, prior, **options, max_evaluations=limit)
        same_bits(first.refine(ess=6000.0), whole)
