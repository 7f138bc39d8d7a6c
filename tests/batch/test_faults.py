"""What can go wrong: nothing finished is lost, nothing is counted twice, the others go on."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sqlite3
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from aisle_smc.batch import Grid, Limits, Store, Study, driver, files, lock
from aisle_smc.batch.executors import Processes
from aisle_smc.batch.files import FolderFiles
from aisle_smc.batch.worker import Session
from aisle_smc.errors import AisleError
from tests.batch import drivers, jobs


def kill_and_resume(folder, start, count, seconds, **options):
    """Kill a driver twenty times, and look after each that nothing finished is begun again.

    Half of the kills come at random within `start` seconds, half up to 0.25 seconds after a task
    has begun.  The study must be too long to be done before the last one.
    """
    rng, given = np.random.default_rng(20), {"count": count, "seconds": seconds}

    def begun():
        return sum(jobs.runs(folder).values())

    def pause(kill):
        if kill % 2:
            already = begun()
            drivers.wait_for(lambda: begun() > already)
            time.sleep(rng.uniform(0.0, 0.25))
        else:
            time.sleep(rng.uniform(0.0, start))

    before = {}
    with drivers.Nursery() as nursery:
        for kill in range(20):
            driver = nursery.drive(folder=str(folder), **given, **options)
            pause(kill)
            os.kill(driver, signal.SIGKILL)
            assert nursery.code() == -signal.SIGKILL
            now = drivers.finished(folder, **given)
            assert now.items() >= before.items()
            before = now
        nursery.drive(folder=str(folder), **given, **options)
        assert nursery.code() == 0
    assert drivers.finished(folder, **given).items() >= before.items()
    store = Store.open(folder / "study")
    summary = store.summary()
    assert (summary.done, summary.total, summary.former) == (count, count, 0)
    study = drivers.study_of(folder, **given)
    assert [store.value(t.fingerprint) for t in study] == list(range(count))


def test_driver_killed_twenty_times(tmp_path):
    # Two threads begin at most 2 * 0.3 / 0.04 = 15 tasks in a life: 300 in twenty.
    kill_and_resume(tmp_path, 0.25, 320, 0.04, executor="threads", workers=2)


@pytest.mark.slow
def test_driver_of_processes_killed_twenty_times(tmp_path):
    # Half of the kills come while the workers start.
    kill_and_resume(tmp_path, 1.5, 800, 0.05, executor="processes", workers=2)


def test_driver_of_processes_killed(tmp_path):
    with drivers.Nursery() as nursery:
        driver = nursery.drive(folder=str(tmp_path), workers=2)
        drivers.wait_for(lambda: len(jobs.runs(tmp_path)) > 20)
        os.kill(driver, signal.SIGKILL)
        nursery.code()
        before = drivers.finished(tmp_path)
        assert 0 < len(before) < 120
        nursery.drive(folder=str(tmp_path), workers=2)
        assert nursery.code() == 0
    assert drivers.finished(tmp_path).items() >= before.items()
    assert len(drivers.finished(tmp_path)) == 120


def test_ctrl_c_and_resume(tmp_path):
    with drivers.Nursery() as nursery:
        driver = nursery.drive(folder=str(tmp_path), workers=2)
        drivers.wait_for(lambda: len(jobs.runs(tmp_path)) > 20)
        os.kill(driver, signal.SIGINT)
        assert nursery.code() == 130
        before = drivers.finished(tmp_path)
        summary = Store.open(tmp_path / "study").summary()
        # What had ended stands in the index at once, not only when the study is run again.
        assert 0 < len(before) == summary.done < 120
        assert not lock.alive(tmp_path / "study" / "driver.lock")
        nursery.drive(folder=str(tmp_path), workers=2)
        assert nursery.code() == 0
    assert drivers.finished(tmp_path).items() >= before.items()
    assert Store.open(tmp_path / "study").summary().done == 120


def test_bad_tasks_fail_alone(tmp_path):
    """A task that raises, exits, hangs, eats memory, returns nonsense or dies; among good ones."""
    bad = ["raise", "exit", "hang", "memory", "unpicklable", "kill"]
    study = Study(
        tasks=Grid(
            kind="function",
            options={"function": jobs.misbehave, "folder": str(tmp_path)},
            over={"how": ["good", *bad, "kill once", "fine", "well"]},
        ),
        limits=Limits(seconds=3.0, memory=500_000_000),
    )
    result = study.run(2, folder=tmp_path / "study", progress=False)
    table = result.table()
    status = dict(zip(table["how"], table["status"], strict=True))
    fault = dict(zip(table["how"], table["fault"], strict=True))
    assert status == {how: "failed" if how in bad else "done" for how in status}
    assert fault["raise"] == "ArithmeticError: no such number"
    assert fault["exit"] == "SystemExit: enough"
    assert fault["hang"] == "it took longer than its limit of 3 s"
    assert fault["memory"].startswith("MemoryError: ")
    assert "its limit is 500,000,000 bytes" in fault["memory"]
    assert fault["unpicklable"].startswith("its result cannot be pickled: TypeError")
    assert fault["kill"].startswith("3 worker processes died under it")
    assert "SIGKILL" in fault["kill"]
    seconds = dict(zip(table["how"], table["seconds"], strict=True))
    assert seconds["hang"] == pytest.approx(3.0, abs=1.0)
    where = {f.labels["how"]: f.traceback for f in result.faults}
    assert all("misbehave" in where[how] for how in ("raise", "exit", "hang", "memory"))
    # The main thread comes first, and others after.
    first, second = where["hang"].split("\nThread 0x")[1:3]
    assert "misbehave" in first
    assert "misbehave" not in second
    # Run again, nothing changes: what failed is not tried again unless asked.
    assert study.run(2, folder=tmp_path / "study", progress=False).table().to_csv() == (
        table.to_csv()
    )


def workers_of(folder):
    """The processes that have done something."""
    rows = Store.open(folder).rows(status="done")
    return {int(row["worker"].split(":")[1]) for row in rows}


def test_worker_killed_from_outside(tmp_path):
    study = drivers.study_of(tmp_path, count=40, seconds=0.05)
    with drivers.Nursery() as nursery:
        nursery.drive(folder=str(tmp_path), count=40, seconds=0.05, workers=2)
        folder = tmp_path / "study"
        drivers.wait_for(lambda: len(jobs.runs(tmp_path)) > 5)
        killed = set()
        for _ in range(2):
            drivers.wait_for(lambda: workers_of(folder) - killed)
            victim = (workers_of(folder) - killed).pop()
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
        assert nursery.code() == 0
    summary = Store.open(folder).summary()
    assert (summary.done, summary.total) == (40, 40)
    assert sum(jobs.runs(tmp_path).values()) <= 40 + 2
    assert [Store.open(folder).value(t.fingerprint) for t in study] == list(range(40))


def test_worker_killed_while_it_has_nothing_to_do(tmp_path):
    study = drivers.study_of(tmp_path, count=2, seconds=0.0)
    session = Session(study, FolderFiles(tmp_path / "results"), tmp_path, "token", 1)
    for place in (session.files, FolderFiles(tmp_path / "work")):
        place.mark("token")
    processes = Processes(session, 1)
    try:
        processes.submit([0])
        (first,) = processes.collect(60.0)
        os.kill(int(first.report.records[0].worker.split(":")[1]), signal.SIGKILL)
        time.sleep(0.5)
        processes.submit([1])
        (second,) = processes.collect(60.0)
    finally:
        processes.close(now=True)
    assert [r.status for r in second.report.records] == ["done"]
    assert jobs.runs(tmp_path) == {0: 1, 1: 1}


# --- what a run that was stopped has left --------------------------------------------------------


def plant(folder, study, **contents):
    """Leave files of the first task in the study's folder of work; return its fingerprint."""
    name = study.task(0).fingerprint
    for place, content in contents.items():
        suffix = {"attempts": "", "dumps": ".txt", "checkpoints": ".aisle"}[place]
        path = folder / "work" / place / f"{name}{suffix}"
        path.parent.mkdir(parents=True)
        path.write_text(content)
    return name


@pytest.mark.parametrize("cleared", [True, False])
@pytest.mark.parametrize(
    ("left", "executor", "fault"),
    [
        ({"attempts": "xxx"}, "dask", "3 worker processes died under it: no reason is known"),
        ({"dumps": "Timeout"}, "processes", "it took longer than its limit of 60 s"),
    ],
)
def test_interrupted_runs_are_not_held_against_a_task(
    tmp_path, monkeypatch, cleared, left, executor, fault
):
    """Only what a task does to its processes in this run counts; checkpoints stay."""
    if executor == "dask":
        pytest.importorskip("distributed")
    study = Study(
        tasks=Grid(kind="function", options={"function": jobs.found}, over={"x": [1, 2]}),
        limits=Limits(seconds=60.0),
    )
    plant(tmp_path, study, checkpoints="half of it", **left)
    if not cleared:
        monkeypatch.setattr(driver, "_clear", lambda store: None)
    result = study.run(1, executor, folder=tmp_path, progress=False)
    if cleared:
        assert result.ok
        assert [value for _, value in result.values()] == ["half of it", "nothing"]
    else:
        assert result.table()["fault"] == [fault, None]


# --- a full disk ---------------------------------------------------------------------------------


def test_full_disk_stops_the_study_and_keeps_what_is_done(tmp_path, monkeypatch):
    """The disk has room for four results, then none, then again."""
    room = {"left": 4}
    honest = files.write_whole

    def write(path, content):
        if path.suffix == ".result":
            if room["left"] == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            room["left"] -= 1
        honest(path, content)

    monkeypatch.setattr(files, "write_whole", write)
    study = drivers.study_of(tmp_path, count=12, seconds=0.0)
    with pytest.raises(AisleError, match=r"No space left on device.*: 4 of 12 tasks are done"):
        study.run(1, "threads", folder=tmp_path / "study", progress=False)
    store = Store.open(tmp_path / "study")
    assert (store.summary().done, store.summary().failed) == (4, 0)
    room["left"] = 100
    assert study.run(1, "threads", folder=tmp_path / "study", progress=False).ok
    assert max(jobs.runs(tmp_path).values()) <= 2
    assert sum(jobs.runs(tmp_path).values()) == 12 + 1  # the one that could not be kept


needs_dev_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


def filling(folder, executor):
    study = Study(
        tasks=Grid(
            kind="function",
            options={"function": jobs.fill},
            over={"x": ["full", "good", "fine", "well"]},
        )
    )
    return study.run(1, executor, folder=folder, progress=False)


@needs_dev_full
@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_task_that_fills_a_disk_of_its_own_fails_alone(tmp_path, executor):
    result = filling(tmp_path, executor)
    assert result.table()["status"] == ["failed", "done", "done", "done"]
    (fault,) = result.faults
    assert "No space left on device" in fault.reason
    assert "in fill" in fault.traceback
    # What was written to see whether there is room is gone.
    held = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert not [name for name in held if "probe" in name]


@needs_dev_full
@pytest.mark.parametrize("place", ["results", "work", "temporary"])
def test_task_that_finds_a_disk_full_stops_the_study(tmp_path, monkeypatch, place):
    """There is no room for the task, nor for anything else in one of the places."""
    full = OSError(errno.ENOSPC, "No space left on device")
    if place == "results":
        honest = files.write_whole

        def write(path, content):
            if path.suffix == ".probe":
                raise full
            honest(path, content)

        monkeypatch.setattr(files, "write_whole", write)
    else:
        where = tmp_path / "work" if place == "work" else Path(tempfile.gettempdir())
        made = tempfile.TemporaryFile

        def temporary(*, dir):
            if dir == where:
                raise full
            return made(dir=dir)

        monkeypatch.setattr(tempfile, "TemporaryFile", temporary)
    with pytest.raises(AisleError, match=r"No space left on device.*: 0 of 4 tasks are done"):
        filling(tmp_path, "threads")
    assert Store.open(tmp_path).summary().failed == 0
    monkeypatch.undo()
    assert filling(tmp_path, "threads").table()["status"] == ["failed", "done", "done", "done"]


def test_file_too_large_in_a_worker_process(tmp_path):
    """The same by the kernel: no file may have more than a megabyte."""
    study = Study(
        tasks=Grid(kind="function", options={"function": np.zeros}, over={"shape": [3, 10**6]}),
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, hard))
    try:
        with pytest.raises(AisleError, match="results cannot be written"):
            study.run(1, folder=tmp_path, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert Store.open(tmp_path).summary().done == 1
    assert not [p for p in (tmp_path / "results").rglob(".*") if p.name != ".token"]
    result = study.run(1, folder=tmp_path, progress=False)
    assert result.ok
    assert result.value(1).shape == (10**6,)


def test_index_that_cannot_be_written(tmp_path, monkeypatch):
    study = drivers.study_of(tmp_path, count=5, seconds=0.0)
    honest = Store.record

    def full(store, records):
        if records:
            raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Store, "record", full)
    with pytest.raises(AisleError, match="database or disk is full"):
        study.run(1, "threads", folder=tmp_path / "study", progress=False)
    monkeypatch.setattr(Store, "record", honest)
    before = jobs.runs(tmp_path)
    assert study.run(1, "threads", folder=tmp_path / "study", progress=False).ok
    # The results were on the disk, so that they were found again and not begun again.
    assert jobs.runs(tmp_path).items() >= before.items()


# --- two drivers ---------------------------------------------------------------------------------


def test_second_driver_is_refused(tmp_path):
    with drivers.Nursery() as nursery:
        first = nursery.drive(folder=str(tmp_path), executor="threads", workers=1)
        drivers.wait_for(lambda: jobs.runs(tmp_path))
        study = drivers.study_of(tmp_path)
        with pytest.raises(AisleError, match=f"being run by process {first}"):
            study.run(1, "threads", folder=tmp_path / "study", progress=False)
        assert nursery.code() == 0
    assert jobs.runs(tmp_path) == dict.fromkeys(range(120), 1)
    assert study.run(1, "threads", folder=tmp_path / "study", progress=False).ok


def test_driver_on_another_machine_is_refused_while_it_lives(tmp_path):
    path = tmp_path / "driver.lock"
    path.write_text('{"pid": 1, "host": "another", "since": 0.0}')
    with pytest.raises(AisleError, match="process 1 on another"), lock.locked(path):
        pass
    assert lock.alive(path)
    os.utime(path, (time.time() - 100, time.time() - 100))
    assert not lock.alive(path)
    with lock.locked(path):
        assert lock.alive(path)
    assert not lock.alive(path)


def test_study_that_workers_cannot_load(tmp_path):
    class Stubborn:
        def __reduce__(self):
            return (os.getcwdb, (1, 2))

    study = Study(
        tasks=Grid(kind="function", options={"function": jobs.square}, over={"x": [1]}),
        data={"it": Stubborn()},
    )
    with pytest.raises(AisleError, match="a worker cannot load the study: TypeError"):
        study.run(1, folder=tmp_path, progress=False)


def test_study_that_cannot_be_sent(tmp_path):
    study = Study(
        tasks=Grid(kind="function", options={"function": jobs.square}, over={"x": [1]}),
        data={"it": lock.locked(tmp_path)},
    )
    with pytest.raises(TypeError, match='or executor="threads"'):
        study.run(1, folder=tmp_path, progress=False)
