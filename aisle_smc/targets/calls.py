"""How a function takes its parameters: as one vector, or each by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from aisle_smc.arrays import Floats

__all__ = ["Call", "Calling", "calls", "show_point", "where"]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Calling(Protocol):
    """A function with a way of calling it for one point, shape (k,), and for many, (n, k)."""

    def row(self, theta: Floats) -> Any:
        """Call it for one point."""

    def batch(self, theta: Floats) -> Any:
        """Call it for many points."""


@dataclass(frozen=True, slots=True)
class Call:
    """A function and how it is called.

    ``leading`` holds the columns handed over by position, ``named`` the arguments and columns
    handed over by keyword; both None for a function of one vector.
    """

    function: Callable[..., Any]
    leading: tuple[int, ...] | None = None
    named: tuple[tuple[str, int], ...] = ()

    def row(self, theta: Floats) -> Any:
        """Call the function for one point, with numbers or a vector of its own to keep."""
        if self.leading is None:
            return self.function(theta.copy())
        values = theta.tolist()
        return self.function(
            *[values[j] for j in self.leading], **{name: values[j] for name, j in self.named}
        )

    def batch(self, theta: Floats) -> Any:
        """Call the function for many points, with columns or an array of its own to keep."""
        if self.leading is None:
            return self.function(theta.copy())
        columns = theta.T.copy()
        return self.function(
            *[columns[j] for j in self.leading], **{name: columns[j] for name, j in self.named}
        )


def calls(function: Callable[..., Any], names: Sequence[str]) -> tuple[Call, ...]:
    """Return the ways in which a function may be meant to be called, the likeliest first.

    Parameters
    ----------
    function : callable
        The user's function.
    names : sequence of str
        The parameters, in the order of the columns.

    Raises
    ------
    TypeError
        If the function neither takes one vector nor names parameters.

    Examples
    --------
    >>> calls(lambda sigma, mu: 0.0, ("mu", "sigma"))[0].leading
    (1, 0)
    >>> calls(lambda x: 0.0, ("mu", "sigma"))[0].leading is None
    True
    """
    vector = Call(function)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # builtins and some extension types have no signature
        return (vector,)
    kinds = {parameter.kind for parameter in parameters}
    taken = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    required = [p for p in taken if p.default is p.empty]
    known = [p for p in taken if p.name in names]
    one_vector = inspect.Parameter.VAR_POSITIONAL in kinds and not required
    one_vector |= any(p.kind in _POSITIONAL for p in taken) and all(
        p is taken[0] for p in required
    )
    by_name = bool(known) and all(p.name in names for p in required)
    leading: list[int] = []
    named: list[tuple[str, int]] = []
    for p in known:
        # After an argument that keeps its default, position no longer says which one is meant.
        if p.kind in _POSITIONAL and taken[len(leading)] is p:
            leading.append(names.index(p.name))
        else:
            named.append((p.name, names.index(p.name)))
    if kinds == {inspect.Parameter.VAR_KEYWORD} or (
        inspect.Parameter.VAR_KEYWORD in kinds and by_name
    ):
        by_name = True
        here = {p.name for p in known}
        named += [(name, j) for j, name in enumerate(names) if name not in here]
    each = Call(function, tuple(leading), tuple(named))
    complete = len(leading) + len(named) == len(names)
    if by_name and one_vector:
        # ``def f(x)`` for parameters x and y means the vector, for x alone the number.
        return (each, vector) if complete else (vector, each)
    if by_name:
        return (each,)
    if one_vector:
        return (vector,)
    raise TypeError(
        f"{where(function)} must take one vector of the parameters, or name them; it takes "
        f"({', '.join(map(str, parameters))}), and the parameters are ({', '.join(names)}); "
        "rename its arguments, or give those that are no parameters a default"
    )


def where(function: Callable[..., Any]) -> str:
    """Return ``name (file:line)`` of a function."""
    plain = getattr(function, "py_func", function)
    plain = getattr(plain, "func", plain)  # functools.partial
    code = getattr(getattr(plain, "__func__", plain), "__code__", None)
    name = getattr(plain, "__qualname__", type(plain).__qualname__).split("<locals>.")[-1]
    return name if code is None else f"{name} ({code.co_filename}:{code.co_firstlineno})"


def show_point(names: Sequence[str], theta: Floats) -> str:
    """Return a point as text, the first parameters of a long one."""
    shown = [f"{n} = {v!r}" for n, v in zip(names, np.asarray(theta).tolist(), strict=True)]
    more = [f"... ({len(shown) - 12} more)"] if len(shown) > 13 else []
    return ", ".join([*(shown[:12] if more else shown), *more])
