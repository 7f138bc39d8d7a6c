"""A result for a changed likelihood or prior, from the draws of another one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from aisle_smc.arrays import Floats
from aisle_smc.priors import Prior
from aisle_smc.sampling.aim import Aim
from aisle_smc.sampling.estimates import Estimate
from aisle_smc.sampling.frozen import judge
from aisle_smc.sampling.result import SampleResult
from aisle_smc.sampling.spaces import AffineSpace, DistributionSpace
from aisle_smc.targets import Target, evaluator
from aisle_smc.weighted import WeightedDraws

__all__ = ["reweighted"]


def reweighted(
    result: SampleResult, target: Target | Callable[..., Any] | None, prior: Any
) -> SampleResult:
    """Return a result for a changed likelihood or prior, see :meth:`SampleResult.reweight`."""
    if result.method not in ("draws", "reweighted"):
        raise ValueError(
            "reweighting needs independent draws of a frozen proposal; this result comes from "
            f"{result.method!r}; sample the new posterior instead"
        )
    begun = time.perf_counter()
    session, old = result._session, result.posterior
    evaluations, in_target, dialect = 0, 0.0, result.dialect
    notes: tuple[str, ...] = ()
    change = np.zeros(old.n)
    log_likelihood = result.log_likelihood
    if target is not None:
        ev = session.posterior.evaluator
        theta = parameters_of(result)
        inside = _inside(result)
        log_likelihood = np.full(old.n, -math.inf)
        with evaluator(target, ev.names, theta[inside][:12]) as new:
            log_likelihood[inside] = new(theta[inside]).log_density
        evaluations, in_target, dialect = new.calls, new.seconds, new.dialect
        notes = tuple(new.note.splitlines())
        with np.errstate(invalid="ignore"):
            change = log_likelihood - result.log_likelihood
        # Where the old posterior vanishes its draws say nothing of the new one.
        change = np.where(np.isnan(change), -math.inf, change)
        if (change == math.inf).any():
            raise ValueError(
                "the new likelihood is positive where the old one is zero, so the old draws "
                "cannot stand for it; sample the new posterior"
            )
    if prior is not None:
        given: Prior | None = prior if isinstance(prior, Prior) else Prior(prior)
        assert given is not None
        if old.prior is None or given.free != old.prior.free:
            names = "none" if old.prior is None else ", ".join(old.prior.free)
            raise ValueError(
                f"the new prior must have the same free parameters, {names}; got "
                f"{', '.join(given.free)}"
            )
        if (given.names, given.constants, given.ties) != (
            old.prior.names,
            old.prior.constants,
            old.prior.ties,
        ):
            raise ValueError(
                "the new prior must fix and tie the same parameters to the same values, for the "
                f"likelihood depends on them; the old one was {old.prior!r}; got {given!r}"
            )
        for new_one, old_one in zip(given.coordinates, old.prior.coordinates, strict=True):
            if new_one.lower < old_one.lower or new_one.upper > old_one.upper:
                raise ValueError(
                    f"the new prior of {new_one.name!r} must not reach beyond the old one, "
                    f"({old_one.lower:g}, {old_one.upper:g}), where there are no draws; it is on "
                    f"({new_one.lower:g}, {new_one.upper:g}); sample the new posterior"
                )
        change = change + given.log_density(old.x) - old.prior.log_density(old.x)
    else:
        given = old.prior
    log_w = result._log_w + change
    found = judge(log_w)
    log_prior = 0.0 if given is None else given.log_density(old.x)
    draws = WeightedDraws(
        names=old.names,
        x=old.x,
        log_w=log_w,
        blobs=old.blobs if target is None else None,
        prior=given,
        log_density=log_likelihood + log_prior,
    )
    return replace(
        result,
        posterior=draws,
        log_evidence=found.log_evidence,
        log_evidence_error=found.error,
        method="reweighted",
        estimates={"reweighted": Estimate.of_draws(found)},
        khat=found.khat,
        evaluations=evaluations,
        seconds={
            "target": in_target,
            "fitting": 0.0,
            "reweighting": time.perf_counter() - begun,
        },
        log_likelihood=log_likelihood,
        dialect=dialect,
        notes=notes,
        hidden=0.0,
        _log_w=log_w,
        _again=_cannot_go_on,
    )


def parameters_of(result: SampleResult) -> Floats:
    """Return the weighted draws as the target is called with them, fixed parameters included."""
    prior = result.posterior.prior
    return result.x if prior is None else np.asarray(prior.with_constants(result.x))


def _inside(result: SampleResult) -> npt.NDArray[np.bool_]:
    """Return which draws lie in the support of the prior, shape (n,)."""
    space = result._session.posterior.space
    while isinstance(space, AffineSpace):
        space = space.inner
    if isinstance(space, DistributionSpace):
        return space.supported(result.x)
    return np.ones(result.posterior.n, dtype=bool)


def _cannot_go_on(aim: Aim) -> SampleResult:
    raise ValueError("a reweighted result cannot be refined: refine the first one, or sample anew")
