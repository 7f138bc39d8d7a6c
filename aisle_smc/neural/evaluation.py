"""Evaluation: what many fresh particles say of a model and a proposal, datapoint by datapoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aisle_smc.arguments import check_count
from aisle_smc.neural.ascent import Form, LogJoint, ascend
from aisle_smc.neural.controller import FEWEST
from aisle_smc.neural.minibatches import minibatches, moved
from aisle_smc.neural.paths import conditioned
from aisle_smc.neural.rows import Rows, normalised
from aisle_smc.neural.steps import Step

__all__ = ["Evaluation", "device_of", "evaluate", "evaluating", "modules_of", "seeded"]

_NO_GRADIENT = Form(path=False, score=False, coupled=False, bounded=False)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Evaluation:
    """Importance sampling of every datapoint.

    Attributes
    ----------
    log_evidence : Tensor, shape (n,)
        Log of the mean weight, in nats: a lower bound of the log-evidence in mean, tight for
        many particles.
    ess : Tensor, shape (n,)
        Effective sample sizes.
    khat : Tensor, shape (n,)
        Shapes of the weights' tails; above 0.7 the datapoint's numbers are not reliable.
    particles : int
        Draws for each datapoint.
    """

    log_evidence: Tensor
    ess: Tensor
    khat: Tensor
    particles: int

    @property
    def bound(self) -> float:
        """The mean of the log-evidences, in nats a datapoint."""
        return float(self.log_evidence.mean())

    def __repr__(self) -> str:
        n, is_one = self.log_evidence.numel(), self.log_evidence.numel() == 1
        said = f"ESS {float(self.ess.median()):.0f}"
        if self.particles >= FEWEST:
            said += f"{',' if is_one else ' and'} k-hat {float(self.khat.median()):.2f}"
        if is_one:
            return f"log-evidence {self.bound:.3f} ({self.particles} particles), {said}"
        said += f" ({'medians' if self.particles >= FEWEST else 'median'})"
        if self.particles >= FEWEST:
            said += f", above 0.7 in {float((self.khat > 0.7).double().mean()):.0%}"
        return (
            f"log-evidence {self.bound:.2f} nats a datapoint ({n} datapoints, {self.particles} "
            f"particles), {said}"
        )


def evaluate(
    log_joint: LogJoint,
    proposal: Any,
    data: Any = None,
    *,
    particles: int = 1000,
    batch: int = 100,
    at_once: int = 2**14,
    seed: int | None = None,
) -> Evaluation:
    """Estimate the log-evidence of every datapoint, without any gradient.

    Parameters
    ----------
    log_joint, proposal
        As for :func:`~aisle_smc.neural.surrogates.surrogate`; modules are put in evaluation mode
        meanwhile.
    data : object
        As for :func:`~aisle_smc.neural.training.fit`; rows are taken in their order.
    particles : int
        Draws for each datapoint.
    batch : int
        Datapoints at a time.
    at_once : int
        Latents that are held in memory at a time, over the datapoints of a minibatch.
    seed : int, optional
        Seed of torch's generators for this call, whose states are left as they were.

    Returns
    -------
    Evaluation

    Raises
    ------
    TypeError, ValueError
        As :func:`~aisle_smc.neural.surrogates.surrogate`.
    """
    for what, count in (("particles", particles), ("batch", batch), ("at_once", at_once)):
        check_count(what, count)
    modules = modules_of(log_joint, proposal)
    device = device_of(modules)
    steps = []
    with torch.no_grad(), evaluating(modules), seeded(seed, device):
        for x in minibatches(data, batch=batch, shuffle=False).epoch(np.random.default_rng(0)):
            steps.append(_weighted(log_joint, proposal, moved(x, device), particles, at_once))
            if data is None:
                break
    if not steps:
        raise ValueError("data must have at least one minibatch; the iterable is empty")
    return Evaluation(
        log_evidence=torch.cat([step.log_evidence.reshape(-1).cpu() for step in steps]),
        ess=torch.cat([step.ess.reshape(-1).cpu() for step in steps]),
        khat=torch.cat([step.khat.reshape(-1).cpu() for step in steps]),
        particles=particles,
    )


def modules_of(log_joint: Any, proposal: Any) -> dict[str, nn.Module]:
    """Return the modules behind a model and a proposal, as far as they can be told."""
    found = {}
    for name, given in (("model", log_joint), ("proposal", proposal)):
        inner = given.func if isinstance(given, partial) else given
        owner = getattr(inner, "__self__", inner)
        if isinstance(owner, nn.Module):
            found[name] = owner
    return found


def device_of(modules: dict[str, nn.Module]) -> torch.device:
    """Return where the modules' parameters are: the CPU if there are none."""
    for module in modules.values():
        for each in module.parameters():
            return each.device
    return torch.device("cpu")


@contextmanager
def evaluating(modules: dict[str, nn.Module]) -> Iterator[None]:
    """Put modules in evaluation mode, and each of their parts back afterwards."""
    modes = [(part, part.training) for module in modules.values() for part in module.modules()]
    try:
        for module in modules.values():
            module.eval()
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Seed torch and put its states back afterwards; with None, do nothing."""
    devices = [device] if device.type == "cuda" else []
    with nullcontext() if seed is None else torch.random.fork_rng(devices):
        if seed is not None:
            torch.manual_seed(seed)
        yield


def _weighted(log_joint: LogJoint, proposal: Any, x: Any, particles: int, at_once: int) -> Step:
    """Draw from the proposal in pieces and keep the weights alone."""
    q = conditioned(proposal, x)
    weigh: Callable[[Tensor, Tensor], Rows] = lambda a, b: normalised(a - b).rows()  # noqa: E731
    found: list[Tensor] = []
    piece = 1
    while (left := particles - sum(part.shape[0] for part in found)) > 0:
        z = q.sample(torch.Size([min(piece, left)]))
        found.append(ascend(log_joint, q, z, x, _NO_GRADIENT, weigh).log_ratio)
        piece = max(1, at_once // max(1, found[0].numel()))
    log_w = torch.cat(found)
    rows = normalised(log_w).rows()
    return Step(
        loss=-rows.log_evidence.mean(),
        log_evidence=rows.log_evidence,
        log_w=log_w,
        weights=rows.weights,
        z=z,
        degenerate=rows.degenerate,
    )
