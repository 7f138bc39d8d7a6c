"""The divergences as functions of the log-ratio: each against its own definition."""

from __future__ import annotations

import math
import pickle

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
)

LOG_Y = np.array([-9.0, -2.0, -0.7, -1e-3, 0.0, 1e-5, 0.4, 1.0, 3.0])
ZERO = np.zeros_like(LOG_Y)  # log v: every weight of a draw is 1

# f, f' and f'' as one writes them down.
WRITTEN = {
    KL(): (lambda y: y * np.log(y) - y + 1, np.log, lambda y: 1 / y),
    ChiSquare(): (lambda y: (y - 1) ** 2, lambda y: 2 * (y - 1), lambda y: 2 + 0 * y),
    ExclusiveKL(): (lambda y: y - 1 - np.log(y), lambda y: 1 - 1 / y, lambda y: 1 / y**2),
    Hellinger(): (
        lambda y: (np.sqrt(y) - 1) ** 2 / 2,
        lambda y: (1 - 1 / np.sqrt(y)) / 2,
        lambda y: y**-1.5 / 4,
    ),
    JensenShannon(): (
        lambda y: (y * np.log(2 * y / (1 + y)) + np.log(2 / (1 + y))) / 2,
        lambda y: np.log(2 * y / (1 + y)) / 2,
        lambda y: 1 / (2 * y * (1 + y)),
    ),
}
for _a in (-1.5, -0.3, 0.25, 0.5, 0.75, 1.5, 2.0, 3.0):
    WRITTEN[Alpha(order=_a)] = (
        lambda y, a=_a: (y**a - 1 - a * (y - 1)) / (a * (a - 1)),
        lambda y, a=_a: (y ** (a - 1) - 1) / (a - 1),
        lambda y, a=_a: y ** (a - 2),
    )
EVERY = pytest.mark.parametrize("divergence", WRITTEN, ids=repr)


@EVERY
def test_function_path_and_score_are_those_written_down(divergence):
    f, first, second = WRITTEN[divergence]
    y = np.exp(LOG_Y)
    np.testing.assert_allclose(divergence.f(LOG_Y), f(y), rtol=1e-12, atol=2e-15)
    np.testing.assert_allclose(divergence.path(LOG_Y, ZERO), y**2 * second(y), rtol=1e-13)
    h = y * first(y) - f(y)
    found = divergence.score(LOG_Y, ZERO, baseline=True)
    np.testing.assert_allclose(found, h, rtol=1e-12, atol=2e-15)


@EVERY
def test_first_derivative_of_f_and_of_h(divergence):
    """f' = (f + h) / y by central differences in y, and y h' is the path."""
    step = 1e-4
    y = np.exp(LOG_Y)
    up, down = np.log(y * (1 + step)), np.log(y * (1 - step))
    slope = (divergence.f(up) - divergence.f(down)) / (2 * step)
    h = divergence.score(LOG_Y, ZERO, baseline=True)
    np.testing.assert_allclose(slope, divergence.f(LOG_Y) + h, rtol=1e-5, atol=1e-7)
    for baseline in (True, False):
        rise = divergence.score(up, ZERO, baseline=baseline)
        rise = (rise - divergence.score(down, ZERO, baseline=baseline)) / (2 * step)
        np.testing.assert_allclose(rise, divergence.path(LOG_Y, ZERO), rtol=1e-5, atol=1e-7)


@EVERY
def test_normalised_at_one(divergence):
    one = np.zeros(1)
    assert divergence.f(one) == 0.0
    assert divergence.score(one, one, baseline=True) == 0.0


@EVERY
def test_zero_is_a_limit_and_never_nan(divergence):
    zero = np.array([-math.inf])
    assert (divergence.f(zero) < math.inf).all() == divergence.finite_at_zero
    if divergence.finite_at_zero:
        near = np.array([-600.0])
        assert divergence.f(zero) == pytest.approx(divergence.f(near), abs=1e-12)
        assert divergence.path(zero, ZERO[:1]) == 0.0
        assert divergence.score(zero, ZERO[:1], baseline=False) == 0.0
        found = divergence.score(zero, ZERO[:1], baseline=True)
        assert found == pytest.approx(-divergence.f(zero), rel=1e-12)


@EVERY
def test_general_is_the_named_one(divergence):
    f, first, second = WRITTEN[divergence]
    general = General(
        function=lambda y: f(y) + 3.0 * (y - 1) + 0.7,  # neither changes the divergence
        first=lambda y: first(y) + 3.0,
        second=second,
    )
    found = general.score(LOG_Y, ZERO, baseline=True)
    expected = divergence.score(LOG_Y, ZERO, baseline=True)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(general.f(LOG_Y), divergence.f(LOG_Y), rtol=1e-11, atol=5e-14)
    np.testing.assert_allclose(
        general.path(LOG_Y, ZERO), divergence.path(LOG_Y, ZERO), rtol=1e-12, atol=1e-300
    )
    raw = general.score(LOG_Y, ZERO, baseline=False)
    np.testing.assert_allclose(raw, found + 3.0 - 0.7, rtol=1e-12)


# --- the power family ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "order", "scale"),
    [(ExclusiveKL(), 0.0, 1.0), (Hellinger(), 0.5, 0.25), (KL(), 1.0, 1.0), (ChiSquare(), 2.0, 2)],
    ids=repr,
)
def test_named_members_are_multiples_of_alpha(named, order, scale):
    alpha = Alpha(order=order)
    assert named.order == order
    np.testing.assert_allclose(named.f(LOG_Y), scale * alpha.f(LOG_Y), rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(named.path(LOG_Y, ZERO), scale * alpha.path(LOG_Y, ZERO))
    for baseline in (True, False):
        np.testing.assert_array_equal(
            named.score(LOG_Y, ZERO, baseline=baseline),
            scale * alpha.score(LOG_Y, ZERO, baseline=baseline),
        )


@pytest.mark.parametrize(("limit", "order"), [(ExclusiveKL(), 0.0), (KL(), 1.0)], ids=repr)
@pytest.mark.parametrize("distance", [1e-6, -1e-6, 1e-12, -1e-12])
def test_limits_of_the_order(limit, order, distance):
    """As far from the limit as it should be, and not further: nothing cancels on the way."""
    alpha = Alpha(order=order + distance)
    for found, exact in (
        (alpha.f(LOG_Y), limit.f(LOG_Y)),
        (alpha.path(LOG_Y, ZERO), limit.path(LOG_Y, ZERO)),
        (
            alpha.score(LOG_Y, ZERO, baseline=True),
            limit.score(LOG_Y, ZERO, baseline=True),
        ),
    ):
        np.testing.assert_allclose(found, exact, rtol=12 * abs(distance) + 1e-13, atol=1e-15)
        if abs(distance) == 1e-6:
            assert np.abs(found / np.where(exact == 0, 1, exact) - 1)[0] > 1e-7


def test_the_textbook_formula_cancels_where_ours_does_not():
    y, a = np.exp(LOG_Y), 1.0 + 1e-13
    textbook = (y**a - 1 - a * (y - 1)) / (a * (a - 1))
    assert np.abs(textbook - KL().f(LOG_Y)).max() > 1e-4
    assert np.abs(Alpha(order=a).f(LOG_Y) - KL().f(LOG_Y)).max() < 1e-10


def test_powers_do_not_overflow_before_the_weight_makes_them_small():
    log_y = np.array([800.0, 3.0])
    log_v = np.array([-1590.0, -1.0])
    for divergence in (ChiSquare(), Alpha(order=2.0)):
        scale = 2.0 if divergence == ChiSquare() else 1.0
        assert divergence.path(log_y, log_v)[0] == pytest.approx(scale * math.exp(10.0), rel=1e-12)
        found = divergence.score(log_y, log_v, baseline=True)[0]
        assert found == pytest.approx(scale * math.exp(10.0) / 2, rel=1e-12)


@pytest.mark.parametrize("order", [math.nan, math.inf, -math.inf])
def test_order_is_finite(order):
    with pytest.raises(ValueError, match="order must be a finite number"):
        Alpha(order=order)


def test_values_are_values():
    assert Alpha(order=0.5) == Alpha(order=0.5) != Alpha(order=0.6)
    assert len({KL(), KL(), ChiSquare()}) == 2
    with pytest.raises(AttributeError):
        Alpha(order=0.5).order = 1.0
    for divergence in (*WRITTEN, TailAdaptive()):
        assert pickle.loads(pickle.dumps(divergence)) == divergence


# --- the tail-adaptive one -----------------------------------------------------------------------

PYRO = np.array([3.0, 1.0, 2.0, -1.0, 0.5])
PAPER = [0.438, 0.146, 0.219, 0.088, 0.109]


def even(n):
    return np.full(n, -math.log(n))


def test_ranks_of_the_paper():
    np.testing.assert_allclose(TailAdaptive().path(PYRO, even(5)), PAPER, atol=5e-4)


def test_sorted_positions_are_not_ranks():
    """The negative twin: argsort + 1 in place of the rank, as one library has it."""
    wrong = 1.0 / (np.argsort(PYRO) + 1.0)
    wrong /= wrong.sum()
    np.testing.assert_allclose(wrong, [0.109, 0.088, 0.219, 0.146, 0.438], atol=5e-4)
    assert np.abs(wrong - PAPER).max() > 0.3


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.sampled_from([-1.0, -0.5, -2.0]))
def test_ranks_with_ties_are_counts(values, power):
    log_y = np.array(values, dtype=float)
    n = log_y.size
    t = np.array([(log_y >= x).sum() / n for x in log_y])
    expected = t**power / (t**power).sum()
    found = TailAdaptive(power=power).path(log_y, even(n))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found.sum() == pytest.approx(1.0, rel=1e-12)


def test_ranks_are_weighted_by_the_incoming_weights():
    log_y = np.array([0.3, 2.0, 0.3, -1.0, 5.0])
    v = np.array([0.2, 0.1, 0.3, 0.4, 0.0])
    with np.errstate(divide="ignore"):
        found = TailAdaptive().path(log_y, np.log(v))
    t = np.array([v[log_y >= x].sum() for x in log_y])
    expected = np.where(v > 0, v / np.where(v > 0, t, 1), 0)
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-13)


def test_columns_are_ranked_by_themselves():
    log_y = np.random.default_rng(2).integers(-2, 3, size=(7, 3, 2)).astype(float)
    log_v = np.full(log_y.shape, -math.log(7.0))
    found = TailAdaptive().path(log_y, log_v)
    for index in np.ndindex(3, 2):
        column = (slice(None), *index)
        alone = TailAdaptive().path(log_y[column], even(7))
        np.testing.assert_array_equal(found[column], alone)


@pytest.mark.parametrize("power", [0.0, 1.0, math.nan, -math.inf])
def test_power_is_negative(power):
    with pytest.raises(ValueError, match="power must be a negative number"):
        TailAdaptive(power=power)


def test_tail_adaptive_has_no_score():
    with pytest.raises(ValueError, match="path coefficients only"):
        TailAdaptive().score(PYRO, even(5), baseline=True)
