"""Digests by which a task is known again: of functions, models, data and plain values."""

from __future__ import annotations

import functools
import inspect
import pickle
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np

from aisle_smc.checkpoint import digest
from aisle_smc.priors import Prior
from aisle_smc.ssm.description import Model

__all__ = ["identity"]

_PLAIN = (bool, int, float, complex, str, bytes, np.ndarray, np.generic, FunctionType)
# What only says how a model is shown or run, and what follows from its other parts.
_NOT_ITS_NATURE = {"name", "workers", "_layouts"}


def identity(value: Any) -> str:
    """Return a short digest that is the same in another process for the same thing.

    A function counts by its source and by what it uses, a model by its functions, its forms and
    its prior, an array by its bytes, any other object by what it holds.

    Raises
    ------
    TypeError
        If nothing about the object tells it from others.
    """
    return digest(_parts(value, ()))


def _parts(value: Any, inside: tuple[int, ...]) -> Any:
    """Return a value taken apart until :func:`aisle_smc.checkpoint.digest` knows every part."""
    if value is None or isinstance(value, _PLAIN) or hasattr(value, "py_func"):
        return value
    if id(value) in inside:
        return f"ring {len(inside) - inside.index(id(value))}"
    inside = (*inside, id(value))

    def parts(other: Any) -> Any:
        return _parts(other, inside)

    if isinstance(value, Mapping):
        return {key: parts(value[key]) for key in value}
    if isinstance(value, set | frozenset):
        return sorted(digest(parts(item)) for item in value)
    if isinstance(value, list | tuple):
        return [type(value).__qualname__, *map(parts, value)]
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, type):
        return [_source(value), getattr(value, "_fields", ())]
    if isinstance(value, functools.partial):
        return [kind, parts(value.func), parts(value.args), parts(value.keywords)]
    if isinstance(value, MethodType):
        return [kind, value.__func__, parts(value.__self__)]
    if isinstance(value, BuiltinFunctionType | np.ufunc):
        return [kind, value.__name__]
    if isinstance(value, Prior):
        exact = [parts(coordinate.distribution) for coordinate in value.coordinates]
        return [kind, value.names, exact, value.constants, value.ties]
    if hasattr(value, "dist") and hasattr(value, "args") and hasattr(value, "kwds"):
        name = getattr(value.dist, "name", "")
        return [kind, name, parts(value.args), parts(value.kwds)]
    if is_dataclass(value):
        skip = _NOT_ITS_NATURE if isinstance(value, Model) else set()
        held = {f.name: getattr(value, f.name) for f in fields(value) if f.name not in skip}
        return [kind, _source(type(value)), parts(held)]
    if getattr(value, "__dict__", None):
        return [kind, _source(type(value)), parts(vars(value))]
    try:
        return [kind, pickle.dumps(value, protocol=5)]
    except Exception as error:
        raise TypeError(
            f"a task must be known again in another process, and nothing tells {value!r} from "
            f"others ({type(error).__name__}: {error}); use a function, an array or plain values"
        ) from error


def _source(kind: type) -> str:
    """Return the source of a class of the user's, and the name of any other."""
    top = kind.__module__.split(".")[0]
    name = f"{kind.__module__}.{kind.__qualname__}"
    if top in {"aisle_smc", "aisle_kernels", "numpy", "scipy", "numba", "builtins"}:
        return name
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return name
