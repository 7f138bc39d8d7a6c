r"""The power family of divergences: Kullback-Leibler both ways, chi-square, Hellinger, alpha.

All are a scale times

.. math:: f_a(y) = \frac{y^a - 1 - a (y - 1)}{a (a - 1)}, \qquad y^2 f_a''(y) = y^a, \qquad
    h(y) = \frac{y^a - 1}{a},

with its limits at a = 0 and a = 1. The attribute `order` is a throughout; the table in
:mod:`aisle_smc.divergences` says what others call it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from aisle_smc.divergences.frameworks import Values, namespace, xlogy_floor

__all__ = ["KL", "Alpha", "ChiSquare", "ExclusiveKL", "Hellinger"]


def _power_f(order: float, log_y: Values) -> Values:
    """Return f_a(y), in the form without cancellation in a near 0 or near 1."""
    xp = namespace(log_y)
    rise = xp.expm1(log_y)
    if order == 0.0:
        return rise - log_y
    if order < 0.5:
        return (rise - xp.expm1(order * log_y) / order) / (1.0 - order)
    log_y = xlogy_floor(log_y)
    if order == 1.0:
        return xp.exp(log_y) * log_y - rise
    power = xp.exp(log_y) * xp.expm1((order - 1.0) * log_y)
    return (power / (order - 1.0) - rise) / order


def _power_path(order: float, log_y: Values, log_v: Values) -> Values:
    """Return v y^a."""
    xp = namespace(log_y)
    return xp.exp(log_v + order * log_y) if order != 0.0 else xp.exp(log_v)


def _power_score(order: float, log_y: Values, log_v: Values, baseline: bool) -> Values:
    """Return v (y^a - 1) / a with the baseline, v y^a / a without; v log y for a = 0."""
    xp = namespace(log_y)
    v = xp.exp(log_v)
    if order == 0.0:
        return v * log_y
    log_power = order * log_y
    if not baseline:
        return xp.exp(log_v + log_power) / order
    # expm1 keeps the digits near y = 1; far above it would overflow before v makes it small.
    near = v * xp.expm1(xp.clip(log_power, -math.inf, 30.0))
    return xp.where(log_power < 30.0, near, xp.exp(log_v + log_power) - v) / order


@dataclass(frozen=True, slots=True, kw_only=True)
class KL:
    r"""The inclusive Kullback-Leibler divergence :math:`KL(\pi \| q)`: q covers the target.

    .. math:: f(y) = y \log y - y + 1, \qquad \text{path } v y, \qquad \text{score } v (y - 1)

    On draws from q these are the normalised weight W, and W - 1/n. The order a in this package
    is 1; Li and Turner's alpha is 0.

    Notes
    -----
    The path form is the gradient of IWAE without its score ("sticking the landing"), the score
    form is the wake-phi step of reweighted wake-sleep. With a single particle the path form is a
    draw of the gradient of the *exclusive* divergence, and the score form is zero: use 16 or more.

    References
    ----------
    A. Finke and A. H. Thiery (2019). On importance-weighted autoencoders. arXiv 1907.10477.

    Examples
    --------
    >>> import numpy as np
    >>> float(KL().f(np.log(2.0)).round(6))
    0.386294
    """

    order: ClassVar[float] = 1.0
    finite_at_zero: ClassVar[bool] = True

    def f(self, log_y: Values) -> Values:
        """Return ``y log y - y + 1``."""
        return _power_f(1.0, log_y)

    def path(self, log_y: Values, log_v: Values) -> Values:
        """Return ``v y``."""
        return _power_path(1.0, log_y, log_v)

    def score(self, log_y: Values, log_v: Values, *, baseline: bool) -> Values:
        """Return ``v (y - 1)``, or ``v y`` without the baseline."""
        return _power_score(1.0, log_y, log_v, baseline)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChiSquare:
    r"""The divergence :math:`\chi^2(\pi \| q)`, which is the variance of the weights.

    .. math:: f(y) = (y - 1)^2, \qquad \text{path } 2 v y^2, \qquad \text{score } v (y^2 - 1)

    On draws from q: ``2 n W^2``, and ``n W^2 - 1/n``. The order a is 2, the scale twice that of
    ``Alpha(order=2)``; Li and Turner's alpha is -1, the order of CUBO is 2.

    Notes
    -----
    The path form is 2n times the doubly reparametrised gradient of IWAE (Tucker et al. 2019). The
    coefficients add up to as much as 2n when one particle has all the weight: start from
    :class:`KL`, or stabilise the weights.
    """

    order: ClassVar[float] = 2.0
    finite_at_zero: ClassVar[bool] = True

    def f(self, log_y: Values) -> Values:
        """Return ``(y - 1)^2``."""
        return namespace(log_y).expm1(log_y) ** 2

    def path(self, log_y: Values, log_v: Values) -> Values:
        """Return ``2 v y^2``."""
        return 2.0 * _power_path(2.0, log_y, log_v)

    def score(self, log_y: Values, log_v: Values, *, baseline: bool) -> Values:
        """Return ``v (y^2 - 1)``, or ``v y^2`` without the baseline."""
        return 2.0 * _power_score(2.0, log_y, log_v, baseline)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExclusiveKL:
    r"""The exclusive Kullback-Leibler divergence :math:`KL(q \| \pi)`: q seeks a mode.

    .. math:: f(y) = y - 1 - \log y, \qquad \text{path } v, \qquad \text{score } v \log y

    The order a is 0; Li and Turner's alpha is 1. It is infinite when q draws where the target has
    no density, and its proposals have weights of infinite variance where q is too narrow.
    """

    order: ClassVar[float] = 0.0
    finite_at_zero: ClassVar[bool] = False

    def f(self, log_y: Values) -> Values:
        """Return ``y - 1 - log y``."""
        return _power_f(0.0, log_y)

    def path(self, log_y: Values, log_v: Values) -> Values:
        """Return ``v``."""
        return _power_path(0.0, log_y, log_v)

    def score(self, log_y: Values, log_v: Values, *, baseline: bool) -> Values:
        """Return ``v log y``, which is zero at y = 1 with and without the baseline."""
        return _power_score(0.0, log_y, log_v, baseline)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hellinger:
    r"""The squared Hellinger distance :math:`\frac12 \int (\sqrt\pi - \sqrt q)^2`, at most 1.

    .. math::
        f(y) = \tfrac12 (\sqrt y - 1)^2, \qquad \text{path } \tfrac14 v \sqrt y, \qquad
        \text{score } \tfrac12 v (\sqrt y - 1)

    The order a is 1/2, the scale a quarter of ``Alpha(order=0.5)``; Li and Turner's alpha is 1/2.
    """

    order: ClassVar[float] = 0.5
    finite_at_zero: ClassVar[bool] = True

    def f(self, log_y: Values) -> Values:
        """Return ``(sqrt(y) - 1)^2 / 2``."""
        return 0.5 * namespace(log_y).expm1(0.5 * log_y) ** 2

    def path(self, log_y: Values, log_v: Values) -> Values:
        """Return ``v sqrt(y) / 4``."""
        return 0.25 * _power_path(0.5, log_y, log_v)

    def score(self, log_y: Values, log_v: Values, *, baseline: bool) -> Values:
        """Return ``v (sqrt(y) - 1) / 2``, or ``v sqrt(y) / 2`` without the baseline."""
        return 0.25 * _power_score(0.5, log_y, log_v, baseline)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alpha:
    r"""The alpha-divergence of order a, Cressie and Read's family.

    .. math::
        f_a(y) = \frac{y^a - 1 - a (y - 1)}{a (a - 1)}, \qquad \text{path } v y^a, \qquad
        \text{score } v \frac{y^a - 1}{a}

    with the limits :class:`ExclusiveKL` at a = 0 and :class:`KL` at a = 1, taken exactly. Order
    1/2 is four times :class:`Hellinger`, order 2 half of :class:`ChiSquare`.

    Attributes
    ----------
    order : float
        The power a of the target in :math:`\int \pi^a q^{1-a}`. Other conventions: Minka's alpha
        and the n of CUBO are a; Li and Turner's alpha (of the variational Renyi bound) is
        ``1 - a``; Finke and Thiery's :math:`f(y) = y^\alpha` is order ``alpha`` times
        ``alpha (alpha - 1)``.

    Raises
    ------
    ValueError
        If the order is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> Alpha(order=3.0).path(np.log([0.5, 1.0, 2.0]), np.zeros(3)).round(12).tolist()
    [0.125, 1.0, 8.0]
    """

    order: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.order):
            raise ValueError(f"order must be a finite number, such as 0.5; got {self.order!r}")

    @property
    def finite_at_zero(self) -> bool:
        """Whether f(0) is finite: for positive orders."""
        return self.order > 0.0

    def f(self, log_y: Values) -> Values:
        """Return ``f_a(y)``."""
        return _power_f(self.order, log_y)

    def path(self, log_y: Values, log_v: Values) -> Values:
        """Return ``v y^a``."""
        return _power_path(self.order, log_y, log_v)

    def score(self, log_y: Values, log_v: Values, *, baseline: bool) -> Values:
        """Return ``v (y^a - 1) / a``, or ``v y^a / a`` without the baseline."""
        return _power_score(self.order, log_y, log_v, baseline)
