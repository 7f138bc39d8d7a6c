"""Fitting a mixture of Student-t distributions, its number of parts included."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import numpy as np

from aisle_smc.arguments import check_count
from aisle_smc.arrays import Floats
from aisle_smc.distributions.mixture import Mixture, mixture_in_place
from aisle_smc.distributions.moments import shrunk_moments, tempered, whiten
from aisle_smc.distributions.protocol import check_draw, read_weighted, without_copies
from aisle_smc.distributions.splitting import merged, nearest, split
from aisle_smc.distributions.student_em import (
    Evaluator,
    Parts,
    calibrated,
    em,
    join,
    one_part,
    share_out,
)

__all__ = [
    "Half",
    "better",
    "fit_mixture",
    "grown_mixture",
    "halves",
    "thinned",
    "without_negligible",
]

# Points and their weights, which sum to one.
Half: TypeAlias = tuple[Floats, Floats]

ROUNDS = 12
# Structure is learnt from so many points at most; all of them are used once it is known.
ENOUGH_TO_GROW = 20_000
# Points that together carry less than this are left out.
NEGLIGIBLE = 1e-6


def without_negligible(x: Floats, w: Floats) -> tuple[Floats, Floats]:
    """Return the points without those that together carry almost nothing."""
    order = np.argsort(w, kind="stable")
    few = int(np.searchsorted(np.cumsum(w[order]), NEGLIGIBLE))
    if few == 0:
        return x, w
    kept = np.sort(order[few:])
    return x[kept], w[kept] / w[kept].sum()


def thinned(x: Floats, w: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return at most 20,000 points that stand for all, by systematic resampling."""
    if x.shape[0] <= ENOUGH_TO_GROW:
        return x, w
    marks = (np.arange(ENOUGH_TO_GROW) + rng.random()) / ENOUGH_TO_GROW
    chosen = np.minimum(np.searchsorted(np.cumsum(w), marks), w.size - 1)
    chosen, times = np.unique(chosen, return_counts=True)
    return x[chosen], times / ENOUGH_TO_GROW


def halves(x: Floats, w: Floats, rng: np.random.Generator) -> tuple[Half, Half]:
    """Return the points in two random halves, each with weights that sum to one.

    They are dealt in pairs of decreasing weight, so that the few heaviest do not all fall into
    one half.
    """
    order = np.argsort(-w, kind="stable")
    side = np.zeros(w.size, dtype=bool)
    flips = rng.random((w.size + 1) // 2) < 0.5
    side[0::2] = flips
    side[1::2] = ~flips[: w.size // 2]
    left, right = np.sort(order[side]), np.sort(order[~side])
    return (
        (x[left], w[left] / w[left].sum()),
        (x[right], w[right] / w[right].sum()),
    )


def fit_mixture(
    x: Floats, weights: Floats, rng: np.random.Generator, *, most: int = 64
) -> Mixture:
    r"""Fit a mixture of Student-t distributions to weighted points.

    Maximises :math:`\sum_i w_i \log q(x_i)`, which minimises the divergence
    :math:`\mathrm{KL}(\pi \| q)` for points weighted for :math:`\pi`.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        Points.
    weights : ndarray, shape (n,)
        Weights; zeros are allowed, and they need not sum to one.
    rng : numpy.random.Generator
        Halves the points and starts the splits.
    most : int
        Largest number of parts.

    Returns
    -------
    Mixture
        Of :class:`StudentT` parts.

    Raises
    ------
    ValueError
        If a shape is wrong, a weight is negative or NaN, no weight is positive, or `most` < 1.
    """
    check_count("most", most)
    check_draw(1, rng)
    x, w = read_weighted(x, weights)
    x, w = without_copies(*without_negligible(x, w))
    w = tempered(w, x.shape[1] + 1.0)
    if x.shape[0] < 4 or most == 1:
        mean, root = shrunk_moments(x, w)
        z = whiten(x, mean, root)
        return mixture_in_place(calibrated(z, w, em(z, w, one_part(z, w))), mean, root)
    return grown_mixture(*halves(*thinned(x, w, rng), rng), rng, most=most).fit(x, w)


def grown_mixture(one: Half, other: Half, rng: np.random.Generator, *, most: int = 64) -> Mixture:
    """Fit a mixture to one half of the points, its number of parts chosen with the other half."""
    x, w = one
    mean, root = shrunk_moments(x, w)
    z, held = whiten(x, mean, root), whiten(other[0], mean, root)
    return mixture_in_place(grow(z, w, held, other[1], root, rng, most), mean, root)


def grow(
    x: Floats,
    w: Floats,
    held_x: Floats,
    held_w: Floats,
    axes: Floats,
    rng: np.random.Generator,
    most: int,
) -> Parts:
    """Return parts grown by splitting as long as points held out agree."""
    parts = calibrated(x, w, em(x, w, one_part(x, w)))
    score = Evaluator(parts).log_density(held_x)
    for _ in range(ROUNDS):
        grown = _split_all(x, w, held_x, held_w, parts, axes, rng, most)
        if grown.k == parts.k:
            break
        grown = calibrated(x, w, em(x, w, grown, steps=20))
        new = Evaluator(grown).log_density(held_x)
        if not better(new, score, held_w):
            break
        parts, score = grown, new
    joined = _merge_alike(held_x, held_w, parts)
    if joined.k < parts.k:
        joined = calibrated(x, w, em(x, w, joined, steps=20))
        if held_w @ Evaluator(joined).log_density(held_x) >= held_w @ score:
            return joined
    return parts


def better(new: Floats, old: Floats, w: Floats) -> bool:
    """Whether one log-score beats another by more than the standard error of the difference."""
    gain = new - old
    mean = float(w @ gain)
    error = float(np.sqrt(np.square(w * (gain - mean)).sum()))
    return mean > error


def _split_all(
    x: Floats,
    w: Floats,
    held_x: Floats,
    held_w: Floats,
    parts: Parts,
    axes: Floats,
    rng: np.random.Generator,
    most: int,
) -> Parts:
    """Return the parts with each one split that is better split."""
    share = share_out(x, w, parts).share
    held = share_out(held_x, np.ones(held_w.size), parts)
    pieces, room = [], most - parts.k
    for k in range(parts.k):
        one = parts.take(np.array([k]))
        two = split(x, share[k], one, axes, rng) if room > 0 else None
        weight = parts.weights[k]
        if two is not None:
            # The density with part k taken out and its children put in, never below the children.
            with np.errstate(divide="ignore"):
                rest = held.log_q + np.log1p(-np.minimum(held.share[k], 1.0))
            children = Evaluator(two).log_density(held_x) + np.log(weight)
            if better(np.logaddexp(rest, children), held.log_q, held_w):
                one, room = two, room - 1
        pieces.append(replace(one, weights=one.weights * weight))
    return join(pieces)


def _merge_alike(held_x: Floats, held_w: Floats, parts: Parts) -> Parts:
    """Return the parts with those pairs joined that predict held-out points no better apart."""
    if parts.k == 1:
        return parts
    held = share_out(held_x, np.ones(held_w.size), parts)
    pieces, gone = [], set[int]()
    for i, j in nearest(parts):
        one = merged(parts, i, j)
        with np.errstate(divide="ignore"):
            share = np.minimum(held.share[i] + held.share[j], 1.0)
            rest = held.log_q + np.log1p(-share)
        joined = Evaluator(one).log_density(held_x)
        if held_w @ np.logaddexp(rest, joined) >= held_w @ held.log_q:
            pieces.append(one)
            gone |= {i, j}
    kept = [k for k in range(parts.k) if k not in gone]
    left = [replace(parts.take(np.array([k])), weights=parts.weights[[k]]) for k in kept]
    return join([*left, *pieces])
