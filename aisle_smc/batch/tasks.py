"""A task: one cell of a grid and one replicate, with its seed and its fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from aisle_smc.batch.limits import Limits
from aisle_smc.streams import stream

__all__ = ["Task"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """One piece of work of a study.

    Attributes
    ----------
    index : int
        Its place in the study.
    kind : str
        fit, filter, score, sample or function.
    options : mapping
        What it is called with; ``data`` is a name among the study's data.
    labels : mapping
        What tells it from the others, as the table shows it.
    replicate : int
        Which repetition of its cell it is.
    seed : int
        The seed of the study; the task draws from ``SeedSequence(seed, spawn_key=(index,))``.
    limits : Limits
        What it may use.
    priority : int
        Higher ones start first.
    fingerprint : str
        What its result depends on: code, data, options, seed, version; not what things are
        called.  A task that has changed is a new task.
    """

    index: int
    kind: str
    options: Mapping[str, Any]
    labels: Mapping[str, Any]
    replicate: int
    seed: int
    limits: Limits
    priority: int
    fingerprint: str

    @property
    def sequence(self) -> np.random.SeedSequence:
        """The seed sequence that all randomness of the task comes from."""
        return np.random.SeedSequence(self.seed, spawn_key=(self.index,))

    @property
    def number(self) -> int:
        """The seed as one integer of 63 bits, for functions that take an integer."""
        return int(self.sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))

    def generator(self) -> np.random.Generator:
        """Return the task's generator, from its start."""
        return stream(self.seed, self.index)

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value}" for name, value in self.labels.items())
        return f"Task({self.index}, {self.kind}: {told})"
