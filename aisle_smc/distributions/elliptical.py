"""Elliptical distributions with a radius of any law: shells, light and heavy tails."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from aisle_kernels import student as kernels
from scipy.special import fdtri, gammaln

from aisle_smc.arrays import Floats
from aisle_smc.distributions.gaussian import read_location_root
from aisle_smc.distributions.moments import (
    colour,
    effective_count,
    inverse_root,
    shrunk_moments,
    tempered,
    whiten,
)
from aisle_smc.distributions.protocol import check_draw, read_points, read_weighted, settle
from aisle_smc.distributions.radial import LogRadius, fit_log_radius
from aisle_smc.distributions.student_em import Parts, calibrated, em, one_part, share_out, unseen

__all__ = ["Elliptical", "fit_elliptical"]

SCORING_STEPS = 2
# Effective points per dimension below which scoring would chase noise.
ENOUGH_TO_SCORE = 20.0
PSEUDO_POINTS = 2.0
QUANTILES = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Elliptical:
    r"""A distribution with elliptical contours and any law of the radius.

    :math:`x = \mu + r L u` with :math:`u` uniform on the unit sphere and :math:`\log r` of a given
    density :math:`p`, so that with :math:`r = |L^{-1}(x - \mu)|`

    .. math:: \log q(x) = \log p(\log r) - d \log r - \log A_d - \log\det L,
        \qquad A_d = 2 \pi^{d/2} / \Gamma(d/2).

    Attributes
    ----------
    location : ndarray, shape (d,)
        The centre.
    root : ndarray, shape (d, d)
        Lower-triangular root with a positive diagonal.
    radius : LogRadius
        The law of :math:`\log r`.  A factor may be moved between it and `root`; a fit leaves the
        root to be that of a scale matrix.  With ``radius.left`` equal to the dimension, as a fit
        has it, the density is constant inside the first knot; smaller, it has a pole.

    Raises
    ------
    ValueError
        If a shape is wrong or the root is not lower triangular with a positive diagonal.

    References
    ----------
    Fang, Kotz and Ng (1990), Symmetric Multivariate and Related Distributions, section 2.5.
    """

    location: Floats
    root: Floats
    radius: LogRadius
    _inverse: Floats = field(init=False, repr=False)  # (1, d, d)
    _log_norm: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        location, root = read_location_root("location", self.location, self.root)
        d = location.size
        object.__setattr__(self, "location", location)
        object.__setattr__(self, "root", root)
        object.__setattr__(self, "_inverse", inverse_root(root)[None])
        log_area = math.log(2.0) + 0.5 * d * math.log(math.pi) - float(gammaln(0.5 * d))
        log_norm = -log_area - float(np.log(np.diag(root)).sum())
        object.__setattr__(self, "_log_norm", log_norm)

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return int(self.location.size)

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw `n` independent points, shape (n, d)."""
        check_draw(n, rng)
        r = np.exp(self.radius.sample(n, rng))
        direction = rng.standard_normal((n, self.dim))
        direction *= (r / np.sqrt(np.square(direction).sum(axis=1)))[:, None]
        return colour(direction, self.location, self.root)

    def log_density(self, x: Floats) -> Floats:
        """Return the log-density of each row of `x`, shape (n,)."""
        x = read_points(x, self.dim)
        square = np.empty((1, x.shape[0]))
        kernels.distances(x, self.location[None], self._inverse, square)
        low, flatter = self.radius.knots[0], self.radius.left - self.dim
        with np.errstate(invalid="ignore", divide="ignore"):
            s = 0.5 * np.log(square[0])
            # Inside the first knot the two terms in s are added up first: at the centre s = -inf.
            outer = np.maximum(s, low)
            log_q = self._log_norm + self.radius.log_density(outer) - self.dim * outer
            if flatter != 0.0:
                log_q += flatter * np.minimum(s - low, 0.0)
        return settle(log_q, x)

    def fit(self, x: Floats, weights: Floats) -> Elliptical:
        """Return the elliptical distribution fitted to points, its law of the radius included."""
        x, w = read_weighted(x, weights, self.dim)
        return fit_elliptical(x, tempered(w, self.dim + 1.0))


def fit_elliptical(x: Floats, w: Floats) -> Elliptical:
    """Fit an elliptical distribution to points with positive weights that sum to one.

    Centre and root start from a Student-t fit, which stands heavy tails, and take scoring steps on
    the likelihood, which for a thin shell know much more.  The law of the radius is that of the
    distances the points would have had, had they been left out of the fit of centre and root.
    """
    d = x.shape[1]
    mean, root = shrunk_moments(x, w)
    z = whiten(x, mean, root)
    part = em(z, w, one_part(z, w), steps=30, tolerance=1e-6)
    location, shape = mean + root @ part.location[0], root @ part.root[0]
    square = unseen(share_out(z, w, part), part.df, d)[0]
    if d > 1 and square.all() and effective_count(w) >= ENOUGH_TO_SCORE * d:
        return _scored(x, w, location, shape)
    near = square > 0.0
    s = np.concatenate([0.5 * np.log(square[near]), _student_radii(z, w, part)])
    # The law of a Student-t distribution of the same size counts as much as two points.
    known = PSEUDO_POINTS / (effective_count(w) + PSEUDO_POINTS)
    believed = np.full(s.size - int(near.sum()), known / (s.size - int(near.sum())))
    seen = w[near] * ((1.0 - known) / max(float(w[near].sum()), 1e-300))
    c = np.concatenate([seen, believed])
    return Elliptical(location=location, root=shape, radius=fit_log_radius(s, c / c.sum(), d))


def _student_radii(z: Floats, w: Floats, part: Parts) -> Floats:
    """Return evenly spread log-radii, in units of the part, of its calibrated Student-t law."""
    d = z.shape[1]
    better = calibrated(z, w, part)
    size = better.root[0, 0, 0] / part.root[0, 0, 0]
    levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
    # The squared radius over d has the F distribution.
    square = d * fdtri(float(d), float(better.df[0]), levels)
    return np.asarray(math.log(size) + 0.5 * np.log(square))


def _scored(x: Floats, w: Floats, location: Floats, root: Floats) -> Elliptical:
    r"""Return the fit after scoring steps for centre and shape from where they are.

    With :math:`y = L^{-1}(x - \mu)`, :math:`r = |y|`, :math:`u = y / r` and the slope
    :math:`t = d \log q / d \log r` of the present law, the scores and Fisher information of
    :math:`\mu + L \delta` and :math:`L (I + E)`, E symmetric without trace, are

    .. math:: -\sum_i w_i \frac{t_i}{r_i} u_i,\quad \frac1d E \frac{t^2}{r^2};\qquad
        -\sum_i w_i t_i u_i u_i^\top,\quad \frac{2 E t^2}{d (d + 2)},

    and a point's own part in a step tells how far it would be without it.

    References
    ----------
    Bickel (1982), On adaptive estimation, section 4: one step from a consistent start.
    """
    d = x.shape[1]
    s = _log_radii(x, location, root)
    for _ in range(SCORING_STEPS):
        t = _slopes(s, w, d)
        y = whiten(x, location, root)
        near = np.exp(-2.0 * s)
        step = -(w * t * near) @ y / (w @ (t * t * near) / d)
        shape = -((w * t * near)[:, None] * y).T @ y
        shape -= np.trace(shape) / d * np.eye(d)
        shape *= d * (d + 2.0) / (2.0 * (w @ (t * t)))
        # Far from the maximum a step may be nonsense; half the size of the points is enough.
        step *= min(1.0, 0.5 / max(float(np.sqrt(step @ step)), 1e-300))
        shape *= min(1.0, 0.5 / max(float(np.sqrt(np.square(shape).sum())), 1e-300))
        location = location + root @ step
        changed = root @ (np.eye(d) + shape)
        # The lower-triangular root of changed changed', without squaring its condition.
        upper = np.linalg.qr(changed.T).R
        signs = np.where(np.diag(upper) < 0.0, -1.0, 1.0)
        root = np.ascontiguousarray((upper * signs[:, None]).T, dtype=np.float64)
        s = _log_radii(x, location, root)
    t = _slopes(s, w, d)
    near = np.exp(-2.0 * s)
    own = d * near / (w @ (t * t * near)) + 0.5 * (d + 2.0) * (d - 1.0) / (w @ (t * t))
    # As for the Student-t: never more than tenfold in the square.
    s = s - np.clip(w * t * own, -0.5 * math.log(10.0), 0.5 * math.log(10.0))
    return Elliptical(location=location, root=root, radius=fit_log_radius(s, w, d))


def _log_radii(x: Floats, location: Floats, root: Floats) -> Floats:
    square = np.square(whiten(x, location, root)).sum(axis=1)
    return np.asarray(0.5 * np.log(np.maximum(square, 1e-200)))


def _slopes(s: Floats, w: Floats, d: int) -> Floats:
    """Return the slopes of the log-density of a point in its log-radius, smoothed."""
    law = fit_log_radius(s, w, d)
    spread = math.sqrt(float(w @ np.square(s - w @ s)))
    h = 0.5 * spread * effective_count(w) ** (-1.0 / 7.0)
    return np.asarray((law.log_density(s + h) - law.log_density(s - h)) / (2.0 * h) - d)
