"""``aisle fit``: from a model and a series to a folder of results."""

from __future__ import annotations

import argparse
import os
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import aisle_smc
from aisle_smc.arguments import check_count
from aisle_smc.cli.folder import CHECKPOINT, claim, finish, is_finished
from aisle_smc.cli.model_file import Loaded, load_model
from aisle_smc.cli.observations import Observations, load_observations
from aisle_smc.cli.terminal import Terminal, duration, number

__all__ = ["fit", "need_report_extra"]

DRAWS, TUNE = 1000, 1000
# The first fit is laid out to take about two minutes on two cores.
FIRST_DRAWS, FIRST_TUNE, FIRST_PARTICLES = 3000, 1000, 300
# Predictions of each chain that are written out: they are noise, which does not compress.
PREDICTED = 250


def need_report_extra() -> None:
    """Raise, before any work, unless what writes results and figures is installed."""
    wanted = ("matplotlib", "arviz_base", "arviz_stats", "xarray", "netCDF4")
    missing = [name for name in wanted if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"results and figures need {', '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed; "
            "install them with: pip install 'aisle-smc[report]'"
        )


def fit(options: argparse.Namespace, out: Terminal, err: Terminal, command: str) -> int:
    """Run the command and return its exit code."""
    started = time.perf_counter()
    need_report_extra()
    loaded = load_model(options.model)
    model = loaded.model
    if model.prior is None:
        raise ValueError(
            f"{loaded.label} has no prior, and parameters are fitted under one; give the model "
            "prior={'name': a SciPy frozen distribution or a number, ...} for every parameter"
        )
    seen = load_observations(
        model, options.data, options.column, _names(options.covariates), options.time
    )
    first = options.model == "StochasticVolatility" and options.data == "wti"
    draws = _given(options.draws, FIRST_DRAWS if first else DRAWS)
    tune = _given(options.tune, FIRST_TUNE if first else TUNE)
    n = _given(options.particles, FIRST_PARTICLES if first else None)
    for what, count in (
        ("--draws", draws),
        ("--chains", options.chains),
        ("--particles", _given(n, 1)),
    ):
        check_count(what, count)
    check_count("--workers", _given(options.workers, 1))
    folder = Path(options.out)
    settings = {
        "model": options.model,
        "model digest": loaded.digest,
        "data": options.data,
        "data digest": seen.digest,
        "draws": draws,
        "tune": tune,
        "chains": options.chains,
        "particles": n,
        "seed": options.seed,
        "version": aisle_smc.__version__,
    }
    claim(folder, settings, overwrite=options.overwrite)
    file = folder / CHECKPOINT
    _announce(out, loaded, seen, draws, tune, options, n)
    if is_finished(folder) and file.exists():
        out.say(f"This run is finished; its results are written again from {file}.")
        out.line()
    elif file.exists():
        out.say(f"Continuing the run in {file}.")
        out.line()
    try:
        posterior = _sample(options, model, seen, n, draws, tune, file)
        _write_all(out, posterior, loaded, seen, options, command, folder, started)
    except KeyboardInterrupt:
        err.line()
        kept = f"Stopped. Everything so far is in {file}." if file.exists() else "Stopped."
        err.line(f"{kept} To go on, type the same command again:")
        err.line()
        err.line(f"  {command}")
        return 130
    finish(folder, settings)
    return 0


def _sample(
    options: argparse.Namespace,
    model: Any,
    seen: Observations,
    n: int | None,
    draws: int,
    tune: int,
    file: Path,
) -> Any:
    from aisle_smc.ssm.pmmh import pmmh

    posterior = pmmh(
        model,
        seen.y,
        n,
        u=seen.u,
        draws=draws,
        tune=tune,
        chains=options.chains,
        file=str(file),
        workers=options.workers,
        progress=True,
        seed=options.seed,
    )
    return posterior.with_evidence(seed=options.seed, workers=options.workers)


def _announce(
    out: Terminal,
    loaded: Loaded,
    seen: Observations,
    draws: int,
    tune: int,
    options: argparse.Namespace,
    n: int | None,
) -> None:
    out.heading(f"{loaded.label} on {seen.words}")
    out.say(", ".join(line.replace(" ", "\0") for line in str(loaded.model.prior).splitlines()))
    particles = f"{number(n)} particles" if n else "particles chosen by a trial"
    cores = options.workers or min(os.cpu_count() or 1, options.chains)
    out.say(
        f"{options.chains} chains of {number(tune)} tuning and {number(draws)} kept draws, "
        f"{particles}, seed {options.seed}, {cores} core{'s' * (cores != 1)}"
    )
    out.line()


def _write_all(
    out: Terminal,
    posterior: Any,
    loaded: Loaded,
    seen: Observations,
    options: argparse.Namespace,
    command: str,
    folder: Path,
    started: float,
) -> None:
    from aisle_smc.report import About, draw_pictures, judge, report
    from aisle_smc.report.judgement import headline

    summary = posterior.summary()
    table = str(summary).splitlines()
    out.line(out.strong(table[0]))
    for line in table[1:]:
        out.line(line)
    out.line()
    evidence = posterior.log_evidence
    if evidence is not None:
        out.line(
            out.strong(
                f"log-evidence {evidence.value:.2f} \N{PLUS-MINUS SIGN} {evidence.error:.2g}"
            )
            + " nats"
        )
        out.line()
    findings = judge(posterior)
    out.say(headline(findings))
    for finding in findings:
        if not finding.good:
            out.say(f"! {finding.text}", indent="  ")
    out.line()

    summary.to_csv(folder / "summary.csv")
    save_draws(posterior, seen.time, folder / "posterior.nc")
    pictures = draw_pictures(posterior, view=seen.view, horizon=options.forecast)
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    for picture in pictures:
        (figures / f"{picture.name}.png").write_bytes(picture.wide)
    seconds = time.perf_counter() - started
    about = About(
        title=f"{_capital(loaded.model.name or loaded.label)} fitted to {seen.title}",
        data=seen.words,
        origin=seen.origin,
        command=command,
        seconds=seconds,
    )
    (folder / "report.html").write_text(report(posterior, pictures, about), encoding="utf-8")
    out.line(f"{folder}/report.html    {out.faint('open this first')}")
    names = ", ".join(f"{picture.name}.png" for picture in pictures)
    out.line(f"{folder}/posterior.nc, summary.csv, run.aisle")
    out.line(f"{folder}/figures: {names}")
    out.line()
    out.line(f"{duration(seconds)} altogether, {duration(posterior.seconds)} of it sampling")


def save_draws(posterior: Any, time: Any, path: Path) -> None:
    """Write a posterior as NetCDF, compressed, with the dates of the series as its times."""
    tree = posterior.to_arviz()
    for name, group in tree.children.items():
        data = group.to_dataset()
        if time is not None and "time" in data.dims:
            data = data.assign_coords(time=time)
        if name == "posterior_predictive":
            data = data.isel(draw=slice(None, None, -(-data.sizes["draw"] // PREDICTED)))
        tree[name].dataset = data
    encoding = {
        f"/{name}": {
            key: {"zlib": True, "complevel": 1, "dtype": _storage(v)}
            for key, v in group.data_vars.items()
            if v.ndim > 1
        }
        for name, group in tree.children.items()
    }
    path.unlink(missing_ok=True)
    tree.to_netcdf(path, encoding=encoding)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _given(value: Any, otherwise: Any) -> Any:
    """Return an option, or what it is if it was not given."""
    return otherwise if value is None else value


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _storage(variable: Any) -> Any:
    """Return the type to store a variable in: half the bytes where no one could tell.

    A series takes single precision if its rounding error is below a thousandth of its spread.
    """
    values = variable.values
    if "time" not in variable.dims or not np.isfinite(values).any():
        return values.dtype
    finite = values[np.isfinite(values)]
    rounding = float(np.abs(finite).max()) * 2.0**-24
    return "f4" if rounding < 1e-3 * float(finite.std()) else values.dtype
