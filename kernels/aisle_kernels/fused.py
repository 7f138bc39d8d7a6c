"""The fused particle filter: one compiled loop over time, free of the interpreter lock.

It takes the same steps as the Python loop, in the same order, with the same kernels and the same
random numbers, and none of them is compiled with fast-math: the two agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from aisle_kernels._jit import scalar, specialised
from aisle_kernels.lift import Lifted
from aisle_kernels.noise import BLOCK
from aisle_kernels.vecmath import log
from aisle_kernels.weights import exponentiate


@specialised
def _copy(source, target):
    flat_source, flat_target = source.reshape(source.size), target.reshape(target.size)
    for i in range(flat_source.size):
        flat_target[i] = flat_source[i]


def _as_they_are(resample):
    def select(w, u, x, ancestors):
        resample(w, u, ancestors)

    return specialised(select)


def _in_order(resample, order):
    """Resample the particles in the order of their states."""

    def select(w, u, x, ancestors):
        n = w.shape[0]
        ranks = np.empty(n, dtype=np.int64)
        order(x.reshape((n, x.size // n)), ranks)
        sorted_w = np.empty(n)
        for i in range(n):
            sorted_w[i] = w[ranks[i]]
        resample(sorted_w, u, ancestors)
        for i in range(n):
            ancestors[i] = ranks[ancestors[i]]

    return specialised(select)


@scalar
def _look_nowhere(t, p, ys, us, x, log_eta):
    pass


@lru_cache(maxsize=256)
def evidence_loop(
    lifted: Lifted,
    auxiliary: bool,
    resample: Callable[..., Any],
    count: Callable[..., int],
    order: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Compile the fused particle filter of a lifted model.

    The result advances a filter from time ``begin`` to time ``end`` without touching the
    interpreter:

        advance(rng, p, ys, us, begin, end, threshold, log_z, x, x_next, log_w, scratch, w,
                ancestors, u, log_evidence, ess, paths, parents) -> (log_z, flag)

    Before time 0 the content of ``x`` and ``log_w`` is ignored.  ``w`` must hold what
    ``exponentiate(log_w, w)`` left there; the loop keeps it so.  Row ``t`` of ``log_evidence``
    receives the log-evidence of observations 0 to t and row ``t`` of ``ess`` the effective sample
    size.  ``order(x, ranks)``, if given, ranks the particles before each resampling.  ``paths``
    (T, n, ...) and ``parents`` (T, n) receive states and ancestors unless they have no rows.
    ``flag`` is -1, or the first time at which all weights vanished or one was NaN;
    the loop stops there with the population of that time in ``x``.
    """
    start, move_block = lifted.start, lifted.move_block
    select = _as_they_are(resample) if order is None else _in_order(resample, order)
    look_ahead = lifted.look_ahead if auxiliary else _look_nowhere

    def advance(rng, p, ys, us, begin, end, threshold, log_z, x, x_next, log_w, scratch, w,
                ancestors, u, log_evidence, ess, paths, parents):  # fmt: skip
        n = log_w.shape[0]
        log_v = np.empty(n if auxiliary else 0)
        source, target = x, x_next
        m, s, q = -np.inf, 0.0, 0.0
        identity = False
        if begin > 0:
            m, s, q = exponentiate(log_w, w)
        for t in range(begin, end):
            if t == 0:
                start(rng, p, ys, us, target, log_w)
                log_z = 0.0
                if parents.shape[0] > 0:
                    for i in range(n):
                        parents[0, i] = i
            else:
                fresh = False
                if auxiliary:
                    look_ahead(t, p, ys, us, source, scratch)
                    for i in range(n):
                        log_v[i] = log_w[i] + scratch[i]
                    m, s, q = exponentiate(log_v, w)
                    if m == -np.inf:
                        # A look that rejects every particle is as good as none.
                        for i in range(n):
                            scratch[i] = 0.0
                        m, s, q = exponentiate(log_w, w)
                    if not m < np.inf:
                        _copy(log_v, log_w)
                        log_evidence[t] = m
                        _copy(source, x)
                        return log_z, t
                if s * s / q < threshold * n:
                    log_z += m + log(s / n)
                    for k in range(count(n, n)):
                        u[k] = rng.random()
                    select(w, u, source, ancestors)
                    identity = False
                    if auxiliary:
                        for i in range(n):
                            log_w[i] = 0.0 - scratch[ancestors[i]]
                    fresh = not auxiliary
                elif not identity:
                    for i in range(n):
                        ancestors[i] = i
                    identity = True
                # In blocks that stay in the first-level cache, which are those of the normals.
                log_g = log_w if fresh else scratch
                for first in range(0, n, BLOCK):
                    last = min(first + BLOCK, n)
                    move_block(rng, t, p, ys, us, source, ancestors, target, log_g, first, last)
                    if not fresh:
                        for i in range(np.uint64(first), np.uint64(last)):
                            log_w[i] += log_g[i]
                if parents.shape[0] > 0:
                    for i in range(n):
                        parents[t, i] = ancestors[i]
            source, target = target, source
            if paths.shape[0] > 0:
                _copy(source, paths[t])
            m, s, q = exponentiate(log_w, w)
            if not -np.inf < m < np.inf:
                log_evidence[t] = m
                _copy(source, x)
                return log_z, t
            log_evidence[t] = log_z + (m + log(s / n))
            ess[t] = s * s / q
        if (end - begin) % 2 == 1:
            _copy(source, x)
        return log_z, -1

    return specialised(advance)
