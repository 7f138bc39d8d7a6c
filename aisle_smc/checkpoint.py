"""Checkpoints: one file that a killed run continues from, and a fingerprint of what made it."""

from __future__ import annotations

import contextlib
import dis
import hashlib
import inspect
import os
import pickle
import sys
import tempfile
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

__all__ = ["compare", "digest", "load", "save"]

_MAGIC = b"aisle checkpoint 1\n"
_FOREIGN = "aisle_smc", "aisle_kernels", "numba", "numpy", "scipy", "math", "builtins"


def save(path: str | os.PathLike[str], state: Any) -> None:
    """Write a checkpoint so that the file holds either the old state or the new one, whole.

    Parameters
    ----------
    path : path
        The file.
    state : object
        Anything that pickles.

    Raises
    ------
    OSError
        If the state cannot be written; the file of before is untouched.

    Notes
    -----
    The state goes to a temporary file in the same folder, to the disk itself (``fsync``), and then
    takes the name of `path` in one step.
    """
    target = Path(path)
    body = pickle.dumps(state, protocol=5)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_MAGIC)
            file.write(hashlib.sha256(body).digest())
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def load(path: str | os.PathLike[str]) -> Any:
    """Read what :func:`save` wrote.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    object
        The state.

    Raises
    ------
    ValueError
        If the file is not a checkpoint or is damaged.

    Notes
    -----
    The state is a pickle, and unpickling runs code: load only files that you wrote yourself.
    """
    content = Path(path).read_bytes()
    if not content.startswith(_MAGIC):
        raise ValueError(
            f"{path} must be a checkpoint of this package; it starts with {content[:16]!r}; "
            "choose another file name, or delete the file to start afresh"
        )
    checksum, body = content[len(_MAGIC) :][:32], content[len(_MAGIC) + 32 :]
    if hashlib.sha256(body).digest() != checksum:
        raise ValueError(
            f"{path} is damaged: its {len(body)} bytes do not match their checksum; "
            "restore a copy, or delete the file to start afresh"
        )
    return pickle.loads(body)


def compare(path: str | os.PathLike[str], then: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raise unless a run in a file was made from what is given now.

    Parameters
    ----------
    path : path
        The file, for the error.
    then, now : mapping from str to str
        What a run was made from, one description or digest for each part.

    Raises
    ------
    ValueError
        If a part differs; every such part is named, with both descriptions.
    """
    missing = "nothing"
    differs = [
        f"  {part}: the file has {then.get(part, missing)}, this call {now.get(part, missing)}"
        for part in dict.fromkeys([*then, *now])
        if then.get(part) != now.get(part)
    ]
    if differs:
        raise ValueError(
            f"{path} holds a run of something else, and cannot be continued with this call:\n"
            + "\n".join(differs)
            + "\ngive the same model, data and settings, choose another file, or delete this one"
        )


def digest(value: Any) -> str:
    """Return a short digest of a value that says whether it is the same in another process.

    Parameters
    ----------
    value : object
        Numbers, strings, arrays, containers and functions.  A function counts by its code, its
        defaults, what it closes over, and the global values and functions it uses, by their name
        or as ``module.name`` (not those of this package, its dependencies and other installed
        modules), so that an edited model is another one.

    Returns
    -------
    str
        Twelve hexadecimal digits.
    """
    state = hashlib.sha256()
    _feed(value, state.update, {})
    return state.hexdigest()[:12]


def _feed(value: Any, write: Callable[[bytes], None], seen: dict[int, int]) -> None:
    function = getattr(value, "py_func", value)
    if isinstance(function, FunctionType):
        # The function and not its code, which all closures from one place share.
        if id(function) in seen:
            write(f"function {seen[id(function)]}".encode())
            return
        seen[id(function)] = len(seen)
        _feed_function(function, write, seen)
    elif isinstance(value, np.ndarray):
        write(f"array {value.dtype.str} {value.shape}".encode())
        write(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        write(f"mapping {len(value)}".encode())
        for key in value:
            _feed(key, write, seen)
            _feed(value[key], write, seen)
    elif isinstance(value, list | tuple):
        write(f"sequence {len(value)}".encode())
        for item in value:
            _feed(item, write, seen)
    elif isinstance(value, set | frozenset):
        # Their order differs in the next process.
        write(f"set {sorted(digest(item) for item in value)}".encode())
    elif isinstance(value, bool | int | float | complex | str | bytes | None | np.generic):
        write(f"{type(value).__name__} {value!r}".encode())
    elif isinstance(value, type):
        write(f"{value.__qualname__} {getattr(value, '_fields', ())}".encode())
    else:
        # An address would differ in the next process.
        text = repr(value)
        write((type(value).__qualname__ if " at 0x" in text else text).encode())


def _feed_function(
    function: FunctionType, write: Callable[[bytes], None], seen: dict[int, int]
) -> None:
    try:
        write(textwrap.dedent(inspect.getsource(function)).encode())
    except (OSError, TypeError):
        # Typed at a prompt: the byte code stands in for the source.
        _feed_code(function.__code__, write)
    _feed(function.__defaults__ or (), write, seen)
    _feed(function.__kwdefaults__ or {}, write, seen)
    attributes = _attribute_names(function.__code__)
    used: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # an empty cell
            if isinstance(cell.cell_contents, ModuleType):
                used |= _used_of(cell.cell_contents, name, attributes)
            else:
                _feed(cell.cell_contents, write, seen)
    for name in _global_names(function.__code__):
        if name in function.__globals__:
            other = function.__globals__[name]
            if isinstance(other, ModuleType):
                used |= _used_of(other, name, attributes)
            else:
                used[name] = other
    for name in sorted(used):
        origin = str(getattr(used[name], "__module__", "") or "")
        if origin.split(".")[0] not in _FOREIGN:
            write(name.encode())
            _feed(used[name], write, seen)


def _used_of(
    module: ModuleType, path: str, names: set[str], within: tuple[ModuleType, ...] = ()
) -> dict[str, Any]:
    """Return what a function can mean by ``path.name``, unless the module is an installed one."""
    top = module.__name__.split(".")[0]
    installed = {"site-packages", "dist-packages"} & set(
        Path(getattr(module, "__file__", None) or "").parts
    )
    if top in _FOREIGN or top in sys.stdlib_module_names or installed:
        return {}
    used: dict[str, Any] = {}
    for name in names & vars(module).keys():
        other = vars(module)[name]
        if not isinstance(other, ModuleType):
            used[f"{path}.{name}"] = other
        elif other is not module and other not in within:
            used |= _used_of(other, f"{path}.{name}", names, (*within, module))
    return used


def _feed_code(code: CodeType, write: Callable[[bytes], None]) -> None:
    write(code.co_code)
    write(repr(code.co_names).encode())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _feed_code(constant, write)
        else:
            _feed(constant, write, {})


def _global_names(code: CodeType) -> set[str]:
    names = {i.argval for i in dis.get_instructions(code) if i.opname.startswith("LOAD_GLOBAL")}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _global_names(constant)
    return names


def _attribute_names(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _attribute_names(constant)
    return names
