"""One particle marginal Metropolis-Hastings chain: its state, its step, and what it remembers."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.distributions import Mixture
from aisle_smc.errors import AisleError
from aisle_smc.priors import Prior
from aisle_smc.ssm.adaptation import RandomWalk
from aisle_smc.ssm.blocks import Blocks, seat
from aisle_smc.ssm.evidence import EvidenceFilter

__all__ = ["Chain", "Estimate", "Phase", "Point"]

# How often, while tuning, the current estimate is replaced by a fresh one.
REFRESH = 10
BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What is fixed for a stretch of iterations: agreed by all chains before it begins.

    Attributes
    ----------
    index : int
        Which phase.
    length : int
        Iterations of each chain.
    n : int
        Particles.
    adapt : bool
        Whether the walk learns and stale estimates are renewed; never while drawing.
    walk : RandomWalk or None
        The walk to start with; None to go on with the chain's own.
    jump : Mixture or None
        Independent proposals, if any.
    share : float
        Probability of an independent proposal.
    """

    index: int
    length: int
    n: int
    adapt: bool
    walk: RandomWalk | None = None
    jump: Mixture | None = None
    share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A state of the chain: parameters and the one estimate that belongs to them.

    Attributes
    ----------
    z : ndarray, shape (d,)
        Unconstrained coordinates.
    log_prior : float
        Their log prior density, Jacobian included, in nats.
    log_evidence : float
        The estimate, in nats.
    keys : ndarray or None
        Keys of the blocks of random numbers, if they are correlated.
    path, increments : ndarray or None
        The state trajectory and the log-evidence increments, while drawing.
    """

    z: Floats
    log_prior: float
    log_evidence: float = -math.inf
    keys: Any = None
    path: Any = None
    increments: Any = None

    @property
    def log_density(self) -> float:
        """Log of the posterior density estimate, up to a constant, in nats."""
        return self.log_prior + self.log_evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """How a point's log-evidence is estimated: a prior, and a filter of any size on one series.

    Parameters
    ----------
    prior : Prior
        Names the free parameters.
    params : callable
        Turns unconstrained coordinates into the model's parameters.
    filter : callable
        ``filter(n, keep_paths)`` returns a filter with a work space of its own.
    blocks : Blocks or None
        Blocks of random numbers, if they are correlated.
    """

    prior: Prior
    params: Callable[[Floats], Any]
    filter: Callable[[int, bool], EvidenceFilter]
    blocks: Blocks | None


@dataclass(slots=True)
class Chain:
    """A chain that can be stopped between any two iterations and continued to the same bits."""

    index: int
    estimate: Estimate
    rng: np.random.Generator
    walk: RandomWalk
    point: Point | None = None
    phase: int = -1
    done: int = 0
    accepted: int = 0
    degenerate: int = 0
    jumps: int = 0
    jumps_accepted: int = 0
    trail: list[tuple[Floats, float]] = field(default_factory=list)
    kept: list[Point] = field(default_factory=list)
    which: list[int] = field(default_factory=list)
    moved: list[bool] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock, repr=False)
    _boundary: dict[str, Any] = field(default_factory=dict, repr=False)
    _filter: EvidenceFilter | None = field(default=None, repr=False)
    _rngs: list[np.random.Generator] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if self.estimate.blocks is not None:
            self._rngs = self.estimate.blocks.generators()
        self._commit()

    # What a checkpoint holds of a chain, beside the generator.
    _FIELDS = (
        *("walk", "point", "phase", "done", "accepted", "degenerate", "jumps", "jumps_accepted"),
        *("trail", "kept", "which", "moved"),
    )

    def _commit(self) -> None:
        """Note where the chain stands: the state of its generator and how long its lists are."""
        lists = "trail", "kept", "which", "moved"
        boundary: dict[str, Any] = {
            name: len(getattr(self, name)) if name in lists else getattr(self, name)
            for name in self._FIELDS
        }
        boundary |= {"rng": pickle.dumps(self.rng), "trail_of": self.trail}
        with self._lock:
            self._boundary = boundary

    def snapshot(self) -> dict[str, Any]:
        """Return the chain's state after its last whole iteration; callable from any thread."""
        with self._lock:
            state = dict(self._boundary)
        # The lists only ever grow, and a new phase begins a new trail.
        state["trail"] = state.pop("trail_of")[: state["trail"]]
        for name in ("kept", "which", "moved"):
            state[name] = getattr(self, name)[: state[name]]
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a snapshot."""
        for name in self._FIELDS:
            value = state[name]
            setattr(self, name, list(value) if isinstance(value, list) else value)
        self.rng = pickle.loads(state["rng"])
        self._commit()

    def start(self, n: int, initial: Floats | None) -> None:
        """Choose where to begin: at `initial`, or at the best of a batch of draws of the prior.

        Raises
        ------
        AisleError
            If no draw has a positive evidence estimate.
        """
        if self.point is not None:
            return
        self._filter = self.estimate.filter(n, False)
        prior = self.estimate.prior
        best, tried = None, 0
        for _ in range(1 if initial is not None else 16):
            z = prior.unconstrain(prior.sample(self.rng, BATCH)) if initial is None else [initial]
            for row in z:
                tried += 1
                try:
                    point = self._evaluate(row, None, keep=False)
                except ValueError as error:
                    where = f"chain {self.index}, looking for a place to start"
                    raise ValueError(f"{error}\n  {where}") from error
                if best is None or point.log_density > best.log_density:
                    best = point
            if best is not None and best.log_density > -math.inf:
                self.point = best
                self._commit()
                return
        whence = "at the initial values" if initial is not None else f"at {tried} prior draws"
        raise AisleError(
            f"chain {self.index} found no place to start: the evidence estimate with {n} "
            f"particles is zero {whence}; use more particles, a prior nearer to the data, "
            "initial values where the model can explain the data, or aisle_smc.ssm.check_model"
        )

    def run(self, phase: Phase, stop: Event) -> None:
        """Take the iterations of a phase that are still to be taken, unless told to stop.

        Raises
        ------
        ValueError
            If the filter raises one, as for a NaN density; chain and iteration are named.
        AisleError
            If the phase cannot begin.
        """
        if self.phase == phase.index and self.done >= phase.length:
            return
        try:
            self._run(phase, stop)
        except ValueError as error:
            at = self.done + 1 if self.phase == phase.index else 1
            part = f"part {phase.index + 1} of tuning" if phase.adapt else "drawing"
            raise ValueError(f"{error}\n  chain {self.index}, iteration {at} of {part}") from error

    def _run(self, phase: Phase, stop: Event) -> None:
        keep = not phase.adapt
        if self._filter is None or (self._filter.n, self._filter.keep_paths) != (phase.n, keep):
            self._filter = self.estimate.filter(phase.n, keep)
        if self.phase != phase.index:
            self._enter(phase)
        while self.done < phase.length and not stop.is_set():
            self._step(phase)

    def _enter(self, phase: Phase) -> None:
        """Begin a phase with a fresh estimate of the size it uses."""
        assert self.point is not None
        point = self.point
        for _ in range(100):
            fresh = self._evaluate(point.z, None, keep=not phase.adapt)
            if fresh.log_evidence > -math.inf:
                break
        else:
            raise AisleError(
                f"chain {self.index} stands where {phase.n} particles give 100 evidence estimates "
                "of zero; use more particles or a guided proposal"
            )
        self.point = fresh
        self.phase, self.done = phase.index, 0
        self.accepted = self.jumps = self.jumps_accepted = self.degenerate = 0
        self.trail = []
        if phase.walk is not None:
            self.walk = phase.walk
        if not phase.adapt:
            self.kept.append(fresh)
        self._commit()

    def _step(self, phase: Phase) -> None:
        """Take one Metropolis-Hastings step."""
        assert self.point is not None
        rng, now = self.rng, self.point
        if phase.adapt and self.done % REFRESH == REFRESH - 1:
            # An estimate far too high would hold the chain for long.  Renewing it costs the exact
            # invariant law, which tuning does not need, and drawing never does it.
            fresh = self._evaluate(now.z, None, keep=False)
            now = fresh if fresh.log_evidence > -math.inf else now
        jump = phase.jump is not None and rng.random() < phase.share
        noise = np.empty(0)
        correction = 0.0
        if jump:
            assert phase.jump is not None
            z = phase.jump.sample(1, rng)[0]
            before, after = phase.jump.log_density(np.stack([now.z, z]))
            correction = float(before - after)
        else:
            noise = rng.standard_normal(now.z.size)
            z = self.walk.propose(now.z, noise)
        keys = None
        if self.estimate.blocks is not None:
            keys = self.estimate.blocks.renew(now.keys, rng)
        log_u = -rng.standard_exponential()
        new = self._evaluate(z, keys, keep=False)
        log_ratio = new.log_density - now.log_density + correction
        accept = log_u < log_ratio
        if accept:
            now = self._with_path(new) if not phase.adapt else new
        self.point = now
        self.done += 1
        self.accepted += accept
        self.jumps += jump
        self.jumps_accepted += jump and accept
        if phase.adapt:
            if not jump:
                chance = math.exp(min(log_ratio, 0.0))
                if phase.jump is None:
                    self.walk = self.walk.learn(noise, chance)
                else:
                    self.walk = self.walk.rescale(chance)
            self.trail.append((now.z, now.log_density))
        else:
            if accept:
                self.kept.append(now)
            self.which.append(len(self.kept) - 1)
            self.moved.append(bool(accept))
        self._commit()

    def _evaluate(self, z: Floats, keys: Any, *, keep: bool) -> Point:
        """Estimate the posterior density at `z`, with fresh random numbers unless keys are given.

        Where the prior has no mass the filter is not run.
        """
        log_prior = float(self.estimate.prior.log_density_unconstrained(z))
        if log_prior == -math.inf:
            return Point(z=z, log_prior=log_prior)
        assert self._filter is not None
        blocks = self.estimate.blocks
        rng: Any = self.rng
        if blocks is not None:
            keys = blocks.draw(self.rng) if keys is None else keys
            seat(self._rngs, keys)
            rng = self._rngs
        log_evidence = self._filter(self.estimate.params(z), rng)
        self.degenerate += log_evidence == -math.inf
        point = Point(z=z, log_prior=log_prior, log_evidence=log_evidence, keys=keys)
        return self._with_path(point) if keep and log_evidence > -math.inf else point

    def _with_path(self, point: Point) -> Point:
        """Return the point just evaluated with a trajectory drawn from its filter."""
        assert self._filter is not None
        increments = np.diff(self._filter.log_evidences, prepend=0.0)
        path = self._filter.path(self.rng)
        return Point(
            z=point.z,
            log_prior=point.log_prior,
            log_evidence=point.log_evidence,
            keys=point.keys,
            path=path,
            increments=increments,
        )
