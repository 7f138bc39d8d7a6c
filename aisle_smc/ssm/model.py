"""A state-space model: three small functions of one particle, compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from aisle_kernels.lift import Layout, Lifted, Recipe, lift

from aisle_smc.arrays import Array, Floats
from aisle_smc.priors import Prior
from aisle_smc.ssm.functions import ROLES, argument_names, compile_function, where

__all__ = ["Bound", "StateSpaceModel"]

def layout_of(what: str, form: Any) -> Layout:
    """Return the storage of a state, observation or covariate described by `form`.

    Parameters
    ----------
    what : str
        Name used in the error.
    form : type or int
        ``float`` for a number, a NamedTuple class of floats, or the length of an array row.
    """
    if form is float:
        return Layout()
    if isinstance(form, type) and issubclass(form, tuple) and hasattr(form, "_fields"):
        if not form._fields:
            raise ValueError(f"{what} {form.__name__} has no fields; name at least one")
        return Layout(len(form._fields), form)
    if isinstance(form, int) and not isinstance(form, bool) and form >= 1:
        return Layout(form)
    raise TypeError(
        f"{what} must be float, a NamedTuple class of floats, or the length of an array row "
        f"(an int >= 1); got {form!r}"
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
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
        clean = [_parameter(name, value) for name, value in zip(names, ordered, strict=True)]
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
        values = _series("y", y, self._layouts[1], self.observation_names)
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
        rows = _series("u", u, layout, names_of(layout, "u"))
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StateSpaceModel(Model):
    """A state-space model written for one particle and compiled.

    Each function names what it needs among ``rng, x, x_prev, y, y_prev, p, t, u, out`` and gets
    exactly that.

    Parameters
    ----------
    params : NamedTuple class
        The parameters, numbers or arrays by name.
    initial : callable
        Draws the state at the first observation.
    transition : callable
        Draws the next state from ``x``.
    log_observation : callable
        Log-density of ``y`` given ``x``, in nats; for an observation of several components it may
        return one log-density for each, and those of missing components are left out.
    state, observation : float, NamedTuple class or int
        Form of a state and of an observation: a number, named numbers, or an array row.
    covariates : float, NamedTuple class or int, optional
        Form of the covariates ``u`` of one time.
    prior : mapping, optional
        SciPy frozen distributions by parameter name; numbers are constants.
    log_transition, log_initial : callable, optional
        Log-densities of what ``transition`` and ``initial`` draw.
    proposal, log_proposal, initial_proposal, log_initial_proposal : callable, optional
        Draws that look at ``y``, and their log-densities: guided filters.
    log_lookahead : callable, optional
        How promising ``x`` is for the next observation ``y``: auxiliary filters.
    observe : callable, optional
        Draws ``y`` given ``x``: simulation, forecasts, predictive checks.
    name : str, optional
        For tables and figures.

    Raises
    ------
    TypeError, ValueError
        If a function is missing, names an unknown argument, or a form is none of the three.

    Examples
    --------
    >>> from typing import NamedTuple
    >>> from aisle_smc.ssm.math import normal_logpdf
    >>> class Params(NamedTuple):
    ...     sd: float
    >>> model = StateSpaceModel(
    ...     params=Params,
    ...     initial=lambda rng: rng.normal(0.0, 1.0),
    ...     transition=lambda rng, x, p: rng.normal(x, p.sd),
    ...     log_observation=lambda y, x: normal_logpdf(y, x, 1.0),
    ... )
    >>> model.parameter_names
    ('sd',)
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

    def __post_init__(self) -> None:
        Model.__post_init__(self)
        for role, function in self.functions().items():
            argument_names(role, function, without="n")

    def functions(self) -> dict[str, Callable[..., Any]]:
        """Return the functions this model has, by role."""
        return given_functions(self)

    def bind(
        self, params: Any, y: Floats, u: Floats, *, guided: bool = False, auxiliary: bool = False
    ) -> Bound:
        """Return the model's population functions for these parameters and data.

        Parameters
        ----------
        params : NamedTuple
            As :meth:`parameters` returns them.
        y, u : ndarray
            As :meth:`observations` and :meth:`covariate_rows` return them.
        guided, auxiliary : bool
            Which functions the filter will use.

        Raises
        ------
        TypeError, ValueError
            If a needed function is missing, does not compile or returns the wrong type.
        """
        require(self, guided=guided, auxiliary=auxiliary)
        functions = tuple(self.functions().items())
        population = _population(functions, self._layouts, numba.typeof(params), guided)
        width = self._layouts[0].width
        return Bound(
            model=self,
            population=population,
            p=params,
            y=y,
            u=u,
            state_shape=(width,) if width else (),
            auxiliary=auxiliary,
        )


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


@lru_cache(maxsize=128)
def _population(
    functions: tuple[tuple[str, Callable[..., Any]], ...],
    layouts: tuple[Layout, Layout, Layout],
    p: Any,
    guided: bool,
) -> Lifted:
    state, observation, covariates = layouts
    row = numba.float64[::1]

    def kind(layout: Layout) -> Any:
        if layout.width == 0:
            return numba.float64
        if layout.fields is None:
            return row
        return numba.typeof(layout.fields(*([0.0] * layout.width)))

    x, y = kind(state), kind(observation)
    arguments = {
        "rng": numba.typeof(np.random.default_rng(0)),
        "x": x,
        "x_prev": x,
        "y": y,
        "y_prev": y,
        "p": p,
        "t": numba.int64,
        "u": kind(covariates),
        "out": row,
    }
    components = 0
    compiled = []
    for role, function in functions:
        names = argument_names(role, function)
        signature = tuple(arguments[name] for name in names)
        dispatcher, returned = compile_function(role, function, signature)
        if returned is not None:
            layout = observation if role == "observe" else state
            count = _check_return(role, function, returned, layout, names)
            components = count if role == "log_observation" else components
        compiled.append((role, dispatcher, names))
    if components and components != observation.width:
        raise TypeError(
            f"log_observation returns {components} log-densities for an observation of "
            f"{observation.width or 1} components; return one number or one for each component"
        )
    return lift(Recipe(tuple(compiled), state, observation, covariates, components, guided))


def _check_return(
    role: str, function: Callable[..., Any], returned: Any, layout: Layout, names: Sequence[str]
) -> int:
    """Check what a compiled function returns; return the number of components of a density."""
    number = isinstance(returned, numba.types.Number | numba.types.Boolean)
    complex_ = isinstance(returned, numba.types.Complex)
    if role.startswith("log_"):
        if number and not complex_:
            return 0
        if role == "log_observation" and isinstance(returned, numba.types.BaseTuple):
            return len(returned)
        expected = "one number"
    elif "out" in names:
        if returned == numba.types.none:
            return 0
        expected = "nothing (it fills `out`)"
    elif layout.width == 0:
        if number and not complex_:
            return 0
        expected = "one number"
    elif layout.fields is not None:
        if isinstance(returned, numba.types.BaseTuple) and len(returned) == layout.width:
            return 0
        expected = f"a {layout.fields.__name__} of {layout.width} numbers"
    else:
        if role == "observe" and isinstance(returned, numba.types.BaseTuple | numba.types.Array):
            return 0
        expected = "nothing: for an array row it must name `out` and fill it"
    raise TypeError(f"{role} {where(function)} must return {expected}; it returns {returned}")


def names_of(layout: Layout, default: str) -> tuple[str, ...]:
    """Return the component names of a layout."""
    if layout.width == 0:
        return (default,)
    if layout.fields is not None:
        return tuple(layout.fields._fields)  # type: ignore[attr-defined]
    return tuple(f"{default}[{k}]" for k in range(layout.width))


def check_names(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    """Raise unless two lists of parameter names are the same set."""
    unknown = [name for name in given if name not in known]
    missing = [name for name in known if name not in given]
    if unknown or missing:
        parts = [f"unknown: {', '.join(map(str, unknown))}"] if unknown else []
        parts += [f"missing: {', '.join(missing)}"] if missing else []
        raise ValueError(
            f"{what} must name exactly the parameters {', '.join(known)}; {'; '.join(parts)}"
        )


def _parameter(name: str, value: Any) -> float | Array:
    array = np.ascontiguousarray(value, dtype=np.float64)
    if np.ndim(value) == 0:
        array = array.reshape(())
    if not np.isfinite(array).all():
        raise ValueError(f"parameter {name} must be finite; got {value}")
    return float(array) if array.ndim == 0 else array


def _series(what: str, values: Any, layout: Layout, names: Sequence[str]) -> Floats:
    """Return a series as a contiguous float array in the given layout."""
    if layout.fields is not None:
        if isinstance(values, Mapping):
            check_series_names(what, tuple(values), names)
            values = np.column_stack([values[name] for name in names])
        elif hasattr(values, "_fields"):
            values = np.column_stack([getattr(values, name) for name in names])
    try:
        array = np.ascontiguousarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what} must be numbers; got {type(values).__name__} ({error})") from None
    expected = f"(T, {layout.width})" if layout.width else "(T,)"
    shape_ok = array.ndim == (2 if layout.width else 1)
    if not shape_ok or (layout.width and array.shape[1] != layout.width):
        raise ValueError(
            f"{what} must have shape {expected}, columns {', '.join(names)}; "
            f"got shape {array.shape}"
        )
    return array


def check_series_names(what: str, given: Sequence[str], names: Sequence[str]) -> None:
    """Raise unless a mapping of columns has exactly the model's names."""
    if set(given) != set(names):
        raise ValueError(f"{what} must have the columns {', '.join(names)}; got {', '.join(given)}")
