"""The coefficients: the published table, its identities, and exact gradients by quadrature."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aisle_smc.divergences import (
    KL,
    Alpha,
    ChiSquare,
    ExclusiveKL,
    General,
    Hellinger,
    JensenShannon,
    TailAdaptive,
    coefficients,
    off_policy,
    reparametrise_score,
)
from tests.oracles import skewed

F_DIVERGENCES = [
    KL(),
    ChiSquare(),
    ExclusiveKL(),
    Hellinger(),
    JensenShannon(),
    Alpha(order=-0.3),
    Alpha(order=0.3),
    Alpha(order=1.5),
    Alpha(order=3.0),
]
FINITE = [divergence for divergence in F_DIVERGENCES if divergence.finite_at_zero]
EVERY = pytest.mark.parametrize("divergence", F_DIVERGENCES, ids=repr)
ALSO_RANKS = pytest.mark.parametrize("divergence", [*F_DIVERGENCES, TailAdaptive()], ids=repr)

LOG_W = np.array([0.3, -1.2, 1.6, 4.1, 0.1, -3.0, 0.7])
K = LOG_W.size
WB = np.exp(LOG_W) / np.exp(LOG_W).sum()

log_weights = st.lists(st.floats(-300.0, 300.0), min_size=1, max_size=12).map(np.array)


def forms(divergence):
    """The arguments of both forms, with and without the baseline."""
    if isinstance(divergence, TailAdaptive):
        return [{}]
    return [{}, {"path": False}, {"path": False, "baseline": False}]


# --- the table, row by row -----------------------------------------------------------------------

ROWS = {
    "STL = AISLE-KL": (KL(), {}, WB, 0),
    "AISLE-chi2 = 2K DREG": (ChiSquare(), {}, 2 * K * WB**2, 0),
    "VAE-STL = exclusive KL": (ExclusiveKL(), {}, 1 / K, 0),
    "alpha 1/2": (Alpha(order=0.5), {}, np.sqrt(WB / K), 0),
    "alpha 1.7": (Alpha(order=1.7), {}, K**0.7 * WB**1.7, 0),
    "alpha 2": (Alpha(order=2.0), {}, K * WB**2, 0),
    "wake-phi": (KL(), {"path": False, "baseline": False}, 0, WB),
    "wake-phi, baseline": (KL(), {"path": False}, 0, WB - 1 / K),
    "chi2 score": (ChiSquare(), {"path": False, "baseline": False}, 0, K * WB**2),
    "chi2 score, baseline": (ChiSquare(), {"path": False}, 0, K * WB**2 - 1 / K),
    "exclusive KL score": (ExclusiveKL(), {"path": False}, 0, np.log(K * WB) / K),
    "alpha 1/2 score": (Alpha(order=0.5), {"path": False}, 0, 2 * (np.sqrt(WB / K) - 1 / K)),
    "alpha 1.7 score": (
        Alpha(order=1.7),
        {"path": False},
        0,
        (K**0.7 * WB**1.7 - 1 / K) / 1.7,
    ),
    "Hellinger": (Hellinger(), {}, np.sqrt(WB / K) / 4, 0),
    "Jensen-Shannon": (JensenShannon(), {}, WB / (1 + K * WB) / 2, 0),
    "Jensen-Shannon score": (
        JensenShannon(),
        {"path": False},
        0,
        np.log((1 + K * WB) / 2) / (2 * K),
    ),
    "tail-adaptive": (
        TailAdaptive(),
        {},
        1 / np.array([4, 6, 2, 1, 5, 7, 3]) / (1 / np.arange(1, K + 1)).sum(),
        0,
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_row_of_the_table(row):
    divergence, options, a, b = ROWS[row]
    found = coefficients(LOG_W, divergence, **options)
    np.testing.assert_allclose(found.path, np.broadcast_to(a, K), rtol=2e-14)
    np.testing.assert_allclose(found.score, np.broadcast_to(b, K), rtol=2e-12, atol=1e-16)
    np.testing.assert_allclose(found.weights, WB, rtol=1e-14)
    assert found.log_evidence == pytest.approx(np.log(np.exp(LOG_W).mean()), rel=1e-14)
    assert found.ess == pytest.approx(1 / (WB**2).sum(), rel=1e-13)
    assert not found.degenerate


@pytest.mark.parametrize(
    ("divergence", "a"),
    [
        (KL(), WB - WB**2),
        (Alpha(order=1.7), K**0.7 * WB**1.7 * (1 - WB)),
        (ChiSquare(), 2 * K * WB**2 * (1 - WB)),
        (ExclusiveKL(), (1 - WB) / K),
    ],
    ids=repr,
)
def test_rows_of_the_doubly_reparametrised_score(divergence, a):
    found = reparametrise_score(LOG_W, divergence)
    np.testing.assert_allclose(found.path, a, rtol=1e-13)
    assert not found.score.any()


# --- identities ----------------------------------------------------------------------------------


def test_i3_chi_square_is_2k_times_dreg():
    found = coefficients(LOG_W, ChiSquare()).path
    dreg = General(
        function=lambda y: (y - 1) ** 2 / (2 * K), first=lambda y: (y - 1) / K,
        second=lambda y: 1 / K + 0 * y,
    )  # fmt: skip
    np.testing.assert_allclose(found, 2 * K * coefficients(LOG_W, dreg).path, rtol=1e-13)
    np.testing.assert_allclose(coefficients(LOG_W, dreg).path, WB**2, rtol=1e-13)


def test_i4_and_i5_the_split_of_stl():
    """STL = DREG + RWS-DREG, which is general-f with y log y - (y - 1)^2 / (2K)."""
    rws_dreg = reparametrise_score(LOG_W, KL()).path
    stl, chi2 = coefficients(LOG_W, KL()).path, coefficients(LOG_W, ChiSquare()).path
    np.testing.assert_allclose(stl, chi2 / (2 * K) + rws_dreg, rtol=1e-13)
    mixed = General(
        function=lambda y: y * np.log(y) - (y - 1) ** 2 / (2 * K),
        first=lambda y: np.log(y) + 1 - (y - 1) / K,
        second=lambda y: 1 / y - 1 / K,
    )
    np.testing.assert_allclose(coefficients(LOG_W, mixed).path, rws_dreg, rtol=1e-12)


@pytest.mark.parametrize(("limit", "order"), [(KL(), 1.0), (ExclusiveKL(), 0.0)], ids=repr)
@pytest.mark.parametrize("distance", [1e-6, -1e-6])
@pytest.mark.parametrize("path", [True, False])
def test_i6_limits_of_the_alpha_family(limit, order, distance, path):
    near = coefficients(LOG_W, Alpha(order=order + distance), path=path)
    exact = coefficients(LOG_W, limit, path=path)
    for found, expected in zip(near, exact, strict=True):
        np.testing.assert_allclose(found, expected, rtol=8e-6, atol=0)


@pytest.mark.parametrize("order", [-0.5, 0.4, 1.0, 2.0, 3.3])
def test_i15_alpha_is_a_rescaled_renyi_gradient(order):
    y = K * WB
    v = np.exp(order * LOG_W) / np.exp(order * LOG_W).sum()
    found = coefficients(LOG_W, Alpha(order=order)).path
    np.testing.assert_allclose(found, np.mean(y**order) * v, rtol=1e-13)


@EVERY
@pytest.mark.parametrize("constant", [0.0, 3.7, -1234.5, 1e5])
@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_i16_the_score_is_exactly_zero_at_the_target(divergence, constant, n):
    log_w = np.full(n, constant)
    assert not coefficients(log_w, divergence, path=False).score.any()


@pytest.mark.parametrize("divergence", [KL(), ChiSquare(), Hellinger(), JensenShannon()], ids=repr)
def test_i16_without_the_baseline_it_is_not(divergence):
    """The negative twin: raw wake-phi is noise at the optimum."""
    raw = coefficients(np.zeros(7), divergence, path=False, baseline=False).score
    assert np.abs(raw).min() > 0.01


def test_i17_a_single_particle():
    one = np.array([2.3])
    assert coefficients(one, KL()).path == coefficients(one, ExclusiveKL()).path == 1.0
    assert coefficients(one, ChiSquare()).path == 2.0
    assert coefficients(one, KL(), path=False).score == 0.0
    assert reparametrise_score(one, KL()).path == 0.0


@ALSO_RANKS
@given(log_w=log_weights, shift=st.sampled_from([-1e4, -3.3, 700.0, 1e6]))
def test_a_constant_factor_changes_nothing(divergence, log_w, shift):
    """Up to the rounding of the log-weights once the constant is added."""
    rounding = 1e-12 + 8 * np.spacing(abs(shift) + 300.0)
    log_w = log_w + shift - shift  # what is left of it
    for options in forms(divergence):
        before = coefficients(log_w, divergence, **options)
        after = coefficients(log_w + shift, divergence, **options)
        for a, b in zip(before, after, strict=True):
            np.testing.assert_allclose(a, b, rtol=rounding * 1e3, atol=rounding * 10)


@EVERY
@given(log_w=log_weights)
def test_score_and_path_belong_together(divergence, log_w):
    """The path of the doubly reparametrised score is the derivative of the score."""
    if log_w.max() - log_w.min() > 20:
        log_w = log_w / 30
    step = 1e-5
    derivative = np.empty(log_w.size)
    for k in range(log_w.size):
        bump = step * np.eye(log_w.size)[k]
        up = coefficients(log_w + bump, divergence, path=False).score[k]
        down = coefficients(log_w - bump, divergence, path=False).score[k]
        derivative[k] = (up - down) / (2 * step)
    found = reparametrise_score(log_w, divergence).path
    np.testing.assert_allclose(found, derivative, rtol=1e-5, atol=1e-8 * (1 + found.max()))


# --- incoming weights ----------------------------------------------------------------------------


@ALSO_RANKS
@pytest.mark.parametrize("constant", [0.0, 5.0])
def test_equal_incoming_weights_are_none(divergence, constant):
    for options in forms(divergence):
        static = coefficients(LOG_W, divergence, **options)
        step = coefficients(LOG_W, divergence, log_v=np.full(K, constant), **options)
        assert step.log_evidence == pytest.approx(static.log_evidence, rel=1e-14)
        for a, b in zip(step, static, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-16)


@ALSO_RANKS
def test_a_heavy_particle_is_several_light_ones(divergence):
    counts = np.array([1, 3, 2, 1])
    log_w = np.array([0.2, 1.5, -0.4, 0.9])
    for options in forms(divergence):
        heavy = coefficients(log_w, divergence, log_v=np.log(counts), **options)
        light = coefficients(np.repeat(log_w, counts), divergence, **options)
        for a, b in zip(heavy, light, strict=True):
            np.testing.assert_allclose(np.repeat(a / counts, counts), b, rtol=1e-12)


def test_incoming_weights_of_the_sequential_table():
    v = np.array([0.1, 0.5, 0.15, 0.25])
    g = np.array([2.0, 0.3, 1.0, 0.8])
    w = v * g / (v * g).sum()
    for order in (0.5, 1.0, 2.0):
        found = coefficients(np.log(g), Alpha(order=order), log_v=np.log(v)).path
        np.testing.assert_allclose(found, v * (w / v) ** order, rtol=1e-13)
    found = coefficients(np.log(g), KL(), log_v=np.log(v), path=False)
    np.testing.assert_allclose(found.score, w - v, rtol=1e-13)
    np.testing.assert_allclose(found.weights, w, rtol=1e-13)
    assert found.log_evidence == pytest.approx(np.log((v * g).sum()), rel=1e-13)


def test_incoming_weights_matter():
    """The negative twin: leaving them out is another estimator."""
    log_v = np.log([0.1, 0.5, 0.15, 0.25])
    log_g = np.log([2.0, 0.3, 1.0, 0.8])
    right = coefficients(log_g, ChiSquare(), log_v=log_v).path
    assert np.abs(coefficients(log_g, ChiSquare()).path - right).max() > 0.1
    assert np.abs(coefficients(log_g + log_v, ChiSquare()).path - right).max() > 0.1


# --- exact gradients: the noise on a grid, its density as incoming weights -----------------------

PHI = (0.3, 0.2)


@EVERY
def test_both_forms_are_the_gradient(divergence):
    """Path, score with and without its baseline, and minus the derivative of the divergence."""
    log_w, log_v, path_atoms, score_atoms = skewed.on_grid(*PHI)
    truth = skewed.descent(divergence.f, *PHI)
    assert np.abs(truth).min() > 0.005
    for options in forms(divergence):
        found = coefficients(log_w, divergence, log_v=log_v, **options)
        direction = path_atoms @ found.path + score_atoms @ found.score
        np.testing.assert_allclose(direction, truth, rtol=0, atol=1e-10 * np.abs(truth).max())
    assert found.log_evidence == pytest.approx(skewed.log_evidence(), abs=1e-12)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda y: -y * (np.log(y) + 1.0),  # a library's forward KL along the path: -u f'(u)
        lambda y: y**2,  # the square of chi-square
        np.ones_like,  # the exclusive divergence
    ],
    ids=["-u f'", "u^2", "1"],
)
def test_wrong_forward_kl_is_found(wrong):
    """The negative twins; the first points uphill."""
    log_w, log_v, path_atoms, _ = skewed.on_grid(*PHI)
    truth = skewed.descent(KL().f, *PHI)
    v = np.exp(log_v) / np.exp(log_v).sum()
    y = np.exp(log_w - skewed.log_evidence())
    direction = path_atoms @ (v * wrong(y))
    assert np.abs(direction - truth).max() > 0.1 * np.abs(truth).max()
    if wrong(np.array([math.e]))[0] < 0:
        assert direction @ truth < 0


def expectation(found, path_atoms, score_atoms, density):
    """E sum_k a_k T_k + b_k s_k over both particles, by the trapezoid rule."""
    total = np.einsum("kij,pkij->pij", found.path, path_atoms)
    total += np.einsum("kij,pkij->pij", found.score, score_atoms)
    return np.tensordot(total, density, axes=2)


@pytest.fixture(scope="module")
def pair():
    """Two particles on a grid of their noises: log-weights, atoms and the joint density."""
    e = np.linspace(-9.0, 9.0, 361)
    both = np.stack(np.meshgrid(e, e, indexing="ij"))
    density = np.exp(skewed.log_normal(both).sum(axis=0)) * (e[1] - e[0]) ** 2
    z = PHI[0] + np.exp(PHI[1]) * both
    log_w = skewed.log_gamma(z) - skewed.log_normal(z, *PHI)
    path_atoms, score_atoms = skewed.atoms(z, *PHI)
    return log_w, path_atoms, score_atoms, density


@EVERY
def test_two_particles_have_the_mean_of_their_score_form(pair, divergence):
    """Exactly, for the doubly reparametrised score and whatever the baseline; not for the path."""
    log_w, *rest = pair
    score = expectation(coefficients(log_w, divergence, path=False), *rest)
    raw = expectation(coefficients(log_w, divergence, path=False, baseline=False), *rest)
    twin = expectation(reparametrise_score(log_w, divergence), *rest)
    np.testing.assert_allclose(raw, score, rtol=0, atol=1e-12)
    np.testing.assert_allclose(twin, score, rtol=0, atol=1e-10 * np.abs(score).max())
    path = expectation(coefficients(log_w, divergence), *rest)
    assert np.abs(path - score).max() > 0.2 * np.abs(score).max()


# --- particles from anywhere ---------------------------------------------------------------------


@EVERY
@given(log_w=log_weights)
def test_off_policy_on_draws_from_the_proposal(divergence, log_w):
    for options in forms(divergence):
        found = off_policy(log_w, log_w, divergence, **{"baseline": True, **options})
        expected = coefficients(log_w, divergence, **options)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-12, atol=1e-300)


@EVERY
def test_off_policy_is_the_gradient_wherever_the_particles_are(divergence):
    """Particles on an even grid of the target's space, which no proposal has drawn."""
    log_w = skewed.log_gamma(skewed.Z)
    log_ratio = log_w - skewed.log_normal(skewed.Z, *PHI)
    path_atoms, score_atoms = skewed.atoms(skewed.Z, *PHI)
    truth = skewed.descent(divergence.f, *PHI)
    for options in forms(divergence):
        found = off_policy(
            log_w, log_ratio, divergence, log_evidence=skewed.log_evidence(), **options
        )
        direction = path_atoms @ found.path + score_atoms @ found.score
        np.testing.assert_allclose(direction, truth, rtol=0, atol=1e-10 * np.abs(truth).max())


def test_off_policy_kl_does_not_need_the_ratio():
    ratio = np.random.default_rng(1).normal(size=K) * 5
    for options in forms(KL())[::2]:
        found = off_policy(LOG_W, ratio, KL(), **options)
        np.testing.assert_allclose(found.path + found.score, WB, rtol=1e-13)


def test_off_policy_chi_square_needs_the_evidence_of_its_own_particles():
    """The negative twin: the mass per grid point in place of that of the target."""
    log_w = skewed.log_gamma(skewed.Z)
    log_ratio = log_w - skewed.log_normal(skewed.Z, *PHI)
    truth = skewed.descent(ChiSquare().f, *PHI)
    found = off_policy(log_w, log_ratio, ChiSquare())
    direction = skewed.atoms(skewed.Z, *PHI)[0] @ found.path
    assert np.abs(direction / truth - 1).min() > 0.5


def test_off_policy_particles_without_weight():
    log_w = np.array([0.4, -math.inf, 1.0])
    log_ratio = np.array([0.1, -math.inf, 2.0])
    for divergence in FINITE:
        for options in ({}, {"path": False}):
            found = off_policy(log_w, log_ratio, divergence, log_evidence=0.5, **options)
            alone = off_policy(log_w[::2], log_ratio[::2], divergence, log_evidence=0.5, **options)
            for a, b in zip(found, alone, strict=True):
                np.testing.assert_array_equal(a[::2], b)
                assert a[1] == 0.0
    with pytest.raises(ValueError, match=r"every particle must have weight .* log_w\[1\] is -inf"):
        off_policy(log_w, log_ratio, KL(), path=False, baseline=True)
    with pytest.raises(ValueError, match=r"log_w\[1\] is -inf"):
        off_policy(log_w, log_ratio, ExclusiveKL())
    with pytest.raises(ValueError, match=r"log_ratio\[0\] is -inf and log_w is not"):
        off_policy(log_w, np.array([-math.inf, 0.0, 0.0]), KL())
    with pytest.raises(ValueError, match="log_evidence must be finite"):
        off_policy(log_w, log_ratio, KL(), log_evidence=math.nan)


# --- edges ---------------------------------------------------------------------------------------


@ALSO_RANKS
def test_no_weight_at_all(divergence):
    log_w = np.full((4, 2), -math.inf)
    log_w[:, 1] = [0.0, 1.0, 2.0, 3.0]
    for options in forms(divergence):
        for found in (
            coefficients(log_w, divergence, **options),
            off_policy(log_w, log_w, divergence, **options),
            coefficients(log_w, divergence, log_v=np.zeros((4, 2)), **options),
        ):
            assert found.degenerate.tolist() == [True, False]
            assert found.log_evidence[0] == -math.inf
            assert found.ess[0] == 0.0 < found.ess[1]
            for a in (*found, found.weights):
                assert not a[:, 0].any()
                assert np.isfinite(a).all()
    alone = coefficients(log_w[:, 0], divergence)
    assert bool(alone.degenerate)
    assert not alone.path.any()


@pytest.mark.parametrize("divergence", FINITE, ids=repr)
def test_some_without_weight(divergence):
    log_w = np.array([0.0, -math.inf, 1.0])
    for options in forms(divergence):
        found = coefficients(log_w, divergence, **options)
        near = coefficients(np.array([0.0, -5000.0, 1.0]), divergence, **options)
        for a, b in zip(found, near, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
    assert coefficients(log_w, KL(), path=False).score[1] == pytest.approx(-1 / 3)


@pytest.mark.parametrize(
    "divergence", [ExclusiveKL(), Alpha(order=-1.0), Alpha(order=0.0), TailAdaptive()], ids=repr
)
def test_an_infinite_divergence_is_an_error(divergence):
    log_w = np.array([[0.0, 1.0], [2.0, -math.inf]])
    with pytest.raises(ValueError, match=r"infinite; log_w\[1, 1\] is -inf; use a score form"):
        coefficients(log_w, divergence)
    # Not where the particle has no weight to come in with.
    log_v = np.array([[0.0, 0.0], [0.0, -math.inf]])
    found = coefficients(log_w, divergence, log_v=log_v)
    assert found.path[1, 1] == 0.0
    assert np.isfinite(found.path).all()


def test_an_enormous_spread_of_weights():
    log_w = np.array([0.0, -1e5, -800.0, 2000.0, 1999.0])
    for divergence in F_DIVERGENCES:
        for options in forms(divergence):
            if divergence != Alpha(order=-0.3):  # whose coefficients are as enormous
                for a in coefficients(log_w, divergence, **options):
                    assert np.isfinite(a).all()
    y = np.array([0, 0, 0, 1, math.exp(-1)]) / (1 + math.exp(-1))
    np.testing.assert_allclose(coefficients(log_w, KL()).path, y, rtol=1e-13, atol=1e-300)


def test_one_minus_the_weight_keeps_its_digits():
    """The negative twin: 1 - W is zero to working precision, while it is exp(-60)."""
    log_w = np.array([0.0, -60.0, -61.0])
    rest = math.exp(-60.0) + math.exp(-61.0)
    found = reparametrise_score(log_w, KL()).path
    np.testing.assert_allclose(found[0], rest / (1 + rest) ** 2, rtol=1e-14, atol=0)
    w = np.exp(log_w) / np.exp(log_w).sum()
    assert (w - w**2)[0] == 0.0


@ALSO_RANKS
def test_columns_are_problems_of_their_own(divergence):
    log_w = np.random.default_rng(4).normal(size=(6, 3, 2)) * 2
    log_v = np.random.default_rng(5).normal(size=(6, 3, 2))
    for options in forms(divergence):
        for v in (None, log_v):
            found = coefficients(log_w, divergence, log_v=v, **options)
            assert found.log_evidence.shape == found.degenerate.shape == found.ess.shape == (3, 2)
            for index in np.ndindex(3, 2):
                column = (slice(None), *index)
                one = None if v is None else v[column]
                alone = coefficients(log_w[column], divergence, log_v=one, **options)
                for a, b in zip(found, alone, strict=True):
                    np.testing.assert_allclose(a[column], b, rtol=1e-13, atol=1e-16)


def test_arguments_are_left_alone():
    log_w, log_v = LOG_W.copy(), np.zeros(K)
    for divergence in (KL(), TailAdaptive()):
        coefficients(log_w, divergence, log_v=log_v)
    np.testing.assert_array_equal(log_w, LOG_W)
    assert not log_v.any()


@pytest.mark.parametrize(
    ("log_w", "error", "message"),
    [
        ([0.0, math.nan], ValueError, r"finite or -inf; log_w\[1\] is nan"),
        ([[0.0, 1.0], [math.inf, 0.0]], ValueError, r"log_w\[1, 0\] is inf"),
        ([], ValueError, r"at least one particle .* got shape \(0,\)"),
        (3.0, ValueError, r"got shape \(\)"),
        ([1j], TypeError, "real numbers, in nats; got dtype complex128"),
        (["a"], TypeError, "real numbers"),
    ],
)
def test_bad_weights_are_named(log_w, error, message):
    with pytest.raises(error, match=message):
        coefficients(log_w, KL())


def test_bad_companions_are_named():
    with pytest.raises(ValueError, match=r"log_v must have shape \(7,\).* got shape \(6,\)"):
        coefficients(LOG_W, KL(), log_v=np.zeros(6))
    with pytest.raises(ValueError, match=r"log_v\[2\] is nan"):
        coefficients(LOG_W, KL(), log_v=np.where(np.arange(K) == 2, math.nan, 0.0))
    with pytest.raises(ValueError, match=r"log_ratio must have shape \(7,\)"):
        off_policy(LOG_W, np.zeros((7, 1)), KL())
    with pytest.raises(ValueError, match="path coefficients only"):
        coefficients(LOG_W, TailAdaptive(), path=False)
