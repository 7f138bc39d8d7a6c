"""State-space models in plain Python, one particle at a time, spread over processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from aisle_smc.arguments import check_count
from aisle_smc.arrays import Array, Floats
from aisle_smc.ssm.description import Bound, Model, given_functions, require
from aisle_smc.ssm.interpreter import Failure, PerParticle
from aisle_smc.ssm.population import Population, moment, roles
from aisle_smc.streams import stream

__all__ = ["PythonModel"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PythonModel(Model):
    """A state-space model of interpreted functions, for steps that cost milliseconds.

    Written like a :class:`aisle_smc.ssm.StateSpaceModel`, never compiled.  The particles of one
    step are dealt out in chunks of fixed size, each with a random stream of its own, so the
    result does not depend on the number of workers.

    Parameters
    ----------
    workers : int, optional
        Processes to spread the particles over; 1 (the default) stays in this process, None takes
        all cores.  More than one needs the ``batch`` extra; lambdas and functions of an
        interactive session work too.
    chunk : int
        Particles in a chunk; part of the result, like the seed.

    Raises
    ------
    AisleError
        While a filter runs, if a function raises: the error names role, time and particle, shows
        the arguments, and has the function's own exception as its cause.

    Examples
    --------
    >>> from typing import NamedTuple
    >>> class Params(NamedTuple):
    ...     sd: float
    >>> model = PythonModel(
    ...     params=Params,
    ...     initial=lambda rng: rng.normal(),
    ...     transition=lambda rng, x, p: rng.normal(x, p.sd),
    ...     log_observation=lambda y, x: -0.5 * (y - x) ** 2,
    ... )
    >>> model.workers, model.chunk
    (1, 16)
    """

    initial: Callable[..., Any]
    transition: Callable[..., Any]
    log_observation: Callable[..., Any]
    log_initial: Callable[..., Any] | None = None
    log_transition: Callable[..., Any] | None = None
    initial_proposal: Callable[..., Any] | None = None
    log_initial_proposal: Callable[..., Any] | None = None
    proposal: Callable[..., Any] | None = None
    log_proposal: Callable[..., Any] | None = None
    log_lookahead: Callable[..., Any] | None = None
    observe: Callable[..., Any] | None = None
    workers: int | None = 1
    chunk: int = 16

    def __post_init__(self) -> None:
        Model.__post_init__(self)
        self.check_functions(without="n")
        if self.workers is not None:
            check_count("workers", self.workers)
        check_count("chunk", self.chunk)

    def functions(self) -> dict[str, Callable[..., Any]]:
        """Return the functions this model has, by role."""
        return given_functions(self)

    def bind(
        self, params: Any, y: Floats, u: Floats, *, guided: bool = False, auxiliary: bool = False
    ) -> Bound:
        """Return the model's population functions for these parameters and data.

        See :meth:`aisle_smc.ssm.StateSpaceModel.bind`.
        """
        require(self, guided=guided, auxiliary=auxiliary)
        width = self._layouts[0].width
        dialect = PerParticle(roles(self.functions()), self._layouts)
        return Bound(
            model=self,
            population=DealtPopulation(
                population=Population(dialect=dialect, guided=guided),
                workers=(os.cpu_count() or 1) if self.workers is None else self.workers,
                chunk=self.chunk,
            ),
            p=params,
            y=y,
            u=u,
            state_shape=(width,) if width else (),
            auxiliary=auxiliary,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DealtPopulation:
    """Population functions that deal their particles out in chunks, each with its own stream."""

    population: Population
    workers: int
    chunk: int

    def start(
        self, rng: np.random.Generator, p: Any, ys: Floats, us: Floats, x: Floats, log_g: Floats
    ) -> None:
        """Draw the first states into `x` and their log-weights into `log_g`."""
        self._deal("begin", rng, (moment(0, p, ys, us),), (), (x, log_g))

    def move(
        self,
        rng: np.random.Generator,
        t: int,
        p: Any,
        ys: Floats,
        us: Floats,
        x_prev: Floats,
        ancestors: Array,
        x: Floats,
        log_g: Floats,
    ) -> None:
        """Move the states into `x` and write their log-weights into `log_g`."""
        self._deal("step", rng, (moment(t, p, ys, us),), (x_prev[ancestors],), (x, log_g))

    def look_ahead(
        self, t: int, p: Any, ys: Floats, us: Floats, x: Floats, log_eta: Floats
    ) -> None:
        """Write the look-ahead weights of states at ``t - 1`` into `log_eta`."""
        self._deal("promise", None, (moment(t, p, ys, us),), (x,), (log_eta,))

    def log_transition(
        self, t: int, p: Any, ys: Floats, us: Floats, x_prev: Floats, x: Floats, log_p: Floats
    ) -> None:
        """Write the log transition densities of every pair into `log_p`."""
        self._deal("pairs", None, (moment(t, p, ys, us), x_prev), (x,), (log_p,))

    def observe(
        self,
        rng: np.random.Generator,
        t: int,
        p: Any,
        ys: Floats,
        us: Floats,
        x: Floats,
        x_prev: Floats,
        y: Floats,
    ) -> None:
        """Draw an observation of each state into `y`; ``ys`` holds each one's last one."""
        self._deal("emit", rng, ({"p": p, "t": int(t), "u": us[t]},), (ys, x, x_prev), (y,))

    def _deal(
        self,
        method: str,
        rng: np.random.Generator | None,
        shared: tuple[Any, ...],
        inputs: tuple[Floats, ...],
        outputs: tuple[Floats, ...],
    ) -> None:
        """Run a method of the population chunk by chunk, and put its results in place."""
        n = outputs[0].shape[0]
        key = None if rng is None else int(rng.integers(2**64, dtype=np.uint64))
        chunks = [slice(first, min(first + self.chunk, n)) for first in range(0, n, self.chunk)]
        calls = (
            (
                self.population,
                method,
                None if key is None else (key, c),
                (*shared, *(a[chunk] for a in inputs)),
                tuple((chunk.stop - chunk.start, *a.shape[1:]) for a in outputs),
            )
            for c, chunk in enumerate(chunks)
        )
        workers = min(self.workers, len(chunks))
        found = map(_work, calls) if workers == 1 else _over_processes(workers, calls)
        for chunk, result in zip(chunks, found, strict=True):
            if isinstance(result, Failure):
                raise result.report(shared[0]["t"], chunk.start) from result.error
            for array, part in zip(outputs, result, strict=True):
                array[chunk] = part


Call = tuple[Population, str, tuple[int, int] | None, tuple[Any, ...], tuple[Any, ...]]


def _work(call: Call) -> tuple[Floats, ...] | Failure:
    """Run one chunk; a failure of the user's function is returned, not raised."""
    population, method, key, inputs, shapes = call
    rng = None if key is None else stream(*key)
    outputs = tuple(np.empty(shape) for shape in shapes)
    try:
        getattr(population, method)(rng, *inputs, *outputs)
    except Failure as failure:
        return failure
    return outputs


def _work_away(call: Call) -> tuple[Floats, ...] | Failure:
    result = _work(call)
    return result.portable() if isinstance(result, Failure) else result


def _over_processes(workers: int, calls: Iterable[Call]) -> Iterable[Any]:
    """Run chunks in a pool of processes that stays warm between steps."""
    try:
        from joblib import Parallel, delayed
    except ImportError:
        raise ImportError(
            f"a PythonModel with workers={workers} spreads its particles with joblib, which is "
            "not installed: pip install aisle-smc[batch], or use workers=1"
        ) from None
    # Arrays go by value: joblib's memory maps would reach the functions read-only.
    run = Parallel(n_jobs=workers, backend="loky", max_nbytes=None)
    return run(delayed(_work_away)(call) for call in calls)  # type: ignore[no-any-return]
