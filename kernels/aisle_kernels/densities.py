r"""Scalar log-densities for use inside models.

Every function takes the value first, then the parameters, and returns nats.  A compiled model
function calls them like any other function; they are inlined, and what does not depend on the
particle (a log-gamma of the observation, say) leaves the loop.

The same rules hold for all of them:

* NaN in the value or in a parameter gives NaN;
* a parameter outside its domain (a negative scale, a probability above one) gives NaN;
* a value outside the support, infinities included, gives ``-inf``; so does a count that is not
  whole;
* a scale that has underflowed to 0 or overflowed to infinity leaves no density: ``-inf``
  everywhere, so that what the particle stands for is ruled out and the filter goes on.

They are branch-free: the exceptional cases are selects.  Arguments pass through ``float``, which
is nothing when compiled and keeps the uncompiled arithmetic silent.
"""

from __future__ import annotations

import numpy as np

from ._jit import scalar
from .vecmath import log, log1p, log_gamma, log_rising_factorial

_LOG_2 = 0.6931471805599453
_LOG_PI = 1.1447298858494002
_HALF_LOG_2_PI = 0.9189385332046728


@scalar
def _positive(a):
    """Return ``a`` if it is positive and NaN otherwise: a divisor that cannot be zero."""
    return a if a > 0.0 else np.nan


@scalar
def _with_limits(log_density, distance, scale):
    """Return the density of a location-scale family with the limits of its scale put in.

    ``distance`` is the value less the location; ``log_density`` is NaN for a negative scale.
    """
    point_mass = -np.inf if distance == distance else np.nan
    result = point_mass if scale == 0.0 else log_density
    return -np.inf if (abs(distance) == np.inf) & (scale >= 0.0) else result


@scalar
def _log1p_square(z):
    """Return ``log(1 + z**2)``; beyond 1e100 by 2 log(z), because the square overflows."""
    size = abs(z)
    far = size > 1e100
    half = log1p(size if far else size * size)
    return 2.0 * half if far else half


@scalar
def _is_count(k):
    """Return whether ``k`` is a finite nonnegative whole number."""
    return (k >= 0.0) & (k < np.inf) & (np.floor(k) == k)


@scalar
def _supported(log_density, inside, x):
    """Return the log-density, ``-inf`` outside the support and NaN for a NaN value."""
    outside = -np.inf if x == x else np.nan
    return log_density if inside else outside


@scalar
def normal_logpdf(x, mean, sd):
    r"""Return the log-density of a normal distribution.

    :math:`-\tfrac12 ((x - \mu)/\sigma)^2 - \log \sigma - \tfrac12 \log 2\pi`.

    Parameters
    ----------
    x : float
        The value.
    mean : float
        The mean.
    sd : float
        The standard deviation, nonnegative.

    Returns
    -------
    float
        The log-density, in nats.

    Examples
    --------
    >>> round(float(normal_logpdf(0.0, 0.0, 1.0)), 12)
    -0.918938533205
    """
    scale = float(sd)
    distance = float(x) - float(mean)
    z = distance / _positive(scale)
    y = (-0.5 * z * z - log(scale)) - _HALF_LOG_2_PI
    return _with_limits(y, distance, scale)


@scalar
def half_normal_logpdf(x, sd):
    r"""Return the log-density of the absolute value of a centred normal variable.

    Parameters
    ----------
    x : float
        The value, nonnegative on the support.
    sd : float
        The standard deviation of the normal variable, nonnegative.

    Returns
    -------
    float
        The log-density, in nats.
    """
    return _supported(normal_logpdf(x, 0.0, sd) + _LOG_2, (x >= 0.0) | (sd < 0.0) | (sd != sd), x)


@scalar
def lognormal_logpdf(x, mean_log, sd_log):
    r"""Return the log-density of a variable whose logarithm is normal.

    :math:`\log \mathcal N(\log x; \mu, \sigma^2) - \log x`.

    Parameters
    ----------
    x : float
        The value, positive on the support.
    mean_log : float
        The mean of log x.
    sd_log : float
        The standard deviation of log x, nonnegative.

    Returns
    -------
    float
        The log-density, in nats.
    """
    value = float(x)
    inside = value > 0.0
    log_x = log(value if inside else 1.0)
    y = normal_logpdf(log_x, mean_log, sd_log) - log_x
    # A NaN parameter made y NaN, and the support must not hide it.
    return _supported(y, inside | (y != y), value)


@scalar
def student_t_logpdf(x, df, loc, scale):
    r"""Return the log-density of Student's t distribution.

    With z = (x - loc) / scale and :math:`\nu` degrees of freedom,
    :math:`\log \frac{\Gamma((\nu + 1)/2)}{\Gamma(\nu/2)} - \tfrac12 \log(\nu \pi)
    - \log \sigma - \tfrac{\nu + 1}{2} \log(1 + z^2/\nu)`.

    Parameters
    ----------
    x : float
        The value.
    df : float
        Degrees of freedom, positive; infinity is the normal distribution.
    loc : float
        The centre.
    scale : float
        The scale, nonnegative.

    Returns
    -------
    float
        The log-density, in nats.
    """
    sigma = float(scale)
    freedom = _positive(float(df))
    distance = float(x) - float(loc)
    z = distance / _positive(sigma)
    finite = freedom if freedom < np.inf else 1.0
    constant = log_rising_factorial(0.5 * finite, 0.5) - 0.5 * (log(finite) + _LOG_PI)
    body = -0.5 * (finite + 1.0) * _log1p_square(z / np.sqrt(finite))
    y = constant + body if freedom < np.inf else -_HALF_LOG_2_PI - 0.5 * z * z
    y = y if freedom > 0.0 else np.nan
    result = _with_limits(y - log(sigma), distance, sigma)
    return result if freedom > 0.0 else np.nan


@scalar
def cauchy_logpdf(x, loc, scale):
    r"""Return the log-density of a Cauchy distribution.

    :math:`-\log \pi - \log \sigma - \log(1 + ((x - x_0)/\sigma)^2)`.

    Parameters
    ----------
    x : float
        The value.
    loc : float
        The centre.
    scale : float
        The scale, nonnegative.

    Returns
    -------
    float
        The log-density, in nats.
    """
    sigma = float(scale)
    distance = float(x) - float(loc)
    y = -_LOG_PI - log(sigma) - _log1p_square(distance / _positive(sigma))
    return _with_limits(y, distance, sigma)


@scalar
def laplace_logpdf(x, loc, scale):
    r"""Return the log-density of a Laplace distribution, :math:`-|x - x_0|/b - \log 2b`.

    Parameters
    ----------
    x : float
        The value.
    loc : float
        The centre.
    scale : float
        The scale b, nonnegative.

    Returns
    -------
    float
        The log-density, in nats.
    """
    b = float(scale)
    distance = float(x) - float(loc)
    y = -abs(distance) / _positive(b) - log(b) - _LOG_2
    return _with_limits(y, distance, b)


@scalar
def uniform_logpdf(x, low, high):
    r"""Return the log-density of the uniform distribution on the closed interval.

    Parameters
    ----------
    x : float
        The value.
    low : float
        The lower end.
    high : float
        The upper end, above ``low``; otherwise the result is NaN.

    Returns
    -------
    float
        The log-density, in nats.
    """
    value = float(x)
    width = _positive(float(high) - float(low))
    y = _supported(-log(width), (value >= low) & (value <= high), value)
    return y if width > 0.0 else np.nan


@scalar
def exponential_logpdf(x, rate):
    r"""Return the log-density of an exponential distribution, :math:`\log \lambda - \lambda x`.

    Parameters
    ----------
    x : float
        The value, nonnegative on the support.
    rate : float
        The rate, nonnegative: the reciprocal of the mean.

    Returns
    -------
    float
        The log-density, in nats.
    """
    return gamma_logpdf(x, 1.0, rate)


@scalar
def gamma_logpdf(x, shape, rate):
    r"""Return the log-density of a gamma distribution.

    :math:`a \log b - \log \Gamma(a) + (a - 1) \log x - b x`, with mean a/b.

    Parameters
    ----------
    x : float
        The value, nonnegative on the support; at 0 the density is infinite for a shape below 1.
    shape : float
        The shape a, positive and finite.
    rate : float
        The rate b, nonnegative.

    Returns
    -------
    float
        The log-density, in nats.
    """
    value = float(x)
    a = float(shape)
    b = float(rate)
    inside = (value >= 0.0) & (value < np.inf)
    point = value if inside else 1.0
    power = 0.0 if a == 1.0 else (a - 1.0) * log(point)
    y = (a * log(b) - log_gamma(a)) + (power - b * point)
    y = -np.inf if b == np.inf else y
    # A zero rate spreads the mass to infinity, and outweighs the pole at zero.
    y = -np.inf if b == 0.0 else y
    y = _supported(y, inside, value)
    return y if (a > 0.0) & (a < np.inf) & (b >= 0.0) else np.nan


@scalar
def beta_logpdf(x, a, b):
    r"""Return the log-density of a beta distribution.

    :math:`(a - 1) \log x + (b - 1) \log(1 - x) - \log B(a, b)`.

    Parameters
    ----------
    x : float
        The value, in [0, 1] on the support; an end has infinite density when its exponent is
        negative.
    a : float
        The first shape, positive and finite.
    b : float
        The second shape, positive and finite.

    Returns
    -------
    float
        The log-density, in nats.
    """
    value = float(x)
    first = float(a)
    second = float(b)
    inside = (value >= 0.0) & (value <= 1.0)
    point = value if inside else 0.5
    left = 0.0 if first == 1.0 else (first - 1.0) * log(point)
    right = 0.0 if second == 1.0 else (second - 1.0) * log1p(-point)
    small = first if first < second else second
    large = second if first < second else first
    y = (left + right) - (log_gamma(small) - log_rising_factorial(large, small))
    y = _supported(y, inside, value)
    return y if (small > 0.0) & (large < np.inf) else np.nan


@scalar
def poisson_logpmf(k, mean):
    r"""Return the log-probability of a Poisson count, :math:`k \log m - m - \log k!`.

    Parameters
    ----------
    k : float
        The count; -inf unless it is a nonnegative whole number.
    mean : float
        The mean m, nonnegative; a zero mean puts all mass on 0.

    Returns
    -------
    float
        The log-probability, in nats.
    """
    count = float(k)
    m = float(mean)
    inside = _is_count(count)
    point = count if inside else 0.0
    y = 0.0 - m if point == 0.0 else (point * log(m) - m) - log_gamma(point + 1.0)
    y = -np.inf if m == np.inf else y
    y = _supported(y, inside, count)
    return y if m >= 0.0 else np.nan


@scalar
def binomial_logpmf(k, n, p):
    r"""Return the log-probability of a binomial count.

    :math:`\log \binom nk + k \log p + (n - k) \log(1 - p)`, with 0 log 0 = 0.

    Parameters
    ----------
    k : float
        The number of successes; -inf unless it is a whole number from 0 to ``n``.
    n : float
        The number of trials, a nonnegative whole number; otherwise the result is NaN.
    p : float
        The probability of success, in [0, 1].

    Returns
    -------
    float
        The log-probability, in nats.
    """
    count = float(k)
    trials = float(n)
    chance = float(p)
    inside = _is_count(count) & (count <= trials)
    hits = count if inside else 0.0
    misses = trials - hits
    few = hits if hits < misses else misses
    many = misses if hits < misses else hits
    log_choose = log_rising_factorial(many + 1.0, few) - log_gamma(few + 1.0)
    success = 0.0 if hits == 0.0 else hits * log(chance)
    failure = 0.0 if misses == 0.0 else misses * log1p(-chance)
    y = _supported(log_choose + (success + failure), inside, count)
    return y if _is_count(trials) & (chance >= 0.0) & (chance <= 1.0) else np.nan


@scalar
def negative_binomial_logpmf(k, mean, dispersion):
    r"""Return the log-probability of an over-dispersed count, variance :math:`m + m^2/r`.

    :math:`\log \frac{\Gamma(k + r)}{\Gamma(r)\, k!} - r \log(1 + m/r) - k \log(1 + r/m)`.

    Parameters
    ----------
    k : float
        The count; -inf unless it is a nonnegative whole number.
    mean : float
        The mean m, nonnegative; a zero mean puts all mass on 0.
    dispersion : float
        The size r, positive; infinity is the Poisson distribution.

    Returns
    -------
    float
        The log-probability, in nats.
    """
    count = float(k)
    m = float(mean)
    size = float(dispersion)
    inside = _is_count(count)
    point = count if inside else 0.0
    r = size if (size > 0.0) & (size < np.inf) else 1.0
    paths = log_rising_factorial(r, point) - log_gamma(point + 1.0)
    odds = r / _positive(m)
    none = 0.0 if m == 0.0 else r * log1p(m / r)
    each = 0.0 if point == 0.0 else point * log1p(odds)
    y = (paths - none) - each
    y = -np.inf if (m == np.inf) | ((m == 0.0) & (point > 0.0)) else y
    y = poisson_logpmf(point, m) if size == np.inf else y
    y = _supported(y, inside, count)
    return y if (m >= 0.0) & (size > 0.0) else np.nan


@scalar
def mvn_logpdf(x, mean, chol):
    r"""Return the log-density of a multivariate normal distribution.

    With covariance :math:`L L^\top` and :math:`L z = x - \mu`,
    :math:`-\tfrac12 z^\top z - \sum_i \log L_{ii} - \tfrac d2 \log 2\pi`.

    Parameters
    ----------
    x : ndarray, shape (d,)
        The value.
    mean : ndarray, shape (d,)
        The mean.
    chol : ndarray, shape (d, d)
        The lower Cholesky factor L; what lies above the diagonal is not read.

    Returns
    -------
    float
        The log-density, in nats; NaN unless the diagonal of L is positive.

    Notes
    -----
    Allocates d floats for z and takes about d**2 operations.
    """
    d = x.shape[0]
    z = np.empty(d, np.float64)
    total = 0.0
    log_det = 0.0
    infinite = False
    for i in range(d):
        pivot = _positive(float(chol[i, i]))
        distance = float(x[i]) - float(mean[i])
        infinite = infinite | (abs(distance) == np.inf)
        residual = distance if abs(distance) < np.inf else 0.0 * pivot
        residual = residual if distance == distance else np.nan
        for j in range(i):
            residual -= float(chol[i, j]) * float(z[j])
        z[i] = residual / pivot
        total += float(z[i]) * float(z[i])
        log_det += log(pivot)
    y = -0.5 * total - log_det - d * _HALF_LOG_2_PI
    # An infinite coordinate would meet itself with the other sign in the substitution.
    return -np.inf if infinite & (y == y) else y
