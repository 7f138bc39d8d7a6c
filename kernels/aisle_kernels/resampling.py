r"""Resampling: from weighted parents to equally weighted offspring, as index arrays.

Every scheme is ``scheme(w, u, ancestors)``: ``w`` (n,) are nonnegative finite weights of any sum,
``u`` are uniforms in [0, 1), as many as ``<scheme>_uniforms(n, m)`` says, and the parents of the m
offspring are written to ``ancestors`` (m,).  The expected number of offspring of parent i is
:math:`m W_i`, :math:`W_i = w_i / \sum_j w_j`.  `optimal` alone leaves unequal weights.

Whatever rounding does, a parent is in range and has positive weight: walks along the cumulative
sum stop at the last positive weight, zero weights occupy half-open intervals of length zero, and
sums that are subnormal or overflow are first scaled by a power of two.  If no weight is positive
all parents are 0.
"""

from __future__ import annotations

import numpy as np

from ._jit import kernel, scalar
from .dealing import (
    cumulate,
    deal,
    deal_sorted,
    deal_strata,
    fill,
    give,
    killed_parent,
    last_positive,
    lift,
    spacings,
)


@scalar
def multinomial_uniforms(n, m):
    """Return the number of uniforms for m multinomial offspring of n parents: m + 1."""
    return m + 1


@scalar
def residual_uniforms(n, m):
    """Return the number of uniforms for m residual offspring of n parents: m + 1."""
    return m + 1


@scalar
def stratified_uniforms(n, m):
    """Return the number of uniforms for m stratified offspring of n parents: m."""
    return m


@scalar
def systematic_uniforms(n, m):
    """Return the number of uniforms for m systematic offspring of n parents: 1."""
    return 1


@scalar
def ssp_uniforms(n, m):
    """Return the number of uniforms for m offspring of n parents by SSP: n."""
    return n


@scalar
def killing_uniforms(n, m):
    """Return the number of uniforms for killing n parents: 2 n."""
    return 2 * n


@scalar
def optimal_uniforms(n, m):
    """Return the number of uniforms for m optimal offspring of n parents: 1."""
    return 1


@kernel
def multinomial(w, u, ancestors):
    """Draw the parents independently: m + 1 uniforms, sorted parents, O(n + m).

    Notes
    -----
    Sorted uniforms come from exponential spacings, so nothing is sorted or searched.
    """
    factor, total = lift(w)
    if total > 0.0:
        deal_sorted(w, factor, total, spacings(u, ancestors.size), 0, ancestors)
    else:
        fill(ancestors, 0, 0)


@kernel
def residual(w, u, ancestors):
    r"""Give :math:`\lfloor m W_i \rfloor` offspring each, draw the rest from what is left over.

    Takes m + 1 uniforms and uses one more than there are offspring to draw; sorted parents.

    References
    ----------
    Liu and Chen (1998), Sequential Monte Carlo methods for dynamic systems.
    """
    n = w.size
    m = ancestors.size
    factor, total = lift(w)
    if not total > 0.0:
        fill(ancestors, 0, 0)
        return
    scale = m / total
    given = 0
    left = 0.0
    last = -1
    for j in range(n):
        x = float(w[j]) * factor * scale
        whole = int(x)
        given += whole
        left += x - whole
        last = j if x > whole else last
    count = max(m - given, 0)
    sums = spacings(u, count)
    scale_left = left / sums[count] if sums[count] > 0.0 else 0.0
    c = 0.0
    k = 0
    i = 0
    for j in range(n):
        x = float(w[j]) * factor * scale
        whole = int(x)
        c += x - whole
        end = k + whole
        while i < count and x > whole and (sums[i] * scale_left < c or j == last):
            i += 1
            end += 1
        end = min(end, m)
        give(ancestors, j, k, end)
        k = end
    fill(ancestors, last_positive(w), k)


@kernel
def stratified(w, u, ancestors):
    """Draw one point in each of m strata of equal mass: m uniforms, sorted parents.

    References
    ----------
    Kitagawa (1996), Monte Carlo filter and smoother for non-Gaussian nonlinear state space models.
    """
    factor, total = lift(w)
    if not total > 0.0:
        fill(ancestors, 0, 0)
        return
    scale = ancestors.size / total
    _, k = deal_strata(w, 0, w.size, factor, scale, 0.0, 0.0, u, 0.0, 0, ancestors)
    fill(ancestors, last_positive(w), k)


@kernel
def systematic(w, u, ancestors):
    r"""Draw equidistant points with one common shift: 1 uniform, sorted parents.

    Parent i has :math:`\lfloor m W_i \rfloor` or :math:`\lceil m W_i \rceil` offspring.

    References
    ----------
    Carpenter, Clifford and Fearnhead (1999), Improved particle filter for nonlinear problems.
    """
    factor, total = lift(w)
    if not total > 0.0:
        fill(ancestors, 0, 0)
        return
    scale = ancestors.size / total
    _, k = deal(w, 0, w.size, factor, scale, float(u[0]), 0.0, 0, ancestors)
    fill(ancestors, last_positive(w), k)


@kernel
def ssp(w, u, ancestors):
    r"""Round the expected numbers of offspring pairwise: n uniforms, sorted parents.

    Parent i has :math:`\lfloor m W_i \rfloor` or :math:`\lceil m W_i \rceil` offspring, and the
    numbers are negatively associated, whence consistency in whatever order the parents come.

    References
    ----------
    Gerber, Chopin and Whiteley (2019), Negative association, ordering and convergence of
    resampling methods.
    """
    n = w.size
    m = ancestors.size
    factor, total = lift(w)
    if not total > 0.0:
        fill(ancestors, 0, 0)
        return
    scale = m / total
    counts = np.empty(n, np.int64)
    given = 0
    carried = -1
    rest = 0.0
    for j in range(n):
        x = float(w[j]) * factor * scale
        whole = int(x)
        part = x - whole
        counts[j] = whole
        given += whole
        if part > 0.0:
            both = rest + part
            if carried < 0:
                carried = j
                rest = part
            elif both < 1.0:
                # One of the two takes what both have; the other is rounded down.
                carried = j if u[j] * both < part else carried
                rest = both
            else:
                # One of the two is rounded up; the other goes on with what remains.  A small
                # uniform favours j in both branches: they agree where both is 1 up to rounding.
                up = j if u[j] * (2.0 - both) < 1.0 - rest else carried
                carried = j if up == carried else carried
                counts[up] += 1
                given += 1
                rest = both - 1.0
    # What is carried at the end is 0 or 1 up to rounding.
    if carried >= 0 and given < m:
        counts[carried] += 1
    k = 0
    for j in range(n):
        end = min(k + counts[j], m)
        give(ancestors, j, k, end)
        k = end
    fill(ancestors, last_positive(w), k)


@kernel
def killing(w, u, ancestors):
    r"""Let each particle live with probability :math:`w_i / \max_j w_j`, else draw it a parent.

    Takes 2 n uniforms for m = n slots: slot i survives by ``u[i]`` and is otherwise replaced by
    ``u[n + i]``.  Slots are independent, a survivor keeps its place, parents are not sorted.
    O(n + d log n) for d deaths.

    References
    ----------
    Del Moral (2004), Feynman-Kac formulae: genealogical and interacting particle systems.
    """
    n = w.size
    factor, total = lift(w)
    if not total > 0.0:
        fill(ancestors, 0, 0)
        return
    cumulative, top = cumulate(w, factor)
    last = last_positive(w)
    for i in range(n):
        if u[i] * top < float(w[i]) * factor:
            ancestors[i] = i
        else:
            ancestors[i] = killed_parent(cumulative, last, u[n + i])


@kernel
def optimal(w, u, ancestors, weights_out):
    r"""Keep the heavy particles exactly, thin out the light ones to one common weight.

    With :math:`\kappa` such that :math:`\sum_i \min(W_i / \kappa, 1) = m`, a particle of weight
    :math:`W_i \ge \kappa` stays once with its weight, and the places left are dealt to the others
    systematically, at weight :math:`\kappa`: new weights have expectation :math:`W_i` each, and
    the least expected squared error that m distinct particles can have. O(n log n).

    Parameters
    ----------
    w : ndarray, shape (n,)
        Nonnegative finite weights of any sum.
    u : ndarray, shape (1,)
        Uniform in [0, 1).
    ancestors : ndarray of int64, shape (m,)
        Receives distinct parents, increasing.
    weights_out : ndarray, shape (m,)
        Receives the new weights, which sum to 1.

    Returns
    -------
    int
        Number of places in use: m, or the number of positive weights if that is less. All
        positive weights are then kept, and a place not in use repeats the last parent in use at
        weight 0.

    References
    ----------
    Fearnhead and Clifford (2003), On-line inference for hidden Markov models via particle filters.
    """
    n = w.size
    m = ancestors.size
    factor, total = lift(w)
    if not total > 0.0:
        fill(ancestors, 0, 0)
        for k in range(m):
            weights_out[k] = 0.0
        return 0
    ordered = np.empty(n)
    positive = 0
    for j in range(n):
        ordered[j] = float(w[j]) * factor
        positive += 1 if ordered[j] > 0.0 else 0
    heavy = positive
    places = 0
    least = 0.0
    ties = 0
    kappa = 0.0
    if positive > m:
        ordered.sort()
        # light[j]: sum of the j + 1 smallest.
        light = np.cumsum(ordered)
        heavy = 0
        while heavy < m and not ordered[n - 1 - heavy] * (m - heavy) < light[n - 1 - heavy]:
            heavy += 1
        places = m - heavy
        kappa = light[n - 1 - heavy] / places if places > 0 else 0.0
        least = ordered[n - heavy] if heavy > 0 else np.inf
        # By rounding, not all of those that weigh as little as the least heavy may be heavy.
        ties = heavy
        for j in range(n - heavy, n):
            ties -= 1 if ordered[j] > least else 0
    # One parent a point, and every parent once no more are left than places: with that, rounding
    # can neither repeat a parent nor leave a place empty.
    candidates = positive - heavy
    taken = 0
    k = 0
    c = 0.0
    for j in range(n):
        x = float(w[j]) * factor
        if x > least or (x == least and ties > 0):
            ties -= 1 if x == least else 0
            ancestors[k] = j
            weights_out[k] = x / total
            k += 1
        elif x > 0.0:
            c += x
            if taken < places and (taken + u[0] < c / kappa or candidates <= places - taken):
                taken += 1
                ancestors[k] = j
                weights_out[k] = kappa / total
                k += 1
            candidates -= 1
    fill(ancestors, ancestors[k - 1], k)
    for slot in range(k, m):
        weights_out[slot] = 0.0
    return k
