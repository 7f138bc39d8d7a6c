"""Weights and resampling of tensors: compiled kernels on CPU memory, torch elsewhere.

Both give the same numbers to rounding, and the same ancestors from the same uniforms.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from aisle_kernels import weights as kernels
from torch import Tensor

from aisle_smc.arguments import check_count
from aisle_smc.divergences.frameworks import log_weights
from aisle_smc.resampling import Scheme, systematic

__all__ = ["ancestors", "normalise", "resample"]

SCHEMES = ("multinomial", "residual", "stratified", "systematic")


def normalise(log_w: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return normalised weights and the logarithm of the mean weight.

    .. math:: W_k = w_k \Big/ \sum_l w_l, \qquad \log \hat Z = \log \frac1K \sum_k w_k

    Parameters
    ----------
    log_w : Tensor, shape (K, ...)
        Log-weights in nats, particles first.

    Returns
    -------
    weights : Tensor, shape (K, ...)
        In float64, constants to differentiation; zero where all log-weights are -inf.
    log_evidence : Tensor, shape (...)
        In float64; -inf there.

    Raises
    ------
    ValueError
        If a log-weight is NaN or ``+inf``; the first is named.

    Notes
    -----
    Float64 log-weights (K,) on the CPU are read by the kernel where they lie.

    Examples
    --------
    >>> import torch
    >>> weights, log_evidence = normalise(torch.tensor([1.0, 3.0]).log())
    >>> weights.numpy().round(6).tolist(), round(float(log_evidence.exp()), 6)
    ([0.25, 0.75], 2.0)
    """
    values = log_weights(log_w, "log_w")
    if values.device.type != "cpu":
        return normalise_by_operations(values)
    rows = _rows(values)
    out = torch.empty_like(rows)
    means = torch.empty(rows.shape[0], dtype=torch.float64)
    for row, mean, weights in zip(rows.numpy(), means.numpy()[:, None], out.numpy(), strict=True):
        mean[0] = kernels.normalise(row, weights)
    return _columns(out, values.shape[1:]), means.reshape(values.shape[1:])


def normalise_by_operations(log_w: Tensor) -> tuple[Tensor, Tensor]:
    """Do as `normalise` by torch operations, on any device."""
    top = log_w.amax(0)
    top = torch.where(top == -math.inf, 0.0, top)
    w = (log_w - top).exp()
    total = w.sum(0)
    weights = w / torch.where(total > 0.0, total, 1.0)
    return weights, torch.log(total / log_w.shape[0]) + top


def resample(
    log_w: Tensor,
    rng: np.random.Generator,
    *,
    m: int | None = None,
    scheme: Scheme = systematic,
) -> Tensor:
    """Draw ancestors in proportion to weights.

    Parameters
    ----------
    log_w : Tensor, shape (K, ...)
        Log-weights in nats, particles first; each column is a population of its own.
    rng : numpy.random.Generator
        Source of the uniforms: the same on every device.
    m : int, optional
        How many to draw; K by default.
    scheme : Scheme
        From :mod:`aisle_smc.resampling`.

    Returns
    -------
    Tensor of int64, shape (m, ...)
        Indices into the particles, each of positive weight; all 0 where none has.

    Raises
    ------
    TypeError, ValueError
        As for :func:`ancestors`.

    Examples
    --------
    >>> import numpy as np, torch
    >>> log_w = torch.tensor([0.0, 1.0, 0.0, 3.0]).log()
    >>> resample(log_w, np.random.default_rng(0)).tolist()
    [1, 3, 3, 3]
    """
    weights, _ = normalise(log_w)
    m = log_w.shape[0] if m is None else m
    check_count("m", m)
    u = rng.random((_count(scheme, log_w.shape[0], m), *log_w.shape[1:]))
    return ancestors(weights, torch.from_numpy(u).to(weights.device), m, scheme=scheme)


def ancestors(w: Tensor, u: Tensor, m: int, *, scheme: Scheme = systematic) -> Tensor:
    """Return the ancestors that uniforms stand for.

    Parameters
    ----------
    w : Tensor of float64, shape (K, ...)
        Nonnegative finite weights of any sum, particles first.
    u : Tensor of float64, shape (scheme.uniforms(K, m), ...)
        Uniforms in [0, 1), on the device of `w`.
    m : int
        How many ancestors.
    scheme : Scheme
        From :mod:`aisle_smc.resampling`; away from the CPU one of multinomial, residual,
        stratified and systematic.

    Returns
    -------
    Tensor of int64, shape (m, ...)
        Indices of positive weight; all 0 where there is none.

    Raises
    ------
    TypeError
        If the scheme is not one that gives equal weights.
    ValueError
        If a shape is wrong, a weight is negative or not finite, or the scheme runs on the CPU
        only.

    Notes
    -----
    The two ways add up weights in another order: they differ where a uniform lies within
    rounding, about 1e-16 K, of the boundary between two parents.
    """
    check_count("m", m)
    needed = (_count(scheme, w.shape[0], m), *w.shape[1:])
    if tuple(u.shape) != needed:
        raise ValueError(
            f"u must have shape {needed}, axes (uniform, ...), for {m} ancestors of {w.shape[0]} "
            f"by {scheme!r}; got {tuple(u.shape)}"
        )
    bad = ~((w >= 0.0) & (w < math.inf))
    if bool(bad.any()):
        where = torch.argwhere(bad)[0].tolist()
        raise ValueError(
            f"weights must be finite and not negative; w[{', '.join(map(str, where))}] is "
            f"{float(w[tuple(where)])}"
        )
    weights, uniforms = _rows(w.detach().double()), _rows(u.detach().double())
    if w.device.type == "cpu":
        if scheme.name == "killing" and m != w.shape[0]:
            raise ValueError(f"killing keeps the number of particles, {w.shape[0]}; got m = {m}")
        out = torch.empty((weights.shape[0], m), dtype=torch.int64)
        for row, draws, slots in zip(weights.numpy(), uniforms.numpy(), out.numpy(), strict=True):
            scheme.kernel(row, draws, slots)
    else:
        out = ancestors_by_operations(weights, uniforms, m, scheme.name)
    return _columns(out, w.shape[1:])


def ancestors_by_operations(w: Tensor, u: Tensor, m: int, name: str) -> Tensor:
    """Do as `ancestors` by torch operations on any device: rows of weights, (B, K) to (B, m)."""
    if name not in SCHEMES:
        raise ValueError(
            f"{name} runs on the CPU only; use one of {', '.join(SCHEMES)}, or log_w.cpu()"
        )
    # As in the kernels, sums near the edges of the range are first scaled by a power of two.
    total = w.sum(-1, keepdim=True)
    up, down = w.new_tensor(2.0**600), w.new_tensor(2.0**-128)
    factor = torch.where(total < 1.0, up, down)
    w = torch.where((total > 1e-280) & (total < 1e280), w, w * factor)
    c = w.cumsum(-1)
    total = c[:, -1:]
    total = torch.where(total > 0.0, total, 1.0)
    slots = torch.arange(m, dtype=torch.int64, device=w.device).expand(w.shape[0], m).contiguous()
    if name == "multinomial":
        points = _sorted_uniforms(u, torch.full_like(total, m, dtype=torch.int64))[:, :m] * total
        found = torch.searchsorted(c, points, right=True)
    else:
        x = c * (m / total)
        if name == "systematic":
            ends = torch.ceil(x - u).long()
        elif name == "stratified":
            stratum = x.long()
            own = u.gather(-1, stratum.clamp(max=m - 1))
            ends = stratum + (own < x - stratum)
        else:
            ends = _residual_counts(w * (m / total), u, m).cumsum(-1)
        found = torch.searchsorted(ends.clamp(max=m), slots, right=True)
    index = torch.arange(w.shape[-1], device=w.device)
    last = torch.where(w > 0.0, index, 0).amax(-1, keepdim=True)
    first = torch.where(w > 0.0, index, w.shape[-1]).amin(-1, keepdim=True)
    return torch.minimum(torch.maximum(found, torch.minimum(first, last)), last)


def _residual_counts(x: Tensor, u: Tensor, m: int) -> Tensor:
    """Return the numbers of offspring: whole parts of x, and what is left drawn."""
    whole = x.floor()
    part = x - whole
    counts = whole.long()
    missing = (m - counts.sum(-1, keepdim=True)).clamp(min=0)
    c = part.cumsum(-1)
    points = _sorted_uniforms(u, missing) * c[:, -1:]
    found = torch.searchsorted(c, points, right=True)
    index = torch.arange(x.shape[-1], device=x.device)
    found = torch.minimum(found, torch.where(part > 0.0, index, 0).amax(-1, keepdim=True))
    drawn = (torch.arange(points.shape[-1], device=x.device) < missing).long()
    return counts.scatter_add(-1, found, drawn)


def _sorted_uniforms(u: Tensor, count: Tensor) -> Tensor:
    """Return sorted uniforms by exponential spacings, `count` in each row; the rest is beyond."""
    sums = (-torch.log(1.0 - u)).cumsum(-1)
    end = sums.gather(-1, count.clamp(max=u.shape[-1] - 1))
    return torch.where(end > 0.0, sums / torch.where(end > 0.0, end, 1.0), 0.0)


def _count(scheme: Scheme, n: int, m: int) -> int:
    if not isinstance(scheme, Scheme):
        raise TypeError(
            "scheme must be one of aisle_smc.resampling that gives equal weights, such as "
            f"systematic; got {scheme!r}"
        )
    return scheme.uniforms(n, m)


def _rows(values: Tensor) -> Tensor:
    """Return (K, ...) as contiguous rows (B, K); one population is not copied."""
    return values.reshape(values.shape[0], -1).T.contiguous()


def _columns(rows: Tensor, shape: torch.Size) -> Tensor:
    """Return rows (B, K) as (K, *shape)."""
    return rows.T.reshape(rows.shape[1], *shape)
