"""The table of estimators: names, parameters, errors, degenerate weights, numerics."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from aisle_smc.divergences import KL, Alpha, ChiSquare, TailAdaptive  # noqa: E402
from aisle_smc.neural import ESTIMATORS, estimator, grouped  # noqa: E402
from aisle_smc.neural.formulas import Formula, Single  # noqa: E402
from aisle_smc.neural.rows import log_complement, normalised  # noqa: E402
from tests.oracles.estimators import PARAMETERS  # noqa: E402

ALL = {name: estimator(name, **PARAMETERS.get(name, {})) for name in ESTIMATORS}
# Infinite where a draw has target density zero, by what they estimate.
NEED_SUPPORT = {
    "vae",
    "vae-score",
    "stl",
    "exclusive-kl",
    "exclusive-kl-score",
    "ciwae",
    "tail-adaptive",
}


def log_weights(n=8, columns=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2.0 * torch.randn(n, columns, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_row_is_what_the_estimator_says_of_itself(name):
    chosen = ALL[name]
    log_w = log_weights(8 + chosen.auxiliary)
    rows = chosen.rows(log_w)
    for values in (rows.theta, rows.path, rows.score, rows.weights):
        assert values.shape == log_w.shape
        assert values.dtype == torch.float64
        assert not values.requires_grad
    assert rows.log_evidence.shape == rows.degenerate.shape == (3,)
    assert bool((rows.path != 0).any()) == chosen.needs_path
    assert bool((rows.score != 0).any()) == chosen.needs_score
    assert torch.equal(rows.score, -rows.path) == chosen.coupled
    main = log_w[:8]
    assert torch.allclose(rows.weights[:8], torch.softmax(main, 0), rtol=1e-13)
    assert torch.allclose(
        rows.log_evidence, torch.logsumexp(main, 0) - math.log(8), rtol=1e-13, atol=1e-14
    )
    # Every bound gives theta a total weight of one.
    assert torch.allclose(rows.theta.sum(0), torch.ones(3).double(), rtol=1e-13)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_datapoints_do_not_see_each_other(name):
    log_w = log_weights(8 + ALL[name].auxiliary)
    together = ALL[name].rows(log_w)
    alone = ALL[name].rows(log_w[:, 1])
    for field in ("theta", "path", "score", "weights", "log_evidence"):
        found = getattr(together, field)[..., 1]
        assert torch.allclose(found, getattr(alone, field), rtol=1e-12, atol=1e-15)
    grid = ALL[name].rows(log_w[:, :, None].expand(-1, -1, 2))
    assert torch.allclose(grid.path[..., 1], together.path, rtol=1e-12, atol=1e-15)
    assert grid.log_evidence.shape == (3, 2)


@pytest.mark.parametrize(
    "name", [name for name in ESTIMATORS if name not in {"cubo", "cubo-score"}]
)
def test_the_scale_of_the_weights_does_not_matter(name):
    log_w = log_weights(8 + ALL[name].auxiliary)
    plain, shifted = ALL[name].rows(log_w), ALL[name].rows(log_w - 2000.0)
    for field in ("theta", "path", "score"):
        assert torch.allclose(
            getattr(plain, field), getattr(shifted, field), rtol=1e-9, atol=1e-12
        )
    assert torch.allclose(shifted.log_evidence, plain.log_evidence - 2000.0)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_single_precision_is_computed_in_double(name):
    log_w = log_weights(8 + ALL[name].auxiliary).float()
    rows, expected = ALL[name].rows(log_w), ALL[name].rows(log_w.double())
    assert torch.equal(rows.path, expected.path)
    assert torch.equal(rows.score, expected.score)
    assert rows.path.dtype == torch.float64


@pytest.mark.parametrize("name", ESTIMATORS)
def test_no_weight_at_all_is_a_flag_and_zeros(name):
    log_w = log_weights(8 + ALL[name].auxiliary)
    whole = ALL[name].rows(log_w)
    log_w[:, 1] = -math.inf
    rows = ALL[name].rows(log_w)
    assert rows.degenerate.tolist() == [False, True, False]
    assert rows.log_evidence[1] == -math.inf
    for field in ("theta", "path", "score", "weights"):
        found = getattr(rows, field)
        assert not bool(found[:, 1].any())
        assert torch.equal(found[:, ::2], getattr(whole, field)[:, ::2])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_draw_outside_the_support(name):
    chosen = ALL[name]
    log_w = log_weights(8 + chosen.auxiliary)
    log_w[2, 1] = -math.inf
    if name in NEED_SUPPORT:
        with pytest.raises(ValueError, match=r"log_w\[2, 1\] is -inf"):
            chosen.rows(log_w)
        return
    rows = chosen.rows(log_w)
    assert rows.weights[2, 1] == 0.0
    assert float(rows.path[2, 1]) == 0.0
    assert bool(torch.isfinite(rows.path).all() & torch.isfinite(rows.score).all())
    if name in {"iwae", "vr", "miwae", "rws-dreg", "jvi"}:  # the limit of a small weight
        near = torch.where(log_w == -math.inf, -80.0, log_w)
        assert torch.allclose(rows.path, chosen.rows(near).path, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["vae", "iwae", "aisle-kl", "ovis", "miwae", "vr", "ovis-mc"])
def test_weights_that_are_no_weights_are_named(name, bad):
    log_w = log_weights(8 + ALL[name].auxiliary)
    log_w[3, 2] = bad
    where = r"log_w\[1, 3, 2\]|log_w\[3, 1, 2\]|log_w\[3, 2\]"
    with pytest.raises(ValueError, match=where):
        ALL[name].rows(log_w)


@pytest.mark.parametrize("name", ["vimco", "ovis", "jvi", "vr-score"])
def test_a_lone_particle_with_weight_has_no_finite_baseline(name):
    log_w = torch.full((4, 2), -math.inf)
    log_w[:, 0] = 0.0
    log_w[2, 1] = 0.0
    with pytest.raises(
        ValueError, match=rf"'{name}' has an infinite coefficient at log_w\[\d, 1\]"
    ):
        ALL[name].rows(log_w)


def test_an_overflowing_power_is_named():
    with pytest.raises(ValueError, match=r"'cubo' has an infinite coefficient at log_w\[1\]"):
        estimator("cubo").rows(torch.tensor([1.0, 800.0]))


UNDEFINED_ALONE = {"vae-score", "vr-score", "vimco", "vimco-geometric", "ovis", "rws-dreg-norm"}
ZERO_ALONE = {
    "rws",
    "rws-dreg",
    "aisle-kl-score",
    "aisle-chi2-score",
    "aisle-alpha-score",
    "aisle-alpha-score-dreg",
    "aisle-hellinger-score",
    "aisle-f-score",
    "exclusive-kl-score",
}


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name not in {"miwae", "piwae"}])
def test_one_particle(name):
    """I17, for the whole table: what is said of a single particle is what comes out."""
    log_w = log_weights(1 + ALL[name].auxiliary)
    if name in UNDEFINED_ALONE:
        assert ALL[name].single is Single.UNDEFINED
        with pytest.raises(ValueError, match="is not defined for one; use at least 2"):
            ALL[name].rows(log_w)
        return
    rows = ALL[name].rows(log_w)
    silent = not bool(rows.path.any() | rows.score.any())
    assert silent == (name in ZERO_ALONE) == (ALL[name].single is Single.ZERO)
    constant = not bool(rows.path.any()) and bool((rows.score == rows.score[0, 0]).all())
    if ALL[name].single is Single.NOISE and name != "msc-path":
        assert constant
        assert not silent


def test_raw_scores_of_one_particle_are_noise():
    for name in ("rws", "aisle-chi2-score", "aisle-hellinger-score"):
        assert estimator(name, baseline=False).single is Single.NOISE
    assert estimator("exclusive-kl-score", baseline=False).single is Single.ZERO


def test_the_jackknife_and_bounds_of_one_particle_are_the_evidence_lower_bound():
    log_w = log_weights(1)
    for name in ("vae", "iwae", "jvi", "jvi-dreg", "vr", "aisle-kl", "tail-adaptive", "dreg-norm"):
        assert torch.equal(ALL[name].rows(log_w).path, torch.ones(1, 3).double())


def test_groups():
    log_w = log_weights(12)
    with pytest.raises(ValueError, match="multiple of groups, 5; got 12"):
        estimator("miwae", groups=5).rows(log_w)
    found = grouped(estimator("aisle-chi2"), groups=3).rows(log_w)
    parts = [estimator("aisle-chi2").rows(part) for part in log_w.split(4)]
    assert torch.allclose(found.path, torch.cat([part.path for part in parts]) / 3)
    assert torch.allclose(found.theta, torch.cat([part.theta for part in parts]) / 3)
    assert torch.allclose(found.log_evidence, estimator("iwae").rows(log_w).log_evidence)
    # A group without any weight says nothing; the others go on.
    log_w[4:8] = -math.inf
    found = grouped(estimator("iwae"), groups=3).rows(log_w)
    assert not bool(found.path[4:8].any())
    assert torch.allclose(found.path[:4], parts[0].theta / 3)
    assert not bool(found.degenerate.any())
    with pytest.raises(ValueError, match="auxiliary draws and cannot be grouped"):
        grouped(estimator("ovis-mc"), groups=2)


def test_ovis_by_fresh_draws_replaces_one_particle_after_another():
    log_w = log_weights(9, 1)[:, 0]
    main, fresh = log_w[:6], log_w[6:]

    def part(values, k):
        return torch.logsumexp(values, 0) - math.log(6) - torch.softmax(values, 0)[k]

    expected = torch.stack(
        [
            part(main, k)
            - torch.stack(
                [part(torch.cat([main[:k], one[None], main[k + 1 :]]), k) for one in fresh]
            ).mean()
            for k in range(6)
        ]
    )
    found = estimator("ovis-mc", auxiliary=3).rows(log_w)
    assert torch.allclose(found.score[:6], expected, rtol=1e-12)
    assert not bool(found.score[6:].any())


def test_the_weight_of_the_others_keeps_its_digits():
    log_w = torch.tensor([0.0, -40.0, -41.0, -42.0], dtype=torch.float64)
    log_p = normalised(log_w).log_weights
    exact = torch.logsumexp(log_w[1:], 0) - torch.logsumexp(log_w, 0)
    assert float(log_complement(log_p)[0] / exact - 1) == pytest.approx(0.0, abs=1e-14)
    subtracted = torch.log1p(-torch.exp(log_p[0]))
    assert not bool(torch.isfinite(subtracted))  # the shorter formula has nothing left
    for gap in (1.0, 5.0, 20.0, 600.0):
        log_w = torch.tensor([0.0, -gap, -gap - 1.0, -gap], dtype=torch.float64)
        others = torch.stack(
            [torch.logsumexp(torch.cat([log_w[:k], log_w[k + 1 :]]), 0) for k in range(4)]
        ) - torch.logsumexp(log_w, 0)
        found = log_complement(normalised(log_w).log_weights)
        assert torch.allclose(found, others, rtol=1e-13, atol=1e-16)


def test_the_jackknife_keeps_its_digits_when_one_particle_has_all():
    from fractions import Fraction

    w = [Fraction(10) ** 30, Fraction(3), Fraction(2), Fraction(7)]
    total, n = sum(w), 4
    expected = [
        n * (w[k] / total) ** p
        - Fraction(n - 1, n) * sum((w[k] / (total - w[j])) ** p for j in range(n) if j != k)
        for p in (1, 2)
        for k in range(n)
    ]
    log_w = torch.tensor([float(value) for value in w], dtype=torch.float64).log()
    rows = estimator("jvi-dreg").rows(log_w)
    found = torch.cat([rows.theta, rows.path])
    exact = torch.tensor([float(value) for value in expected], dtype=torch.float64)
    assert torch.allclose(found, exact, rtol=1e-12, atol=0.0)


def test_names_are_read_kindly_and_errors_help():
    assert estimator(" IWAE_Dreg ") == ALL["iwae-dreg"]
    with pytest.raises(
        ValueError, match="unknown estimator 'iwae-derg'; did you mean 'iwae-dreg'"
    ):
        estimator("iwae-derg")
    with pytest.raises(ValueError, match="did you mean 'aisle-kl'"):
        estimator("aislekl")
    with pytest.raises(TypeError, match="'aisle-alpha' takes the parameters order; missing"):
        estimator("aisle-alpha")
    with pytest.raises(TypeError, match="'iwae' takes no parameters; got an unexpected"):
        estimator("iwae", order=2.0)
    with pytest.raises(TypeError, match="'vr' takes the parameters alpha; "):
        estimator("vr", order=0.5)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("aisle-alpha", {"order": math.inf}, "order must be a finite number"),
        ("vr", {"alpha": math.nan}, "alpha must be a finite number"),
        ("vr-dreg", {"alpha": math.inf}, "alpha must be a finite number"),
        ("vr-score", {"alpha": -math.inf}, "alpha must be a finite number"),
        ("cubo", {"n": 1.0}, "n must be above 1"),
        ("cubo-score", {"n": math.nan}, "n must be above 1"),
        ("cubo-log", {"n": math.inf}, "n must be above 1"),
        ("ciwae", {"beta": 1.5}, r"beta must be in \[0, 1\]"),
        ("dreg", {"t": -0.1}, r"t must be in \[0, 1\]"),
        ("ovis", {"gamma": 2.0}, r"gamma must be in \[0, 1\]"),
        ("ovis-mc", {"auxiliary": 0}, "auxiliary must be at least 1"),
        ("miwae", {"groups": 0}, "groups must be at least 1"),
        ("piwae", {"groups": 0}, "groups must be at least 1"),
        ("tail-adaptive", {"power": 1.0}, "power must be a negative number"),
    ],
)
def test_parameters_out_of_range_are_refused(name, parameters, message):
    with pytest.raises(ValueError, match=message):
        estimator(name, **parameters)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("rws", {"baseline": "no"}, "baseline must be True or False; got 'no'"),
        ("aisle-f", {"divergence": "kl"}, r"divergence must be a value such as KL\(\).* got 'kl'"),
        ("aisle-f-score", {"divergence": KL}, r"divergence must be a value such as KL\(\)"),
        ("aisle-alpha", {"order": "x"}, "order must be a number; got 'x'"),
        ("aisle-alpha-score-dreg", {"order": "x"}, "order must be a number; got 'x'"),
        ("tail-adaptive", {"power": "x"}, "power must be a number; got 'x'"),
        ("vr", {"alpha": "x"}, "alpha must be a number; got 'x'"),
        ("cubo", {"n": "x"}, "n must be a number; got 'x'"),
        ("dreg", {"t": "x"}, "t must be a number; got 'x'"),
    ],
)
def test_parameters_of_another_kind_are_refused(name, parameters, message):
    with pytest.raises(TypeError, match=message):
        estimator(name, **parameters)


def test_a_form_without_scores_says_so():
    with pytest.raises(ValueError, match="has path coefficients only"):
        estimator("aisle-f-score", divergence=TailAdaptive()).rows(log_weights())


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_are_values(name):
    again = estimator(name, **PARAMETERS.get(name, {}))
    assert again == ALL[name]
    assert hash(again) == hash(ALL[name])
    assert pickle.loads(pickle.dumps(again)) == ALL[name]
    assert ESTIMATORS[name]


def test_where_one_backward_pass_serves_both():
    """Path over theta stays within K (or K to the order - 1), however extreme the weights."""
    log_w = torch.tensor([0.0, -5.0, -60.0, -600.0], dtype=torch.float64)
    for name, chosen in ALL.items():
        if not (chosen.needs_path and chosen.bounded):
            continue
        ratio = chosen.rows(log_w).ratio
        assert float(ratio.abs().max()) <= 2 * 4, name
    for order, bounded in ((0.5, False), (1.0, True), (2.0, True)):
        assert estimator("aisle-f", divergence=Alpha(order=order)).bounded == bounded
    assert ALL["aisle-kl"].bounded
    assert ALL["aisle-chi2"].bounded
    assert estimator("aisle-f", divergence=ChiSquare()).bounded


def test_a_rule_of_ones_own():
    kl = estimator("aisle-kl")
    mine = Formula(
        name="halved", rule=lambda log_w: replace(kl.rows(log_w), path=kl.rows(log_w).path / 2)
    )
    assert torch.allclose(mine.rows(log_weights()).path, kl.rows(log_weights()).path / 2)
    assert estimator("aisle-f", divergence=KL()).rule is kl.rule
