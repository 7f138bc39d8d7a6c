"""Functions of points and of batches, each as one call that evaluates many points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from aisle_smc.arrays import Floats
from aisle_smc.targets.calls import Calling
from aisle_smc.targets.faults import Fault, first_failing
from aisle_smc.targets.forms import Form, Part

__all__ = ["Batches", "Dialect", "Rows"]


class Dialect(Protocol):
    """A function that is ready to be evaluated at many points.

    ``chunk`` points are evaluated together, counted from the first: the value of a point may
    depend on its chunk in the last bit, so evaluations start at a multiple of it.
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
        """Fill `part`; if that fails, the points that the fault says are known."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A function of one point."""

    call: Calling
    form: Form
    name: str = "python"
    chunk: int = 1

    def evaluate(self, theta: Floats, part: Part) -> Fault | None:
        """Call the function for one point after the other."""
        for i in range(theta.shape[0]):
            try:
                value = self.call.row(theta[i])
            except Exception as error:
                return Fault(row=i, known=i, error=error, raised=True)
            try:
                self.form.read(value, part, i)
            except (TypeError, ValueError) as error:
                return Fault(row=i, known=i, error=error)
        return None


@dataclass(frozen=True, slots=True)
class Batches:
    """A function of a batch of points, always called with the same points together.

    ``rows`` is the same function as a function of one point, if it is that too.  It steps in for
    a chunk that the function refuses: ``if np.any(x < 0): return -inf`` is meant for one point.
    """

    call: Calling
    form: Form
    name: str = "vectorised"
    chunk: int = 256
    rows: Rows | None = None

    def evaluate(self, theta: Floats, part: Part) -> Fault | None:
        """Call the function for one chunk after the other."""
        n = theta.shape[0]
        for first in range(0, n, self.chunk):
            last = min(first + self.chunk, n)
            fault = self._evaluate_chunk(theta[first:last], part.span(first, last))
            if fault is not None:
                return fault.moved(first)
        return None

    def _evaluate_chunk(self, theta: Floats, part: Part) -> Fault | None:
        try:
            value = self.call.batch(theta)
        except Exception as error:
            if self.rows is not None:
                return self.rows.evaluate(theta, part)
            return first_failing(self.call.batch, theta, error)
        try:
            self.form.read(value, part)
        except (TypeError, ValueError) as error:
            if self.rows is not None:
                return self.rows.evaluate(theta, part)
            return Fault(row=0, known=0, rows=theta.shape[0], error=error)
        return None
