"""Exact inference in hidden Markov models with finitely many states."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aisle_smc.errors import DegenerateWeights
from aisle_smc.ssm.finite_state import Array, HiddenMarkovModel, log_densities

__all__ = [
    "ForwardBackwardResult",
    "ForwardResult",
    "HiddenMarkovModel",
    "ViterbiResult",
    "forward",
    "forward_backward",
    "viterbi",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForwardResult:
    """Hold what the forward pass found.

    Attributes
    ----------
    log_evidence : float
        log p(y), in nats; -inf if the observations are impossible.
    log_evidence_increments : ndarray, shape (T,)
        log p(y_t | y_0, ..., y_{t-1}).  After an impossible observation they are zero.
    predicted : ndarray, shape (T, S)
        P(x_t | y_0, ..., y_{t-1}).
    filtered : ndarray, shape (T, S)
        P(x_t | y_0, ..., y_t).  From an impossible observation on, rows of zeros, as are the
        predicted ones after it: no mass is left.
    """

    log_evidence: float
    log_evidence_increments: Array
    predicted: Array
    filtered: Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForwardBackwardResult:
    """Hold what the forward and backward passes found.

    Attributes
    ----------
    log_evidence : float
        log p(y), in nats.
    filtered : ndarray, shape (T, S)
        P(x_t | y_0, ..., y_t).
    smoothed : ndarray, shape (T, S)
        P(x_t | y), given the whole series.
    pairwise : ndarray, shape (T - 1, S, S)
        P(x_t = i, x_{t+1} = j | y).
    forward : ForwardResult
        The forward pass.
    """

    log_evidence: float
    filtered: Array
    smoothed: Array
    pairwise: Array
    forward: ForwardResult


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ViterbiResult:
    """Hold the most probable path.

    Attributes
    ----------
    path : ndarray of int64, shape (T,)
        The states; ties go to the lower state, decided from the end of the series.
    log_probability : float
        log p(path, y), in nats.
    """

    path: NDArray[np.int64]
    log_probability: float


def forward(model: HiddenMarkovModel, y: ArrayLike | None = None) -> ForwardResult:
    """Compute the exact filter and evidence.

        p(x_t = j | y_0, ..., y_t) proportional to
            p(y_t | x_t = j) sum_i p(x_t = j | x_{t-1} = i) p(x_{t-1} = i | y_0, ..., y_{t-1})

    Parameters
    ----------
    model : HiddenMarkovModel
        The model.
    y : array_like, shape (T,) or (T, k), optional
        Observations, only for a model whose `log_observation` is a callable.  A row that is all
        NaN is missing: it carries no information, whatever the callable makes of it.  In a model
        with an array, a missing observation is a row of zeros.

    Returns
    -------
    ForwardResult

    Raises
    ------
    ValueError
        If the log-densities have the wrong shape or one is NaN or +inf.

    Notes
    -----
    Cost of order T S^2.  Everything is summed in logs relative to the largest term, so neither
    long series nor states that are nearly impossible underflow.

    References
    ----------
    Rabiner (1989), A tutorial on hidden Markov models, Proceedings of the IEEE 77(2), section III.
    """
    log_g = log_densities(model, y)
    result, _ = _forward(model, log_g)
    return result


def forward_backward(
    model: HiddenMarkovModel, y: ArrayLike | None = None
) -> ForwardBackwardResult:
    """Compute the exact smoother, with the joint distribution of neighbours.

    Parameters
    ----------
    model : HiddenMarkovModel
        The model.
    y : array_like, shape (T,) or (T, k), optional
        As in `forward`.

    Returns
    -------
    ForwardBackwardResult

    Raises
    ------
    ValueError
        As `forward`.
    DegenerateWeights
        If the observations are impossible under the model: there is no posterior.

    Notes
    -----
    Cost of order T S^2.

    References
    ----------
    Rabiner (1989), A tutorial on hidden Markov models, Proceedings of the IEEE 77(2), section III.

    Examples
    --------
    >>> import numpy as np
    >>> weather = HiddenMarkovModel(
    ...     initial=[0.5, 0.5],
    ...     transition=[[0.9, 0.1], [0.3, 0.7]],
    ...     log_observation=lambda y: np.where(y[:, None] == [0, 1], np.log(0.8), np.log(0.2)),
    ... )
    >>> found = forward_backward(weather, [0, 1, 1])
    >>> round(found.log_evidence, 6)
    -2.592403
    >>> viterbi(weather, [0, 1, 1]).path.tolist()
    [1, 1, 1]
    """
    log_g = log_densities(model, y)
    found, log_filtered = _forward(model, log_g)
    if found.log_evidence == -np.inf:
        raise _impossible(int(np.argmin(found.log_evidence_increments)))
    n, s = log_g.shape
    smoothed = np.empty((n, s))
    pairwise = np.empty((n - 1, s, s))
    smoothed[-1] = found.filtered[-1]
    log_future = np.zeros(s)  # log p(y_{t+1}, ... | x_t), up to a constant
    for t in range(n - 2, -1, -1):
        onward = model.log_transition + (log_g[t + 1] + log_future)
        joint = log_filtered[t][:, None] + onward
        pairwise[t] = np.exp(joint - joint.max())
        pairwise[t] /= pairwise[t].sum()
        smoothed[t] = pairwise[t].sum(axis=1)
        log_future = _log_sum_exp(onward, axis=1)
        log_future -= log_future.max()
    return ForwardBackwardResult(
        log_evidence=found.log_evidence,
        filtered=found.filtered,
        smoothed=smoothed,
        pairwise=pairwise,
        forward=found,
    )


def viterbi(model: HiddenMarkovModel, y: ArrayLike | None = None) -> ViterbiResult:
    """Find the most probable path of states given all observations.

    Parameters
    ----------
    model : HiddenMarkovModel
        The model.
    y : array_like, shape (T,) or (T, k), optional
        As in `forward`.

    Returns
    -------
    ViterbiResult

    Raises
    ------
    ValueError
        As `forward`.
    DegenerateWeights
        If the observations are impossible under the model.

    Notes
    -----
    The path of the most probable single states (`smoothed.argmax(axis=1)`) may differ, and may
    even be impossible.

    References
    ----------
    Rabiner (1989), A tutorial on hidden Markov models, Proceedings of the IEEE 77(2), section III.
    """
    log_g = log_densities(model, y)
    n, s = log_g.shape
    best_from = np.zeros((n, s), dtype=np.int64)
    best = model.log_initial + log_g[0]
    for t in range(n):
        if t > 0:
            arrivals = best[:, None] + model.log_transition
            best_from[t] = arrivals.argmax(axis=0)
            best = arrivals.max(axis=0) + log_g[t]
        if best.max() == -np.inf:
            raise _impossible(t)
    path = np.empty(n, dtype=np.int64)
    path[-1] = best.argmax()
    for t in range(n - 1, 0, -1):
        path[t - 1] = best_from[t, path[t]]
    return ViterbiResult(path=path, log_probability=float(best.max()))


def _forward(model: HiddenMarkovModel, log_g: Array) -> tuple[ForwardResult, Array]:
    """Return the forward pass and the logs of its filter."""
    n, s = log_g.shape
    increments = np.zeros(n)
    log_predicted = np.full((n, s), -np.inf)
    log_filtered = np.full((n, s), -np.inf)
    log_predicted[0] = model.log_initial
    for t in range(n):
        if t > 0:
            log_predicted[t] = _log_sum_exp(
                log_filtered[t - 1][:, None] + model.log_transition, axis=0
            )
        weighted = log_predicted[t] + log_g[t]
        increments[t] = _log_sum_exp(weighted, axis=0)
        if increments[t] == -np.inf:
            break
        log_filtered[t] = weighted - increments[t]
    result = ForwardResult(
        log_evidence=float(increments.sum()),
        log_evidence_increments=increments,
        predicted=np.exp(log_predicted),
        filtered=np.exp(log_filtered),
    )
    return result, log_filtered


def _log_sum_exp(values: Array, axis: int) -> Array:
    """Return the log of a sum of exponentials; -inf where all terms are."""
    top = values.max(axis=axis, keepdims=True)
    shift = np.where(top == -np.inf, 0.0, top)
    with np.errstate(divide="ignore"):
        total: Array = np.log(np.exp(values - shift).sum(axis=axis)) + shift.squeeze(axis)
    return total


def _impossible(t: int) -> DegenerateWeights:
    return DegenerateWeights(
        f"no path of states gives the observations up to time {t} a positive probability; "
        "expected at least one; check log_observation at this time and zeros in the transition",
        t=t,
    )
