"""Normal scores of a distribution without a fast map, by its own functions.

The quantile of the smaller tail, ``ppf(p)`` or ``isf(q)``, is used where the distribution has one.
SciPy finds the others by a scalar search; here they are found for many values at once, by Newton's
method on ``Phi^{-1}(F(theta)) = z``, an equation that is close to linear, inside a bracket.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special as sp

from aisle_smc.coordinates import Array, Coordinate
from aisle_smc.frozen import describe
from aisle_smc.normal_scores.tails import LIMIT, LOG_ROOT_2PI

_TRUST = 1e-6  # how far a node may be from its own score
_CLOSE = 1e-7
_STEPS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Numerical:
    """Hold one parameter mapped by its distribution's own functions.

    It is as accurate as they are.  Where they give up, as an ``isf(q)`` computed as
    ``ppf(1 - q)`` does for q < 1e-16, the map stays at the last value that they could give.

    Attributes
    ----------
    column : int
        The parameter's place on the last axis.
    coordinate : Coordinate
        The parameter.
    nodes, values : ndarray, shape (m,)
        Scores from the first to the last that can be trusted, and their parameters.
    search : bool
        Whether the distribution has no quantile function of its own.
    """

    column: int
    coordinate: Coordinate
    nodes: Array
    values: Array
    search: bool

    def from_normal(self, z: Array) -> Any:
        """Map normal coordinates of any shape into the open support."""
        z = self._limited(z)
        theta = self._solve(z) if self.search else _quantiles(self.coordinate.distribution, z)
        return np.minimum(np.maximum(theta, self.values[0]), self.values[-1])

    def to_normal(self, theta: Array) -> Any:
        """Map values inside the open support to normal coordinates."""
        return self._limited(_scores(self.coordinate.distribution, theta))

    def slope(self, z: Array) -> Any:
        """Return d theta / d z."""
        z = self._limited(z)
        return _slopes(self.coordinate.distribution, z, self.from_normal(z))

    def _limited(self, z: Array) -> Any:
        return np.minimum(np.maximum(z, self.nodes[0]), self.nodes[-1])

    def _solve(self, z: Array) -> Array:
        distribution = self.coordinate.distribution
        theta = np.interp(z, self.nodes, self.values)
        k = np.clip(np.searchsorted(self.nodes, z), 1, self.nodes.size - 1)
        low, high = self.values[k - 1], self.values[k]
        todo = (low < theta) & (theta < high)  # at a node there is nothing to find
        for _ in range(_STEPS):
            if not todo.any():
                break
            at, aim = theta[todo], z[todo]
            miss = _scores(distribution, at) - aim
            a = np.where(miss < 0.0, at, low[todo])
            b = np.where(miss > 0.0, at, high[todo])
            new = at - miss * _slopes(distribution, aim + miss, at)
            new = np.where((a <= new) & (new <= b), new, 0.5 * (a + b))
            theta[todo], low[todo], high[todo] = new, a, b
            # A step from so near has squared the miss, and no step helps against the rounding of
            # a tail that is computed as one less the other.
            noise = 1e-15 / (np.exp(-0.5 * aim * aim) + 1e-300)
            todo[todo] = (np.abs(miss) > _CLOSE + noise) & (new != at)
        return theta


def read_numerical(column: int, coordinate: Coordinate) -> Numerical:
    """Find out how far the functions of a distribution can be trusted."""
    distribution = coordinate.distribution
    search = not _has(distribution, "_ppf")
    far = 8.0 if search else LIMIT
    nodes = np.concatenate([np.arange(-far, 0.0, 0.5), np.arange(0.0, far + 0.25, 0.5)])
    values, quiet = _probe(distribution, nodes)
    with np.errstate(all="ignore"):
        good = coordinate.inside(values) & quiet
        good[good] = np.abs(_scores(distribution, values[good]) - nodes[good]) < _TRUST
        good[1:] &= np.diff(values) > 0.0
    middle = int(np.argmin(np.abs(nodes)))
    bad_below, bad_above = np.flatnonzero(~good[:middle]), np.flatnonzero(~good[middle + 1 :])
    first = int(bad_below[-1]) + 1 if bad_below.size else 0
    last = middle + (int(bad_above[0]) if bad_above.size else nodes.size - 1 - middle)
    if not good[middle] or last - first < 4:
        raise ValueError(
            f"the prior of {coordinate.name!r} must have quantiles that its distribution function "
            f"inverts; came {describe(distribution)}, whose median is {values[middle]:g}; "
            "use another family, or give it a _ppf"
        )
    return Numerical(
        column=column,
        coordinate=coordinate,
        nodes=nodes[first : last + 1],
        values=values[first : last + 1],
        search=search,
    )


def _probe(distribution: Any, nodes: Array) -> tuple[Array, Any]:
    """Return the quantiles at nodes, and whether they came without a warning."""
    with warnings.catch_warnings(record=True) as said, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        values = _quantiles(distribution, nodes)
        if not said:
            return values, np.full(nodes.shape, True)
        quiet = []
        for node in nodes:
            said.clear()
            _quantiles(distribution, np.array([node]))
            quiet.append(not said)
    return values, np.array(quiet)


def _quantiles(distribution: Any, z: Array) -> Array:
    left = z < 0.0
    theta = np.empty_like(z)
    theta[left] = distribution.ppf(sp.ndtr(z[left]))
    theta[~left] = distribution.isf(sp.ndtr(-z[~left]))
    return theta


def _scores(distribution: Any, theta: Array) -> Any:
    # SciPy's own fallback for these logs searches for the median, once for each value.
    logs = _has(distribution, "_logcdf"), _has(distribution, "_logsf")
    low = distribution.logcdf(theta) if logs[0] else np.log(distribution.cdf(theta))
    high = distribution.logsf(theta) if logs[1] else np.log(distribution.sf(theta))
    return np.where(low < high, sp.ndtri_exp(low), -sp.ndtri_exp(high))


def _has(distribution: Any, method: str) -> bool:
    """Tell whether a distribution brings its own version of a method of `rv_continuous`."""
    from scipy.stats import rv_continuous

    own = type(distribution.dist)
    if not issubclass(own, rv_continuous):
        return True  # a random variable
    return getattr(own, method) is not getattr(rv_continuous, method)


def _slopes(distribution: Any, z: Array, theta: Array) -> Any:
    return np.exp(-0.5 * z * z - LOG_ROOT_2PI - distribution.logpdf(theta))
