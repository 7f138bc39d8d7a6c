"""One evaluator for any log-density: batches of points in, values, blobs and gradients out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aisle_smc.arrays import Array, Floats
from aisle_smc.errors import BadDensity, TargetFailed
from aisle_smc.targets.calls import show_point, where
from aisle_smc.targets.dialects import Dialect, Fault
from aisle_smc.targets.forms import Form
from aisle_smc.targets.probe import tell
from aisle_smc.targets.target import Target, as_target

__all__ = ["Evaluation", "Evaluator", "evaluator"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a target gave at some points.

    Attributes
    ----------
    log_density : ndarray, shape (n,)
        In nats; ``-inf`` where the density is zero.
    blobs : ndarray, shape (n, ...), or None
        What the function returned beside.
    gradients : ndarray, shape (n, k), or None
        Gradients of the log-density, zero where the density is zero.
    """

    log_density: Floats
    blobs: Array | None = None
    gradients: Floats | None = None


class Evaluator:
    """A target that is ready to be evaluated."""

    def __init__(
        self, target: Target, names: tuple[str, ...], density: Dialect, slope: Dialect | None
    ) -> None:
        self.target = target
        self.names = names
        self.calls = 0
        self.seconds = 0.0
        self.workers = 1
        self._density = density
        self._slope = slope

    @property
    def dialect(self) -> str:
        """What kind of function the log-density is."""
        return self._density.name

    @property
    def has_gradients(self) -> bool:
        """Whether :meth:`with_gradients` can be called."""
        return self._slope is not None

    def __call__(self, theta: Floats) -> Evaluation:
        """Evaluate the log-density at points of shape (n, k)."""
        return self._evaluate(theta, (self._density,))

    def with_gradients(self, theta: Floats) -> Evaluation:
        """Evaluate the log-density and its gradient at points of shape (n, k)."""
        if self._slope is None:
            raise TypeError("no gradient")
        if self._slope.form.density:
            return self._evaluate(theta, (self._slope,))
        return self._evaluate(theta, (self._density, self._slope))

    def _evaluate(self, theta: Floats, dialects: tuple[Dialect, ...]) -> Evaluation:
        theta = np.ascontiguousarray(theta, dtype=np.float64)
        n = theta.shape[0]
        form = Form(
            len(self.names),
            True,
            any(dialect.form.gradient for dialect in dialects),
            dialects[0].form.blobs,
        )
        whole = form.empty(n)
        self.calls += n
        start = time.perf_counter()
        for dialect in dialects:
            part = whole if dialect.form.density else type(whole)(gradients=whole.gradients)
            fault = dialect.evaluate(theta, part)
            if fault is not None:
                raise self._error(theta, fault)
        self.seconds += time.perf_counter() - start
        assert whole.log_density is not None
        bad = np.isnan(whole.log_density) | (whole.log_density == np.inf)
        if bad.any():
            i = int(np.argmax(bad))
            value = float(whole.log_density[i])
            raise BadDensity(
                f"{where(self.target.function)} must return a number or -inf; it returned "
                f"{value} at {show_point(self.names, theta[i])}; "
                "return -inf where the density is zero",
                point=dict(zip(self.names, theta[i].tolist(), strict=True)),
                value=value,
            )
        return Evaluation(
            log_density=whole.log_density, blobs=whole.blobs, gradients=whole.gradients
        )

    def _error(self, theta: Floats, fault: Fault) -> Exception:
        at = show_point(self.names, theta[fault.row])
        point = dict(zip(self.names, theta[fault.row].tolist(), strict=True))
        name = where(self.target.function)
        if fault.raised:
            error: Exception = TargetFailed(
                f"{name} failed at {at}: {type(fault.error).__name__}: {fault.error}", point=point
            )
        else:
            error = type(fault.error)(f"{name} must return {fault.error}, at {at}")
        error.__cause__ = fault.error
        return error

    def close(self) -> None:
        """Let go of workers and files."""


def evaluator(
    target: Target | Callable[..., Any],
    names: Sequence[str],
    probe: Floats,
    *,
    vectorized: bool | None = None,
    workers: int | None = None,
    journal: Any = None,
) -> Evaluator:
    """Make the evaluator of a target."""
    target = as_target(target)
    names = tuple(names)
    vectorized = target.vectorized if vectorized is None else vectorized
    found = tell(target.function, names, probe, vectorized=vectorized)
    slope = None
    if target.gradient is not None:
        form = Form(len(names), False, True)
        slope = tell(target.gradient, names, probe, vectorized=vectorized, form=form).dialect
    elif target.value_and_gradient is not None:
        form = Form(len(names), True, True)
        slope = tell(
            target.value_and_gradient, names, probe, vectorized=vectorized, form=form
        ).dialect
    return Evaluator(target, names, found.dialect, slope)
