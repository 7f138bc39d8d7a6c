"""What a function says and uses, where its source stands, and whose code it is."""

from __future__ import annotations

import contextlib
import dis
import importlib
import importlib.util
import linecache
import sys
import sysconfig
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

__all__ = [
    "Mentions",
    "in_module",
    "is_the_users",
    "mentions",
    "owner",
    "source",
    "used",
    "version",
]

# What every task stands on, whatever the version: a new one makes no task a new one.
_GROUND = {"aisle_smc", "aisle_kernels", "numpy", "scipy", "numba", "builtins"}
_STANDARD = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib")})


@dataclass(frozen=True, slots=True)
class Mentions:
    """What a code object mentions, what is nested in it included.

    Attributes
    ----------
    variables : frozenset of str
        Names looked up among the globals.
    names : frozenset of str
        All names, attributes among them.
    imports : tuple of (int, str, tuple of str)
        Level, module and names of every import statement.
    """

    variables: frozenset[str]
    names: frozenset[str]
    imports: tuple[tuple[int, str, tuple[str, ...]], ...]


@lru_cache(maxsize=4096)
def mentions(code: CodeType) -> Mentions:
    """Return what a code object mentions."""
    variables: set[str] = set()
    imports: list[tuple[int, str, tuple[str, ...]]] = []
    known: list[Any] = []  # the arguments of the instructions so far
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            variables.add(instruction.argval)
        elif instruction.opname == "IMPORT_NAME":
            level, names = known[-2:]
            imports.append((level, instruction.argval, tuple(names or ())))
        if instruction.opname != "EXTENDED_ARG":
            known.append(instruction.argval)
    names = set(code.co_names)
    for inner in _inner(code):
        found = mentions(inner)
        variables |= found.variables
        names |= found.names
        imports += found.imports
    return Mentions(frozenset(variables), frozenset(names), tuple(imports))


def _inner(code: CodeType) -> Iterator[CodeType]:
    return (constant for constant in code.co_consts if isinstance(constant, CodeType))


def source(function: FunctionType) -> str:
    """Return the lines of a function's own code, decorators included; nothing for a lambda.

    Notes
    -----
    :func:`inspect.getsource` returns those of the function that a decorator wraps.
    """
    code = function.__code__
    if code.co_name == "<lambda>":
        return ""  # it shares its line with what is none of its own
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, function.__globals__)
    return textwrap.dedent("".join(lines[code.co_firstlineno - 1 : _last_line(code)]))


@lru_cache(maxsize=4096)
def _last_line(code: CodeType) -> int:
    lines = [line for _, _, line in code.co_lines() if line is not None]
    return max([*lines, *map(_last_line, _inner(code))], default=code.co_firstlineno)


def owner(thing: Any) -> str:
    """Return the name of the module that a function, class or module belongs to."""
    if isinstance(thing, ModuleType):
        return thing.__name__
    if isinstance(thing, FunctionType):
        # What wraps another function takes over its __module__, but not its globals.
        name = thing.__globals__.get("__name__") or thing.__module__
    else:
        name = getattr(thing, "__module__", None)
    return str(name or "")


def is_the_users(thing: Any) -> bool:
    """Whether a function, class or module is neither of this package nor an installed one."""
    name = owner(thing)
    module = thing if isinstance(thing, ModuleType) else sys.modules.get(name)
    return _is_the_users(name, getattr(module, "__file__", None) or "")


@lru_cache(maxsize=4096)
def _is_the_users(name: str, file: str) -> bool:
    top = name.split(".")[0]
    if name == "__main__":
        return True
    if top in _GROUND or {"site-packages", "dist-packages"} & set(Path(file).parts):
        return False
    # A module of the user's may have the name of a standard one.
    return not file.startswith(_STANDARD) if file else top not in sys.stdlib_module_names


def used(function: FunctionType) -> dict[str, Any]:
    """Return what a function's names mean: globals, what modules have, what it imports."""
    code, variables = function.__code__, function.__globals__
    said = mentions(code)
    meant = {name: variables[name] for name in said.variables if name in variables}
    for statement in said.imports:
        meant |= _imported(statement, variables)
    found: dict[str, Any] = {}
    for name, value in meant.items():
        if isinstance(value, ModuleType):
            found |= in_module(value, name, said.names, set())
        else:
            found[name] = value
    return found


def in_module(
    module: ModuleType, path: str, names: Iterable[str], within: set[int]
) -> dict[str, Any]:
    """Return what a function can mean by ``path.name``; an installed module itself."""
    if not is_the_users(module):
        return {path: module}
    found: dict[str, Any] = {}
    for name in names:
        other = vars(module).get(name)
        if isinstance(other, ModuleType):
            if id(other) not in within:
                deeper = {*within, id(module)}
                found |= in_module(other, f"{path}.{name}", names, deeper)
        elif name in vars(module):
            found[f"{path}.{name}"] = other
    return found


def version(thing: Any) -> str:
    """Return the version of the installed package that something comes from."""
    top = owner(thing).split(".")[0]
    if top in _GROUND or top in sys.stdlib_module_names:
        return ""
    number = getattr(sys.modules.get(top), "__version__", "")
    return number if isinstance(number, str) else ""


def _imported(
    statement: tuple[int, str, tuple[str, ...]], variables: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what an import statement in a function brings in, if it is the user's.

    Parameters
    ----------
    statement : tuple of (int, str, tuple of str)
        Level, module and names.
    variables : mapping from str to object
        The globals of the function.

    Returns
    -------
    dict from str to object
        Modules and what is imported from them, by full name.

    Notes
    -----
    A module of the user's that was not imported yet is imported, as the function would;
    installed modules never are.
    """
    level, name, names = statement
    package = variables.get("__package__") or str(variables.get("__name__", "")).rpartition(".")[0]
    with contextlib.suppress(ImportError):
        name = importlib.util.resolve_name("." * level + name, package)
    module = _module(name)
    if module is None:
        return {}
    found: dict[str, Any] = {}
    if not names:  # `import a.b` binds a, which then has b
        found[name.split(".")[0]] = _module(name.split(".")[0])
        found[name] = module
    for part in names:
        full = f"{name}.{part}"
        found[full] = vars(module).get(part) if part in vars(module) else _module(full)
    return found


def _module(name: str) -> ModuleType | None:
    """Return a module of the user's, or None."""
    module = sys.modules.get(name)
    if module is None:
        top = name.split(".")[0]
        if top in _GROUND:
            return None
        # A module that does not import is the function's own trouble, when it runs.
        try:
            above = importlib.util.find_spec(top)
            if above is None:
                return None
            folders = above.submodule_search_locations or [""]  # of a package without a file
            place = above.origin if above.has_location else next(iter(folders), "")
            if not _is_the_users(top, place or ""):
                return None
            module = importlib.import_module(name)
        except Exception:
            return None
    return module if is_the_users(module) else None
