"""Studies: what they are made of, what they refuse, and that they run to the same bits."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from aisle_smc.batch import Grid, Limits, Study, status
from aisle_smc.batch import study as study_module
from aisle_smc.batch.comparison import compare
from aisle_smc.ssm.zoo import LocalLevel
from aisle_smc.streams import stream
from tests.batch import jobs


def small(**changes):
    given = {
        "tasks": Grid(kind="function", options={"function": jobs.draw}, over={"x": range(6)}),
        "seed": 3,
    }
    return Study(**given | changes)


def nile_model(initial_sd=300.0):
    return LocalLevel(initial_mean=1000.0, initial_sd=initial_sd, scale=100.0)


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


def test_renamed_data_makes_no_other_task():
    """What counts is the content, under whatever name; the order of tasks stays."""

    def prints(**data):
        grid = Grid(
            kind="function", options={"function": jobs.mean_of, "k": 0}, over={"data": list(data)}
        )
        return [t.fingerprint for t in Study(tasks=grid, data=data)]

    one, other = np.arange(10.0), np.zeros(3)
    assert prints(a=one, b=other) == prints(x=one, y=other)
    assert not set(prints(a=one, b=other)) & set(prints(a=other, b=one))


def test_renamed_data_is_not_run_again(tmp_path):
    def named(name):
        grid = Grid(kind="function", options={"function": jobs.mean_of, "k": 0, "data": name})
        return run(Study(tasks=grid, data={name: np.arange(10.0)}), tmp_path)

    (first,), (second,) = named("old").table(), named("new").table()
    assert second == first | {"data": "new"}  # with the time that it took then


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


# --- grids that look alike -----------------------------------------------------------------------


def extra(*grids, **changes):
    """Labels of each grid's first task, without those that it has anyway."""
    study = Study(tasks=grids, **changes)
    starts = np.cumsum([0, *map(len, grids[:-1])])
    own = [Study(tasks=grid, **changes).task(0).labels for grid in grids]
    found = [study.task(int(start)).labels for start in starts]
    assert all(one.items() <= more.items() for one, more in zip(own, found, strict=True))
    return [
        {name: more[name] for name in more if name not in one}
        for one, more in zip(own, found, strict=True)
    ]


def called(function=jobs.evidence, **options):
    """A grid of two cells that look like those of every other such grid."""
    limits = options.pop("limits", Limits())
    given = {"function": function, **options}
    return Grid(kind="function", options=given, over={"data": ["a", "b"]}, limits=limits)


DATA = {"a": np.ones(3), "b": np.zeros(3)}


def test_options_in_which_grids_of_one_kind_differ_are_labels():
    models = {"level": nile_model(), "trend": nile_model(initial_sd=200.0)}
    over = {"model": models, "data": ["nile"]}
    short = {"draws": 30, "tune": 30, "chains": 2}
    at = {"level_sd": 10.0, "observation_sd": 10.0}
    grids = [
        Grid(kind="fit", over=over, options={"n": 100, **short}),
        Grid(kind="fit", over=over, options={"n": 1000, **short}),
        Grid(kind="score", over=over, options={"n": 50, "holdout": 0.25, **short}),
        Grid(kind="score", over=over, options={"n": 50, "holdout": 0.5, **short}),
        Grid(kind="filter", over=over, options={"n": 70, "params": at}),
    ]
    study = Study(tasks=grids, data={"nile": np.arange(20.0)}, replicates=2)
    own = ["model", "data"]
    told = [dict(study.task(i).labels) for i in range(0, 10, 2)]
    assert [[*labels] for labels in told] == [
        [*own, "n", "replicate"],
        [*own, "n", "replicate"],
        [*own, "holdout", "replicate"],
        [*own, "holdout", "replicate"],
        [*own, "replicate"],
    ]
    assert [labels.get("n") for labels in told] == [100, 1000, None, None, None]
    assert [labels.get("holdout") for labels in told] == [None, None, 0.25, 0.5, None]
    seen = {(task.kind, repr(dict(task.labels))) for task in study}
    assert len(seen) == len(study)


def test_labels_make_no_other_tasks_and_travel_to_workers():
    one, other = called(n=1), called(n=2)
    alone, both = Study(tasks=one, data=DATA), Study(tasks=[one, other], data=DATA)
    assert [both.task(i).fingerprint for i in (0, 1)] == [t.fingerprint for t in alone]
    there = pickle.loads(pickle.dumps(both))
    assert [t.labels for t in there] == [t.labels for t in both]
    assert [t.fingerprint for t in there] == [t.fingerprint for t in both]


@pytest.mark.parametrize(
    "grids",
    [
        lambda: [called(n=1)],
        lambda: [called(n=1), called(jobs.mean_of, k=2)],  # told apart by their functions
        lambda: [called(n=1), Grid(kind="function", options={"function": jobs.evidence, "n": 2},
                                   over={"data": {"c": "a"}})],
        lambda: [called(n=1), Grid(kind="function", options={"function": jobs.evidence,
                                                             "data": "a"}, over={"n": [2]})],
        lambda: [called(n=1), called(n=1)],  # nothing but their seeds is different
    ],
)  # fmt: skip
def test_grids_that_do_not_look_alike_keep_their_labels(grids):
    made = grids()
    assert extra(*made, data=DATA) == [{}] * len(made)


def test_what_tells_grids_apart():
    def told(*grids):
        return extra(*grids, data=DATA)

    assert told(called(n=1), called(n=1, shift=2.0)) == [{}, {"shift": 2.0}]
    assert told(called(n=1), called(n=2), called(n=2)) == [{"n": 1}, {"n": 2}, {"n": 2}]
    # An option that is added may make a grid look like a third one.
    third = Grid(
        kind="function",
        options={"function": jobs.evidence, "shift": 1.0},
        over={"data": ["a", "b"], "n": [1, 3]},
    )
    first, second, last = told(called(n=1, shift=0.0), called(n=2, shift=0.0), third)
    assert (first, second) == ({"n": 1, "shift": 0.0}, {"n": 2})
    assert last == {"shift": 1.0}
    # Grids that share no task with each other, only with one between them.
    over = [{"data": names} for names in (["a"], ["a", "b"], ["b"])]
    chain = [
        Grid(kind="function", options={"function": jobs.evidence, "n": n}, over=names)
        for n, names in zip((1, 2, 2), over, strict=True)
    ]
    assert told(*chain) == [{"n": 1}, {"n": 2}, {"n": 2}]


def test_limits_and_namesakes_tell_grids_apart():
    def search(max_evaluations):
        return 0

    few, many = (
        Grid(kind="function", options={"function": search}, limits=Limits(evaluations=n))
        for n in (10, 20)
    )
    assert extra(few, many) == [{"limits.evaluations": 10}, {"limits.evaluations": 20}]

    def namesake(shift):
        def it():
            return shift

        return Grid(kind="function", options={"function": it})

    assert extra(namesake(1), namesake(2)) == [{"grid number": 1}, {"grid number": 2}]
    assert extra(namesake(1), namesake(1)) == [{}, {}]


@pytest.mark.parametrize("apart", [True, False])
def test_settings_are_not_pooled_as_replicates(tmp_path, monkeypatch, apart):
    """Without labels that tell them apart, 3 + 1 and 3 + 5 would be two seeds of one thing."""
    if not apart:
        monkeypatch.setattr(study_module, "tell_apart", lambda grids, *given: ({},) * len(grids))
    study = Study(tasks=[called(n=1), called(n=5)], data=DATA)
    result = run(study, tmp_path)
    comparison = compare(result.store.rows(), "function", "log_evidence")
    table = result.table()
    if apart:
        assert table["n"] == [1, 1, 5, 5]
        assert comparison.sets == ("a, n=1", "b, n=1", "a, n=5", "b, n=5")
        assert comparison.value.tolist() == [[4.0], [1.0], [8.0], [5.0]]
        assert comparison.replicates.tolist() == [[1]] * 4
    else:
        assert "n" not in table.columns
        assert comparison.sets == ("a", "b")
        assert comparison.replicates.tolist() == [[2]] * 2


def test_labels_that_are_called_like_results(tmp_path):
    """An option that a result is called like has a column of its own."""

    def evaluate(evaluations):
        return {"evaluations": 10 * evaluations}

    grids = [
        Grid(kind="function", options={"function": evaluate, "evaluations": n}) for n in (1, 2)
    ]
    table = run(Study(tasks=grids), tmp_path).table()
    assert (table["option.evaluations"], table["evaluations"]) == ([1, 2], [10, 20])


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
