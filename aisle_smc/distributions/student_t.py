"""The multivariate Student-t distribution as a proposal."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.distributions.gaussian import cholesky, read_location_root
from aisle_smc.distributions.moments import colour, shrunk_moments, tempered, whiten
from aisle_smc.distributions.protocol import check_draw, read_points, read_weighted
from aisle_smc.distributions.student_em import Evaluator, Parts, calibrated, em, one_part

__all__ = ["StudentT"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudentT:
    r"""A multivariate Student-t distribution.

    With root :math:`L` of the scale matrix, :math:`m = |L^{-1}(x - \mu)|^2` and :math:`\nu`
    degrees of freedom,

    .. math:: \log q(x) = \log\Gamma(\tfrac{\nu + d}2) - \log\Gamma(\tfrac\nu2)
        - \tfrac d2 \log(\nu\pi) - \log\det L - \tfrac{\nu + d}2 \log(1 + m / \nu).

    Attributes
    ----------
    location : ndarray, shape (d,)
        The centre.
    root : ndarray, shape (d, d)
        Lower-triangular root of the scale matrix, with a positive diagonal.  The covariance is
        ``df / (df - 2)`` times the scale matrix.
    df : float
        Degrees of freedom, positive.

    Raises
    ------
    ValueError
        If a shape is wrong, the root is not lower triangular with a positive diagonal, or `df` is
        not positive and finite.

    References
    ----------
    Liu and Rubin (1995), ML estimation of the t distribution using EM and its extensions, ECM and
    ECME, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> q = StudentT(location=np.zeros(1), root=np.eye(1), df=1.0)
    >>> np.exp(q.log_density(np.array([[0.0], [1.0]]))).round(4).tolist()
    [0.3183, 0.1592]
    """

    location: Floats
    root: Floats
    df: float = 5.0
    _evaluator: Evaluator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        location, root = read_location_root("location", self.location, self.root)
        df = float(self.df)
        if not 0.0 < df < math.inf:
            raise ValueError(
                f"df must be positive and finite; got {self.df}; use Gaussian for an infinite df"
            )
        object.__setattr__(self, "location", location)
        object.__setattr__(self, "root", root)
        object.__setattr__(self, "df", df)
        object.__setattr__(self, "_evaluator", Evaluator(self.as_part()))

    @classmethod
    def from_scale(cls, location: Floats, scale: Floats, df: float) -> StudentT:
        """Build it from its centre (d,), scale matrix (d, d) and degrees of freedom."""
        return cls(
            location=np.asarray(location, dtype=np.float64),
            root=cholesky("scale", scale),
            df=df,
        )

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return int(self.location.size)

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw `n` independent points, shape (n, d)."""
        check_draw(n, rng)
        mixing = np.sqrt(0.5 * self.df / rng.standard_gamma(0.5 * self.df, size=n))
        noise = rng.standard_normal((n, self.dim))
        noise *= mixing[:, None]
        return colour(noise, self.location, self.root)

    def log_density(self, x: Floats) -> Floats:
        """Return the log-density of each row of `x`, shape (n,)."""
        return self._evaluator.log_density(read_points(x, self.dim))

    def as_part(self) -> Parts:
        """Return the distribution as a part of a mixture on arrays."""
        return Parts(
            weights=np.ones(1),
            location=self.location[None],
            root=self.root[None],
            df=np.full(1, self.df),
        )

    def fit(self, x: Floats, weights: Floats) -> StudentT:
        """Return the Student-t distribution of largest weighted likelihood, with df >= 3.

        Parameters
        ----------
        x : ndarray, shape (n, d)
            Points.
        weights : ndarray, shape (n,)
            Weights; zeros are allowed, and they need not sum to one.

        Raises
        ------
        ValueError
            If a shape is wrong, a weight is negative or NaN, or no weight is positive.

        Notes
        -----
        Expectation-maximisation for centre and scale, Newton steps on the likelihood itself for
        the degrees of freedom, kept between 3 and 1000 with a prior worth a fraction of one point.
        At three and above the proposal has a variance, and weights against lighter tails are
        bounded.  Size and degrees of freedom are then calibrated by leaving points out one by one.
        With fewer than two effective points per dimension the scale matrix is drawn towards its
        diagonal; with fewer than one the weights are tempered.
        """
        x, w = read_weighted(x, weights, self.dim)
        w = tempered(w, self.dim + 1.0)
        mean, root = shrunk_moments(x, w)
        z = whiten(x, mean, root)
        found = calibrated(z, w, em(z, w, one_part(z, w), steps=200, tolerance=1e-8))
        return part_in_place(found, 0, mean, root)


def part_in_place(parts: Parts, k: int, mean: Floats, root: Floats) -> StudentT:
    """Return part `k` of parts fitted to ``root^-1 (x - mean)`` as a distribution of x."""
    return StudentT(
        location=mean + root @ parts.location[k],
        root=root @ parts.root[k],
        df=float(parts.df[k]),
    )
