"""What all proposals share: data in, a distribution out, and a use outside torch."""

from __future__ import annotations

import abc
from typing import Any

import torch
from torch import Tensor, nn

from aisle_smc.arrays import Floats
from aisle_smc.neural.bridge import TorchProposal, for_numpy
from aisle_smc.neural.conditionals import Conditional
from aisle_smc.neural.likelihood import MaximumLikelihood

__all__ = ["AmortisedProposal", "inverse_softplus", "positive"]

_LIKELIHOOD = MaximumLikelihood()


class AmortisedProposal(nn.Module, abc.ABC):
    """A module that turns data into a distribution of z.

    Attributes
    ----------
    dim : int
        Number d of coordinates of z.
    """

    dim: int

    def __init__(self, dim: int) -> None:
        super().__init__()
        if isinstance(dim, bool) or not isinstance(dim, int):
            raise TypeError(f"dim must be an int, the number of coordinates of z; got {dim!r}")
        if dim < 1:
            raise ValueError(f"dim must be 1 or more, the number of coordinates of z; got {dim}")
        self.dim = dim

    @abc.abstractmethod
    def forward(self, x: Tensor | None = None) -> Conditional:
        """Return the distributions of z given data.

        Parameters
        ----------
        x : Tensor, shape (N, ...), optional
            The data; left out where the proposal does not look at any.

        Returns
        -------
        Conditional
            Of batch shape (N,), or (), and event shape (d,).
        """

    @property
    def learner(self) -> AmortisedProposal:
        """The part that is fitted to points: the proposal itself."""
        return self

    def start_fit(self, z: Floats, weights: Floats, x: Tensor | None) -> bool:
        """Move to weighted points as far as a formula can.

        Parameters
        ----------
        z : ndarray, shape (n, d)
            Points.
        weights : ndarray, shape (n,)
            Their positive weights, with sum one.
        x : Tensor or None
            The one datapoint that they belong to, as the proposal takes it.

        Returns
        -------
        bool
            Whether the weighted likelihood is at its maximum, with nothing left to train.
        """
        return False

    def as_distribution(
        self, x: Any = None, *, likelihood: MaximumLikelihood = _LIKELIHOOD
    ) -> TorchProposal:
        """Return the proposal for one datapoint as a distribution of NumPy arrays.

        See :func:`aisle_smc.neural.bridge.for_numpy`.
        """
        return for_numpy(self, x, likelihood=likelihood)


def positive(raw: Tensor, floor: float) -> Tensor:
    """Return ``floor + softplus(raw)``, positive scales that no training makes zero."""
    return nn.functional.softplus(raw) + floor


def inverse_softplus(scale: Tensor, floor: float) -> Tensor:
    """Return the raw numbers of scales; those at the floor or below become a little larger."""
    y = (scale - floor).clamp(min=1e-3 * floor)
    # log(exp(y) - 1), which neither overflows nor loses small y.
    return y + torch.log(-torch.expm1(-y))
