"""Checkpoints: whole or not at all, refused when foreign, and fingerprints that notice edits."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numba import njit

from aisle_smc import checkpoint


def test_round_trip(tmp_path):
    path = tmp_path / "run.aisle"
    state = {"a": np.arange(3), "rng": np.random.Generator(np.random.SFC64(1)), "b": [1.5, None]}
    checkpoint.save(path, state)
    back = checkpoint.load(path)
    assert back["a"].tolist() == [0, 1, 2]
    assert back["b"] == [1.5, None]
    assert back["rng"].random() == state["rng"].random()
    assert [p.name for p in tmp_path.iterdir()] == ["run.aisle"]


@pytest.mark.parametrize("step", ["fsync", "replace", "fdopen"])
def test_failing_disk_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "run.aisle"
    checkpoint.save(path, "old")

    def full(*arguments, **_):
        if step == "fdopen":
            import os

            os.close(arguments[0])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, step, full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(path, "new")
    monkeypatch.undo()
    assert checkpoint.load(path) == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["run.aisle"]


def test_foreign_file_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("buy milk")
    with pytest.raises(ValueError, match="must be a checkpoint of this package"):
        checkpoint.load(path)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_damaged_file_is_refused(tmp_path, damage):
    path = tmp_path / "run.aisle"
    checkpoint.save(path, list(range(1000)))
    body = bytearray(path.read_bytes())
    if damage == "cut":
        body = body[: len(body) // 2]
    elif damage == "flip":
        body[-10] ^= 1
    else:
        body = bytearray()
    path.write_bytes(bytes(body))
    with pytest.raises(ValueError, match=r"run\.aisle"):
        checkpoint.load(path)


def test_differences_are_named():
    then = {"model": "a", "seed": "1", "n": "None"}
    checkpoint.compare("f", then, dict(then))
    with pytest.raises(ValueError, match=r"seed: the file has 1, this call 2") as caught:
        checkpoint.compare("f", then, {**then, "seed": "2"})
    assert "model" not in str(caught.value).splitlines()[1]


# --- fingerprints --------------------------------------------------------------------------------

SCALE = 2.0


@njit
def helper(x):
    return x + 1.0


def plain(x):
    return helper(x) * SCALE


def test_digest_of_values():
    assert checkpoint.digest(np.arange(3.0)) == checkpoint.digest(np.arange(3.0))
    assert checkpoint.digest(np.arange(3.0)) != checkpoint.digest(np.arange(3))
    assert checkpoint.digest([1, 2]) != checkpoint.digest([12])
    assert checkpoint.digest({"a": 1}) != checkpoint.digest({"a": 1.0})


def test_digest_sees_globals_helpers_closures_and_defaults(monkeypatch):
    before = checkpoint.digest(plain)
    assert before == checkpoint.digest(plain)
    assert before == checkpoint.digest(njit(plain))
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert checkpoint.digest(plain) != before
    monkeypatch.undo()
    monkeypatch.setitem(globals(), "helper", njit(lambda x: x - 1.0))
    assert checkpoint.digest(plain) != before

    def make(k, d=0):
        def inner(x, shift=d):
            return k * x + shift

        return inner

    assert checkpoint.digest(make(1.0)) == checkpoint.digest(make(1.0))
    assert checkpoint.digest(make(1.0)) != checkpoint.digest(make(2.0))
    assert checkpoint.digest(make(1.0)) != checkpoint.digest(make(1.0, 1))


def test_digest_of_source_typed_at_a_prompt():
    one, two = ({} for _ in range(2))
    exec("def f(x): return x + 1", one)
    exec("def f(x): return x + 2", two)
    assert checkpoint.digest(one["f"]) != checkpoint.digest(two["f"])
    again = {}
    exec("def f(x): return x + 1", again)
    assert checkpoint.digest(one["f"]) == checkpoint.digest(again["f"])


def test_digest_is_the_same_in_another_process(tmp_path):
    module = tmp_path / "some_model.py"
    module.write_text("K = {'b': 1, 'a': (2.0, None)}\n\ndef f(x):\n    return K['b'] * x\n")
    code = "from aisle_smc import checkpoint; import some_model; print(checkpoint.digest([some_model.f, some_model.K]))"  # noqa: E501
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={"PYTHONPATH": f"{tmp_path}:{':'.join(sys.path)}", "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "12"
    }
    assert len(found) == 1


def test_digest_tells_closures_of_one_factory_apart():
    def make(k):
        return lambda x: k * x

    one, two, three = make(1.0), make(2.0), make(3.0)
    assert checkpoint.digest([one, two]) != checkpoint.digest([one, three])
    assert checkpoint.digest([one, two, one]) != checkpoint.digest([one, two, two])


MODULES = {
    "some_model.py": "import numpy as np\nimport some_parts\nfrom some_parts import deep as d\n\n"
    "def f(x):\n    return some_parts.scaled(x) + np.exp(d.SHIFT) + some_parts.deep.slope(x)\n",
    "some_parts/__init__.py": "from some_parts import deep\nNAMES = {'a', 'b', 'c'}\n\n"
    "def scaled(x):\n    return 2.0 * x if x in NAMES else x\n",
    "some_parts/deep.py": "import some_parts\nSHIFT = 1.0\n\ndef slope(x):\n    return 4.0 * x\n",
}


def test_digest_sees_what_is_reached_through_a_module(tmp_path):
    def found(seed="1", **edits):
        for name, text in MODULES.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            for old, new in edits.values():
                text = text.replace(old, new)
            (tmp_path / name).write_text(text)
        code = "import some_model; from aisle_smc import checkpoint as c; print(c.digest(some_model.f))"  # noqa: E501
        return subprocess.run(
            [sys.executable, "-B", "-c", code],
            cwd=tmp_path,
            env={"PYTHONPATH": f"{tmp_path}:{':'.join(sys.path)}", "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    before = found()
    assert found("2") == before
    assert found(edit=("2.0 * x", "3.0 * x")) != before
    assert found(edit=("SHIFT = 1.0", "SHIFT = 1.5")) != before
    assert found(edit=("4.0 * x", "5.0 * x")) != before
    assert found(edit=("'c'}", "'d'}")) != before
