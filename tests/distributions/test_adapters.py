"""Distributions from elsewhere: SciPy's, torch's, a user's own."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from aisle_smc.distributions import Gaussian, Independent, StudentT, as_distribution
from tests.distributions.densities import gaussian, mass_score, partner_score

COVARIANCE = np.array([[2.0, 0.6], [0.6, 0.5]])


class Own:
    """A user's distribution."""

    dim = 1

    def sample(self, n, rng):
        return rng.random((n, 1))

    def log_density(self, x):
        return np.where((x[:, 0] > 0.0) & (x[:, 0] < 1.0), 0.0, -math.inf)

    def fit(self, x, weights):
        return self


class Sampler:
    """What torch-like objects have, without torch."""

    def __init__(self, event_shape=(2,)):
        self.event_shape = event_shape

    def sample(self, shape=()):
        return np.zeros((*shape, *self.event_shape))

    def log_prob(self, x):
        return -np.square(x).sum(axis=-1) if self.event_shape else -np.square(x)


def test_a_distribution_stays_what_it_is():
    for q in (gaussian(2), Own()):
        assert as_distribution(q) is q


def test_scipy_univariate():
    q = as_distribution(stats.gamma(2.0, scale=0.5))
    x = np.array([[0.3], [-1.0], [0.0], [math.inf]])
    assert q.dim == 1
    np.testing.assert_allclose(q.log_density(x)[0], stats.gamma(2.0, scale=0.5).logpdf(0.3))
    assert q.log_density(x)[1:].tolist() == [-math.inf] * 3
    drawn = q.sample(5, np.random.default_rng(0))
    assert drawn.shape == (5, 1)
    np.testing.assert_array_equal(drawn, q.sample(5, np.random.default_rng(0)))
    with pytest.raises(TypeError, match=r"gamma has fixed parameters"):
        q.fit(x, np.ones(4))


def test_scipy_multivariate_becomes_ours():
    x = np.random.default_rng(0).normal(size=(5, 2))
    normal = stats.multivariate_normal([1.0, -1.0], COVARIANCE)
    q = as_distribution(normal)
    assert isinstance(q, Gaussian)
    np.testing.assert_allclose(q.log_density(x), normal.logpdf(x))
    student = stats.multivariate_t([1.0, -1.0], COVARIANCE, df=4.0)
    p = as_distribution(student)
    assert isinstance(p, StudentT)
    np.testing.assert_allclose(p.log_density(x), student.logpdf(x))
    limit = as_distribution(stats.multivariate_t([1.0, -1.0], COVARIANCE, df=math.inf))
    np.testing.assert_allclose(limit.log_density(x), normal.logpdf(x))
    line = as_distribution(stats.multivariate_normal(2.0, 3.0))
    assert line.dim == 1


def test_a_sequence_is_a_product():
    q = as_distribution([stats.norm(1.0, 2.0), gaussian(2), stats.uniform(0.0, 1.0)])
    assert isinstance(q, Independent)
    assert q.dim == 4
    x = np.array([[0.0, 0.5, 0.5, 0.5], [0.0, 0.5, 0.5, 1.5]])
    expected = stats.norm(1.0, 2.0).logpdf(0.0) + gaussian(2).log_density(x[:, 1:3])[0]
    np.testing.assert_allclose(q.log_density(x), [expected, -math.inf])


@pytest.mark.parametrize(
    "source",
    [
        stats.t(5.0, 1.0, 2.0),
        stats.multivariate_normal([1.0, -1.0], COVARIANCE),
        [stats.norm(1.0, 2.0), stats.t(4.0), stats.laplace(0.0, 0.4)],
    ],
    ids=["student", "normal", "product"],
)
def test_density_and_draws_are_partners(source):
    assert abs(mass_score(as_distribution(source))) < 4.0
    assert abs(partner_score(as_distribution(source))) < 4.0


@pytest.mark.parametrize(
    ("source", "match"),
    [
        (stats.norm, "freeze the distribution.*unfrozen norm"),
        (stats.multivariate_normal, "cannot use"),
        (stats.poisson(3.0), "poisson is discrete"),
        (stats.norm([0.0, 1.0], 1.0), "scalar parameters"),
        (stats.gaussian_kde([0.0, 1.0, 3.0]), "cannot use scipy.stats' gaussian_kde"),
        (Gaussian, "not a class; got the class Gaussian"),
        ([], "must not be empty"),
        ("normal", "cannot use 'normal'"),
        (None, "cannot use None"),
        (lambda x: x, "cannot use"),
        (Sampler(event_shape=(2, 2)), r"event shape \(2, 2\)"),
    ],
)
def test_what_is_not_a_distribution(source, match):
    with pytest.raises(TypeError, match=match):
        as_distribution(source)


def test_own_distribution_without_dim():
    class Nameless(Own):
        dim = None

    with pytest.raises(TypeError, match="integer attribute dim"):
        as_distribution(Nameless())


def test_impossible_parameters():
    with pytest.raises(ValueError, match="not defined for the parameters"):
        as_distribution(stats.gamma(-1.0))


def test_torch_like_without_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    q = as_distribution(Sampler())
    assert q.dim == 2
    assert q.sample(3, np.random.default_rng(0)).tolist() == [[0.0, 0.0]] * 3
    np.testing.assert_array_equal(q.log_density(np.ones((2, 2))), [-2.0, -2.0])
    line = as_distribution(Sampler(event_shape=()))
    assert line.dim == 1
    np.testing.assert_array_equal(line.log_density(np.ones((2, 1))), [-1.0, -1.0])
    with pytest.raises(TypeError, match="Sampler has fixed parameters"):
        q.fit(np.ones((2, 2)), np.ones(2))


def test_torch_like_of_the_wrong_shape(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)

    class PerCoordinate(Sampler):
        def log_prob(self, x):
            return -np.square(x)

    with pytest.raises(ValueError, match="one value per point"):
        as_distribution(PerCoordinate()).log_density(np.ones((3, 2)))


TORCH = """
import numpy as np
import torch
from torch.distributions import Independent, MultivariateNormal, Normal
from aisle_smc.distributions import as_distribution

exact = MultivariateNormal(torch.tensor([1.0, -1.0]), torch.tensor([[2.0, 0.6], [0.6, 0.5]]))
q = as_distribution(exact)
assert q.dim == 2
torch.manual_seed(7)
before = torch.rand(1)
torch.manual_seed(7)
x = q.sample(4000, np.random.default_rng(0))
assert x.dtype == np.float64 and x.shape == (4000, 2)
assert torch.equal(torch.rand(1), before), "the global state of torch was moved"
assert np.array_equal(x, q.sample(4000, np.random.default_rng(0)))
assert not np.array_equal(x, q.sample(4000, np.random.default_rng(1)))
assert np.abs(x.mean(axis=0) - [1.0, -1.0]).max() < 4.0 * np.sqrt(2.0 / 4000)
expected = exact.log_prob(torch.as_tensor(x, dtype=torch.float32)).numpy()
log_q = q.log_density(x)
assert log_q.dtype == np.float64
assert np.allclose(log_q, expected)
assert np.array_equal(q.log_density(np.full((1, 2), np.inf)), [-np.inf])
line = as_distribution(Normal(torch.tensor(0.0, dtype=torch.float64), 1.0))
assert line.dim == 1
assert np.allclose(line.log_density(np.zeros((1, 1))), -0.918938533)
both = as_distribution(Independent(Normal(torch.zeros(3), torch.ones(3), validate_args=False), 1))
assert both.sample(2, np.random.default_rng(0)).shape == (2, 3)
for wrong in (Normal(torch.zeros(3), 1.0),):
    try:
        as_distribution(wrong)
    except TypeError as error:
        assert "batch shape (3,)" in str(error)
    else:
        raise AssertionError("a batch of distributions passed for one")
"""


def test_torch():
    pytest.importorskip("torch")
    # In a process of its own: torch then stays out of the other tests.
    run = subprocess.run(
        [sys.executable, "-c", TORCH], capture_output=True, text=True, check=False, timeout=300
    )
    assert run.returncode == 0, run.stderr
