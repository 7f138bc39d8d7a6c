"""What a session has found, as the result that a person gets."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from aisle_smc.sampling.aim import Aim
from aisle_smc.sampling.request import Request
from aisle_smc.sampling.result import SampleResult
from aisle_smc.sampling.session import Session
from aisle_smc.weighted import WeightedDraws

__all__ = ["assemble"]


def assemble(
    session: Session, request: Request, aim: Aim, again: Callable[[Aim], SampleResult]
) -> SampleResult:
    """Return what a session has found."""
    estimates = session.found.estimates()
    if not estimates:
        raise ValueError(
            f"{session.stopped} ended the run before its first stage was complete: "
            f"{session.spent.evaluations} evaluations were made, and a stage takes {session.n}; "
            "allow more"
        )
    sound = [m for m in ("draws", "replicates") if m in estimates]
    method = "pool"
    if session.found.trusted or len(sound) == 1:
        method = sound[0]
    elif sound:
        # An unbiased estimate that misses part of the posterior is too low, not too high.
        method = max(sound, key=lambda m: estimates[m].log_evidence)
    points, log_w, groups = session.found.points(method)
    chosen = estimates[method]
    space = session.posterior.space
    theta = space.draws(points.z)
    log_target = points.log_base + points.log_ratio
    with np.errstate(invalid="ignore"):
        log_likelihood = log_target - space.log_reference(points.z) - request.offset
    log_likelihood = np.where(np.isneginf(log_target), -math.inf, log_likelihood)
    log_prior = 0.0 if request.prior is None else request.prior.log_density(theta)
    draws = WeightedDraws(
        names=request.free,
        x=theta,
        log_w=log_w,
        blobs=points.blobs,
        prior=request.prior,
        log_density=log_likelihood + log_prior,
        groups=groups,
    )
    ev = session.posterior.evaluator
    return SampleResult(
        posterior=draws,
        log_evidence=chosen.log_evidence,
        log_evidence_error=chosen.error,
        method=method,
        estimates=estimates,
        khat=chosen.khat,
        evaluations=session.spent.evaluations,
        seconds={
            "target": session.target_seconds,
            "fitting": session.fitting_seconds,
            **session.spent.phases,
        },
        trace=tuple(session.trace),
        stopped=session.stopped,
        log_likelihood=log_likelihood,
        dialect=ev.dialect,
        notes=tuple(ev.note.splitlines()),
        aim=aim,
        hidden=session.found.hidden if method == "draws" else 0.0,
        _log_w=log_w,
        _again=again,
        _session=session,
    )
