"""Backward-sampling rows: their law, their edges, their negative answers."""

import numpy as np
import pytest
from aisle_kernels import backward
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import backward as oracle

INF = np.inf
ALMOST_ONE = float(np.nextafter(1.0, 0.0))

log_weights = st.one_of(st.just(-INF), st.floats(-1000.0, 1000.0))
uniforms = st.one_of(st.sampled_from([0.0, ALMOST_ONE, 0.5]), st.floats(0.0, ALMOST_ONE))


def draw(log_w, log_p, u):
    out = np.full(len(u), -7, dtype=np.int64)
    backward.backward_rows(np.asarray(log_w, float), np.asarray(log_p, float), np.asarray(u), out)
    return out


@given(data=st.data(), n=st.integers(1, 20), m=st.integers(1, 4))
def test_index_is_in_range_and_has_positive_weight(data, n, m):
    row = st.lists(log_weights, min_size=n, max_size=n)
    log_w = np.array(data.draw(row))
    log_p = np.array(data.draw(st.lists(row, min_size=m, max_size=m)))
    u = np.array(data.draw(st.lists(uniforms, min_size=m, max_size=m)))
    for r, i in enumerate(draw(log_w, log_p, u)):
        if i == -1:
            assert np.all(log_w + log_p[r] == -INF)
        else:
            assert 0 <= i < n
            assert log_w[i] + log_p[r, i] > -INF


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), m=st.integers(1, 5))
def test_rows_are_the_inverse_of_the_cumulative_sum(seed, n, m):
    rng = np.random.default_rng(seed)
    log_w = 3.0 * rng.normal(size=n)
    log_p = 3.0 * rng.normal(size=(m, n))
    log_w[rng.random(n) < 0.2] = -INF
    log_w[rng.integers(n)] = 0.0
    u = rng.random(m)
    np.testing.assert_array_equal(draw(log_w, log_p, u), oracle.rows(log_w, log_p, u))


def test_law_of_the_index():
    # Stratified uniforms make the counts exact up to one for each index.
    rng = np.random.default_rng(1)
    m = 2000
    log_w = rng.normal(size=6)
    log_p = np.tile(rng.normal(size=6), (m, 1))
    counts = np.bincount(draw(log_w, log_p, (np.arange(m) + 0.5) / m), minlength=6)
    expected = m * oracle.probabilities(log_w, log_p)[0]
    assert np.abs(counts - expected).max() <= 1.0
    unweighted = m * oracle.probabilities(0.0 * log_w, log_p)[0]
    assert np.abs(counts - unweighted).max() > 20.0, "the negative twin: transition alone"


def test_each_row_has_its_own_law():
    log_p = np.where(np.eye(5, dtype=bool), 0.0, -INF)
    np.testing.assert_array_equal(draw(np.zeros(5), log_p, np.full(5, 0.9)), np.arange(5))


@pytest.mark.parametrize("u", [0.0, 0.3, ALMOST_ONE])
def test_edges(u):
    assert draw([-INF, 0.0, -INF], [[0.0, 0.0, 0.0]], [u])[0] == 1
    assert draw([-INF, -INF], [[0.0, 0.0]], [u])[0] == -1
    assert draw([0.0, -INF], [[-INF, 0.0]], [u])[0] == -1
    assert draw([0.0, np.nan], [[0.0, 0.0]], [u])[0] == -2
    assert draw([0.0, 0.0], [[0.0, np.nan]], [u])[0] == -2
    assert draw([-INF, 0.0], [[INF, 0.0]], [u])[0] == -2
    assert draw([0.0, 0.0, 0.0], [[5.0, INF, -INF]], [u])[0] == 1
    assert draw([0.0], [[-1e308]], [u])[0] == 0
    assert draw([-1e300, -1e300], [[-INF, 0.0]], [u])[0] == 1


def test_no_rows_and_one_nan_row_among_others():
    assert draw([0.0], np.empty((0, 1)), []).size == 0
    np.testing.assert_array_equal(
        draw([0.0, -INF], [[0.0, 0.0], [np.nan, 0.0], [-INF, 0.0], [3.0, 1.0]], [0.5] * 4),
        [0, -2, -1, 0],
    )


def test_a_walk_that_rounding_leaves_short_ends_at_a_positive_weight():
    # The eight-lane total exceeds the sum in order, here by far more than the last target needs.
    rng = np.random.default_rng(5)
    for _ in range(200):
        n = int(rng.integers(9, 60))
        log_v = np.log(rng.random(n) ** 4)
        log_v[-3:] = -INF
        i = backward.draw_index(log_v, ALMOST_ONE, np.empty(n))
        assert 0 <= i < n - 3


def test_room_may_be_the_weights():
    log_v = np.log([0.1, 0.2, 0.7])
    apart = backward.draw_index(log_v, 0.25, np.empty(3))
    assert backward.draw_index(log_v, 0.25, log_v) == apart == 1
