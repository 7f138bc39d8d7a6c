"""Lineages and the ancestor tree against full storage, to the bit."""

import numpy as np
import pytest
from aisle_kernels import genealogy
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import genealogy as oracle


def random_ancestors(rng, generations, n):
    """Parents drawn from uneven weights; some rows the identity, some one particle only."""
    rows = np.empty((generations, n), dtype=np.int64)
    for row in rows:
        kind = rng.integers(4)
        if kind == 0:
            row[:] = np.arange(n)
        elif kind == 1:
            row[:] = rng.integers(n)
        else:
            row[:] = rng.choice(n, size=n, p=rng.dirichlet(np.full(n, 0.3)))
    return rows


cases = given(seed=st.integers(0, 2**32 - 1), generations=st.integers(0, 8), n=st.integers(1, 12))


@cases
def test_lineages_follow_the_parents(seed, generations, n):
    rng = np.random.default_rng(seed)
    ancestors = random_ancestors(rng, generations, n)
    final = rng.integers(n, size=rng.integers(1, 2 * n + 1))
    out = np.empty((final.size, generations + 1), dtype=np.int64)
    genealogy.lineages(ancestors, final, out)
    np.testing.assert_array_equal(out, oracle.lineages(ancestors, final))


@cases
def test_tracing_back_and_handing_down_agree(seed, generations, n):
    rng = np.random.default_rng(seed)
    ancestors = random_ancestors(rng, generations, n)
    final = np.arange(n)
    back = np.empty(n, dtype=np.int64)
    genealogy.ancestry(ancestors, final, back)
    eve = np.arange(n)
    for row in ancestors:
        child = np.empty(n, dtype=np.int64)
        genealogy.eve_step(eve, row, child)
        eve = child
    np.testing.assert_array_equal(eve, back)
    np.testing.assert_array_equal(eve, oracle.first_families(ancestors, n))
    assert genealogy.distinct(eve, n) == np.unique(eve).size


def test_handing_down_to_another_number_of_children():
    out = np.empty(5, dtype=np.int64)
    genealogy.eve_step(np.array([7, 3, 3]), np.array([0, 0, 1, 2, 0]), out)
    np.testing.assert_array_equal(out, [7, 7, 3, 3, 7])


def test_distinct_of_nothing_is_zero():
    assert genealogy.distinct(np.empty(0, dtype=np.int64), 3) == 0


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 30))
def test_kinship_is_a_sum_over_pairs(seed, n):
    rng = np.random.default_rng(seed)
    eve = rng.integers(n, size=n)
    w = rng.dirichlet(np.full(n, 0.5))
    same, different = genealogy.kinship(eve, w, n)
    np.testing.assert_allclose(
        (same, different), oracle.same_and_different(eve, w, n), rtol=1e-12, atol=1e-15
    )


def test_one_family_leaves_no_other_pair():
    w = np.full(10, 0.1)  # the sum is one minus a rounding error
    same, different = genealogy.kinship(np.full(10, 4), w, 10)
    assert different == 0.0
    assert 1.0 - same != 0.0, "the negative twin: one minus the first would not be exact"


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 30))
def test_families_collect_what_their_members_gain(seed, n):
    rng = np.random.default_rng(seed)
    eve = rng.integers(n, size=n)
    after, before, start = rng.random((3, n))
    out = start.copy()
    genealogy.add_by_family(eve, after, before, out)
    expected = [start[k] + (after - before)[eve == k].sum() for k in range(n)]
    np.testing.assert_allclose(out, expected, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(genealogy.sum_of_squares(out), (out**2).sum(), rtol=1e-14)


class Tree:
    """The kernels of the tree with arrays that are large enough from the start."""

    def __init__(self, capacity, d):
        self.parent = np.empty(capacity, dtype=np.int64)
        self.offspring = np.zeros(capacity, dtype=np.int64)
        self.states = np.empty((capacity, d))
        self.free = np.arange(capacity)[::-1].copy()
        self.n_free = capacity
        self.leaves = None
        self.generations = 0

    def insert(self, x, ancestors):
        if self.leaves is None:
            self.leaves = np.full(len(x), -1)
            ancestors = np.arange(len(x))
        else:
            self.n_free = genealogy.prune(
                ancestors, self.leaves, self.parent, self.offspring, self.free, self.n_free
            )
        leaves = np.empty(len(x), dtype=np.int64)
        self.n_free = genealogy.graft(
            ancestors,
            self.leaves,
            x,
            self.parent,
            self.offspring,
            self.states,
            self.free,
            self.n_free,
            leaves,
        )
        self.leaves = leaves
        self.generations += 1

    def paths(self):
        out = np.empty((self.leaves.size, self.generations, self.states.shape[1]))
        genealogy.paths(self.leaves, self.parent, self.states, out)
        return out

    @property
    def nodes(self):
        return self.parent.size - self.n_free


@cases
def test_tree_holds_the_paths_and_nothing_else(seed, generations, n):
    rng = np.random.default_rng(seed)
    tree = Tree((generations + 1) * n, 2)
    full = oracle.FullStorage()
    for t, row in enumerate([None, *random_ancestors(rng, generations, n)]):
        x = rng.normal(size=(n, 2))
        tree.insert(x, row)
        full.insert(x, row)
        np.testing.assert_array_equal(tree.paths(), full.paths(np.arange(n)), f"time {t}")
        assert tree.nodes == full.living()
        used = np.setdiff1d(np.arange(tree.parent.size), tree.free[: tree.n_free])
        assert used.size == tree.nodes, "a node was given back twice"
        children = np.bincount(tree.parent[used] + 1, minlength=tree.parent.size + 1)[1:]
        np.testing.assert_array_equal(tree.offspring[used], children[used])


@pytest.mark.parametrize("sizes", [(3, 5, 2, 2, 7)])
def test_tree_of_generations_of_different_sizes(sizes):
    rng = np.random.default_rng(3)
    tree = Tree(sum(sizes), 1)
    full = oracle.FullStorage()
    before = None
    for n in sizes:
        row = None if before is None else rng.integers(before, size=n)
        x = rng.normal(size=(n, 1))
        tree.insert(x, row)
        full.insert(x, row)
        before = n
    np.testing.assert_array_equal(tree.paths(), full.paths(np.arange(before)))
    assert tree.nodes == full.living()
