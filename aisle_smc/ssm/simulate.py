"""Series drawn from a model: states and observations, from the beginning or from a state on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from aisle_kernels._jit import specialised

from aisle_smc.arguments import check_count
from aisle_smc.arrays import Floats
from aisle_smc.ssm.description import Bound, Model
from aisle_smc.ssm.functions import argument_names
from aisle_smc.ssm.model import StateSpaceModel
from aisle_smc.streams import stream

__all__ = ["Simulation", "looks_back", "needs_observe", "one_by_one", "simulate", "together"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Simulation:
    """Series drawn from a model.

    Attributes
    ----------
    states : ndarray, shape (T,) or (T, d), with a leading axis of length n if n > 1
        States, those of index 0 at the first observation.
    observations : ndarray, shape (T,) or (T, k), with a leading axis of length n if n > 1
        Observations.
    """

    states: Floats
    observations: Floats

    def __repr__(self) -> str:
        return f"Simulation: states {self.states.shape}, observations {self.observations.shape}"


def simulate(
    model: Model,
    params: Any,
    T: int | None = None,
    *,
    u: Any = None,
    seed: int = 0,
    n: int = 1,
) -> Simulation:
    """Draw series of states and observations from a model.

    Parameters
    ----------
    model : StateSpaceModel, VectorModel or PythonModel
        The model; it must have ``observe``.
    params : NamedTuple, mapping or sequence
        Its parameters.
    T : int, optional
        Number of times; the number of rows of `u` by default.
    u : array_like, optional
        Covariates, one row for each time, if the model declares them.
    seed : int
        The same seed gives the same bits.
    n : int
        Number of independent series.

    Returns
    -------
    Simulation

    Raises
    ------
    ValueError, TypeError
        For bad input, and if the model has no ``observe``.

    Notes
    -----
    All series move together, one call for each time, unless ``transition`` looks at the last
    observation (``y_prev``), which each series has of its own: then they are drawn one by one.

    Examples
    --------
    >>> from aisle_smc.ssm.zoo import LocalLevel
    >>> model = LocalLevel()
    >>> simulate(model, {name: 1.0 for name in model.parameter_names}, 5, n=3)
    Simulation: states (3, 5), observations (3, 5)
    """
    needs_observe(model, "simulate")
    check_count("n", n)
    if T is None:
        if u is None:
            raise ValueError("simulate needs T, the number of times; got neither T nor u")
        T = len(u)
    check_count("T", T)
    p = model.parameters(params)
    width = model._layouts[1].width
    y = np.full((T, width) if width else T, np.nan)
    bound = model.bind(p, y, model.covariate_rows(u, T))
    if looks_back(model):
        states, observations = one_by_one([bound] * n, None, T, seed)
    else:
        states, observations = together(bound, None, n, T, stream(seed))
    if n == 1:
        states, observations = states[0], observations[0]
    return Simulation(states=states, observations=observations)


def needs_observe(model: Model, who: str) -> None:
    """Raise unless the model can draw observations."""
    functions = model.functions()
    if "observe" not in functions:
        raise ValueError(
            f"{who} needs the model function observe, which draws y given x; this model has "
            f"{', '.join(functions)}"
        )


def looks_back(model: Model) -> bool:
    """Whether states depend on the observations before, which then must be drawn in turn."""
    transition = model.functions()["transition"]
    return "y_prev" in argument_names("transition", transition)


def together(
    bound: Bound, last: Floats | None, n: int, steps: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Draw the last `steps` times of `n` series, all at once.

    Parameters
    ----------
    bound : Bound
        The model with observations that are missing in those times.
    last : ndarray, shape (n, ...), or None
        States to go on from; None to begin at time 0.
    n, steps : int
        How many series and times.
    rng : numpy.random.Generator
        Source of all randomness.

    Returns
    -------
    states, observations : ndarray, shapes (n, steps, ...)
    """
    first = bound.length - steps
    states = np.empty((n, steps, *bound.state_shape))
    observations = np.empty((n, steps, *bound.y.shape[1:]))
    before, y_prev = last, np.full((n, *bound.y.shape[1:]), np.nan)
    if first > 0:
        y_prev[:] = bound.y[first - 1]
    for k in range(steps):
        t = first + k
        x = bound.start(rng, n)[0] if before is None else bound.move(rng, t, before)[0]
        # At time 0 there is no state before: a function that asks for it is handed the state.
        y = bound.observe(rng, t, x, x if before is None else before, y_prev)
        states[:, k], observations[:, k] = x, y
        before, y_prev = x, y
    return states, observations


def one_by_one(
    bounds: Sequence[Bound], last: Floats | None, steps: int, seed: int
) -> tuple[Floats, Floats]:
    """Draw the last `steps` times of several series, each with its own parameters.

    Parameters
    ----------
    bounds : sequence of Bound
        One for each series, of the same model and length.
    last : ndarray, shape (n, ...), or None
        States to go on from; None to begin at time 0.
    steps : int
        How many times.
    seed : int
        Series ``i`` draws from the stream of ``(seed, i)``.

    Returns
    -------
    states, observations : ndarray, shapes (n, steps, ...)

    Notes
    -----
    Compiled models take one call for each series, others two for each series and time.
    """
    n, bound = len(bounds), bounds[0]
    first = bound.length - steps
    compiled = isinstance(bound.model, StateSpaceModel)
    walk = (_compiled_walk if compiled else _walk)(bound.population)
    states = np.empty((n, steps, *bound.state_shape))
    observations = np.empty((n, steps, *bound.y.shape[1:]))
    y, x = bound.y.copy(), np.empty((steps + 1, *bound.state_shape))
    for i, each in enumerate(bounds):
        if last is not None:
            x[0] = last[i]
        y[first:] = np.nan
        walk(stream(seed, i), each.p, y, each.u, first, x)
        states[i], observations[i] = x[1:], y[first:]
    return states, observations


def _walk(population: Any) -> Callable[..., None]:
    """Return the loop over the times of one series.

    ``x[0]`` is the state before time `first`, and is not read when that is 0; the rest of `x` and
    ``ys[first:]`` are filled.  The model sees the observations drawn so far, and the present one
    as missing, so that it weighs nothing.
    """
    start, move, observe = population.start, population.move, population.observe

    def walk(rng: Any, p: Any, ys: Any, us: Any, first: int, x: Any) -> None:
        parents, log_g = np.zeros(1, dtype=np.int64), np.empty(1)
        for k in range(1, x.shape[0]):
            t = first + k - 1
            now = x[k : k + 1]
            if t == 0:
                start(rng, p, ys, us, now, log_g)
                observe(rng, t, p, ys[:1] * np.nan, us, now, now, ys[:1])
            else:
                move(rng, t, p, ys, us, x[k - 1 : k], parents, now, log_g)
                observe(rng, t, p, ys[t - 1 : t], us, now, x[k - 1 : k], ys[t : t + 1])

    return walk


@lru_cache(maxsize=64)
def _compiled_walk(population: Any) -> Callable[..., None]:
    return specialised(_walk(population))  # type: ignore[no-any-return]
