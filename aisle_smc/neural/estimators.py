r"""Estimators by name: the coefficient table of the importance-weighted literature.

An estimator turns log-weights into coefficients, and nothing else distinguishes one from another:

    >>> import torch
    >>> from aisle_smc.neural.estimators import estimator
    >>> rows = estimator("iwae-dreg").rows(torch.tensor([1.0, 2.0, 5.0]).log())
    >>> [round(a, 6) for a in rows.path.tolist()]
    [0.015625, 0.0625, 0.390625]

Alphas: the ``order`` of the AISLE family is the power of the target, as in
:mod:`aisle_smc.divergences`; the ``alpha`` of the Renyi bounds is that of Li and Turner, which is
1 - order; the ``n`` of CUBO is the order.

References
----------
A. Finke and A. H. Thiery (2019). On importance-weighted autoencoders. arXiv 1907.10477.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from numbers import Real
from types import MappingProxyType

from aisle_smc.arguments import check_count
from aisle_smc.divergences import (
    KL,
    Alpha,
    ChiSquare,
    Divergence,
    ExclusiveKL,
    Hellinger,
    JensenShannon,
    TailAdaptive,
)
from aisle_smc.neural import coefficients as c
from aisle_smc.neural.formulas import Estimator, Formula, Single, grouped
from aisle_smc.neural.rows import Rows

__all__ = [
    "ESTIMATORS",
    "Estimator",
    "Formula",
    "Rows",
    "Single",
    "estimator",
    "grouped",
    "resolved",
]


def estimator(name: str, **parameters: object) -> Formula:
    """Look an estimator up by name.

    Parameters
    ----------
    name : str
        One of :data:`ESTIMATORS`, in any case; ``_`` is read as ``-``.
    **parameters
        The parameters named there; a parameter that the estimator does not have is an error.

    Returns
    -------
    Formula

    Raises
    ------
    TypeError
        If a parameter is unknown, or one without default is missing.
    ValueError
        If the name is unknown, or a parameter is out of its range.

    Examples
    --------
    >>> estimator("AISLE-alpha", order=0.5).parameters
    (('divergence', Alpha(order=0.5)),)
    >>> estimator("iwae-derg")
    Traceback (most recent call last):
    ...
    ValueError: unknown estimator 'iwae-derg'; did you mean 'iwae-dreg'? see ESTIMATORS
    """
    key = name.strip().lower().replace("_", "-")
    if key not in _TABLE:
        near = difflib.get_close_matches(key, _TABLE, n=1, cutoff=0.0)
        raise ValueError(f"unknown estimator {name!r}; did you mean {near[0]!r}? see ESTIMATORS")
    make, signature = _TABLE[key][1], _signature(key)
    try:
        signature.bind(key, **parameters)
    except TypeError as error:
        known = list(signature.parameters)[1:]
        takes = f"the parameters {', '.join(known)}" if known else "no parameters"
        raise TypeError(f"{key!r} takes {takes}; {error}") from None
    return make(key, **parameters)


def resolved(given: str | Estimator) -> Estimator:
    """Return the estimator of a name, or the given one; raise if it is neither."""
    if isinstance(given, str):
        return estimator(given)
    if not hasattr(given, "rows"):
        hint = "; a divergence goes by estimator('aisle-f', divergence=...)"
        raise TypeError(
            "estimator must be a name of ESTIMATORS or a value returned by estimator(name, ...); "
            f"got {given!r}" + (hint if hasattr(given, "finite_at_zero") else "")
        )
    return given


@cache
def _signature(key: str) -> inspect.Signature:
    return inspect.signature(_TABLE[key][1])


def _bounded_ratio(divergence: Divergence) -> bool:
    """Say whether ``y f''(y)`` is bounded as y goes to zero, as far as that is known."""
    order = getattr(divergence, "order", -math.inf)
    return isinstance(divergence, JensenShannon) or order >= 1.0


def _fixed(
    rule: Callable[..., Rows],
    *,
    path: bool = False,
    score: bool = False,
    bounded: bool = True,
    single: Single = Single.MEANINGFUL,
    **parameters: object,
) -> Callable[[str], Formula]:
    """Make a row of the table without parameters of its own."""

    def make(name: str) -> Formula:
        return Formula(
            name=name,
            rule=rule,
            parameters=tuple(parameters.items()),
            needs_path=path,
            needs_score=score,
            coupled=path and score,
            bounded=bounded,
            single=single,
        )

    return make


def _aisle(divergence: Divergence) -> Callable[[str], Formula]:
    def make(name: str) -> Formula:
        return _aisle_f(name, divergence=divergence)

    return make


def _aisle_score(divergence: Divergence) -> Callable[..., Formula]:
    def make(name: str, baseline: bool = True) -> Formula:
        return _aisle_f_score(name, divergence=divergence, baseline=baseline)

    return make


def _aisle_f(name: str, divergence: Divergence) -> Formula:
    _check_divergence(divergence)
    return Formula(
        name=name,
        rule=c.divergence_path,
        parameters=(("divergence", divergence),),
        needs_path=True,
        bounded=_bounded_ratio(divergence),
    )


def _aisle_f_score(name: str, divergence: Divergence, baseline: bool = True) -> Formula:
    _check_divergence(divergence)
    if not isinstance(baseline, bool):
        raise TypeError(f"baseline must be True or False; got {baseline!r}")
    silent = baseline or isinstance(divergence, ExclusiveKL)
    return Formula(
        name=name,
        rule=c.divergence_score,
        parameters=(("divergence", divergence), ("baseline", baseline)),
        needs_score=True,
        single=Single.ZERO if silent else Single.NOISE,
    )


def _aisle_alpha(name: str, order: float) -> Formula:
    _check_real("order", order)
    return _aisle_f(name, divergence=Alpha(order=order))


def _aisle_alpha_score(name: str, order: float, baseline: bool = True) -> Formula:
    _check_real("order", order)
    return _aisle_f_score(name, divergence=Alpha(order=order), baseline=baseline)


def _aisle_alpha_score_dreg(name: str, order: float) -> Formula:
    _check_real("order", order)
    divergence = Alpha(order=order)
    return Formula(
        name=name,
        rule=c.divergence_score_dreg,
        parameters=(("divergence", divergence),),
        needs_path=True,
        bounded=_bounded_ratio(divergence),
        single=Single.ZERO,
    )


def _tail_adaptive(name: str, power: float = -1.0) -> Formula:
    _check_real("power", power)
    return _aisle_f(name, divergence=TailAdaptive(power=power))


def _dreg(name: str, t: float = 0.9) -> Formula:
    _check_share("t", t)
    single = Single.ZERO if t == 1.0 else Single.MEANINGFUL
    return _fixed(c.dreg, path=True, single=single, t=t)(name)


def _vr(name: str, alpha: float) -> Formula:
    _check_finite("alpha", alpha)
    return _fixed(c.vr, path=True, score=True, alpha=alpha)(name)


def _vr_dreg(name: str, alpha: float) -> Formula:
    _check_finite("alpha", alpha)
    return _fixed(c.vr_dreg, path=True, alpha=alpha)(name)


def _vr_score(name: str, alpha: float) -> Formula:
    _check_finite("alpha", alpha)
    return _fixed(c.vr_score, score=True, single=Single.UNDEFINED, alpha=alpha)(name)


def _cubo(name: str, n: float = 2.0) -> Formula:
    _check_above_one(n)
    return _fixed(c.cubo, path=True, score=True, bounded=False, n=n)(name)


def _cubo_score(name: str, n: float = 2.0) -> Formula:
    _check_above_one(n)
    return _fixed(c.cubo_score, score=True, n=n)(name)


def _cubo_log(name: str, n: float = 2.0) -> Formula:
    _check_above_one(n)
    return _fixed(c.cubo_log, score=True, single=Single.NOISE, n=n)(name)


def _ovis(name: str, gamma: float = 0.0) -> Formula:
    _check_share("gamma", gamma)
    return _fixed(c.ovis, score=True, single=Single.UNDEFINED, gamma=gamma)(name)


def _ovis_monte_carlo(name: str, auxiliary: int = 1) -> Formula:
    check_count("auxiliary", auxiliary)
    made = _fixed(c.ovis_monte_carlo, score=True, auxiliary=auxiliary)(name)
    return replace(made, auxiliary=auxiliary)


def _miwae(name: str, groups: int) -> Formula:
    return replace(
        grouped(_fixed(c.iwae, path=True, score=True)("iwae"), groups=groups), name=name
    )


def _piwae(name: str, groups: int) -> Formula:
    check_count("groups", groups)
    # A group may have little of all the weight, and theta then little of what the proposal gets.
    return _fixed(c.piwae, path=True, score=True, bounded=False, groups=groups)(name)


def _ciwae(name: str, beta: float) -> Formula:
    _check_share("beta", beta)
    return _fixed(c.ciwae, path=True, score=True, beta=beta)(name)


def _check_divergence(value: Divergence) -> None:
    if isinstance(value, type) or not hasattr(value, "finite_at_zero"):
        raise TypeError(f"divergence must be a value such as KL() or ChiSquare(); got {value!r}")


def _check_real(what: str, value: float) -> None:
    if not isinstance(value, Real):
        raise TypeError(f"{what} must be a number; got {value!r}")


def _check_share(what: str, value: float) -> None:
    _check_real(what, value)
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{what} must be in [0, 1]; got {value!r}")


def _check_finite(what: str, value: float) -> None:
    _check_real(what, value)
    if not math.isfinite(value):
        raise ValueError(f"{what} must be a finite number, such as 0.5; got {value!r}")


def _check_above_one(n: float) -> None:
    _check_real("n", n)
    if not 1.0 < n < math.inf:
        raise ValueError(f"n must be above 1, a power of the weights such as 2; got {n!r}")


_TABLE: dict[str, tuple[str, Callable[..., Formula]]] = {
    "vae": (
        "evidence lower bound, K draws: a = 1/K, b = -a",
        _fixed(c.vae, path=True, score=True),
    ),
    "vae-score": (
        "evidence lower bound by scores, leave-one-out baseline",
        _fixed(c.vae_score, score=True, single=Single.UNDEFINED),
    ),
    "stl": ("evidence lower bound, sticking the landing: a = 1/K", _fixed(c.stl, path=True)),
    "iwae": ("importance-weighted bound: a = W, b = -W", _fixed(c.iwae, path=True, score=True)),
    "iwae-stl": ("importance-weighted bound without its score: a = W", _aisle(KL())),
    "iwae-dreg": ("importance-weighted bound, doubly: a = W^2", _fixed(c.dreg, path=True, t=0.0)),
    "rws": ("wake-phi: b = W - 1/K, or W with baseline=False", _aisle_score(KL())),
    "rws-dreg": (
        "wake-phi, doubly: a = W - W^2",
        _fixed(c.divergence_score_dreg, path=True, single=Single.ZERO, divergence=KL()),
    ),
    "dreg": ("t of rws-dreg, 1 - t of iwae-dreg (t = 0.9)", _dreg),
    "dreg-norm": ("a = W^2 / sum W^2", _fixed(c.dreg_norm, path=True)),
    "rws-dreg-norm": (
        "a = (W - W^2) / sum (W - W^2)",
        _fixed(c.rws_dreg_norm, path=True, bounded=False, single=Single.UNDEFINED),
    ),
    "aisle-kl": ("KL(pi | q) by paths: a = W", _aisle(KL())),
    "aisle-kl-score": ("KL(pi | q) by scores: b = W - 1/K", _aisle_score(KL())),
    "aisle-chi2": ("chi-square by paths: a = 2 K W^2", _aisle(ChiSquare())),
    "aisle-chi2-score": ("chi-square by scores: b = K W^2 - 1/K", _aisle_score(ChiSquare())),
    "aisle-alpha": ("alpha-divergence by paths: a = (K W)^order / K", _aisle_alpha),
    "aisle-alpha-score": (
        "alpha-divergence by scores: b = ((K W)^order - 1) / (K order)",
        _aisle_alpha_score,
    ),
    "aisle-alpha-score-dreg": (
        "alpha-divergence, the scores doubly: a = (1 - W) (K W)^order / K",
        _aisle_alpha_score_dreg,
    ),
    "aisle-hellinger": (
        "squared Hellinger distance by paths: a = sqrt(W/K) / 4",
        _aisle(Hellinger()),
    ),
    "aisle-hellinger-score": (
        "squared Hellinger distance by scores: b = (sqrt(W/K) - 1/K) / 2",
        _aisle_score(Hellinger()),
    ),
    "aisle-f": ("any divergence by paths: a = W y f''(y), y = K W", _aisle_f),
    "aisle-f-score": ("any divergence by scores: b = W (f'(y) - f(y) / y)", _aisle_f_score),
    "exclusive-kl": ("KL(q | pi) by paths: a = 1/K, theta by W", _aisle(ExclusiveKL())),
    "exclusive-kl-score": ("KL(q | pi) by scores: b = log(K W) / K", _aisle_score(ExclusiveKL())),
    "vr": ("variational Renyi bound: a = v ~ w^(1 - alpha), b = -v", _vr),
    "vr-iwae": ("the same estimator under its later name", _vr),
    "vr-dreg": ("Renyi bound, doubly: a = alpha v + (1 - alpha) v^2", _vr_dreg),
    "vr-score": ("Renyi bound by scores, leave-one-out baseline", _vr_score),
    "cubo": ("minus E_q[w^n] by paths: a = -n w^n / K, b = -a (n = 2)", _cubo),
    "cubo-score": ("minus E_q[w^n] by scores: b = (n - 1) w^n / K (n = 2)", _cubo_score),
    "cubo-log": ("minus log E_q[w^n] / n by scores, plug-in (n = 2)", _cubo_log),
    "jvi": ("jackknife bound K L_K - (K - 1) L_(K-1)", _fixed(c.jvi, path=True, score=True)),
    "jvi-dreg": ("jackknife bound, doubly", _fixed(c.jvi_dreg, path=True, bounded=False)),
    "vimco": (
        "importance-weighted bound by scores, arithmetic mean of the others as baseline",
        _fixed(c.vimco, score=True, single=Single.UNDEFINED),
    ),
    "vimco-geometric": (
        "importance-weighted bound by scores, geometric mean of the others as baseline",
        _fixed(c.vimco_geometric, score=True, single=Single.UNDEFINED),
    ),
    "ovis": ("bound by scores, optimal baseline: -W - log(1 - W) at gamma = 0", _ovis),
    "ovis-mc": ("bound by scores, baseline of fresh draws (auxiliary = 1)", _ovis_monte_carlo),
    "tail-adaptive": ("tail probability of w to a power (-1), normalised", _tail_adaptive),
    "msc": (
        "Markovian score climbing, the first particle the retained one: b = W",
        _fixed(
            c.divergence_score, score=True, single=Single.NOISE, divergence=KL(), baseline=False
        ),
    ),
    "msc-path": (
        "the same by paths: a = W",
        _fixed(c.divergence_path, path=True, single=Single.NOISE, divergence=KL()),
    ),
    "miwae": ("mean of the importance-weighted bounds of groups", _miwae),
    "ciwae": ("beta of the evidence lower bound, 1 - beta of the importance-weighted", _ciwae),
    "piwae": ("proposal by miwae of groups, model by iwae of all particles", _piwae),
}

ESTIMATORS: Mapping[str, str] = MappingProxyType({name: row[0] for name, row in _TABLE.items()})
"""Names of all estimators, each with one line."""
