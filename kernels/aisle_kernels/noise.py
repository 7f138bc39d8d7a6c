r"""Standard normals in blocks, several times faster than one at a time.

A block draws its key from the caller's generator and then runs a generator of its own, whose state
stays in registers; the normals come from a ziggurat.  What is drawn is a function of the caller's
stream and of nothing else: not of the kind of generator, nor of the number of threads.

References
----------
.. [1] G. Marsaglia and W. W. Tsang (2000). The ziggurat method for generating random variables.
   Journal of Statistical Software 5(8).
.. [2] J. A. Doornik (2005). An improved ziggurat method to generate normal random samples.
   University of Oxford: the layer and the sign from bits that the abscissa does not use.
.. [3] C. Doty-Humphrey (2010). Practically Random: the generator SFC64.
"""

from __future__ import annotations

import math

import numpy as np

from ._jit import scalar, specialised
from .vecmath import exp, log

# Particles of one key.  Part of what a seed means: another number gives other draws.
BLOCK = 1024

_LAYERS = 256
_R = 3.6541528853610088  # where the tail begins
_AREA = 0.00492867323399  # of each layer, the lowest one with its tail


def _ziggurat() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the widths of the layers over 2**52, the accepted integers and the heights."""
    x = np.zeros(_LAYERS + 1)
    height = math.exp(-0.5 * _R * _R)
    x[0] = _AREA / height
    x[1] = _R
    for i in range(2, _LAYERS):
        x[i] = math.sqrt(-2.0 * math.log(_AREA / x[i - 1] + height))
        height = math.exp(-0.5 * x[i] * x[i])
    accepted = np.floor(x[1:] / x[:-1] * 2.0**52).astype(np.int64)
    return x[:-1] * 2.0**-52, accepted, np.exp(-0.5 * x * x)


_WIDTH, _ACCEPTED, _HEIGHT = _ziggurat()
_TO_UNIT = 2.0**-53
_FROM_UNIT = 2.0**53
_WARM_UP = 12  # rounds after which the three words of the key have mixed


@scalar
def _next(a, b, c, count):
    """Return the next word of SFC64 and its new state."""
    word = a + b + count
    turned = (c << np.uint64(24)) | (c >> np.uint64(40))
    return (
        word,
        b ^ (b >> np.uint64(11)),
        c + (c << np.uint64(3)),
        turned + word,
        count + np.uint64(1),
    )


@scalar
def _open_unit(word):
    """Return a uniform in (0, 1), both ends excluded."""
    return (np.float64(np.int64(word >> np.uint64(11))) + 0.5) * _TO_UNIT


@specialised
def _beyond_the_layer(x, layer, a, b, c, count):
    """Finish a draw that left its layer; return NaN where it must start again, and the state."""
    if layer > 0:
        # The wedge at the end of the layer; what misses it starts again.
        word, a, b, c, count = _next(a, b, c, count)
        rise = _HEIGHT[layer + 1] - _HEIGHT[layer]
        inside = _HEIGHT[layer] + _open_unit(word) * rise < exp(-0.5 * x * x)
        return x if inside else np.nan, a, b, c, count
    # The tail, which is left only with a draw from it.
    while True:
        word, a, b, c, count = _next(a, b, c, count)
        beyond = -log(_open_unit(word)) / _R
        word, a, b, c, count = _next(a, b, c, count)
        if -2.0 * log(_open_unit(word)) > beyond * beyond:
            return -(_R + beyond) if x < 0.0 else _R + beyond, a, b, c, count


@specialised
def normals(rng, out, first, last):
    """Fill rows `first` to `last` of `out` with independent standard normals.

    Parameters
    ----------
    rng : numpy.random.Generator
        Gives a key of three doubles for each block.
    out : ndarray, shape (n,) or (n, d)
        Filled in blocks of ``BLOCK`` rows.
    first, last : int
        The rows; the same draws come from one call and from several that meet at whole blocks.
    """
    d = out.size // max(out.shape[0], 1)
    flat = out.reshape(out.size)
    for begin in range(first, last, BLOCK):
        a = np.uint64(rng.random() * _FROM_UNIT)
        b = np.uint64(rng.random() * _FROM_UNIT)
        c = np.uint64(rng.random() * _FROM_UNIT)
        count = np.uint64(1)
        for _ in range(_WARM_UP):
            word, a, b, c, count = _next(a, b, c, count)
        i = np.uint64(begin * d)
        end = np.uint64(min(begin + BLOCK, last) * d)
        while i < end:
            word, a, b, c, count = _next(a, b, c, count)
            layer = np.int64(word & np.uint64(_LAYERS - 1))
            whole = np.int64(word) >> 11
            x = np.float64(whole) * _WIDTH[layer]
            if abs(whole) >= _ACCEPTED[layer]:
                x, a, b, c, count = _beyond_the_layer(x, layer, a, b, c, count)
            flat[i] = x
            i += np.uint64(x == x)
