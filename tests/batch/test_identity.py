"""What changed is another thing; what did not is the same one in every process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from aisle_smc.batch.identity import identity

HELPER = "A = 1\ndef g(x):\n    return x + A\n"
CONSTANT = HELPER, HELPER.replace("A = 1", "A = 2")
BODY = HELPER, HELPER.replace("x + A", "x - A")
BASE = "class B:\n    def g(self, x):\n        return x + 1\n"
BASES = BASE, BASE.replace("+ 1", "+ 2")
WRAPPER = """
import functools
def twice(f):
    @functools.wraps(f)
    def wrapper(x):
        return 2 * f(x)
    return wrapper
"""

# What is named `target` in one module, and a module `helper` before and after an edit.
HELPED = {
    "by name": ("from helper import g\ndef target(x): return g(x)", BODY),
    "module.name": ("import helper\ndef target(x): return helper.g(x)", BODY),
    "module in a closure": (
        "import helper\ndef make(h):\n    def f(x): return h.g(x)\n    return f\n"
        "target = make(helper)", BODY,
    ),
    "local from-import": ("def target(x):\n    from helper import g\n    return g(x)", BODY),
    "local from-import as": ("def target(x):\n    from helper import g as k\n    return k(x)",
                             CONSTANT),
    "local import": ("def target(x):\n    import helper\n    return helper.g(x)", BODY),
    "local import as": ("def target(x):\n    import helper as h\n    return h.g(x)", CONSTANT),
    "import in a nested function": (
        "def target(x):\n    def f():\n        from helper import g\n        return g(x)\n"
        "    return f()", BODY,
    ),
    "callable object": (
        "from helper import g\nclass T:\n    def __call__(self, x): return g(x)\ntarget = T()",
        CONSTANT,
    ),
    "callable dataclass": (
        "from dataclasses import dataclass\nfrom helper import g\n@dataclass(frozen=True)\n"
        "class T:\n    a: float = 1.0\n    def __call__(self, x): return g(x)\ntarget = T()", BODY,
    ),
    "base of an object": ("from helper import B\nclass T(B):\n    pass\ntarget = T()", BASES),
    "bound method of a base": (
        "from helper import B\nclass T(B):\n    def f(self, x): return self.g(x)\n"
        "target = T().f", BASES,
    ),
    "super": (
        "from helper import B\nclass T(B):\n    def g(self, x): return super().g(x)\n"
        "target = T().g", BASES,
    ),
    "method of an object made inside": (
        "from helper import g\nclass T:\n    def g(self, x): return g(x)\n"
        "def target(x): return T().g(x)", BODY,
    ),
    "constant of a method": (
        "import helper\nclass T:\n    def g(self, x): return x + helper.A\n"
        "def target(x): return T().g(x)", CONSTANT,
    ),
    "static, class method and property": (
        "from helper import g\nclass T:\n    @staticmethod\n    def a(x): return x\n"
        "    @property\n    def b(self): return g(1)\ndef target(x): return T().b", BODY,
    ),
    "body of a decorator": (
        "from helper import twice\n@twice\ndef target(x): return x",
        (WRAPPER, WRAPPER.replace("2 *", "3 *")),
    ),
    "what a decorator wraps": (
        WRAPPER + "from helper import g\n@twice\ndef target(x): return g(x)", BODY,
    ),
    "function of a partial": (
        "from functools import partial\nfrom helper import g\nh = partial(g, 1)\n"
        "def target(): return h()", BODY,
    ),
    "lru_cache": (
        "from functools import lru_cache\nfrom helper import g\nh = lru_cache(g)\n"
        "def target(x): return h(x)", BODY,
    ),
    "decorated with cache": (
        "from helper import g\ndef target(x): return g(x)",
        tuple("import functools\n@functools.cache\n" + text[6:] for text in
              ("A = 1\ndef g(x): return x", "A = 1\ndef g(x): return -x")),
    ),
    "slots": (
        "from helper import g\nclass T:\n    __slots__ = ('a',)\n    def __init__(self): "
        "self.a = 1\n    def __call__(self, x): return g(x)\ntarget = T()", BODY,
    ),
    "dict of functions": (
        "from helper import g\nD = {'g': g}\ndef target(x): return D['g'](x)", BODY,
    ),
    "numba": (
        "import numba\nfrom helper import A\n@numba.njit\ndef k(x): return x + A\n"
        "def target(x): return k(x)", CONSTANT,
    ),
    "cycle": (
        "from helper import g\ndef f(x): return target(x)\n"
        "def target(x): return g(x) if x else f(x)", BODY,
    ),
    "distribution of the user's": (
        "from helper import g\nfrom scipy.stats import rv_continuous\n"
        "class D(rv_continuous):\n    def _pdf(self, x): return g(x)\ntarget = D(name='d')()",
        BODY,
    ),
}  # fmt: skip

# One module alone, and what of its text is replaced.
ALONE = {
    "partial": (
        "from functools import partial\ndef g(a, x): return a + x\nh = partial(g, 1)\n"
        "def target(x): return h(x)", "(g, 1)", "(g, 2)",
    ),
    "state of an object": (
        "class K:\n    def __init__(self, a): self.a = a\nG = K(1)\n"
        "def target(x): return x + G.a", "K(1)", "K(2)",
    ),
    "state in slots": (
        "class K:\n    __slots__ = ('a',)\n    def __init__(self, a): self.a = a\nG = K(1)\n"
        "def target(x): return x + G.a", "K(1)", "K(2)",
    ),
    "state with a lock": (
        "import threading\nclass K:\n    def __init__(self, a):\n        self.a = a\n"
        "        self.lock = threading.Lock()\nG = K(1)\ndef target(x): return G.a",
        "K(1)", "K(2)",
    ),
    "big array in a dataclass": (
        "import numpy as np\nfrom dataclasses import dataclass\n@dataclass\nclass K:\n"
        "    a: object\na = np.zeros(5000)\na[2500] = 1\nG = K(a)\n"
        "def target(x): return G.a[2500]", "] = 1", "] = 2",
    ),
    "default": ("def target(x, a=1): return a", "a=1", "a=2"),
    "default of a field": (
        "from dataclasses import dataclass\n@dataclass\nclass T:\n    a: int = 1\n"
        "    def __call__(self): return 3\ndef target(): return T().a", "= 1", "= 2",
    ),
    "closure": (
        "def make(a):\n    def f(x): return a\n    return f\ntarget = make(1)",
        "make(1)", "make(2)",
    ),
    "nested function": (
        "def target(x):\n    def f(): return x + 1\n    return f()", "+ 1", "+ 2",
    ),
    "lambda": ("target = lambda x: x + 1", "+ 1", "+ 2"),
    "option of a decorator": (
        "import numba\n@numba.njit(fastmath=False)\ndef target(x): return x", "False", "True",
    ),
    "set": ("S = {'a', 'b', 'c'}\ndef target(x): return x in S", "'c'", "'d'"),
    "set in code": ("def target(x): return x in {'a', 'b', 'c'}", "'c'", "'d'"),
    "mapping of functions": (
        "def g(): return 1\ndef h(): return 2\ntarget = {'a': g, 'b': h}", "'b': h", "'b': g",
    ),
    "enum": (
        "import enum\nclass E(enum.Enum):\n    a = 1\n    b = 2\ndef target(): return E.a",
        "b = 2", "b = 3",
    ),
    "typed tuple": (
        "from typing import NamedTuple\nclass P(NamedTuple):\n    a: int\n"
        "def target(): return P(1)", "a: int", "a: float",
    ),
    "array of objects": (
        "import numpy as np\nA = np.array(['a', None], dtype=object)\ndef target(): return A",
        "'a'", "'b'",
    ),
    "singledispatch": (
        "import functools\n@functools.singledispatch\ndef target(x): return 0\n"
        "@target.register\ndef _(x: int): return 1\ntarget(3)", "return 1", "return 2",
    ),
}  # fmt: skip

# Edits that change nothing about what is named `target`.
IDLE = {
    "another function": ("def other(): return 1\ndef target(x): return x", "return 1", "return 2"),
    "lines above": ("def target(x): return x", "def", "# more\n\n\ndef"),
    "order": ("target = {'a': 1, 'b': 2}", "'a': 1, 'b': 2", "'b': 2, 'a': 1"),
    "order of functions": (
        "def g(): return h()\ndef h(): return 1\ntarget = {'a': g, 'b': h}",
        "'a': g, 'b': h", "'b': h, 'a': g",
    ),
    "order of a set": ("target = {'a', 'b', 3}", "'a', 'b'", "'b', 'a'"),
    "another import": ("import math\ndef target(x): return x", "math", "cmath"),
    "what was cached": (
        "import functools\nclass K:\n    @functools.cached_property\n    def a(self): return 1\n"
        "G = K()\nG.__init__()\ndef target(): return G.a", "G.__init__()", "G.a",
    ),
    "random state": (
        "import numpy as np\nR = np.random.default_rng(1)\nnp.log(2)\n"
        "def target(): return R.normal()", "np.log(2)", "R.normal()",
    ),
}  # fmt: skip

CASES = {
    **{name: ((text, before), (text, after)) for name, (text, (before, after)) in HELPED.items()},
    **{name: ((text, ""), (text.replace(old, new), "")) for name, (text, old, new) in
       (ALONE | IDLE).items()},
}  # fmt: skip

READ = """
import importlib, json, os, sys
from aisle_smc.batch.identity import identity
found = {}
for case in sorted(os.listdir(sys.argv[1])):
    sys.path.insert(0, os.path.join(sys.argv[1], case))
    found[case] = identity(importlib.import_module("its_target").target)
    sys.path.pop(0)
    for name in "its_target", "helper":
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
print(json.dumps(found))
"""


def identities(folder, hash_seed):
    run = subprocess.run(
        [sys.executable, "-c", READ, str(folder)],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    names = [*CASES]
    return {names[int(case)]: digest for case, digest in json.loads(run.stdout).items()}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Identities before an edit in two processes, and after it."""
    folder = tmp_path_factory.mktemp("edits")
    for number, versions in enumerate(CASES.values()):
        for version, (target, helper) in zip(("before", "after"), versions, strict=True):
            place = folder / version / str(number)
            place.mkdir(parents=True)
            (place / "its_target.py").write_text(target)
            (place / "helper.py").write_text(helper)
    before, after = folder / "before", folder / "after"
    return identities(before, 0), identities(before, 1), identities(after, 2)


@pytest.mark.parametrize("case", [*HELPED, *ALONE])
def test_edit_makes_another_thing(found, case):
    assert CASES[case][0] != CASES[case][1]
    assert found[0][case] != found[2][case]


@pytest.mark.parametrize("case", IDLE)
def test_idle_edit_makes_none(found, case):
    assert CASES[case][0] != CASES[case][1]
    assert found[0][case] == found[2][case]


@pytest.mark.parametrize("case", CASES)
def test_other_process_knows_it_again(found, case):
    assert found[0][case] == found[1][case]


def test_import_inside_brings_in_no_installed_module():
    def f(x):
        import this

        return this.c + x

    assert len(identity(f)) == 12
    assert "this" not in sys.modules


def test_data_frame_counts_by_what_it_holds():
    pandas = pytest.importorskip("pandas")

    def frame(**changed):
        columns = {"a": [1.0, 2.0], "b": ["x", "y"]} | changed
        return pandas.DataFrame(columns, index=["p", "q"])

    others = [
        frame(), frame(a=[1.0, 3.0]), frame(b=["x", "z"]), frame(a=[1, 2]),
        frame().rename(columns={"a": "c"}), frame().rename(index={"p": "r"}), frame()["a"],
        frame()["b"], frame().index, frame().T,
    ]  # fmt: skip
    assert len({identity(other) for other in others}) == len(others)
    assert identity(frame()) == identity(frame())


def test_distribution_with_a_random_state_of_its_own_does_not_change_with_it():
    before = identity(multivariate_normal([0.0, 1.0]))
    multivariate_normal([0.0, 1.0]).rvs()
    assert identity(multivariate_normal([0.0, 1.0])) == before
    assert identity(multivariate_normal([0.0, 2.0])) != before
    assert identity(norm(0, 1).logpdf) != identity(norm(0, 2).logpdf)


def test_nesting_and_sharing():
    shared = [1]
    assert identity([shared, shared]) == identity([[1], [1]])
    assert identity([[1], 2]) != identity([1, [2]])
    assert identity({"a": {"b": 1}}) != identity({"a": {}, "b": 1})
    assert identity(np.array([1.0, 2.0])) != identity(np.array([[1.0, 2.0]]))
    assert identity(np.ma.masked_equal([1, 2], 2)) != identity(np.ma.masked_equal([1, 2], 1))


def test_ring_of_containers_ends():
    ring: list = [1]
    ring.append(ring)
    assert identity(ring) != identity([1, [1]])


def test_what_nothing_tells_apart_is_refused_as_data_and_counts_by_type_in_code():
    lock = threading.Lock()
    with pytest.raises(TypeError, match="nothing tells"):
        identity({"a": lock})

    def f(x):
        with lock:
            return x

    assert len(identity(f)) == 12


def test_too_deep_is_refused():
    deep: list = []
    for _ in range(10 * sys.getrecursionlimit()):
        deep = [deep]
    with pytest.raises(TypeError, match="nested too deeply"):
        identity(deep)


def test_method_of_an_object_counts_by_its_state():
    class K:
        def __init__(self, a):
            self.a = a

        def g(self, x):
            return self.a * x

    assert identity(K(1).g) == identity(K(1).g) != identity(K(2).g)


def test_text_is_dedented():
    namespaces: list[dict] = [{}, {}]
    text = "def f(x):\n    return x\n"
    exec(text, namespaces[0])
    exec("if True:\n" + textwrap.indent(text, "    "), namespaces[1])
    assert identity(namespaces[0]["f"]) == identity(namespaces[1]["f"])
