"""Weighted expectation-maximisation for a mixture of Student-t parts, on arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from aisle_kernels import student as kernels
from scipy.special import gammaln, polygamma, psi

from aisle_smc.arrays import Array, Floats
from aisle_smc.distributions.moments import ENOUGH, inverse_root, roots_of, shrunk_moments
from aisle_smc.distributions.protocol import settle

__all__ = ["Evaluator", "Parts", "calibrated", "em", "join", "one_part", "start"]

LOWEST_DF = 3.0
HIGHEST_DF = 1000.0
# A weak prior on log df, normal about log 8 with standard deviation 2, in units of one point: it
# only matters where the data say nothing, as for Gaussian points.
TYPICAL_LOG_DF = math.log(8.0)
LOG_DF_PRECISION = 0.25
CALIBRATION_STEPS = 6
CALIBRATION_DF = 50.0


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
        d = self.location.shape[1]
        df = np.where(np.isfinite(self.df), self.df, 1.0)
        log_norm = gammaln(0.5 * (df + d)) - gammaln(0.5 * df) - 0.5 * d * np.log(df * math.pi)
        log_norm = np.where(np.isfinite(self.df), log_norm, -0.5 * d * math.log(2.0 * math.pi))
        log_det = np.log(np.diagonal(self.root, axis1=1, axis2=2)).sum(axis=1)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.weights) + log_norm - log_det)

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

    @property
    def count(self) -> Floats:
        """Effective number of each part's points, ``(sum c)^2 / sum c w``, shape (k,).

        For equal weights it is the sum of the probabilities of belonging to the part.
        """
        total, square = self.sums[:, 0], self.sums[:, 1]
        return np.where(square > 0.0, total**2 / np.where(square > 0.0, square, 1.0), 0.0)


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
    before = -math.inf
    for _ in range(steps):
        shares = share_out(x, w, parts)
        score = float(w @ shares.log_q)
        if score - before < tolerance:
            break
        before = score
        lively = shares.count >= min(2.0, float(shares.count.max()))
        if not lively.all():
            parts = parts.take(lively)
            before = -math.inf
            continue
        # A part with no more points than a hyperplane takes says nothing of its tails.
        spare = np.maximum(shares.count - x.shape[1] - 1.0, 0.0)
        df = better_df(shares.sums, spare, parts.df, x.shape[1])
        parts = _maximise(x, w, shares, replace(parts, df=df))
    return parts


def start(x: Floats, w: Floats, share: Floats, df: float = 10.0) -> Parts:
    """Return parts with the moments of points shared out as `share`, shape (k, n)."""
    k, d = share.shape[0], x.shape[1]
    share = np.ascontiguousarray(share, dtype=np.float64)
    sums = np.zeros((k, 5))
    sums[:, 0], sums[:, 1] = share.sum(axis=1), share @ w
    centre = Parts(
        weights=np.full(k, 1.0 / k),
        location=np.ascontiguousarray((share @ x) / sums[:, :1]),
        root=np.zeros((k, d, d)),
        df=np.full(k, df),
    )
    # At distance d all points count alike, and the covariance is taken for the scale matrix.
    alike = Shares(np.full(share.shape, float(d)), share, np.zeros(x.shape[0]), sums)
    return _maximise(x, w, alike, centre)


def _maximise(x: Floats, w: Floats, shares: Shares, parts: Parts) -> Parts:
    """Return the parts with the best weights, centres and scales for shared-out points."""
    k, d = parts.location.shape
    mass, shift, scatter = np.empty(k), np.empty((k, d)), np.empty((k, d, d))
    kernels.moment_sums(
        x, w, shares.share, shares.distance, parts.df, parts.location, mass, shift, scatter
    )
    shift /= mass[:, None]
    # Divided by the mass of u and not of c: the same at the maximum, and much sooner there (the
    # parameter-expanded step of Liu, Rubin and Wu 1998).
    scatter /= mass[:, None, None]
    scatter -= shift[:, :, None] * shift[:, None, :]
    return replace(
        parts,
        weights=shares.total / shares.total.sum(),
        location=parts.location + shift,
        root=_shrunk_roots(scatter, shares.total, shares.count),
    )


def _shrunk_roots(scatter: Floats, total: Floats, count: Floats) -> Floats:
    """Return roots of scatter matrices, those of few points drawn to the shape of them all.

    What the common shape lacks in points it takes from a sphere, that is, since points are white,
    from the covariance of all.
    """
    d = scatter.shape[1]
    share = np.maximum(0.0, 1.0 - count / (ENOUGH * (d + 1)))
    if (share > 0.0).any():
        within = np.einsum("k,kij->ij", total / total.sum(), scatter) + 1e-8 * np.eye(d)
        lack = max(0.0, 1.0 - float(count.sum()) / (ENOUGH * (d + 1)))
        within = (1.0 - lack) * within + lack * np.trace(within) / d * np.eye(d)
        size = (scatter * np.linalg.inv(within)).sum(axis=(1, 2)) / d
        size = (count * size + 1.0) / (count + 1.0)
        drawn = (share * size)[:, None, None] * within
        scatter = (1.0 - share)[:, None, None] * scatter + drawn
    return roots_of(scatter, np.ones(d))


def better_df(sums: Floats, count: Floats, df: Floats, d: int) -> Floats:
    """Return degrees of freedom after one Newton step in log df on each part's likelihood.

    Parameters
    ----------
    sums : ndarray, shape (k, 5)
        As :func:`aisle_kernels.student.share_out` leaves them.
    count : ndarray, shape (k,)
        Effective number of points of each part, against which the prior is weighed.
    df : ndarray, shape (k,)
        Present degrees of freedom.
    d : int
        Dimension.
    """
    a, b, e = (sums[:, j] / sums[:, 0] for j in (2, 3, 4))
    rise = d / df
    first = psi(0.5 * (df + d)) - psi(0.5 * df) - rise - a + (1.0 + rise) * b
    second = 0.5 * polygamma(1, 0.5 * (df + d)) - 0.5 * polygamma(1, 0.5 * df) + rise / df
    second = second + b / df - rise * b / df - (1.0 + rise) * e
    log_df = np.log(df)
    slope = 0.5 * df * first * count - LOG_DF_PRECISION * (log_df - TYPICAL_LOG_DF)
    bend = 0.5 * df * (df * second + first) * count - LOG_DF_PRECISION
    step = np.where(bend < 0.0, -slope / np.where(bend < 0.0, bend, -1.0), np.sign(slope))
    log_df = log_df + np.clip(step, -0.7, 0.7)
    return np.asarray(np.clip(np.exp(log_df), LOWEST_DF, HIGHEST_DF))


def calibrated(x: Floats, w: Floats, parts: Parts) -> Parts:
    r"""Return parts whose size and tails suit points they have not seen.

    A scatter matrix is tight about the points it was computed from.  The size of each scale
    matrix and its degrees of freedom maximise the likelihood of :func:`unseen` distances, the
    shares being kept.
    """
    d = x.shape[1]
    shares = share_out(x, w, parts)
    far = unseen(shares, parts.df, d)
    # From a middling value any other one is a few steps away.
    df, size = np.minimum(parts.df, CALIBRATION_DF), np.ones(parts.k)
    c = shares.share / shares.total[:, None]
    sums = np.ones((parts.k, 5))
    for _ in range(CALIBRATION_STEPS):
        m = far / size[:, None]
        rest = df[:, None] + m
        ratio = m / rest
        sums[:, 2] = (c * np.log1p(m / df[:, None])).sum(axis=1)
        sums[:, 3] = (c * ratio).sum(axis=1)
        sums[:, 4] = (c * ratio / rest).sum(axis=1)
        # Points that are all alike have no distances, and no size of their own.
        size = np.maximum(size * (df + d) * sums[:, 3] / d, 0.1)
        df = better_df(sums, shares.count, df, d)
    return replace(parts, root=parts.root * np.sqrt(size)[:, None, None], df=df)


def unseen(shares: Shares, df: Floats, d: int) -> Floats:
    r"""Return the squared distances that points would have had they been left out, shape (k, n).

    With share :math:`c_i` in the scatter matrix of its part,

    .. math:: m_{(i)} = m_i / (1 - c_i (1 + m_i)),

    which is exact for a weighted mean and covariance.
    """
    near = shares.share * ((df + d)[:, None] / (df[:, None] + shares.distance))
    near /= near.sum(axis=1, keepdims=True)
    # No point moves further than ten times its distance, however much of the matrix it makes.
    return np.asarray(shares.distance / np.maximum(1.0 - near * (1.0 + shares.distance), 0.1))
