"""Work for the tests: functions that processes import by name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import threadpoolctl


def draw(x, rng):
    """Something random, to the last bit."""
    return {"x": x, "mean": float(rng.standard_normal(1000).mean()), "first": float(rng.random())}


def square(x):
    return x * x


def converged(x):
    return {"status": "converged", "x": x}


def trivial(x):
    return x


def counted(x, folder):
    """Note every time it is run."""
    handle = os.open(Path(folder) / f"runs-{x}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, b"x")
    os.close(handle)
    return x


def slowly(x, folder, seconds=0.05):
    counted(x, folder)
    time.sleep(seconds)
    return x


def runs(folder):
    """How often each task of `counted` was begun."""
    return {int(p.name[5:]): p.stat().st_size for p in Path(folder).glob("runs-*")}


def misbehave(how, folder="."):
    if how == "raise":
        raise ArithmeticError("no such number")
    if how == "exit":
        raise SystemExit("enough")
    if how == "hang":
        while True:
            pass
    if how == "memory":
        return float(np.ones(10**9).sum())
    if how == "unpicklable":
        return (i for i in range(3))
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "kill once":
        mark = Path(folder) / "killed"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return how


def found(x, checkpoint):
    """What an earlier run has left to go on from."""
    return checkpoint.read_text() if checkpoint.exists() else "nothing"


def fill(x):
    """Write to where there is never any room, unless all is well."""
    if x == "full":
        with open("/dev/full", "w") as file:
            file.write("x")
    return x


def evidence(data, n, shift=0.0):
    """An evidence that depends on how it is computed."""
    return {"log_evidence": float(data.sum()) + n + shift, "log_evidence_error": 0.1}


def spin(seconds):
    """Use a core for so many seconds of its time."""
    until = time.process_time() + seconds
    total = 0
    while time.process_time() < until:
        total += 1
    return seconds


def mean_of(data, k):
    return float(data[k::10].mean())


def chain(x, rng, data):
    """Draws, linear algebra and shared data: what a number of threads could change."""
    a = rng.standard_normal((150, 150))
    b = np.linalg.solve(a @ a.T + np.eye(150), data[:150])
    return {"norm": float(np.linalg.norm(b)), "vector": b}


def blas_threads():
    """How many threads each BLAS of this process has, as it is seen from this thread."""
    found = threadpoolctl.threadpool_info()
    return {each["num_threads"] for each in found if each["user_api"] == "blas"}


def product(x, rng):
    """A sum over a product of matrices, and how many threads made it."""
    a = rng.standard_normal((300, 300))
    return {"sum": float((a @ a.T).sum()).hex(), "threads": max(blas_threads())}


def where(data):
    """Which process, and whether its array is a view of something shared."""
    time.sleep(0.05)
    return {"process": os.getpid(), "owns": bool(data.flags.owndata), "total": float(data.sum())}


def enter(folder, names):
    """Enter tasks into a store as done, one after the other."""
    from aisle_smc.batch.record import Record
    from aisle_smc.batch.store import Store

    store = Store.open(folder)
    for name in names:
        store.record([Record(fingerprint=name, status="done")])


def wander(x, folder):
    """Change the working directory, as a task should not."""
    os.chdir(folder)
    return x
