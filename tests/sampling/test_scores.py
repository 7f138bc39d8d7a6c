"""Gradients of the log-densities of proposals are those of differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import gamma, norm, skewnorm

from aisle_smc.distributions import (
    Defensive,
    Gaussian,
    Independent,
    Mixture,
    StudentT,
    as_distribution,
)
from aisle_smc.sampling.scores import Standard, score
from tests.sampling.toys import Box

ROOT = np.linalg.cholesky([[1.5, 0.7], [0.7, 0.8]])
NORMAL = Gaussian(mean=np.array([0.5, -1.0]), root=ROOT)
STUDENT = StudentT(location=np.array([-1.0, 0.3]), root=0.7 * ROOT, df=4.0)
SHARP = StudentT(location=np.array([2.0, 2.0]), root=0.1 * np.eye(2), df=12.0)
MIXTURE = Mixture(weights=np.array([0.6, 0.3, 0.1]), parts=(NORMAL, STUDENT, SHARP))
DISTRIBUTIONS = {
    "standard": Standard(2),
    "normal": NORMAL,
    "student": STUDENT,
    "mixture": MIXTURE,
    "defensive": Defensive(proposal=MIXTURE, safety=STUDENT, share=0.1),
    "nested": Mixture(
        weights=np.array([0.5, 0.5]), parts=(MIXTURE, Defensive(proposal=SHARP, safety=NORMAL))
    ),
    "others": Independent(
        parts=(as_distribution(skewnorm(3)), as_distribution(norm(0, 2))), blocks=((0,), (1,))
    ),
    "mixture of others": Mixture(
        weights=np.array([0.5, 0.5]), parts=(NORMAL, as_distribution([skewnorm(3), norm(0, 2)]))
    ),
}


@pytest.mark.parametrize("q", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS.keys())
def test_scores(q):
    x = np.random.default_rng(1).normal(scale=1.5, size=(60, 2))
    found = score(q, x)
    assert found.shape == (60, 2)
    for j in range(2):
        step = np.where(np.arange(2) == j, 1e-5, 0.0)
        slope = (q.log_density(x + step) - q.log_density(x - step)) / 2e-5
        np.testing.assert_allclose(found[:, j], slope, rtol=2e-4, atol=2e-5)


def test_scores_far_out_are_numbers():
    x = np.array([[1e3, -1e3], [1e6, 1e6], [0.0, 40.0]])
    for q in DISTRIBUTIONS.values():
        assert np.isfinite(score(q, x)).all()


@pytest.mark.parametrize(
    "q", [Box((0.0, 0.0), (1.0, 1.0)), as_distribution([gamma(2), gamma(3)])], ids=["box", "gamma"]
)
def test_scores_outside_of_a_support_are_zero(q):
    found = score(q, np.array([[-1.0, -2.0], [0.0, -1.0], [0.5, 0.5]]))
    assert np.isfinite(found).all()
    assert (found[:2] == 0.0).all()


def test_the_standard_normal():
    standard, rng = Standard(3), np.random.default_rng(2)
    z = standard.sample(5, rng)
    assert z.shape == (5, 3)
    expected = Gaussian(mean=np.zeros(3), root=np.eye(3)).log_density(z)
    np.testing.assert_allclose(standard.log_density(z), expected, rtol=1e-12)
    assert standard.fit(z, np.full(5, 0.2)) is standard
