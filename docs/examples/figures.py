"""Run the code on the pages of the documentation, and draw the pictures they show.

A page is a script: its Python blocks run in order in one namespace, and a block of text that
follows one directly is what it printed.

    python docs/examples/figures.py            redraw docs/figures
    python docs/examples/figures.py --output   also rewrite the printed output on the pages
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md",
    "docs/sampling.md",
    "docs/tutorial.md",
    "docs/howto.md",
    "docs/batch.md",
    "docs/neural.md",
    "docs/papers.md",
    "docs/maths.md",
    "docs/reference.md",
)
FENCE = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?",
    flags=re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block of Python on a page.

    Attributes
    ----------
    page : Path
        Where it stands.
    line : int
        Line of its first statement, from 1.
    code : str
        The source.
    output : str or None
        What the page says that it prints.
    span : tuple of int
        Where that output stands in the text of the page.
    """

    page: Path
    line: int
    code: str
    output: str | None
    span: tuple[int, int]


def blocks(page: Path) -> list[Block]:
    """Return the Python blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page=page,
            line=text.count("\n", 0, match.start("code")) + 1,
            code=match["code"],
            output=match["output"],
            span=match.span("output"),
        )
        for match in FENCE.finditer(text)
    ]


def run(page: Path) -> Iterator[tuple[Block, str]]:
    """Run a page in the current folder; yield each block with what it printed."""
    # As a script would be: what is pickled for another process goes by value.
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        # Empty lines in front make an error name the line on the page.
        code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        yield block, printed.getvalue()


def rewrite(page: Path, found: list[tuple[Block, str]]) -> None:
    """Put what the blocks printed where the page shows output."""
    text = page.read_text(encoding="utf-8")
    for block, printed in reversed(found):
        if block.output is not None:
            lines = "\n".join(line.rstrip() for line in printed.rstrip().splitlines())
            text = text[: block.span[0]] + lines + "\n" + text[block.span[1] :]
    page.write_text(text, encoding="utf-8")


def main(arguments: list[str]) -> None:
    """Redraw all figures."""
    import matplotlib as mpl

    mpl.use("Agg")
    folder = ROOT / "docs" / "figures"
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        for name in PAGES:
            found = list(run(ROOT / name))
            if "--output" in arguments:
                rewrite(ROOT / name, found)
            print(f"{name}: {len(found)} blocks")
        for path in sorted(Path(work).glob("*.png")):
            shutil.copy(path, folder)
            print(f"{path.name}: {path.stat().st_size // 1024} KB")
        os.chdir(ROOT)


if __name__ == "__main__":
    main(sys.argv[1:])
