"""Studies in TOML: what they may say, and every mistake reported before the first task."""

from __future__ import annotations

import importlib
import sys
import textwrap

import numpy as np
import pytest

from aisle_smc.batch import Limits, Series, Study
from aisle_smc.batch.limits import read_bytes, read_seconds
from aisle_smc.ssm import StateSpaceModel, wti

GOOD = """
name = "rivers"
seed = 4
replicates = 2

[limits]
seconds = "10 min"
memory = "2 GB"

[data.nile]
series = "nile"

[data.late]
series = "nile"
first = 1900
last = 1950

[data.ours]
file = "ours.csv"
columns = ["flow"]
time = "day"

[models.wide]
source = "models.py:wide"

[models.sv]
source = "StochasticVolatility"
options = { leverage = true }

[[task]]
kind = "filter"
priority = 1
over = { model = ["LocalLevel", "wide"], data = "all", n = [10, 20] }
options = { params = { level_sd = 38.0, observation_sd = 123.0 }, resampler = "stratified" }
limits = { seconds = 5 }

[[task]]
kind = "sample"
options = { target = "targets:bell", prior = "targets:prior" }

[[task]]
kind = "function"
over = { x = [1, 2], function = ["targets:double", "targets.py:triple"] }
"""

MODELS = """
from aisle_smc.ssm import LocalLevel
wide = LocalLevel()
broken = 3
def absent():
    return {}["key"]
"""

TARGETS = """
from scipy.stats import norm
prior = {"mu": norm(0, 1)}
def bell(mu):
    return -0.5 * mu**2
def double(x):
    return 2 * x
def triple(x):
    return 3 * x
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ours.csv").write_text("day,flow\n2020-01-01,3.5\n2020-01-02,\n2020-01-03,4\n")
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "targets.py").write_text(TARGETS)
    return tmp_path


def read(folder, text):
    (folder / "study.toml").write_text(textwrap.dedent(text))
    return Study.from_toml(folder / "study.toml")


def test_what_a_study_may_say(folder):
    study = read(folder, GOOD)
    assert (study.name, study.seed, study.replicates, len(study)) == ("rivers", 4, 2, 34)
    first = study.task(0)
    assert first.labels == {
        "model": "LocalLevel", "data": "nile", "n": 10, "replicate": 0,
    }  # fmt: skip
    assert (first.limits, first.priority) == (Limits(seconds=5.0, memory=2 * 10**9), 1)
    assert isinstance(first.options["model"], StateSpaceModel)
    assert [study.task(i).labels["data"] for i in (0, 2, 4)] == ["nile", "late", "ours"]
    assert study.task(16).limits.seconds == 600.0
    assert study.data["late"].time.tolist() == list(range(1900, 1951))
    ours = study.data["ours"]
    assert np.array_equal(ours.y, [3.5, np.nan, 4.0], equal_nan=True)
    assert ours.time[1] == np.datetime64("2020-01-02")


def test_the_same_file_gives_the_same_tasks(folder):
    one, other = read(folder, GOOD), read(folder, GOOD)
    assert [t.fingerprint for t in one] == [t.fingerprint for t in other]
    changed = MODELS.replace("LocalLevel()", "LocalLevel(prior={'initial_sd': 777.0})")
    (folder / "models.py").write_text(changed)
    third = read(folder, GOOD)
    differs = [a.index for a, b in zip(one, third, strict=True) if a.fingerprint != b.fingerprint]
    wide = [t.index for t in one if t.labels.get("model") == "wide"]
    assert differs == wide


@pytest.mark.parametrize("where", ["targets.py", "parts.py"])
@pytest.mark.parametrize("use", ["Base.size", "Child().size", "held.size", "Child.of()"])
def test_class_that_a_function_uses_is_part_of_its_task(folder, monkeypatch, where, use):
    """The class may stand in another file, be the base of one, or that of a global object."""
    text = """
        [[task]]
        kind = "function"
        over = { x = [1, 2], function = ["targets.py:measure", "targets.py:double"] }
        """
    classes = (
        "class Base:\n    size = 1\n\nclass Child(Base):\n    @classmethod\n"
        "    def of(cls):\n        return Base.size\n\nheld = Child()\n"
    )
    function = (
        f"\ndef inner():\n    return (lambda: {use})()\n\ndef measure(x):\n    return inner()\n"
    )

    def prints(classes):
        for name in ("parts", "aisle_study_parts"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        if where == "targets.py":
            (folder / where).write_text(TARGETS + classes + function)
        else:
            (folder / where).write_text(classes)
            (folder / "targets.py").write_text(
                f"# {len(classes)}\nfrom parts import *{TARGETS}{function}"
            )
        return [task.fingerprint for task in read(folder, text)]

    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before, same, after = prints(classes), prints(classes), prints(classes.replace("1", "55"))
    assert before == same
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, True] * 2


def test_functions_beside_the_study_reach_processes(folder):
    study = read(
        folder,
        """
        [[task]]
        kind = "function"
        over = { x = [1, 2], function = ["targets:double", "targets.py:triple"] }
        """,
    )
    result = study.run(1, folder=folder / "kept", progress=False)
    assert [value for _, value in result.values()] == [2, 3, 4, 6]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("seed = 4", "sead = 4"), "unknown key 'sead'; did you mean 'seed'"),
        (("priority = 1", "prioroty = 1"), "number 1: a task has the unknown key 'prioroty'"),
        (("memory =", "memroy ="), "did you mean 'memory'"),
        (('memory = "2 GB"', 'memory = "2 GG"'), "500 MB, 2 GiB; got '2 GG'"),
        (("last = 1950", "lost = 1950"), r"\[data.late\]: data has the unknown key 'lost'"),
        (("first = 1900\n", "first = 2900\n"), "no times from 2900"),
        (('"ours.csv"', '"our.csv"'), "no data file .*our.csv; did you mean 'ours.csv'"),
        (('["flow"]', '["flew"]'), "no column 'flew'.*did you mean 'flow'"),
        (('series = "nile"', 'series = "nil"'), "did you mean 'nile'"),
        (('"models.py:wide"', '"model.py:wide"'), "did you mean 'models.py'"),
        (('"models.py:wide"', '"models.py:wise"'), "did you mean 'wide'"),
        (('"models.py:wide"', '"models.py:broken"'), "cannot make a model"),
        (("leverage = true", "leverige = true"), "leverige"),
        (('"LocalLevel", "wide"', '"LocalLevl", "wide"'), "did you mean 'LocalLevel'"),
        (('kind = "filter"', 'kind = "filtre"'), "did you mean 'filter'"),
        (("n = [10, 20]", "n = []"), "the axis 'n' of the grid is empty"),
        (("n = [10, 20]", "m = [10, 20]"), "unknown key 'm'"),
        (("n = [10, 20]", "n = 10"), "must be a list of values"),
        (('"stratified"', '"stratifed"'), "did you mean 'stratified'"),
        (("observation_sd = 123.0", "se = 123.0"), "unknown: se; missing: observation_sd"),
        (("targets:bell", "target:bell"), "no module 'target'; did you mean 'targets'"),
        (("targets:bell", "targets:bill"), "did you mean 'bell'"),
        (("[limits]", "[limits"), "is not TOML"),
        (('data = "all"', 'data = ["nile", "lake"]'), "no data 'lake'"),
    ],
)
def test_mistakes_are_named(folder, change, said):
    assert change[0] in GOOD
    with pytest.raises((ValueError, TypeError), match=said):
        read(folder, GOOD.replace(*change))


OVER = 'over = { model = ["LocalLevel", "wide"], data = "all", n = [10, 20] }'


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((OVER, 'over = "all"'), r"number 1: over must be a table .*; got 'all'"),
        ((OVER, "over = 5"), "over must be a table"),
        (('options = { target = "targets:bell", prior = "targets:prior" }', "options = 5"),
         r"number 2: options must be a table .*; got 5"),
        (("options = { leverage = true }", "options = 5"), "options must be a table .*; got 5"),
        (('source = "models.py:wide"', "source = 5"), r"wide\]: source must be text; got 5"),
        (('"models.py:wide"', '"models.py:absent"'), "cannot make a model: KeyError: 'key'"),
        (('[data.nile]\nseries = "nile"', "[data.nile]\nseries = 5"), "series must be text"),
        (('columns = ["flow"]', "columns = [5]"), r"columns must be a list .*; got \[5\]"),
        (('columns = ["flow"]', 'columns = "flow"'), "columns must be a list .*; got 'flow'"),
        (('time = "day"', "time = 5"), r"\[data.ours\]: time must be text; got 5"),
        (('time = "day"', "covariates = 5"), "covariates must be a list"),
        (('file = "ours.csv"', "file = 5"), "file must be text; got 5"),
        (('time = "day"', 'time = "day"\nfirst = 5'), "first must be a date such as .*; got 5"),
        (('time = "day"', 'time = "day"\nlast = "May"'), "last must be a date .*; got 'May'"),
        (("first = 1900", 'first = "1900"'), "first must be a number, .*; got '1900'"),
        (('kind = "filter"', 'kind = ["filter"]'), r"kind must be text; got \['filter'\]"),
        (("limits = { seconds = 5 }", "limits = 5"), "limits must be a table .*; got 5"),
        (('seconds = "10 min"', 'seconds = "1.2.3 s"'), r"\[limits\]: a time .*; got '1.2.3 s'"),
        (('memory = "2 GB"', 'memory = "2 TiB"\nevaluations = 1.5'), "must be a whole number"),
        (('seconds = "10 min"', 'seconds = "367 d"'), "seconds must be at most a year"),
        (('memory = "2 GB"', "memory = 1e300"), "memory must be at most 2.60 bytes"),
        (('memory = "2 GB"', "memory = inf"), "memory must be finite"),
        (('name = "rivers"', 'name = ""'), "name must be a name for a folder"),
        (('name = "rivers"', 'name = "../esc/x"'), "not empty and without / .*; got '../esc/x'"),
        (('name = "rivers"', 'name = ".."'), "name must be a name for a folder"),
        (('name = "rivers"', "name = 5"), "name must be text; got 5"),
        (('data = "all"', "data = [{ a = 1 }]"), "no data"),
        (('data = "all"', "data = [5]"), "no data 5"),
    ],
)  # fmt: skip
def test_values_of_the_wrong_type_are_named(folder, change, said):
    assert change[0] in GOOD
    with pytest.raises((ValueError, TypeError), match=said) as caught:
        read(folder, GOOD.replace(*change))
    assert "has no attribute" not in str(caught.value)


def test_limits_may_not_be_a_number(folder):
    with pytest.raises(ValueError, match=r"\[limits\]: limits must be a table .*; got 5"):
        read(folder, "limits = 5\n[[task]]\nkind = 'function'")


def test_mistyped_model_is_told_once(folder):
    with pytest.raises(ValueError, match="did you mean") as caught:
        read(
            folder,
            GOOD.replace('"LocalLevel", "wide"', '"LocalLevl", "wide"')
            .replace("models.wide", "models.LocalLevels")
            .replace('"wide"', '"LocalLevels"'),
        )
    assert str(caught.value).count("did you mean") == 1


def test_file_that_is_not_there(tmp_path):
    (tmp_path / "study.toml").touch()
    with pytest.raises(ValueError, match=r"no study file .*did you mean 'study.toml'"):
        Study.from_toml(tmp_path / "studi.toml")
    with pytest.raises(ValueError, match="has no tasks"):
        Study.from_toml(tmp_path / "study.toml")


def test_model_that_does_not_compile_is_told_before_the_first_task(folder):
    (folder / "models.py").write_text(
        MODELS
        + textwrap.dedent(
            """
            from dataclasses import replace
            wide = replace(wide, transition=lambda rng, x, p: x.no_such_thing)
            """
        )
    )
    text = GOOD.replace('over = { model = ["LocalLevel", "wide"]', 'over = { model = ["wide"]')
    ran = folder / "ran"
    text = text.replace("targets:double", "targets:note")
    (folder / "targets.py").write_text(
        TARGETS + f"\ndef note(x):\n    open({str(ran)!r}, 'a').close()\n"
    )
    study = read(folder, text)
    with pytest.raises(ValueError, match=r"model=wide.*does not run"):
        study.run(1, "threads", folder=folder / "kept", progress=False)
    assert not ran.exists()


# --- the parts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read_one", "text", "value"),
    [
        (read_seconds, "90 s", 90.0),
        (read_seconds, "2h", 7200.0),
        (read_seconds, 1.5, 1.5),
        (read_bytes, "1 KiB", 1024),
        (read_bytes, "1.5MB", 1_500_000),
    ],
)
def test_quantities(read_one, text, value):
    assert read_one(text) == value


@pytest.mark.parametrize(
    "text", ["", "s", "3", "3 parsecs", True, None, "1e3 s s", "1.2.3 s", ". s"]
)
def test_nonsense_is_no_quantity(text):
    with pytest.raises(ValueError, match="must be a number or text"):
        read_seconds(text)


def test_part_of_a_series():
    oil = wti()
    series = Series(y=oil.returns, time=oil.dates).between("2000-01-01", "2000-12-31")
    keep = (oil.dates >= np.datetime64("2000-01-01")) & (oil.dates <= np.datetime64("2000-12-31"))
    assert np.array_equal(series.y, oil.returns[keep], equal_nan=True)
    assert not series.y.flags.writeable
    with pytest.raises(ValueError, match="has none"):
        Series(y=[1.0, 2.0]).between(0, 1)
    with pytest.raises(ValueError, match="one row for each"):
        Series(y=[1.0, 2.0], u=[1.0])
