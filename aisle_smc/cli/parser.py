"""What can be typed after ``aisle``, with help that teaches by examples."""

from __future__ import annotations

import argparse

import aisle_smc
from aisle_smc.cli.batch_parser import add_batch_commands

__all__ = ["parser"]

TOP = """\
Fit state-space models to time series, with particles.

  aisle fit         parameters, states, forecasts and evidence from data; writes a report
  aisle filter      run one particle filter at parameters that you give
  aisle check       look a model over before trusting it
  aisle models      list the ready-made models and the series that come with the package

Run many fits at once, and look at them:

  aisle batch       models x data x methods x seeds, over all cores; survives what may happen
  aisle status      how such a study stands
  aisle results     its table
  aisle report      its page
"""

TOP_EXAMPLES = """\
examples:
  aisle fit                                 a first fit: oil volatility, about two minutes
  aisle fit --model my_model.py:model --data my.csv --column y
  aisle fit --help                          everything that fit can do

Missing values are empty cells or NA. The same command gives the same numbers on any number of
cores. Ctrl-C is safe: type the same command again to go on.
"""

FIT = """\
Fit a model to a series: four chains of particle marginal Metropolis-Hastings over all cores.

Without arguments, stochastic volatility on 1500 daily returns of crude oil. The folder given by
--out gets report.html (open it first), posterior.nc, summary.csv, figures/ and run.aisle, from
which the same command continues when a run was stopped.
"""

FIT_EXAMPLES = """\
examples:
  aisle fit
  aisle fit --model my_model.py:model --data nile --out nile-run
  aisle fit --model my_model.py:model --data my.csv --column y --draws 2000 --out my-run
  aisle fit --model my_model.py:model --data my.csv --column cases --column deaths \\
            --covariates temperature,rain --time week

a model file (my_model.py) defines three functions and a prior:
  from typing import NamedTuple
  from scipy.stats import gamma, norm
  from aisle_smc.ssm import StateSpaceModel
  from aisle_smc.ssm.math import normal_logpdf

  class Params(NamedTuple):
      level: float
      noise: float

  model = StateSpaceModel(
      params=Params,
      initial=lambda rng: rng.normal(0.0, 10.0),
      transition=lambda rng, x, p: rng.normal(x, p.level),
      log_observation=lambda y, x, p: normal_logpdf(y, x, p.noise),
      observe=lambda rng, x, p: rng.normal(x, p.noise),
      prior={"level": gamma(2, scale=0.5), "noise": gamma(2, scale=0.5)},
  )
"""

FILTER = """\
Run one particle filter and write what it knew at each time: filter.csv and filter.png.

Without --model and --data, stochastic volatility on the crude-oil returns.
"""

FILTER_EXAMPLES = """\
examples:
  aisle filter --params mu=1,rho=0.98,sigma=0.2
  aisle filter --model my_model.py:model --params level=0.3,noise=1 --data my.csv --column y \\
               --particles 10000
"""

CHECK = """\
Look a model over as a careful colleague would: do its functions compile, are its densities
finite on data that it simulates itself, do they agree with its draws?

Exit code 0 if nothing was found, 1 if something was.
"""

CHECK_EXAMPLES = """\
examples:
  aisle check --model my_model.py:model --data my.csv --column y
  aisle check --model StochasticVolatility
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = _new(argparse.ArgumentParser, prog="aisle", description=TOP, epilog=TOP_EXAMPLES)
    top.add_argument("--version", action="version", version=f"aisle_smc {aisle_smc.__version__}")
    commands = top.add_subparsers(dest="command", metavar="command", title="commands")

    def command(name: str, summary: str, text: str, examples: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary,
            description=text,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    fit = command("fit", "fit a model to a series", FIT, FIT_EXAMPLES)
    _add_what(fit)
    how = fit.add_argument_group("how to fit")
    how.add_argument("--draws", type=int, metavar="N", help="draws to keep of each chain")
    how.add_argument("--tune", type=int, metavar="N", help="draws to learn the proposal from")
    how.add_argument("--chains", type=int, default=4, metavar="N", help="chains (default 4)")
    how.add_argument(
        "--particles",
        type=int,
        metavar="N",
        help="particles of each filter (default: chosen so that the log-evidence has a standard "
        "deviation of about one)",
    )
    how.add_argument(
        "--forecast", type=int, default=20, metavar="H", help="steps to forecast (default 20)"
    )
    _add_run(fit, "aisle-run")
    fit.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a run of something else in the folder",
    )

    filter_ = command("filter", "run one particle filter", FILTER, FILTER_EXAMPLES)
    _add_what(filter_)
    filter_.add_argument_group("how to filter").add_argument(
        "--params", default="", metavar="NAME=VALUE,...", help="a value for every parameter"
    )
    filter_.add_argument(
        "--particles", type=int, default=2000, metavar="N", help="particles (default 2000)"
    )
    _add_run(filter_, "aisle-filter", workers=False)

    check = command("check", "look a model over", CHECK, CHECK_EXAMPLES)
    _add_what(check, data=None)
    check.add_argument(
        "--params",
        default="",
        metavar="NAME=VALUE,...",
        help="where to check (default: the best of a few draws of the prior)",
    )
    check.add_argument(
        "--calibrate",
        type=int,
        default=0,
        metavar="N",
        help="also fit N simulated series, about 100, and look whether the truth is where it "
        "should be (slow; default 0)",
    )
    check.add_argument("--seed", type=int, default=0, metavar="N", help="random seed (default 0)")
    check.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)

    add_batch_commands(command)

    models = command("models", "list ready-made models and series", "List what is there.", "")
    models.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
    return top


def _new(
    make: type[argparse.ArgumentParser], *, prog: str, description: str, epilog: str
) -> argparse.ArgumentParser:
    return make(
        prog=prog,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_what(command: argparse.ArgumentParser, data: str | None = "wti") -> None:
    what = command.add_argument_group("what to use")
    what.add_argument(
        "--model",
        default="StochasticVolatility",
        metavar="FILE.PY:NAME",
        help="a model in a Python file, or the name of a ready-made one "
        "(default StochasticVolatility; see aisle models)",
    )
    what.add_argument(
        "--data",
        default=data,
        metavar="FILE.CSV",
        help="a CSV file with column names in its first line, or wti or nile"
        + (f" (default {data})" if data else ""),
    )
    what.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="NAME",
        help="the column of observations; once for each component",
    )
    what.add_argument(
        "--covariates",
        default="",
        metavar="A,B",
        help="columns of covariates, separated by commas",
    )
    what.add_argument(
        "--time",
        default="",
        metavar="NAME",
        help="the column of dates or times for the figures (default: one called date, time, ...)",
    )


def _add_run(command: argparse.ArgumentParser, out: str, workers: bool = True) -> None:
    run = command.add_argument_group("how to run")
    run.add_argument("--seed", type=int, default=0, metavar="N", help="random seed (default 0)")
    if workers:
        run.add_argument(
            "--workers",
            type=int,
            metavar="N",
            help="cores to use (default all; the numbers do not depend on it)",
        )
    run.add_argument(
        "--out", default=out, metavar="DIR", help=f"folder for the results (default {out})"
    )
    run.add_argument("--debug", action="store_true", help="show Python tracebacks of errors")
