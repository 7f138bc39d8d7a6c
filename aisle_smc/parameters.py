"""Read a prior the way a user writes it, and tell how all parameters follow from the free ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from aisle_smc.coordinates import Array, Coordinate, read_coordinate


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Hold where every parameter comes from.

    Attributes
    ----------
    varying : ndarray of int, shape (k,)
        Places, among all parameters, of those that are free or tied to a free one.
    source : ndarray of int, shape (k,)
        Their places among the free ones.
    fixed : ndarray of int, shape (m,)
        Places, among all parameters, of the constants.
    values : ndarray, shape (m,)
        The constants.
    """

    varying: NDArray[np.intp]
    source: NDArray[np.intp]
    fixed: NDArray[np.intp]
    values: Array

    @classmethod
    def of(
        cls, names: tuple[str, ...], constants: Mapping[str, float], ties: Mapping[str, str]
    ) -> Self:
        """Build the layout of parameters in order; those neither fixed nor tied are free."""
        free = [name for name in names if name not in constants and name not in ties]
        varying = [name for name in names if name not in constants]
        return cls(
            varying=np.array([names.index(name) for name in varying], dtype=np.intp),
            source=np.array([free.index(ties.get(name, name)) for name in varying], dtype=np.intp),
            fixed=np.array([names.index(name) for name in constants], dtype=np.intp),
            values=np.array(list(constants.values()), dtype=np.float64),
        )

    def spread(self, free: Array) -> Array:
        """Return all parameters: shape (..., d) to (..., k + m)."""
        out = np.empty(free.shape[:-1] + (self.varying.size + self.fixed.size,))
        out[..., self.varying] = free[..., self.source]
        out[..., self.fixed] = self.values
        return out

    def gather(self, gradients: Array, d: int) -> Array:
        """Apply the transpose of the linear part of `spread`: shape (..., k + m) to (..., d)."""
        out = np.zeros(gradients.shape[:-1] + (d,))
        for place, source in zip(self.varying, self.source, strict=True):
            out[..., source] += gradients[..., place]
        return out


def read_parameters(
    given: Mapping[str, Any],
) -> tuple[dict[str, Coordinate | float], dict[str, str]]:
    """Return every parameter's coordinate or constant, and the ties.

    Parameters
    ----------
    given : mapping from str to distribution, float or str
        What the user wrote.

    Returns
    -------
    tuple of dict
        For each parameter its own coordinate or constant or, if it is tied, those of the
        parameter at the end of its chain; and that end for each tied parameter.

    Raises
    ------
    TypeError, ValueError
        If something in the mapping is no prior.
    """
    if not isinstance(given, Mapping):
        raise TypeError(
            "a prior is a dict from parameter names to SciPy frozen distributions; "
            f"came {type(given).__name__}; write for example {{'mu': scipy.stats.norm(0, 10)}}"
        )
    if not given:
        raise ValueError(
            "a prior needs at least one parameter; came an empty dict; "
            "give every parameter of the model a distribution or a fixed number"
        )
    for name in given:
        if not isinstance(name, str):
            raise TypeError(
                f"parameter names are strings; came {name!r} of type {type(name).__name__}; "
                "use the field names of the model's parameters"
            )
    ties = resolve_ties(given)
    read: dict[str, Coordinate | float] = {}
    for name, value in given.items():
        if isinstance(value, Real) and not isinstance(value, bool):
            read[name] = constant(name, float(value))
        elif name not in ties:
            read[name] = read_coordinate(name, value)
    return {name: read[ties.get(name, name)] for name in given}, ties


def constant(name: str, value: float) -> float:
    """Return a number that fixes a parameter, or raise unless it is finite."""
    if not math.isfinite(value):
        raise ValueError(
            f"parameter {name!r} must be a finite number; came {value}; correct its value"
        )
    return value


def require_names(given: Iterable[str], names: Sequence[str], needed: Sequence[str]) -> None:
    """Raise unless all names given are known and all that are needed are there."""
    given = list(given)
    missing = [name for name in needed if name not in given]
    unknown = [name for name in given if name not in names]
    if missing or unknown:
        raise ValueError(
            f"expected the parameters {', '.join(names)}; "
            f"missing: {', '.join(missing) or 'none'}, unknown: {', '.join(unknown) or 'none'}"
            "; correct the names"
        )


def require_ties(values: Mapping[str, float], ties: Mapping[str, str]) -> None:
    """Raise if a tied parameter differs from the one it is tied to."""
    for name, end in ties.items():
        if name in values and values[name] != values[end]:
            raise ValueError(
                f"parameter {name!r} is tied to {end!r} and must equal it; came "
                f"{name} = {values[name]:g} and {end} = {values[end]:g}; leave {name!r} out"
            )


def read_box(bounds: Any, names: Sequence[str] | None) -> dict[str, Any]:
    """Return uniform distributions between bounds, by parameter name.

    Parameters
    ----------
    bounds : mapping from str to pair of float, or array_like, shape (d, 2)
        Lower and upper ends.
    names : sequence of str, optional
        Names for bounds without them; by default ``x0``, ``x1``, ...

    Raises
    ------
    TypeError
        If an item is not a pair of numbers.
    ValueError
        If there are none, names do not fit, or ends are not finite and in order.
    """
    if isinstance(bounds, Mapping):
        if names is not None and list(names) != list(bounds):
            raise ValueError(
                f"bounds by name bring their own names, {', '.join(map(str, bounds))}; came "
                f"names = {list(names)}; leave names out, or give the bounds as a list of pairs"
            )
        pairs = dict(bounds)
    else:
        if not hasattr(bounds, "__iter__") or isinstance(bounds, str):
            raise TypeError(
                "bounds must be a dict from names to pairs (low, high) or a sequence of pairs; "
                f"came {bounds!r}; write for example {{'x': (0.0, 1.0)}}"
            )
        rows = list(bounds)
        labels = [f"x{j}" for j in range(len(rows))] if names is None else list(names)
        if len(labels) != len(rows) or len(set(labels)) != len(labels):
            raise ValueError(
                f"expected one name of its own for each of {len(rows)} pairs of bounds; "
                f"came {labels}; correct the names"
            )
        pairs = dict(zip(labels, rows, strict=True))
    if not pairs:
        raise ValueError(
            "bounds need at least one pair (low, high); came none; give one for each parameter"
        )
    from scipy.stats import uniform

    found = {}
    for name, pair in pairs.items():
        low, high = _pair(name, pair)
        width = high - low
        while low + width > high:  # rounding must not carry a parameter past its bound
            width = math.nextafter(width, 0.0)
        found[name] = uniform(loc=low, scale=width)
    return found


def _pair(name: str, pair: Any) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in pair)
    except (TypeError, ValueError):
        raise TypeError(
            f"the bounds of {name!r} must be a pair of numbers (low, high); came {pair!r}; "
            "write for example (0.0, 1.0)"
        ) from None
    if not (math.isfinite(low) and math.isfinite(high) and math.isfinite(high - low)):
        raise ValueError(
            f"the bounds of {name!r} must be finite; came ({low:g}, {high:g}); "
            "give it a proper prior instead, such as scipy.stats.norm(0, 10)"
        )
    if not low < high:
        fault = "which are equal" if low == high else "which are in the wrong order"
        raise ValueError(
            f"the bounds of {name!r} must have low < high; came ({low:g}, {high:g}), {fault}; "
            + ("fix the parameter with a number in a prior" if low == high else "swap them")
        )
    return low, high


def resolve_ties(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the untied parameter behind each tied one.

    Parameters
    ----------
    given : mapping from str to object
        Parameters in order; a string is the name of the parameter that this one equals.

    Returns
    -------
    dict from str to str
        The end of every chain of ties.

    Raises
    ------
    TypeError
        If a string names no parameter.
    ValueError
        If a parameter is tied to itself, directly or in a ring.

    Examples
    --------
    >>> resolve_ties({"a": 1.0, "b": "a", "c": "b"})
    {'b': 'a', 'c': 'a'}
    """
    ends = {}
    for name, value in given.items():
        if not isinstance(value, str):
            continue
        path = [name]
        target: Any = value
        while isinstance(target, str):
            if target not in given:
                raise TypeError(_unknown(path[-1], target, given))
            if target in path:
                raise ValueError(
                    f"a tie must end at a parameter that has a prior or a fixed number; {name!r} "
                    f"came with the ring {' = '.join([*path, target])}; "
                    "give one of them a distribution"
                )
            path.append(target)
            target = given[target]
        ends[name] = path[-1]
    return ends


def _unknown(name: str, target: str, given: Mapping[str, Any]) -> str:
    others = [other for other in given if other != name]
    close = get_close_matches(target, others, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return (
        f"the prior of {name!r} must be a SciPy frozen continuous distribution, a fixed number or "
        f"the name of the parameter that it equals; came {target!r}, which is none of "
        f"{', '.join(others) or 'the others (there are none)'}{hint}; correct the name, or "
        "use a proper distribution, however wide: improper and flat priors are not supported"
    )
