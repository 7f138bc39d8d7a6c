"""What a run may spend, what it has spent, and where its time went."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["Meter", "Reading", "Spent"]


class Spent(Exception):
    """The next evaluations would exceed a limit; `limit` says which."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a meter shows: evaluations, seconds, and seconds by phase."""

    evaluations: int = 0
    seconds: float = 0.0
    phases: Mapping[str, float] = field(default_factory=dict)


class Meter:
    """Count evaluations and seconds, and stop a run before it exceeds its limits.

    Parameters
    ----------
    evaluations : int, optional
        How many there may be.
    seconds : float, optional
        How long it may take.

    Attributes
    ----------
    evaluations : int
        Evaluations so far.
    phases : dict from str to float
        Seconds by phase, the target included.
    """

    def __init__(self, evaluations: int | None = None, seconds: float | None = None) -> None:
        self.evaluations = 0
        self.phases: dict[str, float] = {}
        self.allow(evaluations, seconds)
        self._earlier = 0.0

    def allow(self, evaluations: int | None, seconds: float | None) -> None:
        """Set the limits, in evaluations from the first on and in seconds from now."""
        self._most = math.inf if evaluations is None else evaluations
        self._began = time.perf_counter()
        self._allowed = math.inf if seconds is None else seconds

    @property
    def reading(self) -> Reading:
        """What the meter shows."""
        return Reading(
            evaluations=self.evaluations, seconds=self.seconds, phases=dict(self.phases)
        )

    def go_on(self, reading: Reading) -> None:
        """Go on from what it once showed."""
        self.evaluations = reading.evaluations
        self.phases = dict(reading.phases)
        self._earlier = reading.seconds

    def pause(self) -> None:
        """Add the seconds since the last :meth:`allow` to what was spent before."""
        self._earlier = self.seconds
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds spent."""
        return self._earlier + time.perf_counter() - self._began

    @property
    def left(self) -> float:
        """Evaluations that are still allowed."""
        return self._most - self.evaluations

    def spend(self, n: int) -> None:
        """Count `n` evaluations that are about to be made, or raise :class:`Spent`."""
        if self.evaluations + n > self._most:
            raise Spent("max_evaluations")
        self.check()
        self.evaluations += n

    def check(self) -> None:
        """Raise :class:`Spent` if the time is over."""
        if time.perf_counter() - self._began > self._allowed:
            raise Spent("max_seconds")

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Book the time inside to a phase."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            taken = time.perf_counter() - begun
            self.phases[name] = self.phases.get(name, 0.0) + taken
