"""One time of a particle filter, as a stage of the one loop, and the errors it can meet."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from aisle_kernels.weights import largest

from aisle_smc.arrays import Floats
from aisle_smc.errors import DegenerateWeights
from aisle_smc.particles import Particles
from aisle_smc.ssm.description import Bound, Model

__all__ = ["FilterStage", "degenerate", "nan_density"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterStage:
    """One time of a particle filter, as a stage of :func:`aisle_smc.smc.smc`."""

    bound: Bound
    t: int = 0

    def start(self, n: int, rng: np.random.Generator) -> Particles:
        """Draw and weigh the particles of time 0."""
        x, log_g = self.bound.start(rng, n)
        return self._weigh(Particles(x, np.zeros(n)), log_g)

    def next(self, particles: Particles) -> FilterStage | None:
        """Return the stage of the next time."""
        return None if self.t + 1 == self.bound.length else replace(self, t=self.t + 1)

    def lookahead(self, particles: Particles) -> Floats | None:
        """Return the look-ahead weights for this time's observation."""
        log_eta = self.bound.look_ahead(self.t, particles.x)
        if log_eta is None:
            return None
        if not largest(log_eta) < math.inf:
            raise nan_density(
                self.bound.model, self.bound.p, self.bound.y, self.t, particles.x, log_eta
            )
        # A look that rejects every particle would stop the filter; it is as good as none.
        return (
            np.zeros_like(log_eta) if largest(particles.log_w + log_eta) == -math.inf else log_eta
        )

    def move(self, particles: Particles, rng: np.random.Generator) -> Particles:
        """Move the particles to this time and weigh them by its observation."""
        x, log_g = self.bound.move(rng, self.t, particles.x)
        return self._weigh(particles.move(x), log_g)

    def _weigh(self, particles: Particles, log_g: Floats) -> Particles:
        if not largest(log_g) < math.inf:
            raise nan_density(
                self.bound.model, self.bound.p, self.bound.y, self.t, particles.x, log_g
            )
        return particles.reweight(log_g)


def _state_text(model: Model, x: Any) -> str:
    values = np.atleast_1d(x)
    return ", ".join(f"{k}={v:.6g}" for k, v in zip(model.state_names, values, strict=True))


def _params_text(p: Any) -> str:
    return ", ".join(f"{name}={getattr(p, name)}" for name in p._fields)


def nan_density(model: Model, p: Any, y: Floats, t: int, x: Floats, log_g: Floats) -> ValueError:
    """Return the error for a density that is NaN or plus infinity."""
    i = int(np.flatnonzero(~(log_g < math.inf))[0])
    hint = ""
    if np.isnan(y[t]).any():
        hint = (
            "\n  some components of this observation are missing: let log_observation return one "
            "log-density for each component"
        )
    return ValueError(
        f"a density of the model is {log_g[i]} at time {t}, particle {i}: it must be finite or "
        f"-inf\n  state: {_state_text(model, x[i])}\n  observation: {y[t]}\n"
        f"  parameters: {_params_text(p)}{hint}"
    )


def degenerate(
    model: Model,
    p: Any,
    y: Floats,
    stage: FilterStage,
    particles: Particles,
    ess: Floats,
    earlier: Particles | None,
) -> DegenerateWeights:
    """Return the error for a population without weight, with what helps to find out why.

    The best particle is the one that had the most weight before this observation.
    """
    before = ess[max(stage.t - 10, 0) : stage.t]
    carried = earlier is not None and particles.ancestors is None
    best = int(np.argmax(earlier.log_w)) if carried and earlier is not None else 0
    centre = np.median(particles.x, axis=0)
    lines = [
        f"every particle has weight zero at time {stage.t}: none of {particles.n} can explain "
        f"the observation {y[stage.t]}",
        f"  best particle so far: {_state_text(model, particles.x[best])}, "
        f"log-density now {particles.log_w[best]}",
        f"  median state: {_state_text(model, centre)}",
        f"  parameters: {_params_text(p)}",
        f"  last ESS: {', '.join(f'{e:.0f}' for e in before) or 'none, this is the first time'}",
        "Use more particles, a guided proposal, a heavier-tailed observation density, or check "
        "the observation.",
    ]
    return DegenerateWeights("\n".join(lines), t=stage.t, ess=before.tolist())
