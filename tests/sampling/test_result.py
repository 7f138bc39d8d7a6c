"""A result says what was found, how, and in words how far to trust it."""

from __future__ import annotations

import math
import re
from dataclasses import FrozenInstanceError, replace

import numba
import numpy as np
import pytest
from scipy.stats import norm, uniform

from aisle_smc import sample
from aisle_smc.sampling.estimates import Estimate
from aisle_smc.sampling.findings import Findings
from aisle_smc.sampling.session import Session
from aisle_smc.weighted import WeightedDraws
from tests.sampling import toys
from tests.sampling.toys import QUIET, score

TOY = toys.conjugate()


@pytest.fixture(scope="module")
def result():
    return TOY.run()


@pytest.fixture(scope="module")
def cut():
    return TOY.run(max_evaluations=700)


@pytest.fixture(scope="module")
def replicates():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "_proposal", lambda self: None)
        return TOY.run(n=100)


# --- numbers -------------------------------------------------------------------------------------


def test_the_posterior_and_its_weights(result):
    assert isinstance(result.posterior, WeightedDraws)
    assert result.names == ("a", "b")
    n = result.posterior.n
    assert result.x.shape == (n, 2)
    assert result.weights.shape == result.log_likelihood.shape == (n,)
    assert result.weights.sum() == pytest.approx(1.0)
    assert result.ess == pytest.approx(1.0 / np.square(result.weights).sum())
    mean = result.weights @ result.x
    np.testing.assert_allclose(result.mean, mean)
    away = result.x - mean
    np.testing.assert_allclose(result.covariance, (away.T * result.weights) @ away, atol=1e-12)
    np.testing.assert_allclose(result.sd**2, np.diag(result.covariance), rtol=1e-12)
    np.testing.assert_array_equal(result["b"], result.x[:, 1])
    np.testing.assert_allclose(result.expect(np.square), result.mean**2 + result.sd**2)
    spread = np.sqrt(1.0 / (1.0 / toys.NOISE**2 + 1.0 / toys.SPREAD**2))
    q = norm.ppf([0.05, 0.5, 0.95])[:, None] * spread + TOY.mean
    np.testing.assert_allclose(result.quantile([0.05, 0.5, 0.95]), q, atol=0.08)
    assert result.quantile(0.5).shape == (2,)
    with pytest.raises(KeyError, match="no parameter 'c'"):
        result["c"]


def squares(x):
    return np.square(x)


def test_errors_of_averages_are_those_of_repetitions():
    """Of 24 runs by each method, with the second moments known."""
    var = 1.0 / (1.0 / toys.NOISE**2 + 1.0 / toys.SPREAD**2)
    truth = TOY.mean**2 + var
    drawn = [TOY.run(seed=seed) for seed in range(24)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "_proposal", lambda self: None)
        options = {"n": 100, "evidence_error": 0.05}
        repeated = [TOY.run(seed=seed, **options) for seed in range(24)]
    for method, runs in (("draws", drawn), ("replicates", repeated)):
        assert {r.method for r in runs} == {method}
        z = np.array([(r.expect(squares) - truth) / r.standard_error(squares) for r in runs])
        assert np.abs(z).max() < 4.0
        assert 0.7 < np.sqrt(np.mean(z**2)) < 1.4


def test_the_density_is_that_of_the_posterior(result):
    prior = result.posterior.prior
    expected = toys.normal_log_likelihood(result.x) + prior.log_density(result.x)
    np.testing.assert_allclose(result.posterior.log_density, expected, atol=1e-9)
    assert result.blobs is None


def test_draws_of_equal_weight(result):
    draws = result.draws(2000)
    assert draws.shape == (2000, 2)
    assert np.isin(draws[:, 0], result.x[:, 0]).all()
    np.testing.assert_array_equal(draws, result.draws(2000))
    assert not (draws == result.draws(2000, seed=1)).all()
    error = result.sd / math.sqrt(1000)
    assert (np.abs(draws.mean(axis=0) - TOY.mean) < 5 * error).all()
    assert (np.abs(draws.std(axis=0) / result.sd - 1.0) < 0.1).all()


def test_no_evidence_of_a_part(result):
    """Neither of a selection nor of equally weighted draws: only the whole run has one."""
    part = result.posterior.select(result.x[:, 0] > 1.0)
    for thing in (part, result.posterior):
        assert not hasattr(thing, "log_evidence")
        assert not hasattr(thing, "log_evidence_error")
    assert isinstance(result.draws(10), np.ndarray)
    # The log-weights are normalised, so that none can be read off them.
    assert float(np.logaddexp.reduce(part.log_w)) == pytest.approx(0.0, abs=1e-9)
    assert float(np.logaddexp.reduce(result.posterior.log_w)) == pytest.approx(0.0, abs=1e-9)
    assert part.summary()["a"]["mean"] > result.summary()["a"]["mean"]


def test_every_estimate_is_there(result, cut, replicates):
    assert set(result.estimates) == {"draws", "pool"}
    assert set(cut.estimates) == {"pool"}
    assert set(replicates.estimates) == {"replicates", "pool"}
    for one in (result, cut, replicates):
        chosen = one.estimates[one.method]
        assert isinstance(chosen, Estimate)
        assert one.log_evidence == chosen.log_evidence
        assert one.log_evidence_error == chosen.error
        assert one.khat == chosen.khat or math.isnan(one.khat)
        for estimate in one.estimates.values():
            # The error of the pool leaves a part out.
            assert abs(estimate.log_evidence - TOY.log_evidence) < 8 * estimate.error
    assert (result.method, cut.method, replicates.method) == ("draws", "pool", "replicates")


def test_where_the_time_went(result, replicates):
    assert set(result.seconds) == {"target", "fitting", "guessing", "exploring", "drawing"}
    assert set(replicates.seconds) >= {"replicating"}
    for one in (result, replicates):
        assert all(taken >= 0.0 for taken in one.seconds.values())
        phases = sum(one.seconds[p] for p in one.seconds if p not in ("target", "fitting"))
        assert one.total_seconds == pytest.approx(phases)
        assert one.seconds["target"] < one.total_seconds
        assert one.seconds["fitting"] < one.seconds["exploring"]


def test_the_trace_tells_the_run(result, replicates):
    phases = [step.phase for step in result.trace]
    assert phases[0] == "prior"
    assert phases[-1] == "final"
    assert [p for i, p in enumerate(phases) if p not in phases[:i]] == [
        p for p in ("prior", "tempering", "nested", "stay", "final") if p in phases
    ]
    evaluations = [step.evaluations for step in result.trace]
    assert evaluations == sorted(evaluations)
    assert evaluations[-1] == result.evaluations
    seconds = [step.seconds for step in result.trace]
    assert seconds == sorted(seconds)
    betas = [step.beta for step in result.trace]
    assert betas[0] == 0.0
    assert betas[-1] == 1.0
    assert result.trace[-1].error == result.log_evidence_error
    assert replicates.trace[-1].phase == "replicates"
    assert replicates.trace[-1].error == replicates.log_evidence_error


def test_results_cannot_be_changed(result):
    with pytest.raises(FrozenInstanceError):
        result.log_evidence = 0.0


# --- words ---------------------------------------------------------------------------------------


def test_words_for_a_good_result(result):
    text = repr(result)
    n = result.posterior.n
    assert text.startswith(f"SampleResult: 2 parameters, {n} weighted draws, ESS {result.ess:.0f}")
    value = f"{result.log_evidence:.3f} +- {result.log_evidence_error:.3f}"
    assert f"log-evidence {value} (from independent draws of a frozen proposal, k-hat" in text
    assert "nothing found speaks against either" in text
    assert f"{result.evaluations} evaluations (vectorised) in " in text
    assert result.trusted
    assert result.notes == ()
    assert "note:" not in text


@pytest.mark.parametrize("workers", [1, 2])
def test_words_for_seconds_of_several_workers(workers):
    """Added up over workers they may exceed those of the run."""
    text = repr(TOY.run(workers=workers))
    alone = (
        r"evaluations \(vectorised\) in [\d.]+ s, of which [\d.]+ s in the target and [\d.]+ s fit"
    )
    assert bool(re.search(alone, text)) == (workers == 1)
    assert ("s in the target, added up over 2 workers" in text) == (workers == 2)


def test_words_for_a_run_cut_short(cut):
    text = repr(cut)
    assert "stopped by max_evaluations before it was done" in text
    assert "(from the exploration alone" in text
    assert "not unbiased" in text
    assert "refine() goes on" in text
    assert "speaks against either" not in text
    assert not cut.trusted


def test_words_for_replicates(replicates):
    assert "(from samplers that no longer adapt" in repr(replicates)
    far = replace(replicates, log_evidence_error=0.7)
    assert "the replicates differ too much for their mean to be known" in repr(far)
    assert not far.trusted


@pytest.mark.parametrize(
    ("khat", "even", "words"),
    [
        (0.2, False, "nothing found speaks against"),
        (0.6, False, "hardly have a variance: the error may be too small"),
        (0.9, False, "k-hat 0.90 says the weights have no reliable mean"),
        (0.9, True, "k-hat 0.90 but no weight stands out)"),
    ],
)
def test_words_for_tails(result, khat, even, words):
    estimate = replace(result.estimates["draws"], khat=khat, even=even)
    changed = replace(result, khat=khat, estimates={"draws": estimate})
    assert words in repr(changed)
    assert changed.trusted is (even or khat < 0.5)


def test_replicates_honour_the_effective_sample_size():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "_proposal", lambda self: None)
        few, short = (TOY.run(n=100, ess=ess, evidence_error=0.5) for ess in (100.0, 1e5))
        many = few.refine(ess=600.0)
        assert few.ess < 600.0
        # And no more than was needed: the last replicate has 50 draws.
        assert 600.0 <= many.ess < 660.0
        for one in (few, many):
            assert "less than was asked for" not in repr(one)
        # Three times what exploring took is enough, unless refine() asks for more.
        assert short.ess < 1e5
        words = f"less than was asked for (ESS {short.ess:.0f} of 100000); refine() makes more"
        assert words in repr(short)
        more = short.refine()
        assert more.ess > short.ess
    strict = replace(few, aim=replace(few.aim, evidence_error=1e-3))
    assert f"(error {few.log_evidence_error:.3f} of 0.001); refine()" in repr(strict)
    # It is a matter of patience; what speaks against so few replicates is their number alone.
    assert not short.trusted
    assert "so few replicates do not show" in repr(short)


def test_words_for_the_higher_of_two_estimates(result, monkeypatch):
    draws = result.estimates["draws"]
    other = replace(draws, log_evidence=draws.log_evidence + 1.0, error=0.05)
    both = replace(result, method="replicates", estimates={"draws": draws, "replicates": other})
    words = "the higher of two estimates, which errs upwards if neither misses a part"
    assert words not in repr(both)
    monkeypatch.setattr(Findings, "trusted", False)
    assert words in repr(both)
    assert "; one that misses a part of the posterior is too low" in repr(both)
    assert words not in repr(result)


def test_words_for_one_draw_that_makes_the_error(result):
    estimate = replace(result.estimates["draws"], dominated=True)
    for method in ("draws", "reweighted"):
        changed = replace(result, khat=0.2, method=method, estimates={method: estimate})
        assert "one draw makes more than a fifth of the variance of the weights" in repr(changed)
        assert not changed.trusted
    assert not result.estimates["draws"].dominated


def test_words_for_estimates_that_disagree(result):
    draws = result.estimates["draws"]
    other = replace(draws, log_evidence=draws.log_evidence + 1.0, error=0.05)
    changed = replace(result, estimates={"draws": draws, "replicates": other})
    assert "two estimates disagree: draws" in repr(changed)
    assert not changed.trusted
    near = replace(other, log_evidence=draws.log_evidence + 0.1)
    assert replace(result, estimates={"draws": draws, "replicates": near}).trusted


@pytest.mark.parametrize(("power", "improper"), [(0.9, True), (4.0, False)])
def test_words_for_a_density_that_may_have_no_integral(power, improper):
    """Any finite evidence of the first one is an artefact, and the tail of the weights says so."""
    init = np.random.default_rng(1).standard_t(3, size=(50, 1))
    found = sample(
        lambda x: -power * np.log1p(np.abs(x[:, 0])), init=init, max_evaluations=60_000, **QUIET
    )
    assert ("a density without a finite integral" in repr(found)) is improper
    assert found.trusted is not improper
    if not improper:
        assert abs(score(found, math.log(2.0 / (power - 1.0)))) < 4


@pytest.mark.parametrize("limit", [None, 60_000])
def test_a_flat_prior_on_separable_data_is_seen(limit):
    """Logistic regression of separable data: without a prior the likelihood has no integral."""
    x = np.array([-2.0, -1.0, 1.5, 2.0])

    def log_likelihood(w):
        return -np.logaddexp(0.0, -np.abs(x) * w).sum(axis=-1)

    init = np.random.default_rng(1).normal(1.0, 1.0, size=(50, 1))
    flat = sample(log_likelihood, init=init, vectorized=True, max_evaluations=limit, **QUIET)
    assert flat.stopped == "growth"
    assert not flat.trusted
    assert "its population only grows, as that of a density without a finite" in repr(flat)
    assert flat.refine().stopped == "growth"
    proper = sample(log_likelihood, [norm(0, 2)], vectorized=True, **QUIET)
    assert "finite integral" not in repr(proper)
    assert proper.stopped is None


@pytest.mark.parametrize("width", [1e-2, 1e-4])
def test_first_draws_in_a_small_ball_are_no_reason_to_stop(width):
    init = 1.1 + width * np.random.default_rng(1).normal(size=(20, 2))
    found = sample(lambda x: -0.5 * np.square(x - 1.0).sum(axis=1), init=init, **QUIET)
    assert found.stopped is None
    assert abs(score(found, math.log(2.0 * math.pi))) < 4


# --- other tools ---------------------------------------------------------------------------------


def test_summary(result):
    summary = result.summary()
    assert summary["a"]["mean"] == pytest.approx(result.mean[0])
    assert summary["b"]["sd"] == pytest.approx(result.sd[1])
    assert summary["a"]["hdi_3%"] < TOY.mean[0] < summary["a"]["hdi_97%"]
    assert "mcse_mean" in str(summary)


def test_to_arviz(result, cut):
    pytest.importorskip("xarray")
    tree = result.to_arviz()
    assert tree.attrs["log_evidence"] == result.log_evidence
    assert tree.attrs["log_evidence_error"] == result.log_evidence_error
    assert tree.attrs["log_evidence_method"] == "draws"
    assert tree.attrs["evaluations"] == result.evaluations
    assert "a ~ norm(loc=0, scale=2)" in tree.attrs["prior"]
    assert set(tree["posterior"].data_vars) == {"a", "b"}
    assert tree["weighted_posterior"].sizes["particle"] == result.posterior.n
    lp = tree["weighted_sample_stats"]["lp"].values
    np.testing.assert_array_equal(lp, result.posterior.log_density)
    assert cut.to_arviz().attrs["log_evidence_method"] == "pool"


def test_figures(result, cut, replicates):
    figure = pytest.importorskip("matplotlib.figure")
    from matplotlib import pyplot

    for one in (result, cut, replicates):
        for made in (one.plot_pairs(), one.plot_run()):
            assert isinstance(made, figure.Figure)
            made.canvas.draw()
    pyplot.close("all")


def test_progress_is_shown_on_the_error_stream(capsys):
    TOY.run(progress=True)
    said = capsys.readouterr()
    assert said.out == ""
    assert "sample: " in said.err
    assert "log-evidence" in said.err
    TOY.run()
    assert capsys.readouterr() == ("", "")


@numba.njit
def with_words(a, b):
    return -((a - 1.0) ** 2) - b * b, "left" if a < 0.0 else "right"


@pytest.mark.parametrize("progress", [True, False])
def test_what_is_to_know_of_the_evaluation_is_said_once(capsys, progress):
    found = sample(with_words, TOY.arguments["prior"], **{**QUIET, "progress": progress})
    words = "the Numba function is called from Python for each point"
    assert [note.startswith(words) for note in found.notes] == [True]
    assert repr(found).splitlines()[-1].startswith(f"  note: {words}")
    assert capsys.readouterr().err.count(words) == progress
    assert found.refine(ess=1200.0).notes == found.notes
    assert capsys.readouterr().err.count(words) == 0
    assert found.trusted


# --- changed posteriors --------------------------------------------------------------------------


def test_reweighting_to_another_likelihood(result):
    changed = np.array([1.0, -0.3]), np.array([0.5, 0.35])

    def new(x):
        return norm.logpdf(changed[0], x, changed[1]).sum(axis=1)

    found = result.reweight(new)
    truth = norm.logpdf(changed[0], 0.0, np.hypot(changed[1], toys.SPREAD)).sum()
    assert found.method == "reweighted"
    assert abs(score(found, truth)) < 4
    assert found.log_evidence_error < 0.02
    mean = changed[0] * toys.SPREAD**2 / (toys.SPREAD**2 + changed[1] ** 2)
    assert (np.abs(found.mean - mean) < 5 * found.sd / math.sqrt(found.ess)).all()
    assert found.trusted
    assert "from the draws of another posterior" in repr(found)
    np.testing.assert_allclose(found.log_likelihood, new(result.x))
    # What the change cost, not what the first run did.
    assert found.evaluations == result.posterior.n
    assert set(found.seconds) == {"target", "fitting", "reweighting"}
    assert found.seconds["target"] < found.total_seconds == found.seconds["reweighting"]
    assert f"{result.posterior.n} evaluations more (vectorised) in " in repr(found)
    assert "fitting" not in repr(found)
    # Back again.
    back = found.reweight(TOY.function)
    assert back.log_evidence == pytest.approx(result.log_evidence, abs=1e-9)
    np.testing.assert_allclose(back.weights, result.weights, rtol=1e-7)


def test_reweighting_to_another_prior(result):
    found = result.reweight(prior={"a": norm(0.3, 1.5), "b": norm(-0.1, 1.2)})
    spread, centre = np.array([1.5, 1.2]), np.array([0.3, -0.1])
    truth = norm.logpdf(toys.OBSERVED, centre, np.hypot(toys.NOISE, spread)).sum()
    assert abs(score(found, truth)) < 4
    assert found.trusted
    assert found.posterior.prior.distributions["a"].kwds or found.posterior.prior.distributions
    assert found.evaluations == 0
    assert "  0 evaluations more (vectorised) in " in repr(found)
    same = result.reweight()
    assert same.log_evidence == pytest.approx(result.log_evidence, abs=1e-12)


def test_draws_that_do_not_cover_the_new_posterior_are_said_to():
    toy = toys.conjugate()
    found = toy.run().reweight(lambda x: norm.logpdf([3.2, -0.4], x, [0.2, 0.3]).sum(axis=1))
    assert not found.trusted
    assert "do not cover the new posterior: sample it afresh" in repr(found)


def test_reweighting_a_bare_density_and_a_joint_prior():
    box = toys.boundary().run(n=300)
    found = box.reweight(lambda u: -18.0 * u.sum(axis=1))
    assert abs(score(found, 4.0 * math.log((1.0 - math.exp(-18.0)) / 18.0))) < 4
    joint = toys.cut_off_joint().run()
    called = []

    def new(x):
        called.append(np.atleast_2d(x))
        return norm.logpdf(x, toys.CENTRE + 0.02, toys.WIDTH).sum(axis=-1)

    found = joint.reweight(new)
    low, high = (norm.cdf((end - toys.CENTRE - 0.02) / toys.WIDTH) for end in (0.0, 1.0))
    assert abs(score(found, float(np.log(high - low).sum()))) < 4
    inside = np.concatenate(called)
    assert ((inside > 0.0) & (inside < 1.0)).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prior": {"a": norm(0, 2)}}, "must have the same free parameters, a, b; got a"),
        ({"prior": {"b": norm(0, 2), "a": norm(0, 2)}}, "the same free parameters"),
        ({"prior": {"a": norm(0, 2), "b": norm(0, 2), "c": 1.0}}, "must fix and tie the same"),
    ],
)
def test_priors_that_are_not_comparable(result, changes, words):
    with pytest.raises(ValueError, match=words):
        result.reweight(**changes)


def test_what_cannot_be_reweighted(result, cut, replicates):
    for one in (cut, replicates):
        with pytest.raises(ValueError, match="needs independent draws of a frozen proposal"):
            one.reweight(TOY.function)
    half = toys.half().run()
    if half.method == "draws":
        with pytest.raises(ValueError, match="positive where the old one is zero"):
            half.reweight(lambda x: -np.square(x).sum(axis=1))
    inside = sample(lambda a: -a, {"a": uniform(0, 1)}, **QUIET)
    with pytest.raises(ValueError, match=r"must not reach beyond the old one, \(0, 1\), where"):
        inside.reweight(prior={"a": uniform(0, 2)})
    with pytest.raises(ValueError, match="a reweighted result cannot be refined"):
        result.reweight().refine()
