"""The Gaussian distribution as a proposal."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.distributions.moments import colour, shrunk_moments
from aisle_smc.distributions.protocol import check_draw, read_points, read_weighted
from aisle_smc.distributions.student_em import Evaluator, Parts

__all__ = ["Gaussian", "cholesky", "read_location_root"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gaussian:
    r"""A multivariate Gaussian distribution.

    With root :math:`L` of the covariance, :math:`x = \mu + L z` and
    :math:`\log q(x) = -\tfrac12 |L^{-1}(x - \mu)|^2 - \log\det L - \tfrac d2 \log 2\pi`.

    Attributes
    ----------
    mean : ndarray, shape (d,)
        The mean.
    root : ndarray, shape (d, d)
        Lower-triangular root of the covariance, with a positive diagonal.

    Raises
    ------
    ValueError
        If a shape is wrong, or the root is not lower triangular with a positive diagonal.

    Examples
    --------
    >>> import numpy as np
    >>> q = Gaussian(mean=np.zeros(2), root=np.eye(2))
    >>> q.log_density(np.zeros((1, 2))).round(4).tolist()
    [-1.8379]
    >>> q.sample(3, np.random.default_rng(1)).shape
    (3, 2)
    """

    mean: Floats
    root: Floats
    _evaluator: Evaluator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        mean, root = read_location_root("mean", self.mean, self.root)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "root", root)
        object.__setattr__(self, "_evaluator", Evaluator(self.as_part()))

    @classmethod
    def from_covariance(cls, mean: Floats, covariance: Floats) -> Gaussian:
        """Build it from its mean (d,) and covariance (d, d).

        Raises
        ------
        ValueError
            If the covariance is not symmetric and positive definite.
        """
        return cls(
            mean=np.asarray(mean, dtype=np.float64), root=cholesky("covariance", covariance)
        )

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return int(self.mean.size)

    @property
    def covariance(self) -> Floats:
        """The covariance, shape (d, d)."""
        return np.asarray(self.root @ self.root.T)

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw `n` independent points, shape (n, d)."""
        check_draw(n, rng)
        return colour(rng.standard_normal((n, self.dim)), self.mean, self.root)

    def log_density(self, x: Floats) -> Floats:
        """Return the log-density of each row of `x`, shape (n,)."""
        return self._evaluator.log_density(read_points(x, self.dim))

    def as_part(self) -> Parts:
        """Return the distribution as a part of a mixture on arrays."""
        one = np.ones(1)
        return Parts(weights=one, location=self.mean[None], root=self.root[None], df=one * np.inf)

    def fit(self, x: Floats, weights: Floats) -> Gaussian:
        """Return the Gaussian with the weighted mean and covariance of points.

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
        With fewer than two effective points per dimension the covariance is drawn towards its
        diagonal, in proportion to what is missing; with fewer than one the weights are tempered.
        """
        x, w = read_weighted(x, weights, self.dim)
        mean, root = shrunk_moments(x, w)
        return Gaussian(mean=mean, root=root)


def cholesky(what: str, matrix: Floats) -> Floats:
    """Return the lower Cholesky factor of a symmetric matrix, or raise a ValueError."""
    a = np.asarray(matrix, dtype=np.float64)
    if a.ndim != 2 or a.shape[0] != a.shape[1]:
        raise ValueError(f"{what} must have shape (d, d); got shape {a.shape}")
    if not np.allclose(a, a.T, rtol=1e-8, atol=1e-12 * float(np.abs(a).max(initial=0.0))):
        raise ValueError(
            f"{what} must be symmetric; its largest asymmetry is "
            f"{float(np.abs(a - a.T).max()):.3g}; pass 0.5 * (a + a.T)"
        )
    try:
        return np.asarray(np.linalg.cholesky(a))
    except np.linalg.LinAlgError:
        raise ValueError(
            f"{what} must be positive definite; its eigenvalues are "
            f"{np.linalg.eigvalsh(a).tolist()}; remove coordinates that depend on others"
        ) from None


def read_location_root(name: str, location: Floats, root: Floats) -> tuple[Floats, Floats]:
    """Return a centre (d,) and a lower-triangular root (d, d) as float64, or raise."""
    centre = np.asarray(location, dtype=np.float64)
    factor = np.asarray(root, dtype=np.float64)
    if centre.ndim != 1 or centre.size == 0 or not np.isfinite(centre).all():
        raise ValueError(
            f"{name} must be a finite vector of shape (d,), d >= 1; got shape {centre.shape}: "
            f"{centre}"
        )
    d = centre.size
    if factor.shape != (d, d):
        raise ValueError(f"root must have shape {(d, d)} beside {name}; got shape {factor.shape}")
    if (
        not np.isfinite(factor).all()
        or np.triu(factor, 1).any()
        or not (np.diag(factor) > 0).all()
    ):
        raise ValueError(
            "root must be finite and lower triangular with a positive diagonal; got diagonal "
            f"{np.diag(factor)}; pass numpy.linalg.cholesky(covariance)"
        )
    return centre, factor
