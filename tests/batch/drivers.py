"""Drivers in processes of their own, that tests can kill, and clusters of the same sort.

Run as a script, this is a nursery: it imports everything once, and for every line that it reads it
forks a driver of the study in that line, and prints its process number.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def study_of(folder, count=120, seconds=0.03):
    """A study of tasks that note every time they are begun."""
    from aisle_smc.batch import Grid, Study
    from tests.batch import jobs

    shared = {"function": jobs.slowly, "folder": str(folder), "seconds": seconds}
    return Study(
        tasks=Grid(kind="function", options=shared, over={"x": range(count)}), name="killed"
    )


def run(given):
    """Run the study that a mapping describes."""
    options = {key: given.pop(key) for key in ("executor", "workers") if key in given}
    study = study_of(**given)
    study.run(folder=Path(given["folder"]) / "study", progress=False, **options)


def finished(folder, count=120, seconds=0.03):
    """The tasks whose results are on the disk, with how often each was begun."""
    from aisle_smc.batch import Store
    from tests.batch import jobs

    if not (folder / "study" / "index.sqlite").exists():
        return {}  # killed before it had begun
    names = {name.partition(".")[0] for name in Store.open(folder / "study").files.names()}
    begun = jobs.runs(folder)
    study = study_of(folder, count, seconds)
    return {t.index: begun[t.index] for t in study if t.fingerprint in names}


class Nursery:
    """Where drivers are born."""

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, __file__], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return self

    def drive(self, **given):
        """Start a driver, and return the number of its process."""
        self.process.stdin.write(json.dumps(given).encode() + b"\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def code(self):
        """Wait for the driver that was started last, and return its exit code."""
        return int(self.process.stdout.readline())

    def __exit__(self, *error):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.kill()
        self.process.wait()


def main():
    sys.path.insert(0, str(ROOT))
    import aisle_smc.batch  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = 1
            try:
                run(json.loads(line))
                code = 0
            except KeyboardInterrupt as error:
                print(error, file=sys.stderr, flush=True)
                code = 130
            finally:
                os._exit(code)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


class DaskProcesses:
    """A Dask scheduler and its workers, each a process that can be killed."""

    def __init__(self, folder, workers=2):
        self.folder, self.processes = Path(folder), {}
        self.port = _free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.start(workers)

    def start(self, workers):
        """Start the scheduler, if there is none, and workers."""
        if "scheduler" not in self.processes:
            self._launch("scheduler", "scheduler", "--host", "127.0.0.1", "--port", str(self.port),
                         "--no-dashboard")  # fmt: skip
        for number in range(workers):
            self._launch(f"worker {number}", "worker", self.address, "--nthreads", "1",
                         "--no-dashboard", "--memory-limit", "0",
                         "--local-directory", str(self.folder))  # fmt: skip

    def _launch(self, name, *command):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "dask", *command],
                cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def kill(self, name):
        """Kill a process and those that it has started."""
        process = self.processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for name in sorted(self.processes, reverse=True):
            self.kill(name)


def _free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def wait_for(condition, seconds=60.0):
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError("it has not happened")
        time.sleep(0.01)


if __name__ == "__main__":
    main()
