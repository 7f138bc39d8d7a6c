"""The evidence filter: the same for any number of workers, unmarked by what it ran before."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest

from aisle_smc import stream
from aisle_smc.resampling import optimal, systematic
from aisle_smc.ssm import (
    EvidenceFilter,
    LinearGaussianSystem,
    LocalLevel,
    VectorModel,
    kalman_filter,
    kalman_smoother,
    log_evidence,
    log_evidences,
    particle_filter,
)
from aisle_smc.ssm.evidence import over_threads

LEVEL = LocalLevel()
PARAMS = LEVEL.parameters(
    {"level_sd": 1.0, "observation_sd": 1.5, "initial_mean": 0.5, "initial_sd": 1.0}
)
Y = np.array([0.8, 2.9, math.nan, -0.6, 1.7, 3.1, 2.2, -0.4])
SYSTEM = LinearGaussianSystem(
    transition_matrix=1.0,
    transition_covariance=1.0,
    observation_matrix=1.0,
    observation_covariance=1.5**2,
    initial_mean=0.5,
    initial_covariance=1.0,
)
EXACT = kalman_filter(SYSTEM, Y)


def many(count):
    """Return parameters that differ, one set of them without any weight."""
    rows = [
        PARAMS._replace(level_sd=0.5 + 0.1 * i, observation_sd=1.0 + i % 3) for i in range(count)
    ]
    rows[2] = rows[2]._replace(observation_sd=1e-170)
    return rows


# --- many parameter vectors ----------------------------------------------------------------------


def test_any_number_of_workers_gives_the_same_bits():
    rows = many(13)
    one, two, eight = (log_evidences(LEVEL, rows, Y, 70, workers=k, seed=5) for k in (1, 2, 8))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, eight)
    assert one[2] == -math.inf
    run = EvidenceFilter(LEVEL, Y, 70)
    np.testing.assert_array_equal(one, [run(p, stream(5, i)) for i, p in enumerate(rows)])
    assert np.unique(one).size == 13


def test_a_longer_list_begins_with_the_shorter_one():
    rows = many(8)
    np.testing.assert_array_equal(
        log_evidences(LEVEL, rows[:5], Y, 40), log_evidences(LEVEL, rows, Y, 40)[:5]
    )


def test_parameters_in_any_shape():
    table = np.array([PARAMS, PARAMS._replace(level_sd=2.0)])
    by_name = [dict(zip(LEVEL.parameter_names, row, strict=True)) for row in table]
    np.testing.assert_array_equal(
        log_evidences(LEVEL, table, Y, 40), log_evidences(LEVEL, by_name, Y, 40)
    )
    assert log_evidences(LEVEL, [], Y, 40).shape == (0,)


def test_an_error_in_a_thread_is_raised():
    rows = [*many(3), PARAMS._replace(observation_sd=-1.0), PARAMS]
    with pytest.raises(ValueError, match="observation_sd"):
        log_evidences(LEVEL, rows, Y, 40)
    with pytest.raises(ValueError, match="nan at time 0"):
        over_threads(lambda: EvidenceFilter(LEVEL, Y, 40), rows, 0, 2)


def test_bad_numbers_of_workers():
    with pytest.raises(ValueError, match="workers must be at least 1"):
        log_evidences(LEVEL, many(3), Y, 40, workers=0)


# --- one filter, run again and again -------------------------------------------------------------


def test_a_run_leaves_no_mark_on_the_next():
    used = EvidenceFilter(LEVEL, Y, 60, keep_paths=True)
    for p in many(4):
        used(p, stream(1))
    for odd in (used, EvidenceFilter(LEVEL, Y[:-1], 60)):
        odd(many(4)[2], stream(1))
        fresh = EvidenceFilter(LEVEL, odd.y, 60)
        assert odd(PARAMS, stream(2)) == fresh(PARAMS, stream(2))
        np.testing.assert_array_equal(odd.log_evidences, fresh.log_evidences)
        np.testing.assert_array_equal(odd.ess, fresh.ess)


def test_per_time_evidences_and_ess_are_those_of_the_filter():
    run = EvidenceFilter(LEVEL, Y, 60)
    run(PARAMS, stream(3))
    result = particle_filter(LEVEL, PARAMS, Y, 60, seed=3)
    np.testing.assert_array_equal(run.ess, result.ess)
    np.testing.assert_array_equal(
        np.diff(run.log_evidences, prepend=0.0), result.log_evidence_increments
    )


def test_a_run_without_weights_is_minus_infinity_from_there_on():
    run = EvidenceFilter(LEVEL, [0.4, 0.5, 1e200, 0.0], 60)
    assert run(PARAMS, stream(0)) == -math.inf
    assert np.isfinite(run.log_evidences[:2]).all()
    assert run.log_evidences[2:].tolist() == [-math.inf, -math.inf]
    assert run.ess[2:].tolist() == [0.0, 0.0]


def test_blocks_of_streams():
    """Consecutive blocks of times, each with a stream of its own; equal streams, equal blocks."""
    run = EvidenceFilter(LEVEL, Y, 60)
    run(PARAMS, [stream(0, k) for k in range(3)])
    first = run.log_evidences.copy()
    run(PARAMS, [stream(0, 0), stream(0, 1), stream(7)])
    edges = np.linspace(0, Y.size, 4).astype(int)
    np.testing.assert_array_equal(run.log_evidences[: edges[2]], first[: edges[2]])
    assert run.log_evidences[-1] != first[-1]
    assert run(PARAMS, [stream(4)]) == run(PARAMS, stream(4))


def test_paths_have_the_law_of_the_smoother():
    """Weighed by its evidence a path is unbiased, E Z_hat x_t = Z E(x_t | y); 6000 runs, n = 8."""
    truth = kalman_smoother(SYSTEM, Y).mean[:, 0]
    run = EvidenceFilter(LEVEL, Y, 8, keep_paths=True)
    rng = stream(6)
    values = []
    for _ in range(6000):
        ratio = math.exp(run(PARAMS, rng) - EXACT.log_evidence)
        values.append(ratio * run.path(rng))
    values = np.array(values)
    errors = values.std(axis=0, ddof=1) / math.sqrt(len(values))
    assert (abs(values.mean(axis=0) - truth) < 4 * errors).all()


def test_paths_need_to_be_kept():
    run = EvidenceFilter(LEVEL, Y, 8)
    run(PARAMS, stream(0))
    with pytest.raises(ValueError, match="keep_paths=True"):
        run.path(stream(0))


@pytest.mark.parametrize("threshold", [0.5, 1.1])
def test_sorting_keeps_the_evidence_unbiased(threshold):
    """2000 runs at n = 5: the relative standard error is 1 to 2 %."""
    run = EvidenceFilter(LEVEL, Y, 5, sort=True, threshold=threshold)
    rng = stream(8)
    found = np.exp([run(PARAMS, rng) - EXACT.log_evidence for _ in range(2000)])
    error = found.std(ddof=1) / math.sqrt(found.size)
    assert abs(found.mean() - 1.0) < 4 * error


def test_sorting_makes_near_parameters_agree():
    """With the same stream, a small change of parameters changes the evidence little."""
    rows = [PARAMS, PARAMS._replace(level_sd=1.0 + 1e-6)]

    def spread(sort):
        run = EvidenceFilter(LEVEL, np.tile(Y, 20), 200, sort=sort)
        pairs = [[run(p, stream(0, k)) for p in rows] for k in range(60)]
        return np.diff(pairs).std()

    assert spread(True) < 0.5 * spread(False)


# --- other dialects and bad input ----------------------------------------------------------------


class Level(NamedTuple):
    sd: float


VECTORISED = VectorModel(
    params=Level,
    initial=lambda rng, n: rng.normal(size=n),
    transition=lambda rng, x, p: x + p.sd * rng.normal(size=x.shape),
    log_observation=lambda y, x: -0.5 * (y - x) ** 2,
)


def test_a_vectorised_model_runs_through_the_same_loop():
    for seed in range(3):
        found = log_evidence(VECTORISED, Level(0.5), Y, 50, seed=seed)
        assert found == particle_filter(VECTORISED, Level(0.5), Y, 50, seed=seed).log_evidence
    rows = [Level(0.3 + 0.1 * i) for i in range(5)]
    np.testing.assert_array_equal(
        log_evidences(VECTORISED, rows, Y, 50, workers=1),
        log_evidences(VECTORISED, rows, Y, 50, workers=2),
    )
    run = EvidenceFilter(VECTORISED, Y, 50, keep_paths=True)
    run(Level(0.5), stream(0))
    assert run.path(stream(1)).shape == Y.shape


def test_vectorised_models_take_one_stream_and_no_order():
    for options, rng in (({"sort": True}, stream(0)), ({}, [stream(0), stream(1)])):
        with pytest.raises(ValueError, match="compiled model"):
            EvidenceFilter(VECTORISED, Y, 50, **options)(Level(0.5), rng)


class Mine:
    """A scheme of a user."""

    def draw(self, w, m, rng):
        return systematic.draw(w, m, rng)


@pytest.mark.parametrize("resampler", [optimal, Mine()], ids=["optimal", "mine"])
def test_the_fused_filter_takes_the_schemes_with_equal_weights(resampler):
    with pytest.raises(TypeError, match="resampler must be one of"):
        log_evidence(LEVEL, PARAMS, Y, 50, resampler=resampler)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": []}, "at least one observation"),
        ({"y": [0.0, math.inf]}, r"y\[1\] is inf"),
        ({"y": [[0.0], [1.0]]}, r"y must have shape \(T,\)"),
        ({"n": 0}, "n must be at least 1"),
        ({"params": {"level_sd": 1.0}}, "observation_sd"),
        ({"params": {**PARAMS._asdict(), "levelsd": 1.0}}, "levelsd"),
        ({"params": PARAMS._replace(level_sd=-1.0)}, "level_sd"),
        ({"params": PARAMS._replace(level_sd=math.nan)}, "level_sd must be finite"),
        ({"u": [1.0] * 8}, "declares none"),
    ],
)
def test_bad_input_is_an_error_before_work(change, message):
    arguments = {"params": PARAMS, "y": Y, "n": 10, **change}
    for call in (log_evidence, particle_filter):
        with pytest.raises(ValueError, match=message):
            call(LEVEL, **arguments)
