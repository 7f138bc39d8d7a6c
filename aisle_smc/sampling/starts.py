"""Where a run starts: how circles are cut, and from which density the path to the target goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from aisle_smc.distributions import Defensive, Distribution, Gaussian, StudentT
from aisle_smc.moves import Bridge, CrankNicolson, DifferentialEvolution, Portfolio
from aisle_smc.normal_scores import Rotation
from aisle_smc.sampling.bridges import FromBase, FromPrior, Posterior
from aisle_smc.sampling.laplace import laplace
from aisle_smc.sampling.scores import Standard
from aisle_smc.sampling.spaces import (
    AffineSpace,
    DistributionSpace,
    PriorSpace,
    Space,
    WhiteSpace,
)
from aisle_smc.sampling.variational import closest
from aisle_smc.smc import smc
from aisle_smc.tempering import History, Persistent
from aisle_smc.tempering.levels import next_temperature

__all__ = ["first_bridge", "reference", "turned"]

# Climbs to look for modes; points to compare two starts; points of a rough run.
CLIMBS, PILOT, ROUGH = 8, 400, 500
# Dimensions up to which the way from the prior is short, and finds modes that climbs do not.
FEW = 20


def reference(space: Space) -> Distribution | None:
    """Return the prior in the coordinates of a space, or None where it is not to be had there."""
    if isinstance(space, PriorSpace | WhiteSpace):
        return Standard(space.dim)
    return space.prior if isinstance(space, DistributionSpace) else None


def turned(
    posterior: Posterior, circles: Sequence[int], n: int, rng: np.random.Generator
) -> Posterior:
    """Return a posterior whose circles are cut where a rough run finds little mass.

    Parameters
    ----------
    posterior : Posterior
        With a prior by names.
    circles : sequence of int
        Places of the periodic parameters.
    n : int
        Points of a stage of the rough run, at most.
    rng : Generator
        Randomness of the run.
    """
    pilot = Persistent(
        bridge=FromPrior(posterior=posterior),
        portfolio=Portfolio(kernels=(CrankNicolson(), DifferentialEvolution())),
        efficiency=0.3,
        stay=0,
        rises=0,
    )
    *_, (_, particles) = smc(pilot, min(n, ROUGH), rng, threshold=0.0)
    pool = cast(History, particles.x).pool
    rotation = Rotation.fit(pool.points.z, particles.weights, tuple(circles))
    space = replace(cast(PriorSpace, posterior.space), rotation=rotation)
    return replace(posterior, space=space)


def first_bridge(posterior: Posterior, rng: np.random.Generator) -> tuple[Posterior, Bridge]:
    """Return the way to a target with a gradient or without, in the coordinates that suit it.

    Without a gradient, or in few dimensions, the way starts at the prior; else perhaps at a normal
    approximation.
    """
    prior = FromPrior(posterior=posterior)
    if not posterior.evaluator.has_gradients or posterior.space.dim <= FEW:
        return posterior, prior
    guess = laplace(posterior, posterior.space.sample(CLIMBS, rng))
    if guess is None:
        return posterior, prior
    white = posterior
    if isinstance(guess, Gaussian):
        # In many dimensions the coordinates become those of the approximation.
        guess = closest(posterior, guess, rng)
        space = AffineSpace(inner=posterior.space, mean=guess.mean, root=guess.root)
        white = replace(posterior, space=space)
        base: Distribution = Standard(guess.dim)
    elif len(guess.parts) > 1:
        # Where there are several modes there are others that no climb has found.
        return posterior, prior
    else:
        centre = cast(StudentT, guess.parts[0])
        wide = StudentT(location=centre.location, root=2.0 * centre.root, df=4.0)
        base = Defensive(proposal=guess, safety=wide, share=0.1)
    bridge = FromBase(posterior=white, base=base)
    # The better start is the one that comes farther in one step.
    steps = []
    for one in (prior, bridge):
        points = one.start(PILOT, rng)
        steps.append(next_temperature(np.zeros(PILOT), points.log_ratio, 0.0, 0.5))
    return (posterior, prior) if steps[0] >= steps[1] else (white, bridge)
