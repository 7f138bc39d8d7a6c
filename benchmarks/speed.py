"""Speed of the filters and of PMMH, beside the peers, in one run.

    python benchmarks/speed.py --particles PYTHON --cuthbert PYTHON

PYTHON is the interpreter of an environment with that peer; without one its rows are left out.
Every figure is the best of several calls after a first one; the peers run right before ours, size
by size, so that a machine that slows down slows both.  Results: benchmarks/results/speed.json.
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
from collections.abc import Callable
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import gamma, norm, uniform

from aisle_smc import smc, stream
from aisle_smc.ssm import EvidenceFilter, StateSpaceModel, log_evidences, particle_filter, pmmh
from aisle_smc.ssm.math import exp, normal_logpdf
from aisle_smc.ssm.stage import FilterStage

HERE = Path(__file__).parent
SIZES = (100, 1000, 10_000, 100_000, 1_000_000)


class Params(NamedTuple):
    mu: float
    rho: float
    sigma: float


def log_observation(y, x):
    return normal_logpdf(y, 0.0, exp(0.5 * x))


PRIOR = {"mu": norm(0.0, 2.0), "rho": uniform(0.0, 1.0), "sigma": gamma(1.0)}

# The same model twice: with one call of the generator for each particle, and with normals `z`
# that the engine draws in blocks.
DRAWING = StateSpaceModel(
    params=Params,
    initial=lambda rng, p: rng.normal(p.mu, p.sigma / sqrt(1.0 - p.rho**2)),
    transition=lambda rng, x, p: rng.normal(p.mu + p.rho * (x - p.mu), p.sigma),
    log_observation=log_observation,
    prior=PRIOR,
)
BLOCKS = StateSpaceModel(
    params=Params,
    initial=lambda z, p: p.mu + p.sigma / sqrt(1.0 - p.rho**2) * z,
    transition=lambda z, x, p: p.mu + p.rho * (x - p.mu) + p.sigma * z,
    log_observation=log_observation,
    prior=PRIOR,
)
TRUTH = Params(-1.02, 0.9702, 0.178)


def series(length: int = 750) -> np.ndarray:
    """Simulate returns from the model."""
    rng = np.random.Generator(np.random.PCG64(7))
    x = np.empty(length)
    x[0] = rng.normal(TRUTH.mu, TRUTH.sigma / sqrt(1.0 - TRUTH.rho**2))
    for t in range(1, length):
        x[t] = rng.normal(TRUTH.mu + TRUTH.rho * (x[t - 1] - TRUTH.mu), TRUTH.sigma)
    return np.exp(0.5 * x) * rng.normal(size=length)


def best(run: Callable[[int], Any], repeats: int) -> float:
    """Return the least time of `repeats` calls, after one that is not counted."""
    run(0)
    times = []
    for seed in range(1, repeats + 1):
        start = time.perf_counter()
        run(seed)
        times.append(time.perf_counter() - start)
    return min(times)


def fused(model: StateSpaceModel, y: np.ndarray, n: int, repeats: int) -> float:
    """Return seconds of one fused filter, call included."""
    filter_ = EvidenceFilter(model, y, n)
    return best(lambda seed: filter_(TRUTH, stream(seed)), repeats)


def peer(python: str | None, script: str, *arguments: object) -> dict[str, Any] | None:
    """Run one measurement of a peer in its own environment."""
    if python is None:
        return None
    command = [python, str(HERE / "peers" / script), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XLA_FLAGS":
                   "--xla_cpu_multi_thread_eigen=false"}  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return None
    return dict(json.loads(done.stdout.splitlines()[-1]))


def filter_rows(y: np.ndarray, path: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for n in SIZES:
        length = y.size if n < 1_000_000 else 100
        repeats = max(3, min(200, 20_000_000 // (n * length)))
        cost = n * length * 1e-9
        few = str(max(2, min(5, 40_000_000 // (n * length))))
        theirs = {
            "particles": peer(options.particles, "particles_peer.py", "bootstrap", path, n, few)
            if n <= 100_000
            else None,
            "cuthbert": peer(options.cuthbert, "cuthbert_peer.py", path, n, few)
            if 1000 <= n <= 10_000
            else None,
        }
        row: dict[str, Any] = {"n": n}
        row["blocks_ns"] = fused(BLOCKS, y[:length], n, repeats) / cost
        row["drawing_ns"] = fused(DRAWING, y[:length], n, repeats) / cost
        for name, result in theirs.items():
            if result is not None:
                row[f"{name}_ns"] = result["best"] / cost
                row[f"{name}_first_s"] = result["first"]
                row[f"{name}_ratio"] = row[f"{name}_ns"] / row["blocks_ns"]
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def loop_row(y: np.ndarray) -> dict[str, float]:
    """Return microseconds per step that the Python loop costs over the fused driver."""
    n = 1000
    bound = BLOCKS.bind(TRUTH, y, np.zeros(y.size))

    def run(seed: int) -> None:
        for _ in smc(FilterStage(bound=bound), n, stream(seed)):
            pass

    loop, quick = best(run, 10), fused(BLOCKS, y, n, 20)
    whole = best(lambda seed: particle_filter(BLOCKS, TRUTH, y, n, seed=seed), 10)
    return {
        "n": n,
        "loop_over_fused_us_per_step": (loop - quick) / y.size * 1e6,
        "particle_filter_us_per_step": whole / y.size * 1e6,
    }


def threads_row(y: np.ndarray) -> dict[str, float]:
    """Return how much faster two threads evaluate many parameter vectors."""
    many = [TRUTH._replace(mu=TRUTH.mu + 0.001 * i) for i in range(200)]

    def run(workers: int) -> float:
        return best(lambda _: log_evidences(BLOCKS, many, y, 500, workers=workers), 5)

    one, two = run(1), run(2)
    return {"vectors": len(many), "n": 500, "one_s": one, "two_s": two, "ratio": one / two}


def pmmh_row(y: np.ndarray, path: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return iterations per second of one PMMH chain with n = 200."""
    theirs = peer(options.particles, "particles_peer.py", "pmmh", path, 200, 60)

    def run(draws: int) -> float:
        start = time.perf_counter()
        pmmh(BLOCKS, y, 200, draws=draws, tune=100, chains=1, workers=1, progress=False)
        return time.perf_counter() - start

    run(100)
    rate = 2000.0 / (run(2100) - run(100))
    row: dict[str, Any] = {"n": 200, "iterations_per_s": rate}
    if theirs is not None:
        row["particles_iterations_per_s"] = 60 / theirs["seconds"]
        row["ratio"] = rate / row["particles_iterations_per_s"]
    return row


FIRST = """
import time; start = time.perf_counter()
from aisle_smc.ssm import StochasticVolatility, log_evidence
imported = time.perf_counter()
import numpy as np
model = StochasticVolatility()
log_evidence(model, {"mu": -1.0, "rho": 0.97, "sigma": 0.2}, np.ones(100), 100)
print(imported - start, time.perf_counter() - start)
"""

MEMORY = """
import resource, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from speed import BLOCKS, TRUTH, series
from aisle_smc.ssm import particle_filter
y = series(60)
particle_filter(BLOCKS, TRUTH, y, 1000, keep=sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = particle_filter(BLOCKS, TRUTH, y, 1_000_000, keep=sys.argv[2], quantiles=())
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) / 1024, result.tree.nodes if result.tree is not None else 0)
"""


def fresh(code: str, *arguments: str) -> list[float]:
    """Run code in a new process and return the numbers it prints."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(value) for value in done.stdout.split()]


def first_row() -> dict[str, float]:
    """Return seconds from the start of Python to the first log-evidence of a zoo model."""
    imported, done = [fresh(FIRST) for _ in range(3)][-1]
    return {"import": imported, "import_and_evidence": done}


def memory_row() -> dict[str, dict[str, float]]:
    """Return how much a filter of 10^6 particles makes the process grow."""
    return {
        keep: dict(zip(("growth", "tree_nodes"), fresh(MEMORY, str(HERE), keep), strict=True))
        for keep in ("moments", "tree")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--particles", help="python of an environment with particles==0.4")
    parser.add_argument("--cuthbert", help="python of an environment with cuthbert==0.1.1")
    parser.add_argument("--only", nargs="*", help="sections to measure again, the others kept")
    options = parser.parse_args()
    kept = HERE / "results" / "speed.json"
    results: dict[str, Any] = json.loads(kept.read_text()) if options.only else {}
    results["machine"] = {"cores": os.cpu_count(), "processor": platform.machine()}
    y = series()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/y.npy"
        np.save(path, y)
        sections: dict[str, Callable[[], Any]] = {
            "filter": lambda: filter_rows(y, path, options),
            "loop": lambda: loop_row(y),
            "threads": lambda: threads_row(y),
            "pmmh": lambda: pmmh_row(y, path, options),
            "first_result_s": first_row,
            "memory_mib": memory_row,
        }
        for name, measure in sections.items():
            if not options.only or name in options.only:
                results[name] = measure()
                print(name, json.dumps(results[name]), flush=True)
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
