r"""Annealing: an estimator whose parameter moves while training, such as the order of AISLE.

The alpha-divergence of order 0 is the exclusive KL, which finds a mode; of order 1 the inclusive
one, which covers the target; of order 2 half the chi-square divergence, which minimises the
variance of the evidence.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from aisle_smc.neural.estimators import estimator as named
from aisle_smc.neural.formulas import Estimator

__all__ = ["Annealing", "Schedule"]

Schedule: TypeAlias = Callable[[int], str | Estimator]
"""What estimator a step has, by the number of steps before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annealing:
    r"""A parameter of an estimator that moves along straight lines between given steps.

    Attributes
    ----------
    at : tuple of (int, float)
        Steps, in increasing order, and the parameter's values there; before the first and after
        the last it stays.
    name : str
        One of :data:`~aisle_smc.neural.estimators.ESTIMATORS`.
    parameter : str
        Which parameter of it.

    Raises
    ------
    TypeError, ValueError
        If the steps do not increase, or the estimator has no such parameter or value.

    Notes
    -----
    Alphas: the ``order`` of ``"aisle-alpha"`` and ``"aisle-alpha-score"`` is the power of the
    target; the ``alpha`` of ``"vr-dreg"`` is that of Li and Turner, 1 - order, and goes from
    .99 to 0 in the warm-up of Lievin et al. (2020).

    Examples
    --------
    >>> schedule = Annealing(at=((0, 0.0), (1000, 1.0), (3000, 2.0)))
    >>> [dict(schedule(step).parameters)["divergence"].order for step in (0, 500, 2000, 9000)]
    [0.0, 0.5, 1.5, 2.0]
    """

    at: tuple[tuple[int, float], ...]
    name: str = "aisle-alpha"
    parameter: str = "order"

    def __post_init__(self) -> None:
        steps = [step for step, _ in self.at]
        if not steps or steps[0] < 0 or sorted(set(steps)) != steps:
            raise ValueError(
                "at must have (step, value) pairs of increasing steps, such as ((0, 0.0), (1000, "
                f"1.0)); got {self.at!r}"
            )
        for step in steps:
            self(step)

    def __call__(self, step: int) -> Estimator:
        """Return the estimator after so many steps."""
        return named(self.name, **{self.parameter: self.value(step)})

    def value(self, step: int) -> float:
        """Return the parameter after so many steps."""
        after = bisect_right(self.at, step, key=lambda pair: pair[0])
        if after == 0:
            return self.at[0][1]
        if after == len(self.at):
            return self.at[-1][1]
        (first, a), (last, b) = self.at[after - 1 : after + 1]
        return a + (b - a) * (step - first) / (last - first)
