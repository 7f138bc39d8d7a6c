"""What a measurement of signal-to-noise says: ratios and intervals, by group and by coordinate.

A ratio is kept by its square, whose estimate is unbiased and nearly normal also where noise hides
the signal; intervals and slopes are found from that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

__all__ = ["Group", "Ratio", "SignalToNoise", "quantile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """An estimated signal-to-noise ratio, known by its square, which has an unbiased numerator.

    Attributes
    ----------
    squared : float
        Estimate of the square; below zero where noise hides the signal. NaN where there is
        neither, or, for the directional ratio, a single coordinate.
    squared_error : float
        Its standard error.
    level : float
        Probability of the interval.
    """

    squared: float
    squared_error: float
    level: float

    @property
    def value(self) -> float:
        """The ratio itself, zero where the square is negative."""
        return _root(self.squared)

    @property
    def lower(self) -> float:
        """Lower end of the interval; zero where the signal is not resolved."""
        return _root(self.squared - quantile(self.level) * self.squared_error)

    @property
    def upper(self) -> float:
        """Upper end of the interval."""
        return _root(self.squared + quantile(self.level) * self.squared_error)

    def __repr__(self) -> str:
        return f"{self.value:.3g} ({self.lower:.3g} to {self.upper:.3g})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Group:
    r"""Signal and noise of one group of parameters.

    Attributes
    ----------
    mean, sd : mapping of Tensor
        Mean and standard deviation of the gradient of the loss, by name of the parameter, in its
        shape and in float64.
    snr : mapping of Tensor
        :math:`|E g| / \text{sd}\, g` of every coordinate: infinite where the gradient never
        varies, NaN where it is always zero.
    lower, upper : mapping of Tensor
        Ends of the intervals of `snr`, one for each coordinate and not for all at once.
    total : Ratio
        :math:`\|E g\| / \sqrt{\operatorname{tr} \operatorname{Cov} g}`.
    directional : Ratio
        :math:`E[\|g_\parallel\| / \|g_\perp\|]`; NaN for a single coordinate.
    alignment : float
        Estimated cosine of the angle between the mean found and the true one: the directional
        ratio is blurred where it is much below 1.
    """

    mean: Mapping[str, Tensor]
    sd: Mapping[str, Tensor]
    snr: Mapping[str, Tensor]
    lower: Mapping[str, Tensor]
    upper: Mapping[str, Tensor]
    total: Ratio
    directional: Ratio
    alignment: float

    def __repr__(self) -> str:
        snr = torch.cat([values.flatten() for values in self.snr.values()])
        found = snr[~torch.isnan(snr)]
        lower = torch.cat([values.flatten() for values in self.lower.values()])
        said = f"total {self.total!r}"
        if not math.isnan(self.directional.squared):
            said += f", directional {self.directional!r}"
        if math.isnan(self.alignment) or self.alignment < 0.9:
            said += ", its direction not resolved"
        said += f"; {snr.numel()} coordinates"
        if found.numel():
            said += f" with median {float(found.median()):.3g}"
            said += f", {int((lower > 0.0).sum())} told from zero"
        if found.numel() < snr.numel():
            said += f", {snr.numel() - found.numel()} always zero"
        return said


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SignalToNoise:
    """Signal and noise of a gradient, for each group of parameters.

    Attributes
    ----------
    groups : mapping of Group
    replicates : int
        Gradients that were drawn.
    level : float
        Probability of the intervals.
    """

    groups: Mapping[str, Group]
    replicates: int
    level: float

    def group(self, name: str | None = None) -> Group:
        """Return a group by its name, or the only one there is.

        Raises
        ------
        KeyError
            If there is no such group, or several and no name.
        """
        if name is None and len(self.groups) == 1:
            return next(iter(self.groups.values()))
        if name is None or name not in self.groups:
            asked = "no name" if name is None else repr(name)
            raise KeyError(f"name one of the groups {', '.join(self.groups)}; got {asked}")
        return self.groups[name]

    def __repr__(self) -> str:
        head = f"signal-to-noise of {self.replicates} gradients, {100 * self.level:g} % intervals"
        return "\n  ".join([head, *(f"{name}: {group!r}" for name, group in self.groups.items())])


def quantile(level: float) -> float:
    """Return how many standard errors an interval of this probability reaches to each side."""
    return NormalDist().inv_cdf(0.5 + 0.5 * level)


def _root(square: float) -> float:
    return math.sqrt(square) if square > 0.0 else max(square, 0.0)
