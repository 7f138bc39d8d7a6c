r"""The coefficients of every estimator, each a function of the log-weights alone.

Throughout, :math:`W_k` are the self-normalised weights of K particles drawn from the proposal and
:math:`\hat Z` is the mean weight. Every function takes log-weights in nats, shape (K, ...), and
returns :class:`~aisle_smc.neural.rows.Rows`; each column of the further axes is a datapoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from aisle_smc.divergences import Divergence, coefficients, reparametrise_score
from aisle_smc.divergences.frameworks import log_sum_exp
from aisle_smc.neural.rows import Normalised, Rows, is_heavy, log_complement, normalised, rows_of

__all__ = [
    "ciwae",
    "cubo",
    "cubo_log",
    "cubo_score",
    "divergence_path",
    "divergence_score",
    "divergence_score_dreg",
    "dreg",
    "dreg_norm",
    "grouped",
    "iwae",
    "jvi",
    "jvi_dreg",
    "ovis",
    "ovis_monte_carlo",
    "piwae",
    "rws_dreg_norm",
    "stl",
    "vae",
    "vae_score",
    "vimco",
    "vimco_geometric",
    "vr",
    "vr_dreg",
    "vr_score",
]


def divergence_path(log_w: Tensor, *, divergence: Divergence) -> Rows:
    r"""AISLE by paths: :math:`a = W y f''(y)` with ``y = K W``."""
    return rows_of(coefficients(log_w.double(), divergence))


def divergence_score(log_w: Tensor, *, divergence: Divergence, baseline: bool) -> Rows:
    r"""AISLE by scores: :math:`b = W (f'(y) - f(y) / y)`, f normalised by the baseline."""
    return rows_of(coefficients(log_w.double(), divergence, path=False, baseline=baseline))


def divergence_score_dreg(log_w: Tensor, *, divergence: Divergence) -> Rows:
    r"""Paths with the mean of the scores: :math:`a = (1 - W) W y f''(y)`."""
    return rows_of(reparametrise_score(log_w.double(), divergence))


def vae(log_w: Tensor) -> Rows:
    """Evidence lower bound: ``a = 1/K``, ``b = -a``."""
    return _elbo(log_w, -1.0)


def stl(log_w: Tensor) -> Rows:
    """Evidence lower bound without the score of mean zero: ``a = 1/K``."""
    return _elbo(log_w, 0.0)


def vae_score(log_w: Tensor) -> Rows:
    r"""Evidence lower bound by scores: b is :math:`\log w_k` less the others' mean, over K."""
    p = _positive(log_w, "the evidence lower bound")
    equal = torch.full_like(p.log_weights, 1.0 / p.count)
    return p.rows(theta=equal, score=_above_the_others(p.log_weights) / p.count)


def iwae(log_w: Tensor) -> Rows:
    """Importance-weighted bound: ``a = W``, ``b = -W``."""
    p = normalised(log_w)
    return p.rows(path=p.weights, score=-p.weights)


def dreg(log_w: Tensor, *, t: float) -> Rows:
    """Doubly reparametrised: ``a = (1 - t) W^2 + t (W - W^2)``."""
    p = normalised(log_w)
    return p.rows(path=p.weights * ((1.0 - t) * p.weights + t * _others(p)))


def dreg_norm(log_w: Tensor) -> Rows:
    r"""Doubly reparametrised, rescaled: :math:`a = W^2 / \sum W^2`."""
    p = normalised(log_w)
    return p.rows(path=_softmax(2.0 * p.log_weights))


def rws_dreg_norm(log_w: Tensor) -> Rows:
    r"""Wake-phi doubly reparametrised, rescaled: :math:`a = (W - W^2) / \sum (W - W^2)`."""
    p = normalised(log_w)
    return p.rows(path=_softmax(p.log_weights + log_complement(p.log_weights)))


def vr(log_w: Tensor, *, alpha: float) -> Rows:
    r"""Variational Renyi bound: :math:`a = v \propto w^{1 - \alpha}`, ``b = -v``.

    Alpha is that of Li and Turner: the order of the divergence is ``1 - alpha``.
    """
    p, log_v = _tilted(log_w, alpha)
    v = torch.exp(log_v)
    return p.rows(theta=v, path=v, score=-v)


def vr_dreg(log_w: Tensor, *, alpha: float) -> Rows:
    r"""Renyi bound doubly reparametrised: :math:`a = \alpha v + (1 - \alpha) v^2`.

    Alpha as for :func:`vr`; the weights v have sum one.
    """
    p, log_v = _tilted(log_w, alpha)
    v = torch.exp(log_v)
    return p.rows(theta=v, path=v * (alpha + (1.0 - alpha) * v))


def vr_score(log_w: Tensor, *, alpha: float) -> Rows:
    r"""Renyi bound by scores: :math:`b = l - l_{-k} - v_k`, the bound less that of the others.

    Alpha as for :func:`vr`.
    """
    p, log_v = _tilted(log_w, alpha)
    v = torch.exp(log_v)
    if alpha == 1.0:
        gain = _above_the_others(p.log_weights) / p.count
    else:
        gain = (math.log1p(-1.0 / p.count) - log_complement(log_v)) / (1.0 - alpha)
    return p.rows(theta=v, score=gain - v)


def cubo(log_w: Tensor, *, n: float) -> Rows:
    r"""Minus :math:`E_q[w^n]`: :math:`a = -n w^n / K`, ``b = -a``; not free of scale.

    n is the order of the divergence.
    """
    p = normalised(log_w)
    a = -n * _power(p, n)
    return p.rows(path=a, score=-a)


def cubo_score(log_w: Tensor, *, n: float) -> Rows:
    r"""Minus :math:`E_q[w^n]` by scores: :math:`b = (n - 1) w^n / K`; not free of scale."""
    p = normalised(log_w)
    return p.rows(score=(n - 1.0) * _power(p, n))


def cubo_log(log_w: Tensor, *, n: float) -> Rows:
    r"""Minus :math:`\log E_q[w^n] / n` by scores: :math:`b = \frac{n-1}{n} w^n / \sum w^n`."""
    p = normalised(log_w)
    return p.rows(score=(n - 1.0) / n * _softmax(n * p.log_weights))


def jvi(log_w: Tensor) -> Rows:
    r"""Jackknife bound :math:`K L_K - (K-1) L_{K-1}`: a its derivative by log w, ``b = -a``."""
    p = normalised(log_w)
    a = _jackknife(p, 1.0)
    return p.rows(theta=a, path=a, score=-a)


def jvi_dreg(log_w: Tensor) -> Rows:
    """Jackknife bound doubly reparametrised: weights squared, each of its parts."""
    p = normalised(log_w)
    return p.rows(theta=_jackknife(p, 1.0), path=_jackknife(p, 2.0))


def vimco(log_w: Tensor) -> Rows:
    r"""Importance-weighted bound by scores: :math:`b = \log \hat Z - \log \hat Z_{-k} - W_k`."""
    p = normalised(log_w)
    gain = math.log1p(-1.0 / p.count) - log_complement(p.log_weights)
    return p.rows(score=gain - p.weights)


def vimco_geometric(log_w: Tensor) -> Rows:
    """As :func:`vimco`, particle k replaced by the geometric mean of the others."""
    p = normalised(log_w)
    without = torch.logaddexp(log_complement(p.log_weights), _mean_of_others(p.log_weights))
    return p.rows(score=-without - p.weights)


def ovis(log_w: Tensor, *, gamma: float) -> Rows:
    r"""Bound by scores: :math:`-(1 - \gamma) W - \log(1 - W) + \gamma \log(1 - 1/K)`."""
    p = normalised(log_w)
    b = -(1.0 - gamma) * p.weights - log_complement(p.log_weights)
    return p.rows(score=b + (gamma * math.log1p(-1.0 / p.count) if gamma else 0.0))


def ovis_monte_carlo(log_w: Tensor, *, auxiliary: int) -> Rows:
    r"""Bound by scores, :math:`d_k = \log \hat Z - W_k` less its mean over fresh draws of k.

    The last `auxiliary` log-weights are those of the fresh draws; they have no coefficients.
    """
    count = log_w.shape[0] - auxiliary
    p = normalised(log_w[:count])
    fresh = normalised(log_w[count:])
    # In units of the sum of the main weights, as log W is.
    log_fresh = log_w[count:].detach().double() - torch.where(
        p.degenerate, 0.0, p.log_evidence + math.log(count)
    )
    total = torch.logaddexp(log_complement(p.log_weights)[:, None], log_fresh[None])
    b = torch.mean(torch.exp(log_fresh[None] - total) - total, 1) - p.weights
    found = p.rows(score=b)
    zero = torch.zeros_like(fresh.log_weights)
    return replace(
        found,
        theta=torch.cat([found.theta, zero]),
        path=torch.cat([found.path, zero]),
        score=torch.cat([found.score, zero]),
        weights=torch.cat([found.weights, zero]),
    )


def ciwae(log_w: Tensor, *, beta: float) -> Rows:
    r"""Mix of bounds: :math:`a = \beta / K + (1 - \beta) W`, ``b = -a``."""
    p = _positive(log_w, "the evidence lower bound") if beta else normalised(log_w)
    a = beta / p.count + (1.0 - beta) * p.weights
    return p.rows(theta=a, path=a, score=-a)


def grouped(log_w: Tensor, *, rule: Callable[[Tensor], Rows], groups: int) -> Rows:
    """Average a rule over equal groups of consecutive particles."""
    count = log_w.shape[0]
    if count % groups:
        raise ValueError(
            f"particles must be a multiple of groups, {groups}; got {count}; each group has "
            "particles / groups of them"
        )
    p = normalised(log_w)
    shape = (groups, count // groups, *log_w.shape[1:])
    found = rule(log_w.reshape(shape).transpose(0, 1))

    def joined(values: Tensor) -> Tensor:
        return values.transpose(0, 1).reshape(log_w.shape) / groups

    return p.rows(theta=joined(found.theta), path=joined(found.path), score=joined(found.score))


def piwae(log_w: Tensor, *, groups: int) -> Rows:
    """Proposal by the mean bound of groups, model by the bound of all particles."""
    found = grouped(log_w, rule=iwae, groups=groups)
    return replace(found, theta=found.weights)


def _positive(log_w: Tensor, what: str) -> Normalised:
    p = normalised(log_w)
    p.all_positive(what)
    return p


def _elbo(log_w: Tensor, sign: float) -> Rows:
    p = _positive(log_w, "the evidence lower bound")
    equal = torch.full_like(p.log_weights, 1.0 / p.count)
    return p.rows(theta=equal, path=equal, score=sign * equal)


def _softmax(log_a: Tensor) -> Tensor:
    """Normalise over the particles; zero where there is nothing to normalise."""
    total = log_sum_exp(log_a)
    return torch.exp(log_a - torch.where(total == -math.inf, 0.0, total))


def _others(p: Normalised) -> Tensor:
    return torch.exp(log_complement(p.log_weights))


def _tilted(log_w: Tensor, alpha: float) -> tuple[Normalised, Tensor]:
    """Return the weights, and log v with v normalised and proportional to w^(1 - alpha)."""
    p = _positive(log_w, "the Renyi bound of alpha >= 1") if alpha >= 1.0 else normalised(log_w)
    if alpha == 0.0:
        return p, p.log_weights
    log_v = (1.0 - alpha) * p.log_weights
    return p, log_v - log_sum_exp(log_v)


def _power(p: Normalised, n: float) -> Tensor:
    """Return w^n / K."""
    log_w = p.log_weights + torch.where(p.degenerate, 0.0, p.log_evidence) + math.log(p.count)
    return torch.exp(n * log_w - math.log(p.count))


def _jackknife(p: Normalised, power: float) -> Tensor:
    r"""Return :math:`K W_k^p - \frac{K-1}{K} \sum_{j \ne k} (W_k / (1 - W_j))^p`."""
    # The terms of particles that are not heavy are between 1 and 4^p: the sum less one of them
    # loses no digits.
    log_others = log_complement(p.log_weights)
    heavy = is_heavy(p.log_weights)
    light = torch.where(heavy, 0.0, torch.exp(-power * log_others))
    without_light = p.weights**power * (torch.sum(light, 0) - light)
    log_rest = torch.where(heavy, log_others, math.inf).amin(0)
    without_heavy = torch.where(heavy, 0.0, torch.exp(power * (p.log_weights - log_rest)))
    share = (p.count - 1) / p.count
    return p.count * p.weights**power - share * (without_light + without_heavy)


def _mean_of_others(log_w: Tensor) -> Tensor:
    """Return the mean of the other log-weights; ``-inf`` if one of them is."""
    absent = log_w == -math.inf
    values = torch.where(absent, 0.0, log_w)
    mean = (torch.sum(values, 0) - values) / (log_w.shape[0] - 1)
    return torch.where(torch.sum(absent, 0) > absent, -math.inf, mean)


def _above_the_others(log_w: Tensor) -> Tensor:
    count = log_w.shape[0]
    return (log_w - torch.mean(log_w, 0)) * (count / (count - 1))
