r"""Sums over exponentiated log-weights, safe at every edge of the floating-point range.

One pass is the base of everything here: with :math:`m = \max_i \log w_i` it leaves
:math:`e_i = \exp(\log w_i - m)` and returns :math:`m`, :math:`s = \sum_i e_i` and
:math:`q = \sum_i e_i^2`.  Then :math:`\log \sum_i w_i = m + \log s`, the normalised weights are
:math:`e_i / s` and the effective sample size is :math:`s^2 / q`.

=====================  ==========================================================
log-weights            result
=====================  ==========================================================
all ``-inf``           m = -inf, e = 0, s = q = 0; every ESS and weight is 0
some ``+inf``          the limit: e = 1 where ``+inf``, else 0; m = inf
any NaN                everything is NaN
=====================  ==========================================================

Sums run in eight lanes over the global index order, whatever the length of a block, so a result is
a function of the array and of nothing else.  The logarithm of a sum is `vecmath.log` everywhere,
which makes the functions of this module agree with one another to the last bit.  Arrays hold at
least one log-weight, in nats.
"""

from __future__ import annotations

import numpy as np

from ._jit import kernel, scalar
from .vecmath import exp, log

# Exponentials are summed while they are in the first-level cache: 8 kB.  A multiple of the lanes.
_BLOCK = 1024


@scalar
def _largest_number(log_w):
    """Return the largest entry that is not NaN, ``-inf`` if there is none."""
    n = log_w.size
    n8 = n // 8 * 8
    m0 = m1 = m2 = m3 = m4 = m5 = m6 = m7 = -np.inf
    for i in range(0, n8, 8):
        m0 = log_w[i] if log_w[i] > m0 else m0
        m1 = log_w[i + 1] if log_w[i + 1] > m1 else m1
        m2 = log_w[i + 2] if log_w[i + 2] > m2 else m2
        m3 = log_w[i + 3] if log_w[i + 3] > m3 else m3
        m4 = log_w[i + 4] if log_w[i + 4] > m4 else m4
        m5 = log_w[i + 5] if log_w[i + 5] > m5 else m5
        m6 = log_w[i + 6] if log_w[i + 6] > m6 else m6
        m7 = log_w[i + 7] if log_w[i + 7] > m7 else m7
    m = m0
    for other in (m1, m2, m3, m4, m5, m6, m7):
        m = other if other > m else m
    for i in range(n8, n):
        m = log_w[i] if log_w[i] > m else m
    return float(m)


@kernel
def largest(log_w):
    """Return the largest log-weight; NaN if there is a NaN.

    Parameters
    ----------
    log_w : ndarray, shape (n,)
        Log-weights (nats).

    Returns
    -------
    float
        The maximum, ``-inf`` for no entries.
    """
    nan = 0
    for i in range(log_w.size):
        nan += log_w[i] != log_w[i]
    return np.nan if nan > 0 else _largest_number(log_w)


@scalar
def _exponentials(log_w, m, out):
    """Write exp(log_w - m), the last eight as one vector: scalar steps at the end cost more."""
    for i in range(log_w.size // 8 * 8):
        out[i] = exp(float(log_w[i]) - m)
    if log_w.size % 8:
        rest = max(log_w.size - 8, 0)
        last_w, last_out = log_w[rest:], out[rest:]
        for i in range(last_w.size):
            last_out[i] = exp(float(last_w[i]) - m)


@scalar
def _exponentiate_finite(log_w, m, out, whole):
    """Return both sums for a finite ``m``; ``out`` is the whole result or one reused block."""
    n = log_w.size
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    q0 = q1 = q2 = q3 = q4 = q5 = q6 = q7 = 0.0
    begin = 0
    for begin in range(0, n, _BLOCK):
        size = min(_BLOCK, n - begin)
        # Loops over slices from zero: with an offset in the index they do not vectorise.
        block = out[begin : begin + size] if whole else out[:size]
        _exponentials(log_w[begin : begin + size], m, block)
        for i in range(0, size // 8 * 8, 8):
            e = block[i]
            s0 += e
            q0 += e * e
            e = block[i + 1]
            s1 += e
            q1 += e * e
            e = block[i + 2]
            s2 += e
            q2 += e * e
            e = block[i + 3]
            s3 += e
            q3 += e * e
            e = block[i + 4]
            s4 += e
            q4 += e * e
            e = block[i + 5]
            s5 += e
            q5 += e * e
            e = block[i + 6]
            s6 += e
            q6 += e * e
            e = block[i + 7]
            s7 += e
            q7 += e * e
    s = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
    q = ((q0 + q1) + (q2 + q3)) + ((q4 + q5) + (q6 + q7))
    for i in range(n // 8 * 8, n):
        e = out[i] if whole else out[i - begin]
        s += e
        q += e * e
    return float(s), float(q)


@scalar
def _exponentiate(log_w, m, out, whole):
    """Return m, s and q for any ``m``, which is the largest entry or the largest number."""
    if -np.inf < m < np.inf:
        s, q = _exponentiate_finite(log_w, m, out, whole)
        if s == s:
            return m, s, q
    n = log_w.size
    count = 0
    nan = 0
    for i in range(n):
        count += 1 if log_w[i] == np.inf else 0
        nan += 1 if log_w[i] != log_w[i] else 0
    if nan > 0 or m != m:
        for i in range(out.size):
            out[i] = np.nan
        return np.nan, np.nan, np.nan
    if whole:
        for i in range(n):
            out[i] = 1.0 if log_w[i] == np.inf else 0.0
    return m, float(count), float(count)


@scalar
def _sums(log_w, block):
    """Return m, s and q without keeping the exponentials; ``block`` is room for one block."""
    return _exponentiate(log_w, _largest_number(log_w), block, False)


@scalar
def _block(n):
    """Return room for one block of n exponentials."""
    return np.empty(min(n, _BLOCK))


@kernel
def exponentiate(log_w, out):
    r"""Write :math:`\exp(\log w_i - m)` and return the maximum, the sum and the sum of squares.

    Parameters
    ----------
    log_w : ndarray, shape (n,)
        Log-weights (nats).
    out : ndarray, shape (n,)
        Receives the exponentials; must not overlap ``log_w``.

    Returns
    -------
    m, s, q : float
        Maximum of ``log_w``, sum of ``out``, sum of squares of ``out``.
    """
    return _exponentiate(log_w, _largest_number(log_w), out, True)


@kernel
def exponentiate_from(log_w, m, out):
    """Do as `exponentiate` where the maximum is known, as after a loop that weighed the particles.

    Parameters
    ----------
    log_w : ndarray, shape (n,)
        Log-weights (nats).
    m : float
        The largest entry that is not NaN, or NaN.
    out : ndarray, shape (n,)
        Receives the exponentials.

    Returns
    -------
    m, s, q : float
        The same bits as from `exponentiate`.
    """
    return _exponentiate(log_w, m, out, True)


@kernel
def log_sum_exp(log_w):
    r"""Return :math:`\log \sum_i \exp(\log w_i)`.

    Parameters
    ----------
    log_w : ndarray, shape (n,)
        Log-weights (nats).

    Returns
    -------
    float
        ``m + log(s)`` of `exponentiate`, to the bit.
    """
    m, s, _ = _sums(log_w, _block(log_w.size))
    return m + log(s)


@kernel
def log_mean_exp(log_w):
    r"""Return :math:`\log \frac1n \sum_i \exp(\log w_i)`.

    Parameters
    ----------
    log_w : ndarray, shape (n,)
        Log-weights (nats).

    Returns
    -------
    float
        ``m + log(s / n)`` of `exponentiate`, to the bit.
    """
    m, s, _ = _sums(log_w, _block(log_w.size))
    return m + log(s / log_w.size)


@kernel
def normalise(log_w, out):
    r"""Write the normalised weights :math:`W_i = w_i / \sum_j w_j`.

    Parameters
    ----------
    log_w : ndarray, shape (n,)
        Log-weights (nats).
    out : ndarray, shape (n,)
        Receives the weights: their sum is 1, or 0 when all log-weights are ``-inf``.

    Returns
    -------
    float
        The log-mean-exp of ``log_w``.
    """
    m, s, _ = _exponentiate(log_w, _largest_number(log_w), out, True)
    if s != 0.0:
        for i in range(out.size):
            out[i] = out[i] / s
    return m + log(s / log_w.size)


@kernel
def ess(log_w):
    r"""Return the effective sample size :math:`(\sum_i w_i)^2 / \sum_i w_i^2`.

    Parameters
    ----------
    log_w : ndarray, shape (n,)
        Log-weights (nats).

    Returns
    -------
    float
        Between 1 and n; 0 when all log-weights are ``-inf``.
    """
    _, s, q = _sums(log_w, _block(log_w.size))
    return s * s / q if s != 0.0 else 0.0


@kernel
def max_weight(log_w):
    r"""Return the largest normalised weight, :math:`1 / s`.

    Parameters
    ----------
    log_w : ndarray, shape (n,)
        Log-weights (nats).

    Returns
    -------
    float
        Between 1/n and 1; 0 when all log-weights are ``-inf``.
    """
    _, s, _ = _sums(log_w, _block(log_w.size))
    return 1.0 / s if s != 0.0 else 0.0


@kernel
def cess(log_w, log_g):
    r"""Return the conditional effective sample size of incremental weights g under weights w.

    .. math:: n \, \frac{(\sum_i W_i g_i)^2}{\sum_i W_i g_i^2}, \qquad W_i = w_i / \sum_j w_j.

    Parameters
    ----------
    log_w : ndarray, shape (n,)
        Log-weights before the increment (nats).
    log_g : ndarray, shape (n,)
        Logarithms of the increments (nats); what a particle of weight zero has does not matter,
        unless it is NaN.

    Returns
    -------
    float
        Between 0 and n; 0 when no particle has both w > 0 and g > 0. Infinite increments stand for
        their limit, n times the weight that they fall on.

    References
    ----------
    Zhou, Johansen and Aston (2016), Toward automatic model comparison: an adaptive sequential
    Monte Carlo approach.
    """
    n = log_w.size
    top_w = largest(log_w)
    top_g = largest(log_g)
    if top_w != top_w or top_g != top_g:
        return np.nan
    top_g = -np.inf
    for i in range(n):
        if log_w[i] > -np.inf and log_g[i] > top_g:
            top_g = log_g[i]
    if top_w == -np.inf or top_g == -np.inf:
        return 0.0
    # Both are scaled to a largest value of 1; the increments are multiplied in as logarithms, for
    # the largest increment may fall on a weight that is far below the smallest float.
    log_p = np.empty(n)
    shifted = np.empty(n)
    for i in range(n):
        if top_w < np.inf:
            log_p[i] = float(log_w[i]) - top_w
        else:
            log_p[i] = 0.0 if log_w[i] == np.inf else -np.inf
        if log_p[i] == -np.inf:
            shifted[i] = 0.0
        elif top_g < np.inf:
            shifted[i] = float(log_g[i]) - top_g
        else:
            shifted[i] = 0.0 if log_g[i] == np.inf else -np.inf
    block = _block(n)
    m0, s0, _ = _sums(log_p, block)
    for i in range(n):
        log_p[i] += shifted[i]
    m1, s1, _ = _sums(log_p, block)
    for i in range(n):
        log_p[i] += shifted[i]
    m2, s2, _ = _sums(log_p, block)
    if s2 == 0.0:
        return 0.0
    return min(float(n), n * ((s1 / s0) * (s1 / s2)) * exp((m1 - m0) - (m2 - m1)))
