"""State-space models written for whole populations: vectorised NumPy, or torch by one argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from aisle_kernels.lift import Layout

from aisle_smc.arrays import Array, Floats
from aisle_smc.ssm.description import Bound, Model, given_functions, require
from aisle_smc.ssm.functions import where
from aisle_smc.ssm.population import LAYOUT, Arguments, Population, Role, observed_total, roles

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
        they return is read through NumPy's array protocol, after ``detach`` and ``cpu`` where it
        has them; tensors on the CPU cost no copy.

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
        self.check_functions(without="out")

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
        dialect = WholePopulation(roles(self.functions()), self._layouts, self.array)
        return Bound(
            model=self,
            population=Population(dialect=dialect, guided=guided),
            p=params,
            y=y,
            u=u,
            state_shape=(width,) if width else (),
            auxiliary=auxiliary,
        )


@dataclass(frozen=True, slots=True)
class WholePopulation:
    """The dialect of functions that take and return whole populations."""

    functions: Mapping[str, Role]
    layouts: tuple[Layout, Layout, Layout]
    array: Callable[[Array], Any] | None = None

    def draw(self, role: str, given: Arguments, rows: Mapping[str, Floats], out: Floats) -> None:
        """Draw one state or observation for each particle into `out`."""
        n = out.shape[0]
        value = self._call(role, given, rows, n)
        fields = self.layouts[1 if role == "observe" else 0].fields
        if fields is not None:
            if not isinstance(value, tuple) or len(value) != out.shape[1]:
                raise TypeError(
                    f"{self._name(role)} must return a {fields.__name__} of {out.shape[1]} "
                    f"arrays; it returned {_described(value)}"
                )
            columns = [_numpy(column) for column in value]
            # A component may be one number for all particles.
            value = np.stack([np.broadcast_to(c, (n,)) if c.ndim == 0 else c for c in columns], -1)
        array = _numpy(value)
        if array.shape != out.shape:
            raise self._shape_error(role, array.shape, out.shape)
        out[...] = array

    def density(self, role: str, given: Arguments, rows: Mapping[str, Floats], n: int) -> Floats:
        """Return the log-density of each of `n` particles."""
        value = self._call(role, given, rows, n)
        if role == "log_observation":
            value = observed_total(self.functions[role][0], value, given["y"])
        array = np.asarray(_numpy(value), dtype=np.float64)
        if array.shape != (n,):
            raise self._shape_error(role, array.shape, (n,))
        return array

    def _call(self, role: str, given: Arguments, rows: Mapping[str, Floats], n: int) -> Any:
        function, names = self.functions[role]
        values = {**given, **rows, "n": n}
        try:
            return function(*(self._wrap(name, values[name]) for name in names))
        except Exception as error:
            error.add_note(f"in {self._name(role)} at time {given['t']}, for {n} particles")
            raise

    def _wrap(self, name: str, value: Any) -> Any:
        """Return an argument in the functions' own kind, with its fields named."""
        if name in LAYOUT:
            layout = self.layouts[LAYOUT[name]]
            own = value if self.array is None else self.array(np.asarray(value))
            if layout.fields is None:
                return own
            return layout.fields(*(own[..., k] for k in range(layout.width)))
        if name == "p" and self.array is not None:
            return type(value)(*(self.array(v) if isinstance(v, np.ndarray) else v for v in value))
        return value

    def _name(self, role: str) -> str:
        return f"{role} {where(self.functions[role][0])}"

    def _shape_error(self, role: str, came: Any, expected: Any) -> ValueError:
        return ValueError(
            f"{self._name(role)} must return shape {expected}, one entry for each particle; "
            f"it returned shape {came}"
        )


def _numpy(value: Any) -> Array:
    """Return what a function returned as a NumPy array, whatever kind of array it is."""
    for method in ("detach", "cpu"):
        value = getattr(value, method, lambda same=value: same)()
    return np.asarray(value)


def _described(value: Any) -> str:
    size = f" of {len(value)}" if isinstance(value, tuple) else ""
    return f"{type(value).__name__}{size}"
