"""What every dialect of a state-space model shares, and the seam it offers to filters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aisle_kernels.lift import Layout

from aisle_smc.arrays import Floats
from aisle_smc.priors import Prior
from aisle_smc.ssm.form import check_names, layout_of, names_of, parameter, series
from aisle_smc.ssm.functions import ROLES, argument_names, where

__all__ = ["Bound", "Model", "given_functions", "require"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model(ABC):
    """What every dialect of a state-space model shares: parameters, prior and array forms."""

    params: type
    prior: Prior | Mapping[str, Any] | None = None
    state: Any = float
    observation: Any = float
    covariates: Any = None
    name: str = ""
    _layouts: tuple[Layout, Layout, Layout] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not (isinstance(self.params, type) and hasattr(self.params, "_fields")):
            raise TypeError(
                "params must be a NamedTuple class, for example "
                f"`class Params(NamedTuple): mu: float`; got {self.params!r}"
            )
        covariates = float if self.covariates is None else self.covariates
        layouts = (
            layout_of("state", self.state),
            layout_of("observation", self.observation),
            layout_of("covariates", covariates),
        )
        object.__setattr__(self, "_layouts", layouts)
        prior = self.prior
        if prior is not None and not isinstance(prior, Prior):
            prior = Prior(prior)
        if prior is not None:
            check_names("the prior", prior.names, self.parameter_names)
        object.__setattr__(self, "prior", prior)

    @abstractmethod
    def functions(self) -> dict[str, Callable[..., Any]]:
        """Return the functions this model has, by role."""

    @abstractmethod
    def bind(
        self, params: Any, y: Floats, u: Floats, *, guided: bool = False, auxiliary: bool = False
    ) -> Bound:
        """Return the model's population functions for these parameters and data."""

    def check_functions(self, *, without: str) -> None:
        """Raise if a function names an argument it is not given; `without` names none offered."""
        for role, function in self.functions().items():
            names = argument_names(role, function, without=without)
            if "u" in names and self.covariates is None:
                raise TypeError(
                    f"{role} {where(function)} names the covariates u, and the model declares "
                    "none: say covariates=float, a NamedTuple class or the length of a row"
                )

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the parameters, in order."""
        return tuple(self.params._fields)  # type: ignore[attr-defined]

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the components of the state."""
        return names_of(self._layouts[0], "x")

    @property
    def observation_names(self) -> tuple[str, ...]:
        """Names of the components of an observation."""
        return names_of(self._layouts[1], "y")

    def parameters(self, values: Any) -> Any:
        """Return `values` as the model's parameter NamedTuple of floats and arrays.

        Parameters
        ----------
        values : NamedTuple, mapping or sequence
            One value per parameter.

        Raises
        ------
        ValueError
            If a name is missing or unknown, or a value not finite or outside its prior's support.
        """
        names = self.parameter_names
        if isinstance(values, Mapping):
            check_names("params", tuple(values), names)
            ordered = [values[name] for name in names]
        elif hasattr(values, "_fields"):
            check_names("params", tuple(values._fields), names)
            ordered = [getattr(values, name) for name in names]
        else:
            ordered = list(np.asarray(values, dtype=np.float64)) if np.ndim(values) else [values]
            if len(ordered) != len(names):
                raise ValueError(
                    f"params must hold {len(names)} values ({', '.join(names)}); "
                    f"got {len(ordered)}"
                )
        clean: list[Any] = [
            parameter(name, value) for name, value in zip(names, ordered, strict=True)
        ]
        if isinstance(self.prior, Prior):
            self.prior.check(dict(zip(names, clean, strict=True)))
        return self.params(*clean)

    def observations(self, y: Any) -> Floats:
        """Return observations as a float array, shape (T,) or (T, k).

        NaN marks a missing value.

        Raises
        ------
        ValueError
            If `y` is empty, has the wrong shape or holds an infinite value.
        """
        values = series("y", y, self._layouts[1], self.observation_names)
        if values.shape[0] == 0:
            raise ValueError("y must hold at least one observation; got an empty series")
        if np.isinf(values).any():
            index = tuple(int(i) for i in np.argwhere(np.isinf(values))[0])
            raise ValueError(
                f"y must be finite, or NaN where missing; y[{', '.join(map(str, index))}] is "
                f"{values[index]}"
            )
        return values

    def covariate_rows(self, u: Any, length: int) -> Floats:
        """Return covariates as a float array with `length` rows.

        Raises
        ------
        ValueError
            If the model needs covariates and none came, or their shape or values are wrong.
        """
        if self.covariates is None:
            if u is not None:
                raise ValueError(
                    "covariates u were given to a model that declares none; "
                    "say covariates=float or a NamedTuple class in the model"
                )
            return np.zeros(length)
        layout = self._layouts[2]
        if u is None:
            raise ValueError(
                f"this model needs covariates u, {length} rows of "
                f"{', '.join(names_of(layout, 'u'))}; got none"
            )
        rows = series("u", u, layout, names_of(layout, "u"))
        if rows.shape[0] != length:
            raise ValueError(f"u must have {length} rows, one for each time; got {rows.shape[0]}")
        if not np.isfinite(rows).all():
            index = int(np.argwhere(~np.isfinite(rows))[0][0])
            raise ValueError(f"covariates must be finite; row {index} of u is {rows[index]}")
        return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A model with its parameters, data and proposal: the seam between models and filters.

    ``population`` holds functions of whole populations in the convention of
    :mod:`aisle_kernels.lift`; who wrote them, and in which dialect, is not known here.
    """

    model: Model
    population: Any
    p: Any
    y: Floats
    u: Floats
    state_shape: tuple[int, ...]
    auxiliary: bool = False

    @property
    def length(self) -> int:
        """Number of times."""
        return int(self.y.shape[0])

    def start(self, rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        """Draw `n` states at time 0 and their log-weights."""
        x, log_g = np.empty((n, *self.state_shape)), np.empty(n)
        self.population.start(rng, self.p, self.y, self.u, x, log_g)
        return x, log_g

    def move(self, rng: np.random.Generator, t: int, x_prev: Floats) -> tuple[Floats, Floats]:
        """Move every particle from time ``t - 1`` to `t`; return states and log-weights."""
        x, log_g = np.empty_like(x_prev), np.empty(x_prev.shape[0])
        ancestors = np.arange(x_prev.shape[0])
        self.population.move(rng, t, self.p, self.y, self.u, x_prev, ancestors, x, log_g)
        return x, log_g

    def look_ahead(self, t: int, x: Floats) -> Floats | None:
        """Return log look-ahead weights of states at ``t - 1`` for observation `t`."""
        if not self.auxiliary:
            return None
        log_eta = np.empty(x.shape[0])
        self.population.look_ahead(t, self.p, self.y, self.u, x, log_eta)
        return log_eta

    def log_transition(self, t: int, x_prev: Floats, x: Floats) -> Floats:
        """Return log transition densities, shape (len(x), len(x_prev))."""
        log_p = np.empty((x.shape[0], x_prev.shape[0]))
        self.population.log_transition(t, self.p, self.y, self.u, x_prev, x, log_p)
        return log_p

    def observe(
        self, rng: np.random.Generator, t: int, x: Floats, x_prev: Floats, y_prev: Floats
    ) -> Floats:
        """Draw one observation for each state at time `t`."""
        y = np.empty((x.shape[0], *self.y.shape[1:]))
        self.population.observe(rng, t, self.p, y_prev, self.u, x, x_prev, y)
        return y


def given_functions(model: Any) -> dict[str, Callable[..., Any]]:
    """Return the functions a model was given, by role."""
    given = {role: getattr(model, role) for role in ROLES}
    return {role: function for role, function in given.items() if function is not None}


def require(model: Any, *, guided: bool, auxiliary: bool) -> None:
    """Raise if the model lacks a function that the proposal needs."""
    needed = []
    if guided:
        needed += ["proposal", "log_proposal", "log_transition"]
        if model.initial_proposal is not None:
            needed += ["log_initial", "log_initial_proposal"]
    if auxiliary:
        needed += ["log_lookahead"]
    missing = [role for role in needed if getattr(model, role) is None]
    if missing:
        kind = "a guided" if guided else "an auxiliary"
        raise ValueError(
            f"{kind} filter needs the model function{'s' * (len(missing) > 1)} "
            f"{', '.join(missing)}; this model has {', '.join(model.functions())}"
        )
