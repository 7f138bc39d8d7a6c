"""``aisle batch``: run a study, or go on with it."""

from __future__ import annotations

import argparse
import time
from contextlib import nullcontext
from pathlib import Path

from aisle_smc.arguments import check_count
from aisle_smc.batch.glance import FaultKind, Glance, glance, told
from aisle_smc.batch.origin import claim
from aisle_smc.batch.store import Store
from aisle_smc.batch.study import Study
from aisle_smc.cli.standing import can_redraw, live
from aisle_smc.cli.terminal import Terminal, duration, number

__all__ = ["batch", "say_faults"]

# How much of a traceback is shown: the frames nearest to the fault, or so many lines.
FRAMES, LINES = 2, 8


def batch(options: argparse.Namespace, out: Terminal, err: Terminal, command: str) -> int:
    """Run the command and return its exit code."""
    if options.workers is not None:
        check_count("--workers", options.workers)
    study = Study.from_toml(options.study)
    folder = Path(options.folder or study.name)
    again = command.replace(" --retry-failed", "")
    out.heading(f"{study.name}: {_content(study)}, kept in {folder}")
    store = Store.create(folder, options.results)
    claim(store, study.origin, name=study.name, command=again)
    started = time.perf_counter()
    redrawn = can_redraw(err)
    try:
        with live(folder, err) if redrawn else nullcontext():
            study.run(
                options.workers,
                options.executor,
                folder=folder,
                results=options.results,
                progress=not redrawn,
                retry_failed=options.retry_failed,
            )
    except KeyboardInterrupt:
        return _stopped(err, folder, again)
    seen = glance(folder)
    summary = seen.status.summary
    out.line(
        f"{number(summary.done)} of {number(summary.total)} tasks done: "
        f"{duration(summary.seconds)} of work, {duration(time.perf_counter() - started)} this time"
    )
    if seen.faults:
        out.line()
        say_faults(out, seen)
        out.line()
        out.say("Try failed tasks once more with:")
        out.line()
        out.line(f"  {again} --retry-failed")
    out.line()
    where = "" if options.folder is None else f" --folder {options.folder}"
    out.line(f"  aisle report {options.study}{where}     {out.faint('a page to read')}")
    out.line(f"  aisle results {options.study}{where}    {out.faint('the table')}")
    return 1 if summary.failed else 0


def _content(study: Study) -> str:
    """Return in words how many tasks there are."""
    cells, replicates = study.cells, study.replicates
    if replicates == 1:
        return f"{number(cells)} task{'s' * (cells != 1)}"
    return f"{number(len(study))} tasks ({number(cells)}, {replicates} times each)"


def say_faults(out: Terminal, seen: Glance) -> None:
    """Write the reasons of failures, with the end of one traceback for each."""
    for kind in seen.faults:
        out.line(out.strong(f"{_who(kind)} failed: {kind.reason or 'no reason is known'}"))
        for line in _end(kind.traceback):
            out.line(f"    {line}")
    rest = seen.status.summary.failed - sum(kind.count for kind in seen.faults)
    if rest:
        out.line(f"{number(rest)} more failed for other reasons; aisle status --failed lists all")


def _end(traceback: str) -> list[str]:
    """Return the part of a traceback that says where it happened."""
    lines = traceback.strip("\n").splitlines()
    frames = [k for k, line in enumerate(lines) if line.startswith('  File "')]
    if lines and lines[0].startswith("Traceback") and frames:
        return lines[frames[-FRAMES:][0] :]
    return lines[:LINES]


def _who(kind: FaultKind) -> str:
    first = f"task {kind.task} ({told(kind.labels)})"
    return first if kind.count == 1 else f"{number(kind.count)} tasks, the first {first},"


def _stopped(err: Terminal, folder: Path, again: str) -> int:
    """Say what is kept and how to go on."""
    summary = glance(folder).status.summary
    err.line()
    kept = f"{number(summary.done)} of {number(summary.total)} tasks are done and kept in {folder}"
    err.line(f"Stopped. {kept}. To go on, type the same command again:")
    err.line()
    err.line(f"  {again}")
    return 130
