"""Telling what kind of function a user handed over, by calling it at a few points."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba.extending import is_jitted

from aisle_smc.arrays import Floats
from aisle_smc.errors import TargetFailed
from aisle_smc.targets.blobs import layout
from aisle_smc.targets.calls import Call, calls, show_point, where
from aisle_smc.targets.compiled import compile_rows, shapes_of
from aisle_smc.targets.dialects import Batches, Dialect, PythonRows, differing
from aisle_smc.targets.forms import Form, Part

__all__ = ["Found", "tell"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A function's dialect and what a call cost.

    ``seconds`` is the least time that one point took at the probe.
    """

    dialect: Dialect
    seconds: float


@dataclass(frozen=True, slots=True)
class Trial:
    """What calling a function in one way gave: values with their reading, or what went wrong."""

    call: Call
    values: tuple[Any, ...] = ()
    form: Form | None = None
    part: Part | None = None
    seconds: float = np.inf
    error: Exception | None = None
    raised: bool = False
    point: Floats | None = None

    @property
    def works(self) -> bool:
        """Whether the function can be called this way."""
        return self.error is None


def tell(
    function: Callable[..., Any],
    names: Sequence[str],
    probe: Floats,
    *,
    vectorized: bool | None = None,
    form: Form | None = None,
) -> Found:
    """Return the dialect of a function.

    Parameters
    ----------
    function : callable
        A log-density, or whatever `form` says.
    names : sequence of str
        The parameters.
    probe : ndarray, shape (m, k)
        Points to call it at.
    vectorized : bool, optional
        Whether it takes batches; tried out if None.
    form : Form, optional
        What it returns: a log-density by default.

    Raises
    ------
    TypeError, ValueError
        If it can be called in no way, or returns something else.
    TargetFailed
        If it raises an exception in every way it is called.
    """
    form = Form(len(names)) if form is None else form
    ways = calls(function, names)
    compiled = is_jitted(function)
    # A number of points that cannot be mistaken for the number of parameters.
    some = differing(probe, 3 if form.k != 3 else 4)
    rows = [] if vectorized else [_by_rows(way, some, form) for way in ways]
    row = next((trial for trial in rows if trial.works), None)
    if compiled and row is not None:
        return Found(dialect=_compiled(row), seconds=row.seconds)
    batches = [] if vectorized is False else [_by_batch(way, some, form) for way in ways]
    batch = next((trial for trial in batches if trial.works), None)
    if batch is not None and (row is None or _agree(row, batch)):
        assert batch.form is not None
        return Found(dialect=Batches(batch.call, batch.form), seconds=batch.seconds)
    if row is not None:
        assert row.form is not None
        return Found(dialect=PythonRows(row.call, row.form), seconds=row.seconds)
    raise _no_way(function, names, rows, batches)


def _compiled(row: Trial) -> Dialect:
    assert row.form is not None
    shapes = [shapes_of(value) for value in row.values]
    simple = shapes[0] is not None and all(shape == shapes[0] for shape in shapes)
    if row.form.blobs is not None:
        simple = simple and all(field.kind == "f8" for field in row.form.blobs.fields)
    if not simple:
        return PythonRows(row.call, row.form)
    return compile_rows(row.call, row.form, shapes[0])


def _by_rows(call: Call, some: Floats, form: Form) -> Trial:
    values, seconds = [], []
    for point in some:
        start = time.perf_counter()
        try:
            values.append(call.row(point))
        except Exception as error:
            return Trial(call, error=error, raised=True, point=point)
        seconds.append(time.perf_counter() - start)
    try:
        form = replace(form, blobs=layout([form.split(value)[2] for value in values]))
        part = form.empty(len(values))
        for i, value in enumerate(values):
            point = some[i]
            form.read(value, part, i)
    except (TypeError, ValueError) as error:
        return Trial(call, error=error, point=point)
    return Trial(call, tuple(values), form, part, min(seconds))


def _by_batch(call: Call, some: Floats, form: Form) -> Trial:
    n = some.shape[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a function of one point may complain of many
            value = call.batch(some)
            start = time.perf_counter()
            value = call.batch(some)
            seconds = (time.perf_counter() - start) / n
    except Exception as error:
        return Trial(call, error=error, raised=True)
    try:
        form = replace(form, blobs=layout([form.split(value)[2]], batch=n))
        part = form.empty(n)
        form.read(value, part)
    except (TypeError, ValueError) as error:
        return Trial(call, error=error)
    return Trial(call, (value,), form, part, seconds)


def _agree(row: Trial, batch: Trial) -> bool:
    """Whether a batch gives the values that its points give alone, and these tell it."""
    assert row.part is not None and batch.part is not None
    for one, many in (
        (row.part.log_density, batch.part.log_density),
        (row.part.gradients, batch.part.gradients),
    ):
        if one is not None and many is not None:
            if not np.allclose(one, many, rtol=1e-6, atol=1e-9, equal_nan=True):
                return False
            if np.unique(one[np.isfinite(one)]).size < 2:
                return False
    return True


def _no_way(
    function: Callable[..., Any], names: Sequence[str], rows: list[Trial], batches: list[Trial]
) -> Exception:
    """Return the error that says why a function can be called in no way."""
    trials = [*rows, *batches]
    said = next((trial for trial in trials if not trial.raised), trials[0])
    at = "" if said.point is None else f" at {show_point(names, said.point)}"
    assert said.error is not None
    if not said.raised:
        error = type(said.error)(f"{where(function)} must return {said.error}{at}")
        error.__cause__ = said.error
        return error
    failed = TargetFailed(
        f"{where(function)} failed{at}: {type(said.error).__name__}: {said.error}\n"
        "called with one point and with a batch of points",
        point={} if said.point is None else dict(zip(names, said.point.tolist(), strict=True)),
    )
    failed.__cause__ = said.error
    return failed
