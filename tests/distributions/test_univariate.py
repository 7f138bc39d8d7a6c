"""Mixtures on the line, one for each coordinate."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from aisle_smc.distributions.univariate import Marginals, condense, weighted_quantiles

N = 4000


def equal(n):
    return np.full(n, 1.0 / n)


def log_gamma_draws(n, rng):
    return np.log(rng.standard_gamma(1.0, n))


LAWS = {
    "normal": (lambda n, rng: 3.0 + 2.0 * rng.standard_normal(n), norm(3.0, 2.0).logpdf, 0.98),
    "two peaks": (
        lambda n, rng: np.where(rng.random(n) < 0.3, -4.0, 3.0) + 0.5 * rng.standard_normal(n),
        lambda x: np.logaddexp(
            math.log(0.3) + norm.logpdf(x, -4.0, 0.5), math.log(0.7) + norm.logpdf(x, 3.0, 0.5)
        ),
        0.95,
    ),
    "skewed": (log_gamma_draws, lambda x: x - np.exp(x), 0.95),
}


@pytest.mark.parametrize("name", LAWS)
def test_fit_is_close_enough_to_propose_from(name):
    sample, log_p, least = LAWS[name]
    rng = np.random.default_rng(1)
    start = Marginals(
        shares=np.ones((1, 1)),
        locations=np.zeros((1, 1)),
        scales=np.ones((1, 1)),
        df=np.full((1, 1), 5.0),
    )
    q = start.fit(sample(N, rng)[:, None], equal(N))
    x = q.sample(N, rng)
    w = np.exp(log_p(x[:, 0]) - q.log_density(x))
    assert w.sum() ** 2 / (w**2).sum() > least * N


def some_marginals(rng, d, k):
    return Marginals(
        shares=rng.dirichlet(np.ones(k), size=d),
        locations=rng.standard_normal((d, k)),
        scales=np.exp(0.5 * rng.standard_normal((d, k))),
        df=rng.choice([3.0, 5.0, 30.0], size=(d, k)),
    )


def ratio_scores(log_ratio):
    """z-score of the mean of ratios against one."""
    ratio = np.exp(log_ratio)
    return (ratio.mean() - 1.0) / (ratio.std(ddof=1) / math.sqrt(ratio.size))


def test_density_is_that_of_the_draws():
    # E_q(p / q) = 1 for a p with lighter tails; the ratio is bounded.
    rng = np.random.default_rng(2)
    q = some_marginals(rng, 3, 2)
    x = q.sample(N, rng)
    log_p = norm.logpdf(x, 0.3, 0.8).sum(axis=1)
    assert abs(ratio_scores(log_p - q.log_density(x))) < 4.0
    wrong = replace(q, scales=1.2 * q.scales)
    assert abs(ratio_scores(log_p - wrong.log_density(x))) > 4.0


def test_weights_count():
    rng = np.random.default_rng(3)
    x = rng.standard_normal(N)
    # Normal draws weighted into a normal law with mean one.
    w = np.exp(x - 0.5)
    start = some_marginals(rng, 1, 1)
    q = start.fit(x[:, None], w / w.sum())
    assert q.locations[0, 0] == pytest.approx(1.0, abs=0.15)
    unweighted = start.fit(x[:, None], equal(N))
    assert unweighted.locations[0, 0] == pytest.approx(0.0, abs=0.1)


def test_points_of_no_weight_do_not_count():
    rng = np.random.default_rng(4)
    x = np.concatenate([rng.standard_normal((300, 2)), np.full((5, 2), 1e9)])
    w = np.append(equal(300), np.zeros(5))
    start = some_marginals(rng, 2, 1)
    ours, without = start.fit(x, w), start.fit(x[:300], equal(300))
    for name in ("shares", "locations", "scales", "df"):
        np.testing.assert_allclose(getattr(ours, name), getattr(without, name), rtol=1e-9)


def test_one_point_and_equal_points():
    start = some_marginals(np.random.default_rng(5), 2, 1)
    for n in (1, 50):
        q = start.fit(np.tile([1.0, 0.0], (n, 1)), equal(n))
        assert np.isfinite(q.log_density(np.array([[1.0, 0.0], [2.0, 3.0]]))).all()


def test_infinity_and_wrong_points():
    q = some_marginals(np.random.default_rng(6), 2, 2)
    assert q.log_density(np.array([[math.inf, 0.0], [0.0, -math.inf]])).tolist() == [-math.inf] * 2
    with pytest.raises(ValueError, match=r"shape \(n, 2\).*got shape \(4, 3\)"):
        q.log_density(np.zeros((4, 3)))


def test_condensed_points_keep_their_mass_and_order():
    rng = np.random.default_rng(7)
    x, w = rng.standard_normal(N), rng.dirichlet(np.ones(N))
    knots, mass = condense(x, w)
    assert knots.size <= 300
    assert np.isin(knots, x).all()
    assert (np.diff(knots) > 0.0).all()
    assert mass.sum() == pytest.approx(1.0)
    assert mass @ knots == pytest.approx(w @ x, abs=0.01)
    few, same = condense(x[:100], equal(100))
    np.testing.assert_array_equal(few, np.sort(x[:100]))
    np.testing.assert_allclose(same, equal(100))


def test_quantiles_of_equal_weights_are_the_usual_ones():
    x = np.random.default_rng(8).standard_normal(101)
    levels = np.array([0.1, 0.5, 0.75])
    found = weighted_quantiles(x, equal(101), levels)
    np.testing.assert_allclose(found, np.quantile(x, levels, method="hazen"))
