"""What a check found, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = ["Finding", "Findings"]

Kind = Literal["ok", "problem", "cannot tell"]


class Finding(NamedTuple):
    """One thing that was checked.

    Attributes
    ----------
    kind : {"ok", "problem", "cannot tell"}
        How it came out.
    text : str
        What was found.
    advice : str
        What to do about it; may be empty.
    """

    kind: Kind
    text: str
    advice: str = ""

    def __str__(self) -> str:
        label = {"ok": "OK", "problem": "PROBLEM", "cannot tell": "CANNOT TELL"}[self.kind]
        lines = [f"{label:12s} {self.text}"]
        lines += [f"-> {self.advice}"] if self.advice else []
        return "\n".join(lines).replace("\n", "\n" + " " * 13)


@dataclass(frozen=True, slots=True)
class Findings:
    """What :func:`check_model` found; prints in words.

    Attributes
    ----------
    items : tuple of Finding
        In the order of the checks.
    """

    items: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not self.problems

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that are problems."""
        return tuple(item for item in self.items if item.kind == "problem")

    def __str__(self) -> str:
        count = len(self.problems)
        last = f"{count} problem{'s' * (count > 1)} found." if count else "No problem found."
        return "\n".join([*map(str, self.items), last])

    __repr__ = __str__
