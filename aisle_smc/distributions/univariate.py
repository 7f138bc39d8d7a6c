"""Independent coordinates, each a mixture of a few Student-t laws on the line."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from aisle_kernels import mixtures as kernels

from aisle_smc.arrays import Floats
from aisle_smc.distributions.moments import effective_count
from aisle_smc.distributions.protocol import check_draw, read_points, read_weighted, settle

__all__ = ["Marginals", "weighted_quantiles"]

# Degrees of freedom a component may have; from 30 on a Student-t is as good as normal here.
DF = np.array([3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 30.0])
MOST = 4
# Points an EM iteration works on at most, see `condense`.
KNOTS = 300
# Iterations and tolerance of EM while the number of components is chosen, and afterwards.
SCOUTING = 60, 1e-5
SETTLING = 200, 1e-6
# A component is never narrower than this share of the spread of all points.
NARROWEST = 3e-3
# The wide component that keeps the tails: its mass over all coordinates together, its most in
# one, its degrees of freedom and how much wider it is than the points.
SAFETY = 0.2
SAFETY_MOST = 0.02
SAFETY_DF = 5.0
SAFETY_WIDTH = 1.75


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Marginals:
    r"""Independent coordinates, each with a mixture of Student-t laws of its own.

    .. math::
        \log q(x) = \sum_j \log \sum_k \pi_{jk}\,
                    t_{\nu_{jk}}\Bigl(\frac{x_j - \mu_{jk}}{\sigma_{jk}}\Bigr) / \sigma_{jk}.

    Attributes
    ----------
    shares : ndarray, shape (d, k)
        Weights of the components, each row with sum one; a row with fewer components ends in
        zeros.
    locations, scales, df : ndarray, shape (d, k)
        Locations, scales and degrees of freedom.

    Notes
    -----
    A few components give skewed, heavy-tailed and many-peaked laws.  The number of components is
    that of the best Bayesian information criterion, counted with the effective number of points;
    a wide component of small mass is then added, so that importance weights keep a variance.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.ones((1, 1))
    >>> cauchy = Marginals(shares=one, locations=0 * one, scales=one, df=one)
    >>> bool(np.isclose(np.exp(cauchy.log_density(np.array([[1.0]]))[0]), 0.5 / np.pi))
    True
    """

    shares: Floats
    locations: Floats
    scales: Floats
    df: Floats

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return int(self.shares.shape[0])

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw `n` independent points, shape (n, d)."""
        check_draw(n, rng)
        out = np.empty((n, self.dim))
        for j in range(self.dim):
            k = np.searchsorted(np.cumsum(self.shares[j])[:-1], rng.random(n), side="right")
            normal = rng.standard_normal(n)
            df = self.df[j, k]
            # Student's t is a normal variable divided by the root of a mean of squares.
            square = rng.standard_gamma(0.5 * df) / (0.5 * df)
            out[:, j] = self.locations[j, k] + self.scales[j, k] * normal / np.sqrt(square)
        return out

    def log_density(self, x: Floats) -> Floats:
        """Return the log-density of each row of `x`, shape (n,)."""
        points = read_points(x, self.dim)
        return settle(self.log_density_of_columns(np.ascontiguousarray(points.T)), points)

    def log_density_of_columns(self, x: Floats) -> Floats:
        """Return the log-density of each column of `x`, shape (d, n), unchecked."""
        out = np.empty(x.shape[1])
        kernels.log_density(x, self.shares, self.locations, self.scales, self.df, out)
        return out

    def fit(self, x: Floats, weights: Floats) -> Marginals:
        """Return the mixtures fitted to weighted points, shapes (n, d) and (n,)."""
        points, w = read_weighted(x, weights, self.dim)
        return fit_marginals(np.ascontiguousarray(points.T), w, effective_count(w))


def fit_marginals(x: Floats, w: Floats, size: float) -> Marginals:
    """Fit one mixture to each row of `x`, shape (d, n), with `size` effective points."""
    dim = x.shape[0]
    fits = [fit_line(row, w, size)[0] for row in x]
    most = max(fit.shape[1] for fit in fits) + 1
    table = np.zeros((4, dim, most))
    table[1:] = np.array([0.0, 1.0, SAFETY_DF])[:, None, None]
    safety = min(SAFETY_MOST, SAFETY / dim)
    for j, fit in enumerate(fits):
        k = fit.shape[1]
        table[:, j, :k] = fit
        table[0, j, :k] *= 1.0 - safety
        low, middle, high = weighted_quantiles(x[j], w, np.array([0.02275, 0.5, 0.97725]))
        width = SAFETY_WIDTH * max((high - low) / 4.0, fit[2].max())
        table[:, j, k] = safety, 0.5 * middle + 0.25 * (low + high), width, SAFETY_DF
    table[0] /= table[0].sum(axis=1, keepdims=True)
    return Marginals(shares=table[0], locations=table[1], scales=table[2], df=table[3])


def fit_line(x: Floats, w: Floats, size: float) -> tuple[Floats, float]:
    """Fit one mixture to points on the line.

    Returns
    -------
    table : ndarray, shape (4, k)
        Shares, locations, scales and degrees of freedom.
    score : float
        Log-likelihood per point less the complexity, in nats.
    """
    knots, mass = condense(x, w)
    mean = float(mass @ knots)
    sd = float(np.sqrt(mass @ (knots - mean) ** 2))
    if not sd > 1e-13 * abs(mean):
        width = max(abs(mean), 1.0) * 1e-6
        return np.array([[1.0], [mean], [width], [DF[-1]]]), -np.log(width)
    low, high = weighted_quantiles(knots, mass, np.array([0.1, 0.9]))
    least = NARROWEST * (float(high - low) or sd)
    best, score, misses = np.empty((4, 0)), -np.inf, 0
    for k in range(1, MOST + 1):
        found, value = -np.inf, best
        for start in starts(knots, mass, k, least):
            log_likelihood = kernels.em(knots, mass, *start, DF, least, *SCOUTING)
            if log_likelihood > found:
                found, value = log_likelihood, start
        found -= penalty(k, size)
        if found > score:
            best, score, misses = value, found, 0
        else:
            misses += 1
        if misses == 2 or size < 20 * (k + 1):
            break
    gained = kernels.em(knots, mass, *best, DF, least, *SETTLING)
    return best, float(gained - penalty(best.shape[1], size))


def penalty(k: int, size: float) -> float:
    """Return the complexity of `k` components, each with four parameters, in nats per point."""
    return float(0.5 * (4 * k - 1) * np.log(max(size, 2.0)) / size)


def starts(x: Floats, w: Floats, k: int, least: float) -> list[Floats]:
    """Return mixtures of `k` components to start EM from, for sorted points."""
    total = np.cumsum(w)
    middle = total - 0.5 * w
    mass_blocks = np.minimum((middle * k).astype(np.int64), k - 1)
    if k == 1:
        groupings = [mass_blocks]
    else:
        low, high = weighted_quantiles(x, w, np.array([0.01, 0.99]))
        width = (high - low) / k or 1.0
        width_blocks = np.clip((x - low) / width, 0, k - 1).astype(np.int64)
        groupings = [mass_blocks, width_blocks]
    found = []
    for group in groupings:
        share = np.bincount(group, w, k)
        location = np.bincount(group, w * x, k) / np.maximum(share, 1e-300)
        if not (share > 0.0).all():
            continue
        variance = np.bincount(group, w * (x - location[group]) ** 2, k) / share
        scale = np.maximum(np.sqrt(variance), least)
        found.append(np.array([share, location, scale, np.full(k, 15.0)]))
    return found


def condense(x: Floats, w: Floats) -> tuple[Floats, Floats]:
    """Replace points by at most `KNOTS` of them, in increasing order, that stand for neighbours.

    The groups of neighbours are even in ``arcsin sqrt`` of the cumulated weight: narrow in the
    tails, where single points decide, and nowhere with more than ``pi / 2 KNOTS`` of the mass.
    """
    order = np.argsort(x, kind="stable")
    x, w = x[order], w[order]
    if x.size <= KNOTS:
        return x, w / w.sum()
    middle = np.cumsum(w) - 0.5 * w
    place = np.arcsin(np.sqrt(np.clip(middle / w.sum(), 0.0, 1.0))) * (2.0 / np.pi)
    group = np.minimum((place * KNOTS).astype(np.int64), KNOTS - 1)
    first = np.flatnonzero(np.diff(group, prepend=-1))
    last = np.append(first[1:], x.size) - 1
    # A point of the group, not a mean: that could lie in a gap between two peaks.
    return x[(first + last) // 2], np.add.reduceat(w, first) / w.sum()


def weighted_quantiles(x: Floats, w: Floats, levels: Floats) -> Floats:
    """Return quantiles of weighted points, linear between the middles of their weights."""
    order = np.argsort(x, kind="stable")
    sorted_w = w[order]
    middle = np.cumsum(sorted_w) - 0.5 * sorted_w
    return np.asarray(np.interp(levels * w.sum(), middle, x[order]))
