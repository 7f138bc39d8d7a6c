r"""The divergences: how far a proposal q is from a target pi, as convex functions of their ratio.

With :math:`y = \pi / q`,

.. math:: D_f(\pi \| q) = \int f(\pi / q) \, q, \qquad f(1) = f'(1) = 0,

and its descent direction needs two functions of y, both given here times the weight v that a
particle has for the proposal (1/n for draws from it):

* **path**, on the derivative of the log-ratio along a reparametrised draw: :math:`v\,y^2 f''(y)`;
* **score**, on the derivative of :math:`\log q` at a fixed draw: :math:`v\,h(y)` with
  :math:`h(y) = y f'(y) - f(y)`. Any constant may be added to h, since the score has mean zero
  under q. With the *baseline* :math:`h(1) = 0`, so that every coefficient vanishes at q = pi;
  without it h vanishes at y = 0, where there is such a choice.

Everything is a function of log y, in nats, so that no power overflows before v makes it small.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from aisle_smc.divergences.frameworks import Values, namespace, tail_mass, xlogy_floor

__all__ = ["Divergence", "General", "JensenShannon", "TailAdaptive"]


class Divergence(Protocol):
    """What the coefficients ask of a divergence; a user's own object may satisfy it."""

    @property
    def finite_at_zero(self) -> bool:
        """Whether a draw from the proposal may have target density zero."""
        ...

    def path(self, log_y: Values, log_v: Values) -> Values:
        """Return ``v y^2 f''(y)``, shape (n, ...)."""
        ...

    def score(self, log_y: Values, log_v: Values, *, baseline: bool) -> Values:
        """Return ``v h(y)``, shape (n, ...); zero at y = 1 with the baseline."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JensenShannon:
    r"""The Jensen-Shannon divergence, the mean of KL from pi and from q to their average.

    .. math::
        f(y) = \tfrac12 \Bigl(y \log y - (1 + y) \log \tfrac{1 + y}{2}\Bigr), \qquad
        \text{path } \tfrac12 v \frac{y}{1 + y}, \qquad
        \text{score } \tfrac12 v \log \tfrac{1 + y}{2}

    At most log 2; bounded coefficients, so no particle dominates.
    """

    finite_at_zero: ClassVar[bool] = True

    def f(self, log_y: Values) -> Values:
        """Return ``(y log y - (1 + y) log((1 + y) / 2)) / 2``."""
        xp = namespace(log_y)
        log_y = xlogy_floor(log_y)
        y, zero = xp.exp(log_y), xp.zeros_like(log_y)
        below, above = xp.logaddexp(zero, -log_y), xp.logaddexp(zero, log_y)
        return 0.5 * ((1.0 + y) * math.log(2.0) - y * below - above)

    def path(self, log_y: Values, log_v: Values) -> Values:
        """Return ``v y / (1 + y) / 2``."""
        xp = namespace(log_y)
        return 0.5 * xp.exp(log_v + log_y - xp.logaddexp(xp.zeros_like(log_y), log_y))

    def score(self, log_y: Values, log_v: Values, *, baseline: bool) -> Values:
        """Return ``v log((1 + y) / 2) / 2``, or ``v log(1 + y) / 2`` without the baseline."""
        xp = namespace(log_y)
        log_sum = xp.logaddexp(xp.zeros_like(log_y), log_y)
        return 0.5 * xp.exp(log_v) * (log_sum - math.log(2.0) if baseline else log_sum)


@dataclass(frozen=True, slots=True, kw_only=True)
class General:
    r"""Any divergence, from a user's convex function and its first two derivatives.

    Attributes
    ----------
    function, first, second : callable
        f, f' and f'' of y > 0, elementwise on NumPy arrays (or on tensors, where tensors are
        given). Only :math:`f(1) = 0` matters for what is minimised: with the baseline, f is
        replaced by :math:`f(y) - f(1) - f'(1)(y - 1)`; without it, f is used as it stands.
    finite_at_zero : bool
        Whether f(0) is finite, which allows draws where the target has no density.

    Notes
    -----
    y is kept within exp(-700) and exp(700). Nothing checks that the three belong together.

    Examples
    --------
    >>> import numpy as np
    >>> from aisle_smc.divergences import Alpha
    >>> half = General(function=lambda y: (y - 1) ** 2 / 2, first=lambda y: y - 1,
    ...                second=np.ones_like)
    >>> log_y = np.log([0.5, 2.0])
    >>> bool(np.allclose(half.path(log_y, 0.0), Alpha(order=2.0).path(log_y, 0.0)))
    True
    """

    function: Callable[[Values], Values]
    first: Callable[[Values], Values]
    second: Callable[[Values], Values]
    finite_at_zero: bool = True

    def f(self, log_y: Values) -> Values:
        """Return ``f(y) - f(1) - f'(1) (y - 1)``."""
        y = self._ratio(log_y)
        one = namespace(y).ones_like(y)
        return self.function(y) - self.function(one) - self.first(one) * (y - one)

    def path(self, log_y: Values, log_v: Values) -> Values:
        """Return ``v y^2 f''(y)``."""
        y = self._ratio(log_y)
        return namespace(y).exp(log_v + log_y) * (y * self.second(y))

    def score(self, log_y: Values, log_v: Values, *, baseline: bool) -> Values:
        """Return ``v (h(y) - h(1))`` with ``h(y) = y f'(y) - f(y)``, or ``v h(y)`` without."""
        y = self._ratio(log_y)
        xp = namespace(y)
        h = y * self.first(y) - self.function(y)
        if baseline:
            one = xp.ones_like(y)
            h = h - (self.first(one) - self.function(one))
        return xp.exp(log_v) * h

    @staticmethod
    def _ratio(log_y: Values) -> Values:
        xp = namespace(log_y)
        return xp.exp(xp.clip(log_y, -700.0, 700.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class TailAdaptive:
    r"""Wang, Liu and Liu's tail-adaptive f: the path coefficient is a power of the rank.

    .. math::
        a_k = \frac{v_k t_k^\beta}{\sum_l v_l t_l^\beta}, \qquad t_k = \sum_j v_j [w_j \ge w_k]

    The function f is chosen anew for each set of weights, such that :math:`y^2 f''(y)` is the
    tail probability of y to the power beta; its mean stays finite however heavy the tail.

    Attributes
    ----------
    power : float
        The exponent beta, negative; -1 in the paper, -1/2 for a milder one.

    Raises
    ------
    ValueError
        If the power is not a negative number.

    Notes
    -----
    Depends on the weights by their order only. There is no score form. t is a tail probability
    (1/n for the largest weight, 1 for the smallest) and not a position in sorted order.

    References
    ----------
    D. Wang, H. Liu and Q. Liu (2018). Variational inference with tail-adaptive f-divergence.
    NeurIPS, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> log_y = np.array([3.0, 1.0, 2.0, -1.0, 0.5])
    >>> TailAdaptive().path(log_y, np.full(5, -np.log(5.0))).round(3).tolist()
    [0.438, 0.146, 0.219, 0.088, 0.109]
    """

    power: float = -1.0
    finite_at_zero: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not -math.inf < self.power < 0.0:
            raise ValueError(f"power must be a negative number, such as -1; got {self.power!r}")

    def path(self, log_y: Values, log_v: Values) -> Values:
        """Return ``v t^beta``, normalised over the particles."""
        xp = namespace(log_y)
        v = xp.exp(log_v)
        t = tail_mass(log_y, v)
        a = v * xp.where(v > 0.0, t, 1.0) ** self.power
        return a / xp.sum(a, 0)

    def score(self, log_y: Values, log_v: Values, *, baseline: bool) -> Values:
        """Raise: there is no score form."""
        raise ValueError(
            "the tail-adaptive divergence has path coefficients only; got path=False; use "
            "path=True, or another divergence, such as KL(), where draws have no path"
        )
