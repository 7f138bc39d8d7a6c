"""The ready models: their functions agree with one another and with what is known exactly."""

from __future__ import annotations

import inspect
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from aisle_smc import DegenerateWeights, stream
from aisle_smc.priors import Prior
from aisle_smc.ssm import (
    SIR,
    Auxiliary,
    Bootstrap,
    Guided,
    LinearGaussian,
    LinearGaussianSystem,
    LocalLevel,
    Ricker,
    StochasticVolatility,
    ThetaLogistic,
    kalman_filter,
    particle_filter,
)
from aisle_smc.ssm.zoo import LinearGaussianParams
from aisle_smc.ssm.zoo.linear_gaussian import _lower, log_density_seen
from aisle_smc.ssm.zoo.volatility import normal_score
from tests.oracles.pointmass import point_mass_filter

GUIDES = [Guided(), Auxiliary(), Auxiliary(Guided())]

SYSTEM = LinearGaussianSystem(
    transition_matrix=[[0.9, 0.3], [-0.2, 0.8]],
    transition_covariance=[[0.3, 0.1], [0.1, 0.2]],
    observation_matrix=[[1.0, 0.0], [0.5, 1.0]],
    observation_covariance=[[0.5, 0.2], [0.2, 0.4]],
    initial_mean=[1.0, 0.0],
    initial_covariance=[[1.0, 0.3], [0.3, 0.5]],
    transition_intercept=[0.1, 0.0],
    observation_intercept=[0.0, 0.2],
)

# Model, parameters, and the guided filters it has.
ZOO = {
    "local level": (
        LocalLevel(),
        {"level_sd": 0.8, "observation_sd": 1.1, "initial_mean": 0.5, "initial_sd": 1.5},
        GUIDES,
    ),
    "linear-Gaussian": (LinearGaussian(2, 2), LinearGaussianParams.of(SYSTEM), GUIDES[2:]),
    "volatility": (StochasticVolatility(), {"mu": -0.6, "rho": 0.9, "sigma": 0.5}, GUIDES),
    "volatility, leverage": (
        StochasticVolatility(leverage=True),
        {"mu": -0.6, "rho": 0.9, "sigma": 0.5, "leverage": -0.7},
        [],
    ),
    "volatility, Student": (
        StochasticVolatility(student_t=True),
        {"mu": -0.6, "rho": 0.9, "sigma": 0.5, "df": 5.0},
        [],
    ),
    "volatility, leverage, Student": (
        StochasticVolatility(leverage=True, student_t=True),
        {"mu": -0.6, "rho": 0.9, "sigma": 0.5, "leverage": -0.7, "df": 5.0},
        [],
    ),
    "theta-logistic": (
        ThetaLogistic(initial_mean=1.0),
        {
            "growth": 0.4,
            "log_capacity": 2.0,
            "theta": 1.3,
            "process_sd": 0.3,
            "observation_sd": 0.4,
            "initial_mean": 1.0,
            "initial_sd": 1.0,
        },
        GUIDES,
    ),
    "Ricker": (
        Ricker(),
        {
            "log_growth": 3.8,
            "process_sd": 0.3,
            "sampling": 10.0,
            "initial_mean": 1.0,
            "initial_sd": 1.0,
        },
        [],
    ),
    "SIR": (
        SIR(500),
        {
            "reproduction": 2.5,
            "infectious_period": 4.0,
            "reporting": 0.6,
            "overdispersion": 0.3,
            "initial_infected": 0.02,
            "false_reports": 0.1,
            "population": 500.0,
        },
        [],
    ),
}
names = pytest.mark.parametrize("name", ZOO)


def bound(model, params, y):
    return model.bind(model.parameters(params), y, model.covariate_rows(None, len(y)))


def simulated(name, length, seed=1):
    """Return states and observations, one time after the other."""
    model, params, _ = ZOO[name]
    rng = stream(seed)
    width = len(model.observation_names)
    y = np.zeros((length, width) if width > 1 else length)
    states = []
    for t in range(length):
        now = bound(model, params, y)
        before = states[-1] if states else None
        x = now.start(rng, 1)[0] if before is None else now.move(rng, t, before)[0]
        y_prev = np.full((1, *y.shape[1:]), math.nan) if t == 0 else y[t - 1 : t]
        y[t] = now.observe(rng, t, x, x if before is None else before, y_prev)[0]
        states.append(x)
    return np.concatenate(states), y


def score(values, truth):
    values = np.asarray(values, dtype=float)
    return (values.mean() - truth) / (values.std(ddof=1) / math.sqrt(values.size))


# --- every model ---------------------------------------------------------------------------------


@names
def test_a_filter_runs_and_its_densities_are_finite(name):
    model, params, _ = ZOO[name]
    states, y = simulated(name, 30)
    result = particle_filter(model, params, y, 300)
    assert np.isfinite(result.log_evidence)
    assert np.isfinite(result.mean).all()
    now = bound(model, params, y)
    for t in range(1, 30):
        assert np.isfinite(now.log_transition(t, states[t - 1 : t], states[t : t + 1])).all()


@names
def test_missing_observations_are_fine(name):
    model, params, guides = ZOO[name]
    _, y = simulated(name, 12)
    y[[0, 4, 5]] = math.nan
    for proposal in [Bootstrap(), *guides]:
        result = particle_filter(model, params, y, 200, proposal=proposal)
        assert np.isfinite(result.log_evidence)
        assert result.log_evidence_increments[[0, 4, 5]] == pytest.approx(0.0, abs=1e-12)


@names
def test_the_transition_has_its_density(name):
    """For X drawn from f, E q(X) / f(X) = 1 for every density q within its support."""
    model, params, _ = ZOO[name]
    states, y = simulated(name, 12)
    now = bound(model, params, y)
    t, n = 9, 20_000
    before = np.repeat(states[t - 1 : t], n, axis=0)
    x, _ = now.move(stream(2), t, before)
    log_f = now.log_transition(t, states[t - 1 : t], x)[:, 0]
    if name == "SIR":
        # Counts: the frequency of every outcome is its probability.
        outcomes, first, counts = np.unique(x, axis=0, return_index=True, return_counts=True)
        often = counts > 50
        p = np.exp(log_f[first])
        assert often.sum() > 20
        assert (p.sum()) <= 1.0
        z = (counts - n * p) / np.sqrt(n * p * (1.0 - p))
        assert (abs(z[often]) < 4.5).all()
        assert outcomes.shape[1] == 3
        return
    centre, spread = x.mean(axis=0), 0.6 * x.std(axis=0)
    log_q = stats.norm.logpdf(x, centre, spread).reshape(n, -1).sum(axis=1)
    assert abs(score(np.exp(log_q - log_f), 1.0)) < 4


@names
def test_what_is_observed_has_its_density(name):
    """E q(Y) / g(Y | x) = 1 for draws Y of ``observe`` and any q within the support of g."""
    model, params, _ = ZOO[name]
    states, y = simulated(name, 12)
    n, rng = 4000, stream(3)
    x = np.repeat(states[5:6], n, axis=0)
    now = bound(model, params, y)
    drawn = now.observe(rng, 5, x, np.repeat(states[4:5], n, axis=0), np.repeat(y[4:5], n, axis=0))
    density = model.functions()["log_observation"]
    more = (model.parameters(params),) if len(inspect.signature(density).parameters) == 3 else ()
    state = model.state(*states[5]) if name == "SIR" else states[5]
    log_g = np.array([density(each, state, *more) for each in drawn])
    assert np.isfinite(log_g).all()
    if name in ("SIR", "Ricker"):
        counts, first, times = np.unique(drawn, return_index=True, return_counts=True)
        p_count = np.exp(log_g[first])
        z = (times - n * p_count) / np.sqrt(n * p_count * (1.0 - p_count))
        assert (abs(z[times > 30]) < 4.5).all()
        assert counts.size > 3
        return
    centre, spread = np.median(drawn, axis=0), 0.5 * stats.median_abs_deviation(drawn, axis=0)
    log_q = stats.norm.logpdf(drawn, centre, spread).reshape(n, -1).sum(axis=1)
    assert abs(score(np.exp(log_q - log_g), 1.0)) < 4


@pytest.mark.parametrize("name", [name for name, (*_, guides) in ZOO.items() if guides])
def test_guided_filters_find_the_same_evidence(name):
    """200 runs each with n = 100; a disagreement of four standard errors fails."""
    model, params, guides = ZOO[name]
    _, y = simulated(name, 8)
    y[3] = math.nan
    found = []
    for proposal in [Bootstrap(), *guides]:
        runs = [
            particle_filter(
                model, params, y, 100, proposal=proposal, seed=seed, quantiles=()
            ).log_evidence
            for seed in range(200)
        ]
        found.append(np.exp(np.array(runs)))
    for other in found[1:]:
        error = math.hypot(found[0].std(), other.std()) / math.sqrt(200)
        assert abs(found[0].mean() - other.mean()) < 4 * error


@names
def test_models_can_be_pickled(name):
    model, params, _ = ZOO[name]
    other = pickle.loads(pickle.dumps(model))
    assert other.functions() == model.functions()
    assert other.parameters(params)._fields == model.parameter_names


@pytest.mark.parametrize("name", [name for name in ZOO if name != "linear-Gaussian"])
def test_default_priors(name):
    """Every draw from the prior is a parameter that a filter can run with."""
    model, params, _ = ZOO[name]
    prior = model.prior
    assert isinstance(prior, Prior)
    assert prior.names == model.parameter_names
    _, y = simulated(name, 5)
    found = []
    for draw in prior.with_constants(prior.sample(np.random.default_rng(1), 200)):
        try:
            found.append(particle_filter(model, draw, y, 20, quantiles=()).log_evidence)
        except DegenerateWeights:
            found.append(-math.inf)
    assert not np.isnan(found).any()
    assert np.isfinite(found).sum() > 100
    z = prior.unconstrain(prior.vector(params))
    assert np.isfinite(prior.log_density_unconstrained(z))


def test_a_prior_can_be_replaced_in_part():
    model = StochasticVolatility(prior={"mu": stats.norm(1.0, 0.5), "rho": 0.9})
    assert model.prior.free == ("mu", "sigma")
    assert model.prior.constants == {"rho": 0.9}
    with pytest.raises(ValueError, match="unknown: mue"):
        StochasticVolatility(prior={"mue": stats.norm(1.0, 0.5)})
    assert SIR(300, prior={"population": 200.0}).prior.constants["population"] == 200.0


def test_the_zoo_is_imported_without_its_priors():
    code = "import sys, aisle_smc.ssm.zoo; sys.exit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- one model at a time -------------------------------------------------------------------------


def test_linear_gaussian_against_kalman():
    """Correlated noise, intercepts, single components missing; 150 runs with n = 300."""
    model, params, guides = ZOO["linear-Gaussian"]
    _, y = simulated("linear-Gaussian", 7)
    y[2] = y[4, 0] = y[5, 1] = math.nan
    exact = kalman_filter(SYSTEM, y)
    for proposal in [Bootstrap(), *guides]:
        runs = [
            particle_filter(model, params, y, 300, proposal=proposal, seed=seed, quantiles=())
            for seed in range(150)
        ]
        ratios = np.exp([run.log_evidence - exact.log_evidence for run in runs])
        assert abs(score(ratios, 1.0)) < 4
        for t in range(7):
            for k in range(2):
                weighed = [
                    math.exp(np.sum(run.log_evidence_increments[: t + 1])) * run.mean[t, k]
                    for run in runs
                ]
                scale = math.exp(np.sum(exact.log_evidence_increments[: t + 1]))
                assert abs(score(weighed, scale * exact.filtered_mean[t, k])) < 4


def test_linear_gaussian_moves_without_noise_in_a_direction():
    """A random walk with a drift that wanders: Q has rank one."""
    system = LinearGaussianSystem(
        transition_matrix=[[1.0, 1.0], [0.0, 1.0]],
        transition_covariance=[[0.0, 0.0], [0.0, 0.1]],
        observation_matrix=[[1.0, 0.0], [1.0, 1.0]],
        observation_covariance=[[0.5, 0.1], [0.1, 0.6]],
        initial_mean=[0.0, 0.3],
        initial_covariance=[[0.2, 0.0], [0.0, 0.1]],
    )
    y = np.array([[0.2, 0.0], [0.9, 1.4], [1.1, 2.0], [2.5, 2.6]])
    model, params = LinearGaussian(2, 2), LinearGaussianParams.of(system)
    runs = [particle_filter(model, params, y, 300, seed=seed).log_evidence for seed in range(100)]
    assert abs(score(np.exp(runs), math.exp(kalman_filter(system, y).log_evidence))) < 4


def test_linear_gaussian_needs_constant_matrices():
    varying = LinearGaussianSystem(
        transition_matrix=np.ones((4, 1, 1)),
        transition_covariance=1.0,
        observation_matrix=1.0,
        observation_covariance=1.0,
        initial_mean=0.0,
        initial_covariance=1.0,
    )
    with pytest.raises(ValueError, match="do not vary in time"):
        LinearGaussianParams.of(varying)


def test_lower_factors_of_any_rank():
    rng = np.random.default_rng(1)
    for rank in range(4):
        root = rng.normal(size=(3, rank))
        covariance = root @ root.T
        factor = _lower(covariance)
        np.testing.assert_allclose(factor @ factor.T, covariance, atol=1e-12)
        assert (np.triu(factor, 1) == 0.0).all()
        assert (np.diag(factor) >= 0.0).all()


def test_density_of_the_components_seen():
    rng = np.random.default_rng(2)
    root = rng.normal(size=(4, 4))
    covariance, mean, y = root @ root.T, rng.normal(size=4), rng.normal(size=4)
    for pattern in range(16):
        seen = np.array([pattern >> k & 1 for k in range(4)], dtype=bool)
        expected = 0.0
        if seen.any():
            part = covariance[np.ix_(seen, seen)]
            expected = stats.multivariate_normal.logpdf(y[seen], mean[seen], part)
        found = log_density_seen(np.where(seen, y, math.nan), mean, covariance)
        assert found == pytest.approx(expected, abs=1e-10)


def volatility_point_mass(y, params):
    mu, rho, sigma = params["mu"], params["rho"], params["sigma"]
    stationary = sigma / math.sqrt(1.0 - rho**2)
    return point_mass_filter(
        y,
        np.linspace(mu - 8 * stationary, mu + 8 * stationary, 600),
        lambda x: stats.norm.logpdf(x, mu, stationary),
        lambda x_prev, x: stats.norm.logpdf(x, mu + rho * (x_prev - mu), sigma),
        lambda y, x: (
            stats.t.logpdf(y, params["df"], 0.0, np.exp(0.5 * x))
            if "df" in params
            else stats.norm.logpdf(y, 0.0, np.exp(0.5 * x))
        ),
    )


@pytest.mark.parametrize("leverage", [False, True])
def test_degrees_of_freedom_leave_returns_of_zero_bounded(leverage):
    """With 5 returns of exactly 0 among 50, a vanishing volatility must not pay."""
    prior = StochasticVolatility(student_t=True, leverage=leverage).prior
    df = prior.sample(stream(1), 10_000)[:, prior.names.index("df")]
    assert df.mean() == pytest.approx(20.0, rel=0.03)
    assert df.min() > 2.0

    def gained(df):
        """What the density of the returns gains as the log-variance falls from 0 to -400."""
        y = np.where(np.arange(50) % 10, 1.0, 0.0)
        there, here = (stats.t.logpdf(y, df, 0.0, np.exp(0.5 * x)).sum() for x in (-400.0, 0.0))
        return there - here

    assert gained(df.min()) < -1000.0
    assert gained(0.01) > 500.0  # a prior that begins at 0 has such values


@pytest.mark.parametrize("name", ["volatility", "volatility, Student"])
def test_volatility_against_a_grid(name):
    """200 runs with n = 200, one return of five standard deviations among them."""
    model, params, _ = ZOO[name]
    _, y = simulated(name, 10)
    y[6] = 4.0
    y[3] = math.nan
    exact = volatility_point_mass(y, params)
    runs = [
        particle_filter(model, params, y, 200, seed=seed, quantiles=()).log_evidence
        for seed in range(200)
    ]
    assert abs(score(np.exp(np.array(runs) - exact.log_evidence), 1.0)) < 4


def test_leverage_lets_a_fall_raise_volatility():
    model, params, _ = ZOO["volatility, leverage"]
    now = bound(model, params, np.array([-2.0, 0.0, 0.0]))
    rng, x = stream(4), np.full(20_000, -0.6)
    after_fall, _ = now.move(rng, 1, x)
    shock = -2.0 * math.exp(0.3)
    mean, sd = -0.6 + 0.5 * -0.7 * shock, 0.5 * math.sqrt(1.0 - 0.49)
    assert abs(score(after_fall, mean)) < 4
    assert after_fall.std() == pytest.approx(sd, rel=0.03)
    # Where the return is missing, the shock is drawn as if there were no leverage.
    unknown, _ = bound(model, params, np.array([math.nan, 0.0, 0.0])).move(rng, 1, x)
    assert abs(score(unknown, -0.6)) < 4
    assert unknown.std() == pytest.approx(0.5, rel=0.03)


def test_no_leverage_is_the_plain_model():
    _, y = simulated("volatility", 20)
    model, params, _ = ZOO["volatility, leverage"]
    plain, plain_params, _ = ZOO["volatility"]
    a = particle_filter(model, {**params, "leverage": 0.0}, y, 100).log_evidence
    assert a == pytest.approx(particle_filter(plain, plain_params, y, 100).log_evidence, abs=1e-9)


def test_normal_scores():
    """Wallace's formula is within 0.05 of the normal quantile where the mass is."""
    for df in (3.0, 5.0, 20.0, 1e6):
        t = stats.t.ppf([0.005, 0.05, 0.4, 0.5, 0.8, 0.99], df)
        found = [normal_score(each, df) for each in t]
        np.testing.assert_allclose(found, stats.norm.ppf(stats.t.cdf(t, df)), atol=0.05)
    assert math.isnan(normal_score(math.nan, 5.0))


def test_theta_logistic_settles_at_its_capacity():
    model, params, _ = ZOO["theta-logistic"]
    quiet = {**params, "process_sd": 1e-6, "initial_mean": -1.0, "initial_sd": 1e-6}
    now, x = bound(model, quiet, np.zeros(80)), None
    for t in range(80):
        x = now.start(stream(0), 1)[0] if t == 0 else now.move(stream(t), t, x)[0]
    assert x[0] == pytest.approx(params["log_capacity"], abs=1e-4)


def test_ricker_is_the_map():
    model, params, _ = ZOO["Ricker"]
    now = bound(model, {**params, "process_sd": 1e-9}, np.zeros(2))
    x, _ = now.move(stream(0), 1, np.array([1.2]))
    assert x[0] == pytest.approx(3.8 + 1.2 - math.exp(1.2), abs=1e-7)


def test_sir_counts_people():
    states, y = simulated("SIR", 60)
    susceptible, infected, new_cases = states.T
    assert (states >= 0).all()
    assert (states == np.round(states)).all()
    assert (y == np.round(y)).all()
    np.testing.assert_array_equal(-np.diff(susceptible), new_cases[1:])
    removed = 500.0 - susceptible - infected
    assert (np.diff(removed) >= 0).all()
    assert susceptible[-1] < 300


def test_sir_reports_have_the_variance_of_a_negative_binomial():
    model, params, _ = ZOO["SIR"]
    x = np.tile([300.0, 90.0, 40.0], (40_000, 1))
    y = bound(model, params, np.zeros(3)).observe(stream(6), 1, x, x, np.zeros(40_000))
    mean = 0.6 * 40.0 + 0.1
    assert abs(score(y, mean)) < 4
    assert abs(score((y - mean) ** 2, mean + 0.3**2 * mean**2)) < 4
