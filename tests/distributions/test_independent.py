"""Products: blocks of dependent coordinates are found, and no others."""

from __future__ import annotations

import numpy as np
import pytest

from aisle_smc.distributions import (
    Gaussian,
    Independent,
    Triangular,
    fit_independent,
    fit_mixture,
)
from aisle_smc.distributions.dependence import dependent_blocks
from tests.distributions.densities import gaussian
from tests.distributions.shapes import (
    LOG_GAMMA_10,
    MANY_WELL_32,
    Rosenbrock,
    efficiency,
)

PAIRS = tuple((2 * k, 2 * k + 1) for k in range(5))


def blocks_of(x, w=None):
    w = np.ones(len(x)) if w is None else w
    return dependent_blocks(x, w / w.sum())


def singles(d):
    return tuple((j,) for j in range(d))


# --- blocks --------------------------------------------------------------------------------------


def test_false_links_are_rare():
    # One in a thousand is promised; two or more in 200 has probability 0.02.
    found = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x, w = rng.standard_cauchy(size=(300, 12)), rng.standard_gamma(0.5, size=300)
        found += blocks_of(x, w) != singles(12)
    assert found <= 1


@pytest.mark.parametrize(
    "pair",
    [
        lambda a, e: (a, 0.3 * a + e),
        lambda a, e: (a, a**2 + e),
        lambda a, e: (a, e * np.exp(a / 2.0)),
        lambda a, e: (np.cos(6.3 * a) + 0.1 * e, np.sin(6.3 * a)),
        lambda a, e: (a, np.abs(a) + 0.5 * e),
    ],
    ids=["correlation", "parabola", "funnel", "ring", "wedge"],
)
def test_dependence_of_many_kinds_is_seen(pair):
    rng = np.random.default_rng(0)
    a, e, f = rng.normal(size=(3, 1000))
    x = np.stack([a, f, a], axis=1)
    x[:, 0], x[:, 2] = pair(a, e)
    assert blocks_of(x) == ((0, 2), (1,))
    # Broken up, the same coordinates are independent.
    x[:, 2] = x[rng.permutation(1000), 2]
    assert blocks_of(x) == singles(3)


def test_correlation_alone_would_miss_a_parabola():
    a, e = np.random.default_rng(0).normal(size=(2, 1000))
    b = a**2 + e
    assert abs(np.corrcoef(a, b)[0, 1]) < 4.0 / np.sqrt(1000.0) * 2.0


def test_a_chain_of_links_is_one_block():
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.normal(size=(2000, 6)), axis=1)
    x = np.concatenate([x, rng.normal(size=(2000, 1))], axis=1)[:, [3, 6, 0, 5, 1, 4, 2]]
    assert blocks_of(x) == ((0, 2, 3, 4, 5, 6), (1,))


def test_weights_decide_what_depends():
    # Independent points, weighted for a correlated law.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 2))
    w = np.exp(0.8 * x[:, 0] * x[:, 1] - 0.4 * (x**2).sum(axis=1))
    assert blocks_of(x) == singles(2)
    assert blocks_of(x, w) == ((0, 1),)


def test_constants_and_one_dimension():
    x = np.random.default_rng(0).normal(size=(200, 3))
    x[:, 1] = 4.0
    assert blocks_of(x) == singles(3)
    assert blocks_of(x[:, :1]) == ((0,),)
    assert blocks_of(np.ones((5, 2))) == singles(2)


# --- products ------------------------------------------------------------------------------------


def test_blocks_may_be_in_any_order():
    a, b = gaussian(2, seed=1), gaussian(1, seed=2)
    q = Independent(parts=(a, b), blocks=((2, 0), (1,)))
    x = np.random.default_rng(0).normal(size=(20, 3))
    expected = a.log_density(x[:, [2, 0]]) + b.log_density(x[:, [1]])
    np.testing.assert_allclose(q.log_density(x), expected, rtol=1e-13)
    drawn = q.sample(20_000, np.random.default_rng(1))
    np.testing.assert_allclose(
        np.cov(drawn[:, [2, 0]].T), a.covariance, atol=0.05 * a.covariance.max()
    )
    fitted = q.fit(drawn, np.ones(20_000))
    np.testing.assert_allclose(fitted.parts[0].root, a.root, atol=0.1)


@pytest.mark.parametrize(
    ("target", "n", "blocks", "least"),
    [
        (LOG_GAMMA_10, 2500, singles(10), 0.88),
        (MANY_WELL_32, 2500, singles(32), 0.7),
        (Rosenbrock(), 3000, PAIRS, 0.9),
    ],
    ids=["log-gamma", "many wells", "rosenbrock"],
)
def test_products_are_fitted(target, n, blocks, least):
    found = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = target.sample(n, rng)
        q = fit_independent(x, np.ones(n), rng)
        assert q.blocks == blocks
        found.append(efficiency(target, q, rng))
    # One draw between two of the wells can take a third of the efficiency of a good fit.
    assert np.median(found) > least


def test_one_mixture_cannot_do_a_product():
    rng = np.random.default_rng(1)
    x = LOG_GAMMA_10.sample(2500, rng)
    assert efficiency(LOG_GAMMA_10, fit_mixture(x, np.ones(2500), rng), rng) < 0.6


def test_a_block_may_be_a_map():
    rng = np.random.default_rng(1)
    target = Rosenbrock()
    q = fit_independent(target.sample(3000, rng), np.ones(3000), rng)
    assert all(isinstance(part, Triangular) for part in q.parts)


def test_what_hangs_together_is_one_block():
    rng = np.random.default_rng(0)
    target = Gaussian(mean=np.zeros(3), root=np.tril(np.ones((3, 3))))
    q = fit_independent(target.sample(1000, rng), np.ones(1000), rng)
    assert q.blocks == ((0, 1, 2),)
