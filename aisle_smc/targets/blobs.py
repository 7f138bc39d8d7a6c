"""Blobs: what a log-density returns beside its value, as one array with the points in front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aisle_smc.arrays import Array

__all__ = ["BlobLayout", "Field", "numbers"]


@dataclass(frozen=True, slots=True)
class Field:
    """One blob of a point: numbers of a fixed shape, or any other object (kind ``O``)."""

    name: str
    kind: str
    shape: tuple[int, ...] = ()

    def read(self, value: Any, front: tuple[int, ...]) -> Array:
        """Return a blob as an array of shape (*front, *shape).

        Raises
        ------
        ValueError
            If it is not of the kind that came at the first points.
        """
        if self.kind == "O":
            array = np.empty(front or (1,), dtype=object)
            values = value if front else (value,)
            if len(values) != array.size:
                raise ValueError(f"{array.size} objects as {self}; it returned {len(values)}")
            for i, each in enumerate(values):
                array[i] = each
            return array if front else array[0]  # type: ignore[no-any-return]
        array = numbers(value)
        expected = (*front, *self.shape)
        unreal = array is not None and array.dtype.kind == "c" and self.kind != "c16"
        if array is None or unreal or array.shape != expected:
            came = type(value).__name__ if array is None else f"{array.dtype} {array.shape}"
            raise ValueError(f"{np.dtype(self.kind)} {expected} as {self}; it returned {came}")
        return array

    def __str__(self) -> str:
        return f"blob {self.name}" if self.name else "blob"


@dataclass(frozen=True, slots=True)
class BlobLayout:
    """How the blobs of one point are stored.

    One field without a name makes a plain array, others a structured one.  ``keyed`` says that
    the function returns them in one dict.
    """

    fields: tuple[Field, ...]
    keyed: bool = False

    def empty(self, n: int) -> Array:
        """Return an array for `n` points whose entries all say that nothing came."""
        if self.fields[0].name:
            array = np.empty(n, dtype=[(f.name, f.kind, f.shape) for f in self.fields])
        else:
            array = np.empty((n, *self.fields[0].shape), dtype=self.fields[0].kind)
        for field, column in zip(self.fields, self.columns(array), strict=True):
            column[...] = None if field.kind == "O" else np.nan
        return array

    def columns(self, array: Array) -> list[Array]:
        """Return the parts of an array, one for each field."""
        return [array[f.name] if f.name else array for f in self.fields]

    def store(self, array: Array, extras: Sequence[Any], i: int | None = None) -> None:
        """Put the blobs of point `i`, or of all points at once, into an array.

        Raises
        ------
        ValueError
            If they are not of the kind that came at the first points.
        """
        for field, column, value in zip(
            self.fields, self.columns(array), self._values(extras), strict=True
        ):
            if i is None:
                column[...] = field.read(value, (array.shape[0],))
            elif field.kind == "O":
                column[i] = value
            else:
                column[i] = field.read(value, ())

    def _values(self, extras: Sequence[Any]) -> list[Any]:
        names = [f.name for f in self.fields]
        if self.keyed and len(extras) == 1 and isinstance(extras[0], Mapping):
            if set(extras[0]) != set(names):
                raise ValueError(f"a dict with {names}; it returned one with {list(extras[0])}")
            return [extras[0][name] for name in names]
        if self.keyed or len(extras) != len(names):
            what = "a dict" if self.keyed else f"{len(names)} blobs"
            raise ValueError(f"{what} beside the log-density; it returned {len(extras)} values")
        return list(extras)


def layout(points: Sequence[Sequence[Any]], batch: int = 0) -> BlobLayout | None:
    """Return the layout that holds what came beside the values, None if nothing did.

    Parameters
    ----------
    points : sequence of sequences
        The extra returns of some points; of one call for all of them if `batch` is given.
    batch : int
        Points in a batch; 0 if each entry of `points` belongs to one point.
    """
    points = [extras for extras in points if len(extras)]
    if not points:
        return None
    first = points[0]
    keyed = len(first) == 1 and isinstance(first[0], Mapping) and _are_names(first[0])
    if keyed:
        names = tuple(first[0])
        rows = [tuple(extras[0].get(name) for name in names) for extras in points]
    else:
        names = ("",) if len(first) == 1 else tuple(f"blob_{j}" for j in range(len(first)))
        rows = [tuple(extras) for extras in points]
    columns = [[row[j] if j < len(row) else None for row in rows] for j in range(len(names))]
    return BlobLayout(
        tuple(_field(name, column, batch) for name, column in zip(names, columns, strict=True)),
        keyed=keyed,
    )


def numbers(value: Any) -> Array | None:
    """Return numbers or an array of them, of whatever library, as a NumPy array, else None."""
    for method in ("detach", "cpu"):
        value = getattr(value, method, lambda same=value: same)()
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):
        return None
    return array if array.dtype.kind in "biufc" else None


def _are_names(mapping: Mapping[Any, Any]) -> bool:
    return bool(mapping) and all(isinstance(key, str) and key for key in mapping)


def _field(name: str, values: Sequence[Any], batch: int) -> Field:
    arrays = [numbers(value) for value in values]
    shapes = {None if array is None else array.shape for array in arrays}
    shape = shapes.pop() if len(shapes) == 1 else None
    if shape is None or (batch and shape[:1] != (batch,)):
        return Field(name, "O")
    complex_ = any(array is not None and array.dtype.kind == "c" for array in arrays)
    return Field(name, "c16" if complex_ else "f8", shape[1:] if batch else shape)
