"""Means of estimators, exactly: identities between expectations over two particles, by quadrature.

Where a test says that two means differ, the difference is far above the tolerance of the others.
"""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from aisle_smc.divergences import (  # noqa: E402
    KL,
    Alpha,
    ChiSquare,
    ExclusiveKL,
    Hellinger,
    JensenShannon,
    coefficients,
    off_policy,
)
from aisle_smc.neural.estimators import estimator  # noqa: E402
from tests.oracles import quadrature as exact  # noqa: E402

RTOL = 1e-10
PHI = exact.PHI
AT = exact.nodes(PHI)
LOG_W = exact.pairs(AT.log_w)
WB = torch.softmax(LOG_W, 0)
NONE = torch.zeros_like(LOG_W)
PI = torch.exp(exact.LOG_P + AT.log_w - exact.LOG_Z)  # probability of each node under the target
EVIDENCE = exact.gradient(exact.evidence_bound, PHI)
IMPORTANCE = exact.gradient(exact.importance_weighted_bound, PHI)


def mean_of(name, *, first=exact.P, **parameters):
    rows = estimator(name, **parameters).rows(LOG_W)
    return exact.mean_direction(rows.path, rows.score, AT, first=first)


def mean_path(a):
    return exact.mean_direction(a, NONE, AT)


def mean_score(b):
    return exact.mean_direction(NONE, b, AT)


def error(found, expected):
    return float(torch.max(torch.abs(found / expected - 1.0)))


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=RTOL, atol=0.0)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# --- the oracle ----------------------------------------------------------------------------------


def test_the_grid_is_exact():
    assert float(exact.P.sum()) == pytest.approx(1.0, rel=1e-13)
    assert float(PI.sum()) == pytest.approx(1.0, rel=1e-12)
    assert_same(exact.noise(AT.z, PHI), exact.E)


# --- E1, E2: divergences as averages under the target --------------------------------------------


def test_e1_score_and_path_have_the_same_mean_under_the_target():
    assert_same(PI @ AT.path, PI @ AT.score)


F = {
    KL(): lambda u: torch.special.xlogy(u, u),
    ChiSquare(): lambda u: (u - 1.0) ** 2,
    ExclusiveKL(): lambda u: -torch.log(u),
    Alpha(order=1.5): lambda u: (u**1.5 - 1.0) / 0.75,
    Alpha(order=-0.5): lambda u: (u**-0.5 - 1.0) / 0.75,
    Hellinger(): lambda u: 0.5 * (torch.sqrt(u) - 1.0) ** 2,
    JensenShannon(): lambda u: (
        0.5 * (torch.special.xlogy(u, u) - (1.0 + u) * torch.log(0.5 * (1.0 + u)))
    ),
}


@pytest.mark.parametrize("path", [True, False], ids=["path", "score"])
@pytest.mark.parametrize("divergence", F, ids=repr)
def test_e2_coefficients_give_the_gradient_of_the_divergence(divergence, path):
    descent = -exact.gradient(lambda phi: exact.divergence(F[divergence], phi), PHI)
    a, b = coefficients(AT.log_w, divergence, log_v=exact.LOG_P, path=path)
    assert_same(a @ AT.path + b @ AT.score, descent)


def test_e2_first_derivative_in_place_of_second_has_the_wrong_sign():
    """A forward KL whose path coefficient is ``-u f'(u)``, right for the reverse KL alone."""
    u = torch.exp(AT.log_w - exact.LOG_Z)
    descent = -exact.gradient(lambda phi: exact.divergence(F[KL()], phi), PHI)
    wrong = (exact.P * -u * (torch.log(u) + 1.0)) @ AT.path
    assert float(wrong @ descent) < 0.0
    reverse = -exact.gradient(lambda phi: exact.divergence(F[ExclusiveKL()], phi), PHI)
    assert_same((exact.P * -u * (-1.0 / u)) @ AT.path, reverse)


# --- E3 to E7: means of estimators at K = 2 ------------------------------------------------------


@pytest.mark.parametrize("name", ["vae", "vae-score", "stl", "exclusive-kl"])
def test_one_particle_bound(name):
    assert_same(mean_of(name), EVIDENCE)


def test_one_particle_bound_by_a_baseline_of_fresh_draws():
    """With one main particle and one fresh one, the pair is both."""
    assert_same(mean_of("ovis-mc", auxiliary=1), EVIDENCE)


def test_plugged_in_evidence_makes_the_exclusive_score_biased():
    assert error(mean_of("exclusive-kl-score"), EVIDENCE) > 0.1


# A proposal in the target's tail, where one of two particles often has nearly all the weight.
FAR = torch.tensor([-4.0, -0.2, -0.1], dtype=torch.float64)


@pytest.mark.parametrize("phi", [PHI, FAR], ids=["near", "far"])
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("iwae", {}),
        ("iwae-dreg", {}),
        ("vimco", {}),
        ("vimco-geometric", {}),
        ("ovis", {"gamma": 0.0}),
    ],
)
def test_e3_bound_of_two_particles(name, parameters, phi):
    at = exact.nodes(phi)
    rows = estimator(name, **parameters).rows(exact.pairs(at.log_w))
    found = exact.mean_direction(rows.path, rows.score, at)
    assert_same(found, exact.gradient(exact.importance_weighted_bound, phi))


def test_e3_log1p_loses_the_digits():
    """``log(1 - W)`` must be summed from the other weights: 1 - W has few left near W = 1."""
    at = exact.nodes(FAR)
    wb = torch.softmax(exact.pairs(at.log_w), 0)
    found = exact.mean_direction(NONE, -wb - torch.log1p(-wb).clamp_min(-745.0), at)
    expected = exact.gradient(exact.importance_weighted_bound, FAR)
    assert 1e-9 < error(found, expected) < 1e-5


def test_e3_ovis_with_gamma_one_is_biased():
    assert error(mean_of("ovis", gamma=1.0), IMPORTANCE) > 0.1


def test_e4_wake_phi_and_its_reparametrised_form():
    assert_same(mean_of("rws-dreg"), mean_of("rws"))
    assert_same(mean_of("aisle-kl-score"), mean_of("rws"))
    assert error(mean_of("aisle-kl"), mean_of("rws")) > 0.5


@pytest.mark.parametrize("order", [1.5, 2.0, 3.0])
def test_e5_alpha_score_and_its_reparametrised_form(order):
    expected = mean_of("aisle-alpha-score", order=order)
    assert_same(mean_of("aisle-alpha-score-dreg", order=order), expected)
    assert error(mean_of("aisle-alpha", order=order), expected) > 0.1


@pytest.mark.parametrize("name", ["vr", "vr-iwae", "vr-dreg", "vr-score"])
@pytest.mark.parametrize("alpha", [0.3, 0.7])
def test_e6_renyi_bound(name, alpha):
    expected = exact.gradient(lambda phi: exact.renyi_bound(phi, alpha), PHI)
    assert_same(mean_of(name, alpha=alpha), expected)


@pytest.mark.parametrize("alpha", [0.3, 0.7])
def test_e6_weights_normalised_by_their_mean_are_wrong(alpha):
    """The square of a weight then counts K times too much."""
    expected = exact.gradient(lambda phi: exact.renyi_bound(phi, alpha), PHI)
    v = torch.softmax((1.0 - alpha) * LOG_W, 0)
    assert_same(mean_path(alpha * v + (1.0 - alpha) * v**2), expected)
    by_mean = 2.0 * v
    wrong = mean_path((alpha * by_mean + (1.0 - alpha) * by_mean**2) / 2.0)
    assert error(wrong, expected) > 0.1


@pytest.mark.parametrize("name", ["jvi", "jvi-dreg"])
def test_e7_jackknifed_bound(name):
    assert_same(mean_of(name), 2.0 * IMPORTANCE - EVIDENCE)


def test_e7_without_the_correction_is_another_mean():
    assert error(mean_path(2.0 * WB**2), 2.0 * IMPORTANCE - EVIDENCE) > 0.1


@pytest.mark.parametrize("name", ["cubo", "cubo-score"])
@pytest.mark.parametrize("n", [1.5, 2.0])
def test_moment_of_the_weights(name, n):
    def moment(phi):
        return exact.P @ torch.exp(n * exact.log_ratio(exact.draw(exact.E, phi), phi))

    assert_same(mean_of(name, n=n), -exact.gradient(moment, PHI))


def test_mixture_of_doubly_reparametrised_means():
    expected = 0.3 * mean_of("rws") + 0.7 * IMPORTANCE
    assert_same(mean_of("dreg", t=0.3), expected)


@pytest.mark.parametrize(
    ("name", "parameters", "share"),
    [("ciwae", {"beta": 0.3}, 0.3), ("miwae", {"groups": 2}, 1.0), ("piwae", {"groups": 2}, 1.0)],
)
def test_mixtures_of_bounds(name, parameters, share):
    assert_same(mean_of(name, **parameters), share * EVIDENCE + (1.0 - share) * IMPORTANCE)


# --- E8, E9: particles from elsewhere ------------------------------------------------------------

SHARE = 0.2  # of the defensive component
WIDE = torch.tensor([0.0, 1.1, 0.0], dtype=torch.float64)


def log_mixture(z):
    return torch.logaddexp(
        math.log1p(-SHARE) + exact.log_q(z, PHI), math.log(SHARE) + exact.log_q(z, WIDE)
    )


MIXED_Z = torch.cat([AT.z, exact.draw(exact.E, WIDE)])
MIXED_P = torch.cat([exact.LOG_P + math.log1p(-SHARE), exact.LOG_P + math.log(SHARE)])


def off_policy_mean(log_w, divergence, *, path):
    """The step of `off_policy` on the nodes of both components, as one weighted population."""
    a, b = off_policy(
        log_w,
        exact.log_ratio(MIXED_Z, PHI),
        divergence,
        log_evidence=torch.logsumexp(log_w, 0),
        path=path,
    )
    return a @ exact.path_atoms(MIXED_Z, PHI) + b @ exact.score_atoms(MIXED_Z, PHI)


@pytest.mark.parametrize("divergence", [KL(), ChiSquare(), Alpha(order=1.5)], ids=repr)
@pytest.mark.parametrize("path", [True, False], ids=["path", "score"])
def test_e8_particles_of_a_defensive_mixture(divergence, path):
    descent = -exact.gradient(lambda phi: exact.divergence(F[divergence], phi), PHI)
    log_w = exact.log_gamma(MIXED_Z) - log_mixture(MIXED_Z) + MIXED_P
    assert_same(off_policy_mean(log_w, divergence, path=path), descent)


def test_e8_mixture_density_at_other_draws_is_wrong():
    """With the mixture's density taken at independent draws of q, it cancels from the weights."""
    log_w = exact.log_gamma(MIXED_Z) + MIXED_P
    for path in (True, False):
        assert error(off_policy_mean(log_w, KL(), path=path), PI @ AT.score) > 0.1


ETA = torch.tensor([0.2, 0.4, -0.2], dtype=torch.float64)


def test_e9_reparametrised_score_of_another_density():
    """E_q[g grad log p] by the path of p, g positive: off-policy KL with the target g q."""

    def log_g(z):
        return torch.log1p(z**2) + 0.3 * torch.sin(z)

    def log_target(z, eta):
        return log_g(z) + exact.log_q(z, PHI) - exact.log_q(z, eta)

    expected = (exact.P * torch.exp(log_g(AT.z))) @ exact.score_atoms(AT.z, ETA)
    a, _ = off_policy(log_g(AT.z) + exact.LOG_P, log_target(AT.z, ETA), KL())
    mass = exact.P @ torch.exp(log_g(AT.z))
    assert_same(mass * (a @ exact.path_atoms(AT.z, ETA, log_target)), expected)
    # The noise of q is not that which p maps to the draw.
    slope = torch.func.vmap(torch.func.grad(lambda z: log_target(z, ETA)))(AT.z)
    moved = exact.slopes(exact.draw, exact.E, ETA)
    assert error(mass * (a @ (slope[:, None] * moved)), expected) > 0.1


def test_e9_with_a_function_of_any_sign():
    def g(z):
        return torch.sin(z) + 0.2 * z

    slope = torch.func.vmap(torch.func.grad(lambda z: exact.log_q(z, PHI) - exact.log_q(z, ETA)))(
        AT.z
    )
    rise = torch.func.vmap(torch.func.grad(g))(AT.z)
    moved = exact.slopes(exact.draw, exact.noise(AT.z, ETA), ETA)
    expected = (exact.P * g(AT.z)) @ exact.score_atoms(AT.z, ETA)
    assert_same((exact.P * (rise + g(AT.z) * slope)) @ moved, expected)


# --- E10: a particle of the target among those of the proposal -----------------------------------


def test_e10_a_retained_particle_makes_the_kl_step_exact():
    pi_score = PI @ AT.score
    assert_same(mean_of("msc", first=PI), pi_score)
    assert_same(mean_of("msc-path", first=PI), pi_score)
    inverse = PI @ torch.exp(math.log(2.0) - torch.logsumexp(LOG_W, 0)) @ exact.P
    assert float(inverse) == pytest.approx(math.exp(-exact.LOG_Z), rel=RTOL)


def test_e10_baseline_and_chi_square_are_not_exact():
    pi_score = PI @ AT.score
    with_baseline = exact.mean_direction(NONE, WB - 0.5, AT, first=PI)
    assert_same(with_baseline, 0.5 * pi_score)
    descent = -exact.gradient(lambda phi: exact.divergence(F[ChiSquare()], phi), PHI)
    assert error(exact.mean_direction(NONE, 2.0 * WB**2, AT, first=PI), descent) > 0.1


# --- E11: the rule behind all of them ------------------------------------------------------------


def test_e11_score_coefficient_and_its_derivative():
    """E[sum c_k s_k] = E[sum (dc_k / dlog w_k) T_k] for any c."""
    live = LOG_W.clone().requires_grad_()
    c = torch.softmax(live, 0) ** 1.3 * torch.tanh(torch.logsumexp(live, 0))
    slopes = torch.stack(
        [torch.autograd.grad(c[k].sum(), live, retain_graph=True)[0][k] for k in range(2)]
    )
    assert_same(mean_path(slopes), mean_score(c.detach()))
    # The derivative by the sum of both log-weights is another mean.
    (both,) = torch.autograd.grad(c.sum(), live)
    assert error(mean_path(both), mean_score(c.detach())) > 0.05
