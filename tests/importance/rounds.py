"""Rounds for adaptations to learn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aisle_smc import stream
from aisle_smc.importance import Located, Proposals, Round, balance
from aisle_smc.importance.adaptation import normalised
from aisle_smc.importance.drawn import draw
from tests.importance.densities import bimodal, evaluate

BIMODAL = evaluate(bimodal, 2)


@dataclass(frozen=True)
class Given:
    """Start from given proposals."""

    proposals: Proposals

    def begin(self, initial, n, rng):
        return self.proposals


def scattered(count, df=5.0, seed=0, dim=2, own_roots=False):
    rng = np.random.default_rng(seed)
    roots = np.eye(dim)[None]
    if own_roots:
        roots = np.linspace(0.5, 2.0, count)[:, None, None] * np.eye(dim)
    return Located(locations=2.5 * rng.normal(size=(count, dim)), roots=roots, df=df)


def a_round(proposals, n=40, target=BIMODAL, weighting=balance, seed=1, t=1):
    rng = stream(seed)
    drawn = weighting.weigh(draw(target, proposals, n, rng), None)
    return Round(
        proposals=proposals,
        drawn=drawn,
        weights=normalised(drawn.log_w),
        target=target,
        t=t,
        rng=rng,
    )
