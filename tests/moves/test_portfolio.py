"""Which kernel makes a sweep, what it earns, and that nothing changes inside a stage."""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from aisle_smc import stream
from aisle_smc.distributions import Gaussian
from aisle_smc.moves import Independence, Moved, Portfolio, RandomWalk, join
from aisle_smc.moves.portfolio import EXPLORE
from aisle_smc.tempering import Temperature
from tests.oracles.paths import Bent

BRIDGE = Bent()
LEVEL = Temperature(1.0)


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Moves every coordinate by a fixed amount and tells who was asked."""

    by: float
    name: str = "shift"
    calls: int = 1
    scale: float = 1.0
    log: list = field(default_factory=list, compare=False)

    def move(self, points, level, bridge, rng):
        self.log.append(self)
        return Moved(points=bridge.at(points.z + self.by), acceptance=0.25 + self.by)

    def fitted(self, z, weights, rng):
        return replace(self, scale=2.0)

    def rescaled(self, acceptance):
        return replace(self, scale=acceptance)


def points(n=40):
    return BRIDGE.start(n, stream(0))


def swept(portfolio, sweeps, **options):
    return portfolio.sweep(points(), LEVEL, BRIDGE, stream(1), sweeps, np.full(2, 4.0), **options)


KERNELS = tuple(Shift(by=b) for b in (0.1, 0.2, 0.3))


def test_untried_kernels_come_first():
    assert Portfolio(kernels=KERNELS).schedule(3) == (0, 1, 2)
    assert Portfolio(kernels=KERNELS).schedule(2) == (0, 1)
    portfolio = Portfolio(kernels=KERNELS, merits=(1.0, math.inf, 2.0))
    assert portfolio.schedule(1) == (1,)
    assert portfolio.schedule(4)[0] == 1
    assert set(portfolio.schedule(4)[1:]) <= {0, 2}


def test_a_stage_too_short_for_all_leaves_the_rest_for_the_next():
    first = swept(Portfolio(kernels=KERNELS), 2).portfolio
    assert first.merits[2] == math.inf
    assert first.schedule(1) == (2,)


@pytest.mark.parametrize("sweeps", [1, 3, 1000])
@pytest.mark.parametrize("merits", [(3.0, 1.0, 0.0), (0.0, 0.0, 0.0), (1.0, 1e-8, 1e8)])
def test_shares_over_many_stages(merits, sweeps):
    """However short the stages are, every kernel gets its share, the worst a third of EXPLORE."""
    portfolio = Portfolio(kernels=KERNELS, merits=merits)
    used = np.zeros(3)
    for _ in range(3000 // sweeps):
        order, owed = portfolio._deal(sweeps)
        assert order == portfolio.schedule(sweeps)
        assert len(order) == sweeps
        used += np.bincount(order, minlength=3)
        portfolio = replace(portfolio, owed=owed)
    square = np.square(merits)
    share = square / square.sum() if any(merits) else np.full(3, 1 / 3)
    expected = (1.0 - EXPLORE) * share + EXPLORE / 3
    np.testing.assert_allclose(used / 3000, expected, atol=2 / 3000)
    assert used.min() >= 3000 * EXPLORE / 3 - 2


def test_the_schedule_is_a_function_of_the_portfolio():
    portfolio = Portfolio(kernels=KERNELS, merits=(1.0, 2.0, 3.0), owed=(0.2, -0.5, 0.3))
    again = pickle.loads(pickle.dumps(portfolio))
    assert portfolio.schedule(50) == again.schedule(50) == portfolio.schedule(50)


def test_merits_are_squared_jumps_for_a_call():
    """A shift by b in both coordinates, of variance 4, jumps b^2 / 4 on average."""
    kernels = (Shift(by=0.2), Shift(by=0.4, calls=5, name="dear"))
    found = swept(Portfolio(kernels=kernels), 2)
    np.testing.assert_allclose(found.portfolio.merits, [0.01, 0.04 / 5])
    assert found.portfolio.names_used == ("shift", "dear")
    assert found.acceptance == pytest.approx(np.mean([0.45, 0.65]))
    assert found.decorrelation == pytest.approx(0.5 * 0.6**2 / 4.0)
    # A kernel that was not used keeps its merit.
    later = swept(replace(found.portfolio, owed=(1.0, 0.0)), 1).portfolio
    assert later.merits[1] == found.portfolio.merits[1]
    assert later.names_used == ("shift",)


def test_nothing_is_adapted_inside_a_stage():
    log: list = []
    kernels = (Shift(by=0.1, log=log), Shift(by=0.3, log=log))
    found = swept(Portfolio(kernels=kernels, merits=(1.0, 1.0)), 9)
    assert len(log) == 9
    assert all(any(used is k for k in kernels) for used in log)
    # Afterwards each has learnt from its own acceptance, and the given portfolio from nothing.
    assert [k.scale for k in found.portfolio.kernels] == pytest.approx([0.35, 0.55])
    assert [k.scale for k in kernels] == [1.0, 1.0]


def test_fitting_reaches_every_kernel():
    portfolio = Portfolio(kernels=KERNELS, merits=(1.0, 2.0, 3.0), owed=(0.0, 1.0, -1.0))
    fitted = portfolio.fitted(points().z, np.full(40, 1 / 40), stream(2))
    assert [k.scale for k in fitted.kernels] == [2.0] * 3
    assert (fitted.merits, fitted.owed) == (portfolio.merits, portfolio.owed)


def test_chains_are_kept_on_request():
    walk = Portfolio(kernels=(RandomWalk(scale=0.3),))
    assert swept(walk, 4).chains == ()
    kept = swept(walk, 4, keep=True)
    assert len(kept.chains) == 4
    np.testing.assert_array_equal(kept.chains[-1].z, kept.points.z)
    np.testing.assert_array_equal(swept(walk, 4).points.z, kept.points.z)


def test_points_join_and_split():
    a, b = BRIDGE.at(np.zeros((2, 2)), scores=True), BRIDGE.at(np.ones((3, 2)), scores=True)
    both = join([a, b])
    assert both.n == 5
    np.testing.assert_array_equal(both[:2].scores, a.scores)
    np.testing.assert_array_equal(both[2:].log_ratio, b.log_ratio)
    assert join([a, b.without_scores()]).scores is None
    mixed = replace(a, blobs=np.array([1, 2])).replaced(
        replace(b[:2], blobs=np.array([3, 4])), np.array([True, False])
    )
    assert mixed.blobs.tolist() == [3, 2]
    np.testing.assert_array_equal(mixed.z, [[1.0, 1.0], [0.0, 0.0]])
    np.testing.assert_array_equal(mixed.scores[:, 0], b.scores[:, 0])


def test_a_population_in_one_point_gives_no_unit():
    """One particle with all the weight: jumps count nothing, and nothing overflows."""
    portfolio = Portfolio(kernels=(RandomWalk(scale=0.3), RandomWalk(scale=1.0)))
    for variances in (np.zeros(2), np.full(2, 1e-250), np.full(2, 1e-180)):
        found = portfolio.sweep(points(), LEVEL, BRIDGE, stream(1), 4, variances)
        assert all(math.isfinite(merit) for merit in found.portfolio.merits)
        assert 0.0 <= found.decorrelation <= 1.0
        assert len(found.portfolio.schedule(7)) == 7


def test_a_kernel_joins_or_takes_its_namesakes_place():
    portfolio = Portfolio(kernels=KERNELS[:1], merits=(2.0,), owed=(0.0,))
    both = portfolio.joined(Shift(by=0.5, name="other"))
    assert [k.name for k in both.kernels] == ["shift", "other"]
    assert both.schedule(3)[0] == 1, "it is untried"
    replaced = swept(both, 4).portfolio.joined(Shift(by=0.7, name="other"))
    assert [k.by for k in replaced.kernels] == [0.1, 0.7]
    assert len(replaced.merits) == len(replaced.owed) == 2
    assert len(swept(Portfolio(kernels=KERNELS[:1]).joined(KERNELS[1]), 3).portfolio.merits) == 1


def test_a_proposal_can_be_kept_from_fitting():
    z, w = points().z, np.full(40, 1 / 40)
    kept = Independence(proposal=Gaussian(mean=np.zeros(2), root=np.eye(2)), fit=False)
    assert kept.fitted(z, w, stream(3)) is kept
    assert Independence(parts=1).fitted(z, w, stream(3)).proposal is not None
