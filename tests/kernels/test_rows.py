"""Every row of the batched sums has the bits of a single call."""

import numpy as np
import pytest
from aisle_kernels import rows, weights


def many(n):
    rng = np.random.default_rng(n)
    special = [np.full(n, value) for value in (-np.inf, np.inf, np.nan)]
    return np.stack([rng.normal(0.0, 3.0, n), *special, rng.normal(-1e4, 1.0, n)])


@pytest.mark.parametrize("n", [1, 8, 1030])
@pytest.mark.parametrize("name", ["log_sum_exp", "log_mean_exp", "ess", "max_weight"])
def test_numbers(name, n):
    log_w = many(n)
    out = np.empty(len(log_w))
    getattr(rows, name)(log_w, out)
    np.testing.assert_array_equal(out, [getattr(weights, name)(row) for row in log_w])


@pytest.mark.parametrize("n", [1, 8, 1030])
def test_conditional_ess(n):
    log_w, log_g = many(n), np.random.default_rng(1).normal(size=(5, n))
    out = np.empty(5)
    rows.cess(log_w, log_g, out)
    np.testing.assert_array_equal(
        out, [weights.cess(*pair) for pair in zip(log_w, log_g, strict=True)]
    )


@pytest.mark.parametrize("n", [1, 8, 1030])
def test_normalised(n):
    log_w = many(n)
    out = np.empty_like(log_w)
    rows.normalise(log_w, out)
    for row, result in zip(log_w, out, strict=True):
        expected = np.empty(n)
        weights.normalise(row, expected)
        np.testing.assert_array_equal(result, expected)
