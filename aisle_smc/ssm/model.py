"""A state-space model: three small functions of one particle, compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from aisle_kernels.lift import Layout, Lifted, Recipe, lift

from aisle_smc.arrays import Floats
from aisle_smc.ssm.description import Bound, Model, given_functions, require
from aisle_smc.ssm.functions import argument_names, compile_function, where

__all__ = ["StateSpaceModel"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StateSpaceModel(Model):
    """A state-space model written for one particle and compiled.

    Each function names what it needs among ``rng, z, x, x_prev, y, y_prev, p, t, u, out`` and gets
    exactly that.  ``z`` is standard normal noise in the form of the state, drawn in blocks: a
    Gaussian step written with it runs faster than one that calls ``rng.normal``.

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
        self.check_functions(without="n")

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
        "z": x,
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
    came = "nothing" if returned == numba.types.none else returned
    raise TypeError(f"{role} {where(function)} must return {expected}; it returns {came}")
