"""What a worker does before a task begins, and what it says of one that took too long."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numba
import pytest
from scipy.stats import norm

from aisle_smc.batch import Grid, Study, kinds, worker
from aisle_smc.batch.files import FolderFiles, opened
from aisle_smc.batch.outcome import Outcome
from aisle_smc.batch.worker import Session

PREPARATION, WORK = 100.0, 1.0


@dataclass
class Slow:
    """A kind of task that takes long to prepare, by a clock that only it moves."""

    subject: str = "what"
    judged: frozenset[str] = frozenset()
    now: float = 0.0
    events: list[str] = field(default_factory=list)

    def clock(self):
        return self.now

    def check(self, options, data, limits):
        pass

    def prepare(self, options, data):
        self.now += PREPARATION
        self.events.append("prepare")
        if options["what"] == "broken":
            raise ArithmeticError("it does not compile")

    @contextlib.contextmanager
    def bounded(self, limits, dump):
        self.events.append("limits")
        yield

    def run(self, call):
        self.now += WORK
        self.events.append("run")
        return Outcome(values={}, value=None)


@pytest.fixture
def slow(monkeypatch):
    made = Slow()
    monkeypatch.setitem(kinds.KINDS, "slow", made)
    monkeypatch.setattr(worker, "bounded", made.bounded)
    monkeypatch.setattr(worker, "time", SimpleNamespace(perf_counter=made.clock, time=made.clock))
    return made


def session(study, folder, **given):
    held = FolderFiles(folder / "results")
    held.mark("token")
    FolderFiles(folder / "work").mark("token")
    return Session(study, held, folder, "token", 1, **given)


@pytest.mark.parametrize("twice", [False, True])
def test_preparation_is_no_part_of_a_task(tmp_path, slow, twice):
    """It comes once for tasks that share it, before the limits and the clock."""
    study = Study(tasks=Grid(kind="slow", over={"what": ["a", "b"]}), replicates=2)
    held = session(study, tmp_path, twice=twice)
    records = [record for k in range(4) for record in held.run([k]).records]
    assert [record.status for record in records] == ["done"] * 4
    assert [record.seconds for record in records] == [WORK] * 4
    first, later = ["prepare", "limits", "run"], ["limits", "run"]
    order = [study.task(k).options["what"] for k in range(4)]
    seen, expected = set(), []
    for what in order:
        expected += later if what in seen else first
        seen.add(what)
    assert slow.events == expected


def test_failed_preparation_is_the_fault_of_the_task(tmp_path, slow):
    study = Study(tasks=Grid(kind="slow", over={"what": ["broken", "good"]}))
    records = session(study, tmp_path).run([0, 1]).records
    assert [record.status for record in records] == ["failed", "done"]
    assert records[0].fault == "ArithmeticError: it does not compile"


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_preparation_of_a_sample_compiles_its_target():
    @numba.njit
    def bell(theta):
        return -0.5 * (theta[0] - 1.0) ** 2

    kinds.kind_of("sample").prepare({"target": bell, "prior": {"mu": norm(0, 1)}}, None)
    assert bell.signatures


def test_a_folder_that_a_neighbour_tidies_away_is_made_again(tmp_path, monkeypatch):
    """Threads of one Dask worker share the folder, and each removes it when it is empty."""
    path, real, tidied = tmp_path / "attempts" / "x", Path.open, []

    def after_tidying(self, *arguments, **options):
        if not tidied:
            tidied.append(self.parent.rmdir())
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", after_tidying)
    with opened(path, "a") as file:
        file.write("x")
    assert tidied == [None]
    assert path.read_text() == "x"
