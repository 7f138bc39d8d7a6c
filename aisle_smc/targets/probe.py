"""Telling what kind of function a user handed over, by calling it at a few points."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numba.extending import is_jitted

from aisle_smc.arrays import Floats
from aisle_smc.errors import TargetFailed
from aisle_smc.targets.blobs import layout
from aisle_smc.targets.calls import Call, Calling, calls, show_point, where
from aisle_smc.targets.compiled import compile_rows, shapes_of
from aisle_smc.targets.dialects import Batches, Dialect, Rows
from aisle_smc.targets.faults import first_failing
from aisle_smc.targets.forms import Form, Part
from aisle_smc.targets.tensors import Autograd, TensorCall, is_tensor, refers_to_torch

__all__ = ["Found", "tell"]

# How often more points are looked at if those before have no density, or all the same.
_LOOKS = 4

SLOWLY = (
    "the Numba function is called from Python for each point, which takes longer: a compiled loop "
    "needs numbers or arrays of one shape from it, as a tuple if there are several"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A function's dialect, its gradient if it can be differentiated, and what it costs.

    ``seconds`` is the least time that a point took, and ``note`` says why that is more than the
    function would need.
    """

    dialect: Dialect
    seconds: float
    autograd: Dialect | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """What calling a function in one way gave at some points, or what went wrong."""

    call: Calling
    points: Floats
    batch: bool
    values: tuple[Any, ...] = ()
    form: Form = field(default_factory=lambda: Form(0))
    part: Part = field(default_factory=Part)
    seconds: float = np.inf
    error: Exception | None = None
    raised: bool = False

    @property
    def works(self) -> bool:
        """Whether the function can be called this way."""
        return self.error is None

    @property
    def tells(self) -> bool:
        """Whether the values differ between points."""
        found = self.part.log_density if self.form.density else self.part.gradients
        return found is not None and np.unique(found[np.isfinite(found)]).size > 1

    @property
    def of_tensors(self) -> bool:
        """Whether tensors came back."""
        first = self.values[0]
        return is_tensor(first[0] if isinstance(first, tuple) else first)

    def said(self, names: Sequence[str]) -> str:
        """Return what went wrong in a line."""
        how = f"a batch of shape {self.points.shape}"
        how = how if self.batch else f"one point, {show_point(names, self.points[0])}"
        what = f"it raised {_brief(self.error)}" if self.raised else f"expected {self.error}"
        return f"called with {how}: {what}"


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
        A log-density, or what `form` says.
    names : sequence of str
        The parameters.
    probe : ndarray, shape (m, k)
        Points to call it at, at least two of them different.
    vectorized : bool, optional
        Whether it takes batches; tried out if None.
    form : Form, optional
        What it returns.

    Raises
    ------
    TypeError, ValueError
        If its arguments are not understood, or it returns something else.
    TargetFailed
        If it raises an exception however it is called.

    Notes
    -----
    A Numba function that takes one point is taken for just that.  Any other function is called
    with points and with a batch of them: it takes batches if that gives the values of the single
    points, some of which must differ, or if it takes no points.  A function of tensors returns
    tensors; it is called with them first if it uses torch.
    """
    form = Form(len(names)) if form is None else form
    ways = calls(function, names)
    looks = []
    uses_torch = refers_to_torch(function)
    if uses_torch:
        looks.append(_look(function, [TensorCall(way) for way in ways], probe, form, vectorized))
        if looks[-1].of_tensors:
            return _with_autograd(looks[-1].found())
    looks.append(_look(function, ways, probe, form, vectorized))
    plain = looks[-1]
    # The function may have imported torch itself, in the call just made.
    if "torch" in sys.modules and not uses_torch and (not plain.works or plain.of_tensors):
        looks.append(_look(function, [TensorCall(way) for way in ways], probe, form, vectorized))
        if looks[-1].of_tensors:
            return _with_autograd(looks[-1].found())
    if plain.works:
        return plain.found()
    raise _no_way(function, names, looks[0])


@dataclass(frozen=True, slots=True)
class _Look:
    """The ways that work: for single points, for a batch; and those that do not."""

    row: Trial | None
    batch: Trial | None
    failed: Sequence[Trial]
    compiled: bool

    @property
    def works(self) -> bool:
        return self.row is not None or self.batch is not None

    @property
    def of_tensors(self) -> bool:
        return any(trial.of_tensors for trial in (self.row, self.batch) if trial is not None)

    def found(self) -> Found:
        """Return the dialect to use."""
        row, batch = self.row, self.batch
        name = "torch" if self.of_tensors else ""
        if batch is None or (row is not None and not _agree(row, batch)):
            assert row is not None
            if self.compiled and (fast := _compiled(row)) is not None:
                return fast
            alone = Rows(row.call, row.form, name or "python")
            note = SLOWLY if self.compiled else ""
            return Found(dialect=alone, seconds=row.seconds, note=note)
        rows = None if row is None else Rows(row.call, row.form)
        dialect = Batches(batch.call, batch.form, name or "vectorised", rows=rows)
        return Found(dialect=dialect, seconds=batch.seconds)


def _look(
    function: Callable[..., Any],
    ways: Sequence[Calling],
    probe: Floats,
    form: Form,
    vectorized: bool | None,
) -> _Look:
    """Call a function in all ways."""
    compiled = is_jitted(function)
    nested = _nested(probe, form.k)
    rows = [] if vectorized else [_by_rows(way, nested, form) for way in ways]
    row = next((trial for trial in rows if trial.works), None)
    batches: list[Trial] = []
    if vectorized is not False and not (compiled and row is not None):
        points = nested[0] if row is None else row.points
        batches = [_by_batch(way, points, form, alone=row is None) for way in ways]
    batch = next((trial for trial in batches if trial.works), None)
    failed = [trial for trial in [*rows, *batches] if not trial.works]
    return _Look(row, batch, failed, compiled)


def _nested(probe: Floats, k: int) -> list[Floats]:
    """Return different points, few and then more, never as many as there are parameters."""
    n = next(n for n in (3, 4, 5) if k % n or k > _LOOKS * n)
    _, index = np.unique(probe, axis=0, return_index=True)
    rows = probe[np.sort(index)]
    looks = min(_LOOKS, -(-rows.shape[0] // n))
    return [
        np.ascontiguousarray(rows[np.arange(n * (look + 1)) % rows.shape[0]])
        for look in range(looks)
    ]


def _by_rows(call: Calling, nested: Sequence[Floats], form: Form) -> Trial:
    """Call a function for single points, for more of them if the first tell nothing."""
    values: list[Any] = []
    seconds = np.inf
    trial = None
    for points in nested:
        for i in range(len(values), points.shape[0]):
            start = time.perf_counter()
            try:
                values.append(call.row(points[i]))
            except Exception as error:
                return Trial(call, points[i : i + 1], False, error=error, raised=True)
            seconds = min(seconds, time.perf_counter() - start)
        trial = _read_rows(call, points, values, form, seconds)
        if not trial.works or trial.tells:
            break
    assert trial is not None
    return trial


def _read_rows(
    call: Calling, points: Floats, values: Sequence[Any], form: Form, seconds: float
) -> Trial:
    i = 0
    try:
        form = replace(form, blobs=layout([form.split(value)[2] for value in values]))
        part = form.empty(len(values))
        for i, value in enumerate(values):
            form.read(value, part, i)
    except (TypeError, ValueError) as error:
        return Trial(call, points[i : i + 1], False, error=error)
    return Trial(call, points, False, tuple(values), form, part, seconds)


def _by_batch(call: Calling, points: Floats, form: Form, *, alone: bool) -> Trial:
    """Call a function for a batch; `alone` if there is nothing else to compare it with."""
    n = points.shape[0]
    with warnings.catch_warnings():
        if not alone:
            warnings.simplefilter("ignore")  # a function of one point may complain of many
        try:
            call.batch(points)
            start = time.perf_counter()
            value = call.batch(points)
            seconds = (time.perf_counter() - start) / n
            fewer = call.batch(points[:2]) if alone else None
        except Exception as error:
            fault = first_failing(call.batch, points, error)
            at = points[fault.row : fault.row + fault.rows]
            return Trial(call, at, True, error=fault.error, raised=True)
    try:
        blobs = layout([form.split(value)[2]], batch=n)
        form = replace(form, blobs=blobs)
        part = form.empty(n)
        form.read(value, part)
        if alone:
            two = form.empty(2)
            form.read(fewer, two)
            if not _alike(two, part.span(0, 2)):
                raise ValueError(
                    f"a value for each point that owes nothing to the others; it returned others "
                    f"for the first 2 points alone than for {n}"
                )
    except (TypeError, ValueError) as error:
        return Trial(call, points, True, error=error)
    return Trial(call, points, True, (value,), form, part, seconds)


def _agree(row: Trial, batch: Trial) -> bool:
    """Whether a batch gives the values of its points, and these could tell if it did not."""
    same = row.form.blobs == batch.form.blobs
    return row.tells and same and _alike(row.part, batch.part)


def _alike(one: Part, other: Part) -> bool:
    pairs = ((one.log_density, other.log_density), (one.gradients, other.gradients))
    return all(
        a is None or b is None or np.allclose(a, b, rtol=1e-6, atol=1e-9, equal_nan=True)
        for a, b in pairs
    )


def _compiled(row: Trial) -> Found | None:
    """Return the dialect of a Numba function, None if no loop can hold what it returns."""
    shapes = [shapes_of(value) for value in row.values]
    blobs = row.form.blobs
    plain = blobs is None or all(blob.kind == "f8" for blob in blobs.fields)
    if not plain or shapes[0] is None or any(shape != shapes[0] for shape in shapes):
        return None
    assert isinstance(row.call, Call)
    dialect = compile_rows(row.call, row.form, shapes[0])
    part = row.form.empty(row.points.shape[0])
    if dialect.evaluate(row.points, part) is not None or not _alike(part, row.part):
        return None
    start = time.perf_counter()
    dialect.evaluate(row.points, part)
    return Found(dialect=dialect, seconds=(time.perf_counter() - start) / row.points.shape[0])


def _with_autograd(found: Found) -> Found:
    """Return a torch function with its gradient, if differentiating it works."""
    dialect = found.dialect
    if not isinstance(dialect, Rows | Batches) or not dialect.form.density:
        return found
    assert isinstance(dialect.call, TensorCall)
    form = replace(dialect.form, gradient=True)
    return replace(found, autograd=Autograd(dialect.call, form, isinstance(dialect, Batches)))


def _brief(error: Exception | None) -> str:
    """Return the first line of an exception that says something; the rest is in the cause."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith("Failed in nopython mode")]
    return f"{type(error).__name__}: {said[0] if said else ''}"


def _no_way(function: Callable[..., Any], names: Sequence[str], look: _Look) -> Exception:
    """Return the error that says why a function can be called in no way."""
    said = "\n".join(f"  {trial.said(names)}" for trial in look.failed)
    # What came back says more than an exception in the way that was not meant.
    first = next((trial for trial in look.failed if not trial.raised), look.failed[0])
    assert first.error is not None
    name = where(function)
    error: Exception
    if first.raised:
        point = dict(zip(names, first.points[0].tolist(), strict=True))
        error = TargetFailed(f"{name} failed at the first points:\n{said}", point=point)
    else:
        error = type(first.error)(
            f"{name} must return {first.error}\n{said}\n"
            "return one number for a point, or with vectorized=True one for each of a batch"
        )
    error.__cause__ = first.error if first.raised else None
    return error
