"""The form of a model's values: how states, observations, covariates and parameters are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from aisle_kernels.lift import Layout

from aisle_smc.arrays import Array, Floats

__all__ = ["check_columns", "check_names", "layout_of", "names_of", "parameter", "series"]


def layout_of(what: str, form: Any) -> Layout:
    """Return the storage of a state, observation or covariate described by `form`.

    Parameters
    ----------
    what : str
        Name used in the error.
    form : type or int
        ``float`` for a number, a NamedTuple class of floats, or the length of an array row.
    """
    if form is float:
        return Layout()
    if isinstance(form, type) and issubclass(form, tuple) and hasattr(form, "_fields"):
        if not form._fields:
            raise ValueError(f"{what} {form.__name__} has no fields; name at least one")
        return Layout(len(form._fields), form)
    if isinstance(form, int) and not isinstance(form, bool) and form >= 1:
        return Layout(form)
    raise TypeError(
        f"{what} must be float, a NamedTuple class of floats, or the length of an array row "
        f"(an int >= 1); got {form!r}"
    )


def names_of(layout: Layout, default: str) -> tuple[str, ...]:
    """Return the component names of a layout."""
    if layout.width == 0:
        return (default,)
    if layout.fields is not None:
        return tuple(layout.fields._fields)  # type: ignore[attr-defined]
    return tuple(f"{default}[{k}]" for k in range(layout.width))


def check_names(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    """Raise unless two lists of parameter names are the same set."""
    unknown = [name for name in given if name not in known]
    missing = [name for name in known if name not in given]
    if unknown or missing:
        parts = [f"unknown: {', '.join(map(str, unknown))}"] if unknown else []
        parts += [f"missing: {', '.join(missing)}"] if missing else []
        raise ValueError(
            f"{what} must name exactly the parameters {', '.join(known)}; {'; '.join(parts)}"
        )


def parameter(name: str, value: Any) -> float | Array:
    """Return one parameter as a float or a float array; raise unless it is finite."""
    try:
        array = np.ascontiguousarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"parameter {name} must be a number or an array; got {value!r}") from None
    if np.ndim(value) == 0:
        array = array.reshape(())
    if not np.isfinite(array).all():
        raise ValueError(f"parameter {name} must be finite; got {value}")
    return float(array) if array.ndim == 0 else array


def series(what: str, values: Any, layout: Layout, names: Sequence[str]) -> Floats:
    """Return a series as a contiguous float array in the given layout; masked values are NaN."""
    if values is None:
        raise ValueError(f"{what} must be a series, one row for each time; got None")
    if layout.fields is not None:
        if isinstance(values, Mapping) or hasattr(values, "columns"):  # a dict, or a data frame
            check_columns(what, tuple(getattr(values, "columns", values)), names)
            values = np.column_stack([_unmasked(values[name]) for name in names])
        elif hasattr(values, "_fields"):
            values = np.column_stack([_unmasked(getattr(values, name)) for name in names])
    try:
        array = np.asarray(_unmasked(values), dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what} must be numbers; got {type(values).__name__} ({error})") from None
    expected = f"(T, {layout.width})" if layout.width else "(T,)"
    shape_ok = array.ndim == (2 if layout.width else 1)
    if not shape_ok or (layout.width and array.shape[1] != layout.width):
        raise ValueError(
            f"{what} must have shape {expected}, columns {', '.join(names)}; "
            f"got shape {array.shape}"
        )
    return array


def _unmasked(values: Any) -> Any:
    """Return values with NaN where a NumPy mask hides them."""
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.filled(values.astype(np.float64), np.nan)
    return values


def check_columns(what: str, given: Sequence[str], names: Sequence[str]) -> None:
    """Raise unless a mapping of columns has exactly the model's names."""
    if set(given) != set(names):
        raise ValueError(
            f"{what} must have the columns {', '.join(names)}; got {', '.join(given)}"
        )
