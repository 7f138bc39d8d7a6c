"""The law of the logarithm of a radius: any shape in the middle, exponential tails."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.distributions.moments import effective_count

__all__ = ["LogRadius", "fit_log_radius"]

GRID = 256
# Bandwidths tried, in units of the spread times n^(-1/5).
WIDTHS = (0.15, 0.25, 0.4, 0.6, 0.85, 1.2)
# The tail of a radius is never lighter in r than this power, so that it has a variance.
HEAVIEST = 3.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LogRadius:
    r"""A density on the line whose logarithm is linear between knots and beyond them.

    For :math:`s = \log r` it makes the density of :math:`r` a power law between the knots: with
    slope :math:`d` on the left, points in `d` dimensions are uniform inside the innermost radius;
    slope :math:`-b` on the right is a tail :math:`P(R > r) \propto r^{-b}`.

    Attributes
    ----------
    knots : ndarray, shape (m,)
        Increasing values of `s`.
    heights : ndarray, shape (m,)
        Log-densities there; they are shifted so that the density integrates to one.
    left : float
        Slope of the log-density below the first knot, positive.
    right : float
        Slope above the last knot, negative.
    """

    knots: Floats
    heights: Floats
    left: float
    right: float
    _cumulated: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        knots = np.asarray(self.knots, dtype=np.float64)
        heights = np.asarray(self.heights, dtype=np.float64)
        if knots.ndim != 1 or knots.size < 1 or heights.shape != knots.shape:
            raise ValueError(
                "knots and heights must be vectors of one length; got shapes "
                f"{knots.shape} and {heights.shape}"
            )
        if not np.isfinite(heights).all() or not (np.diff(knots) > 0.0).all():
            raise ValueError("knots must increase and heights be finite; sort and clip them")
        if not (self.left > 0.0 > self.right):
            raise ValueError(
                "the density must fall on both sides: left > 0 > right; got "
                f"left = {self.left} and right = {self.right}"
            )
        heights = heights - heights.max()
        steps, rises = np.diff(knots), np.diff(heights)
        # The integral of exp over a linear piece: step * exp(lower) * (e^rise - 1) / rise.
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(np.abs(rises) < 1e-9, 1.0 + 0.5 * rises, np.expm1(rises) / rises)
        inner = steps * np.exp(heights[:-1]) * mean
        tails = math.exp(heights[0]) / self.left, -math.exp(heights[-1]) / self.right
        masses = np.concatenate([[tails[0]], inner, [tails[1]]])
        object.__setattr__(self, "knots", knots)
        object.__setattr__(self, "heights", heights - math.log(masses.sum()))
        cumulated = np.cumsum(masses)
        object.__setattr__(self, "_cumulated", cumulated / cumulated[-1])

    def log_density(self, s: Floats) -> Floats:
        """Return the log-density of each value, shape (n,)."""
        low, high = self.knots[0], self.knots[-1]
        inside = np.interp(s, self.knots, self.heights)
        beyond = self.left * np.minimum(s - low, 0.0) + self.right * np.maximum(s - high, 0.0)
        return np.asarray(inside + beyond)

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw `n` values by inversion, shape (n,)."""
        # In (0, 1], so that neither tail is asked for the logarithm of zero.
        u = 1.0 - rng.random(n)
        piece = np.searchsorted(self._cumulated, u)
        piece = np.minimum(piece, self._cumulated.size - 1)
        out = np.empty(n)
        first, last = piece == 0, piece == self.knots.size
        height = math.exp(self.heights[0])
        out[first] = self.knots[0] + np.log(u[first] * self.left / height) / self.left
        # Exact at the end of the unit interval, where 1 - u has lost its digits: a fresh uniform.
        v = 1.0 - rng.random(int(last.sum()))
        out[last] = self.knots[-1] + np.log(v) / self.right
        middle = ~(first | last)
        j = piece[middle] - 1
        share = (u[middle] - self._cumulated[j]) / (self._cumulated[j + 1] - self._cumulated[j])
        share = np.clip(share, 0.0, 1.0)
        rise = np.diff(self.heights)[j]
        # From the higher end, where nothing overflows.
        share = np.where(rise > 0.0, 1.0 - share, share)
        fall = -np.abs(rise)
        flat = fall > -1e-9
        with np.errstate(divide="ignore"):
            way = np.log1p(share * np.expm1(fall)) / np.where(flat, -1.0, fall)
        way = np.clip(np.where(flat, share, way), 0.0, 1.0)
        way = np.where(rise > 0.0, 1.0 - way, way)
        out[middle] = self.knots[j] + way * np.diff(self.knots)[j]
        return out


def fit_log_radius(s: Floats, w: Floats, dim: int) -> LogRadius:
    """Fit the law of log-radii in `dim` dimensions.

    Parameters
    ----------
    s : ndarray, shape (n,)
        Logarithms of radii, finite.
    w : ndarray, shape (n,)
        Positive weights with sum one.
    dim : int
        Dimension of the space.

    Returns
    -------
    LogRadius
        A kernel estimate between the quantiles that leave ten effective points outside, its
        bandwidth by leave-one-out likelihood; slope `dim` below, and above the slope of the
        points there (Hill's estimator), at least as heavy as the power 3.

    References
    ----------
    Hill (1975), A simple general approach to inference about the tail of a distribution, eq 2.4.
    """
    order = np.argsort(s, kind="stable")
    s, w = s[order], w[order]
    count = effective_count(w)
    cumulated = np.cumsum(w) - 0.5 * w
    outside = min(0.1, 10.0 / count)
    low, high = np.interp([outside, 1.0 - outside], cumulated, s)
    mean = float(w @ s)
    spread = math.sqrt(float(w @ np.square(s - mean)))
    quartiles = np.interp([0.25, 0.75], cumulated, s)
    scale = min(spread, float(quartiles[1] - quartiles[0]) / 1.349)
    # Radii that all agree: a narrow bell of a width no fit would trust anyway.
    floor = 1e-3 / math.sqrt(dim)
    scale = max(scale, 0.1 * spread, floor)
    reach = 3.0 * scale
    grid = np.linspace(max(s[0], low - reach), min(s[-1], high + reach), GRID)
    if grid[-1] - grid[0] < scale:
        centre = 0.5 * (grid[0] + grid[-1])
        grid = np.linspace(centre - scale, centre + scale, GRID)
    density = _kernel_estimate(s, w, grid, scale, count)
    kept = (grid >= low) & (grid <= high) & (density > 0.0)
    if kept.sum() < 2:
        kept = density > 1e-3 * density.max()
    knots, heights = grid[kept], np.log(density[kept])
    above = s > knots[-1]
    excess = float(w[above] @ (s[above] - knots[-1])) * count
    tail = float(w[above].sum()) * count
    right = (tail + 2.0) / (excess + 2.0 * 0.3 * scale)
    return LogRadius(knots=knots, heights=heights, left=float(dim), right=-max(right, HEAVIEST))


def _kernel_estimate(s: Floats, w: Floats, grid: Floats, scale: float, count: float) -> Floats:
    """Return a Gaussian kernel estimate on an even grid, of the most likely bandwidth."""
    step = grid[1] - grid[0]
    # Points go to the two nodes beside them, in proportion to their nearness.
    inside = (s >= grid[0]) & (s <= grid[-1])
    at, w = (s[inside] - grid[0]) / step, w[inside]
    j = np.minimum(at.astype(np.int64), grid.size - 2)
    part = at - j
    mass = np.bincount(j, w * (1.0 - part), grid.size) + np.bincount(j + 1, w * part, grid.size)
    gaps = step * np.arange(1.0 - grid.size, grid.size)
    best, best_score = np.zeros(grid.size), -math.inf
    for width in WIDTHS:
        h = max(width * scale * count**-0.2, 1.5 * step)
        kernel = np.exp(-0.5 * np.square(gaps / h)) / (h * math.sqrt(2.0 * math.pi))
        density = np.convolve(kernel, mass, mode="valid")
        own = w / (h * math.sqrt(2.0 * math.pi))
        at_points = density[j] * (1.0 - part) + density[j + 1] * part
        without = np.maximum(at_points - own, 1e-3 * own) / (1.0 - np.minimum(w, 0.5))
        score = float(w @ np.log(without))
        if score > best_score:
            best, best_score = density, score
    return best
