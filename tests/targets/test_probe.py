"""Functions of all kinds are told apart, and give the same values as the formula."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest

from aisle_smc.errors import BadDensity, TargetFailed
from aisle_smc.targets import Target, evaluator

NAMES = ("a", "b", "c")
PROBE = np.random.default_rng(1).normal(size=(12, 3))
THETA = np.random.default_rng(2).normal(size=(700, 3))
EXACT = -0.5 * (THETA[:, 0] ** 2 + 2 * THETA[:, 1] ** 2 + 3 * THETA[:, 2] ** 2)
SCALE = np.array([1.0, 2.0, 3.0])


@numba.njit
def compiled(x):
    return -0.5 * (x[0] ** 2 + 2 * x[1] ** 2 + 3 * x[2] ** 2)


@numba.njit
def compiled_names(c, a, b):
    return -0.5 * (a**2 + 2 * b**2 + 3 * c**2)


@numba.njit
def compiled_batch(x):
    return -0.5 * (x[:, 0] ** 2 + 2 * x[:, 1] ** 2 + 3 * x[:, 2] ** 2)


@numba.njit
def spoils_its_argument(x):
    x *= x
    return -0.5 * (x[0] + 2 * x[1] + 3 * x[2])


def vectorised(x):
    return -0.5 * np.sum(SCALE * x**2, axis=-1)


def vectorised_only(x):
    return -0.5 * (x[:, 0] ** 2 + 2 * x[:, 1] ** 2 + 3 * x[:, 2] ** 2)


def vectorised_names(b, a, c):
    return -0.5 * (a**2 + 2 * b**2 + 3 * c**2)


def column(x):
    return vectorised_only(x)[:, None]


def row(x):
    return -0.5 * np.sum(SCALE * x**2)


def row_names(a, b, c):
    if a > 1e9:
        return -math.inf
    return -0.5 * (a * a + 2 * b * b + 3 * c * c)


def row_list(x):
    a, b, c = x
    return [-0.5 * (a * a + 2 * b * b + 3 * c * c)]


@pytest.mark.parametrize(
    ("function", "dialect"),
    [
        (compiled, "compiled"),
        (compiled_names, "compiled"),
        (spoils_its_argument, "compiled"),
        (compiled_batch, "vectorised"),
        (vectorised, "vectorised"),
        (vectorised_only, "vectorised"),
        (vectorised_names, "vectorised"),
        (column, "vectorised"),
        (row, "python"),
        (row_names, "python"),
        (row_list, "python"),
    ],
)
def test_every_dialect_gives_the_values_of_the_formula(function, dialect):
    theta = THETA.copy()
    with evaluator(function, NAMES, PROBE) as evaluate:
        found = evaluate(theta)
        assert evaluate.dialect == dialect
        assert dialect in evaluate.describe()
        np.testing.assert_allclose(found.log_density, EXACT, rtol=1e-12)
        assert found.blobs is None
        assert found.gradients is None
        assert (theta == THETA).all()
        assert evaluate(np.empty((0, 3))).log_density.shape == (0,)
        assert evaluate.calls == 700
        assert evaluate.seconds > 0


@numba.njit
def with_words(x):
    return -0.5 * (x[0] ** 2 + 2 * x[1] ** 2 + 3 * x[2] ** 2), "left" if x[0] < 0 else "right"


def test_a_compiled_function_that_no_loop_can_store_is_noted():
    with evaluator(with_words, NAMES, PROBE, workers=1) as evaluate:
        assert evaluate.dialect == "python"
        assert evaluate.note.startswith("the Numba function is called from Python for each point")
        np.testing.assert_allclose(evaluate(THETA).log_density, EXACT, rtol=1e-12)
    with evaluator(compiled, NAMES, PROBE) as evaluate:
        assert evaluate.note == ""


@pytest.mark.parametrize("n", [2, 3, 4])
def test_as_many_points_as_parameters_confuse_nothing(n):
    def sum_over_points(x):  # of a batch: one number for each parameter
        return -np.sum(x, axis=0)

    probe = PROBE[:n]
    with evaluator(sum_over_points, NAMES, probe) as evaluate:
        assert evaluate.dialect == "python"
        np.testing.assert_allclose(evaluate(THETA[:3]).log_density, -THETA[:3].sum(axis=1))


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_components_by_index_are_a_function_of_one_point(k):
    names = [f"x{j}" for j in range(k)]
    probe = np.random.default_rng(3).normal(size=(9, k))
    with evaluator(lambda x: -(x[0] ** 2) - x[k - 1], names, probe) as evaluate:
        assert evaluate.dialect == "python"
        np.testing.assert_allclose(
            evaluate(probe[:k]).log_density, -(probe[:k, 0] ** 2) - probe[:k, -1]
        )


def test_a_batch_of_one_point_may_be_squeezed():
    with evaluator(lambda x: np.squeeze(vectorised_only(x)), NAMES, PROBE) as evaluate:
        assert evaluate.dialect == "vectorised"
        np.testing.assert_allclose(evaluate(THETA[:257]).log_density, EXACT[:257])


def test_a_numba_function_that_does_not_compile_says_why():
    def helper(x):
        return x

    @numba.njit
    def f(x):
        return helper(x[0])

    with pytest.raises(TargetFailed, match="it raised TypingError: ") as c:
        evaluator(f, NAMES, PROBE)
    assert len(str(c.value).splitlines()) == 3
    assert type(c.value.__cause__).__name__ == "TypingError"


def test_a_sum_over_everything_is_a_function_of_one_point():
    with evaluator(lambda x: -np.sum(x**2), NAMES, PROBE) as evaluate:
        assert evaluate.dialect == "python"


def test_a_function_of_one_point_that_gives_something_for_a_batch_is_seen():
    # For a batch: centred over points, not over parameters.
    def centred(x):
        return -np.sum((x - x.mean(axis=0)) ** 2, axis=-1) - x[..., 0]

    with evaluator(centred, NAMES, PROBE) as evaluate:
        assert evaluate.dialect == "python"
        spread = THETA - THETA.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(
            evaluate(THETA).log_density, -(spread**2).sum(axis=1) - THETA[:, 0]
        )


def test_points_outside_the_support_do_not_decide():
    # The first points have no density; as a batch they would give -inf as well.
    def f(x):
        if np.any(x[..., 0] < 0.0):
            return np.full(x.shape[:-1], -np.inf)
        return -np.sum(x**2, axis=-1)

    probe = PROBE[np.argsort(PROBE[:, 0])]
    assert (probe[:3, 0] < 0).all()
    with evaluator(f, NAMES, probe) as evaluate:
        found = evaluate(THETA)
    expected = np.where(THETA[:, 0] < 0, -np.inf, -np.sum(THETA**2, axis=1))
    np.testing.assert_allclose(found.log_density, expected)


def test_a_way_out_meant_for_one_point_does_not_break_a_batch():
    def f(x):
        if np.any(np.abs(x) > 2.5):
            return -np.inf
        return -np.sum(x**2, axis=-1)

    probe = np.clip(PROBE, -2.0, 2.0)
    expected = np.where((np.abs(THETA) > 2.5).any(axis=1), -np.inf, -np.sum(THETA**2, axis=1))
    assert np.isinf(expected).sum() > 5
    with evaluator(f, NAMES, probe) as evaluate:
        assert evaluate.dialect == "vectorised"
        np.testing.assert_allclose(evaluate(THETA).log_density, expected)


def test_a_batch_whose_points_depend_on_each_other_is_refused():
    def f(x):
        return -np.sum((x[:, 1:] - x[:, 1:].mean(axis=0)) ** 2, axis=1)

    with pytest.raises(ValueError, match="owes nothing to the others"):
        evaluator(f, NAMES, PROBE)


def test_saying_so_decides():
    def f(x):
        return -np.sum(x**2, axis=-1)

    assert evaluator(f, NAMES, PROBE).dialect == "vectorised"
    assert evaluator(f, NAMES, PROBE, vectorized=False).dialect == "python"
    assert evaluator(Target(f, vectorized=False), NAMES, PROBE).dialect == "python"
    assert evaluator(Target(f, vectorized=False), NAMES, PROBE, vectorized=True).dialect == (
        "vectorised"
    )
    with pytest.raises(ValueError, match=r"must return log-densities of shape \(4,\)"):
        evaluator(row, NAMES, PROBE, vectorized=True)
    with pytest.raises(TargetFailed, match="IndexError"):
        evaluator(vectorised_only, NAMES, PROBE, vectorized=False)


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda x: None, TypeError, "one real number as log-density; it returned nothing"),
        (lambda x: "1", TypeError, "it returned str '1'"),
        (lambda x: 1j * x[0], TypeError, "one real number as log-density; it returned complex "),
        (lambda x: x.astype(object), TypeError, r"ndarray of object, shape \(3,\)"),
        (lambda x: x, ValueError, r"one number as log-density; .*float64, shape \(3,\)"),
        (lambda x: np.sum(x, axis=1)[0], ValueError, r"log-densities of shape \(4,\), one for"),
        (lambda x: {"log_p": 1.0}, TypeError, "it returned dict"),
        (lambda x: (), ValueError, "it returned tuple"),
        (lambda x: 1 / 0, TargetFailed, "ZeroDivisionError: division by zero"),
        (lambda x: math.nan, BadDensity, "it returned nan at a = "),
        (lambda x: math.inf, BadDensity, "a number or -inf as log-density; it returned inf at a"),
    ],
)
def test_what_cannot_be_a_log_density_is_refused_at_once(function, error, words):
    with pytest.raises(error, match=words) as caught:
        evaluator(function, NAMES, PROBE)
    assert "test_probe.py" in str(caught.value)
    assert "a = 0.3455841" in str(caught.value) or error is ValueError


def test_arguments_of_the_evaluator_are_checked():
    with pytest.raises(ValueError, match="two different points or more; got 2 points"):
        evaluator(row, NAMES, np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"shape \(n, 3\), a column for each of a, b, c; got"):
        evaluator(row, NAMES, np.zeros((2, 2)))
    with pytest.raises(TypeError, match="real numbers; got complex128"):
        evaluator(row, NAMES, np.zeros((2, 3), dtype=complex))
    with pytest.raises(TypeError, match="sequence of strings"):
        evaluator(row, "abc", PROBE)
    with pytest.raises(ValueError, match="differ from each other"):
        evaluator(row, ["a", "a", "b"], PROBE)
    with pytest.raises(ValueError, match="workers must be at least 1"):
        evaluator(row, NAMES, PROBE, workers=0)
    with pytest.raises(TypeError, match="function of a target must be callable; got float"):
        evaluator(1.0, NAMES, PROBE)
    with pytest.raises(TypeError, match="vectorized must be True"):
        Target(row, vectorized="yes")
    with pytest.raises(ValueError, match="both came; leave one out"):
        Target(row, gradient=row, value_and_gradient=row)
    evaluate = evaluator(row, NAMES, PROBE)
    with pytest.raises(ValueError, match=r"got shape \(3,\)"):
        evaluate(THETA[0])
    with pytest.raises(TypeError, match="gradients need a target with a gradient"):
        evaluate.with_gradients(THETA)


def test_a_numba_function_that_no_loop_can_hold_is_called_from_python():
    @numba.njit
    def f(x):
        return -(x[0] ** 2), "positive" if x[0] > 0 else "negative"

    with evaluator(f, NAMES, PROBE) as evaluate:
        found = evaluate(THETA[:5])
    assert evaluate.dialect == "python"
    assert found.blobs.tolist() == ["positive" if x > 0 else "negative" for x in THETA[:5, 0]]
