"""Numba functions of one point, inside a compiled loop over points that holds no lock."""

from __future__ import annotations

import linecache
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from aisle_kernels._jit import specialised

from aisle_smc.arrays import Array, Floats
from aisle_smc.targets.calls import Call
from aisle_smc.targets.dialects import Fault
from aisle_smc.targets.forms import Form, Part

__all__ = ["Compiled", "compile_rows", "shapes_of"]

# What a compiled function returns for a point, as nested tuples of the shapes of its parts: a
# number is (), an array of two is (2,), a tuple of them is a list.
Shapes = tuple[int, ...] | list["Shapes"] | None


@dataclass(frozen=True, slots=True)
class Compiled:
    """A Numba function of one point, called from a compiled loop."""

    call: Call
    form: Form
    loop: Callable[..., None]
    name: str = "compiled"
    chunk: int = 256

    def evaluate(self, theta: Floats, part: Part) -> Fault | None:
        """Call the loop for one chunk after the other."""
        n = theta.shape[0]
        theta = np.ascontiguousarray(theta)
        for first in range(0, n, self.chunk):
            last = min(first + self.chunk, n)
            try:
                self.loop(theta[first:last], *self._outputs(part, first, last))
            except Exception as error:
                return self._blame(theta, first, last, error)
        return None

    def _outputs(self, part: Part, first: int, last: int) -> list[Array]:
        arrays = [part.log_density, part.gradients]
        if self.form.blobs is not None and part.blobs is not None:
            arrays += self.form.blobs.columns(part.blobs)
        return [array[first:last] for array in arrays if array is not None]

    def _blame(self, theta: Floats, first: int, last: int, error: Exception) -> Fault:
        """Return the fault of the first point that fails when it is called alone."""
        for i in range(first, last):
            try:
                self.call.row(theta[i])
            except Exception as found:
                return Fault(i, 1, found, True)
        return Fault(first, last - first, error, True)


def shapes_of(value: Any) -> Shapes:
    """Return the shapes of what a compiled function returned, None where no loop can store it."""
    if isinstance(value, tuple):
        parts = [shapes_of(part) for part in value]
        return None if any(part is None for part in parts) else parts
    if isinstance(value, np.ndarray):
        return value.shape if value.dtype.kind in "biuf" else None
    return () if isinstance(value, bool | int | float | np.number) else None


def compile_rows(call: Call, form: Form, shapes: Shapes) -> Compiled:
    """Return the dialect of a Numba function that returns parts of these shapes.

    Parameters
    ----------
    call : Call
        The function and its arguments.
    form : Form
        What it means.
    shapes : nested lists of tuples
        What :func:`shapes_of` says of a value it returned.
    """
    frozen = repr(shapes)
    loop = _loop(call.function, call.leading, call.named, form.k, form.density, form.gradient,
                 _count(form), frozen)  # fmt: skip
    return Compiled(call=call, form=form, loop=loop)


def _count(form: Form) -> int:
    return 0 if form.blobs is None else len(form.blobs.fields)


@lru_cache(maxsize=256)
def _loop(
    function: Callable[..., Any],
    leading: tuple[int, ...] | None,
    named: tuple[tuple[str, int], ...],
    k: int,
    density: bool,
    gradient: bool,
    blobs: int,
    frozen: str,
) -> Callable[..., None]:
    """Return the compiled loop, the same for the same function, so that it compiles once."""
    shapes: Any = eval(frozen)
    outputs = ["log_density"] * density + ["gradients"] * gradient
    outputs += [f"blob_{j}" for j in range(blobs)]
    arguments = ["row"]
    if leading is not None:
        arguments = [f"theta[i, {j}]" for j in leading]
        arguments += [f"{name}=theta[i, {j}]" for name, j in named]
    lines = [
        f"def rows(theta, {', '.join(outputs)}):",
        f"    row = empty({k})",
        "    for i in range(theta.shape[0]):",
        f"        for j in range({k}):",
        "            row[j] = theta[i, j]",
        f"        value = function({', '.join(arguments)})",
    ]
    alone = not isinstance(shapes, list) or (gradient and not density)
    for j, output in enumerate(outputs):
        value, shape = ("value", shapes) if alone else (f"value[{j}]", shapes[j])
        lines += _store(f"{output}[i", value, shape, output == "log_density")
    source = "\n".join(lines) + "\n"
    filename = f"<loop over points {zlib.crc32(source.encode()):08x}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = {"function": function, "empty": np.empty}
    exec(compile(source, filename, "exec"), namespace)
    return specialised(namespace["rows"])  # type: ignore[no-any-return]


def _store(target: str, value: str, shape: Any, number: bool) -> list[str]:
    """Return the lines that store one part of what a function returned."""
    indent = " " * 8
    if isinstance(shape, list):
        lines = []
        for j, part in enumerate(shape):
            lines += _store(f"{target}, {j}", f"{value}[{j}]", part, False)
        return lines
    if number and shape:  # an array of one number
        return [f"{indent}{target}] = {value}[{', '.join('0' * len(shape))}]"]
    return [f"{indent}{target}] = {value}"]
