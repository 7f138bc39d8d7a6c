"""Particle marginal Metropolis-Hastings: the right law, the same bits, and nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from aisle_smc import checkpoint
from aisle_smc.distributions import Mixture, StudentT
from aisle_smc.errors import AisleError
from aisle_smc.ssm import chain as chains
from aisle_smc.ssm import run as runs
from aisle_smc.ssm.adaptation import RandomWalk, fit_mixture, reliable
from aisle_smc.ssm.blocks import Blocks, seat
from aisle_smc.ssm.chain import Chain
from aisle_smc.ssm.evidence import EvidenceFilter
from aisle_smc.ssm.model import StateSpaceModel
from aisle_smc.ssm.pmmh import pmmh
from aisle_smc.ssm.proposals import Guided
from aisle_smc.ssm.vector import VectorModel
from aisle_smc.streams import stream
from tests.oracles.nile_grid import MODEL, Params, Y, exact

QUIET = {"progress": False}
SHORT = Y[:12]


@cache
def truth():
    return exact()


def z_scores(posterior):
    """(estimate - truth) / Monte Carlo error, of means and spreads of the log-parameters."""
    import arviz_stats

    scores = {}
    for name in posterior.names:
        draws = np.log(posterior[name])
        mean, sd = truth().mean[name], truth().sd[name]
        error = float(arviz_stats.mcse(draws, method="mean"))
        scores[f"mean {name}"] = (draws.mean() - mean) / error
        square = (draws - mean) ** 2
        error = float(arviz_stats.mcse(square, method="mean"))
        scores[f"variance {name}"] = (square.mean() - sd**2) / error
    for t in (0, 28, 50, 99):
        draws = posterior.states[:, :, t].astype(np.float64)
        error = float(arviz_stats.mcse(draws, method="mean"))
        scores[f"state {t}"] = (draws.mean() - truth().state_mean[t]) / error
    return scores


# --- the law -------------------------------------------------------------------------------------


def test_nile_agrees_with_the_grid():
    # n = 100 gives the log-evidence a standard deviation of 0.94.
    posterior = pmmh(MODEL, Y, 100, draws=1500, tune=500, seed=1, **QUIET)
    scores = z_scores(posterior)
    assert max(np.abs(list(scores.values()))) < 3.0, scores
    rows = posterior.summary()
    assert max(row.values["r_hat"] for row in rows.rows) < 1.02
    # Power: the standard deviations are known to about 3 %.
    assert min(row.values["ess_bulk"] for row in rows.rows) > 500


def renew_the_current_estimate(monkeypatch):
    """Turn the chain into Monte Carlo within Metropolis, which has another invariant law."""
    step = Chain._step

    def wrong(self, phase):
        fresh = self._evaluate(self.point.z, None, keep=not phase.adapt)
        if fresh.log_evidence > -np.inf:
            self.point = fresh
        step(self, phase)

    monkeypatch.setattr(Chain, "_step", wrong)


def test_renewing_the_current_estimate_is_noticed(monkeypatch):
    # The negative twin, at n where the noise (standard deviation 2) makes the bias large.
    renew_the_current_estimate(monkeypatch)
    posterior = pmmh(MODEL, Y, 25, draws=1000, tune=300, seed=2, **QUIET)
    scores = z_scores(posterior)
    assert max(abs(scores[f"{what} {name}"]) for what in ("mean", "variance")
               for name in posterior.names) > 4.0, scores  # fmt: skip


def test_correlated_nile_agrees_with_the_grid():
    posterior = pmmh(MODEL, Y, 60, draws=1500, tune=500, seed=4, correlation=Blocks(10), **QUIET)
    scores = z_scores(posterior)
    assert max(np.abs(list(scores.values()))) < 3.5, scores


def prior_recovery(replicates, n, draws=150, tune=80):
    """z-scores of E[E(f(theta) | y)] = E[f(theta)] over data drawn from the prior predictive.

    Unlike ranks it needs no independent draws, only a chain that has forgotten its start.
    """
    length, names = 6, MODEL.prior.free
    rows = []
    for r in range(replicates):
        rng = stream(99, r)
        theta = MODEL.prior.sample(rng, 1)[0]
        values = dict(zip(names, theta, strict=True))
        x = rng.normal(1000.0, np.sqrt(1e5)) + np.append(
            0.0, np.cumsum(rng.normal(0.0, values["level"], length - 1))
        )
        y = rng.normal(x, values["noise"])
        posterior = pmmh(MODEL, y, n, draws=draws, tune=tune, chains=1, workers=1, seed=r, **QUIET)
        found, real = np.log(posterior.parameters[0]), np.log(theta)
        paths = posterior.states[0].astype(np.float64)
        rows.append(
            [
                *(found.mean(0) - real),
                *((found**2).mean(0) - real**2),
                (found[:, 0] * found[:, 1]).mean() - real[0] * real[1],
                (paths[:, 2] - x[2]).mean(),
                ((paths[:, 2] - 1000.0) ** 2).mean() - (x[2] - 1000.0) ** 2,
                (paths[:, 5] * paths[:, 0]).mean() - x[5] * x[0],
            ]
        )
    rows = np.array(rows)
    return rows.mean(0) / (rows.std(0, ddof=1) / np.sqrt(replicates))


def test_prior_recovery():
    z = prior_recovery(80, 8)
    assert np.abs(z).max() < 4.0, z


@pytest.mark.slow
def test_prior_recovery_at_length():
    # Fewer particles would be as right, but a short chain would not forget its start.
    z = prior_recovery(600, 12, draws=500, tune=150)
    assert np.abs(z).max() < 4.0, z


@pytest.mark.slow
def test_prior_recovery_notices_a_renewed_estimate(monkeypatch):
    renew_the_current_estimate(monkeypatch)
    assert np.abs(prior_recovery(600, 12, draws=500, tune=150)).max() > 4.0


def test_prior_alone_is_drawn_without_data():
    # With nothing observed every evidence is 1: an ordinary Metropolis chain on the prior.
    posterior = pmmh(MODEL, np.full(3, np.nan), 2, draws=1500, tune=500, seed=5, **QUIET)
    assert np.all(posterior.log_evidences == 0.0)
    for name in posterior.names:
        import arviz_stats

        p = MODEL.prior.distributions[name].cdf(posterior[name])
        for f, expected in ((p, 1 / 2), (p**2, 1 / 3)):
            assert abs(f.mean() - expected) < 4.0 * float(arviz_stats.mcse(f, method="mean"))


# --- bits ----------------------------------------------------------------------------------------


def same(a, b):
    fields = "parameters states log_likelihood log_evidences log_prior accepted degenerate n"
    return all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in fields.split()
    ) and np.array_equal(a.log_evidence_sd, b.log_evidence_sd)


def test_same_bits_for_any_number_of_workers():
    one, two, eight = (
        pmmh(MODEL, SHORT, draws=60, tune=60, seed=3, workers=w, **QUIET) for w in (1, 2, 8)
    )
    assert same(one, two)
    assert same(one, eight)
    other = pmmh(MODEL, SHORT, draws=60, tune=60, seed=4, **QUIET)
    assert not np.array_equal(one.parameters, other.parameters)


def test_what_is_kept_belongs_together():
    posterior = pmmh(MODEL, SHORT, 20, draws=80, tune=40, seed=3, **QUIET)
    assert posterior.names == ("noise", "level")
    assert posterior.parameters.shape == (4, 80, 2)
    assert posterior.states.shape == (4, 80, 12)
    assert posterior.states.dtype == np.float64
    np.testing.assert_allclose(
        posterior.log_likelihood.sum(axis=2), posterior.log_evidences, rtol=1e-12
    )
    np.testing.assert_allclose(
        posterior.log_prior, MODEL.prior.log_density(posterior.parameters), rtol=1e-12
    )
    moved = np.any(np.diff(posterior.parameters, axis=1) != 0.0, axis=2)
    assert np.array_equal(moved, posterior.accepted[:, 1:])
    changed = np.any(np.diff(posterior.states, axis=1) != 0.0, axis=2)
    assert not changed[~moved].any()
    np.testing.assert_allclose(posterior.acceptance, posterior.accepted.mean(axis=1))


def interrupted(monkeypatch, after, error, **settings):
    """Run until so many updates of the progress, then stop with an error."""
    seen = [0]
    update = runs.Progress.update

    def counting(self, done, note):
        update(self, done, note)
        seen[0] += 1
        if seen[0] > after:
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(runs.Progress, "update", counting)
        return pmmh(MODEL, Y, **settings, **QUIET)


@pytest.mark.parametrize("correlation", [None, Blocks(5)])
def test_interrupted_run_continues_to_the_same_bits(tmp_path, monkeypatch, correlation):
    settings = {"n": 40, "draws": 300, "tune": 150, "seed": 8, "correlation": correlation}
    whole = pmmh(MODEL, Y, **settings, **QUIET)
    path = tmp_path / "run.aisle"
    stopped = 0
    for after in (0, 1, 0):
        try:
            interrupted(monkeypatch, after, KeyboardInterrupt, file=path, **settings)
        except KeyboardInterrupt as error:
            said, stopped = str(error), stopped + 1
    assert stopped
    assert f"the state is in {path}: make the same call again" in said
    posterior = pmmh(MODEL, Y, **settings, file=path, **QUIET)
    assert same(whole, posterior)
    # Finished: nothing is left to do, and more draws extend it.
    began = time.monotonic()
    assert same(whole, pmmh(MODEL, Y, **settings, file=path, **QUIET))
    assert time.monotonic() - began < 5.0
    longer = pmmh(MODEL, Y, **{**settings, "draws": 350}, file=path, **QUIET)
    assert same(longer, pmmh(MODEL, Y, **{**settings, "draws": 350}, **QUIET))
    assert np.array_equal(longer.parameters[:, :300], whole.parameters)
    assert same(whole, pmmh(MODEL, Y, **settings, file=path, **QUIET))


SCRIPT = """
import sys
from aisle_smc.ssm import run
from aisle_smc.ssm.pmmh import pmmh
from tests.oracles.nile_grid import MODEL, Y
run.SECONDS_BETWEEN_SAVES = 0.05
pmmh(MODEL, Y, 40, draws=int(sys.argv[2]), tune=150, seed=8, file=sys.argv[1], progress=False)
"""


def test_killed_run_continues_to_the_same_bits(tmp_path):
    path = tmp_path / "run.aisle"
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(path), "100000"], env=environment
    )
    try:
        begun = 0
        for _ in range(1200):
            if path.exists():
                begun = max(chain["phase"] for chain in checkpoint.load(path)["chains"])
            if begun == 3 or process.poll() is not None:
                break
            time.sleep(0.1)
        assert process.poll() is None
        assert begun == 3
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = [len(chain["which"]) for chain in checkpoint.load(path)["chains"]]
    draws = max(kept) + 50
    settings = {"n": 40, "draws": draws, "tune": 150, "seed": 8}
    continued = pmmh(MODEL, Y, **settings, file=path, **QUIET)
    assert same(continued, pmmh(MODEL, Y, **settings, **QUIET))


def test_full_disk_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "run.aisle"
    settings = {"n": 20, "draws": 100, "tune": 40, "seed": 8}
    pmmh(MODEL, SHORT, **settings, file=path, **QUIET)
    real = os.fsync
    calls = [0]

    def full(handle):
        calls[0] += 1
        if calls[0] > 1:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    settings["draws"] = 150
    with pytest.warns(RuntimeWarning, match="could not be written"):
        longer = pmmh(MODEL, SHORT, **settings, file=path, **QUIET)
    monkeypatch.undo()
    assert [len(c["which"]) for c in checkpoint.load(path)["chains"]] == [100] * 4
    assert same(longer, pmmh(MODEL, SHORT, **settings, file=path, **QUIET))
    assert [p.name for p in tmp_path.iterdir()] == ["run.aisle"]


def test_folder_that_does_not_exist_is_known_before_work(tmp_path, monkeypatch):
    monkeypatch.setattr(Chain, "start", None)
    with pytest.raises(FileNotFoundError):
        pmmh(MODEL, SHORT, 10, file=tmp_path / "no" / "run.aisle", **QUIET)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, "seed: the file has 0, this call 1"),
        ({"n": 11}, "n: the file has 10"),
        ({"tune": 6}, "tune"),
        ({"y": SHORT + 1.0}, "observations"),
        ({"threshold": 0.7}, "threshold"),
        ({"correlation": Blocks(2)}, "correlation"),
        ({"initial": [120.0, 40.0]}, "initial"),
        ({"model": "prior"}, "prior"),
        ({"model": "function"}, "model"),
    ],
)
def test_file_of_another_run_is_refused(tmp_path_factory, change, said):
    from dataclasses import replace

    settings = {"model": MODEL, "y": SHORT, "n": 10, "draws": 5, "tune": 5, **QUIET}
    path = tmp_path_factory.getbasetemp() / "once.aisle"
    pmmh(**settings, file=path)
    if change.get("model") == "prior":
        change = {"model": replace(MODEL, prior={**MODEL.prior.distributions, "level": 30.0})}
    if change.get("model") == "function":
        change = {"model": replace(MODEL, initial=lambda rng: rng.normal(1000.0, 300.0))}
    with pytest.raises(ValueError, match=said):
        pmmh(**{**settings, **change}, file=path)


# --- tuning --------------------------------------------------------------------------------------


def test_number_of_particles_is_chosen():
    posterior = pmmh(MODEL, Y, draws=20, tune=200, seed=1, **QUIET)
    assert posterior.n % 16 == 0
    assert 0.5 < posterior.log_evidence_sd < 1.0
    run = EvidenceFilter(MODEL, Y, posterior.n)
    at = Params(level=float(np.exp(truth().mean["level"])),
                noise=float(np.exp(truth().mean["noise"])))  # fmt: skip
    values = [run(at, stream(5, i)) for i in range(100)]
    assert 0.4 < np.std(values) < 1.1


def test_walk_finds_shape_and_acceptance():
    target = np.linalg.cholesky(np.array([[1.0, 0.9], [0.9, 1.0]]) * 25.0)
    inverse = np.linalg.inv(target)
    walk = RandomWalk(root=0.01 * np.eye(2), target=0.25)
    rng = np.random.default_rng(0)
    z, accepted = np.zeros(2), []
    for _ in range(4000):
        noise = rng.normal(size=2)
        new = walk.propose(z, noise)
        log_ratio = 0.5 * (np.sum((inverse @ z) ** 2) - np.sum((inverse @ new) ** 2))
        chance = np.exp(min(0.0, log_ratio))
        accepted.append(rng.random() < chance)
        z = new if accepted[-1] else z
        walk = walk.learn(noise, chance)
    assert np.all(np.triu(walk.root, 1) == 0.0)
    assert abs(np.mean(accepted[2000:]) - 0.25) < 0.05
    covariance = walk.root @ walk.root.T
    assert 0.8 < covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]) < 0.97
    before = walk.root
    assert np.all(np.abs(walk.rescale(0.9).root) >= np.abs(before))
    assert np.all(np.abs(walk.rescale(0.0).root) <= np.abs(before))


def test_learning_is_the_matrix_update():
    rng = np.random.default_rng(1)
    root = np.tril(rng.normal(size=(3, 3)))
    noise = rng.normal(size=3)
    walk = RandomWalk(root=root, target=0.2, steps=10)
    gain = min(1.0, 3 * 11 ** (-2 / 3)) * (0.7 - 0.2)
    middle = np.eye(3) + gain * np.outer(noise, noise) / (noise @ noise)
    new = walk.learn(noise, 0.7).root
    np.testing.assert_allclose(new @ new.T, root @ middle @ root.T, rtol=1e-10)


def test_mixture_density_integrates_and_matches_scipy():
    rng = np.random.default_rng(3)
    root = np.array([[2.0, 0.0], [-1.0, 0.5]])
    part = StudentT(location=np.array([1.0, -2.0]), root=root)
    z = rng.normal(size=(50, 2))
    expected = stats.multivariate_t(part.location, root @ root.T, df=5.0).logpdf(z)
    np.testing.assert_allclose(part.log_density(z), expected, rtol=1e-10)
    draws = rng.standard_t(4, size=(800, 2)) @ root.T
    q = fit_mixture(draws, np.ones(2))
    assert isinstance(q, Mixture)
    assert len(q.parts) == 3
    assert abs(q.weights.sum() - 1.0) < 1e-12
    # E_q[p / q] = 1 for a normal density p.
    new = q.sample(40_000, rng)
    ratio = np.exp(
        stats.multivariate_normal([0, 0], root @ root.T).logpdf(new) - q.log_density(new)
    )
    assert abs(ratio.mean() - 1.0) < 4.0 * ratio.std() / 200.0
    np.testing.assert_allclose(q.log_density(new)[3], q.log_density(new[3:4])[0])


@pytest.mark.parametrize("m", [1, 2, 30, 500])
def test_fit_survives_few_draws_all_alike(m):
    q = fit_mixture(np.ones((m, 3)), np.array([1.0, 2.0, 3.0]))
    assert np.all(np.isfinite(q.log_density(np.zeros((4, 3)))))


def test_lost_chains_do_not_count():
    z = np.zeros((3, 10, 1))
    z[2] = 50.0
    log_density = np.array([-10.0, -11.0, -80.0])[:, None] * np.ones((3, 10))
    assert reliable(z, log_density).shape == (20, 1)


# --- correlation ---------------------------------------------------------------------------------


def spread_ratio(*, sort):
    """Spread of the difference of two estimates with one block renewed, over that with all."""
    blocks = Blocks(20)
    run = EvidenceFilter(MODEL, Y, 100, sort=sort)
    p, rng, rngs = Params(level=38.0, noise=123.0), stream(1), blocks.generators()

    def estimate(keys):
        seat(rngs, keys)
        return run(p, rngs)

    near, far = [], []
    for _ in range(150):
        keys = blocks.draw(rng)
        value = estimate(keys)
        assert value == estimate(keys)
        near.append(value - estimate(blocks.renew(keys, rng)))
        far.append(value - estimate(blocks.draw(rng)))
    assert abs(np.mean(near)) < 4.0 * np.std(near) / np.sqrt(150)
    return np.std(near) / np.std(far)


def test_blocks_shrink_the_difference():
    # Independent blocks would give a ratio of sqrt(1 / 20) = 0.22.
    ratio = spread_ratio(sort=True)
    assert ratio < 0.5
    # Unsorted, a small change before a resampling is a large one after it.
    assert spread_ratio(sort=False) > 1.1 * ratio


def test_renewing_changes_one_block():
    blocks = Blocks(7)
    keys = blocks.draw(stream(0))
    new = blocks.renew(keys, stream(1))
    assert np.any(new != keys, axis=1).sum() == 1
    assert keys.dtype == np.uint64


# --- bad input and bad luck ----------------------------------------------------------------------


class Sd(NamedTuple):
    sd: float


def start(rng):
    return rng.normal(0.0, 1.0)


def wander(rng, x, p):
    return rng.normal(x, p.sd)


def near(y, x):
    return 0.0 if abs(y - x) < 0.5 else -np.inf


def bounded(**change):
    """A model whose evidence is zero unless all observations lie near the states."""
    return StateSpaceModel(
        **{
            "params": Sd,
            "initial": start,
            "transition": wander,
            "log_observation": near,
            "prior": {"sd": stats.gamma(2.0, scale=0.5)},
            **change,
        }
    )


def test_vanished_evidence_is_a_rejection_and_tallied():
    y = np.array([0.2, 0.9, 1.5, 1.4, 0.6, -0.4])
    posterior = pmmh(bounded(), y, 6, draws=300, tune=100, seed=1, **QUIET)
    assert posterior.degenerate.min() > 0
    assert np.isfinite(posterior.log_evidences).all()
    assert "evidence estimate of zero" in repr(posterior)


def test_no_place_to_start_is_an_error():
    with pytest.raises(AisleError, match="found no place to start"):
        pmmh(bounded(), np.array([0.0, 80.0]), 5, draws=5, tune=0, **QUIET)


def test_nan_density_is_an_error():
    model = bounded(log_observation=lambda y, x, p: np.log(0.5 - p.sd))
    with pytest.raises(ValueError, match="density of the model is nan"):
        pmmh(model, np.zeros(3), 5, draws=50, tune=50, seed=1, **QUIET)


def test_other_dialects_and_proposals():
    vector = VectorModel(
        params=Sd,
        initial=lambda rng, n: rng.normal(size=n),
        transition=lambda rng, x, p: rng.normal(x, p.sd),
        log_observation=lambda y, x: -0.5 * (y - x) ** 2,
        prior={"sd": stats.gamma(2.0, scale=0.5)},
    )
    y = np.array([0.1, 0.5, np.nan, 1.0])
    posterior = pmmh(vector, y, 8, draws=20, tune=20, chains=2, **QUIET)
    assert posterior.states.shape == (2, 20, 4)
    with pytest.raises(TypeError, match="compiled model"):
        pmmh(vector, y, 8, correlation=Blocks(2), **QUIET)
    with pytest.raises(ValueError, match="log_proposal"):
        pmmh(MODEL, SHORT, 8, proposal=Guided(), **QUIET)


@pytest.mark.parametrize("tune", [0, 1, 5])
def test_little_tuning(tune):
    posterior = pmmh(MODEL, SHORT, draws=15, tune=tune, chains=3, seed=2, **QUIET)
    assert posterior.parameters.shape == (3, 15, 2)


def test_initial_values():
    values = {"noise": 120.0, "level": 40.0}
    for initial in (values, [values, values], [120.0, 40.0], [[120.0, 40.0]] * 2):
        posterior = pmmh(MODEL, SHORT, 10, draws=3, tune=0, chains=2, initial=initial, **QUIET)
        assert np.all(np.abs(np.log(posterior.parameters / [120.0, 40.0])) < 4.0)
    with pytest.raises(ValueError, match="one for each of 2 chains"):
        pmmh(MODEL, SHORT, 10, chains=2, initial=[values] * 3, **QUIET)
    with pytest.raises(ValueError, match="must lie in"):
        pmmh(MODEL, SHORT, 10, initial={"noise": -1.0, "level": 40.0}, **QUIET)
    with pytest.raises(ValueError, match="missing: level"):
        pmmh(MODEL, SHORT, 10, initial={"noise": 1.0}, **QUIET)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"n": 2.5}, "n must be an int"),
        ({"draws": 0}, "draws must be at least 1"),
        ({"chains": 0}, "chains must be at least 1"),
        ({"tune": -1}, "tune must be an int >= 0"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"seed": -1}, "seed must be nonnegative"),
        ({"y": []}, "at least one observation"),
        ({"y": [1.0, np.inf]}, "finite"),
        ({"u": [1.0]}, "covariates"),
        ({"correlation": Blocks(13)}, "at most the 12 observations"),
        ({"correlation": 0.99}, "correlation must be Blocks"),
        ({"resampler": "systematic"}, "scheme"),
    ],
)
def test_bad_input_is_an_error_before_work(monkeypatch, change, said):
    monkeypatch.setattr(chains.Chain, "start", None)
    monkeypatch.setattr(runs.Run, "_compile", None)
    with pytest.raises((ValueError, TypeError), match=said):
        pmmh(**{"model": MODEL, "y": SHORT, "n": 10, **QUIET, **change})


def test_model_without_prior_is_an_error():
    for prior in (None, {"sd": 1.0}):
        with pytest.raises(ValueError, match="prior"):
            pmmh(bounded(prior=prior), SHORT, 10, **QUIET)


def test_progress_in_a_log(capsys, monkeypatch):
    from aisle_smc.ssm import progress

    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pmmh(MODEL, SHORT, 10, draws=20, tune=10, progress=True)
    said = capsys.readouterr().err
    assert "of 120 iterations" in said
    assert "acceptance" in said
    pmmh(MODEL, SHORT, 10, draws=20, tune=10, progress=False)
    assert capsys.readouterr().err == ""
