"""The pages of the documentation run, print what they say, and leave no public name out."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from docs.examples.figures import PAGES, ROOT, blocks, run

NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")
SECONDS = re.compile(r"(?:\d+ min )?\d+(?:\.\d+)? s\b")
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def page_text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# --- the code on the pages -----------------------------------------------------------------------


# Pictures of the page of the full study (docs/examples/volatility_study.toml), which takes longer
# than a test may.
LONG = {"wti-log_evidence.png", "wti-parameters.png"}


def disagreement(said: str, printed: str) -> str:
    """How two outputs differ; words must agree, numbers roughly.

    The seeds are fixed, so on one machine the output is the same to the digit.  Another processor
    may round otherwise, and one draw that falls on the other side changes all that follow.
    How many seconds something took is the machine's affair.
    """
    said, printed = (SECONDS.sub("some s", text) for text in (said, printed))
    words = [" ".join(NUMBER.sub("#", text).split()) for text in (said, printed)]
    if words[0] != words[1]:
        return f"the page says\n{said}\nbut its code prints\n{printed}"
    for a, b in zip(NUMBER.findall(said), NUMBER.findall(printed), strict=True):
        x, y = float(a.replace(",", "")), float(b.replace(",", ""))
        if abs(x - y) > 0.5 + 0.4 * max(abs(x), abs(y)):
            return f"the page says {a} where its code prints {b}:\n{printed}"
    return ""


@pytest.mark.parametrize("name", [name for name in PAGES if blocks(ROOT / name)])
def test_page_runs_and_prints_what_it_says(name, tmp_path, monkeypatch):
    pytest.importorskip("arviz_stats")
    if "import torch" in page_text(name):
        pytest.importorskip("torch")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.chdir(tmp_path)
    differ = []
    for block, printed in run(ROOT / name):
        if block.output is not None and (why := disagreement(block.output, printed)):
            differ.append(f"{name}:{block.line}: {why}")
    pyplot.close("all")
    shown = {Path(path).name for path in PICTURE.findall(page_text(name))} - LONG
    assert shown <= {path.name for path in tmp_path.iterdir()}, "a picture that no code draws"
    assert not differ, "\n".join(
        [*differ, "If the change is meant: python docs/examples/figures.py --output"]
    )


def test_example_model_filters_what_it_simulates():
    from aisle_smc.ssm import particle_filter, simulate
    from docs.examples.my_model import Params, model

    y = simulate(model, Params(wander=0.1, dispersion=10.0), T=30, seed=1).observations
    result = particle_filter(model, Params(wander=0.1, dispersion=10.0), y, n=500)
    assert result.log_evidence_error < 1.0


@pytest.mark.parametrize(
    ("said", "printed"),
    [
        ("mean 3.2", "mode 3.2"),
        ("mean 3.2", "mean 6.9"),
        ("1,000 of 3", "1,000"),
        ("a", ""),
        ("in 3.2 s", "in 3.2 steps"),
        ("3 steps", "30 steps"),
    ],
)
def test_outputs_that_differ_are_told_apart(said, printed):
    assert disagreement(said, printed)


@pytest.mark.parametrize(
    ("said", "printed"),
    [
        ("mean  3.20\n", "mean 3.21"),
        ("-0.1 apart", "+0.0 apart"),
        ("n = 1,000", "n = 1000"),
        ("in 0.3 s, then 2 s", "in 41.7 s, then 20 s"),
    ],
)
def test_outputs_that_agree_are_not(said, printed):
    assert not disagreement(said, printed)


def test_a_block_that_fails_names_its_line(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A page\n\n```python\nx = 1\n```\n\n```python\n\nx / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as caught:
        list(run(page))
    assert caught.traceback[-1].lineno == 8  # counted from 0: the ninth line of the page
    assert Path(str(caught.traceback[-1].path)) == page


# --- the reference -------------------------------------------------------------------------------


def listed() -> dict[str, list[str]]:
    """The names in the first column of each section of the reference."""
    sections = re.split(r"^## `([\w.]+)`$", page_text("docs/reference.md"), flags=re.MULTILINE)
    return {
        module: re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)
        for module, table in zip(sections[1::2], sections[2::2], strict=True)
    }


@pytest.mark.parametrize(
    "module",
    [
        "aisle_smc",
        "aisle_smc.batch",
        "aisle_smc.distributions",
        "aisle_smc.divergences",
        "aisle_smc.importance",
        "aisle_smc.moves",
        "aisle_smc.neural",
        "aisle_smc.sampling",
        "aisle_smc.ssm",
        "aisle_smc.ssm.math",
        "aisle_smc.targets",
        "aisle_smc.tempering",
        "aisle_smc.plots",
        "aisle_smc.diagnostics",
    ],
)
def test_reference_lists_every_public_name(module):
    public = set(importlib.import_module(module).__all__)
    names = listed()[module]
    assert not public - set(names), f"add to docs/reference.md: {sorted(public - set(names))}"
    assert not set(names) - public, f"not public in {module}: {sorted(set(names) - public)}"
    assert len(names) == len(set(names))


# --- links, equations, pictures ------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    lost = []
    for target in [*LINK.findall(page_text(name)), *PICTURE.findall(page_text(name))]:
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = (ROOT / name).parent / path if path else ROOT / name
        known = file.exists()
        if not known or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            lost.append(target)
    assert not lost


def test_equations_are_numbered_in_order():
    tags = [int(tag) for tag in re.findall(r"\\tag\{(\d+)\}", page_text("docs/maths.md"))]
    assert tags == list(range(1, len(tags) + 1))
    cited = {int(n) for n in re.findall(r"\bequation \(?(\d+)", page_text("docs/tutorial.md"))}
    assert cited <= set(tags)


def test_pictures_are_small():
    sizes = {p.name: p.stat().st_size for p in (ROOT / "docs" / "figures").glob("*.png")}
    assert sizes
    assert all(size < 150_000 for size in sizes.values()), sizes
