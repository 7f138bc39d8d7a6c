"""Hidden Markov models with finitely many states, checked once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HiddenMarkovModel:
    """Hold a hidden Markov model with S states.

        P(x_0 = i) = initial[i],    P(x_t = j | x_{t-1} = i) = transition[i, j].

    `x_0` is the state *at the first observation*: no transition comes before it.

    Parameters
    ----------
    initial : array_like, shape (S,)
        Probabilities that sum to one.
    transition : array_like, shape (S, S)
        Probabilities; every row sums to one.
    log_observation : array_like, shape (T, S), or callable
        log p(y_t | x_t = i), up to a constant in i if only the path matters.  A callable takes
        the whole series `y` and returns that array.

    Raises
    ------
    ValueError
        If shapes disagree or a distribution is not one.

    Examples
    --------
    >>> import numpy as np
    >>> weather = HiddenMarkovModel(
    ...     initial=[0.5, 0.5],
    ...     transition=[[0.9, 0.1], [0.3, 0.7]],
    ...     log_observation=lambda y: np.where(y[:, None] == [0, 1], np.log(0.8), np.log(0.2)),
    ... )
    >>> weather.log_transition.shape
    (2, 2)
    """

    initial: ArrayLike
    transition: ArrayLike
    log_observation: ArrayLike | Callable[[Any], ArrayLike]
    log_initial: Array = field(init=False, repr=False)
    log_transition: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        initial = np.asarray(self.initial, dtype=np.float64)
        transition = np.asarray(self.transition, dtype=np.float64)
        if initial.ndim != 1 or initial.size == 0:
            raise ValueError(
                f"initial must have shape (S,) with S >= 1; came {initial.shape}; "
                "give one probability per state"
            )
        if transition.shape != 2 * initial.shape:
            raise ValueError(
                f"transition must have shape {2 * initial.shape}; came {transition.shape}; "
                "row i holds the probabilities of moving from state i"
            )
        object.__setattr__(self, "log_initial", _log_probabilities("initial", initial))
        object.__setattr__(self, "log_transition", _log_probabilities("transition", transition))


def log_densities(model: HiddenMarkovModel, y: ArrayLike | None) -> Array:
    """Return log p(y_t | x_t = i), shape (T, S), with zeros where y is missing."""
    missing: NDArray[np.bool_] | None = None
    if callable(model.log_observation):
        if y is None:
            raise ValueError(
                "a model whose log_observation is a callable needs observations; came none; "
                "pass y, or give log_observation as an array"
            )
        series = np.asarray(y)
        if series.ndim == 0 or series.shape[0] == 0:
            raise ValueError(
                f"y must have shape (T, ...) with T >= 1; came {series.shape}; put time first"
            )
        if np.issubdtype(series.dtype, np.floating):
            missing = np.isnan(series.reshape(series.shape[0], -1)).all(axis=1)
        log_g = np.array(model.log_observation(series), dtype=np.float64)
        expected = (series.shape[0], model.log_initial.size)
    else:
        if y is not None:
            raise ValueError(
                "a model whose log_observation is an array holds its observations already; "
                "came y as well; leave it out"
            )
        log_g = np.array(model.log_observation, dtype=np.float64)
        expected = (max(log_g.shape[0], 1) if log_g.ndim else 1, model.log_initial.size)
    if log_g.shape != expected:
        raise ValueError(
            f"log_observation must give shape {expected}, time first, one column per state; "
            f"came {log_g.shape}; check it on one observation"
        )
    if missing is not None:
        log_g[missing] = 0.0
    bad = np.isnan(log_g) | (log_g == np.inf)
    if bad.any():
        t, i = np.argwhere(bad)[0]
        raise ValueError(
            f"log_observation must be finite or -inf; came {log_g[t, i]} at time {t} in state {i};"
            " a missing observation is a row of zeros, or a NaN row of y"
        )
    return log_g


def _log_probabilities(name: str, probabilities: Array) -> Array:
    """Return logs of rows that are distributions."""
    if not (probabilities >= 0.0).all() or np.isinf(probabilities).any():
        raise ValueError(
            f"{name} must hold probabilities; came {probabilities.min()} as the smallest; "
            "give numbers between 0 and 1, not logs"
        )
    totals = np.atleast_1d(probabilities.sum(axis=-1))
    off = np.abs(totals - 1.0) > 1e-8
    if off.any():
        raise ValueError(
            f"{name} must sum to one{' in every row' if probabilities.ndim > 1 else ''}; "
            f"came {totals[off][0]}"
            f"{f' in row {int(off.argmax())}' if probabilities.ndim > 1 else ''}; normalise it"
        )
    with np.errstate(divide="ignore"):
        logs: Array = np.log(probabilities)
    return logs
