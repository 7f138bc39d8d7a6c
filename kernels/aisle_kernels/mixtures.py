r"""Mixtures of Student-t laws on the line: log-density of many at once, and their EM iteration.

.. math::
    p(x) = \sum_k \pi_k \frac{c(\nu_k)}{\sigma_k}
           \Bigl(1 + \frac{z_k^2}{\nu_k}\Bigr)^{-(\nu_k + 1)/2},
    \qquad z_k = \frac{x - \mu_k}{\sigma_k}.

References
----------
.. [1] D. Peel and G. J. McLachlan (2000). Robust mixture modelling using the t distribution.
   Statistics and Computing 10: the EM iteration.
.. [2] C. Liu and D. B. Rubin (1995). ML estimation of the t distribution using EM and its
   extensions, ECM and ECME. Statistica Sinica 5: the degrees of freedom from the likelihood.
"""

from __future__ import annotations

import numpy as np

from ._jit import kernel, scalar
from .vecmath import exp, log, log1p, log_gamma

# Points handled together, so that the terms of all components stay in the first-level cache.
_BLOCK = 512
_LOG_PI = 1.1447298858494002
# Iterations between two looks at the degrees of freedom, and at what was gained.
_PAUSE = 4


@scalar
def _log_constant(df):
    """Return the log of the density of Student's t at zero."""
    return log_gamma(0.5 * (df + 1.0)) - log_gamma(0.5 * df) - 0.5 * (log(df) + _LOG_PI)


@scalar
def _log_terms(x, log_height, location, scale, df, out):
    """Write the log-density of one component, whose log-density at its centre is given."""
    half = 0.5 * (df + 1.0)
    inverse = 1.0 / scale
    over = 1.0 / df
    for i in range(x.size):
        z = (float(x[i]) - location) * inverse
        out[i] = log_height - half * log1p(z * z * over)


@scalar
def _log_sum(terms, k, size, out):
    """Write the log of the sum over the first k rows of exp(terms)."""
    for i in range(size):
        out[i] = terms[0, i]
    for c in range(1, k):
        for i in range(size):
            out[i] = terms[c, i] if terms[c, i] > out[i] else out[i]
    # A point at infinity has -inf everywhere; any finite reference then gives -inf.
    for i in range(size):
        terms[k, i] = 0.0
        out[i] = out[i] if out[i] > -1e300 else -1e300
    for c in range(k):
        for i in range(size):
            terms[k, i] += exp(terms[c, i] - out[i])
    for i in range(size):
        out[i] += log(terms[k, i])


@kernel
def log_density(x, share, location, scale, df, out):
    r"""Write the log-density of independent coordinates, each with a mixture of its own.

    Parameters
    ----------
    x : ndarray, shape (d, n)
        Points, one per column.
    share, location, scale, df : ndarray, shape (d, k)
        The mixtures, one per row; those with fewer than k components end in shares of zero.
    out : ndarray, shape (n,)
        Receives :math:`\sum_j \log p_j(x_j)`; ``-inf`` at infinity.
    """
    n = x.shape[1]
    most = share.shape[1]
    terms = np.empty((most + 1, min(n, _BLOCK)))
    total = np.empty(min(n, _BLOCK))
    for i in range(n):
        out[i] = 0.0
    for begin in range(0, n, _BLOCK):
        size = min(_BLOCK, n - begin)
        for j in range(x.shape[0]):
            here = x[j, begin : begin + size]
            k = 0
            while k < most and share[j, k] > 0.0:
                height = log(share[j, k]) + _log_constant(df[j, k]) - log(scale[j, k])
                _log_terms(here, height, location[j, k], scale[j, k], df[j, k], terms[k, :size])
                k += 1
            _log_sum(terms, k, size, total)
            for i in range(size):
                out[begin + i] += total[i]


@scalar
def _dot(a, b):
    """Return the sum of products, in eight parts that make one vector."""
    n8 = a.size // 8 * 8
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    for i in range(0, n8, 8):
        s0 += a[i] * b[i]
        s1 += a[i + 1] * b[i + 1]
        s2 += a[i + 2] * b[i + 2]
        s3 += a[i + 3] * b[i + 3]
        s4 += a[i + 4] * b[i + 4]
        s5 += a[i + 5] * b[i + 5]
        s6 += a[i + 6] * b[i + 6]
        s7 += a[i + 7] * b[i + 7]
    for i in range(n8, a.size):
        s0 += a[i] * b[i]
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))


@scalar
def _best_df(x, r, mass, location, scale, choices, current, scratch):
    """Return the choice of degrees of freedom that maximises the likelihood of one component."""
    best, chosen = -np.inf, current
    for c in range(choices.size):
        df = choices[c]
        _log_terms(x, 0.0, location, scale, df, scratch)
        value = mass * _log_constant(df) + _dot(r, scratch)
        if value > best:
            best, chosen = value, df
    return chosen


@kernel
def em(x, w, share, location, scale, df, choices, least, iterations, tolerance):
    r"""Fit one mixture to weighted points by EM, in place.

    With responsibilities :math:`r_{ik}` and :math:`u_{ik} = (\nu_k + 1) / (\nu_k + z_{ik}^2)`,

    .. math::
        \pi_k = \sum_i w_i r_{ik}, \quad
        \mu_k = \frac{\sum_i w_i r_{ik} u_{ik} x_i}{\sum_i w_i r_{ik} u_{ik}}, \quad
        \sigma_k^2 = \frac{\sum_i w_i r_{ik} u_{ik} (x_i - \mu_k)^2}{\sum_i w_i r_{ik} u_{ik}},

    whose last divisor (instead of :math:`\pi_k`) is that of the faster parameter-expanded EM.

    Parameters
    ----------
    x, w : ndarray, shape (n,)
        Points and their weights, which sum to one.
    share, location, scale, df : ndarray, shape (k,)
        The mixture to start from; receives the fitted one.
    choices : ndarray, shape (m,)
        Degrees of freedom to choose from.
    least : float
        The least scale.
    iterations : int
        The most iterations.
    tolerance : float
        Stop when the log-likelihood per unit of weight gains less than this in four iterations.

    Returns
    -------
    float
        The log-likelihood :math:`\sum_i w_i \log p(x_i)` at the last check.
    """
    n, k = x.size, share.size
    terms = np.empty((k + 1, n))
    total = np.empty(n)
    before = -np.inf
    for iteration in range(iterations):
        for c in range(k):
            height = log(share[c]) + _log_constant(df[c]) - log(scale[c])
            _log_terms(x, height, location[c], scale[c], df[c], terms[c])
        _log_sum(terms, k, n, total)
        if iteration % _PAUSE == 0:
            value = _dot(w, total)
            if value - before < tolerance:
                break
            before = value
        u = terms[k]
        for c in range(k):
            r = terms[c]
            inverse = 1.0 / scale[c]
            mass = 0.0
            for i in range(n):
                r[i] = w[i] * exp(r[i] - total[i])
            for i in range(n):
                mass += r[i]
            # A component that lost its points keeps its place and a share of next to nothing.
            if mass < 1e-12:
                share[c] = 1e-12
                continue
            for i in range(n):
                z = (x[i] - location[c]) * inverse
                u[i] = r[i] * (df[c] + 1.0) / (df[c] + z * z)
            precision = 0.0
            for i in range(n):
                precision += u[i]
            share[c] = mass
            location[c] = _dot(u, x) / precision
            for i in range(n):
                u[i] *= (x[i] - location[c]) ** 2
            second = 0.0
            for i in range(n):
                second += u[i]
            scale[c] = max(least, np.sqrt(second / precision))
            if iteration % _PAUSE == _PAUSE - 1:
                df[c] = _best_df(x, r, mass, location[c], scale[c], choices, df[c], u)
    return before
