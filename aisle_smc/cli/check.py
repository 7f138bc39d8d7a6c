"""``aisle check`` and ``aisle models``: look a model over; list what comes ready-made."""

from __future__ import annotations

import argparse
from typing import Any

from aisle_smc.cli.model_file import load_model, read_parameters, zoo_models
from aisle_smc.cli.observations import SHIPPED, load_observations
from aisle_smc.cli.terminal import Terminal

__all__ = ["check", "models"]


def check(options: argparse.Namespace, out: Terminal, err: Terminal, command: str) -> int:
    """Run the command and return its exit code."""
    from aisle_smc.ssm.check import check_model

    loaded = load_model(options.model)
    covariates = [name.strip() for name in options.covariates.split(",") if name.strip()]
    y = u = None
    if options.data:
        seen = load_observations(
            loaded.model, options.data, options.column, covariates, options.time
        )
        y, u = seen.y, seen.u
        out.heading(f"{loaded.label} on {seen.words}")
    else:
        out.line(out.strong(loaded.label))
    params = read_parameters(loaded.model, options.params) if options.params else None
    found = check_model(
        loaded.model, y, params, u=u, seed=options.seed, calibration=options.calibrate
    )
    for item in found.items:
        out.item(item.kind, item.text, strong=item.kind == "problem")
        if item.advice:
            out.item("", f"\N{RIGHTWARDS ARROW} {item.advice}")
    count = len(found.problems)
    out.line()
    out.heading(f"{count} problem{'s' * (count != 1)} found" if count else "No problem found")
    return 0 if found.ok else 1


def models(options: argparse.Namespace, out: Terminal, err: Terminal, command: str) -> int:
    """List the ready-made models and series."""
    out.line(out.strong("models, for --model"))
    for name, make in zoo_models().items():
        out.line(f"  {name:<24}{_said(make)}")
        out.line(f"  {'':<24}{out.faint('parameters ' + ', '.join(make().parameter_names))}")
    out.line()
    out.line(out.strong("series, for --data"))
    from aisle_smc.ssm import data

    for name in SHIPPED:
        out.line(f"  {name:<24}{_said(getattr(data, name))}")
    return 0


def _said(function: Any) -> str:
    """Return what a function says that it returns or reads."""
    first = (function.__doc__ or "").strip().split("\n")[0]
    return first.removeprefix("Return ").removeprefix("Read ").removeprefix("the ").rstrip(".")
