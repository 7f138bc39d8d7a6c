"""Population functions of models that run in the interpreter, whatever their dialect.

The calling convention is that of :mod:`aisle_kernels.lift`; the order of the draws and the way a
missing observation is treated are the same, so a model says the same thing in every dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from aisle_kernels.noise import normals

from aisle_smc.arrays import Array, Floats
from aisle_smc.ssm.functions import argument_names, where

__all__ = ["Dialect", "Population", "Role", "moment", "observed_total", "roles"]

# Which of a model's three layouts (state, observation, covariates) an argument is stored in.
LAYOUT = {"x": 0, "x_prev": 0, "z": 0, "y": 1, "y_prev": 1, "u": 2}

Role = tuple[Callable[..., Any], tuple[str, ...]]
Arguments = Mapping[str, Any]


def roles(functions: Mapping[str, Callable[..., Any]]) -> dict[str, Role]:
    """Return a model's functions with the names of their arguments, by role."""
    return {role: (f, argument_names(role, f)) for role, f in functions.items()}


class Dialect(Protocol):
    """How the functions of one dialect are called for a block of particles.

    ``given`` holds what all particles share (``rng, y, y_prev, p, t, u``) and ``rows`` what each
    has of its own (``x, x_prev, y_prev, z``), both as plain numbers and arrays, by argument name.
    """

    @property
    def functions(self) -> Mapping[str, Role]:
        """The model's functions with the names of their arguments, by role."""
        ...

    def draw(self, role: str, given: Arguments, rows: Mapping[str, Floats], out: Floats) -> None:
        """Draw one state or observation for each particle into `out`."""
        ...

    def density(self, role: str, given: Arguments, rows: Mapping[str, Floats], n: int) -> Floats:
        """Return the log-density of each of `n` particles."""
        ...


def moment(t: int, p: Any, ys: Floats, us: Floats) -> dict[str, Any]:
    """Return what all particles of one time share."""
    y_prev = ys[t - 1] if t > 0 else ys[0] * np.nan
    return {"y": ys[t], "y_prev": y_prev, "p": p, "t": int(t), "u": us[t]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """A model's population functions, by calls through its dialect.

    The methods without ``ys`` take what :func:`moment` returns instead, so that a block of
    particles can be handed to another process with no more than it needs.
    """

    dialect: Dialect
    guided: bool

    def start(
        self, rng: np.random.Generator, p: Any, ys: Floats, us: Floats, x: Floats, log_g: Floats
    ) -> None:
        """Draw the first states into `x` and their log-weights into `log_g`."""
        self.begin(rng, moment(0, p, ys, us), x, log_g)

    def begin(self, rng: Any, given: Arguments, x: Floats, log_g: Floats) -> None:
        """Do the work of :meth:`start`."""
        given = {**given, "rng": rng}
        guided = self._guides(given) and "initial_proposal" in self.dialect.functions
        self.draw("initial_proposal" if guided else "initial", given, {}, x)
        # Before the first time there is no state: a density that asks for it is handed the state.
        rows = {"x": x, "x_prev": x}
        self._weigh(given, rows, log_g)
        if guided:
            log_g += self.dialect.density("log_initial", given, rows, x.shape[0])
            log_g -= self.dialect.density("log_initial_proposal", given, rows, x.shape[0])

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
        self.step(rng, moment(t, p, ys, us), x_prev[ancestors], x, log_g)

    def step(self, rng: Any, given: Arguments, before: Floats, x: Floats, log_g: Floats) -> None:
        """Do the work of :meth:`move`."""
        given = {**given, "rng": rng}
        guided = self._guides(given)
        role = "proposal" if guided else "transition"
        self.draw(role, given, {"x": before, "x_prev": before}, x)
        rows = {"x": x, "x_prev": before}
        self._weigh(given, rows, log_g)
        if guided:
            log_g += self.dialect.density("log_transition", given, rows, x.shape[0])
            log_g -= self.dialect.density("log_proposal", given, rows, x.shape[0])

    def look_ahead(
        self, t: int, p: Any, ys: Floats, us: Floats, x: Floats, log_eta: Floats
    ) -> None:
        """Write the look-ahead weights of states at ``t - 1`` into `log_eta`."""
        self.promise(None, moment(t, p, ys, us), x, log_eta)

    def promise(self, rng: Any, given: Arguments, x: Floats, log_eta: Floats) -> None:
        """Do the work of :meth:`look_ahead`."""
        if np.isnan(given["y"]).all():
            log_eta[:] = 0.0
        else:
            log_eta[:] = self.dialect.density("log_lookahead", given, {"x": x}, x.shape[0])

    def log_transition(
        self, t: int, p: Any, ys: Floats, us: Floats, x_prev: Floats, x: Floats, log_p: Floats
    ) -> None:
        """Write the log transition densities of every pair into `log_p`."""
        self.pairs(None, moment(t, p, ys, us), x_prev, x, log_p)

    def pairs(self, rng: Any, given: Arguments, x_prev: Floats, x: Floats, log_p: Floats) -> None:
        """Do the work of :meth:`log_transition`."""
        m = x_prev.shape[0]
        for i in range(x.shape[0]):
            rows = {"x": np.repeat(x[i : i + 1], m, axis=0), "x_prev": x_prev}
            log_p[i] = self.dialect.density("log_transition", given, rows, m)

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
        self.emit(rng, {"p": p, "t": int(t), "u": us[t]}, ys, x, x_prev, y)

    def emit(
        self, rng: Any, given: Arguments, y_prev: Floats, x: Floats, x_prev: Floats, y: Floats
    ) -> None:
        """Do the work of :meth:`observe`."""
        rows = {"x": x, "x_prev": x_prev, "y_prev": y_prev}
        self.draw("observe", {**given, "rng": rng}, rows, y)

    def _guides(self, given: Arguments) -> bool:
        """Say whether a proposal looks at this observation; it never sees a missing one."""
        return self.guided and not np.isnan(given["y"]).all()

    def draw(self, role: str, given: Arguments, rows: Mapping[str, Floats], out: Floats) -> None:
        """Draw one state or observation for each particle into `out`."""
        if "z" in self.dialect.functions[role][1]:
            noise = np.empty(out.shape)
            normals(given["rng"], noise, 0, out.shape[0])
            rows = {**rows, "z": noise}
        self.dialect.draw(role, given, rows, out)

    def _weigh(self, given: Arguments, rows: Mapping[str, Floats], log_g: Floats) -> None:
        """Write the log observation density; a missing observation weighs nothing."""
        if np.isnan(given["y"]).all():
            log_g[:] = 0.0
        else:
            log_g[:] = self.dialect.density("log_observation", given, rows, log_g.shape[0])


def observed_total(function: Callable[..., Any], value: Any, y: Any) -> Any:
    """Return a log observation density, adding up the parts of the components not missing.

    Parameters
    ----------
    function : callable
        The model's ``log_observation``, to name it in the error.
    value : number, array or tuple of them
        What it returned: one log-density, or a tuple of one for each component of `y`.
    y : float or ndarray
        The observation, NaN where missing.
    """
    if not isinstance(value, tuple):
        return value
    missing = np.atleast_1d(np.isnan(y))
    if len(value) != missing.shape[0]:
        raise TypeError(
            f"log_observation {where(function)} returned {len(value)} log-densities for an "
            f"observation of {missing.shape[0]} components; "
            "return one number or one for each component"
        )
    total: Any = 0.0
    for part, gone in zip(value, missing, strict=True):
        if not gone:
            total = total + part
    return total
