r"""Generalised-Pareto fit to the largest weights, and Pareto-smoothed importance sampling.

The excesses of the largest importance weights over a threshold behave like draws from

.. math:: F(x) = 1 - (1 + k x / \sigma)^{-1/k}, \qquad x > 0,

and the shape k tells how many moments the weights have: k < 1/2 a variance, k < 1 a mean.
Replacing the largest weights by the quantiles of the fit (PSIS) trades a little bias for much
variance.

Notes
-----
Weights of zero (``log_w = -inf``) count as draws.  Two cases have no fit, and get a value that
compares the right way with any threshold:

* a constant tail, a constant ``log_w`` among them: the weights are bounded with no tail at all,
  k = ``-inf``;
* a tail of fewer than five draws, or with fewer than five different from the threshold: nothing is
  known, k = ``inf``. So it is when all weights are zero.

References
----------
.. [1] J. Zhang and M. A. Stephens (2009). A new and efficient estimation method for the
   generalized Pareto distribution. Technometrics 51(3), 316-325: the estimator (their k is -k).
.. [2] A. Vehtari, D. Simpson, A. Gelman, Y. Yao and J. Gabry (2024). Pareto smoothed importance
   sampling. Journal of Machine Learning Research 25(72): the length of the tail, the prior of k
   and the smoothing.
"""

from __future__ import annotations

import numpy as np

from ._jit import kernel
from .vecmath import exp, expm1, log, log1p


@kernel
def tail_length(n, relative_efficiency):
    r"""Return the number of draws in the tail, :math:`\min(n / 5, 3 \sqrt{n / r})` rounded down.

    Parameters
    ----------
    n : int
        The number of draws.
    relative_efficiency : float
        The effective sample size of the draws divided by n; 1 for independent draws.

    Returns
    -------
    int
        The length of the tail.
    """
    return int(np.floor(min(n / 5.0, 3.0 * np.sqrt(n / relative_efficiency))))


@kernel
def _shape_given(theta, excess, scratch):
    """Return the mean of ``log(1 - theta x)``: the shape that maximises the likelihood."""
    n = excess.shape[0]
    for i in range(n):
        scratch[i] = log1p(-theta * excess[i])
    total = 0.0
    for i in range(n):
        total += scratch[i]
    return total / n


@kernel
def gpd_fit(sorted_excess):
    r"""Fit a generalised Pareto distribution by Zhang and Stephens' quasi-Bayesian estimate.

    With :math:`\theta = -k/\sigma` the likelihood has the maximum
    :math:`\ell(\theta) = n (\log(-\theta / k(\theta)) - k(\theta) - 1)` over k, at
    :math:`k(\theta) = \frac1n \sum_i \log(1 - \theta x_i)`. The posterior mean of theta on a grid
    of quantiles of its data-dependent prior gives k and sigma; k is then drawn towards 1/2 with
    the weight of ten observations.

    Parameters
    ----------
    sorted_excess : ndarray, shape (n,)
        Excesses over the threshold, nonnegative and in increasing order, the last one positive.

    Returns
    -------
    k : float
        The shape, with its prior.
    sigma : float
        The scale, without any.

    Notes
    -----
    O(n^{3/2}). The excesses are first divided by the largest: the estimate of k does not depend on
    their unit, and nothing overflows. When the lower quartile is zero, which happens with ties at
    the threshold, the least positive excess stands in for it in the prior.
    """
    n = sorted_excess.shape[0]
    largest = sorted_excess[n - 1]
    x = np.empty(n, np.float64)
    for i in range(n):
        x[i] = sorted_excess[i] / largest
    quartile = max(0, int(np.floor(n / 4.0 + 0.5)) - 1)
    while x[quartile] == 0.0:
        quartile += 1
    prior_scale = 3.0 * max(x[quartile], 1e-290)
    mean = 0.0
    for i in range(n):
        mean += x[i] / n

    points = 30 + int(np.floor(np.sqrt(n)))
    theta = np.empty(points, np.float64)
    log_likelihood = np.empty(points, np.float64)
    scratch = np.empty(n, np.float64)
    for j in range(points):
        theta[j] = 1.0 + (1.0 - np.sqrt(points / (j + 0.5))) / prior_scale
        k = _shape_given(theta[j], x, scratch)
        # The exponential distribution is the limit as theta goes to 0.
        rate = -theta[j] / k if k != 0.0 else 1.0 / mean
        log_likelihood[j] = n * (log(rate) - k - 1.0)

    best = log_likelihood.max()
    mass = 0.0
    moment = 0.0
    for j in range(points):
        weight = exp(log_likelihood[j] - best)
        mass += weight
        moment += weight * theta[j]
    theta_hat = moment / mass
    k = _shape_given(theta_hat, x, scratch)
    sigma = (-k / theta_hat if theta_hat != 0.0 else mean) * largest
    return (n * k + 5.0) / (n + 10.0), sigma


@kernel
def _tail(log_w, order, length, excess):
    """Compute the excesses of the tail, and the threshold, relative to the largest weight.

    ``order`` sorts ``log_w``. Returns the status (0: fit it, 1: constant, 2: too short) and the
    threshold.
    """
    n = log_w.shape[0]
    largest = log_w[order[n - 1]]
    if length < 5 or length >= n or largest == -np.inf:
        # Equal weights are equal weights, however few.
        constant = largest > -np.inf and log_w[order[0]] == largest
        return (1 if constant else 2), 0.0
    if log_w[order[n - length]] == largest:
        return 1, 0.0
    threshold = exp(log_w[order[n - length - 1]] - largest)
    positive = 0
    for i in range(length):
        excess[i] = exp(log_w[order[n - length + i]] - largest) - threshold
        if excess[i] > 0.0:
            positive += 1
    return (0 if positive >= 5 else 2), threshold


@kernel
def pareto_k(log_w, length):
    """Estimate the shape of the tail of the weights, without smoothing them.

    Parameters
    ----------
    log_w : ndarray, shape (n,), n > 0
        Log-weights, not necessarily normalised; ``-inf`` allowed, NaN and ``inf`` not.
    length : int
        The number of draws in the tail, as from ``tail_length``.

    Returns
    -------
    float
        The shape k, ``-inf`` for a constant tail, ``inf`` when there are too few draws.
    """
    excess = np.empty(length, np.float64)
    status, _ = _tail(log_w, np.argsort(log_w, kind="mergesort"), length, excess)
    if status != 0:
        return -np.inf if status == 1 else np.inf
    return gpd_fit(excess)[0]


@kernel
def psis(log_w, length, out):
    r"""Smooth the largest weights by the quantiles of their generalised-Pareto fit.

    The j-th smallest of the M weights in the tail becomes
    :math:`u + \sigma ((1 - (j - 1/2)/M)^{-k} - 1) / k`, at most the largest raw weight, with u the
    largest weight below the tail; then all are normalised.

    Parameters
    ----------
    log_w : ndarray, shape (n,), n > 0
        Log-weights, not necessarily normalised; ``-inf`` allowed, NaN and ``inf`` not.
    length : int
        The number M of draws in the tail, as from ``tail_length``.
    out : ndarray, shape (n,)
        Receives the normalised log-weights, smoothed unless the tail has no fit. Must not be
        ``log_w``. Weights of zero stay zero; all ``-inf`` if all weights are.

    Returns
    -------
    float
        The shape k, ``-inf`` for a constant tail, ``inf`` when there are too few draws.
    """
    n = log_w.shape[0]
    excess = np.empty(length, np.float64)
    order = np.argsort(log_w, kind="mergesort")
    status, threshold = _tail(log_w, order, length, excess)
    largest = log_w[order[n - 1]]
    shift = largest if largest > -np.inf else 0.0
    for i in range(n):
        out[i] = log_w[i] - shift
    k = -np.inf if status == 1 else np.inf
    if status == 0:
        k, sigma = gpd_fit(excess)
        for j in range(length):
            member = order[n - length + j]
            # A weight of zero says that the draw is impossible; no smoothing revives it.
            if log_w[member] == -np.inf:
                continue
            step = -log1p(-(j + 0.5) / length)
            quantile = expm1(k * step) / k if k != 0.0 else step
            out[member] = min(log(threshold + sigma * quantile), 0.0)
    total = 0.0
    for i in range(n):
        total += exp(out[i])
    normaliser = log(total) if total > 0.0 else 0.0
    for i in range(n):
        out[i] -= normaliser
    return k
