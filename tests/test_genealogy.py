"""The ancestor tree against full storage, its size, its growth, its errors."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aisle_smc.genealogy import AncestorTree
from tests.oracles.genealogy import FullStorage


def grow(tree, full, rng, generations, n, d, resample=0.6):
    for _ in range(generations):
        x = rng.normal(size=(n, d))
        parents = None
        if full.states and rng.random() < resample:
            parents = rng.choice(n, size=n, p=rng.dirichlet(np.ones(n)))
        tree.insert(x, parents)
        full.insert(x, parents)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 15),
    d=st.integers(1, 3),
    generations=st.integers(1, 25),
)
def test_paths_are_those_of_full_storage(seed, n, d, generations):
    rng = np.random.default_rng(seed)
    tree, full = AncestorTree(n, d), FullStorage()
    grow(tree, full, rng, generations, n, d)
    chosen = rng.integers(n, size=4)
    np.testing.assert_array_equal(tree.paths(), full.paths(np.arange(n)))
    np.testing.assert_array_equal(tree.paths(chosen), full.paths(chosen))
    assert tree.nodes == full.living()
    assert tree.generations == generations


def test_growth_keeps_the_paths():
    rng = np.random.default_rng(2)
    tree, full = AncestorTree(4, 2), FullStorage()
    grow(tree, full, rng, 60, 4, 2, resample=0.0)  # nothing is forgotten: 240 nodes
    assert tree.nodes == 240
    np.testing.assert_array_equal(tree.paths(), full.paths(np.arange(4)))


def test_generation_larger_than_the_tree():
    tree = AncestorTree(2, 1)
    x = np.arange(100.0)
    tree.insert(x)
    tree.insert(x + 0.5, np.arange(100)[::-1].copy())
    np.testing.assert_array_equal(tree.paths()[:, 0, 0], x[::-1])


@pytest.mark.parametrize("n", [20, 200, 1000])
def test_memory_is_of_order_n_log_n_plus_generations(n):
    # Full storage has T n states: 4 to 13 times the bound, which leaves the twin no way through.
    rng = np.random.default_rng(7)
    generations = 40 * int(np.log(n))
    bound = 2.0 * n * np.log(n) + generations
    tree, kept = AncestorTree(n, 1), AncestorTree(n, 1)
    largest = 0
    for t in range(generations):
        w = rng.gamma(1.0, size=n)
        parents = rng.choice(n, size=n, p=w / w.sum()) if t else None
        x = rng.normal(size=n)
        tree.insert(x, parents)
        kept.insert(x)
        largest = max(largest, tree.nodes)
    assert largest < bound
    assert kept.nodes == generations * n > 4 * bound


def test_pickle_continues_the_same():
    rng = np.random.default_rng(4)
    tree, full = AncestorTree(5, 1), FullStorage()
    grow(tree, full, rng, 12, 5, 1)
    copy = pickle.loads(pickle.dumps(tree))
    x, parents = rng.normal(size=(5, 1)), np.array([0, 0, 3, 3, 4])
    for one in (tree, copy, full):
        one.insert(x, parents)
    np.testing.assert_array_equal(tree.paths(), copy.paths())
    np.testing.assert_array_equal(copy.paths(), full.paths(np.arange(5)))


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda tree: AncestorTree(0, 1), "n >= 1"),
        (lambda tree: AncestorTree(3, 0), "d >= 1"),
        (lambda tree: AncestorTree(3, 1).paths(), "empty"),
        (lambda tree: AncestorTree(3, 1).insert(np.zeros(3), np.zeros(3, int)), "no ancestors"),
        (lambda tree: tree.insert(np.zeros((3, 2))), r"shape \(n, 1\)"),
        (lambda tree: tree.insert(np.zeros(4)), "must have 3 rows"),
        (lambda tree: tree.insert(np.zeros(4), np.zeros(3, int)), r"shape \(4,\)"),
        (lambda tree: tree.insert(np.zeros(3), np.array([0, 3, 1])), "index 1 is 3"),
        (lambda tree: tree.insert(np.zeros(3), np.array([0, 1, -1])), "index 2 is -1"),
        (lambda tree: tree.insert(np.zeros(3), np.zeros(3)), "integers"),
        (lambda tree: tree.paths(np.array([5])), "index 0 is 5"),
    ],
)
def test_errors_say_what_came(action, words):
    tree = AncestorTree(3, 1)
    tree.insert(np.zeros(3))
    with pytest.raises(ValueError, match=words):
        action(tree)
    assert tree.generations == 1
    assert tree.nodes == 3
