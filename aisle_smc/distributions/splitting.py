"""Splitting a part of a mixture in two, and joining two that may be one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from aisle_kernels import covariances, student

from aisle_smc.arrays import Floats
from aisle_smc.distributions.moments import ENOUGH, effective_count, root_of, whiten
from aisle_smc.distributions.student_em import Parts, calibrated, em, start

__all__ = ["merged", "nearest", "split"]

Mask: TypeAlias = npt.NDArray[np.bool_]

LLOYD_STEPS = 6
LOCAL_STEPS = 12
FEWEST = 8.0


def split(
    x: Floats, c: Floats, part: Parts, axes: Floats, rng: np.random.Generator
) -> Parts | None:
    """Return two parts for the points of one, fitted to that share of the points alone.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        Points.
    c : ndarray, shape (n,)
        What of each point's weight belongs to the part.
    part : Parts
        The one part.
    axes : ndarray, shape (d, d)
        Directions that mean something, one per row, such as those of the parameters.
    rng : numpy.random.Generator
        Starts a clustering.

    Returns
    -------
    Parts or None
        None where the points are too few or all alike.

    Notes
    -----
    Ways to halve the points are compared by how much the two halves, each with its own mean and
    covariance, raise the likelihood; the best one starts expectation-maximisation.
    """
    own = c > 1e-3 * c.max()
    x, c = x[own], c[own] / c[own].sum()
    if effective_count(c) < FEWEST:
        return None
    y = whiten(x, part.location[0], part.root[0])
    best, highest = None, -math.inf
    for mask in _ways(y, c, axes @ part.root[0], rng):
        gain = _gain(y, c, mask)
        if gain > highest:
            best, highest = mask, gain
    if best is None:
        return None
    halves = start(x, c, c * np.stack([best, ~best]), part.df[0])
    found = em(x, c, halves, steps=LOCAL_STEPS)
    return calibrated(x, c, found) if found.k == 2 else None


def _ways(y: Floats, c: Floats, axes: Floats, rng: np.random.Generator) -> Iterator[Mask]:
    """Yield ways to halve points that are centred and of the order of one in every direction."""
    d = y.shape[1]
    yield _two_means(y, c, *_seeds(y, c, rng))
    # Along the axis with two bumps, if there is one.
    projections = y @ axes.T
    line = projections[:, _most_bimodal(projections, c)]
    yield _cut(line, c)
    if d == 1:
        return
    square = np.square(y).sum(axis=1)
    # Core and shell: two scales about one centre.
    yield square < _median(square, c)
    # Along the line on which the size of the rest depends, as in a funnel.
    away = np.clip(square - c @ square, -4.0 * d, 4.0 * d)
    line = y @ ((c * away) @ y)
    yield line < _median(line, c)
    # Along the line of lightest tails, in the measure of Cardoso (1989): two bumps aslant.
    near = c * np.minimum(square, 4.0 * d)
    line = y @ np.linalg.eigh((y * near[:, None]).T @ y)[1][:, 0]
    left = line < c @ line
    sides = [c * side for side in (left, ~left)]
    if all(side.sum() > 0.0 for side in sides):
        yield _two_means(y, c, *(side @ y / side.sum() for side in sides))


def _most_bimodal(lines: Floats, c: Floats) -> int:
    """Return the column with the largest (skewness^2 + 1) / kurtosis, 1 for two points."""
    away = lines - c @ lines
    square = np.square(away)
    variance, third, fourth = c @ square, c @ (square * away), c @ np.square(square)
    with np.errstate(divide="ignore", invalid="ignore"):
        coefficient = (third**2 / variance + variance**2) / fourth
    return int(np.argmax(np.where(np.isfinite(coefficient), coefficient, 0.0)))


def _cut(line: Floats, c: Floats) -> Mask:
    """Return the two-means clustering of points on a line, started at their mean."""
    cut = float(c @ line)
    for _ in range(2 * LLOYD_STEPS):
        left = line < cut
        p = float(c[left].sum())
        if not 0.0 < p < 1.0:
            break
        low = float(c[left] @ line[left]) / p
        high = float(c[~left] @ line[~left]) / float(c[~left].sum())
        cut = 0.5 * (low + high)
    return line < cut


def _median(values: Floats, c: Floats) -> float:
    """Return the weighted median."""
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(c[order])
    middle = min(int(np.searchsorted(cumulated, 0.5 * cumulated[-1])), values.size - 1)
    return float(values[order[middle]])


def _gain(y: Floats, c: Floats, mask: Mask) -> float:
    """Return what two Gaussians gain over one in log-likelihood, if none of a point is shared."""
    d = y.shape[1]
    share = c * np.stack([mask, ~mask])
    p, count = share.sum(axis=1), np.square(share).sum(axis=1)
    if not p.all() or (p**2 < 0.5 * FEWEST * count).any():
        return -math.inf
    count = p**2 / count
    mass, shift, scatter = np.empty(2), np.empty((2, d)), np.empty((2, d, d))
    gaussian = np.full(2, np.inf)
    student.moment_sums(y, c, share, share, gaussian, np.zeros((2, d)), mass, shift, scatter)
    shift /= p[:, None]
    scatter /= p[:, None, None]
    scatter -= shift[:, :, None] * shift[:, None, :]
    # Of few points the variances are known better than the correlations.
    known = np.minimum(count / (ENOUGH * (d + 1)), 1.0)[:, None, None]
    scatter *= known + (1.0 - known) * np.eye(d)
    root = np.empty((2, d, d))
    covariances.roots_of(scatter, np.ones(d), root)
    log_det = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
    return float(p @ (np.log(p) - log_det))


def _seeds(y: Floats, c: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return a random point and one far from it.

    References
    ----------
    Arthur and Vassilvitskii (2007), k-means++: the advantages of careful seeding, section 2.2.
    """
    first = y[rng.choice(c.size, p=c)]
    far = c * np.square(y - first).sum(axis=1)
    if not far.sum() > 0.0:
        return first, first
    return first, y[rng.choice(c.size, p=far / far.sum())]


def _two_means(y: Floats, c: Floats, a: Floats, b: Floats) -> Mask:
    """Return a two-means clustering of weighted points from two centres, as a mask."""
    mask = np.zeros(c.size, dtype=bool)
    for _ in range(LLOYD_STEPS):
        # |y - a|^2 < |y - b|^2 as one product.
        mask = y @ (b - a) < 0.5 * float((b - a) @ (b + a))
        left, right = c * mask, c * ~mask
        if not (left.sum() > 0.0 and right.sum() > 0.0):
            break
        a, b = left @ y / left.sum(), right @ y / right.sum()
    return mask


def nearest(parts: Parts) -> list[tuple[int, int]]:
    r"""Return pairs of parts that might be one, no part twice, the most alike first.

    The cost of joining two of weights :math:`w_i` is the bound of Runnalls,

    .. math:: \tfrac12 \left[(w_1 + w_2) \log\det S_{12} - w_1 \log\det S_1
        - w_2 \log\det S_2\right],

    here per unit of weight.

    References
    ----------
    Runnalls (2007), Kullback-Leibler approach to Gaussian mixture reduction, equation 21.
    """
    k = parts.k
    log_det = np.log(np.diagonal(parts.root, axis1=1, axis2=2)).sum(axis=1)
    costs = []
    for i in range(k):
        for j in range(i):
            one = merged(parts, i, j)
            p = parts.weights[[i, j]] / parts.weights[[i, j]].sum()
            cost = float(np.log(np.diag(one.root[0])).sum() - p @ log_det[[i, j]])
            costs.append((cost, j, i))
    chosen, taken = [], set[int]()
    for _, i, j in sorted(costs):
        if i not in taken and j not in taken:
            chosen.append((i, j))
            taken |= {i, j}
    return chosen


def merged(parts: Parts, i: int, j: int) -> Parts:
    """Return one part with the weight, mean and scatter of two."""
    w = parts.weights[[i, j]]
    p = w / w.sum()
    mean = p @ parts.location[[i, j]]
    away = parts.location[[i, j]] - mean
    scatter = sum(q * r @ r.T for q, r in zip(p, parts.root[[i, j]], strict=True))
    scatter = scatter + (away * p[:, None]).T @ away
    return Parts(
        weights=np.array([w.sum()]),
        location=mean[None, :],
        root=root_of(scatter, np.sqrt(np.diag(scatter)))[None],
        df=np.exp(p @ np.log(parts.df[[i, j]]))[None],
    )
