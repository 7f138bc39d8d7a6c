"""Read the source and fail on whatever goes against the design.

The tables come first and are meant to be edited; the reader and the rules that use them follow.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TREES = {"aisle_kernels": ROOT / "kernels" / "aisle_kernels", "aisle_smc": ROOT / "aisle_smc"}

# Rooms of aisle_smc from the ground up.  A room is a module or a folder directly under aisle_smc;
# "aisle_smc" is its __init__.  A module imports its own layer and the layers below it.
LAYERS = (
    ("arguments", "arrays", "checkpoint", "errors", "streams", "version"),
    ("resampling",),
    ("particles",),
    ("smc",),
    (
        "frozen",
        "coordinates",
        "normal_scores",
        "parameters",
        "priors",
        "diagnostics",
        "genealogy",
        "results",
        "summary",
        "distributions",
        "divergences",
        "weighted",
    ),
    ("targets",),
    ("importance", "moves", "ssm"),
    ("tempering",),
    ("sampling",),
    ("plots",),
    ("report",),
    ("aisle_smc",),
    ("neural", "batch"),
    ("cli",),
    ("__main__",),
)

# Rooms that a lower one may import inside a function: a result draws itself and writes its page.
DEFERRED_ROOMS = {"plots", "report"}

# Who may import what from outside; the standard library is free to all.
KERNELS_NEED = {"numpy", "numba"}
CORE_NEEDS = {"numpy", "numba", "scipy", "tqdm", "aisle_kernels"}
ONLY_IN = {
    "torch": {"neural"},
    "zuko": {"neural"},
    "joblib": {"batch", "ssm", "targets"},  # the processes of expensive Python functions
    "cloudpickle": {"batch"},
    "dask": {"batch"},
    "distributed": {"batch"},
    "fsspec": {"batch"},
    "pyarrow": {"batch"},
    "threadpoolctl": {"batch"},
}
# Imported inside functions only: the optional ones, and scipy.stats because it takes 0.7 s.
DEFERRED = {
    "arviz_base",
    "arviz_stats",
    "matplotlib",
    "pandas",
    "scipy.stats",
    "xarray",
}

LINES_AT_MOST = 400
# A longer module needs a reason beside its name.
LONGER = {
    "aisle_kernels.densities": 600,  # one short function per family, nothing to split but the list
}
NO_NOUN = {"utils", "util", "base", "helpers", "types", "common", "misc"}
NUMBA_COMPILERS = {"jit", "njit", "vectorize", "guvectorize", "cfunc", "stencil"}
RANDOM_NAMES = {
    "BitGenerator",
    "Generator",
    "MT19937",
    "PCG64",
    "PCG64DXSM",
    "Philox",
    "SFC64",
    "SeedSequence",
    "bit_generator",
    "default_rng",
}


# --- reading -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    target: str
    line: int
    deferred: bool  # inside a function, or for the type checker only


def module_names() -> dict[str, Path]:
    """Every module of both trees, by dotted name."""
    found = {}
    for tree, folder in TREES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [tree, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = module_names()


KNOWN = set(MODULES) | {f"aisle_smc.{room}" for layer in LAYERS for room in layer}


def imports(name: str, source: str, *, is_package: bool = False) -> list[Import]:
    """Every import of a module, relative ones resolved, each as the module it reaches."""
    found: list[Import] = []

    def reached(node: ast.Import | ast.ImportFrom) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        origin = node.module or ""
        if node.level:
            parts = name.split(".")
            parts = parts[: len(parts) - node.level + is_package]
            origin = ".".join(parts + ([origin] if origin else []))
        # `from aisle_smc import smc` reaches the module smc; `from aisle_smc.smc import f` reaches
        # no module f.  Outside our trees the longer name is kept, since scipy.stats is one.
        longer = [f"{origin}.{alias.name}" for alias in node.names]
        if origin.split(".")[0] in TREES:
            return [child if child in KNOWN else origin for child in longer]
        return longer

    def visit(node: ast.AST, deferred: bool) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.extend(
                Import(target=target, line=node.lineno, deferred=deferred)
                for target in reached(node)
            )
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for child in node.body:
                visit(child, True)
            for child in node.orelse:
                visit(child, deferred)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                visit(child, deferred or inside)

    visit(ast.parse(source), False)
    return found


def room_of(name: str) -> str:
    """aisle_smc.ssm.model -> ssm; aisle_smc -> aisle_smc."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def within(target: str, module: str) -> bool:
    return target == module or target.startswith(module + ".")


# --- rules: each takes a module's name and source and says what is wrong -------------------------


def arrow_complaints(name: str, source: str, *, is_package: bool = False) -> list[str]:
    """Imports of our own modules that point upwards."""
    if within(name, "aisle_kernels"):
        return []  # allowed_complaints gives kernels nothing but their own tree
    height = {room: level for level, layer in enumerate(LAYERS) for room in layer}
    room = room_of(name)
    if room not in height:
        return [f"{name}: the room {room!r} is in no layer; add it to LAYERS"]
    said = []
    for found in imports(name, source, is_package=is_package):
        target = found.target
        if not within(target, "aisle_smc"):
            continue
        other = room_of(target)
        if other not in height:
            said.append(f"{name}:{found.line} imports {target}, a room in no layer")
        elif height[other] > height[room] and not (found.deferred and other in DEFERRED_ROOMS):
            said.append(f"{name}:{found.line} imports {target}, which lies above it")
        elif other == "cli" and room not in {"cli", "__main__"}:
            said.append(f"{name}:{found.line} imports the command line")
    return said


def allowed_complaints(name: str, source: str, *, is_package: bool = False) -> list[str]:
    """Imports from outside that this module has no right to, or has too early."""
    said = []
    for found in imports(name, source, is_package=is_package):
        target = found.target
        top = target.split(".")[0]
        where = f"{name}:{found.line} imports {target}"
        if top == name.split(".")[0]:
            continue
        if target == "random" or target.startswith("random."):
            said.append(f"{where}; randomness comes from a numpy Generator")
        elif top in sys.stdlib_module_names:
            continue
        elif within(name, "aisle_kernels"):
            if top not in KERNELS_NEED:
                said.append(f"{where}; kernels know numpy and numba only")
        elif top in ONLY_IN:
            if room_of(name) not in ONLY_IN[top]:
                said.append(f"{where}; only {sorted(ONLY_IN[top])} may")
        elif any(within(target, late) for late in DEFERRED):
            if not found.deferred:
                said.append(f"{where} at its top level; import it where it is used")
        elif top not in CORE_NEEDS:
            said.append(f"{where}, which is no dependency of this package")
    return said


def numba_complaints(name: str, source: str) -> list[str]:
    """Compilers of Numba called anywhere but in _jit.py."""
    # A ready model is written the way a user writes one, who has no _jit.py.
    if name == "aisle_kernels._jit" or name.startswith("aisle_smc.ssm.zoo."):
        return []
    said = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "numba":
            used = {alias.name for alias in node.names} & NUMBA_COMPILERS
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"numba", "nb"}:
            used = {node.attr} & NUMBA_COMPILERS
        else:
            continue
        if used:
            said.append(f"{name}:{node.lineno} uses numba's {used.pop()}; options live in _jit.py")
    return said


def random_complaints(name: str, source: str) -> list[str]:
    """Uses of the legacy global random state."""
    said = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in {
            "np.random",
            "numpy.random",
        }:
            used = {node.attr}
        elif isinstance(node, ast.ImportFrom) and node.module == "numpy.random":
            used = {alias.name for alias in node.names}
        else:
            continue
        said += [
            f"{name}:{node.lineno} uses numpy.random.{legacy}, the global random state"
            for legacy in sorted(used - RANDOM_NAMES)
        ]
    return said


def shape_complaints(name: str, source: str) -> list[str]:
    """Modules that are too long, unnamed or unexplained."""
    said = []
    length = source.count("\n")
    allowed = LONGER.get(name, LINES_AT_MOST)
    if length > allowed:
        said.append(f"{name} has {length} lines, more than {allowed}: split it by noun")
    if name.split(".")[-1].strip("_") in NO_NOUN:
        said.append(f"{name}: name the noun the module is about")
    if not ast.get_docstring(ast.parse(source)):
        said.append(f"{name} has no docstring that says why it exists")
    return said


def cycles(modules: dict[str, list[str]]) -> list[str]:
    """Rings of top-level imports, each reported once."""
    said: list[str] = []
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> None:
        if name in path:
            said.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for target in modules.get(name, []):
                walk(target, [*path, name])
            done.add(name)

    for name in modules:
        walk(name, [])
    return said


def is_package(name: str) -> bool:
    return MODULES[name].name == "__init__.py"


def source_of(name: str) -> str:
    return MODULES[name].read_text(encoding="utf-8")


# --- the source as it stands ---------------------------------------------------------------------


@pytest.mark.parametrize("name", MODULES)
def test_module_keeps_the_design(name):
    source = source_of(name)
    said = [
        *arrow_complaints(name, source, is_package=is_package(name)),
        *allowed_complaints(name, source, is_package=is_package(name)),
        *numba_complaints(name, source),
        *random_complaints(name, source),
        *shape_complaints(name, source),
    ]
    assert not said, "\n".join(said)


def test_no_import_cycles():
    graph = {
        name: [
            found.target
            for found in imports(name, source_of(name), is_package=is_package(name))
            if not found.deferred and found.target in MODULES and found.target != name
        ]
        for name in MODULES
    }
    assert cycles(graph) == []


def test_both_trees_are_read():
    assert {"aisle_smc", "aisle_smc.particles", "aisle_kernels._jit"} <= set(MODULES)
    assert not (ROOT / "kernels" / "__init__.py").exists(), "kernels is a folder, not a package"


# --- the negative twins: each rule must complain about a module that breaks it -------------------


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("aisle_smc.particles", "from aisle_smc.smc import smc"),
        ("aisle_smc.particles", "from aisle_smc import smc"),
        ("aisle_smc.particles", "from . import smc"),
        ("aisle_smc.particles", "def f():\n    from .smc import smc"),
        ("aisle_smc.particles", "if TYPE_CHECKING:\n    from .smc import smc"),
        ("aisle_smc.ssm.filters", "from ..plots import trace"),
        ("aisle_smc.ssm.filters", "import aisle_smc.cli"),
        ("aisle_smc.results", "def f():\n    from aisle_smc.cli import main"),
        ("aisle_smc.results", "import aisle_smc"),
        ("aisle_smc.surprise", "import numpy"),
    ],
)
def test_arrow_upwards_is_found(name, source):
    assert len(arrow_complaints(name, source)) == 1


def test_arrow_from_a_package_init_is_found():
    assert arrow_complaints("aisle_smc.ssm", "from ..plots import trace", is_package=True)
    assert not arrow_complaints("aisle_smc.ssm", "from .filters import f", is_package=True)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("aisle_smc.smc", "from aisle_smc.particles import Particles"),
        ("aisle_smc.ssm.filters", "from aisle_smc import smc"),
        ("aisle_smc.ssm.filters", "from .model import StateSpaceModel"),
        ("aisle_smc.results", "def plot(self):\n    from aisle_smc import plots"),
        ("aisle_smc.cli", "import aisle_smc"),
    ],
)
def test_arrow_downwards_is_not(name, source):
    assert arrow_complaints(name, source) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("aisle_kernels.weights", "import scipy"),
        ("aisle_kernels.weights", "def f():\n    from scipy.special import erf"),
        ("aisle_kernels.weights", "from aisle_smc import particles"),
        ("aisle_smc.particles", "import torch"),
        ("aisle_smc.particles", "def f():\n    import torch"),
        ("aisle_smc.particles", "if TYPE_CHECKING:\n    import torch"),
        ("aisle_smc.particles", "def f():\n    import joblib"),
        ("aisle_smc.neural.training", "from dask import delayed"),
        ("aisle_smc.plots", "import matplotlib.pyplot as plt"),
        ("aisle_smc.results", "try:\n    import xarray\nexcept ImportError:\n    xarray = None"),
        ("aisle_smc.priors", "from scipy import stats"),
        ("aisle_smc.priors", "from scipy.stats import norm"),
        ("aisle_smc.moves", "import random"),
        ("aisle_smc.moves", "import jax"),
    ],
)
def test_forbidden_import_is_found(name, source):
    assert len(allowed_complaints(name, source)) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("aisle_kernels.weights", "import math\nimport numpy\nfrom ._jit import kernel"),
        ("aisle_smc.neural.training", "import torch"),
        ("aisle_smc.batch", "import joblib"),
        ("aisle_smc.plots", "def f():\n    import matplotlib.pyplot as plt"),
        ("aisle_smc.priors", "if TYPE_CHECKING:\n    from scipy.stats import rv_continuous"),
        ("aisle_smc.priors", "from scipy.special import gammaln"),
    ],
)
def test_allowed_import_is_not(name, source):
    assert allowed_complaints(name, source) == []


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        (numba_complaints, "from numba import njit", "from numba import types"),
        (numba_complaints, "import numba\nf = numba.njit(g)", "import numba\nnumba.literally"),
        (random_complaints, "np.random.seed(1)", "np.random.default_rng(1)"),
        (random_complaints, "from numpy.random import normal", "from numpy.random import PCG64"),
        (shape_complaints, '"""Say."""\n' * (LINES_AT_MOST + 1), '"""Say."""\n' * LINES_AT_MOST),
        (shape_complaints, "x = 1\n", '"""Say."""\nx = 1\n'),
    ],
)
def test_rule_complains_about_bad_source_only(rule, bad, good):
    assert len(rule("aisle_smc.moves", bad)) == 1
    assert rule("aisle_smc.moves", good) == []


@pytest.mark.parametrize("noun", ["utils", "_base", "types"])
def test_module_without_a_noun_is_found(noun):
    assert len(shape_complaints(f"aisle_smc.ssm.{noun}", '"""Say."""\n')) == 1


def test_cycle_is_found():
    assert cycles({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}) == ["a -> b -> c -> a"]
    assert cycles({"a": ["b", "c"], "b": ["c"], "c": []}) == []


# --- what importing costs ------------------------------------------------------------------------

HEAVY = [
    "arviz_base",
    "arviz_stats",
    "dask",
    "distributed",
    "joblib",
    "matplotlib",
    "pandas",
    "scipy.stats",
    "torch",
    "xarray",
]
FRESH_IMPORT = """
import json, sys, time
start = time.process_time()
import aisle_smc
seconds = time.process_time() - start
print(json.dumps({"seconds": seconds, "modules": sorted(sys.modules)}))
"""


def fresh_import() -> dict:
    run = subprocess.run(
        [sys.executable, "-c", FRESH_IMPORT],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_import_pulls_nothing_heavy():
    loaded = set(fresh_import()["modules"])
    assert "aisle_smc" in loaded
    assert sorted(loaded.intersection(HEAVY)) == []


def test_import_takes_less_than_a_second():
    # A promise to the user, not a benchmark.  Seconds of the processor, and the best of three:
    # what the import costs, and not what else the machine was doing.
    fresh_import()
    seconds = [fresh_import()["seconds"] for _ in range(3)]
    assert min(seconds) < 1.0, f"import aisle_smc took {seconds} seconds"
