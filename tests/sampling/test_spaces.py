"""Coordinates: reference densities integrate to one, and derivatives are those of differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import (
    beta,
    cauchy,
    expon,
    gamma,
    lognorm,
    multivariate_normal,
    multivariate_t,
    norm,
    truncnorm,
    uniform,
    weibull_max,
)

from aisle_smc import Prior
from aisle_smc.coordinates import Coordinate
from aisle_smc.distributions import Gaussian, as_distribution
from aisle_smc.normal_scores import Rotation
from aisle_smc.sampling.spaces import (
    AffineSpace,
    BareSpace,
    DistributionSpace,
    PriorSpace,
    WhiteSpace,
    log_normal,
)
from tests.sampling.toys import Box

PRIOR = Prior({"a": norm(1, 2), "u": uniform(-1, 3), "g": gamma(2, scale=0.5)})
TIED = Prior(
    {"a": norm(1, 2), "b": "g", "c": 3.0, "g": gamma(2, scale=0.5), "d": "a", "e": beta(2, 3)}
)
ODD = Prior(
    {
        "t": truncnorm(-1, 2),
        "l": lognorm(0.7),
        "c": cauchy(0, 2),
        "e": expon(scale=3),
        "w": weibull_max(2.0),
    }
)
ROOT = np.linalg.cholesky([[2.0, 0.6, 0.1], [0.6, 1.0, -0.3], [0.1, -0.3, 0.5]])


def bare(*bounds):
    return BareSpace(
        coordinates=tuple(
            Coordinate(name=f"x{j}", distribution=None, lower=low, upper=high)
            for j, (low, high) in enumerate(bounds)
        )
    )


HALVES = bare((-math.inf, math.inf), (1.0, math.inf), (-math.inf, 2.0), (-1.0, 3.0))
TURNED = PriorSpace(prior=PRIOR, rotation=Rotation(shifts=np.array([0.0, 0.3, 0.0])))
SPACES = {
    "prior": PriorSpace(prior=PRIOR),
    "ties": PriorSpace(prior=TIED),
    "odd": PriorSpace(prior=ODD),
    "turned": TURNED,
    "white": WhiteSpace(prior=Gaussian(mean=np.array([1.0, -2.0, 0.5]), root=ROOT)),
    "joint": DistributionSpace(
        prior=as_distribution(multivariate_t([0.0, 1.0, 2.0], ROOT @ ROOT.T, df=5))
    ),
    "bare": HALVES,
    "affine": AffineSpace(
        inner=PriorSpace(prior=PRIOR), mean=np.array([0.3, -0.2, 0.1]), root=ROOT
    ),
    "affine bare": AffineSpace(
        inner=bare((-math.inf, math.inf), (1.0, math.inf), (-1.0, 3.0)),
        mean=np.array([0.3, -0.2, 0.1]),
        root=ROOT,
    ),
    "affine turned": AffineSpace(inner=TURNED, mean=np.array([0.3, -0.2, 0.1]), root=0.5 * ROOT),
}
every = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
H = 1e-5


def points(space, n=40, seed=1):
    return np.random.default_rng(seed).normal(scale=0.8, size=(n, space.dim))


def differences(function, z):
    """Derivatives by central differences, shape (n, d, ...)."""
    columns = []
    for j in range(z.shape[1]):
        step = np.zeros(z.shape[1])
        step[j] = H
        columns.append((function(z + step) - function(z - step)) / (2.0 * H))
    return np.stack(columns, axis=1)


@every
def test_scores_of_the_reference(space):
    z = points(space)
    np.testing.assert_allclose(
        space.reference_score(z), differences(space.log_reference, z), rtol=1e-5, atol=1e-6
    )


@every
def test_gradients_are_pulled_back(space):
    """Those of a skewed function of all parameters, fixed and tied ones among them."""
    z = points(space)
    k = space.parameters(z).shape[1]
    slopes = np.linspace(-1.0, 1.5, k)

    def function(z):
        theta = space.parameters(z)
        return theta @ slopes + 0.3 * np.sin(theta).sum(axis=1) + 0.1 * theta[:, 0] * theta[:, -1]

    theta = space.parameters(z)
    gradients = slopes + 0.3 * np.cos(theta)
    gradients[:, 0] += 0.1 * theta[:, -1]
    gradients[:, -1] += 0.1 * theta[:, 0]
    pulled = space.pull_back(z, gradients)
    assert pulled.shape == z.shape
    expected = differences(function, z)
    # A turned circle jumps at its cut, where differences mean nothing.
    smooth = np.abs(expected).max(axis=1) < 1e3
    assert smooth.mean() > 0.9
    np.testing.assert_allclose(pulled[smooth], expected[smooth], rtol=2e-4, atol=1e-5)


@every
def test_draws_are_the_free_parameters(space):
    z = points(space)
    theta, draws = space.parameters(z), space.draws(z)
    assert draws.shape == (40, space.dim)
    if space is not SPACES["ties"]:
        np.testing.assert_array_equal(theta, draws)
    assert np.isfinite(theta).all()


def test_ties_and_constants_are_spread():
    space = SPACES["ties"]
    z = points(space)
    theta, draws = space.parameters(z), space.draws(z)
    assert theta.shape == (40, 6)
    assert TIED.free == ("a", "g", "e")
    np.testing.assert_array_equal(theta[:, [0, 3, 5]], draws)
    np.testing.assert_array_equal(theta[:, 1], theta[:, 3])
    np.testing.assert_array_equal(theta[:, 4], theta[:, 0])
    assert (theta[:, 2] == 3.0).all()
    # A parameter collects the gradients of those tied to it.
    ones = np.ones((40, 6))
    alone = space.pull_back(z, np.where([1, 0, 0, 0, 0, 0], ones, 0.0))
    tied = space.pull_back(z, np.where([0, 0, 0, 0, 1, 0], ones, 0.0))
    np.testing.assert_array_equal(alone, tied)


# --- densities -----------------------------------------------------------------------------------


@every
def test_references_that_are_densities_integrate_to_one(space):
    """Importance sampling from a wide Student-t distribution."""
    bridge = multivariate_t(np.zeros(space.dim), 4.0 * np.eye(space.dim), df=3)
    z = bridge.rvs(40_000, random_state=5).reshape(-1, space.dim)
    log_w = space.log_reference(z) - bridge.logpdf(z)
    w = np.exp(log_w)
    if space.proper or (isinstance(space, AffineSpace) and space.inner.proper):
        error = w.std() / math.sqrt(w.size)
        assert abs(w.mean() - 1.0) < 4 * error
        assert error < 0.05


@pytest.mark.parametrize("name", ["prior", "ties", "odd", "turned", "white", "joint"])
def test_samples_have_the_distribution_of_the_prior(name):
    space = SPACES[name]
    assert space.proper
    z = space.sample(20_000, np.random.default_rng(3))
    theta = space.draws(z)
    match space:
        case PriorSpace():
            for j, coordinate in enumerate(space.prior.coordinates):
                u = coordinate.distribution.cdf(theta[:, j])
                assert abs(u.mean() - 0.5) < 4 * math.sqrt(1.0 / 12.0 / 20_000)
                assert abs(np.square(u).mean() - 1.0 / 3.0) < 4 * math.sqrt(4.0 / 45.0 / 20_000)
            assert np.abs(np.corrcoef(z.T) - np.eye(space.dim)).max() < 0.03
        case WhiteSpace():
            np.testing.assert_allclose(np.cov(theta.T), ROOT @ ROOT.T, atol=0.07)
            np.testing.assert_allclose(theta.mean(axis=0), [1.0, -2.0, 0.5], atol=0.05)
        case _:
            np.testing.assert_array_equal(theta, z)


def test_the_density_of_a_prior_is_that_of_the_normal_with_the_jacobian():
    space = SPACES["prior"]
    z = points(space)
    slopes = PRIOR.normal_jacobian(z)
    np.testing.assert_allclose(
        space.log_reference(z),
        PRIOR.log_density(space.draws(z)) + np.log(slopes).sum(axis=1),
        rtol=1e-9,
    )
    np.testing.assert_allclose(
        log_normal(z), multivariate_normal(np.zeros(3)).logpdf(z), rtol=1e-12
    )


def test_jacobians_of_bounded_coordinates():
    z = points(HALVES)
    theta = HALVES.parameters(z)
    assert (theta[:, 1] > 1.0).all()
    assert (theta[:, 2] < 2.0).all()
    assert ((theta[:, 3] > -1.0) & (theta[:, 3] < 3.0)).all()
    slopes = differences(HALVES.parameters, z)
    diagonal = np.diagonal(slopes, axis1=1, axis2=2)
    np.testing.assert_allclose(HALVES.log_reference(z), np.log(diagonal).sum(axis=1), rtol=1e-6)
    assert np.abs(slopes - diagonal[:, :, None] * np.eye(4)).max() < 1e-8
    np.testing.assert_allclose(HALVES.coordinates_of(theta), z, rtol=1e-9, atol=1e-9)
    assert not HALVES.proper
    with pytest.raises(ValueError, match="no reference to draw from"):
        HALVES.sample(3, np.random.default_rng(1))


@pytest.mark.parametrize("name", ["affine", "affine bare", "affine turned"])
def test_whitened_coordinates_keep_the_mass(name):
    """Their density is that of the inner space times the determinant."""
    space = SPACES[name]
    y = points(space)
    inside = space.mean + y @ space.root.T
    np.testing.assert_array_equal(space.parameters(y), space.inner.parameters(inside))
    log_det = np.linalg.slogdet(space.root)[1]
    np.testing.assert_allclose(
        space.log_reference(y), space.inner.log_reference(inside) + log_det, rtol=1e-12
    )
    assert not space.proper
    with pytest.raises(ValueError, match="draw from the space that was whitened"):
        space.sample(3, np.random.default_rng(1))


# --- support -------------------------------------------------------------------------------------


@every
def test_most_coordinates_never_leave_the_support(space):
    inside = space.supported(points(space))
    assert inside is None or inside.all()


def test_a_joint_prior_says_where_it_is_positive():
    box = DistributionSpace(prior=Box((0.0, -1.0), (1.0, 1.0)))
    z = np.array([[0.5, 0.0], [1.5, 0.0], [0.5, -1.1]])
    np.testing.assert_array_equal(box.supported(z), [True, False, False])
    np.testing.assert_array_equal(
        AffineSpace(inner=box, mean=np.array([1.0, 0.0]), root=np.eye(2)).supported(z),
        [False, False, False],
    )
    # No slope to follow at the edge and outside of it, and no NaN.
    assert (box.reference_score(np.array([[0.5, 0.0], [1.0, 0.0], [7.0, 7.0]])) == 0.0).all()


def test_circles_keep_their_ends():
    z = np.random.default_rng(1).normal(size=(1000, 3))
    plain, turned = SPACES["prior"].draws(z), TURNED.draws(z)
    np.testing.assert_array_equal(plain[:, [0, 2]], turned[:, [0, 2]])
    u, v = (uniform(-1, 3).cdf(x[:, 1]) for x in (plain, turned))
    np.testing.assert_allclose((u - v) % 1.0, 0.3, atol=1e-12)
    assert ((turned[:, 1] > -1.0) & (turned[:, 1] < 2.0)).all()
