r"""Running moments of many coordinates: the sums a stream leaves behind, to the fourth power.

Blocks are merged pairwise, so that a stream of any length needs the memory of one block and of
four numbers a coordinate, and never subtracts large sums of powers from each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Moments"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Count, mean, and sums of the second to fourth powers of deviations from the mean.

    Attributes
    ----------
    count : int
        Values of each coordinate so far.
    mean, second, third, fourth : Tensor, shape (p,)
        In float64.

    References
    ----------
    T. F. Chan, G. H. Golub and R. J. LeVeque (1983). Algorithms for computing the sample variance.
    The American Statistician 37. P. Pebay (2008). Formulas for robust, one-pass parallel
    computation of covariances and arbitrary-order statistical moments. SAND2008-6212, section 3.
    """

    count: int
    mean: Tensor
    second: Tensor
    third: Tensor
    fourth: Tensor

    @staticmethod
    def none(size: int, device: torch.device) -> Moments:
        """Return the moments of no values yet."""
        zero = torch.zeros(size, dtype=torch.float64, device=device)
        return Moments(count=0, mean=zero, second=zero, third=zero, fourth=zero)

    @staticmethod
    def of(values: Tensor) -> Moments:
        """Return the moments of values of shape (n, p)."""
        mean = values.mean(0)
        away = values - mean
        square = away**2
        return Moments(
            count=values.shape[0],
            mean=mean,
            second=square.sum(0),
            third=(square * away).sum(0),
            fourth=(square**2).sum(0),
        )

    def merge(self, other: Moments) -> Moments:
        """Return the moments of both sets of values together."""
        n, m = self.count, other.count
        total = n + m
        step = (other.mean - self.mean) / total
        square = step**2
        between = n * m * square
        return Moments(
            count=total,
            mean=self.mean + m * step,
            second=self.second + other.second + total * between,
            third=self.third
            + other.third
            + total * (n - m) * between * step
            + 3.0 * step * (n * other.second - m * self.second),
            fourth=self.fourth
            + other.fourth
            + total * (n * n - n * m + m * m) * between * square
            + 6.0 * square * (n * n * other.second + m * m * self.second)
            + 4.0 * step * (n * other.third - m * self.third),
        )

    @property
    def variance(self) -> Tensor:
        """Unbiased variance of each coordinate, shape (p,)."""
        return self.second / (self.count - 1)

    @property
    def ratio(self) -> Tensor:
        """Mean over standard deviation, with its sign; NaN where both are zero."""
        return self.mean / torch.sqrt(self.variance)

    @property
    def ratio_error(self) -> Tensor:
        r"""Standard error of :attr:`ratio`, shape (p,), by the delta method.

        :math:`\sqrt{(1 - r \gamma + r^2 (\kappa - 1) / 4) / n}` with the skewness and the
        kurtosis; never the root of a negative number, by Pearson's inequality.
        """
        spread = torch.sqrt(self.second / self.count)
        known = spread > 0.0
        safe = torch.where(known, spread, 1.0)
        skewness = self.third / self.count / safe**3
        kurtosis = self.fourth / self.count / safe**4
        r = self.mean / safe
        variance = (1.0 - r * skewness + 0.25 * r**2 * (kurtosis - 1.0)) / self.count
        return torch.where(known, torch.sqrt(variance.clamp_min(0.0)), torch.nan)
