"""One sampled parameter: its distribution, and the map from the real line to its support.

The support gives a smooth, increasing map between the parameter `theta` and a coordinate `z` on
the whole real line, in which a random walk has no wall to run into:

==========  ==============================  ================================================
support     theta                           log d theta / d z
==========  ==============================  ================================================
(-oo, oo)   z                               0
(a, oo)     a + exp(z)                      z
(-oo, b)    b - exp(-z)                     -z
(a, b)      a + (b - a) / (1 + exp(-z))     log(b - a) - abs(z) - 2 log1p(exp(-abs(z)))
==========  ==============================  ================================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aisle_smc.frozen import arguments_of, describe, read_distribution, shapes_of

Array = NDArray[np.float64]
Support = Literal["real line", "above", "below", "interval"]

_TINY = float(np.finfo(np.float64).tiny)
_LOG_LARGEST = math.log(float(np.finfo(np.float64).max))


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinate:
    """Hold one sampled parameter.

    Attributes
    ----------
    name : str
        The parameter.
    distribution : SciPy frozen continuous distribution
        Its prior.
    lower, upper : float
        Ends of the support, possibly infinite; the support is taken as the open interval.
    """

    name: str
    distribution: Any
    lower: float
    upper: float
    _standard: tuple[tuple[float, ...], float, float] | None = None

    @property
    def support(self) -> Support:
        """Say which of the four maps applies."""
        if self.lower == -math.inf:
            return "real line" if self.upper == math.inf else "below"
        return "above" if self.upper == math.inf else "interval"

    @property
    def lowest(self) -> float:
        """Return the least number inside the open support."""
        # Zero is left by the smallest normal number, which still survives a division by a scale.
        return _TINY if self.lower == 0.0 else float(np.nextafter(self.lower, math.inf))

    @property
    def highest(self) -> float:
        """Return the greatest number inside the open support."""
        return -_TINY if self.upper == 0.0 else float(np.nextafter(self.upper, -math.inf))

    @property
    def standard(self) -> tuple[tuple[float, ...], float, float] | None:
        """Return shapes, loc and scale, if together with SciPy's family they give the density."""
        return self._standard

    def inside(self, theta: Array) -> NDArray[np.bool_]:
        """Tell which values lie in the open support (NaN does not)."""
        return (theta > self.lower) & (theta < self.upper)

    def clip(self, theta: Array) -> Array:
        """Move values that rounding put on a bound to the nearest number inside."""
        return np.minimum(np.maximum(theta, self.lowest), self.highest)

    def constrain(self, z: Array) -> Array:
        """Map the real line into the open support."""
        match self.support:
            case "real line":
                return z
            case "above":
                theta = self.lower + np.exp(np.minimum(z, _LOG_LARGEST))
            case "below":
                theta = self.upper - np.exp(np.minimum(-z, _LOG_LARGEST))
            case "interval":
                # The distance to the nearer end is computed first, so that it keeps its digits.
                tail = np.exp(-np.abs(z))
                step = (self.upper - self.lower) * (tail / (1.0 + tail))
                theta = np.where(z < 0.0, self.lower + step, self.upper - step)
        return self.clip(theta)

    def unconstrain(self, theta: Array) -> Array:
        """Map the open support onto the real line."""
        match self.support:
            case "real line":
                return theta
            case "above":
                return np.log(theta - self.lower)
            case "below":
                return -np.log(self.upper - theta)
            case "interval":
                return np.log(theta - self.lower) - np.log(self.upper - theta)

    def log_jacobian(self, z: Array) -> Array:
        """Return log d theta / d z."""
        match self.support:
            case "real line":
                return np.zeros_like(z)
            case "above":
                return z
            case "below":
                return -z
            case "interval":
                size = np.abs(z)
                return math.log(self.upper - self.lower) - size - 2.0 * np.log1p(np.exp(-size))

    def log_density(self, theta: Array) -> Array:
        """Return the log-density; -inf outside the open support, at NaN and at a pole."""
        value = self.distribution.logpdf(theta)
        # A point of infinite density would trap a Markov chain for ever, and has no mass.
        return np.where(self.inside(theta) & (value < np.inf), value, -np.inf)

    def point_log_density(self, theta: Any) -> float:
        """Return the log-density of one value, like `log_density` but quickly."""
        if not self.lower < theta < self.upper:
            return -math.inf
        if self._standard is None:
            value = float(self.distribution.logpdf(theta))
        else:
            # `_logpdf` is the standardised density, the method SciPy documents for subclasses.
            shapes, loc, scale = self._standard
            standard = self.distribution.dist._logpdf((theta - loc) / scale, *shapes)
            value = float(standard) - math.log(scale)
        return value if value < math.inf else -math.inf

    def require(self, value: float) -> None:
        """Raise unless the density is positive at a value."""
        on_bound = math.isfinite(value) and value in (self.lower, self.upper)
        # A bound is a possible value where the density does not vanish, as for the uniform.
        if on_bound and self.distribution.logpdf(value) > -np.inf:
            return
        if not (self.lower < value < self.upper):
            raise ValueError(self.outside(value))

    def require_inside(self, theta: Array) -> None:
        """Raise unless all values lie in the open support."""
        inside = self.inside(theta)
        if not inside.all():
            raise ValueError(self.outside(float(theta[~inside].flat[0])))

    def outside(self, value: float) -> str:
        """Write the error message for a value outside the support."""
        return (
            f"parameter {self.name!r} must lie in ({self.lower:g}, {self.upper:g}), the support "
            f"of its prior {describe(self.distribution)}; came {value:g}; "
            "move it inside or change the prior"
        )


def read_coordinate(name: str, value: Any) -> Coordinate:
    """Check that a value is a proper continuous distribution and read its support."""
    distribution = read_distribution(name, value)
    lower, upper = (float(end) for end in distribution.support())
    with np.errstate(all="ignore"):
        quantiles = np.asarray(distribution.ppf([0.01, 0.25, 0.5, 0.75, 0.99]))
        density = np.asarray(distribution.logpdf(quantiles))
    if (
        not lower < upper
        or not np.isfinite(quantiles).all()
        or np.isnan(density).any()
        or (density == -np.inf).all()
    ):
        raise ValueError(
            f"the prior of {name!r} must be a SciPy frozen continuous distribution or a fixed "
            f"number with a proper density; came {describe(distribution)}, whose median is "
            f"{quantiles[2]:g} with log-density {density[2]:g}; correct its arguments "
            "(improper and flat priors are not supported: use a proper one, however wide)"
        )
    return Coordinate(
        name=name,
        distribution=distribution,
        lower=lower,
        upper=upper,
        _standard=_standard(distribution, quantiles, density),
    )


def _standard(
    frozen: Any, at: Array, density: Array
) -> tuple[tuple[float, ...], float, float] | None:
    """Return (shapes, loc, scale) if the short cut through them reproduces the density."""
    if frozen.dist is None:
        return None
    given = arguments_of(frozen)
    loc, scale = float(given.pop("loc", 0.0)), float(given.pop("scale", 1.0))
    try:
        shapes = tuple(np.float64(given[s]) for s in shapes_of(frozen))
        trial = [
            float(frozen.dist._logpdf((x - loc) / scale, *shapes)) - math.log(scale) for x in at
        ]
    except (AttributeError, KeyError, TypeError, ValueError, IndexError):
        return None
    return (shapes, loc, scale) if np.allclose(trial, density, rtol=1e-12, atol=1e-12) else None
