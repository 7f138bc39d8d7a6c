"""The command ``aisle``: options in, words and files out; strings live here and nowhere below."""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from aisle_smc.cli.parser import parser
from aisle_smc.cli.terminal import terminals
from aisle_smc.errors import AisleError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        What was typed after the program's name; ``sys.argv`` by default.

    Returns
    -------
    int
        Exit code: 0, 1 where a check found something, 2 for bad input, 130 after Ctrl-C.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    top = parser()
    options = top.parse_args(typed)
    if options.command is None:
        top.print_help()
        return 0
    out, err = terminals()
    try:
        # Each command is imported when it is asked for: help must not wait for the compiler.
        if options.command == "fit":
            from aisle_smc.cli.fit import fit as run
        elif options.command == "filter":
            from aisle_smc.cli.filter import filter_series as run
        elif options.command == "check":
            from aisle_smc.cli.check import check as run
        elif options.command == "batch":
            from aisle_smc.cli.batch import batch as run
        elif options.command == "status":
            from aisle_smc.cli.study import status as run
        elif options.command == "results":
            from aisle_smc.cli.study import results as run
        elif options.command == "report":
            from aisle_smc.cli.study import report as run
        else:
            from aisle_smc.cli.check import models as run
        return run(options, out, err, _as_typed(typed))
    except (AisleError, ValueError, TypeError, OSError, ImportError) as error:
        if options.debug:
            raise
        err.complain(str(error))
        return 2
    except sqlite3.Error as error:
        if options.debug:
            raise
        err.complain(
            f"the index of the study cannot be used ({error}); it is damaged, or closed to you"
        )
        return 2
    except KeyboardInterrupt:
        err.line("\nStopped before anything was kept.")
        return 130


def _as_typed(arguments: Sequence[str]) -> str:
    """Return the command that does the same again, as a person would type it."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        start = [sys.executable, "-m", "aisle_smc"]
    elif shutil.which(program.name) == str(program):
        start = [program.name]
    else:
        here = os.path.relpath(program) if program.is_absolute() else str(program)
        start = [here if not here.startswith("..") else str(program)]
    return shlex.join([*start, *arguments])
