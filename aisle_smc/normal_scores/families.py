"""The families of SciPy that have fast maps to and from the standard normal, by SciPy's names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aisle_smc.normal_scores import gamma_beta as gb
from aisle_smc.normal_scores import half_line as half
from aisle_smc.normal_scores import intervals as inner
from aisle_smc.normal_scores import truncation
from aisle_smc.normal_scores import whole_line as whole


@dataclass(frozen=True, slots=True)
class Family:
    """Hold the maps of one family of distributions with loc 0 and scale 1.

    Attributes
    ----------
    forward : callable
        ``forward(z, *shapes)`` is x.
    inverse : callable
        ``inverse(x, *shapes)`` is z.
    slope : callable
        ``slope(z, x, *shapes)`` is dx/dz.
    anchored : bool
        Whether `x` stands for the signed distance to the nearer end of the support, as in
        `intervals`.
    unlimited : bool
        Whether the maps hold for any `z`; the others see `z` moved into ``[-LIMIT, LIMIT]``.

    Notes
    -----
    Arrays of shape (..., k) broadcast against shapes of shape (k,).
    """

    forward: Callable[..., Any]
    inverse: Callable[..., Any]
    slope: Callable[..., Any]
    anchored: bool = False
    unlimited: bool = False


_GAMMA = Family(gb.gamma, gb.gamma_inverse, gb.gamma_slope)
_LOGUNIFORM = Family(
    inner.loguniform, inner.loguniform_inverse, inner.loguniform_slope, anchored=True
)

FAMILIES: dict[str, Family] = {
    "arcsine": Family(inner.arcsine, inner.arcsine_inverse, inner.arcsine_slope, anchored=True),
    "beta": Family(gb.beta, gb.beta_inverse, gb.beta_slope, anchored=True),
    "cauchy": Family(whole.cauchy, whole.cauchy_inverse, whole.cauchy_slope),
    "chi": Family(gb.chi, gb.chi_inverse, gb.chi_slope),
    "chi2": Family(gb.chi2, gb.chi2_inverse, gb.chi2_slope),
    "erlang": _GAMMA,
    "expon": Family(half.expon, half.expon_inverse, half.expon_slope),
    "fisk": Family(half.fisk, half.fisk_inverse, half.fisk_slope),
    "gamma": _GAMMA,
    "gumbel_l": Family(whole.gumbel_l, whole.gumbel_l_inverse, whole.gumbel_l_slope),
    "gumbel_r": Family(whole.gumbel_r, whole.gumbel_r_inverse, whole.gumbel_r_slope),
    "halfcauchy": Family(half.halfcauchy, half.halfcauchy_inverse, half.halfcauchy_slope),
    "halflogistic": Family(half.halflogistic, half.halflogistic_inverse, half.halflogistic_slope),
    "halfnorm": Family(half.halfnorm, half.halfnorm_inverse, half.halfnorm_slope),
    "invgamma": Family(gb.invgamma, gb.invgamma_inverse, gb.invgamma_slope),
    "invweibull": Family(half.invweibull, half.invweibull_inverse, half.invweibull_slope),
    "johnsonsb": Family(
        inner.johnsonsb, inner.johnsonsb_inverse, inner.johnsonsb_slope, anchored=True,
        unlimited=True,
    ),
    "johnsonsu": Family(
        whole.johnsonsu, whole.johnsonsu_inverse, whole.johnsonsu_slope, unlimited=True
    ),
    "laplace": Family(whole.laplace, whole.laplace_inverse, whole.laplace_slope),
    "logistic": Family(whole.logistic, whole.logistic_inverse, whole.logistic_slope),
    "lognorm": Family(half.lognorm, half.lognorm_inverse, half.lognorm_slope, unlimited=True),
    "loguniform": _LOGUNIFORM,
    "lomax": Family(half.lomax, half.lomax_inverse, half.lomax_slope),
    "maxwell": Family(gb.maxwell, gb.maxwell_inverse, gb.maxwell_slope),
    "norm": Family(whole.norm, whole.norm_inverse, whole.norm_slope, unlimited=True),
    "pareto": Family(half.lomax, half.lomax_inverse, half.lomax_slope, anchored=True),
    "powerlaw": Family(
        inner.powerlaw, inner.powerlaw_inverse, inner.powerlaw_slope, anchored=True
    ),
    "rayleigh": Family(half.rayleigh, half.rayleigh_inverse, half.rayleigh_slope),
    "reciprocal": _LOGUNIFORM,
    "t": Family(whole.t, whole.t_inverse, whole.t_slope),
    "truncnorm": Family(
        truncation.truncnorm, truncation.truncnorm_inverse, truncation.truncnorm_slope,
        anchored=True,
    ),
    "uniform": Family(inner.uniform, inner.uniform_inverse, inner.uniform_slope, anchored=True),
    "weibull_max": Family(half.weibull_max, half.weibull_max_inverse, half.weibull_max_slope),
    "weibull_min": Family(half.weibull_min, half.weibull_min_inverse, half.weibull_min_slope),
}  # fmt: skip
