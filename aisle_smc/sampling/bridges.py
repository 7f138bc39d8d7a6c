"""Bridges to a posterior: from its prior, or from any density that can be sampled."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aisle_smc.arrays import Array, Floats
from aisle_smc.distributions import Distribution
from aisle_smc.moves import Points
from aisle_smc.sampling.meter import Meter
from aisle_smc.sampling.scores import score
from aisle_smc.sampling.spaces import Space
from aisle_smc.targets import Evaluator

__all__ = ["FromBase", "FromPrior", "Posterior"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """The unnormalised posterior in the coordinates of a space.

    Attributes
    ----------
    space : Space
        Coordinates and reference density.
    evaluator : Evaluator
        The user's function.
    meter : Meter
        What counts the evaluations, and may refuse them.
    offset : float
        A constant added to the user's function, in nats.
    """

    space: Space
    evaluator: Evaluator
    meter: Meter
    offset: float = 0.0

    def likelihood(self, z: Floats, *, scores: bool) -> tuple[Floats, Floats | None, Array | None]:
        """Return the user's function, its gradient by `z` on request, and the blobs.

        Where the prior is zero the function is not called, and counts as ``-inf``.
        """
        inside = self.space.supported(z)
        if inside is None or inside.all():
            return self._called(z, scores=scores)
        value = np.full(z.shape[0], -math.inf)
        slope, blobs = np.zeros_like(z) if scores else None, None
        value[inside], some_slopes, some_blobs = self._called(z[inside], scores=scores)
        if slope is not None:
            slope[inside] = some_slopes
        if some_blobs is not None:
            blobs = np.zeros((z.shape[0], *some_blobs.shape[1:]), dtype=some_blobs.dtype)
            blobs[inside] = some_blobs
        return value, slope, blobs

    def _called(self, z: Floats, *, scores: bool) -> tuple[Floats, Floats | None, Array | None]:
        self.meter.spend(z.shape[0])
        theta = self.space.parameters(z)
        if not scores:
            found = self.evaluator(theta)
            return found.log_density + self.offset, None, found.blobs
        found = self.evaluator.with_gradients(theta)
        assert found.gradients is not None
        slope = self.space.pull_back(z, found.gradients)
        return found.log_density + self.offset, slope, found.blobs

    def log_density(self, z: Floats) -> Floats:
        """Return the log of the unnormalised posterior in `z`, shape (n,), in nats."""
        return self.likelihood(z, scores=False)[0] + self.space.log_reference(z)


@dataclass(frozen=True, slots=True, kw_only=True)
class FromPrior:
    """The bridge from the prior: its log-ratio is the log-likelihood.

    Attributes
    ----------
    posterior : Posterior
        The target; its space has a proper reference.
    """

    posterior: Posterior

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self.posterior.space.dim

    @property
    def has_scores(self) -> bool:
        """Whether gradients are available."""
        return bool(self.posterior.evaluator.has_gradients)

    def start(self, n: int, rng: np.random.Generator) -> Points:
        """Draw points from the prior."""
        return self.at(self.posterior.space.sample(n, rng))

    def at(self, z: Floats, *, scores: bool = False) -> Points:
        """Evaluate prior and likelihood, with gradients on request."""
        space = self.posterior.space
        value, gradient, blobs = self.posterior.likelihood(z, scores=scores)
        log_base = space.log_reference(z)
        # Outside of the prior the ratio is -inf, which rules a point out whatever the base is
        # said to be; a finite number keeps proposals comparable with it.
        log_base = np.where(np.isneginf(log_base), 0.0, log_base)
        both = None if gradient is None else np.stack([space.reference_score(z), gradient])
        return Points(z=z, log_base=log_base, log_ratio=value, scores=both, blobs=blobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class FromBase:
    """The bridge from any distribution: its log-ratio is log-posterior less log-density.

    Attributes
    ----------
    posterior : Posterior
        The target.
    base : Distribution
        Where the bridge starts, in the coordinates of the space.
    """

    posterior: Posterior
    base: Distribution

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self.posterior.space.dim

    @property
    def has_scores(self) -> bool:
        """Whether gradients are available."""
        return bool(self.posterior.evaluator.has_gradients)

    def start(self, n: int, rng: np.random.Generator) -> Points:
        """Draw points from the base."""
        return self.at(self.base.sample(n, rng))

    def at(self, z: Floats, *, scores: bool = False) -> Points:
        """Evaluate base and posterior, with gradients on request."""
        space = self.posterior.space
        value, gradient, blobs = self.posterior.likelihood(z, scores=scores)
        log_base = self.base.log_density(z)
        with np.errstate(invalid="ignore"):
            ratio = value + space.log_reference(z) - log_base
        ratio = np.where(np.isneginf(value), -math.inf, ratio)
        both = None
        if gradient is not None:
            own = score(self.base, z)
            both = np.stack([own, gradient + space.reference_score(z) - own])
        return Points(z=z, log_base=log_base, log_ratio=ratio, scores=both, blobs=blobs)
