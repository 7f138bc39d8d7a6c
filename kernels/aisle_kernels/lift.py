"""Per-particle functions become population functions.

A model is written for one particle, as in a book.  The source of the loops over particles is
generated here, with the user's functions called by the argument names they declare, and compiled
with everything inlined.  The generated functions share one calling convention:

    start(rng, p, ys, us, x, log_g)
    move(rng, t, p, ys, us, x_prev, ancestors, x, log_g)
    look_ahead(t, p, ys, us, x, log_eta)
    log_transition(t, p, ys, us, x_prev, x, log_p)
    observe(rng, t, p, ys, us, x, x_prev, y)

``start`` draws ``x`` and weighs it; ``move`` draws ``x[i]`` from ``x_prev[ancestors[i]]`` and
weighs it; ``look_ahead`` weighs states at ``t - 1`` for observation ``t``; ``log_p[i, j]`` is the
log-density of a move from ``x_prev[j]`` to ``x[i]``; ``observe`` draws an observation of each
state, with ``ys[i]`` the one before.

``ys`` is (T,) or (T, k), ``us`` is (T,) or (T, k) or (T, 0); an observation whose components are
all NaN is missing: it weighs nothing, and no proposal looks at it.
"""

from __future__ import annotations

import linecache
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from aisle_kernels._jit import specialised
from aisle_kernels.noise import normals

# Doubles in the widest vector.
LANES = 8

# Unsigned, for a signed index that does not start from zero might count from the end of the array,
# and the question keeps the loop from being vectorised.
_PARTICLES = "for i in range(uint64(first), uint64(last)):"


@dataclass(frozen=True)
class Layout:
    """How one particle's state, one observation or one row of covariates is stored.

    ``width`` is 0 for a number and the number of columns otherwise; ``fields`` is the NamedTuple
    class that wraps a row, or None when the row itself is handed over.
    """

    width: int = 0
    fields: type | None = None

    def load(self, array: str, index: str, wrapper: str) -> str:
        """Return the source that reads one element."""
        if self.width == 0:
            return f"{array}[{index}]"
        if self.fields is None:
            return f"{array}[{index}]"
        columns = ", ".join(f"{array}[{index}, {k}]" for k in range(self.width))
        return f"{wrapper}({columns})"


@dataclass(frozen=True)
class Lifted:
    """The population functions of one model, as far as its functions allow."""

    start: Callable[..., None]
    move: Callable[..., None]
    move_block: Callable[..., None]
    look_ahead: Callable[..., None] | None
    log_transition: Callable[..., None] | None
    observe: Callable[..., None] | None
    source: str


@dataclass(frozen=True)
class Recipe:
    """What is lifted: hashable, so that one model is compiled once per process.

    ``functions`` maps a role to the compiled function and the names of its arguments.
    ``components`` is the number of log-densities that ``log_observation`` returns, 0 for one.
    ``guided`` draws from ``proposal`` instead of ``transition``.
    """

    functions: tuple[tuple[str, Callable[..., Any], tuple[str, ...]], ...]
    state: Layout
    observation: Layout
    covariates: Layout
    components: int
    guided: bool

    def names(self) -> Mapping[str, tuple[str, ...]]:
        """Return the argument names of each function by role."""
        return {role: names for role, _, names in self.functions}


def _call(recipe: Recipe, role: str, **bindings: str) -> str:
    names = recipe.names()[role]
    return f"user_{role}({', '.join(bindings[name] for name in names)})"


def _store(recipe: Recipe, target: str, index: str, value: str, indent: str) -> list[str]:
    """Return the lines that put a new state into row `index` of `target`."""
    layout = recipe.state
    if layout.width == 0:
        return [f"{indent}{target}[{index}] = {value}"]
    if layout.fields is None:
        return [f"{indent}{value}"]
    lines = [f"{indent}new = {value}"]
    return lines + [f"{indent}{target}[{index}, {k}] = new[{k}]" for k in range(layout.width)]


def _row(recipe: Recipe, time: str, previous: str | None) -> list[str]:
    """Return the lines that fetch what belongs to one time: y, y_prev, u and what is observed."""
    y, u = recipe.observation, recipe.covariates
    lines = [f"    y = {y.load('ys', time, 'Observation')}"]
    if previous is None:
        nan = "nan" if y.width == 0 else f"Observation({', '.join(['nan'] * y.width)})"
        nan = "ys[0] * nan" if y.width and y.fields is None else nan
        lines.append(f"    y_prev = {nan}")
    else:
        lines.append(f"    y_prev = {y.load('ys', previous, 'Observation')}")
    lines.append(f"    u = {u.load('us', time, 'Covariates')}")
    if y.width == 0:
        lines.append("    observed = not isnan(y)")
    else:
        lines.append("    observed = False")
        lines.append(f"    for k in range({y.width}):")
        lines.append(f"        observed = observed or not isnan(ys[{time}, k])")
    return lines


def _log_observation(recipe: Recipe, time: str, x: str, x_prev: str) -> tuple[list[str], str]:
    """Return lines to run for one particle and the expression of its log-observation density."""
    call = _call(recipe, "log_observation", y="y", x=x, x_prev=x_prev, y_prev="y_prev", p="p",
                 t=time, u="u")  # fmt: skip
    if recipe.components == 0:
        return [], call
    lines = [f"parts = {call}", "total = 0.0"]
    for k in range(recipe.components):
        lines += [f"if not isnan(ys[{time}, {k}]):", f"    total += parts[{k}]"]
    return lines, "total"


def _draw(recipe: Recipe, role: str, load: list[str], **bindings: str) -> list[str]:
    """Return the loop that draws new states, with normals made in blocks if they are named."""
    layout = recipe.state
    noise, z = [], "x[i]"
    if "z" in recipe.names()[role]:
        # The noise of a state is written where the state will be, unless a row is read from there.
        in_place = layout.width == 0 or layout.fields is not None
        noise = ["    normals(rng, x, first, last)"]
        noise = (
            noise if in_place else ["    z = empty(x.shape)", "    normals(rng, z, first, last)"]
        )
        z = layout.load("x" if in_place else "z", "i", "State")
    call = _call(recipe, role, rng="rng", p="p", u="u", y="y", z=z, out="x[i]", **bindings)
    loop = [f"    {_PARTICLES}", *(f"        {line}" for line in load)]
    return [*noise, *loop, *_store(recipe, "x", "i", call, " " * 8)]


def _weigh(recipe: Recipe, name: str, time: str, previous: str, extra: str) -> list[str]:
    """Return the function that weighs the particles of one block."""
    lines, density = _log_observation(recipe, time, "xi", "xp")
    load = [f"xi = {recipe.state.load('x', 'i', 'State')}"]
    load += [f"xp = {previous}"] if previous else []
    out = [f"def {name}(t, p, ys, us, x_prev, ancestors, x, log_g, first, last):"]
    out += _row(recipe, time, None if time == "0" else "t - 1")
    out += ["    if observed:", f"        {_PARTICLES}"]
    out += [f"            {line}" for line in load + lines]
    out += [f"            log_g[i] = {density}{extra}"]
    return [*out, "    else:", f"        {_PARTICLES}", "            log_g[i] = 0.0"]


def _weigh_all(name: str, time: str, ancestors: str) -> list[str]:
    """Return the calls that weigh a block of particles, the last few in a group of LANES.

    A loop over a number that no vector divides ends in scalar steps, which cost more than the
    loop.  Weighing some particles twice costs nothing and changes nothing.
    """
    call = f"{name}({time}, p, ys, us, x_prev, {ancestors}, x, log_g, "
    return [
        "    whole = first + (last - first) // LANES * LANES",
        f"    {call}first, whole)",
        "    if whole < last:",
        f"        {call}max(last - LANES, 0), last)",
    ]


def _look_and_draw(
    recipe: Recipe, role: str, blind: str, load: list[str], **bindings: str
) -> list[str]:
    """Return the lines that draw by `role`, by `blind` where there is no observation."""
    lines = _draw(recipe, role, load, **bindings)
    if role == blind:
        return lines
    otherwise = _draw(recipe, blind, load, **bindings)
    lines = ["    if observed:", *(f"    {line}" for line in lines)]
    return [*lines, "    else:", *(f"    {line}" for line in otherwise)]


def _start(recipe: Recipe) -> list[str]:
    names = recipe.names()
    guided = recipe.guided and "initial_proposal" in names
    role = "initial_proposal" if guided else "initial"
    extra = ""
    if guided:
        plus = _call(recipe, "log_initial", x="xi", p="p", t="0", u="u")
        minus = _call(recipe, "log_initial_proposal", x="xi", y="y", p="p", t="0", u="u")
        extra = f" + {plus} - {minus}"
    # Before the first time there is no state: a density that asks for it is handed the state.
    previous = "xi" if "x_prev" in names["log_observation"] else ""
    lines = _weigh(recipe, "weigh_start", "0", previous, extra)
    lines += ["", "", "def start(rng, p, ys, us, x, log_g):", *_row(recipe, "0", None)]
    lines += [
        "    x_prev, first, last = x, 0, x.shape[0]",
        *_look_and_draw(recipe, role, "initial", [], t="0"),
    ]
    # `weigh_start` reads no ancestors; any array stands in for them.
    return lines + _weigh_all("weigh_start", "0", "log_g")


def _move(recipe: Recipe) -> list[str]:
    names = recipe.names()
    role = "proposal" if recipe.guided else "transition"
    extra = ""
    if recipe.guided:
        bindings = {"x": "xi", "x_prev": "xp", "y_prev": "y_prev", "p": "p", "t": "t", "u": "u"}
        plus = _call(recipe, "log_transition", **bindings)
        minus = _call(recipe, "log_proposal", y="y", **bindings)
        extra = f" + {plus} - {minus}"
    previous = recipe.state.load("x_prev", "ancestors[i]", "State")
    needs_previous = recipe.guided or "x_prev" in names["log_observation"]
    lines = _weigh(recipe, "weigh", "t", previous if needs_previous else "", extra)
    lines += [
        "",
        "",
        "def move_block(rng, t, p, ys, us, x_prev, ancestors, x, log_g, first, last):",
    ]
    lines += _row(recipe, "t", "t - 1")
    before = {"x": "xp", "x_prev": "xp", "y_prev": "y_prev", "t": "t"}
    lines += _look_and_draw(recipe, role, "transition", [f"xp = {previous}"], **before)
    lines += _weigh_all("weigh", "t", "ancestors")
    return [
        *lines,
        "",
        "",
        "def move(rng, t, p, ys, us, x_prev, ancestors, x, log_g):",
        "    move_block(rng, t, p, ys, us, x_prev, ancestors, x, log_g, 0, x.shape[0])",
    ]


def _look_ahead(recipe: Recipe) -> list[str]:
    call = _call(recipe, "log_lookahead", y="y", x="xi", y_prev="y_prev", p="p", t="t", u="u")
    return [
        "def look_ahead(t, p, ys, us, x, log_eta):",
        *_row(recipe, "t", "t - 1"),
        "    for i in range(x.shape[0]):",
        f"        xi = {recipe.state.load('x', 'i', 'State')}",
        f"        log_eta[i] = {call} if observed else 0.0",
    ]


def _log_transition(recipe: Recipe) -> list[str]:
    call = _call(recipe, "log_transition", x="xi", x_prev="xp", y_prev="y_prev", p="p", t="t",
                 u="u")  # fmt: skip
    return [
        "def log_transition(t, p, ys, us, x_prev, x, log_p):",
        *_row(recipe, "t", "t - 1"),
        "    for i in range(x.shape[0]):",
        f"        xi = {recipe.state.load('x', 'i', 'State')}",
        "        for j in range(x_prev.shape[0]):",
        f"            xp = {recipe.state.load('x_prev', 'j', 'State')}",
        f"            log_p[i, j] = {call}",
    ]


def _observe(recipe: Recipe) -> list[str]:
    layout = recipe.observation
    call = _call(recipe, "observe", rng="rng", x="xi", x_prev="xp", y_prev="y_prev", p="p",
                 t="t", u="u", out="y[i]")  # fmt: skip
    lines = [
        "def observe(rng, t, p, ys, us, x, x_prev, y):",
        f"    u = {recipe.covariates.load('us', 't', 'Covariates')}",
        "    for i in range(x.shape[0]):",
        f"        y_prev = {layout.load('ys', 'i', 'Observation')}",
        f"        xi = {recipe.state.load('x', 'i', 'State')}",
        f"        xp = {recipe.state.load('x_prev', 'i', 'State')}",
    ]
    if layout.width == 0:
        return [*lines, f"        y[i] = {call}"]
    if layout.fields is None and "out" in recipe.names()["observe"]:
        return [*lines, f"        {call}"]
    lines.append(f"        new = {call}")
    return lines + [f"        y[i, {k}] = new[{k}]" for k in range(layout.width)]


@lru_cache(maxsize=256)
def lift(recipe: Recipe) -> Lifted:
    """Compile the population functions of a model.

    Nothing is validated: the caller has checked names, roles and return types.
    """
    names = recipe.names()
    parts = {"start": _start(recipe), "move": _move(recipe)}
    for name, role, build in (
        ("look_ahead", "log_lookahead", _look_ahead),
        ("log_transition", "log_transition", _log_transition),
        ("observe", "observe", _observe),
    ):
        if role in names:
            parts[name] = build(recipe)
    source = "\n\n".join("\n".join(lines) for lines in parts.values()) + "\n"
    filename = f"<lifted model {zlib.crc32(source.encode()):08x}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = {
        "isnan": math.isnan,
        "nan": math.nan,
        "LANES": LANES,
        "empty": np.empty,
        "uint64": np.uint64,
        "normals": normals,
        "State": recipe.state.fields,
        "Observation": recipe.observation.fields,
        "Covariates": recipe.covariates.fields,
    }
    namespace.update((f"user_{role}", function) for role, function, _ in recipe.functions)
    exec(compile(source, filename, "exec"), namespace)
    for name in ("weigh_start", "weigh", "move_block"):
        namespace[name] = specialised(namespace[name])
    compiled = {name: specialised(namespace[name]) for name in parts}
    return Lifted(
        start=compiled["start"],
        move=compiled["move"],
        move_block=namespace["move_block"],
        look_ahead=compiled.get("look_ahead"),
        log_transition=compiled.get("log_transition"),
        observe=compiled.get("observe"),
        source=source,
    )
