"""One run of `aisle_smc.sample` on one target: a line of JSON.

    python benchmarks/static/ours.py rospair-10 0 --evidence-error 0.02

A first run with another seed, which compiles what there is to compile, is timed apart.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import cache
from typing import Any

from targets import REAL, Target, load

import aisle_smc


def best_dialect(target: Target) -> str:
    """Return the dialect a user in a hurry would choose: gradients where d is large."""
    return "torch" if target.name in REAL else "compiled"


@cache
def likelihood_of(target: Target, dialect: str) -> Any:
    """Return the log-likelihood, the same object every time: it is compiled once."""
    return target.log_likelihood(dialect)


def run(
    target: Target,
    seed: int,
    *,
    dialect: str,
    evidence_error: float = 0.05,
    ess: float = 2000.0,
    limit: float | None = None,
    max_evaluations: int | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """Sample a target once and return what is reported of a run."""
    likelihood = likelihood_of(target, dialect)
    prior = target.scipy_prior()
    start = time.perf_counter()
    result = aisle_smc.sample(
        likelihood,
        prior=prior,
        evidence_error=evidence_error,
        ess=ess,
        max_seconds=limit,
        max_evaluations=max_evaluations,
        workers=workers,
        progress=False,
        seed=seed,
    )
    seconds = time.perf_counter() - start
    error = result.log_evidence - target.log_evidence
    return {
        "status": "timed out" if result.stopped == "max_seconds" else "done",
        "version": aisle_smc.__version__,
        "log_evidence": result.log_evidence,
        "log_evidence_error": result.log_evidence_error,
        "z": error / (result.log_evidence_error**2 + target.log_evidence_error**2) ** 0.5,
        "evaluations": result.evaluations,
        "seconds": seconds,
        "likelihood_seconds": result.seconds["target"],
        "phases": dict(result.seconds),
        "method": result.method,
        "khat": result.khat,
        "ess": result.ess,
        "stopped": result.stopped,
        "dialect": result.dialect,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target")
    parser.add_argument("seed", type=int)
    parser.add_argument("--dialect", help="compiled, vectorised, python or torch")
    parser.add_argument("--evidence-error", type=float, default=0.05)
    parser.add_argument("--ess", type=float, default=2000.0)
    parser.add_argument("--limit", type=float, help="seconds")
    parser.add_argument("--max-evaluations", type=int)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--cold", action="store_true", help="no first run: compilation counts")
    options = parser.parse_args()
    target = load(options.target)
    dialect = options.dialect or best_dialect(target)

    def once(seed: int) -> dict[str, Any]:
        return run(
            target,
            seed,
            dialect=dialect,
            evidence_error=options.evidence_error,
            ess=options.ess,
            limit=options.limit,
            max_evaluations=options.max_evaluations,
            workers=options.workers,
        )

    first = None if options.cold else once(options.seed + 1_000_000)["seconds"]
    print(json.dumps({"first_seconds": first, **once(options.seed)}), flush=True)


if __name__ == "__main__":
    main()
