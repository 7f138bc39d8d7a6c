"""Surrogates in a user's loop: shapes, minibatches, precision, errors, off-policy steps."""

from __future__ import annotations

import copy
import math
from contextlib import nullcontext
from dataclasses import replace
from itertools import product

import pytest

torch = pytest.importorskip("torch")
zuko = pytest.importorskip("zuko")

from aisle_kernels import pareto  # noqa: E402
from torch import distributions as D  # noqa: E402
from torch import nn  # noqa: E402

from aisle_smc.divergences import (  # noqa: E402
    KL,
    ChiSquare,
    Hellinger,
    Truncation,
    WeightTempering,
)
from aisle_smc.neural import (  # noqa: E402
    ESTIMATORS,
    GaussianProposal,
    estimator,
    grouped,
    markovian,
    off_policy,
    sleep,
    surrogate,
)
from aisle_smc.neural.ascent import warn_of_edge  # noqa: E402
from aisle_smc.neural.paths import replay  # noqa: E402
from tests.oracles.estimators import PARAMETERS  # noqa: E402

K, N, LATENT, PIXELS = 6, 4, 3, 5


@pytest.fixture(autouse=True)
def _one_seed():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    warn_of_edge.cache_clear()


class Toy(nn.Module):
    """A variational autoencoder of two tiny nets."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.Sequential(nn.Linear(LATENT, 4), nn.Tanh(), nn.Linear(4, PIXELS))
        self.encoder = nn.Sequential(nn.Linear(PIXELS, 4), nn.Tanh(), nn.Linear(4, 2 * LATENT))

    def log_joint(self, z, x):
        residual = x - self.decoder(z)
        return -0.5 * (z**2).sum(-1) - 1.5 * (residual**2).sum(-1) + 0.3 * torch.sin(z[..., 0])

    def proposal(self, x):
        mean, log_sd = self.encoder(x).chunk(2, -1)
        return D.Independent(D.Normal(mean, torch.exp(log_sd)), 1)

    def gradients(self, loss):
        self.zero_grad()
        loss.backward()
        return [p.grad.clone() if p.grad is not None else None for p in self.parameters()]


def toy(dtype=torch.float64):
    return Toy().to(dtype), torch.randn(N, PIXELS, dtype=dtype)


def chosen(name):
    return estimator(name, **PARAMETERS.get(name, {}))


def assert_close(found, expected, tolerance=1e-12):
    for ours, theirs in zip(found, expected, strict=True):
        if theirs is None:
            assert ours is None or not bool(ours.any())
        else:
            scale = max(1e-3, float(theirs.abs().max()))
            assert float((ours - theirs).abs().max()) < tolerance * scale


# --- what comes back -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ESTIMATORS)
def test_one_pass_through_each_density_is_three_with_detached_copies(name):
    model, x = toy()
    own = chosen(name)
    torch.manual_seed(1)
    step = surrogate(model.log_joint, model.proposal, x, estimator=own, particles=K)
    found = model.gradients(step.loss)
    torch.manual_seed(1)
    still = copy.deepcopy(model).requires_grad_(False)
    z = model.proposal(x).rsample((K + own.auxiliary,))
    path = still.log_joint(z, x) - still.proposal(x).log_prob(z)
    rows = own.rows(path)
    terms = rows.path * path + rows.theta * model.log_joint(z.detach(), x)
    terms = terms + rows.score * model.proposal(x).log_prob(z.detach())
    assert_close(found, model.gradients(-terms.sum(0).mean()))


def test_a_step_says_what_its_draws_are_worth():
    model, x = toy()
    step = surrogate(model.log_joint, model.proposal, x, particles=40)
    assert step.z.shape == (40, N, LATENT)
    assert step.log_w.shape == step.weights.shape == (40, N)
    for values in (step.log_evidence, step.ess, step.khat, step.largest_weight, step.degenerate):
        assert values.shape == (N,)
    log_w = model.log_joint(step.z, x) - model.proposal(x).log_prob(step.z)
    share = torch.softmax(log_w, 0)
    assert torch.allclose(step.log_w, log_w)
    assert torch.allclose(step.weights, share)
    assert torch.allclose(step.log_evidence, torch.logsumexp(log_w, 0) - math.log(40))
    assert torch.allclose(step.ess, 1.0 / (share**2).sum(0))
    assert torch.allclose(step.largest_weight, share.amax(0))
    assert step.loss.item() == pytest.approx(-float(step.log_evidence.mean()))
    assert step.loss.shape == ()
    expected = [pareto.pareto_k(c.numpy().copy(), 8) for c in step.log_w.T]
    assert step.khat.tolist() == expected
    for name in ("log_w", "z", "weights", "log_evidence"):
        assert not getattr(step, name).requires_grad


def test_minibatches_add_up_to_the_batch():
    """The average over datapoints of one loss is that of its halves; gradients accumulate."""
    model, x = toy()
    noise = torch.randn(K, N, LATENT, dtype=torch.float64)

    def part(rows):
        def fixed(batch):
            q = model.proposal(batch).base_dist

            class Fixed(D.Independent):
                def rsample(self, shape=()):
                    return q.loc + q.scale * noise[:, rows]

            return Fixed(q, 1)

        return surrogate(model.log_joint, fixed, x[rows], estimator="aisle-chi2", particles=K).loss

    whole = model.gradients(part(slice(None)))
    model.zero_grad()
    for rows in (slice(0, 2), slice(2, 4)):
        (part(rows) / 2).backward()
    assert_close([p.grad for p in model.parameters()], whole)


def test_a_loop_of_ones_own_trains_model_and_proposal():
    model, x = toy(torch.float32)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    first = None
    for _ in range(150):
        optimiser.zero_grad()
        step = surrogate(model.log_joint, model.proposal, x, particles=16)
        step.loss.backward()
        optimiser.step()
        first = step.loss.item() if first is None else first
    assert step.loss.item() < first - 1.0
    assert float(step.ess.mean()) > 4.0


def test_single_precision_nets_have_double_weights():
    model, x = toy(torch.float32)
    double = copy.deepcopy(model).double()
    for name in ("aisle-kl", "iwae", "rws", "aisle-hellinger", "jvi-dreg"):
        torch.manual_seed(1)
        step = surrogate(model.log_joint, model.proposal, x, estimator=name, particles=K)
        assert step.log_w.dtype == step.weights.dtype == step.log_evidence.dtype == torch.float64
        assert step.z.dtype == torch.float32
        found = model.gradients(step.loss)
        assert {g.dtype for g in found} == {torch.float32}

        class Same(D.Independent):
            def rsample(self, shape=(), z=step.z):
                base = self.base_dist
                return base.loc + base.scale * ((z.double() - base.loc) / base.scale).detach()

            def sample(self, shape=()):
                return self.rsample(shape).detach()

        def same(batch):
            return Same(double.proposal(batch).base_dist, 1)

        exact = surrogate(double.log_joint, same, x.double(), estimator=name, particles=K)
        assert_close(found, double.gradients(exact.loss), 2e-4)
        assert torch.allclose(step.log_w, exact.log_w, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("cubo", {}), ("cubo-score", {}), ("aisle-alpha", {"order": 30.0})],
    ids=str,
)
def test_coefficients_beyond_single_precision_are_an_error(name, parameters):
    def loss(dtype):
        mean = torch.zeros(1, dtype=dtype, requires_grad=True)
        q = D.Independent(D.Normal(mean, 1.0), 1)
        torch.manual_seed(0)
        # One draw has all the weight, of K^30 / K by the high order and e^100 by CUBO.
        step = surrogate(
            lambda z, x: 50.0 - 40.0 * (z[..., 0] - 2.0) ** 2,
            q,
            estimator=estimator(name, **parameters),
            particles=64,
        )
        return step.loss, mean

    with pytest.raises(ValueError, match=r"power of the weights overflows torch\.float32; use"):
        loss(torch.float32)
    value, mean = loss(torch.float64)
    value.backward()
    assert bool(torch.isfinite(mean.grad).all())
    assert bool(mean.grad != 0.0)


def test_weights_far_below_what_single_precision_holds_still_teach():
    """A weight of 1e-65 with the coefficient 1e-33: the gradient is taken before it is scaled."""
    mean = torch.zeros(2, requires_grad=True)

    class Two(D.Independent):
        def rsample(self, shape=()):
            return mean + torch.tensor([[0.0, 0.0], [1.0, 0.0]])

    def log_joint(z, x):
        return -150.0 * z[..., 0] ** 2

    q = Two(D.Normal(mean, 1.0), 1)
    hellinger = estimator("aisle-hellinger")
    surrogate(log_joint, q, estimator=hellinger, particles=2).loss.backward()
    a = float(hellinger.rows(torch.tensor([0.0, -149.5]).double()).path[1])
    assert float(-mean.grad[0]) == pytest.approx(a * (-300.0 + 1.0), rel=1e-5)
    mean.grad = None
    twin = replace(hellinger, bounded=True)  # by way of theta's coefficient, which is lost
    surrogate(log_joint, q, estimator=twin, particles=2).loss.backward()
    assert float(-mean.grad[0]) == pytest.approx(a, rel=1e-5)  # what is left is the proposal's


def test_proposals_without_datapoints():
    mean = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
    q = D.Independent(D.Normal(mean, torch.ones(2, dtype=torch.float64)), 1)
    seen = []

    def log_joint(z, x):
        seen.append(x)
        return -(z**2).sum(-1)

    for proposal in (q, lambda: q):
        step = surrogate(log_joint, proposal, estimator="iwae-dreg", particles=K)
        assert step.log_w.shape == (K,)
        assert step.log_evidence.shape == step.ess.shape == step.khat.shape == ()
        assert step.draw().shape == (2,)
        step.loss.backward()
    assert seen == [None, None]
    # A latent that all the data share: the distribution is given, the data go to the model alone.
    step = surrogate(lambda z, x: -((x - z[:, None]) ** 2).sum((1, 2)), q, torch.ones(9, 2))
    assert step.log_w.shape == (16,)


def test_without_gradients_there_are_still_weights():
    model, x = toy()
    for name in ("aisle-kl", "iwae", "rws", "exclusive-kl"):
        with torch.no_grad():
            step = surrogate(model.log_joint, model.proposal, x, estimator=name, particles=K)
        assert not step.loss.requires_grad
        assert bool(torch.isfinite(step.log_evidence).all())


@pytest.mark.parametrize("name", ["iwae", "aisle-kl", "rws", "exclusive-kl", "piwae"])
def test_either_side_may_be_frozen(name):
    model, x = toy()
    torch.manual_seed(1)
    step = surrogate(model.log_joint, model.proposal, x, estimator=chosen(name), particles=K)
    both = model.gradients(step.loss)
    for part, kept in ((model.encoder, both[:4]), (model.decoder, both[4:])):
        part.requires_grad_(False)
        torch.manual_seed(1)
        step = surrogate(model.log_joint, model.proposal, x, estimator=chosen(name), particles=K)
        found = [g for g in model.gradients(step.loss) if g is not None]
        part.requires_grad_(True)
        assert_close(found, kept)


def test_both_at_once_from_a_proposal_that_can():
    model, x = toy()

    class Fused(D.Independent):
        def rsample_and_log_prob(self, shape):
            z = self.rsample(shape)
            return z, self.log_prob(z)

        def log_prob(self, z):
            calls.append(z.requires_grad)
            return super().log_prob(z)

    for name, expected in (("iwae", True), ("aisle-kl", True)):
        calls: list[bool] = []
        torch.manual_seed(1)
        fused = surrogate(
            model.log_joint,
            lambda batch: Fused(model.proposal(batch).base_dist, 1),
            x,
            estimator=name,
            particles=K,
        )
        found = model.gradients(fused.loss)
        torch.manual_seed(1)
        plain = surrogate(model.log_joint, model.proposal, x, estimator=name, particles=K)
        assert_close(found, model.gradients(plain.loss))
        assert calls == [expected]  # once, whichever it is


# --- degenerate weights --------------------------------------------------------------------------


def positive_part(y):
    """A log-density that is -inf below zero, where its gradient is not a number."""
    return torch.where(y > 0.0, torch.sqrt(y), -math.inf)


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name not in {"cubo"}])
def test_no_weight_at_all_gives_no_gradient_and_a_flag(name):
    model, x = toy()

    def nowhere(z, x):
        # Datapoint 1 is impossible, by a formula whose gradient there is not a number.
        value = model.log_joint(z, x)
        impossible = torch.arange(N) == 1
        return value + positive_part(torch.where(impossible, -1.0 - z[..., 0] ** 2, 1.0))

    own = chosen(name)
    step = surrogate(nowhere, model.proposal, x, estimator=own, particles=K)
    assert step.degenerate.tolist() == [False, True, False, False]
    assert float(step.log_evidence[1]) == -math.inf
    assert float(step.ess[1]) == float(step.largest_weight[1]) == 0.0
    assert float(step.ess[0]) >= 1.0
    assert step.loss.item() == math.inf
    found = model.gradients(step.loss)
    assert all(bool(torch.isfinite(g).all()) for g in found if g is not None)
    assert torch.equal(step.draw()[1], step.z[0, 1])
    alone = surrogate(
        lambda z, x: torch.full(z.shape[:2], -math.inf), model.proposal, x, estimator="rws"
    )
    assert not any(bool(g.any()) for g in model.gradients(alone.loss) if g is not None)


@pytest.mark.parametrize("name", ["aisle-kl", "aisle-hellinger", "iwae", "rws", "aisle-chi2"])
def test_a_draw_without_weight_contributes_nothing(name):
    model, x = toy()

    def bounded(z, x):
        return model.log_joint(z, x) + positive_part(0.5 - z[..., 0])

    says = nullcontext() if name == "rws" else pytest.warns(RuntimeWarning, match="use a score f")
    with says:
        step = surrogate(bounded, model.proposal, x, estimator=name, particles=30)
    assert 0 < int((step.weights == 0.0).sum()) < 30 * N
    assert all(bool(torch.isfinite(g).all()) for g in model.gradients(step.loss))


# --- hard edges ----------------------------------------------------------------------------------


def half_normal(z, x=None):
    return torch.where(z[..., 0] > 0.0, -0.5 * z[..., 0] ** 2, -math.inf)


def fitted(estimator):
    """The mean and standard deviation of a Gaussian fitted to it, the last steps averaged."""
    place = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([place], lr=0.03)
    seen = []
    for _ in range(500):
        q = D.Independent(D.Normal(place[:1], place[1:].exp()), 1)
        step = surrogate(half_normal, q, estimator=estimator, particles=1000)
        optimiser.zero_grad()
        step.loss.backward()
        optimiser.step()
        seen.append(torch.stack([place[0], place[1].exp()]).detach())
    return torch.stack(seen[-300:]).mean(0)


def test_at_a_hard_edge_score_forms_are_right_and_path_forms_are_not():
    """The nearest Gaussian of KL(pi | q) has the moments of the half-normal target."""
    exact = torch.tensor([math.sqrt(2.0 / math.pi), math.sqrt(1.0 - 2.0 / math.pi)]).double()
    assert float((fitted("rws") - exact).abs().max()) < 0.01
    # Inside the support target and proposal are proportional: paths see nothing to be done.
    with pytest.warns(RuntimeWarning, match="where it jumps the gradient is biased") as caught:
        found = fitted("aisle-kl")
    assert len(caught) == 1
    assert torch.equal(found, torch.tensor([0.0, 1.0]).double())


def test_off_policy_warns_of_a_hard_edge_in_its_path_form():
    q = D.Independent(D.Normal(torch.zeros(1, requires_grad=True), 1.0), 1)
    z = torch.tensor([[-1.0], [0.5], [2.0]])
    log_w = torch.tensor([-math.inf, 0.0, 0.0])
    with pytest.warns(RuntimeWarning, match=r"path=False off-policy"):
        off_policy(z, log_w, half_normal, q)
    warn_of_edge.cache_clear()
    off_policy(z, log_w, half_normal, q, path=False)
    # Where a whole datapoint is impossible there is no edge.
    surrogate(
        lambda z, x: torch.where(torch.arange(2) == 0, -(z**2), -math.inf),
        D.Normal(torch.zeros(2, requires_grad=True), 1.0),
        estimator="aisle-kl",
    )


@pytest.mark.parametrize("name", ["stl", "vae", "exclusive-kl", "vr"])
def test_an_estimator_that_is_infinite_at_the_edge_sends_to_the_score_forms(name):
    parameters = {"alpha": 2.0} if name == "vr" else {}
    q = D.Independent(D.Normal(torch.zeros(1, requires_grad=True), 1.0), 1)
    with pytest.raises(ValueError, match=r"is -inf; use a score form, such as .*'rws'"):
        surrogate(half_normal, q, estimator=estimator(name, **parameters), particles=50)


# --- bad input -----------------------------------------------------------------------------------


def test_path_forms_need_draws_that_carry_gradients():
    logits = torch.zeros(N, 3, requires_grad=True)
    log_joint = lambda z, x: -z.double()  # noqa: E731
    with pytest.raises(
        ValueError, match=r"'aisle-kl'.*Categorical are discrete; use a score form"
    ):
        surrogate(log_joint, D.Categorical(logits=logits), estimator="aisle-kl")
    through = D.OneHotCategoricalStraightThrough(logits=logits)
    with pytest.raises(ValueError, match="are discrete"):
        surrogate(lambda z, x: z[..., 0], through, estimator="iwae")
    mixture = D.MixtureSameFamily(
        D.Categorical(logits=torch.zeros(2)), D.Normal(torch.zeros(2), 1.0)
    )
    with pytest.raises(ValueError, match=r"'stl'.*MixtureSameFamily has no rsample"):
        surrogate(lambda z, x: -(z**2), mixture, estimator="stl")

    class Detached(D.Normal):
        def rsample(self, shape=()):
            return super().rsample(shape).detach()

    with pytest.raises(ValueError, match="draws of the proposal must carry a gradient"):
        surrogate(lambda z, x: -(z**2), Detached(torch.zeros(N, requires_grad=True), 1.0))
    with pytest.raises(ValueError, match=r"log_joint.* must be differentiable in z"):
        surrogate(
            lambda z, x: -(z.detach() ** 2), D.Normal(torch.zeros(N, requires_grad=True), 1.0)
        )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rws", "identically zero"),
        ("aisle-chi2-score", "identically zero"),
        ("rws-dreg", "identically zero"),
        ("cubo-log", "noise of mean zero"),
        ("vimco", "not defined"),
    ],
)
def test_one_particle_where_it_means_nothing(name, said):
    model, x = toy()
    with pytest.raises(ValueError, match=rf"'{name}' with a single particle is {said}"):
        surrogate(model.log_joint, model.proposal, x, estimator=name, particles=1)
    raw = estimator("rws", baseline=False)
    with pytest.raises(ValueError, match="noise of mean zero"):
        surrogate(model.log_joint, model.proposal, x, estimator=raw, particles=1)
    surrogate(model.log_joint, model.proposal, x, estimator="aisle-kl", particles=1)


def test_one_particle_in_each_group_or_at_the_end_of_a_line():
    model, x = toy()
    at_one = estimator("dreg", t=1.0)
    with pytest.raises(ValueError, match="'dreg' with a single particle is identically zero"):
        surrogate(model.log_joint, model.proposal, x, estimator=at_one, particles=1)
    surrogate(model.log_joint, model.proposal, x, estimator=estimator("dreg", t=0.9), particles=1)
    rule = grouped(estimator("rws"), groups=4)
    with pytest.raises(ValueError, match="single particle in each group is identically zero"):
        surrogate(model.log_joint, model.proposal, x, estimator=rule, particles=4)
    surrogate(model.log_joint, model.proposal, x, estimator=rule, particles=8)
    alone = estimator("miwae", groups=4)  # the evidence lower bound
    surrogate(model.log_joint, model.proposal, x, estimator=alone, particles=4)


def test_one_particle_off_policy():
    q = D.Independent(D.Normal(torch.zeros(1, requires_grad=True), 1.0), 1)
    z, log_w = torch.randn(1, 1), torch.zeros(1)

    def log_joint(z, x):
        return -(z[..., 0] ** 2)

    with pytest.raises(ValueError, match=r"score form with a single particle .* sleep"):
        off_policy(z, log_w, log_joint, q, path=False)
    off_policy(z, log_w, log_joint, q)
    off_policy(z.expand(2, 1), log_w.expand(2), log_joint, q, path=False)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_density_that_is_no_number_is_located(bad):
    model, x = toy()

    def broken(z, x):
        value = model.log_joint(z, x)
        where = torch.zeros_like(value, dtype=torch.bool)
        where[4, 2] = True
        return torch.where(where, bad, value)

    with pytest.raises(ValueError, match=rf"log_joint .* is {bad} at particle 4 of datapoint 2"):
        surrogate(broken, model.proposal, x, particles=K)
    with pytest.raises(ValueError, match=rf"is {bad} at particle 2$"):
        surrogate(
            lambda z, x: torch.where(torch.arange(K) == 2, bad, -(z**2)),
            D.Normal(torch.zeros(()), 1.0),
            particles=K,
        )


def test_a_proposal_that_does_not_reach_its_own_draws():
    class Elsewhere(D.Normal):
        def log_prob(self, z):
            return torch.where(torch.arange(N) == 3, -math.inf, super().log_prob(z))

    q = Elsewhere(torch.zeros(N), 1.0)
    with pytest.raises(ValueError, match=r"log_prob must be finite .* particle 0 of datapoint 3"):
        surrogate(lambda z, x: -(z**2), q)


def test_shapes_are_explained_by_their_axes():
    model, x = toy()
    with pytest.raises(
        ValueError, match=r"\(particles, datapoints\) = \(6, 4\); got \(6, 4, 3\); sum it over"
    ):
        surrogate(lambda z, x: -(z**2), model.proposal, x, particles=K)
    with pytest.raises(ValueError, match=r"wrap a factorised proposal in .*Independent"):
        surrogate(model.log_joint, lambda x: model.proposal(x).base_dist, x, particles=K)
    with pytest.raises(ValueError, match=r"got \(4,\); return one value for each particle"):
        surrogate(lambda z, x: model.log_joint(z, x).sum(0), model.proposal, x, particles=K)
    with pytest.raises(TypeError, match="log_joint must return a tensor; got a float"):
        surrogate(lambda z, x: 1.0, model.proposal, x)

    class Odd(D.Normal):
        def log_prob(self, z):
            return super().log_prob(z).sum(0)

    with pytest.raises(ValueError, match="log_prob of the proposal must have the leading axes"):
        surrogate(lambda z, x: -(z**2), Odd(torch.zeros(N), 1.0))


def test_arguments_are_checked():
    model, x = toy()
    with pytest.raises(TypeError, match="particles must be an int"):
        surrogate(model.log_joint, model.proposal, x, particles=2.5)
    with pytest.raises(ValueError, match="particles must be at least 1"):
        surrogate(model.log_joint, model.proposal, x, particles=0)
    with pytest.raises(ValueError, match="did you mean 'aisle-kl'"):
        surrogate(model.log_joint, model.proposal, x, estimator="aisle_kI")
    with pytest.raises(TypeError, match=r"proposal must be a distribution.* got a int"):
        surrogate(model.log_joint, 3, x)
    for given, said in (
        (KL(), r"got KL\(\); a divergence goes by estimator\('aisle-f'"),
        (None, "None$"),
    ):
        with pytest.raises(TypeError, match=f"estimator must be a name of ESTIMATORS .*{said}"):
            surrogate(model.log_joint, model.proposal, x, estimator=given)
    ours = GaussianProposal(LATENT, PIXELS)
    with pytest.raises(TypeError, match=r"x must be a tensor; got an array of shape \(4, 5\)"):
        surrogate(lambda z, x: -z.square().sum(-1), ours, x.numpy())
    with pytest.raises(TypeError, match="must return a distribution with log_prob; got a Tensor"):
        surrogate(model.log_joint, model.encoder, x)
    with pytest.raises(ValueError, match="'ovis-mc' has auxiliary draws and takes no stabiliser"):
        surrogate(model.log_joint, model.proposal, x, estimator="ovis-mc", stabiliser=Truncation())


# --- stabilisers ---------------------------------------------------------------------------------


def test_a_stabiliser_changes_the_coefficients_and_not_the_diagnosis():
    model, x = toy()
    results = {}
    for stabiliser in (None, Truncation(multiple=1.5), WeightTempering(share=0.9)):
        torch.manual_seed(1)
        step = surrogate(model.log_joint, model.proposal, x, particles=K, stabiliser=stabiliser)
        results[type(stabiliser).__name__] = step
    raw, cut, tempered = results.values()
    for step in (cut, tempered):
        assert torch.allclose(step.ess, raw.ess)
        assert torch.equal(step.log_w, raw.log_w)
        assert torch.allclose(step.log_evidence, raw.log_evidence)
    expected = torch.softmax(Truncation(multiple=1.5).apply(raw.log_w).log_w, 0)
    assert torch.allclose(cut.weights, expected)
    assert not torch.allclose(raw.weights, expected)
    assert cut.stabiliser == Truncation(multiple=1.5)
    assert 0.0 < tempered.stabiliser.least < 1.0  # carried on to the next step


# --- discrete latents ----------------------------------------------------------------------------


def test_discrete_latents_by_score_forms_are_unbiased_where_they_should_be():
    """All pairs of draws enumerated: the mean of an estimator is a finite sum."""
    logits = torch.tensor([0.2, -0.4, 0.9], dtype=torch.float64, requires_grad=True)
    table = torch.tensor([0.5, -1.0, 0.1], dtype=torch.float64)
    pairs = torch.tensor(list(product(range(3), repeat=2))).T

    class Pairs(D.Categorical):
        def sample(self, shape=()):
            return pairs[:, :, None]

    log_q = torch.log_softmax(logits, 0)
    log_w = table[pairs] - log_q[pairs]
    bound = torch.logsumexp(log_w, 0) - math.log(2)
    (exact,) = torch.autograd.grad((torch.exp(log_q[pairs].sum(0)) * bound).sum(), logits)

    def mean_of(name, **options):
        p = torch.exp(torch.log_softmax(logits.detach(), 0)[pairs].sum(0))
        total = torch.zeros(3, dtype=torch.float64)
        for column in range(9):

            class One(D.Categorical):
                def sample(self, shape=(), column=column):
                    return pairs[:, column]

            logits.grad = None
            step = surrogate(
                lambda z, x: table[z],
                One(logits=logits),
                estimator=estimator(name, **options),
                particles=2,
            )
            step.loss.backward()
            total = total - p[column] * logits.grad
        return total

    for name in ("vimco", "vimco-geometric", "ovis"):
        assert torch.allclose(mean_of(name), exact, rtol=1e-12, atol=1e-15)
    for name in ("rws", "aisle-kl-score"):
        assert not torch.allclose(mean_of(name), exact, rtol=1e-2)
    assert torch.allclose(mean_of("rws"), mean_of("rws", baseline=False), rtol=1e-12)


def test_a_discrete_proposal_learns_the_posterior():
    logits = torch.zeros(5, requires_grad=True)
    target = torch.tensor([0.05, 0.1, 0.15, 0.3, 0.4])
    for name in ("rws", "aisle-chi2-score"):
        torch.manual_seed(3)
        with torch.no_grad():
            logits.zero_()
        optimiser = torch.optim.SGD([logits], lr=0.5)
        for _ in range(400):
            optimiser.zero_grad()
            step = surrogate(
                lambda z, x: target.log()[z],
                D.Categorical(logits=logits),
                estimator=name,
                particles=50,
            )
            step.loss.backward()
            optimiser.step()
        # The baseline leaves no noise at the target: the weights are then all equal.
        assert torch.allclose(torch.softmax(logits, 0), target, atol=1e-3)
        assert float(step.ess) > 49.9


# --- markovian, sleep ----------------------------------------------------------------------------


def test_markovian_keeps_its_state_and_scores_it():
    model, x = toy()
    retained = torch.randn(N, LATENT, dtype=torch.float64)
    torch.manual_seed(1)
    step = markovian(model.log_joint, model.proposal, x, retained=retained, particles=K)
    found = model.gradients(step.loss)
    assert torch.equal(step.z[0], retained)
    assert step.z.shape == (K, N, LATENT)
    log_w = model.log_joint(step.z, x) - model.proposal(x).log_prob(step.z)
    share = torch.softmax(log_w.detach(), 0)
    by_hand = (share * model.proposal(x).log_prob(step.z)).sum(0).mean()
    by_hand = by_hand + (share * model.log_joint(step.z, x)).sum(0).mean()
    assert_close(found, model.gradients(-by_hand))
    # The path form maps the retained state back: on a state that q drew, it is aisle-kl.
    torch.manual_seed(1)
    z = model.proposal(x).rsample((K,))
    paths = markovian(
        model.log_joint, model.proposal, x, retained=z[0].detach(), estimator="msc-path"
    )
    assert all(bool(torch.isfinite(g).all()) for g in model.gradients(paths.loss))
    with pytest.raises(ValueError, match=r"retained must have the shape of a draw, \(4, 3\)"):
        markovian(model.log_joint, model.proposal, x, retained=retained[0])
    with pytest.raises(ValueError, match="single particle"):
        markovian(model.log_joint, model.proposal, x, retained=retained, particles=1)


def test_the_retained_state_keeps_the_law_of_the_target():
    """|z| < 4 after two moves of 20 000 chains that start in the target; K = 3 and a poor q."""
    chains = 20_000
    target = D.Normal(torch.zeros(chains, dtype=torch.float64), 1.0)
    q = D.Normal(torch.full((chains,), 0.8, dtype=torch.float64), 1.5)
    state, twin = target.sample(), target.sample()
    for _ in range(2):
        state = markovian(
            lambda z, x: target.log_prob(z) + 3.0, q, retained=state, particles=3
        ).draw()
        # Twin: fresh particles only, self-normalised.
        twin = surrogate(
            lambda z, x: target.log_prob(z) + 3.0, q, estimator="rws", particles=3
        ).draw()
    for moment, truth in ((state, 0.0), (state**2, 1.0)):
        z = (moment.mean() - truth) / (moment.std() / math.sqrt(chains))
        assert abs(float(z)) < 4.0
    assert abs(float(twin.mean() / (twin.std() / math.sqrt(chains)))) > 10.0


def test_sleep_is_the_likelihood_of_simulated_latents():
    model, x = toy()
    z = torch.randn(N, LATENT, dtype=torch.float64, requires_grad=True)
    loss = sleep(model.proposal, z, x)
    assert loss.item() == pytest.approx(-model.proposal(x).log_prob(z).mean().item())
    assert_close(
        model.gradients(loss), model.gradients(-model.proposal(x).log_prob(z.detach()).mean())
    )
    assert z.grad is None
    with pytest.raises(ValueError, match="support must cover the prior's"):
        sleep(D.Uniform(torch.zeros(N), 1.0, validate_args=False), -torch.ones(N), x)


# --- off-policy ----------------------------------------------------------------------------------


def families():
    loc = torch.tensor([0.3, -0.2], dtype=torch.float64)
    log_sd = torch.tensor([0.1, -0.4], dtype=torch.float64)
    low = torch.tensor([[0.9, 0.0], [0.4, 0.7]], dtype=torch.float64)
    parameters = [p.clone().requires_grad_() for p in (loc, log_sd, low)]
    loc, log_sd, low = parameters
    sd = torch.exp(log_sd)
    affine = D.TransformedDistribution(
        D.Normal(loc, sd), [D.SigmoidTransform(), D.AffineTransform(loc, 2.0 * sd)]
    )
    yield "normal", D.Independent(D.Normal(loc, sd), 1), parameters
    yield "laplace", D.Independent(D.Laplace(loc, sd), 1), parameters
    yield "student", D.Independent(D.StudentT(5.0, loc, sd), 1), parameters
    yield "uniform", D.Independent(D.Uniform(loc, loc + sd), 1), parameters
    yield "lognormal", D.Independent(D.LogNormal(loc, sd), 1), parameters
    yield "transformed", D.Independent(affine, 1), parameters
    yield "full", D.MultivariateNormal(loc, scale_tril=low.tril()), parameters


@pytest.mark.parametrize("index", range(7))
def test_a_replayed_draw_has_the_gradient_it_was_made_with(index):
    _, q, parameters = list(families())[index]
    z = q.rsample((K,))
    cotangent = torch.randn(z.shape, dtype=z.dtype)
    again = replay(q, z.detach())
    assert torch.equal(again, z.detach())

    def by(values):
        return torch.autograd.grad(
            values, parameters, cotangent, allow_unused=True, retain_graph=True
        )

    assert_close(by(again), by(z), 1e-11)


@pytest.mark.parametrize("transform", ["maf", "spline"])
def test_a_flow_learns_off_policy_as_it_does_on_policy(transform):
    kind = {"maf": zuko.flows.MAF, "spline": zuko.flows.NSF}[transform]
    flow = kind(features=2, context=PIXELS, transforms=2, hidden_features=(8,)).double()
    x = torch.randn(N, PIXELS, dtype=torch.float64)
    theta = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    parameters = [theta, *flow.parameters()]
    log_joint = lambda z, x: -theta * (z**2).sum(-1) + z[..., 0] * x[:, 0]  # noqa: E731
    torch.manual_seed(1)
    on = surrogate(log_joint, flow, x, estimator="aisle-kl", particles=K)
    expected = torch.autograd.grad(on.loss, parameters, allow_unused=True)
    off = off_policy(on.z, on.log_w, log_joint, flow, x)
    found = torch.autograd.grad(off.loss, parameters, allow_unused=True)
    # The inverse of a flow costs digits: it is a composition solved for, not subtracted.
    assert_close(found, expected, 1e-9)
    assert torch.allclose(off.log_evidence, on.log_evidence)
    torch.manual_seed(1)
    both = surrogate(log_joint, flow, x, estimator="iwae", particles=K)
    live = torch.autograd.grad(both.loss, parameters, allow_unused=True)
    score = off_policy(on.z, on.log_w, log_joint, flow, x, path=False)
    wake = torch.autograd.grad(score.loss, parameters, allow_unused=True)
    # I1, through the flow: the path less the score is the bound's own gradient.
    difference = [
        None if e is None else e - (w if w is not None else 0.0)
        for e, w in zip(expected[1:], wake[1:], strict=True)
    ]
    assert_close(difference, live[1:], 1e-9)


def defensive(size, seed):
    """Draws of a mixture of a narrow q and a wide normal, with the target's evidence log 2."""
    generator = torch.Generator().manual_seed(seed)
    loc = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
    q = D.Normal(loc, torch.tensor(0.5, dtype=torch.float64))
    wide = D.Normal(torch.tensor(0.0, dtype=torch.float64), 3.0)
    noise = torch.randn(size, generator=generator, dtype=torch.float64)
    own = torch.rand(size, generator=generator, dtype=torch.float64) < 0.8
    z = torch.where(own, loc.detach() + 0.5 * noise, 3.0 * noise)
    from_q = loc.detach() + 0.5 * torch.randn(size, generator=generator, dtype=torch.float64)

    def log_mixture(at):
        inside = math.log(0.8) + q.log_prob(at).detach()
        return torch.logaddexp(inside, math.log(0.2) + wide.log_prob(at))

    return z, log_mixture(z), log_mixture(from_q), q, loc


def skewed(z, x):
    return math.log(2.0) + D.Normal(0.5, 1.0).log_prob(z)


def test_a_defensive_mixture_is_weighed_where_its_draws_are():
    """Unbiased for the evidence: |z| < 4 over 400 replicates of 50; the twin misses by far.

    The twin is what published code does: the density of the mixture at other draws, those of q.
    """
    right, wrong = [], []
    for seed in range(400):
        z, log_m, log_elsewhere, q, _ = defensive(50, seed)
        right.append(off_policy(z, None, skewed, q, log_sampler=log_m).log_evidence)
        wrong.append(off_policy(z, None, skewed, q, log_sampler=log_elsewhere).log_evidence)

    def z_score(log_z):
        ratio = torch.exp(torch.stack(log_z)) / 2.0
        return float((ratio.mean() - 1.0) / (ratio.std() / math.sqrt(400)))

    assert abs(z_score(right)) < 4.0
    assert abs(z_score(wrong)) > 8.0


def test_the_sampler_may_be_given_in_place_of_the_weights():
    z, log_m, _, q, loc = defensive(50, 1)
    weights = skewed(z, None) - log_m
    found = []
    for options in ({"log_weights": weights}, {"log_weights": None, "log_sampler": log_m}):
        for divergence, path in ((KL(), True), (ChiSquare(), True), (Hellinger(), False)):
            loc.grad = None
            given = options.get("log_weights")
            step = off_policy(
                z,
                given,
                skewed,
                q,
                divergence=divergence,
                path=path,
                log_sampler=options.get("log_sampler"),
            )
            step.loss.backward()
            found.append(loc.grad.clone())
            assert torch.allclose(step.log_w, weights)
    assert torch.allclose(torch.stack(found[:3]), torch.stack(found[3:]), rtol=1e-12)
    # By hand, the score form of KL: the weighted score, with no ratio of q and the mixture.
    loc.grad = None
    off_policy(z, weights, skewed, q, path=False).loss.backward()
    share = torch.softmax(weights, 0)
    assert float(-loc.grad) == pytest.approx((share * (z - loc) / 0.25).sum().item(), rel=1e-12)


def test_off_policy_with_a_stabiliser_and_a_known_evidence():
    z, log_m, _, q, loc = defensive(50, 2)
    weights = skewed(z, None) - log_m
    cut = off_policy(z, weights, skewed, q, stabiliser=Truncation(multiple=1.2))
    plain = off_policy(z, weights, skewed, q)
    assert torch.allclose(cut.ess, plain.ess)
    assert float(cut.weights.max()) < float(plain.weights.max())
    gradients = []
    for log_evidence in (math.log(2.0), math.log(4.0)):
        loc.grad = None
        step = off_policy(z, weights, skewed, q, divergence=ChiSquare(), log_evidence=log_evidence)
        step.loss.backward()
        gradients.append(float(loc.grad))
    assert gradients[0] == pytest.approx(2.0 * gradients[1], rel=1e-12)


def test_off_policy_coefficients_need_not_be_bounded_by_the_weights():
    """A weight of 1e-52 where q has almost no density: chi-square multiplies it by 1e86."""
    found = []
    for dtype in (torch.float32, torch.float64):
        loc = torch.zeros((), dtype=dtype, requires_grad=True)
        q = D.Normal(loc, torch.tensor(0.05, dtype=dtype))
        z = torch.tensor([0.0, 1.0], dtype=dtype)
        log_weights = torch.tensor([0.0, -120.0])
        off_policy(z, log_weights, lambda z, x: -(z**2), q, divergence=ChiSquare()).loss.backward()
        found.append(float(loc.grad))
    assert abs(found[1]) > 1e30
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_what_off_policy_refuses():
    z, log_m, _, q, _ = defensive(50, 3)
    with pytest.raises(ValueError, match="got neither"):
        off_policy(z, None, skewed, q)
    with pytest.raises(ValueError, match="got both"):
        off_policy(z, log_m, skewed, q, log_sampler=log_m)
    with pytest.raises(
        ValueError, match=r"log_weights must have one value .* \(50,\); got \(49,\)"
    ):
        off_policy(z, log_m[:-1], skewed, q)
    with pytest.raises(ValueError, match="path form needs a proposal whose draws can be inverted"):
        off_policy(z.abs(), log_m, skewed, D.Gamma(torch.ones(()), 1.0))
    learnt = torch.tensor(3.0, requires_grad=True)
    with pytest.raises(ValueError, match="StudentT is replayed with its df fixed"):
        off_policy(z, log_m, skewed, D.StudentT(learnt))
