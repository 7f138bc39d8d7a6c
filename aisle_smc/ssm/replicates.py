"""Evidences of replicate filters: how noisy they are, and whether two filters agree."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.errors import AisleError
from aisle_smc.ssm.evidence import EvidenceFilter
from aisle_smc.ssm.findings import Finding
from aisle_smc.ssm.model import StateSpaceModel
from aisle_smc.ssm.proposals import Auxiliary, Bootstrap, Guided, Proposal
from aisle_smc.ssm.tuning import SD
from aisle_smc.streams import stream

__all__ = ["MISTAKES", "Subject", "replicates"]

# Mistakes that stop one check; the others go on.
MISTAKES = (ValueError, TypeError, AisleError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked, and at which parameters."""

    model: Any
    p: Any
    y: Floats
    u: Any
    n: int
    seed: int

    @property
    def fast(self) -> bool:
        """Whether many replicates cost little."""
        return isinstance(self.model, StateSpaceModel)

    def filter(self, proposal: Proposal = Bootstrap()) -> EvidenceFilter:  # noqa: B008
        """Return a filter of the data."""
        keep = proposal == Bootstrap()
        return EvidenceFilter(
            self.model, self.y, self.n, u=self.u, proposal=proposal, keep_paths=keep
        )


def replicates(subject: Subject) -> Iterator[Finding]:
    """Compare evidences of replicate filters, and of the filters that should have the same."""
    count = 40 if subject.fast else 12
    bootstrap = _log_evidences(subject, Bootstrap(), count, 7)
    sd = float(np.std(bootstrap[:, -1], ddof=1))
    if not math.isfinite(sd):
        yield Finding("cannot tell", f"how many particles are enough: with {subject.n} some runs "
                      "lose all weight", "use more particles")  # fmt: skip
    else:
        wanted = subject.n * (sd / SD) ** 2
        rough = "roughly " if sd > 2.5 else ""
        digits = 1 - math.floor(math.log10(max(wanted, 10.0)))
        yield Finding(
            "ok",
            f"the log-evidence has standard deviation {sd:.2f} with {subject.n} particles; "
            f"{rough}{max(round(wanted, digits), 10):.0f} would give about {SD}, "
            "right for pmmh",
        )
    model = subject.model
    others: list[tuple[str, Proposal]] = []
    if model.proposal is not None:
        others.append(("guided", Guided()))
    if model.log_lookahead is not None:
        others.append(("auxiliary", Auxiliary()))
    for k, (name, proposal) in enumerate(others):
        try:
            other = _log_evidences(subject, proposal, count, 8 + k)
        except MISTAKES as error:
            yield Finding("problem", f"the {name} filter fails:\n{error}")
            continue
        yield _same_evidence(name, bootstrap, other)


def _log_evidences(subject: Subject, proposal: Proposal, count: int, key: int) -> Floats:
    """Return log-evidences of every beginning of the data, shape (count, T)."""
    run = subject.filter(proposal)
    found = np.empty((count, subject.y.shape[0]))
    for i in range(count):
        run(subject.p, stream(subject.seed, key, i))
        found[i] = run.log_evidences
    return found


def _same_evidence(name: str, one: Floats, other: Floats) -> Finding:
    """Compare two estimators of one evidence over the longest beginning where both are precise."""
    with np.errstate(invalid="ignore"):
        noise = np.maximum(one.std(axis=0, ddof=1), other.std(axis=0, ddof=1))
    precise = np.flatnonzero(noise <= 0.5)
    if not precise.size:
        return Finding("cannot tell", f"whether {name} and bootstrap filter agree: their "
                       "evidences are too noisy", "use more particles")  # fmt: skip
    t = int(precise[-1])
    centre = one[:, t].mean()
    a, b = np.exp(one[:, t] - centre), np.exp(other[:, t] - centre)
    error = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / a.size) + 1e-9
    z = (b.mean() - a.mean()) / error
    text = (
        f"the {name} filter's evidence of the first {t + 1} observations is "
        f"{b.mean() / a.mean():.3f} +- {error / a.mean():.3f} times the bootstrap filter's"
    )
    if abs(z) > 5.0:
        advice = (
            "log_transition, log_proposal or proposal is wrong"
            if name == "guided"
            else "log_lookahead must not be -inf where the observation density is positive"
        )
        return Finding("problem", text, advice)
    return Finding("ok", text)
