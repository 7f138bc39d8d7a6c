"""A piece of work: what evaluating some points takes, wherever it is done, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from aisle_smc.arrays import Array, Floats
from aisle_smc.targets.dialects import Dialect
from aisle_smc.targets.faults import Fault
from aisle_smc.targets.forms import Form, Part

__all__ = ["Outcome", "Work", "spans"]

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What evaluating some points gave.

    ``part`` holds the points known before the fault, all if there is none; ``seconds`` is the
    time spent in the user's functions and in calling them.
    """

    part: Part
    fault: Fault | None
    seconds: float

    def portable(self) -> Outcome:
        """Return the same outcome in a form that reaches another process."""
        return self if self.fault is None else replace(self, fault=self.fault.portable())


@dataclass(frozen=True, slots=True)
class Work:
    """The functions to evaluate: log-density, gradient, or log-density and then gradient."""

    dialects: tuple[Dialect, ...]

    @property
    def chunk(self) -> int:
        """Points evaluated together; chunks are powers of two, so the largest fits all."""
        return max(dialect.chunk for dialect in self.dialects)

    @property
    def form(self) -> Form:
        """What is known of each point afterwards."""
        forms = [dialect.form for dialect in self.dialects]
        gradient = any(form.gradient for form in forms)
        return Form(forms[0].k, gradient=gradient, blobs=forms[0].blobs)

    def __call__(self, theta: Floats) -> Outcome:
        """Evaluate points of shape (n, k), a whole number of chunks or the end of a batch."""
        n = theta.shape[0]
        part = self.form.empty(n)
        fault, known = None, n
        start = time.perf_counter()
        for by, dialect in enumerate(self.dialects):
            # What comes after a fault is lost, but chunks stay whole.
            needed = min(-(-known // dialect.chunk) * dialect.chunk, n)
            found = dialect.evaluate(theta[:needed], part.span(0, needed))
            if found is not None and found.known <= known:
                fault, known = replace(found, by=by), found.known
        seconds = time.perf_counter() - start
        found = _not_finite(part.span(0, known), len(self.dialects) - 1)
        if found is not None:
            fault, known = found, found.known
        return Outcome(part.span(0, known), fault, seconds)


def _not_finite(part: Part, slope: int) -> Fault | None:
    """Return the fault of the first point whose value or gradient cannot be used."""
    log_density = part.log_density
    assert log_density is not None
    bad = ~(log_density < np.inf)  # also where it is not a number
    parameter: Array = np.full(log_density.shape, -1)
    if part.gradients is not None:
        part.gradients[log_density == -np.inf] = 0.0
        finite = np.isfinite(part.gradients)
        parameter = np.where(bad, -1, np.argmin(finite, axis=1))
        bad = bad | ~finite.all(axis=1)
    if not bad.any():
        return None
    row = int(np.argmax(bad))
    j = int(parameter[row])
    value = log_density[row] if j < 0 else part.gradients[row, j]  # type: ignore[index]
    return Fault(
        row=row,
        known=row,
        error=ArithmeticError(f"{value}"),
        bad=(j, float(value)),
        by=0 if j < 0 else slope,
    )


def spans(todo: Array, chunk: int, points: int) -> Iterator[Span]:
    """Yield consecutive pieces of a batch that hold whatever is left to do.

    Parameters
    ----------
    todo : ndarray of bool, shape (n,)
        The points without a value.
    chunk : int
        Points that are evaluated together: a piece starts at a multiple of it and holds whole
        chunks, except at the end.
    points : int
        About as many points as a piece should hold.

    Examples
    --------
    >>> list(spans(np.array([False, True, True, True, False, False, True]), 2, 4))
    [(0, 4), (6, 7)]
    """
    n = todo.shape[0]
    step = max(points // chunk, 1)
    padded = np.zeros(-(-n // chunk) * chunk, dtype=bool)
    padded[:n] = todo
    needed = np.flatnonzero(padded.reshape(-1, chunk).any(axis=1))
    i = 0
    while i < needed.size:
        j = i + 1
        while j < needed.size and j - i < step and needed[j] == needed[j - 1] + 1:
            j += 1
        yield int(needed[i]) * chunk, min((int(needed[j - 1]) + 1) * chunk, n)
        i = j
