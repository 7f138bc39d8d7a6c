"""Adaptations one by one: where the proposals of the next round are, and how wide."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import logsumexp

from aisle_smc import stream
from aisle_smc.distributions import Gaussian, Mixture, StudentT, fit_mixture
from aisle_smc.divergences import Clipping
from aisle_smc.importance import (
    Defended,
    FitProposal,
    InTurn,
    Kernel,
    LocalMeans,
    Located,
    MarkovLocations,
    Moments,
    ResampleGlobally,
    ResampleLocally,
    Several,
    balance,
    keep,
    kept,
    standard,
)
from aisle_smc.importance.adaptation import normalised
from aisle_smc.resampling import multinomial
from tests.importance.densities import evaluate, half_line, score, skewed
from tests.importance.rounds import a_round, scattered

# --- resampling ----------------------------------------------------------------------------------


def test_global_resampling_takes_draws_by_weight():
    """Offspring of systematic resampling: the floor or ceiling of K times the weight."""
    last = a_round(scattered(10))
    adapted = ResampleGlobally(spread=kept).adapt(last)
    points = [tuple(row) for row in last.drawn.points]
    chosen = np.array([points.index(tuple(row)) for row in adapted.locations])
    offspring = np.bincount(chosen, minlength=40)
    assert (np.abs(offspring - 10 * last.weights) < 1.0).all()
    np.testing.assert_array_equal(adapted.log_density, last.drawn.log_density[chosen])
    np.testing.assert_array_equal(adapted.roots, last.proposals.roots)


def test_kept_roots_are_inherited():
    last = a_round(scattered(10, own_roots=True))
    adapted = ResampleGlobally(spread=kept, resampler=multinomial).adapt(last)
    points = [tuple(row) for row in last.drawn.points]
    parents = np.array([points.index(tuple(row)) // 4 for row in adapted.locations])
    np.testing.assert_array_equal(adapted.roots, last.proposals.roots[parents])
    assert len(set(parents.tolist())) > 1


def test_local_resampling_takes_a_draw_of_its_own_by_weight():
    """Thirteen draws of five proposals, 3000 times: frequencies within 4 standard errors."""
    last = a_round(scattered(5), n=13, seed=3)
    blocks = np.split(np.arange(13), [3, 6, 9, 11])
    points = [tuple(row) for row in last.drawn.points]
    counts = np.zeros(13)
    for _ in range(3000):
        adapted = ResampleLocally(spread=kept).adapt(last)
        chosen = [points.index(tuple(row)) for row in adapted.locations]
        assert all(row in block for row, block in zip(chosen, blocks, strict=True))
        counts[chosen] += 1.0
    for block in blocks:
        p = last.weights[block] / last.weights[block].sum()
        z = (counts[block] - 3000 * p) / np.sqrt(3000 * p * (1.0 - p) + 1.0)
        assert (np.abs(z) < 4).all()


def test_proposals_whose_draws_have_no_weight_stay():
    target = evaluate(half_line, 1)
    located = Located(locations=np.array([[-50.0], [3.0]]), roots=np.ones((1, 1, 1)), df=math.inf)
    last = a_round(located, n=20, target=target)
    for adaptation in (ResampleLocally(spread=kept), LocalMeans()):
        adapted = adaptation.adapt(last)
        assert adapted.locations[0, 0] == -50.0
        assert adapted.locations[1, 0] != 3.0
    lost = Located(locations=np.array([[-50.0], [-60.0]]), roots=np.ones((1, 1, 1)), df=math.inf)
    last = a_round(lost, n=20, target=target)
    for adaptation in (
        ResampleLocally(),
        ResampleGlobally(),
        LocalMeans(),
        LocalMeans(spread=Kernel()),
        FitProposal(),
        keep,
    ):
        adapted = adaptation.adapt(last)
        x = np.array([[-55.0]])
        np.testing.assert_allclose(adapted.log_mixture(x, 20), lost.log_mixture(x, 20))


# --- means, moments and widths -------------------------------------------------------------------


def test_local_means_use_own_weights():
    """Whatever the weighting of the stage is: here it divides by the mixture of all."""
    last = a_round(scattered(3), n=11, weighting=balance)
    adapted = LocalMeans().adapt(last)
    log_w = last.drawn.log_density - last.drawn.log_own
    for k, block in enumerate(np.split(np.arange(11), [4, 8])):
        w = np.exp(log_w[block] - logsumexp(log_w[block]))
        expected = w @ last.drawn.points[block]
        np.testing.assert_allclose(adapted.locations[k], expected, rtol=1e-12)
        mixed = np.exp(last.drawn.log_w[block])
        assert np.abs(mixed @ last.drawn.points[block] / mixed.sum() - expected).max() > 1e-3


def test_the_width_of_a_kernel():
    last = a_round(scattered(10))
    h = (4.0 / (4.0 * 10)) ** (1.0 / 6.0)
    w, x = last.weights, last.drawn.points
    away = x - w @ x
    m = 1.0 / np.sum(w**2)
    expected = h**2 * (m * (away.T @ (w[:, None] * away)) + 3.0 * np.eye(2) / h**2) / (m + 3.0)
    root = Kernel().roots(last, np.arange(10))
    np.testing.assert_allclose(root[0] @ root[0].T, expected, rtol=1e-12)
    assert Kernel(count=1).bandwidth(10, 2) == 1.0
    assert ResampleGlobally().adapt(last).roots.shape == (1, 2, 2)


def test_moments_of_the_fit_are_those_of_the_draws():
    last = a_round(Several((StudentT(location=np.zeros(2), root=3.0 * np.eye(2)),)), n=4000)
    w, x = last.weights, last.drawn.points
    away = x - w @ x
    covariance = away.T @ (w[:, None] * away)
    for df in (5.0, math.inf):
        (q,) = FitProposal(fit=Moments(df=df)).adapt(last).parts
        np.testing.assert_allclose(q.sample(1, stream(0)).shape, (1, 2))
        scale = q.root @ q.root.T * (1.0 if math.isinf(df) else df / (df - 2.0))
        np.testing.assert_allclose(scale, covariance, rtol=1e-9)
    assert isinstance(q, Gaussian)


def test_fits_of_other_kinds():
    wide = StudentT(location=np.zeros(2), root=3.0 * np.eye(2))
    last = a_round(Several((wide,)), n=2000)
    (refitted,) = FitProposal().adapt(last).parts
    assert isinstance(refitted, StudentT)
    (mixture,) = FitProposal(fit=fit_mixture).adapt(last).parts
    assert isinstance(mixture, Mixture)
    assert len(mixture.parts) >= 2
    score_of = {
        name: last.weights @ q.log_density(last.drawn.points)
        for name, q in {"wide": wide, "refitted": refitted, "mixture": mixture}.items()
    }
    assert score_of["wide"] < score_of["refitted"] < score_of["mixture"]


class Seen:
    """A fit that keeps the weights it is given."""

    def __call__(self, x, weights, rng):
        self.weights = weights
        return Gaussian(mean=np.zeros(2), root=np.eye(2))

    @property
    def ess(self):
        return 1.0 / float(np.sum(self.weights**2))


def test_few_effective_draws_are_tempered():
    """A fit to one heavy draw would be a point: 15 draws are asked for in two dimensions."""
    far = Gaussian(mean=np.full(2, 30.0), root=np.eye(2))
    last = a_round(Several((far,)), n=100)
    assert 1.0 / np.sum(last.weights**2) < 3.0
    seen = Seen()
    FitProposal(fit=seen, points=0.0).adapt(last)
    np.testing.assert_allclose(seen.weights, last.weights, rtol=1e-12)
    FitProposal(fit=seen).adapt(last)
    assert seen.ess == pytest.approx(15.0, rel=1e-3)
    order = np.argsort(last.weights)
    assert (np.diff(seen.weights[order]) >= 0.0).all()
    FitProposal(fit=seen, points=1e9).adapt(last)
    assert seen.ess == pytest.approx(50.0, rel=1e-3)
    FitProposal(fit=seen, stabiliser=Clipping(), points=0.0).adapt(last)
    clipped = normalised(Clipping().apply(last.drawn.log_w).log_w)
    np.testing.assert_allclose(seen.weights, clipped, rtol=1e-12)
    assert seen.ess >= 10.0


# --- chains --------------------------------------------------------------------------------------


def accept_all(target, x, rng):
    """Walk without ever rejecting: the negative twin of the chains."""
    return x + rng.standard_normal(x.shape)


def test_chains_leave_the_target_as_it_is():
    """4000 chains that start from the target, five steps: moments within 4 standard errors."""
    rng = stream(4)
    # A skew-normal draw: a sign turned to agree with a correlated normal.
    u, v = rng.standard_normal((2, 4000))
    z = 2.6 / math.sqrt(1.0 + 2.6**2) * np.abs(u) + v / math.sqrt(1.0 + 2.6**2)
    start = (0.4 + 1.3 * z)[:, None]
    target = evaluate(skewed, 1)
    located = Located(locations=start, roots=np.ones((1, 1, 1)), df=math.inf)
    last = a_round(located, n=4000, target=target)
    adapted = MarkovLocations(steps=5, spread=kept).adapt(last)
    delta = 2.6 / math.sqrt(1.0 + 2.6**2)
    mean = 0.4 + 1.3 * delta * math.sqrt(2.0 / math.pi)
    variance = 1.3**2 * (1.0 - 2.0 * delta**2 / math.pi)
    moved = adapted.locations[:, 0]
    assert np.mean(moved != start[:, 0]) > 0.8
    assert abs(score(moved, mean)) < 4
    assert abs(score((moved - mean) ** 2, variance)) < 4
    np.testing.assert_allclose(adapted.log_density, skewed(adapted.locations), rtol=1e-12)
    walked = start
    for _ in range(5):
        walked = accept_all(target, walked, rng)
    assert abs(score((walked[:, 0] - mean) ** 2, variance)) > 4


def test_chains_use_what_is_known_and_find_the_support():
    target = evaluate(half_line, 1)
    located = Located(
        locations=np.array([[-1.0], [2.0]]),
        roots=np.ones((1, 1, 1)),
        log_density=np.array([-math.inf, half_line(np.array([[2.0]]))[0]]),
    )
    last = a_round(located, n=10, target=target)
    before = target.calls
    adapted = MarkovLocations(steps=60, step=1.0).adapt(last)
    assert target.calls - before == 2 * 60
    assert (adapted.locations > 0.0).all()
    before = target.calls
    MarkovLocations(steps=1).adapt(a_round(scattered(4, dim=1), n=8, target=target))
    assert target.calls - before == 8 + 4 + 4


# --- composition and bad input -------------------------------------------------------------------


def test_adaptations_in_turn():
    last = a_round(scattered(6))
    both = InTurn((ResampleLocally(spread=kept), MarkovLocations(steps=2, spread=kept)))
    one = both.adapt(a_round(scattered(6)))
    first = ResampleLocally(spread=kept).adapt(last)
    assert not np.array_equal(first.locations, one.locations)
    assert one.log_density is not None
    assert keep.adapt(last) is last.proposals


def test_locations_are_needed():
    whole = Several((Gaussian(mean=np.zeros(2), root=np.eye(2)),))
    defended = Defended(proposals=whole, safety=whole.parts[0])
    for proposals in (whole, defended):
        for adaptation in (ResampleGlobally(), ResampleLocally(), LocalMeans(), MarkovLocations()):
            with pytest.raises(TypeError, match="moves the locations of proposals"):
                adaptation.adapt(a_round(proposals))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MarkovLocations(steps=0), "steps must be at least 1"),
        (lambda: MarkovLocations(step=-1.0), "step must be positive"),
        (lambda: Kernel(count=0), "count must be at least 1"),
        (lambda: Moments(df=2.0), "df must be above 2"),
        (lambda: FitProposal(points=-1.0), "points must be 0 or more"),
    ],
)
def test_bad_options(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_standard_weights_serve_too():
    last = a_round(scattered(6), weighting=standard)
    assert ResampleGlobally().adapt(last).count == 6
