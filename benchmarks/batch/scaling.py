"""How batch runs scale: overhead of a task, two cores against one, status of many tasks, Dask.

    python benchmarks/batch/scaling.py [--out benchmarks/results/batch.json] [--only NAME ...]

Wall-clock times include the start of the workers.  The load of the machine is written beside each
figure: other processes on it make every wall-clock time longer, and a ratio smaller.  What plain
processes get at the same time stands beside the ratio of two cores to one; the tasks that sleep
show the ratio without asking for a core.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from aisle_smc.batch import Grid, Store, Study, chunks, status
from aisle_smc.batch.executors import cores
from aisle_smc.batch.record import Record

OUT = Path(__file__).resolve().parents[1] / "results" / "batch.json"


def trivial(x: int) -> int:
    return x


def spin(x: int, seconds: float) -> int:
    """Use a core for so many seconds of its time."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return x


def sleep(x: int, seconds: float) -> int:
    time.sleep(seconds)
    return x


def first(data: Any, x: int) -> float:
    return float(data[x])


def run(function: Any, count: int, workers: int, executor: str, **options: Any) -> dict[str, Any]:
    """Run a study of equal tasks in a fresh folder."""
    data = options.pop("data", None)
    shared = {"function": function, **options} | ({"data": "data"} if data is not None else {})
    study = Study(
        tasks=Grid(kind="function", options=shared, over={"x": range(count)}),
        data={} if data is None else {"data": data},
    )
    with tempfile.TemporaryDirectory() as folder:
        load, began, cpu = os.getloadavg()[0], time.perf_counter(), time.process_time()
        result = study.run(workers, executor, folder=folder, progress=False)
        wall = time.perf_counter() - began
        rows = list(result.store.rows())
        assert result.ok
    # From the start of the first task to the end of the last one: without the start of workers.
    busy = max(r["started"] + r["seconds"] for r in rows) - min(r["started"] for r in rows)
    return {
        "tasks": count,
        "workers": workers,
        "executor": executor,
        "wall_s": wall,
        "busy_s": busy,
        "driver_cpu_s": time.process_time() - cpu,
        "load": load,
    }


def overhead() -> dict[str, Any]:
    """Ten thousand tasks that do nothing: all that is left is what a task costs us."""
    found = {}
    for executor, workers in (("processes", 1), ("processes", 2), ("threads", 2), ("dask", 2)):
        got = run(trivial, 10_000, workers, executor)
        got["ms_per_task"] = 1e3 * got["wall_s"] / got["tasks"]
        found[f"{executor} {workers}"] = got
    return found


def trips() -> dict[str, Any]:
    """A thousand tasks that do nothing, each sent by itself: what a trip costs."""
    most, chunks._MOST = chunks._MOST, 1
    try:
        found = {}
        for executor in ("processes", "dask"):
            got = run(trivial, 1000, 2, executor)
            got["ms_per_trip"] = 1e3 * got["busy_s"] / got["tasks"]
            found[executor] = got
    finally:
        chunks._MOST = most
    return found


def two_cores() -> dict[str, Any]:
    """Two hundred equal tasks on one core and on two."""
    found: dict[str, Any] = {}
    for name, function, seconds in (("computing", spin, 0.25), ("sleeping", sleep, 0.25)):
        given = {f"cores_for_{n}": bare(n) for n in (1, 2)} if function is spin else {}
        one = run(function, 200, 1, "processes", seconds=seconds)
        two = run(function, 200, 2, "processes", seconds=seconds)
        found[name] = given | {
            "one": one,
            "two": two,
            "ratio": one["wall_s"] / two["wall_s"],
            "ratio_without_start": one["busy_s"] / two["busy_s"],
        }
    return found


def bare(workers: int, seconds: float = 4.0) -> float:
    """Return the cores that so many plain processes get: what the machine has to give now."""
    code = f"import time\nu = time.process_time() + {seconds}\nwhile time.process_time() < u: pass"
    began = time.perf_counter()
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(workers)]
    for process in running:
        process.wait()
    return workers * seconds / (time.perf_counter() - began)


def index() -> dict[str, Any]:
    """A hundred thousand tasks in the index, most of them done."""
    study = Study(
        tasks=Grid(kind="function", options={"function": trivial}, over={"x": range(100_000)})
    )
    found: dict[str, Any] = {"load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        tasks = list(study)
        found["describe_s"] = time.perf_counter() - began
        store = Store.create(folder)
        began = time.perf_counter()
        store.enrol(tasks)
        found["enrol_s"] = time.perf_counter() - began
        ended = [
            Record(
                fingerprint=t.fingerprint,
                status="failed" if t.index % 100 == 0 else "done",
                values={"log_evidence": -1.0, "ess": 100.0},
                seconds=1.0,
            )
            for t in tasks[:90_000]
        ]
        began = time.perf_counter()
        store.record(ended)
        found["record_s"] = time.perf_counter() - began
        for name, look in (
            ("status_s", lambda: status(folder)),
            ("statuses_s", store.statuses),
            ("rows_s", lambda: list(store.rows())),
            ("failed_rows_s", lambda: list(store.rows(status="failed"))),
        ):
            laps = []
            for _ in range(3):
                began = time.perf_counter()
                look()
                laps.append(time.perf_counter() - began)
            found[name] = min(laps)
        found["megabytes"] = (Path(folder) / "index.sqlite").stat().st_size / 1e6
    return found


def shipping() -> dict[str, Any]:
    """A hundred megabytes of data for two workers: what they cost beyond the same with none."""
    data = np.random.default_rng(0).standard_normal(12_500_000)
    return {
        f"{executor}, {name}": run(first, 20, 2, executor, data=array)
        for executor in ("processes", "dask")
        for name, array in (("800 bytes", data[:100]), ("100 MB", data))
    }


PARTS = {
    "overhead": overhead,
    "trips": trips,
    "two_cores": two_cores,
    "index": index,
    "shipping": shipping,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    options = parser.parse_args()
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    found["machine"] = {
        "cores": cores(),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "system": platform.system(),
    }
    for name in options.only:
        found[name] = PARTS[name]()
        print(name, json.dumps(found[name], indent=2), flush=True)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
