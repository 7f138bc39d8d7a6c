"""The one-call functions: what they return, what they say, what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import gamma, multivariate_normal, multivariate_t, norm

from aisle_smc.distributions import Gaussian, StudentT
from aisle_smc.errors import BadDensity
from aisle_smc.importance import (
    AMIS,
    LAIS,
    NPMC,
    adaptive_importance_sampling,
    balance,
    importance_sampling,
    moments,
    multiple_importance_sampling,
    standard,
)
from tests.importance.densities import BIMODAL_MEAN, bimodal, evaluate, half_line, skewed

WIDE = StudentT(location=np.array([1.0, 1.0]), root=4.0 * np.eye(2), df=4.0)


# --- what comes back -----------------------------------------------------------------------------


def test_importance_sampling():
    found = importance_sampling(bimodal, WIDE, 20_000, seed=3, names=["a", "b"])
    assert abs(found.log_evidence - math.log(5.0)) < 4 * found.log_evidence_error < 0.2
    assert found.draws.names == ("a", "b")
    np.testing.assert_allclose(found.draws.mean, BIMODAL_MEAN, atol=0.2)
    assert found.proposal is WIDE
    assert found.evaluations == found.n == 20_000
    assert found.recycled is None
    assert len(found.rounds) == 1
    w = np.exp(found.draws.log_w)
    error = w.std(ddof=1) / w.mean() / math.sqrt(found.n)
    assert found.log_evidence_error == pytest.approx(error, rel=1e-9)
    assert found.ess == pytest.approx(1.0 / np.sum(found.draws.weights**2), rel=1e-9)
    assert found.khat == pytest.approx(found.draws.khat, abs=1e-12)


def test_the_error_has_its_nominal_coverage():
    """200 seeds of 400 draws: 95 % within two errors or a little fewer, 3 nearly always."""
    target = evaluate(skewed, 1)
    q = StudentT(location=np.array([1.0]), root=np.array([[1.5]]), df=4.0)
    z = np.empty(200)
    for seed in range(200):
        found = importance_sampling(target, q, 400, seed=seed)
        z[seed] = (found.log_evidence - math.log(3.0)) / found.log_evidence_error
    assert np.mean(np.abs(z) < 2.0) > 0.9
    assert np.mean(np.abs(z) < 3.0) > 0.98
    assert abs(z.mean()) < 4 / math.sqrt(200)
    assert 0.8 < z.std() < 1.2


def test_what_may_be_a_proposal():
    for proposal in (
        multivariate_normal([1.0, 0.0], 9.0 * np.eye(2)),
        multivariate_t([1.0, 0.0], 9.0 * np.eye(2), df=5),
        [norm(0.0, 4.0), norm(0.0, 3.0)],
    ):
        found = importance_sampling(bimodal, proposal, 4000)
        assert abs(found.log_evidence - math.log(5.0)) < 4 * found.log_evidence_error
    found = importance_sampling(half_line, gamma(2.5), 4000)
    assert abs(found.log_evidence - math.log(2.0)) < 4 * found.log_evidence_error < 0.1


def test_several_proposals():
    parts = [
        multivariate_t([-2.5, 1.0], 2.0 * np.eye(2), df=5),
        multivariate_t([2.5, -1.0], np.eye(2), df=5),
        WIDE,
    ]
    own, whole = (
        multiple_importance_sampling(bimodal, parts, 6000, weighting=weighting)
        for weighting in (standard, balance)
    )
    for found in (own, whole):
        assert abs(found.log_evidence - math.log(5.0)) < 4 * found.log_evidence_error
    assert whole.log_evidence_error < 0.5 * own.log_evidence_error
    np.testing.assert_array_equal(own.draws.x, whole.draws.x)
    assert repr(whole).startswith("multiple importance sampling: log-evidence 1.6")


def test_only_the_mixture_needs_to_cover_the_target():
    """Two half-lines: each alone misses half of the mass."""

    def log_density(x):
        return -np.abs(x[:, 0] - 0.3)

    class Half:
        dim = 1

        def __init__(self, sign):
            self.sign = sign

        def sample(self, n, rng):
            return self.sign * rng.exponential(2.0, (n, 1))

        def log_density(self, x):
            inside = self.sign * x[:, 0] >= 0.0
            return np.where(inside, -np.abs(x[:, 0]) / 2.0 - math.log(2.0), -math.inf)

        def fit(self, x, weights):
            return self

    halves = [Half(1.0), Half(-1.0)]
    whole = multiple_importance_sampling(log_density, halves, 4000)
    own = multiple_importance_sampling(log_density, halves, 4000, weighting=standard)
    assert abs(whole.log_evidence - math.log(2.0)) < 4 * whole.log_evidence_error
    assert abs(own.log_evidence - math.log(2.0)) > 4 * own.log_evidence_error


def test_adaptive_result():
    calls = evaluate(bimodal, 2)
    found = adaptive_importance_sampling(
        calls, WIDE, 300, method=LAIS(locations=10, steps=2), iterations=3, fresh=500
    )
    assert found.n == 500
    assert [each.draws for each in found.rounds] == [300, 300, 300, 500]
    assert found.recycled.x.shape == (900, 2)
    # The chains start from ten evaluations and take two steps between rounds.
    assert found.evaluations == 900 + 500 + 10 + 3 * 2 * 10
    assert found.evaluations == calls.calls
    np.testing.assert_allclose(found.recycled.mean, BIMODAL_MEAN, atol=1.0)
    again = importance_sampling(bimodal, found.proposal, 2000)
    assert abs(again.log_evidence - math.log(5.0)) < 4 * again.log_evidence_error < 0.3
    default = adaptive_importance_sampling(bimodal, WIDE, 200, iterations=2)
    assert default.method == "AMIS"
    assert default.n == 400


# --- what it says --------------------------------------------------------------------------------


def test_words():
    good = repr(importance_sampling(bimodal, WIDE, 4000))
    assert good.startswith("importance sampling: log-evidence 1.")
    assert "4000 evaluations of the target" in good
    assert "unless a part of the target was missed" in good
    narrow = Gaussian(mean=np.array([2.5, -1.0]), root=0.2 * np.eye(2))
    assert "trust neither the evidence nor its error" in repr(
        importance_sampling(bimodal, narrow, 4000)
    )
    assert "too few draws" in repr(importance_sampling(bimodal, WIDE, 10))
    recycled = adaptive_importance_sampling(
        skewed,
        StudentT(location=np.zeros(1), root=np.eye(1), df=3.0),
        500,
        method=AMIS(fit=moments),
        iterations=3,
        fresh=0,
    )
    assert "recycled draws bias the evidence low" in repr(recycled)
    assert "in 3 rounds" in repr(recycled)
    matched = importance_sampling(lambda x: norm.logpdf(x[:, 0]) + 2.0, norm(0.0, 1.0), 100)
    assert "the largest weights are equal" in repr(matched)
    assert matched.log_evidence == 2.0
    assert matched.log_evidence_error == 0.0


def test_no_draw_with_weight():
    found = importance_sampling(half_line, norm(-50.0, 1.0), 100)
    assert found.log_evidence == -math.inf
    assert found.log_evidence_error == math.inf
    assert found.draws is None
    assert "no draw has weight" in repr(found)
    found = adaptive_importance_sampling(
        half_line, norm(-50.0, 1.0), 50, method=NPMC(), iterations=2, defence=0.5
    )
    assert found.log_evidence == -math.inf
    assert found.recycled is None


# --- bad input -----------------------------------------------------------------------------------


def hole(x):
    return np.where(x[:, 0] > 2.0, np.nan, -0.5 * np.square(x).sum(axis=1))


def test_nan_is_an_error_that_names_the_point():
    with pytest.raises(BadDensity, match=r"mu = .*, sd = "):
        importance_sampling(hole, WIDE, 100, names=["mu", "sd"], vectorized=True)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: importance_sampling(bimodal, WIDE, 0), ValueError, "n must be at least 1"),
        (lambda: importance_sampling(bimodal, WIDE, 10.5), TypeError, "n must be an int"),
        (lambda: importance_sampling(bimodal, norm, 10), TypeError, "freeze"),
        (lambda: importance_sampling(bimodal, "wide", 10), TypeError, "as a distribution"),
        (
            lambda: importance_sampling(bimodal, WIDE, 10, names=["a"]),
            ValueError,
            "each of the proposal's 2 coordinates; got 1: a",
        ),
        (
            lambda: importance_sampling(evaluate(bimodal, 2), norm(0.0, 1.0), 10),
            ValueError,
            "the target has 2 parameters and the proposal draws 1",
        ),
        (
            lambda: importance_sampling(evaluate(bimodal, 2), WIDE, 10, names=["a", "b"]),
            ValueError,
            "an Evaluator has its own names",
        ),
        (
            lambda: importance_sampling(bimodal, WIDE, 10, names="ab"),
            TypeError,
            "names must be a sequence of strings",
        ),
        (lambda: importance_sampling(bimodal, WIDE, 10, seed=-1), ValueError, "nonnegative"),
        (
            lambda: multiple_importance_sampling(bimodal, [], 10),
            ValueError,
            "at least one proposal",
        ),
        (
            lambda: multiple_importance_sampling(bimodal, [WIDE, norm(0.0, 1.0)], 10),
            ValueError,
            "proposal 0 has 2 and proposal 1 has 1",
        ),
        (
            lambda: multiple_importance_sampling(bimodal, [WIDE] * 3, 2),
            ValueError,
            "each of 3 proposals needs at least one draw; got n = 2",
        ),
        (
            lambda: adaptive_importance_sampling(bimodal, WIDE, 10, method=AMIS),
            TypeError,
            "call it if you passed the function itself",
        ),
        (
            lambda: adaptive_importance_sampling(bimodal, WIDE, 10, method="AMIS"),
            TypeError,
            "method must be a Method",
        ),
        (
            lambda: adaptive_importance_sampling(bimodal, WIDE, 10, iterations=0),
            ValueError,
            "iterations must be at least 1",
        ),
        (
            lambda: adaptive_importance_sampling(bimodal, WIDE, 10, fresh=-1),
            ValueError,
            "fresh must be at least 1",
        ),
        (
            lambda: adaptive_importance_sampling(bimodal, WIDE, 10, defence=1.0),
            ValueError,
            "defence must be a share",
        ),
        (
            lambda: adaptive_importance_sampling(
                bimodal, [norm(0, 3), norm(0, 3)], 100, method=AMIS(fit=None)
            ),
            TypeError,
            "cannot be fitted",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_target_of_other_dimension():
    with pytest.raises((ValueError, TypeError)):
        importance_sampling(lambda a, b, c: a + b + c, WIDE, 10)


def test_words_follow_the_tail():
    """A narrow proposal for wide tails: from weights with a variance to weights without a mean."""
    words = {
        1.2: "look as if they had a variance",
        0.65: "hardly have a variance",
        0.45: "trust neither",
    }
    for width, said in words.items():
        proposal = Gaussian(mean=np.zeros(1), root=width * np.eye(1))
        found = importance_sampling(lambda x: -0.5 * (x**2).sum(axis=1), proposal, 20_000, seed=1)
        assert said in repr(found), (width, repr(found))
