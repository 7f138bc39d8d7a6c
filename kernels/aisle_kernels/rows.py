"""The sums of :mod:`aisle_kernels.weights` for many weight vectors at once, one a row.

Each row has the bits of a single call.
"""

from __future__ import annotations

from . import weights
from ._jit import kernel

_cess, _ess, _max_weight = weights.cess, weights.ess, weights.max_weight
_log_mean_exp, _log_sum_exp = weights.log_mean_exp, weights.log_sum_exp
_normalise = weights.normalise


@kernel
def log_sum_exp(log_w, out):
    """Write the `log_sum_exp` of each row of ``log_w`` (rows, n) to ``out`` (rows,)."""
    for r in range(log_w.shape[0]):
        out[r] = _log_sum_exp(log_w[r])


@kernel
def log_mean_exp(log_w, out):
    """Write the `log_mean_exp` of each row of ``log_w`` (rows, n) to ``out`` (rows,)."""
    for r in range(log_w.shape[0]):
        out[r] = _log_mean_exp(log_w[r])


@kernel
def ess(log_w, out):
    """Write the `ess` of each row of ``log_w`` (rows, n) to ``out`` (rows,)."""
    for r in range(log_w.shape[0]):
        out[r] = _ess(log_w[r])


@kernel
def cess(log_w, log_g, out):
    """Write the `cess` of each row of ``log_w`` and ``log_g`` (rows, n) to ``out`` (rows,)."""
    for r in range(log_w.shape[0]):
        out[r] = _cess(log_w[r], log_g[r])


@kernel
def max_weight(log_w, out):
    """Write the `max_weight` of each row of ``log_w`` (rows, n) to ``out`` (rows,)."""
    for r in range(log_w.shape[0]):
        out[r] = _max_weight(log_w[r])


@kernel
def normalise(log_w, out):
    """Write to each row of ``out`` (rows, n) what `normalise` makes of that row of ``log_w``."""
    for r in range(log_w.shape[0]):
        _normalise(log_w[r], out[r])
