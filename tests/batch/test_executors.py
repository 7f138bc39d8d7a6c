"""Executors: the same bits whoever does the work, and data that travels once."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from aisle_smc.batch import Grid, Limits, Study, status
from aisle_smc.batch.chunks import Chunks
from aisle_smc.batch.keeping import Keeping
from aisle_smc.batch.record import Record
from aisle_smc.batch.shipment import load, pack, save
from tests.batch import jobs

pytest.importorskip("distributed")


def study(**changes):
    given = {
        "tasks": Grid(
            kind="function",
            options={"function": jobs.chain, "data": "noise"},
            over={"x": range(12)},
        ),
        "data": {"noise": np.random.default_rng(1).standard_normal(1000)},
        "seed": 7,
    }
    return Study(**given | changes)


@pytest.fixture(scope="module")
def bits(tmp_path_factory):
    """What the study returns from one process, to the last bit."""
    result = study().run(1, folder=tmp_path_factory.mktemp("one"), progress=False)
    assert result.ok
    return bits_of(result)


def bits_of(result):
    assert result.ok, result
    return {i: pickle.dumps((v["norm"], v["vector"].tobytes())) for i, v in result.values()}


@pytest.mark.parametrize("workers", [2, 8])
def test_same_bits_from_processes(bits, workers, tmp_path):
    assert bits_of(study().run(workers, folder=tmp_path, progress=False)) == bits


def test_same_bits_from_dask(bits, tmp_path):
    result = study().run(3, "dask", folder=tmp_path, progress=False)
    assert bits_of(result) == bits
    workers = {row["worker"] for row in result.store.rows()}
    assert len(workers) > 1, "several processes should have shared the work"


def test_another_seed_gives_other_bits(bits, tmp_path):
    result = study(seed=8).run(2, "threads", folder=tmp_path, progress=False)
    assert not set(bits_of(result).values()) & set(bits.values())


def test_same_bits_from_threads_where_a_blas_has_several(tmp_path):
    """A product of matrices has one thread in both; what it had before it has again."""
    made = Study(
        tasks=Grid(kind="function", options={"function": jobs.product}, over={"x": range(4)}),
        seed=3,
    )
    with threadpool_limits(2, user_api="blas"):
        assert jobs.blas_threads() == {2}
        runs = [
            dict(made.run(2, executor, folder=tmp_path / executor, progress=False).values())
            for executor in ("threads", "processes")
        ]
        assert jobs.blas_threads() == {2}
    assert runs[0] == runs[1]
    assert {value["threads"] for value in runs[0].values()} == {1}
    assert len({value["sum"] for value in runs[0].values()}) == 4


def test_data_is_mapped_and_not_copied(tmp_path):
    array = np.arange(200_000.0)
    result = Study(
        tasks=Grid(kind="function", options={"function": jobs.where, "data": "big"}),
        data={"big": array},
        replicates=8,
    ).run(2, folder=tmp_path, progress=False)
    found = [value for _, value in result.values()]
    assert not any(value["owns"] for value in found)
    assert {value["total"] for value in found} == {array.sum()}
    assert not (tmp_path / "work" / "shipment.bin").exists()


def test_status_while_it_runs(tmp_path):
    seen = []

    def look(x):
        seen.append(status(tmp_path))

    Study(tasks=Grid(kind="function", options={"function": look}, over={"x": [1, 2]})).run(
        1, "threads", folder=tmp_path, progress=False
    )
    assert all(found.driver is not None for found in seen)
    assert "run by process" in repr(seen[0])
    assert [found.summary.pending for found in seen] == [2, 1]


def test_progress_goes_line_by_line_into_a_log(tmp_path, capsys):
    study().run(2, "threads", folder=tmp_path)
    assert capsys.readouterr().err.startswith("study: 12 of 12 tasks, ")


def test_wrong_executor_is_refused(tmp_path):
    with pytest.raises(TypeError, match="executor must be"):
        study().run(executor=3, folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="workers must be at least 1"):
        study().run(0, folder=tmp_path, progress=False)


# --- the parts -----------------------------------------------------------------------------------


def test_shipment_survives_its_file(tmp_path):
    content = {"a": np.arange(5.0), "f": lambda x: x + 1, "b": np.ones((2, 3)), "text": "x"}
    save(pack("name", content), tmp_path / "file")
    for shipment in (pack("name", content), load(tmp_path / "file")):
        back = shipment.unpack()
        assert shipment.name == "name"
        assert np.array_equal(back["a"], content["a"])
        assert np.array_equal(back["b"], content["b"])
        assert (back["f"](1), back["text"]) == (2, "x")
        assert not back["a"].flags.writeable


def test_chunks_hand_out_every_task_once_and_in_order():
    chunks = Chunks((i, i // 50) for i in range(100))
    taken = []
    while len(chunks):
        chunk = chunks.take(2)
        assert len({i // 50 for i in chunk}) == 1
        chunks.took(chunk, 1e-4 * len(chunk))
        taken.extend(chunk)
    assert taken == list(range(100))


def test_chunks_grow_only_where_tasks_are_tiny():
    def sizes(seconds):
        chunks, found = Chunks((i, 0) for i in range(10_000)), []
        while len(chunks):
            chunk = chunks.take(2)
            chunks.took(chunk, seconds * len(chunk))
            found.append(len(chunk))
        return found

    assert sizes(1.0) == [1] * 10_000
    assert max(sizes(1e-4)) == 1000
    # The end is shared out: no worker waits for the long chunk of another one.
    assert sizes(1e-4)[-1] == 1
    assert sum(sizes(1e-3)) == 10_000


def test_chunks_take_back_what_did_not_run():
    chunks = Chunks((i, 0) for i in range(6))
    first = [chunks.take(1)[0] for _ in range(4)]
    chunks.back(first[1:3])
    assert [chunks.take(1)[0] for _ in range(2)] == [1, 2]
    assert [chunks.take(1)[0] for _ in range(2)] == [4, 5]
    assert len(chunks) == 0


def test_keeping_lists_what_is_on_the_disk_and_nothing_else(tmp_path):
    """Two of five results cannot be written: three are listed, whatever the order."""

    class Files:
        def __init__(self):
            self.held, self.lock = {}, threading.Lock()

        def write(self, name, content):
            if name in {"1", "3"}:
                raise OSError("no room")
            with self.lock:
                self.held[name] = content

    held = Files()
    keeping = Keeping(held, at_once=False)
    for name in "01234":
        record = Record(fingerprint=name, status="done")
        keeping.keep(record, {name: b"content"}, tmp_path / "no checkpoint")
    keeping.settle()
    keeping.close()
    assert {record.fingerprint for record in keeping.records} == set(held.held) == set("024")
    assert "no room" in keeping.trouble


def test_limits_of_the_study_are_those_of_tasks_without_their_own():
    grids = [
        Grid(
            kind="function",
            options={"function": jobs.square, "x": 1},
            limits=Limits(seconds=seconds),
        )
        for seconds in (None, 5.0)
    ]
    tasks = list(Study(tasks=grids, limits=Limits(seconds=9.0, memory=10**9)))
    assert [t.limits for t in tasks] == [
        Limits(seconds=9.0, memory=10**9),
        Limits(seconds=5.0, memory=10**9),
    ]
