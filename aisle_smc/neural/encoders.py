"""Where a proposal's parameters come from: free numbers, or a network of the data."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["MLP", "Head", "encoder_of"]

# Standard deviation of what the features add to the parameters of an untrained head.
SPREAD = 0.01


class MLP(nn.Module):
    """A multilayer perceptron of the data: the default encoder.

    Parameters
    ----------
    features : int
        Numbers in one datapoint.
    hidden : sequence of int
        Units of each layer; the last is the width of what it gives.
    activation : type of module
        What follows each layer.

    Examples
    --------
    >>> import torch
    >>> MLP(3, hidden=(8, 5))(torch.zeros(10, 3)).shape
    torch.Size([10, 5])
    """

    def __init__(
        self,
        features: int,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: type[nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        sizes = (features, *hidden)
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(
                f"an MLP needs features and hidden units, all 1 or more; got features {features} "
                f"and hidden {tuple(hidden)}"
            )
        self.features = features
        self.width = sizes[-1]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), activation()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of data (..., features) as (..., width)."""
        if x.ndim == 0 or x.shape[-1] != self.features:
            raise ValueError(
                f"x must have shape (N, {self.features}), axes (datapoint, feature); got "
                f"{tuple(x.shape)}; flatten images by x.flatten(1)"
            )
        out: Tensor = self.layers(x.to(next(self.parameters()).dtype))
        return out


def encoder_of(encoder: int | nn.Module | None, width: int | None) -> tuple[nn.Module | None, int]:
    """Return the encoder that was asked for, and the width of what it gives.

    Parameters
    ----------
    encoder : int, Module or None
        Numbers in a datapoint, for a default :class:`MLP`; a module of one's own; or None for a
        proposal that does not look at data.
    width : int, optional
        Numbers that a module of one's own gives for each datapoint; by default its attribute
        ``width``.

    Raises
    ------
    TypeError
        If the encoder is none of these.
    ValueError
        If the width is not known, or given where there is nothing to give it for.
    """
    if isinstance(encoder, nn.Module):
        known = getattr(encoder, "width", None) if width is None else width
        if not isinstance(known, int) or known < 1:
            raise ValueError(
                f"the width of what {type(encoder).__name__} gives must be known; got {known!r}; "
                "pass width=..., the last axis of encoder(x)"
            )
        return encoder, known
    if width is not None:
        raise ValueError(f"width={width} belongs to a module of your own; got {encoder!r}")
    if encoder is None:
        return None, 0
    if isinstance(encoder, bool) or not isinstance(encoder, int):
        raise TypeError(
            "encoder must be the number of features of x, a torch module or None; got "
            f"{type(encoder).__name__}"
        )
    mlp = MLP(encoder)
    return mlp, mlp.width


class Head(nn.Module):
    """The raw parameters of a proposal, any real numbers.

    Parameters
    ----------
    initial : Tensor, shape (p,)
        What they are before training, whatever the data.
    encoder, width
        As in :func:`encoder_of`; without an encoder the parameters are free.
    """

    def __init__(
        self, initial: Tensor, encoder: int | nn.Module | None, width: int | None = None
    ) -> None:
        super().__init__()
        self.encoder, known = encoder_of(encoder, width)
        self.bias = nn.Parameter(initial.clone())
        if self.encoder is not None:
            # Small and not zero: features matter a little from the start, and can learn.
            spread = SPREAD / known**0.5
            self.weight = nn.Parameter(spread * torch.randn(initial.numel(), known))

    def forward(self, x: Tensor | None = None) -> Tensor:
        """Return the raw parameters, shape (p,), or (..., p) for data (..., features)."""
        if self.encoder is None:
            if x is not None:
                raise TypeError(
                    f"this proposal has no encoder and takes no x; got x of shape "
                    f"{tuple(x.shape)}; call it without, or build it with encoder="
                )
            return self.bias
        features = encoded(self.encoder, x, self.weight.shape[-1])
        return nn.functional.linear(features.to(self.bias.dtype), self.weight, self.bias)

    def move_to(self, raw: Tensor, x: Tensor | None) -> None:
        """Shift the bias so that the raw parameters at one x are the given ones, (..., p)."""
        with torch.no_grad():
            self.bias.add_((raw - self(x)).reshape(self.bias.shape))


def encoded(encoder: nn.Module, x: Tensor | None, width: int) -> Tensor:
    """Return an encoder's features of data, or raise."""
    if x is None:
        raise TypeError(
            "this proposal is amortised and needs data; call it with x, shape (N, ...), one "
            "datapoint along the first axis"
        )
    if isinstance(x, np.ndarray):
        raise TypeError(
            f"x must be a tensor; got an array of shape {x.shape} and {x.dtype}; pass "
            "torch.as_tensor(x), of the networks' dtype"
        )
    features = encoder(x)
    if not isinstance(features, Tensor) or features.ndim == 0 or features.shape[-1] != width:
        got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(
            f"the encoder must give shape (N, {width}), axes (datapoint, feature), for x of shape "
            f"{tuple(x.shape)}; got {got}"
        )
    return features
