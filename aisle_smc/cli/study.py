"""``aisle status``, ``aisle results`` and ``aisle report``: look at a study that is kept."""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from pathlib import Path

from aisle_smc.batch.glance import glance, told
from aisle_smc.batch.reading import check_name
from aisle_smc.batch.store import INDEX, Store
from aisle_smc.batch.table import tidy
from aisle_smc.cli.standing import standing, watch
from aisle_smc.cli.table import nearest
from aisle_smc.cli.terminal import Terminal, number

__all__ = ["report", "results", "status", "study_folder"]


def study_folder(given: str, folder: str | None = None) -> Path:
    """Return the folder of the study that a person names.

    Parameters
    ----------
    given : str
        The folder itself, or the TOML file that describes the study.
    folder : str, optional
        The folder, where it is not called like the study.

    Raises
    ------
    ValueError
        If there is no study; the nearest one is named.
    """
    path = Path(folder if folder is not None else given)
    if folder is None and path.suffix == ".toml":
        path = Path(_name(path))
    if (path / INDEX).is_file():
        return path
    around = path.parent
    near = [p.name for p in around.iterdir() if (p / INDEX).is_file()] if around.is_dir() else []
    raise ValueError(
        f"no study is kept in {path}{nearest(path.name, near)}; a study's folder comes with "
        "aisle batch, and --folder says where it is"
    )


def status(options: argparse.Namespace, out: Terminal, err: Terminal, command: str) -> int:
    """Run the command and return its exit code."""
    folder = study_folder(options.study, options.folder)
    if options.watch:
        try:
            watch(folder, out)
        except KeyboardInterrupt:
            out.line()
        return 0
    seen = glance(folder)
    for line in standing(seen, out):
        out.line(line)
    if options.failed:
        for row in Store.open(folder).rows(status="failed"):
            out.line()
            out.line(out.strong(f"task {row['position']} ({told(row['labels'])}): {row['fault']}"))
            for line in row["traceback"].strip().splitlines():
                out.line(f"    {line}")
    elif seen.over and seen.command and seen.status.summary.pending:
        out.line()
        out.line(f"  {seen.command}    {out.faint('goes on')}")
    return 0


def results(options: argparse.Namespace, out: Terminal, err: Terminal, command: str) -> int:
    """Run the command and return its exit code."""
    folder = study_folder(options.study, options.folder)
    path = None if options.output is None else Path(options.output)
    by_name = "parquet" if path is not None and path.suffix in {".parquet", ".pq"} else "csv"
    form = options.format or by_name
    if form == "parquet" and path is None:
        raise ValueError("a Parquet table is no text; say where it goes with --output FILE")
    table = tidy(Store.open(folder).rows())
    if path is None:
        _print(table.to_csv())
        return 0
    if form == "csv":
        table.to_csv(path)
    else:
        table.to_parquet(path)
    out.line(f"{path}    {number(len(table))} rows, {len(table.columns)} columns")
    return 0


def report(options: argparse.Namespace, out: Terminal, err: Terminal, command: str) -> int:
    """Run the command and return its exit code."""
    from aisle_smc.batch.page import write_page

    folder = study_folder(options.study, options.folder)
    path = Path(options.output) if options.output else folder / "report.html"
    write_page(folder, path)
    out.line(str(path))
    return 0


def _name(path: Path) -> str:
    """Return the name of the study in a TOML file, whose data and models need not be there."""
    if not path.is_file():
        near = [p.name for p in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        raise ValueError(f"no study file {path}{nearest(path.name, near)}")
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from None
    name = said.get("name", path.stem)
    check_name(name)
    return str(name)


def _print(text: str) -> None:
    """Print a table, perhaps to a program that does not want all of it."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
