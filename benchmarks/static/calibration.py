"""Are the error bars right?  Many seeds of `aisle_smc.sample` on every exact target.

    python benchmarks/static/calibration.py            # 100 seeds, two processes
    python benchmarks/static/calibration.py --quick    # 10 seeds of the quick targets

Results: benchmarks/results/static_calibration.json, rewritten after every run, so that a killed
study goes on where it was.  It goes on only with the same settings and the same source code;
`--restart` begins anew.  Of every target the table shows the fraction of runs within three of
their own errors, the mean error of log Z, the mean error bar and the standard deviation of z.
"""

from __future__ import annotations

import os

# One thread for each process, settled before NumPy is loaded.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import sys  # noqa: E402
import zlib  # noqa: E402
from concurrent.futures import ProcessPoolExecutor, as_completed  # noqa: E402
from functools import cache  # noqa: E402
from multiprocessing import get_context  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from ours import best_dialect  # noqa: E402
from ours import run as run_ours  # noqa: E402
from targets import EXACT, NAMES, Target, load  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "static_calibration.json"
QUICK = ("shells-2", "boundary-4", "half-4", "rospair-10", "loggamma-10", "gmm-40-jax")
KEPT = ("log_evidence", "log_evidence_error", "evaluations", "seconds", "method", "khat", "ess")


def source_stamp() -> int:
    """Return a checksum of our modules that are loaded: those that a result depends on."""
    crc = 0
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.split(".")[0] in ("aisle_smc", "aisle_kernels") and file is not None:
            crc = zlib.crc32(Path(file).read_bytes(), crc)
    return crc


@cache
def target_of(name: str) -> Target:
    return load(name)


def one(name: str, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Make one run in a worker, and keep an exception as its message."""
    try:
        target = target_of(name)
        found = run_ours(
            target,
            seed,
            dialect=best_dialect(target),
            evidence_error=settings["evidence_error"],
            ess=settings["ess"],
            max_evaluations=settings["max_evaluations"],
        )
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}
    return {key: found[key] for key in KEPT}


def summary(name: str, runs: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return the figures of one target."""
    target = load(name)
    done = [found for found in runs.values() if "failed" not in found]
    log_z = np.array([found["log_evidence"] for found in done])
    bar = np.array([found["log_evidence_error"] for found in done])
    error = log_z - target.log_evidence
    z = error / np.hypot(bar, target.log_evidence_error)
    return {
        "runs": len(done),
        "failed": len(runs) - len(done),
        "within_3": float(np.mean(abs(z) <= 3.0)),
        "mean_error": float(error.mean()),
        "standard_error_of_mean": float(error.std() / math.sqrt(len(done))),
        "rms_error": float(np.sqrt((error**2).mean())),
        "mean_bar": float(bar.mean()),
        "z_sd": float(z.std()),
        "worst_z": float(z[np.argmax(abs(z))]),
        "evaluations": float(np.median([found["evaluations"] for found in done])),
        "seconds": float(np.median([found["seconds"] for found in done])),
        "unbiased_method": float(np.mean([found["method"] != "pool" for found in done])),
    }


def table(results: dict[str, Any]) -> str:
    lines = [
        "| target | runs | failed | within 3 SE | mean error | rms error | mean SE | sd of z | "
        "worst z | evaluations | seconds | not from the pool |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, runs in results["targets"].items():
        if not any("failed" not in found for found in runs.values()):
            lines.append(f"| {name} | 0 | {len(runs)} | | | | | | | | | |")
            continue
        s = summary(name, runs)
        lines.append(
            f"| {name} | {s['runs']} | {s['failed']} | {s['within_3']:.0%} | "
            f"{s['mean_error']:+.4f} ± {s['standard_error_of_mean']:.4f} | {s['rms_error']:.4f} | "
            f"{s['mean_bar']:.4f} | {s['z_sd']:.2f} | {s['worst_z']:+.1f} | "
            f"{s['evaluations']:,.0f} | {s['seconds']:.1f} | {s['unbiased_method']:.0%} |"
        )
    return "\n".join(lines)


def save(path: Path, results: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(results, indent=1) + "\n")
    fresh.replace(path)


def earlier(path: Path, settings: dict[str, Any], restart: bool) -> dict[str, Any]:
    """Return the results to go on from."""
    if restart or not path.exists():
        return {"settings": settings, "targets": {}}
    results: dict[str, Any] = json.loads(path.read_text())
    if results["settings"] != settings:
        sys.exit(
            f"expected a study with {settings}; {path} holds one with {results['settings']}; "
            "go on with the same settings and code, name another --output, or --restart"
        )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", nargs="*", choices=NAMES)
    parser.add_argument("--seeds", type=int, help="how many; 100 by default")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--evidence-error", type=float, default=0.05)
    parser.add_argument("--ess", type=float, default=2000.0)
    parser.add_argument("--max-evaluations", type=int)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="10 seeds of six quick targets")
    parser.add_argument("--restart", action="store_true")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    quick = RESULTS.with_name("static_calibration_quick.json") if options.quick else RESULTS
    path = options.output or quick
    names = options.targets or (QUICK if options.quick else EXACT)
    seeds = options.seeds or (10 if options.quick else 100)
    settings = {
        "evidence_error": options.evidence_error,
        "ess": options.ess,
        "max_evaluations": options.max_evaluations,
        "source": source_stamp(),
    }
    results = earlier(path, settings, options.restart)
    for name in names:
        results["targets"].setdefault(name, {})
    tasks = [
        (name, seed)
        for name in names
        for seed in range(options.first_seed, options.first_seed + seeds)
        if str(seed) not in results["targets"][name]
    ]
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(one, name, seed, settings): (name, seed) for name, seed in tasks}
        for count, future in enumerate(as_completed(waiting), 1):
            name, seed = waiting[future]
            found = future.result()
            results["targets"][name][str(seed)] = found
            save(path, results)
            print(f"{count}/{len(tasks)}", name, seed, json.dumps(found), flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
