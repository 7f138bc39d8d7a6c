r"""One row of the coefficient table: what every particle contributes to a gradient step.

Every estimator here is the ascent direction

.. math:: \sum_k a_k T_k + \sum_k b_k s_k, \qquad \sum_k c_k \nabla_\theta \log \gamma_\theta(z_k)

for the proposal and for the model. :math:`T_k` is the **path atom**, the gradient of
:math:`\log (\gamma / q)` along the reparametrised draw with the density's own parameters held
fixed; :math:`s_k = \nabla_\phi \log q_\phi(z_k)` is the **score atom** at a fixed draw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from aisle_smc.divergences import Coefficients
from aisle_smc.divergences.frameworks import log_mean_exp, log_sum_exp, log_weights

__all__ = ["Normalised", "Rows", "is_heavy", "log_complement", "normalised", "rows_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    r"""Coefficients of one step: float64, detached, particle axis first.

    Attributes
    ----------
    theta : Tensor, shape (K, ...)
        Coefficients of :math:`\nabla_\theta \log \gamma_\theta(z_k)`.
    path : Tensor, shape (K, ...)
        Coefficients a of the path atoms.
    score : Tensor, shape (K, ...)
        Coefficients b of the score atoms.
    log_evidence : Tensor, shape (...)
        Log of the mean weight of all particles, in nats.
    weights : Tensor, shape (K, ...)
        Self-normalised weights.
    degenerate : Tensor of bool, shape (...)
        True where no particle has weight: every coefficient is then zero, never NaN.
    """

    theta: Tensor
    path: Tensor
    score: Tensor
    log_evidence: Tensor
    weights: Tensor
    degenerate: Tensor

    @property
    def ratio(self) -> Tensor:
        """Path over theta coefficient, shape (K, ...); zero where the latter is."""
        absent = self.theta == 0.0
        return torch.where(absent, 0.0, self.path / torch.where(absent, 1.0, self.theta))


def rows_of(found: Coefficients) -> Rows:
    """Return the coefficients of a divergence as a row; theta has the weights."""
    return Rows(
        theta=found.weights,
        path=found.path,
        score=found.score,
        log_evidence=found.log_evidence,
        weights=found.weights,
        degenerate=found.degenerate,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalised:
    r"""Log-weights of K particles, normalised; columns without any weight are made uniform.

    Attributes
    ----------
    log_weights : Tensor, shape (K, ...)
        :math:`\log W_k`, with W the self-normalised weights.
    log_evidence : Tensor, shape (...)
        Log of the mean weight, in nats; ``-inf`` where no particle has any.
    degenerate : Tensor of bool, shape (...)
        Where that is so.
    """

    log_weights: Tensor
    log_evidence: Tensor
    degenerate: Tensor

    @property
    def count(self) -> int:
        """The number K of particles."""
        return int(self.log_weights.shape[0])

    @property
    def weights(self) -> Tensor:
        """The self-normalised weights, shape (K, ...)."""
        return torch.exp(self.log_weights)

    def all_positive(self, what: str) -> None:
        """Raise if a particle has no weight beside others that have some."""
        bad = self.log_weights == -math.inf
        if bool(bad.any()):
            index = ", ".join(map(str, torch.argwhere(bad)[0].tolist()))
            raise ValueError(
                f"{what} is minus infinity where a draw has target density zero; log_w[{index}] "
                "is -inf; use a score form, such as 'rws', or keep the proposal in the support"
            )

    def rows(
        self,
        *,
        theta: Tensor | None = None,
        path: Tensor | None = None,
        score: Tensor | None = None,
    ) -> Rows:
        """Assemble a row: theta has the weights by default, the others zero."""
        zero = torch.zeros_like(self.log_weights)

        def kept(values: Tensor | None) -> Tensor:
            return zero if values is None else torch.where(self.degenerate, 0.0, values)

        weights = kept(self.weights)
        return Rows(
            theta=weights if theta is None else kept(theta),
            path=kept(path),
            score=kept(score),
            log_evidence=self.log_evidence,
            weights=weights,
            degenerate=self.degenerate,
        )


def normalised(log_w: Tensor) -> Normalised:
    """Check log-weights in nats, shape (K, ...), and normalise them over the particles.

    Raises
    ------
    TypeError, ValueError
        If they are not real, or one of them is NaN or ``+inf``; the first is named.
    """
    values = log_weights(log_w, "log_w")
    log_evidence = log_mean_exp(values)
    degenerate = log_evidence == -math.inf
    values = torch.where(degenerate, 0.0, values)
    return Normalised(
        log_weights=values - log_sum_exp(values),
        log_evidence=log_evidence,
        degenerate=degenerate,
    )


def log_complement(log_p: Tensor) -> Tensor:
    """Return ``log(1 - p)`` for normalised p, shape (K, ...): the log of what the others have.

    Notes
    -----
    Where p is near one, ``1 - p`` has lost digits, or all of them; there the others are summed.
    """
    heavy = is_heavy(log_p)
    others = log_sum_exp(torch.where(heavy, -math.inf, log_p))
    return torch.where(heavy, others, torch.log1p(-torch.exp(torch.where(heavy, -1.0, log_p))))


def is_heavy(log_p: Tensor) -> Tensor:
    """Return where normalised p is above 3/4: for one particle at most, whatever rounding does."""
    return log_p > math.log(0.75)
