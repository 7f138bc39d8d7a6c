"""Digests by which a task is known again: of functions, models, data and plain values."""

from __future__ import annotations

import copyreg
import functools
import hashlib
import os
import re
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import fields
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

import numpy as np

from aisle_smc.batch.code import (
    in_module,
    is_the_users,
    mentions,
    owner,
    source,
    used,
    version,
)
from aisle_smc.priors import Prior
from aisle_smc.ssm.description import Model

__all__ = ["identity"]

_PLAIN = {bool, int, float, complex, str, bytes, type(None), type(...), type(NotImplemented)}
_SLOT = (GetSetDescriptorType, MemberDescriptorType, MethodDescriptorType, WrapperDescriptorType)
# What only says how a model is shown or run, and what follows from its other parts.
_NOT_ITS_NATURE = {"name", "workers", "_layouts"}
# What a class has besides what its author wrote, or gets while it is used.
_NOT_ITS_OWN = {
    "__dict__", "__weakref__", "__module__", "__doc__", "__annotations__", "__orig_bases__",
    "__parameters__", "__dataclass_fields__", "__firstlineno__", "__static_attributes__",
    "__slotnames__", "__annotate__", "__annotate_func__", "__annotations_cache__", "_abc_impl",
}  # fmt: skip
# Their state says what has happened, and not what they are.
_FLEETING = (os._Environ, weakref.ref, weakref.WeakKeyDictionary, weakref.WeakValueDictionary)


def identity(value: Any) -> str:
    """Return a short digest that is the same in another process for the same thing.

    A function counts by its source, its code and all that it uses, however far away: functions,
    classes with their bases, objects, constants, and what it imports when it runs.  A model counts
    by its functions, its forms and its prior; an array and a data frame by what they hold; any
    other object by its class and its state, as it would be pickled.  The order of a mapping or a
    set does not matter.

    Parameters
    ----------
    value : object
        Anything of which every part can be told from others.

    Returns
    -------
    str
        Twelve hexadecimal digits.

    Raises
    ------
    TypeError
        If nothing about a part tells it from others, or it is nested too deeply.

    Notes
    -----
    Installed packages count by name and version, the standard library and what every task stands
    on (NumPy, SciPy, Numba) by name.  Of what a function merely uses, a part that cannot be
    pickled counts by its type, and so does a random generator.
    """
    if type(value) in _PLAIN:
        return hashlib.sha256(_plain(value)).hexdigest()[:12]
    walk = _Walk()
    try:
        walk.see(value)
    except RecursionError as error:
        raise TypeError(
            f"a task must be known again in another process, and a {type(value).__name__} is "
            "nested too deeply for that; use arrays or plain values"
        ) from error
    return walk.digest()[:12]


class _Walk:
    """One walk over a value and all that it uses."""

    def __init__(self, before: _Walk | None = None) -> None:
        self.state = hashlib.sha256()
        # Things that may be met again, by address, with their number; kept, or the address of
        # something else might become theirs.
        self.met: dict[int, int] = dict(before.met) if before else {}
        self.kept: list[Any] = before.kept if before else []
        self.arrays: dict[int, str] = before.arrays if before else {}
        # The containers that the walk is in: two equal ones are not told apart, a ring ends.
        self.inside: list[int] = list(before.inside) if before else []
        # Inside code, what cannot be told from others counts by its type.
        self.in_code: int = before.in_code if before else 0

    def digest(self) -> str:
        return self.state.hexdigest()

    def write(self, *texts: str | bytes) -> None:
        for text in texts:
            raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
            self.state.update(b"%d:" % len(raw) + raw)

    def apart(self, value: Any) -> str:
        """Return the digest of a part, which the walk does not count as met."""
        if type(value) in _PLAIN:
            return _plain(value).decode("utf-8", "surrogatepass")
        walk = _Walk(self)
        walk.see(value)
        return walk.digest()

    def see(self, value: Any) -> None:
        """Take a value apart and write what it is made of."""
        if type(value) in _PLAIN:
            self.write(_plain(value))
        elif isinstance(value, np.ndarray):
            self.array(value)
        elif isinstance(value, np.generic):
            self.write("scalar", value.dtype.str, value.tobytes())
        elif isinstance(value, Mapping | list | tuple | set | frozenset):
            self.container(value)
        elif id(value) in self.met:
            self.write("met", str(self.met[id(value)]))
        else:
            self.met[id(value)] = len(self.met)
            self.kept.append(value)
            self.thing(value)

    def see_all(self, *values: Any) -> None:
        self.write(str(len(values)))
        for value in values:
            self.see(value)

    def container(self, value: Any) -> None:
        if id(value) in self.inside:
            self.write("ring", str(len(self.inside) - self.inside.index(id(value))))
            return
        if isinstance(value, _FLEETING):
            self.write("fleeting", type(value).__qualname__)
            return
        self.inside.append(id(value))
        if isinstance(value, Mapping):
            self.write("mapping", str(len(value)))
            self.see(getattr(value, "default_factory", None))
            if all(type(part) in _PLAIN for pair in value.items() for part in pair):
                pairs = sorted((self.apart(key), repr(held)) for key, held in value.items())
                self.write(repr(pairs))
            else:
                keys = [(self.apart(key), key) for key in value]
                for text, key in sorted(keys, key=lambda pair: pair[0]):
                    self.write(text)
                    self.see(value[key])
        elif isinstance(value, set | frozenset):
            self.write("set", *sorted(self.apart(item) for item in value))
        else:
            self.write("tuple" if isinstance(value, tuple) else "list", str(len(value)))
            if all(type(item) in _PLAIN for item in value):
                self.write(repr([*value]))
            else:
                self.see_all(*value)
        if is_the_users(type(value)):
            self.see_all(type(value), getattr(value, "__dict__", None))
        self.inside.pop()

    def array(self, value: Any) -> None:
        if id(value) not in self.arrays:
            walk = _Walk(self)
            walk.write("array", value.dtype.str, str(value.dtype), str(value.shape))
            if value.dtype.hasobject:
                walk.see(value.tolist())  # its bytes are addresses
            else:
                walk.write(np.ascontiguousarray(value).tobytes())
            if isinstance(value, np.ma.MaskedArray):
                walk.see(np.ma.getmaskarray(value))
            if is_the_users(type(value)):
                walk.see_all(type(value), getattr(value, "__dict__", None))
            self.arrays[id(value)] = walk.digest()
            self.kept.append(value)
        self.write(self.arrays[id(value)])

    def thing(self, value: Any) -> None:
        kind = type(value)
        wrapped = None
        if kind.__module__ != "builtins" and not is_the_users(kind):
            wrapped = getattr(value, "py_func", None)  # of a function that Numba compiles
            if wrapped is None and not isinstance(value, type):
                wrapped = getattr(value, "__dict__", {}).get("__wrapped__")
        if isinstance(value, FunctionType):
            self.function(value)
        elif wrapped is not None:
            self.write("wrapped", kind.__qualname__)
            self.see(wrapped)
        elif isinstance(value, CodeType):
            self.code(value)
        elif isinstance(value, type):
            self.class_(value)
        elif isinstance(value, ModuleType):
            self.module(value)
        elif isinstance(value, staticmethod | classmethod):
            self.write(kind.__name__)
            self.see(value.__func__)
        elif isinstance(value, property):
            self.write("property")
            self.see_all(value.fget, value.fset, value.fdel)
        elif isinstance(value, functools.cached_property):
            self.write("cached property")
            self.see(value.func)
        elif isinstance(value, functools.partial):
            self.write("partial")
            self.see_all(value.func, value.args, value.keywords)
        elif isinstance(value, MethodType):
            self.write("method")
            self.see_all(value.__func__, value.__self__)
        elif isinstance(value, BuiltinFunctionType):
            home = value.__self__
            self.write("builtin", value.__qualname__)
            self.see(home.__name__ if isinstance(home, ModuleType) else home)
        elif isinstance(value, _SLOT):
            self.write("slot", value.__qualname__)
        elif isinstance(value, np.ufunc | np.dtype):
            self.write(kind.__name__, getattr(value, "__name__", "") or repr(value))
        else:
            self.object(value)

    def function(self, value: FunctionType) -> None:
        code = value.__code__
        self.in_code += 1
        if is_the_users(value):
            self.write("function", source(value))
            self.see_all(value.__defaults__, value.__kwdefaults__, vars(value))
            self.code(code)
            self.uses(used(value))
        else:
            self.write("function of", owner(value), value.__qualname__, version(value))
            if "<" in value.__qualname__ or owner(value).startswith("aisle"):
                self.code(code)
        cells = zip(code.co_freevars, value.__closure__ or (), strict=True)
        self.uses({name: _content(cell) for name, cell in cells}, mentions(code).names)
        self.in_code -= 1

    def uses(self, parts: Mapping[str, Any], names: Iterable[str] = ()) -> None:
        """See parts by name, modules by those of some names that they have."""
        for name in sorted(parts):
            if isinstance(parts[name], ModuleType) and names:
                self.uses(in_module(parts[name], name, names, set()))
            else:
                self.write(name)
                self.see(parts[name])

    def code(self, code: CodeType) -> None:
        self.write("code", code.co_code, getattr(code, "co_exceptiontable", b""))
        counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
        names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
        self.write(repr(counts), repr(names))
        self.see(code.co_consts)

    def class_(self, value: type) -> None:
        if not is_the_users(value):
            self.write("class of", owner(value), value.__qualname__, version(value))
            self.see(getattr(value, "_fields", None))
            return
        self.in_code += 1
        self.write("class", value.__qualname__)
        self.see_all(type(value), *value.__bases__)
        own = vars(value)
        noted = own.get("__annotations__", {})
        self.see([f"{name}: {_annotation(noted[name])}" for name in noted])
        described = own.get("__dataclass_fields__", {})
        self.see([(f.name, f.default, f.default_factory, f.metadata) for f in described.values()])
        self.uses({name: own[name] for name in own if name not in _NOT_ITS_OWN})
        self.in_code -= 1

    def module(self, value: ModuleType) -> None:
        if not is_the_users(value):
            self.write("module", value.__name__, version(value))
            return
        self.in_code += 1
        self.write("module")
        self.uses({name: held for name, held in vars(value).items() if not name.startswith("__")})
        self.in_code -= 1

    def object(self, value: Any) -> None:
        kind = type(value)
        self.write("object")
        self.see(kind)
        home = kind.__module__.split(".")[0]
        if isinstance(value, Prior):
            exact = [coordinate.distribution for coordinate in value.coordinates]
            self.see_all(value.names, exact, value.constants, value.ties)
        elif isinstance(value, Model):
            held = [f.name for f in fields(value) if f.name not in _NOT_ITS_NATURE]
            self.see({name: getattr(value, name) for name in held})
        elif home == "scipy" and all(hasattr(value, name) for name in ("dist", "args", "kwds")):
            # What it keeps besides changes with SciPy's version.
            dist = value.dist
            self.write(getattr(dist, "name", None) or "")
            self.see_all(type(dist), value.args, value.kwds, getattr(dist, "_histogram", None))
        elif home == "pandas" and kind.__name__ in ("DataFrame", "Series"):
            self.see_all(value.index, *_columns(value))
        elif home == "pandas" and hasattr(value, "to_numpy"):
            self.see_all(list(getattr(value, "names", ())), str(value.dtype), value.to_numpy())
        elif home == "torch" and hasattr(value, "detach"):
            self.see_all(str(value.dtype), value.detach().cpu().numpy())
        elif kind.__module__.startswith("numba.core.types"):
            self.write(str(value))
        elif isinstance(value, _FLEETING) or (
            self.in_code and kind.__module__.startswith("numpy.random.")
        ):
            self.write("fleeting")
        else:
            self.pickled(value)

    def pickled(self, value: Any) -> None:
        """See what a pickle of an object would hold."""
        kind = type(value)
        try:
            made = value.__reduce_ex__(4)
        except Exception as error:
            if is_the_users(kind):
                self.see(_attributes(value))
            elif not self.in_code:
                raise TypeError(
                    "a task must be known again in another process, and nothing tells "
                    f"{value!r} from others ({type(error).__name__}: {error}); use a function, "
                    "an array or plain values"
                ) from error
            return
        if isinstance(made, str):
            self.write(made)
            return
        maker, arguments, state, items, pairs = (*made, None, None, None)[:5]
        if isinstance(state, Mapping):
            kept = {name: state[name] for name in state if not _is_passing(kind, name)}
            state = kept or None  # as that of an object without attributes
        self.see_all(maker, arguments, state)
        self.see_all(*(items or ()))
        self.see(dict(pairs or ()))


def _plain(value: Any) -> bytes:
    return f"{type(value).__name__} {value!r}".encode("utf-8", "surrogatepass")


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return "an empty cell"


def _annotation(value: Any) -> str:
    if isinstance(value, type):
        return value.__qualname__
    return re.sub(r" at 0x[0-9a-fA-F]+", "", str(value))


def _is_passing(kind: type, name: Any) -> bool:
    """Whether an attribute holds what comes and changes with use."""
    known = getattr(kind, name, None) if isinstance(name, str) else None
    if isinstance(known, functools.cached_property):
        return True
    if not isinstance(name, str) or is_the_users(kind):
        return False
    kept = name.startswith("_") and name.endswith("_cache")
    return kept or name in ("_ufunc", "_random_state")  # of np.vectorize; of SciPy


def _attributes(value: Any) -> dict[str, Any]:
    """Return the attributes of an object that cannot be pickled."""
    slots = copyreg._slotnames(type(value))  # type: ignore[attr-defined]
    held = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    return held | getattr(value, "__dict__", {})


def _columns(value: Any) -> list[Any]:
    """Return the names, types and values of the columns of a data frame, or of one series."""
    if value.ndim == 1:
        return [value.name, str(value.dtype), value.to_numpy()]
    columns = [value.iloc[:, place] for place in range(value.shape[1])]
    return [value.columns, *[(str(c.dtype), c.to_numpy()) for c in columns]]
