"""The page: one HTML file with everything in it, that asks nothing of the network."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from aisle_smc.plots import View
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
from aisle_smc.report.judgement import Finding, headline, judge, summary_columns
from aisle_smc.report.pictures import Picture, draw_pictures

__all__ = ["About", "report", "write_report"]

COLUMNS = {
    "mean": "mean",
    "sd": "sd",
    "hdi": "94 % interval",
    "r_hat": "R-hat",
    "ess_bulk": "ESS",
    "ess_tail": "tail ESS",
    "mcse_mean": "MC error",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a report says about a run beside its numbers.

    Parameters
    ----------
    title : str
        What was fitted to what.
    data : str
        The series in words: what, how many, from when to when.
    origin : str
        Where the data come from, and their licence.
    command : str
        What was typed, to do it again.
    settings : mapping from str to str
        Further settings by name.
    seconds : float
        How long it took altogether; the sampling alone if zero.
    """

    title: str = ""
    data: str = ""
    origin: str = ""
    command: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def write_report(
    path: str | Path,
    posterior: Any,
    *,
    about: About | None = None,
    view: View = View(),  # noqa: B008 - a frozen value
    horizon: int = 20,
) -> Path:
    """Write the report of a posterior as one HTML file.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    posterior : Posterior
        What :func:`aisle_smc.ssm.pmmh` returns.
    about : About, optional
        Title, data, command.
    view : View
        Dates, units and the scale of the state.
    horizon : int
        Steps of the forecast.

    Returns
    -------
    pathlib.Path
        The file.

    Notes
    -----
    Figures lie inside the file, once for a page and once for a phone; it needs no other file and
    no network.
    """
    path = Path(path)
    pictures = draw_pictures(posterior, view=view, horizon=horizon)
    path.write_text(report(posterior, pictures, about or About()), encoding="utf-8")
    return path


def report(posterior: Any, pictures: Iterable[Picture], about: About) -> str:
    """Return the report of a posterior as HTML.

    Parameters
    ----------
    posterior : Posterior
        What :func:`aisle_smc.ssm.pmmh` returns.
    pictures : iterable of Picture
        As :func:`aisle_smc.report.draw_pictures` returns them.
    about : About
        Title, data, command.
    """
    findings = judge(posterior)
    title = about.title or _title(posterior)
    return document(
        kicker="aisle fit",
        title=title,
        lead=_lead(posterior, about, findings),
        body=[
            _numbers(posterior),
            "<h2>Posterior</h2>",
            _posterior_table(posterior),
            f'<p class="small">{prose(_table_notes(posterior))}</p>',
            "<h2>How far to trust it</h2>",
            findings_list(findings),
            *(figure(picture) for picture in pictures),
            "<h2>Use the results</h2>",
            _loading(),
            "<h2>How it was made</h2>",
            _settings(posterior, about),
        ],
    )


def _title(posterior: Any) -> str:
    name = posterior.model.name or "a state-space model"
    return f"{name[:1].upper()}{name[1:]} fitted to {posterior.y.shape[0]} observations"


def _lead(posterior: Any, about: About, findings: Sequence[Finding]) -> str:
    y = np.asarray(posterior.y)
    data = about.data or f"{y.shape[0]} observations"
    chains, draws = posterior.parameters.shape[:2]
    text = (
        f"Fitted to {data} by particle marginal Metropolis\N{EN DASH}Hastings: "
        f"{chains} chain{'s' * (chains != 1)} of {thousands(draws)} draws, with "
        f"{thousands(posterior.n)} particles for each estimate of the evidence."
    )
    return f"{text} {headline(tuple(findings))}"


def _numbers(posterior: Any) -> str:
    rows = summary_columns(posterior.summary())
    evidence = posterior.log_evidence
    entries = []
    if evidence is not None:
        entries.append(
            (
                "Log-evidence",
                f"{minus(f'{evidence.value:.2f}')} <small>\N{PLUS-MINUS SIGN} "
                f"{evidence.error:.2g} nats</small>",
            )
        )
    worst = max(float(row["r_hat"]) for row in rows.values())
    least = min(float(row["ess_bulk"]) for row in rows.values())
    entries += [
        ("Largest R-hat", f"{worst:.3f}"),
        ("Least ESS", f"{least:.0f}"),
        ("Acceptance", f"{100 * float(np.mean(posterior.acceptance)):.0f} %"),
    ]
    return numbers_in_a_row(entries)


def _posterior_table(posterior: Any) -> str:
    rows = summary_columns(posterior.summary())
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in COLUMNS.values())
    lines = []
    for name, row in rows.items():
        cells = "".join(f"<td>{_cell(key, row)}</td>" for key in COLUMNS)
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    for name, value in posterior.model.prior.constants.items():
        lines.append(
            f'<tr><th scope="row">{escape(name)}</th><td>{minus(f"{value:g}")}</td>'
            f'<td colspan="{len(COLUMNS) - 1}" class="words">fixed</td></tr>'
        )
    return (
        f'<div class="sheet"><table><thead><tr><th scope="col">parameter</th>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(key: str, row: Mapping[str, float]) -> str:
    """Write a number to as many digits as its spread gives a meaning to."""
    spread = float(row["sd"])
    digits = 3 if not spread > 0 else int(np.clip(2 - np.floor(np.log10(spread)), 0, 8))
    if key == "hdi":
        return minus(f"{row['hdi_3%']:.{digits}f} to {row['hdi_97%']:.{digits}f}")
    value = float(row[key])
    if not np.isfinite(value):
        return "\N{EN DASH}"
    if key.startswith("ess"):
        return f"{value:.0f}"
    if key == "r_hat":
        return f"{value:.3f}"
    return minus(f"{value:.{digits + (key == 'mcse_mean')}f}")


def _table_notes(posterior: Any) -> str:
    prior = "; ".join(str(posterior.model.prior).splitlines())
    return (
        "The interval is the shortest that holds 94 % of the draws; ESS is the number of "
        "independent draws that these are worth; MC error is that of the mean. "
        f"Priors: {prior}."
    )


def _loading() -> str:
    code = (
        "import xarray\n"
        'results = xarray.open_datatree("posterior.nc")\n'
        'results["posterior"].dataset.mean(["chain", "draw"])'
    )
    return (
        "<p>Beside this page, <code>posterior.nc</code> holds every draw of parameters and "
        "states, predictions, and the evidence of each observation; <code>summary.csv</code> is "
        "the table above.</p>"
        f"<pre><code>{escape(code)}</code></pre>"
    )


def _settings(posterior: Any, about: About) -> str:
    chains, draws = posterior.parameters.shape[:2]
    sampling = float(posterior.seconds)
    rows = {
        "command": about.command,
        "data": about.origin,
        "chains": f"{chains} of {thousands(draws)} draws kept",
        "particles": str(posterior.n),
        "seed": str(posterior.seed),
        **about.settings,
        "time": f"{sampling:.0f} s of sampling"
        + (f", {about.seconds:.0f} s altogether" if about.seconds else ""),
        "versions": ", ".join(versions()),
        "machine": f"{platform.system()} on {platform.machine()}",
    }
    return settings_table(rows.items())
