"""Bridges to a posterior: from its prior, or from any density that can be sampled."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aisle_smc.arrays import Array, Floats
from aisle_smc.distributions import Distribution
from aisle_smc.moves import Points
from aisle_smc.sampling.meter import Meter, Spent
from aisle_smc.sampling.scores import score
from aisle_smc.sampling.spaces import AffineSpace, Space
from aisle_smc.targets import Evaluator

__all__ = ["FromBase", "FromPrior", "Posterior"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A log-density with its gradient.

    Attributes
    ----------
    log_density : ndarray, shape (n,)
        In nats.
    score : ndarray, shape (n, d)
        Its gradient by the coordinates.
    blobs : ndarray, shape (n, ...), or None
        What else the user's function returned.
    """

    log_density: Floats
    score: Floats
    blobs: Array | None


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
        value, gradients, blobs = self._called(z, gradients=scores)
        slope = None if gradients is None else self.space.pull_back(z, gradients)
        return value, slope, blobs

    def scored(self, z: Floats) -> Scored:
        """Return the log of the unnormalised posterior in `z` with its gradient."""
        value, gradients, blobs = self._called(z, gradients=True)
        assert gradients is not None
        return Scored(
            log_density=value + self.space.log_reference(z),
            score=_whole_score(self.space, z, gradients),
            blobs=blobs,
        )

    def log_density(self, z: Floats) -> Floats:
        """Return the log of the unnormalised posterior in `z`, shape (n,), in nats."""
        return self.likelihood(z, scores=False)[0] + self.space.log_reference(z)

    def _called(self, z: Floats, *, gradients: bool) -> tuple[Floats, Floats | None, Array | None]:
        """Return the user's function, its gradient by the parameters on request, and the blobs."""
        inside = self.space.supported(z)
        theta = self.space.parameters(z)
        if inside is None or inside.all():
            return self._evaluated(theta, gradients=gradients)
        value = np.full(z.shape[0], -math.inf)
        slope, blobs = np.zeros_like(theta) if gradients else None, None
        value[inside], some_slopes, some_blobs = self._evaluated(
            theta[inside], gradients=gradients
        )
        if slope is not None:
            slope[inside] = some_slopes
        if some_blobs is not None:
            blobs = np.zeros((z.shape[0], *some_blobs.shape[1:]), dtype=some_blobs.dtype)
            blobs[inside] = some_blobs
        return value, slope, blobs

    def _evaluated(
        self, theta: Floats, *, gradients: bool
    ) -> tuple[Floats, Floats | None, Array | None]:
        n = theta.shape[0]
        self.meter.spend(n)
        before = self.evaluator.calls
        try:
            found = self.evaluator.with_gradients(theta) if gradients else self.evaluator(theta)
        except Spent:
            self.meter.evaluations -= n - (self.evaluator.calls - before)
            raise
        return found.log_density + self.offset, found.gradients, found.blobs


def _whole_score(space: Space, z: Floats, gradients: Floats) -> Floats:
    """Return likelihood and reference score together, which whitening turns into `z` at once."""
    if isinstance(space, AffineSpace):
        return space.outside(_whole_score(space.inner, space.inside(z), gradients))
    return np.asarray(space.pull_back(z, gradients) + space.reference_score(z))


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
        log_base = self.base.log_density(z)
        both = blobs = None
        if scores:
            found = self.posterior.scored(z)
            log_density, blobs = found.log_density, found.blobs
            own = score(self.base, z)
            both = np.stack([own, found.score - own])
        else:
            value, _, blobs = self.posterior.likelihood(z, scores=False)
            log_density = value + self.posterior.space.log_reference(z)
        with np.errstate(invalid="ignore"):
            ratio = log_density - log_base
        ratio = np.where(np.isneginf(log_density), -math.inf, ratio)
        return Points(z=z, log_base=log_base, log_ratio=ratio, scores=both, blobs=blobs)
