"""A proposal beside a safe one that bounds its weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.distributions.protocol import Distribution, check_draw, read_points

__all__ = ["Defensive"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Defensive:
    r"""A proposal mixed with a small share of a safe one.

    :math:`q(x) = (1 - \delta) p(x) + \delta s(x)`: an importance weight against :math:`q` is at
    most :math:`1/\delta` times the one against the safe distribution :math:`s`.

    Attributes
    ----------
    proposal : Distribution
        What was fitted to the target.
    safety : Distribution
        A wide distribution, for example the prior; never refitted.
    share : float
        The share :math:`\delta` of the safe distribution, between 0 and 1.

    Raises
    ------
    ValueError
        If the dimensions differ or the share is not strictly between 0 and 1.

    References
    ----------
    Hesterberg (1995), Weighted average importance sampling and defensive mixture distributions,
    section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from aisle_smc.distributions import Gaussian
    >>> narrow = Gaussian(mean=np.zeros(1), root=0.1 * np.eye(1))
    >>> q = Defensive(proposal=narrow, safety=Gaussian(mean=np.zeros(1), root=np.eye(1)))
    >>> q.log_density(np.array([[3.0]])).round(3).tolist()
    [-8.415]
    """

    proposal: Distribution
    safety: Distribution
    share: float = 0.05

    def __post_init__(self) -> None:
        if self.proposal.dim != self.safety.dim:
            raise ValueError(
                "proposal and safety must have one dimension; got "
                f"{self.proposal.dim} and {self.safety.dim}"
            )
        if not 0.0 < self.share < 1.0:
            raise ValueError(
                f"share must lie strictly between 0 and 1; got {self.share}; usual is 0.03 to 0.1"
            )

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self.proposal.dim

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw `n` independent points, shape (n, d), in random order."""
        check_draw(n, rng)
        m = int(rng.binomial(n, self.share))
        drawn = [self.proposal.sample(n - m, rng)] if m < n else []
        drawn += [self.safety.sample(m, rng)] if m else []
        return np.concatenate(drawn)[rng.permutation(n)]

    def log_density(self, x: Floats) -> Floats:
        """Return the log-density of each row of `x`, shape (n,)."""
        x = read_points(x, self.dim)
        fitted = np.log1p(-self.share) + self.proposal.log_density(x)
        safe = np.log(self.share) + self.safety.log_density(x)
        return np.asarray(np.logaddexp(fitted, safe))

    def fit(self, x: Floats, weights: Floats) -> Defensive:
        """Return the same with the proposal refitted; the safe distribution and share stay."""
        return replace(self, proposal=self.proposal.fit(x, weights))
