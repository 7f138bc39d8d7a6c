"""Weighted draws: what they say, what can be drawn from them, and what they refuse."""

from __future__ import annotations

import math
import sys
from dataclasses import FrozenInstanceError
from itertools import pairwise

import numpy as np
import pytest
from aisle_kernels import weights as kernels
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aisle_smc.errors import DegenerateWeights
from aisle_smc.priors import Prior
from aisle_smc.results import weighted_datatree
from aisle_smc.weighted import WeightedDraws
from aisle_smc.weighted.statistics import shortest_interval
from tests.oracles import pareto


def tilted(n, seed=0, *, d=2, **more):
    """Draws of N(0, 1), the first coordinate weighted to N(0.7, 1)."""
    x = np.random.default_rng(seed).normal(size=(n, d))
    return WeightedDraws(names=[f"p{k}" for k in range(d)], x=x, log_w=0.7 * x[:, 0], **more)


@st.composite
def samples(draw):
    """A few draws with whole-number weights, some of them zero and some draws equal."""
    n = draw(st.integers(1, 12))
    counts = np.array(draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)))
    counts[draw(st.integers(0, n - 1))] = 2
    x = np.array(draw(st.lists(st.integers(-5, 5), min_size=n, max_size=n)), dtype=float)
    return np.column_stack([x, x**2 + np.arange(n)]), counts


def weigh(x, counts, shift=0.0):
    with np.errstate(divide="ignore"):
        return WeightedDraws(names=("a", "b"), x=x, log_w=np.log(counts) + shift)


# --- moments -------------------------------------------------------------------------------------


@given(samples(), st.floats(-1000.0, 1000.0))
def test_whole_weights_are_repeats(sample, shift):
    x, counts = sample
    draws = weigh(x, counts, shift)
    repeated = np.repeat(x, counts, axis=0)
    np.testing.assert_allclose(draws.weights, counts / counts.sum(), rtol=1e-9)
    np.testing.assert_allclose(draws.mean, repeated.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(draws.sd, repeated.std(axis=0), atol=1e-9)
    np.testing.assert_allclose(draws.covariance, np.cov(repeated.T, ddof=0), atol=1e-9)
    np.testing.assert_allclose(draws.expect(np.exp), np.exp(repeated).mean(axis=0), rtol=1e-9)
    assert draws.ess == pytest.approx(counts.sum() ** 2 / (counts**2).sum())
    for name, column in zip(draws.names, repeated.T, strict=True):
        low, high = brute_interval(column, 0.94)
        row = draws.summary()[name]
        assert row["hdi_97%"] - row["hdi_3%"] == pytest.approx(high - low, abs=1e-12)
        assert np.mean((column >= row["hdi_3%"]) & (column <= row["hdi_97%"])) >= 0.94 - 1e-9


def brute_interval(values, mass):
    """The shortest interval of draws that holds `mass`, by trying all."""
    ends = np.sort(values)
    n = ends.size
    candidates = [
        (ends[j] - ends[i], ends[i], ends[j])
        for i in range(n)
        for j in range(i, n)
        if (j - i + 1) / n >= mass - 1e-9
    ]
    return min(candidates)[1:]


@given(samples(), st.lists(st.floats(0.0, 1.0), min_size=1, max_size=5))
def test_quantiles_increase_and_turn_with_the_sign(sample, levels):
    x, counts = sample
    draws = weigh(x, counts)
    levels = np.sort(levels)
    found = draws.quantile(levels)
    assert found.shape == (levels.size, 2)
    assert (np.diff(found, axis=0) >= 0.0).all()
    kept = x[counts > 0]
    np.testing.assert_array_equal(draws.quantile(0.0), kept.min(axis=0))
    np.testing.assert_array_equal(draws.quantile(1.0), kept.max(axis=0))
    # Without ties: among equal draws the order decides which weight comes first.
    x = x + 0.01 * np.arange(x.shape[0])[:, None] ** 2
    turned = weigh(-x, counts).quantile(1.0 - levels)
    np.testing.assert_allclose(-turned, weigh(x, counts).quantile(levels), atol=1e-9)


def test_quantiles_of_equal_weights_are_numpy_s():
    x = np.random.default_rng(0).normal(size=(37, 2))
    draws = WeightedDraws(names=("a", "b"), x=x, log_w=np.full(37, -3.0))
    q = [0.0, 0.03, 0.5, 0.9, 1.0]
    expected = np.quantile(x, q, axis=0, method="hazen")
    np.testing.assert_allclose(draws.quantile(q), expected, rtol=1e-12)
    assert draws.quantile(0.5).shape == (2,)


def test_quantiles_find_those_of_the_target():
    levels = np.array([0.05, 0.25, 0.5, 0.9])
    found = np.stack([tilted(400, seed).quantile(levels)[:, 0] for seed in range(300)])
    share = stats.norm.cdf(found - 0.7).mean(axis=0)
    error = stats.norm.cdf(found - 0.7).std(axis=0) / np.sqrt(300)
    # The bias is of order 1 / n, about half a standard error here.
    assert (np.abs(share - levels) < 4.0 * error).all()
    # The negative twin: without weights.
    plain = np.stack([np.quantile(tilted(400, s).x[:, 0], levels) for s in range(300)])
    assert (np.abs(stats.norm.cdf(plain - 0.7).mean(axis=0) - levels) > 4.0 * error).any()


def test_the_error_of_the_mean_is_its_spread_over_runs():
    runs = [tilted(300, seed).summary()["p0"] for seed in range(500)]
    off = np.array([(row["mean"] - 0.7) / row["mcse_mean"] for row in runs])
    # The mean square of 500 standard normals has a standard deviation of 0.063.
    assert abs(np.mean(off**2) - 1.0) < 4.0 * 0.063
    # The negative twin: the error that n unweighted draws would have.
    naive = np.array([(row["mean"] - 0.7) / (row["sd"] / np.sqrt(300)) for row in runs])
    assert abs(np.mean(naive**2) - 1.0) > 4.0 * 0.063
    # The second coordinate has nothing to do with the weights: its ESS is that of Kish.
    ratio = [tilted(300, s).summary()["p1"]["ess"] / tilted(300, s).ess for s in range(50)]
    assert np.mean(ratio) == pytest.approx(1.0, abs=0.05)


def test_equal_weights_know_the_mean_as_well_as_their_number():
    draws = WeightedDraws(names="a", x=np.arange(50.0)[:, None], log_w=np.zeros(50))
    row = draws.summary()["a"]
    assert row["ess"] == pytest.approx(50.0)
    assert row["mcse_mean"] == pytest.approx(row["sd"] / np.sqrt(50.0))
    assert draws.summary() is draws.summary()


def test_a_parameter_that_does_not_vary():
    draws = WeightedDraws(names="a", x=np.full((4, 1), 2.5), log_w=np.log([1.0, 1.0, 2.0, 4.0]))
    row = draws.summary()["a"]
    assert (row["mean"], row["sd"], row["mcse_mean"]) == (2.5, 0.0, 0.0)
    assert row["ess"] == pytest.approx(64.0 / 22.0)
    assert "2.5" in str(draws.summary())


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_no_scale_overflows(scale):
    draws = tilted(100)
    scaled = WeightedDraws(names=draws.names, x=draws.x * scale, log_w=draws.log_w)
    np.testing.assert_allclose(scaled.sd, draws.sd * scale, rtol=1e-12)
    row, expected = scaled.summary()["p0"], draws.summary()["p0"]
    assert row["mcse_mean"] == pytest.approx(expected["mcse_mean"] * scale)
    assert row["ess"] == pytest.approx(expected["ess"])


def test_draws_without_weight_count_for_nothing():
    base = tilted(200, blobs=np.arange(200), log_density=np.zeros(200))
    x = np.vstack([base.x, [[np.nan, 0.0], [np.inf, -np.inf]]])
    log_w = np.append(base.log_w, [-np.inf, -np.inf])
    more = WeightedDraws(names=base.names, x=x, log_w=log_w)
    np.testing.assert_allclose(more.mean, base.mean)
    np.testing.assert_allclose(more.covariance, base.covariance)
    np.testing.assert_allclose(more.quantile([0.1, 0.9]), base.quantile([0.1, 0.9]))
    assert str(more.summary()) == str(base.summary())
    assert np.isfinite(more.draws(1000)).all()
    assert (more.expect(lambda x: np.ones(len(x)))) == pytest.approx(1.0)


# --- the weights ---------------------------------------------------------------------------------


@given(st.floats(-1e5, 1e5))
def test_no_evidence_can_be_read_off(shift):
    base = tilted(30)
    moved = WeightedDraws(names=base.names, x=base.x, log_w=base.log_w + shift)
    np.testing.assert_allclose(moved.log_w, base.log_w, atol=1e-9)
    assert kernels.log_sum_exp(moved.log_w) == pytest.approx(0.0, abs=1e-12)
    part = moved.select(moved["p0"] > 0.0)
    assert kernels.log_sum_exp(part.log_w) == pytest.approx(0.0, abs=1e-12)


def test_the_arguments_stay_as_they_are():
    x, log_w = np.zeros((3, 1)), np.array([1.0, 2.0, 3.0])
    draws = WeightedDraws(names="a", x=x, log_w=log_w)
    assert log_w.tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(FrozenInstanceError):
        draws.names = ("b",)


def test_khat_is_that_of_the_weights():
    draws = tilted(2000)
    length = math.floor(min(2000 / 5, 3 * np.sqrt(2000)))
    assert draws.khat == pytest.approx(pareto.psis(draws.log_w, length)[1], abs=1e-9)
    assert "can be trusted" in repr(draws)


def test_the_words_follow_khat():
    equal = WeightedDraws(names="a", x=np.zeros((100, 1)), log_w=np.zeros(100))
    assert equal.khat == -math.inf
    assert "can be trusted" in repr(equal)
    few = WeightedDraws(names="a", x=np.zeros((9, 1)), log_w=-np.arange(9.0))
    assert few.khat == math.inf
    assert "too few draws" in repr(few)
    heavy = np.random.default_rng(0).pareto(0.9, 3000)
    bad = WeightedDraws(names="a", x=np.zeros((3000, 1)), log_w=np.log(heavy))
    assert bad.khat > 0.7
    assert "a few draws carry the weight" in repr(bad)
    assert "6 parameters" not in repr(tilted(5, d=9))
    assert "9 parameters (p0, p1, p2, p3, p4, p5, ...)" in repr(tilted(5, d=9))


# --- other samples -------------------------------------------------------------------------------


@given(samples(), st.integers(1, 40), st.integers(0, 5))
def test_rows_come_as_often_as_their_weight_says(sample, n, seed):
    x, counts = sample
    draws = weigh(x, counts)
    rows = draws.indices(n, seed)
    expected = n * counts / counts.sum()
    found = np.bincount(rows, minlength=counts.size)
    assert (found >= np.floor(expected - 1e-9)).all()
    assert (found <= np.ceil(expected + 1e-9)).all()
    assert rows.tolist() == draws.indices(n, seed).tolist()
    np.testing.assert_array_equal(draws.draws(n, seed), x[rows])


def test_equal_weight_draws_are_unbiased_at_small_n():
    draws = weigh(
        np.array([[0.0, 1.0], [1.0, 5.0], [4.0, 2.0], [9.0, 0.0]]), np.array([1, 4, 2, 3])
    )
    runs = 2000
    found = np.array([draws.draws(2, seed).mean(axis=0) for seed in range(runs)])
    z = (found.mean(axis=0) - draws.mean) / (found.std(axis=0) / np.sqrt(runs))
    assert (np.abs(z) < 4.0).all()
    # The negative twin: draws that know nothing of weights.
    rng = np.random.default_rng(0)
    plain = np.array([draws.x[rng.integers(0, 4, 2)].mean(axis=0) for _ in range(runs)])
    z = (plain.mean(axis=0) - draws.mean) / (plain.std(axis=0) / np.sqrt(runs))
    assert (np.abs(z) > 4.0).any()


def test_equal_weight_draws_come_shuffled():
    draws = weigh(np.column_stack([np.arange(50.0)] * 2), np.arange(1, 51))
    rows = draws.indices(2000)
    # Sorted ancestors would have a correlation of almost 1 between neighbours.
    assert abs(np.corrcoef(rows[:-1], rows[1:])[0, 1]) < 4.0 / np.sqrt(2000)
    repeats = np.mean([a == b for a, b in pairwise(rows.tolist())])
    assert repeats == pytest.approx(np.sum(draws.weights**2), abs=0.02)


def test_blobs_go_with_their_draws():
    base = tilted(100)
    blobs = np.zeros(100, dtype=[("twice", float), ("pair", float, (2,))])
    blobs["twice"], blobs["pair"] = 2.0 * base.x[:, 0], base.x
    draws = WeightedDraws(
        names=base.names, x=base.x, log_w=base.log_w, blobs=blobs, log_density=-base.x[:, 1]
    )
    rows = draws.indices(30, 4)
    np.testing.assert_array_equal(draws.blobs[rows]["twice"], 2.0 * draws.draws(30, 4)[:, 0])
    part = draws.select([3, 3, 7])
    np.testing.assert_array_equal(part.blobs["pair"], part.x)
    np.testing.assert_array_equal(part.log_density, -part["p1"])
    assert part.weights[0] == part.weights[1]
    assert part.weights[0] / part.weights[2] == pytest.approx(
        np.exp(draws.log_w[3] - draws.log_w[7])
    )


def test_a_region_is_the_posterior_given_that_region():
    draws = tilted(4000)
    inside = draws.select(draws["p0"] > 0.7)
    expected = draws.expect(lambda x: x[:, 1] * (x[:, 0] > 0.7)) / draws.expect(
        lambda x: x[:, 0] > 0.7
    )
    assert inside.mean[1] == pytest.approx(float(expected), abs=1e-12)


# --- to people and other tools -------------------------------------------------------------------


def test_the_table_needs_no_arviz(monkeypatch, tmp_path):
    for name in ("arviz_stats", "arviz_base", "xarray"):
        monkeypatch.setitem(sys.modules, name, None)
    draws = tilted(500)
    table = draws.summary()
    assert table.columns == ("mean", "sd", "hdi_3%", "hdi_97%", "mcse_mean", "ess")
    assert len(str(table).splitlines()) == 3
    table.to_csv(tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text(encoding="utf-8").startswith("parameter,mean,sd,")
    with pytest.raises(ImportError, match=r"aisle-smc\[report\]"):
        draws.to_arviz()


def test_the_shortest_interval_of_a_skewed_sample():
    values = stats.expon.ppf((np.arange(4000) + 0.5) / 4000)
    low, high = shortest_interval(values, np.full(4000, 1 / 4000), 0.94)
    assert low == values[0]
    assert high == pytest.approx(stats.expon.ppf(0.94), abs=0.01)


def test_arviz_takes_them_as_they_are(tmp_path):
    arviz_stats = pytest.importorskip("arviz_stats")
    xarray = pytest.importorskip("xarray")
    base = tilted(3000)
    draws = tilted(
        3000,
        blobs=np.stack([base.x[:, 0] * 2, base.x[:, 1] * 3], axis=1),
        log_density=-base.x[:, 1],
        prior=Prior({"p0": stats.norm(), "p1": stats.norm()}),
    )
    tree = draws.to_arviz(seed=3)
    assert tree.posterior.sizes == {"chain": 1, "draw": round(draws.ess), "blob_dim_0": 2}
    table = arviz_stats.summary(tree, var_names=["p0", "p1"], round_to="none")
    own = draws.summary()
    for name in ("p0", "p1"):
        assert table.loc[name, "mean"] == pytest.approx(own[name]["mean"], abs=0.03)
        assert table.loc[name, "sd"] == pytest.approx(own[name]["sd"], abs=0.03)
        # What ArviZ takes for independent draws is about what the weights are worth.
        assert table.loc[name, "ess_bulk"] == pytest.approx(draws.ess, rel=0.2)
    # Rows stay together.
    rows = tree.sample_stats["particle"].to_numpy()[0]
    np.testing.assert_array_equal(rows, draws.indices(round(draws.ess), 3))
    np.testing.assert_array_equal(tree.posterior["p0"].to_numpy()[0], draws.x[rows, 0])
    np.testing.assert_array_equal(tree.posterior["blob"].to_numpy()[0], draws.blobs[rows])
    np.testing.assert_array_equal(tree.sample_stats["lp"].to_numpy()[0], draws.log_density[rows])
    np.testing.assert_array_equal(tree.sample_stats["log_weight"][0], draws.log_w[rows])
    # Nothing is lost, in a file neither.
    tree.to_netcdf(tmp_path / "draws.nc")
    with xarray.open_datatree(tmp_path / "draws.nc") as back:
        all_draws, their = back["weighted_posterior"], back["weighted_sample_stats"]
        again = WeightedDraws(
            names=("p0", "p1"),
            x=np.stack([all_draws[name].to_numpy() for name in ("p0", "p1")], axis=1),
            log_w=their["log_weight"].to_numpy(),
            blobs=all_draws["blob"].to_numpy(),
            log_density=their["lp"].to_numpy(),
        )
        assert back.attrs["khat"] == draws.khat
        assert "p0 ~ norm" in back.attrs["prior"]
    np.testing.assert_array_equal(again.x, draws.x)
    np.testing.assert_allclose(again.log_w, draws.log_w, atol=1e-12)
    np.testing.assert_array_equal(again.blobs, draws.blobs)
    np.testing.assert_array_equal(again.log_density, draws.log_density)


def test_arviz_gets_fields_of_blobs_and_the_number_of_draws_asked_for():
    pytest.importorskip("xarray")
    base = tilted(20)
    blobs = np.array(
        [(k, f"draw {k}", 0.5) for k in range(20)],
        dtype=[("p0", int), ("word", "U9"), ("half", float)],
    )
    draws = WeightedDraws(names=base.names, x=base.x, log_w=base.log_w, blobs=blobs)
    tree = weighted_datatree(draws, 7)
    # A field named like a parameter is marked; words are kept where nothing averages them.
    assert set(tree.posterior.data_vars) == {"p0", "p1", "p0_blob", "half"}
    assert set(tree["weighted_posterior"].data_vars) == {"p0", "p1", "p0_blob", "half", "word"}
    assert tree.posterior.sizes["draw"] == 7
    assert "lp" not in tree.sample_stats
    assert tree["weighted_posterior"]["word"].to_numpy()[3] == "draw 3"
    lone = WeightedDraws(names="a", x=np.zeros((2, 1)), log_w=np.array([0.0, -900.0]))
    assert lone.to_arviz().posterior.sizes["draw"] == 4


def test_a_parameter_named_like_a_dimension():
    pytest.importorskip("xarray")
    draws = WeightedDraws(names="draw", x=np.zeros((2, 1)), log_w=np.zeros(2))
    with pytest.raises(ValueError, match="'draw' has the name of a dimension"):
        draws.to_arviz()


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"names": ("a", "a")}, ValueError, "'a' comes 2 times"),
        ({"names": ("a",)}, ValueError, r"shape \(n, 1\).*got shape \(3, 2\)"),
        ({"x": np.zeros(3)}, ValueError, r"got shape \(3,\); reshape"),
        ({"x": np.zeros((0, 2)), "log_w": np.zeros(0)}, ValueError, "at least one draw"),
        ({"x": np.zeros((3, 2), complex)}, TypeError, "complex128"),
        ({"x": np.array([["u", "v"]] * 3)}, TypeError, "real numbers"),
        ({"x": np.array([[0, 0], [0, np.nan], [0, 0]])}, ValueError, r"x\[1\] is \[ 0. nan\]"),
        ({"log_w": np.zeros(4)}, ValueError, r"log_w must have shape \(3,\).*got shape \(4,\)"),
        ({"log_w": np.zeros((3, 1))}, ValueError, r"got shape \(3, 1\)"),
        ({"log_w": [0.0, np.nan, 0.0]}, ValueError, r"log_w\[1\] is nan"),
        ({"log_w": [0.0, 0.0, np.inf]}, ValueError, r"log_w\[2\] is inf"),
        ({"log_w": np.full(3, -np.inf)}, DegenerateWeights, "all 3 log-weights are -inf"),
        ({"log_density": np.zeros(2)}, ValueError, r"log_density must have shape \(3,\)"),
        ({"blobs": np.zeros((2, 3))}, ValueError, r"each of the 3 draws.*shape \(2, 3\)"),
        ({"blobs": 1.0}, ValueError, r"shape \(\)"),
    ],
)
def test_bad_input_is_refused(change, error, words):
    given = {"names": ("a", "b"), "x": np.zeros((3, 2)), "log_w": np.zeros(3)}
    with pytest.raises(error, match=words):
        WeightedDraws(**(given | change))


def test_bad_questions_are_refused():
    draws = tilted(10)
    with pytest.raises(KeyError, match="drawn were p0, p1"):
        draws["q"]
    for q in (-0.1, [0.5, 1.1], np.nan, [[0.5]]):
        with pytest.raises(ValueError, match="between 0 and 1"):
            draws.quantile(q)
    with pytest.raises(ValueError, match=r"each of the 10 draws.*shape \(2,\)"):
        draws.expect(lambda x: x.mean(axis=0))
    with pytest.raises(ValueError, match="n must be at least 1"):
        draws.draws(0)
    with pytest.raises(ValueError, match="seed must be nonnegative"):
        draws.draws(3, -1)
    with pytest.raises(TypeError, match=r"mask of shape \(10,\)"):
        draws.select(np.ones(9, dtype=bool))
    with pytest.raises(DegenerateWeights):
        WeightedDraws(names="a", x=np.zeros((2, 1)), log_w=np.array([0.0, -np.inf])).select([1])


# --- errors of averages --------------------------------------------------------------------------


def both(x):
    return np.stack([np.square(x[:, 0]), np.sin(x[:, 1])], axis=1)


@pytest.mark.parametrize("grouped", [False, True])
def test_standard_errors_by_the_formulas(grouped):
    n = 60
    groups = np.random.default_rng(3).integers(0, 7, size=n) * 5 if grouped else None
    x = np.random.default_rng(0).normal(size=(n, 2))
    x[5] = np.nan
    log_w = np.where(np.arange(n) == 5, -np.inf, 0.7 * np.nan_to_num(x[:, 0]))
    draws = WeightedDraws(names=("a", "b"), x=x, log_w=log_w, groups=groups)
    kept = np.arange(n) != 5
    w = np.exp(log_w[kept]) / np.exp(log_w[kept]).sum()
    apart = both(x[kept]) - w @ both(x[kept])
    parts = {}
    for i in range(n - 1):
        key = i if groups is None else groups[kept][i]
        parts[key] = parts.get(key, 0.0) + w[i] * apart[i]
    expected = np.sqrt(sum(part**2 for part in parts.values()))
    if grouped:
        expected *= np.sqrt(len(parts) / (len(parts) - 1))
    np.testing.assert_allclose(draws.standard_error(both), expected, rtol=1e-12)
    one = draws.standard_error(lambda x: both(x)[:, 0])
    assert one.shape == ()
    assert float(one) == pytest.approx(expected[0], rel=1e-12)
    error = draws.standard_error(lambda x: x)
    assert draws.summary()["a"]["mcse_mean"] == pytest.approx(error[0], rel=1e-12)
    np.testing.assert_allclose(draws.standard_error(lambda x: 1e200 * x), 1e200 * error)
    part = draws.select(x[:, 0] > 0.0)
    assert part.standard_error(both).shape == (2,)
    assert (part.groups is None) is not grouped


def test_standard_errors_are_those_of_repetitions():
    """Under N(0.7, 1) the share below 0.7 is a half; the weights times it are bounded."""

    def below(x):
        return x[:, 0] < 0.7

    runs = [tilted(400, seed) for seed in range(200)]
    z = np.array([(r.expect(below) - 0.5) / r.standard_error(below) for r in runs])
    assert 0.85 < np.sqrt(np.mean(z**2)) < 1.2
    assert abs(z).max() < 5.0


def test_draws_that_repeat_each_other_need_groups():
    """Ten copies of each draw: the error by groups is that of the draws without copies."""
    x = np.random.default_rng(1).normal(size=(300, 2))
    alone = WeightedDraws(names=("a", "b"), x=x, log_w=0.7 * x[:, 0])
    copies = {"x": np.repeat(x, 10, axis=0), "log_w": 0.7 * np.repeat(x[:, 0], 10)}
    grouped = WeightedDraws(names=("a", "b"), **copies, groups=np.repeat(np.arange(300), 10))
    naive = WeightedDraws(names=("a", "b"), **copies)
    expected = alone.standard_error(both)
    np.testing.assert_allclose(grouped.standard_error(both), expected, rtol=3e-3)
    np.testing.assert_allclose(naive.standard_error(both), expected / np.sqrt(10.0), rtol=1e-9)


def test_one_group_says_nothing_of_the_error():
    draws = tilted(50, groups=np.zeros(50, dtype=int))
    assert np.isnan(draws.standard_error(both)).all()
    with pytest.raises(ValueError, match="groups must have shape"):
        tilted(50, groups=np.zeros(49))
    with pytest.raises(ValueError, match="one value for each of the 50 draws"):
        tilted(50).standard_error(lambda x: x.mean(axis=0))
