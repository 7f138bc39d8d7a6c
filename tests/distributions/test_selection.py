"""The best family by held-out score: each wins where it should."""

from __future__ import annotations

import numpy as np
import pytest

from aisle_smc.distributions import (
    Distribution,
    Gaussian,
    Independent,
    Mixture,
    Triangular,
    fit_proposal,
)
from tests.distributions.densities import gaussian
from tests.distributions.shapes import (
    LOG_GAMMA_10,
    Funnel,
    Shells,
    divergence,
    efficiency,
    forty,
)


@pytest.mark.parametrize(
    ("target", "winner", "kind", "least"),
    [
        (gaussian(5), "student-t mixture", Mixture, 0.9),
        (forty(0), "student-t mixture", Mixture, 0.85),
        (Shells(10), "elliptical", Mixture, 0.75),
        (LOG_GAMMA_10, "independent blocks", Independent, 0.88),
        (Funnel(), "triangular", Triangular, 0.6),
    ],
    ids=["gaussian", "forty bumps", "shells", "log-gamma", "funnel"],
)
def test_the_right_family_wins(target, winner, kind, least):
    rng = np.random.default_rng(2)
    q, scores = fit_proposal(target.sample(3000, rng), np.ones(3000), rng)
    names = [name for name, _ in scores]
    best = max(scores, key=lambda row: row[1])
    assert isinstance(q, kind)
    assert isinstance(q, Distribution)
    assert names[0] == "student-t mixture"
    # The winner has the best score, or is simpler and as good within noise.
    assert dict(scores)[winner] > best[1] - 0.1
    assert efficiency(target, q, rng) > least


def test_weights_count():
    rng = np.random.default_rng(0)
    wide = Gaussian(mean=np.zeros(3), root=3.0 * np.eye(3))
    target = Gaussian(mean=np.array([2.0, 0.0, -1.0]), root=0.7 * np.eye(3))
    x = wide.sample(10_000, rng)
    w = np.exp(target.log_density(x) - wide.log_density(x))
    q, _ = fit_proposal(x, w, rng)
    assert abs(divergence(target, q, rng)) < 0.05
    wrong, _ = fit_proposal(x, np.ones_like(w), rng)
    assert divergence(target, wrong, rng) > 1.0


def test_the_generator_decides_the_bits():
    x = Shells(2).sample(600, np.random.default_rng(0))
    w = np.random.default_rng(1).uniform(size=600)
    q, scores = fit_proposal(x, w, np.random.default_rng(3))
    again, same = fit_proposal(x, w, np.random.default_rng(3))
    assert scores == same
    np.testing.assert_array_equal(q.log_density(x), again.log_density(x))


def test_on_the_line_there_is_one_family():
    rng = np.random.default_rng(0)
    q, scores = fit_proposal(rng.normal(size=(300, 1)), np.ones(300), rng)
    assert [name for name, _ in scores] == ["student-t mixture"]
    assert q.dim == 1


@pytest.mark.parametrize("n", [1, 3, 7, 8, 12, 25])
def test_few_points(n):
    rng = np.random.default_rng(n)
    for x in (rng.normal(size=(n, 4)), np.ones((n, 4))):
        q, _ = fit_proposal(x, np.ones(n), rng)
        assert np.isfinite(q.log_density(x)).all()
        assert np.isfinite(q.log_density(q.sample(50, rng))).all()


@pytest.mark.parametrize(
    ("x", "w", "match"),
    [
        (np.zeros(5), np.ones(5), r"shape \(n, d\)"),
        (np.zeros((5, 0)), np.ones(5), r"shape \(n, d\)"),
        (np.zeros((5, 2)), np.ones(4), "one per point"),
        (np.zeros((5, 2)), np.zeros(5), "at least one weight"),
        (np.full((5, 2), np.nan), np.ones(5), r"x\[0\]"),
        (np.zeros((5, 2)), -np.ones(5), r"weights\[0\]"),
    ],
)
def test_bad_input(x, w, match):
    with pytest.raises(ValueError, match=match):
        fit_proposal(x, w, np.random.default_rng(0))
    with pytest.raises(TypeError, match="rng must be"):
        fit_proposal(x, w, 0)
