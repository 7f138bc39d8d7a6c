"""Weighted means and covariances that stay usable when few points carry weight."""

from __future__ import annotations

import numpy as np
from aisle_kernels import covariances
from aisle_kernels import student as kernels

from aisle_smc.arrays import Floats

__all__ = [
    "colour",
    "effective_count",
    "inverse_root",
    "root_of",
    "scale_of",
    "shrunk_moments",
    "tempered",
    "weighted_moments",
    "whiten",
]

# Below this many effective points per dimension a covariance is drawn towards its diagonal.
ENOUGH = 2.0


def effective_count(w: Floats) -> float:
    """Return ``(sum w)^2 / sum w^2``, how many equal weights would be as good."""
    square = float(np.square(w).sum())
    return float(w.sum()) ** 2 / square if square > 0.0 else 0.0


def tempered(w: Floats, least: float) -> Floats:
    r"""Return weights :math:`w_i^\beta`, with the largest power that leaves enough of them.

    Parameters
    ----------
    w : ndarray, shape (n,)
        Positive weights with sum one.
    least : float
        The effective count to keep.

    Returns
    -------
    ndarray, shape (n,)
        `w` itself if its effective count is `least` or more; equal weights if there are no more
        than `least` points; else the powers with that effective count, with sum one.

    Notes
    -----
    One or two heavy weights say where the target is and nothing of its shape.  Tempered weights
    belong to a target closer to what the points were drawn from, and wider.
    """
    if effective_count(w) >= least:
        return w
    low, high = 0.0, 1.0
    log_w = np.log(w / w.max())
    if w.size > least:
        for _ in range(50):
            middle = 0.5 * (low + high)
            if effective_count(np.exp(middle * log_w)) >= least:
                low = middle
            else:
                high = middle
    powers = np.exp(low * log_w)
    return np.asarray(powers / powers.sum())


def weighted_moments(x: Floats, w: Floats) -> tuple[Floats, Floats]:
    """Return the mean (d,) and covariance (d, d) of points with weights that sum to one."""
    d = x.shape[1]
    centre, mass = np.empty((1, d)), np.empty(1)
    centre[0] = w @ x
    shift, scatter = np.empty((1, d)), np.empty((1, d, d))
    # Moments about a rounded mean, and then what rounding left of it.
    share, gaussian = w[None, :], np.full(1, np.inf)
    kernels.moment_sums(x, w, share, share, gaussian, centre, mass, shift, scatter)
    off = shift[0] / mass[0]
    return centre[0] + off, scatter[0] / mass[0] - np.outer(off, off)


def inverse_root(root: Floats) -> Floats:
    """Return the inverses of lower-triangular matrices (..., d, d), lower triangular as well."""
    out = np.zeros(root.shape)
    d = root.shape[-1]
    kernels.invert_lower(root.reshape(-1, d, d), out.reshape(-1, d, d))
    return out


def whiten(x: Floats, centre: Floats, root: Floats) -> Floats:
    """Return ``root^-1 (x - centre)`` for each row."""
    out = np.empty(x.shape)
    kernels.affine(x, centre, inverse_root(root), np.zeros(centre.size), out)
    return out


def colour(z: Floats, centre: Floats, root: Floats) -> Floats:
    """Return ``centre + root z`` for each row, written over `z`."""
    kernels.affine(z, np.zeros(centre.size), root, centre, z)
    return z


def root_of(covariance: Floats, scale: Floats) -> Floats:
    """Return a lower-triangular root of a covariance, never singular.

    Parameters
    ----------
    covariance : ndarray, shape (d, d)
        Symmetric and positive semi-definite up to rounding.
    scale : ndarray, shape (d,)
        Positive standard deviations to fall back on where a variance is zero.

    Returns
    -------
    ndarray, shape (d, d)
        The Cholesky factor of the covariance, or of the nearest correlation matrix that has one:
        correlations are multiplied by ``1 - 10^-k`` with the largest `k` that will do.
    """
    out = np.empty((1, *covariance.shape))
    covariances.roots_of(covariance[None], scale, out)
    return np.asarray(out[0])


def scale_of(x: Floats, w: Floats) -> Floats:
    """Return a positive scale for each coordinate, also where all points agree."""
    mean, spread = w @ x, np.zeros(x.shape[1])
    spread = np.sqrt(np.maximum(w @ np.square(x - mean), 0.0))
    # A coordinate without spread gets the typical one, or a hair of its own size, or one.
    others = spread[spread > 0.0]
    typical = float(np.exp(np.log(others).mean())) if others.size else 0.0
    fallback = np.maximum(typical, 1e-6 * np.abs(mean))
    fallback[fallback == 0.0] = 1.0
    tiny = spread <= 1e-13 * np.abs(mean)
    return np.where(tiny, fallback, spread)


def shrunk_moments(x: Floats, w: Floats) -> tuple[Floats, Floats]:
    """Return a weighted mean and a root of a covariance that is never singular.

    Weights of an effective count below ``d + 1`` are :func:`tempered`.  With effective count
    ``m = 1 / sum w^2`` the covariance is

        (1 - s) S + s diag(S),      s = max(0, 1 - m / (2 (d + 1))),

    the sample covariance as soon as there are two effective points per dimension.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        Finite points.
    w : ndarray, shape (n,)
        Positive weights that sum to one.

    Returns
    -------
    mean : ndarray, shape (d,)
    root : ndarray, shape (d, d)
        Lower triangular.
    """
    w = tempered(w, x.shape[1] + 1.0)
    mean, covariance = weighted_moments(x, w)
    share = max(0.0, 1.0 - effective_count(w) / (ENOUGH * (x.shape[1] + 1)))
    if share > 0.0:
        covariance = (1.0 - share) * covariance + share * np.diag(np.diag(covariance))
    return mean, root_of(covariance, scale_of(x, w))
