"""Persistent tempering: when a run stays at the target, and when it has seen enough."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from aisle_kernels import weights as kernels

from aisle_smc import smc, stream
from aisle_smc.moves import CrankNicolson, Portfolio
from aisle_smc.particles import Particles
from aisle_smc.tempering import Persistent
from aisle_smc.tempering.persistent import RISE
from tests.oracles.paths import Normal


@pytest.fixture(scope="module")
def ended():
    """The last stage of a run, which has used up the stages it may stay, and its population."""
    stage = Persistent(bridge=Normal(), portfolio=Portfolio(kernels=(CrankNicolson(),)), stay=0)
    *_, (stage, particles) = smc(stage, 300, stream(3), threshold=0.0)
    assert stage.level.slope == 1.0
    assert stage.stay == 0
    return stage, particles


def risen(particles, by):
    """Return the population as if its last stage had found so much mass, in nats."""
    history = particles.x
    now = float(kernels.log_mean_exp(history.pool.log_weights(history.records[-1].level)))
    records = (*history.records[:-1], replace(history.records[-1], log_z=now - by))
    return Particles(replace(history, records=records), np.zeros(history.pool.n))


def test_a_stage_that_has_found_new_mass_is_followed_by_another(ended):
    stage, particles = ended
    assert stage.next(particles) is None
    assert stage.next(risen(particles, 0.5 * RISE)) is None
    following = stage.next(risen(particles, 2.0 * RISE))
    assert following is not None
    assert following.level == stage.level
    assert following.stay == 0  # it costs none of the stages that may be spent on fitting better


def test_mass_that_only_went_away_is_not_new(ended):
    stage, particles = ended
    assert stage.next(risen(particles, -2.0 * RISE)) is None


def test_a_density_whose_mass_never_ends_does(ended):
    stage, particles = ended
    more = risen(particles, 2.0 * RISE)
    stage = replace(stage, rises=2)
    assert stage.next(more).next(more).rises == 0
    assert stage.next(more).next(more).next(more) is None


def test_a_rough_run_asks_for_none(ended):
    stage, particles = ended
    assert replace(stage, rises=0).next(risen(particles, 2.0 * RISE)) is None
