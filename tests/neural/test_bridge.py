"""The bridge to NumPy: shared memory, fits, importance sampling, and kernels on tensors."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import distributions as D  # noqa: E402

from aisle_smc import resampling  # noqa: E402
from aisle_smc.distributions import (  # noqa: E402
    Defensive,
    Distribution,
    Gaussian,
    StudentT,
    as_distribution,
)
from aisle_smc.importance import (  # noqa: E402
    AMIS,
    adaptive_importance_sampling,
    importance_sampling,
)
from aisle_smc.neural import (  # noqa: E402
    BernoulliProposal,
    CategoricalProposal,
    DefensiveProposal,
    FlowProposal,
    GaussianProposal,
    MaximumLikelihood,
    MixtureProposal,
    StudentTProposal,
    TorchProposal,
    ancestors,
    for_numpy,
    normalise,
    resample,
)
from aisle_smc.neural import weights as module_of_weights  # noqa: E402
from aisle_smc.neural.weights import (  # noqa: E402
    SCHEMES,
    ancestors_by_operations,
    normalise_by_operations,
)
from tests.neural.proposals import ALL, DIM, FEATURES, build, data, safe  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def rng(seed=0):
    return np.random.default_rng(seed)


# --- a distribution of arrays --------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("encoder", [None, FEATURES])
def test_it_is_the_same_distribution(name, encoder):
    module = build(name, encoder)
    x = None if encoder is None else data(1)
    q = module.as_distribution(x)
    assert isinstance(q, Distribution)
    assert q.dim == DIM
    z = q.sample(9, rng())
    assert z.shape == (9, DIM)
    assert z.dtype == np.float64
    log_q = q.log_density(z)
    assert log_q.shape == (9,)
    given = module() if x is None else module(x)
    expected = given.log_prob(torch.from_numpy(z).reshape(9, *given.batch_shape, DIM))
    np.testing.assert_allclose(log_q, expected.detach().numpy().reshape(-1), rtol=1e-14)


def test_as_distribution_takes_an_unconditional_proposal():
    module = build("spline")
    q = as_distribution(module)
    assert isinstance(q, TorchProposal)
    assert q.proposal is module
    with pytest.raises(TypeError, match="amortised and needs data"):
        as_distribution(build("spline", FEATURES))


def test_draws_depend_on_the_generator_alone():
    q = as_distribution(build("mixture"))
    torch.manual_seed(7)
    before = torch.rand(3)
    torch.manual_seed(7)
    first = q.sample(5, rng(1))
    assert torch.equal(torch.rand(3), before), "the global state of torch was moved"
    np.testing.assert_array_equal(q.sample(5, rng(1)), first)
    assert not np.array_equal(q.sample(5, rng(2)), first)


class Spy:
    """A proposal that remembers where the tensors lie that it gives and takes."""

    batch_shape = ()
    event_shape = (2,)

    def __call__(self):
        return self

    def sample(self, shape):
        self.given = torch.randn(*shape, 2, dtype=torch.float64)
        return self.given

    def log_prob(self, z):
        self.taken = z
        self.density = -z.square().sum(-1)
        return self.density


def test_nothing_is_copied_on_the_way():
    spy = Spy()
    q = for_numpy(spy)
    z = q.sample(100, rng())
    assert z.ctypes.data == spy.given.data_ptr()
    log_q = q.log_density(z)
    assert spy.taken.data_ptr() == z.ctypes.data
    assert log_q.ctypes.data == spy.density.data_ptr()


def test_many_points_go_in_pieces(monkeypatch):
    whole = as_distribution(build("spline"))
    z = whole.sample(50, rng())
    log_q = whole.log_density(z)
    monkeypatch.setattr("aisle_smc.neural.bridge.ROWS", 7)
    assert whole.sample(50, rng()).shape == (50, DIM)
    np.testing.assert_allclose(whole.log_density(z), log_q, rtol=1e-12)
    assert whole.log_density(np.empty((0, DIM))).shape == (0,)


def test_single_precision():
    torch.manual_seed(0)
    module = FlowProposal.spline(2)
    q = as_distribution(module)
    z = q.sample(20, rng())
    assert np.array_equal(z, z.astype(np.float32))
    expected = module().log_prob(torch.from_numpy(z).float()).detach().numpy()
    np.testing.assert_array_equal(q.log_density(z), expected.astype(np.float64))


def test_points_at_infinity_have_no_density():
    for name in ("gaussian", "spline", "mixture"):
        q = as_distribution(build(name))
        z = np.array([[math.inf, 0.0], [0.0, 0.0]])
        assert q.log_density(z)[0] == -math.inf
        with pytest.raises(ValueError, match=r"NaN; x\[1\]"):
            q.log_density(np.array([[0.0, 0.0], [math.nan, 0.0]]))


def test_distributions_of_torch_and_functions():
    exact = D.MultivariateNormal(torch.zeros(2), torch.eye(2))
    q = for_numpy(lambda: exact)
    np.testing.assert_allclose(
        q.log_density(np.zeros((1, 2))), -math.log(2.0 * math.pi), rtol=1e-6
    )
    line = for_numpy(lambda: D.Normal(torch.tensor(0.0, dtype=torch.float64), 1.0))
    assert line.dim == 1
    assert line.sample(4, rng()).shape == (4, 1)
    np.testing.assert_allclose(line.log_density(np.ones((3, 1))), -0.5 - 0.9189385332046727)
    with pytest.raises(TypeError, match="no parameters to train"):
        q.fit(np.zeros((3, 2)), np.ones(3))


def test_torch_like_draws_once_only():
    class Counted:
        event_shape = (2,)
        draws = 0

        def sample(self, shape):
            Counted.draws += 1
            return torch.zeros(*shape, 2, dtype=torch.float64)

        def log_prob(self, z):
            self.taken = z
            return -z.square().sum(-1)

    source = Counted()
    q = as_distribution(source)
    points = np.ones((5, 2))
    for _ in range(3):
        q.log_density(points)
    assert Counted.draws == 1
    assert source.taken.data_ptr() == points.ctypes.data


@pytest.mark.parametrize(
    ("proposal", "x", "error", "match"),
    [
        (lambda: build("gaussian", FEATURES), data(3), ValueError, r"one datapoint.*got \(3,\)"),
        (lambda: build("gaussian", FEATURES), None, TypeError, "amortised"),
        (lambda: lambda: D.Normal(torch.zeros(2), 1.0), None, ValueError, r"Independent\(q, 1\)"),
        (
            lambda: lambda: D.Independent(D.Normal(torch.zeros(2, 2), 1.0), 2),
            None,
            TypeError,
            r"event shape \(2, 2\)",
        ),
        (lambda: lambda: 3.0, None, TypeError, "got float"),
        (
            lambda: GaussianProposal(
                2, torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout()), width=3
            ),
            data(1).float(),
            ValueError,
            r"Dropout at 'head\.encoder\.1' is training.*eval\(\)",
        ),
    ],
)
def test_what_cannot_cross(proposal, x, error, match):
    with pytest.raises(error, match=match):
        for_numpy(proposal(), x)


# --- fits ----------------------------------------------------------------------------------------


def weighted(n=400, seed=0):
    """Return skewed points of unequal weight."""
    generator = rng(seed)
    x = generator.standard_t(4.0, (n, DIM)) @ np.array([[1.5, 0.0], [0.8, 0.4]]) + [3.0, -1.0]
    return x, generator.gamma(1.0, size=n)


def log_likelihood(q, x, w):
    return float(w @ q.log_density(x) / w.sum())


@pytest.mark.parametrize("encoder", [None, FEATURES])
def test_gaussians_are_fitted_by_moments(encoder):
    x, w = weighted()
    at = None if encoder is None else data(1)
    full = build("full gaussian", encoder).as_distribution(at).fit(x, w)
    ours = Gaussian(mean=np.zeros(2), root=np.eye(2)).fit(x, w)
    z = rng(5).normal(size=(20, 2)) * 3.0
    np.testing.assert_allclose(full.log_density(z), ours.log_density(z), rtol=1e-10)
    diagonal = build("gaussian", encoder).as_distribution(at).fit(x, w)
    q = diagonal.proposal() if at is None else diagonal.proposal(at)
    mean = np.average(x, axis=0, weights=w)
    variance = np.average((x - mean) ** 2, axis=0, weights=w)
    np.testing.assert_allclose(q.place.location.detach().numpy().reshape(-1), mean, rtol=1e-12)
    scale = q.place.scale.detach().numpy().reshape(-1)
    np.testing.assert_allclose(scale, np.sqrt(variance), rtol=1e-12)


@pytest.mark.parametrize(
    "name", ["gaussian", "full gaussian", "student", "full student", "learnt student"]
)
@pytest.mark.parametrize("encoder", [None, FEATURES])
def test_fits_are_stationary(name, encoder):
    """The gradient of the weighted likelihood vanishes; before the fit it does not."""
    x, w = weighted()
    at = None if encoder is None else data(1)
    before = build(name, encoder).as_distribution(at)
    fitted = before.fit(x, w)

    def slope(q):
        module = q.proposal
        given = module() if at is None else module(at)
        z = torch.from_numpy(x).reshape(-1, *given.batch_shape, DIM)
        log_q = given.log_prob(z).reshape(-1)
        value = (torch.from_numpy(w / w.sum()) * log_q).sum()
        return float(torch.autograd.grad(value, module.head.bias)[0].abs().max())

    assert slope(fitted) < 1e-4
    assert slope(before) > 0.1


def test_a_student_finds_its_degrees_of_freedom():
    q = StudentT(location=np.array([1.0, 2.0]), root=np.array([[1.0, 0.0], [-0.7, 0.5]]), df=3.0)
    x, w = q.sample(20000, rng(1)), np.ones(20000)
    found = StudentTProposal(2, covariance="full").double().as_distribution().fit(x, w)
    assert float(found.proposal().noise.df.detach()) == pytest.approx(3.0, rel=0.1)
    # The maximum is above the truth, by about half a nat for each of six parameters.
    gain = 20000 * (log_likelihood(found, x, w) - log_likelihood(q, x, w))
    assert 0.0 < gain < 15.0


@pytest.mark.parametrize("encoder", [None, FEATURES])
def test_a_mixture_finds_its_parts(encoder):
    generator = rng(2)
    part = generator.choice(3, 5000, p=[0.5, 0.3, 0.2])
    centre, scale = np.array([[-4.0, 0.0], [4.0, 1.0], [0.0, 6.0]]), np.array([0.5, 1.0, 0.7])
    x = centre[part] + scale[part, None] * generator.normal(size=(5000, 2))
    at = None if encoder is None else data(1)
    found = MixtureProposal(2, encoder, parts=3).double().as_distribution(at).fit(x, np.ones(5000))
    q = found.proposal() if at is None else found.proposal(at)
    location = q.location.detach().numpy().reshape(3, 2)
    order = [int(np.square(location - c).sum(1).argmin()) for c in centre]
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(location[order], centre, atol=0.1)
    shares = q.log_weights.detach().exp().numpy().reshape(3)[order]
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.2], atol=0.03)


@pytest.mark.parametrize("encoder", [None, FEATURES])
def test_discrete_fits_are_frequencies(encoder):
    generator = rng(3)
    z = generator.integers(0, 2, (200, 2)).astype(float)
    w = generator.gamma(1.0, size=200)
    w /= w.sum()
    at = None if encoder is None else data(1)
    extra = float(np.square(w).sum())  # one effective point in all
    found = BernoulliProposal(2, encoder).double().as_distribution(at).fit(z, w)
    ones = np.array([[1.0, 1.0], [1.0, 0.0]])
    chance = (w @ z + 0.5 * extra) / (1.0 + extra)
    expected = [chance[0] * chance[1], chance[0] * (1.0 - chance[1])]
    np.testing.assert_allclose(np.exp(found.log_density(ones)), expected, rtol=1e-12)
    three = CategoricalProposal(2, encoder, classes=3).double().as_distribution(at).fit(z, w)
    never = np.array([[2.0, 2.0]])
    small = (extra / 3.0) / (1.0 + extra)
    np.testing.assert_allclose(np.exp(three.log_density(never)), small**2, rtol=1e-12)


def ring(n, seed=0):
    """Return points about a circle, which no Gaussian fits."""
    generator = rng(seed)
    angle = generator.uniform(0.0, 2.0 * math.pi, n)
    radius = 5.0 + 0.4 * generator.normal(size=n)
    return np.stack([20.0 + radius * np.cos(angle), radius * np.sin(angle)], axis=1)


LIKELIHOOD = MaximumLikelihood(steps=200, batch=128)


@pytest.mark.parametrize("encoder", [None, FEATURES])
def test_a_flow_learns_what_a_gaussian_cannot(encoder):
    torch.manual_seed(0)
    at = None if encoder is None else data(1).float()
    module = FlowProposal.spline(2, encoder=encoder, hidden=(32,))
    start = module.as_distribution(at, likelihood=LIKELIHOOD)
    x, w = ring(2000), np.ones(2000)
    fitted = start.fit(x, w)
    unseen = ring(2000, seed=1)
    best = GaussianProposal(2, covariance="full").double().as_distribution().fit(x, w)
    gain = log_likelihood(fitted, unseen, w) - log_likelihood(best, unseen, w)
    assert gain > 0.3
    assert log_likelihood(start, unseen, w) < -100.0  # the module itself did not learn


def test_a_fit_is_a_function_of_points_and_seed():
    torch.manual_seed(0)
    module = FlowProposal.masked(2, hidden=(8,))
    x, w = ring(300), rng().gamma(1.0, size=300)

    def bits(seed):
        how = MaximumLikelihood(steps=40, seed=seed)
        return module.as_distribution(likelihood=how).fit(x, w).log_density(x[:5])

    first = bits(0)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    np.testing.assert_array_equal(bits(0), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not np.array_equal(bits(1), first)


def test_a_fit_does_not_shrink_onto_heavy_points():
    """Without held-out points the flow follows twenty heavy points; with them it does not."""
    torch.manual_seed(0)
    module = FlowProposal.masked(2, hidden=(64,))
    x = rng().normal(size=(200, 2))
    w = np.full(200, 1e-3)
    w[:20] = 1.0
    unseen = rng(1).normal(size=(2000, 2))

    def score(held_out):
        how = MaximumLikelihood(steps=600, held_out=held_out, patience=3)
        fitted = module.as_distribution(likelihood=how).fit(x, w)
        return log_likelihood(fitted, unseen, np.ones(2000))

    assert score(0.2) > score(0.0) + 0.5


def test_any_module_is_trained():
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.centre = torch.nn.Parameter(torch.zeros(2).double())

        def forward(self):
            return D.Independent(D.Normal(self.centre, 1.0), 1)

    x = rng().normal(size=(500, 2)) + [1.0, -1.0]
    how = MaximumLikelihood(steps=300, learning_rate=0.05)
    fitted = for_numpy(Own(), likelihood=how).fit(x, np.ones(500))
    np.testing.assert_allclose(fitted.proposal.centre.detach().numpy(), x.mean(0), atol=0.1)


def test_a_defensive_proposal_fits_what_it_defends():
    x, w = weighted()
    module = DefensiveProposal(build("full gaussian"), safe(), share=0.3, particles=10)
    fitted = as_distribution(module).fit(x, w)
    alone = as_distribution(module.proposal).fit(x, w)
    wide = Gaussian(mean=np.zeros(2), root=4.0 * np.eye(2))
    expected = Defensive(proposal=alone, safety=wide, share=0.3)
    np.testing.assert_allclose(fitted.log_density(x), expected.log_density(x), rtol=1e-12)


def test_the_module_that_was_given_stays_as_it_was():
    for name in ALL:
        module = build(name)
        before = copy.deepcopy(module.state_dict())
        z = as_distribution(module).sample(60, rng())
        as_distribution(module).fit(z, np.ones(60))
        for key, value in module.state_dict().items():
            assert torch.equal(value, before[key])


def test_wrong_points():
    q = as_distribution(build("gaussian"))
    with pytest.raises(ValueError, match=r"shape \(n, 2\)"):
        q.log_density(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="at least one weight must be positive"):
        q.fit(np.zeros((3, 2)), np.zeros(3))
    with pytest.raises(TypeError, match=r"numpy\.random\.Generator"):
        q.sample(3, 0)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"steps": 0}, "steps"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"held_out": 1.0}, "held_out"),
    ],
)
def test_wrong_options_of_a_fit(options, match):
    with pytest.raises(ValueError, match=match):
        MaximumLikelihood(**options)


# --- importance sampling -------------------------------------------------------------------------


def banana(x):
    """Return a log-density with the evidence pi."""
    return -0.5 * x[:, 0] ** 2 - 2.0 * (x[:, 1] - x[:, 0] ** 2) ** 2


@pytest.mark.parametrize("name", ["full student", "mixture", "spline", "defensive"])
@pytest.mark.parametrize("encoder", [None, FEATURES])
def test_importance_sampling_just_works(name, encoder):
    """A Gaussian times 3 under each proposal as it starts, wider than that; |z| < 4."""

    def target(x):
        return math.log(3.0) + Gaussian(mean=np.full(2, 0.3), root=0.6 * np.eye(2)).log_density(x)

    module = ALL[name](encoder).double()
    proposal = module if encoder is None else module.as_distribution(data(1))
    found = importance_sampling(target, proposal, 2000)
    assert abs(found.log_evidence - math.log(3.0)) < 4.0 * found.log_evidence_error < 0.4
    assert importance_sampling(target, proposal, 2000).log_evidence == found.log_evidence


def test_a_flow_adapts_to_a_banana():
    torch.manual_seed(0)
    flow = FlowProposal.masked(2)
    with torch.no_grad():
        flow.log_scale += math.log(3.0)
    start = importance_sampling(banana, flow, 1000)
    likelihood = MaximumLikelihood(steps=200)
    proposal = flow.as_distribution(likelihood=likelihood)
    found = adaptive_importance_sampling(
        banana, proposal, 500, iterations=4, fresh=1000, method=AMIS(fit=None)
    )
    assert abs(found.log_evidence - math.log(math.pi)) < 4.0 * found.log_evidence_error
    assert found.log_evidence_error < 0.3 * start.log_evidence_error


# --- kernels on tensors --------------------------------------------------------------------------


def log_weights_of(n=200):
    log_w = 3.0 * rng().normal(size=(n, 5))
    log_w[::3, 1] = -math.inf
    log_w[:, 2] = -math.inf
    log_w[:, 3] += 5000.0
    log_w[1:, 4] = -math.inf
    return torch.from_numpy(log_w)


def test_normalise_both_ways():
    log_w = log_weights_of()
    weights, log_evidence = normalise(log_w)
    others, other_evidence = normalise_by_operations(log_w)
    torch.testing.assert_close(weights, others, rtol=1e-14, atol=1e-300)
    torch.testing.assert_close(log_evidence, other_evidence, rtol=1e-14, atol=0.0)
    sums = weights.sum(0)
    torch.testing.assert_close(sums, torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0]).double())
    assert float(log_evidence[2]) == -math.inf
    expected = torch.logsumexp(log_w, 0) - math.log(200)
    torch.testing.assert_close(log_evidence, expected, rtol=1e-14, atol=0.0)
    for j in range(5):
        alone, evidence = normalise(log_w[:, j])
        assert torch.equal(alone, weights[:, j])
        assert torch.equal(evidence, log_evidence[j])


def test_normalise_is_a_constant_in_double():
    log_w = torch.randn(10, 3, 2, requires_grad=True)
    weights, log_evidence = normalise(log_w)
    assert weights.dtype == log_evidence.dtype == torch.float64
    assert not weights.requires_grad
    assert weights.shape == (10, 3, 2)
    assert log_evidence.shape == (3, 2)
    log_w = torch.zeros(4, 2)
    log_w[2, 1] = math.nan
    with pytest.raises(ValueError, match=r"log_w\[2, 1\] is nan"):
        normalise(log_w)


def test_the_kernels_read_tensors_where_they_lie(monkeypatch):
    log_w, seen = log_weights_of()[:, 0].contiguous(), []
    known = module_of_weights.kernels.normalise

    class Recording:
        @staticmethod
        def normalise(row, out):
            seen.append((row.ctypes.data, out.ctypes.data))
            return known(row, out)

    monkeypatch.setattr(module_of_weights, "kernels", Recording)
    weights, _ = normalise(log_w)
    assert seen == [(log_w.data_ptr(), weights.data_ptr())]


def populations():
    """Return populations side by side, with gaps, ties, tiny and huge weights."""
    generator = rng(4)
    n = 61
    columns = [
        generator.gamma(0.3, size=n),
        np.where(generator.random(n) < 0.7, 0.0, generator.random(n)),
        np.ones(n),
        np.r_[np.zeros(20), generator.random(21), np.zeros(20)],
        np.r_[np.zeros(n - 1), 1.0],
        np.r_[1.0, np.zeros(n - 1)],
        1e-305 * generator.random(n),
        1e305 * generator.random(n),
        np.zeros(n),
        np.r_[np.full(8, 0.125), np.zeros(n - 8)],
    ]
    return torch.from_numpy(np.stack(columns, axis=1))


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("m", [1, 2, 8, 61, 64, 200])
def test_the_same_uniforms_give_the_same_ancestors(name, m):
    scheme, w = getattr(resampling, name), populations()
    for seed in range(5):
        u = torch.from_numpy(rng(seed).random((scheme.uniforms(w.shape[0], m), w.shape[1])))
        if seed == 4:
            u[:] = 0.0
        found = ancestors(w, u, m, scheme=scheme)
        others = ancestors_by_operations(w.T.contiguous(), u.T.contiguous(), m, name).T
        assert torch.equal(found, others)
        assert found.shape == (m, w.shape[1])
        chosen = w.gather(0, found)
        assert bool((chosen[:, [j for j in range(10) if j != 8]] > 0.0).all())
        assert not found[:, 8].any()


def test_other_uniforms_give_other_ancestors():
    w, scheme = populations(), resampling.multinomial
    u = torch.from_numpy(rng(0).random((62, 10)))
    other = ancestors_by_operations(w.T.contiguous(), (1.0 - u).T.contiguous(), 61, "multinomial")
    assert not torch.equal(ancestors(w, u, 61, scheme=scheme)[:, 0], other[0])


@pytest.mark.parametrize("name", [*SCHEMES, "ssp", "killing"])
def test_resample_is_what_the_engine_does(name):
    log_w, scheme = log_weights_of()[:, 0], getattr(resampling, name)
    found = resample(log_w, rng(3), scheme=scheme)
    weights, _ = normalise(log_w)
    expected, _ = scheme.draw(weights.numpy(), 200, rng(3))
    np.testing.assert_array_equal(found.numpy(), expected)
    assert resample(log_weights_of(), rng(3), scheme=scheme).shape == (200, 5)
    if name != "killing":
        assert resample(log_w, rng(3), m=7, scheme=scheme).shape == (7,)


def test_wrong_arguments_of_resampling():
    w = torch.ones(4, 2).double()
    with pytest.raises(ValueError, match=r"u must have shape \(1, 2\), axes \(uniform, \.\.\.\)"):
        ancestors(w, torch.zeros(2, 2).double(), 4)
    w[1, 1] = -1.0
    with pytest.raises(ValueError, match=r"w\[1, 1\] is -1\.0"):
        ancestors(w, torch.zeros(1, 2).double(), 4)
    with pytest.raises(TypeError, match="gives equal weights"):
        resample(torch.zeros(4), rng(), scheme=resampling.optimal)
    with pytest.raises(ValueError, match="keeps the number of particles, 4; got m = 3"):
        resample(torch.zeros(4), rng(), m=3, scheme=resampling.killing)
    with pytest.raises(ValueError, match="ssp runs on the CPU only"):
        ancestors_by_operations(torch.ones(1, 4).double(), torch.zeros(1, 4).double(), 4, "ssp")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_the_same_on_a_cuda_device():
    log_w = log_weights_of()
    for name in SCHEMES:
        scheme = getattr(resampling, name)
        there = resample(log_w.cuda(), rng(3), scheme=scheme)
        assert there.is_cuda
        assert torch.equal(there.cpu(), resample(log_w, rng(3), scheme=scheme))
    torch.testing.assert_close(normalise(log_w.cuda())[0].cpu(), normalise(log_w)[0])
