"""How wide a proposal is around the location that an adaptation gave it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from aisle_smc.arguments import check_count
from aisle_smc.arrays import Floats, Integers
from aisle_smc.distributions.moments import weighted_moments
from aisle_smc.importance.drawn import Round
from aisle_smc.importance.located import Located

__all__ = ["Kept", "Kernel", "Spread", "kept", "kernel", "wide"]


class Spread(Protocol):
    """What an adaptation of locations asks of a rule for their roots."""

    def roots(self, last: Round, parents: Integers) -> Floats:
        """Return the roots of the coming proposals, shape (K, d, d) or (1, d, d).

        Parameters
        ----------
        last : Round
            What is known; its proposals are :class:`Located`.
        parents : ndarray of int, shape (K,)
            The proposal from which each new location comes.
        """
        ...


@dataclass(frozen=True, slots=True)
class Kept:
    """Keep the roots, each location that of the proposal it comes from: the field's usage."""

    def roots(self, last: Round, parents: Integers) -> Floats:
        """Return the present roots, see :class:`Spread`."""
        present = located(last)
        return present.roots if present.roots.shape[0] == 1 else present.roots[parents]

    def __repr__(self) -> str:
        return "kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    r"""Give all locations one root, the width of a kernel density estimate of the target.

    .. math:: L L^\top = h^2 \, \frac{m S + (d + 1) S_0}{m + d + 1}, \qquad
        h = \Bigl(\frac{4}{(d + 2) K}\Bigr)^{1 / (d + 4)},

    where S is the weighted covariance of the draws, m their effective number and :math:`h^2 S_0`
    the present scale: few effective draws narrow the proposals by little.

    Attributes
    ----------
    count : int or None
        The number K of proposals that share the target; None for as many as there are.  With 1
        every proposal is as wide as the target itself, as it has to be where draws are weighted by
        their own proposal alone.

    References
    ----------
    West (1993), Mixture models, Monte Carlo, Bayesian updating and dynamic models.
    """

    count: int | None = None

    def __post_init__(self) -> None:
        if self.count is not None:
            check_count("count", self.count)

    def bandwidth(self, count: int, dim: int) -> float:
        """Return the normal-reference bandwidth h for proposals of that number."""
        k = count if self.count is None else self.count
        return float((4.0 / ((dim + 2.0) * k)) ** (1.0 / (dim + 4.0)))

    def roots(self, last: Round, parents: Integers) -> Floats:
        """Return the one root, see :class:`Spread`."""
        present, w = located(last), last.weights
        h = self.bandwidth(present.count, present.dim)
        old = np.mean(present.roots @ present.roots.transpose(0, 2, 1), axis=0) / h**2
        if not w.any():
            return np.linalg.cholesky(h**2 * old)[None]
        heavy = w > 0.0
        _, covariance = weighted_moments(last.drawn.points[heavy], w[heavy])
        m, prior = 1.0 / float(np.square(w).sum()), present.dim + 1.0
        return np.linalg.cholesky(h**2 * (m * covariance + prior * old) / (m + prior))[None]


def located(last: Round) -> Located:
    """Return the proposals of a round, which must have locations."""
    if not isinstance(last.proposals, Located):
        raise TypeError(
            "this adaptation moves the locations of proposals; the proposals are "
            f"{type(last.proposals).__name__}; start from Located ones, or adapt with FitProposal"
        )
    return last.proposals


kernel = Kernel()
kept = Kept()
wide = Kernel(count=1)
