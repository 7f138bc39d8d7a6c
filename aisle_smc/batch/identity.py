"""Digests by which a task is known again: of functions, models, data and plain values."""

from __future__ import annotations

import contextlib
import functools
import inspect
import pickle
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from aisle_smc.checkpoint import digest
from aisle_smc.priors import Prior
from aisle_smc.ssm.description import Model

__all__ = ["identity"]

_PLAIN = (bool, int, float, complex, str, bytes, np.ndarray, np.generic)
_FOREIGN = {"aisle_smc", "aisle_kernels", "numpy", "scipy", "numba", "builtins"}
# What only says how a model is shown or run, and what follows from its other parts.
_NOT_ITS_NATURE = {"name", "workers", "_layouts"}


def identity(value: Any) -> str:
    """Return a short digest that is the same in another process for the same thing.

    A function counts by its source and by what it uses, classes among it by theirs, a model by
    its functions, its forms and its prior, an array by its bytes, any other object by what it
    holds.

    Raises
    ------
    TypeError
        If nothing about the object tells it from others.
    """
    return digest(_parts(value, ()))


def _parts(value: Any, inside: tuple[int, ...]) -> Any:
    """Return a value taken apart until :func:`aisle_smc.checkpoint.digest` knows every part."""
    if isinstance(getattr(value, "py_func", value), FunctionType):
        # What is digested of a function knows classes by their names alone.
        found: dict[type, None] = {}
        _gather(value, found, set())
        return [value, [_source(kind) for kind in found]] if found else value
    if value is None or isinstance(value, _PLAIN):
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
        return [kind, parts(value.__func__), parts(value.__self__)]
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


def _gather(value: Any, found: dict[type, None], seen: set[int]) -> None:
    """Find the user's classes that a function or class uses, however far away."""
    value = getattr(value, "py_func", value)
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    if isinstance(value, functools.partial):
        value = value.func
    if isinstance(value, MethodType):
        value = value.__func__
    if not isinstance(value, type | FunctionType):
        # An object of the user's that a function uses is no function and no class: its class is.
        value = type(value)
    if id(value) in seen or not _is_the_users(value):
        return
    seen.add(id(value))
    if isinstance(value, FunctionType):
        used = _used(value)
    else:
        found[value] = None
        used = [*value.__bases__, *vars(value).values()]
    for other in used:
        _gather(other, found, seen)


def _used(function: FunctionType) -> list[Any]:
    """Return the global things, those closed over and the defaults that a function uses."""
    used = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # an empty cell
            used.append(cell.cell_contents)
    names = sorted(_names(function.__code__))
    used += [function.__globals__[name] for name in names if name in function.__globals__]
    modules = [other for other in used if isinstance(other, ModuleType)]
    for module in modules:  # grows: a module may be used through another one
        if _is_the_users(module):
            inside = [vars(module)[name] for name in names if name in vars(module)]
            used += inside
            modules += [m for m in inside if isinstance(m, ModuleType) and m not in modules]
    return [other for other in used if not isinstance(other, ModuleType)]


def _names(code: CodeType) -> set[str]:
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _is_the_users(thing: Any) -> bool:
    """Whether something comes neither from this package nor from an installed one."""
    name = thing.__name__ if isinstance(thing, ModuleType) else thing.__module__
    if str(name).split(".")[0] in _FOREIGN | sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(str(name)), "__file__", None) or ""
    return not {"site-packages", "dist-packages"} & set(Path(file).parts)


def _source(kind: type) -> str:
    """Return the source of a class of the user's, and the name of any other."""
    top = kind.__module__.split(".")[0]
    name = f"{kind.__module__}.{kind.__qualname__}"
    if top in _FOREIGN:
        return name
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return name
