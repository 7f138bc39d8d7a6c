"""Weightings: identities, exact variances, and unbiased evidence at small n."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from aisle_smc import Particles, merge, smc, stream
from aisle_smc.distributions import Gaussian, StudentT
from aisle_smc.importance import (
    AdaptiveImportance,
    Drawn,
    FitProposal,
    Located,
    Several,
    balance,
    estimate,
    moments,
    partial,
    standard,
    temporal,
)
from aisle_smc.importance.drawn import draw
from tests.importance.densities import evaluate, score, skewed

PARTS = tuple(
    StudentT(location=np.array([m]), root=np.array([[s]]), df=df)
    for m, s, df in [(-1.0, 0.8, 3.0), (1.5, 1.0, 6.0), (0.0, 3.0, 4.0), (2.5, 0.5, 3.0)]
)
TARGET = evaluate(skewed, 1)


def drawn_by(weighting, n, seed, parts=PARTS):
    return weighting.weigh(draw(TARGET, Several(parts), n, stream(seed)), None)


def evidence(drawn):
    return float(np.mean(np.exp(drawn.log_w)))


# --- identities ----------------------------------------------------------------------------------


def test_denominators():
    """Ten draws of four proposals: three, three, two and two."""
    own = drawn_by(standard, 10, 0)
    q = np.stack([np.exp(part.log_density(own.points)) for part in PARTS])
    sizes = np.array([3, 3, 2, 2])
    owner = np.repeat(np.arange(4), sizes)
    np.testing.assert_allclose(np.exp(own.log_proposal), q[owner, np.arange(10)], rtol=1e-12)
    whole = drawn_by(balance, 10, 0)
    np.testing.assert_allclose(np.exp(whole.log_proposal), sizes / 10 @ q, rtol=1e-12)
    pairs = np.exp(drawn_by(partial(2), 10, 0).log_proposal)
    np.testing.assert_allclose(pairs[:6], (0.5 * q[0] + 0.5 * q[1])[:6], rtol=1e-12)
    np.testing.assert_allclose(pairs[6:], (0.5 * q[2] + 0.5 * q[3])[6:], rtol=1e-12)
    np.testing.assert_array_equal(drawn_by(partial(4), 10, 0).log_w, whole.log_w)
    np.testing.assert_array_equal(drawn_by(partial(9), 10, 0).log_w, whole.log_w)
    assert list(map(repr, (standard, balance, partial(2), temporal))) == [
        "standard",
        "balance",
        "partial(2)",
        "temporal",
    ]


def test_the_balance_heuristic_is_that_of_merge():
    whole = drawn_by(balance, 10, 0)
    rows = np.split(np.arange(10), [3, 6, 8])
    own = whole.log_density - whole.log_own
    populations = [Particles(whole.points[r], own[r]) for r in rows]
    merged = merge(populations, [part.log_density for part in PARTS])
    np.testing.assert_allclose(merged.log_w + merged.log_z, whole.log_w, rtol=0, atol=1e-12)
    assert merged.log_evidence == pytest.approx(estimate(whole).log_evidence, abs=1e-12)


def amis_run(weighting=temporal, iterations=4, n=30, seed=5, parts=PARTS[:2]):
    stage = AdaptiveImportance(
        target=TARGET,
        proposals=Several(parts),
        weighting=weighting,
        adaptation=FitProposal(fit=moments),
        iterations=iterations,
    )
    return [particles.x for _, particles in smc(stage, n, stream(seed), threshold=0.0)]


def test_temporal_weights_are_the_target_over_the_mixture_of_all_rounds():
    rounds = amis_run()
    for t, drawn in enumerate(rounds, start=1):
        assert drawn.sizes == (30,) * t
        assert drawn.n == 30 * t
        q = [proposals.distribution().log_density(drawn.points) for proposals in drawn.rounds]
        mixture = np.logaddexp.reduce(q, axis=0) - math.log(t)
        np.testing.assert_allclose(drawn.log_w, skewed(drawn.points) - mixture, rtol=0, atol=1e-12)
    for before, after in itertools.pairwise(rounds):
        np.testing.assert_array_equal(before.points, after.points[: before.n])
        np.testing.assert_array_equal(after.latest.points, after.points[before.n :])


def test_temporal_weights_are_those_of_merge():
    *_, last = amis_run()
    rows = np.split(np.arange(last.n), np.cumsum(last.sizes)[:-1])
    densities = [proposals.distribution().log_density for proposals in last.rounds]
    parts = [
        Particles(last.points[r], skewed(last.points[r]) - log_q(last.points[r]))
        for r, log_q in zip(rows, densities, strict=True)
    ]
    merged = merge(parts, densities)
    np.testing.assert_allclose(merged.log_w + merged.log_z, last.log_w, rtol=0, atol=1e-12)


def test_merging_rounds_keeps_their_mass():
    """Rounds of the same size: the pooled evidence is their average."""
    populations = [Particles(d.points, d.log_w) for d in amis_run(balance)]
    each = [p.log_evidence for p in populations]
    expected = np.logaddexp.reduce(each) - math.log(len(each))
    assert merge(populations).log_evidence == pytest.approx(expected, abs=1e-12)


# --- exact variances -----------------------------------------------------------------------------

GRID = np.linspace(-60.0, 60.0, 240_001)[:, None]
STEP = float(GRID[1, 0] - GRID[0, 0])


def exact(weighting_groups, numerator=skewed):
    """Return mean and variance of the evidence from one draw of each proposal, by quadrature."""
    gamma = np.exp(numerator(GRID))
    q = np.stack([np.exp(part.log_density(GRID)) for part in PARTS])
    mean = variance = 0.0
    for group in weighting_groups:
        w = gamma / q[group].mean(axis=0)
        for k in group:
            first = STEP * float((w * q[k]).sum())
            mean += first / 4
            variance += (STEP * float((w**2 * q[k]).sum()) - first**2) / 16
    return mean, variance


def test_larger_groups_have_smaller_exact_variances():
    """The order of Elvira et al. (2019), to the accuracy of the trapezoid rule."""
    own, pairs, whole = (
        exact(groups) for groups in ([[0], [1], [2], [3]], [[0, 1], [2, 3]], [[0, 1, 2, 3]])
    )
    for mean, _ in (own, pairs, whole):
        assert mean == pytest.approx(3.0, abs=1e-6)
    assert whole[1] < pairs[1] < own[1]


@pytest.mark.parametrize(
    ("weighting", "groups"),
    [(partial(2), [[0, 1], [2, 3]]), (balance, [[0, 1, 2, 3]])],
    ids=["pairs", "balance"],
)
def test_simulated_variances_are_the_exact_ones(weighting, groups):
    """1500 runs of one draw for each proposal; the standard error of the variance is 5 %."""
    found = np.array([evidence(drawn_by(weighting, 4, seed)) for seed in range(1500)])
    assert abs(score(found, 3.0)) < 4
    assert abs(score((found - 3.0) ** 2, exact(groups)[1])) < 4


# --- unbiased at small n -------------------------------------------------------------------------


@pytest.mark.parametrize("weighting", [standard, partial(2), balance], ids=repr)
@pytest.mark.parametrize("n", [4, 7])
def test_unbiased(weighting, n):
    """1000 runs; their standard error is 1 to 5 % of the evidence."""
    found = [evidence(drawn_by(weighting, n, seed)) for seed in range(1000)]
    assert abs(score(found, 3.0)) < 4
    assert np.std(found) / math.sqrt(1000) < 0.15


def test_own_densities_for_draws_that_forgot_their_owner_are_biased():
    """The negative twin: the draws of each proposal divided by the next one's density."""

    def mixed_up(seed):
        drawn = drawn_by(standard, 8, seed)
        log_q = Several(PARTS[1:] + PARTS[:1]).log_own(drawn.points)
        return float(np.mean(np.exp(drawn.log_density - log_q)))

    assert abs(score([mixed_up(seed) for seed in range(1000)], 3.0)) > 4


def test_a_mixture_that_counts_uneven_draws_as_even_is_biased():
    """The negative twin: three draws of two proposals, weighted as if each had made as many."""
    parts = PARTS[:2]

    def even(seed):
        drawn = drawn_by(standard, 3, seed, parts)
        log_q = Several(parts).log_mixture(drawn.points, 2)
        return float(np.mean(np.exp(drawn.log_density - log_q)))

    def counted(seed):
        return evidence(drawn_by(balance, 3, seed, parts))

    assert abs(score([counted(seed) for seed in range(3000)], 3.0)) < 4
    assert abs(score([even(seed) for seed in range(3000)], 3.0)) > 4


def test_rounds_that_adapt_are_unbiased_and_recycled_ones_are_not():
    """400 runs of 4 rounds of 8 draws: given those before it, each round is unbiased.

    Temporal weights divide by proposals that were fitted to the draws: low, by some per cent.
    """

    def last(weighting, seed):
        return evidence(amis_run(weighting, 4, 8, seed, (PARTS[2],))[-1])

    fresh = [last(balance, seed) for seed in range(400)]
    recycled = [last(temporal, seed) for seed in range(400)]
    assert abs(score(fresh, 3.0)) < 4
    assert score(recycled, 3.0) < -4


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighting", [standard, balance], ids=repr)
def test_the_error_is_that_of_replicates(weighting):
    """600 runs of 40 draws: the mean squared error is the mean of the variances reported.

    With all weights in one sample (the negative twin) the error of `balance` is too large.
    """
    found = [drawn_by(weighting, 40, seed) for seed in range(600)]
    values = [estimate(each) for each in found]
    errors = np.array([math.exp(v.log_evidence) for v in values]) - 3.0
    variances = np.array([(v.error * math.exp(v.log_evidence)) ** 2 for v in values])
    assert abs(score(errors**2 - variances, 0.0)) < 4
    if weighting is balance:
        plain = np.array([np.var(np.exp(d.log_w), ddof=1) / 40 for d in found])
        assert score(errors**2 - plain, 0.0) < -4


def test_single_draws_take_the_variance_of_all():
    drawn = drawn_by(standard, 4, 3)
    w = np.exp(drawn.log_w)
    assert estimate(drawn).error == pytest.approx(w.std(ddof=1) / 2.0 / w.mean(), rel=1e-12)
    lone = estimate(drawn_by(standard, 1, 3, PARTS[:1]))
    assert math.isnan(lone.error)
    assert lone.khat == math.inf


def test_huge_and_vanishing_weights():
    def shifted(shift):
        drawn = drawn_by(balance, 40, 1)
        return estimate(
            Drawn(
                points=drawn.points,
                log_density=drawn.log_density + shift,
                log_own=drawn.log_own,
                log_proposal=drawn.log_proposal,
                rounds=drawn.rounds,
                sizes=drawn.sizes,
            )
        )

    plain = shifted(0.0)
    for shift in (-1e6, 1e6):
        moved = shifted(shift)
        assert moved.log_evidence == pytest.approx(plain.log_evidence + shift, abs=1e-8)
        assert moved.error == pytest.approx(plain.error, rel=1e-8)
    nothing = shifted(-math.inf)
    assert nothing.log_evidence == -math.inf
    assert nothing.error == math.inf
    assert nothing.ess == 0.0


def test_selected_draws_have_no_evidence():
    drawn = drawn_by(balance, 40, 1)
    with pytest.raises(ValueError, match="selected or resampled from one, which leaves no"):
        estimate(drawn[drawn.log_w > 0.0])


def test_groups_need_even_shares():
    from aisle_smc.importance import Defended

    safe = Gaussian(mean=np.zeros(1), root=np.eye(1))
    located = Located(locations=np.zeros((4, 1)), roots=np.eye(1)[None])
    proposals = Defended(proposals=located, safety=safe)
    with pytest.raises(TypeError, match="Defended does not allow"):
        partial(2).weigh(draw(TARGET, proposals, 40, stream(0)), None)
    with pytest.raises(ValueError, match="size must be at least 1"):
        partial(0)
