"""Proposals: densities against other code, paths against differences, and their errors."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import special, stats

torch = pytest.importorskip("torch")
from torch import distributions as D  # noqa: E402

from aisle_smc.neural import (  # noqa: E402
    MLP,
    BernoulliProposal,
    CategoricalProposal,
    DefensiveProposal,
    FlowProposal,
    GaussianProposal,
    MixtureProposal,
    StudentTProposal,
)
from aisle_smc.neural.amortised import inverse_softplus, positive  # noqa: E402
from aisle_smc.neural.conditionals import StudentNoise  # noqa: E402
from aisle_smc.neural.mixtures import GaussianMixture  # noqa: E402
from tests.distributions.densities import mass_score, partner_score  # noqa: E402
from tests.neural.proposals import (  # noqa: E402
    ALL,
    CONTINUOUS,
    DIM,
    DISCRETE,
    FEATURES,
    INVERTIBLE,
    build,
    data,
    safe,
)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


# --- shapes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_shapes(name):
    for encoder, x, batch in ((None, None, ()), (FEATURES, data(), (5,))):
        module = build(name, encoder)
        q = module() if x is None else module(x)
        assert tuple(q.batch_shape) == batch
        assert tuple(q.event_shape) == (DIM,)
        for shape in ((), (7,), (3, 2)):
            z = q.sample(shape)
            assert z.shape == (*shape, *batch, DIM)
            assert not z.requires_grad
            assert q.log_prob(z).shape == (*shape, *batch)
        if q.has_rsample:
            z, log_q = q.rsample_and_log_prob((7,))
            assert z.shape == (7, *batch, DIM)
            assert log_q.shape == (7, *batch)
            assert q.rsample((7,)).requires_grad


@pytest.mark.parametrize("name", ALL)
def test_wrong_axes_are_named(name):
    amortised, free = build(name, FEATURES), build(name)
    with pytest.raises(TypeError, match=r"amortised and needs data.*shape \(N, \.\.\.\)"):
        amortised()
    with pytest.raises(TypeError, match="has no encoder and takes no x"):
        free(data())
    with pytest.raises(ValueError, match=r"\(N, 4\), axes \(datapoint, feature\); got \(5, 3\)"):
        amortised(data()[:, :3])
    q = amortised(data())
    match = r"shape \(K, 5, 2\), axes \(particle, datapoint, coordinate\); got "
    for wrong in (torch.zeros(7, 5), torch.zeros(7, 6, 2), torch.zeros(5, 3)):
        with pytest.raises(ValueError, match=match):
            q.log_prob(wrong.double())
    with pytest.raises(ValueError, match=r"shape \(K, 2\), axes \(particle, coordinate\)"):
        free().log_prob(torch.zeros(7, 3).double())


# --- densities -----------------------------------------------------------------------------------


def parameters_of(place):
    root = getattr(place, "root", None)
    return place.location, torch.diag_embed(place.scale) if root is None else root


def reference(name, q):
    """Return the same distribution by torch's or SciPy's code, at points (K, N, d)."""
    if name in ("gaussian", "full gaussian"):
        location, root = parameters_of(q.place)
        return D.MultivariateNormal(location, scale_tril=root).log_prob
    if name.endswith("student"):
        location, root = (each.detach() for each in parameters_of(q.place))
        df = q.noise.df.detach().expand(5).numpy()
        rows = [
            stats.multivariate_t(m.numpy(), (r @ r.T).numpy(), df=v)
            for m, r, v in zip(location, root, df, strict=True)
        ]
        return lambda z: torch.tensor(
            np.stack([row.logpdf(z[:, i].numpy()) for i, row in enumerate(rows)], axis=1)
        )
    if name == "mixture":
        parts = D.Independent(D.Normal(q.location, q.scale), 1)
        return D.MixtureSameFamily(D.Categorical(logits=q.log_weights), parts).log_prob
    if name == "categorical":
        return D.Independent(D.Categorical(logits=q.log_probabilities), 1).log_prob
    return D.Independent(D.Bernoulli(logits=q.logits), 1).log_prob


@pytest.mark.parametrize(
    "name", [*(n for n in CONTINUOUS if n not in ("spline", "masked", "defensive")), *DISCRETE]
)
def test_densities_are_those_of_other_code(name):
    q = build(name, FEATURES)(data())
    z = q.sample((20,))
    close(q.log_prob(z).detach(), reference(name, q)(z).detach(), 1e-11)


@pytest.mark.parametrize("name", ["spline", "masked"])
def test_density_of_a_flow_is_that_of_its_jacobian(name):
    module = build(name, FEATURES)
    x = data(1)
    z = module(x).sample((3,))
    q = module(x)
    for each in z[:, 0]:
        jacobian = torch.autograd.functional.jacobian(lambda v: q.inverse(v[None])[0], each)
        noise = q.inverse(each[None])[0]
        expected = (
            D.Normal(0.0, 1.0).log_prob(noise).sum() + torch.linalg.det(jacobian).abs().log()
        )
        close(q.log_prob(each[None])[0], expected, 1e-10)


@pytest.mark.parametrize("name", ["gaussian", "full gaussian", "mixture"])
def test_densities_integrate_to_one(name):
    grid = torch.linspace(-14.0, 14.0, 561, dtype=torch.float64)
    with torch.no_grad():
        z = torch.cartesian_prod(grid, grid)
        mass = build(name)().log_prob(z).exp().sum() * (grid[1] - grid[0]) ** 2
    # Spectrally accurate for analytic densities; those of flows have kinks, and are held to their
    # Jacobian and to draws instead.
    assert abs(float(mass) - 1.0) < 1e-12


@pytest.mark.parametrize("name", DISCRETE)
def test_probabilities_sum_to_one(name):
    q = build(name, FEATURES)(data())
    classes = 3 if name == "categorical" else 2
    z = torch.tensor(list(itertools.product(range(classes), repeat=DIM)))[:, None].expand(
        -1, 5, -1
    )
    close(q.log_prob(z).exp().sum(0), torch.ones(5).double())
    for impossible in (-1.0, 0.5, float(classes)):
        off = z.double().clone()
        off[..., 0] = impossible
        assert torch.equal(q.log_prob(off), torch.full((z.shape[0], 5), -math.inf).double())


@pytest.mark.parametrize("name", CONTINUOUS)
def test_density_and_draws_are_partners(name):
    q = build(name, FEATURES).as_distribution(data(1))
    assert abs(mass_score(q)) < 4.0
    assert abs(partner_score(q)) < 4.0


@pytest.mark.parametrize("name", DISCRETE)
def test_frequencies_are_probabilities(name):
    n = 20000
    q = build(name, FEATURES)(data())
    z = q.sample((n,))
    for point in z[:3, 0]:
        chance = float(q.log_prob(point.expand(5, DIM)).detach().exp()[0])
        seen = float((z[:, 0] == point).all(-1).double().mean())
        assert abs(seen - chance) < 4.0 * math.sqrt(chance * (1.0 - chance) / n)


# --- paths ---------------------------------------------------------------------------------------


def slopes(module, value):
    found = torch.autograd.grad(value, list(module.parameters()), allow_unused=True)
    return torch.cat(
        [
            torch.zeros_like(p).flatten() if g is None else g.flatten()
            for g, p in zip(found, module.parameters(), strict=True)
        ]
    )


@pytest.mark.parametrize("name", CONTINUOUS)
def test_both_at_once_are_each_alone(name):
    module, x = build(name, FEATURES), data()
    torch.manual_seed(3)
    z, log_q = module(x).rsample_and_log_prob((4,))
    torch.manual_seed(3)
    alone = module(x).rsample((4,))
    close(z, alone)
    close(log_q, module(x).log_prob(alone), 1e-10)
    v = torch.randn_like(log_q)
    together = slopes(module, (v * log_q).sum())
    assert float(together.abs().max()) > 0.1
    close(together, slopes(module, (v * module(x).log_prob(alone)).sum()), 1e-9)


@pytest.mark.parametrize("name", INVERTIBLE)
def test_reattached_draws_follow_as_draws_do(name):
    module, x = build(name, FEATURES), data()
    q = module(x)
    assert q.has_inverse
    z = q.rsample((4,))
    again = q.reattach(z.detach())
    assert torch.equal(again, z)
    v = torch.randn_like(z)
    expected = slopes(module, (v * z).sum())
    assert float(expected.abs().max()) > 0.1
    close(slopes(module, (v * module(x).reattach(z)).sum()), expected, 1e-9)


@pytest.mark.parametrize("name", [n for n in INVERTIBLE if n != "mixture"])
def test_inverse(name):
    q = build(name, FEATURES)(data())
    z = q.sample((6,))
    noise = q.inverse(z)
    assert noise.shape == z.shape
    close(q.forward(noise), z, 1e-9)
    one = build(name)()
    close(one.forward(one.inverse(z[0, 0])), z[0, 0], 1e-9)


def mixture(parameters):
    """Return a mixture of three parts in three dimensions of 3 + 9 + 9 numbers."""
    return GaussianMixture(
        log_weights=torch.log_softmax(parameters[:3], -1),
        location=2.0 * parameters[3:12].reshape(3, 3),
        scale=parameters[12:].reshape(3, 3).exp(),
    )


def test_path_of_a_mixture_keeps_its_noise():
    """Along dz/dphi the conditional distribution functions do not change."""
    generator = torch.Generator().manual_seed(0)
    phi = torch.randn(21, generator=generator).double().mul(0.7)
    along = torch.randn(21, generator=generator).double()
    z = mixture(phi).sample((50,))
    dz = torch.autograd.functional.jacobian(lambda p: mixture(p).reattach(z), phi) @ along
    h = 1e-5

    def drift(dz):
        ahead = mixture(phi + h * along).inverse(z + h * dz)
        behind = mixture(phi - h * along).inverse(z - h * dz)
        return float(((ahead - behind) / (2.0 * h)).abs().max())

    assert drift(dz) < 1e-8
    # The wrong variant lets each draw follow the part that it is likeliest from.
    log_p = D.Normal(mixture(phi).location, mixture(phi).scale).log_prob(z[:, None])
    part = (mixture(phi).log_weights + log_p.sum(-1)).argmax(-1)

    def naive(p):
        e = ((z[:, None] - mixture(phi).location) / mixture(phi).scale).detach()
        follows = mixture(p).location + mixture(p).scale * e
        return follows[torch.arange(50), part]

    assert drift(torch.autograd.functional.jacobian(naive, phi) @ along) > 1e-2


def test_path_of_a_mixture_has_the_right_mean():
    """d/dphi E[f] = E[f' dz/dphi], by quadrature, for shares, centres and scales alike."""
    phi = torch.tensor([0.3, -0.4, -1.5, 1.0, -0.2, 0.4]).double().requires_grad_()

    def q():
        return GaussianMixture(
            log_weights=torch.log_softmax(phi[:2], -1),
            location=phi[2:4, None],
            scale=phi[4:, None].exp(),
        )

    z = torch.linspace(-20.0, 20.0, 4001, dtype=torch.float64)[:, None]
    h = z[1] - z[0]
    f, slope = torch.sin(z + 0.4), torch.cos(z + 0.4)
    density = q().log_prob(z).exp()
    (expected,) = torch.autograd.grad((density * f[:, 0]).sum() * h, phi)
    weight = (density * slope[:, 0]).detach()
    (found,) = torch.autograd.grad((weight * q().reattach(z)[:, 0]).sum() * h, phi)
    close(found, expected, 1e-11)


def test_path_of_a_mixture_under_another_distribution():
    """E_pi[T] = E_pi[s], by quadrature: what learning from weighted particles rests on."""
    phi = torch.tensor([0.3, -0.4, -1.0, 1.0, -0.2, 0.4]).double().requires_grad_()

    def q():
        return GaussianMixture(
            log_weights=torch.log_softmax(phi[:2], -1),
            location=phi[2:4, None],
            scale=phi[4:, None].exp(),
        )

    z = torch.linspace(-20.0, 20.0, 4001, dtype=torch.float64)[:, None].requires_grad_()
    target = D.Normal(torch.tensor(0.5).double(), 0.75)
    log_q = q().log_prob(z)
    (along_q,) = torch.autograd.grad(log_q.sum(), z, retain_graph=True)
    slope = -(z.detach() - 0.5) / 0.5625 - along_q
    pi = target.log_prob(z.detach()[:, 0]).exp() * 0.01
    (score,) = torch.autograd.grad((pi * log_q).sum(), phi)
    (path,) = torch.autograd.grad((pi * (slope * q().reattach(z))[:, 0]).sum(), phi)
    assert float(score.abs().min()) > 1e-3
    close(path, score, 1e-11)


def test_path_of_a_mixture_in_the_far_tails():
    """One part is a Gaussian, wherever the point lies; two far apart do not disturb each other."""
    for far in (-60.0, 0.0, 60.0, 1e4):
        location = torch.tensor([[1.0, 2.0]]).double().requires_grad_()
        scale = torch.tensor([[0.5, 2.0]]).double().requires_grad_()
        one = GaussianMixture(log_weights=torch.zeros(1).double(), location=location, scale=scale)
        z = torch.full((2,), far).double()
        found = torch.autograd.grad(one.reattach(z).sum(), [location, scale])
        close(found[0], torch.ones(1, 2).double())
        close(found[1], ((z - location) / scale).detach())
        two = GaussianMixture(
            log_weights=torch.tensor([0.5, 0.5]).double().log(),
            location=torch.tensor([[-100.0], [100.0]]).double().requires_grad_(),
            scale=torch.ones(2, 1).double(),
        )
        (moved,) = torch.autograd.grad(
            two.reattach(torch.tensor([100.0]).double()).sum(), two.location
        )
        close(moved, torch.tensor([[0.0], [1.0]]).double())


def test_path_of_learnt_degrees_of_freedom():
    """Right to what torch's gamma gradient is worth: 1e-4, and 1e-3 leaves room."""
    df = torch.tensor(3.0).double().requires_grad_()
    torch.manual_seed(0)
    e = StudentNoise(df=df, is_fixed=False).draw((4000, 1), df)
    torch.manual_seed(0)
    normal = torch.randn(4000, 1, dtype=torch.float64)
    gamma = (0.5 * df * (normal / e).square()).detach().numpy()[:, 0]
    (found,) = torch.autograd.grad(e.sum(), df)
    h = 1e-4
    slope = -(special.gammainc(1.5 + h, gamma) - special.gammainc(1.5 - h, gamma)) / (2.0 * h)
    per_df = 0.5 * slope / stats.gamma.pdf(gamma, 1.5)
    z = e.detach().numpy()[:, 0]
    # e = normal sqrt(df / 2 gamma), and gamma moves with df too.
    expected = (z * (0.5 / 3.0 - 0.5 * per_df / gamma)).sum()
    assert float(found) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_draws_have_no_path(name):
    q = build(name)()
    assert not q.has_rsample
    assert not q.has_inverse
    z = q.sample((3,))
    for call in (q.rsample, q.rsample_and_log_prob, lambda: q.inverse(z), lambda: q.reattach(z)):
        with pytest.raises(TypeError, match="score form"):
            call()


@pytest.mark.parametrize(
    ("name", "match"),
    [("learnt student", "degrees of freedom are learnt"), ("defensive", "which part drew it")],
)
def test_what_cannot_be_inverted_says_so(name, match):
    q = build(name)()
    assert q.has_rsample
    assert not q.has_inverse
    for call in (q.inverse, q.reattach):
        with pytest.raises(TypeError, match=match):
            call(q.sample((3,)))


# --- defensive mixtures --------------------------------------------------------------------------


def test_defensive_density_is_that_of_the_mixture():
    module, x = build("defensive", FEATURES), data()
    q = module(x)
    z = q.sample((50,))
    inner, outer = module.proposal(x).log_prob(z), safe().log_prob(z)
    expected = torch.log(0.7 * inner.exp() + 0.3 * outer.exp())
    close(q.log_prob(z), expected)


def defensive(particles, share=0.2):
    """Return a narrow proposal in one dimension beside a wide one."""
    wide = D.Independent(D.Normal(torch.zeros(1).double(), torch.full((1,), 3.0).double()), 1)
    narrow = GaussianProposal(1, scale=0.5).double()
    return DefensiveProposal(narrow, wide, share=share, particles=particles)


@pytest.mark.parametrize("particles", [None, 2, 3, 7])
def test_defensive_evidence_is_unbiased(particles):
    """Z of N(0.5, 1) over 4000 replicates of K = 7 or fewer draws; |z| < 4."""
    module = defensive(particles)
    count = 7 if particles is None else particles
    q = module()
    shape = (count,) if particles is None else (particles,)
    with torch.no_grad():
        draws = torch.stack([q.sample(shape) for _ in range(4000)])
        log_gamma = D.Normal(0.5, 1.0).log_prob(draws[..., 0])
        estimate = (log_gamma - q.log_prob(draws)).exp().mean(1)
    score = float((estimate.mean() - 1.0) / (estimate.std() / math.sqrt(4000)))
    assert abs(score) < 4.0
    if particles in (2, 3):
        # Wrong variant: the nominal share where 1 of `particles` is safe.
        m = DefensiveProposal(module.proposal, module.safety, share=0.2)()
        wrong = (log_gamma - m.log_prob(draws)).exp().mean(1).detach()
        assert abs(float((wrong.mean() - 1.0) / (wrong.std() / math.sqrt(4000)))) > 4.0
    if particles is None:
        # Wrong variant: weights from the draws of the proposal alone.
        alone = module.proposal().sample((4000, 7))
        log_gamma = D.Normal(0.5, 1.0).log_prob(alone[..., 0])
        wrong = (log_gamma - q.log_prob(alone)).exp().mean(1).detach()
        assert abs(float((wrong.mean() - 1.0) / (wrong.std() / math.sqrt(4000)))) > 4.0


def test_strata_are_exact_and_last():
    module = DefensiveProposal(
        GaussianProposal(1).double(),
        D.Independent(D.Normal(torch.full((1,), 1e6).double(), 1.0), 1),
        share=0.3,
        particles=10,
    )
    q = module()
    z = q.rsample((10,))
    assert (z[:, 0] > 1e5).tolist() == [False] * 7 + [True] * 3
    assert q.exact_share == 0.3
    (moved,) = torch.autograd.grad(z.sum(), module.proposal.head.bias)
    assert float(moved[0]) == 7.0
    with pytest.raises(ValueError, match=r"K = 10 particles; asked for shape \(9,\)"):
        q.sample((9,))
    assert defensive(2, share=0.01)().exact_share == 0.5
    assert defensive(3, share=0.99)().exact_share == pytest.approx(2.0 / 3.0)


def test_safety_may_depend_on_data():
    def around(x):
        return D.Independent(D.Normal(x[:, :DIM], 2.0), 1)

    module = DefensiveProposal(build("gaussian", FEATURES), around, share=0.5)
    q = module(data())
    assert q.sample((7,)).shape == (7, 5, DIM)
    assert q.log_prob(q.sample((7,))).shape == (7, 5)


# --- parameters and encoders ---------------------------------------------------------------------


@pytest.mark.parametrize("encoder", [None, FEATURES])
@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_the_start_is_where_it_was_asked_for(encoder, covariance):
    torch.manual_seed(0)
    for kind in (GaussianProposal, StudentTProposal):
        module = kind(3, encoder, covariance=covariance, scale=2.5).double()
        q = module() if encoder is None else module(data())
        location, root = (each.detach() for each in parameters_of(q.place))
        assert float(location.abs().max()) < 0.1
        close(root, (2.5 * torch.eye(3)).double().expand_as(root), 0.1)
    assert float(StudentTProposal(3)().noise.df.detach()) == pytest.approx(5.0)


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("encoder", [None, FEATURES])
@pytest.mark.parametrize("make", [FlowProposal.spline, FlowProposal.masked])
def test_a_flow_starts_near_its_base(make, encoder, dim):
    torch.manual_seed(0)
    module = make(dim, encoder=encoder).double()
    q = module() if encoder is None else module(data(1))
    noise = torch.randn(2000, *q.batch_shape, dim, dtype=torch.float64)
    off = (q.forward(noise) - noise).detach()
    assert 1e-3 < float(off.square().mean().sqrt()) < 0.3


def test_scales_stay_above_their_floor():
    raw = torch.tensor([-1e4, -50.0, 0.0, 3.0, 1e4]).double()
    scale = positive(raw, 1e-3)
    assert float(scale.min()) == 1e-3
    close(inverse_softplus(scale[1:], 1e-3)[1:], raw[2:])
    assert torch.isfinite(inverse_softplus(torch.tensor([0.0, 1e-3, 1e-300]), 1e-3)).all()
    module = GaussianProposal(2).double()
    with torch.no_grad():
        module.head.bias.fill_(-1e6)
    assert torch.isfinite(module().log_prob(torch.zeros(2).double()))


@pytest.mark.parametrize("name", ALL)
def test_encoders_learn(name):
    module = build(name, FEATURES)
    q = module(data())
    loss = -q.log_prob(q.sample((8,))).mean()
    loss.backward()
    learnt = [n for n, p in module.named_parameters() if p.grad is not None and p.grad.any()]
    assert any("encoder" in n for n in learnt)


def test_an_encoder_of_ones_own():
    own = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 8), torch.nn.Tanh()).double()
    q = GaussianProposal(2, own, width=8).double()
    assert q(torch.randn(5, 2, 3).double()).sample((4,)).shape == (4, 5, 2)
    flow = FlowProposal.spline(2, encoder=own, width=8).double()
    assert flow(torch.randn(5, 2, 3).double()).sample((4,)).shape == (4, 5, 2)
    with pytest.raises(ValueError, match=r"width of what Sequential gives must be known"):
        GaussianProposal(2, own)
    wrong = GaussianProposal(2, own, width=9).double()
    with pytest.raises(ValueError, match=r"\(N, 9\), axes \(datapoint, feature\).*got \(5, 8\)"):
        wrong(torch.randn(5, 2, 3).double())


def test_a_flow_of_ones_own():
    from zuko.flows import MAF

    flow = FlowProposal(MAF(2, 0, transforms=1, hidden_features=(4,)), 2)
    assert flow().rsample((3,)).shape == (3, 2)


def test_single_precision_stays_single():
    for name in ALL:
        q = ALL[name](FEATURES)
        assert q(data()).log_prob(q(data()).sample((3,))).dtype == torch.float32 or (
            name == "defensive"
        )


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: GaussianProposal(0), ValueError, "dim must be 1 or more"),
        (lambda: GaussianProposal(2.0), TypeError, "dim must be an int"),
        (lambda: GaussianProposal(2, 0), ValueError, "features 0"),
        (lambda: GaussianProposal(2, "x"), TypeError, "encoder must be"),
        (lambda: GaussianProposal(2, 3, width=4), ValueError, "module of your own"),
        (lambda: GaussianProposal(2, scale=1e-4), ValueError, "above floor"),
        (lambda: GaussianProposal(2, covariance="low rank"), ValueError, "'diagonal' or 'full'"),
        (lambda: StudentTProposal(2, df=0.0), ValueError, "df must be positive"),
        (lambda: MixtureProposal(2, parts=0), ValueError, "parts must be"),
        (lambda: CategoricalProposal(2, classes=1), ValueError, "classes must be"),
        (lambda: BernoulliProposal(-1), ValueError, "dim must be"),
        (lambda: MLP(3, hidden=()), ValueError, "hidden"),
        (lambda: DefensiveProposal(GaussianProposal(2), safe(), share=1.0), ValueError, "share"),
        (
            lambda: DefensiveProposal(GaussianProposal(2), safe(), particles=1),
            ValueError,
            "particles must be 2",
        ),
        (
            lambda: DefensiveProposal(GaussianProposal(2), D.Normal(torch.zeros(2), 1.0)),
            ValueError,
            r"event shape \(2,\), axes \(coordinate,\).*Independent",
        ),
    ],
)
def test_what_cannot_be_built(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_importing_leaves_torch_as_it_was():
    """Zuko switches torch's argument checks off for good; it is imported when a flow is built."""
    source = (
        "import aisle_smc.neural, sys, torch\n"
        "assert 'zuko' not in sys.modules\n"
        "assert torch.distributions.Distribution._validate_args\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False, timeout=300
    )
    assert run.returncode == 0, run.stderr
