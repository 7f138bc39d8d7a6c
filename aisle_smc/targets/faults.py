"""Faults of a target: where evaluating it failed, and the error that tells the user."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aisle_smc.arrays import Floats
from aisle_smc.errors import BadDensity, TargetFailed
from aisle_smc.targets.calls import show_point, where

__all__ = ["Fault", "first_failing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why the points from ``row`` on have no value.

    Attributes
    ----------
    row, rows : int
        The point to blame, and how many from there on if it is not to blame alone.
    known : int
        How many points before it have values: all, or those in whole chunks.
    error : Exception
        What the function raised, or what is wrong with what it returned.
    raised : bool
        Which of the two.
    bad : tuple of (int, float), optional
        A value that is not finite: its parameter (-1 for the log-density itself) and the value.
    by : int
        Which of several functions.
    """

    row: int
    known: int
    error: Exception
    rows: int = 1
    raised: bool = False
    bad: tuple[int, float] | None = None
    by: int = 0

    def moved(self, first: int) -> Fault:
        """Return the fault with its points counted from `first` points before."""
        return replace(self, row=self.row + first, known=self.known + first)

    def portable(self) -> Fault:
        """Return the same fault in a form that reaches another process."""
        error = self.error
        if self.raised:
            text = "".join(traceback.format_exception(error))
            try:
                pickle.loads(pickle.dumps(error))
            except Exception:
                error = RuntimeError(f"{type(error).__name__}: {error}")
            error.add_note(f"In the worker process:\n{text}")
        return replace(self, error=error)

    def report(
        self, points: Floats, names: Sequence[str], functions: Sequence[Callable[..., Any]]
    ) -> Exception:
        """Return the error for the user.

        Parameters
        ----------
        points : ndarray, shape (n, k)
            What was evaluated.
        names : sequence of str
            The parameters.
        functions : sequence of callables
            The user's functions; ``by`` counts them.
        """
        theta = points[self.row]
        at = show_point(names, theta)
        if self.rows > 1:
            at = f"{self.rows} points handed over together, the first of them {at}"
        point = dict(zip(names, theta.tolist(), strict=True))
        name = where(functions[self.by])
        error: Exception
        if self.bad is not None:
            j, value = self.bad
            what = f"a finite gradient for parameter {names[j]}"
            what = "a number or -inf as log-density" if j < 0 else what
            error = BadDensity(
                f"{name} must return {what}; it returned {value} at {at}; "
                "return -inf as log-density where the density is zero",
                point=point,
                value=value,
            )
        elif self.raised:
            error = TargetFailed(
                f"{name} failed at {at}: {type(self.error).__name__}: {self.error}", point=point
            )
        else:
            error = type(self.error)(f"{name} must return {self.error}, at {at}")
        error.__cause__ = self.error if self.raised else None
        return error


def first_failing(call: Callable[[Floats], Any], theta: Floats, error: Exception) -> Fault:
    """Return the fault of the first point for which a call for many points fails, none known.

    Parameters
    ----------
    call : callable
        Takes points of shape (n, k); raised `error` for all of `theta`.
    theta : ndarray, shape (n, k)
        The points.
    error : Exception
        What was raised.

    Notes
    -----
    By bisection, in about log2(n) calls: if the first half fails it holds the point.
    """
    first, last, found = 0, theta.shape[0], error
    while last - first > 1:
        middle = (first + last) // 2
        try:
            call(theta[first:middle])
        except Exception as raised:
            last, found = middle, raised
        else:
            first = middle
    try:
        call(theta[first:last])
    except Exception as raised:
        found = raised
        return Fault(row=first, known=0, error=found, raised=True)
    # The point does not fail alone: only all of them together do.
    return Fault(row=0, known=0, rows=theta.shape[0], error=error, raised=True)
