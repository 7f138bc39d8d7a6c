"""A model's functions: their argument names, their compilation, and errors a person can read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from aisle_kernels._jit import scalar
from numba.extending import is_jitted

from aisle_smc.ssm.reasons import reason

__all__ = [
    "ARGUMENTS",
    "ROLES",
    "argument_names",
    "compile_function",
    "compiled_once",
    "plain",
    "where",
]

ARGUMENTS: Mapping[str, str] = {
    "rng": "the random generator, a numpy.random.Generator",
    "z": "standard normal noise, one for each component of the state (instead of rng, faster)",
    "n": "how many particles to draw (vectorised models)",
    "x": "the state (in a transition or proposal: the state it starts from)",
    "x_prev": "the state before",
    "y": "the observation of this time",
    "y_prev": "the observation before (NaN at time 0, and where it is missing)",
    "p": "the parameters",
    "t": "the time index, from 0",
    "u": "the covariates of this time",
    "out": "the row to fill (array states)",
}

_STEP = ("x_prev", "y_prev", "p", "t", "u")
ROLES: Mapping[str, tuple[str, ...]] = {
    "initial": ("rng", "z", "n", "p", "t", "u", "out"),
    "transition": ("rng", "z", "x", "x_prev", "y_prev", "p", "t", "u", "out"),
    "log_observation": ("y", "x", *_STEP),
    "log_initial": ("x", "p", "t", "u"),
    "log_transition": ("x", *_STEP),
    "initial_proposal": ("rng", "z", "n", "y", "p", "t", "u", "out"),
    "log_initial_proposal": ("x", "y", "p", "t", "u"),
    "proposal": ("rng", "z", "x", "y", *_STEP, "out"),
    "log_proposal": ("x", "y", *_STEP),
    "log_lookahead": ("y", "x", "y_prev", "p", "t", "u"),
    "observe": ("rng", "x", *_STEP, "out"),
}


def plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the Python function behind a compiled one."""
    return function.py_func if is_jitted(function) else function


def where(function: Callable[..., Any]) -> str:
    """Return ``name (file:line)`` of a function."""
    code = getattr(plain(function), "__code__", None)
    name = getattr(plain(function), "__name__", repr(function))
    return name if code is None else f"{name} ({code.co_filename}:{code.co_firstlineno})"


def argument_names(
    role: str, function: Callable[..., Any], *, without: str = ""
) -> tuple[str, ...]:
    """Return the names of a model function's arguments, or say which one is unknown.

    Parameters
    ----------
    role : str
        What the function is for, a key of ``ROLES``.
    function : callable
        The user's function.
    without : str
        Space-separated names that this dialect does not offer.

    Raises
    ------
    TypeError
        If `function` is no function, takes ``*args`` or names an argument its role is not given.
    """
    if not callable(function):
        raise TypeError(f"{role} must be a function; got {type(function).__name__}")
    known = tuple(name for name in ROLES[role] if name not in without.split())
    names = []
    for parameter in inspect.signature(plain(function)).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(
                f"{role} {where(function)} must name its arguments; got '{parameter}'. "
                f"Known names: {', '.join(known)}"
            )
        if parameter.name not in known:
            raise TypeError(_unknown_argument(role, function, parameter.name, known))
        names.append(parameter.name)
    if "rng" in names and "z" in names:
        raise TypeError(
            f"{role} {where(function)} names both rng and z: draw from rng, or use the normals z "
            "that are drawn for you, not both"
        )
    return tuple(names)


def _unknown_argument(
    role: str, function: Callable[..., Any], name: str, known: tuple[str, ...]
) -> str:
    close = get_close_matches(name, known, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    if name in ARGUMENTS:
        hint = f" ('{name}' is {ARGUMENTS[name]}; a {role} is not given it.)"
    listed = "\n".join(f"  {key:7s} {ARGUMENTS[key]}" for key in known)
    return (
        f"{role} {where(function)} has an unknown argument '{name}'.{hint}\n"
        f"Arguments are matched by name; a {role} may name any of\n{listed}"
    )


@lru_cache(maxsize=1024)
def compiled_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the compiled form of a function, the same each time, so that its work is kept."""
    return scalar(plain(function))  # type: ignore[no-any-return]


def compile_function(
    role: str, function: Callable[..., Any], signature: tuple[Any, ...]
) -> tuple[Callable[..., Any], Any]:
    """Compile one model function for given argument types.

    Returns
    -------
    compiled : callable
        The Numba dispatcher.
    return_type : numba type
        What it returns.

    Raises
    ------
    TypeError
        If Numba cannot compile it; the message holds the reason and the line.
    """
    compiled = compiled_once(function)
    if not is_jitted(compiled):  # NUMBA_DISABLE_JIT
        return compiled, None
    try:
        compiled.compile(signature)
    except Exception as error:  # Numba's own errors have no common base, and it has bugs
        why = reason(str(error), plain(function), signature)
        raise TypeError(
            f"{role} {where(function)} does not compile:\n{why}\n"
            "Compiled functions are limited to numbers, tuples and NumPy arrays, and call only "
            "functions decorated with numba.njit, NumPy's and those of aisle_smc.ssm.math. For "
            "plain Python use PythonModel, for vectorised NumPy or torch VectorModel."
        ) from None
    return compiled, compiled.overloads[signature].signature.return_type  # type: ignore[attr-defined]
