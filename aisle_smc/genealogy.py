"""The tree of ancestors: every surviving path in the memory of a few populations."""

from __future__ import annotations

import numpy as np
from aisle_kernels import genealogy as kernels

from aisle_smc.arrays import Floats, Integers

__all__ = ["AncestorTree"]


class AncestorTree:
    """The paths of the living particles, with the dead branches pruned.

    Parameters
    ----------
    n : int
        Number of particles expected in a generation; others may have more or fewer.
    d : int
        Number of components of a state.

    Attributes
    ----------
    generations : int
        Number of generations inserted.
    nodes : int
        Number of states held.

    Notes
    -----
    Full storage of T generations takes ``T n`` states.  Particles that are resampled share their
    distant ancestors, and the expected number of states with a living descendant is at most
    ``T + C n log n`` when every generation is resampled; a generation that is not resampled adds
    n.  Inserting costs O(n) on average.  Unlike the values of this package, a tree changes in
    place.

    References
    ----------
    .. [1] P. E. Jacob, L. M. Murray and S. Rubenthaler (2015). Path storage in the particle
       filter. Statistics and Computing 25, theorem 1 and algorithms 1 to 6.

    Examples
    --------
    >>> import numpy as np
    >>> tree = AncestorTree(3, 1)
    >>> tree.insert(np.array([0.0, 1.0, 2.0]))
    >>> tree.insert(np.array([10.0, 11.0, 12.0]), np.array([2, 2, 0]))
    >>> tree.paths()[:, :, 0]
    array([[ 2., 10.],
           [ 2., 11.],
           [ 0., 12.]])
    >>> tree.nodes
    5
    """

    __slots__ = (
        "_free",
        "_leaves",
        "_n_free",
        "_offspring",
        "_parent",
        "_states",
        "generations",
    )

    def __init__(self, n: int, d: int) -> None:
        if n < 1 or d < 1:
            raise ValueError(f"a tree needs n >= 1 and d >= 1; got n = {n}, d = {d}")
        capacity = 4 * n
        self.generations = 0
        self._parent: Integers = np.empty(capacity, dtype=np.int64)
        self._offspring: Integers = np.zeros(capacity, dtype=np.int64)
        self._free: Integers = np.arange(capacity - 1, -1, -1)
        self._n_free = capacity
        self._states: Floats = np.empty((capacity, d))
        self._leaves: Integers = np.full(n, -1, dtype=np.int64)

    @property
    def nodes(self) -> int:
        """Number of states held."""
        return int(self._parent.shape[0] - self._n_free)

    def insert(self, x: Floats, ancestors: Integers | None = None) -> None:
        """Add a generation and forget the states that no longer have a descendant.

        Parameters
        ----------
        x : ndarray, shape (n, d), or (n,) where d is 1
            States.
        ancestors : ndarray of int, shape (n,), optional
            Index of each particle's parent in the generation before.  None for the first
            generation, and for one that was not resampled: then the parent of a particle is the
            one of the same index.

        Raises
        ------
        ValueError
            If the shapes do not fit, an ancestor is out of range, or the first generation has
            ancestors.
        """
        d = self._states.shape[1]
        x = np.asarray(x, dtype=np.float64)
        if x.ndim == 1 and d == 1:
            x = x[:, None]
        if x.ndim != 2 or x.shape[0] < 1 or x.shape[1] != d:
            raise ValueError(f"x must have shape (n, {d}); got shape {x.shape}")
        n = x.shape[0]
        if self.generations == 0:
            if ancestors is not None:
                raise ValueError("the first generation has no ancestors; pass None")
            ancestors = np.arange(n)
            self._leaves = np.full(n, -1, dtype=np.int64)
        else:
            ancestors = self._parents(ancestors, n)
            self._n_free = kernels.prune(
                ancestors, self._leaves, self._parent, self._offspring, self._free, self._n_free
            )
        if self._n_free < n:
            self._grow(n)
        leaves: Integers = np.empty(n, dtype=np.int64)
        self._n_free = kernels.graft(
            ancestors,
            self._leaves,
            x,
            self._parent,
            self._offspring,
            self._states,
            self._free,
            self._n_free,
            leaves,
        )
        self._leaves = leaves
        self.generations += 1

    def paths(self, indices: Integers | None = None) -> Floats:
        """Return the paths that end in the chosen particles.

        Parameters
        ----------
        indices : ndarray of int, shape (k,), optional
            Particles of the last generation; all by default.

        Returns
        -------
        ndarray, shape (k, generations, d)
            States along each lineage, first generation first.

        Raises
        ------
        ValueError
            If nothing was inserted yet or an index is out of range.
        """
        if self.generations == 0:
            raise ValueError("the tree is empty; insert a generation first")
        chosen = self._leaves if indices is None else self._leaves[self._checked(indices)]
        out = np.empty((chosen.shape[0], self.generations, self._states.shape[1]))
        kernels.paths(chosen, self._parent, self._states, out)
        return out

    def _parents(self, ancestors: Integers | None, n: int) -> Integers:
        """Return valid ancestors for a generation of n."""
        before = self._leaves.shape[0]
        if ancestors is None:
            if n != before:
                raise ValueError(
                    f"without ancestors x must have {before} rows, like the generation before; "
                    f"got {n}"
                )
            return np.arange(n)
        if np.shape(ancestors) != (n,):
            raise ValueError(
                f"ancestors must have shape ({n},), one for each row of x; "
                f"got shape {np.shape(ancestors)}"
            )
        return self._checked(ancestors)

    def _checked(self, indices: Integers) -> Integers:
        """Return indices as int64, or raise for the first that is no leaf."""
        indices = np.asarray(indices)
        n = self._leaves.shape[0]
        if indices.dtype.kind not in "iu" or indices.ndim != 1:
            raise ValueError(
                f"indices must be integers of shape (k,); got {indices.dtype} of shape "
                f"{indices.shape}"
            )
        if indices.size and not (indices.min() >= 0 and indices.max() < n):
            i = int(np.flatnonzero((indices < 0) | (indices >= n))[0])
            raise ValueError(f"indices must lie in 0 to {n - 1}; index {i} is {indices[i]}")
        return indices.astype(np.int64, copy=False)

    def _grow(self, room: int) -> None:
        """Double the number of nodes, or more, until `room` are unused."""
        old = self._parent.shape[0]
        more = max(old, room - self._n_free)
        self._parent = np.concatenate([self._parent, np.empty(more, dtype=np.int64)])
        self._offspring = np.concatenate([self._offspring, np.zeros(more, dtype=np.int64)])
        self._states = np.concatenate([self._states, np.empty((more, self._states.shape[1]))])
        free = np.empty(old + more, dtype=np.int64)
        # The new nodes go to the bottom of the stack: those already used are warmer.
        free[:more] = np.arange(old + more - 1, old - 1, -1)
        free[more : more + self._n_free] = self._free[: self._n_free]
        self._free = free
        self._n_free += more
