"""Progress of a long run: a bar on a terminal, a line now and then in a log, or nothing."""

from __future__ import annotations

import sys
import time
from typing import Any

__all__ = ["Progress"]

_SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Show how far a run is, how fast it goes and how long it will take.

    Parameters
    ----------
    total : int
        Iterations of all chains together.
    show : bool
        False to say nothing.
    done : int
        Iterations already taken by an earlier part of the run.
    """

    def __init__(self, total: int, *, show: bool, done: int = 0) -> None:
        self.total, self.first, self.done = total, done, done
        self._began = self._said = time.monotonic()
        self._bar: Any = None
        self._lines = False
        if show and (sys.stderr.isatty() or "ipykernel" in sys.modules):
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, initial=done, unit="it", desc="pmmh", leave=True)
        elif show:
            self._lines = True

    def update(self, done: int, note: str) -> None:
        """Show that `done` iterations have been taken."""
        moved, self.done = done - self.done, done
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(moved)
        elif self._lines and time.monotonic() - self._said > _SECONDS_BETWEEN_LINES:
            self._line(note)

    def close(self, note: str) -> None:
        """Show the end."""
        if self._bar is not None:
            self._bar.set_postfix_str(note)
            self._bar.close()
        elif self._lines and self.done > self.first:
            self._line(note)

    def say(self, text: str) -> None:
        """Write a line without breaking the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        elif self._lines:
            print(text, file=sys.stderr, flush=True)

    def _line(self, note: str) -> None:
        self._said = time.monotonic()
        rate = (self.done - self.first) / max(self._said - self._began, 1e-9)
        left = (self.total - self.done) / rate if rate > 0.0 else float("inf")
        text = f"pmmh: {self.done} of {self.total} iterations, {rate:.0f}/s, {note}"
        print(f"{text}, {left:.0f} s left", file=sys.stderr, flush=True)
