"""A run from its first draw to its last: explore, freeze, draw; and go on where it stopped."""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.distributions import Defensive, Distribution, Gaussian, StudentT
from aisle_smc.moves import (
    Bridge,
    CrankNicolson,
    DifferentialEvolution,
    Hamiltonian,
    Kernel,
    Level,
    Points,
    Portfolio,
    join,
)
from aisle_smc.particles import Particles
from aisle_smc.sampling.bridges import FromBase, FromPrior, Posterior
from aisle_smc.sampling.frozen import Frozen, judge
from aisle_smc.sampling.laplace import laplace
from aisle_smc.sampling.meter import Meter, Spent
from aisle_smc.sampling.trace import Step
from aisle_smc.smc import resume, smc
from aisle_smc.streams import stream
from aisle_smc.tempering import (
    History,
    Persistent,
    Temperature,
    Tempering,
    Threshold,
)
from aisle_smc.tempering.levels import next_temperature

__all__ = ["Aim", "Estimate", "Session"]

TARGET = Temperature(1.0)
# Keys of the streams of the phases.
GUESS, EXPLORE, DRAW, REPLICATE = range(4)
CLIMBS = 8
PILOT = 400
REPLICATES_AT_FIRST, REPLICATES_AT_MOST = 10, 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a run should reach, and what it may spend.

    Attributes
    ----------
    ess : float
        Effective sample size of the posterior draws.
    evidence_error : float
        Standard error of the log-evidence, in nats.
    max_evaluations : int or None
        Evaluations at most.
    max_seconds : float or None
        Seconds at most.
    """

    ess: float
    evidence_error: float
    max_evaluations: int | None = None
    max_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Weighted points of the posterior and what they say of the evidence.

    Attributes
    ----------
    method : str
        "draws" for independent draws of a frozen proposal, "replicates" for unadapted samplers,
        "pool" for what exploring alone gave.
    log_evidence, error : float
        In nats.
    khat : float
        Shape of the tail of the weights; NaN where it has no meaning.
    """

    method: str
    log_evidence: float
    error: float
    khat: float = math.nan


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
    """

    posterior: Posterior
    meter: Meter
    seed: int
    n: int
    base: Distribution | None = None
    path: Level = Temperature(0.0)
    trace: list[Step] = field(default_factory=list)
    watch: Any = None
    explored: tuple[Persistent, Particles, np.random.Generator] | None = None
    finished: bool = False
    drawn: tuple[Frozen, Particles, np.random.Generator] | None = None
    replicates: list[Particles] = field(default_factory=list)
    bridge: Bridge | None = None
    stopped: str | None = None

    def run(self, aim: Aim) -> None:
        """Work until the aim is reached or a limit stands in the way."""
        self.meter.allow(aim.max_evaluations, aim.max_seconds)
        self.stopped = None
        try:
            if self.bridge is None:
                with self.meter.phase("guessing"):
                    self.bridge = self._begin()
            if not self.finished:
                with self.meter.phase("exploring"):
                    self._explore()
                self.finished = True
            with self.meter.phase("drawing"):
                self._draw(aim)
            if not self.trusted:
                with self.meter.phase("replicating"):
                    self._replicate(aim)
        except Spent as spent:
            self.stopped = spent.limit
        finally:
            self.meter.pause()

    # --- phases -------------------------------------------------------------------------------

    def _begin(self) -> Bridge:
        """Choose where the path to the target starts."""
        posterior = self.posterior
        space = posterior.space
        if self.base is not None:
            return FromBase(posterior=posterior, base=self.base)
        prior = FromPrior(posterior=posterior)
        if not posterior.evaluator.has_gradients:
            return prior
        rng = stream(self.seed, GUESS)
        guess = laplace(posterior, space.sample(CLIMBS, rng))
        if guess is None:
            return prior
        if not isinstance(guess, Gaussian):
            if len(guess.parts) > 1:
                # Where there are several modes there are others that no climb has found.
                return prior
            centre = cast(StudentT, guess.parts[0])
            wide = StudentT(location=centre.location, root=2.0 * centre.root, df=4.0)
            guess = Defensive(proposal=guess, safety=wide, share=0.1)
        bridge = FromBase(posterior=posterior, base=guess)
        # The better start is the one that comes farther in one step.
        steps = []
        for one in (prior, bridge):
            points = one.start(PILOT, rng)
            steps.append(next_temperature(np.zeros(PILOT), points.log_ratio, 0.0, 0.5))
        return bridge if steps[1] > steps[0] else prior

    def _kernels(self) -> tuple[Kernel, ...]:
        bridge = self.bridge
        assert bridge is not None
        if not bridge.has_scores:
            return CrankNicolson(), DifferentialEvolution()
        if bridge.dim > 100:
            base = getattr(bridge, "base", None)
            root = base.root if isinstance(base, Gaussian) else None
            return (Hamiltonian(root=root, fit=False, step=0.7),)
        return Hamiltonian(), CrankNicolson()

    def _explore(self) -> None:
        assert self.bridge is not None
        if self.explored is None:
            rng = stream(self.seed, EXPLORE)
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
            self._note(explored_step(stage, particles, self.meter))

    def _draw(self, aim: Aim) -> None:
        if self.drawn is None:
            rng = stream(self.seed, DRAW)
            q = self._proposal()
            if q is None:
                return
            first = Frozen(
                posterior=self.posterior,
                proposal=q,
                ess=aim.ess,
                error=aim.evidence_error,
                most=self._most(),
            )
            steps = smc(first, 1, rng, threshold=0.0)
        else:
            stage, particles, rng = self.drawn
            rng = copied(rng)
            stage = replace(stage, ess=aim.ess, error=aim.evidence_error, most=self._most())
            steps = resume(stage, particles, rng, threshold=0.0)
        for stage, particles in steps:
            self.drawn = stage, particles, copied(rng)
            found = judge(particles.log_w)
            self._note(
                Step(
                    phase="final",
                    evaluations=self.meter.evaluations,
                    log_evidence=found.log_evidence,
                    error=found.error,
                    ess=found.ess,
                    acceptance=found.ess / found.n,
                    khat=found.khat,
                    seconds=self.meter.seconds,
                    kernel="frozen proposal",
                )
            )

    def _proposal(self) -> Distribution | None:
        """Return the proposal that did best at the target, by draws that it was not fitted to."""
        history, _ = self.history
        tried = [
            (record.efficiency, record.proposal)
            for record in history.records
            if record.level.slope >= 1.0 and record.proposal is not None
        ]
        return max(tried, key=lambda one: one[0])[1] if tried else None

    def _most(self) -> int:
        return int(min(self.meter.left, 10_000_000))

    @property
    def trusted(self) -> bool:
        """Whether the draws of the frozen proposal can be relied on."""
        return self.drawn is not None and judge(self.drawn[1].log_w).reliable

    def _replicate(self, aim: Aim) -> None:
        """Run samplers that no longer adapt, each with its unbiased evidence."""
        assert self.bridge is not None
        history, _ = self.history
        plans = plans_of(history)
        first = Tempering(bridge=self.bridge, portfolio=history.portfolio, plans=plans)
        n = max(self.n // 4, 50)
        while len(self.replicates) < REPLICATES_AT_MOST:
            if len(self.replicates) >= REPLICATES_AT_FIRST:
                found = self._replicated()
                if found.error <= aim.evidence_error:
                    break
            rng = stream(self.seed, REPLICATE, len(self.replicates))
            for _, particles in smc(first, n, rng):
                if particles.log_evidence == -math.inf:
                    break
            self.replicates.append(particles)
            found = self._replicated()
            self._note(
                Step(
                    phase="replicates",
                    evaluations=self.meter.evaluations,
                    log_evidence=found.log_evidence,
                    error=found.error,
                    seconds=self.meter.seconds,
                    kernel="unadapted sampler",
                )
            )

    # --- what was found -----------------------------------------------------------------------

    @property
    def history(self) -> tuple[History, Particles]:
        """The exploration so far."""
        assert self.explored is not None
        return cast(History, self.explored[1].x), self.explored[1]

    def _replicated(self) -> Estimate:
        """Average the unbiased evidences of the replicates."""
        log_z = np.array([p.log_evidence for p in self.replicates])
        top = float(log_z.max())
        z = np.exp(log_z - top)
        mean = float(z.mean())
        k = z.size
        error = float(z.std(ddof=1) / mean / math.sqrt(k)) if k > 1 else math.nan
        return Estimate(method="replicates", log_evidence=top + math.log(mean), error=error)

    def _note(self, step: Step) -> None:
        self.trace.append(step)
        if self.watch is not None:
            self.watch(step)

    def estimates(self) -> dict[str, Estimate]:
        """Return every estimate of the evidence that there is, by method."""
        found: dict[str, Estimate] = {}
        if self.drawn is not None:
            one = judge(self.drawn[1].log_w)
            found["draws"] = Estimate(
                method="draws",
                log_evidence=one.log_evidence,
                error=one.error,
                khat=one.khat,
            )
        if len(self.replicates) > 1:
            found["replicates"] = self._replicated()
        if self.explored is not None:
            history, particles = self.history
            _, error = history.pool.log_evidence(TARGET)
            found["pool"] = Estimate(
                method="pool",
                log_evidence=float(
                    Particles(None, history.pool.log_weights(TARGET)).log_evidence
                ),
                error=error,
            )
        return found

    def points(self, method: str) -> tuple[Points, Floats]:
        """Return the posterior's weighted points by one method: points and log-weights."""
        if method == "draws":
            assert self.drawn is not None
            particles = self.drawn[1]
            return join(cast(tuple[Points, ...], particles.x)), particles.log_w
        if method == "replicates":
            parts = [p.x.points for p in self.replicates]
            log_w = np.concatenate([p.log_w + p.log_z for p in self.replicates])
            return join([p.without_scores() for p in parts]), log_w
        history, _ = self.history
        return history.pool.points, history.pool.log_weights(TARGET)


def copied(rng: np.random.Generator) -> np.random.Generator:
    """Return a generator that goes on as this one would."""
    return cast(np.random.Generator, pickle.loads(pickle.dumps(rng)))


def plans_of(history: History) -> tuple[Any, ...]:
    """Return the stages of an exploration as a sampler without adaptation would repeat them."""
    # A level that leaves out part of the target cannot be left for the target without losing it.
    plans = [
        record.plan
        for record in history.records
        if record.plan is not None and not isinstance(record.level, Threshold)
    ]
    first = next((k for k, plan in enumerate(plans) if plan.level.slope >= 1.0), len(plans) - 1)
    return tuple(plans[: first + 1])


def explored_step(stage: Persistent, particles: Particles, meter: Meter) -> Step:
    """Return the row of a stage of the exploration."""
    history = cast(History, particles.x)
    if not history.records:
        return Step(
            phase="prior",
            evaluations=meter.evaluations,
            log_evidence=0.0,
            ess=particles.ess,
            beta=0.0,
            seconds=meter.seconds,
        )
    last = history.records[-1]
    earlier = history.records[:-1]
    stays = bool(earlier) and earlier[-1].level.slope >= 1.0
    nested = isinstance(last.level, Threshold)
    return Step(
        phase="nested" if nested else "stay" if stays else "tempering",
        evaluations=meter.evaluations,
        log_evidence=particles.log_evidence,
        ess=last.ess,
        beta=math.nan if nested else last.level.slope,
        acceptance=last.efficiency if math.isnan(last.acceptance) else last.acceptance,
        seconds=meter.seconds,
        kernel=last.kernel,
    )
