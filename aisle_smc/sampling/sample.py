"""One call from a log-density to its posterior and evidence."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aisle_smc import checkpoint
from aisle_smc.arguments import check_count
from aisle_smc.sampling.bridges import Posterior
from aisle_smc.sampling.meter import Meter
from aisle_smc.sampling.request import Request, read_request
from aisle_smc.sampling.result import SampleResult, assemble
from aisle_smc.sampling.session import Aim, Session
from aisle_smc.sampling.status import Status
from aisle_smc.moves import Level
from aisle_smc.streams import stream
from aisle_smc.targets import Target, evaluator
from aisle_smc.tempering import Temperature

__all__ = ["sample"]

PROBE, PROBES = 6, 7


def sample(
    target: Target | Callable[..., Any],
    prior: Any = None,
    *,
    init: Any = None,
    bounds: Any = None,
    periodic: Sequence[str] = (),
    names: Sequence[str] | None = None,
    vectorized: bool | None = None,
    workers: int | None = None,
    file: str | os.PathLike[str] | None = None,
    ess: float = 2000,
    evidence_error: float = 0.05,
    max_evaluations: int | None = None,
    max_seconds: float | None = None,
    progress: bool = True,
    seed: int = 0,
    n: int | None = None,
    path: Level = Temperature(0.0),  # noqa: B008 - a frozen value
) -> SampleResult:
    """Sample a posterior and estimate its evidence."""
    request = read_request(prior, init, bounds, names, seed)
    aim = read_aim(ess, evidence_error, max_evaluations, max_seconds)
    d = request.space.dim
    if n is None:
        n = max(1000, 20 * d) if d <= 100 else 400
    check_count("n", n)
    probe_rng = stream(seed, PROBE)
    start = request.base or request.space
    probe = request.space.parameters(start.sample(PROBES, probe_rng))
    ev = evaluator(target, request.names, probe, vectorized=vectorized, workers=workers)
    posterior = Posterior(
        space=request.space, evaluator=ev, meter=Meter(), offset=request.offset
    )
    session = Session(
        posterior=posterior, meter=posterior.meter, seed=seed, n=n, base=request.base, path=path
    )

    def again(aim: Aim) -> SampleResult:
        status = Status(show=progress)
        session.watch = status
        try:
            session.run(aim)
        finally:
            status.close()
        return assemble(session, request.free, request.prior, aim, again)

    return again(aim)


def read_aim(
    ess: float, evidence_error: float, max_evaluations: int | None, max_seconds: float | None
) -> Aim:
    """Return the aim of a run, or raise."""
    for name, value in (("ess", ess), ("evidence_error", evidence_error)):
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise TypeError(f"{name} must be a positive number; got {value!r}")
        if not value > 0.0:
            raise ValueError(f"{name} must be positive; got {value}")
    if max_evaluations is not None:
        check_count("max_evaluations", max_evaluations)
    if max_seconds is not None and not max_seconds > 0.0:
        raise ValueError(f"max_seconds must be positive; got {max_seconds}")
    return Aim(
        ess=float(ess),
        evidence_error=float(evidence_error),
        max_evaluations=max_evaluations,
        max_seconds=max_seconds,
    )
