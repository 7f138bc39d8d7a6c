"""The controller's branches, each with a proposal that provokes it, and annealed estimators."""

from __future__ import annotations

import math
import pickle

import pytest

torch = pytest.importorskip("torch")

from torch import distributions as D  # noqa: E402

from aisle_smc.divergences import Truncation, WeightTempering  # noqa: E402
from aisle_smc.neural import (  # noqa: E402
    Annealing,
    BernoulliProposal,
    Controller,
    Regime,
    StudentTProposal,
    TrainingStuck,
    estimator,
    surrogate,
)
from aisle_smc.neural import controller as module  # noqa: E402


@pytest.fixture(autouse=True)
def _double():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def normal(mean, sd, n=1):
    """N independent one-dimensional proposals, events of shape (1,)."""
    shape = (n, 1) if n > 1 else (1,)
    return D.Independent(D.Normal(mean * torch.ones(shape), sd * torch.ones(shape)), 1)


def log_joint(z, x):
    """A standard normal target."""
    return D.Normal(0.0, 1.0).log_prob(z).sum(-1)


def run(q, steps=12, particles=2000, controller=None, name="aisle-kl", target=log_joint):
    """Take steps with a proposal that stays as it is; return the steps and the states."""
    control = (controller or Controller()).start()
    taken, states = [], [control]
    for _ in range(steps):
        step, control = control.step(target, q, estimator=name, particles=particles)
        taken.append(step)
        states.append(control)
    return taken, states


# A proposal N(0, s^2) of a target N(0, 1) has weights exp(z^2 (1/s^2 - 1) / 2), up to a constant,
# whose tail has the shape k = 1 - s^2, up to logarithms: estimates are a little lower.


@pytest.mark.parametrize(
    ("k", "regime"),
    [(0.2, Regime.RAW), (0.64, Regime.TRUNCATE), (0.96, Regime.DEFEND)],
)
def test_the_tail_of_the_weights_chooses_the_remedy(k, regime):
    _, states = run(normal(0.0, math.sqrt(1.0 - k)), steps=20)
    assert states[0].regime is Regime.RAW
    assert states[-1].regime is regime


def test_a_proposal_that_misses_the_target_is_tempered():
    _, states = run(normal(8.0, 0.5), steps=10)
    assert states[-1].regime is Regime.TEMPER


def test_raw_weights_are_left_alone():
    taken, _ = run(normal(0.0, 0.9))
    for step in taken:
        assert torch.equal(step.weights, surrogate_weights(step.log_w))


def surrogate_weights(log_w):
    return estimator("aisle-kl").rows(log_w).weights


def test_weights_are_truncated_datapoint_by_datapoint():
    # The first of the two datapoints has a light tail, the second a heavy one.
    q = D.Independent(D.Normal(torch.zeros(2, 1), torch.tensor([[0.95], [0.2]])), 1)
    (step,), _ = run(q, steps=1)
    raw = surrogate_weights(step.log_w)
    capped = surrogate_weights(Truncation().apply(step.log_w).log_w)
    assert torch.equal(step.weights[:, 0], raw[:, 0])
    torch.testing.assert_close(step.weights[:, 1], capped[:, 1], rtol=1e-12, atol=0.0)
    assert float((capped[:, 1] - raw[:, 1]).abs().max()) > 1e-3


def test_safe_draws_have_their_share_and_the_weights_of_the_mixture():
    wide = normal(0.0, 3.0)
    q = normal(0.0, 0.3)
    taken, states = run(q, controller=Controller(safety=wide, share=0.1), particles=200, steps=30)
    defended = [
        step for step, state in zip(taken, states, strict=False) if state.regime is Regime.DEFEND
    ]
    assert len(defended) > 5
    for step in defended:
        log_m = torch.logaddexp(
            q.log_prob(step.z) + math.log(0.9), wide.log_prob(step.z) + math.log(0.1)
        )
        torch.testing.assert_close(
            step.log_w, log_joint(step.z, None) - log_m, rtol=1e-12, atol=1e-12
        )
        # The last twenty come from the wide one: they reach where the proposal does not.
        assert float(step.z[:180].abs().max()) < 0.3 * 6.0 < float(step.z[180:].abs().max())


def test_the_tails_that_decide_are_those_of_the_proposal_and_not_of_the_mixture():
    # Mixture weights are bounded: their tails would end the defence that made them so.
    taken, states = run(normal(0.0, 0.15), controller=Controller(safety=normal(0.0, 1.5)))
    mixed = sorted(float(step.khat) for step in taken[1:])
    assert all(state.khat > 0.7 for state in states[5:])
    assert mixed[len(mixed) // 2] < 0.5


@pytest.mark.parametrize("name", ["aisle-kl", "aisle-kl-score"])
def test_safe_draws_teach_the_proposal_the_same_gradient(name):
    # -d/dm KL(pi | N(m, s^2)) = (0 - m) / s^2, for a target of mean 0.
    sd, replicates = 0.45, 300
    mean = torch.full((1,), 0.1, requires_grad=True)
    q = D.Independent(D.Normal(mean, sd * torch.ones(1)), 1)
    # Safe draws to one side, so that wrong weights are seen.
    safety = normal(1.0, 1.5)
    control = module.Control(controller=Controller(safety=safety), khats=(0.85,) * 10)

    def gradients(particles=2000):
        found = []
        for _ in range(replicates):
            step, _ = control.step(log_joint, q, estimator=name, particles=particles)
            (slope,) = torch.autograd.grad(step.loss, mean)
            found.append(-float(slope))
        return torch.tensor(found)

    values = gradients()
    exact = -0.1 / sd**2
    z = float((values.mean() - exact) / (values.std() / math.sqrt(replicates)))
    assert abs(z) < 4.0
    # The twin: the density of the proposal at draws of the mixture, in place of the mixture's.
    wrong = pytest.MonkeyPatch()
    wrong.setattr(
        module.DefensiveMixture, "log_prob", lambda mixture, z: mixture.proposal.log_prob(z)
    )
    values = gradients()
    wrong.undo()
    z = float((values.mean() - exact) / (values.std() / math.sqrt(replicates)))
    assert abs(z) > 8.0


def test_tempering_reaches_its_share_and_never_tempers_more_than_before():
    taken, states = run(normal(6.0, 0.8), 25, 100, Controller(share=0.0))
    bounds = [state.least for state in states]
    assert bounds == sorted(bounds)
    assert 0.0 < bounds[-1] < 1.0
    for step, state in zip(taken, states, strict=False):
        if float(step.khat) <= 1.0:
            continue
        share = float(1.0 / (step.weights**2).sum()) / 100
        power = WeightTempering(share=0.2, least=state.least).apply(step.log_w).exponent
        expected = surrogate_weights(power * step.log_w)
        torch.testing.assert_close(step.weights, expected, rtol=1e-10, atol=1e-15)
        assert share >= 0.2 - 1e-9 or float(power) == state.least


def test_with_minibatches_the_bound_is_the_smallest_power_of_a_window():
    control = module.Control(controller=Controller(window=3))
    many = torch.ones(5)
    bounds = []
    for power in (0.9, 0.3, None, 0.5, 0.4, 0.2, 0.6, 0.7):
        control = control._next(2.0 * many, 9.0 * many, power)
        bounds.append(control.least)
    assert bounds == [0.0, 0.0, 0.0, 0.3, 0.3, 0.3, 0.3, 0.3]
    one = module.Control(controller=Controller(window=3))._next(many[:1], many[:1] * 9.0, 0.4)
    assert one.least == 0.4


def test_a_lost_proposal_is_an_error_after_so_many_steps_in_a_row():
    q = normal(300.0, 0.1)
    run(q, steps=9, particles=50, controller=Controller(patience=10))
    with pytest.raises(TrainingStuck, match="in 10 steps in a row k-hat was above 1"):
        run(q, steps=10, particles=50, controller=Controller(patience=10))
    # One step that finds the target begins the count again.
    control = module.Control(controller=Controller(patience=10), lost=9)
    _, control = control.step(log_joint, normal(0.0, 0.9), particles=50)
    assert control.lost == 0


def test_the_remedies_lower_the_error_of_a_gradient():
    # KL by scores in 20 dimensions, 200 particles, N(0.4, 0.75^2) for N(0, 1): the relative error
    # is about 1.1 with raw weights and 0.75 with truncated ones.
    d, m, sd, replicates = 20, 0.4, 0.75, 150
    mean = torch.full((d,), m, requires_grad=True)
    log_sd = torch.full((d,), math.log(sd), requires_grad=True)
    exact = torch.cat([torch.full((d,), -m / sd**2), torch.full((d,), (1 + m**2) / sd**2 - 1)])

    def error(take):
        torch.manual_seed(1)
        total = 0.0
        for _ in range(replicates):
            q = D.Independent(D.Normal(mean, torch.exp(log_sd)), 1)
            found = torch.autograd.grad(take(q).loss, [mean, log_sd])
            total += float((-torch.cat(found) - exact).square().sum()) / replicates
        return math.sqrt(total) / float(exact.norm())

    def raw(q):
        return surrogate(log_joint, q, estimator=estimator("rws", baseline=False), particles=200)

    def controlled(q):
        start = Controller(share=0.0).start()
        return start.step(log_joint, q, estimator=estimator("rws", baseline=False), particles=200)[
            0
        ]

    assert error(raw) > 1.0
    assert error(controlled) < 0.85


def test_discrete_latents_are_defended_by_their_prior():
    prior = D.Independent(D.Bernoulli(probs=0.5 * torch.ones(6)), 1)

    def target(z, x):
        return D.Bernoulli(probs=torch.full((6,), 0.5)).log_prob(z).sum(-1)

    q = BernoulliProposal(6)
    with torch.no_grad():
        q.head.bias.fill_(3.0)
    control = module.Control(controller=Controller(safety=prior), khats=(0.9,))
    step, _ = control.step(target, q, estimator="aisle-kl-score", particles=100)
    expected = torch.logaddexp(
        q().log_prob(step.z) + math.log(0.9), prior.log_prob(step.z) + math.log(0.1)
    )
    torch.testing.assert_close(step.log_w, target(step.z, None) - expected, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="discrete latents need a safe distribution"):
        Controller().start().step(target, q, estimator="aisle-kl-score", particles=100)


def test_bad_input_says_what_to_do_before_it_is_needed():
    q = normal(0.0, 0.9)
    start = Controller().start()
    with pytest.raises(ValueError, match="at least 25 particles; got 24"):
        start.step(log_joint, q, particles=24)
    with pytest.raises(ValueError, match=r"need the estimator of a divergence.*share=0.0"):
        start.step(log_joint, q, estimator="iwae", particles=50)
    Controller(share=0.0).start().step(log_joint, q, estimator="iwae", particles=50)
    with pytest.raises(ValueError, match=r"event shape \(\)"):
        start.step(lambda z, x: log_joint(z[..., None], x), D.Normal(0.0, 1.0), particles=50)
    with pytest.raises((ValueError, TypeError), match="df"):
        start.step(log_joint, StudentTProposal(1), particles=50)
    for wrong in ({"share": 1.0}, {"defend": 0.4}, {"window": 0}, {"patience": 0}, {"ess": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong)).replace("ess", "share")):
            Controller(**wrong)


def test_what_is_kept_of_a_controller_is_a_few_numbers():
    # Safe distributions are often functions, which do not pickle.
    control = Controller(safety=lambda: normal(0.0, 2.0)).start()
    _, control = control.step(log_joint, normal(0.0, 0.5), particles=100)
    assert pickle.loads(pickle.dumps(control.memory)) == control.memory


# --- annealing -----------------------------------------------------------------------------------


def test_an_annealed_order_goes_through_the_exclusive_and_the_inclusive_divergence():
    schedule = Annealing(at=((10, 0.0), (20, 1.0), (40, 2.0)))
    log_w = torch.tensor([0.3, -1.0, 2.0, 0.1])
    for step, same in ((0, "stl"), (10, "stl"), (20, "aisle-kl")):
        rows = schedule(step).rows(log_w)
        expected = estimator(same).rows(log_w)
        torch.testing.assert_close(rows.path, expected.path, rtol=1e-12, atol=1e-15)
    # Order 2 is half the chi-square divergence.
    half = 0.5 * estimator("aisle-chi2").rows(log_w).path
    torch.testing.assert_close(schedule(99).rows(log_w).path, half, rtol=1e-12, atol=1e-15)
    assert [schedule.value(step) for step in (12, 30, 39)] == [0.2, 1.5, 1.95]


def test_an_annealing_of_another_parameter():
    warm = Annealing(at=((0, 0.99), (100, 0.0)), name="vr-dreg", parameter="alpha")
    log_w = torch.tensor([0.3, -1.0, 2.0])
    expected = estimator("iwae-dreg").rows(log_w)
    torch.testing.assert_close(warm(100).rows(log_w).path, expected.path, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("at", [(), ((5, 1.0), (5, 2.0)), ((5, 1.0), (2, 2.0)), ((-1, 0.0),)])
def test_steps_of_an_annealing_increase(at):
    with pytest.raises(ValueError, match="increasing steps"):
        Annealing(at=at)


def test_an_annealing_knows_its_estimator():
    with pytest.raises(TypeError, match="no parameters"):
        Annealing(at=((0, 1.0),), name="aisle-kl")
    with pytest.raises(ValueError, match="did you mean"):
        Annealing(at=((0, 1.0),), name="aisle-alhpa")
