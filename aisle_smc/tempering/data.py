r"""Data tempering: the path from prior to posterior by one batch of observations after another.

After t observations and a share :math:`\phi` of the next one the level is

.. math:: \gamma_{t, \phi}(z) = p(z) \, p(y_{t+1} \mid z)^\phi \prod_{s \le t} p(y_s \mid z),

so that the masses of the levels with :math:`\phi = 0` are the evidences of the data so far.  The
share is other than 0 only where a single observation says more than a step may.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, cast

import numpy as np
from aisle_kernels import weights as kernels

from aisle_smc.arrays import Floats
from aisle_smc.distributions import Distribution
from aisle_smc.errors import BadDensity
from aisle_smc.moves import Points, Portfolio
from aisle_smc.particles import Particles
from aisle_smc.priors import Prior
from aisle_smc.tempering.levels import next_temperature
from aisle_smc.tempering.standard import Cloud, Plan, swept_cloud

__all__ = ["DataTempering", "LogLikelihoods", "Observed", "Partial", "Pointwise"]

# Numbers that one call of the user's function may return at most: 16 MB.
NUMBERS = 2**21


class LogLikelihoods(Protocol):
    """The log-likelihoods of single observations."""

    def __call__(self, theta: Floats, first: int, last: int, /) -> Floats:
        """Return those of observations `first` to `last - 1` at each row of `theta` (n, d).

        The result has shape (n, last - first), in nats; ``-inf`` is allowed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Observed:
    """The level of the first observations.

    Attributes
    ----------
    count : int
        Observations that count whole.
    share : float
        Power of the likelihood of the next one, from 0 up to but not including 1.

    Notes
    -----
    The log-ratio of a point depends on the level: it *is* the log-potential.
    """

    count: int
    share: float = 0.0

    @property
    def slope(self) -> float:
        """Derivative of the log-potential by the log-ratio."""
        return 1.0

    def log_potential(self, log_ratio: Floats) -> Floats:
        """Return the log-ratio itself."""
        return log_ratio


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pointwise:
    """Log-likelihoods of single observations as a function of coordinates.

    Attributes
    ----------
    function : LogLikelihoods
        The user's function of parameters.
    length : int
        Number of observations.
    names : tuple of str
        Names of the parameters, for messages.
    prior : Prior, optional
        Where given, coordinates are those in which it is standard normal; else the parameters.
    """

    function: LogLikelihoods
    length: int
    names: tuple[str, ...]
    prior: Prior | None = None

    def parameters(self, z: Floats) -> Floats:
        """Return the parameters at coordinates, both of shape (n, d)."""
        return z if self.prior is None else self.prior.from_normal(z)

    def __call__(self, z: Floats, first: int, last: int) -> Floats:
        """Return the log-likelihoods of observations `first` to `last - 1`.

        Raises
        ------
        ValueError
            If the function returned another shape than (n, last - first).
        BadDensity
            If it returned NaN or ``+inf``: the observation and the point are named.
        """
        theta = self.parameters(z)
        found = np.asarray(self.function(theta, first, last), dtype=np.float64)
        wanted = (z.shape[0], last - first)
        if found.shape != wanted:
            raise ValueError(
                f"log_likelihoods(theta, {first}, {last}) must return shape {wanted}, a row for "
                f"each of theta and a column for each observation; it returned {found.shape}"
            )
        bad = ~(found < math.inf)
        if bad.any():
            i, t = (int(k) for k in np.argwhere(bad)[0])
            point = {name: float(v) for name, v in zip(self.names, theta[i], strict=True)}
            raise BadDensity(
                f"log-likelihoods must be finite or -inf; that of observation {first + t} is "
                f"{found[i, t]} at {', '.join(f'{k} = {v:g}' for k, v in point.items())}; return "
                "-inf where it is impossible",
                point=point,
                value=float(found[i, t]),
            )
        return found

    def sums(self, z: Floats, first: int, last: int, begin: int = 1) -> Iterator[Floats]:
        """Yield the sums over observations from `first` on, one observation longer each time.

        The function is asked for `begin` observations, then for twice as many, and so on.
        """
        total = np.zeros(z.shape[0])
        most = max(NUMBERS // z.shape[0], 1)
        while first < last:
            size = min(begin, most, last - first)
            for column in self(z, first, first + size).T:
                total = total + column
                yield total
            first += size
            begin *= 2

    def total(self, z: Floats, level: Observed) -> Floats:
        """Return the log-likelihood of what a level has observed, shape (n,)."""
        total = np.zeros(z.shape[0])
        most = max(NUMBERS // z.shape[0], 1)
        for first in range(0, level.count, most):
            total += self(z, first, min(first + most, level.count)).sum(axis=1)
        if level.share > 0.0:
            total += level.share * self(z, level.count, level.count + 1)[:, 0]
        return total


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Partial:
    """The bridge from the prior to the posterior of the first observations.

    Attributes
    ----------
    prior : Distribution
        The prior in the coordinates.
    likelihood : Pointwise
        Of every observation.
    level : Observed
        Those that count.
    """

    prior: Distribution
    likelihood: Pointwise
    level: Observed

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self.prior.dim

    @property
    def has_scores(self) -> bool:
        """Whether gradients are available: they are not."""
        return False

    def start(self, n: int, rng: np.random.Generator) -> Points:
        """Draw points from the prior."""
        return self.at(self.prior.sample(n, rng))

    def at(self, z: Floats, *, scores: bool = False) -> Points:
        """Evaluate prior and likelihood; outside of the prior the latter is not asked for."""
        if scores:
            raise ValueError(
                "pointwise log-likelihoods come without gradients; move by kernels that follow "
                "none, for example CrankNicolson or DifferentialEvolution"
            )
        log_base = self.prior.log_density(z)
        inside = log_base > -math.inf
        if inside.all():
            return Points(z=z, log_base=log_base, log_ratio=self.likelihood.total(z, self.level))
        log_ratio = np.full(z.shape[0], -math.inf)
        if inside.any():
            log_ratio[inside] = self.likelihood.total(z[inside], self.level)
        return Points(z=z, log_base=log_base, log_ratio=log_ratio)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DataTempering:
    """A stage of data tempering: take in a batch of observations, then move.

    The batch is the longest that keeps a share of the conditional effective sample size.  Where
    the next observation alone keeps less, a power of its likelihood is taken in, and the rest of
    it in stages to come.

    Attributes
    ----------
    prior : Distribution
        The prior in the coordinates of the particles.
    likelihood : Pointwise
        Of every observation.
    portfolio : Portfolio
        The kernels to begin with; adapted from stage to stage unless there are plans.
    efficiency : float
        Conditional effective sample size that a batch keeps, as a share of the particles.
    sweeps : int
        Applications of a kernel to each particle in a stage.
    plans : tuple of Plan, optional
        Batches (levels :class:`Observed`) and kernels decided beforehand.
    level : Observed
        What has been observed after this stage.
    gain : ndarray, shape (n,), or None
        What this stage adds to the log-weights of the population before it.
    log_evidences : ndarray, shape (k,)
        Log-evidence of the data up to each observation that this stage completed, in nats.

    Notes
    -----
    With `plans` every sequential evidence is unbiased for any number of particles; batches and
    kernels chosen from the population bias them at order ``1/n``.  A move after t observations
    costs t likelihoods, so that the cost of a run is that of a few moves with all data.

    References
    ----------
    Chopin (2002), A sequential particle filter method for static models.  The shares of single
    observations are those of Del Moral, Doucet and Jasra (2006), section 2.3.1.
    """

    prior: Distribution
    likelihood: Pointwise
    portfolio: Portfolio
    efficiency: float = 0.5
    sweeps: int = 5
    plans: tuple[Plan, ...] | None = None
    level: Observed = Observed(0)
    gain: Floats | None = None
    log_evidences: Floats | None = None

    def start(self, n: int, rng: np.random.Generator) -> Particles:
        """Draw the particles from the prior."""
        bridge = Partial(prior=self.prior, likelihood=self.likelihood, level=Observed(0))
        cloud = Cloud(points=bridge.start(n, rng), portfolio=self.portfolio)
        return Particles(cloud, np.zeros(n))

    def next(self, particles: Particles) -> DataTempering | None:
        """Return the stage of the next batch, or None after the last one or without any mass.

        Raises
        ------
        ValueError
            If a plan does not go on from the level before it.
        """
        if particles.log_evidence == -math.inf:
            return None
        if self.plans is None:
            done = self.level.count == self.likelihood.length
            return None if done else self._chosen(particles)
        if not self.plans:
            return None
        plan, *rest = self.plans
        planned = replace(self, portfolio=plan.portfolio, sweeps=plan.sweeps, plans=tuple(rest))
        return planned._until(plan.level, particles)

    def _chosen(self, particles: Particles) -> DataTempering:
        """Return the stage of the longest batch that keeps enough of the particles."""
        count, enough = self.level.count, self.efficiency * particles.n
        best, found, gain = None, [], np.zeros(particles.n)
        for gain in self._gains(particles, self.likelihood.length, 1):
            if kernels.cess(particles.log_w, gain) < enough:
                break
            best = gain
            found.append(_log_evidence(particles, gain))
        if best is not None:
            level = Observed(count + len(found))
            return replace(self, level=level, gain=best, log_evidences=np.array(found))
        part = next_temperature(particles.log_w, gain, 0.0, self.efficiency)
        share = self.level.share + part * (1.0 - self.level.share)
        if share >= 1.0:
            return self._until(Observed(count + 1), particles)
        gain = part * gain
        return replace(self, level=Observed(count, share), gain=gain, log_evidences=np.empty(0))

    def _until(self, level: object, particles: Particles) -> DataTempering:
        """Return the stage that goes to a given level."""
        here, length = self.level, self.likelihood.length
        if not isinstance(level, Observed) or not (
            (here.count, here.share) < (level.count, level.share) <= (length, 0.0)
        ):
            raise ValueError(
                f"a plan must go on from {here} to a later level, Observed({length}) at most; "
                f"got {level}"
            )
        gain, found = np.zeros(particles.n), []
        for gain in self._gains(particles, level.count, max(level.count - here.count, 1)):
            found.append(_log_evidence(particles, gain))
        if level.share > 0.0:
            begun = here.share if here.count == level.count else 0.0
            z = cast(Cloud, particles.x).points.z
            gain = (
                gain
                + (level.share - begun) * self.likelihood(z, level.count, level.count + 1)[:, 0]
            )
        return replace(self, level=level, gain=gain, log_evidences=np.array(found))

    def _gains(self, particles: Particles, last: int, begin: int) -> Iterator[Floats]:
        """Yield what observations up to `last` add to the log-weights, one longer each time."""
        z, level = cast(Cloud, particles.x).points.z, self.level
        begun: Floats | None = None
        for total in self.likelihood.sums(z, level.count, last, begin):
            if level.share > 0.0 and begun is None:
                begun = level.share * total
            if begun is None:
                yield total
            else:
                with np.errstate(invalid="ignore"):
                    yield np.where(np.isneginf(total), -math.inf, total - begun)

    def lookahead(self, particles: Particles) -> Floats | None:
        """Return the increments of the log-weights, or None if no particle survives them."""
        assert self.gain is not None
        return self.gain if (particles.log_w + self.gain).max() > -math.inf else None

    def move(self, particles: Particles, rng: np.random.Generator) -> Particles:
        """Weigh the particles for the batch and move them."""
        assert self.gain is not None
        cloud = cast(Cloud, particles.x)
        drawn = particles.ancestors
        gain = self.gain if drawn is None else self.gain[drawn]
        particles = particles.reweight(gain)
        if particles.log_evidence == -math.inf:
            return particles
        points = replace(cloud.points, log_ratio=cloud.points.log_ratio + gain)
        portfolio = self.portfolio
        if self.plans is None:
            portfolio = cloud.portfolio.fitted(points.z, particles.weights, rng)
        bridge = Partial(prior=self.prior, likelihood=self.likelihood, level=self.level)
        return particles.move(
            swept_cloud(points, portfolio, self.level, bridge, particles.weights, self.sweeps, rng)
        )


def _log_evidence(particles: Particles, gain: Floats) -> float:
    return particles.log_z + float(kernels.log_mean_exp(particles.log_w + gain))
