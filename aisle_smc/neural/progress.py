"""Progress of a training: one live line on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from typing import Any

__all__ = ["Progress"]

_SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """Show how far a training is.

    Parameters
    ----------
    total : int or None
        Steps to be taken, where that is known.
    done : int
        Steps taken before.
    show : bool
        False to say nothing.
    """

    def __init__(self, total: int | None, *, done: int, show: bool) -> None:
        self.total, self.done = total, done
        self._said = time.monotonic()
        self._bar: Any = None
        self._lines = False
        if show and (sys.stderr.isatty() or "ipykernel" in sys.modules):
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, initial=done, unit="step", desc="fit", leave=True)
        elif show:
            self._lines = True

    def update(self, done: int, note: str) -> None:
        """Show that so many steps have been taken."""
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
        elif self._lines:
            self._line(note)

    def _line(self, note: str) -> None:
        self._said = time.monotonic()
        of = "" if self.total is None else f" of {self.total}"
        print(f"fit: {self.done}{of} steps, {note}", file=sys.stderr, flush=True)
