"""A run from its first draw to its last: explore, freeze, draw; and go on where it stopped."""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from aisle_kernels import weights as kernels

from aisle_smc.distributions import Defensive, Distribution
from aisle_smc.moves import (
    Bridge,
    CrankNicolson,
    DifferentialEvolution,
    Hamiltonian,
    Kernel,
    Level,
    Portfolio,
    SplitHamiltonian,
)
from aisle_smc.particles import Particles
from aisle_smc.sampling.aim import Aim
from aisle_smc.sampling.bridges import FromBase, Posterior
from aisle_smc.sampling.estimates import REPLICATES_AT_LEAST, replicated
from aisle_smc.sampling.findings import Findings
from aisle_smc.sampling.frozen import FIRST, MOST, Frozen, Source, judge
from aisle_smc.sampling.growth import GROWTH, runs_away
from aisle_smc.sampling.laplace import MANY
from aisle_smc.sampling.meter import Meter, Reading, Spent
from aisle_smc.sampling.offers import FromOffer, Offer
from aisle_smc.sampling.spaces import AffineSpace
from aisle_smc.sampling.starts import first_bridge, reference, turned
from aisle_smc.sampling.trace import Step, drawn_step, explored_step, replicates_step
from aisle_smc.smc import resume, smc
from aisle_smc.streams import stream
from aisle_smc.tempering import BASE, TARGET, History, Persistent, Tempering
from aisle_smc.tempering.holes import relative_variance

__all__ = ["Session"]

# Keys of the streams of the phases.
GUESS, EXPLORE, DRAW, REPLICATE, TURN = range(5)
OFFER = 8
# Explorations at most, and how many times as many points the second one has.
ATTEMPTS, BOLDER = 2, 4
# Share of effective draws of a person's proposal that makes exploring unnecessary.
WORTH = 0.2
# Numbers of replicates at which the error is looked at, each a quarter more than the last.
LOOKS = {int(REPLICATES_AT_LEAST * 1.25**k) for k in range(60)}
# Share of the draws that the prior makes.
SAFE = 0.05


@dataclass(slots=True)
class Session:
    """The state of a run.

    It can be stopped between any two evaluations and goes on from the last complete stage.

    Attributes
    ----------
    posterior : Posterior
        The target.
    meter : Meter
        What was spent.
    seed : int
        Seed of all streams.
    n : int
        Particles of a stage.
    base : Distribution or None
        Where to start instead of the prior.
    path : Level
        The level of the base, which says how the path goes on from it.
    circles : tuple of int
        Places of periodic parameters, whose circles are still to be cut.
    offer : Offer or None
        A person's proposal, until it turns out not to do.
    """

    posterior: Posterior
    meter: Meter
    seed: int
    n: int
    base: Distribution | None = None
    path: Level = BASE
    circles: tuple[int, ...] = ()
    offer: Offer | None = None
    trace: list[Step] = field(default_factory=list)
    watch: Any = None
    explored: tuple[Persistent, Particles, np.random.Generator] | None = None
    finished: bool = False
    drawn: tuple[Frozen, Particles, np.random.Generator] | None = None
    replicates: list[Particles] = field(default_factory=list)
    bridge: Bridge | None = None
    stopped: str | None = None
    # Evaluations of complete stages: what a run without a break would have made so far.
    useful: int = 0
    before: int = 0
    attempt: int = 0
    earlier: tuple[Frozen, Particles, np.random.Generator] | None = None
    # What was spent, on the meter and in the target; the meter is shared with other branches.
    spent: Reading = field(default_factory=Reading)
    target_seconds: float = 0.0
    _counted: int = 0

    def branch(self) -> Session:
        """Return a session that goes on from here and leaves this one as it is."""
        return replace(self, trace=list(self.trace), replicates=list(self.replicates))

    def run(self, aim: Aim) -> None:
        """Work until the aim is reached or a limit stands in the way."""
        evaluator = self.posterior.evaluator
        before = evaluator.seconds
        self.meter.go_on(self.spent)
        self.meter.allow(aim.max_evaluations, aim.max_seconds)
        self.stopped = None
        # Evaluations of a stage that a limit cut short are made again.
        self._counted = self.meter.evaluations
        evaluator.between = self.meter.check
        try:
            if self.circles:
                with self.meter.phase("guessing"):
                    rng = stream(self.seed, TURN)
                    self.posterior = turned(self.posterior, self.circles, self.n, rng)
                    self.circles = ()
                    self._count()
            if self.offer is not None and self._takes(self.offer, aim):
                return
            if self.bridge is None:
                with self.meter.phase("guessing"):
                    self.bridge = self._guess()
                    self._count()
            while True:
                if not self.finished:
                    with self.meter.phase("exploring"):
                        self._explore()
                    self.finished = True
                with self.meter.phase("drawing"):
                    self._draw(aim, self._best(), stream(self.seed, DRAW, self.attempt))
                if self.found.settled or self.attempt + 1 >= ATTEMPTS:
                    break
                self._start_over()
            if not self.found.trusted:
                with self.meter.phase("replicating"):
                    self._replicate(aim)
        except Spent as spent:
            self.stopped = spent.limit
        finally:
            evaluator.between = None
            self.meter.pause()
            self.spent = self.meter.reading
            self.target_seconds += evaluator.seconds - before

    # --- phases -------------------------------------------------------------------------------

    def _guess(self) -> Bridge:
        """Choose where the path to the target starts."""
        if self.base is not None:
            return FromBase(posterior=self.posterior, base=self.base)
        self.posterior, bridge = first_bridge(self.posterior, stream(self.seed, GUESS))
        return bridge

    def _takes(self, offer: Offer, aim: Aim) -> bool:
        """Draw from a person's proposal, and say whether that was enough."""
        source = FromOffer(posterior=self.posterior, offer=offer, safety=self.base)
        if self.drawn is None:
            with self.meter.phase("guessing"):
                points = source.start(self.n, stream(self.seed, OFFER, 0))
                pilot = judge(points.log_ratio)
                self._note(drawn_step("proposal", pilot, self.meter))
            if not (pilot.calibrated and pilot.ess >= WORTH * pilot.n):
                self.offer = None
                return False
        with self.meter.phase("drawing"):
            self._draw(aim, source, stream(self.seed, OFFER, 1))
        if self.found.trusted and self.found.settled:
            return True
        self.offer = self.drawn = None
        return False

    def _kernels(self) -> tuple[Kernel, ...]:
        bridge = self.bridge
        assert bridge is not None
        if not bridge.has_scores:
            return CrankNicolson(), DifferentialEvolution()
        if bridge.dim > MANY:
            white = isinstance(self.posterior.space, AffineSpace)
            return (SplitHamiltonian() if white else Hamiltonian(),)
        return Hamiltonian(), CrankNicolson()

    def _explore(self) -> None:
        assert self.bridge is not None
        if self.explored is None:
            rng = stream(self.seed, EXPLORE, self.attempt)
            first = Persistent(
                bridge=self.bridge,
                portfolio=Portfolio(kernels=self._kernels()),
                level=self.path,
            )
            steps = smc(first, self.n, rng, threshold=0.0)
        else:
            stage, particles, rng = self.explored
            rng = copied(rng)
            steps = resume(stage, particles, rng, threshold=0.0)
        for stage, particles in steps:
            # The generator moves on with the next stage; what is kept must not.
            self.explored = stage, particles, copied(rng)
            self._note(explored_step(particles, self.meter))
            if not self.found.proper and runs_away(particles):
                raise Spent(GROWTH)

    def _start_over(self) -> None:
        """Explore afresh with more points: the proposals of the last attempt did not fit."""
        self.earlier = self.drawn
        self.attempt += 1
        self.n *= BOLDER
        self.explored = self.drawn = None
        self.finished = False

    def _draw(self, aim: Aim, source: Source | None, rng: np.random.Generator) -> None:
        """Draw from a frozen proposal, if there is one, or go on drawing."""
        if self.drawn is None:
            if source is None:
                return
            first = Frozen(
                source=source, ess=aim.ess, error=aim.evidence_error, most=self._most(0)
            )
            first = replace(first, batches=max(min(first.most // first.batch, FIRST), 1))
            steps = smc(first, 1, rng, threshold=0.0)
        else:
            stage, particles, rng = self.drawn
            rng = copied(rng)
            most = self._most(particles.n)
            stage = replace(stage, ess=aim.ess, error=aim.evidence_error, most=most)
            steps = resume(stage, particles, rng, threshold=0.0)
        for stage, particles in steps:
            self.drawn = stage, particles, copied(rng)
            self._note(drawn_step("final", judge(particles.log_w), self.meter))

    def _best(self) -> Source | None:
        """Return the source of draws that explored best."""
        q = self._proposal()
        return None if q is None else FromBase(posterior=self.posterior, base=q)

    def _proposal(self) -> Distribution | None:
        """Return the proposal that does best at the target, by all points of the pool."""
        history, _ = self.history
        tried = [r.proposal for r in history.records if r.level.slope >= 1.0 and r.proposal]
        if not tried:
            return None
        variances = [relative_variance(history.pool, TARGET, q) for q in tried]
        q = tried[int(np.argmin(variances))]
        safe = reference(self.posterior.space)
        return q if safe is None else Defensive(proposal=q, safety=safe, share=SAFE)

    def _most(self, done: int) -> int:
        """Return how many draws there may be in all, `done` of them made."""
        return int(min(done + self.meter.left, 2 * MOST))

    def _replicate(self, aim: Aim) -> None:
        """Run samplers that no longer adapt, each with its unbiased evidence."""
        assert self.bridge is not None
        history, _ = self.history
        first = Tempering(bridge=self.bridge, portfolio=history.portfolio, plans=history.plans)
        n = max(self.n // 4, 50)
        if not self.replicates:
            self.before = self.useful
        # Twice what came before is enough, unless refine() asks for more.
        most = self.before * (1 + 2**aim.patience)

        def enough() -> bool:
            return float(kernels.ess(self.found.points("replicates")[1])) >= aim.ess

        while True:
            count = len(self.replicates)
            if count >= REPLICATES_AT_LEAST and self.useful > most:
                break
            # To stop as soon as the error seems small enough is to stop where it is too small.
            found = replicated(self.replicates) if count in LOOKS else None
            if found is not None and found.error <= aim.evidence_error and enough():
                break
            rng = stream(self.seed, REPLICATE, len(self.replicates))
            for _, particles in smc(first, n, rng):
                if particles.log_evidence == -math.inf:
                    break
            self.replicates.append(particles)
            self._note(replicates_step(self.replicates, self.meter))

    # --- what was found -----------------------------------------------------------------------

    @property
    def found(self) -> Findings:
        """What the phases have found so far."""
        space = self.posterior.space
        drawn = self.drawn or self.earlier
        return Findings(
            proper=space.inner.proper if isinstance(space, AffineSpace) else space.proper,
            history=None if self.explored is None else self.history[0],
            source=None if drawn is None else drawn[0].source,
            drawn=None if drawn is None else drawn[1],
            outdated=self.drawn is None,
            replicates=tuple(self.replicates),
        )

    @property
    def fitting_seconds(self) -> float:
        """Seconds spent fitting proposals and kernels."""
        if self.explored is None:
            return 0.0
        return sum(record.seconds for record in self.history[0].records)

    @property
    def history(self) -> tuple[History, Particles]:
        """The exploration so far."""
        assert self.explored is not None
        return cast(History, self.explored[1].x), self.explored[1]

    def _count(self) -> None:
        self.useful += self.meter.evaluations - self._counted
        self._counted = self.meter.evaluations

    def _note(self, step: Step) -> None:
        self._count()
        self.trace.append(step)
        if self.watch is not None:
            self.watch(step)


def copied(rng: np.random.Generator) -> np.random.Generator:
    """Return a generator that goes on as this one would."""
    return cast(np.random.Generator, pickle.loads(pickle.dumps(rng)))
