"""Importance sampling: plain, multiple, and the adaptive family as strategies over one stage.

Three calls do the work: :func:`importance_sampling`, :func:`multiple_importance_sampling` and
:func:`adaptive_importance_sampling`, whose ``method`` is one of the named algorithms
(:mod:`aisle_smc.importance.methods`) or a composition of

* a start: where the first proposals are;
* a weighting: what the target is divided by (`standard`, `partial`, `balance`, `temporal`);
* an adaptation: how proposals follow from draws.

Beneath is one stage, :class:`AdaptiveImportance`, run by :func:`aisle_smc.smc`.
"""

from __future__ import annotations

from aisle_smc.importance.adaptation import (
    Adaptation,
    FitProposal,
    InTurn,
    Keep,
    LocalMeans,
    Moments,
    ResampleGlobally,
    ResampleLocally,
    keep,
    moments,
)
from aisle_smc.importance.ascent import Ascend
from aisle_smc.importance.chains import MarkovLocations
from aisle_smc.importance.drawn import Drawn, Round
from aisle_smc.importance.located import Located
from aisle_smc.importance.methods import (
    AMIS,
    APIS,
    DMPMC,
    GAPIS,
    GRAMIS,
    GRPMC,
    LAIS,
    LRPMC,
    MPMC,
    NPMC,
    OPMC,
    PMC,
    Method,
)
from aisle_smc.importance.proposals import Defended, Divisible, Proposals, Several
from aisle_smc.importance.result import Estimate, ImportanceResult, estimate
from aisle_smc.importance.run import (
    adaptive_importance_sampling,
    importance_sampling,
    multiple_importance_sampling,
)
from aisle_smc.importance.spread import Kept, Kernel, Spread, kept, kernel, wide
from aisle_smc.importance.stage import AdaptiveImportance
from aisle_smc.importance.starts import Blended, Scattered, Start, Whole
from aisle_smc.importance.weighting import (
    Mixed,
    Temporal,
    Weighting,
    balance,
    partial,
    standard,
    temporal,
)

__all__ = [
    "AMIS",
    "APIS",
    "DMPMC",
    "GAPIS",
    "GRAMIS",
    "GRPMC",
    "LAIS",
    "LRPMC",
    "MPMC",
    "NPMC",
    "OPMC",
    "PMC",
    "Adaptation",
    "AdaptiveImportance",
    "Ascend",
    "Blended",
    "Defended",
    "Divisible",
    "Drawn",
    "Estimate",
    "FitProposal",
    "ImportanceResult",
    "InTurn",
    "Keep",
    "Kept",
    "Kernel",
    "LocalMeans",
    "Located",
    "MarkovLocations",
    "Method",
    "Mixed",
    "Moments",
    "Proposals",
    "ResampleGlobally",
    "ResampleLocally",
    "Round",
    "Scattered",
    "Several",
    "Spread",
    "Start",
    "Temporal",
    "Weighting",
    "Whole",
    "adaptive_importance_sampling",
    "balance",
    "estimate",
    "importance_sampling",
    "keep",
    "kept",
    "kernel",
    "moments",
    "multiple_importance_sampling",
    "partial",
    "standard",
    "temporal",
    "wide",
]
