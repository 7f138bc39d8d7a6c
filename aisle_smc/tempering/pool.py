r"""The pool of a persistent sampler: every point ever evaluated counts at every level.

The points come from sources :math:`s = 1, \dots, T`, :math:`n_s` of each: levels
:math:`\gamma_s / Z_s` of a path, reached by Markov moves, and fitted proposals :math:`q_s`, drawn
from directly.  Together they are a sample of the mixture of the sources, and at any level, the
target among them, a point weighs

.. math:: w_i = \frac{\gamma(x_i)}{\sum_s (n_s / N) \, p_s(x_i)}, \qquad
    Z = \frac1N \sum_i w_i,

the balance heuristic of multiple importance sampling.  All densities are kept relative to the
base of the path, which cancels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from aisle_kernels import weights as kernels

from aisle_smc.arrays import Floats, Integers
from aisle_smc.distributions import Distribution
from aisle_smc.moves import Level, Points, join
from aisle_smc.resampling import systematic

__all__ = ["Pool", "Source", "log_mass", "log_masses"]

# Rounds of Newton's method, and how well the equations must then hold.
SOLVE_STEPS, SOLVED = 60, 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where points come from.

    Attributes
    ----------
    n : int
        How many there are.
    level : Level or None
        The level that Markov moves left invariant.
    proposal : Distribution or None
        The proposal they were drawn from; one of the two is given.
    log_z : float
        Log of the mass of the level as estimated when it was reached; 0 for a proposal.
    """

    n: int
    level: Level | None = None
    proposal: Distribution | None = None
    log_z: float = 0.0

    @property
    def known(self) -> bool:
        """Whether the density of the source is known with its constant."""
        return self.level is None or (self.level.slope == 0.0 and self.log_z == 0.0)

    def log_ratio(self, points: Points) -> Floats:
        """Return the log of the source's density, without `log_z`, over that of the base."""
        if self.level is not None:
            return self.level.log_potential(points.log_ratio)
        assert self.proposal is not None
        return np.asarray(self.proposal.log_density(points.z) - points.log_base)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """All points of a run so far, with their sources.

    Attributes
    ----------
    points : Points
        N points, source by source.
    island : ndarray of int, shape (N,)
        Group of each point.  Markov chains never leave their group; what the groups disagree
        about is the error.
    islands : int
        Number of groups.
    sources : tuple of Source
        The base first.
    ratios : ndarray, shape (N, T)
        :meth:`Source.log_ratio` of every source at every point.
    """

    points: Points
    island: Integers
    islands: int
    sources: tuple[Source, ...]
    ratios: Floats
    _mixture: Floats | None = field(init=False, repr=False, default=None)

    @classmethod
    def started(cls, points: Points, level: Level, islands: int) -> Pool:
        """Return the pool of points drawn from the base, which is `level`."""
        n = points.n
        return cls(
            points=points,
            island=_dealt(n, islands),
            islands=islands,
            sources=(Source(n=n, level=level),),
            ratios=np.zeros((n, 1)),
        )

    @property
    def n(self) -> int:
        """Number of points."""
        return self.points.n

    @property
    def exact(self) -> Pool:
        """The points from base and proposals alone, whose densities are known.

        Markov moves reach their level only in the limit; what they fall short of biases every
        weight that trusts them.
        """
        known = np.array([s.known for s in self.sources])
        if known.all():
            return self
        rows = np.repeat(known, [s.n for s in self.sources])
        return replace(
            self,
            points=self.points[rows],
            island=self.island[rows],
            sources=tuple(s for s in self.sources if s.known),
            ratios=self.ratios[np.ix_(rows, known)],
        )

    @property
    def solved(self) -> Pool:
        """The pool with the masses of its levels as all its points tell them, not the first."""
        masses = log_masses(self.ratios, self.sources)
        sources = tuple(
            s if s.known else replace(s, log_z=float(z))
            for s, z in zip(self.sources, masses, strict=True)
        )
        return replace(self, sources=sources)

    @property
    def log_mixture(self) -> Floats:
        """Log of the mixture of the sources over the base at each point, shape (N,)."""
        if self._mixture is None:
            log_share = np.log([s.n / self.n for s in self.sources])
            log_z = np.array([s.log_z for s in self.sources])
            # Every level of a pool is weighed by it, and a search for the next weighs dozens.
            found = log_sum_rows(self.ratios + (log_share - log_z))
            object.__setattr__(self, "_mixture", found)
            return found
        return self._mixture

    def log_weights(self, level: Level) -> Floats:
        """Return the log-weights of all points for a level, in nats."""
        return np.asarray(level.log_potential(self.points.log_ratio) - self.log_mixture)

    def added(self, points: Points, source: Source) -> Pool:
        """Return the pool with the points of one more source, dealt to the islands in order."""
        both = join([self.points, points])
        sources = (*self.sources, source)
        ratios = np.empty((both.n, len(sources)))
        ratios[: self.n, :-1] = self.ratios
        for s, other in enumerate(sources[:-1]):
            ratios[self.n :, s] = other.log_ratio(points)
        ratios[:, -1] = source.log_ratio(both)
        island = _dealt(points.n, self.islands)
        return replace(
            self,
            points=both,
            island=np.concatenate([self.island, island]),
            sources=sources,
            ratios=ratios,
        )

    def resampled(self, n: int, log_w: Floats, rng: np.random.Generator) -> Points:
        """Draw `n` points by weight, each island from its own."""
        w = np.empty_like(log_w)
        kernels.normalise(log_w, w)
        chosen = []
        shares = np.bincount(_dealt(n, self.islands), minlength=self.islands)
        for j in range(self.islands):
            mine = np.flatnonzero(self.island == j)
            if not w[mine].any():
                # An island without mass would end here; it goes on from the others.
                mine = np.arange(w.shape[0])
            chosen.append(mine[systematic.draw(w[mine], int(shares[j]), rng)[0]])
        return self.points[np.concatenate(chosen)]

    def log_evidence(self, level: Level) -> tuple[float, float]:
        """Return the log-mass of a level and its standard error, in nats.

        Notes
        -----
        The error is the jackknife over islands: with each left out in turn, the masses of all
        levels are solved for again.

        References
        ----------
        Efron and Stein (1981), The jackknife estimate of variance.
        """
        target = level.log_potential(self.points.log_ratio)
        masses = log_masses(self.ratios, self.sources)
        value = log_mass(self.ratios, self.sources, masses, target)
        if self.islands < 2 or not math.isfinite(value):
            return value, math.nan
        others = np.empty(self.islands)
        for j in range(self.islands):
            kept = self.island != j
            ratios = self.ratios[kept]
            without = log_masses(ratios, self.sources, masses)
            others[j] = log_mass(ratios, self.sources, without, target[kept])
        spread = np.square(others - others.mean()).sum() * (self.islands - 1) / self.islands
        return value, math.sqrt(spread)


def _dealt(n: int, islands: int) -> Integers:
    """Return the island of each of `n` new points, in order."""
    return np.arange(n) * islands // n


def log_sum_rows(values: Floats) -> Floats:
    """Return the log of the sum of exponentials of each row; ``-inf`` for a row of ``-inf``."""
    top = values.max(axis=1)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(values - safe[:, None]).sum(axis=1)) + safe)


def log_masses(ratios: Floats, sources: tuple[Source, ...], first: Floats | None = None) -> Floats:
    r"""Return the log-masses of the sources from all points at once, shape (T,).

    Those of the levels are the solution of

    .. math:: Z_r = \frac1N \sum_i \frac{g_r(x_i)}{\sum_s (n_s / N) \, g_s(x_i) / Z_s};

    those of base and proposals are known.

    Parameters
    ----------
    ratios : ndarray, shape (N, T)
        Log of each source's density over the base, without its mass.
    sources : tuple of Source, length T
        The sources.
    first : ndarray, shape (T,), optional
        Where to begin; by default at what the stages estimated.

    Notes
    -----
    The solution is where a concave function of the log-masses is greatest.  Its third derivative
    in any direction is at most the second times the range of the direction, so that Newton steps
    of at most half a nat never go down; a few are enough where iterating the equations takes
    thousands of rounds, as on a long path.

    References
    ----------
    Kong, McCullagh, Meng, Nicolae and Tan (2003); Shirts and Chodera (2008), Statistically
    optimal analysis of samples from multiple equilibrium states, equation 11.
    """
    share = np.array([s.n for s in sources], dtype=np.float64)
    share /= share.sum()
    masses = np.array([s.log_z for s in sources]) if first is None else first.copy()
    # Scaled by the largest entry of each row, so that nothing overflows.
    log_p = ratios + (np.log(share) - masses)
    p = np.exp(log_p - log_p.max(axis=1)[:, None])
    known = np.array([s.known for s in sources])
    free = np.flatnonzero(~known & (p.max(axis=0) > 0.0))
    shift = np.zeros(len(sources))
    for _ in range(SOLVE_STEPS if free.size else 0):
        belongs = p * np.exp(-shift)
        belongs /= belongs.sum(axis=1)[:, None]
        mean = belongs.mean(axis=0)[free]
        if np.abs(mean / share[free] - 1.0).max() < SOLVED:
            break
        held = belongs[:, free]
        curve = np.diag(mean + 1e-12) - held.T @ held / held.shape[0]
        step = np.linalg.solve(curve, mean - share[free])
        shift[free] += step * min(1.0, 0.5 / float(np.abs(step).max()))
    return masses + shift


def log_mass(ratios: Floats, sources: tuple[Source, ...], masses: Floats, target: Floats) -> float:
    """Return the log-mass of a density by the balance heuristic.

    Parameters
    ----------
    ratios, sources
        As in :func:`log_masses`.
    masses : ndarray, shape (T,)
        Log-masses of the sources.
    target : ndarray, shape (N,)
        Log of the density over the base.
    """
    share = np.array([s.n for s in sources], dtype=np.float64)
    log_w = target - log_sum_rows(ratios + (np.log(share / share.sum()) - masses))
    return float(kernels.log_mean_exp(log_w))
