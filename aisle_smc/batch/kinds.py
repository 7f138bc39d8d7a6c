"""The kinds of task: what each is called with, how it is checked before and how it runs."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from aisle_smc.arguments import check_count
from aisle_smc.batch.fits import FILTER, FIT
from aisle_smc.batch.limits import Limits
from aisle_smc.batch.outcome import Call, Outcome
from aisle_smc.batch.scores import SCORE
from aisle_smc.batch.tasks import Task
from aisle_smc.batch.words import check_keys, did_you_mean

__all__ = ["KINDS", "Kind", "kind_of", "preparation"]

# Points of the run that compiles a sampler.
_TINY = 20


class Kind(Protocol):
    """One kind of task."""

    @property
    def subject(self) -> str:
        """The option that says what the task is about."""

    @property
    def judged(self) -> Container[str] | None:
        """The options whose values are looked at before; None for all."""

    def check(self, options: Mapping[str, Any], data: Any, limits: Limits) -> None:
        """Raise ``ValueError`` or ``TypeError`` for options that cannot work."""

    def prepare(self, options: Mapping[str, Any], data: Any) -> None:
        """Compile what the task will use, and raise if it does not compile."""

    def run(self, call: Call) -> Outcome:
        """Do the work."""


@dataclass(frozen=True, slots=True)
class _Function:
    """Any picklable function.

    It is called with the options as keywords, and with those of ``data``, ``rng``, ``seed``,
    ``max_evaluations`` and ``checkpoint`` that its signature names.  What it returns is kept; a
    number, or the numbers and texts of a mapping, also stand in the table.
    """

    subject: str = "function"
    judged: Container[str] | None = frozenset({"function", "data"})

    def check(self, options: Mapping[str, Any], data: Any, limits: Limits) -> None:
        function = options["function"]
        if not callable(function):
            raise TypeError(f"function must be callable; got {function!r}")
        signature = _signature(function)
        if signature is None:
            return
        names = set(signature.parameters)
        if limits.evaluations is not None and "max_evaluations" not in names:
            raise ValueError(
                f"{_name(function)} has a limit of evaluations and takes no max_evaluations"
            )
        offered = {"rng", "seed", "data", "max_evaluations", "checkpoint"} & names
        given = {k: v for k, v in options.items() if k not in {"function", "data"}}
        if data is not None and "data" not in names:
            raise ValueError(f"{_name(function)} is given data and takes no argument `data`")
        try:
            signature.bind(**(dict.fromkeys(offered) | given))
        except TypeError as error:
            unknown = next((k for k in given if k not in names), "")
            raise TypeError(
                f"{_name(function)}{signature} cannot be called with {', '.join(given)}: {error}"
                f"{did_you_mean(unknown, names) if unknown else ''}"
            ) from None

    def prepare(self, options: Mapping[str, Any], data: Any) -> None:
        """Do nothing: only calling it would compile it."""

    def run(self, call: Call) -> Outcome:
        function = call.options["function"]
        given = {k: v for k, v in call.options.items() if k not in {"function", "data"}}
        signature = _signature(function)
        names = set() if signature is None else set(signature.parameters)
        offered: dict[str, Callable[[], Any]] = {
            "rng": call.task.generator,
            "seed": lambda: call.task.number,
            "data": lambda: call.data,
            "max_evaluations": lambda: call.task.limits.evaluations,
            "checkpoint": lambda: call.checkpoint,
        }
        for name, make in offered.items():
            if name in names and name not in given:
                given[name] = make()
        value = function(**given)
        return Outcome(values=_columns(value), value=value)


@dataclass(frozen=True, slots=True)
class _Sample:
    """:func:`aisle_smc.sample` of a target under a prior."""

    subject: str = "target"
    judged: Container[str] | None = None
    known: tuple[str, ...] = field(
        default=(
            "target", "prior", "init", "bounds", "periodic", "names", "vectorized", "ess",
            "evidence_error", "max_evaluations", "n", "path",
        )
    )  # fmt: skip

    def check(self, options: Mapping[str, Any], data: Any, limits: Limits) -> None:
        check_keys("a sample", options, self.known)
        if data is not None:
            raise ValueError("a sample takes no data; the target holds its own")
        if not callable(options["target"]) and not hasattr(options["target"], "fingerprint"):
            raise TypeError(f"target must be callable; got {options['target']!r}")
        if not any(options.get(name) is not None for name in ("prior", "init", "bounds")):
            raise ValueError("a sample needs a prior, or bounds, or init")
        _check_aim(options)

    def prepare(self, options: Mapping[str, Any], data: Any) -> None:
        """Compile the engine, and the target if it is a Numba function, by a tiny run."""
        from aisle_smc.sampling import sample
        from aisle_smc.sampling.request import read_request
        from aisle_smc.targets.target import as_target

        names = ("prior", "init", "bounds", "names", "periodic")
        given = {name: options[name] for name in names if options.get(name) is not None}
        prior, init, bounds, labels = (given.get(name) for name in names[:4])
        read_request(prior, init, bounds, labels, 0)
        target = as_target(options["target"]).function
        compiled = hasattr(target, "py_func")
        # What a target does wrong is for its tasks to say, with their own seeds.
        with contextlib.suppress(Exception):
            sample(
                target if compiled else _bowl,
                **given,
                vectorized=options.get("vectorized") if compiled else True,
                n=_TINY,
                max_evaluations=(5 if compiled else 50) * _TINY,
                workers=1,
                progress=False,
            )

    def run(self, call: Call) -> Outcome:
        from aisle_smc.sampling import sample

        given = dict(call.options)
        most = [given.get("max_evaluations"), call.task.limits.evaluations]
        given["max_evaluations"] = min((m for m in most if m is not None), default=None)
        result = sample(
            given.pop("target"),
            given.pop("prior", None),
            **given,
            workers=1,
            file=call.checkpoint,
            progress=False,
            seed=call.task.number,
        )
        return Outcome(
            values={
                "log_evidence": result.log_evidence,
                "log_evidence_error": result.log_evidence_error,
                "khat": result.khat,
                "ess": result.ess,
                "evaluations": result.evaluations,
                "trusted": result.trusted,
                "stopped": result.stopped,
                **_named("mean", result.names, result.mean),
                **_named("sd", result.names, result.sd),
            },
            value={"words": repr(result)},
            tree=result.to_arviz,
        )


KINDS: Mapping[str, Kind] = {
    "fit": FIT,
    "filter": FILTER,
    "score": SCORE,
    "sample": _Sample(),
    "function": _Function(),
}


def kind_of(name: str) -> Kind:
    """Return the kind of that name, or raise and name the nearest."""
    if name not in KINDS:
        raise ValueError(
            f"no kind of task {name!r}; there are {', '.join(KINDS)}{did_you_mean(name, KINDS)}"
        )
    return KINDS[name]


def preparation(task: Task) -> tuple[Any, ...]:
    """Return a key: tasks that share it, in one process, are prepared together."""
    options = task.options
    subject, proposal = options[kind_of(task.kind).subject], options.get("proposal")
    return task.kind, options.get("data"), id(subject), id(proposal)


def _bowl(theta: Any) -> Any:
    """Return a log-density that costs nothing, at a batch of points."""
    return -0.5 * np.sum(np.square(theta), axis=-1)


def _check_aim(options: Mapping[str, Any]) -> None:
    """Raise for what a sample cannot aim at, and for stages that cannot work."""
    from aisle_smc.sampling.aim import Aim
    from aisle_smc.sampling.sample import LEAST
    from aisle_smc.tempering import Temperature, Threshold

    Aim(
        ess=options.get("ess", 1.0),
        evidence_error=options.get("evidence_error", 1.0),
        max_evaluations=options.get("max_evaluations"),
    )
    n, path = options.get("n"), options.get("path")
    if n is not None:
        check_count("n", n)
        if n < LEAST:
            raise ValueError(f"n must be at least {LEAST} points for a stage; got {n}")
    if path is not None and not isinstance(path, Temperature | Threshold):
        raise TypeError(f"path must be a Temperature or a Threshold; got {path!r}")


def _named(what: str, names: Sequence[str], values: Any) -> dict[str, float]:
    return {f"{what}.{name}": float(value) for name, value in zip(names, values, strict=True)}


def _columns(value: Any) -> dict[str, Any]:
    """Return what of a value fits into a table."""
    if isinstance(value, Mapping):
        columns: dict[str, Any] = {}
        for key in value:
            held = _scalar(value[key])
            if held is not None:
                columns[str(key)] = held
        return columns
    held = _scalar(value)
    return {} if held is None else {"value": held}


def _scalar(value: Any) -> Any:
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    return value if isinstance(value, bool | int | float | str) else None


def _signature(function: Any) -> inspect.Signature | None:
    """Return what a function takes; None for a built-in that does not say."""
    try:
        return inspect.signature(getattr(function, "py_func", function))
    except (TypeError, ValueError):
        return None


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", function))
