r"""The ascent: cotangents in, one backward pass out, theta and phi kept apart.

The model's log-density is evaluated once and the proposal's once. Which of the parameters gets
what is a matter of cotangents: the output of the model has the cotangent :math:`c_k` of theta, and
the gradient that goes on from there into the draw is rescaled by :math:`a_k / c_k`, so that theta
receives :math:`\sum c_k \nabla_\theta \log \gamma` and phi :math:`\sum a_k T_k`. Where that ratio
is not bounded, the gradient by the draw is taken first.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from aisle_smc.neural.rows import Rows

__all__ = ["Ascent", "Form", "LogJoint", "ascend", "warn_of_edge"]

LogJoint = Callable[[Tensor, Any], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Which terms a gradient has, as in :class:`~aisle_smc.neural.formulas.Estimator`."""

    path: bool
    score: bool
    coupled: bool
    bounded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ascent:
    """What came of it: the loss, the coefficients, and ``log gamma - log q``, shape (K, ...)."""

    loss: Tensor
    rows: Rows
    log_ratio: Tensor


def ascend(
    log_joint: LogJoint,
    q: Any,
    z: Tensor,
    x: Any,
    form: Form,
    weigh: Callable[[Tensor, Tensor], Rows],
    *,
    log_q: Tensor | None = None,
) -> Ascent:
    """Evaluate both densities at the draws and attach the coefficients to them.

    Parameters
    ----------
    log_joint : callable
        ``log_joint(z, x)``, shape (K, ...), in nats.
    q : distribution
        The proposal for `x`.
    z : Tensor, shape (K, ..., *event)
        The draws, with their path if the form has one.
    x : object
        The data, as `log_joint` takes them.
    form : Form
        The terms of the gradient.
    weigh : callable
        ``weigh(log_gamma, log_q) -> Rows``, of float64 tensors without gradient.
    log_q : Tensor, shape (K, ...), optional
        ``q.log_prob(z)`` with the gradient by z and the parameters, where it is at hand.

    Raises
    ------
    TypeError, ValueError
        If a density has the wrong shape or is not finite, or has no gradient where it needs one.
    """
    path = form.path and z.requires_grad and torch.is_grad_enabled()
    scale = _Scale()
    at = z.detach().requires_grad_(path)
    log_gamma = log_joint(_scaled(z, scale) if path and form.bounded else at, x)
    if log_q is None:
        log_q = q.log_prob(z if form.coupled else at)
    _check_shapes(log_gamma, log_q, z)
    if path and not log_gamma.requires_grad:
        raise ValueError(
            "log_joint(z, x) must be differentiable in z for a path form; its value has no "
            "gradient; compute it in torch, or use a score form"
        )
    if form.path and log_q.requires_grad and not z.requires_grad:
        raise ValueError(
            "the draws of the proposal must carry a gradient for a path form; rsample gave some "
            "that do not, although log_prob has parameters; use a score form"
        )
    gamma, density = log_gamma.detach().double(), log_q.detach().double()
    log_ratio = gamma - density
    is_finite = bool(torch.isfinite(log_ratio).all())
    if not is_finite:
        _check_values(gamma, density)
    rows = weigh(gamma, density)
    if path and not is_finite and _has_edge(gamma):
        warn_of_edge()
    terms = [(log_gamma, rows.theta)]
    if form.score and (path or not form.coupled):
        terms.append((log_q, rows.score))
    if path:
        scale.ratio = _cast(rows.ratio, z.dtype) if form.bounded else None
        sources = [] if form.bounded else [(log_gamma, rows.path)]
        sources += [] if form.coupled else [(log_q, -rows.path)]
        if sources:
            terms.append((z, _pulled(sources, at, rows.path)))
    value = -torch.mean(rows.log_evidence)
    count = rows.log_evidence.numel()
    live = [(t, _cast(c / count, t.dtype)) for t, c in terms if t.requires_grad]
    loss = _loss(value, *(part for pair in live for part in pair))
    return Ascent(loss=loss, rows=rows, log_ratio=log_ratio)


class _Scale:
    """The factors of the gradient that goes into the draws, known once the weights are."""

    ratio: Tensor | None = None


class _Scaled(torch.autograd.Function):
    """The identity, whose gradient is multiplied particle by particle."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, scale: _Scale) -> Tensor:
        ctx.scale = scale
        return z.view_as(z)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ratio = _beside(ctx.scale.ratio, gradient)
        return torch.where(ratio == 0.0, 0.0, ratio * gradient), None


class _Loss(torch.autograd.Function):
    """A number whose gradient by each tensor is minus the cotangent that comes with it."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *pairs: Tensor) -> Tensor:
        ctx.save_for_backward(*pairs[1::2])
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        found: list[Tensor | None] = [None]
        for cotangent in ctx.saved_tensors:
            found += [-gradient.to(cotangent.dtype) * cotangent, None]
        return tuple(found)


_scaled: Callable[[Tensor, _Scale], Tensor] = _Scaled.apply
_loss: Callable[..., Tensor] = _Loss.apply


def _pulled(sources: list[tuple[Tensor, Tensor]], at: Tensor, path: Tensor) -> Tensor:
    """Return the sum of the gradients by the draw, zero for particles without coefficient."""
    live = [(t, _cast(c, t.dtype)) for t, c in sources if t.requires_grad]
    (found,) = torch.autograd.grad(
        [t for t, _ in live],
        at,
        grad_outputs=[c for _, c in live],
        retain_graph=True,
        materialize_grads=True,
    )
    return torch.where(_beside(path, found) == 0.0, 0.0, found)


def _cast(coefficient: Tensor, dtype: torch.dtype) -> Tensor:
    """Return coefficients of a dtype, those zero that would make a backward pass subnormal.

    Arithmetic on subnormal numbers is many times slower, and early in a training the weight of
    most particles is of that size.
    """
    cast = coefficient.to(dtype)
    if cast.dtype != coefficient.dtype and not bool(torch.isfinite(cast).all()):
        raise ValueError(
            f"a power of the weights overflows {dtype}; use an estimator of bounded coefficients, "
            "such as 'aisle-kl', or a proposal and a log_joint in double precision"
        )
    kind = torch.finfo(dtype)
    return torch.where(cast.abs() < kind.tiny / kind.eps, 0.0, cast)


def _beside(values: Tensor, z: Tensor) -> Tensor:
    """Give coefficients the dtype and the trailing axes of the draws."""
    return values.to(z.dtype).reshape(values.shape + (1,) * (z.ndim - values.ndim))


def _check_shapes(log_gamma: Tensor, log_q: Tensor, z: Tensor) -> None:
    if not isinstance(log_gamma, Tensor):
        raise TypeError(f"log_joint must return a tensor; got a {type(log_gamma).__name__}")
    expected = tuple(log_q.shape)
    if expected != tuple(z.shape[: len(expected)]) or not expected:
        raise ValueError(
            f"log_prob of the proposal must have the leading axes of its draws, {_axes(z.ndim)} = "
            f"{tuple(z.shape)}; got shape {expected}"
        )
    if tuple(log_gamma.shape) == expected:
        return
    hint = "return one value for each particle of each datapoint"
    if tuple(z.shape) == expected and log_gamma.ndim < len(expected):
        hint = "wrap a factorised proposal in torch.distributions.Independent(..., 1)"
    elif log_gamma.ndim > len(expected):
        hint = "sum it over the axes of the latent and of the data"
    raise ValueError(
        f"log_joint must have the shape of the proposal's log_prob, {_axes(len(expected))} = "
        f"{expected}; got {tuple(log_gamma.shape)}; {hint}"
    )


def _axes(count: int) -> str:
    names = ["particles", "datapoints", *(f"event axis {i}" for i in range(1, count))]
    return f"({', '.join(names[:count])}{',' if count == 1 else ''})"


def _has_edge(gamma: Tensor) -> bool:
    """Say whether some datapoint has draws both inside and outside the target's support."""
    outside = gamma == -math.inf
    return bool((outside.any(0) & ~outside.all(0)).any())


@cache
def warn_of_edge() -> None:
    """Warn, once per process, that the draws of a path form leave the target's support."""
    warnings.warn(
        "some draws have target density zero beside others that have some: a path form is right "
        "only if the density falls to zero continuously at the edge of its support; where it "
        "jumps the gradient is biased, however many the particles; use a score form, such as "
        "'rws' (path=False off-policy)",
        RuntimeWarning,
        stacklevel=5,
    )


def _check_values(gamma: Tensor, density: Tensor) -> None:
    for values, what, bad, allowed in (
        (gamma, "log_joint", ~(gamma < math.inf), "finite or -inf"),
        (density, "the proposal's log_prob", ~torch.isfinite(density), "finite at every draw"),
    ):
        if bool(bad.any()):
            index = torch.argwhere(bad)[0].tolist()
            where = f"particle {index[0]}"
            if len(index) > 1:
                datapoint = index[1] if len(index) == 2 else tuple(index[1:])
                where += f" of datapoint {datapoint}"
            raise ValueError(
                f"{what} must be {allowed}; it is {float(values[tuple(index)])} at {where}"
            )
