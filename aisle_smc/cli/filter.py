"""``aisle filter``: one particle filter, its table and its figure."""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import numpy as np

from aisle_smc.cli.fit import need_report_extra
from aisle_smc.cli.model_file import load_model, read_parameters
from aisle_smc.cli.observations import Observations, load_observations
from aisle_smc.cli.terminal import Terminal, duration

__all__ = ["filter_series"]

RESULTS = ("filter.csv", "filter.png")


def filter_series(options: argparse.Namespace, out: Terminal, err: Terminal, command: str) -> int:
    """Run the command and return its exit code."""
    started = time.perf_counter()
    need_report_extra()
    loaded = load_model(options.model)
    params = read_parameters(loaded.model, options.params)
    covariates = [name.strip() for name in options.covariates.split(",") if name.strip()]
    seen = load_observations(loaded.model, options.data, options.column, covariates, options.time)
    folder = Path(options.out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out must be a folder; {folder} is a file")

    from aisle_smc.plots import plot_filter
    from aisle_smc.report.pictures import png
    from aisle_smc.ssm.filters import particle_filter

    out.heading(f"{loaded.label} on {seen.words}")
    result = particle_filter(
        loaded.model, params, seen.y, options.particles, u=seen.u, seed=options.seed,
        progress=err.interactive,
    )  # fmt: skip
    low = int(np.argmin(result.ess))
    at = f"row {low + 1}" if seen.time is None else str(seen.time[low])
    out.line(
        out.strong(
            f"log-evidence {result.log_evidence:.3f} \N{PLUS-MINUS SIGN} "
            f"{result.log_evidence_error:.2g}"
        )
        + " nats"
    )
    out.line(
        f"{result.n} particles; effective sample size {result.ess.min():.0f} to "
        f"{result.ess.max():.0f}, least at {at}"
    )
    folder.mkdir(parents=True, exist_ok=True)
    _write_csv(folder / "filter.csv", result, seen)
    (folder / "filter.png").write_bytes(png(plot_filter(result, view=seen.view)))
    out.line()
    out.line(f"{folder}/filter.csv, filter.png    {duration(time.perf_counter() - started)}")
    return 0


def _write_csv(path: Path, result: Any, seen: Observations) -> None:
    """Write the filter's table: one row for each time."""
    length = result.y.shape[0]
    columns: dict[str, Any] = {
        "time": np.arange(length) if seen.time is None else seen.time,
    }
    y = result.y.reshape(length, -1)
    columns |= {name: y[:, j] for j, name in enumerate(seen.names)}
    mean, variance = result.mean.reshape(length, -1), result.variance.reshape(length, -1)
    quantiles = result.quantiles.reshape(length, len(result.quantile_levels), -1)
    for i, name in enumerate(result.model.state_names):
        columns[f"{name} mean"] = mean[:, i]
        columns[f"{name} sd"] = np.sqrt(variance[:, i])
        for k, level in enumerate(result.quantile_levels):
            columns[f"{name} {100 * level:g}%"] = quantiles[:, k, i]
    columns["log_evidence_increment"] = result.log_evidence_increments
    columns["ess"] = result.ess
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(_cells(values) for values in columns.values()), strict=True))


def _cells(values: Any) -> list[str]:
    if values.dtype.kind != "f":
        return [str(value) for value in values]
    return ["" if np.isnan(value) else f"{value:.10g}" for value in values]
