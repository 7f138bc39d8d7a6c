from __future__ import annotations

import numpy as np
import pytest

from aisle_smc.errors import BadDensity, TargetFailed
from aisle_smc.targets import Target, evaluator

torch = pytest.importorskip("torch")

NAMES = ("a", "b", "c")
PROBE = np.random.default_rng(1).normal(size=(6, 3))
THETA = np.random.default_rng(2).normal(size=(600, 3))
SCALE = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
VALUES = -0.5 * THETA**2 @ SCALE.numpy()
SLOPES = -THETA * SCALE.numpy()


def batch(x):
    return -0.5 * (SCALE * x**2).sum(-1)


def batch_only(x):
    return -0.5 * torch.einsum("ni,i->n", x**2, SCALE)


def row(x):
    return -0.5 * torch.dot(SCALE * x, x)


def by_name(c, a, b):
    return -0.5 * (a**2 + 2 * b**2 + 3 * c**2) + torch.zeros(())


def imports_itself(x):
    import torch

    return -0.5 * torch.sum(SCALE * x**2, dim=-1)


class Normal:
    def __init__(self):
        self.scale = SCALE

    def log_prob(self, x):
        return -0.5 * (self.scale * x**2).sum(-1)

    def __call__(self, x):
        return self.log_prob(x)


class Module(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(SCALE.clone())

    def forward(self, x):
        return -0.5 * (self.scale * x**2).sum(-1)


@pytest.mark.parametrize(
    "function",
    [
        batch,
        batch_only,
        row,
        by_name,
        imports_itself,
        Normal(),
        Normal().log_prob,
        Module(),
        lambda x: batch(x),
    ],
)
def test_functions_of_tensors_and_their_gradients(function):
    with evaluator(function, NAMES, PROBE) as evaluate:
        assert evaluate.dialect == "torch"
        assert evaluate.has_gradients
        np.testing.assert_allclose(evaluate(THETA).log_density, VALUES, rtol=1e-12)
        found = evaluate.with_gradients(THETA)
        np.testing.assert_allclose(found.log_density, VALUES, rtol=1e-12)
        np.testing.assert_allclose(found.gradients, SLOPES, rtol=1e-12)


def test_a_distribution_of_torch():
    # Single precision inside is promoted; what comes back has its precision.
    normal = torch.distributions.MultivariateNormal(
        torch.zeros(3, dtype=torch.float64), torch.diag(1 / SCALE)
    )
    constant = 1.5 * np.log(2 * np.pi) - 0.5 * np.log(6.0)
    with evaluator(normal.log_prob, NAMES, PROBE) as evaluate:
        assert evaluate.dialect == "torch"
        np.testing.assert_allclose(evaluate(THETA).log_density, VALUES - constant, rtol=1e-10)


def test_a_numpy_function_stays_one_while_torch_is_loaded():
    with evaluator(lambda x: -np.sum(x**2, axis=-1), NAMES, PROBE) as evaluate:
        assert evaluate.dialect == "vectorised"


def test_a_function_that_turns_numpy_into_tensors_itself():
    def f(x):
        if not isinstance(x, np.ndarray):
            raise TypeError("arrays only")
        return float(batch(torch.as_tensor(x)))

    with evaluator(f, NAMES, PROBE) as evaluate:
        assert evaluate.dialect == "python"
        np.testing.assert_allclose(evaluate(THETA[:9]).log_density, VALUES[:9], rtol=1e-12)


def test_values_without_a_graph_have_no_gradient():
    with evaluator(lambda x: batch(x.detach()), NAMES, PROBE) as evaluate:
        assert evaluate.dialect == "torch"
        assert not evaluate.has_gradients
        assert "has no gradient" in evaluate.note
        np.testing.assert_allclose(evaluate(THETA).log_density, VALUES, rtol=1e-12)


def test_a_graph_that_misses_a_part_is_found():
    with pytest.raises(ValueError, match="for parameter a it returned"):
        evaluator(lambda x: batch(x) - 3 * x[..., 0].detach() ** 2, NAMES, PROBE)


def test_an_own_gradient_takes_the_place_of_autograd():
    called = []

    def gradient(x):
        called.append(x.shape)
        return -SCALE * x

    with evaluator(Target(batch, gradient=gradient), NAMES, PROBE) as evaluate:
        called.clear()
        found = evaluate.with_gradients(THETA)
    np.testing.assert_allclose(found.gradients, SLOPES)
    assert called == [(256, 3), (256, 3), (88, 3)]


def test_blobs_of_tensors():
    with evaluator(lambda x: (batch(x), x[..., 0], {"no": 1}), NAMES, PROBE) as evaluate:
        found = evaluate.with_gradients(THETA)
        assert evaluate.dialect == "torch"
    np.testing.assert_array_equal(found.blobs["blob_0"], THETA[:, 0])
    with evaluator(lambda x: (batch(x), {"a": x[..., 0]}), NAMES, PROBE) as evaluate:
        found = evaluate.with_gradients(THETA)
    np.testing.assert_array_equal(found.blobs["a"], THETA[:, 0])
    np.testing.assert_allclose(found.gradients, SLOPES)


def test_minus_infinity_has_gradient_zero():
    def f(x):
        return torch.where(x[..., 0] < 0, -torch.inf, batch(x) + torch.log(x[..., 0].abs()))

    with evaluator(f, NAMES, np.abs(PROBE)) as evaluate:
        found = evaluate.with_gradients(THETA)
    out = THETA[:, 0] < 0
    assert (found.log_density[out] == -np.inf).all()
    assert (found.gradients[out] == 0).all()
    assert np.isfinite(found.gradients).all()


def test_faults_name_the_point():
    def f(x):
        if bool((x[..., 0] > 10).any()):
            raise RuntimeError("too far")
        return batch(x) + torch.where(x[..., 0] < -10, torch.nan, 0.0)

    theta = THETA.copy()
    theta[300, 0] = 11.0
    with evaluator(f, NAMES, PROBE) as evaluate:
        for call in (evaluate, evaluate.with_gradients):
            with pytest.raises(TargetFailed, match=r"failed at a = 11.0, .*RuntimeError: too far"):
                call(theta)
            theta[300, 0] = -11.0
            with pytest.raises(BadDensity, match=r"returned nan at a = -11.0"):
                call(theta)
            theta[300, 0] = 11.0


@pytest.mark.parametrize("workers", [2, 8])
@pytest.mark.parametrize("function", [batch, row])
def test_the_same_bits_for_any_number_of_workers(function, workers):
    with evaluator(function, NAMES, PROBE) as evaluate:
        one = evaluate.with_gradients(THETA)
    with evaluator(function, NAMES, PROBE, workers=workers) as evaluate:
        several = evaluate.with_gradients(THETA)
        assert evaluate.workers == workers
    np.testing.assert_array_equal(one.log_density, several.log_density)
    np.testing.assert_array_equal(one.gradients, several.gradients)
