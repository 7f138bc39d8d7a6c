"""Checks of arguments, made once at the public boundary before work starts."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["check_count"]


def check_count(what: str, value: Any) -> None:
    """Raise unless `value` is an integer of at least one."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{what} must be an int >= 1; got {value!r}")
    if value < 1:
        raise ValueError(f"{what} must be at least 1; got {value}")
