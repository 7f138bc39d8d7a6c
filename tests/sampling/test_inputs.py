"""Every way to hand over a target, a prior, bounds and first draws gives the same posterior."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
from scipy.special import i0e, i1e
from scipy.stats import (
    expon,
    gamma,
    multivariate_normal,
    multivariate_t,
    norm,
    uniform,
    vonmises_line,
)

from aisle_smc import Prior, Target, sample
from aisle_smc.distributions import Gaussian
from aisle_smc.sampling.session import Session
from tests.sampling import toys
from tests.sampling.toys import QUIET, score

# Normal means: two parameters, the evidence known.
Y, NOISE, SPREAD = toys.OBSERVED, toys.NOISE, toys.SPREAD
TOY = toys.conjugate()
PRIOR = TOY.arguments["prior"]
CONSTANT = float(-np.log(NOISE).sum() - math.log(2.0 * math.pi))


def run(target, *arguments, **options):
    return sample(target, *arguments, **{**QUIET, **options})


def right(result, log_evidence=TOY.log_evidence, mean=TOY.mean):
    """Assert that evidence and means are what they should be."""
    assert result.method == "draws"
    assert abs(score(result, log_evidence)) < 4
    assert (np.abs(result.mean - mean) < 5 * result.sd / math.sqrt(result.ess)).all()


# --- targets -------------------------------------------------------------------------------------


@numba.njit
def compiled(x):
    return CONSTANT - 0.5 * (((x[0] - 1.2) / 0.5) ** 2 + ((x[1] + 0.4) / 0.3) ** 2)


@numba.njit
def compiled_by_name(a, b):
    return CONSTANT - 0.5 * (((a - 1.2) / 0.5) ** 2 + ((b + 0.4) / 0.3) ** 2)


def batch(x):
    return CONSTANT - 0.5 * np.square((x - Y) / NOISE).sum(axis=1)


def row(x):
    return CONSTANT - 0.5 * sum(((x[j] - Y[j]) / NOISE[j]) ** 2 for j in range(2))


def by_name(b, a):
    return CONSTANT - 0.5 * (((a - 1.2) / 0.5) ** 2 + ((b + 0.4) / 0.3) ** 2)


def scalars_by_name(a, b):
    return CONSTANT - 0.5 * (math.pow((a - 1.2) / 0.5, 2) + math.pow((b + 0.4) / 0.3, 2))


@pytest.mark.parametrize(
    ("target", "dialect"),
    [
        (compiled, "compiled"),
        (compiled_by_name, "compiled"),
        (batch, "vectorised"),
        (by_name, "vectorised"),
        (row, "python"),
        (scalars_by_name, "python"),
        (lambda x: row(x), "python"),
        (Target(batch, vectorized=True), "vectorised"),
    ],
)
def test_functions_of_all_kinds(target, dialect):
    result = run(target, PRIOR)
    assert result.dialect == dialect
    right(result)
    assert f"({dialect})" in repr(result)


def test_vectorized_can_be_said():
    def function(x):
        return CONSTANT - 0.5 * np.square((x - Y) / NOISE).sum(axis=-1)

    assert run(function, PRIOR, vectorized=True).dialect == "vectorised"
    result = run(function, PRIOR, vectorized=False)
    assert result.dialect == "python"
    right(result)


def gradient(x):
    return -(x - Y) / NOISE**2


@pytest.mark.parametrize(
    "target",
    [
        Target(batch, gradient=gradient),
        Target(row, gradient=gradient),
        Target(batch, value_and_gradient=lambda x: (batch(x), gradient(x))),
    ],
)
def test_gradients(target):
    result = run(target, PRIOR)
    right(result)
    # In few dimensions the way starts at the prior all the same: climbs may miss a mode.
    assert result.trace[1].beta < 1.0


def test_gradients_in_many_dimensions():
    """They find the mode: the prior is left behind at once."""
    y = np.linspace(-2.0, 2.0, 30)

    def function(x):
        return norm.logpdf(x, y, NOISE[0]).sum(axis=1)

    def slope(x):
        return (y - x) / NOISE[0] ** 2

    result = sample(
        Target(function, gradient=slope), [norm()] * y.size, progress=False, evidence_error=0.02
    )
    exact = norm.logpdf(y, 0.0, np.hypot(1.0, NOISE[0])).sum()
    assert abs(result.log_evidence - exact) < 4.0 * result.log_evidence_error
    assert result.trace[1].beta == 1.0
    assert result.seconds["guessing"] > 0.0


def test_a_wrong_gradient_is_refused():
    with pytest.raises(ValueError, match="gradient"):
        run(Target(batch, gradient=lambda x: gradient(x) + 0.1), PRIOR)


def test_torch(tmp_path):
    torch = pytest.importorskip("torch")
    y, noise = torch.tensor(Y), torch.tensor(NOISE)

    def function(x):
        return CONSTANT - 0.5 * torch.square((x - y) / noise).sum(dim=-1)

    result = run(function, PRIOR, file=tmp_path / "run")
    assert result.dialect == "torch"
    right(result)
    toys.same_bits(run(function, PRIOR, file=tmp_path / "run"), result)


def test_two_modes_with_gradients():
    """Climbs find both modes, or else the run starts at the prior; neither is lost."""

    def slope(x):
        parts = norm.logpdf(x[:, None, :], toys.MODES, toys.SIZE[:, None]).sum(axis=2)
        share = toys.MASS * np.exp(parts - toys.two_modes_log_likelihood(x)[:, None])
        pull = (toys.MODES - x[:, None, :]) / toys.SIZE[:, None] ** 2
        return (share[:, :, None] * pull).sum(axis=1)

    toy = toys.two_modes()
    result = toys.Toy(
        Target(toy.function, gradient=slope), toy.arguments, toy.log_evidence, toy.mean
    ).run()
    assert abs(score(result, toy.log_evidence)) < 4


# --- blobs ---------------------------------------------------------------------------------------


def test_blobs_stay_with_their_points():
    def function(x):
        return batch(x), x[:, 0] - 2.0 * x[:, 1], np.floor(x[:, 0])

    result = run(function, PRIOR)
    right(result)
    assert result.blobs.shape == (result.posterior.n,)
    x = result.x
    np.testing.assert_array_equal(result.blobs["blob_0"], x[:, 0] - 2.0 * x[:, 1])
    np.testing.assert_array_equal(result.blobs["blob_1"], np.floor(x[:, 0]))
    np.testing.assert_allclose(result.log_likelihood, batch(x), rtol=1e-9, atol=1e-9)
    rows = result.posterior.indices(50)
    np.testing.assert_array_equal(result.draws(50), x[rows])


@pytest.mark.parametrize("path", ["pool", "replicates"])
def test_blobs_of_other_methods(path, monkeypatch):
    def function(x):
        return row(x), {"sum": x[0] + x[1], "words": f"a is {x[0]:.3f}"}

    limit = None
    if path == "pool":
        limit = 900
    else:
        monkeypatch.setattr(Session, "_proposal", lambda self: None)
    result = run(function, PRIOR, n=100, max_evaluations=limit)
    assert result.method == path
    x = result.x
    assert list(result.blobs["sum"]) == list(x[:, 0] + x[:, 1])
    assert list(result.blobs["words"]) == [f"a is {a:.3f}" for a in x[:, 0]]
    np.testing.assert_allclose(result.log_likelihood, batch(x), rtol=1e-9, atol=1e-9)


def test_blobs_where_a_joint_prior_is_zero():
    toy = toys.cut_off_joint()

    def function(x):
        return toys.narrow_log_likelihood(x), x.sum(axis=1)

    result = toys.Toy(function, toy.arguments, toy.log_evidence, toy.mean).run()
    inside = result.weights > 0.0
    np.testing.assert_array_equal(result.blobs[inside], result.x[inside].sum(axis=1))
    assert (result.blobs[~inside] == 0.0).all()


# --- priors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prior", "names", "free"),
    [
        (PRIOR, None, ("a", "b")),
        (Prior(PRIOR), None, ("a", "b")),
        (Prior(PRIOR), ("a", "b"), ("a", "b")),
        (list(PRIOR.values()), None, ("x0", "x1")),
        (tuple(PRIOR.values()), ["mu", "nu"], ("mu", "nu")),
        (multivariate_normal([0.0, 0.0], np.diag(SPREAD**2)), ["u", "v"], ("u", "v")),
        (Gaussian(mean=np.zeros(2), root=np.diag(SPREAD)), None, ("x0", "x1")),
    ],
)
def test_priors_of_all_kinds(prior, names, free):
    result = run(batch, prior, names=names)
    assert result.names == free
    right(result)


def test_a_correlated_joint_prior():
    covariance = np.array([[4.0, 1.2], [1.2, 1.0]])
    result = run(batch, multivariate_normal([0.3, 0.0], covariance))
    total = covariance + np.diag(NOISE**2)
    mean = [0.3, 0.0] + covariance @ np.linalg.solve(total, Y - [0.3, 0.0])
    right(result, float(multivariate_normal([0.3, 0.0], total).logpdf(Y)), mean)


def test_a_joint_prior_with_heavy_tails_and_gradients():
    """Not a normal one: explored in the parameters themselves."""
    prior = multivariate_t([0.0, 0.0], [[2.0, 0.5], [0.5, 1.0]], df=8)
    x = np.stack(np.meshgrid(*(np.linspace(m - 4.5, m + 4.5, 700) for m in Y)), -1).reshape(-1, 2)
    mass = np.exp(batch(x) + prior.logpdf(x))
    truth = math.log(mass.sum() * (9.0 / 699.0) ** 2)
    for target in (batch, Target(batch, gradient=gradient)):
        right(run(target, prior), truth, mass @ x / mass.sum())


def test_constants_and_ties():
    """``scale`` is tied to ``size`` and ``shift`` fixed: one free parameter beside ``a``."""

    def log_likelihood(a, size, scale, shift):
        return -0.5 * (a - 1.0) ** 2 - (size + scale) + shift

    prior = {"a": norm(0, 1), "size": gamma(2), "scale": "size", "shift": 3.0}
    result = run(log_likelihood, prior)
    assert result.names == ("a", "size")
    # gamma(2) times exp(-2 s) has the mass 1/9 and the mean 2/3.
    truth = norm.logpdf(1.0, 0.0, math.sqrt(2.0)) + 0.5 * math.log(2 * math.pi) - math.log(9.0) + 3
    right(result, truth, [0.5, 2.0 / 3.0])
    vector = run(lambda x: log_likelihood(*x.T), prior)
    toys.same_bits(vector, result)
    slope = Target(
        lambda x: log_likelihood(*x.T),
        gradient=lambda x: np.stack(
            [1.0 - x[:, 0], -np.ones(len(x)), -np.ones(len(x)), np.ones(len(x))], axis=1
        ),
    )
    right(run(slope, prior), truth, [0.5, 2.0 / 3.0])


def test_one_parameter():
    result = run(lambda mu: norm.logpdf(1.2, mu, 0.5), {"mu": norm(0, 2)})
    right(result, norm.logpdf(1.2, 0.0, math.hypot(2.0, 0.5)), 1.2 * 4.0 / 4.25)
    assert result.names == ("mu",)


# --- bare densities ------------------------------------------------------------------------------


def bare(x):
    """Log of ``exp(-x) y^2 exp(-y^2 / 2)`` on the right half planes: mass sqrt(pi / 2)."""
    with np.errstate(divide="ignore"):
        return -x[:, 0] + 2.0 * np.log(np.abs(x[:, 1])) - 0.5 * x[:, 1] ** 2


BARE = 0.5 * math.log(0.5 * math.pi)
RIGHT = np.random.default_rng(3).gamma(2.0, 0.7, size=(60, 2)) + 0.01


def test_a_density_in_a_box():
    result = run(bare, bounds={"x": (0.0, 2.0), "y": (-1.0, 3.0)})
    y = np.linspace(-1.0, 3.0, 100_001)
    density = y**2 * np.exp(-0.5 * y**2)
    mass, moment = np.trapezoid(density, y), np.trapezoid(y * density, y)
    e = math.exp(-2.0)
    truth = math.log(1.0 - e) + math.log(mass)
    right(result, truth, [1.0 - 2.0 * e / (1.0 - e), moment / mass])
    assert result.names == ("x", "y")


def test_a_density_with_first_draws():
    result = run(batch, init=np.random.default_rng(1).normal(Y, 0.5, size=(40, 2)))
    right(result, 0.0, Y)
    assert result.names == ("x0", "x1")


def test_first_draws_that_are_far_off():
    result = run(batch, init=np.random.default_rng(1).normal(Y + 3.0, 0.2, size=(40, 2)))
    right(result, 0.0, Y)


def test_first_draws_by_name_and_bounds_with_no_end():
    bounds = {"x": (0.0, None), "y": (0.0, math.inf)}
    init = {"y": RIGHT[:, 1], "x": RIGHT[:, 0]}
    result = run(bare, bounds=bounds, init=init)
    right(result, BARE, [1.0, math.sqrt(8.0 / math.pi)])
    assert (result.x > 0.0).all()
    mirrored = run(
        lambda x: bare(-x), bounds=[(None, 0.0), (None, 0)], init=-RIGHT, names=["x", "y"]
    )
    right(mirrored, BARE, [-1.0, -math.sqrt(8.0 / math.pi)])


def test_first_draws_in_a_box_integrate_over_the_box():
    init = np.random.default_rng(2).uniform(0.05, 0.95, size=(50, 4))
    toy = toys.boundary()
    result = run(toy.function, bounds=[(0.0, 1.0)] * 4, init=init)
    right(result, toy.log_evidence, toy.mean)


def test_first_draws_with_a_prior_change_no_evidence():
    """They say where to start, and are neither prior nor data."""
    wrong = np.random.default_rng(4).normal([-2.0, 0.5], 0.3, size=(30, 2))
    right(run(batch, PRIOR, init=wrong))
    right(run(batch, PRIOR, init={"b": wrong[:, 1], "a": wrong[:, 0]}))
    positive = {"r0": expon(), "r1": gamma(2)}
    toy = toys.skewed()
    right(run(toy.function, positive, init=RIGHT), toy.log_evidence, toy.mean)


def test_a_density_with_gradients_and_first_draws():
    target = Target(batch, gradient=gradient)
    init = np.random.default_rng(1).normal(Y, 0.5, size=(40, 2))
    right(run(target, init=init), 0.0, Y)
    right(run(target, PRIOR, init=init))


def test_one_parameter_without_a_prior():
    draws = np.random.default_rng(1).normal(0.0, 1.0, size=30)
    result = run(lambda mu: -0.5 * (mu - 0.5) ** 2, init=draws[:, None], names=["mu"])
    right(result, 0.5 * math.log(2.0 * math.pi), 0.5)
    toys.same_bits(run(lambda mu: -0.5 * (mu - 0.5) ** 2, init=draws, names="mu"), result)


# --- angles --------------------------------------------------------------------------------------


def around(centre, kappa=8.0):
    """A von Mises peak in ``t``, and a normal one in ``y`` that depends on it."""

    def log_density(t, y):
        return kappa * np.cos(t - centre) - 0.5 * (y - 0.3 * np.sin(t - centre)) ** 2 / 0.04

    log_mass = math.log(i0e(kappa)) + kappa  # of the uniform prior on the circle
    return log_density, log_mass + 0.5 * math.log(0.04) - 0.5 * math.log(1.0)


def angle_prior(low=0.0):
    return {"t": uniform(low, 2.0 * math.pi), "y": uniform(-4.0, 8.0)}


LOG_UNIFORM = 0.5 * math.log(2.0 * math.pi) - math.log(8.0)


@pytest.mark.parametrize(("low", "centre"), [(0.0, 0.1), (-math.pi, 3.0), (0.0, 2.0)])
def test_a_mode_across_the_cut(low, centre):
    log_density, log_mass = around(centre)
    truth = log_mass + LOG_UNIFORM
    cut = run(log_density, angle_prior(low))
    whole = run(log_density, angle_prior(low), periodic=["t"])
    for result in (cut, whole):
        assert abs(score(result, truth)) < 4
        t = result["t"]
        assert ((t >= low) & (t <= low + 2.0 * math.pi)).all()
        direction = np.sum(result.weights * np.exp(1j * (t - centre)))
        assert abs(np.angle(direction)) < 0.03
        assert abs(direction) == pytest.approx(i1e(8.0) / i0e(8.0), abs=0.02)
    # One peak is easier than two halves far apart.
    assert whole.method == "draws"
    toys.same_bits(run(log_density, angle_prior(low), periodic="t"), whole)


def test_an_angle_that_is_not_uniform_and_bounds():
    centre = 0.05
    log_density, log_mass = around(centre)
    prior = {**angle_prior(), "t": vonmises_line(0.5, loc=0.0)}
    result = run(log_density, prior, periodic=["t"])
    t = np.linspace(-math.pi, math.pi, 20_001)
    density = np.exp(8.0 * np.cos(t - centre)) * vonmises_line(0.5).pdf(t)
    truth = math.log(np.trapezoid(density, t)) + 0.5 * math.log(0.04) + LOG_UNIFORM
    assert abs(score(result, truth)) < 4
    # A bare density over one turn: the volume is given back.
    box = run(log_density, bounds={"t": (0.0, 2 * math.pi), "y": (-4, 4)}, periodic=["t"])
    assert abs(score(box, log_mass + LOG_UNIFORM + math.log(16.0 * math.pi))) < 4


def test_an_angle_with_gradients():
    def gradient(x):
        t, away = x[:, 0] - 0.1, x[:, 1] - 0.3 * np.sin(x[:, 0] - 0.1)
        slope = -8.0 * np.sin(t) + 0.3 * away * np.cos(t) / 0.04
        return np.stack([slope, -away / 0.04], axis=1)

    log_density, log_mass = around(0.1)
    target = Target(lambda x: log_density(x[:, 0], x[:, 1]), gradient=gradient)
    result = run(target, angle_prior(), periodic=["t"])
    assert abs(score(result, log_mass + LOG_UNIFORM)) < 4
