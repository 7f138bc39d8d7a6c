"""The table: every column has a name of its own, whatever tasks return."""

from __future__ import annotations

import pytest

from aisle_smc.batch import Grid, Study
from aisle_smc.batch.table import tidy
from tests.batch import jobs


def row(labels, outcome):
    return {
        "position": 7,
        "kind": "function",
        "status": "done",
        "labels": labels,
        "outcome": outcome,
        "seconds": 0.5,
        "fault": "",
        "fingerprint": "abc",
    }


def table_of(labels, outcome):
    table = tidy([row(labels, outcome)])
    assert len(set(table.columns)) == len(table.columns)
    return next(iter(table))


@pytest.mark.parametrize("name", ["task", "kind", "status", "seconds", "fault", "fingerprint"])
def test_columns_of_the_table_stay_its_own(name):
    own = table_of({}, {})
    told = table_of({}, {name: "mine"})
    assert told == own | {f"result.{name}": "mine"}
    assert table_of({name: "given"}, {}) == own | {f"option.{name}": "given"}
    assert table_of({name: "given"}, {name: "mine"}) == (
        own | {f"result.{name}": "mine", f"option.{name}": "given"}
    )


def test_names_that_look_like_renamed_ones():
    told = table_of({"x": 1, "option.x": 2}, {"x": 3, "status": 4, "result.status": 5})
    assert (told["x"], told["option.option.x"], told["option.x"]) == (3, 1, 2)
    assert (told["status"], told["result.status"]) == ("done", 5)
    assert told["result.result.status"] == 4


def test_function_that_returns_a_status(tmp_path):
    made = Study(tasks=Grid(kind="function", options={"function": jobs.converged, "x": 1}))
    table = made.run(1, "threads", folder=tmp_path, progress=False).table()
    assert table["status"] == ["done"]
    assert table["result.status"] == ["converged"]
