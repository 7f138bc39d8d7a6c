"""The sheets of a study's page: tables of estimates, and models against each other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

from aisle_smc.batch.comparison import APART, K_HAT, Comparison, Total
from aisle_smc.report.document import figure, minus, prose, thousands
from aisle_smc.report.pictures import Picture

__all__ = ["MEASURES", "ROWS_AT_MOST", "comparison_sheet", "count", "cut", "estimate", "table"]

# What has a row for each data set gets no longer than this.
ROWS_AT_MOST = 200
# What marks an estimate that is not to be relied on.
DOUBT = "\N{DAGGER}"
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
                    [estimate(v, e) + DOUBT * bool(no) for v, e, no in zip(*cells, strict=True)],
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
            f'<p class="small">{DOUBT} Not to be relied on: a k-hat above {K_HAT}, or replicates '
            f"more than {APART:g} standard errors apart.</p>"
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
    left = int(found.complete.sum()) - total.sets
    if not total.sets:
        return (
            f"On none of {count(left, 'data set')} can the estimates of all models be relied on: "
            "nothing is summed."
        )
    best = found.models[found.reference]
    others = [k for k in range(len(found.models)) if k != found.reference]
    second = max(others, key=lambda k: float(total.difference[k]))
    lead, error = -float(total.difference[second]), float(total.error[second])
    text = (
        f"Over {count(total.sets, 'data set')} {best} comes first, {lead:.1f} nats before "
        f"{found.models[second]}"
    )
    if math.isfinite(error):
        text += f" (Monte-Carlo standard error {error:.2g})"
        if lead < 2 * error:
            text += ": no more than chance; better estimates are needed to tell them apart"
    wins = Counter(int(k) for k in found.value[found.counted].argmax(axis=1))
    said = [f"{found.models[k]} on {wins[k]}" for k in sorted(wins, key=lambda k: -wins[k])]
    text += f". Best on single data sets: {', '.join(said)}."
    if left:
        text += f" Left out: {count(left, 'data set')} where an estimate is not to be relied on."
    return text


def _total_table(found: Comparison, total: Total) -> str:
    evidence = found.measure == "log_evidence"
    columns = ["sum of differences", *(["over data sets"] if total.sets >= 5 else [])]
    columns += ["probability"] if evidence else []
    rows = []
    for k, name in enumerate(found.models):
        cells = [estimate(total.difference[k], total.error[k], own=k == found.reference)]
        if total.sets >= 5:
            own = k == found.reference
            cells.append("" if own else f"\N{PLUS-MINUS SIGN} {total.spread[k]:.2g}")
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
        note += " Probabilities hold for one model that made all data sets, under equal priors."
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
        cells = [estimate(difference[i, k], error[i, k]) for k in others]
        if evidence:
            cells += [_probability(p[i, k], p_error[i, k]) for k in range(len(found.models))]
        rows.append((name, cells))
    return table("data set", columns, rows)


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


def _probability(value: float, error: float) -> str:
    if not math.isfinite(value):
        return "\N{EN DASH}"
    if math.isfinite(error) and error >= 0.005:
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
