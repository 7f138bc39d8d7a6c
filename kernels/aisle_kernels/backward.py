r"""Draws of an index from log-weights, one for each trajectory that is traced backwards.

A trajectory at :math:`x_{t+1}` continues at the particle i with probability proportional to

.. math:: w_t^{i} \, p(x_{t+1} \mid x_t^{i}),

which this module takes as logarithms, in nats, and draws from by inverting the cumulative sum at a
given uniform.  A drawn index is in range and has positive weight whatever rounding does.

====================  ===========================
sums of logarithms    index
====================  ===========================
all ``-inf``          -1: the caller raises
any NaN               -2: the caller raises
some ``+inf``         one of these, equally likely
====================  ===========================

References
----------
.. [1] S. J. Godsill, A. Doucet and M. West (2004). Monte Carlo smoothing for nonlinear time
   series. Journal of the American Statistical Association 99, algorithm 1.
"""

from __future__ import annotations

import numpy as np

from ._jit import kernel
from .vecmath import exp


@kernel
def draw_index(log_v, u, e):
    r"""Draw an index with probability proportional to :math:`\exp(\log v_i)`.

    Parameters
    ----------
    log_v : ndarray, shape (n,)
        Log-weights (nats).
    u : float
        A uniform, in [0, 1).
    e : ndarray, shape (n,)
        Room for n numbers; may be ``log_v`` itself, which is then lost.

    Returns
    -------
    int
        The first i with :math:`\sum_{j \le i} v_j > u \sum_j v_j`; negative where there is none,
        see the table of this module.
    """
    n = log_v.size
    largest = -np.inf
    nan = False
    for i in range(n):
        largest = log_v[i] if log_v[i] > largest else largest
        nan |= log_v[i] != log_v[i]
    if nan:
        return -2
    if largest == -np.inf:
        return -1
    if largest == np.inf:
        for i in range(n):
            e[i] = 1.0 if log_v[i] == np.inf else 0.0
    else:
        for i in range(n):
            e[i] = exp(log_v[i] - largest)
    n8 = n // 8 * 8
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    for i in range(0, n8, 8):
        s0 += e[i]
        s1 += e[i + 1]
        s2 += e[i + 2]
        s3 += e[i + 3]
        s4 += e[i + 4]
        s5 += e[i + 5]
        s6 += e[i + 6]
        s7 += e[i + 7]
    total = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
    for i in range(n8, n):
        total += e[i]
    # The walk adds in another order than the total, so it may end before it gets there: then the
    # last index of positive weight is meant.
    target = u * total
    reached = 0.0
    chosen = -1
    for i in range(n):
        if e[i] > 0.0:
            chosen = i
            reached += e[i]
            if reached > target:
                break
    return chosen


@kernel
def backward_rows(log_w, log_p, u, out):
    r"""Draw for each trajectory the particle that it continues at.

    Parameters
    ----------
    log_w : ndarray, shape (n,)
        Log-weights at time t (nats).
    log_p : ndarray, shape (m, n)
        :math:`\log p(x_{t+1}^{(r)} \mid x_t^{i})` for trajectory r and particle i (nats).
    u : ndarray, shape (m,)
        Uniforms in [0, 1), one a trajectory.
    out : ndarray of int, shape (m,)
        Receives what `draw_index` returns for ``log_w + log_p[r]``: -1 where every sum is
        ``-inf``, -2 where one is NaN.
    """
    n = log_w.size
    log_v = np.empty(n)
    for r in range(u.size):
        for i in range(n):
            log_v[i] = float(log_w[i]) + float(log_p[r, i])
        out[r] = draw_index(log_v, u[r], log_v)
