"""Gradients and Hessians of a target at many points, by differences where it gives none."""

from __future__ import annotations

from typing import cast

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.targets import Evaluator

__all__ = ["curvature", "gradient"]

# In units of the proposals' scales: differences of gradients and of values.
_FROM_GRADIENTS = 1e-4
_FROM_VALUES = 1e-3


def gradient(target: Evaluator, x: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Return the log-density (K,) and its gradient (K, d) at points.

    Parameters
    ----------
    target : Evaluator
        The target.
    x : ndarray, shape (K, d)
        The points.
    scale : ndarray, shape (K, d)
        Over what distances the target varies.

    Notes
    -----
    Central differences of step ``1e-3 scale`` where the target has no gradient: 2 d + 1
    evaluations for each point.  Not finite where the target vanishes nearby.
    """
    if target.has_gradients:
        found = target.with_gradients(x)
        return found.log_density, cast(Floats, found.gradients)
    dim = x.shape[1]
    step = _FROM_VALUES * scale
    shift = np.concatenate([np.zeros((1, dim)), np.eye(dim), -np.eye(dim)])
    value = _values(target, x, step, shift)
    with np.errstate(invalid="ignore"):
        slope = (value[:, 1 : dim + 1] - value[:, dim + 1 :]) / (2.0 * step)
    return value[:, 0], slope


def curvature(target: Evaluator, x: Floats, scale: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the log-density (K,), its gradient (K, d) and its Hessian (K, d, d) at points.

    Notes
    -----
    Differences of gradients where the target has them (2 d + 1 evaluations for each point), of
    values elsewhere (1 + d + d^2).  Not finite where the target vanishes nearby.
    """
    count, dim = x.shape
    eye = np.eye(dim)
    if target.has_gradients:
        step = _FROM_GRADIENTS * scale
        shift = np.concatenate([np.zeros((1, dim)), eye, -eye])
        points = (x[:, None, :] + step[:, None, :] * shift).reshape(-1, dim)
        found = target.with_gradients(points)
        slopes = cast(Floats, found.gradients).reshape(count, 2 * dim + 1, dim)
        with np.errstate(invalid="ignore"):
            hessian = (slopes[:, 1 : dim + 1] - slopes[:, dim + 1 :]) / (2.0 * step[:, :, None])
        value = found.log_density.reshape(count, -1)
        hessian = 0.5 * (hessian + hessian.transpose(0, 2, 1))
        # The gradient is zero where there is no density, and says nothing.
        hessian[~np.isfinite(value).all(axis=1)] = np.nan
        return value[:, 0], slopes[:, 0], hessian
    step = _FROM_VALUES * scale
    i, j = np.triu_indices(dim, 1)
    pairs = eye[i] + eye[j]
    value = _values(
        target, x, step, np.concatenate([np.zeros((1, dim)), eye, -eye, pairs, -pairs])
    )
    here, up, down = value[:, :1], value[:, 1 : dim + 1], value[:, dim + 1 : 2 * dim + 1]
    both = value[:, 2 * dim + 1 :]
    m = i.size
    hessian = np.empty((count, dim, dim))
    with np.errstate(invalid="ignore"):
        slope = (up - down) / (2.0 * step)
        bend = up - 2.0 * here + down
        hessian[:, np.arange(dim), np.arange(dim)] = bend / step**2
        mixed = both[:, :m] + both[:, m:] - 2.0 * here - bend[:, i] - bend[:, j]
        hessian[:, i, j] = hessian[:, j, i] = mixed / (2.0 * step[:, i] * step[:, j])
    return here[:, 0], slope, hessian


def _values(target: Evaluator, x: Floats, step: Floats, shift: Floats) -> Floats:
    """Return the log-density around each point, shape (K, number of shifts)."""
    points = (x[:, None, :] + step[:, None, :] * shift).reshape(-1, x.shape[1])
    return target(points).log_density.reshape(x.shape[0], -1)
