"""How the first proposals of a method are made from the one that is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from aisle_smc.arguments import check_count
from aisle_smc.distributions import Distribution
from aisle_smc.distributions.moments import shrunk_moments
from aisle_smc.importance.located import Located
from aisle_smc.importance.proposals import Proposals, Several
from aisle_smc.importance.spread import Kernel, kernel

__all__ = ["Blended", "Scattered", "Start", "Whole"]


class Start(Protocol):
    """How a method makes its first proposals from the one that is given."""

    def begin(self, initial: Distribution, n: int, rng: np.random.Generator) -> Proposals:
        """Return the proposals of the first round of `n` draws."""
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """Start from the initial proposal itself."""

    def begin(self, initial: Distribution, n: int, rng: np.random.Generator) -> Proposals:
        """Return the initial proposal alone."""
        return Several((initial,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scattered:
    """Start from proposals at points drawn from the initial one, as wide as a kernel estimate.

    Attributes
    ----------
    locations : int or None
        How many; None for one for each draw.
    df : float
        Their degrees of freedom; infinite for Gaussians.
    kernel : Kernel
        Their width, from the covariance of the initial proposal.
    """

    locations: int | None = None
    df: float = 5.0
    kernel: Kernel = kernel

    def __post_init__(self) -> None:
        if self.locations is not None:
            check_count("locations", self.locations)
        if not self.df > 0.0:
            raise ValueError(f"df must be positive, or infinite for Gaussians; got {self.df}")

    def begin(self, initial: Distribution, n: int, rng: np.random.Generator) -> Located:
        """Return the scattered proposals."""
        count = n if self.locations is None else min(self.locations, n)
        dim = initial.dim
        x = np.asarray(initial.sample(max(count, 50 * (dim + 1)), rng), dtype=np.float64)
        _, root = shrunk_moments(x, np.full(x.shape[0], 1.0 / x.shape[0]))
        h = self.kernel.bandwidth(count, dim)
        return Located(locations=x[:count], roots=h * root[None], df=self.df)


@dataclass(frozen=True, slots=True)
class Blended:
    """Start from the mixture of other proposals, as one.

    Attributes
    ----------
    start : Start
        How those are made.
    """

    start: Start

    def begin(self, initial: Distribution, n: int, rng: np.random.Generator) -> Proposals:
        """Return the mixture."""
        return Several((self.start.begin(initial, n, rng).distribution(),))
