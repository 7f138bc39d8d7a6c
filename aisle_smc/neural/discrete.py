"""Discrete latent variables: their distributions and proposals, for the score forms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional

from aisle_smc.arrays import Floats
from aisle_smc.neural.amortised import AmortisedProposal
from aisle_smc.neural.conditionals import Shape, check_points
from aisle_smc.neural.encoders import Head
from aisle_smc.neural.maximisers import fit_bernoulli, fit_categorical

__all__ = ["Bernoulli", "BernoulliProposal", "Categorical", "CategoricalProposal"]


def _no_path(q: object, given: object = None) -> NoReturn:
    """Raise: discrete draws have no path."""
    raise TypeError(
        "discrete z does not follow parameters smoothly: there is no rsample and no inverse; use "
        "sample and an estimator in score form"
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Categorical:
    """Independent coordinates, each one of C classes.

    Attributes
    ----------
    log_probabilities : Tensor, shape (*batch, d, C)
        Normalised.
    """

    log_probabilities: Tensor

    @property
    def batch_shape(self) -> Shape:
        """(N,), or () without data."""
        return tuple(self.log_probabilities.shape[:-2])

    @property
    def event_shape(self) -> Shape:
        """(d,)."""
        return tuple(self.log_probabilities.shape[-2:-1])

    @property
    def has_rsample(self) -> bool:
        """False."""
        return False

    @property
    def has_inverse(self) -> bool:
        """False."""
        return False

    def sample(self, shape: Shape = ()) -> Tensor:
        """Draw classes 0, ..., C - 1 as int64, shape (*shape, N, d)."""
        with torch.no_grad():
            table = self.log_probabilities.exp()
            flat = table.reshape(-1, table.shape[-1])
            drawn = torch.multinomial(flat, math.prod(shape), replacement=True)
            return drawn.T.reshape(*shape, *table.shape[:-1])

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log-probabilities in nats, shape (*shape, N); -inf for what is no class."""
        check_points(z, self.batch_shape, self.event_shape[0])
        index = z.long().clamp(0, self.log_probabilities.shape[-1] - 1)
        lead = torch.broadcast_shapes(z.shape, self.log_probabilities.shape[:-1])  # type: ignore[no-untyped-call]
        table = self.log_probabilities.expand(*lead, -1)
        log_p = table.gather(-1, index.expand(lead)[..., None])[..., 0]
        return torch.where(index == z, log_p, -math.inf).sum(-1)

    rsample = rsample_and_log_prob = inverse = reattach = _no_path


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bernoulli:
    """Independent coordinates, each 0 or 1.

    Attributes
    ----------
    logits : Tensor, shape (*batch, d)
        Log-odds of 1.
    """

    logits: Tensor

    @property
    def batch_shape(self) -> Shape:
        """(N,), or () without data."""
        return tuple(self.logits.shape[:-1])

    @property
    def event_shape(self) -> Shape:
        """(d,)."""
        return tuple(self.logits.shape[-1:])

    @property
    def has_rsample(self) -> bool:
        """False."""
        return False

    @property
    def has_inverse(self) -> bool:
        """False."""
        return False

    def sample(self, shape: Shape = ()) -> Tensor:
        """Draw zeros and ones in the dtype of the logits, shape (*shape, N, d)."""
        with torch.no_grad():
            chance = torch.sigmoid(self.logits).expand(*shape, *self.logits.shape)
            return torch.bernoulli(chance)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log-probabilities in nats, shape (*shape, N); -inf for what is not 0 or 1."""
        check_points(z, self.batch_shape, self.event_shape[0])
        z = z.to(self.logits.dtype)
        log_p = z * self.logits - functional.softplus(self.logits)
        return torch.where((z == 0) | (z == 1), log_p, -math.inf).sum(-1)

    rsample = rsample_and_log_prob = inverse = reattach = _no_path


class CategoricalProposal(AmortisedProposal):
    """Independent classes: z of shape (N, d), each 0, ..., C - 1.

    Parameters
    ----------
    dim, encoder, width
        As for :class:`~aisle_smc.neural.proposals.GaussianProposal`; for one latent
        class ``dim=1``.
    classes : int
        Number C of classes, 2 or more, equally likely before training.
    """

    def __init__(
        self,
        dim: int,
        encoder: int | nn.Module | None = None,
        *,
        classes: int,
        width: int | None = None,
    ) -> None:
        super().__init__(dim)
        if isinstance(classes, bool) or not isinstance(classes, int) or classes < 2:
            raise ValueError(f"classes must be a number of classes, 2 or more; got {classes!r}")
        self.classes = classes
        self.head = Head(torch.zeros(dim * classes), encoder, width)

    def forward(self, x: Tensor | None = None) -> Categorical:
        """Return the classes' distributions given data, see :class:`AmortisedProposal`."""
        logits = self.head(x).unflatten(-1, (self.dim, self.classes))
        return Categorical(log_probabilities=torch.log_softmax(logits, -1))

    def start_fit(self, z: Floats, weights: Floats, x: Tensor | None) -> bool:
        """Take the weighted frequencies."""
        chances = torch.as_tensor(fit_categorical(z, weights, self.classes))
        self.head.move_to(chances.log().flatten().to(self.head.bias), x)
        return True


class BernoulliProposal(AmortisedProposal):
    """Independent zeros and ones: z of shape (N, d).

    Parameters
    ----------
    dim, encoder, width
        As for :class:`~aisle_smc.neural.proposals.GaussianProposal`; both values are
        equally likely before training.
    """

    def __init__(
        self,
        dim: int,
        encoder: int | nn.Module | None = None,
        *,
        width: int | None = None,
    ) -> None:
        super().__init__(dim)
        self.head = Head(torch.zeros(dim), encoder, width)

    def forward(self, x: Tensor | None = None) -> Bernoulli:
        """Return the distributions given data, see :class:`AmortisedProposal`."""
        return Bernoulli(logits=self.head(x))

    def start_fit(self, z: Floats, weights: Floats, x: Tensor | None) -> bool:
        """Take the weighted frequencies."""
        chance = torch.as_tensor(fit_bernoulli(z, weights))
        self.head.move_to(torch.logit(chance).to(self.head.bias), x)
        return True
