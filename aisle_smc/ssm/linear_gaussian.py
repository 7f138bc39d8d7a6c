"""The matrices of a linear-Gaussian state-space model, checked once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearGaussianSystem:
    """Hold the matrices of a linear-Gaussian state-space model.

        x_0 ~ N(m_0, P_0),    x_t = b + F x_{t-1} + N(0, Q),    y_t = c + H x_t + N(0, R).

    `x_0` is the state *at the first observation*: no transition comes before it.

    Parameters
    ----------
    transition_matrix : array_like, shape (d, d)
        F.
    transition_covariance : array_like, shape (d, d)
        Q, positive semi-definite.
    observation_matrix : array_like, shape (k, d)
        H.
    observation_covariance : array_like, shape (k, k)
        R, positive semi-definite.
    initial_mean : array_like, shape (d,)
        m_0.
    initial_covariance : array_like, shape (d, d)
        P_0, positive semi-definite.
    transition_intercept : array_like, shape (d,), optional
        b, zero if omitted.
    observation_intercept : array_like, shape (k,), optional
        c, zero if omitted.

    Attributes
    ----------
    dimensions : tuple of int
        d and k.
    arrays : tuple of ndarray
        F, Q, H, R, m_0, P_0, b, c with the shapes above, or with a leading time axis.

    Raises
    ------
    ValueError
        If shapes disagree, a number is not finite, or a covariance is not symmetric and positive
        semi-definite.

    Notes
    -----
    A scalar stands for a vector of length one or a 1 x 1 matrix.  Every array but the two initial
    ones may vary in time: give it a leading axis with one entry per observation, of which entry t
    belongs to the transition *into* time t (so that entry 0 is not used) or to observation t.

    Examples
    --------
    >>> nile = LinearGaussianSystem(
    ...     transition_matrix=1, transition_covariance=1469.1, observation_matrix=1,
    ...     observation_covariance=15099, initial_mean=1000, initial_covariance=1e5,
    ... )
    >>> nile.dimensions
    (1, 1)
    """

    transition_matrix: ArrayLike
    transition_covariance: ArrayLike
    observation_matrix: ArrayLike
    observation_covariance: ArrayLike
    initial_mean: ArrayLike
    initial_covariance: ArrayLike
    transition_intercept: ArrayLike = 0.0
    observation_intercept: ArrayLike = 0.0
    dimensions: tuple[int, int] = field(init=False, repr=False)
    arrays: tuple[Array, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        m0 = np.atleast_1d(np.asarray(self.initial_mean, dtype=np.float64))
        h = np.asarray(self.observation_matrix, dtype=np.float64)
        d = m0.shape[0]
        k = 1 if h.ndim < 2 else h.shape[-2]
        arrays = tuple(
            _checked(name, getattr(self, name), shape)
            for name, shape in (
                ("transition_matrix", (d, d)),
                ("transition_covariance", (d, d)),
                ("observation_matrix", (k, d)),
                ("observation_covariance", (k, k)),
                ("initial_mean", (d,)),
                ("initial_covariance", (d, d)),
                ("transition_intercept", (d,)),
                ("observation_intercept", (k,)),
            )
        )
        object.__setattr__(self, "dimensions", (d, k))
        object.__setattr__(self, "arrays", arrays)


def _checked(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Return an array of the expected shape, possibly with a leading time axis."""
    array = np.asarray(value, dtype=np.float64)
    if array.ndim == 0 and (name.endswith("intercept") or math.prod(shape) == 1):
        array = np.full(shape, float(array))
    varies = array.ndim == len(shape) + 1 and not name.startswith("initial")
    if array.shape[1 if varies else 0 :] != shape:
        raise ValueError(
            f"{name} must have shape {shape}; came {np.shape(value)}; "
            "initial_mean gives the length of the state, observation_matrix that of an observation"
        )
    if not np.isfinite(array).all():
        raise ValueError(
            f"{name} must be finite; came {array[~np.isfinite(array)][0]}; correct this entry"
        )
    if name.endswith("covariance"):
        scale = np.abs(array).max(initial=0.0)
        skew = np.abs(array - array.swapaxes(-1, -2)).max(initial=0.0)
        lowest = array.min() if array.shape[-1] == 1 else np.linalg.eigvalsh(array).min()
        if skew > 1e-9 * scale or lowest < -1e-9 * scale:
            raise ValueError(
                f"{name} must be symmetric and positive semi-definite; came asymmetry {skew:g} "
                f"and smallest eigenvalue {lowest:g}; give variances, not standard deviations or "
                "precisions"
            )
    return array


def series(y: ArrayLike, k: int) -> Array:
    """Return the observations with shape (T, k)."""
    array = np.asarray(y, dtype=np.float64)
    if array.ndim == 1 and k == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[0] == 0 or array.shape[1] != k:
        raise ValueError(
            f"y must have shape {'(T,) or (T, 1)' if k == 1 else f'(T, {k})'} with T >= 1; came "
            f"{np.shape(y)}; put time first, one column per row of observation_matrix"
        )
    infinite = np.isinf(array).any(axis=1)
    if infinite.any():
        raise ValueError(
            f"y must be finite, or NaN where missing; came an infinite value at time "
            f"{int(infinite.argmax())}; correct it or mark it NaN"
        )
    return array


def at_time(array: Array, rank: int, n: int) -> Callable[[int], Array]:
    """Return the function of time that an array with or without a time axis stands for."""
    if array.ndim == rank:
        return lambda t: array
    if array.shape[0] != n:
        raise ValueError(
            f"an array that varies in time needs one entry per observation, here {n}; came "
            f"{array.shape[0]}; entry t belongs to observation t or to the transition into it"
        )
    return lambda t: array[t]
