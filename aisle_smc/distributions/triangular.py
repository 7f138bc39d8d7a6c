r"""Triangular (Knothe-Rosenblatt) maps fitted by regression, one coordinate after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aisle_smc.arrays import Floats, Integers
from aisle_smc.distributions.moments import effective_count, scale_of
from aisle_smc.distributions.ordering import improved_order, likely_orders
from aisle_smc.distributions.protocol import check_draw, read_points, read_weighted, settle
from aisle_smc.distributions.regression import Row, even, fit_row, products, quadratic_terms
from aisle_smc.distributions.univariate import Marginals, fit_marginals, weighted_quantiles

__all__ = ["Triangular", "fit_triangular"]

# Nonlinear terms see a coordinate clipped to these quantiles, moved out by a share of their
# distance from the median.
CLIP = 1e-3
WIDEN = 1.0
BLOCK = 4096
# Points that decide on the order, at most, and their number times that of pairs.
SOME = 2000
WORK = 4e6
# Coordinates up to which exchanges of neighbours are tried.
FEW = 24


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Triangular:
    r"""A triangular map of independent variables: bananas, funnels, skewed and peaked margins.

    With coordinates in some order, standardised to z,

    .. math::
        z_j = m_j(z_{<j}) + \exp(s_j(z_{<j}))\, e_j, \qquad
        \log q(x) = \sum_j \log p_j(e_j) - s_j(z_{<j}) - \log \sigma_j,

    where :math:`m_j` is linear plus selected squares and products, :math:`s_j` is linear in
    selected coordinates and squares, and :math:`p_j` is a mixture of Student-t laws.

    Attributes
    ----------
    order : ndarray of int, shape (d,)
        Which coordinate of x comes first, second, ...; all that follows is in this order.
    centre, spread, low, high : ndarray, shape (d,)
        Location and scale that standardise a coordinate, and its bounds in the nonlinear terms.
    offset : ndarray, shape (d,)
        Constants of the means.
    linear : ndarray, shape (d, d)
        Slopes of the means, strictly lower triangular.
    pairs : ndarray of int, shape (m, 2)
        The products that occur in the means.
    quadratic : ndarray, shape (d, m)
        Their coefficients.
    log_scale : ndarray, shape (d,)
        Constants of the log-scales.
    scale_linear, scale_even : ndarray, shape (d, d)
        Slopes of the log-scales, strictly lower triangular.
    scale_low, scale_high : ndarray, shape (d,)
        Bounds of the log-scales.
    residuals : Marginals
        Laws of the :math:`e_j`.
    """

    order: Integers
    centre: Floats
    spread: Floats
    low: Floats
    high: Floats
    offset: Floats
    linear: Floats
    pairs: Integers
    quadratic: Floats
    log_scale: Floats
    scale_linear: Floats
    scale_even: Floats
    scale_low: Floats
    scale_high: Floats
    residuals: Marginals

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return int(self.order.size)

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw `n` independent points, shape (n, d)."""
        check_draw(n, rng)
        e = np.ascontiguousarray(self.residuals.sample(n, rng).T)
        x = np.empty((n, self.dim))
        for begin in range(0, n, BLOCK):
            z = self._forward(e[:, begin : begin + BLOCK])
            x[begin : begin + BLOCK, self.order] = (
                self.centre[:, None] + self.spread[:, None] * z
            ).T
        return x

    def _forward(self, e: Floats) -> Floats:
        z, c = np.empty_like(e), np.empty_like(e)
        for j in range(self.dim):
            mean = self.offset[j] + self.linear[j, :j] @ z[:j]
            used = np.flatnonzero(self.quadratic[j])
            if used.size:
                mean += self.quadratic[j, used] @ products(z, c, self.pairs[used])
            s = np.full(e.shape[1], self.log_scale[j])
            for k in np.flatnonzero(self.scale_linear[j]):
                s += self.scale_linear[j, k] * c[k]
            for k in np.flatnonzero(self.scale_even[j]):
                s += self.scale_even[j, k] * even(c[k])
            s = np.clip(s, self.scale_low[j], self.scale_high[j])
            z[j] = mean + np.exp(s) * e[j]
            c[j] = np.clip(z[j], self.low[j], self.high[j])
        return z

    def log_density(self, x: Floats) -> Floats:
        """Return the log-density of each row of `x`, shape (n,)."""
        points = read_points(x, self.dim)
        out = np.empty(points.shape[0])
        with np.errstate(invalid="ignore", over="ignore"):
            for begin in range(0, out.size, BLOCK):
                rows = points[begin : begin + BLOCK, self.order]
                out[begin : begin + BLOCK] = self._log_density(np.ascontiguousarray(rows.T))
        return settle(out, points)

    def _log_density(self, x: Floats) -> Floats:
        z = (x - self.centre[:, None]) / self.spread[:, None]
        c = np.clip(z, self.low[:, None], self.high[:, None])
        mean = self.offset[:, None] + self.linear @ z
        if self.pairs.size:
            mean += self.quadratic @ products(z, c, self.pairs)
        s = np.broadcast_to(self.log_scale[:, None], z.shape)
        if self.scale_linear.any() or self.scale_even.any():
            s = s + self.scale_linear @ c + self.scale_even @ even(c)
        s = np.clip(s, self.scale_low[:, None], self.scale_high[:, None])
        e = (z - mean) * np.exp(-s)
        log_q = self.residuals.log_density_of_columns(e)
        return np.asarray(log_q - s.sum(axis=0) - np.log(self.spread).sum())

    def fit(self, x: Floats, weights: Floats) -> Triangular:
        """Return the map fitted to weighted points with coordinates in the present order."""
        points, w = read_weighted(x, weights, self.dim)
        return fit_in_order(points, w, self.order)


def fit_in_order(x: Floats, w: Floats, order: Integers) -> Triangular:
    """Fit a map with coordinates in the given order; every weight is positive."""
    x, w = without_copies(x, w)
    size = effective_count(w)
    frame = standardise(x[:, order], w)
    z, c, h = frame.points, frame.clipped, frame.even
    rows = [fit_row(z[:j], c[:j], h[:j], z[j], w, size) for j in range(order.size)]
    return assemble(rows, order, frame, w, size)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """Standardised points, one per column, and what standardises and clips them."""

    centre: Floats
    spread: Floats
    low: Floats
    high: Floats
    points: Floats
    clipped: Floats
    even: Floats


def standardise(x: Floats, w: Floats) -> Frame:
    """Standardise weighted points by quantiles, which heavy tails cannot move."""
    columns = np.ascontiguousarray(x.T)
    levels = np.array([CLIP, 0.15865, 0.5, 0.84135, 1.0 - CLIP])
    marks = np.array([weighted_quantiles(column, w, levels) for column in columns])
    centre = marks[:, 2]
    spread = (marks[:, 3] - marks[:, 1]) / 2.0
    spread = np.where(spread > 0.0, spread, scale_of(x, w))
    low = (1.0 + WIDEN) * (marks[:, 0] - centre) / spread
    high = (1.0 + WIDEN) * (marks[:, 4] - centre) / spread
    z = (columns - centre[:, None]) / spread[:, None]
    c = np.clip(z, low[:, None], high[:, None])
    return Frame(
        centre=centre,
        spread=spread,
        low=low,
        high=high,
        points=z,
        clipped=c,
        even=even(c),
    )


def assemble(
    rows: list[Row],
    order: Integers,
    frame: Frame,
    w: Floats,
    size: float,
) -> Triangular:
    """Put fitted rows together and fit the laws of their residuals."""
    d = len(rows)
    pairs = quadratic_terms([row.pairs for row in rows])
    place = {(int(a), int(b)): m for m, (a, b) in enumerate(pairs)}
    linear, quadratic = np.zeros((d, d)), np.zeros((d, pairs.shape[0]))
    scale_linear, scale_even = np.zeros((d, d)), np.zeros((d, d))
    for j, row in enumerate(rows):
        linear[j, :j] = row.linear
        scale_linear[j, :j] = row.scale_linear
        scale_even[j, :j] = row.scale_even
        for (a, b), value in zip(row.pairs, row.quadratic, strict=True):
            quadratic[j, place[int(a), int(b)]] = value
    return Triangular(
        order=order,
        centre=frame.centre,
        spread=frame.spread,
        low=frame.low,
        high=frame.high,
        offset=np.array([row.offset for row in rows]),
        linear=linear,
        pairs=pairs,
        quadratic=quadratic,
        log_scale=np.array([row.log_scale for row in rows]),
        scale_linear=scale_linear,
        scale_even=scale_even,
        scale_low=np.array([row.low for row in rows]),
        scale_high=np.array([row.high for row in rows]),
        residuals=fit_marginals(np.stack([row.residuals for row in rows]), w, size),
    )


def without_copies(x: Floats, w: Floats) -> tuple[Floats, Floats]:
    """Merge equal points, adding their weights: copies are no further evidence."""
    order = np.lexsort(x[:, :2].T)
    new = np.append(True, (np.diff(x[order], axis=0) != 0.0).any(axis=1))
    if new.all():
        return x, w
    first = np.flatnonzero(new)
    return x[order[first]], np.add.reduceat(w[order], first)


def fit_triangular(x: Floats, weights: Floats, rng: np.random.Generator) -> Triangular:
    """Fit a triangular map to weighted points, its order included."""
    points, w = read_weighted(x, weights)
    return fit_in_order(points, w, find_order(points, w, rng))


def find_order(x: Floats, w: Floats, rng: np.random.Generator) -> Integers:
    """Return the order to fit in, found with some of the points."""
    x, w = without_copies(x, w)
    d = x.shape[1]
    some = int(np.clip(WORK / d**2, 500, SOME))
    if w.size > some:
        chosen = np.sort(rng.choice(w.size, some, replace=False))
        x, w = x[chosen], w[chosen] / w[chosen].sum()
    size = effective_count(w)
    frame = standardise(x, w)
    z, c, h = frame.points, frame.clipped, frame.even
    orders = likely_orders(z, c, h, w, size)
    return orders[0] if d > FEW else improved_order(orders, z, c, h, w, size)
