"""Tensors in, tensors out, with the numbers of the arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aisle_smc.divergences import (
    KL,
    Alpha,
    ChiSquare,
    Clipping,
    ExclusiveKL,
    General,
    Hellinger,
    JensenShannon,
    ParetoSmoothing,
    TailAdaptive,
    Truncation,
    WeightTempering,
    coefficients,
    off_policy,
    reparametrise_score,
)

torch = pytest.importorskip("torch")

SQUARE = General(
    function=lambda y: (y - 1) ** 2, first=lambda y: 2 * (y - 1), second=lambda y: 2 + 0 * y
)
DIVERGENCES = [
    KL(),
    ChiSquare(),
    ExclusiveKL(),
    Hellinger(),
    JensenShannon(),
    Alpha(order=-0.5),
    Alpha(order=1.5),
    SQUARE,
    TailAdaptive(),
]
STABILISERS = [
    Truncation(),
    Clipping(),
    Clipping(count=3),
    WeightTempering(),
    ParetoSmoothing(),
]
FIELDS = ("path", "score", "weights", "log_evidence", "degenerate", "ess")


def weights(finite=True):
    log_w = np.random.default_rng(0).normal(size=(30, 4)) * 2
    log_w[:, 3] = np.round(log_w[:, 3])  # ties
    if not finite:
        log_w[4, 1] = -math.inf
    log_w[:, 2] = -math.inf
    return log_w


def compare(found, expected, fields):
    for field in fields:
        ours, theirs = getattr(expected, field), getattr(found, field)
        if ours is None:
            assert theirs is None
        else:
            np.testing.assert_allclose(np.asarray(theirs), ours, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("divergence", DIVERGENCES, ids=repr)
def test_coefficients_are_those_of_arrays(divergence):
    log_w = weights(finite=not divergence.finite_at_zero)
    log_v = np.random.default_rng(1).normal(size=log_w.shape)
    for options in ({}, {"path": False}, {"path": False, "baseline": False}):
        if isinstance(divergence, TailAdaptive) and options:
            continue
        for v in (None, log_v):
            expected = coefficients(log_w, divergence, log_v=v, **options)
            found = coefficients(
                torch.tensor(log_w),
                divergence,
                log_v=None if v is None else torch.tensor(v),
                **options,
            )
            assert isinstance(found.path, torch.Tensor)
            assert found.path.dtype == torch.float64
            compare(found, expected, FIELDS)
        if options.get("baseline", False) is False and not isinstance(divergence, TailAdaptive):
            options = {**options, "log_evidence": 0.3}
            expected = off_policy(log_w, log_w - log_v, divergence, **options)
            found = off_policy(
                torch.tensor(log_w), torch.tensor(log_w - log_v), divergence, **options
            )
            compare(found, expected, FIELDS)
    compare(
        reparametrise_score(torch.tensor(log_w), divergence),
        reparametrise_score(log_w, divergence),
        FIELDS,
    )
    if hasattr(divergence, "f"):
        np.testing.assert_allclose(
            divergence.f(torch.tensor(log_v)).numpy(), divergence.f(log_v), rtol=1e-12
        )


@pytest.mark.parametrize("stabiliser", STABILISERS, ids=repr)
def test_stabilisers_are_those_of_arrays(stabiliser):
    for log_w in (weights(finite=False), weights()[:, 0]):
        expected, found = stabiliser.apply(log_w), stabiliser.apply(torch.tensor(log_w))
        assert isinstance(found.log_w, torch.Tensor)
        compare(found, expected, ("log_w", "degenerate", "khat", "exponent"))
        assert found.stabiliser == expected.stabiliser


def test_single_precision_is_computed_in_double():
    log_w = torch.tensor(weights(finite=False), dtype=torch.float32) + 1000.0
    for divergence in (KL(), ChiSquare()):
        found = coefficients(log_w, divergence, path=False)
        expected = coefficients(log_w.double(), divergence, path=False)
        assert found.score.dtype == found.weights.dtype == torch.float32
        assert found.log_evidence.dtype == torch.float64
        assert torch.equal(found.score, expected.score.float())
    assert Truncation().apply(log_w).log_w.dtype == torch.float32


def test_coefficients_are_constants_to_differentiation():
    log_w = torch.tensor(weights()[:, 0], requires_grad=True)
    for found in (
        coefficients(log_w, KL()),
        reparametrise_score(log_w, ChiSquare()),
        off_policy(log_w, log_w, KL()),
    ):
        assert not found.path.requires_grad
        assert not found.log_evidence.requires_grad
    assert not Truncation().apply(log_w).log_w.requires_grad


def test_surrogate_has_the_gradient_of_the_atoms():
    """Two parameters of a normal: sum a T + sum b s by hand and by automatic differentiation."""
    mean = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    log_sd = torch.tensor(-0.2, dtype=torch.float64, requires_grad=True)
    e = torch.tensor(np.random.default_rng(3).normal(size=20))
    z = mean + torch.exp(log_sd) * e

    def log_gamma(z):
        return -0.5 * (z - 1.0) ** 2 + torch.sin(z)

    def log_q(z, mean, log_sd):
        return -0.5 * ((z - mean) / torch.exp(log_sd)) ** 2 - log_sd

    log_ratio = log_gamma(z) - log_q(z, mean.detach(), log_sd.detach())
    a, _ = coefficients(log_ratio, ChiSquare())
    _, b = coefficients(log_ratio, ChiSquare(), path=False)
    for loss, coefficient, atoms in (
        ((a * log_ratio).sum(), a, "path"),
        ((b * log_q(z.detach(), mean, log_sd)).sum(), b, "score"),
    ):
        found = torch.autograd.grad(loss, (mean, log_sd), retain_graph=True)
        sd = math.exp(-0.2)
        fixed = z.detach()
        if atoms == "path":
            slope = -(fixed - 1.0) + torch.cos(fixed) + e / sd
            expected = [(coefficient * slope).sum(), (coefficient * slope * sd * e).sum()]
        else:
            expected = [(coefficient * e / sd).sum(), (coefficient * (e**2 - 1)).sum()]
        for one, other in zip(found, expected, strict=True):
            assert float(one) == pytest.approx(float(other), rel=1e-12)


def test_bad_tensors_are_named():
    log_w = torch.zeros(5)
    log_w[3] = math.nan
    with pytest.raises(ValueError, match=r"log_w\[3\] is nan"):
        coefficients(log_w, KL())
    with pytest.raises(TypeError, match="real numbers"):
        coefficients(torch.zeros(5, dtype=torch.complex64), KL())
    with pytest.raises(TypeError, match="log_v must be of the same framework"):
        coefficients(torch.zeros(5), KL(), log_v=np.zeros(5))
    with pytest.raises(ValueError, match=r"infinite; log_w\[1\] is -inf"):
        coefficients(torch.tensor([0.0, -math.inf]), ExclusiveKL())
