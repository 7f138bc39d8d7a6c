r"""Dealing slots to parents along a cumulative sum of weights: the mechanics of resampling.

Parents lie side by side on a line (in `conditional`, on a circle), each as long as its weight;
offspring slots are points on it.  These functions are compiled into the schemes that use them.
"""

from __future__ import annotations

import math

import numpy as np

from ._jit import scalar
from .vecmath import log


@scalar
def _sum(w, factor):
    """Return the sum of ``w * factor``, added in eight lanes."""
    n = w.size
    n8 = n // 8 * 8
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    for i in range(0, n8, 8):
        s0 += float(w[i]) * factor
        s1 += float(w[i + 1]) * factor
        s2 += float(w[i + 2]) * factor
        s3 += float(w[i + 3]) * factor
        s4 += float(w[i + 4]) * factor
        s5 += float(w[i + 5]) * factor
        s6 += float(w[i + 6]) * factor
        s7 += float(w[i + 7]) * factor
    s = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
    for i in range(n8, n):
        s += float(w[i]) * factor
    return s


@scalar
def lift(w):
    """Return a power of two and the sum of the weights times it, which is far from the edges.

    The sum is 0 if no weight is positive, or if one is NaN or infinite.
    """
    total = _sum(w, 1.0)
    if 1e-280 < total < 1e280:
        return 1.0, total
    factor = 2.0**600 if total < 1.0 else 2.0**-128
    total = _sum(w, factor)
    return factor, total if total < np.inf else 0.0


@scalar
def last_positive(w):
    """Return the index of the last positive weight; 0 if there is none."""
    j = w.size - 1
    while j > 0 and not w[j] > 0.0:
        j -= 1
    return j


@scalar
def give(ancestors, parent, k, end):
    """Make ``parent`` the parent of the slots k to end - 1; slots from ``end`` on may be touched.

    Four stores without a branch serve nearly every parent, and the next parent writes over those
    that were too many: a loop over offspring mispredicts once per parent and takes four times as
    long.  The index is unsigned because Numba tests signed ones for being negative.
    """
    if k + 4 <= ancestors.size:
        first = np.uintp(k)
        ancestors[first] = parent
        ancestors[first + np.uintp(1)] = parent
        ancestors[first + np.uintp(2)] = parent
        ancestors[first + np.uintp(3)] = parent
        k += 4
    while k < end:
        ancestors[np.uintp(k)] = parent
        k += 1


@scalar
def fill(ancestors, parent, k):
    """Make ``parent`` the parent of all slots from k on."""
    for slot in range(k, ancestors.size):
        ancestors[slot] = parent


@scalar
def deal(w, begin, end, factor, scale, offset, c, k, ancestors):
    """Give the slots at positions ``slot + offset`` to the parents begin to end - 1.

    Parent j occupies the positions from ``c * scale`` on, ``w[j] * factor * scale`` long, where c
    is the cumulative sum so far.  Return c and the next slot k after these parents.

    A slot lies below x if slot < ceil(x - offset).  Four partial sums are added to one c, which
    shortens the chain of dependent additions; because rounding is monotone the sums still never
    decrease, and they stay equal across a zero weight.
    """
    m = ancestors.size
    split = begin + (end - begin) // 4 * 4
    for j in range(begin, split, 4):
        p0 = float(w[j]) * factor
        p1 = p0 + float(w[j + 1]) * factor
        p2 = p1 + float(w[j + 2]) * factor
        p3 = p2 + float(w[j + 3]) * factor
        end0 = min(math.ceil((c + p0) * scale - offset), m)
        end1 = min(math.ceil((c + p1) * scale - offset), m)
        end2 = min(math.ceil((c + p2) * scale - offset), m)
        c = c + p3
        end3 = min(math.ceil(c * scale - offset), m)
        give(ancestors, j, k, end0)
        give(ancestors, j + 1, end0, end1)
        give(ancestors, j + 2, end1, end2)
        give(ancestors, j + 3, end2, end3)
        k = end3
    for j in range(split, end):
        c = c + float(w[j]) * factor
        end0 = min(math.ceil(c * scale - offset), m)
        give(ancestors, j, k, end0)
        k = end0
    return c, k


@scalar
def deal_strata(w, begin, end, factor, scale, origin, phase, u, c, k, ancestors):
    """Do as `deal` for slots at positions ``slot + u[slot] - phase + origin``."""
    m = ancestors.size
    for j in range(begin, end):
        c = c + float(w[j]) * factor
        x = (c * scale - origin) + phase
        # All slots of lower strata lie below x; the slot of the stratum of x may or may not.
        stratum = int(x)
        below = 1 if u[min(stratum, m - 1)] < x - stratum else 0
        end0 = min(stratum + below, m)
        give(ancestors, j, k, end0)
        k = end0
    return c, k


@scalar
def spacings(u, count):
    """Return partial sums of count + 1 exponentials made of as many uniforms.

    Divided by the last one, the first ``count`` are sorted uniforms.
    """
    sums = np.empty(count + 1)
    for i in range(count + 1):
        sums[i] = -log(1.0 - u[i])
    for i in range(count):
        sums[i + 1] += sums[i]
    return sums


@scalar
def deal_sorted(w, factor, total, sums, k, ancestors):
    """Give the slots from k on to parents drawn by the sorted uniforms of `spacings`."""
    count = sums.size - 1
    scale = total / sums[count] if sums[count] > 0.0 else 0.0
    last = last_positive(w)
    j = 0
    while j < last and not w[j] > 0.0:
        j += 1
    c = float(w[j]) * factor
    for i in range(count):
        position = sums[i] * scale
        while c <= position and j < last:
            j += 1
            c += float(w[j]) * factor
        ancestors[k + i] = j


@scalar
def killed_parent(cumulative, last, u):
    """Return the first parent whose cumulative sum exceeds u times the total, at most ``last``."""
    position = u * cumulative[last]
    low = 0
    high = last
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] > position:
            high = middle
        else:
            low = middle + 1
    return low


@scalar
def cumulate(w, factor):
    """Return the cumulative sums of ``w * factor`` and the largest term."""
    cumulative = np.empty(w.size)
    c = 0.0
    top = 0.0
    for j in range(w.size):
        term = float(w[j]) * factor
        c += term
        cumulative[j] = c
        top = max(top, term)
    return cumulative, top
