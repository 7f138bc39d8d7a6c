"""What a persistent sampler carries from stage to stage: its points, its kernels, its records."""

from __future__ import annotations

import math
from dataclasses import dataclass

from aisle_smc.distributions import Defensive
from aisle_smc.moves import Level, Points, Portfolio
from aisle_smc.tempering.levels import Threshold
from aisle_smc.tempering.pool import Pool
from aisle_smc.tempering.standard import Plan

__all__ = ["History", "Record", "Settling"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one stage did.

    Attributes
    ----------
    level : Level
        The level of the stage.
    log_z : float
        Log of its mass as estimated before the stage, in nats.
    ess : float
        Effective sample size of the pool for the level after the stage.
    efficiency : float
        Share of effective draws among those of the fitted proposal; NaN if none was tried.
    fits : float
        The same with the largest weights cut to sqrt(n) times their mean (Ionides, 2008).
    khat : float
        Shape of the tail of those draws' weights; NaN if there were none.
    acceptance, decorrelation : float
        Of the Markov moves; NaN if there were none.
    kernel : str
        What moved the particles.
    proposal : Defensive or None
        The proposal, if one was tried.
    plan : Plan or None
        How a sampler without adaptation would do the same.
    seconds : float
        Time spent fitting.
    """

    level: Level
    log_z: float
    ess: float
    efficiency: float = math.nan
    fits: float = math.nan
    khat: float = math.nan
    acceptance: float = math.nan
    decorrelation: float = math.nan
    kernel: str = ""
    proposal: Defensive | None = None
    plan: Plan | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """A population that still drifts at its level.

    Attributes
    ----------
    pool : Pool
        The pool without it.
    points : Points
        Where it is now.
    repeats : int
        How often the stage has been repeated.
    """

    pool: Pool
    points: Points
    repeats: int


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The population of :class:`Persistent`: the pool, and what was learnt on the way.

    Attributes
    ----------
    pool : Pool
        Every point so far.
    portfolio : Portfolio
        The kernels as last adapted.
    sweeps : int
        Applications of a kernel to each particle in the next stage that moves them.
    skip : int
        Stages for which no proposal is tried, since the last one failed.
    patience : int
        How many stages a failure costs.
    records : tuple of Record
        One for each stage after the start.
    proposal : Defensive or None
        The proposal fitted last.
    chosen : int
        Stages since its family was chosen.
    families : tuple of str
        Families of proposals to choose among next; empty for all of them.
    settling : Settling or None
        A population that its moves have not brought to rest yet.
    """

    pool: Pool
    portfolio: Portfolio
    sweeps: int
    skip: int = 0
    patience: int = 1
    records: tuple[Record, ...] = ()
    proposal: Defensive | None = None
    chosen: int = 0
    families: tuple[str, ...] = ()
    settling: Settling | None = None

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The stages up to the target, as a sampler without adaptation would repeat them.

        Thresholds are left out: a level that excludes part of the target cannot be left for the
        target without losing that part.
        """
        plans = []
        for record in self.records:
            if record.plan is not None and not isinstance(record.level, Threshold):
                plans.append(record.plan)
                if record.level.slope >= 1.0:
                    break
        return tuple(plans)
