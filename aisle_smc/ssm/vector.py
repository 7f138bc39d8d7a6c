"""State-space models written for whole populations: vectorised NumPy, or torch by one argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from aisle_smc.arrays import Array, Floats
from aisle_smc.ssm.description import Bound, Model, given_functions, require
from aisle_smc.ssm.functions import argument_names, where

__all__ = ["VectorModel"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VectorModel(Model):
    """A state-space model whose functions take and return whole populations.

    The roles and argument names are those of :class:`aisle_smc.ssm.StateSpaceModel`, with ``n``,
    the number of states to draw, for ``initial`` and ``initial_proposal``, and without ``out``.
    States come as arrays of shape (n,), as a NamedTuple of such arrays, or as (n, d).

    Parameters
    ----------
    array : callable, optional
        Turns a NumPy array into the functions' own kind, for example ``torch.as_tensor``.  What
        they return is read through NumPy's array protocol, so tensors on the CPU that need no
        gradient cost no copy.

    Examples
    --------
    >>> from typing import NamedTuple
    >>> class Params(NamedTuple):
    ...     sd: float
    >>> model = VectorModel(
    ...     params=Params,
    ...     initial=lambda rng, n: rng.normal(size=n),
    ...     transition=lambda rng, x, p: rng.normal(x, p.sd),
    ...     log_observation=lambda y, x: -0.5 * (y - x) ** 2,
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
    array: Callable[[Array], Any] | None = None

    def __post_init__(self) -> None:
        Model.__post_init__(self)
        for role, function in self.functions().items():
            argument_names(role, function, without="out")

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
        return Bound(
            model=self,
            population=VectorPopulation(model=self, guided=guided),
            p=params,
            y=y,
            u=u,
            state_shape=(width,) if width else (),
            auxiliary=auxiliary,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorPopulation:
    """A vectorised model in the calling convention of :mod:`aisle_kernels.lift`."""

    model: VectorModel
    guided: bool

    def start(
        self, rng: np.random.Generator, p: Any, ys: Floats, us: Floats, x: Floats, log_g: Floats
    ) -> None:
        """Draw the first states into `x` and their log-weights into `log_g`."""
        guided = self.guided and self.model.initial_proposal is not None
        given = {"rng": rng, "n": x.shape[0], **self._row(0, p, ys, us)}
        self._put(x, "initial_proposal" if guided else "initial", given)
        states = self._states(x)
        given |= {"x": states, "x_prev": states}
        self._weigh(log_g, ys[0], given)
        if guided:
            log_g += self._number("log_initial", given)
            log_g -= self._number("log_initial_proposal", given)

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
        before = self._states(x_prev[ancestors])
        given = {"rng": rng, "x": before, "x_prev": before, **self._row(t, p, ys, us)}
        self._put(x, "proposal" if self.guided else "transition", given)
        given["x"] = self._states(x)
        self._weigh(log_g, ys[t], given)
        if self.guided:
            log_g += self._number("log_transition", given)
            log_g -= self._number("log_proposal", given)

    def look_ahead(
        self, t: int, p: Any, ys: Floats, us: Floats, x: Floats, log_eta: Floats
    ) -> None:
        """Write the look-ahead weights of states at ``t - 1`` into `log_eta`."""
        if np.isnan(ys[t]).all():
            log_eta[:] = 0.0
            return
        given = {"x": self._states(x), **self._row(t, p, ys, us)}
        log_eta[:] = self._number("log_lookahead", given)

    def log_transition(
        self, t: int, p: Any, ys: Floats, us: Floats, x_prev: Floats, x: Floats, log_p: Floats
    ) -> None:
        """Write the log transition densities of every pair into `log_p`."""
        row = self._row(t, p, ys, us)
        for i in range(x.shape[0]):
            same = np.broadcast_to(x[i], x_prev.shape)
            given = {"x": self._states(same), "x_prev": self._states(x_prev), **row}
            log_p[i] = self._number("log_transition", given)

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
        """Draw an observation of each state into `y`; ``ys`` holds each one's observation before."""
        given = {
            "rng": rng,
            "x": self._states(x),
            "x_prev": self._states(x_prev),
            "y_prev": self._wrap(ys, 1),
            "p": p,
            "t": t,
            "u": self._wrap(us[t], 2),
        }
        self._fill(y, "observe", self._call("observe", given), 1)

    def _row(self, t: int, p: Any, ys: Floats, us: Floats) -> dict[str, Any]:
        """Return what belongs to one time."""
        y_prev = ys[t - 1] if t > 0 else np.full_like(ys[0], np.nan)
        return {
            "y": self._wrap(ys[t], 1),
            "y_prev": self._wrap(y_prev, 1),
            "p": p,
            "t": t,
            "u": self._wrap(us[t], 2),
        }

    def _wrap(self, values: Any, which: int) -> Any:
        """Return a value in the functions' own kind, with its fields named."""
        layout = self.model._layouts[which]
        convert = self.model.array
        own = convert(np.asarray(values)) if convert is not None else values
        if layout.fields is None:
            return own
        return layout.fields(*(own[..., k] for k in range(layout.width)))

    def _states(self, x: Floats) -> Any:
        return self._wrap(x, 0)

    def _call(self, role: str, given: dict[str, Any]) -> Any:
        function = getattr(self.model, role)
        return function(*(given[name] for name in argument_names(role, function)))

    def _put(self, x: Floats, role: str, given: dict[str, Any]) -> None:
        self._fill(x, role, self._call(role, given), 0)

    def _fill(self, target: Floats, role: str, value: Any, which: int) -> None:
        """Write what a function returned into `target`, or say what shape was expected."""
        if self.model._layouts[which].fields is not None:
            columns = [np.broadcast_to(np.asarray(v), target.shape[:1]) for v in value]
            value = np.stack(columns, axis=-1)
        array = np.asarray(value)
        if array.shape != target.shape:
            raise self._shape_error(role, array.shape, target.shape)
        target[...] = array

    def _number(self, role: str, given: dict[str, Any]) -> Floats:
        value = np.asarray(self._call(role, given), dtype=np.float64)
        n = given["n"] if "n" in given else len(self._flat(given["x"]))
        if value.shape != (n,):
            raise self._shape_error(role, value.shape, (n,))
        return value

    def _flat(self, x: Any) -> Any:
        return x[0] if self.model._layouts[0].fields is not None else x

    def _weigh(self, log_g: Floats, y: Floats, given: dict[str, Any]) -> None:
        """Write the log observation density; missing components weigh nothing."""
        missing = np.isnan(y)
        if missing.all():
            log_g[:] = 0.0
            return
        value = self._call("log_observation", given)
        if isinstance(value, tuple):
            parts = [np.asarray(part) for part, gone in zip(value, missing, strict=True) if not gone]
            value = np.sum(parts, axis=0)
        array = np.asarray(value, dtype=np.float64)
        if array.shape != log_g.shape:
            raise self._shape_error("log_observation", array.shape, log_g.shape)
        log_g[:] = array

    def _shape_error(self, role: str, came: Any, expected: Any) -> ValueError:
        return ValueError(
            f"{role} {where(getattr(self.model, role))} must return shape {expected}, one entry "
            f"for each particle; it returned shape {came}"
        )
