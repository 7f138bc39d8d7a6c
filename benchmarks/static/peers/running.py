"""What every peer's script needs: the target, the clock, the limit and the line of results."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from targets import Target, load


class OutOfTime(Exception):
    """The run has used its seconds."""


class Clocked:
    """A likelihood that counts what it evaluates, and stops a run that is over its limit."""

    def __init__(self, function: Callable[[Any], Any], limit: float, *, rows: bool) -> None:
        self.function = function
        self.rows = rows
        self.limit = limit
        self.evaluations = 0
        self.seconds = 0.0
        self.began = time.perf_counter()

    def __call__(self, theta: Any) -> Any:
        start = time.perf_counter()
        if start - self.began > self.limit:
            raise OutOfTime
        value = self.function(theta)
        self.evaluations += 1 if self.rows else len(theta)
        self.seconds += time.perf_counter() - start
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run: a target, a seed, seconds allowed, and a variant of the peer if it has several."""

    target: Target
    seed: int
    limit: float
    variant: str | None


def task(description: str) -> Task:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("target")
    parser.add_argument("seed", type=int)
    parser.add_argument("--limit", type=float, default=300.0, help="seconds")
    parser.add_argument("--variant")
    options = parser.parse_args()
    return Task(
        target=load(options.target),
        seed=options.seed,
        limit=options.limit,
        variant=options.variant,
    )


def report(**fields: object) -> None:
    """Print one run as a line of JSON, the last of the output."""
    print(json.dumps(fields), flush=True)


def run_clocked(likelihood: Clocked, version: str, run: Callable[[], dict[str, float]]) -> None:
    """Run a peer that calls the likelihood from Python, and report."""
    start = likelihood.began = time.perf_counter()
    try:
        found: dict[str, Any] = {"status": "done", **run()}
    except OutOfTime:
        found = {"status": "timed out"}
    report(
        version=version,
        seconds=time.perf_counter() - start,
        likelihood_seconds=likelihood.seconds,
        evaluations=likelihood.evaluations,
        **found,
    )
