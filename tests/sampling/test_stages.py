"""The parts of a run: budgets, weights judged, frozen draws, first guesses, requests, traces."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import gamma, norm, uniform

from aisle_smc import Prior, Target
from aisle_smc.distributions import Defensive, Gaussian, Mixture, StudentT
from aisle_smc.particles import Particles
from aisle_smc.sampling import bridge
from aisle_smc.sampling.aim import Aim
from aisle_smc.sampling.bridges import FromBase, FromPrior, Posterior
from aisle_smc.sampling.estimates import replicated
from aisle_smc.sampling.frozen import FIRST, Frozen, judge
from aisle_smc.sampling.growth import runs_away
from aisle_smc.sampling.laplace import curvature, laplace, modes
from aisle_smc.sampling.meter import Meter, Spent
from aisle_smc.sampling.request import read_request
from aisle_smc.sampling.spaces import BareSpace, DistributionSpace, PriorSpace, WhiteSpace
from aisle_smc.sampling.status import Status, sentence
from aisle_smc.sampling.trace import Step
from aisle_smc.smc import resume, smc
from aisle_smc.streams import stream
from aisle_smc.targets import evaluator
from tests.oracles import pareto
from tests.sampling import toys

PROBE = np.random.default_rng(0).normal(size=(6, 2))
PRECISION = np.array([[3.0, -1.0], [-1.0, 2.0]])
CENTRE = np.array([0.7, -0.4])


def quadratic(x):
    away = x - CENTRE
    return -0.5 * np.einsum("ij,jk,ik->i", away, PRECISION, away)


def quadratic_slope(x):
    return -(x - CENTRE) @ PRECISION


def posterior(target, space, **limits):
    ev = evaluator(target, [f"x{j}" for j in range(space.dim)], PROBE[:, : space.dim])
    return Posterior(space=space, evaluator=ev, meter=Meter(**limits))


STANDARD = PriorSpace(prior=Prior({"x0": norm(0, 1), "x1": norm(0, 1)}))


# --- budgets -------------------------------------------------------------------------------------


def test_evaluations_are_refused_before_they_are_made():
    meter = Meter(evaluations=10)
    meter.spend(4)
    meter.spend(6)
    assert (meter.evaluations, meter.left) == (10, 0)
    with pytest.raises(Spent) as caught:
        meter.spend(1)
    assert caught.value.limit == "max_evaluations"
    assert meter.evaluations == 10
    meter.allow(12, None)
    assert meter.left == 2
    with pytest.raises(Spent):
        meter.spend(3)
    meter.allow(None, None)
    meter.spend(10**9)
    assert meter.left == math.inf


def test_seconds_are_counted_from_now():
    meter = Meter(seconds=0.02)
    meter.spend(1)
    time.sleep(0.03)
    with pytest.raises(Spent) as caught:
        meter.spend(1)
    assert caught.value.limit == "max_seconds"
    meter.pause()
    spent = meter.seconds
    assert spent >= 0.03
    meter.allow(None, 10.0)
    meter.spend(1)
    assert meter.seconds >= spent


def test_time_is_booked_to_phases():
    meter = Meter()
    for _ in range(2):
        with meter.phase("one"):
            time.sleep(0.005)
    with pytest.raises(KeyError), meter.phase("two"):
        raise KeyError
    assert meter.phases["one"] >= 0.01
    assert meter.phases["two"] >= 0.0


# --- weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0.0, -1e6])
def test_weights_are_judged_by_the_formulas(shift):
    log_w = np.random.default_rng(1).gamma(2.0, 0.5, size=4000)
    log_w[7] = -np.inf
    found = judge(log_w + shift)
    w = np.exp(log_w)
    assert found.n == 4000
    assert found.log_evidence == pytest.approx(math.log(w.mean()) + shift, rel=1e-12)
    assert found.error == pytest.approx(w.std(ddof=1) / w.mean() / math.sqrt(4000), rel=1e-3)
    assert found.ess == pytest.approx(w.sum() ** 2 / np.square(w).sum(), rel=1e-9)
    assert found.khat == pytest.approx(pareto.psis(log_w, int(3.0 * math.sqrt(4000)))[1], rel=1e-6)
    away = np.square(w - w.mean())
    assert found.largest == pytest.approx(away[np.argmax(w)] / away.sum(), rel=1e-6)


def test_equal_weights_have_no_error():
    found = judge(np.full(1000, 3.0))
    assert (found.log_evidence, found.error, found.ess) == pytest.approx((3.0, 0.0, 1000.0))
    assert found.reliable
    assert found.calibrated


def test_no_weights_have_no_evidence():
    found = judge(np.full(100, -np.inf))
    assert found.log_evidence == -math.inf
    assert found.ess == 0.0
    assert not found.reliable


def test_one_weight_has_everything():
    log_w = np.full(1000, -np.inf)
    log_w[3] = 0.0
    found = judge(log_w)
    assert found.largest == pytest.approx(1.0, abs=2e-3)
    assert found.ess == pytest.approx(1.0)
    assert not found.reliable


@pytest.mark.parametrize("shape", [0.1, 0.9])
def test_heavy_tails_that_matter_are_told_from_those_that_do_not(shape):
    """Pareto weights, and weights of the same fitted shape that end at five times their mean."""
    rng = np.random.default_rng(4)
    heavy = [judge(-shape * np.log(rng.random(4000))) for _ in range(20)]
    # The shape is itself an estimate, off by a tenth or two.
    share = np.mean([one.reliable for one in heavy])
    assert share == 1.0 if shape < 0.5 else share <= 0.1
    assert shape < 0.5 or not any(one.even for one in heavy)
    tail = 1.0 + (rng.random((20, 4000)) < 0.05) * np.minimum(rng.random((20, 4000)) ** -shape, 5)
    ending = [judge(np.log(w)) for w in tail]
    assert all(one.even and one.reliable and one.calibrated for one in ending)


def test_one_weight_that_makes_the_variance_is_seen_where_the_shape_is_not():
    rng = np.random.default_rng(5)
    light = [rng.uniform(0.5, 1.5, size=4000) for _ in range(20)]
    for w in light:
        found = judge(np.log(w))
        assert found.calibrated
        assert not found.dominated
        # The sum of squares is 4000/12; a weight of 15 makes a share 0.37 of it with its own.
        w[17] = 15.0
        found = judge(np.log(w))
        assert found.largest == pytest.approx(196.0 / (196.0 + 4000.0 / 12.0), rel=0.1)
        assert found.khat < 0.5
        assert found.reliable
        assert found.dominated
        assert not found.calibrated
    # Weights that have a variance and more: none of 16 000 dominates.
    assert not any(judge(-0.2 * np.log(rng.random(16_000))).dominated for _ in range(20))


def test_draws_go_on_while_one_of_them_makes_the_error(monkeypatch):
    """A narrow bump that one draw of the first look has hit."""

    def spiked(x):
        return quadratic(x) + np.where(np.abs(x - spike).max(axis=1) < 1e-9, 3.0, 0.0)

    spike = np.full(2, np.inf)
    _, plain = last(frozen(100.0), stream(1))
    assert plain.n == 100 * FIRST
    spike = plain.x[0].z[np.argmax(plain.x[0].log_ratio)]
    monkeypatch.setattr("aisle_smc.sampling.frozen.SECOND_LOOK", 1000)
    stage = frozen(100.0)
    ev = evaluator(spiked, ("a", "b"), PROBE)
    source = replace(stage.source, posterior=replace(stage.source.posterior, evaluator=ev))
    stage = replace(stage, source=source)
    _, particles = last(stage, stream(1))
    assert judge(particles.log_w[: plain.n]).dominated
    assert particles.n >= 1000


# --- frozen draws --------------------------------------------------------------------------------


def frozen(ess, most=10**6, **limits):
    target = posterior(quadratic, STANDARD, **limits)
    q = Defensive(
        proposal=Gaussian(mean=np.array([0.4, -0.3]), root=0.8 * np.eye(2)),
        safety=StudentT(location=np.zeros(2), root=np.eye(2), df=3.0),
    )
    return Frozen(
        source=FromBase(posterior=target, base=q), ess=ess, error=0.1, most=most, batch=100
    )


def last(stage, rng):
    *_, (stage, particles) = smc(stage, 1, rng, threshold=0.0)
    return stage, particles


def test_higher_aims_make_the_same_first_draws():
    _, few = last(frozen(100.0), stream(1))
    _, many = last(frozen(3000.0), stream(1))
    assert few.n == 100 * FIRST
    assert many.n > few.n
    assert many.log_w[: few.n].tobytes() == few.log_w.tobytes()
    z = np.concatenate([p.z for p in many.x])
    assert z[: few.n].tobytes() == np.concatenate([p.z for p in few.x]).tobytes()
    assert judge(many.log_w).ess >= 3000.0
    # And not many more than needed.
    assert judge(many.log_w[: int(0.85 * many.n)]).ess < 3000.0


def test_going_on_ends_where_aiming_higher_would_have():
    for aims in ([150.0, 3000.0], [500.0, 700.0, 3000.0], [2900.0, 3000.0]):
        rng = stream(1)
        stage, particles = last(frozen(aims[0]), rng)
        for aim in aims[1:]:
            steps = resume(replace(stage, ess=aim), particles, rng, threshold=0.0)
            stage, particles = [(stage, particles), *steps][-1]
        _, whole = last(frozen(3000.0), stream(1))
        assert particles.log_w.tobytes() == whole.log_w.tobytes()


def test_frozen_draws_give_the_evidence():
    _, particles = last(frozen(5000.0), stream(2))
    found = judge(particles.log_w)
    total = np.eye(2) + np.linalg.inv(PRECISION)
    truth = math.log(2 * math.pi) - 0.5 * np.linalg.slogdet(PRECISION)[1]
    truth += -0.5 * (CENTRE @ np.linalg.solve(total, CENTRE) + np.linalg.slogdet(total)[1])
    truth -= math.log(2 * math.pi)
    assert abs(found.log_evidence - truth) < 4 * found.error


@pytest.mark.parametrize("most", [399, 400, 730, 1900])
def test_the_allowance_is_used_up(most):
    """Whole batches while they fit; then one that the meter refuses, and nothing is lost."""
    stage = frozen(1e6, most=most, evaluations=most)
    stage = replace(stage, batches=max(min(most // 100, FIRST), 1))
    sizes = []

    def run():
        for _, particles in smc(stage, 1, stream(1), threshold=0.0):
            sizes.append(particles.n)

    with pytest.raises(Spent):
        run()
    assert sizes[-1] == most // 100 * 100


# --- bridges -------------------------------------------------------------------------------------


def test_the_bridge_from_a_base_has_the_whole_posterior():
    whole = posterior(Target(quadratic, gradient=quadratic_slope), STANDARD)
    base = StudentT(location=np.array([0.2, 0.1]), root=np.eye(2), df=5.0)
    way = FromBase(posterior=whole, base=base)
    assert way.has_scores
    assert way.dim == 2
    points = way.at(PROBE, scores=True)
    np.testing.assert_allclose(points.log_base + points.log_ratio, whole.log_density(PROBE))
    np.testing.assert_allclose(
        whole.log_density(PROBE), quadratic(PROBE) + norm.logpdf(PROBE).sum(axis=1)
    )
    np.testing.assert_allclose(points.scores.sum(axis=0), quadratic_slope(PROBE) - PROBE)
    prior = FromPrior(posterior=whole).at(PROBE, scores=True)
    np.testing.assert_allclose(prior.log_ratio, quadratic(PROBE))
    np.testing.assert_allclose(prior.log_base, norm.logpdf(PROBE).sum(axis=1))
    np.testing.assert_allclose(prior.scores[0], -PROBE)
    np.testing.assert_allclose(prior.scores[1], quadratic_slope(PROBE))


def test_points_without_density_are_ruled_out():
    target = Target(
        lambda x: np.where(x[:, 0] > 0.0, quadratic(x), -np.inf), gradient=quadratic_slope
    )
    whole = posterior(target, STANDARD)
    for way in (FromPrior(posterior=whole), FromBase(posterior=whole, base=STANDARD_NORMAL)):
        points = way.at(PROBE, scores=True)
        np.testing.assert_array_equal(np.isneginf(points.log_ratio), PROBE[:, 0] <= 0.0)
        assert np.isfinite(points.log_base).all()
        assert np.isfinite(points.scores).all()


STANDARD_NORMAL = Gaussian(mean=np.zeros(2), root=np.eye(2))


def test_outside_of_a_joint_prior_nothing_is_called():
    box = DistributionSpace(prior=toys.Box((0.0, 0.0), (1.0, 1.0)))
    z = np.array([[0.5, 0.5], [1.5, 0.5], [0.1, -0.1], [0.9, 0.2]])
    called = []

    def function(x):
        called.append(np.atleast_2d(x))
        return quadratic(x), x[:, 0]

    ev = evaluator(function, ["a", "b"], np.random.default_rng(1).random((6, 2)), vectorized=True)
    whole = Posterior(space=box, evaluator=ev, meter=Meter())
    called.clear()
    for way in (FromPrior(posterior=whole), FromBase(posterior=whole, base=STANDARD_NORMAL)):
        points = way.at(z)
        np.testing.assert_array_equal(np.isneginf(points.log_ratio), [False, True, True, False])
        assert not np.isnan(points.log_base).any()
        np.testing.assert_array_equal(points.blobs, [0.5, 0.0, 0.0, 0.9])
    assert whole.meter.evaluations == 4
    np.testing.assert_array_equal(np.unique(np.concatenate(called), axis=0), z[[3, 0]][::-1])


def test_a_bridge_for_samplers_of_ones_own():
    way = bridge(toys.normal_log_likelihood, toys.conjugate().arguments["prior"])
    points = way.start(50, stream(1))
    theta = way.posterior.space.draws(points.z)
    np.testing.assert_allclose(points.log_ratio, toys.normal_log_likelihood(theta))


# --- first guesses -------------------------------------------------------------------------------


def test_the_guess_at_a_normal_posterior_is_exact():
    whole = posterior(Target(quadratic, gradient=quadratic_slope), STANDARD)
    starts = np.random.default_rng(1).normal(size=(4, 2))
    precision = PRECISION + np.eye(2)
    mode = np.linalg.solve(precision, PRECISION @ CENTRE)
    found = modes(whole, starts)
    assert found.shape == (4, 2)
    np.testing.assert_allclose(found, np.tile(mode, (4, 1)), atol=1e-4)
    np.testing.assert_allclose(curvature(whole, mode), precision, rtol=1e-6)
    guess = laplace(whole, starts)
    assert isinstance(guess, Mixture)
    (part,) = guess.parts
    assert isinstance(part, StudentT)
    np.testing.assert_allclose(part.location, mode, atol=1e-4)
    # Widened, in all directions alike.
    ratio = part.root @ part.root.T @ precision
    np.testing.assert_allclose(ratio, ratio[0, 0] * np.eye(2), atol=1e-4)
    assert 1.0 <= ratio[0, 0] < 3.0


def test_the_guess_finds_two_modes():
    def both(x):
        return np.logaddexp(quadratic(x - 3.0), quadratic(x + 3.0) - 1.0)

    def slope(x):
        share = np.exp(quadratic(x - 3.0) - both(x))[:, None]
        return share * quadratic_slope(x - 3.0) + (1.0 - share) * quadratic_slope(x + 3.0)

    space = PriorSpace(prior=Prior({"x0": norm(0, 4), "x1": norm(0, 4)}))
    guess = laplace(posterior(Target(both, gradient=slope), space), space.sample(16, stream(3)))
    assert len(guess.parts) == 2
    assert guess.weights[0] > guess.weights[1] > 0.05


def test_no_guess_where_there_is_no_density():
    target = Target(lambda x: np.full(x.shape[0], -np.inf), gradient=lambda x: 0.0 * x)
    assert laplace(posterior(target, STANDARD), PROBE) is None


# --- estimates -----------------------------------------------------------------------------------


def test_replicates_are_averaged():
    log_z = np.random.default_rng(1).normal(-3e5, 0.3, size=12)
    some = [Particles(None, np.zeros(5), float(value)) for value in log_z]
    assert replicated(some[:9]) is None
    found = replicated(some)
    z = np.exp(log_z + 3e5)
    assert found.log_evidence == pytest.approx(math.log(z.mean()) - 3e5, abs=1e-9)
    plain = z.std(ddof=1) / z.mean() / math.sqrt(12)
    assert found.error == pytest.approx(plain * math.sqrt(11 / 9))
    dead = [Particles(None, np.zeros(5), -math.inf) for _ in range(12)]
    assert replicated(dead) is None
    mixed = replicated([*some, *dead])
    assert mixed.log_evidence == pytest.approx(found.log_evidence - math.log(2.0), abs=1e-9)


def test_error_of_few_replicates_has_the_right_size():
    """In units of its error deviations have a variance of 1, and 9/7 in those of the plain one."""
    rng = np.random.default_rng(2)
    deviations = []
    for log_z in np.log(rng.normal(1.0, 0.05, size=(4000, 10))):
        found = replicated([Particles(None, np.zeros(5), float(value)) for value in log_z])
        deviations.append(found.log_evidence / found.error)
    variance = float(np.mean(np.square(deviations)))
    # The variance of the mean of 4000 squares of Student's t with 9 degrees is about 4.4 / 4000.
    assert abs(variance - 1.0) < 4 * math.sqrt(4.4 / 4000)
    assert abs(variance * 9 / 7 - 1.0) > 4 * math.sqrt(4.4 / 4000)


# --- requests ------------------------------------------------------------------------------------


def read(prior=None, init=None, bounds=None, names=None):
    return read_request(prior, init, bounds, names, 0)


INIT = np.random.default_rng(1).gamma(2.0, size=(40, 2))


def test_requests_with_a_prior():
    prior = {"a": norm(0, 1), "b": 3.0, "c": gamma(2)}
    request = read(prior)
    assert isinstance(request.space, PriorSpace)
    assert (request.names, request.free) == (("a", "b", "c"), ("a", "c"))
    assert request.base is None
    assert request.offset == 0.0
    assert request.prior.free == ("a", "c")
    started = read(prior, init=INIT)
    assert isinstance(started.base, Defensive)
    assert isinstance(started.space, PriorSpace)
    assert read([norm(0, 1), gamma(2)]).names == ("x0", "x1")
    assert read(norm(0, 1)).free == ("x0",)
    joint = read(Gaussian(mean=np.zeros(3), root=np.eye(3)), names=["a", "b", "c"])
    assert isinstance(joint.space, WhiteSpace)
    assert joint.prior is None
    assert isinstance(read(toys.Box((0.0,), (1.0,))).space, DistributionSpace)


def test_requests_without_a_prior():
    box = read(bounds={"a": (0, 2), "b": (-1, 3)})
    assert isinstance(box.space, PriorSpace)
    assert box.offset == pytest.approx(math.log(8.0))
    assert box.names == ("a", "b")
    assert box.prior is None
    drawn = read(init=INIT)
    assert isinstance(drawn.space, BareSpace)
    assert [c.support for c in drawn.space.coordinates] == ["real line"] * 2
    kinds = read(init=INIT, bounds=[(0, None), (None, 100.0)])
    assert [c.support for c in kinds.space.coordinates] == ["above", "below"]
    assert read(
        init={"a": INIT[:, 0], "b": INIT[:, 1]}, bounds={"b": (0, 99), "a": (0, 99)}
    ).names == (
        "b",
        "a",
    )


def test_the_start_covers_the_first_draws():
    request = read(init=INIT, bounds=[(0, None), (0, None)])
    z = request.space.coordinates_of(INIT)
    start = request.base.sample(20_000, np.random.default_rng(2))
    assert (start.std(axis=0) > 1.2 * z.std(axis=0)).all()
    low, high = np.quantile(start, [0.005, 0.995], axis=0)
    assert (low < z.min(axis=0)).all()
    assert (high > z.max(axis=0)).all()
    again = read(init=INIT, bounds=[(0, None), (0, None)])
    np.testing.assert_array_equal(request.base.log_density(z), again.base.log_density(z))


# --- aims, steps, words --------------------------------------------------------------------------


def test_aims():
    aim = Aim(ess=100, evidence_error=np.float64(0.1), max_evaluations=np.int64(5))
    assert aim.patience == 1
    with pytest.raises(ValueError, match="evidence_error must be positive; got -1"):
        replace(aim, evidence_error=-1)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Step(phase="prior", evaluations=1, log_evidence=0.0, beta=0.0), "temperature 0, "),
        (Step(phase="tempering", evaluations=1, log_evidence=-2.0, beta=0.25), "temperature 0.25"),
        (Step(phase="nested", evaluations=1, log_evidence=-2.0), "nested levels, log-evidence -2"),
        (
            Step(phase="stay", evaluations=1, log_evidence=-2.0, ess=10.4),
            "at the target, .*ESS 10",
        ),
        (
            Step(phase="final", evaluations=1, log_evidence=-2.0, error=0.01, ess=9.0, khat=0.2),
            r"drawing, log-evidence -2.00 \+- 0.010, ESS 9, k-hat 0.20",
        ),
        (Step(phase="replicates", evaluations=1, log_evidence=-2.0), "replicates, log-evidence"),
    ],
)
def test_every_phase_has_its_sentence(step, words, capsys):
    import re

    assert re.search(words, sentence(step))
    status = Status(show=True)
    status(step)
    status.close()
    assert re.search(words, capsys.readouterr().err)
    quiet = Status(show=False)
    quiet(step)
    quiet.close()
    assert capsys.readouterr() == ("", "")


def test_a_population_that_stays_does_not_run_away():
    from aisle_smc.moves import CrankNicolson, Portfolio
    from aisle_smc.tempering import Persistent

    for scale, away in ((1.0, False), (1e7, True)):
        start = Gaussian(mean=np.zeros(2), root=np.eye(2))
        space = read(init=INIT).space
        way = FromBase(posterior=posterior(quadratic, space), base=start)
        stage = Persistent(bridge=way, portfolio=Portfolio(kernels=(CrankNicolson(),)))
        _, particles = next(smc(stage, 100, stream(1), threshold=0.0))
        pool = particles.x.pool
        source = pool.sources[0]
        more = pool.added(way.at(scale * way.base.sample(300, stream(2))), replace(source, n=300))
        grown = Particles(replace(particles.x, pool=more), np.zeros(400))
        assert runs_away(grown) is away


def test_uniform_boxes_of_bounds_have_their_volume_back():
    request = read(bounds=[(0.0, 4.0)])
    z = request.space.sample(1000, stream(1))
    assert uniform(0, 4).cdf(request.space.draws(z)).max() < 1.0
    assert request.offset == pytest.approx(math.log(4.0))


def test_first_draws_by_name_go_where_their_names_say():
    rng = np.random.default_rng(3)
    init = {"b": rng.normal(3.0, 0.1, 50), "a": rng.normal(0.2, 0.01, 50)}
    request = read(init=init, bounds={"a": (0.0, 1.0), "b": (-5.0, 5.0)})
    assert request.names == ("a", "b")
    start = request.space.draws(request.base.sample(2000, stream(1)))
    np.testing.assert_allclose(np.median(start, axis=0), [0.2, 3.0], rtol=0.05)
    assert read(init=init).names == ("b", "a")
    assert read(init=init, names=("a", "b")).names == ("a", "b")
