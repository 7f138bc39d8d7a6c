"""Where the densities of a model are compared with their draws: states that the data visit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.ssm.agreement import Place
from aisle_smc.ssm.functions import compiled_once
from aisle_smc.ssm.interpreter import Failure, PerParticle
from aisle_smc.ssm.model import StateSpaceModel
from aisle_smc.ssm.population import Dialect, moment, roles
from aisle_smc.ssm.python import PythonModel
from aisle_smc.ssm.vector import VectorModel, WholePopulation
from aisle_smc.streams import stream

__all__ = ["PAIRS", "places"]

# Each density and the function whose draws it should describe.
PAIRS = {
    "log_initial": "initial",
    "log_initial_proposal": "initial_proposal",
    "log_transition": "transition",
    "log_proposal": "proposal",
    "log_observation": "observe",
}

TIMES = 5


def places(
    model: Any,
    p: Any,
    y: Floats,
    u: Floats,
    path: Floats | None,
    density: str,
    draw: str,
    seed: int,
) -> list[Place]:
    """Draw from a function at a few times of the data, and return its density beside the draws.

    Parameters
    ----------
    model : StateSpaceModel, VectorModel or PythonModel
        The model.
    p : NamedTuple
        Its parameters.
    y, u : ndarray
        Data and covariates.
    path : ndarray, shape (T, ...), or None
        A state trajectory to take arguments from; simulated if None.
    density, draw : str
        The roles to compare.
    seed : int
        Seed of the draws.
    """
    m = 400 if isinstance(model, PythonModel) else 4000
    dialect = _dialect(model)
    looks = "proposal" in draw
    bound = model.bind(p, y, u, guided=looks)
    rng = stream(seed, 10)
    if path is None:
        path = _simulated_path(model.bind(p, np.full_like(y, np.nan), u), rng)
    seen = ~np.isnan(y).reshape(len(y), -1).any(axis=1)
    found = []
    for t in _times(draw, seen if looks or draw == "observe" else np.ones_like(seen)):
        now = moment(t, p, y, u)
        before = path[t - 1] if t > 0 else path[0]
        rows: dict[str, Floats] = {}
        if draw in ("initial", "initial_proposal"):
            given = bound if looks else _blind(bound, t)
            values = given.start(rng, m)[0]
        elif draw == "observe":
            rows = {"x": path[t], "x_prev": before}
            values = bound.observe(rng, t, *(_repeat(x, m) for x in rows.values()),
                                   _repeat(now["y_prev"], m))  # fmt: skip
        else:
            rows = {"x_prev": before}
            given = bound if looks else _blind(bound, t)
            values = given.move(rng, t, _repeat(before, m))[0]
        subject = "y" if draw == "observe" else "x"
        name = ", ".join([f"t = {t}", *(f"{k} = {v}" for k, v in rows.items())])
        log_density = _log_density(dialect, density, now, rows, subject, values.shape[1:])
        found.append(Place(name, values.reshape(m, -1), log_density))
    return found


def _dialect(model: Any) -> Dialect:
    """Return the model's functions for calls with values of one's own."""
    functions, layouts = model.functions(), model._layouts
    if isinstance(model, VectorModel):
        return WholePopulation(roles(functions), layouts, model.array)
    if isinstance(model, StateSpaceModel):
        functions = {role: compiled_once(function) for role, function in functions.items()}
    return PerParticle(roles(functions), layouts)


def _times(draw: str, usable: Any) -> list[int]:
    """Return up to five times, spread over those usable."""
    if draw in ("initial", "initial_proposal"):
        return [0] if usable[0] else []
    times = np.flatnonzero(usable)
    times = times if draw == "observe" else times[times > 0]
    if not times.size:
        return []
    chosen = np.linspace(0, times.size - 1, TIMES + 1).astype(int)[1:]
    return np.unique(times[chosen]).tolist()  # type: ignore[no-any-return]


def _blind(bound: Any, t: int) -> Any:
    """Return the same model with one observation missing, so that nothing is weighed."""
    y = bound.y.copy()
    y[t] = np.nan
    return replace(bound, y=y)


def _simulated_path(bound: Any, rng: np.random.Generator) -> Floats:
    path = np.empty((bound.length, *bound.state_shape))
    x = bound.start(rng, 1)[0]
    for t in range(bound.length):
        x = x if t == 0 else bound.move(rng, t, x)[0]
        path[t] = x[0]
    return path


def _repeat(value: Any, m: int) -> Floats:
    return np.repeat(np.asarray(value)[None], m, axis=0)


def _log_density(
    dialect: Dialect,
    role: str,
    now: Mapping[str, Any],
    fixed: Mapping[str, Floats],
    subject: str,
    shape: tuple[int, ...],
) -> Callable[[Floats], Floats]:
    """Return the density as a function of values (k, d); NaN where the function fails."""

    def several(values: Floats) -> Floats:
        k = values.shape[0]
        own = values.reshape(k, *shape)
        rows = {name: _repeat(value, k) for name, value in fixed.items()} | {subject: own}
        if subject == "y" and isinstance(dialect, WholePopulation):
            return np.array([one(own[i], rows) for i in range(k)])
        return dialect.density(role, now, rows, k)

    def one(y: Any, rows: Mapping[str, Floats]) -> float:
        # Functions of a whole population share the observation.
        first = {name: value[:1] for name, value in rows.items() if name != "y"}
        return float(dialect.density(role, {**now, "y": y}, first, 1)[0])

    def log_density(values: Floats) -> Floats:
        with np.errstate(all="ignore"):
            try:
                return several(values)
            except (Failure, ArithmeticError, ValueError):
                if values.shape[0] == 1:
                    return np.array([np.nan])
                return np.concatenate([log_density(values[i : i + 1]) for i in range(len(values))])

    return log_density
