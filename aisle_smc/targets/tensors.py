"""Torch functions: points handed over as tensors, gradients by backward differentiation."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.targets.calls import Call
from aisle_smc.targets.faults import Fault, first_failing
from aisle_smc.targets.forms import Form, Part

__all__ = ["Autograd", "TensorCall", "is_tensor", "refers_to_torch"]


def _torch() -> Any:
    """Return torch, which the user has imported: this package never does."""
    return sys.modules["torch"]


@dataclass(frozen=True, slots=True)
class TensorCall:
    """A function that is handed double precision tensors on the CPU."""

    call: Call

    def row(self, theta: Floats) -> Any:
        """Call the function for one point."""
        return self.apply(_torch().from_numpy(theta.copy()))

    def batch(self, theta: Floats) -> Any:
        """Call the function for many points."""
        return self.apply(_torch().from_numpy(theta.copy()))

    def apply(self, points: Any) -> Any:
        """Call the function for a tensor of one point or many."""
        call = self.call
        if call.leading is None:
            return call.function(points)
        columns = points.unbind(-1)
        return call.function(
            *[columns[j] for j in call.leading], **{name: columns[j] for name, j in call.named}
        )


@dataclass(frozen=True, slots=True)
class Autograd:
    """A torch function with its gradient: one forward and one backward pass for a chunk.

    The sum over points is differentiated: the gradient at one point owes nothing to the others.
    """

    call: TensorCall
    form: Form
    batched: bool
    name: str = "torch"

    @property
    def chunk(self) -> int:
        """Points evaluated together."""
        return 256 if self.batched else 1

    def evaluate(self, theta: Floats, part: Part) -> Fault | None:
        """Evaluate one chunk after the other."""
        n, step = theta.shape[0], self.chunk
        for first in range(0, n, step):
            chunk, span = theta[first : first + step], part.span(first, first + step)
            try:
                value = self.differentiate(chunk if self.batched else chunk[0])
            except Exception as error:
                call = (
                    self.differentiate if self.batched else lambda one: self.differentiate(one[0])
                )
                return first_failing(call, chunk, error).moved(first)
            try:
                self.form.read(value, span, None if self.batched else 0)
            except (TypeError, ValueError) as error:
                return Fault(row=first, known=first, rows=chunk.shape[0], error=error)
        return None

    def differentiate(self, theta: Floats) -> tuple[Any, ...]:
        """Return log-density, gradient and blobs."""
        torch = _torch()
        with torch.enable_grad():
            points = torch.from_numpy(theta.copy()).requires_grad_(True)
            value, _, extras = Form(self.form.k).split(self.call.apply(points))
            slope = None
            if is_tensor(value) and value.requires_grad:
                (slope,) = torch.autograd.grad(value.sum(), points, allow_unused=True)
        # Without a graph the slope is unknown; outside the support that does no harm.
        return (value, np.full(theta.shape, np.nan) if slope is None else slope, *extras)


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor; torch is not loaded for the question."""
    return "torch" in sys.modules and isinstance(value, _torch().Tensor)


def refers_to_torch(function: Callable[..., Any]) -> bool:
    """Whether a function uses torch: in its code, what it closes over, or what it is part of."""
    return "torch" in sys.modules and _refers(function, 4)


def _refers(thing: Any, depth: int) -> bool:
    """Whether torch is found within `depth` steps of a thing."""
    if isinstance(thing, ModuleType):
        return thing.__name__.split(".")[0] == "torch"
    if any((c.__module__ or "").split(".")[0] == "torch" for c in type(thing).__mro__):
        return True
    if depth == 0:
        return False
    return any(_refers(part, depth - 1) for part in _parts(thing))


def _parts(thing: Any) -> list[Any]:
    """Return what a function or an object holds."""
    if isinstance(thing, MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, FunctionType):
        names = _names(thing.__code__)
        if "torch" in names:
            return [_torch()]
        cells = [c.cell_contents for c in thing.__closure__ or () if c != type(c)()]
        used = [thing.__globals__[name] for name in names if name in thing.__globals__]
        return [*cells, *used, *(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
    if isinstance(thing, list | tuple):
        return list(thing[:20])
    if isinstance(thing, dict):
        return list(thing.values())[:20]
    own = list(getattr(thing, "__dict__", {}).values())
    called = vars(type(thing)).get("__call__")
    return [*own, called] if isinstance(called, FunctionType) else own


def _names(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names
