"""The proposals of one round: several distributions that share its draws evenly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from aisle_smc.arrays import Floats, Integers
from aisle_smc.distributions import Defensive, Distribution, Mixture

__all__ = ["Defended", "Divisible", "Proposals", "Several", "blocks", "shares"]


def shares(n: int, count: int) -> Integers:
    """Return how many of `n` draws each of `count` proposals makes: as even as can be.

    Examples
    --------
    >>> shares(7, 3).tolist()
    [3, 2, 2]
    """
    return n // count + (np.arange(count) < n % count).astype(np.int64)


def blocks(x: Floats, sizes: Integers) -> list[Floats]:
    """Return the rows of `x` in consecutive blocks of given sizes."""
    return np.split(x, np.cumsum(sizes)[:-1])


class Proposals(Protocol):
    """What a round draws from.

    The draws of a round lie in the order of the proposals, as many of each as :meth:`sizes` says,
    so that a row tells which one drew it.
    """

    @property
    def count(self) -> int:
        """Number of proposals K."""
        ...

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        ...

    def sizes(self, n: int) -> Integers:
        """Return how many of `n` draws each proposal makes, shape (K,)."""
        ...

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw `n` points, shape (n, d), each proposal its share."""
        ...

    def log_own(self, x: Floats) -> Floats:
        """Return the log-density, at each of the draws of a round, of the proposal it is from."""
        ...

    def log_mixture(self, x: Floats, n: int) -> Floats:
        """Return the log-density of the mixture that `n` draws come from, at any points.

        ``log sum_k (n_k / n) q_k(x)``, shape (len(x),).
        """
        ...

    def distribution(self) -> Distribution:
        """Return the mixture of all as one distribution."""
        ...


@runtime_checkable
class Divisible(Proposals, Protocol):
    """Proposals that can be cut into groups, each with an even share of its draws."""

    def part(self, first: int, last: int) -> Proposals:
        """Return the proposals from `first` up to, not including, `last`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Several:
    """Proposals of any kinds.

    Attributes
    ----------
    parts : tuple of Distribution
        At least one, all of one dimension.

    Raises
    ------
    ValueError
        If there is none, or their dimensions differ.
    """

    parts: tuple[Distribution, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("importance sampling needs at least one proposal; got none")
        dims = [part.dim for part in self.parts]
        if len(set(dims)) > 1:
            k = next(k for k, d in enumerate(dims) if d != dims[0])
            raise ValueError(
                f"all proposals must have one dimension; proposal 0 has {dims[0]} and proposal "
                f"{k} has {dims[k]}; leave it out or build it for {dims[0]} coordinates"
            )

    @property
    def count(self) -> int:
        """Number of proposals."""
        return len(self.parts)

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self.parts[0].dim

    def sizes(self, n: int) -> Integers:
        """Return how many of `n` draws each proposal makes: as even as can be."""
        return shares(n, self.count)

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw `n` points, each proposal its share."""
        drawn = [
            np.asarray(part.sample(int(m), rng), dtype=np.float64)
            for part, m in zip(self.parts, self.sizes(n), strict=True)
            if m
        ]
        return np.concatenate(drawn)

    def log_own(self, x: Floats) -> Floats:
        """Return the log-density of each draw's own proposal."""
        found = [
            np.asarray(part.log_density(block), dtype=np.float64)
            for part, block in zip(self.parts, blocks(x, self.sizes(x.shape[0])), strict=True)
            if block.size
        ]
        return np.concatenate(found)

    def log_mixture(self, x: Floats, n: int) -> Floats:
        """Return the log-density of the mixture that `n` draws come from."""
        if self.count == 1:
            return np.asarray(self.parts[0].log_density(x), dtype=np.float64)
        total = np.full(x.shape[0], -math.inf)
        for part, m in zip(self.parts, self.sizes(n), strict=True):
            if m:
                np.logaddexp(total, part.log_density(x) + math.log(m / n), out=total)
        return total

    def part(self, first: int, last: int) -> Several:
        """Return the proposals from `first` up to `last`."""
        return Several(self.parts[first:last])

    def distribution(self) -> Distribution:
        """Return the proposal itself, or the mixture of several with equal weights."""
        if self.count == 1:
            return self.parts[0]
        return Mixture(weights=np.full(self.count, 1.0 / self.count), parts=self.parts)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Defended:
    r"""Proposals with a share of the draws from a distribution that is safe.

    The mixture is :math:`(1 - s) q + s q_0`: weights are at most :math:`1 / s` times what they
    would be under the safe distribution alone, however badly the others fit.

    Attributes
    ----------
    proposals : Proposals
        The others.
    safety : Distribution
        The safe one, last in the order.
    share : float
        Its share s of the draws, above 0 and below 1; at least one draw.

    References
    ----------
    Hesterberg (1995), Weighted average importance sampling and defensive mixture distributions.
    """

    proposals: Proposals
    safety: Distribution
    share: float = 0.05

    @property
    def count(self) -> int:
        """Number of proposals, the safe one included."""
        return self.proposals.count + 1

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self.proposals.dim

    def sizes(self, n: int) -> Integers:
        """Return how many of `n` draws each proposal makes."""
        safe = self._safe(n)
        return np.append(self.proposals.sizes(n - safe), safe)

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw `n` points, each proposal its share."""
        safe = self._safe(n)
        x = self.proposals.sample(n - safe, rng)
        return np.concatenate([x, self.safety.sample(safe, rng)])

    def log_own(self, x: Floats) -> Floats:
        """Return the log-density of each draw's own proposal."""
        m = x.shape[0] - self._safe(x.shape[0])
        return np.concatenate([self.proposals.log_own(x[:m]), self.safety.log_density(x[m:])])

    def log_mixture(self, x: Floats, n: int) -> Floats:
        """Return the log-density of the mixture that `n` draws come from."""
        safe = self._safe(n)
        log_q = self.proposals.log_mixture(x, n - safe) + math.log((n - safe) / n)
        return np.asarray(np.logaddexp(log_q, self.safety.log_density(x) + math.log(safe / n)))

    def distribution(self) -> Distribution:
        """Return the mixture of all as one distribution."""
        return Defensive(
            proposal=self.proposals.distribution(), safety=self.safety, share=self.share
        )

    def _safe(self, n: int) -> int:
        return min(max(1, round(self.share * n)), n - 1)
