"""The sheets of a study's page: tables of estimates, and models against each other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from aisle_smc.batch.comparison import ESS_LEAST, K_HAT, R_HAT_MOST, Comparison, Total
from aisle_smc.report.document import figure, minus, prose, thousands
from aisle_smc.report.pictures import Picture

__all__ = [
    "MEASURES",
    "ROWS_AT_MOST",
    "comparison_sheet",
    "count",
    "cut",
    "estimate",
    "noun",
    "table",
]

# What has a row for each data set gets no longer than this.
ROWS_AT_MOST = 200
# What marks an estimate that is not to be relied on.
DOUBT = "\N{DAGGER}"
# Smaller errors of a probability would be written as 0.00.
LEAST_ERROR = 0.005
MEASURES = {"log_evidence": "log-evidence", "score": "score of forecasts"}


def comparison_sheet(found: Comparison, pictures: Sequence[Picture]) -> list[str]:
    """Return a measure by model and data set, and what follows for the models, as HTML.

    Parameters
    ----------
    found : Comparison
        The measure.
    pictures : sequence of Picture
        Figures that belong to it.
    """
    words = MEASURES[found.measure]
    several = f" ({found.kind})" if found.kind != "fit" and found.measure == "log_evidence" else ""
    body = [
        f"<h2>{escape(words.capitalize())}{several}</h2>",
        f'<p class="small">{prose(_meaning(found))}</p>',
        table(
            "data set",
            found.models,
            [
                (
                    name,
                    [_doubted(v, e, no) for v, e, no in zip(*cells, strict=True)],
                )
                for name, *cells in list(
                    zip(found.sets, found.value, found.error, found.doubtful, strict=True)
                )[:ROWS_AT_MOST]
            ],
        ),
        cut(len(found.sets)),
    ]
    if found.doubtful.any():
        body.append(
            f'<p class="small">{DOUBT} Not to be relied on: a k-hat above {K_HAT}, replicates '
            "that differ by more than their errors explain, or a result straight from chains that "
            f"did not converge (an effective sample size below {ESS_LEAST:g} or an R-hat above "
            f"{R_HAT_MOST:g}).</p>"
        )
    if len(found.models) < 2 or not found.complete.any():
        return body
    total = found.total()
    body += [
        f"<h3>Models compared by {escape(words)}</h3>",
        f"<p>{prose(_verdict(found, total))}</p>",
        _total_table(found, total) if total.sets else "",
        f"<h3>Differences to {escape(found.models[found.reference])}</h3>",
        _difference_table(found),
        cut(len(found.sets)),
        *map(figure, pictures),
    ]
    return body


def _meaning(found: Comparison) -> str:
    several = found.replicates.max() > 1
    if found.measure == "score":
        text = (
            "Sum of one-step-ahead predictive log-densities over the last part of each series, "
            "with parameters fitted to the first part: leave-future-out, in nats, higher is better"
        )
        pooled = "the mean of the replicates"
    else:
        text = "Log of the marginal likelihood, in nats, with its Monte-Carlo standard error"
        pooled = "the log of the mean evidence of the replicates"
    return f"{text}; {pooled}." if several else f"{text}."


def _verdict(found: Comparison, total: Total) -> str:
    words = MEASURES[found.measure]
    left = " ".join(
        f"{name} is left out: on most data sets it has no estimate to be relied on."
        for name, kept in zip(found.models, found.kept, strict=True)
        if not kept
    )
    sets = len(found.sets)
    lost, doubted = sets - int(found.complete.sum()), int(found.complete.sum()) - total.sets
    why = ", ".join(
        text
        for text, some in (
            (f"{thousands(lost)} incomplete", lost),
            (f"{thousands(doubted)} not to be relied on", doubted),
        )
        if some
    )
    if not total.sets:
        return (
            f"On none of {count(sets, 'data set')} can the estimates of all models be relied on "
            f"({why}): nothing is summed. {left}"
        ).strip()
    over = f"{thousands(total.sets)} of " if why else "all " if sets > 1 else ""
    text = f"Over {over}{count(sets, 'data set')}{f' ({why})' if why else ''}"
    if not found.ranked:
        return (
            f"{text} the sums do not tell the models apart: each has a {words} of "
            f"\N{MINUS SIGN}inf on one of them. {left}"
        ).strip()
    text += f" {found.models[found.reference]} comes first, {_lead(found, total)}"
    value = found.value[found.counted][:, found.kept]
    best = np.flatnonzero(found.kept)[value[value.max(axis=1) > -np.inf].argmax(axis=1)]
    wins = Counter(best.tolist())
    said = [f"{found.models[k]} on {wins[k]}" for k in sorted(wins, key=lambda k: -wins[k])]
    return f"{text}. Best on single data sets: {', '.join(said)}. {left}".strip()


def _lead(found: Comparison, total: Total) -> str:
    """Say how far the first model is before the second, and how much that means."""
    others = [k for k in np.flatnonzero(found.kept) if k != found.reference]
    second = max(others, key=lambda k: float(total.difference[k]))
    lead, error = -float(total.difference[second]), float(total.error[second])
    if math.isinf(lead):
        words = MEASURES[found.measure]
        return f"the only one without a {words} of \N{MINUS SIGN}inf on one of them"
    text = f"{lead:.1f} nats before {found.models[second]}"
    if math.isfinite(error):
        text += f" (Monte-Carlo standard error {error:.2g})"
    doubts = []
    if lead < 2 * error:
        doubts.append("no more than chance; better estimates are needed to tell them apart")
    spread = float(total.spread[second])
    if lead < 2 * spread:
        twice = "" if lead < spread else "twice what "
        doubts.append(
            f"less than {twice}it varies between data sets (\N{PLUS-MINUS SIGN} {spread:.2g})"
        )
    return ": ".join([text, *(["; and ".join(doubts)] if doubts else [])])


def _total_table(found: Comparison, total: Total) -> str:
    evidence = found.measure == "log_evidence"
    columns = ["sum of differences", *(["over data sets"] if total.sets >= 5 else [])]
    columns += ["probability"] if evidence else []
    rows = []
    for k, name in enumerate(found.models):
        cells = [estimate(total.difference[k], total.error[k], own=k == found.reference)]
        if total.sets >= 5:
            spread = float(total.spread[k])
            text = f"\N{PLUS-MINUS SIGN} {spread:.2g}" if math.isfinite(spread) else "\N{EN DASH}"
            cells.append("" if k == found.reference else text)
        if evidence:
            cells.append(_probability(total.probability[k], total.probability_error[k]))
        rows.append((name, cells))
    note = (
        "The first error is that of the computation. The one over data sets is the standard error "
        "of the sum if the data sets are taken for a sample of many."
        if total.sets >= 5
        else "The error is that of the computation."
    )
    if evidence:
        note += (
            " Probabilities hold for one model that made all data sets, under equal priors; their "
            f"errors are not written below {LEAST_ERROR}."
        )
    return table("model", columns, rows) + f'<p class="small">{prose(note)}</p>'


def _difference_table(found: Comparison) -> str:
    difference, error = found.differences()
    p, p_error = found.probabilities()
    evidence = found.measure == "log_evidence"
    others = [k for k in range(len(found.models)) if k != found.reference]
    columns = [found.models[k] for k in others]
    if evidence:
        columns += [f"P({name})" for name in found.models]
    rows = []
    for i, name in enumerate(found.sets[:ROWS_AT_MOST]):
        no = found.doubtful[i] | found.doubtful[i, found.reference]
        cells = [_doubted(difference[i, k], error[i, k], no[k]) for k in others]
        if evidence:
            cells += [_probability(p[i, k], p_error[i, k]) for k in range(len(found.models))]
        rows.append((name, cells))
    text = table("data set", columns, rows)
    if evidence:
        note = f"Errors of probabilities are not written below {LEAST_ERROR}."
        if not found.counted.all():
            note += " Data sets that are incomplete or not to be relied on have no probabilities."
        text += f'<p class="small">{note}</p>'
    return text


def table(
    corner: str, columns: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], css: str = ""
) -> str:
    """Return a table; cells are HTML, names are not."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{c}</td>" for c in cells)}</tr>'
        for name, cells in rows
    )
    return (
        f'<div class="sheet" tabindex="0"><table class="{f"study {css}".strip()}">'
        f'<thead><tr><th scope="col">{escape(corner)}</th>{head}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def estimate(value: float, error: float, *, own: bool = False) -> str:
    """Write a number with its error, to two digits of the error."""
    if own:
        return "0"
    if not math.isfinite(value):
        return minus(f"{value}") if math.isinf(value) else "\N{EN DASH}"
    if not math.isfinite(error):
        return minus(f"{value:.4g}")
    digits = 2 if error <= 0 else min(max(1 - math.floor(math.log10(error)), 0), 3)
    return minus(f"{value:.{digits}f}") + f" <small>\N{PLUS-MINUS SIGN} {error:.{digits}f}</small>"


def _doubted(value: float, error: float, doubtful: bool) -> str:
    """Write an estimate, marked if it is not to be relied on."""
    return estimate(value, error) + DOUBT * bool(doubtful and not math.isnan(value))


def _probability(value: float, error: float) -> str:
    """Write a probability, and its error unless that is small."""
    if not math.isfinite(value):
        return "\N{EN DASH}"
    if math.isfinite(error) and error >= LEAST_ERROR:
        return f"{value:.2f} <small>\N{PLUS-MINUS SIGN} {error:.2f}</small>"
    return f"{value:.3f}" if value >= 0.0005 else "&lt; 0.001"


def cut(rows: int) -> str:
    """Say that a table was cut, if it was."""
    if rows <= ROWS_AT_MOST:
        return ""
    return f'<p class="small">The first {ROWS_AT_MOST} of {thousands(rows)} rows.</p>'


def count(number: int, noun: str) -> str:
    """Return a number of things in words."""
    return f"{thousands(number)} {noun}{'s' * (number != 1)}"


def noun(kind: str) -> str:
    """Return what one task of a kind is called."""
    return f"{kind} task" if kind in {"function", "sample"} else kind
