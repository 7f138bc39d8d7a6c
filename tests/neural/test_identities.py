"""Identities that hold sample by sample, and wrong variants that break them.

The gradients are those of the engine, after ``loss.backward()``; what they are compared with is
made of atoms and coefficients written here, or of automatic differentiation of a bound.
"""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from aisle_smc.divergences import KL, Alpha, ChiSquare, ExclusiveKL, General, Hellinger  # noqa: E402
from aisle_smc.neural import ESTIMATORS, estimator, grouped, off_policy, surrogate  # noqa: E402
from tests.oracles.estimators import PARAMETERS as COMMON  # noqa: E402
from tests.oracles.sinh_arcsinh import (  # noqa: E402
    PHI,
    THETA,
    Atoms,
    SinhArcsinh,
    draw,
    log_gamma,
    log_q,
)

K = 7
TIGHT = 1e-12
E = torch.randn(K, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
ATOMS = Atoms(E)
LOG_W = ATOMS.log_w
W = torch.exp(LOG_W)
Z_HAT = W.mean()
SHARE = W / W.sum()
Y = K * SHARE
PARAMETERS = {**COMMON, "miwae": {"groups": 7}, "piwae": {"groups": 7}}


def ascents(chosen, e=E, *, log_joint=None):
    """Minus the gradients of a step by (phi, theta), through backward."""
    phi, theta = PHI.clone().requires_grad_(), THETA.clone().requires_grad_()
    target = log_joint or (lambda z, x: log_gamma(z, theta))
    step = surrogate(target, SinhArcsinh(phi, e), estimator=chosen, particles=e.shape[0])
    step.loss.backward()
    return -phi.grad, torch.zeros(4) if theta.grad is None else -theta.grad


def phi_of(name, e=E, **parameters):
    return ascents(estimator(name, **parameters), e)[0]


def theta_of(name, **parameters):
    return ascents(estimator(name, **parameters))[1]


def error(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


def assert_same(found, expected, tolerance=TIGHT):
    assert error(found, expected) < tolerance


def assert_fails(wrong, expected, tolerance=TIGHT):
    """A negative twin: the check that the right one passes must reject it, and by far."""
    assert error(wrong, expected) > max(1e-3, 1e3 * tolerance)


def assert_linear(near, limit):
    """The limit is reached, at first order: a tenth of the gap has a tenth of the error."""
    errors = [error(near(gap), limit) for gap in (1e-6, 1e-7)]
    assert errors[0] < 1e-4
    assert abs(errors[0] / errors[1] - 10.0) < 0.01


def bound_gradient(bound, e=E):
    """Gradients of a bound of the log-weights by automatic differentiation, all of it live."""
    phi, theta = PHI.clone().requires_grad_(), THETA.clone().requires_grad_()
    z = draw(e, phi)
    return torch.autograd.grad(bound(log_gamma(z, theta) - log_q(z, phi)), [phi, theta])


def log_mean_exp(log_w):
    return torch.logsumexp(log_w, 0) - math.log(log_w.shape[0])


def without(log_w, k):
    return torch.cat([log_w[:k], log_w[k + 1 :]])


def jackknife(log_w):
    n = log_w.shape[0]
    return (
        n * log_mean_exp(log_w)
        - (n - 1) * torch.stack([log_mean_exp(without(log_w, k)) for k in range(n)]).mean()
    )


# --- atoms and bounds ----------------------------------------------------------------------------

BY_HAND = {
    "vae": (1 / K + 0 * W, -1 / K + 0 * W),
    "stl": (1 / K + 0 * W, None),
    "iwae": (SHARE, -SHARE),
    "iwae-stl": (SHARE, None),
    "iwae-dreg": (SHARE**2, None),
    "rws": (None, SHARE - 1 / K),
    "rws-dreg": (SHARE - SHARE**2, None),
    "dreg": (0.1 * SHARE**2 + 0.9 * (SHARE - SHARE**2), None),
    "dreg-norm": (SHARE**2 / (SHARE**2).sum(), None),
    "rws-dreg-norm": ((SHARE - SHARE**2) / (SHARE - SHARE**2).sum(), None),
    "aisle-kl": (SHARE, None),
    "aisle-chi2": (2 * K * SHARE**2, None),
    "aisle-chi2-score": (None, K * SHARE**2 - 1 / K),
    "aisle-alpha": (K**-0.5 * SHARE**0.5, None),
    "aisle-alpha-score": (None, 2 * (K**-0.5 * SHARE**0.5 - 1 / K)),
    "aisle-alpha-score-dreg": (K**0.5 * SHARE**1.5 * (1 - SHARE), None),
    "aisle-hellinger": (K**-0.5 * SHARE**0.5 / 4, None),
    "aisle-hellinger-score": (None, (K**-0.5 * SHARE**0.5 - 1 / K) / 2),
    "exclusive-kl": (1 / K + 0 * W, None),
    "exclusive-kl-score": (None, torch.log(Y) / K),
    "cubo": (-2 * W**2 / K, 2 * W**2 / K),
    "cubo-score": (None, W**2 / K),
    "cubo-log": (None, 0.5 * W**2 / (W**2).sum()),
    "vr-dreg": ((V := W**0.6 / (W**0.6).sum()) * (0.4 + 0.6 * V), None),
    "vr": (V, -V),
    "vr-iwae": (V, -V),
    "vimco": (
        None,
        torch.stack([log_mean_exp(LOG_W) - log_mean_exp(without(LOG_W, k)) for k in range(K)])
        - SHARE,
    ),
    "vimco-geometric": (
        None,
        torch.stack(
            [
                log_mean_exp(LOG_W)
                - log_mean_exp(torch.cat([others := without(LOG_W, k), others.mean()[None]]))
                for k in range(K)
            ]
        )
        - SHARE,
    ),
    "vr-score": (
        None,
        torch.stack(
            [(log_mean_exp(0.6 * LOG_W) - log_mean_exp(0.6 * without(LOG_W, k))) for k in range(K)]
        )
        / 0.6
        - V,
    ),
    "vae-score": (None, torch.stack([LOG_W[k] - without(LOG_W, k).mean() for k in range(K)]) / K),
    "ovis": (None, -SHARE - torch.log1p(-SHARE)),
    "tail-adaptive": (
        (T := 1.0 / (W[None] >= W[:, None]).double().sum(1)) / T.sum(),
        None,
    ),
    "ciwae": (0.3 / K + 0.7 * SHARE, -0.3 / K - 0.7 * SHARE),
    "miwae": (1 / K + 0 * W, -1 / K + 0 * W),
    "piwae": (1 / K + 0 * W, -1 / K + 0 * W),
}
EQUAL = 1 / K + 0 * W
THETA_BY_HAND = {
    "vae": EQUAL,
    "vae-score": EQUAL,
    "stl": EQUAL,
    "vr": V,
    "vr-iwae": V,
    "vr-dreg": V,
    "vr-score": V,
    "ciwae": 0.3 / K + 0.7 * SHARE,
    "miwae": EQUAL,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_gradients_are_the_sums_of_atoms_of_the_table(name):
    phi, theta = ascents(estimator(name, **PARAMETERS.get(name, {})))
    assert_same(phi, ATOMS.phi(*BY_HAND[name]))
    assert_same(theta, ATOMS.theta(THETA_BY_HAND.get(name, SHARE)))


BOUNDS = {
    "vae": torch.mean,
    "iwae": lambda log_w: log_mean_exp(log_w),
    "vr": lambda log_w: log_mean_exp(0.6 * log_w) / 0.6,
    "jvi": lambda log_w: jackknife(log_w),
    "ciwae": lambda log_w: 0.3 * log_w.mean() + 0.7 * log_mean_exp(log_w),
    "miwae": torch.mean,
}


@pytest.mark.parametrize("name", BOUNDS)
def test_coupled_estimators_are_derivatives_of_their_bounds(name):  # I13 for jvi
    phi, theta = bound_gradient(BOUNDS[name])
    found = ascents(estimator(name, **PARAMETERS.get(name, {})))
    assert_same(found[0], phi)
    assert_same(found[1], theta)


def test_cubo_is_the_derivative_of_its_moment_by_the_proposal_alone():
    phi, theta = bound_gradient(lambda log_w: -torch.exp(3.0 * log_w).mean())
    found = ascents(estimator("cubo", n=3.0))
    assert_same(found[0], phi)
    assert_same(found[1], ATOMS.theta(SHARE))  # not minus the moment's, which is of no use
    assert_fails(found[1], theta)


def test_jackknife_dreg_is_its_squares():
    a = K * SHARE**2 - (K - 1) * torch.stack(
        [torch.where(torch.arange(K) == j, 0.0, SHARE / (1 - SHARE[j])) ** 2 for j in range(K)]
    ).mean(0)
    phi, theta = ascents(estimator("jvi-dreg"))
    assert_same(phi, ATOMS.phi(a))
    assert_same(theta, bound_gradient(jackknife)[1])


# --- the identities ------------------------------------------------------------------------------


def test_i1_iwae_is_aisle_kl_less_its_score_form():
    iwae = phi_of("iwae")
    assert_same(phi_of("aisle-kl") - phi_of("aisle-kl-score", baseline=False), iwae)
    assert_fails(phi_of("aisle-kl") - phi_of("aisle-kl-score"), iwae)  # the baseline is not in it


def stuck(*, stop_weights=True, stop_phi=True, stop_theta=True, coefficient=1.0):
    """A hand-written sum of weights times log-ratios along paths; each stop may be forgotten."""
    phi, theta = PHI.clone().requires_grad_(), THETA.clone().requires_grad_()
    z = draw(E, phi)
    log_w = log_gamma(z, theta.detach() if stop_theta else theta)
    log_w = log_w - log_q(z, phi.detach() if stop_phi else phi)
    share = torch.softmax(log_w.detach() if stop_weights else log_w, 0)
    loss = (share**coefficient * log_w).sum()
    loss = loss + (torch.softmax(LOG_W, 0) * log_gamma(z.detach(), theta)).sum()
    return torch.autograd.grad(loss, [phi, theta])


def test_i2_aisle_kl_sticks_the_landing_and_its_score_form_is_wake_phi():
    found = phi_of("aisle-kl")
    assert_same(phi_of("iwae-stl"), found)
    assert_same(found, stuck()[0])
    assert_fails(stuck(stop_weights=False)[0], found)
    assert_fails(stuck(stop_phi=False)[0], found)
    wake = phi_of("rws", baseline=False)
    assert_same(phi_of("aisle-kl-score", baseline=False), wake)
    assert_same(wake, ATOMS.phi(b=SHARE))
    assert_fails(phi_of("rws"), wake)


def test_i3_aisle_chi2_is_iwae_dreg_times_2k():
    assert_same(phi_of("aisle-chi2"), 2 * K * phi_of("iwae-dreg"))
    assert_fails(phi_of("aisle-alpha", order=2.0), 2 * K * phi_of("iwae-dreg"))  # half of it


def test_i4_iwae_stl_is_iwae_dreg_plus_rws_dreg():
    assert_same(phi_of("iwae-dreg") + phi_of("rws-dreg"), phi_of("iwae-stl"))
    assert_fails(phi_of("iwae-dreg") + phi_of("rws"), phi_of("iwae-stl"))


def test_i5_doubly_reparametrised_estimators_are_divergences():
    rws_dreg = phi_of("rws-dreg")
    assert_same(phi_of("aisle-kl") - phi_of("aisle-chi2") / (2 * K), rws_dreg)
    convex = General(
        function=lambda y: y * torch.log(y) - (y - 1) ** 2 / (2 * K),
        first=lambda y: torch.log(y) + 1 - (y - 1) / K,
        second=lambda y: 1 / y - 1 / K,
    )
    assert_same(phi_of("aisle-f", divergence=convex), rws_dreg)
    square = General(
        function=lambda y: (y - 1) ** 2 / (2 * K),
        first=lambda y: (y - 1) / K,
        second=lambda y: 1 / K + 0 * y,
    )
    assert_same(phi_of("aisle-f", divergence=square), phi_of("iwae-dreg"))
    assert_fails(phi_of("aisle-f", divergence=square), rws_dreg)


GENERAL = {
    "kl": (KL(), lambda y: y * torch.log(y), lambda y: torch.log(y) + 1, lambda y: 1 / y),
    "chi2": (ChiSquare(), lambda y: (y - 1) ** 2, lambda y: 2 * (y - 1), lambda y: 2 + 0 * y),
    "alpha": (
        Alpha(order=1.5),
        lambda y: y**1.5 / 0.75,
        lambda y: 2 * y**0.5,
        lambda y: y**-0.5,
    ),
    "exclusive-kl": (ExclusiveKL(), lambda y: -torch.log(y), lambda y: -1 / y, lambda y: y**-2),
    "hellinger": (
        Hellinger(),
        lambda y: 0.5 * (y**0.5 - 1) ** 2,
        lambda y: 0.5 - 0.5 * y**-0.5,
        lambda y: 0.25 * y**-1.5,
    ),
}


@pytest.mark.parametrize("name", GENERAL)
def test_i6_a_general_divergence_has_the_coefficients_of_its_name(name):
    divergence, f, first, second = GENERAL[name]
    general = General(function=f, first=first, second=second)
    path = phi_of("aisle-f", divergence=divergence)
    assert_same(path, ATOMS.phi(SHARE * Y * second(Y)))
    assert_same(phi_of("aisle-f", divergence=general), path)
    one = torch.ones((), dtype=torch.float64)
    baseline = (first(one) - f(one)) / K
    score = phi_of("aisle-f-score", divergence=divergence)
    assert_same(score, ATOMS.phi(b=SHARE * (first(Y) - f(Y) / Y) - baseline))
    assert_same(phi_of("aisle-f-score", divergence=general), score)
    # What a library does for every f: the derivative of f's value along the path.
    if name != "exclusive-kl":
        assert_fails(ATOMS.phi(-SHARE * first(Y)), path)
    else:
        assert_same(ATOMS.phi(-SHARE * first(Y)), path)  # the one for which it is right


def test_i6_limits_of_the_alpha_family():
    for order, path, score in (
        (0.0, "stl", "exclusive-kl-score"),
        (1.0, "aisle-kl", "aisle-kl-score"),
    ):
        for family, limit in (("aisle-alpha", path), ("aisle-alpha-score", score)):
            assert_same(phi_of(family, order=order), phi_of(limit))
            assert_linear(lambda gap: phi_of(family, order=order + gap), phi_of(limit))  # noqa: B023
    assert_same(2 * phi_of("aisle-alpha", order=2.0), phi_of("aisle-chi2"))
    assert_same(2 * phi_of("aisle-alpha-score", order=2.0), phi_of("aisle-chi2-score"))


# ovis-mc draws more particles than the others; test_i14 looks at it.
SAME_THETA = [
    name for name in ESTIMATORS if name not in {*THETA_BY_HAND, "jvi", "jvi-dreg", "ovis-mc"}
]


@pytest.mark.parametrize("name", SAME_THETA)
def test_i7_theta_is_taught_alike(name):
    assert_same(theta_of(name, **PARAMETERS.get(name, {})), ATOMS.theta(SHARE))


def test_i7_theta_left_live_in_the_path_term_is_noticed():
    expected = ATOMS.theta(SHARE)
    assert_same(stuck(coefficient=2)[1], expected)
    assert_fails(stuck(coefficient=2, stop_theta=False)[1], expected)
    phi, theta = PHI.clone().requires_grad_(), THETA.clone().requires_grad_()
    z = draw(E, phi)
    loss = (SHARE**2 * (log_gamma(z, theta) - log_q(z, PHI))).sum()  # the path term alone
    assert_fails(torch.autograd.grad(loss, theta)[0], expected)


def test_i8_wake_phi_descends_what_wake_theta_ascends():
    phi, theta = PHI.clone().requires_grad_(), THETA.clone().requires_grad_()
    z = draw(E, PHI)
    bound = log_mean_exp(log_gamma(z, theta) - log_q(z, phi))
    by_phi, by_theta = torch.autograd.grad(bound, [phi, theta])
    assert_same(-phi_of("rws", baseline=False), by_phi)
    assert_same(theta_of("rws"), by_theta)
    assert_fails(bound_gradient(log_mean_exp)[0], by_phi)  # z left attached


def test_i9_groups():
    e = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    twelve = {
        name: ascents(estimator(name, **parameters), e)
        for name, parameters in {
            "iwae": {},
            "vae": {},
            "miwae": {"groups": 3},
            "piwae": {"groups": 3},
        }.items()
    }
    for groups, name in ((1, "iwae"), (12, "vae")):
        for found, expected in zip(
            ascents(estimator("miwae", groups=groups), e), twelve[name], strict=True
        ):
            assert_same(found, expected)
    for beta, name in ((0.0, "iwae"), (1.0, "vae")):
        for found, expected in zip(
            ascents(estimator("ciwae", beta=beta), e), twelve[name], strict=True
        ):
            assert_same(found, expected)
    assert_same(twelve["piwae"][0], twelve["miwae"][0])
    assert_same(twelve["piwae"][1], twelve["iwae"][1])
    assert_fails(twelve["miwae"][1], twelve["iwae"][1])
    by_hand = bound_gradient(
        lambda log_w: torch.stack([log_mean_exp(part) for part in log_w.split(4)]).mean(), e
    )
    for found, expected in zip(twelve["miwae"], by_hand, strict=True):
        assert_same(found, expected)
    halves = [ascents(estimator("aisle-chi2"), part) for part in e.split(6)]
    for i, found in enumerate(ascents(grouped(estimator("aisle-chi2"), groups=2), e)):
        assert_same(found, (halves[0][i] + halves[1][i]) / 2)


def test_i10_the_renyi_family():
    for name, alpha, expected in (
        ("vr", 0.0, "iwae"),
        ("vr", 1.0, "vae"),
        ("vr-dreg", 0.0, "iwae-dreg"),
        ("vr-dreg", 1.0, "stl"),
        ("vr-score", 0.0, "vimco"),
    ):
        assert_same(phi_of(name, alpha=alpha), phi_of(expected))
    assert_linear(lambda gap: phi_of("vr", alpha=1.0 - gap), phi_of("vae"))
    best = torch.nn.functional.one_hot(LOG_W.argmax(), K).double()
    assert_same(phi_of("vr", alpha=-1000.0), ATOMS.phi(best, -best))
    # A bound at alpha = 1 by scores is that of the evidence lower bound, up to a mean of zero.
    assert_same(phi_of("vr-score", alpha=1.0), phi_of("vae-score") + ATOMS.phi(b=-EQUAL))


def test_i10_weights_normalised_by_their_mean_are_noticed():
    def normflows(a):
        v = W**a / (W**a).mean()
        return ATOMS.phi(((1 - a) * v + a * v**2) / K)

    assert_fails(normflows(1.0), phi_of("vr-dreg", alpha=0.0))
    assert_fails(normflows(0.6), phi_of("vr-dreg", alpha=0.4))


def test_i11_vimco_is_ovis_plus_a_multiple_of_the_scores():
    shift = math.log(1 - 1 / K) * ATOMS.score.sum(0)
    assert_same(phi_of("ovis", gamma=0.0) + shift, phi_of("vimco"))
    assert_fails(phi_of("ovis", gamma=0.0), phi_of("vimco"))
    found = phi_of("ovis", gamma=1.0)
    assert_same(found, ATOMS.phi(b=math.log(1 - 1 / K) - torch.log1p(-SHARE)))


def test_i12_cubo_is_aisle_chi2_in_other_units():
    score = phi_of("aisle-chi2-score", baseline=False)
    assert_same(phi_of("cubo-score", n=2.0), Z_HAT**2 * score)
    assert_same(phi_of("cubo-log", n=2.0), 0.5 * score / (K * (SHARE**2).sum()))
    assert_fails(phi_of("cubo-score", n=2.0), score)


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_i14_one_backward_pass_is_the_two_terms(name):
    """Every estimator against detached copies of both densities and its own row."""
    chosen = estimator(name, **PARAMETERS.get(name, {}))
    e = torch.randn(K + chosen.auxiliary, 3, generator=torch.Generator().manual_seed(7)).double()
    phi, theta = PHI.clone().requires_grad_(), THETA.clone().requires_grad_()
    target = lambda z, x: log_gamma(z, theta)  # noqa: E731
    step = surrogate(target, SinhArcsinh(phi, e), estimator=chosen, particles=K)
    step.loss.backward()
    atoms = Atoms(e)
    rows = chosen.rows(atoms.log_w)
    assert_same(-phi.grad, atoms.phi(rows.path, rows.score))
    assert_same(-theta.grad, atoms.theta(rows.theta))


def off_policy_phi(divergence, path, **options):
    phi, theta = PHI.clone().requires_grad_(), THETA.clone().requires_grad_()
    step = off_policy(
        draw(E, PHI),
        LOG_W,
        lambda z, x: log_gamma(z, theta),
        SinhArcsinh(phi, E),
        divergence=divergence,
        path=path,
        **options,
    )
    step.loss.backward()
    return -phi.grad, -theta.grad


def test_i14_off_policy_on_draws_of_q_is_on_policy():
    for divergence in (KL(), ChiSquare(), Hellinger(), ExclusiveKL(), Alpha(order=1.5)):
        phi, theta = off_policy_phi(divergence, True)
        assert_same(phi, phi_of("aisle-f", divergence=divergence))
        assert_same(theta, ATOMS.theta(SHARE))
        phi, theta = off_policy_phi(divergence, False, baseline=True)
        assert_same(phi, phi_of("aisle-f-score", divergence=divergence))
        assert_same(theta, ATOMS.theta(SHARE))

    # The inverse must be held fixed: h(h^-1(z)) with both live does not move.
    class Live(SinhArcsinh):
        def reattach(self, z):
            from tests.oracles.sinh_arcsinh import noise

            return draw(noise(z, self.phi), self.phi)

    phi = PHI.clone().requires_grad_()
    wrong = off_policy(draw(E, PHI), LOG_W, lambda z, x: log_gamma(z, THETA), Live(phi, E))
    wrong.loss.backward()
    assert_fails(-phi.grad, phi_of("aisle-kl"))


def test_i15_normalised_powers():
    for order in (0.5, 1.5, 2.0):
        v = W**order / (W**order).sum()
        expected = (Y**order).mean() * ATOMS.phi(v)
        assert_same(phi_of("aisle-alpha", order=order), expected)
    expected = K * (SHARE**2).sum() * phi_of("dreg-norm")
    assert_same(phi_of("aisle-alpha", order=2.0), expected)
    assert_fails(phi_of("dreg-norm"), expected)


ZERO_AT_TARGET = {
    "stl": {},
    "iwae-stl": {},
    "iwae-dreg": {},
    "rws": {},
    "rws-dreg": {},
    "dreg": {},
    "dreg-norm": {},
    "rws-dreg-norm": {},
    "vr-dreg": {"alpha": 0.4},
    "jvi-dreg": {},
    "tail-adaptive": {},
    "msc-path": {},
    "vae-score": {},
    "ovis": {"gamma": 1.0},
    **{name: PARAMETERS.get(name, {}) for name in ESTIMATORS if name.startswith("aisle-")},
    "exclusive-kl": {},
    "exclusive-kl-score": {},
}


@pytest.mark.parametrize("name", ZERO_AT_TARGET)
def test_i16_nothing_moves_at_the_target(name):
    target = lambda z, x: 1.3 + log_q(z, PHI)  # noqa: E731
    chosen = estimator(name, **ZERO_AT_TARGET[name])
    assert float(ascents(chosen, log_joint=target)[0].abs().max()) < 1e-13


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rws", {"baseline": False}),
        ("iwae", {}),
        ("vimco", {}),
        ("aisle-chi2-score", {"baseline": False}),
    ],
)
def test_i16_noise_remains_without_the_baseline(name, options):
    target = lambda z, x: 1.3 + log_q(z, PHI)  # noqa: E731
    assert float(ascents(estimator(name, **options), log_joint=target)[0].abs().max()) > 0.05


def test_i17_a_single_particle():
    one = E[:1]
    landing = phi_of("stl", one)
    assert_same(phi_of("aisle-kl", one), landing)
    assert_same(phi_of("aisle-chi2", one), 2 * landing)
    log_w = LOG_W[:1]
    assert float(estimator("rws").rows(log_w).score) == 0.0
    assert float(estimator("rws-dreg").rows(log_w).path) == 0.0
    assert float(estimator("rws", baseline=False).rows(log_w).score) == 1.0


def test_i18_ovis_becomes_aisle_chi2():
    before = math.inf
    for n in (100, 10_000):
        log_w = torch.randn(n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        chi2 = estimator("aisle-chi2-score", baseline=False).rows(log_w).score / (2 * n)
        ratio = estimator("ovis").rows(log_w).score / chi2
        worst = float((ratio - 1).abs().max())
        assert worst < float(torch.softmax(log_w, 0).max())  # 2/3 of the weight at first order
        assert worst < before / 10
        before = worst
    twin = estimator("vimco").rows(log_w).score / chi2
    assert float((twin - 1).abs().max()) > 1.0


def test_tail_adaptive_is_by_tail_probability_and_not_by_position():
    log_w = torch.tensor([3.0, 1.0, 2.0, -1.0, 0.5], dtype=torch.float64)
    paper = torch.tensor([0.438, 0.146, 0.219, 0.088, 0.109])
    found = estimator("tail-adaptive").rows(log_w).path
    assert float((found - paper).abs().max()) < 6e-4
    pyro = 1.0 / (torch.argsort(log_w) + 1.0)
    assert float((pyro / pyro.sum() - paper).abs().max()) > 0.3
