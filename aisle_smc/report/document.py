"""One HTML file with everything in it: its frame, its figures, and how it writes numbers."""

from __future__ import annotations

import base64
import platform
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files

from aisle_smc.report.judgement import Finding
from aisle_smc.report.pictures import Picture

__all__ = [
    "document",
    "figure",
    "findings_list",
    "minus",
    "numbers_in_a_row",
    "prose",
    "settings_table",
    "thousands",
    "versions",
]


def document(*, kicker: str, title: str, lead: str, body: Sequence[str]) -> str:
    """Return a page as HTML.

    Parameters
    ----------
    kicker, title, lead : str
        What made the page, its heading, and its first paragraph; plain text.
    body : sequence of str
        The rest, as HTML.
    """
    css = files("aisle_smc.report").joinpath("page.css").read_text(encoding="utf-8")
    made = datetime.now().astimezone()
    foot = f"Made on {made:%Y-%m-%d at %H:%M %Z}. This page is one file and loads nothing else."
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            # Nothing on the page may load anything, whatever a model or a column is called.
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">",
            f"<title>{escape(title)}</title>",
            f"<style>{css}</style>",
            "</head>",
            "<body>",
            "<header>",
            f'<p class="kicker">{escape(kicker)}</p>',
            f"<h1>{escape(title)}</h1>",
            f'<p class="lead">{prose(lead)}</p>',
            "</header>",
            "<main>",
            *body,
            "</main>",
            f"<footer>{escape(foot)}</footer>",
            "</body>",
            "</html>",
            "",
        ]
    )


def numbers_in_a_row(entries: Iterable[tuple[str, str]]) -> str:
    """Return a few numbers that stand out, each a name and HTML."""
    inner = "".join(
        f"<div><dt>{escape(term)}</dt><dd>{value}</dd></div>" for term, value in entries
    )
    return f'<dl class="figures-in-a-row">{inner}</dl>'


def findings_list(findings: Iterable[Finding]) -> str:
    """Return what was looked at as a list."""
    items = "".join(
        f'<li class="{"good" if finding.good else "doubt"}">{prose(finding.text)}</li>'
        for finding in findings
    )
    return f'<ul class="findings">{items}</ul>'


def figure(picture: Picture) -> str:
    """Return a picture with its words, wide for a page and narrow for a phone."""

    def source(content: bytes) -> str:
        return "data:image/png;base64," + base64.b64encode(content).decode("ascii")

    return (
        f'<figure id="{escape(picture.name)}"><picture>'
        f'<source media="(max-width: 40rem)" srcset="{source(picture.narrow)}">'
        f'<img src="{source(picture.wide)}" alt="{escape(picture.title)}"></picture>'
        f"<figcaption><b>{escape(picture.title)}.</b> {prose(picture.caption)}</figcaption>"
        "</figure>"
    )


def settings_table(rows: Iterable[tuple[str, str]]) -> str:
    """Return how something was made; lines without a text are left out."""
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{_code(name, text)}</td></tr>'
        for name, text in rows
        if text
    )
    return f'<table class="settings"><tbody>{lines}</tbody></table>'


def _code(name: str, text: str) -> str:
    return f"<code>{escape(text)}</code>" if name == "command" else escape(text)


def versions() -> Iterable[str]:
    """Return Python and the packages that numbers may depend on, each with its version."""
    yield f"Python {platform.python_version()}"
    for package in ("aisle-smc", "numpy", "numba", "scipy", "arviz-stats", "matplotlib"):
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            continue


def thousands(count: int) -> str:
    """Write a count with narrow thousands."""
    text = f"{count:,}" if count >= 10_000 else str(count)
    return text.replace(",", "\N{NARROW NO-BREAK SPACE}")


def prose(text: str) -> str:
    """Escape a sentence; give negative numbers their sign and keep dates on one line."""
    text = re.sub(r"(?<=\d)-(?=\d)", "\N{NON-BREAKING HYPHEN}", text)
    text = re.sub(r"(?<![\w\N{NON-BREAKING HYPHEN}])-(?=\d)", "\N{MINUS SIGN}", text)
    text = text.replace(" ~ ", "\N{NO-BREAK SPACE}~\N{NO-BREAK SPACE}")
    return escape(re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", text))


def minus(text: str) -> str:
    """Write a number with its proper sign."""
    return text.replace("-", "\N{MINUS SIGN}")
