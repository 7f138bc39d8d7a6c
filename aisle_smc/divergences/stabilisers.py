r"""Stabilisers: weights in, weights with a lighter tail out, for a little bias.

A stabiliser changes the weights that average over particles; the evidence is not its business, so
the total of the weights is kept. Order is kept too, and a weight of zero stays zero. Use one when
the shape k of the weights' tail is above 1/2, where their variance is infinite:

========================  ======================================================================
:class:`Truncation`       w <- min(w, sqrt(n) mean(w)); the first choice, one bound for the bias
:class:`ParetoSmoothing`  largest weights by quantiles of their fit; reports k
:class:`WeightTempering`  w <- w^beta with the largest beta whose ESS suffices; for bad proposals
:class:`Clipping`         w <- min(w, the M-th largest weight)
========================  ======================================================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from aisle_kernels import pareto

from aisle_smc.arguments import check_count
from aisle_smc.divergences.frameworks import (
    Values,
    in_kind_of,
    log_mean_exp,
    log_sum_exp,
    log_weights,
    namespace,
    sorted_down,
)

__all__ = [
    "Clipping",
    "ParetoSmoothing",
    "Stabilised",
    "Stabiliser",
    "Truncation",
    "WeightTempering",
]

_BISECTIONS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Stabilised:
    """Stabilised weights and what was found out on the way.

    Attributes
    ----------
    log_w : array or tensor, shape (n, ...)
        Log-weights in nats, with the total of those that came in.
    degenerate : array or tensor of bool, shape (...)
        True where no particle has weight; the log-weights are then all ``-inf``, as they came.
    stabiliser : Stabiliser
        The one for the next update; it differs from the present one if it learns.
    khat : ndarray, shape (...), or None
        Shape of the tail of the raw weights, where it was fitted: above 0.7 is not reliable.
    exponent : array or tensor, shape (...), or None
        The power the weights were raised to, where they were tempered.
    """

    log_w: Values
    degenerate: Values
    stabiliser: Stabiliser
    khat: Values | None = None
    exponent: Values | None = None


class Stabiliser(Protocol):
    """What an update asks of a stabiliser."""

    def apply(self, log_w: Values) -> Stabilised:
        """Stabilise log-weights, shape (n, ...), each column by itself."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncation:
    r"""Cap the weights at a multiple of their mean, :math:`w \leftarrow \min(w, c \bar w)`.

    Attributes
    ----------
    multiple : float or None
        The cap c on the weights divided by their mean; None is :math:`\sqrt n`.

    Raises
    ------
    ValueError
        If the multiple is below one.

    Notes
    -----
    With :math:`c = \sqrt n` the truncated average is consistent, and its variance is finite,
    whenever the weights have a mean.

    References
    ----------
    E. L. Ionides (2008). Truncated importance sampling. Journal of Computational and Graphical
    Statistics 17(2).

    Examples
    --------
    >>> import numpy as np
    >>> log_w = np.log([1.0, 1.0, 1.0, 13.0])
    >>> np.exp(Truncation().apply(log_w).log_w).round(12).tolist()  # 8 is twice the mean
    [1.454545454545, 1.454545454545, 1.454545454545, 11.636363636364]
    """

    multiple: float | None = None

    def __post_init__(self) -> None:
        if self.multiple is not None and not 1.0 <= self.multiple < math.inf:
            raise ValueError(
                "multiple must be at least 1, the mean of the weights, or None for sqrt(n); got "
                f"{self.multiple!r}"
            )

    def apply(self, log_w: Values) -> Stabilised:
        """Stabilise log-weights, see :class:`Stabiliser`."""
        raw = log_weights(log_w, "log_w")
        multiple = math.sqrt(raw.shape[0]) if self.multiple is None else self.multiple
        capped = namespace(raw).minimum(raw, log_mean_exp(raw) + math.log(multiple))
        return _stabilised(self, log_w, raw, capped)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clipping:
    r"""Cap the weights at the M-th largest of them, so that M share the top.

    Attributes
    ----------
    count : int or None
        M; None is :math:`\sqrt n`, rounded up. If fewer particles have weight they all share.

    Raises
    ------
    TypeError, ValueError
        If the count is not an integer of at least one, or, in :meth:`apply`, exceeds n.

    References
    ----------
    E. Koblents and J. Miguez (2015). A population Monte Carlo scheme with transformed weights and
    its application to stochastic kinetic models. Statistics and Computing 25(2): the clipping
    transformation.

    Examples
    --------
    >>> import numpy as np
    >>> log_w = np.log([1.0, 2.0, 3.0, 6.0])
    >>> np.exp(Clipping(count=2).apply(log_w).log_w).round(12).tolist()
    [1.333333333333, 2.666666666667, 4.0, 4.0]
    """

    count: int | None = None

    def __post_init__(self) -> None:
        if self.count is not None:
            check_count("count", self.count)

    def apply(self, log_w: Values) -> Stabilised:
        """Stabilise log-weights, see :class:`Stabiliser`."""
        raw = log_weights(log_w, "log_w")
        xp, n = namespace(raw), raw.shape[0]
        count = math.ceil(math.sqrt(n)) if self.count is None else self.count
        if count > n:
            raise ValueError(
                f"count must be at most the number of particles, {n}; got {count}; lower it, or "
                "leave it out for the square root"
            )
        ranked = sorted_down(raw)[:count]
        # The last of the top that has weight: only infinite where the column has none at all.
        cap = xp.amin(xp.where(ranked == -math.inf, math.inf, ranked), 0)
        return _stabilised(self, log_w, raw, xp.minimum(raw, cap))


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightTempering:
    r"""Raise the weights to the largest power that leaves enough of them, :math:`w^\beta`.

    .. math:: \beta = \max \{\beta \in (0, 1] : \mathrm{ESS}(w^\beta) \ge \tau n\}

    Attributes
    ----------
    share : float
        The effective sample size to reach, as a share tau of n.
    least : float
        Lower bound of the power. It takes precedence over the share: an objective that is tempered
        more in one update than in the one before oscillates, so the value for the next update
        carries the power that was reached.

    Raises
    ------
    ValueError
        If the share is not in (0, 1], or the bound not in [0, 1].

    Notes
    -----
    40 bisections; the effective sample size decreases in the power. Each column has its own power,
    and the smallest of them is carried. The power is the bound if no larger one suffices, which is
    0, equal weights, when too few are positive at all. The largest bias of the four.

    References
    ----------
    D. Prangle and C. Viscardi (2023). Distilling importance sampling for likelihood free
    inference. Journal of Computational and Graphical Statistics 32(4). The same transformation of
    weights with a given power is in Koblents and Miguez (2015).

    Examples
    --------
    >>> import numpy as np
    >>> found = WeightTempering(share=0.5).apply(np.array([0.0, 0.0, 0.0, 9.0]))
    >>> round(float(found.exponent), 6)
    0.207363
    >>> found.stabiliser == WeightTempering(share=0.5, least=float(found.exponent))
    True
    """

    share: float = 0.2
    least: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"share must be in (0, 1], a share of n; got {self.share!r}")
        if not 0.0 <= self.least <= 1.0:
            raise ValueError(
                f"least must be in [0, 1], a power of the weights; got {self.least!r}"
            )

    def apply(self, log_w: Values) -> Stabilised:
        """Stabilise log-weights, see :class:`Stabiliser`."""
        raw = log_weights(log_w, "log_w")
        xp = namespace(raw)
        alive = raw > -math.inf
        top = xp.amax(raw, 0)
        degenerate = top == -math.inf
        scaled = xp.where(alive, raw - xp.where(degenerate, 0.0, top), 0.0)
        target = self.share * raw.shape[0]

        def enough(beta: Values) -> Values:
            w = xp.where(alive, xp.exp(beta * scaled), 0.0)
            return xp.sum(w, 0) ** 2 >= target * xp.sum(w * w, 0)

        high = xp.ones_like(top)
        low = xp.where(degenerate | enough(high), 1.0, xp.full_like(high, self.least))
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            ok = enough(middle)
            low, high = xp.where(ok, middle, low), xp.where(ok, high, middle)
        following = replace(self, least=float(xp.amin(low)))
        tempered = xp.where(alive, low * scaled, -math.inf)
        return _stabilised(following, log_w, raw, tempered, exponent=in_kind_of(log_w, low))


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoSmoothing:
    r"""Replace the largest weights by the quantiles of a generalised Pareto fit (PSIS).

    The tail is the :math:`M = \lceil \min(n / 5, 3 \sqrt{n / r}) \rceil` largest; the j-th
    smallest of it becomes the quantile at :math:`(j - 1/2) / M` of its fit, at most the largest
    raw weight.

    Attributes
    ----------
    relative_efficiency : float
        The r of the tail's length: 1 for independent draws, less for those of a chain.
    threshold : float
        Smooth only if the shape k is at least this; ``-math.inf`` always does.

    Raises
    ------
    ValueError
        If the relative efficiency is not positive, or the threshold is NaN.

    Notes
    -----
    Weights with a tail of fewer than five are left alone and have ``khat = inf``, except that
    equal weights have ``-inf``. The estimate of the tail is made for arrays in the machine's
    memory: tensors are copied there and back.

    References
    ----------
    A. Vehtari, D. Simpson, A. Gelman, Y. Yao and J. Gabry (2024). Pareto smoothed importance
    sampling. Journal of Machine Learning Research 25(72).

    Examples
    --------
    >>> import numpy as np
    >>> log_w = 2.0 * np.random.default_rng(3).standard_normal(200)
    >>> found = ParetoSmoothing().apply(log_w)
    >>> bool(found.khat > 0.5), bool(found.log_w.max() < log_w.max())
    (True, True)
    """

    relative_efficiency: float = 1.0
    threshold: float = 1.0 / 3.0

    def __post_init__(self) -> None:
        if not 0.0 < self.relative_efficiency < math.inf:
            raise ValueError(
                "relative_efficiency must be positive, 1 for independent draws; got "
                f"{self.relative_efficiency!r}"
            )
        if math.isnan(self.threshold):
            raise ValueError("threshold must be a number, such as 1/3 or -math.inf; got NaN")

    def apply(self, log_w: Values) -> Stabilised:
        """Stabilise log-weights, see :class:`Stabiliser`."""
        raw = log_weights(log_w, "log_w")
        xp, n = namespace(raw), raw.shape[0]
        length = math.ceil(min(n / 5.0, 3.0 * math.sqrt(n / self.relative_efficiency)))
        columns = raw if xp is np else raw.cpu().numpy()
        columns = np.ascontiguousarray(columns.reshape(n, -1).T)
        smooth = columns.copy()
        khat = np.empty(columns.shape[0])
        for i, column in enumerate(columns):
            out = np.empty(n)
            khat[i] = pareto.psis(column, length, out)
            if self.threshold <= khat[i] < math.inf:
                smooth[i] = out
        changed = smooth.T.reshape(raw.shape)
        if xp is not np:
            changed = xp.as_tensor(changed, device=raw.device)
        return _stabilised(self, log_w, raw, changed, khat=khat.reshape(tuple(raw.shape[1:])))


def _stabilised(
    following: Stabiliser,
    given: Values,
    raw: Values,
    changed: Values,
    *,
    khat: Values | None = None,
    exponent: Values | None = None,
) -> Stabilised:
    """Restore the total of the weights, and leave columns without weight as they were."""
    xp = namespace(raw)
    total = log_sum_exp(raw)
    degenerate = total == -math.inf
    present = log_sum_exp(changed)
    shift = xp.where(degenerate, 0.0, total) - xp.where(degenerate, 0.0, present)
    return Stabilised(
        log_w=in_kind_of(given, xp.where(degenerate, -math.inf, changed + shift)),
        degenerate=degenerate,
        stabiliser=following,
        khat=khat,
        exponent=exponent,
    )
