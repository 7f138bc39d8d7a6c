"""Products of distributions over blocks of coordinates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.distributions.dependence import dependent_blocks
from aisle_smc.distributions.mixture_fit import (
    Half,
    better,
    fit_mixture,
    grown_mixture,
    halves,
    thinned,
    without_negligible,
)
from aisle_smc.distributions.protocol import (
    Distribution,
    check_draw,
    read_points,
    read_weighted,
    without_copies,
)
from aisle_smc.distributions.triangular import FEW, fit_triangular

__all__ = ["Independent", "fit_independent", "grown_independent"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Independent:
    r"""A product :math:`q(x) = \prod_b q_b(x_b)` over disjoint blocks of coordinates.

    Attributes
    ----------
    parts : tuple of Distribution
        The factors.
    blocks : tuple of tuple of int, optional
        The coordinates of each factor, in its own order; together they are 0, ..., d - 1, each
        once.  By default the factors take consecutive coordinates, as many as they have.

    Raises
    ------
    ValueError
        If there is no part, or the blocks do not fit the parts or do not cover the coordinates.

    Examples
    --------
    >>> import numpy as np
    >>> from aisle_smc.distributions import Gaussian
    >>> narrow = Gaussian(mean=np.zeros(1), root=0.1 * np.eye(1))
    >>> wide = Gaussian(mean=np.zeros(1), root=np.eye(1))
    >>> q = Independent(parts=(narrow, wide))
    >>> q.blocks
    ((0,), (1,))
    >>> q.sample(1000, np.random.default_rng(0)).std(axis=0).round(1).tolist()
    [0.1, 1.0]
    """

    parts: tuple[Distribution, ...]
    blocks: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        parts = tuple(self.parts)
        if not parts:
            raise ValueError("a product needs at least one part; got none")
        dims = [part.dim for part in parts]
        blocks = tuple(tuple(int(j) for j in block) for block in self.blocks)
        if not blocks:
            ends = np.cumsum([0, *dims])
            blocks = tuple(tuple(range(a, a + d)) for a, d in zip(ends[:-1], dims, strict=True))
        if [len(block) for block in blocks] != dims:
            raise ValueError(
                "every part needs a block of as many coordinates as it has; got parts of "
                f"dimensions {dims} and blocks {blocks}"
            )
        if sorted(j for block in blocks for j in block) != list(range(sum(dims))):
            raise ValueError(
                f"blocks must hold each of the coordinates 0 to {sum(dims) - 1} once; got {blocks}"
            )
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "blocks", tuple(tuple(map(int, block)) for block in blocks))

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return sum(part.dim for part in self.parts)

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw `n` independent points, shape (n, d)."""
        check_draw(n, rng)
        out = np.empty((n, self.dim))
        for part, block in zip(self.parts, self.blocks, strict=True):
            out[:, list(block)] = part.sample(n, rng)
        return out

    def log_density(self, x: Floats) -> Floats:
        """Return the log-density of each row of `x`, shape (n,)."""
        x = read_points(x, self.dim)
        total = np.zeros(x.shape[0])
        for part, block in zip(self.parts, self.blocks, strict=True):
            total += part.log_density(columns(x, block))
        return total

    def fit(self, x: Floats, weights: Floats) -> Independent:
        """Return the same blocks with each part refitted to its own coordinates."""
        x, w = read_weighted(x, weights, self.dim)
        parts = tuple(
            part.fit(columns(x, block), w)
            for part, block in zip(self.parts, self.blocks, strict=True)
        )
        return replace(self, parts=parts)


def fit_independent(x: Floats, weights: Floats, rng: np.random.Generator) -> Independent:
    """Fit a product over the blocks of coordinates that depend on one another.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        Points.
    weights : ndarray, shape (n,)
        Weights; zeros are allowed, and they need not sum to one.
    rng : numpy.random.Generator
        Halves the points and starts the splits.

    Returns
    -------
    Independent
        A mixture of Student-t distributions on each block, see :func:`fit_mixture`, or a
        triangular map, see :func:`fit_triangular`; one block of all coordinates where everything
        hangs together.

    Raises
    ------
    ValueError
        If a shape is wrong, a weight is negative or NaN, or no weight is positive.

    Notes
    -----
    Dependence is looked for between pairs; what only shows in three coordinates at once is
    missed, and a held-out score has to tell.
    """
    check_draw(1, rng)
    x, w = read_weighted(x, weights)
    x, w = without_copies(*without_negligible(x, w))
    blocks = dependent_blocks(x, w)
    if x.shape[0] < 4:
        parts = tuple(fit_mixture(columns(x, block), w, rng) for block in blocks)
        return Independent(parts=parts, blocks=blocks)
    return grown_independent(*halves(*thinned(x, w, rng), rng), rng, blocks).fit(x, w)


def grown_independent(
    one: Half, other: Half, rng: np.random.Generator, blocks: tuple[tuple[int, ...], ...]
) -> Independent:
    """Fit a product over blocks to one half of the points, its parts chosen with the other."""
    (x, w), (held_x, held_w) = one, other
    parts = tuple(
        _part((columns(x, block), w), (columns(held_x, block), held_w), rng) for block in blocks
    )
    return Independent(parts=parts, blocks=blocks)


def _part(one: Half, other: Half, rng: np.random.Generator) -> Distribution:
    """Fit a mixture, or a triangular map if it predicts the other half better."""
    mixture = grown_mixture(one, other, rng)
    if not 1 < mixture.dim <= FEW or len(mixture.parts) == 1:
        return mixture
    triangular = fit_triangular(*one, rng)
    new, old = triangular.log_density(other[0]), mixture.log_density(other[0])
    return triangular if better(new, old, other[1]) else mixture


def columns(x: Floats, block: tuple[int, ...]) -> Floats:
    """Return the coordinates of a block, shape (n, k)."""
    return np.ascontiguousarray(x[:, list(block)])
