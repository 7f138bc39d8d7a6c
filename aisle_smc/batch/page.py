"""The page of a study: one HTML file with its comparisons, its figures and its faults."""

from __future__ import annotations

import math
import os
import platform
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from aisle_smc.batch.comparison import Comparison, column_of, compare
from aisle_smc.batch.glance import Glance, fault_kinds, glance, told
from aisle_smc.batch.progress import duration
from aisle_smc.batch.sheets import (
    MEASURES,
    ROWS_AT_MOST,
    comparison_sheet,
    count,
    cut,
    estimate,
    noun,
    table,
)
from aisle_smc.batch.store import Store
from aisle_smc.batch.trust import Trust, judge_study, trust_of
from aisle_smc.report.document import (
    document,
    figure,
    findings_list,
    minus,
    numbers_in_a_row,
    prose,
    settings_table,
    thousands,
    versions,
)
from aisle_smc.report.pictures import Picture

__all__ = ["study_page", "study_pictures", "write_page"]

SLOWEST, FAULTS, FAILED = 10, 20, 100
Rows = Sequence[Mapping[str, Any]]


def write_page(folder: str | os.PathLike[str], path: str | os.PathLike[str] | None = None) -> Path:
    """Write the page of a study as one HTML file.

    Parameters
    ----------
    folder : path
        The study's folder.
    path : path, optional
        The file; ``report.html`` in the folder by default.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ValueError
        If there is no study.

    Notes
    -----
    A study that is still running gets a page of what is done.  Figures need matplotlib and are
    left out without it; the page needs no script, no other file and no network.
    """
    path = Path(folder) / "report.html" if path is None else Path(path)
    path.write_text(study_page(folder), encoding="utf-8")
    return path


def study_page(folder: str | os.PathLike[str]) -> str:
    """Return the page of a study as HTML."""
    store, seen = Store.open(folder), glance(folder)
    rows = list(store.rows())
    found = _comparisons(rows)
    trust = trust_of(rows)
    body = [
        _numbers(seen, rows),
        "<h2>How far to trust it</h2>",
        findings_list(judge_study(rows, found)),
    ]
    for comparison in found:
        body += comparison_sheet(comparison, _pictures_of(comparison))
    body += _values(rows, {comparison.kind for comparison in found})
    body += _heat(trust)
    body += map(figure, _pictures(rows))
    body += _slowest(store)
    body += _failed(store, seen)
    body += ["<h2>How it was made</h2>", _settings(store, seen, rows)]
    return document(
        kicker="aisle batch",
        title=seen.name or Path(folder).resolve().name,
        lead=_lead(rows, seen),
        body=body,
    )


def study_pictures(folder: str | os.PathLike[str]) -> list[Picture]:
    """Return the figures of a study's page by themselves; none without matplotlib.

    Each has a ``name`` and, as PNG, a ``wide`` and a ``narrow`` form.
    """
    rows = list(Store.open(folder).rows())
    of_models = (picture for found in _comparisons(rows) for picture in _pictures_of(found))
    return [*of_models, *_pictures(rows)]


def _lead(rows: Rows, seen: Glance) -> str:
    parts = []
    for kind, tasks in Counter(row["kind"] for row in rows).items():
        of_kind = [row for row in rows if row["kind"] == kind]
        replicates = len({row["labels"].get("replicate", 0) for row in of_kind})
        text = count(tasks, noun(kind))
        if any("model" in row["labels"] for row in of_kind):
            places = {column_of(row) for row in of_kind}
            models, sets = len({m for m, _ in places}), len({s for _, s in places})
            text += f": {count(models, 'model')} on {count(sets, 'data set')}"
        parts.append(text + (f", {replicates} times each" if replicates > 1 else ""))
    text = "; ".join(parts) + "."
    if seen.status.summary.pending:
        text += f" {count(seen.status.summary.pending, 'task')} still to do when this was written."
    return text[:1].upper() + text[1:]


def _numbers(seen: Glance, rows: Rows) -> str:
    summary = seen.status.summary
    seconds = [row["seconds"] for row in rows if row["status"] == "done"]
    entries = [
        ("Done", f"{thousands(summary.done)} <small>of {thousands(summary.total)} tasks</small>"),
        ("Failed", thousands(summary.failed)),
        ("Work", escape(duration(summary.seconds))),
    ]
    if seconds:
        entries.append(
            ("A task", f"{escape(duration(float(np.median(seconds))))} <small>median</small>")
        )
    return numbers_in_a_row(entries)


# --- tasks without an evidence -------------------------------------------------------------------


def _values(rows: Rows, compared: Collection[str]) -> list[str]:
    """Return the numbers of the kinds of tasks that have no comparison: means over replicates."""
    kinds = dict.fromkeys(row["kind"] for row in rows)
    body = []
    for kind in (kind for kind in kinds if kind not in compared):
        done = [row for row in rows if row["status"] == "done" and row["kind"] == kind]
        names = list(dict.fromkeys(key for row in done for key in _scalars(row["outcome"])))[:12]
        if names:
            several = f" ({kind})" if len(kinds) > 1 else ""
            body += [f"<h2>Results{escape(several)}</h2>", *_means(kind, done, names)]
    return body


def _means(kind: str, done: Rows, names: Sequence[str]) -> list[str]:
    cells: dict[str, list[Mapping[str, Any]]] = {}
    for row in done:
        labels = {name: held for name, held in row["labels"].items() if name != "replicate"}
        cells.setdefault(told(labels) or kind, []).append(row["outcome"])
    lines = []
    for name, outcomes in list(cells.items())[:ROWS_AT_MOST]:
        values = []
        for key in names:
            held = np.array([o[key] for o in outcomes if key in _scalars(o)], dtype=np.float64)
            error = held.std(ddof=1) / math.sqrt(held.size) if held.size > 1 else math.nan
            values.append(estimate(held.mean() if held.size else math.nan, error))
        lines.append((name, values))
    return [
        '<p class="small">Means over replicates, with their standard errors.</p>',
        table("task", names, lines),
        cut(len(cells)),
    ]


def _scalars(outcome: Mapping[str, Any]) -> list[str]:
    numbers = (int, float)
    return [k for k, v in outcome.items() if isinstance(v, numbers) and not isinstance(v, bool)]


# --- how far to trust the fits -------------------------------------------------------------------


def _heat(trust: Iterable[Trust]) -> list[str]:
    body = []
    for one in trust:
        title = "k-hat and effective sample size" if one.has_k_hat else "Effective sample size"
        columns = [
            f"{model}, {what}"
            for model in one.models
            for what in (("k-hat", "ESS") if one.has_k_hat else ("ESS",))
        ]
        rows = []
        for i, name in enumerate(one.sets[:ROWS_AT_MOST]):
            cells = []
            for k in range(len(one.models)):
                if one.has_k_hat:
                    cells.append(_warm(one.k_hat[i, k], one.heat_of_k_hat[i, k], ".2f"))
                cells.append(_warm(np.floor(one.ess[i, k]), one.heat_of_ess[i, k], ".0f"))
            rows.append((name, cells))
        body += [
            f"<h2>{title} ({escape(one.kind)})</h2>",
            f'<p class="small">{prose(one.words)}</p>',
            table("data set", columns, rows, css="heat"),
            cut(len(one.sets)),
        ]
    return body


def _warm(value: float, heat: float, form: str) -> str:
    """Return a number on a ground that is the warmer the less it is to be trusted."""
    if math.isnan(value):
        return "\N{EN DASH}"
    text = minus(f"{value:{form}}")
    marked = f"<b>{text}!</b>" if heat >= 1 else text
    return f'<span style="--heat:{100 * min(heat, 1):.0f}%">{marked}</span>'


# --- times and faults ----------------------------------------------------------------------------


def _slowest(store: Store) -> list[str]:
    rows = [
        (
            f"task {row['position']}",
            [escape(told(row["labels"])), escape(duration(row["seconds"]))],
        )
        for row in store.rows(slowest=SLOWEST)
    ]
    if not rows:
        return []
    return ["<h2>Slowest tasks</h2>", table("", ["what", "time"], rows, css="told")]


def _failed(store: Store, seen: Glance) -> list[str]:
    failed = seen.status.summary.failed
    if not failed:
        return []
    body = [f"<h2>Failed tasks</h2><p>{count(failed, 'task')} failed.</p>"]
    kinds = fault_kinds(store, FAULTS)
    for kind in kinds:
        first = f"task {kind.task} ({told(kind.labels)})"
        who = first if kind.count == 1 else f"{kind.count} tasks, the first {first}"
        body.append(
            f"<details open><summary><b>{escape(kind.reason or 'no reason is known')}</b><br>"
            f"{escape(who)}</summary><pre><code>{escape(kind.traceback.strip())}</code></pre>"
            "</details>"
        )
    rest = failed - sum(kind.count for kind in kinds)
    if rest:
        body.append(f"<p>{count(rest, 'task')} more, for other reasons.</p>")
    if failed > len(kinds):
        rows = [
            (f"task {row['position']}", [escape(told(row["labels"])), escape(row["fault"])])
            for row in islice(store.rows(status="failed"), FAILED)
        ]
        which = "All of them" if failed <= FAILED else "The first of them"
        body += [f"<h3>{which}</h3>", table("", ["what", "why"], rows, css="told")]
    return body


def _settings(store: Store, seen: Glance, rows: Rows) -> str:
    machines = sorted({str(row["worker"]).split(":")[0] for row in rows})
    return settings_table(
        [
            ("command", seen.command),
            ("machines", ", ".join(name for name in machines if name)),
            ("kept in", str(store.folder)),
            ("versions", ", ".join(versions())),
            ("this page", f"written by {platform.system()} on {platform.machine()}"),
        ]
    )


def _pictures(rows: Rows) -> list[Picture]:
    if not _can_draw():
        return []
    from aisle_smc.batch.charts import draw_parameters, draw_times

    drawn = [draw_parameters(rows), draw_times(rows)]
    return [picture for picture in drawn if picture is not None]


def _pictures_of(found: Comparison) -> list[Picture]:
    if not _can_draw() or len(found.models) < 2 or len(found.sets) < 2:
        return []
    if found.doubtful[:, found.reference].all():
        return []  # no difference that could be drawn
    from aisle_smc.batch.charts import draw_difference, draw_probability

    pictures = [draw_difference(found, MEASURES[found.measure])]
    evidence = found.measure == "log_evidence" and found.counted.any()
    return pictures + ([draw_probability(found)] if evidence else [])


def _comparisons(rows: Rows) -> list[Comparison]:
    kinds = dict.fromkeys(row["kind"] for row in rows)
    found = (compare(rows, kind, measure) for kind in kinds for measure in MEASURES)
    return [comparison for comparison in found if comparison is not None]


def _can_draw() -> bool:
    return find_spec("matplotlib") is not None
