"""Tasks about state-space models: fits of a model to a series, and filters of a series."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from aisle_smc.arguments import check_count, check_resampler, check_threshold
from aisle_smc.batch.limits import Limits
from aisle_smc.batch.outcome import Call, Outcome
from aisle_smc.batch.series import Series, as_series
from aisle_smc.batch.words import check_keys, label
from aisle_smc.ssm.description import Model
from aisle_smc.ssm.evidence import EvidenceFilter
from aisle_smc.ssm.proposals import Bootstrap, check_proposal
from aisle_smc.streams import stream

__all__ = ["FILTER", "FIT"]

EVIDENCE_DRAWS = 1000
_WRITERS = ("arviz_base", "arviz_stats", "xarray", "netCDF4")


@dataclass(frozen=True, slots=True)
class _Fit:
    """:func:`aisle_smc.ssm.pmmh` of a model on a series, with the model's evidence.

    Besides the options of ``pmmh`` it takes ``evidence_draws``, the draws of the evidence
    estimate: 1000, and 0 for no estimate.
    """

    subject: str = "model"
    judged: Container[str] | None = None
    known: tuple[str, ...] = (
        "model", "data", "n", "draws", "tune", "chains", "proposal", "resampler", "threshold",
        "correlation", "initial", "evidence_draws",
    )  # fmt: skip

    def check(self, options: Mapping[str, Any], data: Any, limits: Limits) -> None:
        check_keys("a fit", options, self.known)
        missing = [name for name in _WRITERS if find_spec(name) is None]
        if missing:
            raise ValueError(
                f"fits are written as ArviZ files, which needs {', '.join(missing)}: "
                "pip install 'aisle-smc[report]'"
            )
        model = _model(options)
        _check_chains(options, model, _fitting(model, data))
        if model.prior is None or not model.prior.free:
            raise ValueError(f"the model {label(model)} has no prior, and a fit draws from one")
        _check_initial(options, model)
        planned = _evaluations(options)
        if limits.evaluations is not None and planned > limits.evaluations:
            raise ValueError(
                f"a fit of {planned} filter runs exceeds the limit of {limits.evaluations} "
                "evaluations; choose fewer draws, tune, chains or evidence_draws"
            )

    def prepare(self, options: Mapping[str, Any], data: Any) -> None:
        model, series = options["model"], as_series(data)
        prior = model.prior
        values = prior.with_constants(prior.sample(stream(0), 1)[0])
        params = dict(zip(prior.names, np.asarray(values).tolist(), strict=True))
        y, u = _start(series)
        with _trying(model):
            run = EvidenceFilter(
                model, y, 8, u=u, proposal=options.get("proposal", Bootstrap()), keep_paths=True
            )
            run(model.parameters(params), stream(0))

    def run(self, call: Call) -> Outcome:
        from aisle_smc.ssm.pmmh import pmmh

        given, series = dict(call.options), as_series(call.data)
        del given["data"]
        draws = given.pop("evidence_draws", EVIDENCE_DRAWS)
        seed = call.task.number
        posterior = pmmh(
            given.pop("model"), series.y, u=series.u, **given, file=call.checkpoint,
            workers=call.threads, progress=False, seed=seed,
        )  # fmt: skip
        values: dict[str, Any] = {}
        if draws:
            posterior = posterior.with_evidence(draws, seed=seed, workers=call.threads)
            found = posterior.log_evidence
            values |= {
                "log_evidence": found.value,
                "log_evidence_error": found.error,
                "khat": found.khat,
            }
        summary = {row.name: row.values for row in posterior.summary().rows}
        ess = [min(row["ess_bulk"], row["ess_tail"]) for row in summary.values()]
        values |= {
            "ess": float(np.min(ess)),
            "r_hat": float(np.max([row["r_hat"] for row in summary.values()])),
            "acceptance": float(np.mean(posterior.acceptance)),
            "particles": posterior.n,
            "evaluations": _evaluations(call.options),
        }
        for name, row in summary.items():
            values |= {f"mean.{name}": row["mean"], f"sd.{name}": row["sd"]}

        def tree() -> Any:
            found = posterior.to_arviz()
            if series.time is not None:
                for name, group in found.children.items():
                    if "time" in group.dims:
                        found[name].dataset = group.to_dataset().assign_coords(time=series.time)
            return found

        return Outcome(values=values, value={"summary": summary}, tree=tree)


@dataclass(frozen=True, slots=True)
class _Filter:
    """:func:`aisle_smc.ssm.particle_filter` of a series at given parameters: its log-evidence."""

    subject: str = "model"
    judged: Container[str] | None = None
    known: tuple[str, ...] = (
        "model", "data", "params", "n", "proposal", "resampler", "threshold"
    )  # fmt: skip

    def check(self, options: Mapping[str, Any], data: Any, limits: Limits) -> None:
        check_keys("a filter", options, self.known)
        if limits.evaluations is not None:
            raise ValueError(
                "a filter runs once and counts no evaluations, so that the limit of "
                f"{limits.evaluations} evaluations means nothing; leave it out, or limit its time"
            )
        for name in ("params", "n"):
            if name not in options:
                raise ValueError(f"a filter needs {name}")
        check_count("n", options["n"])
        for name, check in (
            ("proposal", check_proposal),
            ("resampler", check_resampler),
            ("threshold", check_threshold),
        ):
            if name in options:
                check(options[name])
        model = _model(options)
        _fitting(model, data)
        model.parameters(_all_values(model, options["params"]))

    def prepare(self, options: Mapping[str, Any], data: Any) -> None:
        from aisle_smc.ssm.filters import particle_filter

        model, (y, u) = options["model"], _start(as_series(data))
        proposal = options.get("proposal", Bootstrap())
        with _trying(model):
            params = _all_values(model, options["params"])
            particle_filter(model, params, y, 8, u=u, proposal=proposal)

    def run(self, call: Call) -> Outcome:
        from aisle_smc.ssm.filters import particle_filter

        given, series = dict(call.options), as_series(call.data)
        del given["data"]
        model = given.pop("model")
        result = particle_filter(
            model, _all_values(model, given.pop("params")), series.y, given.pop("n"), u=series.u,
            **given, seed=call.task.number,
        )  # fmt: skip
        return Outcome(
            values={
                "log_evidence": result.log_evidence,
                "log_evidence_error": result.log_evidence_error,
                "ess": float(result.ess.min()),
                "particles": result.n,
            },
            value={"log_evidence_increments": result.log_evidence_increments},
        )


FIT, FILTER = _Fit(), _Filter()


def _model(options: Mapping[str, Any]) -> Any:
    model = options["model"]
    if not isinstance(model, Model):
        raise TypeError(
            f"model must be a StateSpaceModel, VectorModel or PythonModel; got {model!r}"
        )
    return model


def _check_chains(options: Mapping[str, Any], model: Any, series: Series) -> None:
    """Raise for options of chains, and of their filter, that cannot work."""
    from aisle_smc.ssm.pmmh import _check_blocks

    for name in ("draws", "chains"):
        check_count(name, options.get(name, 1))
    for name in ("tune", "evidence_draws"):
        value = options.get(name, 1)
        if isinstance(value, bool) or value != 0:  # none of them is a choice
            check_count(name, value)
    if options.get("n") is not None:
        check_count("n", options["n"])
    y, u = _start(series)
    held = {k: options[k] for k in ("proposal", "resampler", "threshold") if k in options}
    EvidenceFilter(model, y, 1, u=u, **held)
    if options.get("correlation") is not None:
        _check_blocks(options["correlation"], model, series.y.shape[0])


def _check_initial(options: Mapping[str, Any], model: Any) -> None:
    """Raise for places where chains cannot start."""
    from aisle_smc.ssm.pmmh import _starts

    initial = options.get("initial")
    try:
        _starts(model.prior, initial, options.get("chains", 4))
    except (ValueError, TypeError, LookupError) as error:
        raise ValueError(
            f"initial must hold values of {', '.join(model.prior.free)}; got {initial!r}: {error}"
        ) from error


def _fitting(model: Any, data: Any) -> Series:
    """Return the series, or raise because the model cannot see it."""
    if data is None:
        raise ValueError(f"the model {label(model)} needs data: name one of the study's")
    series = as_series(data)
    model.covariate_rows(series.u, model.observations(series.y).shape[0])
    return series


def _all_values(model: Any, params: Any) -> Any:
    """Return parameters with those that the prior fixes filled in."""
    if isinstance(params, Mapping) and model.prior is not None:
        return dict(model.prior.constants) | dict(params)
    return params


def _evaluations(options: Mapping[str, Any]) -> int:
    """Return how many runs of a filter a fit takes."""
    steps = int(options.get("tune", 1000)) + int(options.get("draws", 1000))
    return steps * int(options.get("chains", 4)) + int(
        options.get("evidence_draws", EVIDENCE_DRAWS)
    )


@contextlib.contextmanager
def _trying(model: Any) -> Iterator[None]:
    """Say which model it is that does not run."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"the model {label(model)} does not run: {type(error).__name__}: {error}"
        ) from error


def _start(series: Series) -> tuple[Any, Any]:
    """Return the first two observations, with their covariates: enough to compile everything."""
    return series.y[:2], None if series.u is None else series.u[:2]
