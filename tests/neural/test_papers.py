"""The studies of papers, small: their exact parts, the direction of their claims, their files."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from aisle_smc.neural import Ratio, estimator, on_copies, surrogate  # noqa: E402

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "papers"
sys.path.insert(0, str(FOLDER))
try:
    import aisle_appendix_b as appendix
    import rainforth_mnist as images
    import rainforth_snr as snr
finally:
    sys.path.remove(str(FOLDER))


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


class Given:
    """A normal proposal whose noise is given."""

    has_rsample = True

    def __init__(self, mean, sd, e):
        self.mean, self.sd, self.e = mean, sd, e

    def rsample(self, shape):
        return self.mean + self.sd * self.e

    def sample(self, shape):
        return self.rsample(shape).detach()

    def log_prob(self, z):
        normal = torch.distributions.Normal(self.mean, self.sd, validate_args=False)
        return normal.log_prob(z).sum(-1)


# --- Finke and Thiery, appendix B ----------------------------------------------------------------


def setting(**change):
    given = {
        "covariance": "identity",
        "dimension": 2,
        "particles": 10,
        "optimiser": "normalised",
        "iterations": 150,
        "replicates": 6,
    }
    return appendix.Setting(**{**given, **change})


@pytest.mark.parametrize("method", appendix.METHODS)
def test_moments_give_the_gradient_of_the_surrogate(method):
    chosen = setting(covariance="correlated", dimension=3, replicates=4, data=5)
    generator = torch.Generator().manual_seed(0)
    target = appendix.posteriors(chosen, generator)
    name, parameters = appendix.METHODS[method]
    rule = estimator(name, **parameters)
    phi = torch.randn(1, 4, 15, dtype=torch.float64, generator=generator).requires_grad_()
    e = torch.randn(4, 5, 7, 3, dtype=torch.float64, generator=generator)
    found = appendix.ascent(phi.detach(), e, target, [rule])
    error, sd = (values[0] for values in appendix.error_and_sd(phi, target))

    def log_joint(z, x):
        away = z - target.nu
        return -0.5 * (away * (away @ target.precision)).sum(-1)

    proposal = Given(error + target.nu, sd.expand_as(error), e.movedim(2, 0))
    step = surrogate(log_joint, proposal, estimator=rule, particles=7)
    step.loss.backward()
    # The loss is the mean over all replicates, and each has parameters of its own.
    torch.testing.assert_close(found, -4.0 * phi.grad, rtol=1e-10, atol=1e-11)


def test_exact_kl_is_that_of_torch_and_has_its_known_floors():
    chosen = setting(covariance="correlated", replicates=2, data=3)
    target = appendix.posteriors(chosen, torch.Generator().manual_seed(1))
    phi = torch.randn(1, 2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    error, sd = (values[0] for values in appendix.error_and_sd(phi, target))
    normal = torch.distributions.MultivariateNormal
    found = torch.distributions.kl_divergence(
        normal(target.nu, target.covariance),
        normal(target.nu + error, torch.diag_embed(sd.square().expand_as(error))),
    )
    torch.testing.assert_close(
        appendix.exact_kl(phi, target)[0], found.mean(-1), rtol=1e-12, atol=0
    )
    assert target.least_kl == pytest.approx(0.7052, abs=5e-5)
    assert target.exclusive_kl == pytest.approx(2.3926, abs=5e-5)


def test_model_mean_is_at_its_maximum_likelihood():
    """The posteriors of the data average to the prior's mean, the mean of the data."""
    target = appendix.posteriors(
        setting(covariance="correlated"), torch.Generator().manual_seed(1)
    )
    torch.testing.assert_close(target.nu.mean(1), target.x.mean(1), rtol=1e-12, atol=1e-12)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    folder = tmp_path_factory.mktemp("appendix")
    chosen = [setting(particles=count) for count in (1, 10, 100)]
    chosen += [setting(particles=1, covariance="correlated", iterations=5)]
    found = appendix.study(chosen, folder / "b.json")
    return chosen, folder, found


def test_proposals_of_iwae_get_worse_with_particles_and_those_of_aisle_do_not(learnt):
    _, _, found = learnt
    claims = appendix.claims(found)
    iwae, aisle = (claims[f"{name}, Sigma = I, D = 2"] for name in ("IWAE", "AISLE-KL"))
    assert iwae["factor_from_least_to_most_k"] > 10.0
    assert aisle["factor_from_least_to_most_k"] < 2.0
    assert iwae["median_kl_by_k"][100] > 10.0 * aisle["median_kl_by_k"][100]


def test_wake_phi_with_its_baseline_does_not_move_a_single_particle(learnt):
    _, _, found = learnt
    row = found["identity, D = 2, K = 1, normalised"]
    for name in ("RWS - 1/K", "RWS-DREG"):
        assert len(set(row["median"][name])) == 1
    assert row["median"]["RWS"][0] != row["median"]["RWS"][-1]


def test_settings_that_are_there_are_not_run_again(learnt, monkeypatch):
    chosen, folder, found = learnt
    said = json.loads((folder / "b.json").read_text(encoding="utf-8"))
    assert list(said["settings"]) == [one.key for one in chosen]
    assert "claims" in said
    monkeypatch.setattr(appendix, "learn", lambda setting: pytest.fail("run again"))
    again = appendix.study(chosen, folder / "b.json")
    assert json.dumps(again) == json.dumps(found)
    assert appendix.table(again).count("no move") == 4


def test_figure_of_appendix_b(learnt, tmp_path):
    _, _, found = learnt
    for covariance in ("identity", "correlated"):  # three panels a row
        for count in (1, 10, 100):
            key = f"{covariance}, D = 2, K = {count}, normalised"
            found.setdefault(key, found["correlated, D = 2, K = 1, normalised"])
    appendix.draw(found, tmp_path / "b.png")
    assert (tmp_path / "b.png").stat().st_size > 10_000


# --- Rainforth et al., signal to noise -----------------------------------------------------------

SMALL = snr.Study(dimension=4, data=96, replicates=300, counts=(1, 10, 100))


@pytest.mark.parametrize("method", snr.METHODS)
def test_directions_are_those_of_the_surrogate(method):
    at = snr.place(SMALL, 0.5)
    e = torch.randn(96, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    by_mu, by_mean = snr.directions(at, e, torch.arange(96))[method]

    def loss(copies):
        mu, b, matrix = (copies[name] for name in snr.PARAMETERS)

        def log_joint(z, x):
            return -0.5 * ((z - mu).square() + (x - z).square()).sum(-1)

        mean = (at.x @ matrix.mT + b[:, None])[0]
        sd = torch.full_like(mean, snr.SD)
        return surrogate(
            log_joint,
            lambda x: Given(mean, sd, e.movedim(1, 0)),
            at.x,
            estimator=snr.METHODS[method],
            particles=6,
        )

    parameters = {name: getattr(at, name) for name in snr.PARAMETERS}
    found = on_copies(loss, parameters, 1)
    for name, direction in (
        ("mu", by_mu.mean(0)),
        ("b", by_mean.mean(0)),
        ("A", by_mean.mT @ at.x / 96),
    ):
        torch.testing.assert_close(-found[name][0], direction, rtol=1e-10, atol=1e-11)


def test_replicates_do_not_depend_on_how_draws_are_split(monkeypatch):
    at = snr.place(SMALL, 0.5)
    monkeypatch.setattr(snr, "TOGETHER", 10**9)
    torch.manual_seed(0)
    whole = snr.gradients_at(at, 1)(None, None, 3)
    monkeypatch.setattr(snr, "TOGETHER", 16)  # one column after the other has the same noise
    torch.manual_seed(0)
    parts = snr.gradients_at(at, 1)(None, None, 3)
    assert whole["IWAE, A.at"].shape == (3, 4, 4)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-10, atol=1e-12)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("snr")
    found = snr.run(SMALL, folder / "snr.json")
    return folder, found


def test_signal_of_iwae_falls_with_particles_and_the_others_grow(measured):
    _, found = measured
    fits = snr.slopes(found["near"])
    falling = fits["A"][snr.KNOWN]["snr"]
    assert falling["value"] + 3.0 * falling["error"] < 0.0
    for parameter, method in (
        ("mu", "IWAE"),
        ("mu", "VAE"),
        ("A", "VAE"),
        ("A", "IWAE-DREG"),
        ("A", "AISLE-KL"),
    ):
        growing = fits[parameter][method]["snr"]
        assert growing["value"] - 3.0 * growing["error"] > 0.0


def test_weights_degenerate_far_from_the_optimum(measured):
    _, found = measured
    for count in (10, 100):
        near, far = (found[where][str(count)]["effective_size"] for where in ("near", "far"))
        assert far < 0.5 * near < 0.5 * count


def test_known_mean_agrees_with_what_is_measured(measured):
    """Where a single particle leaves the signal visible, both ratios are the same."""
    _, found = measured
    row = found["far"]["1"]["b"]
    direct, known = (Ratio(**row[name]["snr"]) for name in ("IWAE", snr.KNOWN))
    error = math.hypot(direct.squared_error, known.squared_error)
    assert direct.lower > 0.0
    assert abs(direct.squared - known.squared) < 4.0 * error


def test_noise_alone_has_a_directional_ratio():
    g = torch.randn(200_000, 5, generator=torch.Generator().manual_seed(1))
    ratio = g[:, 0].abs() / g[:, 1:].norm(dim=1)
    error = float(ratio.std()) / math.sqrt(200_000)
    assert abs(float(ratio.mean()) - snr.noise_level(5)) < 4.0 * error


def test_files_of_the_signal_to_noise_study(measured, tmp_path):
    folder, found = measured
    said = json.loads((folder / "snr.json").read_text(encoding="utf-8"))
    assert said["ratios"].keys() == {"near", "far"}
    assert said["slopes"]["far"]["mu"]["IWAE"]["snr"]["error"] > 0.0
    assert "IWAE, known mean" in snr.table(found)
    for kind in ("snr", "dsnr"):
        snr.draw(found, kind, SMALL.dimension, tmp_path / f"{kind}.png")
        assert (tmp_path / f"{kind}.png").stat().st_size > 10_000


# --- Rainforth et al., digits --------------------------------------------------------------------

TINY = images.Schedule(
    steps=160,
    leg=80,
    first_rate=5e-3,
    last_rate=1e-3,
    batch=20,
    particles=8,
    hidden=24,
    latent=6,
    test_images=100,
    subset=60,
    many=128,
)


def job(folder, method="IWAE", seed=0, **change):
    schedule = replace(TINY, **change)
    return images.Job(method=method, seed=seed, schedule=schedule, folder=None, work=folder)


def test_a_run_that_is_cut_off_ends_in_the_same_bits(tmp_path, monkeypatch):
    whole, cut = job(tmp_path / "whole", steps=60, leg=20), job(tmp_path / "cut", steps=60, leg=20)
    metrics = images.run(whole)
    save, legs = images.save, []

    def killed(file, state):
        save(file, state)
        legs.append(state["step"])
        if legs == [20, 40]:
            raise KeyboardInterrupt

    monkeypatch.setattr(images, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        images.run(cut)
    again = images.run(cut)
    assert legs == [20, 40, 60, 60]
    for metric in images.METRICS:
        assert again[metric] == metrics[metric]
    assert images.run(cut) == again
    assert legs == [20, 40, 60, 60]


def test_another_schedule_starts_anew(tmp_path):
    short = images.run(job(tmp_path, steps=20, leg=20, test_images=20, subset=10))
    longer = images.run(job(tmp_path, steps=40, leg=20, test_images=20, subset=10))
    assert (short["steps"], longer["steps"]) == (20, 40)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    jobs = [
        job(folder, method, seed) for seed in (0, 1) for method in ("IWAE", "PIWAE(4,16)", "VAE")
    ]
    record = images.study(jobs, folder / "mnist.json")
    return folder, record


def test_proposal_of_the_vae_is_the_tightest(judged):
    """The paper's clearest ordering: the gap of the bound is least for the VAE."""
    _, record = judged
    means = images.mean_and_spread(record["runs"], "minus_kl")
    assert means["VAE"][0] > means["IWAE"][0]
    for rows in record["runs"].values():
        for row in rows.values():
            assert row["log_p"] == pytest.approx(row["iwae_64"] - row["minus_kl"])
            assert row["minus_kl"] < 0.0
            assert row["iwae_64"] > -64.0 * math.log(2.0)  # better than pixels of even odds


def test_files_of_the_digits_study(judged, tmp_path):
    folder, record = judged
    said = json.loads((folder / "mnist.json").read_text(encoding="utf-8"))
    assert said == json.loads(json.dumps(record))
    assert [len(rows) for rows in said["orderings"].values()] == [3, 3, 3]
    assert (folder / ".gitignore").read_text(encoding="utf-8") == "*\n"
    assert "−KL(Q‖P)" in images.table(record)
    images.draw(record, tmp_path / "mnist.png")
    assert (tmp_path / "mnist.png").stat().st_size > 10_000


def test_bound_of_many_parts_is_one_bound(monkeypatch):
    model = images.Autoencoder(64, 8, 3, torch.full((64,), 0.3))
    x = torch.bernoulli(torch.full((5, 64), 0.3))
    with torch.no_grad():
        torch.manual_seed(0)
        q = model.proposal(x)
        z = torch.cat([q.sample(torch.Size([64])), q.sample(torch.Size([36]))])
        log_w = (model.log_joint(z, x) - q.log_prob(z)).double()
        expected = torch.logsumexp(log_w, 0) - math.log(100.0)
        torch.manual_seed(0)
        found = images.bound(model, x, 100)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0.0)


def test_log_joint_is_that_of_torch():
    model = images.Autoencoder(64, 8, 3, torch.full((64,), 0.3))
    x, z = torch.bernoulli(torch.full((5, 64), 0.3)), torch.randn(7, 5, 3)
    bits = torch.distributions.Bernoulli(logits=model.decoder(z)).log_prob(x).sum(-1)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    torch.testing.assert_close(model.log_joint(z, x), bits + prior, rtol=1e-5, atol=0.0)


def test_rates_of_the_paper():
    schedule = images.Schedule(steps=32_800, paper=True)
    ends = [0, *(10 * (3**i - 1) // 2 for i in range(1, 9))]
    for i, (first, last) in enumerate(pairwise(ends)):
        for step in (first, last - 1):
            assert schedule.rate(step) == pytest.approx(1e-3 * 10 ** (-i / 7))
    assert images.Schedule(steps=100).rate(100) == pytest.approx(2e-4)


def test_orderings_are_told_apart():
    """A difference counts from three standard errors on, of runs and of images together."""
    levels = {"IWAE": (-86.1, 1.0), "MIWAE(4,16)": (-85.6, 1.0), "VAE": (-85.0, 1.0)}
    runs = {
        name: {str(s): dict.fromkeys(images.METRICS, level + 0.02 * s) for s in (0, 1)}
        for name, (level, _) in levels.items()
    }
    same = torch.zeros(50, dtype=torch.float64), torch.zeros(20, dtype=torch.float64)
    noisy = 10.0 * torch.randn(50, generator=torch.Generator().manual_seed(0)).double(), same[1]

    def verdicts(images_of):
        rows = images.orderings(runs, images_of)["iwae_64"]
        return [row["verdict"] for row in rows]

    exact = dict.fromkeys(levels, same)
    # MIWAE above IWAE as published, the VAE above both, where it was below.
    assert verdicts(exact) == ["agrees", "opposite", "opposite"]
    assert set(verdicts({**exact, "IWAE": noisy, "VAE": noisy})) >= {"not separated here"}
    # PIWAE(4,16) and PIWAE(8,8) are one error apart in the paper.
    pair = {"PIWAE(4,16)": runs["IWAE"], "PIWAE(8,8)": runs["VAE"]}
    (row,) = images.orderings(pair, dict.fromkeys(pair, same))["iwae_64"]
    assert row["verdict"] == "not separated in the paper"
