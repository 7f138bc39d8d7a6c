"""The page of a study: its numbers against arithmetic by hand, and one file safe for any name."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

from aisle_smc.batch import Grid, Store, Study
from aisle_smc.batch.charts import draw_difference, draw_parameters, draw_probability, draw_times
from aisle_smc.batch.comparison import column_of, compare, pooled_evidence, pooled_score
from aisle_smc.batch.page import study_page, write_page
from aisle_smc.batch.record import Record
from aisle_smc.batch.sheets import ROWS_AT_MOST, comparison_sheet, estimate
from aisle_smc.batch.trust import judge_study, trust_of
from tests.batch import jobs
from tests.test_report import NASTY, Page

MODELS, SETS = ("plain", "heavy", NASTY), tuple(str(year) for year in range(1986, 1992))


def row(model, data, replicate=0, kind="fit", status="done", **outcome):
    return {
        "position": 0,
        "kind": kind,
        "status": status,
        "labels": {"model": model, "data": data, "replicate": replicate},
        "outcome": outcome,
        "seconds": 1.0,
        "worker": "there:1",
    }


@pytest.fixture(scope="module")
def rows():
    """Evidences and scores with a truth of their own, two replicates each, one cell missing."""
    rng = np.random.default_rng(5)
    found = []
    for k, model in enumerate(MODELS):
        for i, data in enumerate(SETS):
            if (k, i) == (1, 4):
                continue
            for replicate in range(2):
                value = float(-600 + 10 * i + 2.0 * k * (-1) ** i + 0.1 * rng.normal())
                found.append(
                    row(model, data, replicate, log_evidence=value, log_evidence_error=0.1,
                        khat=0.9 if i == 4 else 0.2 + 0.2 * k, ess=50.0 * 3**k, r_hat=1.002,
                        **{"mean.mu": value, "sd.mu": 1.0})
                )  # fmt: skip
                found.append(
                    row(model, data, replicate, "score", score=value / 4, score_error=0.2, ess=900)
                )
    return found


# --- arithmetic ----------------------------------------------------------------------------------


def test_evidences_are_pooled_before_the_logarithm():
    log_z, error = np.array([-10.0, -12.0, -11.5]), np.array([0.1, 0.4, 0.2])
    value, spread = pooled_evidence(log_z, error)
    assert value == pytest.approx(math.log(np.exp(log_z).mean()), rel=1e-14)
    assert value > log_z.mean() + 0.1  # the mean of the logs is another number

    def moved(k):
        up, down = (pooled_evidence(log_z + s * 1e-5 * np.eye(3)[k], error)[0] for s in (1, -1))
        return (up - down) / 2e-5

    slopes = np.array([moved(k) for k in range(3)])
    assert spread == pytest.approx(math.hypot(*(slopes * error)), rel=1e-8)


def test_evidence_that_vanished():
    one = np.array([-np.inf, -3.0])
    assert pooled_evidence(one, np.array([np.nan, 0.1])) == (-3.0 - math.log(2), 0.1)
    assert pooled_evidence(np.full(2, -np.inf), np.zeros(2))[0] == -math.inf


def test_scores_are_averaged():
    assert pooled_score(np.array([1.0, 3.0]), np.array([0.3, 0.4])) == (2.0, 0.25)


def test_comparison_by_hand(rows):
    found = compare(rows, "fit", "log_evidence")
    assert (found.models, found.sets) == (MODELS, SETS)
    assert found.replicates.tolist() == [[2, 2 if i != 4 else 0, 2] for i in range(6)]
    assert found.complete.tolist() == [True] * 4 + [False, True]
    cell = [r["outcome"]["log_evidence"] for r in rows if r["kind"] == "fit"][:2]
    assert found.value[0, 0] == pytest.approx(math.log(np.exp(cell).mean()), rel=1e-14)
    best = int(np.argmax(found.value[found.complete].sum(axis=0)))
    assert found.reference == best
    difference, error = found.differences()
    assert (difference[:, best] == 0).all()
    assert (error[:, best] == 0).all()
    other = (best + 1) % 3
    assert error[0, other] == math.hypot(found.error[0, other], found.error[0, best])
    p, _ = found.probabilities()
    w = np.exp(found.value[0] - found.value[0].max())
    np.testing.assert_allclose(p[0], w / w.sum(), rtol=1e-14)
    assert np.isnan(p[4]).all()
    total = found.total()
    assert total.sets == 5
    kept = found.value[found.complete]
    sums = kept.sum(axis=0) - kept.sum(axis=0)[best]
    np.testing.assert_allclose(total.difference, sums, atol=1e-10)
    np.testing.assert_allclose(total.probability, np.exp(sums) / np.exp(sums).sum(), rtol=1e-9)
    apart = kept[:, other] - kept[:, best]
    assert total.spread[other] == pytest.approx(apart.std(ddof=1) * math.sqrt(5), rel=1e-12)


@pytest.mark.parametrize(
    "astray",
    [
        [{"log_evidence": 3000.0, "khat": 31.0}],
        [{"log_evidence": 3000.0}, {"log_evidence": -600.0}],
    ],
)
def test_an_estimate_gone_astray_decides_nothing(astray):
    fine = {"log_evidence_error": 0.1, "khat": 0.3}

    def found(some):
        rows = [
            row(m, str(i), log_evidence=-600.0 - 2.0 * (m == "y"), **fine)
            for m in ("x", "y")
            for i in range(1, 4)
        ]
        rows += [row("x", "0", log_evidence=-600.0, **fine)]
        rows += [row("y", "0", k, **{**fine, **one}) for k, one in enumerate(some)]
        return compare(rows, "fit", "log_evidence")

    trusted = found([{"log_evidence": 3000.0}])
    assert trusted.models[trusted.reference] == "y"  # what it would decide if it were believed
    doubted = found(astray)
    assert doubted.models[doubted.reference] == "x"
    assert doubted.total().sets == 3
    assert doubted.total().difference.tolist() == [0.0, -6.0]
    page = "".join(comparison_sheet(doubted, ()))
    assert "Over 3 of 4 data sets (1 not to be relied on) x comes first, 6.0 nats before" in page
    assert page.count("\N{DAGGER}") == 3  # beside the number, its difference, its explanation
    assert np.isnan(doubted.probabilities()[0][-1]).all()
    assert np.isfinite(doubted.probabilities()[0][:-1]).all()
    assert np.isfinite(trusted.probabilities()[0]).all()
    rows = [row(m, "a", log_evidence=-1.0, khat=9.0) for m in "xy"]
    none = "".join(comparison_sheet(compare(rows, "fit", "log_evidence"), ()))
    assert "On none of 1 data set can the" in none
    assert "comes first" not in none


def test_errors_of_probabilities_are_those_of_noisy_evidences():
    one = [
        row(m, "a", log_evidence=v, log_evidence_error=e)
        for m, v, e in (("x", -3.0, 0.02), ("y", -3.5, 0.03), ("z", -5.0, 0.05))
    ]
    p, error = compare(one, "fit", "log_evidence").probabilities()
    rng = np.random.default_rng(1)
    noisy = np.array([-3.0, -3.5, -5.0]) + rng.normal(size=(20_000, 3)) * [0.02, 0.03, 0.05]
    w = np.exp(noisy)
    np.testing.assert_allclose(error[0], (w / w.sum(axis=1, keepdims=True)).std(axis=0), rtol=0.03)
    assert p[0].sum() == pytest.approx(1.0, abs=1e-15)


def test_what_failed_or_is_no_number_is_left_out():
    found = compare(
        [
            row("x", "a", log_evidence=-1.0),
            row("x", "a", 1, log_evidence=math.nan),
            row("y", "a", status="failed", log_evidence=-2.0),
            row("z", "a", kind="filter", log_evidence=-3.0),
        ],
        "fit",
        "log_evidence",
    )
    assert (found.models, found.value.tolist()) == (("x",), [[-1.0]])
    assert np.isnan(found.error).all()
    assert compare([row("x", "a")], "fit", "log_evidence") is None


def test_columns_are_models_and_rows_everything_else():
    labels = {"function": "evidence", "model": "x", "data": "a", "n": 5, "replicate": 2}
    assert column_of({"kind": "function", "labels": labels}) == ("x", "a, n=5")
    assert column_of({"kind": "sample", "labels": {"target": "t"}}) == ("t", "")
    assert column_of({"kind": "function", "labels": {"function": "f", "x": 1}}) == ("f", "x=1")


# --- judgement -----------------------------------------------------------------------------------


def findings(rows):
    comparisons = [compare(rows, "fit", "log_evidence")]
    return [f for f in judge_study(rows, comparisons) if not f.good]


def test_nothing_speaks_against_good_tasks():
    good = [
        row("x", "a", k, log_evidence=v, log_evidence_error=0.1, khat=0.3, ess=400.0, r_hat=1.005)
        for k, v in enumerate((-1.0, -1.2))
    ]
    assert findings(good) == []


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"khat": 0.9}, "1 of 2 fits has a k-hat above 0.7; the worst is 0.9, of x on a"),
        ({"ess": 12.0}, "1 of 2 fits has an effective sample size below 100; the worst is 12"),
        ({"r_hat": 1.2}, "1 of 2 fits has an R-hat above 1.01; the worst is 1.2"),
        ({"log_evidence": -3.0}, "Replicates of fits differ in their log-evidences by more than"),
    ],
)
def test_what_speaks_against_a_task(bad, words):
    fine = {"log_evidence": -1.0, "log_evidence_error": 0.1, "khat": 0.3, "ess": 400.0,
            "r_hat": 1.005}  # fmt: skip
    (finding,) = findings([row("x", "a", 0, **fine), row("x", "a", 1, **fine | bad)])
    assert words in finding.text


def test_heat_is_that_of_the_worst_replicate():
    found = trust_of([row("x", "a", 0, khat=0.2, ess=1000.0), row("x", "a", 1, khat=0.7, ess=100)])
    assert len(found) == 1
    assert (found[0].k_hat.item(), found[0].ess.item()) == (0.7, 100.0)
    assert found[0].heat_of_k_hat.item() == pytest.approx(1.0)
    assert found[0].heat_of_ess.item() == pytest.approx(1.0)
    calm = trust_of([row("x", "a", khat=-0.3, ess=5000.0)])[0]
    assert (calm.heat_of_k_hat.item(), calm.heat_of_ess.item()) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (-12.3456, 0.0567, "\N{MINUS SIGN}12.346 <small>\N{PLUS-MINUS SIGN} 0.057</small>"),
        (-12.3456, 1.5, "\N{MINUS SIGN}12.3 <small>\N{PLUS-MINUS SIGN} 1.5</small>"),
        (123.4, 27.0, "123 <small>\N{PLUS-MINUS SIGN} 27</small>"),
        (0.5, math.nan, "0.5"),
        (math.nan, 1.0, "\N{EN DASH}"),
        (-math.inf, 1.0, "\N{MINUS SIGN}inf"),
    ],
)
def test_estimates_are_written_to_two_digits_of_their_error(value, error, text):
    assert estimate(value, error) == text


# --- the page ------------------------------------------------------------------------------------


def kept(folder, rows, name=NASTY):
    """A store that holds these rows, and two tasks that failed."""
    study = Study(
        tasks=Grid(
            kind="function", options={"function": jobs.square}, over={"x": range(len(rows) + 2)}
        )
    )
    store = Store.create(folder)
    store.enrol(list(study))
    names = [task.fingerprint for task in study]
    with store._transaction() as index:
        index.executemany(
            "UPDATE tasks SET kind = ?, labels = ? WHERE fingerprint = ?",
            [(r["kind"], json.dumps(r["labels"]), n) for r, n in zip(rows, names, strict=False)],
        )
    store.record(
        [
            Record(fingerprint=n, status="done", values=r["outcome"], seconds=1.0 + k)
            for k, (r, n) in enumerate(zip(rows, names, strict=False))
        ]
    )
    store.record(
        [
            Record(fingerprint=n, status="failed", fault=f"Fault: {NASTY}", traceback=NASTY)
            for n in names[-2:]
        ]
    )
    store.note(name=name, command=f"aisle batch '{NASTY}.toml'")
    return store


@pytest.fixture(scope="module")
def page(rows, tmp_path_factory):
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("study")
    kept(folder, rows)
    path = write_page(folder)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def test_page_is_one_safe_file(page):
    read = Page(page)
    assert not read.unbalanced
    assert not read.open
    assert not read.links
    assert "script" not in read.tags
    assert all(source.startswith("data:image/png;base64,") for source in read.sources)
    assert len(read.sources) == 2 * len(read.ids)
    assert len(set(read.ids)) == len(read.ids)
    assert set(read.ids) == {
        "fit-log_evidence", "fit-probabilities", "score-score", "parameters", "times",
    }  # fmt: skip
    assert NASTY not in page
    assert NASTY in read.words
    assert '<html lang="en">' in page


def test_page_says_what_the_table_says(page, rows):
    found = compare(rows, "fit", "log_evidence")
    words = Page(page).words
    assert "34 fits: 3 models on 6 data sets, 2 times each" in words
    assert (
        f"Over 5 of 6 data sets (1 incomplete) {found.models[found.reference]} comes first"
        in words
    )
    for i in range(6):
        for k in range(3):
            if np.isfinite(found.value[i, k]):
                assert (
                    re.sub("<[^>]+>", "", estimate(found.value[i, k], found.error[i, k])) in words
                )
    assert "2 tasks failed" in words
    assert "2 tasks, the first task" in words
    assert "4 of 34 fits have a k-hat above 0.7" in words
    assert "12 of 34 fits have an effective sample size below 100" in words


def test_every_row_and_column_of_a_table_is_named(page):
    for table in re.findall(r"<table.*?</table>", page, flags=re.DOTALL):
        heads = re.findall(r"<tr>(.*?)</tr>", table)
        if "<thead>" in table:
            columns = heads[0].count('scope="col"')
            assert all(line.count("<t") - line.count("<th") + 1 == columns for line in heads[1:])
        assert all('scope="row"' in line for line in heads[1:])


def test_numbers_that_are_hot_are_marked_without_colour(page):
    cells = re.findall(r'<span style="--heat:(\d+)%">(.*?)</span>', page)
    assert cells
    assert all((int(heat) == 100) == text.endswith("!</b>") for heat, text in cells)
    assert {int(heat) for heat, _ in cells} > {0, 100}


def test_page_of_tasks_without_an_evidence(tmp_path):
    held = [row(m, "a", k, square=v + k) for m, v in (("x", 1.0), ("y", 4.0)) for k in range(2)]
    kept(tmp_path, held, name="")
    text = study_page(tmp_path)
    words = Page(text).words
    assert f"<h1>{tmp_path.name}</h1>" in text
    assert "model=x, data=a1.50 ± 0.50" in words
    assert "Models compared" not in words


def test_page_of_a_study_that_has_not_begun(tmp_path):
    study = Study(
        tasks=Grid(kind="function", options={"function": jobs.square}, over={"x": range(3)}),
        replicates=2,
    )
    Store.create(tmp_path).enrol(list(study))
    words = Page(study_page(tmp_path)).words
    assert "6 function tasks, 2 times each. 6 tasks still to do when this was written" in words


def test_page_of_very_many_data_sets_is_cut(tmp_path):
    held = [
        row(m, str(k), log_evidence=-1.0 - k % 7, log_evidence_error=0.1)
        for m in ("x", "y")
        for k in range(ROWS_AT_MOST + 50)
    ]
    kept(tmp_path, held)
    text = study_page(tmp_path)
    assert f"The first {ROWS_AT_MOST} of 250 rows." in Page(text).words
    assert len(text) < 2_000_000


def test_page_without_matplotlib_has_its_tables(rows, tmp_path, monkeypatch):
    kept(tmp_path, rows)
    monkeypatch.setattr("aisle_smc.batch.page.find_spec", lambda name: None)
    read = Page(study_page(tmp_path))
    assert "img" not in read.tags
    assert "Models compared by log-evidence" in read.words


def test_figures_show_what_they_say(rows):
    pytest.importorskip("matplotlib")
    found = compare(rows, "fit", "log_evidence")
    for picture in (draw_difference(found, "log-evidence"), draw_probability(found)):
        assert picture.wide.startswith(b"\x89PNG")
        assert picture.narrow != picture.wide
    assert found.models[found.reference] in draw_difference(found, "log-evidence").title
    assert draw_parameters([r for r in rows if r["kind"] == "score"]) is None
    assert draw_times(rows[:3]) is None
