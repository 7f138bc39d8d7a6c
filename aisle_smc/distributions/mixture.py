"""Mixtures of distributions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.distributions.gaussian import Gaussian
from aisle_smc.distributions.moments import (
    effective_count,
    inverse_root,
    shrunk_moments,
    tempered,
    whiten,
)
from aisle_smc.distributions.protocol import (
    Distribution,
    check_draw,
    read_points,
    read_weighted,
    without_copies,
)
from aisle_smc.distributions.student_em import (
    HIGHEST_DF,
    LOWEST_DF,
    Evaluator,
    Parts,
    calibrated,
    em,
    join,
)
from aisle_smc.distributions.student_t import StudentT, part_in_place

__all__ = ["Mixture"]

EM_STEPS = 50
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mixture:
    r"""A mixture :math:`q(x) = \sum_k \pi_k q_k(x)` of distributions of any kinds.

    Attributes
    ----------
    weights : ndarray, shape (k,)
        Probabilities of the parts; they sum to one.
    parts : tuple of Distribution
        The parts, all of one dimension.

    Raises
    ------
    ValueError
        If there is no part, their dimensions differ, or the weights are not their probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> from aisle_smc.distributions import Gaussian
    >>> parts = tuple(Gaussian(mean=np.array([m]), root=np.eye(1)) for m in (-5.0, 5.0))
    >>> q = Mixture(weights=np.array([0.25, 0.75]), parts=parts)
    >>> float(np.mean(q.sample(4000, np.random.default_rng(0)) > 0.0).round(2))
    0.74
    """

    weights: Floats
    parts: tuple[Distribution, ...]
    _evaluator: Evaluator | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        parts = tuple(self.parts)
        w = np.asarray(self.weights, dtype=np.float64)
        if not parts or w.shape != (len(parts),):
            raise ValueError(
                f"a mixture needs at least one part and a weight for each; got {len(parts)} parts "
                f"and weights of shape {w.shape}"
            )
        dims = [part.dim for part in parts]
        if len(set(dims)) > 1:
            raise ValueError(f"the parts of a mixture must have one dimension; got {dims}")
        if not (w >= 0.0).all() or not abs(w.sum() - 1.0) < 1e-8:
            raise ValueError(
                f"the weights of a mixture must be probabilities that sum to one; got {w}; "
                "pass weights / weights.sum()"
            )
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "weights", w / w.sum())
        side_by_side = self._arrays()
        evaluator = None if side_by_side is None else Evaluator(side_by_side)
        object.__setattr__(self, "_evaluator", evaluator)

    def _arrays(self) -> Parts | None:
        """Return the parts as arrays if all are Student-t or Gaussian."""
        pieces = [p.as_part() for p in self.parts if isinstance(p, StudentT | Gaussian)]
        if len(pieces) < len(self.parts):
            return None
        return replace(join(pieces), weights=self.weights)

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self.parts[0].dim

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw `n` independent points, shape (n, d), in random order.

        The numbers of points from each part are multinomial; a permutation then makes the rows
        independent of one another, so that any subset of them is a sample as well.
        """
        check_draw(n, rng)
        counts = rng.multinomial(n, self.weights)
        drawn = [part.sample(int(m), rng) for part, m in zip(self.parts, counts, strict=True) if m]
        return np.concatenate(drawn)[rng.permutation(n)]

    def log_densities(self, x: Floats) -> Floats:
        """Return log (weight times density) of each part at each point, shape (k, n)."""
        x = read_points(x, self.dim)
        log_p = np.stack([part.log_density(x) for part in self.parts])
        with np.errstate(divide="ignore"):
            return np.asarray(log_p + np.log(self.weights)[:, None])

    def log_density(self, x: Floats) -> Floats:
        """Return the log-density of each row of `x`, shape (n,)."""
        x = read_points(x, self.dim)
        if self._evaluator is not None:
            return self._evaluator.log_density(x)
        return log_sum(self.log_densities(x))

    def fit(self, x: Floats, weights: Floats) -> Mixture:
        r"""Return the mixture after weighted expectation-maximisation from the present parts.

        Each round shares every point out among the parts in proportion to
        :math:`\pi_k q_k(x)` and lets each part fit its share.

        Parameters
        ----------
        x : ndarray, shape (n, d)
            Points.
        weights : ndarray, shape (n,)
            Weights; zeros are allowed, and they need not sum to one.

        Returns
        -------
        Mixture
            A part with fewer than d + 2 effective points keeps its shape, or is dropped if it
            loses all of them.

        Raises
        ------
        ValueError
            If a shape is wrong, a weight is negative or NaN, or no weight is positive.

        Notes
        -----
        The number of parts and where they start are for :func:`fit_mixture` to choose.  At most
        50 rounds, or until a round gains less than 1e-4 nats.
        """
        x, w = without_copies(*read_weighted(x, weights, self.dim))
        w = tempered(w, self.dim + 1.0)
        if all(isinstance(part, StudentT) for part in self.parts):
            return self._fit_student(x, w)
        if len(self.parts) == 1:
            return replace(self, parts=(self.parts[0].fit(x, w),))
        mixture, before = self, -math.inf
        for _ in range(EM_STEPS):
            log_p = mixture.log_densities(x)
            log_q = log_sum(log_p)
            lost = log_q == -np.inf
            score = float(w @ np.where(lost, -1e3, log_q))
            if score - before < TOLERANCE:
                break
            before = score
            share = w * np.exp(log_p - np.where(lost, 0.0, log_q))
            # Points that no part can reach are shared out by weight alone.
            share[:, lost] = np.outer(mixture.weights, w[lost])
            total = share.sum(axis=1)
            # A part with too few points for a shape of its own would shrink onto them.
            least = min(self.dim + 2.0, 0.5 * effective_count(w))
            count = total**2 / np.maximum(share @ w, 1e-300)
            parts = tuple(
                part.fit(x, c) if m >= least else part
                for part, c, m in zip(mixture.parts, share, count, strict=True)
            )
            mixture = replace(mixture, weights=total / total.sum(), parts=parts)
        return mixture

    def _fit_student(self, x: Floats, w: Floats) -> Mixture:
        """Do the same on arrays, small parts drawn to the shape of them all."""
        mean, root = shrunk_moments(x, w)
        z = whiten(x, mean, root)
        parts = self._arrays()
        assert parts is not None
        inverse = inverse_root(root)
        parts = replace(
            parts,
            location=np.ascontiguousarray((parts.location - mean) @ inverse.T),
            root=np.ascontiguousarray(np.tril(inverse @ parts.root)),
            df=np.clip(parts.df, LOWEST_DF, HIGHEST_DF),
        )
        found = calibrated(z, w, em(z, w, parts, steps=EM_STEPS, tolerance=TOLERANCE))
        return mixture_in_place(found, mean, root)


def mixture_in_place(parts: Parts, mean: Floats, root: Floats) -> Mixture:
    """Return parts fitted to ``root^-1 (x - mean)`` as a distribution of x."""
    placed = tuple(part_in_place(parts, k, mean, root) for k in range(parts.k))
    return Mixture(weights=parts.weights, parts=placed)


def log_sum(log_p: Floats) -> Floats:
    """Return log sum exp over the first axis; -inf where all are."""
    top = log_p.max(axis=0)
    top = np.where(top == -np.inf, 0.0, top)
    with np.errstate(divide="ignore"):
        return np.asarray(top + np.log(np.exp(log_p - top).sum(axis=0)))
