"""`aisle_smc.sample` and its peers on the static targets, one after the other on one core.

    python benchmarks/static/compare.py --dynesty PYTHON --nautilus PYTHON --pocomc PYTHON \\
        --blackjax PYTHON

PYTHON is the interpreter of an environment with that peer; without one its rows are left out.
Results: benchmarks/results/static.json, rewritten after every run; runs that are in it already are
not made again unless `--again` says so.  `--table` prints the table of what is there.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from targets import NAMES, Normals, Target, load

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "static.json"
ONE_THREAD = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "NPROC",
    )
} | {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A program to compare: its script, the option that names its Python, and its arguments."""

    name: str
    script: str
    peer: str | None = None
    arguments: tuple[str, ...] = ()

    def skips(self, target: Target) -> str | None:
        """Return why it is not run on a target, if so."""
        if self.peer in ("dynesty", "nautilus", "pocomc") and target.d > 100:
            return f"not meant for d = {target.d}"
        if "hmc" in self.arguments and not isinstance(target.prior, Normals):
            return "needs a prior without bounds"
        return None


LIBRARIES = (
    Library(name="aisle_smc", script="ours.py"),
    Library(name="aisle_smc, 0.02", script="ours.py", arguments=("--evidence-error", "0.02")),
    Library(name="dynesty", script="peers/dynesty_peer.py", peer="dynesty"),
    Library(name="nautilus", script="peers/nautilus_peer.py", peer="nautilus"),
    Library(name="pocoMC", script="peers/pocomc_peer.py", peer="pocomc"),
    *(
        Library(
            name=f"blackjax {variant}",
            script="peers/blackjax_peer.py",
            peer="blackjax",
            arguments=("--variant", variant),
        )
        for variant in ("smc", "hmc", "nss")
    ),
)


def one_core() -> None:
    """Keep a process on the last core it may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def run(python: str, library: Library, target: str, seed: int, limit: float) -> dict[str, Any]:
    """Make one run in its own process; a process that overstays its limit is ended."""
    command = [python, str(HERE / library.script), target, str(seed), "--limit", str(limit)]
    command += library.arguments
    # What compiles or warms up before its clock starts gets time for that as well.
    patience = 2.0 * limit + 300.0
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env={**os.environ, **ONE_THREAD},
            timeout=patience,
            preexec_fn=one_core,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"status": "timed out", "seconds": patience}
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        return {"status": "failed", "message": done.stderr[-2000:]}
    return dict(json.loads(lines[-1]))


def judged(found: dict[str, Any], target: Target) -> dict[str, Any]:
    """Add the error against the reference, its z-score and the overhead per evaluation."""
    if found.get("log_evidence") is not None and found["status"] == "done":
        found["error"] = found["log_evidence"] - target.log_evidence
        own = found.get("log_evidence_error")
        if own:
            found["z"] = found["error"] / math.hypot(own, target.log_evidence_error)
    if found.get("evaluations") and "likelihood_seconds" in found:
        own_seconds = found["seconds"] - found["likelihood_seconds"]
        found["overhead_us"] = own_seconds / found["evaluations"] * 1e6
    return found


def save(results: dict[str, Any]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    fresh = RESULTS.with_suffix(".new")
    fresh.write_text(json.dumps(results, indent=1) + "\n")
    fresh.replace(RESULTS)


def number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def row(target: str, library: str, runs: list[dict[str, Any]]) -> str:
    """Return one line of the table; several seeds give medians, and the rms of the error."""
    done = [found for found in runs if found["status"] == "done"]
    if not done:
        states = sorted({found["status"] for found in runs})
        seconds = max(found.get("seconds", 0.0) for found in runs)
        return f"| {target} | {library} | | {', '.join(states)} | | | {seconds:.0f} | |"

    def median(key: str) -> float | None:
        values = sorted(found[key] for found in done if found.get(key) is not None)
        return values[len(values) // 2] if values else None

    errors = [found["error"] for found in done]
    error = f"{errors[0]:+.3f}"
    if len(errors) > 1:
        error = f"rms {math.sqrt(sum(e * e for e in errors) / len(errors)):.3f}"
    if len(done) < len(runs):
        error += f" ({len(done)} of {len(runs)} done)"
    zs = [abs(found["z"]) for found in done if "z" in found]
    return (
        f"| {target} | {library} | {number(median('evaluations'), ',.0f')} | {error} | "
        f"{number(median('log_evidence_error'), '.3f')} | "
        f"{number(max(zs) if zs else None, '.1f')} | {number(median('seconds'), '.1f')} | "
        f"{number(median('overhead_us'), '.2f')} |"
    )


def table(results: dict[str, Any]) -> str:
    lines = [
        "| target | library | evaluations | error of log Z | own error bar | largest z | "
        "seconds | overhead, µs per evaluation |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for target, libraries in results["targets"].items():
        for library, runs in libraries.items():
            lines.append(row(target, library, [runs[seed] for seed in sorted(runs, key=int)]))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for peer in ("dynesty", "nautilus", "pocomc", "blackjax"):
        parser.add_argument(f"--{peer}", help=f"python of an environment with {peer}")
    parser.add_argument("--targets", nargs="*", default=list(NAMES))
    parser.add_argument("--libraries", nargs="*", default=[each.name for each in LIBRARIES])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for a run")
    parser.add_argument("--again", action="store_true", help="make runs again that are there")
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results.setdefault("targets", {})
    if not options.table:
        results["machine"] = {"cores": os.cpu_count(), "processor": platform.machine()}
        results["limit_s"] = options.limit
    for name in [] if options.table else options.targets:
        target = load(name)
        for library in LIBRARIES:
            python = sys.executable if library.peer is None else getattr(options, library.peer)
            if python is None or library.name not in options.libraries:
                continue
            runs = results["targets"].setdefault(name, {}).setdefault(library.name, {})
            for seed in map(str, options.seeds):
                if seed in runs and not options.again:
                    continue
                reason = library.skips(target)
                runs[seed] = (
                    judged(run(python, library, name, int(seed), options.limit), target)
                    if reason is None
                    else {"status": reason}
                )
                save(results)
                print(name, library.name, seed, json.dumps(runs[seed]), flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
