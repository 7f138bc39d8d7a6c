"""The loop: what it yields, when it resamples, and that stopping it changes nothing."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest

from aisle_smc import Particles, resume, smc, stream
from aisle_smc.resampling import killing, multinomial, residual, ssp, stratified, systematic
from aisle_smc.ssm import LocalLevel
from aisle_smc.ssm.stage import FilterStage

SCHEMES = [multinomial, residual, stratified, systematic, ssp, killing]
LEVEL = LocalLevel()
PARAMS = LEVEL.parameters(
    {"level_sd": 1.0, "observation_sd": 0.7, "initial_mean": 0.5, "initial_sd": 1.0}
)
Y = np.array([0.8, 2.9, math.nan, -0.6, 1.7, 3.1, 2.2, -0.4])


def filter_stage(auxiliary=False):
    u = LEVEL.covariate_rows(None, Y.size)
    return FilterStage(bound=LEVEL.bind(PARAMS, Y, u, auxiliary=auxiliary))


@dataclass(frozen=True)
class Once:
    """Importance sampling: one population, no next stage."""

    mean: float

    def start(self, n, rng):
        x = rng.normal(self.mean, 2.0, n)
        return Particles(x, -0.5 * x**2 + 0.125 * (x - self.mean) ** 2 + math.log(2.0))

    def next(self, particles):
        return None

    def lookahead(self, particles):
        raise AssertionError("a single stage never looks ahead")

    def move(self, particles, rng):
        raise AssertionError("a single stage never moves")


@dataclass(frozen=True)
class Ladder:
    """Move a normal population towards a target by fixed powers of its density."""

    powers: tuple[float, ...]
    step: int = 0
    looks: bool = False

    def start(self, n, rng):
        return Particles(rng.normal(0.0, 3.0, n), np.zeros(n))

    def next(self, particles):
        return None if self.step == len(self.powers) - 1 else replace(self, step=self.step + 1)

    def lookahead(self, particles):
        return 0.1 * np.sin(particles.x) if self.looks else None

    def move(self, particles, rng):
        rise = self.powers[self.step] - self.powers[self.step - 1]
        return particles.reweight(-0.5 * rise * (particles.x - 1.0) ** 2)


LADDER = Ladder((0.0, 0.1, 0.4, 1.0))


def test_importance_sampling_is_a_single_stage():
    (stage, particles), *rest = smc(Once(0.5), 4000, stream(0))
    assert rest == []
    assert stage == Once(0.5)
    assert math.exp(particles.log_evidence) == pytest.approx(1.0, abs=0.1)


def test_stages_come_in_order_with_their_population():
    steps = list(smc(LADDER, 50, stream(0)))
    assert [stage.step for stage, _ in steps] == [0, 1, 2, 3]
    assert all(particles.n == 50 for _, particles in steps)
    assert steps[0][1].ancestors is None


def test_the_loop_takes_no_step_before_it_is_asked():
    rng = stream(0)
    steps = smc(LADDER, 50, rng)
    before = rng.bit_generator.state
    np.testing.assert_equal(rng.bit_generator.state, before)
    next(steps)
    state = rng.bit_generator.state
    assert state["state"]["state"].tolist() != before["state"]["state"].tolist()


@pytest.mark.parametrize("looks", [False, True])
def test_when_it_resamples(looks):
    ladder = replace(LADDER, looks=looks)
    never, always = (
        [each.ancestors is not None for _, each in smc(ladder, 50, stream(0), threshold=c)]
        for c in (0.0, 1.1)
    )
    assert never == [False] * 4
    assert always == [False] + [True] * 3
    previous = None
    for _, particles in smc(ladder, 50, stream(0), threshold=0.8):
        if previous is not None:
            log_eta = ladder.lookahead(previous)
            weights = previous if log_eta is None else previous.reweight(log_eta)
            assert (particles.ancestors is not None) == (weights.ess < 0.8 * 50)
        previous = particles


def test_ladder_is_unbiased():
    """600 runs at n = 5: int N(x; 0, 9) exp(-(x - 1)^2 / 2) dx; a bias of 20 % fails."""
    truth = math.exp(-0.5 / 10.0) / math.sqrt(10.0)
    for looks in (False, True):
        rng, found = stream(3), []
        for _ in range(600):
            *_, (_, last) = smc(replace(LADDER, looks=looks), 5, rng, threshold=0.7)
            found.append(math.exp(last.log_evidence) / truth)
        error = np.std(found, ddof=1) / math.sqrt(len(found))
        assert abs(np.mean(found) - 1.0) < 4 * error < 0.2


def same(a, b):
    np.testing.assert_array_equal(a.x, b.x)
    np.testing.assert_array_equal(a.log_w, b.log_w)
    assert a.log_z == b.log_z


STAGES = {
    "ladder": replace(LADDER, looks=True),
    "filter": filter_stage(),
    "auxiliary filter": filter_stage(auxiliary=True),
}


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("resampler", SCHEMES, ids=repr)
def test_continuing_from_a_pickle_gives_the_same_bits(name, resampler):
    options = {"resampler": resampler, "threshold": 0.8}
    rng, whole, frozen = stream(11), [], []
    for stage, particles in smc(STAGES[name], 60, rng, **options):
        whole.append(particles)
        frozen.append(pickle.dumps((stage, particles, rng, options)))
    for k, state in enumerate(frozen):
        stage, particles, thawed, options = pickle.loads(state)
        rest = [each for _, each in resume(stage, particles, thawed, **options)]
        assert len(rest) == len(whole) - 1 - k
        for a, b in zip(rest, whole[k + 1 :], strict=True):
            same(a, b)
        np.testing.assert_equal(thawed.bit_generator.state, rng.bit_generator.state)


CONTINUE = """
import pickle, sys
from aisle_smc import resume
stage, particles, rng = pickle.load(sys.stdin.buffer)
*_, (_, last) = resume(stage, particles, rng)
print(float(last.log_evidence).hex())
"""


def test_another_process_continues_to_the_same_bits():
    rng = stream(4)
    steps = smc(STAGES["filter"], 60, rng)
    for _ in range(3):
        stage, particles = next(steps)
    state = pickle.dumps((stage, particles, rng))
    *_, (_, last) = steps
    found = subprocess.run(
        [sys.executable, "-c", CONTINUE], input=state, capture_output=True, check=True
    )
    assert found.stdout.decode().strip() == float(last.log_evidence).hex()


def test_the_seed_of_a_resumed_run_spawns_as_before():
    """A pickled generator remembers how many streams it has spawned."""
    rng = stream(9)
    rng.spawn(2)
    thawed = pickle.loads(pickle.dumps(rng))
    assert thawed.spawn(1)[0].random() == rng.spawn(1)[0].random()
