"""Normalising flows of zuko as proposals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from aisle_smc.arrays import Floats
from aisle_smc.distributions.moments import tempered, weighted_moments
from aisle_smc.neural.amortised import AmortisedProposal
from aisle_smc.neural.conditionals import Diagonal, Shape, check_points, follow
from aisle_smc.neural.encoders import encoded, encoder_of

__all__ = ["FlowDensity", "FlowProposal"]


# What the last layers of a new flow are multiplied by.
CALM = 0.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FlowDensity:
    """What a flow gives for data, moved and scaled.

    Attributes
    ----------
    flow : zuko.distributions.NormalizingFlow
        The distribution of standardised points; its transform maps them to noise.
    place : Diagonal
        Centre and scales, shape (d,).
    batch_shape : tuple of int
        (N,), or () without data.
    """

    flow: Any
    place: Diagonal
    batch_shape: Shape

    @property
    def event_shape(self) -> Shape:
        """(d,)."""
        return tuple(self.place.location.shape)

    @property
    def has_rsample(self) -> bool:
        """True."""
        return True

    @property
    def has_inverse(self) -> bool:
        """True."""
        return True

    def sample(self, shape: Shape = ()) -> Tensor:
        """Draw constants, shape (*shape, N, d)."""
        with torch.no_grad():
            return self.rsample(shape)

    def rsample(self, shape: Shape = ()) -> Tensor:
        """Draw points that follow the parameters, shape (*shape, N, d)."""
        return self.place.forward(self.flow.rsample(torch.Size(shape)))

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log-densities in nats, shape (*shape, N)."""
        check_points(z, self.batch_shape, self.event_shape[0])
        log_q: Tensor = self.flow.log_prob(self.place.inverse(z))
        return log_q - self.place.log_det()

    def rsample_and_log_prob(self, shape: Shape = ()) -> tuple[Tensor, Tensor]:
        """Draw points and return their log-densities, from one pass through the flow."""
        u, log_q = self.flow.rsample_and_log_prob(torch.Size(shape))
        return self.place.forward(u), log_q - self.place.log_det()

    def inverse(self, z: Tensor) -> Tensor:
        """Return the noise that z is made of."""
        check_points(z, self.batch_shape, self.event_shape[0])
        noise: Tensor = self.flow.transform(self.place.inverse(z))
        return noise

    def forward(self, noise: Tensor) -> Tensor:
        """Return the points that noise becomes."""
        return self.place.forward(self.flow.transform.inv(noise))

    def reattach(self, z: Tensor) -> Tensor:
        """Return the same values, following the parameters as if they were draws."""
        with torch.no_grad():
            noise = self.inverse(z)
        return follow(z, self.forward(noise))


class FlowProposal(AmortisedProposal):
    r"""A normalising flow :math:`z = m + s\, f_\phi(e; x)`.

    Parameters
    ----------
    flow : zuko.flows.Flow
        A lazy flow; its context is what the encoder gives, as many numbers as its ``context``.
    dim : int
        Number d of coordinates, the ``features`` of the flow.
    encoder, width
        As in :func:`aisle_smc.neural.encoders.encoder_of`; None for a flow without context.

    Notes
    -----
    Splines bend between -5 and 5 and leave the rest alone: the centre m and scales s, which are
    learnt too, bring the target there.  ``as_distribution().fit`` sets them by weighted moments
    first, where that is better than what they are.

    The tails are those of the base distribution, a Gaussian: beside a heavy-tailed target use a
    :class:`DefensiveProposal`.

    Examples
    --------
    >>> import torch
    >>> q = FlowProposal.spline(2, encoder=5)
    >>> q(torch.zeros(10, 5)).rsample((4,)).shape
    torch.Size([4, 10, 2])
    """

    def __init__(
        self,
        flow: nn.Module,
        dim: int,
        *,
        encoder: int | nn.Module | None = None,
        width: int | None = None,
    ) -> None:
        super().__init__(dim)
        self.encoder, self.width = encoder_of(encoder, width)
        self.flow = flow
        self.location = nn.Parameter(torch.zeros(dim))
        self.log_scale = nn.Parameter(torch.zeros(dim))

    @classmethod
    def spline(
        cls,
        dim: int,
        *,
        encoder: int | nn.Module | None = None,
        width: int | None = None,
        transforms: int = 3,
        hidden: Sequence[int] = (64, 64),
        bins: int = 8,
    ) -> Self:
        """Build a neural spline flow, autoregressive.

        Parameters
        ----------
        dim : int
            Number d of coordinates.
        encoder, width
            As for the class.
        transforms, hidden, bins
            Number of layers, hidden units of their networks, and pieces of each spline.

        References
        ----------
        Durkan, Bekasov, Murray and Papamakarios (2019), Neural spline flows.
        """
        from zuko.flows import NSF

        made, known = encoder_of(encoder, width)
        flow = NSF(dim, known, bins=bins, transforms=transforms, hidden_features=tuple(hidden))
        return cls(_calm(flow), dim, encoder=made, width=known or None)

    @classmethod
    def masked(
        cls,
        dim: int,
        *,
        encoder: int | nn.Module | None = None,
        width: int | None = None,
        transforms: int = 3,
        hidden: Sequence[int] = (64, 64),
    ) -> Self:
        """Build a masked autoregressive flow of affine maps.

        Parameters
        ----------
        dim, encoder, width, transforms, hidden
            As for :meth:`spline`.

        References
        ----------
        Papamakarios, Pavlakou and Murray (2017), Masked autoregressive flow.
        """
        from zuko.flows import MAF

        made, known = encoder_of(encoder, width)
        flow = MAF(dim, known, transforms=transforms, hidden_features=tuple(hidden))
        return cls(_calm(flow), dim, encoder=made, width=known or None)

    def forward(self, x: Tensor | None = None) -> FlowDensity:
        """Return the flow given data, see :class:`AmortisedProposal`."""
        batch: Shape = ()
        if self.encoder is None:
            if x is not None:
                raise TypeError(
                    f"this flow has no encoder and takes no x; got x of shape {tuple(x.shape)}; "
                    "call it without, or build it with encoder="
                )
            flow = self.flow()
        else:
            features = encoded(self.encoder, x, self.width)
            batch = tuple(features.shape[:-1])
            flow = self.flow(features.to(self.location.dtype))
        return FlowDensity(
            flow=flow,
            place=Diagonal(location=self.location, scale=self.log_scale.exp()),
            batch_shape=batch,
        )

    def start_fit(self, z: Floats, weights: Floats, x: Tensor | None) -> bool:
        """Set centre and scales by weighted moments, if the points are then likelier."""
        mean, covariance = weighted_moments(z, tempered(weights, self.dim + 1.0))
        variance = np.diag(covariance)
        scale = np.sqrt(np.where(variance > 0.0, variance, 1.0))
        points = torch.as_tensor(z).to(self.location)
        shared = torch.as_tensor(weights).to(self.location)
        with torch.no_grad():
            before = self._score(points, shared, x)
            kept = self.location.clone(), self.log_scale.clone()
            self.location.copy_(torch.as_tensor(mean))
            self.log_scale.copy_(torch.as_tensor(np.log(scale)))
            if not self._score(points, shared, x) > before:
                self.location.copy_(kept[0])
                self.log_scale.copy_(kept[1])
        return False

    def _score(self, z: Tensor, weights: Tensor, x: Tensor | None) -> float:
        q = self(x)
        log_q = q.log_prob(z[:, None])[:, 0] if q.batch_shape else q.log_prob(z)
        found = float(weights @ log_q)
        return found if np.isfinite(found) else -np.inf


def _calm(flow: nn.Module) -> nn.Module:
    """Bring a flow close to the identity, so that it starts near its base distribution."""
    with torch.no_grad():
        for part in flow.modules():
            for each in getattr(part, "hyper", [nn.Identity()])[-1].parameters():
                each.mul_(CALM)
            # Without features or coordinates before it a map has standard normal parameters.
            for each in getattr(part, "phi", ()):
                each.mul_(CALM**2)
    return flow
