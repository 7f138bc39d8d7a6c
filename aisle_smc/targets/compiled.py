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

from aisle_smc.arrays import Floats
from aisle_smc.targets.calls import Call
from aisle_smc.targets.dialects import Rows
from aisle_smc.targets.faults import Fault
from aisle_smc.targets.forms import Form, Part

__all__ = ["Compiled", "compile_rows", "shapes_of"]

# Points whose values may share a vector.
_CHUNK = 16

# The parts of what a function returned: the shape of a number or an array, a list for a tuple.
Shapes = tuple[int, ...] | list["Shapes"] | None


@dataclass(frozen=True, slots=True)
class Compiled:
    """A Numba function of one point, called from a compiled loop."""

    call: Call
    form: Form
    loop: Callable[..., None]
    name: str = "compiled"
    chunk: int = _CHUNK

    def evaluate(self, theta: Floats, part: Part) -> Fault | None:
        """Call the loop."""
        outputs = [part.log_density] if self.form.density else []
        outputs += [part.gradients] if self.form.gradient else []
        if self.form.blobs is not None and part.blobs is not None:
            outputs += self.form.blobs.columns(part.blobs)
        try:
            self.loop(np.ascontiguousarray(theta), *outputs)
        except Exception as error:
            # Where it happened is lost; called alone, the first point that fails says so again.
            # The loop had stored what came before it.
            fault = Rows(self.call, self.form).evaluate(theta, self.form.empty(theta.shape[0]))
            if fault is None:
                return Fault(row=0, known=0, rows=theta.shape[0], error=error, raised=True)
            return fault
        return None


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
        What its parts mean.
    shapes : nested lists of tuples
        What :func:`shapes_of` says of a value it returned.
    """
    outputs = ("log_density",) * form.density + ("gradients",) * form.gradient
    if form.blobs is not None:
        outputs += tuple(f"blob_{j}" for j in range(len(form.blobs.fields)))
    parts = shapes if isinstance(shapes, list) and outputs != ("gradients",) else [shapes]
    lines = [
        line
        for output, value, shape in zip(
            outputs,
            [f"value[{j}]" for j in range(len(parts))] if parts is shapes else ["value"],
            parts,
            strict=True,
        )
        for line in _store(f"{output}[i", value, shape, output == "log_density")
    ]
    arguments = ["row"]
    if call.leading is not None:
        arguments = [f"theta[i, {j}]" for j in call.leading]
        arguments += [f"{name}=theta[i, {j}]" for name, j in call.named]
    names = ", ".join(["theta", *outputs])
    source = "\n".join(
        [
            # The compiler may put neighbours into one vector and the last few points into none,
            # and a vector's exp can differ from a number's: chunks make that the same always.
            f"def chunk({names}, row, first, last):",
            "    for i in range(first, last):",
            # The function may write into its argument; theta belongs to the caller.
            f"        for j in range({form.k}):",
            "            row[j] = theta[i, j]",
            f"        value = function({', '.join(arguments)})",
            *(f"        {line}" for line in lines),
            "",
            "",
            f"def rows({names}):",
            f"    row = empty({form.k})",
            f"    for first in range(0, theta.shape[0], {_CHUNK}):",
            f"        chunk({names}, row, first, min(first + {_CHUNK}, theta.shape[0]))",
            "",
        ]
    )
    return Compiled(call=call, form=form, loop=_loop(call.function, source))


@lru_cache(maxsize=64)
def _loop(function: Callable[..., Any], source: str) -> Callable[..., None]:
    """Return the compiled loop, the same for the same function, so that it compiles once."""
    filename = f"<loop over points {zlib.crc32(source.encode()):08x}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = {"function": function, "empty": np.empty}
    exec(compile(source, filename, "exec"), namespace)
    namespace["chunk"] = specialised(namespace["chunk"])
    return specialised(namespace["rows"])  # type: ignore[no-any-return]


def _store(target: str, value: str, shape: Shapes, number: bool) -> list[str]:
    """Return the lines that store one part of what a function returned."""
    if isinstance(shape, list):
        lines = []
        for j, part in enumerate(shape):
            lines += _store(f"{target}, {j}", f"{value}[{j}]", part, False)
        return lines
    if number and shape:  # an array of one number
        value = f"{value}[{', '.join('0' * len(shape))}]"
    return [f"{target}] = {value}"]
