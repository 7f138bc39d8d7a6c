"""Exact filtering and smoothing of linear-Gaussian state-space models."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from aisle_smc.ssm.linear_gaussian import Array, LinearGaussianSystem, at_time, series

__all__ = [
    "KalmanResult",
    "KalmanSmootherResult",
    "LinearGaussianSystem",
    "kalman_filter",
    "kalman_smoother",
    "log_likelihood",
]

_LOG_TWO_PI = math.log(2.0 * math.pi)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KalmanResult:
    """Hold what the filter found.

    Attributes
    ----------
    log_evidence : float
        log p(y), in nats.
    log_evidence_increments : ndarray, shape (T,)
        log p(y_t | y_0, ..., y_{t-1}); zero where nothing was observed.
    predicted_mean : ndarray, shape (T, d)
        E(x_t | y_0, ..., y_{t-1}).
    predicted_covariance : ndarray, shape (T, d, d)
        Its covariance.
    filtered_mean : ndarray, shape (T, d)
        E(x_t | y_0, ..., y_t).
    filtered_covariance : ndarray, shape (T, d, d)
        Its covariance.
    """

    log_evidence: float
    log_evidence_increments: Array
    predicted_mean: Array
    predicted_covariance: Array
    filtered_mean: Array
    filtered_covariance: Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KalmanSmootherResult:
    """Hold what the smoother found.

    Attributes
    ----------
    mean : ndarray, shape (T, d)
        E(x_t | y), given the whole series.
    covariance : ndarray, shape (T, d, d)
        Its covariance.
    lag_one_covariance : ndarray, shape (T - 1, d, d)
        Cov(x_t, x_{t+1} | y).
    filtered : KalmanResult
        The forward pass.
    """

    mean: Array
    covariance: Array
    lag_one_covariance: Array
    filtered: KalmanResult

    @property
    def log_evidence(self) -> float:
        """Return log p(y), in nats."""
        return self.filtered.log_evidence


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pass:
    """The forward pass with what the backward pass needs of it."""

    result: KalmanResult
    transition: Callable[[int], Array]
    score: Array  # H' S^-1 (y - predicted y), shape (T, d)
    information: Array  # H' S^-1 H, shape (T, d, d)
    kept: Array  # I - K H, shape (T, d, d)


def kalman_filter(system: LinearGaussianSystem, y: ArrayLike) -> KalmanResult:
    """Compute the exact filter and evidence.

    With the innovation v and its covariance S = H P H' + R, over the components observed,

        log p(y_t | y_0, ..., y_{t-1}) = -(k log(2 pi) + log det S + v' S^-1 v) / 2.

    Parameters
    ----------
    system : LinearGaussianSystem
        The model.
    y : array_like, shape (T,) or (T, k)
        Observations.  NaN is missing; single components may be.

    Returns
    -------
    KalmanResult

    Raises
    ------
    ValueError
        If `y` is empty, infinite somewhere or has the wrong shape, or an innovation has a
        singular covariance.

    Notes
    -----
    The covariance update is Joseph's, (I - KH) P (I - KH)' + K R K', which stays symmetric and
    positive semi-definite under rounding.  Cost of order T (d^3 + k^3).

    References
    ----------
    Chopin and Papaspiliopoulos (2020), An Introduction to Sequential Monte Carlo, chapter 7.

    Examples
    --------
    >>> toy = LinearGaussianSystem(
    ...     transition_matrix=1, transition_covariance=1, observation_matrix=1,
    ...     observation_covariance=2, initial_mean=0, initial_covariance=1,
    ... )
    >>> round(kalman_filter(toy, [0, 1, 2]).log_evidence, 6)
    -5.079276
    """
    return _forward(system, y).result


def kalman_smoother(system: LinearGaussianSystem, y: ArrayLike) -> KalmanSmootherResult:
    """Compute the exact smoother: means, covariances, covariances of neighbours.

    Parameters
    ----------
    system : LinearGaussianSystem
        The model.
    y : array_like, shape (T,) or (T, k)
        Observations.  NaN is missing; single components may be.

    Returns
    -------
    KalmanSmootherResult

    Raises
    ------
    ValueError
        As `kalman_filter`.

    Notes
    -----
    The Rauch-Tung-Striebel estimates, computed by the equivalent recursion on the score r and the
    information N that the future carries about the state,

        E(x_t | y) = m_t + P_t r_t,    Cov(x_t | y) = P_t - P_t N_t P_t,

    which inverts no state covariance and so allows states that move or start without noise.

    References
    ----------
    de Jong (1989), Smoothing and interpolation with the state-space model, JASA 84(408).
    Durbin and Koopman (2012), Time Series Analysis by State Space Methods, sections 4.4 and 4.7.
    """
    forward = _forward(system, y)
    found = forward.result
    n, d = found.filtered_mean.shape
    mean = np.empty((n, d))
    covariance = np.empty((n, d, d))
    lag_one = np.empty((max(n - 1, 0), d, d))
    score = np.zeros(d)
    information = np.zeros((d, d))
    for t in range(n - 1, -1, -1):
        p = found.filtered_covariance[t]
        if t < n - 1:
            f = forward.transition(t + 1)
            reduction = np.eye(d) - information @ found.predicted_covariance[t + 1]
            lag_one[t] = p @ f.T @ reduction
            score = f.T @ score
            information = f.T @ information @ f
        mean[t] = found.filtered_mean[t] + p @ score
        covariance[t] = _symmetric(p - p @ information @ p)
        kept = forward.kept[t]
        score = forward.score[t] + kept.T @ score
        information = _symmetric(forward.information[t] + kept.T @ information @ kept)
    return KalmanSmootherResult(
        mean=mean, covariance=covariance, lag_one_covariance=lag_one, filtered=found
    )


def log_likelihood(system: LinearGaussianSystem, y: ArrayLike) -> float:
    """Compute log p(y) alone, in nats.

    Parameters
    ----------
    system : LinearGaussianSystem
        The model.
    y : array_like, shape (T,) or (T, k)
        Observations.  NaN is missing; single components may be.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        As `kalman_filter`.

    Notes
    -----
    For one state and one observation at constant coefficients the recursion runs on plain
    numbers, nearly a hundred times faster; else this is `kalman_filter`.
    """
    constant = all(a.ndim <= 2 for a in system.arrays[:4]) and all(
        a.ndim == 1 for a in system.arrays[6:]
    )
    if system.dimensions != (1, 1) or not constant:
        return _forward(system, y).result.log_evidence
    f, q, h, r, m, p, b, c = (float(a.item()) for a in system.arrays)
    total = 0.0
    for t, value in enumerate(series(y, 1)[:, 0].tolist()):
        if t > 0:
            m = b + f * m
            p = f * p * f + q
        if value == value:  # NaN is missing
            s = h * p * h + r
            if not s > 0.0:
                raise _singular(t)
            v = value - c - h * m
            total -= 0.5 * (_LOG_TWO_PI + math.log(s) + v * v / s)
            gain = p * h / s
            m += gain * v
            kept = 1.0 - gain * h
            p = kept * p * kept + gain * r * gain
    return total


def _forward(system: LinearGaussianSystem, y: ArrayLike) -> _Pass:
    d, k = system.dimensions
    observed = series(y, k)
    n = observed.shape[0]
    f, q, h, r, m, p, b, c = system.arrays
    transition, noise = at_time(f, 2, n), at_time(q, 2, n)
    observation, error = at_time(h, 2, n), at_time(r, 2, n)
    drift, shift = at_time(b, 1, n), at_time(c, 1, n)
    increments = np.zeros(n)
    predicted_mean, filtered_mean = np.empty((n, d)), np.empty((n, d))
    predicted_covariance, filtered_covariance = np.empty((n, d, d)), np.empty((n, d, d))
    score, information = np.zeros((n, d)), np.zeros((n, d, d))
    kept = np.broadcast_to(np.eye(d), (n, d, d)).copy()
    for t in range(n):
        if t > 0:
            m = drift(t) + transition(t) @ m
            p = _symmetric(transition(t) @ p @ transition(t).T + noise(t))
        predicted_mean[t], predicted_covariance[t] = m, p
        there = ~np.isnan(observed[t])
        if there.any():
            ht = observation(t)[there]
            rt = error(t)[np.ix_(there, there)]
            v = observed[t, there] - shift(t)[there] - ht @ m
            try:
                root = np.linalg.cholesky(_symmetric(ht @ p @ ht.T + rt))
            except np.linalg.LinAlgError:
                raise _singular(t) from None
            whitened = np.linalg.solve(root, np.column_stack([v, ht]))
            z, g = whitened[:, 0], whitened[:, 1:]
            increments[t] = -0.5 * (v.size * _LOG_TWO_PI + z @ z) - np.log(np.diag(root)).sum()
            score[t], information[t] = g.T @ z, g.T @ g
            gain = p @ np.linalg.solve(root.T, g).T
            m = m + p @ score[t]
            kept[t] -= gain @ ht
            p = _symmetric(kept[t] @ p @ kept[t].T + gain @ rt @ gain.T)
        filtered_mean[t], filtered_covariance[t] = m, p
    result = KalmanResult(
        log_evidence=float(increments.sum()),
        log_evidence_increments=increments,
        predicted_mean=predicted_mean,
        predicted_covariance=predicted_covariance,
        filtered_mean=filtered_mean,
        filtered_covariance=filtered_covariance,
    )
    return _Pass(
        result=result, transition=transition, score=score, information=information, kept=kept
    )


def _symmetric(matrix: Array) -> Array:
    symmetric: Array = 0.5 * (matrix + matrix.T)
    return symmetric


def _singular(t: int) -> ValueError:
    return ValueError(
        f"the observation at time {t} must have a density given the past; its covariance came out "
        "singular; give observation_covariance positive variances, or drop redundant components"
    )
