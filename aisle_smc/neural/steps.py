"""The step: a loss to differentiate, and what the weights say about the draws behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from aisle_kernels import pareto
from torch import Tensor

from aisle_smc.divergences import Stabiliser
from aisle_smc.divergences.frameworks import log_sum_exp

__all__ = ["Step"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    r"""One evaluation of an estimator.

    ``(...)`` are the datapoints: (N,) for an amortised proposal, () for a single one.

    Attributes
    ----------
    loss : Tensor, shape ()
        Its gradient is minus the ascent direction of the estimator, averaged over datapoints. Its
        value, for any estimator, is minus the average of `log_evidence`: not always what is
        minimised.
    log_evidence : Tensor, shape (...)
        Log of the mean weight, in nats: unbiased for the evidence before the log is taken.
    log_w : Tensor, shape (K, ...)
        ``log gamma - log q`` in nats, or the weights given, detached.
    weights : Tensor, shape (K, ...)
        Self-normalised weights, after the stabiliser; zero where degenerate.
    z : Tensor, shape (K, ..., *event)
        The draws, detached.
    degenerate : Tensor of bool, shape (...)
        True where no particle has weight: the datapoint contributes no gradient.
    stabiliser : Stabiliser or None
        The one for the next step, which differs from the present one if it learns.
    """

    loss: Tensor
    log_evidence: Tensor
    log_w: Tensor
    weights: Tensor
    z: Tensor
    degenerate: Tensor
    stabiliser: Stabiliser | None = None

    @property
    def ess(self) -> Tensor:
        """Effective sample size of the raw weights, shape (...): 1 to K, 0 where degenerate."""
        total = torch.where(self.degenerate, 0.0, log_sum_exp(self.log_w))
        squares = torch.where(self.degenerate, 0.0, log_sum_exp(2.0 * self.log_w))
        return torch.where(self.degenerate, 0.0, torch.exp(2.0 * total - squares))

    @property
    def largest_weight(self) -> Tensor:
        """The largest raw self-normalised weight, shape (...); 0 where degenerate."""
        total = torch.where(self.degenerate, 0.0, log_sum_exp(self.log_w))
        return torch.exp(torch.amax(self.log_w, 0) - total)

    @property
    def khat(self) -> Tensor:
        """Shape of the tail of the raw weights, shape (...), computed at each access.

        Above 0.7 the weights are not reliable; ``inf`` if there are fewer than 25 particles, or
        fewer than five in the tail, and ``-inf`` if the weights are equal.
        """
        columns = self.log_w.reshape(self.log_w.shape[0], -1).T.cpu().numpy()
        length = pareto.tail_length(self.log_w.shape[0], 1.0)
        found = [pareto.pareto_k(np.ascontiguousarray(column), length) for column in columns]
        values = torch.tensor(found, dtype=torch.float64, device=self.log_w.device)
        return values.reshape(self.degenerate.shape)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw one particle for each datapoint by weight, shape (..., *event).

        Where degenerate it is the first particle.
        """
        shape = self.degenerate.shape
        columns = self.weights.reshape(self.weights.shape[0], -1).T.clone()
        columns[:, 0] += self.degenerate.reshape(-1)
        index = torch.multinomial(columns, 1, generator=generator)
        event = self.z.shape[self.weights.ndim :]
        flat = self.z.reshape(self.z.shape[0], index.shape[0], *event)
        chosen = flat[index[:, 0], torch.arange(index.shape[0], device=index.device)]
        return chosen.reshape(shape + event)
