"""Adaptations: values that turn the proposals of one round into those of the next."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from aisle_kernels import weights as kernels

from aisle_smc.arrays import Floats, Integers
from aisle_smc.distributions import Distribution, Gaussian, StudentT
from aisle_smc.divergences import Stabiliser, WeightTempering
from aisle_smc.importance.drawn import Drawn, Round
from aisle_smc.importance.proposals import Proposals, Several
from aisle_smc.importance.spread import Spread, kept, kernel, located
from aisle_smc.resampling import Resampler, systematic

__all__ = [
    "Adaptation",
    "FitProposal",
    "InTurn",
    "Keep",
    "LocalMeans",
    "Moments",
    "ResampleGlobally",
    "ResampleLocally",
    "keep",
    "moments",
]


class Adaptation(Protocol):
    """What a stage asks of an adaptation."""

    def adapt(self, last: Round) -> Proposals:
        """Return the proposals of the next round.

        They may depend on all draws so far in any way: draws of the next round are weighted by
        the density that they are drawn from, whatever it is.
        """
        ...


@dataclass(frozen=True, slots=True)
class Keep:
    """Change nothing."""

    def adapt(self, last: Round) -> Proposals:
        """Return the present proposals."""
        return last.proposals

    def __repr__(self) -> str:
        return "keep"


@dataclass(frozen=True, slots=True)
class InTurn:
    """Apply one adaptation after another to the same draws.

    Attributes
    ----------
    steps : tuple of Adaptation
        In their order.
    """

    steps: tuple[Adaptation, ...]

    def adapt(self, last: Round) -> Proposals:
        """Return the proposals after all steps."""
        for step in self.steps:
            last = replace(last, proposals=step.adapt(last))
        return last.proposals


@dataclass(frozen=True, slots=True, kw_only=True)
class FitProposal:
    r"""Fit one proposal to the weighted draws.

    .. math:: q_{t+1} = \arg\max_q \sum_i \bar w_i \log q(x_i)

    over a family: moment matching for exponential families, expectation-maximisation for mixtures
    and Student-t distributions.  It minimises the inclusive divergence from target to proposal.

    Attributes
    ----------
    fit : callable or None
        ``fit(x, weights, rng)`` returns the proposal, as :class:`Moments` and
        :func:`aisle_smc.distributions.fit_mixture` do; None refits the present proposal by its own
        ``fit(x, weights)``.
    stabiliser : Stabiliser or None
        What the weights go through before the fit, and only there.
    points : float
        Effective draws wanted for each of the ``2 d + 1`` numbers in a centre and scales; where
        there are fewer the weights are raised to the power that leaves as many, or half of all.
        0 takes the weights as they are.
    """

    fit: Callable[[Floats, Floats, np.random.Generator], Distribution] | None = None
    stabiliser: Stabiliser | None = None
    points: float = 3.0

    def __post_init__(self) -> None:
        if not self.points >= 0.0:
            raise ValueError(f"points must be 0 or more; got {self.points}")

    def adapt(self, last: Round) -> Proposals:
        """Return the fitted proposal; the present one when no draw has weight."""
        if not last.weights.any():
            return last.proposals
        x, log_w = last.drawn.points, last.drawn.log_w
        if self.stabiliser is not None:
            log_w = self.stabiliser.apply(log_w).log_w
        wanted = min(self.points * (2 * x.shape[1] + 1), 0.5 * float(np.isfinite(log_w).sum()))
        if kernels.ess(log_w) < wanted:
            log_w = WeightTempering(share=wanted / log_w.shape[0]).apply(log_w).log_w
        weights = normalised(log_w)
        if self.fit is None:
            return Several((last.proposals.distribution().fit(x, weights),))
        return Several((self.fit(x, weights, last.rng),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Fit a Student-t distribution, or a Gaussian, by mean and covariance.

    Attributes
    ----------
    df : float
        Degrees of freedom, above 2; infinite for a Gaussian.  They are not fitted: where the
        target has several modes the most likely tails are those of a Gaussian, under which the
        weights of the outer modes have no variance.
    """

    df: float = 5.0

    def __post_init__(self) -> None:
        if not self.df > 2.0:
            raise ValueError(f"df must be above 2, for a covariance; got {self.df}")

    def __call__(self, x: Floats, weights: Floats, rng: np.random.Generator) -> Distribution:
        """Return the distribution that has the moments of weighted points."""
        dim = x.shape[1]
        found = Gaussian(mean=np.zeros(dim), root=np.eye(dim)).fit(x, weights)
        if math.isinf(self.df):
            return found
        scale = math.sqrt((self.df - 2.0) / self.df)
        return StudentT(location=found.mean, root=scale * found.root, df=self.df)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResampleGlobally:
    """Draw the new locations from all draws of the last round, by weight.

    Attributes
    ----------
    resampler : Resampler
        How.
    spread : Spread
        How wide the proposals are there.

    References
    ----------
    Cappe, Guillin, Marin and Robert (2004), Population Monte Carlo; Elvira, Martino,
    Luengo and Bugallo (2017), Improving population Monte Carlo: alternative weighting and
    resampling schemes: GR-PMC.
    """

    resampler: Resampler = systematic
    spread: Spread = kernel

    def adapt(self, last: Round) -> Proposals:
        """Return the proposals at their new locations."""
        present, drawn = located(last), last.drawn.latest
        weights = normalised(drawn.log_w)
        if not weights.any():
            return present
        chosen, _ = self.resampler.draw(weights, present.count, last.rng)
        owner = np.repeat(np.arange(present.count), drawn.proposals.sizes(drawn.n))
        return replace(
            present,
            locations=drawn.points[chosen],
            roots=self.spread.roots(last, owner[chosen]),
            log_density=drawn.log_density[chosen],
            gradients=None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResampleLocally:
    """Move each location to one of its own proposal's draws, by weight.

    No proposal dies, which keeps them apart; nothing carries one to a better place than its own
    draws reach.

    Attributes
    ----------
    spread : Spread
        How wide the proposals are there.

    References
    ----------
    Elvira, Martino, Luengo and Bugallo (2017): LR-PMC.
    """

    spread: Spread = kernel

    def adapt(self, last: Round) -> Proposals:
        """Return the proposals at their new locations."""
        present, drawn = located(last), last.drawn.latest
        rows, w = own_weights(drawn, drawn.log_w)
        total = np.cumsum(w, axis=1)
        # Below the total by rounding, too: the first sum above u is that of a draw with weight.
        u = last.rng.random(present.count) * total[:, -1]
        column = np.minimum((total <= u[:, None]).sum(axis=1), w.shape[1] - 1)
        chosen = rows[np.arange(present.count), column]
        alive = total[:, -1] > 0.0
        known = np.full(present.count, np.nan)
        if present.log_density is not None:
            known = present.log_density
        values = np.where(alive, drawn.log_density[chosen], known)
        return replace(
            present,
            locations=np.where(alive[:, None], drawn.points[chosen], present.locations),
            roots=self.spread.roots(last, np.arange(present.count)),
            log_density=None if np.isnan(values).any() else values,
            gradients=None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalMeans:
    r"""Move each location to the mean that its proposal's own draws estimate.

    .. math:: \mu_k' = \frac{\sum_i w_i x_i}{\sum_i w_i}, \qquad w_i = \frac{\gamma(x_i)}{q_k(x_i)}

    over the draws of proposal k, weighted by it alone whatever the weighting of the stage is.

    Attributes
    ----------
    spread : Spread
        How wide the proposals are there.

    Notes
    -----
    An epoch of the algorithm, in which the proposals stand still, is one round here: an epoch of
    five steps with two draws each is a round with ten draws for each proposal.

    References
    ----------
    Martino, Elvira, Luengo and Corander (2015), An adaptive population importance sampler:
    learning from uncertainty.
    """

    spread: Spread = kept

    def adapt(self, last: Round) -> Proposals:
        """Return the proposals at their new locations."""
        present, drawn = located(last), last.drawn.latest
        rows, w = own_weights(drawn, drawn.log_density - drawn.log_own)
        total = w.sum(axis=1)
        alive = total > 0.0
        means = (
            np.einsum("km,kmd->kd", w, drawn.points[rows]) / np.where(alive, total, 1.0)[:, None]
        )
        return replace(
            present,
            locations=np.where(alive[:, None], means, present.locations),
            roots=self.spread.roots(last, np.arange(present.count)),
            log_density=None,
            gradients=None,
        )


def normalised(log_w: Floats) -> Floats:
    """Return normalised weights; all zero when no draw has weight."""
    top = float(log_w.max())
    if top == -np.inf:
        return np.zeros_like(log_w)
    w = np.exp(log_w - top)
    return np.asarray(w / w.sum())


def own_weights(drawn: Drawn, log_w: Floats) -> tuple[Integers, Floats]:
    """Return, proposal by proposal, the rows of its draws and their weights.

    Both have shape (K, m): the rows of proposals that drew one fewer repeat the last with weight
    zero.  Weights are scaled to a largest one of 1 for each proposal; all zero if it has no mass.
    """
    sizes = drawn.proposals.sizes(drawn.n)
    first = np.cumsum(sizes) - sizes
    column = np.arange(int(sizes.max()))
    rows = first[:, None] + np.minimum(column, sizes[:, None] - 1)
    log_own = np.where(column < sizes[:, None], log_w[rows], -np.inf)
    top = log_own.max(axis=1, keepdims=True)
    return rows, np.exp(log_own - np.where(np.isfinite(top), top, 0.0))


keep = Keep()
moments = Moments()
