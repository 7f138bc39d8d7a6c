"""Model functions of one particle, called from the interpreter, and how their failures read."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from aisle_kernels.lift import Layout

from aisle_smc.arrays import Floats
from aisle_smc.errors import AisleError
from aisle_smc.ssm.functions import where
from aisle_smc.ssm.population import LAYOUT, Arguments, Role, observed_total

__all__ = ["Failure", "PerParticle"]


@dataclass(frozen=True, slots=True)
class PerParticle:
    """The dialect of functions of one particle, called from the interpreter."""

    functions: Mapping[str, Role]
    layouts: tuple[Layout, Layout, Layout]

    def draw(self, role: str, given: Arguments, rows: Mapping[str, Floats], out: Floats) -> None:
        """Draw one state or observation for each particle into `out`."""
        fills = "out" in self.functions[role][1]
        if fills:
            out[...] = np.nan  # an entry the function forgets is then seen
        for i, value in enumerate(self._values(role, given, {**rows, "out": out}, out.shape[0])):
            if fills and value is None:
                continue
            if fills or not _holds_numbers(value, out.shape[1:]):
                layout = self.layouts[1 if role == "observe" else 0]
                expected = "nothing (it fills `out`)" if fills else _expected(layout)
                raise self._wrong_return(role, expected, value)
            out[i] = value

    def density(self, role: str, given: Arguments, rows: Mapping[str, Floats], n: int) -> Floats:
        """Return the log-density of each of `n` particles."""
        log_p = np.empty(n)
        for i, value in enumerate(self._values(role, given, rows, n)):
            if role == "log_observation":
                y = rows["y"][i] if "y" in rows else given["y"]
                value = observed_total(self.functions[role][0], value, y)
            if not _holds_numbers(value, ()):
                raise self._wrong_return(role, "one number", value)
            log_p[i] = value
        return log_p

    def _values(
        self, role: str, given: Arguments, rows: Mapping[str, Floats], n: int
    ) -> Iterable[Any]:
        """Call a function for one particle after the other."""
        function, names = self.functions[role]
        columns: list[Iterable[Any]] = [
            self._column(name, rows[name])
            if name in rows
            else repeat(self._column(name, np.asarray(given[name])[None])[0])
            if name in LAYOUT
            else repeat(given[name])
            for name in names
        ]
        for i, (_, *arguments) in enumerate(zip(range(n), *columns, strict=False)):
            try:
                value = function(*arguments)
            except Exception as error:
                shown = {k: v for k, v in zip(names, arguments, strict=True) if k != "rng"}
                raise Failure(f"{role} {where(function)}", i, shown, error) from error
            yield value

    def _column(self, name: str, values: Floats) -> Sequence[Any]:
        """Return one argument of every particle, as the functions take it."""
        layout = self.layouts[LAYOUT.get(name, 0)]
        if name == "out" or (layout.width and layout.fields is None):
            return list(values)
        if layout.fields is None:
            return values.tolist()  # type: ignore[no-any-return]
        return [layout.fields(*row) for row in values.tolist()]

    def _wrong_return(self, role: str, expected: str, value: Any) -> TypeError:
        came = "nothing" if value is None else f"{type(value).__name__} {value!r}"
        return TypeError(
            f"{role} {where(self.functions[role][0])} must return {expected}; it returned {came}"
        )


def _holds_numbers(value: Any, shape: tuple[int, ...]) -> bool:
    array = np.asarray(value)
    return array.dtype.kind in "biuf" and array.shape == shape


def _expected(layout: Layout) -> str:
    if layout.width == 0:
        return "one number"
    if layout.fields is None:
        return f"a row of {layout.width} numbers"
    return f"a {layout.fields.__name__} of {layout.width} numbers"


class Failure(Exception):
    """What a model function raised, with the particle it was called for."""

    def __init__(
        self, function: str, particle: int, arguments: Mapping[str, Any], error: Exception
    ) -> None:
        super().__init__(function)
        self.function, self.particle, self.error = function, particle, error
        self.shown = "".join(f"\n  {name} = {value}" for name, value in arguments.items())

    def portable(self) -> Failure:
        """Return the same failure in a form that reaches another process."""
        text = "".join(traceback.format_exception(self.error))
        try:
            pickle.loads(pickle.dumps(self.error))
        except Exception:
            self.error = RuntimeError(f"{type(self.error).__name__}: {self.error}")
        self.error.add_note(f"In the worker process:\n{text}")
        self.__cause__ = None
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.function, self.particle, self.shown, self.error)

    def report(self, t: int, first: int) -> AisleError:
        """Return the error for the user; `first` is the index of the chunk's first particle."""
        return AisleError(
            f"{self.function} failed at time {t}, particle {first + self.particle}: "
            f"{type(self.error).__name__}: {self.error}\ncalled with{self.shown}"
        )


def _rebuilt(function: str, particle: int, shown: str, error: Exception) -> Failure:
    failure = Failure(function, particle, {}, error)
    failure.shown = shown
    return failure
