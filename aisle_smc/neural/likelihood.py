"""Training a proposal on weighted particles from anywhere, by maximum likelihood."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aisle_smc.arguments import check_count
from aisle_smc.arrays import Floats

__all__ = ["MaximumLikelihood", "seeded"]

# Fewer points than this are not shared out into those that teach and those that judge.
FEWEST = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class MaximumLikelihood:
    r"""AISLE-KL on weighted particles, :math:`\max_\phi \sum_k W_k \log q_\phi(z_k)`.

    Adam on minibatches that are drawn by weight.  Some of the points are held out; the parameters
    with the best weighted log-density of those are kept, which may be the ones at the start.

    Attributes
    ----------
    steps : int
        Steps of Adam, at the most.
    learning_rate : float
        Of Adam; it falls to zero along a cosine.
    batch : int
        Points in a minibatch.
    held_out : float
        Share of the points that judge, at least 0 and below 1; at 0, or with fewer than 50
        points, all teach and the last parameters are kept.
    patience : int
        Looks at the held-out points, one every 20 steps, without improvement before it stops.
    seed : int
        The same points and the same seed give the same bits on a CPU.

    Notes
    -----
    A flow has far more parameters than there are effective points, and would shrink onto the
    heaviest ones; weights under it would then have no variance to speak of.  Hence the held-out
    points.
    """

    steps: int = 400
    learning_rate: float = 5e-3
    batch: int = 256
    held_out: float = 0.2
    patience: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "patience"):
            check_count(name, getattr(self, name))
        if not self.learning_rate > 0.0:
            raise ValueError(f"learning_rate must be positive; got {self.learning_rate}")
        if not 0.0 <= self.held_out < 1.0:
            raise ValueError(f"held_out must be a share, 0 or more, below 1; got {self.held_out}")

    def train(self, proposal: nn.Module, z: Floats, weights: Floats, x: Any) -> None:
        """Train a proposal in place.

        Parameters
        ----------
        proposal : Module
            Called with `x`, or with nothing if it is None, it gives a distribution.
        z : ndarray, shape (n, d)
            Points.
        weights : ndarray, shape (n,)
            Their positive weights, with sum one.
        x : object
            The one datapoint that they belong to.
        """
        rng = np.random.default_rng(self.seed)
        like = next(proposal.parameters())
        points = torch.as_tensor(z, dtype=like.dtype, device=like.device)
        order = rng.permutation(z.shape[0])
        judges = round(self.held_out * z.shape[0]) if z.shape[0] >= FEWEST else 0
        taught, held = order[judges:], order[:judges]
        share = weights[taught] / weights[taught].sum()
        held_w = torch.as_tensor(weights[held], dtype=like.dtype, device=like.device)
        held_z = points[torch.as_tensor(held, device=like.device)]
        with seeded(self.seed, like), torch.enable_grad():
            optimiser = torch.optim.Adam(proposal.parameters(), lr=self.learning_rate)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
            best = _log_likelihood(proposal, held_z, held_w, x)
            kept, waited = copy.deepcopy(proposal.state_dict()), 0
            for step in range(1, self.steps + 1):
                chosen = taught[rng.choice(taught.size, self.batch, p=share)]
                batch = points[torch.as_tensor(chosen, device=like.device)]
                loss = -_log_density(proposal, batch, x).mean()
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
                if judges == 0 or (step % 20 and step < self.steps):
                    continue
                now = _log_likelihood(proposal, held_z, held_w, x)
                waited = 0 if now > best else waited + 1
                if now > best:
                    best, kept = now, copy.deepcopy(proposal.state_dict())
                if waited == self.patience:
                    break
            if judges:
                proposal.load_state_dict(kept)


@contextmanager
def seeded(seed: int, like: Tensor) -> Iterator[None]:
    """Let torch draw from a seed, and put its global states back afterwards."""
    with torch.random.fork_rng(devices=[like.device] if like.is_cuda else []):
        # Not torch.manual_seed, which also seeds devices that are not put back.
        torch.default_generator.manual_seed(seed)
        if like.is_cuda:
            with torch.cuda.device(like.device):
                torch.cuda.manual_seed(seed)
        yield


def _log_density(proposal: nn.Module, z: Tensor, x: Any) -> Tensor:
    q = proposal() if x is None else proposal(x)
    if len(q.batch_shape) == 1:
        return q.log_prob(z[:, None])[:, 0]  # type: ignore[no-any-return]
    return q.log_prob(z)  # type: ignore[no-any-return]


def _log_likelihood(proposal: nn.Module, z: Tensor, weights: Tensor, x: Any) -> float:
    """Return the weighted log-density of points; -inf if it is not a number."""
    if weights.numel() == 0:
        return -float("inf")
    with torch.no_grad():
        found = float(weights @ _log_density(proposal, z, x).to(weights.dtype))
    return found if np.isfinite(found) else -float("inf")
