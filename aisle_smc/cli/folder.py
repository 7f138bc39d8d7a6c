"""The folder of a run: whose results it holds, and what may be written into it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

__all__ = ["CHECKPOINT", "claim", "finish", "is_finished"]

CHECKPOINT = "run.aisle"
RECORD = "run.json"
RESULTS = ("posterior.nc", "summary.csv", "report.html", CHECKPOINT)


def claim(folder: Path, settings: Mapping[str, object], *, overwrite: bool) -> None:
    """Make a folder ready for the run with these settings.

    Parameters
    ----------
    folder : pathlib.Path
        Made if it is not there.
    settings : mapping
        What makes the run what it is.
    overwrite : bool
        Whether the results of something else may go.

    Raises
    ------
    ValueError
        If the folder holds results of something else; what differs is said.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out must be a folder; {folder} is a file")
    differs = _difference(folder, settings)
    if differs and not overwrite:
        raise ValueError(
            f"{folder} holds the results of something else ({differs}); choose another folder "
            "with --out, or replace them with --overwrite"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if differs:
        for name in RESULTS:
            (folder / name).unlink(missing_ok=True)
    record = _read(folder) or {}
    same = not differs and record.get("settings") == dict(settings)
    _write(folder, settings, finished=same and is_finished(folder))


def finish(folder: Path, settings: Mapping[str, object]) -> None:
    """Record that all results are there."""
    _write(folder, settings, finished=True)


def is_finished(folder: Path) -> bool:
    """Whether the run in a folder has written all its results."""
    record = _read(folder)
    return record is not None and record.get("finished") is True


def _difference(folder: Path, settings: Mapping[str, object]) -> str:
    """Say how the run in a folder differs from these settings; empty if it does not."""
    record = _read(folder)
    if record is None:
        found = [name for name in RESULTS if (folder / name).exists()]
        return f"it has {', '.join(found)} and no {RECORD}" if found else ""
    then = record.get("settings")
    if not isinstance(then, dict):
        return f"its {RECORD} is of another version"
    # More draws extend a run; everything else makes it another one.
    names = [n for n in {**then, **settings} if n != "draws" and then.get(n) != settings.get(n)]
    return "; ".join(f"{n}: {_short(then.get(n))}, now {_short(settings.get(n))}" for n in names)


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else text[:12]


def _read(folder: Path) -> dict[str, object] | None:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError):
        return {}
    return record if isinstance(record, dict) else {}


def _write(folder: Path, settings: Mapping[str, object], *, finished: bool) -> None:
    record = {"settings": dict(settings), "finished": finished}
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
