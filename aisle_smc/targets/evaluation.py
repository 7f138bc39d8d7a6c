"""One evaluator for any log-density: batches of points in, values, gradients and blobs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from aisle_smc.arrays import Array, Floats
from aisle_smc.targets.calls import where
from aisle_smc.targets.journal import Journal
from aisle_smc.targets.target import Target
from aisle_smc.targets.work import Work, spans
from aisle_smc.targets.workers import Crew, Serial

__all__ = ["Evaluation", "Evaluator", "as_points"]

# A piece of work takes about so many seconds, so that the journal never lacks more than that.
_PIECE_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a target gave at n points.

    Attributes
    ----------
    log_density : ndarray, shape (n,)
        In nats; ``-inf`` where the density is zero.
    blobs : ndarray, shape (n, ...), or None
        What the function returned beside it: an array, one with named fields if it returned
        several values or a dict, and one of objects if they are not numbers.
    gradients : ndarray, shape (n, k), or None
        Gradients of the log-density; zero where the density is zero.
    """

    log_density: Floats
    blobs: Array | None = None
    gradients: Floats | None = None


class Evaluator:
    """A target that is ready to be evaluated; made by :func:`aisle_smc.targets.evaluator`.

    Attributes
    ----------
    calls : int
        Points evaluated so far, those found in the journal included.
    replayed : int
        Those found in the journal.
    seconds : float
        Time spent in the user's functions and in calling them, added up over workers.
    between : callable or None
        Called between the pieces of a batch; what it raises ends the batch.  Pieces that were done
        are in the journal.
    """

    __slots__ = (
        "_batch",
        "_cost",
        "_crew",
        "_journal",
        "_note",
        "_serial",
        "_works",
        "between",
        "calls",
        "names",
        "replayed",
        "seconds",
        "target",
    )

    def __init__(
        self,
        target: Target,
        names: tuple[str, ...],
        works: tuple[Work, ...],
        cost: float,
        crew: Crew,
        note: str,
        journal: Journal | None,
    ) -> None:
        self.target = target
        self.names = names
        self.calls = 0
        self.replayed = 0
        self.seconds = 0.0
        self.between: Callable[[], None] | None = None
        self._works = works
        self._cost = cost
        self._crew = crew
        self._serial = Serial(works)
        self._note = note
        self._journal = journal
        self._batch = 0

    @property
    def dialect(self) -> str:
        """What the log-density is: compiled, vectorised, python or torch."""
        return self._works[0].dialects[0].name

    @property
    def has_gradients(self) -> bool:
        """Whether :meth:`with_gradients` can be called."""
        return len(self._works) > 1

    @property
    def workers(self) -> int:
        """Threads or processes that share a batch worth sharing."""
        return self._crew.workers

    @property
    def note(self) -> str:
        """What a reader should know: workers that are not there, a journal that was damaged."""
        notes = (self._note, "" if self._journal is None else self._journal.note)
        return "\n".join(note for note in notes if note)

    def __call__(self, theta: ArrayLike) -> Evaluation:
        """Evaluate the log-density.

        Parameters
        ----------
        theta : array_like, shape (n, k)
            Points, one a row.

        Raises
        ------
        BadDensity
            If a log-density is NaN or +inf; the error names the point.
        TargetFailed
            If the function raises an exception, which is the cause; the error names the point.
        TypeError, ValueError
            If it returns something else than at the first points.
        OSError
            If the journal cannot be written.
        """
        return self._evaluate(theta, 0)

    def with_gradients(self, theta: ArrayLike) -> Evaluation:
        """Evaluate the log-density and its gradient; see :meth:`__call__`.

        Raises
        ------
        TypeError
            If the target has no gradient.
        BadDensity
            Also if a gradient is not finite where the density is not zero.
        """
        if not self.has_gradients:
            raise TypeError(
                f"gradients need a target with a gradient; {where(self.target.function)} came "
                "alone; give Target(function, gradient=...), or write it in torch"
            )
        return self._evaluate(theta, 1)

    def describe(self) -> str:
        """Return in words what is evaluated, how, how often, and what it costs."""
        count = len(self.names)
        gradients = ", with gradients" if self.has_gradients else ""
        lines = [
            f"{self.dialect} log-density {where(self.target.function)} of {count} "
            f"parameter{'s' * (count != 1)}{gradients}",
        ]
        called = self.calls - self.replayed
        each = f", {_duration(self.seconds / called)} each" if called else ""
        lines.append(f"{called} evaluations in {_duration(self.seconds)}{each}")
        if self._journal is not None:
            lines.append(f"{self.replayed} more read from {self._journal.path}")
        lines.append(f"{self.workers} worker{'s' * (self.workers != 1)}")
        return "\n".join([*lines, *filter(None, [self.note])])

    def close(self) -> None:
        """Send workers home and close the journal; again does nothing."""
        self._crew.close()
        if self._journal is not None:
            self._journal.close()

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _evaluate(self, theta: ArrayLike, which: int) -> Evaluation:
        points = as_points(theta, self.names)
        n = points.shape[0]
        work = self._works[which]
        whole = work.form.empty(n)
        todo = np.ones(n, dtype=bool)
        batch, self._batch = self._batch, self._batch + 1
        if self._journal is not None:
            todo = ~self._journal.replay(batch, points, whole)
        left = int(todo.sum())
        self.replayed += n - left
        self.calls += n - left
        fault = None
        crew = self._crew if left * self._cost >= self._crew.worth else self._serial
        size = _PIECE_SECONDS / max(self._cost, 1e-9)
        if crew.workers > 1:
            size = min(size, left / (4 * crew.workers))
        pieces = list(spans(todo, work.chunk, int(size)))
        for k, ((first, last), outcome) in enumerate(crew.run(which, points, pieces), 1):
            part = outcome.part
            assert part.log_density is not None
            good = part.log_density.shape[0]
            whole.put(first, part)
            self.calls += good
            self.seconds += outcome.seconds
            if self._journal is not None and good:
                self._journal.append(batch, first, points[first : first + good], part)
            if outcome.fault is not None:
                moved = outcome.fault.moved(first)
                if fault is None or moved.row < fault.row:
                    fault = moved
            elif last > first:
                self._cost = 0.9 * self._cost + 0.1 * outcome.seconds / (last - first)
            if self.between is not None and k < len(pieces):
                try:
                    self.between()
                except BaseException:
                    # The batch will be asked for again, and its first pieces are in the journal.
                    self._batch = batch
                    raise
        if fault is not None:
            raise fault.report(points, self.names, self._functions(which))
        assert whole.log_density is not None
        return Evaluation(
            log_density=whole.log_density, blobs=whole.blobs, gradients=whole.gradients
        )

    def _functions(self, which: int) -> list[Callable[..., Any]]:
        """Return the user's functions that make up a work, in order."""
        target = self.target
        slope = target.gradient or target.value_and_gradient or target.function
        dialects = self._works[which].dialects
        return [slope if each.form.gradient else target.function for each in dialects]


def as_points(theta: ArrayLike, names: Sequence[str]) -> Floats:
    """Return points as a double precision array with one column for each parameter."""
    points = np.asarray(theta)
    if points.dtype.kind not in "biuf":
        raise TypeError(
            f"points must be real numbers; got {points.dtype}; give an array of shape (n, k)"
        )
    if points.ndim != 2 or points.shape[1] != len(names):
        raise ValueError(
            f"points must have shape (n, {len(names)}), a column for each of "
            f"{', '.join(names)}; got shape {points.shape}; put one point in each row"
        )
    return np.ascontiguousarray(points, dtype=np.float64)


def _duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
