"""Studies from TOML files: every mistake is reported, with its place, before anything runs."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aisle_smc.batch.grid import Grid
from aisle_smc.batch.kinds import kind_of
from aisle_smc.batch.limits import Limits, read_bytes, read_seconds
from aisle_smc.batch.named import by_name, model_by_name, proposal_by_name, resampler_by_name
from aisle_smc.batch.series import Series, read_series, shipped
from aisle_smc.batch.words import check_keys, did_you_mean, label

__all__ = ["check_name", "read_study"]

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
    name = said.get("name", path.stem)
    _part(str(path), partial(check_name, name))
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
        "name": name,
        "tasks": tuple(grids),
        "data": data,
        "seed": said.get("seed", 0),
        "replicates": said.get("replicates", 1),
        "limits": _part(f"{path}, [limits]", partial(_limits, said.get("limits", {}))),
    }


def check_name(name: Any) -> None:
    """Raise unless a study may have this name, which is also that of its folder."""
    if not isinstance(name, str):
        raise TypeError(f"name must be text; got {name!r}")
    if not name.strip() or name in {".", ".."} or set(name) & set("/\\\0"):
        raise ValueError(
            f"name must be a name for a folder, not empty and without / and \\; got {name!r}; to "
            "keep the study elsewhere say so when it is run (--folder, or folder=)"
        )


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


_WORDS: dict[type, str] = {
    str: "text",
    dict: "a table { key = value, ... }",
    list: "a list [value, ...]",
}


def _must_be(kind: type, key: str, value: Any) -> None:
    """Raise unless a key has a value of a type."""
    if not isinstance(value, kind):
        raise TypeError(f"{key} must be {_WORDS[kind]}; got {value!r}")


def _texts(table: Mapping[str, Any], *keys: str) -> None:
    for key in keys:
        if key in table:
            _must_be(str, key, table[key])


def _limits(table: Mapping[str, Any]) -> Limits:
    _must_be(dict, "limits", table)
    check_keys("limits", table, ("seconds", "memory", "evaluations"))
    return Limits(
        seconds=read_seconds(table["seconds"]) if "seconds" in table else None,
        memory=read_bytes(table["memory"]) if "memory" in table else None,
        evaluations=table.get("evaluations"),
    )


def _data(table: Mapping[str, Any], folder: Path) -> Series:
    check_keys("data", table, DATA)
    _texts(table, "file", "series", "time")
    if ("file" in table) == ("series" in table):
        raise ValueError("say either file = a CSV file, or series = one that comes with us")
    if "series" in table:
        only = {"columns", "covariates", "time"} & set(table)
        if only:
            raise ValueError(f"{', '.join(sorted(only))} choose columns of a file")
        series = shipped(table["series"])
    else:
        columns = table.get("columns", [])
        if not columns:
            raise ValueError('say columns = ["name", ...]: the ones that are observed')
        for key in {"columns", "covariates"} & set(table):
            if not isinstance(table[key], list) or not all(isinstance(c, str) for c in table[key]):
                raise TypeError(f'{key} must be a list ["name", ...]; got {table[key]!r}')
        series = read_series(
            folder / table["file"], columns, table.get("covariates"), table.get("time", "")
        )
    for key in {"first", "last"} & set(table):
        _check_time(key, table[key], series)
    return series.between(table.get("first"), table.get("last"))


def _check_time(key: str, value: Any, series: Series) -> None:
    """Raise unless a value can be one of the times of a series."""
    if series.time is None:
        return
    if series.time.dtype.kind == "M":
        with contextlib.suppress(ValueError):
            if isinstance(value, date) or (isinstance(value, str) and np.datetime64(value)):
                return
        raise ValueError(
            f"{key} must be a date such as 2019-01-31, as the times are; got {value!r}"
        )
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{key} must be a number, as the times of the series are; got {value!r}")


def _model(table: Mapping[str, Any], folder: Path) -> Any:
    check_keys("a model", table, MODEL)
    if "source" not in table:
        raise ValueError("say source = a ready-made model, file.py:name or module:name")
    _texts(table, "source")
    options = table.get("options", {})
    _must_be(dict, "options", options)
    return model_by_name(table["source"], folder, options)


def _grid(
    table: Mapping[str, Any], folder: Path, models: Mapping[str, Any], data: Mapping[str, Any]
) -> Grid:
    _must_be(dict, "a task", table)
    check_keys("a task", table, TASK)
    _texts(table, "kind")
    for key in {"over", "options"} & set(table):
        _must_be(dict, key, table[key])
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
        said, _, _ = str(error).partition("; did you mean") if near else (str(error), "", "")
        raise ValueError(f"model {text!r}: {said}{near}") from error
