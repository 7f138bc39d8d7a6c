"""The files around the code agree with one another, and what the documentation says is true."""

from __future__ import annotations

import doctest
import importlib
import re
import tomllib
from pathlib import Path

import pytest

import aisle_smc

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TREES = {"aisle_smc": ROOT / "aisle_smc", "aisle_kernels": ROOT / "kernels" / "aisle_kernels"}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def public_modules() -> list[str]:
    names = []
    for tree, folder in TREES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [tree, *path.relative_to(folder).with_suffix("").parts]
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            if parts[-1] != "__main__":
                names.append(".".join(parts))
    return names


MODULES = public_modules()


def readme_command(marker: str) -> str:
    """The one line of the fenced block that follows ``<!-- marker -->`` in the README."""
    pattern = rf"<!-- {re.escape(marker)} -->\s*```[a-z]*\n(.*?)\n```"
    blocks = re.findall(pattern, text("README.md"), flags=re.DOTALL)
    assert len(blocks) == 1, f"README.md needs one block marked {marker!r}, it has {len(blocks)}"
    assert "\n" not in blocks[0], f"the {marker} is more than one line"
    return blocks[0]


def test_version_is_the_same_everywhere():
    version = PROJECT["version"]
    assert aisle_smc.__version__ == version
    assert re.search(r"^version: (.+)$", text("CITATION.cff"), re.MULTILINE)[1] == version
    assert re.search(rf"^## \[{re.escape(version)}\]", text("CHANGELOG.md"), re.MULTILINE)


def test_licence_is_the_same_everywhere():
    assert PROJECT["license"] == "MIT"
    assert re.search(r"^license: (.+)$", text("CITATION.cff"), re.MULTILINE)[1] == "MIT"
    assert text("LICENSE").startswith("MIT License")


@pytest.mark.parametrize("marker", ["test command", "main command"])
def test_readme_command_needs_nothing_prepared(marker):
    command = readme_command(marker)
    assert command.startswith("python3 -m venv .venv && .venv/bin/pip install -c constraints.txt ")
    extras = re.search(r"\[([\w,-]+)\]", command)[1].split(",")
    assert set(extras) <= set(PROJECT["optional-dependencies"])


def pins() -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in text("constraints.txt").splitlines()]
    return dict(line.split("==") for line in lines if line)


def test_constraints_pin_every_requirement():
    groups = PROJECT["optional-dependencies"]
    wanted = list(PROJECT["dependencies"])
    for group in ("report", "neural", "test", "dev"):
        wanted += groups[group]
    names = {re.match(r"[\w.-]+", requirement)[0].lower() for requirement in wanted}
    assert names - {"aisle-smc"} <= set(pins())


def test_constraints_hold_versions_only():
    # A line such as --index-url would send a user's installer somewhere else.
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in pins())


def test_command_line_entry_exists():
    module, _, function = PROJECT["scripts"]["aisle"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_typed_markers_are_present():
    assert all((folder / "py.typed").exists() for folder in TREES.values())


@pytest.mark.parametrize("name", MODULES)
def test_module_says_why_it_exists(name):
    if name.startswith("aisle_smc.neural"):
        pytest.importorskip("torch")
    doc = importlib.import_module(name).__doc__
    assert doc
    summary = doc.strip().split("\n\n")[0]
    assert summary.endswith((".", ":")), f"{name}: the first sentence does not end: {summary!r}"


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    if name.startswith("aisle_smc.neural"):
        pytest.importorskip("torch")
    module = importlib.import_module(name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, tried = doctest.testmod(module, optionflags=flags)
    assert failed == 0, f"{failed} of {tried} examples of {name} failed; see the captured output"


def test_examples_of_compiled_functions_are_found():
    # numba wraps what it compiles; an example in such a docstring must not be passed over.
    kernel = importlib.import_module("aisle_kernels._jit").kernel

    def doubled(x):
        """Double.

        >>> 1 + 1
        2
        """
        return 2 * x

    module = type(doctest)("made_up", "Made up.")
    doubled.__module__ = "made_up"
    module.doubled = kernel(doubled)
    assert [len(test.examples) for test in doctest.DocTestFinder().find(module)].count(1) == 1
