"""The store: results are whole or absent, the index loses nothing and counts nothing twice."""

from __future__ import annotations

import errno
import math
import multiprocessing
import os
import pickle
import shutil
import sqlite3
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from aisle_smc.batch import Grid, Store, Study, files
from aisle_smc.batch.files import FolderFiles, RemoteFiles, files_at, record_in
from aisle_smc.batch.record import Record, decode, encode, read_header
from aisle_smc.errors import AisleError
from tests.batch import jobs


def study(count=5):
    return Study(
        tasks=Grid(kind="function", options={"function": jobs.square}, over={"x": range(count)})
    )


def record(fingerprint, status="done", **known):
    return Record(fingerprint=fingerprint, status=status, seconds=1.0, **known)


# --- records and files ---------------------------------------------------------------------------


def test_record_comes_back():
    value = {"a": np.arange(3), "text": "\n\0", "none": None}
    made = record("f", values={"log_evidence": -1.5, "ess": 3}, worker="here:1")
    content = encode(made, value)
    assert read_header(content) == made
    back, held = decode(content)
    assert back == made
    assert np.array_equal(held.pop("a"), value.pop("a"))
    assert held == value


def test_numbers_of_numpy_stay_numbers():
    values = {"n": np.int64(3), "x": np.float32(0.5), "b": np.bool_(True), "nan": np.nan}
    back = read_header(encode(record("f", values=values), None)).values
    assert math.isnan(back.pop("nan"))
    assert back == {"n": 3, "x": 0.5, "b": True}
    assert [type(value) for value in back.values()] == [int, float, bool]


def test_header_is_read_without_unpickling():
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("it was unpickled",))

    assert read_header(encode(record("f"), Trap())).fingerprint == "f"


@pytest.mark.parametrize("cut", [1, 10, -1])
def test_damaged_file_is_told(cut):
    content = encode(record("f"), list(range(100)))
    with pytest.raises(ValueError, match=r"damaged|no record"):
        decode(content[:cut])


@pytest.mark.parametrize("address", ["folder", "memory://store-test/x", "file"])
def test_files_in_all_places(tmp_path, address):
    where = {"folder": str(tmp_path / "a"), "file": f"file://{tmp_path}/b"}.get(address, address)
    held = files_at(where)
    assert isinstance(held, FolderFiles if address == "folder" else RemoteFiles)
    for name in ("abcd.result", "abce.result", "zz.nc"):
        held.write(name, name.encode())
    held.write("zz.nc", b"again")
    assert sorted(held.names()) == ["abcd.result", "abce.result", "zz.nc"]
    assert held.read("zz.nc") == b"again"
    held.remove("abcd.result")
    held.remove("abcd.result")
    assert sorted(held.names()) == ["abce.result", "zz.nc"]
    with pytest.raises(FileNotFoundError):
        held.read("abcd.result")
    assert record_in(held, "abcd.result") is None
    assert record_in(held, "zz.nc") is None


def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    held = FolderFiles(tmp_path)
    held.write("name", b"old")

    def fail(handle):
        raise OSError("the disk is full")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="disk is full"):
        held.write("name", b"new")
    assert held.read("name") == b"old"
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["name"]


def test_token_says_who_sees_the_folder(tmp_path):
    held = FolderFiles(tmp_path / "results")
    assert not held.seen("a")
    held.mark("a")
    assert held.seen("a")
    assert not held.seen("b")


# --- the index -----------------------------------------------------------------------------------


def test_enrolling_again_keeps_what_is_known(tmp_path):
    store, tasks = Store.create(tmp_path), list(study())
    store.enrol(tasks)
    store.record([record(tasks[1].fingerprint), record(tasks[2].fingerprint, "failed")])
    store.enrol(tasks)
    assert list(store.statuses().values()).count("pending") == 3
    summary = store.summary()
    assert (summary.done, summary.failed, summary.pending, summary.total) == (1, 1, 3, 5)
    assert (summary.former, summary.seconds) == (0, 1.0)
    store.enrol(tasks[:2])
    assert (store.summary().total, store.summary().former) == (2, 3)
    store.enrol(tasks)
    assert store.summary() == summary


def test_what_is_done_stays_done(tmp_path):
    store, tasks = Store.create(tmp_path), list(study())
    store.enrol(tasks)
    name = tasks[0].fingerprint
    store.record([record(name, values={"value": 1})])
    store.record([record(name, "failed", fault="later"), record(name, values={"value": 2})])
    (row,) = store.rows(status="done")
    assert (row["outcome"], row["fault"]) == ({"value": 1}, "")


def test_records_of_unknown_tasks_are_nothing(tmp_path):
    store = Store.create(tmp_path)
    store.enrol(study())
    store.record([record("unknown")])
    assert store.summary().total == 5


def test_files_that_the_index_does_not_know_are_found(tmp_path):
    store, tasks = Store.create(tmp_path), list(study())
    store.enrol(tasks)
    names = [task.fingerprint for task in tasks]
    for name, status in zip(names[:3], ("done", "failed", "done"), strict=True):
        store.files.write(f"{name}.result", encode(record(name, status), None))
    store.files.write(f"{names[3]}.result", b"cut sho")
    store.files.write(f"{names[4]}.nc", b"a fit whose result was not written")
    store.record([record(names[0])])
    assert store.results() == set(names[:4])
    found = {r.fingerprint: r.status for r in store.found(names[1:])}
    assert found == {names[1]: "failed", names[2]: "done"}
    assert store.found([names[4]]) == []


def test_tasks_whose_results_are_gone_are_run_again(tmp_path):
    """The index says done, the disk lost the file: the task is run again, and no other."""
    options = {"function": jobs.counted, "folder": str(tmp_path)}
    made = Study(tasks=Grid(kind="function", options=options, over={"x": range(4)}))
    result = made.run(1, "threads", folder=tmp_path / "study", progress=False)
    result.store.files.remove(f"{made.task(2).fingerprint}.result")
    again = made.run(1, "threads", folder=tmp_path / "study", progress=False)
    assert again.ok
    assert [value for _, value in again.values()] == [0, 1, 2, 3]
    assert jobs.runs(tmp_path) == {0: 1, 1: 1, 2: 2, 3: 1}


def test_results_that_are_out_of_reach_are_not_computed_again(tmp_path):
    """A disk that is not mounted is an empty folder: that is no reason to begin anew."""
    options = {"function": jobs.counted, "folder": str(tmp_path)}
    made = Study(tasks=Grid(kind="function", options=options, over={"x": range(3)}))
    kept, folder = tmp_path / "kept", tmp_path / "study"
    made.run(1, "threads", folder=folder, results=str(kept), progress=False)
    kept.rename(tmp_path / "away")
    kept.mkdir()
    with pytest.raises(AisleError, match=r"none of the 3 results .* make that place reachable"):
        made.run(1, "threads", folder=folder, progress=False)
    kept.rmdir()
    (tmp_path / "away").rename(kept)
    assert made.run(1, "threads", folder=folder, progress=False).ok
    assert jobs.runs(tmp_path) == {0: 1, 1: 1, 2: 1}
    # Results within the study's own folder are gone only if they were removed.
    made.run(1, "threads", folder=tmp_path / "other", progress=False)
    shutil.rmtree(tmp_path / "other" / "results")
    assert made.run(1, "threads", folder=tmp_path / "other", progress=False).ok
    assert jobs.runs(tmp_path) == {0: 3, 1: 3, 2: 3}


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_files_are_readable_as_the_umask_says(tmp_path, mask):
    before = os.umask(mask)
    try:
        FolderFiles(tmp_path).write("name", b"content")
    finally:
        os.umask(before)
    assert (tmp_path / "na" / "name").stat().st_mode & 0o777 == 0o666 & ~mask


def test_file_and_its_folders_go_to_the_disk(tmp_path, monkeypatch):
    seen, honest = [], os.fsync

    def note(handle):
        seen.append(Path(os.readlink(f"/proc/self/fd/{handle}")).relative_to(tmp_path))
        honest(handle)

    monkeypatch.setattr(files.os, "fsync", note)
    FolderFiles(tmp_path).write("name", b"content")
    outer, file, inner = map(str, seen)
    assert (outer, file[:4], inner) == (".", "na/.", "na")


def test_file_system_that_knows_no_folders_is_no_trouble(tmp_path, monkeypatch):
    honest = os.fsync

    def refuse(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        honest(handle)

    monkeypatch.setattr(files.os, "fsync", refuse)
    FolderFiles(tmp_path).write("name", b"content")
    assert FolderFiles(tmp_path).read("name") == b"content"


def test_rows_that_took_longest(tmp_path):
    store, tasks = Store.create(tmp_path), list(study())
    store.enrol(tasks)
    for k, task in enumerate(tasks[:4]):
        store.record([Record(fingerprint=task.fingerprint, status="done", seconds=float(k))])
    assert [row["seconds"] for row in store.rows(slowest=2)] == [3.0, 2.0]


def test_stores_are_told_apart_from_other_folders(tmp_path):
    with pytest.raises(ValueError, match="no study in"):
        Store.open(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        Store.create(tmp_path / "file")


def test_many_writers(tmp_path):
    """Three processes enter all tasks at the same time: each counts once."""
    store = Store.create(tmp_path)
    store.enrol(study(60))
    names = list(store.statuses())
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=jobs.enter, args=(tmp_path, names[k:] + names[:k]))
        for k in (0, 20, 40)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 3
    assert (store.summary().done, store.summary().total) == (60, 60)


def test_store_is_whole_for_whoever_opens_it_first(tmp_path):
    """Opened while it is being made it has all its tables, or is not there."""
    errors = []

    def look():
        while not stop.is_set():
            for k in range(30):
                try:
                    Store.open(tmp_path / f"{k}").summary()
                except ValueError:
                    pass
                except sqlite3.Error as error:
                    errors.append(error)

    stop = threading.Event()
    thread = threading.Thread(target=look)
    thread.start()
    for k in range(30):
        Store.create(tmp_path / f"{k}")
    stop.set()
    thread.join()
    assert errors == []
    assert [p.name for p in tmp_path.rglob(".*")] == []


@pytest.mark.parametrize("executor", ["processes", "threads"])
def test_tasks_that_change_the_directory(tmp_path, monkeypatch, executor):
    """Given relative paths, results stay where they belong, and nothing is made elsewhere."""
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    options = {"function": jobs.wander, "folder": str(tmp_path / "there")}
    made = Study(tasks=Grid(kind="function", options=options, over={"x": range(4)}))
    result = made.run(2, executor, folder="study", results="kept", progress=False)
    assert result.ok, result
    assert [value for _, value in result.values()] == [0, 1, 2, 3]
    assert len([p for p in (tmp_path / "kept").rglob("*.result")]) == 4
    assert list((tmp_path / "there").iterdir()) == []
    monkeypatch.chdir(tmp_path)
    again = Store.create("study", "kept")
    assert again.summary().done == 4
    assert Store.create("study", str(tmp_path / "kept")).files == again.files


def test_index_that_is_gone_is_an_error(tmp_path):
    store = Store.create(tmp_path)
    (tmp_path / "index.sqlite").unlink()
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        store.summary()
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        store.note(rate=1.0)
    assert not (tmp_path / "index.sqlite").exists()


def test_store_that_cannot_be_written_to_is_read():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "study"
        store = Store.create(folder)
        store.enrol(study())
        user = os.geteuid()
        Path(name).chmod(0o755)
        folder.chmod(0o555)
        (folder / "index.sqlite").chmod(0o444)
        if user == 0:
            os.setresuid(65534, 65534, 0)  # to the superuser no folder is closed
        try:
            assert Store.open(folder).summary().pending == 5
            assert len(list(Store.open(folder).rows())) == 5
            with pytest.raises(sqlite3.OperationalError):
                store.note(rate=1.0)
        finally:
            if user == 0:
                os.setresuid(0, 0, 0)
            folder.chmod(0o755)


def test_facts(tmp_path):
    store = Store.create(tmp_path, results="memory://x")
    assert store.fact("running") is None
    store.note(running=[[1, 2.5]], rate=None)
    assert (store.fact("running"), store.fact("rate", 3)) == ([[1, 2.5]], None)
    assert store.fact("results") == "memory://x"
    assert isinstance(pickle.loads(pickle.dumps(store)), Store)


def test_a_hundred_thousand_tasks(tmp_path):
    """The index holds them and counts them right; how fast is measured in benchmarks/batch."""
    store, many = Store.create(tmp_path), list(study(100_000))
    store.enrol(many)
    names = [task.fingerprint for task in many]
    assert len(set(names)) == 100_000
    store.record([record(name) for name in names[:70_000]])
    store.record([record(name, "failed") for name in names[60_000:75_000]])
    summary = store.summary()
    assert (summary.done, summary.failed, summary.pending) == (70_000, 5_000, 25_000)
