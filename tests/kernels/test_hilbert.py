"""The Hilbert order: a bijection that moves to a neighbouring cell at each step."""

from __future__ import annotations

import numpy as np
import pytest
from aisle_kernels import hilbert
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import hilbert as oracle


def cell_keys(cells, bits):
    return np.array([hilbert.hilbert_cell_key(c.astype(np.int64), bits) for c in cells])


@pytest.mark.parametrize(("d", "bits"), [(1, 6), (2, 1), (2, 5), (3, 1), (3, 3), (4, 2), (7, 1)])
def test_the_curve_visits_every_cell_once_and_moves_by_one_step(d, bits):
    cells = oracle.grid(d, bits)
    keys = cell_keys(cells, bits)
    np.testing.assert_array_equal(np.sort(keys), np.arange(1 << (d * bits)))
    path = cells[np.argsort(keys)]
    np.testing.assert_array_equal(np.abs(np.diff(path, axis=0)).sum(axis=1), 1)
    np.testing.assert_array_equal(path[0], 0)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5])
def test_two_dimensions_are_the_recursive_curve(bits):
    cells = oracle.grid(2, bits)
    path = cells[np.argsort(cell_keys(cells, bits))]
    expected = oracle.curve_2d(bits)
    # The two orientations that start at the origin differ by an exchange of the axes.
    assert np.array_equal(path, expected) or np.array_equal(path, expected[:, ::-1])


@pytest.mark.parametrize("d", [2, 3])
def test_a_finer_grid_refines_the_coarser_order(d):
    # Self-similarity: the leading bits of a key are the key of the enclosing cell, up to the
    # reflections that the number of levels leaves at the start of the curve.
    cells = oracle.grid(d, 3)
    fine = cell_keys(cells, 3) >> d
    path = (cells >> 1)[np.argsort(fine, kind="stable")]
    blocks = path.reshape(-1, 1 << d, d)
    np.testing.assert_array_equal(blocks, np.broadcast_to(blocks[:, :1], blocks.shape))
    np.testing.assert_array_equal(np.abs(np.diff(blocks[:, 0], axis=0)).sum(axis=1), 1)


def test_row_major_order_is_told_apart():
    # Negative twin: the obvious order jumps at the end of each row.
    path = oracle.grid(2, 3)
    assert (np.abs(np.diff(path, axis=0)).sum(axis=1) > 1).any()


@pytest.mark.parametrize(("d", "bits"), [(1, 52), (2, 31), (3, 20), (5, 12), (62, 1), (80, 1)])
def test_bits(d, bits):
    assert hilbert.hilbert_bits(d) == bits


@given(st.integers(2, 9), st.integers(0, 2**32 - 1))
def test_keys_of_points(d, seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform(size=(7, d))
    keys = np.empty(7, dtype=np.int64)
    hilbert.hilbert_keys(points, keys)
    bits = hilbert.hilbert_bits(d)
    cells = np.floor(points * 2.0**bits).astype(np.int64)
    np.testing.assert_array_equal(keys, cell_keys(cells, bits))
    assert (keys >= 0).all()


def test_keys_of_points_outside_the_cube_are_those_of_its_sides():
    below = np.nextafter(1.0, 0.0)
    points = np.array([[-3.0, 2.0], [0.0, below], [np.nan, np.inf], [1.0, -np.inf], [below, 0.0]])
    keys = np.empty(5, dtype=np.int64)
    hilbert.hilbert_keys(points, keys)
    assert keys[0] == keys[1] == keys[2]
    assert keys[3] == keys[4]


def test_many_dimensions_use_the_first_62():
    points = np.random.default_rng(51).uniform(size=(20, 70))
    keys = np.empty(20, dtype=np.int64)
    hilbert.hilbert_keys(points, keys)
    first = np.empty_like(keys)
    hilbert.hilbert_keys(points[:, :62].copy(), first)
    np.testing.assert_array_equal(keys, first)
    assert len(set(keys.tolist())) == 20
    assert (keys >= 0).all()


def test_unit_cube():
    rng = np.random.default_rng(52)
    x = rng.normal(size=(50, 3)) * [1e-6, 1.0, 1e6] + [0.0, 5.0, -1e6]
    x[:, 1] = 7.0
    out = np.empty_like(x)
    hilbert.unit_cube(x, out)
    z = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 1e-12, x.std(axis=0), np.inf)
    np.testing.assert_allclose(out, 1.0 / (1.0 + np.exp(-z)), rtol=1e-12)
    np.testing.assert_array_equal(out[:, 1], 0.5)
    hilbert.unit_cube(x, x)
    np.testing.assert_array_equal(x, out)


@given(st.lists(st.floats(-100.0, 100.0), min_size=1, max_size=30))
def test_one_dimension_is_the_sorted_order(values):
    x = np.array(values)[:, None]
    out = np.empty(len(values), dtype=np.int64)
    hilbert.hilbert_order(x, out)
    np.testing.assert_array_equal(out, np.argsort(x[:, 0], kind="stable"))


@given(st.integers(1, 40), st.integers(2, 4), st.integers(0, 2**32 - 1))
def test_the_order_sorts_the_keys_and_keeps_ties(n, d, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, size=(n, d)).astype(float)
    out = np.full(n, -1, dtype=np.int64)
    hilbert.hilbert_order(x, out)
    points = np.empty_like(x)
    hilbert.unit_cube(x, points)
    bits = hilbert.hilbert_bits(d)

    def key(point):
        cell = np.floor(point * 2.0**bits).astype(np.int64)
        return hilbert.hilbert_cell_key(cell, bits)

    np.testing.assert_array_equal(out, oracle.hilbert_order(points, key))


def test_the_order_ignores_location_and_scale():
    rng = np.random.default_rng(53)
    x = rng.normal(size=(60, 2))
    # Powers of two, so that standardising is exact.
    moved = x * [4.0, 0.25]
    first, second = np.empty((2, 60), dtype=np.int64)
    hilbert.hilbert_order(x, first)
    hilbert.hilbert_order(moved, second)
    np.testing.assert_array_equal(first, second)


def test_neighbours_in_order_are_close_in_space():
    rng = np.random.default_rng(54)
    x = rng.normal(size=(400, 2))
    out = np.empty(400, dtype=np.int64)
    hilbert.hilbert_order(x, out)

    def length(order):
        return np.sqrt((np.diff(x[order], axis=0) ** 2).sum(axis=1)).sum()

    # A tour along the curve is O(sqrt(n)) long; sorting one coordinate gives O(n).
    assert length(out) < 0.25 * length(np.argsort(x[:, 0]))


@pytest.mark.parametrize("n", [0, 1, 2])
def test_tiny_clouds(n):
    x = np.arange(3.0 * n).reshape(n, 3)
    out = np.empty(n, dtype=np.int64)
    hilbert.hilbert_order(x, out)
    np.testing.assert_array_equal(np.sort(out), np.arange(n))
