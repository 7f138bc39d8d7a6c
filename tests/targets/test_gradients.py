from __future__ import annotations

import numba
import numpy as np
import pytest

from aisle_smc.errors import BadDensity, TargetFailed
from aisle_smc.targets import Target, evaluator

NAMES = ("a", "b", "c")
PROBE = np.random.default_rng(1).normal(size=(6, 3))
THETA = np.random.default_rng(2).normal(size=(300, 3))
SCALE = np.array([1.0, 2.0, 3.0])
VALUES = -0.5 * THETA**2 @ SCALE
SLOPES = -THETA * SCALE


@numba.njit
def compiled(x):
    return -0.5 * (x[0] ** 2 + 2 * x[1] ** 2 + 3 * x[2] ** 2)


@numba.njit
def compiled_gradient(x):
    return -np.array([x[0], 2 * x[1], 3 * x[2]])


@numba.njit
def compiled_tuple(c, b, a):
    return -a, -2 * b, -3 * c


@numba.njit
def compiled_both(x):
    return compiled(x), compiled_gradient(x), x[0]


@numba.njit
def compiled_blob(x):
    return compiled(x), x[0]


def vectorised(x):
    return -0.5 * np.sum(SCALE * x**2, axis=-1)


def row(x):
    return -0.5 * float(np.sum(SCALE * x**2))


@pytest.mark.parametrize(
    "target",
    [
        Target(compiled, gradient=compiled_gradient),
        Target(compiled, gradient=compiled_tuple),
        Target(compiled_blob, value_and_gradient=compiled_both),
        Target(vectorised, gradient=lambda x: -SCALE * x),
        Target(vectorised, gradient=lambda a, b, c: (-a, -2 * b, -3 * c)),
        Target(vectorised, value_and_gradient=lambda x: (vectorised(x), -SCALE * x)),
        Target(row, gradient=lambda x: [-x[0], -2 * x[1], -3 * x[2]]),
        Target(row, value_and_gradient=lambda x: (row(x), -SCALE * x)),
        Target(row, gradient=compiled_gradient),
        Target(compiled, gradient=lambda x: -SCALE * x),
    ],
)
def test_gradients_of_every_dialect(target):
    with evaluator(target, NAMES, PROBE) as evaluate:
        assert evaluate.has_gradients
        found = evaluate.with_gradients(THETA)
        np.testing.assert_allclose(found.log_density, VALUES, rtol=1e-12)
        np.testing.assert_allclose(found.gradients, SLOPES, rtol=1e-12)
        assert evaluate(THETA).gradients is None
        assert evaluate.calls == 600
        if found.blobs is not None:
            np.testing.assert_array_equal(found.blobs, THETA[:, 0])


@pytest.mark.parametrize(
    ("gradient", "parameter"),
    [
        (lambda x: SCALE * x, "a"),
        (lambda x: -SCALE * x * [1, 1, -1], "c"),
        (lambda x: -SCALE * x * [1, 2, 1], "b"),
        (lambda x: -SCALE[::-1] * x[..., ::-1], "a"),
        (lambda x: np.zeros_like(x), "a"),
    ],
)
def test_a_wrong_sign_scale_or_order_is_found(gradient, parameter):
    with pytest.raises(ValueError, match=f"for parameter {parameter} it returned"):
        evaluator(Target(vectorised, gradient=gradient), NAMES, PROBE)


def test_a_gradient_is_not_accused_without_evidence():
    # Kinks, plateaus, an edge of the support, huge values, a noise of single precision.
    def accepted(function, gradient, probe=PROBE):
        evaluator(Target(function, gradient=gradient), NAMES, probe).close()

    accepted(lambda x: -np.sum(np.abs(x), axis=-1), lambda x: -np.sign(x))
    accepted(lambda x: -1e9 - np.sum(x, axis=-1), lambda x: -np.ones_like(x))
    accepted(lambda x: -np.sum(x**2, axis=-1).astype(np.float32).astype(float), lambda x: -2 * x)
    edge = np.abs(PROBE)
    edge[:, 0] = [1e-300, 1e-12, 1e-5, 1e-3, 0.1, 1.0]

    def inside(x):
        with np.errstate(all="ignore"):
            return np.where((x > 0).all(axis=-1), -np.sum(np.log(x), axis=-1), -np.inf)

    accepted(inside, lambda x: -1 / x, edge)


def test_a_long_gradient_is_looked_at_in_part():
    k = 300
    names = [f"x{j}" for j in range(k)]
    probe = np.random.default_rng(5).normal(size=(4, k))
    counted = []

    def f(x):
        counted.append(x.shape[0])
        return -0.5 * np.sum(x**2, axis=1)

    evaluator(Target(f, gradient=lambda x: -x, vectorized=True), names, probe).close()
    assert sum(counted) < 500
    with pytest.raises(ValueError, match="for parameter x0 it returned"):
        evaluator(Target(f, gradient=lambda x: x, vectorized=True), names, probe)


def test_gradients_outside_the_support_are_zero():
    def f(x):
        return np.where(x[..., 0] < -5, -np.inf, vectorised(x))

    def gradient(x):
        return np.where(x[..., :1] < -5, np.nan, -SCALE * x)

    theta = THETA.copy()
    theta[7, 0] = -6.0
    with evaluator(Target(f, gradient=gradient), NAMES, PROBE) as evaluate:
        found = evaluate.with_gradients(theta)
    assert found.log_density[7] == -np.inf
    assert (found.gradients[7] == 0).all()
    assert np.isfinite(found.gradients).all()


def test_a_gradient_that_is_not_finite_names_parameter_and_point():
    def gradient(x):
        return np.where(np.abs(x) > 5, np.inf, -SCALE * x)

    theta = THETA.copy()
    theta[250, 2] = 6.0
    with (
        evaluator(Target(vectorised, gradient=gradient), NAMES, PROBE) as evaluate,
        pytest.raises(
            BadDensity, match=r"a finite gradient for parameter c; .* c = 6.0"
        ) as caught,
    ):
        evaluate.with_gradients(theta)
    assert "gradient (" in str(caught.value)
    assert caught.value.value == np.inf
    assert caught.value.point["c"] == 6.0


def test_an_exception_in_a_gradient_names_the_gradient():
    def slope(x):
        if abs(x[0]) > 5:
            raise OverflowError("too far")
        return -SCALE * x

    theta = THETA.copy()
    theta[50, 0] = 6.0
    with (
        evaluator(Target(row, gradient=slope), NAMES, PROBE) as evaluate,
        pytest.raises(TargetFailed, match=r"slope .* failed at a = 6.0.*OverflowError: too far"),
    ):
        evaluate.with_gradients(theta)


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        (Target(row, gradient=lambda x: 1.0), ValueError, r"a gradient of shape \(3,\), in the"),
        (Target(row, gradient=lambda x: None), TypeError, "it returned nothing"),
        (Target(row, gradient=lambda x: 1j * x), TypeError, "it returned ndarray of complex128"),
        (
            Target(row, value_and_gradient=lambda x: -x),
            TypeError,
            r"\(log_density, gradient\); it",
        ),
        (Target(row, value_and_gradient=lambda x: (0.0, -SCALE * x)), ValueError, "the values of"),
        (
            Target(row, value_and_gradient=lambda x: (row(x), -SCALE * x, 1.0)),
            ValueError,
            "the same blobs",
        ),
    ],
)
def test_what_is_no_gradient_is_refused(target, error, words):
    with pytest.raises(error, match=words):
        evaluator(target, NAMES, PROBE)
