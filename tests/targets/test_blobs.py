from __future__ import annotations

import numba
import numpy as np
import pytest

from aisle_smc.targets import evaluator
from aisle_smc.targets.blobs import layout

NAMES = ("a", "b", "c")
PROBE = np.random.default_rng(1).normal(size=(6, 3))
THETA = np.random.default_rng(2).normal(size=(300, 3))
A = THETA[:, 0]


def blobs(function, theta=THETA):
    with evaluator(function, NAMES, PROBE) as evaluate:
        return evaluate.dialect, evaluate(theta).blobs


@numba.njit
def compiled_number(x):
    return -(x[0] ** 2), x[0]


@numba.njit
def compiled_tuple(x):
    return -(x[0] ** 2), (x[0], 2 * x[0])


@numba.njit
def compiled_several(a, b, c):
    return -(a**2), a > 0, np.array([b, c])


@pytest.mark.parametrize(
    ("function", "dialect"),
    [
        (compiled_number, "compiled"),
        (lambda x: (-np.sum(x**2, axis=-1), x[..., 0]), "vectorised"),
        (lambda x: (-np.sum(x**2), x[0]), "python"),
    ],
)
def test_one_number_is_a_plain_array(function, dialect):
    found = blobs(function)
    assert found[0] == dialect
    assert found[1].dtype == np.float64
    np.testing.assert_array_equal(found[1], A)


@pytest.mark.parametrize(
    ("function", "dialect"),
    [
        (compiled_tuple, "compiled"),
        (lambda x: (-np.sum(x**2, axis=-1), x[..., [0]] * [1, 2]), "vectorised"),
        (lambda x: (-np.sum(x**2), [x[0], 2 * x[0]]), "python"),
    ],
)
def test_an_array_keeps_its_shape(function, dialect):
    found = blobs(function)
    assert found[0] == dialect
    np.testing.assert_array_equal(found[1], np.stack([A, 2 * A], axis=1))


@pytest.mark.parametrize(
    ("function", "dialect"),
    [
        (compiled_several, "compiled"),
        (lambda x: (-np.sum(x**2, axis=-1), x[..., 0] > 0, x[..., 1:]), "vectorised"),
        (lambda x: (-np.sum(x**2), x[0] > 0, x[1:]), "python"),
    ],
)
def test_several_values_are_fields(function, dialect):
    found = blobs(function)
    assert found[0] == dialect
    assert found[1].shape == (300,)
    np.testing.assert_array_equal(found[1]["blob_0"], A > 0)
    np.testing.assert_array_equal(found[1]["blob_1"], THETA[:, 1:])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (-np.sum(x**2, axis=-1), {"first": x[..., 0], "rest": x[..., 1:]}),
        lambda x: (-np.sum(x**2), {"rest": x[1:], "first": x[0]}),
    ],
)
def test_a_dict_gives_names_to_fields(function):
    _, found = blobs(function)
    assert set(found.dtype.names) == {"first", "rest"}
    np.testing.assert_array_equal(found["first"], A)
    np.testing.assert_array_equal(found["rest"], THETA[:, 1:])


def test_other_objects_are_kept_as_they_are():
    _, found = blobs(lambda x: (-np.sum(x**2), {1: x[0]}))
    assert found.dtype == object
    assert found[7] == {1: A[7]}
    _, found = blobs(lambda x: (-np.sum(x**2), "text", [x[0]] * (1 + (x[0] > 0))))
    assert found["blob_0"][0] == "text"
    assert {len(each) for each in found["blob_1"]} == {1, 2}
    _, found = blobs(lambda x: (-np.sum(x**2), 1j * x[0]))
    np.testing.assert_array_equal(found, 1j * A)


def test_objects_of_a_batch():
    def f(x):
        return -np.sum(x**2, axis=1), [f"{a:.1f}" for a in x[:, 0]]

    dialect, found = blobs(f)
    assert dialect == "vectorised"
    assert found.tolist() == [f"{a:.1f}" for a in A]


def test_a_bare_minus_infinity_has_empty_blobs():
    def f(x):
        return -np.inf if x[0] < 0 else (-np.sum(x**2), x[0], "in")

    _, found = blobs(f)
    np.testing.assert_array_equal(found["blob_0"], np.where(A < 0, np.nan, A))
    assert {each for each in found["blob_1"]} == {None, "in"}


@pytest.mark.parametrize(
    ("later", "words"),
    [
        (lambda x: -1.0, "1 blobs beside the log-density, as at the first points"),
        (lambda x: (-1.0, 1.0, 2.0), "it returned 2 more"),
        (lambda x: (-1.0, [1.0, 2.0]), r"float64 \(\) as blob"),
        (lambda x: (-1.0, "text"), "it returned str"),
        (lambda x: (-1.0, 1j), "it returned complex128"),
    ],
)
def test_blobs_that_change_are_refused_with_the_point(later, words):
    def f(x):
        return later(x) if x[0] > 10 else (-np.sum(x**2), x[0])

    theta = THETA.copy()
    theta[123, 0] = 11.0
    with pytest.raises(ValueError, match=words) as caught:
        blobs(f, theta)
    assert "a = 11.0, b = " in str(caught.value)


def test_blobs_that_come_later_are_refused():
    with pytest.raises(ValueError, match="nothing beside the log-density"):
        blobs(lambda x: (-1.0, 2.0) if x[0] > 2 else -np.sum(x**2))


def test_layout_of_nothing():
    assert layout([(), ()]) is None
