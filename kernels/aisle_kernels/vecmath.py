r"""Vectorisable ``exp``, ``log``, ``expm1``, ``log1p`` and ``log_gamma`` for compiled loops.

Numba calls the C library once per element for these functions, which keeps a loop from being
vectorised.  The versions here are straight-line arithmetic, bit manipulation and selects, so LLVM
turns an elementwise loop around them into vector code without any fast-math flag, takes what does
not change out of the loop, and the value does not depend on the vector width.  The first four are
within 2 units in the last place over their whole range, subnormal results included, and exact at
infinities, NaN and signed zeros; ``log_gamma`` is good to a few units of the larger of it and 1.

Notes
-----
An integer is read out of the low mantissa bits of ``k + 1.5 * 2**52``, and added to those bits in
the other direction.  That needs no conversion between floats and 64-bit integers, which has no
vector instruction before AVX-512.

Arguments pass through ``float`` and the bits through ``float`` again: compiled, both are nothing;
uncompiled, they keep the arithmetic on Python floats, which overflow to infinity in silence.

References
----------
.. [1] P. T. P. Tang (1989). Table-driven implementation of the exponential function in IEEE
   floating-point arithmetic. ACM Transactions on Mathematical Software 15(2): argument reduction
   with a two-part ln 2.
.. [2] T. J. Dekker (1971). A floating-point technique for extending the available precision.
   Numerische Mathematik 18: the exact error of a sum.
.. [3] M. Abramowitz and I. A. Stegun (1964). Handbook of Mathematical Functions, 6.1.40:
   Stirling's series for log Gamma.
"""

from __future__ import annotations

import numpy as np

from ._jit import scalar

# ln 2 in two parts; the first ends in 21 zero bits, so that k * LN2_HI is exact for |k| < 2**20.
_LN2_HI = 6.931471803691238e-01
_LN2_LO = 1.9082149292705877e-10
_INV_LN2 = 1.4426950408889634

# Adding this rounds to an integer k and leaves k + 2046 in the low twelve bits of the mantissa;
# 2046 is twice the exponent bias, so that halves of it are biased exponents.
_SHIFTER = 1.5 * 2.0**52 + 2046.0
_LOW_TWELVE = 0xFFF

# Beyond these the results are 0 and inf (exp), -1 and inf (expm1) whatever is returned for them.
_EXP_LOW = -746.0
_EXPM1_LOW = -40.0
_EXP_HIGH = 710.0

# Minimax polynomial of (exp(r) - 1 - r) / r**2 on |r| <= ln(2)/2, found by the Remez exchange;
# the relative error it leaves is 6e-18 in exp(r) and 2e-17 in expm1(r).
_Q0 = 0.5000000000000006
_Q1 = 0.16666666666666685
_Q2 = 0.0416666666665758
_Q3 = 0.00833333333331484
_Q4 = 0.001388888893183377
_Q5 = 0.00019841269902543728
_Q6 = 2.4801504984489522e-05
_Q7 = 2.7557228353133104e-06
_Q8 = 2.762614299071691e-07
_Q9 = 2.5114356125745787e-08

_MAGNITUDE = 0x7FFFFFFFFFFFFFFF
_MANTISSA = 0x000FFFFFFFFFFFFF
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
_WHOLE = 1.5 * 2.0**52  # adding an integer to its bits adds it to its value
_WHOLE_BITS = 0x4338000000000000
_TWO_54 = 18014398509481984.0
_TINY = 2.2250738585072014e-308  # the least normal number

# Minimax polynomial in z = s**2 of (log(1 + f) - 2 s) / (s z), where s = f / (2 + f) and so
# log(1 + f) = 2 (s + s**3/3 + s**5/5 + ...), on |s| <= 0.17158; it leaves 3e-18 relatively.
_L0 = 0.6666666666666731
_L1 = 0.39999999999436614
_L2 = 0.2857142873823675
_L3 = 0.2222219894938019
_L4 = 0.18183546645415777
_L5 = 0.15314466316795472
_L6 = 0.1479208092451789

# Minimax polynomial in 1/y**2 of y times the remainder of Stirling's formula for log Gamma(y),
# y >= 8; it leaves an absolute error of 5e-18 in log Gamma.
_S0 = 0.0833333333333333
_S1 = -0.002777777777609981
_S2 = 0.0007936506668564407
_S3 = -0.0005952029362966718
_S4 = 0.0008373083619209487
_S5 = -0.001653237377708152
_HALF_LOG_TWO_PI_LESS_HALF = 0.4189385332046728


@scalar
def _power_of_two(biased):
    """Return the float with the given biased exponent and an empty mantissa."""
    return float(np.int64(biased << 52).view(np.float64))


@scalar
def _log_reduced(k, f):
    """Return ``k log 2 + log(1 + f)``, ``k`` whole and 1 + f from sqrt(1/2) to sqrt(2)."""
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    series = z * ((_L0 + z * _L1) + w * ((_L2 + z * _L3) + w * ((_L4 + z * _L5) + w * _L6)))
    half_square = 0.5 * f * f
    # 2 s = f - s f, and s f = f**2/2 - s f**2/2: the large term f then enters without rounding.
    tail = s * (half_square + series) + k * _LN2_LO
    return k * _LN2_HI - ((half_square - tail) - f)


@scalar
def exp(x):
    r"""Return :math:`e^x`, within 1.5 units in the last place (2 for subnormal results).

    Parameters
    ----------
    x : float
        Any value; ``exp(-inf) = 0``, ``exp(inf) = inf``, NaN gives NaN.

    Returns
    -------
    float
        The exponential of ``x``.

    Examples
    --------
    >>> round(float(exp(1.0)), 14)
    2.71828182845905
    """
    value = float(x)
    z = _EXP_HIGH if value > _EXP_HIGH else value
    z = _EXP_LOW if z < _EXP_LOW else z
    shifted = z * _INV_LN2 + _SHIFTER
    k = shifted - _SHIFTER
    r = (z - k * _LN2_HI) - k * _LN2_LO
    r2 = r * r
    r4 = r2 * r2
    q = ((_Q0 + r * _Q1) + r2 * (_Q2 + r * _Q3)) + r4 * (
        ((_Q4 + r * _Q5) + r2 * (_Q6 + r * _Q7)) + r4 * (_Q8 + r * _Q9)
    )
    # The small terms are summed first: one rounding at the size of r, one at the size of 1.
    p = 1.0 + (r + r2 * q)
    # 2**k in two factors, for neither a subnormal result nor one near the largest number has a
    # power of two that is a normal float.
    twice = np.float64(shifted).view(np.int64) & _LOW_TWELVE
    first = twice >> 1
    return (p * _power_of_two(first)) * _power_of_two(twice - first)


@scalar
def expm1(x):
    r"""Return :math:`e^x - 1`, within 2 units in the last place, relative accuracy kept near zero.

    Parameters
    ----------
    x : float
        Any value; ``expm1(-inf) = -1``, ``expm1(-0.0) = -0.0``, NaN gives NaN.

    Returns
    -------
    float
        The exponential of ``x`` less one.

    Notes
    -----
    :math:`e^x - 1 = 2^k ((r - (2^{-k} - 1)) + (e^r - 1 - r))`: for k = 0 nothing cancels.

    Examples
    --------
    >>> float(expm1(1e-20))
    1e-20
    """
    value = float(x)
    z = _EXP_HIGH if value > _EXP_HIGH else value
    z = _EXPM1_LOW if z < _EXPM1_LOW else z
    shifted = z * _INV_LN2 + _SHIFTER
    k = shifted - _SHIFTER
    high = z - k * _LN2_HI
    low = k * _LN2_LO
    r = high - low
    r_error = (high - r) - low
    r2 = r * r
    r4 = r2 * r2
    q = ((_Q0 + r * _Q1) + r2 * (_Q2 + r * _Q3)) + r4 * (
        ((_Q4 + r * _Q5) + r2 * (_Q6 + r * _Q7)) + r4 * (_Q8 + r * _Q9)
    )
    twice = np.float64(shifted).view(np.int64) & _LOW_TWELVE
    first = twice >> 1
    second = twice - first
    inverse = _power_of_two(2046 - first) * _power_of_two(2046 - second)
    p = (r - (inverse - 1.0)) + (r2 * q + r_error)
    y = (p * _power_of_two(first)) * _power_of_two(second)
    return value if value == 0.0 else y


@scalar
def log(x):
    r"""Return the natural logarithm, within 1 unit in the last place.

    Parameters
    ----------
    x : float
        Any value; ``log(0) = -inf`` for either zero, a negative ``x`` or NaN gives NaN,
        ``log(inf) = inf``. Subnormal arguments are exact inputs like any other.

    Returns
    -------
    float
        The logarithm of ``x`` in nats.

    Examples
    --------
    >>> round(float(log(10.0)), 14)
    2.30258509299405
    """
    value = float(x)
    subnormal = value < _TINY
    normal = value * _TWO_54 if subnormal else value
    zero = _WHOLE + 54.0 if subnormal else _WHOLE
    # Counting the bits from sqrt(1/2) instead of 1 makes the exponent field round k so that the
    # mantissa lies in [sqrt(1/2), sqrt(2)): no comparison is needed.
    bits = (np.float64(normal).view(np.int64) & _MAGNITUDE) - _SQRT_HALF_BITS
    k = float(np.int64((bits >> 52) + _WHOLE_BITS).view(np.float64)) - zero
    f = float(np.int64((bits & _MANTISSA) + _SQRT_HALF_BITS).view(np.float64)) - 1.0
    y = _log_reduced(k, f)
    y = y if value < np.inf else value
    y = y if value > 0.0 else np.nan
    return -np.inf if value == 0.0 else y


@scalar
def log1p(x):
    r"""Return :math:`\log(1 + x)`, within 2 units in the last place, accurate near zero.

    Parameters
    ----------
    x : float
        Any value; ``log1p(-1) = -inf``, below -1 or NaN gives NaN, ``log1p(-0.0) = -0.0``.

    Returns
    -------
    float
        The logarithm of ``1 + x`` in nats.

    Notes
    -----
    The rounding error c of u = 1 + x is exact by Dekker's sum; with :math:`u = 2^k m` the reduced
    argument is :math:`(m - 1) + 2^{-k} c`, which is x itself when k = 0.

    Examples
    --------
    >>> float(log1p(1e-20))
    1e-20
    """
    value = float(x)
    u = 1.0 + value
    back = u - 1.0
    c = (1.0 - (u - back)) + (value - back)
    bits = (np.float64(u).view(np.int64) & _MAGNITUDE) - _SQRT_HALF_BITS
    exponent = bits >> 52
    k = float(np.int64(exponent + _WHOLE_BITS).view(np.float64)) - _WHOLE
    m = float(np.int64((bits & _MANTISSA) + _SQRT_HALF_BITS).view(np.float64))
    # 2**(1 - k) is representable for every k that occurs, 2**-k is not for the largest.
    f = (m - 1.0) + c * (0.5 * _power_of_two(1024 - exponent))
    y = _log_reduced(k, f)
    y = y if value < np.inf else value
    y = y if value > -1.0 else np.nan
    y = -np.inf if value == -1.0 else y
    return value if value == 0.0 else y


@scalar
def _eight_factors(x):
    """Return ``x (x + 1) ... (x + 7)``, paired from both ends so that four products suffice."""
    ends = x * (x + 7.0)
    return (ends * (ends + 6.0)) * ((ends + 10.0) * (ends + 12.0))


@scalar
def _stirling_remainder(y):
    """Return ``log Gamma(y) - (y - 1/2) log(y) + y - log(2 pi) / 2`` for ``y >= 8``."""
    inverse = 1.0 / y
    t = inverse * inverse
    t2 = t * t
    return inverse * ((_S0 + t * _S1) + t2 * ((_S2 + t * _S3) + t2 * (_S4 + t * _S5)))


@scalar
def log_gamma(x):
    r"""Return :math:`\log \Gamma(x)` for a nonnegative ``x``.

    Parameters
    ----------
    x : float
        Nonnegative; a negative ``x`` or NaN gives NaN.

    Returns
    -------
    float
        The logarithm of the gamma function; exactly 0 at 1 and 2, ``inf`` at 0 and infinity.

    Notes
    -----
    The absolute error is below 2e-14 for 1e-3 < x < 8, and 4 units in the last place beyond. For
    x < 8, :math:`\Gamma(x) = \Gamma(x + 8) / (x (x + 1) \cdots (x + 7))`; then Stirling's series.
    ``math.lgamma`` is more accurate next to 1 and 2, but no loop around it is vectorised.

    Examples
    --------
    >>> round(float(log_gamma(5.0)), 12)
    3.178053830348
    """
    value = float(x)
    small = value < 8.0
    y = value + 8.0 if small else value
    y = 8.0 if y < 8.0 else y
    factors = _eight_factors(value) if small else 1.0
    leading = (y - 0.5) * (log(y) - 1.0) + _HALF_LOG_TWO_PI_LESS_HALF
    result = (leading + _stirling_remainder(y)) - log(factors)
    result = 0.0 if (value == 1.0) | (value == 2.0) else result
    return np.nan if value < 0.0 else result


@scalar
def log_rising_factorial(x, m):
    r"""Return :math:`\log \Gamma(x + m) - \log \Gamma(x)` without the cancellation of large x.

    Parameters
    ----------
    x : float
        Positive.
    m : float
        Nonnegative, with x + m below 1e38; not necessarily whole.

    Returns
    -------
    float
        The logarithm of the rising factorial; exactly 0 for m = 0. NaN or meaningless outside the
        stated range.

    Examples
    --------
    >>> round(float(log_rising_factorial(3.0, 2.0)), 12) == round(float(log(12.0)), 12)
    True
    """
    start = float(x)
    length = float(m)
    small = start < 8.0
    y = start + 8.0 if small else start
    y = 8.0 if y < 8.0 else y
    end = y + length
    end = 8.0 if end < 8.0 else end
    denominator = _eight_factors(start + length)
    ratio = _eight_factors(start) / (denominator if denominator > 0.0 else np.nan)
    ratio = ratio if small else 1.0
    # (end - 1/2) log(end) - (y - 1/2) log(y), in a form whose terms are of the size of the result.
    leading = (y - 0.5) * log1p(length / y) + length * (log(end) - 1.0)
    return (leading + (_stirling_remainder(end) - _stirling_remainder(y))) + log(ratio)
