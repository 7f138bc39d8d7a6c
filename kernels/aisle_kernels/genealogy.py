r"""Who descends from whom: lineages, families, and a tree that forgets the childless.

``ancestors[i]`` is the index, in the population before, of the parent of particle i.  Following it
backwards gives lineages; composing it forwards labels every particle with its *family*, the
ancestor it has in some earlier population.

The tree of ancestors keeps the states of those particles only that still have a living descendant.
It lives in arrays of nodes that the caller owns and makes longer when they are full:

===========  ===========  ========================================================
array        shape        meaning
===========  ===========  ========================================================
parent       (capacity,)  node of the parent, -1 for the first generation
offspring    (capacity,)  number of children that are nodes
free         (capacity,)  stack of unused nodes, of height ``n_free``
states       (capacity,   state of the node
             d)
leaves       (n,)         nodes of the living population; all -1 before the first
===========  ===========  ========================================================

A generation takes `prune`, room for its particles, and `graft`.

References
----------
.. [1] P. E. Jacob, L. M. Murray and S. Rubenthaler (2015). Path storage in the particle filter.
   Statistics and Computing 25: algorithms 1 to 6; theorem 1 bounds the expected number of nodes by
   T + C n log n when every generation is resampled.
"""

from __future__ import annotations

import numpy as np

from ._jit import kernel


@kernel
def lineages(ancestors, final, out):
    """Write the indices of every ancestor of the chosen particles.

    Parameters
    ----------
    ancestors : ndarray of int, shape (T - 1, n)
        Row t holds the parents, at time t, of the particles at time t + 1.
    final : ndarray of int, shape (k,)
        Particles at the last time.
    out : ndarray of int, shape (k, T)
        Receives the lineages; the last column is ``final``.
    """
    last = ancestors.shape[0]
    for i in range(final.size):
        out[i, last] = final[i]
    for t in range(last - 1, -1, -1):
        for i in range(final.size):
            out[i, t] = ancestors[t, out[i, t + 1]]


@kernel
def ancestry(ancestors, final, out):
    """Write the ancestor that each chosen particle has as many generations back as there are rows.

    Parameters
    ----------
    ancestors : ndarray of int, shape (lag, n)
        Parents, oldest generation first.
    final : ndarray of int, shape (k,)
        Particles after the last row.
    out : ndarray of int, shape (k,)
        Receives their ancestors before the first row.
    """
    for i in range(final.size):
        out[i] = final[i]
    for t in range(ancestors.shape[0] - 1, -1, -1):
        for i in range(final.size):
            out[i] = ancestors[t, out[i]]


@kernel
def eve_step(eve, ancestors, out):
    """Hand the family of the parent down to the child.

    Parameters
    ----------
    eve : ndarray of int, shape (n,)
        Families before resampling.
    ancestors : ndarray of int, shape (m,)
        Parents.
    out : ndarray of int, shape (m,)
        Receives ``eve[ancestors]``; must not overlap ``eve``.
    """
    for i in range(ancestors.size):
        out[i] = eve[ancestors[i]]


@kernel
def distinct(indices, n):
    """Count the different values among indices.

    Parameters
    ----------
    indices : ndarray of int, shape (m,)
        Ancestors or families, each in 0 to n - 1.
    n : int
        How many values there could be.

    Returns
    -------
    int
        Between 1 and min(m, n); 0 for no index.
    """
    seen = np.zeros(n, dtype=np.bool_)
    count = 0
    for i in range(indices.size):
        if not seen[indices[i]]:
            seen[indices[i]] = True
            count += 1
    return count


@kernel
def add_by_family(eve, after, before, out):
    r"""Add to every family what the weights of its members gained.

    .. math:: J_k \leftarrow J_k + \sum_{i : E_i = k} (a_i - b_i).

    Parameters
    ----------
    eve : ndarray of int, shape (n,)
        Families.
    after, before : ndarray, shape (n,)
        Weights.
    out : ndarray, shape (families,)
        The sums, added to.
    """
    for i in range(eve.size):
        out[eve[i]] += after[i] - before[i]


@kernel
def kinship(eve, w, families):
    r"""Return the chance that two draws from the weights are from one family, and from two.

    .. math:: \sum_k B_k^2 \quad\text{and}\quad \sum_{k \ne l} B_k B_l,
              \qquad B_k = \sum_{i : E_i = k} w_i.

    Parameters
    ----------
    eve : ndarray of int, shape (n,)
        Families, each in 0 to ``families - 1``.
    w : ndarray, shape (n,)
        Nonnegative weights with sum one.
    families : int
        How many families there could be.

    Returns
    -------
    same, different : float
        Both are sums of nonnegative terms: the second is exactly 0 where one family has it all,
        which one minus the first would not be.
    """
    mass = np.zeros(families)
    for i in range(eve.size):
        mass[eve[i]] += w[i]
    same = 0.0
    different = 0.0
    below = 0.0
    for k in range(families):
        same += mass[k] * mass[k]
        different += mass[k] * below
        below += mass[k]
    return same, 2.0 * different


@kernel
def sum_of_squares(values):
    """Return the sum of squares, in order.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Numbers.

    Returns
    -------
    float
        Their sum of squares.
    """
    total = 0.0
    for i in range(values.size):
        total += values[i] * values[i]
    return total


@kernel
def prune(ancestors, leaves, parent, offspring, free, n_free):
    """Count the children that are to come and give back every node left without a descendant.

    Parameters
    ----------
    ancestors : ndarray of int, shape (m,)
        Parents of the coming generation, as indices into ``leaves``.
    leaves : ndarray of int, shape (n,)
        Nodes of the living population.
    parent, offspring, free : ndarray of int, shape (capacity,)
        The tree; the last two are changed.
    n_free : int
        Height of the stack of unused nodes.

    Returns
    -------
    int
        Its new height.

    Notes
    -----
    A node is given back at most once in its life, so T generations of n cost O(T n) in all.
    """
    for i in range(ancestors.size):
        offspring[leaves[ancestors[i]]] += 1
    for i in range(leaves.size):
        node = leaves[i]
        while node >= 0 and offspring[node] == 0:
            free[n_free] = node
            n_free += 1
            node = parent[node]
            if node >= 0:
                offspring[node] -= 1
    return n_free


@kernel
def graft(ancestors, leaves, x, parent, offspring, states, free, n_free, out):
    """Make a node for every particle of a generation.

    Parameters
    ----------
    ancestors : ndarray of int, shape (m,)
        Parents, the same that `prune` had.
    leaves : ndarray of int, shape (n,)
        Nodes of the generation before; all -1 for the first one, which is not pruned.
    x : ndarray, shape (m, d)
        States.
    parent, offspring : ndarray of int, shape (capacity,)
        The tree.
    states : ndarray, shape (capacity, d)
        Its states.
    free : ndarray of int, shape (capacity,)
        Stack of unused nodes.
    n_free : int
        Its height, at least m.
    out : ndarray of int, shape (m,)
        Receives the new leaves; must not overlap ``leaves``.

    Returns
    -------
    int
        The new height of the stack.
    """
    for i in range(ancestors.size):
        n_free -= 1
        node = free[n_free]
        parent[node] = leaves[ancestors[i]]
        offspring[node] = 0
        for j in range(x.shape[1]):
            states[node, j] = x[i, j]
        out[i] = node
    return n_free


@kernel
def paths(chosen, parent, states, out):
    """Write the states along the lineages of the chosen leaves.

    Parameters
    ----------
    chosen : ndarray of int, shape (k,)
        Nodes of the living population.
    parent : ndarray of int, shape (capacity,)
        The tree.
    states : ndarray, shape (capacity, d)
        Its states.
    out : ndarray, shape (k, T, d)
        Receives the paths, where T is the number of generations grafted.
    """
    for i in range(chosen.size):
        node = chosen[i]
        for t in range(out.shape[1] - 1, -1, -1):
            for j in range(out.shape[2]):
                out[i, t, j] = states[node, j]
            node = parent[node]
