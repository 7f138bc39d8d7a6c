"""Checks of arguments, made once at the public boundary before work starts."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["check_count", "check_resampler", "check_threshold"]


def check_count(what: str, value: Any) -> None:
    """Raise unless `value` is an integer of at least one."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{what} must be an int >= 1; got {value!r}")
    if value < 1:
        raise ValueError(f"{what} must be at least 1; got {value}")


def check_threshold(value: Any) -> None:
    """Raise unless `value` is a share of the particles, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"threshold must be a number, a share of the particles; got {value!r}")
    if not value >= 0.0:
        raise ValueError(
            f"threshold must be 0 (never resample) or more (above 1: always); got {value}"
        )


def check_resampler(value: Any) -> None:
    """Raise unless `value` is a resampling scheme."""
    if isinstance(value, type) or not hasattr(value, "draw"):
        raise TypeError(
            "resampler must be a scheme such as aisle_smc.systematic (the value, not its name); "
            f"got {value!r}"
        )
