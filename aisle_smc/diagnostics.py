r"""What a single run says about its own Monte Carlo error.

The log-evidence of a run has a variance of about that of :math:`\hat Z / Z`, and the genealogy of
the run holds an estimate of it: particles of one family share the luck of their ancestor, so the
more the families differ in what becomes of them, the more another run would differ from this one.

Both estimators here are fed one population at a time,

``update(weights, ancestors)``

with the normalised weights of the population and, where it was resampled, the index of each
particle's parent in the population before.  A step without resampling has ``ancestors=None``; its
particles keep their index and their weights carry over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from aisle_kernels import genealogy as kernels

from aisle_smc.arrays import Floats, Integers

__all__ = ["EveVariance", "LagVariance", "distinct_ancestors"]


class EveVariance:
    r"""Variance of the evidence from the first ancestors: exactly unbiased, soon degenerate.

    With multinomial resampling, families :math:`E_i` (the index of the ancestor in the first
    population) and K generations (the first population, and one for each time that resampling
    took place),

    .. math::
        V = 1 - \Bigl(\frac{n}{n-1}\Bigr)^{K} \sum_{i, j : E_i \ne E_j} W_i W_j,
        \qquad E(\hat Z^2 V) = \mathrm{Var}(\hat Z) \quad\text{for every } n \ge 2.

    Attributes
    ----------
    families : int
        Number of first ancestors that still have a descendant.

    Notes
    -----
    Unbiased also when resampling depends on the weights, as with an effective sample size below a
    threshold: whether to resample is then decided before the ancestors are drawn, and a step
    without resampling loses no pair of families.  V can be negative.  It is 1, and says nothing,
    once one family is left, which takes about n generations.

    **For multinomial resampling only.**  Other schemes make fewer siblings than the power of
    :math:`n / (n - 1)` makes up for, and V is then far too small: with systematic resampling at
    every step it is usually negative.  :class:`LagVariance` has no such limit.

    Memory O(n), time O(n) for each resampling.

    References
    ----------
    .. [1] H. P. Chan and T. L. Lai (2013). A general theory of particle filters in hidden Markov
       models and some applications. Annals of Statistics 41.
    .. [2] A. Lee and N. Whiteley (2018). Variance estimation in the particle filter. Biometrika
       105, theorem 1, taken at the function G of the last step.

    Examples
    --------
    >>> import numpy as np
    >>> eve = EveVariance()
    >>> eve.update(np.array([0.2, 0.3, 0.5]))
    >>> round(eve.variance, 12)
    0.07
    """

    __slots__ = ("_eve", "_first", "_log_factor", "_weights")

    def __init__(self) -> None:
        self._first = 0
        self._log_factor = 0.0
        self._eve: Integers = np.empty(0, dtype=np.int64)
        self._weights: Floats = np.empty(0)

    def update(self, weights: Floats, ancestors: Integers | None = None) -> None:
        """Take in the next population.

        Parameters
        ----------
        weights : ndarray, shape (n,)
            Normalised weights; all zero when no particle has mass.
        ancestors : ndarray of int, shape (n,), optional
            Parents in the population before; None where there was no resampling.

        Raises
        ------
        ValueError
            If the weights do not sum to one or the ancestors do not fit.
        """
        first = self._first == 0
        weights, ancestors = _checked(weights, ancestors, self._eve.shape[0])
        m = weights.shape[0]
        if first:
            self._first = m
            self._eve = np.arange(m)
        elif ancestors is not None:
            eve = np.empty(m, dtype=np.int64)
            kernels.eve_step(self._eve, ancestors, eve)
            self._eve = eve
        if first or ancestors is not None:
            self._log_factor += -math.log1p(-1.0 / m) if m > 1 else math.inf
        self._weights = weights.copy()

    @property
    def families(self) -> int:
        """Number of first ancestors that still have a descendant."""
        return int(kernels.distinct(self._eve, self._first))

    @property
    def variance(self) -> float:
        r"""Estimate of the variance of :math:`\hat Z / Z`; NaN for a single particle."""
        if self._first < 2 or not np.any(self._weights):
            return math.nan
        _, different = kernels.kinship(self._eve, self._weights, self._first)
        if different == 0.0:
            return 1.0
        return float(1.0 - math.exp(self._log_factor + math.log(different)))

    @property
    def error(self) -> float:
        """Standard error of the log-evidence, in nats; 0 where the variance is negative."""
        return math.sqrt(max(self.variance, 0.0)) if self.variance == self.variance else math.nan


class _Level:
    """A population that later ones are traced back to."""

    __slots__ = ("born", "eve", "gain")

    def __init__(self, n: int, born: int) -> None:
        self.born = born
        self.eve: Integers = np.arange(n)
        self.gain: Floats = np.zeros(n)

    def value(self, gain: Floats) -> float:
        """Return the sum of squared gains, freed of the bias of a sample of this size."""
        n = gain.shape[0]
        return float(kernels.sum_of_squares(gain)) * (n / (n - 1) if n > 1 else 1.0)


class LagVariance:
    r"""Variance of the log-evidence from recent ancestors: stable for any length and scheme.

    Let :math:`E^s_i` be the ancestor at time s of particle i, and let the families of time s
    gain, by weighing alone,

    .. math::
        J^s_k(u) = \sum_{t=s}^{u} \; \sum_{i : E^s_i = k}
                   \bigl( W_t^i - \bar W_t^i \bigr), \qquad
        H_s(u) = \frac{n}{n - 1} \sum_k J^s_k(u)^2,

    where :math:`\bar W_t` are the normalised weights that the population at t has before it is
    weighed: those of t - 1, or 1/n after resampling.  With levels
    :math:`0 = s_0 < s_1 < \dots < s_m \le T`,

    .. math::
        V = \sum_{c=0}^{m-2} \bigl[ H_{s_c}(s_{c+2} - 1) - H_{s_{c+1}}(s_{c+2} - 1) \bigr]
            + H_{s_{m-1}}(T).

    Parameters
    ----------
    lag : int, optional
        Least number of steps from one level to the next.  None, the default, starts a level when
        the families of the last one have become unequal: when their effective number
        :math:`1 / \sum_k B_k^2` falls below :math:`\sqrt{2 n}`.

    Attributes
    ----------
    levels : int
        Number of levels so far.

    Notes
    -----
    *Why it works.*  The relative error of :math:`\hat Z` is a sum of martingale increments, and
    the weight :math:`B^s_k(u)` of a family collects those of its members since s.  It changes by
    weighing and by resampling.  The jumps at resampling have mean zero and sum to zero, so that
    to first order a jump :math:`\varepsilon_a` in the weight of particle a enters the evidence as
    :math:`\varepsilon_a (q_a - 1)`, where q is the normalised future likelihood of a.  To leave
    the jumps out of the sum is to leave just that: what the family gains later on account of the
    jump.  Hence :math:`\sum_k J_k^2` estimates the variance collected since s where the gains of
    different families are uncorrelated, and nothing need be known of the resampling scheme.  The
    difference of two levels at one time is what the generations between them contributed; a filter
    that forgets lets it be taken a level later instead of at the end, while families are still
    many.  That is the fixed lag of Olsson and Douc; its plain form counts siblings and subtracts
    the number expected under multinomial resampling.  Here the siblings that there are account for
    themselves.

    *Bias and variance.*  Consistent under multinomial resampling as n, then the lag, grows; the
    standard deviation was a third to two thirds of that of the plain form where both were tried.
    Other schemes correlate neighbouring particles, which is left out; with systematic resampling
    the mean was within a fifth of the truth.  A lag shorter than the memory of the model makes V
    too small, and so do families that are few.  Where V is near 1 or above, no single run knows
    its error.

    Memory O(n) for any lag; time O(n) for each resampling, nothing but a copy of the weights in
    between.

    References
    ----------
    .. [1] J. Olsson and R. Douc (2019). Numerically stable online estimation of variance in
       particle filters. Bernoulli 25: ancestors at a fixed lag.
    .. [2] A. Lee and N. Whiteley (2018). Variance estimation in the particle filter. Biometrika
       105: the variance as a sum over generations.
    .. [3] H. P. Chan and T. L. Lai (2013). A general theory of particle filters in hidden Markov
       models and some applications. Annals of Statistics 41: sums over families.

    Examples
    --------
    >>> import numpy as np
    >>> recent = LagVariance()
    >>> recent.update(np.array([0.2, 0.3, 0.5]))
    >>> recent.update(np.array([0.4, 0.2, 0.4]), np.array([2, 1, 2]))
    >>> round(recent.variance, 6)
    0.203333
    """

    __slots__ = ("_before", "_lag", "_levels", "_retired", "_step", "_weights", "levels")

    def __init__(self, lag: int | None = None) -> None:
        if lag is not None and lag < 1:
            raise ValueError(f"lag must be at least 1 step, or None to adapt it; got {lag}")
        self.levels = 0
        self._lag = lag
        self._step = 0
        self._retired = 0.0
        self._levels: list[_Level] = []
        self._weights: Floats = np.empty(0)
        self._before: Floats = np.empty(0)

    def update(
        self,
        weights: Floats,
        ancestors: Integers | None = None,
        drawn: Floats | None = None,
        carried: Floats | None = None,
    ) -> None:
        """Take in the next population.

        Parameters
        ----------
        weights : ndarray, shape (n,)
            Normalised weights; all zero when no particle has mass.
        ancestors : ndarray of int, shape (n,), optional
            Parents in the population before; None where there was no resampling.
        drawn : ndarray, optional
            Normalised weights of the population before by which the ancestors were drawn; its own
            weights by default.  An auxiliary filter draws by weight times look-ahead.
        carried : ndarray, shape (n,), optional
            Normalised weights of the offspring as drawn, on the scale of `drawn`: in an auxiliary
            filter before the look-ahead is divided out.  Equal by default.

        Raises
        ------
        ValueError
            If weights do not sum to one or the ancestors do not fit.
        """
        weights, ancestors = _checked(weights, ancestors, self._weights.shape[0])
        m = weights.shape[0]
        if not self._levels:
            self._open(m)
            self._before = np.full(m, 1.0 / m)
        elif ancestors is not None:
            if drawn is not None:
                # To look ahead is to weigh: the filter is one for potentials times the ratio of
                # look-aheads, and these are its weights.
                self._weights, _ = _checked(drawn, None, self._weights.shape[0])
            for level in self._levels:
                kernels.add_by_family(level.eve, self._weights, self._before, level.gain)
            due = self._due()
            if due and len(self._levels) == 2:
                older, newer = self._levels
                self._retired += older.value(older.gain) - newer.value(newer.gain)
                self._levels = [newer]
            for level in self._levels:
                eve = np.empty(m, dtype=np.int64)
                kernels.eve_step(level.eve, ancestors, eve)
                level.eve = eve
            if due:
                self._open(m)
            self._before = np.full(m, 1.0 / m)
            if carried is not None:
                self._before = _checked(carried, None, m)[0].copy()
        self._weights = weights.copy()
        self._step += 1

    def _open(self, n: int) -> None:
        self._levels.append(_Level(n, self._step))
        self.levels += 1

    def _due(self) -> bool:
        """Say whether the coming generation starts a level."""
        newest = self._levels[-1]
        if self._lag is not None:
            return self._step - newest.born >= self._lag
        families = newest.gain.shape[0]
        same, _ = kernels.kinship(newest.eve, self._weights, families)
        # Measured on models of short and long memory, n = 50 to 1000: of 0.7 to 2 times sqrt(n)
        # this has the least worst error; late enough to see the memory, early enough for families.
        return bool(same * math.sqrt(2.0 * families) > 1.0)

    @property
    def variance(self) -> float:
        """Estimate of the variance of the log-evidence; NaN for a single particle or no mass."""
        if not self._levels or self._weights.shape[0] < 2 or not np.any(self._weights):
            return math.nan
        oldest = self._levels[0]
        gain = oldest.gain.copy()
        kernels.add_by_family(oldest.eve, self._weights, self._before, gain)
        return self._retired + oldest.value(gain)

    @property
    def error(self) -> float:
        """Standard error of the log-evidence, in nats."""
        return math.sqrt(max(self.variance, 0.0)) if self.variance == self.variance else math.nan


def distinct_ancestors(ancestors: Sequence[Integers | None], n: int) -> Integers:
    """Count, for every time, the particles that have a descendant at the end.

    Parameters
    ----------
    ancestors : sequence of ndarray of int or None
        Entry t holds the parents, at time t, of the particles at time t + 1, or None where there
        was no resampling.
    n : int
        Number of particles at the last time.

    Returns
    -------
    ndarray of int, shape (T,)
        Number of distinct ancestors at each of the ``T = len(ancestors) + 1`` times; the last is
        `n`.  Where it is small, a smoothed expectation rests on that many states.

    Examples
    --------
    >>> import numpy as np
    >>> distinct_ancestors([np.array([0, 0, 2]), None, np.array([1, 1, 1])], 3)
    array([1, 1, 1, 3])
    """
    counts = np.empty(len(ancestors) + 1, dtype=np.int64)
    alive = np.arange(n)
    counts[-1] = n
    for t in range(len(ancestors) - 1, -1, -1):
        parents = ancestors[t]
        if parents is not None:
            alive = np.unique(parents[alive])
        counts[t] = alive.shape[0]
    return counts


def _checked(
    weights: Floats, ancestors: Integers | None, before: int
) -> tuple[Floats, Integers | None]:
    """Return both as arrays the kernels take, or raise; `before` is 0 for the first population."""
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 1 or weights.shape[0] < 1:
        raise ValueError(f"weights must have shape (n,), n >= 1; got shape {weights.shape}")
    n = weights.shape[0]
    total = float(weights.sum())
    if not (abs(total - 1.0) < 1e-6 or total == 0.0):
        raise ValueError(f"weights must be normalised, or all zero; their sum is {total}")
    if ancestors is None:
        if before not in (0, n):
            raise ValueError(
                f"without ancestors there must be {before} weights, as before; got {n}"
            )
        return weights, None
    ancestors = np.asarray(ancestors)
    if before == 0:
        raise ValueError("the first population has no ancestors; pass None")
    if ancestors.shape != (n,) or ancestors.dtype.kind not in "iu":
        raise ValueError(
            f"ancestors must be {n} integers, one for each weight; "
            f"got {ancestors.dtype} of shape {ancestors.shape}"
        )
    if not (ancestors.min() >= 0 and ancestors.max() < before):
        i = int(np.flatnonzero((ancestors < 0) | (ancestors >= before))[0])
        raise ValueError(
            f"ancestors must lie in 0 to {before - 1}; ancestors[{i}] is {ancestors[i]}"
        )
    return weights, ancestors.astype(np.int64, copy=False)
