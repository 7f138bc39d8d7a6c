"""Blobs: what a log-density returns beside its value, as one array with the points in front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aisle_smc.arrays import Array

__all__ = ["BlobLayout", "Field", "layout", "numbers"]


@dataclass(frozen=True, slots=True)
class Field:
    """One blob of a point: numbers of a fixed shape, or any object (kind ``O``)."""

    name: str
    kind: str
    shape: tuple[int, ...] = ()

    def read(self, value: Any, front: tuple[int, ...]) -> Array:
        """Return a blob of numbers as an array of shape (*front, *shape).

        Raises
        ------
        ValueError
            If it is not of the kind that came at the first points.
        """
        array = numbers(value)
        unreal = array is not None and array.dtype.kind == "c" and self.kind != "c16"
        if array is None or unreal or array.shape != (*front, *self.shape):
            came = type(value).__name__ if array is None else f"{array.dtype} {array.shape}"
            raise ValueError(
                f"{np.dtype(self.kind)} {(*front, *self.shape)} as blob {self.name}, as at the "
                f"first points; it returned {came}"
            )
        return array


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
        array: Array
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
        n = array.shape[0]
        for field, column, value in zip(
            self.fields, self.columns(array), self._values(extras), strict=True
        ):
            if field.kind != "O":
                column[slice(None) if i is None else i] = field.read(value, (n,) * (i is None))
            elif i is not None:
                column[i] = value
            elif len(value) != n:
                raise ValueError(
                    f"{n} objects as blob {field.name}, one for each point; it returned "
                    f"{len(value)}"
                )
            else:
                for row, each in enumerate(value):
                    column[row] = each

    def _values(self, extras: Sequence[Any]) -> list[Any]:
        names = [f.name for f in self.fields]
        if self.keyed and len(extras) == 1 and isinstance(extras[0], Mapping):
            if set(extras[0]) != set(names):
                raise ValueError(f"a dict with {names}; it returned one with {list(extras[0])}")
            return [extras[0][name] for name in names]
        if self.keyed or len(extras) != len(names):
            what = f"a dict with {names}" if self.keyed else f"{len(names)} blobs"
            raise ValueError(
                f"{what} beside the log-density, as at the first points; it returned "
                f"{len(extras)} more"
            )
        return list(extras)


def layout(points: Sequence[Sequence[Any]], batch: int = 0) -> BlobLayout | None:
    """Return the layout that holds what came beside the log-densities, None if nothing did.

    Parameters
    ----------
    points : sequence of sequences
        The blobs of each of some points; a single entry with those of all points if `batch` says
        how many they are.
    batch : int
        Points in a batch, or 0.

    Examples
    --------
    >>> layout([(1.5, [1.0, 2.0]), (2.5, [3.0, 4.0])]).empty(3).dtype
    dtype([('blob_0', '<f8'), ('blob_1', '<f8', (2,))])
    """
    points = [extras for extras in points if len(extras)]
    if not points:
        return None
    first = points[0]
    keyed = len(first) == 1 and isinstance(first[0], Mapping) and _has_names(first[0])
    if keyed:
        names = tuple(first[0])
        rows = [[extras[0].get(name) for name in names] for extras in points]
    else:
        names = ("",) if len(first) == 1 else tuple(f"blob_{j}" for j in range(len(first)))
        rows = [[*extras, *[None] * (len(names) - len(extras))] for extras in points]
    fields = [_field(name, [row[j] for row in rows], batch) for j, name in enumerate(names)]
    return BlobLayout(tuple(fields), keyed=keyed)


def numbers(value: Any) -> Array | None:
    """Return numbers or an array of them, of whatever library, as a NumPy array, else None."""
    for method in ("detach", "cpu"):
        value = getattr(value, method, lambda same=value: same)()
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):
        return None
    return array if array.dtype.kind in "biufc" else None


def _has_names(mapping: Mapping[Any, Any]) -> bool:
    return bool(mapping) and all(isinstance(key, str) and key for key in mapping)


def _field(name: str, values: Sequence[Any], batch: int) -> Field:
    arrays = [numbers(value) for value in values]
    shapes = {None if array is None else array.shape for array in arrays}
    shape = shapes.pop() if len(shapes) == 1 else None
    if shape is None or (batch and shape[:1] != (batch,)):
        return Field(name, "O")
    unreal = any(array is not None and array.dtype.kind == "c" for array in arrays)
    return Field(name, "c16" if unreal else "f8", shape[1:] if batch else shape)
