"""Log-weights as NumPy arrays or torch tensors, through what both libraries name alike.

Torch is never imported: a tensor exists only where its owner has imported it already.
"""

from __future__ import annotations

import math
import sys
from typing import Any, TypeAlias

import numpy as np

__all__ = [
    "Values",
    "in_kind_of",
    "log_mean_exp",
    "log_sum_exp",
    "log_weights",
    "namespace",
    "sorted_down",
    "tail_mass",
    "xlogy_floor",
]

# A NumPy array or a torch tensor, particle axis first.
Values: TypeAlias = Any

# exp(-745) is the least positive float: a floor that keeps 0 * log(0) at zero.
_LEAST_LOG = -745.0


def namespace(x: Values) -> Any:
    """Return the module whose functions take `x`: torch for its tensors, else NumPy."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(x, torch.Tensor) else np


def log_weights(given: Values, what: str) -> Values:
    """Check log-weights and return them in double precision, detached from any graph.

    Parameters
    ----------
    given : array or tensor, shape (n, ...)
        Log-weights in nats.
    what : str
        Their name in an error.

    Raises
    ------
    TypeError
        If they are not real numbers.
    ValueError
        If there is no particle or an entry is NaN or ``+inf``; the first is named.
    """
    xp = namespace(given)
    if xp is np:
        values = np.asarray(given)
        real = values.dtype.kind in "fiu"
        values = values.astype(np.float64, copy=False) if real else values
    else:
        real = not (given.is_complex() or given.dtype == xp.bool)
        values = given.detach().to(xp.float64) if real else given
    if not real:
        raise TypeError(f"{what} must be real numbers, in nats; got dtype {values.dtype}")
    if values.ndim == 0 or values.shape[0] == 0:
        raise ValueError(
            f"{what} must have at least one particle along its first axis; got shape "
            f"{tuple(values.shape)}"
        )
    bad = ~(values < math.inf)
    if bool(bad.any()):
        where = xp.argwhere(bad)[0].tolist()
        raise ValueError(
            f"{what} must be finite or -inf; {what}[{', '.join(map(str, where))}] is "
            f"{float(values[tuple(where)])}; look at the density evaluated at that particle"
        )
    return values


def in_kind_of(given: Values, values: Values) -> Values:
    """Return `values` in the precision of the tensor that was given; arrays stay float64."""
    if namespace(given) is np or not given.is_floating_point():
        return values
    return values.to(given.dtype)


def log_sum_exp(log_w: Values) -> Values:
    """Return ``log sum exp(log_w)`` over the particles; ``-inf`` where all of them are."""
    xp = namespace(log_w)
    top = xp.amax(log_w, 0)
    top = xp.where(top == -math.inf, 0.0, top)
    with np.errstate(divide="ignore"):
        return xp.log(xp.sum(xp.exp(log_w - top), 0)) + top


def log_mean_exp(log_w: Values) -> Values:
    """Return ``log mean exp(log_w)`` over the particles, exact when all are equal."""
    xp = namespace(log_w)
    top = xp.amax(log_w, 0)
    top = xp.where(top == -math.inf, 0.0, top)
    with np.errstate(divide="ignore"):
        return xp.log(xp.sum(xp.exp(log_w - top), 0) / log_w.shape[0]) + top


def xlogy_floor(log_y: Values) -> Values:
    """Return `log_y`, at least -745, so that ``exp(log_y) * log_y`` is zero where y is zero."""
    return namespace(log_y).clip(log_y, _LEAST_LOG, math.inf)


def _take(x: Values, index: Values) -> Values:
    """Pick entries along the particle axis, column by column."""
    xp = namespace(x)
    if xp is np:
        return np.take_along_axis(x, index, 0)
    return xp.take_along_dim(x, index, 0)


def sorted_down(x: Values) -> Values:
    """Sort each column, the largest first."""
    xp = namespace(x)
    return _take(x, xp.argsort(-x, 0))


def tail_mass(x: Values, v: Values) -> Values:
    """Return for each particle the weight of all that are not below it, ``sum v [x >= x_k]``.

    Parameters
    ----------
    x : array or tensor, shape (n, ...)
        What is compared; equal entries get the same mass.
    v : array or tensor, shape (n, ...)
        Nonnegative weights.

    Notes
    -----
    O(n log n) for each column.
    """
    xp = namespace(x)
    order = xp.argsort(-x, 0)
    ranked = _take(x, order)
    mass = xp.cumsum(_take(v, order), 0)
    # Equal entries share the mass at the last of them: the next one below, seen from the end.
    inner = ranked[:-1] == ranked[1:]
    mass[:-1] = xp.where(inner, math.inf, mass[:-1])
    mass = xp.flip(mass, (0,))
    mass = np.minimum.accumulate(mass, 0) if xp is np else xp.cummin(mass, 0).values
    mass = xp.flip(mass, (0,))
    return _take(mass, xp.argsort(order, 0))
