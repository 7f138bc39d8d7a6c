from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from aisle_smc.ssm import PythonModel, StateSpaceModel, VectorModel, check_model, simulate
from aisle_smc.ssm.agreement import uniformity
from aisle_smc.ssm.calibration import calibrate
from aisle_smc.ssm.findings import Finding, Findings
from aisle_smc.ssm.math import normal_logpdf, poisson_logpmf
from tests.ssm.dialects import (
    TREND,
    VOLATILITY,
    numpy_volatility,
    python_volatility,
    trend,
)


class Params(NamedTuple):
    rho: float
    sd: float
    noise: float


P = Params(0.8, 0.4, 0.5)
PRIOR = {"rho": stats.uniform(0.0, 1.0), "sd": 0.4, "noise": stats.gamma(4.0, scale=0.15)}


def initial(rng, p):
    return rng.normal(0.0, p.sd)


def log_initial(x, p):
    return normal_logpdf(x, 0.0, p.sd)


def transition(rng, x, p):
    return rng.normal(p.rho * x, p.sd)


def log_transition(x, x_prev, p):
    return normal_logpdf(x, p.rho * x_prev, p.sd)


def log_observation(y, x, p):
    return normal_logpdf(y, x, p.noise)


def observe(rng, x, p):
    return rng.normal(x, p.noise)


def moments(x, y, p):
    """The best proposal: the state given the state before and the observation."""
    return (p.rho * x * p.noise**2 + y * p.sd**2) / (p.noise**2 + p.sd**2)


def proposal(rng, x, y, p):
    mean = (p.rho * x * p.noise**2 + y * p.sd**2) / (p.noise**2 + p.sd**2)
    return rng.normal(mean, p.sd * p.noise / math.sqrt(p.sd**2 + p.noise**2))


def log_proposal(x, x_prev, y, p):
    mean = (p.rho * x_prev * p.noise**2 + y * p.sd**2) / (p.noise**2 + p.sd**2)
    return normal_logpdf(x, mean, p.sd * p.noise / math.sqrt(p.sd**2 + p.noise**2))


def log_lookahead(y, x, p):
    return normal_logpdf(y, p.rho * x, p.noise + p.sd)


RIGHT = {
    "params": Params,
    "initial": initial,
    "transition": transition,
    "log_observation": log_observation,
    "log_initial": log_initial,
    "log_transition": log_transition,
    "observe": observe,
}


def model(**changes):
    return StateSpaceModel(**{**RIGHT, **changes})


@pytest.fixture(scope="module")
def y():
    return simulate(model(), P, 60, seed=3).observations


def text_of(findings, kind):
    return "\n".join(item.text for item in findings.items if item.kind == kind)


def test_a_right_model_passes(y):
    right = model(
        prior=PRIOR, proposal=proposal, log_proposal=log_proposal, log_lookahead=log_lookahead
    )
    found = check_model(right, y, P, calibration=30)
    assert found.ok, str(found)
    assert text_of(found, "cannot tell") == ""
    text = str(found)
    for words in (
        "the functions compile: initial, transition",
        "densities are finite on a simulated series of 60 times",
        "on the data the log-evidence is -",
        "log_initial agrees with initial",
        "log_transition agrees with transition (5 places, 4000 draws each)",
        "log_proposal agrees with proposal",
        "log_observation agrees with observe",
        "would give about 0.75, right for pmmh",
        "the guided filter's evidence of the first 60 observations",
        "the auxiliary filter's evidence",
        "simulation-based calibration with 30 series of 50 times",
        "No problem found.",
    ):
        assert words in text, text
    assert repr(found) == text
    assert check_model(right, y, P, calibration=30) == found


def variance_for_sd(x, x_prev, p):
    return normal_logpdf(x, p.rho * x_prev, p.sd**2)


def swapped(x, x_prev, p):
    return normal_logpdf(x_prev, p.rho * x, p.sd)


def without_constant(x, x_prev, p):
    return -0.5 * ((x - p.rho * x_prev) / p.sd) ** 2 - 0.1


@pytest.mark.parametrize("wrong", [variance_for_sd, swapped, without_constant])
def test_a_wrong_log_transition_is_found(y, wrong):
    found = check_model(model(log_transition=wrong), y, P)
    assert not found.ok
    assert [item.text.split(":")[0] for item in found.problems] == [
        "log_transition disagrees with transition"
    ]
    assert "standard deviations" in found.problems[0].advice


def test_the_contrast_is_in_words(y):
    found = check_model(model(log_transition=variance_for_sd), y, P)
    assert "the density has mean" in str(found)
    assert "and sd 0.16" in str(found)
    assert "1 problem found." in str(found)


def wide_observe(rng, x, p):
    return rng.normal(x, 1.5 * p.noise)


def wrong_log_initial(x, p):
    return normal_logpdf(x, 0.1, p.sd)


def late_log_proposal(x, x_prev, y, p):
    return normal_logpdf(x, p.rho * x_prev, p.sd)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"observe": wide_observe}, ["log_observation disagrees with observe"]),
        ({"log_initial": wrong_log_initial}, ["log_initial disagrees with initial"]),
        (
            {"proposal": proposal, "log_proposal": late_log_proposal},
            ["log_proposal disagrees with proposal", "the guided filter's evidence"],
        ),
        (
            {
                "proposal": proposal,
                "log_proposal": log_proposal,
                "log_transition": variance_for_sd,
            },
            ["log_transition disagrees", "the guided filter's evidence"],
        ),
        ({"proposal": proposal}, ["the guided filter fails"]),
    ],
)
def test_each_wrong_function_is_accused_and_no_other(y, changes, words):
    found = check_model(model(**changes), y, P)
    problems = [item.text for item in found.problems]
    assert len(problems) == len(words), str(found)
    for text, start in zip(problems, words, strict=True):
        assert text.startswith(start)


def test_a_lookahead_that_forbids_too_much_is_found(y):
    def forbidding(y, x):
        return 0.0 if x > 0.0 else -math.inf

    found = check_model(model(log_lookahead=forbidding), y, P)
    assert "the auxiliary filter" in found.problems[0].text


@pytest.mark.parametrize("each", [numpy_volatility, python_volatility])
def test_other_dialects_are_checked_too(each):
    found = check_model(each, None, VOLATILITY, n=100)
    assert found.ok, str(found)
    assert "the functions can be called" in str(found)
    assert "log_transition agrees with transition" in str(found)
    assert "log_observation agrees with observe" in str(found)


@pytest.mark.parametrize("kind", [StateSpaceModel, VectorModel])
def test_several_components_are_checked(kind):
    found = check_model(trend(kind), None, TREND, n=200)
    assert found.ok, str(found)
    assert "log_transition agrees with transition" in str(found)
    assert "log_observation agrees with observe" in str(found)
    assert "log_proposal agrees with proposal" in str(found)


def test_counts_are_summed(y):
    counts = np.random.default_rng(0).poisson(3.0, 20).astype(float)
    options = {"log_observation": lambda y, x: poisson_logpmf(y, 3.0 * math.exp(x))}
    right = model(observe=lambda rng, x: rng.poisson(3.0 * math.exp(x)), **options)
    assert check_model(right, counts, P).ok
    wrong = model(observe=lambda rng, x: rng.poisson(3.6 * math.exp(x)), **options)
    assert "log_observation disagrees" in check_model(wrong, counts, P).problems[0].text


def test_parameters_come_from_the_prior(y):
    found = check_model(model(prior=PRIOR), y)
    assert found.ok, str(found)
    assert "parameters: the best of 20 draws of the prior, rho=" in str(found)
    found = check_model(model(prior=PRIOR))
    assert "parameters: a draw of the prior, rho=" in str(found)


def test_covariates_are_passed_on(y):
    moved = model(
        covariates=float,
        transition=lambda rng, x, u, p: rng.normal(x + u, p.sd),
        log_transition=lambda x, x_prev, u, p: normal_logpdf(x, x_prev + u, p.sd),
    )
    assert check_model(moved, y, P, u=np.linspace(-1.0, 1.0, len(y))).ok
    assert check_model(moved, None, P, u=np.linspace(-1.0, 1.0, 30)).ok


def test_missing_functions_are_what_cannot_be_told(y):
    found = check_model(model(observe=None), y, P)
    assert found.ok
    text = text_of(found, "cannot tell")
    assert "whether densities are finite on simulated data" in text
    assert "whether log_observation is right: there is no observe" in text


def test_all_missing_data_is_no_problem():
    gaps = np.full(10, np.nan)
    assert check_model(model(), gaps, P).ok


def test_one_observation_is_enough_to_start():
    found = check_model(model(), np.array([0.3]), P)
    assert found.ok
    assert "log_transition agrees with transition: there is no place" in str(found)


def test_what_does_not_compile_is_a_problem(y):
    found = check_model(model(transition=lambda rng, x, p: rng.normal(x, p.sdd)), y, P)
    assert not found.ok
    assert len(found.items) == 1
    assert "Params has no field 'sdd'" in str(found)


def test_a_nan_density_is_a_problem(y):
    found = check_model(model(log_observation=lambda y, x: math.log(x)), y, P)
    assert "a density of the model is nan at time 0, particle" in str(found)


def test_data_that_no_particle_explains_are_a_problem(y):
    bad = y.copy()
    bad[7] = 1e200
    found = check_model(model(), bad, P)
    assert "on the data all weights are zero at t = 7, where y = 1e+200" in str(found)
    # The other checks go on at simulated states.
    assert "log_transition agrees with transition" in str(found)


def test_an_outlier_is_pointed_at(y):
    odd = y.copy()
    odd[11] = 9.0
    found = check_model(model(), odd, P)
    assert found.ok
    assert "at t = 11, where y = 9.0" in text_of(found, "cannot tell")


def test_noisy_evidence_asks_for_more_particles(y):
    found = check_model(model(), y, (0.8, 0.4, 0.01), n=20)
    assert found.ok
    assert "roughly" in str(found)


def test_a_prior_that_misses_the_data_is_a_problem():
    far = model(prior={**PRIOR, "noise": stats.uniform(1e-9, 1e-9)})
    found = check_model(far, np.full(5, 1e200))
    assert "at 0 of them the evidence is positive" in found.problems[0].text


def test_calibration_is_uniform_for_a_right_model():
    # 200 series; exact apart from the filter's noise, which is small here.
    found = calibrate(model(prior=PRIOR), None, 20, 200, 300, 30, 1)
    assert found.ranks.shape == (200, 2)
    assert found.failed == 0
    assert found.noise < 0.3
    assert min(uniformity(found.ranks[:, k]) for k in range(2)) > 1e-4


def test_calibration_finds_a_wrong_observe(y):
    # The negative twin: noise drawn half as large again as the density says.
    wrong = model(prior=PRIOR, observe=wide_observe)
    found = calibrate(wrong, None, 20, 200, 300, 30, 1)
    assert uniformity(found.ranks[:, 1]) < 1e-4
    text = str(check_model(wrong, y, P, calibration=200))
    assert "simulation-based calibration" in text
    assert "2 problems found" in text


def test_calibration_says_when_it_cannot(y):
    assert "needs a prior and observe" in str(check_model(model(), y, P, calibration=5))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"y": [0.0]}, "needs params, or a model with a prior"),
        ({"params": P, "n": 0}, "n must be at least 1"),
        ({"params": P, "calibration": -1}, "calibration must be a number of series"),
        ({"params": P, "y": []}, "at least one observation"),
    ],
)
def test_bad_arguments_are_exceptions(arguments, words):
    with pytest.raises(ValueError, match=words):
        check_model(model(), **arguments)
    with pytest.raises(ValueError, match="needs y, or a model with observe"):
        check_model(model(observe=None), params=P)


def test_findings_print_aligned():
    items = (Finding("ok", "fine"), Finding("problem", "two\nlines", "do this"))
    assert str(Findings(items)) == (
        "OK           fine\n"
        "PROBLEM      two\n"
        "             lines\n"
        "             -> do this\n"
        "1 problem found."
    )


def test_python_models_are_checked_with_fewer_draws(y):
    slow = PythonModel(**RIGHT)
    found = check_model(slow, y[:10], P, n=50)
    assert "log_transition agrees with transition (5 places, 400 draws each)" in str(found)
    wrong = PythonModel(**{**RIGHT, "log_transition": variance_for_sd})
    assert not check_model(wrong, y[:10], P, n=50).ok
