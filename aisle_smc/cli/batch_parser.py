"""What can be typed after ``aisle`` about studies of many tasks."""

from __future__ import annotations

import argparse
from typing import Protocol

__all__ = ["add_batch_commands"]

BATCH = """\
Run the study that a TOML file describes: many fits, filters, samples or functions over all cores.

Everything is kept in the study's folder, each result as soon as it is there. The same command
again does what is left: finished tasks are never run twice, and a task whose model, data or
options have changed is a new one.

Exit code 0 if every task is done, 1 if some have failed.
"""

BATCH_EXAMPLES = """\
examples:
  aisle batch study.toml
  aisle batch study.toml --workers 4 --folder runs/first
  aisle batch study.toml --retry-failed
  aisle batch study.toml --executor dask          a Dask cluster on this machine
  aisle batch study.toml --executor tcp://host:8786 --results s3://bucket/study

a study (study.toml), here two models on two series, twice each:
  seed = 1
  replicates = 2

  [data]
  nile = { series = "nile" }
  flow = { file = "my.csv", columns = ["flow"], time = "date" }

  [models]
  level = { source = "my_model.py:model" }
  other = { source = "my_model.py:other" }

  [[task]]
  kind = "fit"
  over = { model = ["level", "other"], data = "all" }
  options = { draws = 1000, tune = 500, chains = 2 }
"""

STATUS = """\
Say how a study stands: what is done, failed and to do, what runs, how long it will take.
"""

STATUS_EXAMPLES = """\
examples:
  aisle status study.toml
  aisle status runs/first --watch
  aisle status study.toml --failed          every failed task with its traceback
"""

RESULTS = """\
Write the results of a study as one table, a row for each task.
"""

RESULTS_EXAMPLES = """\
examples:
  aisle results study.toml > results.csv
  aisle results study.toml --output results.parquet
"""

REPORT = """\
Write a page about a study, one file that needs no other: log-evidence with errors, comparison of
models, how far to trust each fit, the slowest and the failed tasks.
"""

REPORT_EXAMPLES = """\
examples:
  aisle report study.toml
  aisle report runs/first --output first.html
"""


class _Command(Protocol):
    def __call__(
        self, name: str, summary: str, text: str, examples: str
    ) -> argparse.ArgumentParser: ...


def add_batch_commands(command: _Command) -> None:
    """Add ``batch``, ``status``, ``results`` and ``report``."""
    batch = command("batch", "run a study of many tasks", BATCH, BATCH_EXAMPLES)
    batch.add_argument("study", metavar="STUDY.TOML", help="the file that describes the study")
    batch.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="tasks at a time (default all cores; the numbers do not depend on it)",
    )
    batch.add_argument(
        "--executor",
        default="processes",
        metavar="HOW",
        help="processes, threads, dask, or the address of a Dask scheduler (default processes)",
    )
    batch.add_argument(
        "--retry-failed", action="store_true", help="run tasks that failed once more"
    )
    batch.add_argument(
        "--folder", metavar="DIR", help="where the study is kept (default: named after the study)"
    )
    batch.add_argument(
        "--results",
        metavar="WHERE",
        help="another folder for result files, or an address such as s3://bucket/study",
    )
    batch.add_argument("--debug", action="store_true", help="show Python tracebacks of errors")

    status = command("status", "say how a study stands", STATUS, STATUS_EXAMPLES)
    _add_study(status)
    status.add_argument(
        "--watch", action="store_true", help="look again every second, until the run is over"
    )
    status.add_argument(
        "--failed", action="store_true", help="list every failed task with its traceback"
    )

    results = command("results", "write the table of a study", RESULTS, RESULTS_EXAMPLES)
    _add_study(results)
    results.add_argument(
        "--format",
        choices=("csv", "parquet"),
        help="what to write (default: by the name of the output, or csv)",
    )
    results.add_argument("--output", metavar="FILE", help="the file (default: print the table)")

    report = command("report", "write a page about a study", REPORT, REPORT_EXAMPLES)
    _add_study(report)
    report.add_argument(
        "--output", metavar="FILE", help="the page (default: report.html in the study's folder)"
    )


def _add_study(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "study", metavar="STUDY", help="the study's folder, or the TOML file that describes it"
    )
    command.add_argument(
        "--folder", metavar="DIR", help="where the study is kept, if not under its name"
    )
    command.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
