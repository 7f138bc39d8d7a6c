"""Particle filters: unbiased at few particles, the same in both drivers, right beside Kalman."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from aisle_kernels.resampling import residual_uniforms, systematic_uniforms
from aisle_kernels.resampling import systematic as systematic_kernel
from scipy.stats import norm

from aisle_smc import DegenerateWeights, smc, stream
from aisle_smc.resampling import (
    killing,
    multinomial,
    optimal,
    residual,
    ssp,
    stratified,
    systematic,
)
from aisle_smc.ssm import (
    Auxiliary,
    Bootstrap,
    EvidenceFilter,
    Guided,
    LinearGaussianSystem,
    LocalLevel,
    StateSpaceModel,
    StochasticVolatility,
    kalman_filter,
    log_evidence,
    log_evidences,
    nile,
    particle_filter,
)
from aisle_smc.ssm.stage import FilterStage
from tests.oracles.feynman_kac import random_model
from tests.oracles.models import (
    DRIFT,
    DRIFT_DATA,
    DRIFT_PARAMS,
    GROWTH,
    GROWTH_DATA,
    GROWTH_PARAMS,
    RING,
    RING_DATA,
    RING_PARAMS,
    Plain,
    filter_one_by_one,
    forgetful_residual,
)

SCHEMES = [multinomial, residual, stratified, systematic, ssp, killing]
PROPOSALS = [Bootstrap(), Guided(), Auxiliary(), Auxiliary(Guided())]

# A local level, seen six times, once not: far from symmetric, so that a wrong sign shows.
LEVEL = LocalLevel()
LEVEL_PARAMS = LEVEL.parameters(
    {"level_sd": 1.0, "observation_sd": 2.0, "initial_mean": 0.5, "initial_sd": 1.0}
)
LEVEL_Y = np.array([0.8, 2.9, math.nan, -0.6, 1.7, 3.1])


def local_level_system(p):
    return LinearGaussianSystem(
        transition_matrix=1.0,
        transition_covariance=p.level_sd**2,
        observation_matrix=1.0,
        observation_covariance=p.observation_sd**2,
        initial_mean=p.initial_mean,
        initial_covariance=p.initial_sd**2,
    )


LEVEL_EXACT = kalman_filter(local_level_system(LEVEL_PARAMS), LEVEL_Y)


def score(values, truth):
    """Return how many standard errors the mean of independent replicates is off."""
    values = np.asarray(values, dtype=float)
    return (values.mean() - truth) / (values.std(ddof=1) / math.sqrt(values.size))


def ratios(log_evidence_estimates, truth=LEVEL_EXACT.log_evidence):
    return np.exp(np.asarray(log_evidence_estimates) - truth)


# --- the evidence is unbiased --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proposal", "resampler"),
    [
        *((Bootstrap(), scheme) for scheme in SCHEMES),
        *((other, systematic) for other in PROPOSALS[1:]),
    ],
    ids=repr,
)
def test_evidence_is_unbiased(proposal, resampler):
    """2000 runs: the relative standard error is 0.3 to 2 %, so a bias of 2 to 8 % fails."""
    for n in [2, 5, 50]:
        for threshold in [0.0, 0.5, 1.1]:
            rng = stream(n, int(10 * threshold))
            run = EvidenceFilter(
                LEVEL, LEVEL_Y, n, proposal=proposal, resampler=resampler, threshold=threshold
            )
            found = ratios([run(LEVEL_PARAMS, rng) for _ in range(2000)])
            assert abs(score(found, 1.0)) < 4, (n, threshold)


@pytest.mark.parametrize("resampler", [s for s in SCHEMES if s is not systematic], ids=repr)
@pytest.mark.parametrize("proposal", PROPOSALS[1:], ids=repr)
def test_evidence_is_unbiased_in_the_python_loop(proposal, resampler):
    """400 runs: a bias of 4 to 18 % fails."""
    stage = level_stage(proposal)
    for n in [2, 5, 50]:
        for threshold in [0.5, 1.1]:
            rng = stream(n, int(10 * threshold))
            found = []
            for _ in range(400):
                *_, (_, last) = smc(stage, n, rng, resampler=resampler, threshold=threshold)
                found.append(last.log_evidence)
            assert abs(score(ratios(found), 1.0)) < 4, (n, threshold)


def level_stage(proposal):
    u = LEVEL.covariate_rows(None, LEVEL_Y.size)
    bound = LEVEL.bind(
        LEVEL_PARAMS, LEVEL_Y, u, guided=proposal.guided, auxiliary=proposal.auxiliary
    )
    return FilterStage(bound=bound)


@pytest.mark.parametrize(
    ("defect", "passes"),
    [
        ("", True),
        ("residual without the factor n", False),
        ("first weight twice", False),
        ("look-ahead kept", False),
    ],
)
def test_known_defects_fail_the_same_test(defect, passes):
    """Negative twins in plain Python, 1500 runs at n = 10, resampling at every step."""
    model, us = Plain(functions=LEVEL.functions()), np.zeros(LEVEL_Y.size)
    p = LEVEL_PARAMS._replace(observation_sd=1.0)
    truth = kalman_filter(local_level_system(p), LEVEL_Y).log_evidence
    forgetful = defect.startswith("residual")
    resample = forgetful_residual if forgetful else systematic_kernel
    uniforms = residual_uniforms if forgetful else systematic_uniforms
    rng = stream(3)
    found = [
        filter_one_by_one(
            model, p, LEVEL_Y, us, 10, rng, resample, uniforms,
            threshold=1.1, auxiliary=defect in ("", "look-ahead kept"), defect=defect,
        ).log_evidence[-1]
        for _ in range(1500)
    ]  # fmt: skip
    assert (abs(score(ratios(found, truth), 1.0)) < 4) == passes


# --- finite models, where everything is known ----------------------------------------------------


class Tables(NamedTuple):
    initial: np.ndarray
    moves: np.ndarray
    log_potentials: np.ndarray


def pick(cumulative, u):
    k = 0
    while k < cumulative.shape[0] - 1 and u >= cumulative[k]:
        k += 1
    return float(k)


def table_model():
    from numba import njit

    choose = njit(pick)

    def initial(rng, p):
        return choose(p.initial, rng.random())

    def transition(rng, x, p):
        return choose(p.moves[int(x)], rng.random())

    def log_observation(y, x, p, t):
        return p.log_potentials[t, int(x)]

    return StateSpaceModel(
        params=Tables, initial=initial, transition=transition, log_observation=log_observation
    )


@pytest.fixture(scope="module")
def finite():
    """A model on four states with its exact twin; the observations are in the potentials."""
    exact = random_model(4, length=6)
    params = Tables(
        np.cumsum(exact.initial), np.cumsum(exact.transition, axis=1), np.log(exact.potentials)
    )
    return table_model(), params, exact


def test_second_moment_of_the_evidence_is_exact(finite):
    """With multinomial resampling at every step E Z_hat^2 is a product of matrices for every n."""
    model, params, exact = finite
    y = np.zeros(exact.length)
    for n in [2, 5, 50]:
        run = EvidenceFilter(model, y, n, resampler=multinomial, threshold=1.1)
        rng = stream(n)
        found = np.exp([run(params, rng) for _ in range(4000)])
        assert abs(score(found, exact.evidence())) < 4
        assert abs(score(found**2, exact.second_moment(n))) < 4


def test_unnormalised_filter_is_unbiased_at_every_time(finite):
    """E Z_hat_t mean_t = Z_t E(x_t | y_0..t), 600 runs: a bias of 5 to 15 % fails."""
    model, params, exact = finite
    y = np.zeros(exact.length)
    truth = exact.evidences() * (exact.filters() @ np.arange(4.0))
    for n in [2, 20]:
        found = []
        for seed in range(600):
            result = particle_filter(model, params, y, n, seed=seed, quantiles=())
            found.append(np.exp(np.cumsum(result.log_evidence_increments)) * result.mean)
        for t in range(exact.length):
            assert abs(score(np.array(found)[:, t], truth[t])) < 4, (n, t)


def test_one_run_knows_its_error(finite):
    """The mean of 300 squared errors is within a fifth of the exact variance, n = 400."""
    model, params, exact = finite
    y, n = np.zeros(exact.length), 400
    squares = [
        particle_filter(
            model, params, y, n, seed=seed, resampler=multinomial, threshold=1.1, quantiles=()
        ).log_evidence_error
        ** 2
        for seed in range(300)
    ]
    assert np.mean(squares) == pytest.approx(exact.relative_variance(n), rel=0.2)


# --- two drivers, one algorithm ------------------------------------------------------------------


def assert_same_bits(model, p, y, n, u=None, **options):
    """Run the fused filter and the loop; compare evidence, ESS and what is left of the stream."""
    rng, other = stream(n), stream(n)
    run = EvidenceFilter(model, y, n, u=u, **options)
    fused = run(p, rng)
    proposal = options.pop("proposal", Bootstrap())
    rows = model.covariate_rows(u, len(y))
    bound = model.bind(
        p, model.observations(y), rows, guided=proposal.guided, auxiliary=proposal.auxiliary
    )
    steps = smc(FilterStage(bound=bound), n, other, **options)
    found = np.array([(particles.log_evidence, particles.ess) for _, particles in steps])
    np.testing.assert_array_equal(run.log_evidences, found[:, 0])
    np.testing.assert_array_equal(run.ess, found[:, 1])
    assert fused == found[-1, 0]
    np.testing.assert_equal(rng.bit_generator.state, other.bit_generator.state)


SIZES = [1, 7, 8, 100, 1023, 5000]


@pytest.mark.parametrize("resampler", SCHEMES, ids=repr)
def test_fused_is_the_loop_for_every_scheme(resampler):
    for n in SIZES:
        for threshold in [0.0, 0.5, 1.1]:
            assert_same_bits(
                LEVEL, LEVEL_PARAMS, LEVEL_Y, n, resampler=resampler, threshold=threshold
            )


@pytest.mark.parametrize("proposal", PROPOSALS[1:], ids=repr)
def test_fused_is_the_loop_for_every_proposal(proposal):
    for n in SIZES:
        for threshold in [0.0, 0.5, 1.1]:
            assert_same_bits(
                LEVEL, LEVEL_PARAMS, LEVEL_Y, n, proposal=proposal, threshold=threshold
            )


def state_space_model(plain, p, **forms):
    return StateSpaceModel(
        params=type(p),
        state=plain.state or float,
        observation=plain.observation or float,
        **forms,
        **plain.functions,
    )


SHAPES = {
    # numbers, covariates, the observation before; NamedTuples, single components missing, the
    # state before; rows, an array among the parameters
    "number": (DRIFT, DRIFT_PARAMS, *DRIFT_DATA, {"covariates": float}, Auxiliary(Guided())),
    "named": (
        GROWTH, GROWTH_PARAMS, *GROWTH_DATA, {"covariates": GROWTH.covariates}, Auxiliary()
    ),
    "row": (RING, RING_PARAMS, RING_DATA[0], None, {}, Guided()),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_fused_is_the_loop_for_every_form(name):
    plain, p, y, u, forms, proposal = SHAPES[name]
    model = state_space_model(plain, p, **forms)
    for n in SIZES:
        for threshold in [0.5, 1.1]:
            assert_same_bits(model, p, y, n, u=u, proposal=proposal, threshold=threshold)


def test_fused_is_the_one_call_filter():
    for n in [1, 30, 1500]:
        result = particle_filter(LEVEL, LEVEL_PARAMS, LEVEL_Y, n, seed=7, keep="all")
        assert result.log_evidence == log_evidence(LEVEL, LEVEL_PARAMS, LEVEL_Y, n, seed=7)
        assert result.log_evidence == result.particles.log_evidence
        np.testing.assert_allclose(
            result.log_evidence_increments.sum(), result.log_evidence, rtol=1e-12
        )


# --- what a result holds -------------------------------------------------------------------------


def test_moments_and_quantiles_are_those_of_kalman():
    """40 runs with n = 2000, whose bias of order 1/n is far below their standard error."""
    exact = LEVEL_EXACT
    mean, variance = exact.filtered_mean[:, 0], exact.filtered_covariance[:, 0, 0]
    levels = (0.1, 0.5, 0.8)
    runs = [
        particle_filter(LEVEL, LEVEL_PARAMS, LEVEL_Y, 2000, seed=seed, quantiles=levels)
        for seed in range(40)
    ]
    for t in range(LEVEL_Y.size):
        assert abs(score([run.mean[t] for run in runs], mean[t])) < 4
        assert abs(score([run.variance[t] for run in runs], variance[t])) < 4
        for k, level in enumerate(levels):
            truth = norm.ppf(level, mean[t], math.sqrt(variance[t]))
            assert abs(score([run.quantiles[t, k] for run in runs], truth)) < 4
    assert runs[0].quantiles.shape == (6, 3)


def test_a_missing_observation_weighs_nothing():
    for proposal in PROPOSALS:
        result = particle_filter(LEVEL, LEVEL_PARAMS, LEVEL_Y, 100, proposal=proposal)
        assert result.log_evidence_increments[2] == pytest.approx(0.0, abs=1e-12)
        assert np.isfinite(result.mean).all()
    blind = particle_filter(LEVEL, LEVEL_PARAMS, [math.nan, math.nan], 100, proposal=Guided())
    assert blind.log_evidence == 0.0
    assert blind.ess.tolist() == [100.0, 100.0]


def test_rows_have_moments_for_each_component():
    plain, p, y, _, forms, _ = SHAPES["row"]
    result = particle_filter(state_space_model(plain, p, **forms), p, y, 64)
    assert result.mean.shape == result.variance.shape == (7, 3)
    assert result.quantiles.shape == (7, 3, 3)
    assert result.particles.x.shape == (64, 3)


def volatility_series(length):
    rng = np.random.default_rng(5)
    x = np.empty(length)
    x[0] = -1.0
    for t in range(1, length):
        x[t] = -1.0 + 0.95 * (x[t - 1] + 1.0) + 0.3 * rng.normal()
    return np.exp(0.5 * x) * rng.normal(size=length)


VOLATILITY = StochasticVolatility()
VOLATILITY_PARAMS = {"mu": -1.0, "rho": 0.95, "sigma": 0.3}


@pytest.mark.parametrize("threshold", [0.5, 1.1])
def test_the_tree_holds_the_paths_of_the_whole_history(threshold):
    y = volatility_series(120)
    tree, whole = (
        particle_filter(VOLATILITY, VOLATILITY_PARAMS, y, 100, keep=keep, threshold=threshold)
        for keep in ("tree", "all")
    )
    assert tree.log_evidence == whole.log_evidence
    np.testing.assert_array_equal(tree.paths(50, seed=3), whole.paths(50, seed=3))
    rng = stream(1)
    run = EvidenceFilter(VOLATILITY, y, 100, threshold=threshold, keep_paths=True)
    run(VOLATILITY.parameters(VOLATILITY_PARAMS), rng)
    assert run.path(rng).shape == (120,)


def test_the_tree_stays_small():
    """Of 100 000 states, those that still have a descendant are a few thousand."""
    y = volatility_series(500)
    result = particle_filter(
        VOLATILITY, VOLATILITY_PARAMS, y, 200, keep="tree", threshold=1.1, quantiles=()
    )
    assert result.tree is not None
    assert 500 < result.tree.nodes < 500 + 8 * 200 * math.log(200)


def test_paths_need_to_be_kept():
    with pytest.raises(ValueError, match=r"keep=\"tree\""):
        particle_filter(LEVEL, LEVEL_PARAMS, LEVEL_Y, 10).paths(3)


def test_the_same_seed_gives_the_same_bits():
    for resampler in SCHEMES:
        a, b, other = (
            particle_filter(LEVEL, LEVEL_PARAMS, LEVEL_Y, 50, resampler=resampler, seed=seed)
            for seed in (1, 1, 2)
        )
        assert a.log_evidence == b.log_evidence != other.log_evidence
        np.testing.assert_array_equal(a.particles.x, b.particles.x)


# --- exact references ----------------------------------------------------------------------------


def test_toy_reference():
    """Reference 3; 60 runs with n = 1000."""
    p = LEVEL_PARAMS._replace(observation_sd=math.sqrt(2.0), initial_mean=0.0)
    runs = [
        particle_filter(LEVEL, p, [0.0, 1.0, 2.0], 1000, seed=seed, quantiles=())
        for seed in range(60)
    ]
    assert abs(score(ratios([run.log_evidence for run in runs], -5.079276), 1.0)) < 4
    for t, (mean, variance) in enumerate([(0, 0.6667), (0.4545, 0.9091), (1.2093, 0.9767)]):
        assert abs(score([run.mean[t] for run in runs], mean)) < 4
        assert abs(score([run.variance[t] for run in runs], variance)) < 4


NILE_PARAMS = LEVEL_PARAMS._replace(
    level_sd=math.sqrt(1469.1),
    observation_sd=math.sqrt(15099.0),
    initial_mean=1000.0,
    initial_sd=math.sqrt(1e5),
)


@pytest.mark.parametrize(("gaps", "truth"), [(False, -639.300724), (True, -387.341789)])
@pytest.mark.parametrize("proposal", PROPOSALS, ids=repr)
def test_nile_reference(gaps, truth, proposal):
    """Reference 1; 100 runs with n = 2000, relative standard deviation about 0.1 to 0.2."""
    y = nile().volume.astype(float)
    if gaps:
        y[20:40] = y[60:80] = math.nan
    found = ratios(log_evidences(LEVEL, [NILE_PARAMS] * 100, y, 2000, proposal=proposal), truth)
    assert found.std() < 0.4
    assert abs(score(found, 1.0)) < 4


@pytest.fixture(scope="module")
def pound_returns(shared_data):
    quotes = np.genfromtxt(shared_data / "ssm" / "gbp_usd.csv", delimiter=",", skip_header=1)
    return 100.0 * np.diff(np.log(quotes[:, 1]))


@pytest.mark.parametrize(
    ("n", "sd", "runs"), [(100, 1.1, 300), (1000, 0.31, 120), (10_000, 0.09, 40)]
)
def test_volatility_reference(pound_returns, n, sd, runs):
    """Reference 2, with the standard deviation of one estimate; theirs is good to a fifth."""
    params = {"mu": -1.02, "rho": 0.9702, "sigma": 0.178}
    found = log_evidences(VOLATILITY, [params] * runs, pound_returns, n)
    assert found.std(ddof=1) == pytest.approx(sd, rel=0.3)
    # The mean of the log is that of the truth less half the variance, if the log is normal.
    assert abs(score(found + 0.5 * found.var(ddof=1), -492.454243)) < 4
    if n == 10_000:
        assert abs(score(ratios(found, -492.454243), 1.0)) < 4


def test_infinite_states_without_weight_leave_the_moments_alone():
    model = StateSpaceModel(
        params=Promise,
        initial=lambda z: z,
        transition=lambda z, x: x + z if z > 0.0 else -math.inf,
        log_observation=lambda y, x: -0.5 * (y - x) ** 2,
    )
    result = particle_filter(model, Promise(0.0), [0.0, 1.0], 200, keep="tree")
    assert np.isinf(result.particles.x).any()
    for values in (result.mean, result.variance, result.quantiles):
        assert np.isfinite(values).all()


# --- what goes wrong -----------------------------------------------------------------------------


def test_weights_that_vanish_are_reported():
    y = np.array([0.0, 1e200, 1.0])
    with pytest.raises(DegenerateWeights, match="time 1") as caught:
        particle_filter(LEVEL, LEVEL_PARAMS, y, 20)
    assert caught.value.t == 1
    assert len(caught.value.ess) == 1
    for word in ("level_sd=1.0", "1e+200", "last ESS"):
        assert word in str(caught.value)
    assert log_evidence(LEVEL, LEVEL_PARAMS, y, 20) == -math.inf


def nan_later(y, x, t):
    return -0.5 * (y - x) ** 2 if t < 2 else math.nan * x


def test_a_nan_density_is_an_error_that_names_place_and_parameters():
    class Params(NamedTuple):
        sd: float

    model = StateSpaceModel(
        params=Params,
        initial=lambda z: z,
        transition=lambda z, x, p: x + p.sd * z,
        log_observation=nan_later,
    )
    for call in (particle_filter, log_evidence):
        with pytest.raises(ValueError, match=r"nan at time 2, particle 0[\s\S]*sd=2.0"):
            call(model, {"sd": 2.0}, [0.0, 1.0, 2.0], 20)


class Promise(NamedTuple):
    worth: float


PROMISING = StateSpaceModel(
    params=Promise,
    initial=lambda z: z,
    transition=lambda z, x: x + z,
    log_observation=lambda y, x: -0.5 * (y - x) ** 2,
    log_lookahead=lambda y, x, p: p.worth,
)


def test_a_look_that_rejects_every_particle_is_no_look():
    y = [0.3, 2.0, -1.0]
    plain = particle_filter(PROMISING, Promise(0.0), y, 40, threshold=1.1).log_evidence
    p = PROMISING.params(-math.inf)
    run = EvidenceFilter(PROMISING, y, 40, proposal=Auxiliary(), threshold=1.1)
    assert run(p, stream(0)) == pytest.approx(plain, abs=1e-12)
    bound = PROMISING.bind(p, np.asarray(y), PROMISING.covariate_rows(None, 3), auxiliary=True)
    *_, (_, last) = smc(FilterStage(bound=bound), 40, stream(0), threshold=1.1)
    assert last.log_evidence == run.log_evidences[-1]


@pytest.mark.parametrize("worth", [math.nan, math.inf])
def test_a_nan_look_ahead_is_an_error(worth):
    p = PROMISING.params(worth)
    run = EvidenceFilter(PROMISING, [0.3, 2.0], 40, proposal=Auxiliary())
    with pytest.raises(ValueError, match=f"{worth} at time 1, particle 0"):
        run(p, stream(0))
    bound = PROMISING.bind(
        p, np.array([0.3, 2.0]), PROMISING.covariate_rows(None, 2), auxiliary=True
    )
    with pytest.raises(ValueError, match=f"{worth} at time 1, particle 0"):
        list(smc(FilterStage(bound=bound), 40, stream(0)))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 0}, ValueError, "n must be at least 1"),
        ({"n": 2.5}, TypeError, "n must be an int"),
        ({"keep": "everything"}, ValueError, "keep must be"),
        ({"quantiles": (0.5, 1.5)}, ValueError, "quantiles must be levels"),
        ({"resampler": optimal}, ValueError, "constant size"),
        ({"u": [1.0] * 6}, ValueError, "declares none"),
        ({"seed": -1}, ValueError, "seed must be nonnegative"),
        ({"seed": 1.5}, TypeError, "seed must be an int"),
    ],
)
def test_bad_arguments_are_errors_before_work(options, error, message):
    with pytest.raises(error, match=message):
        particle_filter(LEVEL, LEVEL_PARAMS, LEVEL_Y, **{"n": 10, **options})


@pytest.mark.parametrize("proposal", [Guided(), Auxiliary()])
def test_a_missing_function_is_named(proposal):
    model = state_space_model(GROWTH, GROWTH_PARAMS, covariates=GROWTH.covariates)
    bare = StateSpaceModel(
        params=Promise,
        initial=lambda z: z,
        transition=lambda z, x: x + z,
        log_observation=lambda y, x: -0.5 * (y - x) ** 2,
    )
    name = "proposal" if proposal.guided else "log_lookahead"
    with pytest.raises(ValueError, match=name):
        particle_filter(bare, Promise(1.0), [0.0], 10, proposal=proposal)
    with pytest.raises(ValueError, match="log_transition"):
        particle_filter(
            model, GROWTH_PARAMS, *GROWTH_DATA[:1], 10, u=GROWTH_DATA[1], proposal=Guided()
        )
