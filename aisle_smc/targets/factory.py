"""Making a target ready: its dialect, its gradient, its workers and its journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from aisle_smc.arguments import check_count
from aisle_smc.arrays import Floats
from aisle_smc.targets.calls import where
from aisle_smc.targets.evaluation import Evaluator, as_points
from aisle_smc.targets.forms import Form
from aisle_smc.targets.gradients import check_gradients
from aisle_smc.targets.journal import Journal
from aisle_smc.targets.probe import Found, tell
from aisle_smc.targets.target import Target, as_target
from aisle_smc.targets.work import Work
from aisle_smc.targets.workers import hire

__all__ = ["evaluator"]

# Points of the probe at which values and gradients are looked at before work starts.
_LOOKED_AT = 4


def evaluator(
    target: Target | Callable[..., Any],
    names: Sequence[str],
    probe: ArrayLike,
    *,
    vectorized: bool | None = None,
    workers: int | None = None,
    journal: Journal | None = None,
) -> Evaluator:
    """Make a target ready for evaluation: tell what kind of function it is, and hire workers.

    Parameters
    ----------
    target : Target or callable
        The log-density.
    names : sequence of str
        The parameters, in the order of the columns of points.
    probe : array_like, shape (m, k)
        Points to try the target at, two or more of them different; a dozen draws from the prior
        do well.
    vectorized : bool, optional
        Whether the target takes batches; None tries, or takes the target's word.
    workers : int, optional
        Threads (compiled, vectorised and torch functions) or processes (Python functions) to
        share the work; None takes all cores for compiled functions, and for Python functions
        that cost more than half a millisecond.  Values do not depend on it.
    journal : Journal, optional
        Where evaluations are kept; the evaluator closes it.

    Returns
    -------
    Evaluator
        Call it with points of shape (n, k).

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or the target's functions take or return something else than
        they should; or if the gradient is not that of the log-density.
    TargetFailed
        If the target raises an exception at the first points.
    BadDensity
        If it returns NaN or +inf there.

    Notes
    -----
    Functions of one point are called for each point alone.  Compiled, vectorised and torch
    functions are called for chunks of fixed size, counted from the first point of a batch, so the
    values depend on the batch and never on the workers.

    NumPy and torch functions are shared between threads only if `workers` asks for it: they may
    use buffers of their own, and their linear algebra has threads already.

    Examples
    --------
    >>> def log_density(mu, sigma):
    ...     return -0.5 * (mu / sigma) ** 2 - np.log(sigma)
    >>> probe = np.array([[0.0, 1.0], [1.0, 2.0]])
    >>> with evaluator(log_density, ["mu", "sigma"], probe) as evaluate:
    ...     found = evaluate([[1.0, 1.0], [2.0, 1.0], [1.0, 0.5]])
    >>> evaluate.dialect, evaluate.calls, found.log_density.round(3).tolist()
    ('vectorised', 3, [-0.5, -2.0, -1.307])
    """
    target = as_target(target)
    names = _names(names)
    points = as_points(probe, names)
    if np.unique(points, axis=0).shape[0] < 2:
        raise ValueError(
            f"probe must hold two different points or more; got {points.shape[0]} points, no two "
            "of them different; draw some from the prior"
        )
    if workers is not None:
        check_count("workers", workers)
    if vectorized is None:
        vectorized = target.vectorized
    found = tell(target.function, names, points, vectorized=vectorized)
    points = points[:_LOOKED_AT]
    works: tuple[Work, ...] = (Work((found.dialect,)),)
    _try(works[0], points, names, [target.function])
    slopes, note = _slopes(target, names, points, vectorized, found)
    works = works if slopes is None else (*works, slopes)
    crew, said = hire(works, found.seconds, workers)
    if journal is not None:
        journal.require({"parameters": ", ".join(names), "evaluation": _described(works)})
    note = "\n".join(filter(None, [found.note, note, said]))
    return Evaluator(target, names, works, found.seconds, crew, note, journal)


def _names(names: Sequence[str]) -> tuple[str, ...]:
    given = tuple(names)
    if isinstance(names, str) or not all(isinstance(name, str) for name in given) or not given:
        raise TypeError(
            f"names must be a sequence of strings, one for each parameter; got {names!r}; "
            "give for example ['mu', 'sigma']"
        )
    if len(set(given)) < len(given):
        raise ValueError(f"names must differ from each other; got {given}; rename some")
    return given


def _try(
    work: Work, points: Floats, names: Sequence[str], functions: Sequence[Callable[..., Any]]
) -> tuple[Floats, Floats | None]:
    """Evaluate the first points, and return log-densities and gradients."""
    outcome = work(points)
    if outcome.fault is not None:
        raise outcome.fault.report(points, names, functions)
    assert outcome.part.log_density is not None
    return outcome.part.log_density, outcome.part.gradients


def _slopes(
    target: Target, names: tuple[str, ...], points: Floats, vectorized: bool | None, found: Found
) -> tuple[Work | None, str]:
    """Return how to evaluate log-density and gradient, None if there is no gradient."""
    k = len(names)
    function = target.gradient or target.value_and_gradient
    if function is None:
        return _autograd(target, names, points, found)
    both = target.gradient is None
    form = Form(k, density=both, gradient=True)
    slope = tell(function, names, points, vectorized=vectorized, form=form).dialect
    if both and slope.form.blobs != found.dialect.form.blobs:
        raise ValueError(
            f"{where(function)} must return (log_density, gradient) and then the same blobs as "
            f"{where(target.function)}; they return {slope.form.blobs} and "
            f"{found.dialect.form.blobs}; return them from both, or give gradient= instead"
        )
    work = Work((slope,) if both else (found.dialect, slope))
    functions = [function] if both else [target.function, function]
    values, gradients = _try(work, points, names, functions)
    assert gradients is not None
    if both:
        _same_values(values, work, found, points, target)
    _compare(found, gradients, points, names, where(function))
    return work, ""


def _autograd(
    target: Target, names: Sequence[str], points: Floats, found: Found
) -> tuple[Work | None, str]:
    if found.autograd is None:
        return None, ""
    work = Work((found.autograd,))
    outcome = work(points)
    if outcome.fault is not None or outcome.part.gradients is None:
        error = None if outcome.fault is None else outcome.fault.error
        return None, f"{where(target.function)} has no gradient: differentiating gave {error!r}"
    _compare(found, outcome.part.gradients, points, names, f"autograd of {where(target.function)}")
    return work, ""


def _same_values(values: Floats, work: Work, found: Found, points: Floats, target: Target) -> None:
    alone = Work((found.dialect,))(points).part.log_density
    if not np.allclose(values, alone, rtol=1e-6, atol=1e-9):  # type: ignore[arg-type]
        raise ValueError(
            f"value_and_gradient must return the values of {where(target.function)}; at the first "
            f"points they are {values.tolist()} and {alone.tolist()}; "  # type: ignore[union-attr]
            "make one of them call the other"
        )


def _compare(
    found: Found, gradients: Floats, points: Floats, names: Sequence[str], name: str
) -> None:
    """Hold gradients against differences of the log-density."""
    work = Work((found.dialect,))

    def density(points: Floats) -> Floats | None:
        outcome = work(points)
        return outcome.part.log_density if outcome.fault is None else None

    # An expensive function is looked at once.
    many = 1 if found.seconds > 1e-3 else len(points)
    with np.errstate(all="ignore"):
        check_gradients(density, gradients[:many], points[:many], names, name)


def _described(works: Sequence[Work]) -> str:
    """Return what values depend on beside the functions and the points."""
    return "; ".join(
        f"{dialect.name}, {dialect.chunk} points together, blobs {dialect.form.blobs}"
        for work in works
        for dialect in work.dialects
    )
