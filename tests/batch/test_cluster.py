"""Dask clusters: workers and the scheduler may die in the middle."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import pytest

from aisle_smc.batch import Grid, Limits, Store, Study, cluster
from aisle_smc.errors import AisleError
from tests.batch import drivers, jobs

distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.filterwarnings("ignore")  # those of a network that breaks


class Driver(threading.Thread):
    """A driver in a thread of its own, so that the test can do harm meanwhile."""

    def __init__(self, study, *given, **options):
        super().__init__(daemon=True)
        self.run_study = lambda: study.run(*given, progress=False, **options)
        self.result = self.error = None

    def run(self):
        try:
            self.result = self.run_study()
        except BaseException as error:
            self.error = error


def some_done(folder):
    def condition():
        index = folder / "study" / "index.sqlite"
        return index.exists() and Store.open(folder / "study").summary().done > 3

    drivers.wait_for(condition)


def test_worker_lost_in_the_middle(tmp_path):
    study = drivers.study_of(tmp_path, count=60, seconds=0.05)
    with drivers.DaskProcesses(tmp_path) as dask:
        driver = Driver(study, None, dask.address, folder=tmp_path / "study")
        driver.start()
        some_done(tmp_path)
        dask.kill("worker 0")
        driver.join(60)
        assert driver.error is None
        assert driver.result.ok
    begun = jobs.runs(tmp_path)
    assert set(begun) == set(range(60))
    assert sum(begun.values()) <= 60 + 1  # what the dead worker was at
    assert [value for _, value in driver.result.values()] == list(range(60))


def test_scheduler_lost_in_the_middle(tmp_path, monkeypatch):
    """Without a scheduler the study stops, keeps what is done, and goes on with processes."""
    monkeypatch.setattr(cluster, "_PATIENCE", 2.0)
    study = drivers.study_of(tmp_path, count=60, seconds=0.05)
    with drivers.DaskProcesses(tmp_path) as dask:
        driver = Driver(study, None, dask.address, folder=tmp_path / "study")
        driver.start()
        some_done(tmp_path)
        dask.kill("scheduler")
        driver.join(60)
    assert isinstance(driver.error, AisleError)
    assert "scheduler is gone" in str(driver.error)
    assert "run the study again to go on" in str(driver.error)
    before = drivers.finished(tmp_path, 60, 0.05)
    assert 3 < len(before) < 60
    assert study.run(2, folder=tmp_path / "study", progress=False).ok
    assert drivers.finished(tmp_path, 60, 0.05).items() >= before.items()


def test_scheduler_that_comes_back(tmp_path):
    study = drivers.study_of(tmp_path, count=60, seconds=0.05)
    with drivers.DaskProcesses(tmp_path) as dask:
        driver = Driver(study, None, dask.address, folder=tmp_path / "study")
        driver.start()
        some_done(tmp_path)
        for name in ("scheduler", "worker 0", "worker 1"):
            dask.kill(name)
        before = drivers.finished(tmp_path, 60, 0.05)
        dask.start(workers=1)
        driver.join(60)
        assert driver.error is None
        assert driver.result.ok
    assert drivers.finished(tmp_path, 60, 0.05).items() >= before.items()
    assert [value for _, value in driver.result.values()] == list(range(60))


def test_bad_tasks_fail_alone_on_a_cluster(tmp_path):
    bad = ["raise", "hang", "memory", "unpicklable", "kill"]
    study = Study(
        tasks=Grid(
            kind="function",
            options={"function": jobs.misbehave, "folder": str(tmp_path)},
            over={"how": ["good", *bad, "kill once", "fine"]},
        ),
        limits=Limits(seconds=2.0, memory=500_000_000),
    )
    result = study.run(2, "dask", folder=tmp_path / "study", progress=False)
    table = result.table()
    status = dict(zip(table["how"], table["status"], strict=True))
    fault = dict(zip(table["how"], table["fault"], strict=True))
    assert status == {how: "failed" if how in bad else "done" for how in status}
    assert fault["hang"] == "it took longer than its limit of 2 s"
    assert fault["memory"].startswith("MemoryError: ")
    assert "died" in fault["kill"]


def test_client_of_the_user_stays_open_and_workers_without_the_folder_send_files(tmp_path):
    """Workers that do not see the driver's folder send their results home."""
    study = drivers.study_of(tmp_path, count=6, seconds=0.0)
    before = set(Path(tempfile.gettempdir()).glob("aisle-*"))
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None
        ) as local,
        distributed.Client(local) as client,
    ):
        with pytest.raises(ValueError, match="workers of one thread each"):
            Study(tasks=study.tasks, limits=Limits(seconds=9.0)).run(
                executor=client, folder=tmp_path / "other", progress=False
            )
        client.run(_blind)
        result = study.run(executor=client, folder=tmp_path / "study", progress=False)
        assert result.ok
        assert client.status == "running"
    assert [value for _, value in result.values()] == list(range(6))
    assert jobs.runs(tmp_path) == dict.fromkeys(range(6), 1)
    assert set(Path(tempfile.gettempdir()).glob("aisle-*")) <= before


def _blind():
    """Make a worker see no file of the driver's."""
    from aisle_smc.batch.files import FolderFiles

    FolderFiles.seen = lambda self, token: False
    FolderFiles.write = None


def test_address_where_nobody_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_PATIENCE", 0.5)
    study = drivers.study_of(tmp_path, count=2)
    with pytest.raises(AisleError, match="no Dask scheduler answers at tcp://127"):
        study.run(executor="tcp://127.0.0.1:9", folder=tmp_path / "study", progress=False)
