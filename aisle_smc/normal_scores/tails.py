"""Tails of the standard normal: the pieces from which the maps of the families are built.

Write ``p = Phi(z)`` and ``q = Phi(-z)``.  A family's map is ``x = F^{-1}(p)``, computed from `p`
in the lower half and from `q` in the upper one, so that neither tail loses its digits.  Three
pieces carry most families:

    E(z) = -log q                                        a standard exponential variable
    E'(z) = phi(z) / q = sqrt(2 / pi) / erfcx(z / sqrt 2)
    p - q = erf(z / sqrt 2)                              exact near the median
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special as sp

Array = NDArray[np.float64]

LIMIT = 37.5  # Phi(-37.5) = 5e-308, the last tail that is a normal floating-point number
ROOT_HALF = math.sqrt(0.5)
LOG_2 = math.log(2.0)
LOG_PI = math.log(math.pi)
LOG_ROOT_2PI = 0.5 * math.log(2.0 * math.pi)
_NEAR = 1.0  # where a symmetric family is computed from its median rather than from its tail


def exponential(z: Array) -> Any:
    """Return ``-log Phi(-z)``."""
    return -sp.log_ndtr(-z)


def from_exponential(e: Array) -> Any:
    """Invert `exponential`."""
    return -sp.ndtri_exp(-e)


def hazard(z: Array) -> Any:
    """Return ``phi(z) / Phi(-z)``, the derivative of `exponential`."""
    return math.sqrt(2.0 / math.pi) / sp.erfcx(z * ROOT_HALF)


def density(z: Array) -> Any:
    """Return the standard normal density."""
    return np.exp(-0.5 * z * z - LOG_ROOT_2PI)


def tail(z: Array) -> Any:
    """Return the smaller of ``Phi(z)`` and ``Phi(-z)``."""
    return sp.ndtr(-np.abs(z))


def signed(z: Array, distance: Array) -> Any:
    """Give a distance to the nearer end the sign of the half that `z` lies in."""
    return np.copysign(distance, -z)


def unsigned(s: Array, share: Array) -> Any:
    """Return z from the mass beyond the point at signed distance `s`."""
    return np.copysign(sp.ndtri(share), -s)


def from_median(centre: Array) -> Any:
    """Return z from ``p - q``."""
    return sp.erfinv(centre) / ROOT_HALF


def choose(z: Array, centre: Any, far: Any) -> Any:
    """Choose between a map computed from the median and one computed from the tail."""
    return np.copysign(np.where(np.abs(z) < _NEAR, centre, far), z)
