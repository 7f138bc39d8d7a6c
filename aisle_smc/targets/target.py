"""What a user hands over: a log-density, perhaps its gradient, and whether it takes batches."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from aisle_smc.checkpoint import digest
from aisle_smc.targets.blobs import numbers

__all__ = ["Target", "as_target"]


@dataclass(frozen=True, slots=True)
class Target:
    """A log-density and what is known about it.

    Parameters
    ----------
    function : callable
        The log-density in nats, up to a constant.  It takes one vector of the parameters, or names
        them (``def f(mu, sigma)``), and returns one number; values beside it (``return log_p, a,
        b``) are kept as blobs.  Numba functions of one point, NumPy or torch functions of a batch
        (n, k) or of one point, and plain Python are told apart by calling them.
    gradient : callable, optional
        Its gradient, called the same way: k numbers in the order of the parameters for one point,
        shape (n, k) for a batch.  Torch functions need none.
    value_and_gradient : callable, optional
        Both in one call, ``(log_p, gradient)`` and then the blobs; instead of `gradient`.
    vectorized : bool, optional
        Whether the functions take batches; None (the default) tries it.

    Raises
    ------
    TypeError
        If a function is not callable or `vectorized` is not a bool.
    ValueError
        If both `gradient` and `value_and_gradient` are given.

    Examples
    --------
    >>> target = Target(lambda x: -0.5 * x @ x, gradient=lambda x: -x)
    >>> target.vectorized is None
    True
    """

    function: Callable[..., Any]
    _: KW_ONLY
    gradient: Callable[..., Any] | None = None
    value_and_gradient: Callable[..., Any] | None = None
    vectorized: bool | None = None

    def __post_init__(self) -> None:
        for name in ("function", "gradient", "value_and_gradient"):
            given = getattr(self, name)
            if not callable(given) and (given is not None or name == "function"):
                raise TypeError(
                    f"the {name} of a target must be callable; got {type(given).__name__}; "
                    "give a function of one vector of the parameters, or of the parameters by name"
                )
        if self.vectorized not in (None, True, False):
            raise TypeError(
                "vectorized must be True (the function takes a batch of shape (n, k)), False "
                f"(one point) or None (tried out); got {self.vectorized!r}"
            )
        if self.gradient is not None and self.value_and_gradient is not None:
            raise ValueError(
                "a target takes gradient or value_and_gradient; both came; leave one out"
            )

    def fingerprint(self) -> dict[str, str]:
        """Return digests of the functions, which change when their code or data change.

        Returns
        -------
        dict from str to str
            For :class:`aisle_smc.targets.Journal`: ``target``, and ``gradient`` if there is one.

        Notes
        -----
        See :func:`aisle_smc.checkpoint.digest`.  Partial functions, methods and callable objects
        count by their function and by what they hold.
        """
        parts = {
            "target": self.function,
            "gradient": self.gradient,
            "value_and_gradient": self.value_and_gradient,
        }
        return {
            part: digest(_made_of(function, 4))
            for part, function in parts.items()
            if function is not None
        }


def as_target(target: Target | Callable[..., Any]) -> Target:
    """Return a target as it is, and a bare function as the target it stands for."""
    return target if isinstance(target, Target) else Target(target)


def _made_of(thing: Any, depth: int) -> Any:
    """Return functions, numbers and containers of them that stand for a thing."""
    plain = getattr(thing, "py_func", thing)
    if depth == 0 or isinstance(plain, FunctionType | BuiltinFunctionType | type):
        return thing
    if isinstance(thing, partial):
        return [_made_of(part, depth - 1) for part in (thing.func, thing.args, thing.keywords)]
    if isinstance(thing, MethodType):
        return [thing.__func__, _made_of(thing.__self__, depth - 1)]
    array = numbers(thing)
    if array is not None:
        return array
    if isinstance(thing, list | tuple | set | frozenset):
        return [_made_of(part, depth - 1) for part in thing]
    if isinstance(thing, dict):
        return {key: _made_of(part, depth - 1) for key, part in thing.items()}
    held = getattr(thing, "__dict__", None)
    if held is None:
        return thing
    methods = [m for kind in type(thing).__mro__ for m in _methods(kind)]
    return [type(thing).__qualname__, methods, _made_of(held, depth - 1)]


def _methods(kind: type) -> list[FunctionType]:
    """Return the methods of a class that the user may edit: not those of installed packages."""
    place = Path(getattr(sys.modules.get(kind.__module__), "__file__", None) or "")
    installed = {"site-packages", "dist-packages"} & set(place.parts)
    if installed or kind.__module__.split(".")[0] in sys.stdlib_module_names:
        return []
    return [method for method in vars(kind).values() if isinstance(method, FunctionType)]
