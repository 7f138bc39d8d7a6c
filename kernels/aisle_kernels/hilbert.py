r"""The order of points along a Hilbert curve, for sequential quasi-Monte Carlo.

A Hilbert curve passes once through every cell of a grid on the unit cube and moves to a
neighbouring cell at each step, so points that are close in its order are close in space.
Resampling particles in this order with sorted low-discrepancy points keeps their discrepancy [2]_.

References
----------
.. [1] J. Skilling (2004). Programming the Hilbert curve. AIP Conference Proceedings 707, 381-387.
.. [2] M. Gerber and N. Chopin (2015). Sequential quasi-Monte Carlo. Journal of the Royal
   Statistical Society B 77(3), 509-579, sections 3.2 and 4.1.
"""

from __future__ import annotations

import numpy as np

from ._jit import kernel
from .vecmath import exp


@kernel
def hilbert_bits(d):
    """Return the number of bits per coordinate of the keys in ``d`` dimensions.

    Parameters
    ----------
    d : int
        The number of coordinates, positive.

    Returns
    -------
    int
        The largest b with ``d b <= 62``, at most 52 (the mantissa) and at least 1.
    """
    return max(1, min(52, 62 // d))


@kernel
def hilbert_cell_key(cell, bits):
    r"""Return the position of one grid cell along the Hilbert curve.

    Parameters
    ----------
    cell : ndarray of int64, shape (d,)
        Coordinates in ``range(2**bits)``; overwritten.
    bits : int
        Bits per coordinate, with ``d * bits <= 62``.

    Returns
    -------
    int
        The position, in ``range(2**(d * bits))``. The curve starts in the cell of zeros.

    Notes
    -----
    From the coarsest bit on, each coordinate either reflects the first one in the remaining bits
    or is exchanged with it, which undoes the turns of the curve; what is left is Gray-coded across
    the coordinates, the first being the most significant.
    """
    d = cell.shape[0]
    level = bits - 1
    while level > 0:
        bit = 1 << level
        below = bit - 1
        for i in range(d):
            if cell[i] & bit:
                cell[0] ^= below
            else:
                swap = (cell[0] ^ cell[i]) & below
                cell[0] ^= swap
                cell[i] ^= swap
        level -= 1
    key = 0
    parity = 0
    for level_down in range(bits):
        shift = bits - 1 - level_down
        for i in range(d):
            # The inverse of a Gray code is a running exclusive or from the most significant bit.
            parity ^= (cell[i] >> shift) & 1
            key = (key << 1) | parity
    return key


@kernel
def hilbert_keys(points, out):
    """Compute the Hilbert position of points in the unit cube.

    Parameters
    ----------
    points : ndarray, shape (n, d)
        Coordinates in [0, 1); others, NaN included, are moved to the nearest end or to 0.
    out : ndarray of int64, shape (n,)
        Receives the positions: nonnegative, and increasing along the curve.

    Notes
    -----
    Coordinates beyond the 62nd are ignored. O(n d bits), a few nanoseconds per bit.
    """
    d = min(points.shape[1], 62)
    bits = hilbert_bits(d)
    side = 1 << bits
    cell = np.empty(d, np.int64)
    for i in range(points.shape[0]):
        for j in range(d):
            value = points[i, j] * side
            value = value if value > 0.0 else 0.0
            cell[j] = side - 1 if value >= side else int(value)
        out[i] = hilbert_cell_key(cell, bits)


@kernel
def unit_cube(x, out):
    r"""Map each coordinate into (0, 1) by a logistic function of its standardised value.

    :math:`1 / (1 + e^{-(x_{ij} - \bar x_j) / s_j})`, with mean and standard deviation over i.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        The points.
    out : ndarray, shape (n, d)
        Receives the images. A coordinate that does not vary becomes 1/2. May be ``x`` itself.
    """
    n = x.shape[0]
    for j in range(x.shape[1]):
        # Counted from the first point, so that the mean of equal values is that value.
        mean = 0.0
        for i in range(n):
            mean += (x[i, j] - x[0, j]) / n
        mean += x[0, j] if n > 0 else 0.0
        square = 0.0
        for i in range(n):
            square += (x[i, j] - mean) * (x[i, j] - mean) / n
        inverse = 1.0 / np.sqrt(square) if square > 0.0 else 0.0
        for i in range(n):
            out[i, j] = 1.0 / (1.0 + exp((mean - x[i, j]) * inverse))


@kernel
def hilbert_order(x, out):
    """Sort points along a Hilbert curve through their standardised cloud.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        The points: any finite values.
    out : ndarray of int64, shape (n,)
        Receives the permutation: ``x[out]`` is in order. Ties keep their order. In one dimension
        this is the plain sorted order.

    Notes
    -----
    O(n log n + n d bits).
    """
    n, d = x.shape
    if d == 1:
        column = np.empty(n, np.float64)
        for i in range(n):
            column[i] = x[i, 0]
        order = np.argsort(column, kind="mergesort")
    else:
        points = np.empty((n, d), np.float64)
        unit_cube(x, points)
        keys = np.empty(n, np.int64)
        hilbert_keys(points, keys)
        order = np.argsort(keys, kind="mergesort")
    # Copied in a loop: Numba takes seconds to compile an assignment to a slice.
    for i in range(n):
        out[i] = order[i]
