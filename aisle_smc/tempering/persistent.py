"""A sampler that tempers and forgets nothing: a stage whose population is the whole pool."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from aisle_kernels import weights as kernels

from aisle_smc.arrays import Floats
from aisle_smc.distributions import fit_proposal
from aisle_smc.errors import DegenerateWeights
from aisle_smc.moves import Bridge, Independence, Level, Portfolio
from aisle_smc.particles import Particles
from aisle_smc.tempering.fits import (
    POINTS,
    POINTS_AT_TARGET,
    defended,
    heavy,
    simple,
    tail_shape,
)
from aisle_smc.tempering.history import History, Record, Settling
from aisle_smc.tempering.holes import covering
from aisle_smc.tempering.levels import BASE, Temperature, Threshold, next_temperature
from aisle_smc.tempering.pool import Pool, Source
from aisle_smc.tempering.standard import Plan

__all__ = ["Persistent", "sweeps_needed"]

# Effective points that a proposal needs for each dimension.
ENOUGH = 4.0
# A family that does this well is fitted anew and not chosen anew.
GOOD, GOOD_AT_TARGET = 0.6, 0.8
# Effective points that a new temperature must have in the pool, as a share of a stage; and how
# many stages are spent at one temperature to come by them.
CARRIED, ROUNDS = 0.4, 4
# The path is nested once this many stages have raised the temperature by less than a tenth of
# what they do on a normal target, sqrt(2 / d) each.
STALLED, SLOW = 4, 0.14
# Shape of a tail that needs no better proposal, and of one that needs a better one at once.
LIGHT, HEAVY = 0.5, 0.7
# How far, in standard deviations, the moves of a stage may shift a mean beyond the noise, and how
# often a stage is repeated for it.
DRIFT, REPEATS = 0.15, 60
# How many times as many points are drawn at the start where the target rules most of them out.
MORE = 64
# Effective points that a threshold leaves, as a share of a stage; and how much of the target may
# lie above the last one.
SHARE, LEFT = 0.4, 1e-3
# Mass found by a stage at the target, in nats, that calls for another.
RISE = 0.05
# Thresholds at most: of a density that has no top there would be no end.
LEVELS = 60


def sweeps_needed(sweeps: int, decorrelation: float, wanted: float, most: int) -> int:
    """Return how many sweeps should reach a decorrelation, from what the last ones reached."""
    if not decorrelation > 0.0:
        return min(2 * sweeps, most)
    rate = -math.log1p(-min(decorrelation, 0.999)) / sweeps
    needed = -math.log1p(-wanted) / rate
    return int(min(max(math.ceil(needed - 0.25), 1), 2 * sweeps, most))


def _alive(pool: Pool) -> int:
    """Return at how many points the target is positive."""
    return int(np.count_nonzero(pool.points.log_ratio > -math.inf))


@dataclass(frozen=True, slots=True, kw_only=True)
class Persistent:
    """A stage of persistent tempering.

    A stage weighs the whole pool for the next level and fits a proposal to it.  Where the
    proposal fits, `n` draws from it are added to the pool; where it does not, `n` particles are
    drawn from the pool, moved by Markov kernels, and added.

    Attributes
    ----------
    bridge : Bridge
        Base and target.
    portfolio : Portfolio
        The kernels to begin with.
    efficiency : float
        Conditional effective sample size that a step between levels keeps.
    least : float
        Share of effective draws below which a proposal does not fit.
    islands : int
        Independent groups of particles, for the error.
    wanted : float
        Decorrelation that the sweeps of a stage should reach.
    sweeps, most_sweeps : int
        How many there are at first, and at most.
    stay : int
        Stages at the target, at most; they end when the proposal gets no better.
    rises : int
        How many more there may be, each after one that has found mass not known before.
    grow : int
        How many times `n` a stage at the target draws.
    n : int
        Points of a stage, set by the start.
    level : Level
        The level of this stage.

    Notes
    -----
    Where the temperature hardly rises any more, because a small region is about to outweigh a
    large one, the path goes on by thresholds of the log-ratio (:class:`Threshold`), which such a
    transition does not disturb, and comes back to the target at its end.

    Run it with ``smc(stage, n, rng, threshold=0.0)``: it draws its particles itself.  The
    estimate of the evidence is consistent but not unbiased, for it reuses points and adapts.

    References
    ----------
    Karamanis and Seljak (2025), Persistent sampling: enhancing the efficiency of sequential Monte
    Carlo, and Cornuet, Marin, Mira and Robert (2012), Adaptive multiple importance sampling, for
    the weights of the two kinds of sources.
    """

    bridge: Bridge
    portfolio: Portfolio
    efficiency: float = 0.5
    least: float = 0.1
    islands: int = 10
    wanted: float = 0.6
    sweeps: int = 3
    most_sweeps: int = 40
    stay: int = 6
    rises: int = 30
    grow: int = 3
    n: int = 0
    level: Level = BASE

    def start(self, n: int, rng: np.random.Generator) -> Particles:
        """Draw the first particles from the base, and more where most of them are ruled out.

        Raises
        ------
        DegenerateWeights
            If the target vanishes at all of them.
        """
        pool = Pool.started(self.bridge.start(n, rng), self.level, min(self.islands, n))
        enough = min(n, 2 * self.islands + int(ENOUGH) * self.bridge.dim)
        while (alive := _alive(pool)) < enough and pool.n < MORE * n:
            points = self.bridge.start(pool.n, rng)
            pool = pool.added(points, Source(n=pool.n, level=self.level))
        if alive == 0:
            raise DegenerateWeights(
                f"the target must be positive somewhere; it is -inf at all {pool.n} points drawn "
                "from where the run starts; check its sign and its bounds, narrow the prior, or "
                "give first draws (init)",
                t=0,
            )
        history = History(pool=pool, portfolio=self.portfolio, sweeps=self.sweeps)
        return Particles(history, np.zeros(pool.n))

    def next(self, particles: Particles) -> Persistent | None:
        """Return the stage at the next level, or None after the last one."""
        history = cast(History, particles.x)
        stage = replace(self, n=self.n or history.pool.sources[0].n)
        if history.settling is not None:
            return stage
        if isinstance(self.level, Threshold):
            return stage._above(history)
        if self.level.slope >= 1.0:
            if self.rises > 0 and self._rising(history):
                return replace(stage, rises=self.rises - 1)
            better = self.stay > 0 and self._improving(history.records)
            return replace(stage, stay=self.stay - 1) if better else None
        beta = stage._warmer(history)
        steps = list(dict.fromkeys(r.level.slope for r in history.records))[-STALLED:]
        slow = 1.0 + SLOW / math.sqrt(self.bridge.dim)
        if len(steps) == STALLED and beta < 1.0 and beta < steps[0] * slow**STALLED:
            return stage._above(history)
        return replace(stage, level=Temperature(beta))

    def _above(self, history: History) -> Persistent:
        """Return the stage of the next threshold, or of the target after the last one."""
        pool = history.pool
        log_ratio = pool.points.log_ratio
        if isinstance(self.level, Threshold):
            weights = np.empty(pool.n)
            kernels.normalise(pool.log_weights(Temperature(1.0)), weights)
            levels = sum(isinstance(r.level, Threshold) for r in history.records)
            above = float(weights[log_ratio > self.level.least].sum())
            if above < LEFT or levels >= LEVELS:
                return replace(self, level=Temperature(1.0))
        candidates = np.sort(log_ratio[np.isfinite(log_ratio)])
        low, high = 0, candidates.shape[0] - 1
        while high - low > 1:
            middle = (low + high) // 2
            found = kernels.ess(pool.log_weights(Threshold(float(candidates[middle]))))
            low, high = (middle, high) if found >= SHARE * self.n else (low, middle)
        least = float(candidates[low])
        if isinstance(self.level, Threshold) and least <= self.level.least:
            # Nothing lies far enough above: the top has been reached.
            return replace(self, level=Temperature(1.0))
        return replace(self, level=Threshold(least))

    def _warmer(self, history: History) -> float:
        """Return the next temperature, or this one while too few points carry its weight."""
        pool, log_w = self.weighed(history.pool)
        log_ratio, beta = pool.points.log_ratio, self.level.slope
        log_w = np.ascontiguousarray(log_w)
        last = history.records[-1] if history.records else None
        # From where the proposal fits badly the next step is half as bold, or waits for a better.
        bold = last is None or (last.fits >= GOOD and last.khat < LIGHT)
        efficiency = self.efficiency if bold else 0.5 * (1.0 + self.efficiency)
        following = next_temperature(log_w, log_ratio, beta, efficiency)
        here = [r for r in history.records[-ROUNDS:] if r.level == self.level]
        if last is not None and last.khat > HEAVY and len(here) < ROUNDS:
            return beta
        log_mixture = pool.log_mixture

        def enough(value: float) -> bool:
            weighed = Temperature(value).log_potential(log_ratio) - log_mixture
            return float(kernels.ess(weighed)) >= CARRIED * self.n

        if enough(following):
            return following
        if not enough(beta):
            return beta if len(here) < ROUNDS else following
        low, high = beta, following
        for _ in range(30):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if enough(middle) else (low, middle)
        # A step too small to matter is none.
        return low if low > beta + 0.05 * (following - beta) else following

    def _rising(self, history: History) -> bool:
        """Say whether the last stage at the target has found mass that was not known before."""
        now = float(kernels.log_mean_exp(history.pool.log_weights(self.level)))
        return now > history.records[-1].log_z + RISE

    def _improving(self, records: tuple[Record, ...]) -> bool:
        """Say whether one more proposal at the target may be worth its draws."""
        tried = [r for r in records if r.level.slope >= 1.0]
        last = tried[-1]
        if math.isnan(last.efficiency):
            # None was tried: more points help only where there can be enough of them.
            return last.ess * (self.stay + 1) > ENOUGH * self.bridge.dim
        if len(tried) < 2:
            return True
        before = max((r.efficiency for r in tried[:-1] if r.efficiency > 0.0), default=0.0)
        uneven = not last.khat < LIGHT
        better = last.efficiency > 1.1 * before
        return uneven or (last.efficiency < GOOD_AT_TARGET and better)

    def lookahead(self, particles: Particles) -> None:
        """Return None: the stage draws its particles itself."""
        return

    def move(self, particles: Particles, rng: np.random.Generator) -> Particles:
        """Weigh the pool for this level, and add points to it."""
        history = cast(History, particles.x)
        log_z = float(kernels.log_mean_exp(history.pool.log_weights(self.level)))
        done = Record(level=self.level, log_z=log_z, ess=math.nan)
        if history.settling is not None:
            pass
        elif history.skip > 0:
            history = replace(history, skip=history.skip - 1)
        else:
            history, done = self._drawn(history, done, rng)
        if not done.fits >= self.least:
            history, done = self._moved(history, log_z, done, rng)
        log_w = history.pool.log_weights(self.level)
        done = replace(done, ess=float(kernels.ess(log_w)))
        return Particles(replace(history, records=(*history.records, done)), log_w)

    def weighed(self, pool: Pool) -> tuple[Pool, Floats]:
        """Return the points to learn from, and their log-weights for this level.

        Those with exact densities, where they suffice; else all of them.
        """
        exact = pool.exact
        log_w = exact.log_weights(self.level)
        if exact is not pool and kernels.ess(log_w) < max(
            SHARE * self.n, 2.0 * ENOUGH * self.bridge.dim
        ):
            return pool, pool.log_weights(self.level)
        return exact, log_w

    def _drawn(
        self, history: History, done: Record, rng: np.random.Generator
    ) -> tuple[History, Record]:
        """Fit a proposal to the pool and add draws from it."""
        pool, log_w = self.weighed(history.pool)
        if float(kernels.ess(log_w)) < ENOUGH * self.bridge.dim:
            return history, done
        begun = time.perf_counter()
        most = POINTS_AT_TARGET if self.level.slope >= 1.0 else POINTS
        z, weights = heavy(pool.points.z, log_w, most)
        q, chosen = history.proposal, history.chosen + 1
        fits = history.records[-1].fits if history.records else math.nan
        good = fits >= (GOOD_AT_TARGET if self.level.slope >= 1.0 else GOOD)
        if q is None or not (good or (chosen == 1 and fits >= self.least)):
            if history.records:
                among = history.families if fits >= self.least else ()
                fitted, scores = fit_proposal(z, weights, rng, among=among or None)
                # The next choice is between the two best, and then among all again.
                best = sorted(scores, key=lambda one: -one[1])[:2]
                families = () if among else tuple(name for name, _ in best)
            else:
                fitted, families = simple(z, weights, rng), ()
            history = replace(history, families=families)
            q, chosen = defended(fitted, z, weights), 0
        else:
            q = defended(q.proposal.fit(z, weights), z, weights)
        taken = time.perf_counter() - begun
        drawn = covering(q, history.pool, self.level, rng)
        n = self.n * (self.grow if self.level.slope >= 1.0 else 1)
        points = self.bridge.at(drawn.sample(n, rng))
        source = Source(n=n, proposal=drawn)
        own = self.level.log_potential(points.log_ratio) - source.log_ratio(points)
        share = float(kernels.ess(own)) / n
        # One far draw says that the tail is thin, not that the proposal does not fit.
        capped = np.minimum(own, float(kernels.log_mean_exp(own)) + 0.5 * math.log(n))
        fits = float(kernels.ess(capped)) / n
        failed = fits < self.least
        history = replace(
            history,
            pool=history.pool.added(points, source),
            proposal=q,
            chosen=chosen,
            skip=history.patience if failed else 0,
            patience=min(2 * history.patience, 8) if failed else 1,
        )
        kernels_ = Portfolio(kernels=(Independence(proposal=drawn),))
        sweeps = min(max(math.ceil(math.log(0.2) / math.log1p(-min(share, 0.99))), 1), 20)
        plan = Plan(level=self.level, portfolio=kernels_, sweeps=sweeps)
        return history, replace(
            done,
            efficiency=share,
            fits=fits,
            khat=tail_shape(own),
            kernel="proposal",
            proposal=drawn,
            plan=plan,
            seconds=taken,
        )

    def _moved(
        self, history: History, log_z: float, done: Record, rng: np.random.Generator
    ) -> tuple[History, Record]:
        """Draw particles from the pool, move them, and add them.

        Moves from the right distribution leave it as it is.  Where they shift the mean, the
        population had not reached its level: it is moved again, and what it was before is dropped.
        """
        settling = history.settling
        if settling is None:
            repeats = 0
            trusted, log_w = self.weighed(history.pool)
            z, weights = heavy(trusted.points.z, log_w, POINTS)
            points = trusted.resampled(self.n, log_w, rng)
            pool = history.pool
        else:
            pool, points, repeats = settling.pool, settling.points, settling.repeats + 1
            z, weights = points.z, np.full(points.n, 1.0 / points.n)
        begun = time.perf_counter()
        portfolio = history.portfolio.fitted(z, weights, rng)
        if history.proposal is not None:
            # It was refused as a source, and can still make some of the moves.
            portfolio = portfolio.joined(Independence(proposal=history.proposal, fit=False))
        taken = time.perf_counter() - begun
        mean = weights @ z
        variances = weights @ np.square(z - mean)
        swept = portfolio.sweep(points, self.level, self.bridge, rng, history.sweeps, variances)
        shift = np.abs(swept.points.z.mean(axis=0) - mean) / np.sqrt(variances + 1e-300)
        # The largest of d noisy means.
        noise = math.sqrt(1.0 / self.n + float(np.square(weights).sum()))
        noise *= 1.0 + math.sqrt(2.0 * math.log(2.0 * mean.size))
        drifts = float(shift.max()) > DRIFT + noise and repeats < REPEATS
        wanted = self.wanted if not drifts else 1.0 - 0.25 * (1.0 - self.wanted)
        history = replace(
            history,
            pool=pool.added(swept.points, Source(n=self.n, level=self.level, log_z=log_z)),
            settling=Settling(pool=pool, points=swept.points, repeats=repeats) if drifts else None,
            portfolio=swept.portfolio,
            sweeps=sweeps_needed(history.sweeps, swept.decorrelation, wanted, self.most_sweeps),
        )
        return history, replace(
            done,
            acceptance=swept.acceptance,
            decorrelation=swept.decorrelation,
            kernel=", ".join(swept.portfolio.names_used),
            plan=Plan(level=self.level, portfolio=portfolio, sweeps=history.sweeps),
            seconds=done.seconds + taken,
        )
