"""Replicates of a stochastic gradient: one at a time, on copies of the parameters, or by vmap.

Each function returns the gradients of `n` independent evaluations of a loss, stacked along a new
first axis. A function of one's own with the same signature serves as well, for instance where the
gradient has a closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["Replicates", "by_vmap", "on_copies", "one_by_one"]


class Replicates(Protocol):
    """How gradients of independent evaluations are found."""

    def __call__(
        self, loss: Callable[..., Any], parameters: Mapping[str, Tensor], n: int, /
    ) -> Mapping[str, Tensor]:
        """Return n gradients of each parameter, shape (n, *shape)."""
        ...


def one_by_one(
    loss: Callable[..., Any], parameters: Mapping[str, Tensor], n: int, /
) -> dict[str, Tensor]:
    """Evaluate ``loss()`` and differentiate it, n times: right for any model.

    Parameters
    ----------
    loss : callable
        ``loss()`` returns a scalar tensor, or an object with such a ``loss``, as a step of
        :mod:`aisle_smc.neural.surrogates`. Each call makes draws of its own.
    parameters : mapping of Tensor
        What it is differentiated by; a parameter that the loss does not use has gradient zero.
    n : int
        Number of replicates.

    Returns
    -------
    dict of Tensor, shape (n, *shape)

    Raises
    ------
    ValueError
        If the loss is no scalar.
    """
    found = [_gradient(_scalar(loss()), parameters) for _ in range(n)]
    return {name: torch.stack([row[i] for row in found]) for i, name in enumerate(parameters)}


def on_copies(
    loss: Callable[..., Any], parameters: Mapping[str, Tensor], n: int, /
) -> dict[str, Tensor]:
    """Evaluate ``loss(copies)`` once, on a copy of the parameters for each replicate.

    One backward pass for all replicates, where the model broadcasts over a first axis of its
    parameters: the replicates are then the datapoints of a batch, each with its own parameters.

    Parameters
    ----------
    loss : callable
        ``loss(copies)`` takes the parameters by name, each of shape (n, *shape), and returns n
        independent losses, shape (n,), or their mean, a scalar (or an object with such a
        ``loss``). Replicate i must depend on copy i alone.
    parameters : mapping of Tensor
        Their values; they are not differentiated themselves.
    n : int
        Number of replicates.

    Returns
    -------
    dict of Tensor, shape (n, *shape)

    Raises
    ------
    ValueError
        If the loss has another shape.
    """
    copies = {
        name: value.detach().expand(n, *value.shape).clone().requires_grad_()
        for name, value in parameters.items()
    }
    value = _loss(loss(copies))
    if value.shape not in {(), (n,)}:
        raise ValueError(
            f"a loss on {n} copies must return {n} losses, shape ({n},), or their mean, a scalar; "
            f"got shape {tuple(value.shape)}"
        )
    return dict(zip(copies, _gradient(value.mean() * n, copies), strict=True))


def by_vmap(
    loss: Callable[..., Any], parameters: Mapping[str, Tensor], n: int, /
) -> dict[str, Tensor]:
    """Evaluate ``loss(parameters)`` for all replicates at once by ``torch.func.vmap``.

    Parameters
    ----------
    loss : callable
        ``loss(parameters)`` takes the parameters by name and returns a scalar tensor. It must be
        a pure function as ``torch.func`` asks: a module is called by
        ``torch.func.functional_call``, nothing looks at a tensor's value, and distributions of
        torch have ``validate_args=False``.
    parameters : mapping of Tensor
        Their values.
    n : int
        Number of replicates; each has its own draws.

    Returns
    -------
    dict of Tensor, shape (n, *shape)

    Notes
    -----
    The surrogates of this package check the values of the weights, which vmap does not allow: use
    :func:`on_copies` or :func:`one_by_one` with them.
    """
    values = {name: value.detach() for name, value in parameters.items()}

    def one(_: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = torch.func.grad(loss)(values)
        return found

    stacked: dict[str, Tensor] = torch.func.vmap(one, randomness="different")(torch.zeros(n))
    return stacked


def _loss(found: Any) -> Tensor:
    value = found if isinstance(found, Tensor) else getattr(found, "loss", None)
    if not isinstance(value, Tensor):
        raise TypeError(
            "a loss must return a tensor, or an object whose attribute loss is one; got "
            f"{type(found).__name__}"
        )
    return value


def _scalar(found: Any) -> Tensor:
    value = _loss(found)
    if value.ndim:
        raise ValueError(
            f"a loss evaluated one by one must be a scalar; got shape {tuple(value.shape)}; "
            "average it over datapoints"
        )
    return value


def _gradient(value: Tensor, parameters: Mapping[str, Tensor]) -> list[Tensor]:
    if not value.requires_grad:
        raise ValueError(
            f"the loss depends on none of the parameters {', '.join(parameters)}; it must be "
            "computed from the very tensors that are given as parameters"
        )
    found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
    return [
        torch.zeros_like(at) if gradient is None else gradient
        for gradient, at in zip(found, parameters.values(), strict=True)
    ]
