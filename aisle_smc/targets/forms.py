"""What a function returns for a point or a batch of points, and reading it with a clear no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aisle_smc.arrays import Array, Floats
from aisle_smc.targets.blobs import BlobLayout, numbers

__all__ = ["Form", "Part"]


@dataclass(slots=True)
class Part:
    """What is known of some points in a row: arrays to fill."""

    log_density: Floats | None = None
    gradients: Floats | None = None
    blobs: Array | None = None

    def head(self, n: int) -> Part:
        """Return the first `n` points."""
        return self.span(0, n)

    def span(self, first: int, last: int) -> Part:
        """Return a view of the points from `first` up to `last`."""
        return Part(
            *(
                None if array is None else array[first:last]
                for array in (self.log_density, self.gradients, self.blobs)
            )
        )

    def put(self, first: int, other: Part) -> None:
        """Copy what another part has into the points from `first` on."""
        for name in ("log_density", "gradients", "blobs"):
            mine, given = getattr(self, name), getattr(other, name)
            if mine is not None and given is not None:
                mine[first : first + given.shape[0]] = given


@dataclass(frozen=True, slots=True)
class Form:
    """What a function is expected to return for `k` parameters.

    ``density`` and ``gradient`` say which of the two it returns, in this order.
    """

    k: int
    density: bool = True
    gradient: bool = False
    blobs: BlobLayout | None = None

    def empty(self, n: int) -> Part:
        """Return arrays for `n` points."""
        return Part(
            np.empty(n) if self.density else None,
            np.empty((n, self.k)) if self.gradient else None,
            None if self.blobs is None else self.blobs.empty(n),
        )

    def split(self, value: Any) -> tuple[Any, Any, tuple[Any, ...]]:
        """Return density, gradient and extras of what was returned.

        Raises
        ------
        TypeError
            If a function of both returns no tuple of them.
        """
        if self.density and self.gradient:
            if not isinstance(value, tuple | list) or len(value) < 2:
                raise TypeError(f"(log_density, gradient); it returned {_described(value)}")
            return value[0], value[1], tuple(value[2:])
        if self.gradient:
            return None, value, ()
        if isinstance(value, tuple) and value:
            return value[0], None, tuple(value[1:])
        return value, None, ()

    def read(self, value: Any, part: Part, i: int | None = None) -> None:
        """Write what was returned for point `i`, or for all points, into `part`.

        Raises
        ------
        TypeError, ValueError
            If it is something else; the message begins with what was expected.
        """
        density, gradient, extras = self.split(value)
        front = () if i is None else (1,)
        target = slice(None) if i is None else slice(i, i + 1)
        if self.density and part.log_density is not None:
            expected = part.log_density[target].shape
            part.log_density[target] = _real(density, expected, "log-density", i is None)
        if self.gradient and part.gradients is not None:
            if isinstance(gradient, tuple | list) and not front:
                gradient = _columns(gradient, self.k)
            expected = part.gradients[target].shape
            part.gradients[target] = _real(gradient, expected, "gradient", i is None)
        if part.blobs is not None and self.blobs is not None:
            # ``return -inf`` where the others return blobs too is the way out of the support.
            if extras or i is None or density != -np.inf:
                self.blobs.store(part.blobs, extras, i)
        elif extras:
            raise ValueError(
                f"no blobs beside the log-density, as at the first points; it returned "
                f"{len(extras)} blobs"
            )


def _real(value: Any, shape: tuple[int, ...], what: str, batch: bool) -> Floats:
    array = numbers(value)
    of_one = "one number" if what == "log-density" else f"{shape[-1]} numbers"
    expected = f"a {what} of shape {shape}, one for each point" if batch else f"{of_one} as {what}"
    if array is None or array.dtype.kind == "c":
        raise TypeError(f"{expected}, real; it returned {_described(value)}")
    if array.shape != shape:
        # A column for a vector, and arrays of one number, are meant as they look.
        same = array.shape == (*shape, 1) if batch else array.size == np.prod(shape, dtype=int)
        if not same or (not batch and array.ndim > 1 and what == "gradient"):
            raise ValueError(f"{expected}; it returned {_described(value)}")
        array = array.reshape(shape)
    return array.astype(np.float64, copy=False)


def _columns(gradient: Sequence[Any], k: int) -> Any:
    """Return the columns of a gradient side by side."""
    columns = [numbers(column) for column in gradient]
    if len(columns) == k and all(c is not None and c.ndim == 1 for c in columns):
        return np.stack(columns, axis=-1)  # type: ignore[arg-type]
    return gradient


def _described(value: Any) -> str:
    array = numbers(value)
    if value is None:
        return "nothing"
    if array is None:
        return f"{type(value).__name__} {value!r}"[:200]
    if array.ndim == 0:
        return f"{type(value).__name__} {value!r}"
    return f"{type(value).__name__} of {array.dtype}, shape {array.shape}"
