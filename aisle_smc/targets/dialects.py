"""Functions of points and of batches, each as one call that evaluates many points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.targets.calls import Call
from aisle_smc.targets.forms import Form, Part

__all__ = ["Batches", "Dialect", "Fault", "PythonRows"]


@dataclass(slots=True)
class Fault:
    """Why the points from ``row`` on have no value.

    ``rows`` is how many points were handed over in the call at fault, ``raised`` whether the
    function raised ``error`` itself or returned what ``error`` complains about.
    """

    row: int
    rows: int
    error: Exception
    raised: bool


class Dialect(Protocol):
    """A function that is ready to be evaluated for many points.

    ``chunk`` points are evaluated together, counted from the first: the values of a point may
    depend on its chunk in their last bit, so calls start at a multiple of it.
    """

    @property
    def name(self) -> str:
        """What kind of function it is."""

    @property
    def chunk(self) -> int:
        """Points evaluated together."""

    @property
    def form(self) -> Form:
        """What the function returns."""

    def evaluate(self, theta: Floats, part: Part) -> Fault | None:
        """Fill `part`; if that fails, the points before the fault's row are filled."""


@dataclass(frozen=True, slots=True)
class PythonRows:
    """A plain Python function of one point."""

    call: Call
    form: Form
    name: str = "python"
    chunk: int = 1

    def evaluate(self, theta: Floats, part: Part) -> Fault | None:
        """Call the function for one point after the other."""
        for i in range(theta.shape[0]):
            try:
                value = self.call.row(theta[i])
            except Exception as error:
                return Fault(i, 1, error, True)
            try:
                self.form.read(value, part, i)
            except (TypeError, ValueError) as error:
                return Fault(i, 1, error, False)
        return None


@dataclass(frozen=True, slots=True)
class Batches:
    """A NumPy function of a batch of points, always called with the same points together."""

    call: Call
    form: Form
    name: str = "vectorised"
    chunk: int = 512

    def evaluate(self, theta: Floats, part: Part) -> Fault | None:
        """Call the function for one chunk after the other."""
        n = theta.shape[0]
        for first in range(0, n, self.chunk):
            last = min(first + self.chunk, n)
            fault = self._evaluate_chunk(theta[first:last], part.span(first, last))
            if fault is not None:
                fault.row += first
                return fault
        return None

    def _evaluate_chunk(self, theta: Floats, part: Part) -> Fault | None:
        try:
            value = self.call.batch(theta)
        except Exception as error:
            return first_failing(self.call.batch, theta, error)
        try:
            self.form.read(value, part)
        except (TypeError, ValueError) as error:
            return Fault(0, theta.shape[0], error, False)
        return None


def first_failing(call: Any, theta: Floats, error: Exception) -> Fault:
    """Return the fault of the first point for which a call for many points fails.

    The first half is tried, then its first half or the one after it, and so on.
    """
    first, last = 0, theta.shape[0]
    while last - first > 1:
        middle = (first + last) // 2
        try:
            call(theta[first:middle])
        except Exception as found:
            last, error = middle, found
        else:
            first = middle
    try:
        call(theta[first:last])
    except Exception as found:
        return Fault(first, 1, found, True)
    # No point fails alone: it takes all of them.
    return Fault(0, theta.shape[0], error, True)


def differing(probe: Floats, n: int) -> Floats:
    """Return `n` rows of the probe, as many of them different as there are."""
    rows = np.unique(probe, axis=0)
    return np.ascontiguousarray(rows[np.arange(n) % rows.shape[0]])


def texts(errors: Sequence[Exception]) -> str:
    """Return errors as lines of text."""
    return "\n".join(f"  {type(e).__name__}: {e}" for e in errors)
