"""What a function returns for a point or a batch of points, and reading it with a clear no."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from aisle_smc.arrays import Array, Floats
from aisle_smc.targets.blobs import BlobLayout, numbers

__all__ = ["Form", "Part"]


@dataclass(slots=True)
class Part:
    """What is known of some consecutive points: arrays to fill, None for what is not asked."""

    log_density: Floats | None = None
    gradients: Floats | None = None
    blobs: Array | None = None

    def span(self, first: int, last: int) -> Part:
        """Return a view of the points from `first` up to `last`."""
        arrays = (self.log_density, self.gradients, self.blobs)
        return Part(*(None if array is None else array[first:last] for array in arrays))

    def put(self, first: int, other: Part) -> None:
        """Copy all that another part has into the points from `first` on."""
        for mine, given in (
            (self.log_density, other.log_density),
            (self.gradients, other.gradients),
            (self.blobs, other.blobs),
        ):
            if mine is not None and given is not None:
                mine[first : first + given.shape[0]] = given


@dataclass(frozen=True, slots=True)
class Form:
    """What a function of `k` parameters is expected to return.

    ``density`` and ``gradient`` say which of the two, in this order if both.
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
        """Return density, gradient and blobs of what was returned.

        Raises
        ------
        TypeError
            If a function of both returned no tuple of them.
        """
        if self.density and self.gradient:
            if not isinstance(value, tuple | list) or len(value) < 2:
                raise TypeError(f"(log_density, gradient); it returned {described(value)}")
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
        if self.density and part.log_density is not None:
            if i is None:
                part.log_density[:] = _density_of_batch(density, part.log_density.shape)
            else:
                part.log_density[i] = _density_of_point(density)
        if self.gradient and part.gradients is not None:
            shape = part.gradients.shape if i is None else (self.k,)
            part.gradients[slice(None) if i is None else i] = _gradient(gradient, shape)
        if self.blobs is None:
            if extras:
                raise ValueError(
                    "nothing beside the log-density, as at the first points; it returned "
                    f"{len(extras)} more"
                )
        # ``return -inf`` where other points return blobs too is the way out of the support.
        elif part.blobs is not None and (extras or i is None or density != -np.inf):
            self.blobs.store(part.blobs, extras, i)


def _density_of_point(value: Any) -> float:
    if type(value) is float:
        return value
    array = numbers(value)
    if array is None or array.dtype.kind == "c":
        raise TypeError(f"one real number as log-density; it returned {described(value)}")
    if array.size != 1:
        raise ValueError(f"one number as log-density; it returned {described(value)}")
    return float(array.reshape(()))


def _density_of_batch(value: Any, shape: tuple[int, ...]) -> Array:
    expected = f"log-densities of shape {shape}, one for each point"
    array = numbers(value)
    if array is None or array.dtype.kind == "c":
        raise TypeError(f"real {expected}; it returned {described(value)}")
    # A column is meant as it looks, and a squeezed batch of one point is a number.
    if array.shape not in (shape, (*shape, 1)) and not (shape == (1,) and array.size == 1):
        raise ValueError(f"{expected}; it returned {described(value)}")
    return array.reshape(shape)


def _gradient(value: Any, shape: tuple[int, ...]) -> Array:
    expected = f"a gradient of shape {shape}, in the order of the parameters"
    array = numbers(value)
    if array is None or array.dtype.kind == "c":
        raise TypeError(f"{expected}; it returned {described(value)}")
    if isinstance(value, tuple | list) and len(shape) == 2 and array.shape == shape[::-1]:
        array = array.T  # one column for each parameter
    if array.shape != shape:
        raise ValueError(f"{expected}; it returned {described(value)}")
    return array


def described(value: Any) -> str:
    """Return what a function returned in a few words."""
    if value is None:
        return "nothing"
    shape = getattr(value, "shape", ())
    if len(shape):
        return f"{type(value).__name__} of {value.dtype}, shape {tuple(shape)}"
    return f"{type(value).__name__} {' '.join(repr(value).split())}"[:200]
