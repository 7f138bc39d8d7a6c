"""Many proposals of one elliptical family, each at its own location."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from aisle_kernels import student as kernels
from scipy.special import gammaln

from aisle_smc.arrays import Floats, Integers
from aisle_smc.distributions import Distribution, Gaussian, Mixture, StudentT
from aisle_smc.importance.proposals import blocks, shares

__all__ = ["Located"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Located:
    r"""Many proposals of one elliptical family, each at its own location.

    :math:`q_k` is the Student-t distribution of location :math:`\mu_k` and scale matrix
    :math:`L_k L_k^\top`, or the Gaussian for infinitely many degrees of freedom.

    Attributes
    ----------
    locations : ndarray, shape (K, d)
        Where they are.
    roots : ndarray, shape (K, d, d) or (1, d, d)
        Lower-triangular roots of the scale matrices, or the one that all share.
    df : float
        Degrees of freedom; infinite for Gaussians.
    log_density : ndarray, shape (K,), optional
        The target at the locations, where it is known.
    gradients : ndarray, shape (K, d), optional
        Its gradients there, where they are known.

    Raises
    ------
    ValueError
        If a shape does not fit, or a value is not finite.
    """

    locations: Floats
    roots: Floats
    df: float = math.inf
    log_density: Floats | None = None
    gradients: Floats | None = None
    _inverse: Floats = field(init=False, repr=False)
    _log_norm: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        locations = np.asarray(self.locations, dtype=np.float64)
        roots = np.asarray(self.roots, dtype=np.float64)
        if locations.ndim != 2 or roots.shape not in {
            (m, *2 * locations.shape[1:]) for m in (1, locations.shape[0])
        }:
            raise ValueError(
                "locations must have shape (K, d) and roots (K, d, d) or (1, d, d); got shapes "
                f"{locations.shape} and {roots.shape}"
            )
        if not (np.isfinite(locations).all() and np.isfinite(roots).all()):
            raise ValueError("locations and roots must be finite; NaN or infinity came")
        d, df = locations.shape[1], float(self.df)
        if not df > 0.0:
            raise ValueError(f"df must be positive, or infinite for Gaussians; got {self.df}")
        diagonal = np.diagonal(roots, axis1=1, axis2=2)
        if not (diagonal > 0.0).all():
            raise ValueError(
                "roots must have positive diagonals; pass numpy.linalg.cholesky(scales); got a "
                f"diagonal with {diagonal.min()}"
            )
        log_norm = -np.log(diagonal).sum(axis=1)
        if math.isinf(df):
            log_norm = log_norm - 0.5 * d * math.log(2.0 * math.pi)
        else:
            log_norm += gammaln(0.5 * (df + d)) - gammaln(0.5 * df) - 0.5 * d * np.log(df * np.pi)
        object.__setattr__(self, "locations", np.ascontiguousarray(locations))
        object.__setattr__(self, "roots", roots)
        object.__setattr__(self, "_inverse", np.tril(np.linalg.inv(roots)))
        object.__setattr__(self, "_log_norm", log_norm)

    @property
    def count(self) -> int:
        """Number of proposals."""
        return int(self.locations.shape[0])

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return int(self.locations.shape[1])

    def sizes(self, n: int) -> Integers:
        """Return how many of `n` draws each proposal makes: as even as can be."""
        return shares(n, self.count)

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw `n` points, each proposal its share."""
        sizes = self.sizes(n)
        # All get as many as the largest share, which is one too many for some.
        most = int(sizes[0])
        noise = rng.standard_normal((self.count, most, self.dim))
        if not math.isinf(self.df):
            chi_square = 2.0 * rng.standard_gamma(0.5 * self.df, (self.count, most, 1))
            noise *= np.sqrt(self.df / chi_square)
        x = noise @ self.roots.transpose(0, 2, 1) + self.locations[:, None, :]
        return np.asarray(x[np.arange(most) < sizes[:, None]])

    def log_own(self, x: Floats) -> Floats:
        """Return the log-density of each draw's own proposal."""
        owner = np.repeat(np.arange(self.count), self.sizes(x.shape[0]))
        away = x - self.locations[owner]
        if self.roots.shape[0] == 1:
            white = away @ self._inverse[0].T
            return self._from_distance(np.square(white).sum(axis=1), self._log_norm)
        rows = zip(blocks(away, self.sizes(x.shape[0])), self._inverse, strict=True)
        white = np.concatenate([block @ inverse.T for block, inverse in rows])
        return self._from_distance(np.square(white).sum(axis=1), self._log_norm[owner])

    def log_mixture(self, x: Floats, n: int) -> Floats:
        """Return the log-density of the mixture that `n` draws come from."""
        count, dim = self.count, self.dim
        with np.errstate(divide="ignore"):
            level = self._log_norm + np.log(self.sizes(n) / n)
        inverse = np.ascontiguousarray(np.broadcast_to(self._inverse, (count, dim, dim)))
        out = np.empty(x.shape[0])
        kernels.log_density(
            np.ascontiguousarray(x), self.locations, inverse, level, np.full(count, self.df), out
        )
        return out

    def _from_distance(self, square: Floats, log_norm: Floats) -> Floats:
        if math.isinf(self.df):
            return np.asarray(log_norm - 0.5 * square)
        return np.asarray(log_norm - 0.5 * (self.df + self.dim) * np.log1p(square / self.df))

    def part(self, first: int, last: int) -> Located:
        """Return the proposals from `first` up to `last`."""
        one_root = self.roots.shape[0] == 1
        known = self.log_density
        slopes = self.gradients
        return replace(
            self,
            locations=self.locations[first:last],
            roots=self.roots if one_root else self.roots[first:last],
            log_density=None if known is None else known[first:last],
            gradients=None if slopes is None else slopes[first:last],
        )

    def distribution(self) -> Mixture:
        """Return the mixture of all with equal weights."""
        roots = np.broadcast_to(self.roots, (self.count, self.dim, self.dim))
        parts: tuple[Distribution, ...]
        if math.isinf(self.df):
            parts = tuple(
                Gaussian(mean=m, root=r) for m, r in zip(self.locations, roots, strict=True)
            )
        else:
            parts = tuple(
                StudentT(location=m, root=r, df=self.df)
                for m, r in zip(self.locations, roots, strict=True)
            )
        return Mixture(weights=np.full(self.count, 1.0 / self.count), parts=parts)
