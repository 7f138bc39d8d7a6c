"""Locations that climb the target, with scales from its curvature: gradient-based adaptation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from aisle_smc.arguments import check_count
from aisle_smc.arrays import Floats
from aisle_smc.importance.derivatives import curvature, gradient
from aisle_smc.importance.drawn import Round
from aisle_smc.importance.proposals import Proposals
from aisle_smc.importance.spread import located

__all__ = ["Ascend"]

# A step further than this from where the target was looked at could leave what it is written for.
_LONGEST = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ascend:
    r"""Move each location uphill and take the spread from the curvature where it arrives.

    .. math::
        \mu_k' = \mu_k + \theta_k \Sigma_k \nabla \log\gamma(\mu_k) + r_k, \qquad
        \Sigma_k' = \bigl(-\nabla^2 \log\gamma(\mu_k')\bigr)^{-1}

    where the Hessian is negative definite; elsewhere the proposal keeps its scale.
    :math:`\theta_k` is halved from 1 until the target does not fall; no step is longer than twenty
    units of :math:`\Sigma_k`.  The locations repel one another by

    .. math:: r_k = \text{repulsion} \, \text{decay}^t \, \frac1K \sum_{j \ne k}
        \frac{u_k - u_j}{\|u_k - u_j\|^d},

    a Poisson field, in coordinates u in which the average scale matrix is the identity; a location
    is pushed by at most one unit.

    Attributes
    ----------
    repulsion : float
        Strength of the repulsion; zero for none.
    decay : float
        Its factor from round to round.
    halvings : int
        How often a step is halved before the location stays where it is.

    Notes
    -----
    Gradients are the target's own where it has them and differences of its values otherwise.  A
    round costs ``1 + d + d^2`` evaluations for each location, or ``2 d + 1`` with gradients, and
    those of the steps that were tried.  A location where the target vanishes stays there.

    References
    ----------
    Elvira, Martino, Luengo and Corander (2015), A gradient adaptive population importance sampler;
    Schuster (2015), Gradient importance sampling; Elvira, Chouzenoux, Akyildiz and Martino (2023),
    Gradient-based adaptive importance samplers.
    """

    repulsion: float = 0.0
    decay: float = 0.8
    halvings: int = 12

    def __post_init__(self) -> None:
        check_count("halvings", self.halvings)
        if not (self.repulsion >= 0.0 and 0.0 < self.decay <= 1.0):
            raise ValueError(
                "repulsion must be 0 or more and decay above 0 and at most 1; got "
                f"{self.repulsion} and {self.decay}"
            )

    def adapt(self, last: Round) -> Proposals:
        """Return the proposals at their new locations."""
        present = located(last)
        roots = np.broadcast_to(present.roots, (present.count, present.dim, present.dim))
        step = np.sqrt(np.square(roots).sum(axis=2))
        x, height, slope = present.locations, present.log_density, present.gradients
        if height is None or slope is None:
            height, slope = gradient(last.target, x, step)
        x, height = self._uphill(last, x, height, slope, roots)
        if self.repulsion > 0.0 and present.count > 1:
            pushed = x + self.repulsion * self.decay ** (last.t - 1) * _field(x, roots)
            found = last.target(pushed).log_density
            # Nobody is pushed out of the support.
            x = np.where(np.isfinite(found)[:, None], pushed, x)
        height, slope, hessian = curvature(last.target, x, step)
        return replace(
            present,
            locations=x,
            roots=_roots(hessian, roots),
            log_density=height,
            gradients=slope,
        )

    def _uphill(
        self, last: Round, x: Floats, height: Floats, slope: Floats, roots: Floats
    ) -> tuple[Floats, Floats]:
        """Return the locations after one step each, and the target there."""
        white = np.einsum("klj,kl->kj", roots, slope)
        length = np.sqrt(np.square(white).sum(axis=1, keepdims=True))
        with np.errstate(invalid="ignore"):
            white = white * np.minimum(1.0, _LONGEST / np.maximum(length, _LONGEST))
        direction = np.einsum("kij,kj->ki", roots, white)
        x, height = x.copy(), height.copy()
        open_ = np.flatnonzero(np.isfinite(direction).all(axis=1) & direction.any(axis=1))
        theta = 1.0
        for _ in range(self.halvings):
            if not open_.size:
                break
            trial = x[open_] + theta * direction[open_]
            found = last.target(trial).log_density
            better = (found >= height[open_]) & (found > -np.inf)
            x[open_[better]], height[open_[better]] = trial[better], found[better]
            open_ = open_[~better]
            theta *= 0.5
        return x, height


def _field(x: Floats, roots: Floats) -> Floats:
    """Return the repulsion that each location feels, at unit strength."""
    count, dim = x.shape
    pooled = np.linalg.cholesky(np.mean(roots @ roots.transpose(0, 2, 1), axis=0))
    u = np.linalg.solve(pooled, x.T).T
    push = np.empty_like(u)
    for k in range(count):
        away = u[k] - u
        distance = np.sqrt(np.square(away).sum(axis=1))
        # Coincident locations feel nothing of each other; close ones no more than at 1e-3.
        strength = np.where(distance > 0.0, np.maximum(distance, 1e-3) ** -float(dim), 0.0)
        push[k] = strength @ away / count
    length = np.sqrt(np.square(push).sum(axis=1, keepdims=True))
    return np.asarray((push / np.maximum(length, 1.0)) @ pooled.T)


def _roots(hessian: Floats, roots: Floats) -> Floats:
    """Return roots of the inverse negative Hessians, the present ones where there is none."""
    usable = np.asarray(np.isfinite(hessian).all(axis=(1, 2)))
    values, vectors = np.linalg.eigh(np.where(usable[:, None, None], -hessian, 0.0))
    usable = usable & (values[:, 0] > 1e-10 * np.abs(values[:, -1]))
    out = np.array(roots)
    scaled = vectors[usable] / values[usable][:, None, :]
    out[usable] = np.linalg.cholesky(scaled @ vectors[usable].transpose(0, 2, 1))
    return out
