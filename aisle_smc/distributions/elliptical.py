"""Elliptical distributions with a radius of any law: shells, light and heavy tails."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from aisle_kernels import student as kernels
from scipy.special import gammaln

from aisle_smc.arrays import Floats
from aisle_smc.distributions.gaussian import read_location_root
from aisle_smc.distributions.moments import colour, inverse_root, shrunk_moments, whiten
from aisle_smc.distributions.protocol import check_draw, read_points, read_weighted, settle
from aisle_smc.distributions.radial import LogRadius, fit_log_radius
from aisle_smc.distributions.student_em import em, one_part, share_out, unseen

__all__ = ["Elliptical"]


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
        root to be that of a Student-t scale matrix.

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
        with np.errstate(invalid="ignore", divide="ignore"):
            s = 0.5 * np.log(square[0])
            log_q = self._log_norm + self.radius.log_density(s) - self.dim * s
        return settle(log_q, x)

    def fit(self, x: Floats, weights: Floats) -> Elliptical:
        """Return the elliptical distribution fitted to points, its law of the radius included."""
        x, w = read_weighted(x, weights, self.dim)
        return fit_elliptical(x, w)


def fit_elliptical(x: Floats, w: Floats) -> Elliptical:
    """Fit an elliptical distribution to points with positive weights that sum to one.

    Centre and root are those of a Student-t fit, which stand heavy tails; the law of the radius
    is that of the distances the points would have had, had they been left out of that fit.
    """
    mean, root = shrunk_moments(x, w)
    z = whiten(x, mean, root)
    part = em(z, w, one_part(z, w), steps=30, tolerance=1e-6)
    square = unseen(share_out(z, w, part), part.df, x.shape[1])[0]
    apart = square > 0.0
    s = 0.5 * np.log(square[apart]) if apart.any() else np.zeros(1)
    c = w[apart] / w[apart].sum() if apart.any() else np.ones(1)
    return Elliptical(
        location=mean + root @ part.location[0],
        root=root @ part.root[0],
        radius=fit_log_radius(s, c, x.shape[1]),
    )
