"""Scores of forecasts against the exact ones of a linear model."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import halfnorm

from aisle_smc.ssm import nile, pmmh
from aisle_smc.ssm.scoring import _error, _increments, leave_future_out
from aisle_smc.ssm.zoo import LocalLevel

pytest.importorskip("arviz_stats")

FIRST, LENGTH = 60, 72


def predictive(y, level_sd, observation_sd, mean=1000.0, sd=300.0):
    """Exact log-densities of each observation given those before it, by the Kalman filter."""
    variance, found = sd**2, []
    for t, value in enumerate(y):
        variance += level_sd**2 if t else 0.0
        if np.isnan(value):
            found.append(0.0)
            continue
        total = variance + observation_sd**2
        found.append(-0.5 * (math.log(2 * math.pi * total) + (value - mean) ** 2 / total))
        gain = variance / total
        mean, variance = mean + gain * (value - mean), (1 - gain) * variance
    return np.array(found)


@pytest.fixture(scope="module")
def y():
    flow = nile().volume[:LENGTH].copy()
    flow[FIRST + 4] = np.nan
    return flow


@pytest.fixture(scope="module")
def posterior(y):
    model = LocalLevel(
        prior={
            "level_sd": halfnorm(scale=100.0),
            "observation_sd": halfnorm(scale=200.0),
            "initial_mean": 1000.0,
            "initial_sd": 300.0,
        }
    )
    fit = pmmh(model, y[:FIRST], 50, draws=8, tune=5, chains=1, progress=False)
    # Draws that are far apart: whoever mixes them up is found out.
    theta = np.array([[20.0, 90.0], [60.0, 120.0], [150.0, 110.0], [30.0, 200.0]] * 2)
    return replace(fit, parameters=theta[None], proposal=fit.proposal)


def exact(posterior, y):
    """Predictive log-densities, shape (draws, h)."""
    return np.array([predictive(y, *theta) for theta in posterior.parameters[0]])[:, FIRST:]


def test_score_is_that_of_the_kalman_filter(posterior, y):
    log_p = exact(posterior, y)
    truth = np.log(np.exp(log_p).mean(axis=0)).sum()
    found = [leave_future_out(posterior, y, n=2000, seed=s) for s in range(16)]
    values = np.array([score.value for score in found])
    error = values.std(ddof=1) / 4
    assert error < 0.02
    assert abs(values.mean() - truth) < 4 * error
    # What is none of it: parameters that learn from the future, or the mean of the log-scores.
    learning = np.log(np.exp(log_p.sum(axis=1)).mean())
    assert abs(learning - truth) > 12 * error
    assert abs(log_p.sum(axis=1).mean() - truth) > 12 * error


def test_score_counts_what_was_seen(posterior, y):
    score = leave_future_out(posterior, y, n=200)
    assert (score.first, score.observed) == (FIRST, LENGTH - FIRST - 1)
    assert score.log_densities[4] == 0.0
    assert score.value == score.log_densities.sum()
    again = leave_future_out(posterior, y, n=200)
    assert np.array_equal(again.log_densities, score.log_densities)


def test_few_draws_are_taken_evenly(posterior, y):
    two = leave_future_out(posterior, y, n=2000, draws=2)
    log_p = exact(posterior, y)[[0, 4]]  # the first and the fifth, which are the same here
    assert two.value == pytest.approx(np.log(np.exp(log_p).mean(axis=0)).sum(), abs=0.2)


def test_error_is_the_spread_of_scores():
    rng = np.random.default_rng(3)

    def score(rng):
        theta = rng.normal(size=(60, 1))
        log_p = -0.3 * theta + 0.2 * rng.normal(size=(60, 20))
        log_densities = np.log(np.exp(log_p).mean(axis=0))
        return log_densities.sum(), _error(log_p, log_densities, 60.0)

    values, errors = np.array([score(rng) for _ in range(2000)]).T
    assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.06)


def test_nothing_is_possible_after_the_impossible():
    log_evidences = np.array([-1.0, -3.0, -np.inf, -np.inf])
    assert _increments(log_evidences).tolist() == [-1.0, -2.0, -np.inf, -np.inf]
    assert math.isnan(_error(np.zeros((3, 2)), np.array([0.0, -np.inf]), 3.0))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y: y[:FIRST], "must begin with the 60 observations of the posterior and go on"),
        (lambda y: y + 1.0, "that begin with others"),
    ],
)
def test_series_must_go_on_from_the_fit(posterior, y, change, words):
    with pytest.raises(ValueError, match=words):
        leave_future_out(posterior, change(y))
