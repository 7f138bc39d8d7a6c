"""What the command line says, in colour where a person is reading and plain elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from dataclasses import dataclass
from typing import TextIO

from aisle_smc.batch.progress import duration

__all__ = ["Terminal", "duration", "number"]


@dataclass(frozen=True, slots=True)
class Terminal:
    """Write lines to a stream.

    Parameters
    ----------
    stream : text stream
        Where the lines go.
    """

    stream: TextIO

    @property
    def interactive(self) -> bool:
        """Whether a person is looking at the stream."""
        return self.stream.isatty()

    @property
    def coloured(self) -> bool:
        """Whether escape codes are welcome: on a terminal, unless NO_COLOR or TERM says no."""
        return (
            self.interactive
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM", "") != "dumb"
        )

    @property
    def width(self) -> int:
        """Columns to fill: those of the terminal, at most 88."""
        return min(shutil.get_terminal_size((88, 24)).columns, 88)

    def line(self, text: str = "") -> None:
        """Write one line as it is."""
        print(text, file=self.stream, flush=True)

    def say(self, text: str, indent: str = "") -> None:
        """Write a paragraph, wrapped; a null character is a space that keeps a line together."""
        self.line(self._wrap(text, indent))

    def heading(self, text: str) -> None:
        """Write a paragraph that stands out."""
        self.line(self.strong(self._wrap(text)))

    def item(self, label: str, text: str, *, strong: bool = False) -> None:
        """Write a paragraph behind a label in the margin."""
        lines = [line for part in text.splitlines() for line in (self._wrap(part, " " * 13), "")]
        body = "\n".join(line for line in lines if line)
        margin = f"{label:<13}"
        self.line((self.strong(margin) if strong else margin) + body[13:])

    def _wrap(self, text: str, indent: str = "") -> str:
        wrapped = textwrap.fill(
            text,
            self.width,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        return wrapped.replace("\0", " ")

    def strong(self, text: str) -> str:
        """Return text that stands out."""
        return f"\033[1m{text}\033[0m" if self.coloured else text

    def faint(self, text: str) -> str:
        """Return text that stands back."""
        return f"\033[2m{text}\033[0m" if self.coloured else text

    def complain(self, text: str) -> None:
        """Write an error as one paragraph."""
        mark = "\033[31maisle:\033[0m" if self.coloured else "aisle:"
        paragraphs = [" ".join(part.split()) for part in text.strip().split("\n\n")]
        self.line(f"{mark} " + "\n\n".join(paragraphs))


def number(count: int) -> str:
    """Write a count with thin thousands: 12 000."""
    return f"{count:,}".replace(",", " ") if count >= 10_000 else str(count)


def terminals() -> tuple[Terminal, Terminal]:
    """Return the terminals of results and of messages."""
    return Terminal(sys.stdout), Terminal(sys.stderr)
