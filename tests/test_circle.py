"""Periodic parameters: turning keeps the normal law, and the cut goes where nothing is."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from aisle_smc.normal_scores import Rotation, circular_columns, rotate, widest_gap
from aisle_smc.priors import Prior

shifts = st.floats(-3.0, 3.0)


@given(st.floats(-7.5, 7.5), shifts)
def test_turning_back_recovers_the_point(z, shift):
    turned = rotate([z], [shift])
    back = rotate(turned, [shift], inverse=True)
    # Rounding of u = Phi(z) by 1e-16 moves z by 1e-16 / phi(z); the cut itself has two sides.
    u, again = special.ndtr(z), special.ndtr(back[0])
    apart = abs(u - again)
    assert min(apart, 1.0 - apart) < 1e-15
    if abs(z) < 6.0:
        assert back[0] == pytest.approx(z, abs=1e-14 + 1e-15 * math.exp(0.5 * z * z))


@given(st.floats(allow_nan=False, allow_infinity=False), shifts)
def test_turning_is_finite_and_turns_u(z, shift):
    turned = rotate([z], [shift])[0]
    assert math.isfinite(turned)
    if shift != 0.0:
        assert abs(turned) < 9.0, "an outlier in z would weigh nothing under N(0, 1)"
    apart = (special.ndtr(turned) - special.ndtr(z) - shift) % 1.0
    assert min(apart, 1.0 - apart) < 1e-12


def test_a_shift_of_zero_leaves_every_bit():
    z = np.random.default_rng(0).normal(size=(50, 2)) * 20.0
    turned = rotate(z, [0.0, 0.3])
    np.testing.assert_array_equal(turned[:, 0], z[:, 0])
    assert not np.array_equal(turned[:, 1], z[:, 1])


def test_turning_keeps_the_standard_normal_distribution():
    z = np.random.default_rng(5).standard_normal((4000, 2))
    turned = rotate(z, [0.37, -0.2])
    for j in range(2):
        assert stats.kstest(turned[:, j], "norm").pvalue > 1e-3
    # The negative twin shifts z itself.
    assert stats.kstest(z[:, 0] + 0.37, "norm").pvalue < 1e-3


def test_the_jacobian_is_the_derivative_of_turning_back():
    rotation = Rotation(shifts=np.array([0.3, 0.0, -0.15]))
    turned, h = np.random.default_rng(1).normal(size=(30, 3)), 1e-6
    difference = (rotation.undo(turned + h) - rotation.undo(turned - h)) / (2 * h)
    smooth = np.abs(difference) < 100.0  # not across the cut
    assert smooth.sum() > 80
    np.testing.assert_allclose(rotation.jacobian(turned)[smooth], difference[smooth], rtol=1e-5)
    # A standard normal density changes by the same factor.
    change = stats.norm.pdf(rotation.undo(turned)) * rotation.jacobian(turned)
    np.testing.assert_allclose(change, stats.norm.pdf(turned), rtol=1e-12)


def angles(centre, spread, n, seed=3):
    """Scores of angles around a centre, in turns."""
    rng = np.random.default_rng(seed)
    return special.ndtri((centre + spread * rng.standard_normal(n)) % 1.0)


@pytest.mark.parametrize("centre", [0.0, 0.02, 0.5, 0.97])
def test_the_cut_goes_opposite_to_a_mode(centre):
    shift = widest_gap(angles(centre, 0.05, 2000))
    apart = (centre + shift - 0.5) % 1.0  # where the mode comes to lie, against the middle
    assert min(apart, 1.0 - apart) < 0.03


def test_a_mode_at_the_cut_is_whole_after_turning():
    z = angles(0.0, 0.03, 500)
    assert z.std() > 1.5
    rotation = Rotation.fit(z[:, None], None, [0])
    assert rotation.apply(z[:, None]).std() < 0.2


def test_two_modes_are_cut_in_the_wider_gap():
    z = np.concatenate([angles(0.9, 0.02, 400), angles(0.2, 0.02, 400, seed=4)])
    cut = -widest_gap(z) % 1.0
    assert cut == pytest.approx(0.55, abs=0.03)


def test_weights_decide_and_stray_points_do_not():
    u = np.concatenate([np.linspace(0.05, 0.25, 100), np.linspace(0.55, 0.75, 100)])
    w = np.repeat([1.0, 0.0], 100)
    assert -widest_gap(special.ndtri(u), w) % 1.0 == pytest.approx(0.65, abs=1e-2)
    w[100:] = 1e-4  # one per cent of the mass
    assert -widest_gap(special.ndtri(u), w) % 1.0 == pytest.approx(0.65, abs=1e-2)
    # The negative twin without a share for stray points cuts between the two groups.
    assert -widest_gap(special.ndtri(u), w, sparse=0.0) % 1.0 != pytest.approx(0.65, abs=1e-2)


@given(st.lists(st.floats(0.0, 1.0, exclude_min=True, exclude_max=True), min_size=1, max_size=20))
def test_the_gap_is_the_widest(u):
    cut = -widest_gap(special.ndtri(u), sparse=0.0) % 1.0
    u = np.sort(special.ndtr(special.ndtri(u)))
    gaps = np.diff(np.append(u, u[0] + 1.0))
    apart = np.abs((u - cut + 0.5) % 1.0 - 0.5)
    assert apart.min() == pytest.approx(0.5 * gaps.max(), abs=1e-12)


@pytest.mark.parametrize(
    ("z", "w"),
    [
        ([], None),
        ([0.0, 1.0], [0.0, 0.0]),
        ([0.0, 1.0], [-1.0, 2.0]),
        ([0.0, 1.0], [math.nan, 2.0]),
        ([0.0, 1.0], [1.0]),
        ([[0.0, 1.0]], None),
        ([math.nan], None),
    ],
)
def test_bad_weights_are_refused(z, w):
    with pytest.raises(ValueError, match="non-negative weights of shape"):
        widest_gap(z, w)


def test_only_bounded_free_parameters_are_circles():
    prior = Prior(
        {
            "phase": stats.uniform(0, 2 * math.pi),
            "mean": stats.norm(),
            "twin": "phase",
            "k": 2.0,
            "angle": stats.vonmises(2.0),
        }
    )
    assert circular_columns(prior.coordinates, ["angle", "phase"]).tolist() == [2, 0]
    assert circular_columns(prior.coordinates, "phase").tolist() == [0]
    assert circular_columns(prior.coordinates, []).tolist() == []
    with pytest.raises(ValueError, match=r"bounded support.*'mean' on \(-inf, inf\)"):
        circular_columns(prior.coordinates, ["mean"])
    for name in ("twin", "k", "nothing"):
        with pytest.raises(ValueError, match=f"phase, mean, angle; came '{name}'"):
            circular_columns(prior.coordinates, [name])


def test_a_rotation_is_pickled():
    rotation = Rotation(shifts=np.array([0.25]))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(rotation)).shifts, rotation.shifts)
