"""How a study stands, in a few lines: once, or live at the foot of a terminal."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from aisle_smc.batch.glance import Glance, glance, told
from aisle_smc.cli.terminal import Terminal, duration, number

__all__ = ["can_redraw", "live", "standing", "watch"]

# Seconds between two looks: a person's, and a log's.
SOON, LATER = 1.0, 30.0
BAR = 24
AT_WORK = 12


def standing(seen: Glance, terminal: Terminal) -> list[str]:
    """Return lines that say how a study stands.

    Parameters
    ----------
    seen : Glance
        What there is to say.
    terminal : Terminal
        Who reads it: a person gets a bar and emphasis.
    """
    lines = [terminal.strong(seen.name)] if seen.name else []
    lines.append(("  " if seen.name else "") + _counts(seen, terminal))
    if seen.status.driver is not None:
        lines.append("  " + terminal.faint(_going(seen)))
    shown = seen.at_work[:AT_WORK]
    if shown:
        lines.append("  running")
        lines += [
            f"    {duration(task.seconds):>11}  task {task.task}  {told(task.labels)}".rstrip()
            for task in shown
        ]
        if len(seen.at_work) > AT_WORK:
            lines.append(f"    and {len(seen.at_work) - AT_WORK} more")
    if seen.faults:
        lines.append("  failed")
        lines += [
            f"    {_tasks(kind.count):>11}  {kind.reason or 'no reason is known'}"
            + terminal.faint(f"  (task {kind.task}: {told(kind.labels)})")
            for kind in seen.faults
        ]
    return lines


def one_line(seen: Glance) -> str:
    """Return the counts alone, for a log."""
    text = (f"{seen.name}: " if seen.name else "") + _words(seen)
    return text if seen.over else f"{text}, {_going(seen)}"


@contextlib.contextmanager
def live(folder: Path, terminal: Terminal) -> Iterator[None]:
    """Redraw how a study stands, every second while a block runs, and take it away after."""
    stop = threading.Event()
    picture = _Picture(terminal)

    def redraw() -> None:
        while not stop.wait(SOON):
            # What cannot be read now, because it is being written, can be read in a second.
            with contextlib.suppress(Exception):
                picture.draw(standing(glance(folder), terminal))

    thread = threading.Thread(target=redraw, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=2 * SOON)
        picture.draw([])


def watch(folder: Path, out: Terminal) -> None:
    """Show how a study stands until nobody runs it: redrawn for a person, lines for a log."""
    waiting = threading.Event()
    if not can_redraw(out):
        while True:
            seen = glance(folder)
            out.line(one_line(seen))
            if seen.over:
                return
            waiting.wait(LATER)
    picture = _Picture(out)
    while True:
        seen = glance(folder)
        picture.draw(standing(seen, out))
        if seen.over:
            return
        waiting.wait(SOON)


def can_redraw(terminal: Terminal) -> bool:
    """Whether lines that were written can be written again."""
    return terminal.interactive and os.environ.get("TERM", "") != "dumb"


class _Picture:
    """Lines at the foot of a terminal that are drawn over."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal, self._height = terminal, 0

    def draw(self, lines: list[str]) -> None:
        """Replace what was drawn before."""
        columns, rows = shutil.get_terminal_size((88, 24))
        # A line that wraps, or scrolls out, could not be taken back.
        kept = [_cut(line, columns - 1) for line in lines[: max(rows - 2, 1)]]
        back = f"\033[{self._height}F\033[J" if self._height else ""
        if back or kept:
            self._terminal.stream.write(back + "".join(f"{line}\n" for line in kept))
            self._terminal.stream.flush()
        self._height = len(kept)


def _counts(seen: Glance, terminal: Terminal) -> str:
    summary = seen.status.summary
    if not terminal.interactive or not summary.total:
        return _words(seen)
    done = BAR * summary.done // summary.total
    failed = -(-BAR * summary.failed // summary.total)
    done = min(done, BAR - failed)
    full, cross, open_ = "\N{FULL BLOCK}", "\N{MULTIPLICATION SIGN}", "\N{LIGHT SHADE}"
    bar = full * done + cross * failed + open_ * (BAR - done - failed)
    return f"{bar} {_words(seen)}"


def _words(seen: Glance) -> str:
    status, summary = seen.status, seen.status.summary
    parts = [f"{number(summary.done)} of {_tasks(summary.total)} done"]
    if summary.failed:
        parts.append(f"{number(summary.failed)} failed")
    if status.driver is None and summary.pending:
        parts.append(f"{number(summary.pending)} to do, nobody runs it")
    if summary.former:
        parts.append(f"{number(summary.former)} kept from earlier versions")
    return ", ".join(parts)


def _going(seen: Glance) -> str:
    """Say how a run goes that is under way."""
    status = seen.status
    assert status.driver is not None
    parts = [f"{len(seen.at_work)} running"] if seen.at_work else []
    if status.rate:
        parts.append(_pace(status.rate))
    if status.left is not None and status.summary.pending:
        parts.append(f"{duration(status.left)} left")
    parts.append(f"process {status.driver.get('pid')} on {status.driver.get('host')}")
    return ", ".join(parts)


def _pace(rate: float) -> str:
    """Say a rate so that its number is not tiny."""
    for unit, seconds in (("second", 1), ("minute", 60)):
        if rate * seconds >= 1:
            return f"{rate * seconds:.3g} a {unit}"
    return f"{3600 * rate:.2g} an hour"


def _tasks(count: int) -> str:
    return f"{number(count)} task{'s' * (count != 1)}"


def _cut(line: str, width: int) -> str:
    """Cut a line to a width, escape codes not counted."""
    kept, seen, place = [], 0, 0
    while place < len(line):
        if line[place] == "\033":
            end = line.index("m", place) + 1
            kept.append(line[place:end])
            place = end
            continue
        if seen < width:
            kept.append(line[place])
        seen += 1
        place += 1
    return "".join(kept)
