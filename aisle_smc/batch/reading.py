"""Studies from TOML files: every mistake is reported, with its place, before anything runs."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from aisle_smc.batch.grid import Grid
from aisle_smc.batch.kinds import kind_of
from aisle_smc.batch.limits import Limits, read_bytes, read_seconds
from aisle_smc.batch.named import by_name, model_by_name, proposal_by_name, resampler_by_name
from aisle_smc.batch.series import Series, read_series, shipped
from aisle_smc.batch.words import check_keys, did_you_mean, label

__all__ = ["read_study"]

STUDY = ("name", "seed", "replicates", "limits", "data", "models", "task")
TASK = ("kind", "priority", "limits", "options", "over")
DATA = ("file", "columns", "covariates", "time", "series", "first", "last")
MODEL = ("source", "options")


def read_study(path: str | Path) -> dict[str, Any]:
    """Return what a TOML file says, as the arguments of :class:`aisle_smc.batch.Study`.

    Parameters
    ----------
    path : path
        The file.  Other files that it names are looked for from its folder.

    Raises
    ------
    ValueError
        For anything unknown, missing or empty: the key, its table and the nearest known key.
    """
    path = Path(path)
    if not path.is_file():
        near = [p.name for p in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        raise ValueError(f"no study file {path}{did_you_mean(path.name, near)}")
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from None
    check_keys(str(path), said, STUDY)
    folder = path.resolve().parent
    data = {
        name: _part(f"{path}, [data.{name}]", partial(_data, table, folder))
        for name, table in _tables(path, said, "data").items()
    }
    models = {
        name: _part(f"{path}, [models.{name}]", partial(_model, table, folder))
        for name, table in _tables(path, said, "models").items()
    }
    tasks = said.get("task", [])
    if isinstance(tasks, dict):
        tasks = [tasks]
    if not isinstance(tasks, list) or not tasks:
        raise ValueError(f"{path} has no tasks; write at least one table [[task]]")
    grids = [
        _part(f"{path}, [[task]] number {k + 1}", partial(_grid, table, folder, models, data))
        for k, table in enumerate(tasks)
    ]
    return {
        "name": said.get("name", path.stem),
        "tasks": tuple(grids),
        "data": data,
        "seed": said.get("seed", 0),
        "replicates": said.get("replicates", 1),
        "limits": _part(f"{path}, [limits]", partial(_limits, said.get("limits", {}))),
    }


def _part(where: str, read: Callable[[], Any]) -> Any:
    """Read a part of the file, and say in which part a mistake is."""
    try:
        return read()
    except (ValueError, TypeError, OSError) as error:
        raise ValueError(f"{where}: {error}") from error


def _tables(path: Path, said: Mapping[str, Any], key: str) -> dict[str, Any]:
    tables = said.get(key, {})
    if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
        raise ValueError(f"{path}: {key} must be tables [{key}.NAME]")
    return tables


def _limits(table: Mapping[str, Any]) -> Limits:
    check_keys("limits", table, ("seconds", "memory", "evaluations"))
    return Limits(
        seconds=read_seconds(table["seconds"]) if "seconds" in table else None,
        memory=read_bytes(table["memory"]) if "memory" in table else None,
        evaluations=table.get("evaluations"),
    )


def _data(table: Mapping[str, Any], folder: Path) -> Series:
    check_keys("data", table, DATA)
    if ("file" in table) == ("series" in table):
        raise ValueError("say either file = a CSV file, or series = one that comes with us")
    if "series" in table:
        only = {"columns", "covariates", "time"} & set(table)
        if only:
            raise ValueError(f"{', '.join(sorted(only))} choose columns of a file")
        series = shipped(table["series"])
    else:
        columns = table.get("columns", [])
        if not columns or not isinstance(columns, list):
            raise ValueError('say columns = ["name", ...]: the ones that are observed')
        series = read_series(
            folder / table["file"], columns, table.get("covariates"), table.get("time", "")
        )
    return series.between(table.get("first"), table.get("last"))


def _model(table: Mapping[str, Any], folder: Path) -> Any:
    check_keys("a model", table, MODEL)
    if "source" not in table:
        raise ValueError("say source = a ready-made model, file.py:name or module:name")
    return model_by_name(table["source"], folder, table.get("options", {}))


def _grid(
    table: Mapping[str, Any], folder: Path, models: Mapping[str, Any], data: Mapping[str, Any]
) -> Grid:
    check_keys("a task", table, TASK)
    if "kind" not in table:
        raise ValueError("say kind = fit, filter, score, sample or function")
    kind = table["kind"]
    kind_of(kind)

    def meaning(key: str, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if kind in {"fit", "filter", "score"}:
            if key == "model":
                return models[value] if value in models else _any_model(value, folder, models)
            if key == "proposal":
                return proposal_by_name(value)
            if key == "resampler":
                return resampler_by_name(value)
        if (kind, key) in {("sample", "target"), ("sample", "prior"), ("function", "function")}:
            return by_name(value, folder)
        return value

    over: dict[str, Any] = {}
    for key, values in table.get("over", {}).items():
        if values == "all" and key == "data":
            values = list(data)
        if isinstance(values, list) and values:
            labels = [label(value) for value in values]
            if len(set(labels)) == len(labels):
                values = dict(zip(labels, (meaning(key, v) for v in values), strict=True))
        over[key] = values
    return Grid(
        kind=kind,
        over=over,
        options={key: meaning(key, value) for key, value in table.get("options", {}).items()},
        limits=_limits(table.get("limits", {})),
        priority=table.get("priority", 0),
    )


def _any_model(text: str, folder: Path, models: Mapping[str, Any]) -> Any:
    try:
        return model_by_name(text, folder, {})
    except ValueError as error:
        near = did_you_mean(text, models)
        raise ValueError(f"model {text!r}: {error}{near}") from error
