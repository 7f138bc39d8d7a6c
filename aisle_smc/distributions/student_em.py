"""Weighted expectation-maximisation for a mixture of Student-t parts, on arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from aisle_kernels import student as kernels
from aisle_kernels import student_fit

from aisle_smc.arrays import Array, Floats
from aisle_smc.distributions.moments import inverse_root, shrunk_moments
from aisle_smc.distributions.protocol import settle

__all__ = ["Evaluator", "Parts", "calibrated", "em", "join", "one_part", "start"]

LOWEST_DF = 3.0
HIGHEST_DF = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Student-t parts side by side, Gaussian ones where the degrees of freedom are infinite.

    Attributes
    ----------
    weights : ndarray, shape (k,)
        Probabilities.
    location : ndarray, shape (k, d)
        Centres.
    root : ndarray, shape (k, d, d)
        Lower-triangular roots of the scale matrices.
    df : ndarray, shape (k,)
        Degrees of freedom.
    """

    weights: Floats
    location: Floats
    root: Floats
    df: Floats

    @property
    def k(self) -> int:
        """Number of parts."""
        return int(self.weights.size)

    @property
    def inverse(self) -> Floats:
        """Inverse roots, shape (k, d, d)."""
        return inverse_root(self.root)

    @property
    def level(self) -> Floats:
        """Log of weight times density at the centre of each part, shape (k,)."""
        out = np.empty(self.k)
        student_fit.levels(self.weights, self.root, self.df, out)
        return out

    def take(self, kept: Array) -> Parts:
        """Return the chosen parts, their probabilities scaled to one."""
        w = self.weights[kept]
        return Parts(
            weights=w / w.sum(),
            location=self.location[kept],
            root=self.root[kept],
            df=self.df[kept],
        )


def join(pieces: list[Parts]) -> Parts:
    """Return parts put side by side; their weights are scaled to sum to one."""
    w = np.concatenate([piece.weights for piece in pieces])
    return Parts(
        weights=w / w.sum(),
        location=np.concatenate([piece.location for piece in pieces]),
        root=np.concatenate([piece.root for piece in pieces]),
        df=np.concatenate([piece.df for piece in pieces]),
    )


def one_part(x: Floats, w: Floats, df: float = 10.0) -> Parts:
    """Return a single part with the weighted mean and covariance of points."""
    mean, root = shrunk_moments(x, w)
    return Parts(
        weights=np.ones(1),
        location=mean[None, :],
        root=root[None, :, :] * math.sqrt((df - 2.0) / df),
        df=np.full(1, df),
    )


class Evaluator:
    """The log-density of parts, with what depends on the parts alone computed once."""

    __slots__ = ("_df", "_inverse", "_level", "_location")

    def __init__(self, parts: Parts) -> None:
        self._location = np.ascontiguousarray(parts.location)
        self._inverse, self._level, self._df = parts.inverse, parts.level, parts.df

    def log_density(self, x: Floats) -> Floats:
        """Return the log-density of the mixture at points, shape (n,)."""
        out = np.empty(x.shape[0])
        kernels.log_density(x, self._location, self._inverse, self._level, self._df, out)
        return settle(out, x)


@dataclass(frozen=True, slots=True)
class Shares:
    """How points are shared out among parts, and the sums that a step needs."""

    distance: Floats  # (k, n), squared
    share: Floats  # (k, n), weights included
    log_q: Floats  # (n,)
    sums: Floats  # (k, 5)

    @property
    def total(self) -> Floats:
        """Weight of each part's points, shape (k,)."""
        return self.sums[:, 0]


def share_out(x: Floats, w: Floats, parts: Parts) -> Shares:
    """Return the weights of points shared out in proportion to the densities of the parts."""
    k, n = parts.k, x.shape[0]
    distance, share, log_q, sums = (np.empty(s) for s in ((k, n), (k, n), n, (k, 5)))
    kernels.distances(x, parts.location, parts.inverse, distance)
    kernels.share_out(distance, x.shape[1], parts.level, parts.df, w, share, log_q, sums)
    return Shares(distance, share, log_q, sums)


def em(x: Floats, w: Floats, parts: Parts, *, steps: int = 50, tolerance: float = 1e-4) -> Parts:
    """Improve parts by expectation-maximisation of the weighted log-likelihood.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        Points, of the order of one in every direction where covariances may be shrunk.
    w : ndarray, shape (n,)
        Positive weights with sum one.
    parts : Parts
        Where to start; their degrees of freedom are finite.
    steps : int
        Iterations at most.
    tolerance : float
        Stop when an iteration raises ``sum w log q`` by less, in nats.

    Returns
    -------
    Parts
        Possibly fewer: a part that has lost its points is dropped.

    Notes
    -----
    The degrees of freedom take one Newton step per iteration on the likelihood itself (ECME).
    """
    found = [a.copy() for a in (parts.weights, parts.location, parts.root, parts.df)]
    k = student_fit.em(x, w, *found, steps, tolerance)
    weights, location, root, df = (a[:k] for a in found)
    return Parts(weights=weights, location=location, root=root, df=df)


def start(x: Floats, w: Floats, share: Floats, df: float = 10.0) -> Parts:
    """Return parts with the moments of points shared out as `share`, shape (k, n)."""
    k, d = share.shape[0], x.shape[1]
    share = np.ascontiguousarray(share, dtype=np.float64)
    sums = np.zeros((k, 5))
    sums[:, 0], sums[:, 1] = share.sum(axis=1), share @ w
    parts = Parts(
        weights=np.empty(k),
        location=np.ascontiguousarray((share @ x) / sums[:, :1]),
        root=np.empty((k, d, d)),
        df=np.full(k, df),
    )
    # At distance d all points count alike, and the covariance is taken for the scale matrix.
    alike = np.full(share.shape, float(d))
    student_fit.maximise(
        x, w, share, alike, sums, parts.df, parts.weights, parts.location, parts.root
    )
    return parts


def calibrated(x: Floats, w: Floats, parts: Parts) -> Parts:
    r"""Return parts whose size and tails suit points they have not seen.

    A scatter matrix is tight about the points it was computed from.  The size of each scale
    matrix and its degrees of freedom maximise the likelihood of :func:`unseen` distances, the
    shares being kept.
    """
    shares = share_out(x, w, parts)
    df, size = parts.df.copy(), np.empty(parts.k)
    far = unseen(shares, parts.df, x.shape[1])
    student_fit.calibrate(far, shares.share, shares.sums, x.shape[1], df, size)
    return replace(parts, root=parts.root * np.sqrt(size)[:, None, None], df=df)


def unseen(shares: Shares, df: Floats, d: int) -> Floats:
    r"""Return the squared distances that points would have had they been left out, shape (k, n).

    With share :math:`c_i` in the scatter matrix of its part,

    .. math:: m_{(i)} = m_i / (1 - c_i (1 + m_i)),

    which is exact for a weighted mean and covariance.
    """
    out = np.empty(shares.distance.shape)
    student_fit.unseen(shares.distance, shares.share, df, d, out)
    return out
