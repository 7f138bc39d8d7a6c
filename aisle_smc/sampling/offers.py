r"""A proposal that a person brings, as a source of draws in the coordinates of a run.

The proposal :math:`q` lives in the free parameters, as the person writes them.  In coordinates
:math:`z` with :math:`\theta = \theta(z)` its density is
:math:`q(\theta(z)) \, |\partial \theta / \partial z|`, and draws come from

.. math:: (1 - \delta) \, q(\theta(z)) \, |\partial \theta / \partial z| + \delta \, s(z)

with a safe distribution :math:`s`, the prior where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from aisle_smc.arrays import Floats
from aisle_smc.coordinates import Coordinate
from aisle_smc.distributions import Distribution, as_distribution
from aisle_smc.moves import Points
from aisle_smc.sampling.bridges import Posterior
from aisle_smc.sampling.spaces import BareSpace, DistributionSpace, PriorSpace, Space, WhiteSpace
from aisle_smc.sampling.starts import reference

__all__ = ["FromOffer", "Offer", "read_offer"]

# Share of draws that the safe distribution makes.
SHARE = 0.1


class Offer(Protocol):
    """What a proposal must be able to do; both in the free parameters, one draw a row."""

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw `n` independent points, shape (n, d)."""
        ...

    def log_density(self, x: Floats) -> Floats:
        """Return the normalised log-density of what `sample` draws, shape (n,), in nats."""
        ...


def read_offer(proposal: Any, free: Sequence[str], rng: np.random.Generator) -> Offer:
    """Return a proposal of the free parameters, made of what was given.

    Raises
    ------
    TypeError, ValueError
        If it is no distribution, or one of other parameters.
    """
    if isinstance(proposal, Mapping):
        if set(proposal) != set(free):
            raise ValueError(
                f"a proposal by names needs a distribution for each of {', '.join(free)}; got "
                f"{', '.join(map(str, proposal))}"
            )
        proposal = [proposal[name] for name in free]
    methods = [getattr(proposal, name, None) for name in ("sample", "log_density")]
    ready = all(map(callable, methods)) and not isinstance(proposal, type)
    offer: Offer = proposal if ready else as_distribution(proposal)
    x = np.asarray(offer.sample(2, rng))
    if x.shape != (2, len(free)):
        raise ValueError(
            f"the proposal must draw a row for each point and a column for each of "
            f"{', '.join(free)}: shape (2, {len(free)}) for two points; got {x.shape}"
        )
    log_q = np.asarray(offer.log_density(x))
    if log_q.shape != (2,) or not np.isfinite(log_q).all():
        raise ValueError(
            "the proposal must have a finite log-density at its own draws, shape (2,) for two of "
            f"them; got {log_q}"
        )
    return offer


@dataclass(frozen=True, slots=True, kw_only=True)
class FromOffer:
    """Draws from a person's proposal and a safe distribution, weighed for the posterior.

    Attributes
    ----------
    posterior : Posterior
        The target.
    offer : Offer
        The proposal, in the free parameters.
    safety : Distribution or None
        The safe distribution, in coordinates; None for the prior.
    """

    posterior: Posterior
    offer: Offer
    safety: Distribution | None = None

    def start(self, n: int, rng: np.random.Generator) -> Points:
        """Draw points and evaluate the target at them.

        A draw outside of the support stays where coordinates are zero, with a weight of zero, so
        that the mean of all weights is the evidence.
        """
        space = self.posterior.space
        safe = int(rng.binomial(n, SHARE))
        z, alive = np.zeros((n, space.dim)), np.ones(n, dtype=bool)
        if safe < n:
            theta = np.asarray(self.offer.sample(n - safe, rng), dtype=np.float64)
            alive[safe:] = inside = _inside(space, theta)
            z[safe:][inside] = _coordinates(space, theta[inside])
        if safe:
            z[:safe] = self._safety.sample(safe, rng)
        order = rng.permutation(n)
        z, alive = z[order], alive[order]
        likelihood = np.full(n, -math.inf)
        likelihood[alive], _, some = self.posterior.likelihood(z[alive], scores=False)
        blobs = None
        if some is not None:
            blobs = np.zeros((n, *some.shape[1:]), dtype=some.dtype)
            blobs[alive] = some
        log_base = np.zeros(n)
        log_base[alive] = self.log_density(z[alive])
        with np.errstate(invalid="ignore"):
            ratio = likelihood + space.log_reference(z) - log_base
        ratio = np.where(np.isneginf(likelihood), -math.inf, ratio)
        return Points(z=z, log_base=log_base, log_ratio=ratio, blobs=blobs)

    def log_density(self, z: Floats) -> Floats:
        """Return the log-density of the draws in coordinates, shape (n,), in nats."""
        space = self.posterior.space
        theta = space.draws(z)
        own = np.asarray(self.offer.log_density(theta)) + _log_jacobian(space, z, theta)
        safe = self._safety.log_density(z)
        return np.asarray(np.logaddexp(math.log1p(-SHARE) + own, math.log(SHARE) + safe))

    @property
    def _safety(self) -> Distribution:
        safe = reference(self.posterior.space) if self.safety is None else self.safety
        assert safe is not None
        return safe


def _inside(space: Space, theta: Floats) -> npt.NDArray[np.bool_]:
    """Return which parameters have coordinates, shape (n,)."""
    inside = np.asarray(np.isfinite(theta).all(axis=1))
    if isinstance(space, DistributionSpace):
        inside[inside] = space.supported(theta[inside])
    coordinates: Sequence[Coordinate] = ()
    if isinstance(space, BareSpace):
        coordinates = space.coordinates
    elif isinstance(space, PriorSpace):
        coordinates = space.prior.coordinates
    for j, coordinate in enumerate(coordinates):
        inside &= coordinate.inside(theta[:, j])
    return inside


def _coordinates(space: Space, theta: Floats) -> Floats:
    """Return the coordinates of parameters inside the support, shape (n, d)."""
    if isinstance(space, BareSpace):
        return space.coordinates_of(theta)
    if isinstance(space, PriorSpace):
        z = np.asarray(space.prior.to_normal(theta))
        return z if space.rotation is None else np.asarray(space.rotation.apply(z))
    if isinstance(space, WhiteSpace):
        return np.asarray(np.linalg.solve(space.prior.root, (theta - space.prior.mean).T).T)
    return theta


def _log_jacobian(space: Space, z: Floats, theta: Floats) -> Floats:
    """Return ``log |d theta / d z|``, shape (n,)."""
    if isinstance(space, BareSpace):
        return space.log_reference(z)
    if isinstance(space, PriorSpace | WhiteSpace):
        # The prior in coordinates is its density in the parameters times the Jacobian.
        return np.asarray(space.log_reference(z) - space.prior.log_density(theta))
    return np.zeros(z.shape[0])
