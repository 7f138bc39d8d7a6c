"""The stage in the one loop: rounds, resuming, and what it refuses."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

from aisle_smc import Particles, resume, smc, stream
from aisle_smc.distributions import Gaussian, StudentT
from aisle_smc.importance import (
    AdaptiveImportance,
    Ascend,
    FitProposal,
    InTurn,
    LocalMeans,
    MarkovLocations,
    ResampleGlobally,
    ResampleLocally,
    Several,
    balance,
    estimate,
    moments,
    partial,
    standard,
    temporal,
)
from aisle_smc.importance.drawn import draw
from aisle_smc.targets import evaluator
from tests.importance.densities import bimodal, evaluate, half_line
from tests.importance.rounds import scattered

WIDE = Gaussian(mean=np.array([1.0, 1.0]), root=4.0 * np.eye(2))


def one(adaptation, weighting=balance, **options):
    proposals = scattered(6) if weighting is not temporal else Several((WIDE,))
    return AdaptiveImportance(
        target=evaluate(bimodal, 2),
        proposals=proposals,
        weighting=weighting,
        adaptation=adaptation,
        iterations=4,
        **options,
    )


STAGES = {
    "means": one(LocalMeans(), standard),
    "global": one(ResampleGlobally(), partial(3)),
    "local, then up": one(InTurn((ResampleLocally(), Ascend(repulsion=1.0))), fresh=50),
    "chains": one(MarkovLocations(), fresh=50, safety=WIDE),
    "temporal": one(FitProposal(fit=moments), temporal, fresh=30),
}


def same(a, b):
    np.testing.assert_array_equal(a.x.points, b.x.points)
    np.testing.assert_array_equal(a.log_w, b.log_w)
    assert a.log_z == b.log_z
    assert a.x.sizes == b.x.sizes


@pytest.mark.parametrize("name", STAGES)
def test_continuing_from_a_pickle_gives_the_same_bits(name):
    rng, whole, frozen = stream(11), [], []
    for stage, particles in smc(STAGES[name], 60, rng, threshold=0.0):
        whole.append(particles)
        frozen.append(pickle.dumps((stage, particles, rng)))
    for k, state in enumerate(frozen):
        stage, particles, thawed = pickle.loads(state)
        rest = [each for _, each in resume(stage, particles, thawed, threshold=0.0)]
        assert len(rest) == len(whole) - 1 - k
        for a, b in zip(rest, whole[k + 1 :], strict=True):
            same(a, b)
        np.testing.assert_equal(thawed.bit_generator.state, rng.bit_generator.state)


CONTINUE = """
import pickle, sys
from aisle_smc import resume
stage, particles, rng = pickle.load(sys.stdin.buffer)
*_, (_, last) = resume(stage, particles, rng, threshold=0.0)
print(float(last.log_evidence).hex())
"""


def test_another_process_continues_to_the_same_bits():
    rng = stream(4)
    steps = smc(STAGES["chains"], 60, rng, threshold=0.0)
    for _ in range(2):
        stage, particles = next(steps)
    state = pickle.dumps((stage, particles, rng))
    *_, (_, last) = steps
    found = subprocess.run(
        [sys.executable, "-c", CONTINUE], input=state, capture_output=True, check=True
    )
    assert found.stdout.decode().strip() == float(last.log_evidence).hex()


def test_rounds_come_in_order():
    steps = list(smc(STAGES["temporal"], 40, stream(0), threshold=0.0))
    assert [stage.t for stage, _ in steps] == [0, 1, 2, 3, 4]
    assert [particles.n for _, particles in steps] == [40, 80, 120, 160, 30]
    assert [len(particles.x.rounds) for _, particles in steps] == [1, 2, 3, 4, 1]
    for _, particles in steps:
        assert particles.ancestors is None
        assert particles.log_w.max() == 0.0
        found = estimate(particles.x)
        assert found.log_evidence == pytest.approx(particles.log_evidence, abs=1e-12)
    alone = list(smc(one(LocalMeans()), 40, stream(0), threshold=0.0))
    assert [particles.n for _, particles in alone] == [40] * 4


def test_the_frozen_round_is_weighted_by_its_whole_mixture():
    *_, (_, last) = smc(STAGES["chains"], 60, stream(0), threshold=0.0)
    drawn = last.x
    log_q = drawn.proposals.distribution().log_density(drawn.points)
    # The sizes of a round are whole numbers, the shares of a distribution are not.
    np.testing.assert_allclose(drawn.log_proposal, log_q, atol=0.2)
    assert drawn.strata.sum() == 50
    assert drawn.strata[-1] == 2


def test_resampled_particles_are_refused():
    with pytest.raises(ValueError, match="were resampled; run it with smc"):
        list(smc(STAGES["means"], 60, stream(0), threshold=1.1))
    _, particles = next(smc(STAGES["means"], 60, stream(0), threshold=0.0))
    from aisle_smc import systematic

    resampled = particles.resample(systematic, stream(1))
    assert resampled.x.points.shape == (60, 2)
    with pytest.raises(ValueError, match="leaves no evidence"):
        estimate(resampled.x)


def test_nothing_found_is_no_evidence_and_no_error():
    far = Several((Gaussian(mean=np.array([-50.0]), root=np.eye(1)),))
    stage = AdaptiveImportance(
        target=evaluate(half_line, 1),
        proposals=far,
        adaptation=FitProposal(),
        iterations=3,
        fresh=20,
    )
    for _, particles in smc(stage, 20, stream(0), threshold=0.0):
        assert particles.log_evidence == -math.inf


class Nowhere:
    """A proposal that draws what it says it never draws."""

    dim = 2

    def __init__(self, log_density):
        self._log_density = log_density

    def sample(self, n, rng):
        return rng.standard_normal((n, 2))

    def log_density(self, x):
        return self._log_density(x)

    def fit(self, x, weights):
        return self


@pytest.mark.parametrize("value", [-math.inf, math.nan, math.inf])
def test_a_proposal_without_density_at_its_own_draws(value):
    def log_density(x):
        out = np.zeros(len(x))
        out[3] = value
        return out

    with pytest.raises(ValueError, match=rf"at its draw 3, \[.*\], it is {value}"):
        draw(evaluate(bimodal, 2), Several((Nowhere(log_density),)), 10, stream(0))


def test_proposals_of_the_wrong_shape():
    target = evaluate(bimodal, 2)
    with pytest.raises(ValueError, match=r"must have shape \(10,\), one value per point"):
        draw(target, Several((Nowhere(lambda x: x),)), 10, stream(0))
    odd = Nowhere(lambda x: x[:, 0])
    odd.dim = 3
    with pytest.raises(ValueError, match=r"of shape \(10, 3\); they drew \(10, 2\)"):
        draw(target, Several((odd,)), 10, stream(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"fresh": -3}, "fresh must be at least 1"),
        ({"share": 1.0}, "share must be above 0 and below 1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveImportance(target=evaluate(bimodal, 2), proposals=scattered(3), **options)


def test_too_few_draws_for_the_proposals():
    with pytest.raises(ValueError, match="each of 6 proposals needs at least one draw; got n = 5"):
        list(smc(STAGES["means"], 5, stream(0), threshold=0.0))


def test_blobs_stay_with_their_draws():
    def with_blobs(x):
        return bimodal(x), x[:, 0] - x[:, 1]

    probe = np.random.default_rng(0).normal(size=(4, 2))
    target = evaluator(with_blobs, ["a", "b"], probe, vectorized=True)
    q = StudentT(location=np.zeros(2), root=3.0 * np.eye(2))
    stage = AdaptiveImportance(
        target=target,
        proposals=Several((q,)),
        weighting=temporal,
        adaptation=FitProposal(),
        iterations=3,
    )
    *_, (_, last) = smc(stage, 30, stream(0), threshold=0.0)
    np.testing.assert_array_equal(last.x.blobs, last.x.points[:, 0] - last.x.points[:, 1])
    np.testing.assert_array_equal(last.x.latest.blobs, last.x.blobs[60:])
    assert isinstance(last, Particles)
