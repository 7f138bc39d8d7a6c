r"""Moves that keep a fitted mixture invariant, and so nearly keep a target that it resembles.

For a mixture :math:`q = \sum_k w_k t_k` and a point z, draw a part by its responsibility
:math:`w_k t_k(z) / q(z)` and make a proposal reversible with respect to :math:`t_k`.  The
responsibilities of both ends cancel against the parts, so that the acceptance probability is that
of an independence sampler,

.. math:: \alpha = \min\Bigl(1, \frac{\pi(z') / q(z')}{\pi(z) / q(z)}\Bigr),

although the step can be as small as one likes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solve_triangular

from aisle_smc.arrays import Floats
from aisle_smc.distributions import Distribution, Mixture, StudentT, fit_mixture
from aisle_smc.moves.metropolis import Moved, metropolis
from aisle_smc.moves.points import Bridge, Level, Points
from aisle_smc.moves.walks import stepped

__all__ = ["CrankNicolson", "Independence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CrankNicolson:
    """Preconditioned Crank-Nicolson steps for a mixture of Student-t distributions.

        z' = mu_k + sqrt(1 - rho^2) (z - mu_k) + rho sqrt(s) root_k noise
        1/s ~ Gamma((df + d) / 2, rate (df + |root_k^-1 (z - mu_k)|^2) / 2)

    Attributes
    ----------
    mixture : Mixture of StudentT, or None
        What the proposal keeps invariant; None before the first fit.
    rho : float
        Size of a step, at most 1.
    parts : int
        The largest number of parts to fit.

    References
    ----------
    Cotter, Roberts, Stuart and White (2013); Grumitt, Karamanis and Seljak (2024), Flow annealed
    Kalman inversion, for the Student-t form.
    """

    mixture: Mixture | None = None
    rho: float = 0.5
    parts: int = 8

    @property
    def name(self) -> str:
        """A word for tables."""
        return "Crank-Nicolson"

    @property
    def calls(self) -> int:
        """Evaluations of the target for each point and application."""
        return 1

    def move(
        self, points: Points, level: Level, bridge: Bridge, rng: np.random.Generator
    ) -> Moved:
        """Apply the kernel once to every point."""
        if self.mixture is None:
            raise ValueError("fit the kernel to a population before its first move")
        parts = self.mixture.parts
        z = points.z
        n, d = z.shape
        log_parts = self.mixture.log_densities(z)
        log_q = np.logaddexp.reduce(log_parts, axis=0)
        share = np.cumsum(np.exp(log_parts - log_q), axis=0)
        # The first whose cumulative share exceeds the uniform: never a part of weight zero.
        chosen = np.argmax(share > rng.random(n) * share[-1], axis=0)
        noise = rng.standard_normal((n, d))
        proposed = np.empty_like(z)
        keep = math.sqrt(max(1.0 - self.rho**2, 0.0))
        for k, part in enumerate(parts):
            mine = np.flatnonzero(chosen == k)
            if mine.size == 0:
                continue
            assert isinstance(part, StudentT)
            apart = z[mine] - part.location
            white = solve_triangular(part.root, apart.T, lower=True, check_finite=False)
            distance = np.square(white).sum(axis=0)
            gammas = rng.standard_gamma(0.5 * (part.df + d), size=mine.size)
            spread = np.sqrt(0.5 * (part.df + distance) / gammas)
            step = (noise[mine] * spread[:, None]) @ part.root.T
            proposed[mine] = part.location + keep * apart + self.rho * step
        there = bridge.at(proposed)
        correction = log_q - self.mixture.log_density(proposed)
        return metropolis(points, there, correction, level, rng)

    def fitted(self, z: Floats, weights: Floats, rng: np.random.Generator) -> CrankNicolson:
        """Return the kernel for a mixture fitted to the population."""
        return replace(self, mixture=fit_mixture(z, weights, rng, most=self.parts))

    def rescaled(self, acceptance: float) -> CrankNicolson:
        """Return the kernel with its step changed towards an acceptance of 0.3."""
        return replace(self, rho=min(stepped(self.rho, acceptance, 0.3), 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Independence:
    """Proposals from a fitted mixture, wherever the chain is.

    The only ordinary move that crosses between modes; its acceptance tells how good the fit is.

    Attributes
    ----------
    proposal : Distribution or None
        Where proposals come from; None before the first fit.
    parts : int
        The largest number of parts to fit.
    fit : bool
        Whether `proposal` follows the population.

    References
    ----------
    Tierney (1994), section 2.3.3.
    """

    proposal: Distribution | None = None
    parts: int = 8
    fit: bool = True

    @property
    def name(self) -> str:
        """A word for tables."""
        return "independence"

    @property
    def calls(self) -> int:
        """Evaluations of the target for each point and application."""
        return 1

    def move(
        self, points: Points, level: Level, bridge: Bridge, rng: np.random.Generator
    ) -> Moved:
        """Apply the kernel once to every point."""
        if self.proposal is None:
            raise ValueError("fit the kernel to a population before its first move")
        z = self.proposal.sample(points.n, rng)
        correction = self.proposal.log_density(points.z) - self.proposal.log_density(z)
        return metropolis(points, bridge.at(z), correction, level, rng)

    def fitted(self, z: Floats, weights: Floats, rng: np.random.Generator) -> Independence:
        """Return the kernel for a mixture fitted to the population, or the same without `fit`."""
        if not self.fit:
            return self
        return replace(self, proposal=fit_mixture(z, weights, rng, most=self.parts))

    def rescaled(self, acceptance: float) -> Independence:
        """Return the kernel itself: there is no step to change."""
        return self
