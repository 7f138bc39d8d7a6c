"""How a run goes: one live line on a terminal, a line now and then in a log, or nothing."""

from __future__ import annotations

import sys
import time
from typing import Any

__all__ = ["Progress", "duration"]

_SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """Show how far a study is.

    Parameters
    ----------
    name : str
        The study.
    total, done, failed : int
        Its tasks, and those that had ended before.
    show : bool
        False to say nothing.
    """

    def __init__(self, name: str, total: int, done: int, failed: int, *, show: bool) -> None:
        self.name, self.total, self.first = name, total, done + failed
        self.done, self.failed = done, failed
        self._began = self._said = time.monotonic()
        self._bar: Any = None
        self._lines = False
        if show and (sys.stderr.isatty() or "ipykernel" in sys.modules):
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, initial=self.first, unit="task", desc=name)
        elif show:
            self._lines = True

    @property
    def rate(self) -> float:
        """Tasks that ended in a second since the run began."""
        taken = time.monotonic() - self._began
        return (self.done + self.failed - self.first) / max(taken, 1e-9)

    def update(self, done: int, failed: int, running: int) -> None:
        """Show that so many tasks of the run have ended since the last time."""
        self.done, self.failed = self.done + done, self.failed + failed
        if self._bar is not None:
            self._bar.set_postfix_str(self._note(running), refresh=False)
            self._bar.update(done + failed)
        elif self._lines and time.monotonic() - self._said > _SECONDS_BETWEEN_LINES:
            self._line(running)

    def close(self) -> None:
        """Show the end."""
        if self._bar is not None:
            self._bar.set_postfix_str(self._note(0))
            self._bar.close()
        elif self._lines:
            self._line(0)

    def _note(self, running: int) -> str:
        parts = [f"{running} running"] if running else []
        return ", ".join([*parts, f"{self.failed} failed"] if self.failed else parts)

    def _line(self, running: int) -> None:
        self._said = time.monotonic()
        ended, rate = self.done + self.failed, self.rate
        text = f"{self.name}: {ended} of {self.total} tasks, {rate:.3g}/s"
        note = self._note(running)
        left = (
            f", {duration((self.total - ended) / rate)} left"
            if ended < self.total and rate
            else ""
        )
        print(f"{text}{', ' if note else ''}{note}{left}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Return a time in a few characters.

    Examples
    --------
    >>> duration(3.21), duration(113), duration(7500)
    ('3.2 s', '1 min 53 s', '2 h 5 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
