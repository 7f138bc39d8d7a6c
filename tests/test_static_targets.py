"""The benchmark targets are what their names say: their evidences, found independently."""

from __future__ import annotations

import importlib
import math
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from scipy.special import gammaln, logsumexp, ndtr
from scipy.stats import loggamma, multivariate_normal, multivariate_t, norm

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks" / "static"


@pytest.fixture(scope="module")
def targets():
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("targets")
    finally:
        sys.path.remove(str(FOLDER))


SYNTHETIC = [
    "rospair-10",
    "rospair-16",
    "rospair-20",
    "shells-2",
    "shells-10",
    "shells-30",
    "loggamma-10",
    "loggamma-30",
    "corr-funnel-20",
    "funnel-10",
    "many-well-32",
    "boundary-4",
    "half-4",
]
MIXTURES = ["gmm-40-torch", "gmm-40-jax"]
REGRESSIONS = ["ionosphere", "sonar", "german-credit"]


def load(targets, name, request=None):
    if name not in SYNTHETIC:
        request.getfixturevalue("shared_data")
    return targets.load(name)


# Quadrature: Gauss-Legendre on panels; the product of the factors where a target has factors.


@cache
def legendre():
    return np.polynomial.legendre.leggauss(40)


def panels(low, high, count):
    """Nodes and log-weights of a composite rule; panels meet at the middle of the interval."""
    x, w = legendre()
    edges = np.linspace(low, high, count + 1)
    size = 0.5 * np.diff(edges)[:, None]
    middle = 0.5 * (edges[1:] + edges[:-1])[:, None]
    return (middle + size * x).ravel(), np.log(size * w).ravel()


def log_density(target, theta):
    return target.log_likelihood("vectorised")(theta) + target.prior.log_density(np)(theta)


def log_integral(target, reference, block, low, high, count):
    """Log of the integral of p L over some coordinates, the others held at the reference."""
    x, log_w = panels(low, high, count)
    if len(block) == 1:
        points, log_w = x[:, None], log_w
    else:
        points = np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 2)
        log_w = (log_w[:, None] + log_w).ravel()
    theta = np.tile(reference, (len(points), 1))
    theta[:, block] = points
    return float(logsumexp(log_density(target, theta) + log_w))


def log_evidence_of_factors(target, reference, blocks, low, high, count):
    """Log Z of a target that is a product over blocks of coordinates."""
    at = log_density(target, reference[None])[0]
    parts = [log_integral(target, reference, b, low, high, count) - at for b in blocks]
    return at + sum(parts)


def singles(d):
    return [[i] for i in range(d)]


def log_evidence_of_pairs(target, reference, low, high, count):
    """Log Z of a product of equal pairs: the first and the last are integrated, and agree."""
    at = log_density(target, reference[None])[0]
    d = target.d
    first, last = (
        log_integral(target, reference, block, low, high, count)
        for block in ([0, 1], [d - 2, d - 1])
    )
    assert first == pytest.approx(last, abs=1e-12)
    return at + d / 2 * (first - at)


@pytest.mark.parametrize("name", ["rospair-10", "rospair-16", "rospair-20"])
def test_rosenbrock_pairs(targets, name):
    target = targets.load(name)
    found = log_evidence_of_pairs(target, np.ones(target.d), -10.0, 10.0, 12)
    assert found == pytest.approx(target.log_evidence, abs=1e-5)


def test_many_wells(targets):
    target = targets.load("many-well-32")
    reference = np.zeros(32)
    found = log_evidence_of_pairs(target, reference, -6.0, 6.0, 8)
    assert found == pytest.approx(target.log_evidence, abs=1e-5)
    right = log_integral(target, reference, [0], 0.0, 6.0, 12)
    both = log_integral(target, reference, [0], -6.0, 6.0, 8)
    assert math.exp(right - both) == pytest.approx(0.844307, abs=1e-6)


@pytest.mark.parametrize("name", ["loggamma-10", "loggamma-30"])
def test_log_gamma(targets, name):
    target = targets.load(name)
    found = log_evidence_of_factors(
        target, np.full(target.d, 2.0 / 3.0), singles(target.d), 0.0, 1.0, 40
    )
    assert found == pytest.approx(target.log_evidence, abs=1e-6)


def test_log_gamma_has_as_many_factors_of_each_kind_as_it_should(targets):
    target = targets.load("loggamma-10")
    x = np.linspace(0.4, 0.8, 10)
    skewed = loggamma(1.0, 2.0 / 3.0, 1.0 / 30.0).logpdf
    both = [loggamma(1.0, m, 1.0 / 30.0).logpdf(x[0]) for m in (1.0 / 3.0, 2.0 / 3.0)]
    normal = norm(2.0 / 3.0, 1.0 / 30.0).logpdf
    second = [norm(m, 1.0 / 30.0).logpdf(x[1]) for m in (1.0 / 3.0, 2.0 / 3.0)]
    expected = logsumexp(both) + logsumexp(second) + 2.0 * math.log(0.5)
    expected += skewed(x[2:6]).sum() + normal(x[6:]).sum()
    assert target.log_likelihood("vectorised")(x) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["shells-2", "shells-10", "shells-30"])
def test_shells(targets, name):
    target = targets.load(name)
    d = target.d
    r, log_w = panels(1.0, 3.5, 50)
    theta = np.zeros((r.size, d))
    theta[:, 0], theta[:, 1] = 3.5, r
    sphere = math.log(2.0) + 0.5 * d * math.log(math.pi) - gammaln(0.5 * d)
    radial = logsumexp(
        target.log_likelihood("vectorised")(theta) + (d - 1) * np.log(r) + log_w + sphere
    )
    found = math.log(2.0) + radial - d * math.log(12.0)
    assert found == pytest.approx(target.log_evidence, abs=1e-5)
    theta[:, 0] = -3.5
    mirrored = logsumexp(
        target.log_likelihood("vectorised")(theta) + (d - 1) * np.log(r) + log_w + sphere
    )
    assert mirrored == pytest.approx(radial, abs=1e-12)


def test_correlated_funnel(targets):
    target = targets.load("corr-funnel-20")
    m, rho = 19, 0.95
    # Given t and the common factor c the coordinates are independent, so that the mass inside
    # the box is a double integral of a product of normal probabilities.
    t, log_t = panels(-10.0, 10.0, 20)
    c, log_c = panels(-9.0, 9.0, 60)
    scale = np.exp(0.5 * t)[:, None]
    spread = scale * math.sqrt(1.0 - rho)
    shift = scale * math.sqrt(rho) * c
    inside = ndtr((10.0 - shift) / spread) - ndtr((-10.0 - shift) / spread)
    with np.errstate(divide="ignore"):
        log_mass = m * np.log(inside)
    log_mass += (norm.logpdf(t) + log_t)[:, None] + norm.logpdf(c) + log_c
    assert float(logsumexp(log_mass)) == pytest.approx(target.log_evidence, abs=1e-6)

    correlation = np.full((m, m), rho) + (1.0 - rho) * np.eye(m)
    rng = np.random.Generator(np.random.PCG64(0))
    u = rng.uniform(0.4, 0.6, (5, 20))
    x = 20.0 * (u - 0.5)
    expected = [
        norm.logpdf(row[0])
        + multivariate_normal(np.zeros(m), math.exp(row[0]) * correlation).logpdf(row[1:])
        + 20.0 * math.log(20.0)
        for row in x
    ]
    np.testing.assert_allclose(target.log_likelihood("vectorised")(u), expected, rtol=1e-9)


def test_funnel_is_the_funnel_once_the_prior_is_multiplied_back(targets):
    target = targets.load("funnel-10")
    rng = np.random.Generator(np.random.PCG64(1))
    theta = rng.normal(size=(6, 10)) * 3.0
    v = theta[:, :1]
    expected = norm.logpdf(v[:, 0], 0.0, 3.0)
    expected += norm.logpdf(theta[:, 1:], 0.0, np.exp(0.5 * v)).sum(1)
    np.testing.assert_allclose(log_density(target, theta), expected, rtol=1e-11)


@pytest.mark.parametrize(("name", "low"), [("boundary-4", 0.0), ("half-4", -9.0)])
def test_bounds_and_impossible_halves(targets, name, low):
    target = targets.load(name)
    high = 1.0 if low == 0.0 else 9.0
    reference = np.full(4, 0.5)
    found = log_evidence_of_factors(target, reference, singles(4), low, high, 40)
    assert found == pytest.approx(target.log_evidence, abs=1e-9)
    x, log_w = panels(low, high, 40)
    for j in range(4):
        theta = np.tile(reference, (x.size, 1))
        theta[:, j] = x
        log_p = log_density(target, theta) + log_w
        p = np.exp(log_p - logsumexp(log_p))
        assert p @ x == pytest.approx(target.mean[j], abs=1e-9)


@pytest.mark.parametrize("name", MIXTURES)
def test_mixtures_integrate_to_one(targets, name, shared_data):
    target = targets.load(name)
    # The trapezoid rule is exact to rounding for Gaussians wider than its step.
    x = np.arange(-50.0, 50.0, 0.5)
    grid = np.stack(np.meshgrid(x, x), -1).reshape(-1, 2)
    weight = np.exp(log_density(target, grid)) * 0.25
    assert weight.sum() == pytest.approx(1.0, abs=1e-9)
    np.testing.assert_allclose(weight @ grid, target.mean, atol=1e-6)


def test_mixtures_are_two_targets(targets, shared_data):
    sd = {}
    for name in MIXTURES:
        target = targets.load(name)
        x = np.arange(-50.0, 50.0, 0.5)
        grid = np.stack(np.meshgrid(x, x), -1).reshape(-1, 2)
        sd[name] = target.log_likelihood("vectorised")(grid).max()
    # A higher peak by at least log(1.3133^2 / 2): narrower components.
    assert sd["gmm-40-jax"] != pytest.approx(sd["gmm-40-torch"], abs=0.01)


# Real data: importance sampling from a Student-t at the mode, with torch for the derivatives.


def mode_and_covariance(target):
    """The mode of p L and the inverse of minus the second derivatives of its log there."""
    torch = pytest.importorskip("torch")
    likelihood = target.log_likelihood("torch")
    log_prior = target.prior.log_density(torch)

    def energy(theta):
        return -(likelihood(theta) + log_prior(theta))

    def with_gradient(theta):
        point = torch.tensor(theta, requires_grad=True)
        value = energy(point)
        (gradient,) = torch.autograd.grad(value, point)
        return float(value.detach()), gradient.numpy()

    mode = minimize(with_gradient, np.zeros(target.d), jac=True, method="BFGS").x
    hessian = torch.autograd.functional.hessian(energy, torch.tensor(mode)).numpy()
    return mode, np.linalg.inv(hessian)


def weigh(target, centre, covariance, draws, rng):
    """Draws from a Student-t of 10 degrees of freedom and their log-weights."""
    proposal = multivariate_t(centre, 0.8 * covariance, df=10)
    theta = proposal.rvs(draws, random_state=rng)
    blocks = np.array_split(theta, max(1, draws // 5000))
    density = np.concatenate([log_density(target, block) for block in blocks])
    return theta, density - proposal.logpdf(theta)


def log_mean(log_w):
    """Log of the mean weight and its standard error."""
    w = np.exp(log_w - log_w.max())
    return log_w.max() + math.log(w.mean()), w.std() / w.mean() / math.sqrt(w.size)


def importance_sampling(target, draws):
    """Log Z from a Student-t with the moments that draws around the mode have found."""
    rng = np.random.Generator(np.random.PCG64(0))
    theta, log_w = weigh(target, *mode_and_covariance(target), draws, rng)
    w = np.exp(log_w - logsumexp(log_w))
    centre = w @ theta
    covariance = (w[:, None] * (theta - centre)).T @ (theta - centre)
    return log_mean(weigh(target, centre, covariance, draws, rng)[1])


@pytest.mark.parametrize(
    ("name", "draws"), [("ionosphere", 30_000), ("sonar", 50_000), ("german-credit", 20_000)]
)
def test_regressions(targets, shared_data, name, draws):
    target = targets.load(name)
    found, error = importance_sampling(target, draws)
    assert error < 0.1
    assert abs(found - target.log_evidence) < 4.0 * math.hypot(error, target.log_evidence_error)


def test_german_credit_with_centred_columns_is_another_target(targets, shared_data):
    given = targets.load("german-credit")
    data = importlib.import_module("data_targets")
    table = np.loadtxt(shared_data / "static" / "german.data-numeric")
    x = (table[:, :-1] - table[:, :-1].mean(0)) / table[:, :-1].std(0)
    design = np.column_stack([np.ones(len(x)), x])
    sign = np.where(table[:, -1] == 1.0, 1.0, -1.0)
    centred = data.logistic("centred", design, sign, 10.0, given.log_evidence)
    found, error = importance_sampling(centred, 20_000)
    assert abs(found - given.log_evidence) > 4.0 * math.hypot(error, given.log_evidence_error)


def test_pines(targets, shared_data):
    target = targets.load("lgcp-1600")
    points = np.genfromtxt(
        shared_data / "static" / "pines.csv", delimiter=",", skip_header=1, usecols=(1, 2)
    )
    edges = np.linspace(0.0, 1.0, 41)
    y = np.histogram2d(points[:, 0], points[:, 1], [edges, edges])[0].ravel()
    assert y.sum() == 126.0
    centres = np.stack(np.meshgrid(*2 * (edges[:-1] + 0.0125,), indexing="ij"), -1).reshape(-1, 2)
    # Distances in the unit square over beta, which is the published form of the covariance.
    root = np.linalg.cholesky(1.91 * np.exp(-cdist(centres, centres) * 33.0))
    mean = math.log(126.0) - 0.955
    # Close to the best Gaussian in the sense of KL(q || posterior): Newton steps with the rates
    # that q expects.  The Laplace approximation at the mode is 9.5 nats off, with most counts
    # zero, so it would prove nothing.
    z, spread = np.zeros(1600), np.full(1600, 1.91)
    for _ in range(40):
        rate = np.exp(mean + root @ z + 0.5 * spread) / 1600.0
        half = np.linalg.cholesky(np.eye(1600) + root.T @ (rate[:, None] * root))
        step = cho_solve((half, True), root.T @ (y - rate) - z)
        z, before = z + step, spread
        spread = (solve_triangular(half, root.T, lower=True) ** 2).sum(0)
        if abs(step).max() < 0.02 and abs(spread - before).max() < 0.02:
            break
    rng = np.random.Generator(np.random.PCG64(0))
    e = rng.normal(size=(1600, 4000))
    theta = z + solve_triangular(half, e, lower=True, trans="T").T
    likelihood = target.log_likelihood("vectorised")(theta)
    field = mean + theta[:3] @ root.T
    expected = field @ y - np.exp(field).sum(1) / 1600.0
    np.testing.assert_allclose(likelihood[:3], expected, rtol=1e-9)
    log_w = likelihood - 0.5 * (theta**2).sum(1) + 0.5 * (e**2).sum(0)
    found, error = log_mean(log_w - np.log(np.diag(half)).sum())
    assert error < 0.2
    assert abs(found - target.log_evidence) < 4.0 * math.hypot(error, target.log_evidence_error)


# Dialects: one function, written several times.


@pytest.mark.parametrize("name", SYNTHETIC + MIXTURES + REGRESSIONS + ["lgcp-1600"])
def test_dialects_agree(targets, name, request):
    target = load(targets, name, request)
    rng = np.random.Generator(np.random.PCG64(2))
    u = rng.random((5, target.d))
    theta = target.prior.from_unit(u)
    expected = target.log_likelihood("vectorised")(theta)
    assert expected.shape == (5,)
    python = target.log_likelihood("python")
    np.testing.assert_allclose([python(row) for row in theta], expected, rtol=1e-11)
    if target.row is not None:
        row = target.row(lambda f: f)
        np.testing.assert_allclose([row(point) for point in theta], expected, rtol=1e-10)
    prior = target.scipy_prior()
    columns = [d.ppf(u[:, j]) for j, d in enumerate(prior.values())]
    np.testing.assert_allclose(np.stack(columns, 1), theta, rtol=1e-9, atol=1e-12)
    densities = sum(d.logpdf(theta[:, j]) for j, d in enumerate(prior.values()))
    np.testing.assert_allclose(target.prior.log_density(np)(theta), densities, rtol=1e-9)
    torch = sys.modules.get("torch")
    if torch is not None:
        points = torch.tensor(theta, requires_grad=True)
        values = target.log_likelihood("torch")(points)
        np.testing.assert_allclose(values.detach().numpy(), expected, rtol=1e-10)
        (gradient,) = torch.autograd.grad(values.sum(), points)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["rospair-10", "shells-10", "loggamma-10", "half-4"])
def test_compiled_rows_are_the_rows_themselves(targets, name):
    target = targets.load(name)
    rng = np.random.Generator(np.random.PCG64(3))
    theta = target.prior.from_unit(rng.random((20, target.d)))
    compiled = target.log_likelihood("compiled")
    expected = target.log_likelihood("vectorised")(theta)
    np.testing.assert_allclose([compiled(row) for row in theta], expected, rtol=1e-10)


def test_a_misspelt_name_is_told_what_exists(targets):
    with pytest.raises(ValueError, match=r"rospair-10.*'rospair10'"):
        targets.load("rospair10")
    with pytest.raises(ValueError, match="'compiled', which it does not have"):
        targets.Target(
            name="x", prior=targets.cube(0.0, 1.0, 1), log_evidence=0.0, batch=lambda xp: None
        ).log_likelihood("compiled")
