"""State-space models in plain Python, one particle at a time, spread over processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aisle_smc.ssm.description import Model

__all__ = ["PythonModel"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PythonModel(Model):
    """A state-space model of interpreted functions, for steps that cost milliseconds.

    Written like a :class:`aisle_smc.ssm.StateSpaceModel`, never compiled.  The particles of one
    step are dealt out in chunks of fixed size, each with a random stream of its own, so the
    result does not depend on the number of workers.

    Parameters
    ----------
    workers : int, optional
        Processes to spread the particles over; 1 (the default) stays in this process, None takes
        all cores.  With more than one, the functions must be importable (defined in a module).
    chunk : int
        Particles in a chunk; part of the result, like the seed.
    """

    initial: Callable[..., Any]
    transition: Callable[..., Any]
    log_observation: Callable[..., Any]
    log_initial: Callable[..., Any] | None = None
    log_transition: Callable[..., Any] | None = None
    initial_proposal: Callable[..., Any] | None = None
    log_initial_proposal: Callable[..., Any] | None = None
    proposal: Callable[..., Any] | None = None
    log_proposal: Callable[..., Any] | None = None
    log_lookahead: Callable[..., Any] | None = None
    observe: Callable[..., Any] | None = None
    workers: int | None = 1
    chunk: int = 16
