"""Models against each other where something is wrong: what is doubted, left out, and said."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aisle_smc.batch import charts
from aisle_smc.batch.comparison import compare
from aisle_smc.batch.page import study_page, study_pictures
from aisle_smc.batch.sheets import comparison_sheet
from aisle_smc.batch.trust import judge_study, trust_of
from tests.batch.test_page import kept, row
from tests.test_report import Page

FINE = {"log_evidence_error": 0.1, "khat": 0.3}


def study(values):
    """Fits of models on data sets a, b, c..., by model their log-evidences."""
    return [
        row(model, "abcdefgh"[i], **FINE, log_evidence=float(v))
        for model, held in values.items()
        for i, v in enumerate(held)
    ]  # fmt: skip


def evidences(rows):
    return compare(rows, "fit", "log_evidence")


def replicates(values, errors, model="x", data="a", kind="fit"):
    measure = "score" if kind == "score" else "log_evidence"
    return [
        row(model, data, k, kind, **{measure: float(v), f"{measure}_error": float(e)})
        for k, (v, e) in enumerate(zip(values, errors, strict=True))
    ]


def sheet(found):
    return Page("".join(comparison_sheet(found, ()))).words


# --- doubt ---------------------------------------------------------------------------------------


def test_doubtful_estimates_have_no_probabilities():
    rows = study({"x": [-1.0, -2.0], "y": [3000.0, -2.5]})
    rows[2]["outcome"]["khat"] = math.inf
    found = evidences(rows)
    assert found.doubtful.tolist() == [[False, True], [False, False]]
    p, error = found.probabilities()
    assert np.isnan(p[0]).all()
    assert np.isnan(error[0]).all()
    assert p[1].sum() == pytest.approx(1.0)
    text = sheet(found)
    assert "3001.00 ± 0.14†––" in text
    assert "1.000" not in text
    believed = evidences(study({"x": [-1.0, -2.0], "y": [3000.0, -2.5]}))
    assert believed.probabilities()[0][0].tolist() == [0.0, 1.0]
    assert "1.000" in sheet(believed)


def test_difference_to_a_doubtful_reference_is_marked():
    rows = study({"x": [-1.0] * 4, "y": [-2.0] * 4, "z": [-3.0] * 4})
    rows[0]["outcome"]["khat"] = 5.0
    found = evidences(rows)
    assert found.models[found.reference] == "x"
    assert "a−1.00 ± 0.14†−2.00 ± 0.14†–––" in sheet(found)
    assert "b−1.00 ± 0.14−2.00 ± 0.14" in sheet(found)


def test_bars_of_doubtful_estimates_stay_empty(monkeypatch):
    pytest.importorskip("matplotlib")
    drawn = []
    monkeypatch.setattr(charts, "png", lambda figure: drawn.append(figure) or b"")
    rows = study({"x": [-1.0, -2.0], "y": [3000.0, -2.5]})
    assert "without a bar" not in charts.draw_probability(evidences(rows)).caption
    rows[2]["outcome"]["khat"] = 31.0
    picture = charts.draw_probability(evidences(rows))
    assert "without a bar are incomplete or not to be relied on" in picture.caption
    believed, doubted = (
        [[bar.get_height() for bar in bars] for bars in figure.axes[0].containers]
        for figure in (drawn[0], drawn[-1])
    )
    assert [heights[0] for heights in believed] == [0.0, 1.0]
    assert [heights[0] for heights in doubted] == [0.0, 0.0]
    assert sum(heights[1] for heights in doubted) == pytest.approx(1.0)


def test_an_infinite_k_hat_is_the_worst():
    rows = [row("x", "a", 0, khat=math.inf, ess=50.0), row("x", "a", 1, khat=0.2, ess=math.nan)]
    (trust,) = trust_of(rows)
    assert (trust.k_hat.item(), trust.ess.item()) == (math.inf, 50.0)
    assert trust.has_k_hat
    assert trust.heat_of_k_hat.item() == math.inf
    said = [finding.text for finding in judge_study(rows, ())]
    assert "1 of 2 fits has a k-hat above 0.7; the worst is inf, of x on a." in said
    (trust,) = trust_of([row("x", "a", khat=math.nan, ess=50.0)])
    assert not trust.has_k_hat


def test_an_infinite_k_hat_is_hot_on_the_page(tmp_path):
    kept(tmp_path, [row("x", "a", khat=math.inf, ess=50.0)])
    assert '<span style="--heat:100%"><b>inf!</b></span>' in study_page(tmp_path)


@pytest.mark.parametrize(
    ("kind", "outcome", "doubtful"),
    [
        ("score", {"score": -1.0, "ess": 9.0}, True),
        ("score", {"score": -1.0, "r_hat": 1.2}, True),
        ("score", {"score": -1.0, "ess": 50.0, "r_hat": 1.05}, False),
        ("fit", {"log_evidence": -1.0, "ess": 9.0}, True),
        ("fit", {"log_evidence": -1.0, "ess": 9.0, "khat": math.nan}, True),
        ("fit", {"log_evidence": -1.0, "ess": 9.0, "r_hat": 2.0, "khat": 0.3}, False),
        ("filter", {"log_evidence": -1.0, "ess": 1.5}, False),
        ("sample", {"log_evidence": -1.0, "ess": 9.0}, False),
    ],
)
def test_chains_that_did_not_converge(kind, outcome, doubtful):
    measure = "score" if "score" in outcome else "log_evidence"
    rows = [
        row("x", "a", 0, kind, **{measure: -1.0, "ess": 500.0}),
        row("x", "a", 1, kind, **outcome),
    ]
    found = compare(rows, kind, measure)
    assert found.doubtful.item() is doubtful
    assert ("did not converge" in sheet(found)) is doubtful


# --- agreement of replicates ---------------------------------------------------------------------


def test_honest_replicates_agree_however_many_there_are():
    rng = np.random.default_rng(11)
    studies, rows = 400, []
    for k in range(studies):
        error = rng.uniform(0.05, 0.4, 100)
        rows += replicates(-5.0 + error * rng.normal(size=100), error, data=str(k))
    found = evidences(rows)
    assert found.judged.all()
    assert not found.disagree.any()
    # Were it not so, all probabilities would not be equally likely: Kolmogorov's distance, whose
    # 99.9 % point is 1.95 / sqrt(400) = 0.098.
    gap = np.abs(np.sort(found.chance[:, 0]) - (np.arange(studies) + 0.5) / studies).max()
    assert gap < 0.098
    # The greatest of all differences, a rule for two replicates, finds fault with one in six.
    value = rng.normal(size=(studies, 100))
    assert ((np.ptp(value, axis=1) / math.sqrt(2)) > 4).mean() > 0.05


def test_two_replicates_are_apart_from_four_standard_errors_on():
    for apart, disagree in ((3.9, False), (4.1, True)):
        found = evidences(replicates([0.0, apart * math.hypot(0.1, 0.3)], [0.1, 0.3]))
        assert found.chance.item() == pytest.approx(math.erfc(apart / math.sqrt(2)), rel=1e-9)
        assert found.disagree.item() is disagree


def test_chance_is_divided_among_the_cells():
    one = replicates([0.0, 4.1 * math.hypot(0.1, 0.1)], [0.1, 0.1])
    others = [r for k in range(20) for r in replicates([0.0, 0.1], [0.1, 0.1], data=str(k))]
    assert evidences(one).disagree.any()
    assert not evidences(one + others).disagree.any()


@pytest.mark.parametrize(
    ("values", "errors", "chance"),
    [
        ([-1.0, -9.0], [0.1, math.nan], math.nan),
        ([-1.0, -9.0], [0.1, 0.0], math.nan),
        ([-1.0], [0.1], math.nan),
        ([-math.inf, -math.inf], [0.1, 0.1], math.nan),
        ([-1.0, -math.inf], [0.1, math.nan], 0.0),
        ([-1.0, -1.0], [0.1, 0.1], 1.0),
        ([-1e4, -1.0], [1e-200, 1e-200], 0.0),
    ],
)
def test_what_cannot_be_judged_is_not_said_to_agree(values, errors, chance):
    found = evidences(replicates(values, errors))
    np.testing.assert_equal(found.chance.item(), chance)
    assert found.disagree.item() is (chance == 0.0)


def test_agreement_is_said_of_what_was_judged():
    def said(rows):
        return [f for f in judge_study(rows, [evidences(rows)]) if "eplicates" in f.text]

    unknown = replicates([-1.0, -9.0], [math.nan, math.nan], data="b")
    judged = replicates([-1.0, -1.1], [0.1, 0.1])
    (finding,) = said(unknown)
    assert not finding.good
    assert "cannot be said" in finding.text
    (finding,) = said(judged + unknown)
    assert finding.good
    assert "agree: in none of 1 case do they differ in their log-evidences" in finding.text
    assert finding.text.endswith("1 more cannot be judged: errors are missing or 0.")
    (finding,) = said(judged + replicates([-1.0, -math.inf], [0.1, 0.1], data="c"))
    assert not finding.good
    assert "x on c. The errors there are too small, or a run went astray." in finding.text
    assert said([row("x", "a", log_evidence=-1.0)]) == []


# --- what counts ---------------------------------------------------------------------------------


def test_a_model_that_is_mostly_doubtful_is_left_out():
    rows = study({"x": [-1.0] * 4, "y": [-2.0] * 4, "bad": [900.0] * 4})
    for one in rows[8:11]:
        one["outcome"]["khat"] = 3.0
    found = evidences(rows)
    assert found.kept.tolist() == [True, True, False]
    assert found.counted.all()
    assert found.models[found.reference] == "x"
    total = found.total()
    assert total.difference[:2].tolist() == [0.0, -4.0]
    assert np.isnan([total.difference[2], total.error[2], total.probability[2]]).all()
    assert total.probability[:2].sum() == pytest.approx(1.0)
    p, _ = found.probabilities()
    assert np.isnan(p[:, 2]).all()
    np.testing.assert_allclose(p[:, :2].sum(axis=1), 1.0)
    text = sheet(found)
    assert "Over all 4 data sets x comes first, 4.0 nats before y" in text
    assert "bad is left out: on most data sets it has no estimate to be relied on." in text
    assert "nan" not in text
    rows[10]["outcome"]["khat"] = 0.3  # doubtful on half of them: the data sets go
    assert evidences(rows).counted.tolist() == [False, False, True, True]


def test_a_model_that_is_mostly_missing_is_left_out_but_not_of_two():
    rows = study({"x": [-1.0] * 4, "y": [-2.0] * 4, "z": [-3.0]})
    assert evidences(rows).counted.all()
    two = evidences([r for r in rows if r["labels"]["model"] != "y"])
    assert two.kept.all()
    assert two.counted.tolist() == [True, False, False, False]
    assert "Over 1 of 4 data sets (3 incomplete) x comes first" in sheet(two)


def test_verdict_says_over_how_many_of_all_data_sets():
    rows = study({"x": [-1.0] * 8, "y": [-2.0] * 6})
    rows[0]["outcome"]["khat"] = 3.0
    text = sheet(evidences(rows))
    assert "Over 5 of 8 data sets (2 incomplete, 1 not to be relied on) x comes first" in text


def test_an_impossible_data_set_is_known():
    rows = study({"x": [-9.0, -9.0], "y": [-1.0, -math.inf]})
    rows[3]["outcome"]["log_evidence_error"] = math.nan
    found = evidences(rows)
    assert found.complete.all()
    assert found.models[found.reference] == "x"
    p, error = found.probabilities()
    assert (p[1].tolist(), error[1].tolist()) == ([1.0, 0.0], [0.0, 0.0])
    total = found.total()
    assert total.difference.tolist() == [0.0, -math.inf]
    assert total.probability.tolist() == [1.0, 0.0]
    text = sheet(found)
    assert "x comes first, the only one without a log-evidence of −inf on one of them" in text
    assert "nan" not in text
    missing = evidences(rows[:3])
    assert missing.complete.tolist() == [True, False]


def test_three_models_of_which_one_is_impossible_somewhere():
    rows = study({"x": [-9.0] * 6, "y": [-math.inf] + [-1.0] * 5, "z": [-9.5] * 6})
    found = evidences(rows)
    assert "Over all 6 data sets x comes first, 3.0 nats before z" in sheet(found)
    spread = found.total().spread
    assert np.isnan(spread[1])
    assert spread[2] == 0.0


def test_sums_of_models_that_are_all_impossible_tell_nothing():
    found = evidences(study({"x": [-math.inf, -1.0], "y": [-1.0, -math.inf]}))
    assert not found.ranked
    text = sheet(found)
    assert "Over all 2 data sets the sums do not tell the models apart: each has" in text
    assert "nan" not in text
    both = evidences(study({"x": [-math.inf, -1.0], "y": [-math.inf, -2.0]}))
    assert np.isnan(both.probabilities()[0][0]).all()
    assert both.probabilities()[0][1].sum() == pytest.approx(1.0)


def test_a_reference_that_is_only_the_first_is_not_called_the_best():
    pytest.importorskip("matplotlib")
    rows = study({"x": [-1.0, -1.0], "y": [-2.0, -2.0]})
    best = charts.draw_difference(evidences(rows), "log-evidence")
    assert "than x, the one that is best altogether" in best.caption
    for one in rows:
        one["outcome"]["khat"] = 5.0
    found = evidences(rows)
    assert not found.ranked
    first = charts.draw_difference(found, "log-evidence")
    assert "best altogether" not in first.caption
    assert "the first of them; none can be called the best" in first.caption
    assert "On none of 2 data sets" in sheet(found)
    assert "(2 not to be relied on)" in sheet(found)


@pytest.mark.parametrize(
    ("leads", "words"),
    [
        ([9.0, -8.0, 9.0, -8.0, 0.0, 0.0], "less than it varies between data sets (± {})"),
        (
            [9.0, -6.0, 9.0, -6.0, 9.0, 5.0],
            "less than twice what it varies between data sets (± {})",
        ),
        ([5.0, 4.0, 5.0, 4.0, 5.0, 4.0], None),
    ],
)
def test_a_lead_is_held_against_its_variation_between_data_sets(leads, words):
    text = sheet(evidences(study({"x": [-100.0 + lead for lead in leads], "y": [-100.0] * 6})))
    spread = np.std(leads, ddof=1) * math.sqrt(6)
    if words is None:
        assert "it varies" not in text
    else:
        assert words.format(f"{spread:.2g}") in text


def test_errors_that_are_not_written_are_spoken_of():
    found = evidences(study({"x": [-1.0], "y": [-20.0]}))
    assert "errors are not written below 0.005" in sheet(found)
    assert "Errors of probabilities are not written below 0.005" in sheet(found)
    scores = [row(m, "a", kind="score", score=-1.0, score_error=0.1) for m in "xy"]
    assert "not written" not in sheet(compare(scores, "score", "score"))


# --- kinds apart ---------------------------------------------------------------------------------


def test_kinds_are_judged_by_themselves():
    rows = [
        row("x", "a", kind="fit", ess=50.0),
        row("x", "a", kind="score", ess=500.0),
        row("x", "a", kind="filter", ess=2.0),
        row("x", "b", kind="filter", status="failed"),
    ]
    said = [finding.text for finding in judge_study(rows, ())]
    assert said == [
        "1 of 1 fit has an effective sample size below 100; the worst is 50, of x on a.",
        "The one score has an effective sample size of at least 100.",
        "1 of 2 filters failed.",
    ]
    heat = {trust.kind: trust.heat_of_ess.item() for trust in trust_of(rows)}
    assert heat["filter"] == 0.0
    assert heat["fit"] > 1.0


def test_values_of_kinds_without_a_comparison_are_shown(tmp_path):
    rows = study({"x": [-1.0], "y": [-2.0]})
    rows += [row("x", "a", k, "function", square=4.0 + k) for k in range(2)]
    kept(tmp_path, rows)
    words = Page(study_page(tmp_path)).words
    assert "Results (function)" in words
    assert "model=x, data=a4.50 ± 0.50" in words
    assert "mean.mu" not in words
    assert words.count("Results") == 1


def test_nothing_is_drawn_where_nothing_can_be_relied_on(tmp_path):
    pytest.importorskip("matplotlib")
    rows = study({"x": [-1.0, -2.0], "y": [-2.0, -3.0]})
    for one in rows:
        one["outcome"] |= {"khat": 5.0, "r_hat": 1.5, "mean.mu": 0.0, "sd.mu": 1.0}
    kept(tmp_path, rows)
    assert study_pictures(tmp_path) == []
    rows[0]["outcome"] |= {"khat": 0.1, "r_hat": 1.0}
    store = tmp_path / "one"
    store.mkdir()
    kept(store, rows)
    assert {one.name for one in study_pictures(store)} == {"fit-log_evidence", "parameters"}


def test_pictures_of_two_kinds_have_names_of_their_own(tmp_path):
    pytest.importorskip("matplotlib")
    rows = study({"x": [-1.0, -2.0], "y": [-2.0, -3.0]})
    kept(tmp_path, rows + [one | {"kind": "filter"} for one in rows])
    names = [picture.name for picture in study_pictures(tmp_path)]
    assert {"fit-probabilities", "filter-probabilities"} < set(names)
    assert len(set(names)) == len(names)
