r"""Fitting mixtures of multivariate Student-t parts: EM and calibration.

All loops of an iteration run in one compiled call, since for a thousand points in a few dimensions
each of them takes less time than a call from Python.

References
----------
.. [1] C. Liu and D. B. Rubin (1995). ML estimation of the t distribution using EM and its
   extensions, ECM and ECME. Statistica Sinica 5, section 3: the degrees of freedom.
.. [2] C. Liu, D. B. Rubin and Y. N. Wu (1998). Parameter expansion to accelerate EM: the PX-EM
   algorithm. Biometrika 85: scatter divided by the mass of u and not of the shares.
"""

from __future__ import annotations

import math

import numpy as np

from ._jit import kernel, scalar
from .covariances import roots_of, shrink
from .student import distances, invert_lower, moment_sums, share_out
from .vecmath import exp, log, log1p, log_gamma

_LOG_PI = 1.1447298858494002
_LOG_TWO_PI = 1.8378770664093456
_LOWEST_DF = 3.0
_HIGHEST_DF = 1000.0
# A weak prior on log df, normal about log 8 with standard deviation 2, in units of one point: it
# only matters where the data say nothing, as for Gaussian points.
_TYPICAL_LOG_DF = math.log(8.0)
_LOG_DF_PRECISION = 0.25
_CALIBRATION_STEPS = 6
# From this middling value any other degrees of freedom are a few steps away.
_CALIBRATION_DF = 50.0


@scalar
def digamma(x):
    """Return the digamma function of a positive number, by Abramowitz and Stegun 6.3.5, 6.3.18."""
    value = 0.0
    while x < 10.0:
        value -= 1.0 / x
        x += 1.0
    r = 1.0 / (x * x)
    series = 1.0 / 252.0 - r * (1.0 / 240.0 - r * (1.0 / 132.0 - r * (691.0 / 32760.0)))
    return value + log(x) - 0.5 / x - r * (1.0 / 12.0 - r * (1.0 / 120.0 - r * series))


@scalar
def trigamma(x):
    """Return the trigamma function of a positive number, by Abramowitz and Stegun 6.4.12."""
    value = 0.0
    while x < 10.0:
        value += 1.0 / (x * x)
        x += 1.0
    r = 1.0 / (x * x)
    series = 1.0 / 42.0 - r * (1.0 / 30.0 - r * (5.0 / 66.0 - r * (691.0 / 2730.0)))
    return value + (1.0 + 0.5 / x + r * (1.0 / 6.0 - r * (1.0 / 30.0 - r * series))) / x


@scalar
def _log_norm(df, d):
    """Return the log-density of a part at its centre, for unit scale."""
    if df < np.inf:
        inner = log_gamma(0.5 * (df + d)) - log_gamma(0.5 * df)
        return inner - 0.5 * d * (log(df) + _LOG_PI)
    return -0.5 * d * _LOG_TWO_PI


@scalar
def _better_df(a, b, e, count, df, d):
    """Return degrees of freedom after one Newton step in log df on the likelihood of a part.

    `a`, `b` and `e` are the averages that `share_out` sums; `count` is the effective number of
    points, against which the prior is weighed.
    """
    rise = d / df
    first = digamma(0.5 * (df + d)) - digamma(0.5 * df) - rise - a + (1.0 + rise) * b
    second = 0.5 * trigamma(0.5 * (df + d)) - 0.5 * trigamma(0.5 * df) + rise / df
    second += b / df - rise * b / df - (1.0 + rise) * e
    log_df = log(df)
    slope = 0.5 * df * first * count - _LOG_DF_PRECISION * (log_df - _TYPICAL_LOG_DF)
    bend = 0.5 * df * (df * second + first) * count - _LOG_DF_PRECISION
    step = -slope / bend if bend < 0.0 else (0.7 if slope > 0.0 else -0.7)
    new = exp(log_df + min(max(step, -0.7), 0.7))
    return min(max(new, _LOWEST_DF), _HIGHEST_DF)


@kernel
def levels(weights, root, df, out):
    """Evaluate the log of weight times density at the centre of each part, in nats.

    Parameters
    ----------
    weights : ndarray, shape (k,)
        Probabilities.
    root : ndarray, shape (k, d, d)
        Lower-triangular roots of the scale matrices.
    df : ndarray, shape (k,)
        Degrees of freedom, infinite for a Gaussian part.
    out : ndarray, shape (k,)
        Receives the levels.
    """
    d = root.shape[1]
    for c in range(weights.size):
        value = log(weights[c]) + _log_norm(df[c], d)
        for i in range(d):
            value -= log(root[c, i, i])
        out[c] = value


@kernel
def maximise(x, w, share, distance, sums, df, weights, location, root):
    """Write the best weights, centres and roots for points shared out among parts.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        Points.
    w : ndarray, shape (n,)
        Their weights.
    share, distance : ndarray, shape (k, n)
        Shares and squared distances.
    sums : ndarray, shape (k, 5)
        As `share_out` leaves them; the first two columns are read.
    df : ndarray, shape (k,)
        Degrees of freedom.
    weights, location, root : ndarray, shapes (k,), (k, d) and (k, d, d)
        The parts; the centres so far are replaced, the others written.
    """
    k, d = location.shape
    mass, count = np.empty(k), np.empty(k)
    shift, scatter = np.empty((k, d)), np.empty((k, d, d))
    moment_sums(x, w, share, distance, df, location, mass, shift, scatter)
    total = 0.0
    for c in range(k):
        total += sums[c, 0]
    for c in range(k):
        weights[c] = sums[c, 0] / total
        count[c] = sums[c, 0] ** 2 / sums[c, 1]
        for i in range(d):
            shift[c, i] /= mass[c]
            location[c, i] += shift[c, i]
        for i in range(d):
            for j in range(d):
                scatter[c, i, j] = scatter[c, i, j] / mass[c] - shift[c, i] * shift[c, j]
    shrink(scatter, weights, count)
    roots_of(scatter, np.ones(d), root)


@scalar
def _drop(k, least, counts, weights, location, root, df):
    """Move the parts with at least so many points to the front, and return how many there are."""
    kept, total = 0, 0.0
    for c in range(k):
        if counts[c] >= least:
            weights[kept], df[kept] = weights[c], df[c]
            location[kept] = location[c]
            root[kept] = root[c]
            total += weights[c]
            kept += 1
    for c in range(kept):
        weights[c] /= total
    return kept


@kernel
def em(x, w, weights, location, root, df, steps, tolerance):
    """Improve parts in place by expectation-maximisation of the weighted log-likelihood.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        Points, of the order of one in every direction where covariances may be shrunk.
    w : ndarray, shape (n,)
        Their weights, with sum one.
    weights, location, root, df : ndarray, shapes (k,), (k, d), (k, d, d) and (k,)
        Where to start, with finite degrees of freedom; they receive the parts that are left,
        those that are none after them.
    steps : int
        Iterations at most.
    tolerance : float
        Stop when an iteration raises ``sum w log q`` by less, in nats.

    Returns
    -------
    int
        How many parts are left: those that lost their points are dropped.
    """
    n, d = x.shape
    k = weights.size
    inverse = np.zeros((k, d, d))
    level, count, sums = np.empty(k), np.empty(k), np.empty((k, 5))
    distance, share, log_q = np.empty((k, n)), np.empty((k, n)), np.empty(n)
    before = -np.inf
    for _ in range(steps):
        invert_lower(root[:k], inverse[:k])
        levels(weights[:k], root[:k], df[:k], level[:k])
        distances(x, location[:k], inverse[:k], distance[:k])
        share_out(distance[:k], d, level[:k], df[:k], w, share[:k], log_q, sums[:k])
        score = 0.0
        for i in range(n):
            score += w[i] * log_q[i]
        if score - before < tolerance:
            break
        before = score
        most, fewest = 0.0, np.inf
        for c in range(k):
            count[c] = sums[c, 0] ** 2 / sums[c, 1] if sums[c, 1] > 0.0 else 0.0
            most, fewest = max(most, count[c]), min(fewest, count[c])
        least = min(2.0, most)
        if fewest < least:
            k = _drop(k, least, count, weights, location, root, df)
            before = -np.inf
            continue
        for c in range(k):
            # A part with no more points than a hyperplane takes says nothing of its tails.
            spare = max(count[c] - d - 1.0, 0.0)
            total = sums[c, 0]
            a, b, e = sums[c, 2] / total, sums[c, 3] / total, sums[c, 4] / total
            df[c] = _better_df(a, b, e, spare, df[c], d)
        maximise(
            x, w, share[:k], distance[:k], sums[:k], df[:k], weights[:k], location[:k], root[:k]
        )
    return k


@kernel
def unseen(distance, share, df, d, out):
    r"""Evaluate the squared distances that points would have had they been left out.

    With share :math:`c_i` in the scatter matrix of its part,
    :math:`m_{(i)} = m_i / (1 - c_i (1 + m_i))`, which is exact for a weighted mean and covariance;
    no point moves further than ten times its distance, however much of the matrix it makes.

    Parameters
    ----------
    distance, share : ndarray, shape (k, n)
        Squared distances and shares.
    df : ndarray, shape (k,)
        Degrees of freedom.
    d : int
        Dimension.
    out : ndarray, shape (k, n)
        Receives the distances.
    """
    k, n = distance.shape
    for c in range(k):
        mass = 0.0
        for i in range(n):
            out[c, i] = share[c, i] * ((df[c] + d) / (df[c] + distance[c, i]))
        for i in range(n):
            mass += out[c, i]
        for i in range(n):
            left = 1.0 - out[c, i] / mass * (1.0 + distance[c, i])
            out[c, i] = distance[c, i] / (left if left > 0.1 else 0.1)


@kernel
def calibrate(far, share, sums, d, df, size):
    """Maximise the likelihood of distances over the size of scale matrices and their df.

    Parameters
    ----------
    far : ndarray, shape (k, n)
        Squared distances of points that were left out, as `unseen` leaves them.
    share : ndarray, shape (k, n)
        Shares, which are kept.
    sums : ndarray, shape (k, 5)
        As `share_out` leaves them; the first two columns are read.
    d : int
        Dimension.
    df : ndarray, shape (k,)
        Degrees of freedom to start from; receives the best ones.
    size : ndarray, shape (k,)
        Receives the factors of the scale matrices.
    """
    k, n = far.shape
    logs = np.empty(n)
    for c in range(k):
        total, nu, factor = sums[c, 0], min(df[c], _CALIBRATION_DF), 1.0
        count = total**2 / sums[c, 1]
        for _ in range(_CALIBRATION_STEPS):
            over, scaled = 1.0 / (nu * factor), nu * factor
            for i in range(n):
                logs[i] = share[c, i] * log1p(float(far[c, i]) * over)
            a = b = e = 0.0
            for i in range(n):
                part = share[c, i] * far[c, i] / (scaled + far[c, i])
                a += logs[i]
                b += part
                e += part / (scaled + far[c, i])
            a, b, e = a / total, b / total, e * factor / total
            # Points that are all alike have no distances, and no size of their own.
            factor = max(factor * (nu + d) * b / d, 0.1)
            nu = _better_df(a, b, e, count, nu, d)
        df[c], size[c] = nu, factor
