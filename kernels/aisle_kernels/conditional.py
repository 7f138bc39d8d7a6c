r"""Resampling given that one retained parent has an offspring: conditional SMC, particle Gibbs.

Every scheme is ``scheme(w, u, retained, ancestors)`` and takes ``<scheme>_uniforms(n, m)``
uniforms in [0, 1).  It puts the retained parent at ``ancestors[0]``; the other slots follow the
law that they have under the unconditional scheme given :math:`A_K = ` retained, where the slot K
is uniform and is then moved to place 0.  A retained parent whose weight has underflowed to 0 is
the limit of a small weight.

Why the retained offspring may always lie at place 0: let a group act transitively on places, and
let the law of the ancestors be unchanged when it renumbers the offspring, and when it renumbers
the parents together with their weights.  Then :math:`P(A_k = i) = W_i` for every k, the lineage of
the retained path is uniform and independent of the path, and renumbering each generation maps the
law given one lineage to the law given any other.  So it does not matter which lineage is given,
and a path drawn from the final weights leaves the smoothing law invariant for every n.

* multinomial and killing: all permutations, because no order enters.
* systematic: rotations. Parents lie on a circle of length m and the slots are equidistant points,
  so only the cyclic order enters. Exchanging the retained slot with slot 0 breaks that order;
  rotating the slots keeps it.
* stratified: rotations, once the grid of strata lies on the circle at a uniform phase. With the
  grid fixed, the retained parent would begin the first stratum in each generation; that is not
  the law of any order of the parents that is independent of the path.

References
----------
Andrieu, Doucet and Holenstein (2010), Particle Markov chain Monte Carlo methods.
Chopin and Singh (2015), On particle Gibbs sampling (cyclic conditional systematic resampling).
"""

from __future__ import annotations

from ._jit import kernel, scalar
from .dealing import (
    cumulate,
    deal,
    deal_sorted,
    deal_strata,
    fill,
    killed_parent,
    last_positive,
    lift,
    spacings,
)


@scalar
def conditional_multinomial_uniforms(n, m):
    """Return the number of uniforms of `conditional_multinomial`: m."""
    return m


@scalar
def conditional_stratified_uniforms(n, m):
    """Return the number of uniforms of `conditional_stratified`: m + 1."""
    return m + 1


@scalar
def conditional_systematic_uniforms(n, m):
    """Return the number of uniforms of `conditional_systematic`: 1."""
    return 1


@scalar
def conditional_killing_uniforms(n, m):
    """Return the number of uniforms of `conditional_killing`: 2 n + 1."""
    return 2 * n + 1


@scalar
def _only(retained, ancestors):
    """Make the retained parent the only one: what is left when no weight is positive."""
    fill(ancestors, retained, 0)


@scalar
def _close(w, retained, k, ancestors):
    """Close the circle: the slots left lie before the retained slot, on the retained parent."""
    last = retained
    while not w[last] > 0.0:
        # Then they are left by rounding and belong to the last positive weight of the circle.
        last = last - 1 if last > 0 else w.size - 1
    fill(ancestors, last, k)
    ancestors[0] = retained


@kernel
def conditional_multinomial(w, u, retained, ancestors):
    """Draw all but the retained parent independently; those are sorted.

    Parameters
    ----------
    w : ndarray, shape (n,)
        Nonnegative finite weights of any sum.
    u : ndarray, shape (m,)
        Uniforms in [0, 1).
    retained : int
        The retained parent.
    ancestors : ndarray of int64, shape (m,)
        Receives the parents, the retained one first.
    """
    factor, total = lift(w)
    if not total > 0.0:
        _only(retained, ancestors)
        return
    ancestors[0] = retained
    deal_sorted(w, factor, total, spacings(u, ancestors.size - 1), 1, ancestors)


@kernel
def conditional_systematic(w, u, retained, ancestors):
    r"""Deal equidistant points, one of them uniform on the retained parent.

    Under systematic resampling the position of slot K, uniform among m, is uniform on the circle
    of length m; given that it lies on the retained parent it is uniform there, and it fixes all
    the others. Slots are numbered from it around the circle.

    Parameters
    ----------
    w : ndarray, shape (n,)
        Nonnegative finite weights of any sum.
    u : ndarray, shape (1,)
        Uniform in [0, 1).
    retained : int
        The retained parent.
    ancestors : ndarray of int64, shape (m,)
        Receives the parents in cyclic order, the retained one first.
    """
    factor, total = lift(w)
    if not total > 0.0:
        _only(retained, ancestors)
        return
    scale = ancestors.size / total
    offset = float(w[retained]) * factor * scale * float(u[0])
    c, k = deal(w, retained, w.size, factor, scale, offset, 0.0, 0, ancestors)
    c, k = deal(w, 0, retained, factor, scale, offset, c, k, ancestors)
    _close(w, retained, k, ancestors)


@kernel
def conditional_stratified(w, u, retained, ancestors):
    r"""Draw one point in each stratum of a circle, one of them uniform on the retained parent.

    The grid of strata has a uniform phase on the circle (see above why). The position of slot K is
    then uniform on the retained parent, its place within its stratum is uniform and independent,
    and the points of the other strata are independent of both.

    Parameters
    ----------
    w : ndarray, shape (n,)
        Nonnegative finite weights of any sum.
    u : ndarray, shape (m + 1,)
        Uniforms in [0, 1): place within the stratum of each slot, position on the retained parent.
    retained : int
        The retained parent.
    ancestors : ndarray of int64, shape (m,)
        Receives the parents in cyclic order, the retained one first.
    """
    m = ancestors.size
    factor, total = lift(w)
    if not total > 0.0:
        _only(retained, ancestors)
        return
    scale = m / total
    origin = float(w[retained]) * factor * scale * float(u[m])
    phase = float(u[0])
    n = w.size
    c, k = deal_strata(w, retained, n, factor, scale, origin, phase, u, 0.0, 0, ancestors)
    c, k = deal_strata(w, 0, retained, factor, scale, origin, phase, u, c, k, ancestors)
    _close(w, retained, k, ancestors)


@kernel
def conditional_killing(w, u, retained, ancestors):
    r"""Kill and replace as in `killing`, given that slot K descends from the retained parent.

    Slot K = retained with probability :math:`\sum_j w_j / (n \max_j w_j)`, which is that the
    retained particle survives; else it is a slot that died, with probability proportional to
    :math:`1 - w_k / \max_j w_j`. The other slots are independent. What slot 0 drew moves to K.

    Parameters
    ----------
    w : ndarray, shape (n,)
        Nonnegative finite weights of any sum.
    u : ndarray, shape (2 n + 1,)
        Uniforms in [0, 1): survival of each slot, replacement of each slot, choice of K.
    retained : int
        The retained parent.
    ancestors : ndarray of int64, shape (n,)
        Receives the parents, the retained one first.
    """
    n = w.size
    factor, total = lift(w)
    if not total > 0.0:
        _only(retained, ancestors)
        return
    cumulative, top = cumulate(w, factor)
    last = last_positive(w)
    position = u[2 * n] * (n * top) - cumulative[last]
    slot = retained
    if position >= 0.0:
        dead = 0.0
        for j in range(n):
            mass = top - float(w[j]) * factor
            if mass > 0.0 and dead <= position:
                slot = j
            dead += mass
    for i in range(n):
        if u[i] * top < float(w[i]) * factor:
            ancestors[i] = i
        else:
            ancestors[i] = killed_parent(cumulative, last, u[n + i])
    ancestors[slot] = ancestors[0]
    ancestors[0] = retained
