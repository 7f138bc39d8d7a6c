"""How a batch speaks: the nearest known word, a value in a few characters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np

__all__ = ["check_keys", "did_you_mean", "label"]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the known word most like this one, or nothing.

    Examples
    --------
    >>> did_you_mean("replicate", ["replicates", "seed"])
    "; did you mean 'replicates'?"
    """
    folded = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), list(folded), n=1, cutoff=0.5)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


def check_keys(where: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise ``ValueError`` for the first key that is not known, and name the nearest one."""
    known = list(known)
    for key in given:
        if key not in known:
            raise ValueError(
                f"{where} has the unknown key {key!r}{did_you_mean(key, known)}; "
                f"known are {', '.join(known)}"
            )


def label(value: Any) -> Any:
    """Return a value as it is shown in a table: plain values as they are, others by name."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={label(value[key])}" for key in value)
    for attribute in ("name", "__name__"):
        name = getattr(value, attribute, None)
        if isinstance(name, str) and name:
            return name
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
