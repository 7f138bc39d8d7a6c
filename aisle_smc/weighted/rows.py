"""Arrays with a row for each draw, as they come from a user."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from aisle_kernels import weights as kernels

from aisle_smc.arrays import Floats
from aisle_smc.errors import DegenerateWeights

__all__ = ["per_draw", "read_rows"]


def read_rows(names: Sequence[str], x: Any, log_w: Any) -> tuple[Floats, Floats]:
    """Return draws, shape (n, d), and normalised log-weights, shape (n,).

    Raises
    ------
    TypeError, ValueError, DegenerateWeights
        As :class:`WeightedDraws` does.
    """
    x = _real("x", x)
    if x.ndim != 2 or x.shape[1] != len(names):
        raise ValueError(
            f"x must have shape (n, {len(names)}), a row for each draw and a column for each "
            f"of {', '.join(names) or 'no names'}; got shape {x.shape}; reshape it"
        )
    n = x.shape[0]
    log_w = per_draw("log_w", log_w, n)
    if n == 0:
        raise ValueError("a sample needs at least one draw; got x of shape (0, d)")
    if not kernels.largest(log_w) < math.inf:
        i = int(np.flatnonzero(~(log_w < math.inf))[0])
        raise ValueError(
            f"log_w must be finite or -inf; log_w[{i}] is {log_w[i]}; correct the weight"
        )
    log_total = float(kernels.log_sum_exp(log_w))
    if log_total == -math.inf:
        raise DegenerateWeights(
            f"a sample needs a draw of positive weight; all {n} log-weights are -inf", t=-1
        )
    bad = ~np.isfinite(x).all(axis=1) & (log_w > -math.inf)
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"draws with weight must be finite; x[{i}] is {x[i]} with log-weight "
            f"{log_w[i]}; give it the log-weight -inf to leave it out"
        )
    return x, log_w - log_total


def _real(what: str, value: Any) -> Floats:
    """Return real numbers in double precision; raise ``TypeError`` for anything else."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{what} must hold real numbers; got dtype {array.dtype}; convert it")
    return np.asarray(array, dtype=np.float64)


def per_draw(what: str, value: Any, n: int) -> Floats:
    """Return a number for each of n draws; raise ``ValueError`` for another shape."""
    array = _real(what, value)
    if array.shape != (n,):
        raise ValueError(
            f"{what} must have shape ({n},), a number for each draw; got shape {array.shape}"
        )
    return np.ascontiguousarray(array)
