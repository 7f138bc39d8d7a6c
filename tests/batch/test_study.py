"""Studies: what they are made of, what they refuse, and that they run to the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from aisle_smc.batch import Grid, Limits, Study, status
from aisle_smc.streams import stream
from tests.batch import jobs


def small(**changes):
    given = {
        "tasks": Grid(kind="function", options={"function": jobs.draw}, over={"x": range(6)}),
        "seed": 3,
    }
    return Study(**given | changes)


def run(study, folder, **options):
    return study.run(folder=folder, progress=False, **{"executor": "threads"} | options)


# --- the grid ------------------------------------------------------------------------------------


def test_order_of_tasks():
    study = Study(
        tasks=[
            Grid(kind="function", options={"function": jobs.square}, over={"x": [1, 2]}),
            Grid(
                kind="function",
                options={"function": jobs.slowly, "folder": "."},
                over={"x": [5], "seconds": [0.1, 0.2]},
            ),
        ],
        replicates=2,
    )
    assert len(study) == 8
    told = [(t.labels["function"], t.options["x"], t.replicate) for t in study]
    first = [("square", 1), ("square", 2), ("slowly", 5), ("slowly", 5)]
    assert told == [(*name, r) for r in range(2) for name in first]
    assert [study.task(i).options.get("seconds") for i in (2, 3)] == [0.1, 0.2]
    assert len({t.fingerprint for t in study}) == 8


def test_task_draws_from_its_own_stream(tmp_path):
    study = small()
    result = run(study, tmp_path)
    for i, value in result.values():
        rng = stream(3, i)
        expected = rng.standard_normal(1000).mean()
        assert value["mean"] == expected
        assert study.task(i).sequence.spawn_key == (i,)
        assert study.task(i).sequence.entropy == 3


def test_more_replicates_leave_the_others_as_they_are():
    few, many = small(replicates=2), small(replicates=5)
    assert [t.fingerprint for t in few] == [t.fingerprint for t in many][: len(few)]


def test_what_makes_a_task_another_one():
    def first(x, rng):
        return x

    def second(x, rng):
        return x + 0

    def prints(study):
        return [t.fingerprint for t in study]

    def of(function, **changes):
        over = changes.pop("over", {"x": [1, 2]})
        return prints(
            Study(
                tasks=Grid(kind="function", options={"function": function}, over=over), **changes
            )
        )

    same = of(first)
    assert of(first) == same
    assert of(first, limits=Limits(seconds=5.0), name="other") == same  # time changes no result
    assert not set(same) & set(of(second))  # code
    assert not set(same) & set(of(first, seed=1))  # seed
    assert of(first, over={"x": [1, 3]})[0] == same[0]  # options
    assert of(first, over={"x": [1, 3]})[1] != same[1]


def test_changed_data_makes_another_task():
    def prints(array):
        study = Study(
            tasks=Grid(
                kind="function",
                options={"function": jobs.mean_of, "k": 0},
                over={"data": ["a", "b"]},
            ),
            data={"a": array, "b": np.zeros(3)},
        )
        return [t.fingerprint for t in study]

    one, other = prints(np.arange(10.0)), prints(np.arange(10.0) + 1e-12)
    assert one[0] != other[0]
    assert one[1] == other[1]


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        (lambda: Grid(kind="function", over={"x": []}), "the axis 'x' of the grid is empty"),
        (lambda: Grid(kind="function", over={"x": 3}), "must be a list of values"),
        (lambda: Grid(kind="function", over={"x": [1, 1]}), "has 1 twice"),
        (lambda: Grid(kind="function", over={"x": [1]}, options={"x": 2}), "both an axis and"),
        (lambda: Study(tasks=()), "at least one grid"),
        (lambda: Study(tasks=Grid(kind="fitt")), "did you mean 'fit'"),
        (lambda: Study(tasks=Grid(kind="function", over={"x": [1]})), "must say which function"),
        (
            lambda: Study(
                tasks=Grid(kind="function", options={"function": jobs.square}, over={"y": [1]})
            ),
            "cannot be called with y",
        ),
        (
            lambda: Study(
                tasks=Grid(kind="function", options={"function": jobs.mean_of, "k": 1,
                                                     "data": "revenue"}),
                data={"revenues": np.ones(3)},
            ),
            "did you mean 'revenues'",
        ),
        (lambda: Study(tasks=Grid(kind="sample", options={"target": jobs.square})), "a prior"),
        (lambda: small(seed=-1), "nonnegative"),
        (lambda: small(replicates=0), "at least 1"),
        (lambda: Limits(seconds=0.0), "must be positive"),
        (lambda: small(limits=Limits(evaluations=10)), "takes no max_evaluations"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_anything_runs(grid, said):
    with pytest.raises((ValueError, TypeError), match=said):
        grid()


# --- running -------------------------------------------------------------------------------------


def test_table_has_a_row_for_each_task(tmp_path):
    result = run(small(replicates=2), tmp_path)
    table = result.table()
    assert len(table) == 12
    assert table.columns[:6] == ("task", "kind", "status", "function", "option.x", "replicate")
    assert table["task"] == list(range(12))
    assert table["status"] == ["done"] * 12
    assert table["x"] == table["option.x"] == [0, 1, 2, 3, 4, 5] * 2
    assert len(set(table["first"])) == 12
    lines = table.to_csv(tmp_path / "table.csv").splitlines()
    assert (tmp_path / "table.csv").read_text().splitlines() == lines
    assert len(lines) == 13


def test_finished_tasks_are_not_run_again(tmp_path):
    study = Study(
        tasks=Grid(
            kind="function",
            options={"function": jobs.counted, "folder": str(tmp_path)},
            over={"x": range(5)},
        )
    )
    store = tmp_path / "study"
    assert run(study, store).ok
    assert run(study, store).ok
    assert jobs.runs(tmp_path) == dict.fromkeys(range(5), 1)
    more = Study(
        tasks=Grid(
            kind="function",
            options={"function": jobs.counted, "folder": str(tmp_path)},
            over={"x": range(7)},
        )
    )
    assert run(more, store).ok
    assert jobs.runs(tmp_path) == dict.fromkeys(range(7), 1)
    assert run(study, store).store.summary().former == 2


def test_failed_tasks_are_listed_and_tried_again_on_request(tmp_path):
    gate = tmp_path / "gate"

    def through(x, gate):
        if x == 2 and not gate.exists():
            raise RuntimeError(f"the gate is shut\nfor {x}")
        return x

    study = Study(
        tasks=Grid(
            kind="function", options={"function": through, "gate": gate}, over={"x": range(4)}
        )
    )
    store = tmp_path / "study"
    result = run(study, store)
    assert not result.ok
    (fault,) = result.faults
    assert (fault.task, fault.reason) == (2, "RuntimeError: the gate is shut")
    assert "through" in fault.traceback
    assert "task 2 failed: RuntimeError" in repr(result)
    gate.touch()
    assert not run(study, store).ok  # not unless asked
    assert run(study, store, retry_failed=True).ok
    assert [value for _, value in result.values()] == [0, 1, 2, 3]


def test_priorities_come_first(tmp_path):
    begun = []

    def note(x):
        begun.append(x)

    study = Study(
        tasks=[
            Grid(kind="function", options={"function": note}, over={"x": [1, 2]}),
            Grid(kind="function", options={"function": note}, over={"x": [3]}, priority=1),
        ]
    )
    run(study, tmp_path, workers=1)
    assert begun == [3, 1, 2]


def test_limits_that_kill_need_processes(tmp_path):
    with pytest.raises(ValueError, match="need processes"):
        run(small(limits=Limits(seconds=1.0)), tmp_path)


def test_results_elsewhere(tmp_path):
    study = small()
    result = run(study, tmp_path / "study", results="memory://somewhere/results")
    assert result.ok
    assert not (tmp_path / "study" / "results").exists()
    assert dict(result.values()) == dict(run(study, tmp_path / "other").values())
    with pytest.raises(ValueError, match="are kept at memory"):
        run(study, tmp_path / "study", results="memory://elsewhere")


def test_status_says_how_it_stands(tmp_path):
    result = run(small(), tmp_path)
    found = status(tmp_path)
    assert found.summary == result.store.summary()
    assert (found.summary.done, found.summary.total, found.driver) == (6, 6, None)
    assert repr(found).startswith("6 of 6 tasks done, 0 failed, 0 to do")
    with pytest.raises(ValueError, match="no study in"):
        status(tmp_path / "nowhere")
