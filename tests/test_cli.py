"""The command line as a person meets it: results, words, errors, and stopping in the middle."""

import csv
import io
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from aisle_smc.cli import main
from aisle_smc.cli.folder import claim, finish, is_finished
from aisle_smc.cli.model_file import load_model, parse_params, read_parameters
from aisle_smc.cli.observations import load_observations
from aisle_smc.cli.table import nearest, read_table
from aisle_smc.cli.terminal import Terminal, duration, number
from aisle_smc.ssm.data import nile
from aisle_smc.ssm.zoo import StochasticVolatility

pytest.importorskip("matplotlib")
pytest.importorskip("arviz_stats")

MODEL = '''
"""A level that wanders, as a user would write it."""
from typing import NamedTuple

from scipy.stats import halfnorm

from aisle_smc.ssm.math import normal_logpdf
from aisle_smc.ssm.model import StateSpaceModel


class Params(NamedTuple):
    level: float
    noise: float
    start: float


model = StateSpaceModel(
    params=Params,
    initial=lambda rng, p: rng.normal(p.start, 300.0),
    transition=lambda rng, x, p: rng.normal(x, p.level),
    log_observation=lambda y, x, p: normal_logpdf(y, x, p.noise),
    observe=lambda rng, x, p: rng.normal(x, p.noise),
    prior={"level": halfnorm(scale=100.0), "noise": halfnorm(scale=200.0), "start": 1000.0},
    name="wandering level",
)
no_prior = StateSpaceModel(
    params=Params,
    initial=lambda rng, p: rng.normal(p.start, 300.0),
    transition=lambda rng, x, p: rng.normal(x, p.level),
    log_observation=lambda y, x, p: normal_logpdf(y, x, p.noise),
)
number = 3


def make():
    return model
'''


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder as a user has it: a model file and a data file with a date and a gap."""
    monkeypatch.chdir(tmp_path)
    write_place(tmp_path)
    return tmp_path


def write_place(folder):
    (folder / "my_model.py").write_text(MODEL)
    flow = nile()
    rows = [f"{year}-07-01,{v:g},steady" for year, v in zip(flow.years, flow.volume, strict=True)]
    rows[30] = rows[30].split(",")[0] + ",NA,steady"
    (folder / "my.csv").write_text("date,flow,note\n" + "\n".join(rows) + "\n")


def aisle(*arguments, cwd, wait=True):
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"}
    process = subprocess.Popen(
        [sys.executable, "-m", "aisle_smc", *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if not wait:
        return process
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def complaint(capsys, *arguments):
    """Run a command that must fail, and return its one paragraph."""
    assert main(list(arguments)) == 2
    said = capsys.readouterr()
    assert said.err.startswith("aisle: ")
    assert "Traceback" not in said.err
    return said.err


# --- from end to end -----------------------------------------------------------------------------

FIT = (
    "fit", "--model", "my_model.py:model", "--data", "my.csv", "--column", "flow",
    "--draws", "1500", "--tune", "300", "--chains", "2", "--particles", "400", "--workers", "1",
    "--forecast", "5",
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("cli")
    write_place(folder)
    return folder, aisle(*FIT, "--out", "calm", cwd=folder)


def test_fit_writes_everything(finished):
    folder, (code, out, err) = finished
    assert code == 0, err
    run = folder / "calm"
    assert {p.name for p in run.iterdir()} == {
        "posterior.nc", "summary.csv", "report.html", "run.aisle", "run.json", "figures",
    }  # fmt: skip
    assert {p.name for p in (run / "figures").iterdir()} == {
        "pairs.png", "states.png", "forecast.png", "ess.png", "traces.png",
    }  # fmt: skip
    assert "100 rows (1871-07-01 to 1970-07-01, 1 missing) of flow in my.csv" in flat(out)
    assert "log-evidence" in out
    assert "calm/report.html" in out
    assert "\033" not in out + err
    with (run / "summary.csv").open() as file:
        rows = {row["parameter"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"level", "noise"}
    # The exact posterior means, by Kalman filter on a grid, are near 42 and 124.
    assert 30 < float(rows["level"]["mean"]) < 55
    assert 112 < float(rows["noise"]["mean"]) < 136
    assert "log-evidence" in out


def test_draws_can_be_loaded_with_their_dates(finished):
    xarray = pytest.importorskip("xarray")
    results = xarray.open_datatree(finished[0] / "calm" / "posterior.nc")
    posterior = results["posterior"].dataset
    assert posterior["level"].shape == (2, 1500)
    assert posterior["x"].dtype == np.float32  # enough for its spread
    assert posterior["time"].values[0] == np.datetime64("1871-07-01")
    assert results["posterior_predictive"].dataset["y"].shape[:2] == (2, 250)
    assert np.isfinite(results.attrs["log_evidence"])
    results.close()


def test_ctrl_c_leaves_a_file_that_the_same_command_finishes(finished):
    folder, (code, _, err) = finished
    assert code == 0, err
    command = (*FIT, "--out", "cut short")
    process = aisle(*command, cwd=folder, wait=False)
    file = folder / "cut short" / "run.aisle"
    first = None
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if file.exists():
            now = file.stat().st_mtime_ns
            first = now if first is None else first
            if now != first:
                break  # saved twice: the chains are running
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=2)
    except subprocess.TimeoutExpired:
        # A Ctrl-C that arrives while Numba compiles is lost; a person presses it again.
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err
    assert f"-m aisle_smc {' '.join(FIT)} --out 'cut short'" in err
    assert not (file.parent / "report.html").exists()

    code, out, err = aisle(*command, cwd=folder)
    assert code == 0, err
    assert "Continuing the run" in out
    calm, cut = folder / "calm", folder / "cut short"
    assert (cut / "summary.csv").read_bytes() == (calm / "summary.csv").read_bytes()
    xarray = pytest.importorskip("xarray")
    groups = [xarray.open_datatree(f / "posterior.nc").load() for f in (calm, cut)]
    for name in ("posterior", "log_likelihood", "posterior_predictive", "sample_stats"):
        xarray.testing.assert_identical(*(g[name].dataset for g in groups))

    # Finished: the same command writes the results again; another one does not touch them.
    code, _, err = aisle(*FIT, "--out", "cut short", "--seed", "1", cwd=folder)
    assert code == 2
    assert "seed: 0, now 1" in flat(err)
    assert "--overwrite" in err


def test_filter_writes_its_table(place, capsys):
    command = ["filter", "--model", "my_model.py:model", "--params", "level=40,noise=120"]
    command += ["--data", "my.csv", "--column", "flow", "--particles", "500", "--out", "f"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "log-evidence -6" in out
    with open("f/filter.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 100
    assert rows[0]["time"] == "1871-07-01"
    assert rows[30]["flow"] == ""
    total = sum(float(row["log_evidence_increment"]) for row in rows)
    assert f"log-evidence {total:.3f}" in out
    assert {"x mean", "x sd", "x 5%", "x 50%", "x 95%", "ess"} <= set(rows[0])
    assert (place / "f" / "filter.png").read_bytes().startswith(b"\x89PNG")


def test_check_finds_what_is_wrong(place, capsys):
    text = MODEL.replace("rng.normal(x, p.noise)", "rng.normal(x, 3.0 * p.noise)")
    (place / "bad.py").write_text(text)
    assert main(["check", "--model", "bad.py:model", "--params", "level=40,noise=120"]) == 1
    out = capsys.readouterr().out
    assert "problem" in out
    assert "observe" in out


def test_check_finds_nothing_else(place, capsys, monkeypatch):
    from aisle_smc.ssm.findings import Finding, Findings

    asked = {}

    def check_model(model, y, params, **options):
        asked.update(options, y=y, params=params)
        return Findings((Finding("ok", "all\nwell"), Finding("cannot tell", "this", "wait")))

    monkeypatch.setattr("aisle_smc.ssm.check.check_model", check_model)
    command = ["check", "--model", "my_model.py:model", "--data", "my.csv", "--column", "flow"]
    assert main([*command, "--calibrate", "7", "--seed", "3"]) == 0
    out = capsys.readouterr().out
    assert "ok           all\n             well\n" in out
    assert "\N{RIGHTWARDS ARROW} wait" in out
    assert "No problem found" in out
    assert asked["y"].shape == (100,)
    assert asked["params"] is None
    assert (asked["calibration"], asked["seed"]) == (7, 3)


def test_models_are_listed(capsys):
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "StochasticVolatility" in out
    assert "mu, rho, sigma" in out
    assert "nile" in out


@pytest.mark.parametrize("arguments", [[], ["--help"], ["fit", "--help"], ["check", "--help"]])
def test_help_teaches_by_examples(arguments, capsys):
    if "--help" in arguments:
        with pytest.raises(SystemExit) as leaving:
            main(arguments)
        assert leaving.value.code == 0
    else:
        assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "examples:" in out
    assert "my_model.py:model" in out
    assert max(len(line) for line in out.splitlines()) <= 100


# --- errors --------------------------------------------------------------------------------------


def fit(**replaced):
    given = {"model": "my_model.py:model", "data": "my.csv", "column": "flow", "out": "run"}
    given |= replaced
    options = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return ["fit", *options]


@pytest.mark.parametrize(
    ("replaced", "said"),
    [
        ({"data": "mine.csv"}, ["no data file mine.csv", "did you mean 'my.csv'"]),
        ({"data": "nil", "column": None}, ["no data 'nil'", "wti, nile", "did you mean 'nile'"]),
        ({"data": "nile"}, ["comes with the package", "--column"]),
        ({"column": "flwo"}, ["no column 'flwo'", "date, flow, note", "did you mean 'flow'"]),
        ({"column": "note"}, ["must hold numbers", "line 2 has 'steady'"]),
        ({"column": None}, ["--column", "date, flow, note"]),
        ({"covariates": "note"}, ["must hold numbers"]),
        ({"time": "flow"}, ["must have no gaps", "line 32"]),
        ({"time": "note"}, ["must hold dates", "'steady'"]),
        ({"model": "no_model.py:model"}, ["no model file no_model.py"]),
        ({"model": "my_model.py:modle"}, ["no 'modle'", "did you mean 'model'"]),
        ({"model": "my_model.py:number"}, ["'number'", "must be a StateSpaceModel", "int"]),
        ({"model": "my_model.py:Params"}, ["must be a StateSpaceModel", "the class Params"]),
        ({"model": "my_model.py"}, ["must hold one model", "model, no_prior"]),
        ({"model": "my_model.py:no_prior"}, ["has no prior"]),
        ({"model": "Volatility"}, ["no model 'Volatility'", "StochasticVolatility"]),
        ({"draws": "0"}, ["draws"]),
        ({"out": "my.csv"}, ["must be a folder"]),
    ],
)
def test_bad_input_is_one_paragraph(replaced, said, place, capsys):
    err = flat(complaint(capsys, *fit(**replaced)))
    for words in said:
        assert words in err
    assert not (place / "run" / "report.html").exists()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def f(:\n", ["does not run: SyntaxError, line 1"]),
        ("x = 1\nmodel = StateSpaceModel()\n", ["NameError, line 2", "StateSpaceModel"]),
        ("x = 1\n", ["has no 'model'"]),
    ],
)
def test_a_model_file_that_does_not_run(source, said, place, capsys):
    (place / "broken.py").write_text(source)
    err = flat(complaint(capsys, *fit(model="broken.py:model")))
    for words in said:
        assert words in err


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("", "missing: level, noise; for example --params level=...,noise=..."),
        ("level=1", "missing: noise"),
        ("level=1,noies=2", "no parameter 'noies'; its parameters are level, noise, start"),
        ("level=1,noise=two", "got 'noise=two'"),
        ("level=1,noise=-2", "noise"),
    ],
)
def test_bad_parameters(params, said, place, capsys):
    command = ["filter", "--model", "my_model.py:model", "--data", "my.csv", "--column", "flow"]
    assert said in flat(complaint(capsys, *command, "--params", params))


def test_debug_shows_where(place):
    with pytest.raises(ValueError, match="no column 'a'"):
        main([*fit(column="a"), "--debug"])


# --- tables --------------------------------------------------------------------------------------


def table(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path)


def test_missing_cells_in_their_many_spellings(tmp_path):
    read = table(tmp_path, "y,z\n1,a\n,b\nNA,c\nnan,d\nN/A,e\n null ,f\n-2.5e1,g\n")
    expected = [1, np.nan, np.nan, np.nan, np.nan, np.nan, -25]
    np.testing.assert_array_equal(read.numbers("y"), expected)


@pytest.mark.parametrize(
    "text",
    [
        "a;b\n1;2\n3;4\n",
        "a\tb\n1\t2\n3\t4\n",
        "\ufeffa,b\r\n1,2\r\n\r\n3,4",
        '"a", "b"\n1,2\n"3",4',
    ],
)
def test_dialects_of_csv(text, tmp_path):
    read = table(tmp_path, text)
    assert read.names == ("a", "b")
    np.testing.assert_array_equal(read.numbers("b"), [2, 4])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 lines"),
        ("a,b\n", "1 line"),
        ("1,2\n3,4\n", "must name the columns"),
        ("a,b\n1,2\n3\n", "line 3 has 1 cells"),
        (b"a\n\xff\xfe\n", "UTF-8"),
    ],
)
def test_tables_that_cannot_be_read(text, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        table(tmp_path, text)


def test_a_column_without_a_number(tmp_path):
    read = table(tmp_path, "y,z\nNA,1\n,2\n")
    with pytest.raises(ValueError, match="all its 2 cells are empty"):
        read.numbers("y")


def test_decimal_commas_are_explained(tmp_path):
    read = table(tmp_path, "y;z\n1,5;1\n")
    with pytest.raises(ValueError, match=r"'1,5'; write a decimal point: 1\.5"):
        read.numbers("y")


@pytest.mark.parametrize(
    ("cells", "first", "last"),
    [
        (["2019-01-31", "2019-02-01"], "2019-01-31", "2019-02-01"),
        (["2019-01", "2019-02"], "2019-01-01", "2019-02-01"),
        (["2019-01-31 10:00", "2019-01-31 11:00"], "2019-01-31T10:00:00", "2019-01-31T11:00:00"),
        (["2019/01/31", "2019/02/01"], "2019-01-31", "2019-02-01"),
        (["31.01.2019", "01.02.2019"], "2019-01-31", "2019-02-01"),
        (["11/02/2019", "12/01/2019"], "2019-11-02", "2019-12-01"),  # month first: in order
        (["09/02/2019", "03/03/2019"], "2019-02-09", "2019-03-03"),  # day first: in order
        (["31/01/2019", "01/02/2019"], "2019-01-31", "2019-02-01"),
        (["5 Jan 2019", "6 Jan 2019"], "2019-01-05", "2019-01-06"),
    ],
)
def test_dates(cells, first, last, tmp_path):
    read = table(tmp_path, "when,y\n" + "".join(f"{cell},1\n" for cell in cells))
    time = read.time("when")
    assert [str(t) for t in time] == [first, last]


def test_dates_that_could_be_either_are_not_guessed(tmp_path):
    read = table(tmp_path, "date,y\n01/02/2019,1\n01/03/2019,2\n")
    assert read.guess_time([]) is None
    with pytest.raises(ValueError, match=r"day/month or month/day; write dates as 2019-01-31"):
        read.time("date")


def test_years_and_numbers_are_times(tmp_path):
    read = table(tmp_path, "year,s,y\n1871,0.5,1\n1872,1.0,2\n")
    assert read.time("year").dtype.kind == "i"
    np.testing.assert_array_equal(read.time("s"), [0.5, 1.0])
    assert read.guess_time([]) == "year"
    assert read.guess_time(["year"]) is None


def test_a_time_axis_is_only_guessed_where_it_works(tmp_path):
    read = table(tmp_path, "date,y\nmonday,1\ntuesday,2\n")
    assert read.guess_time([]) is None


@pytest.mark.parametrize(
    ("word", "said"), [("flwo", "; did you mean 'flow'?"), ("FLOW", "; did you mean 'flow'?")]
)
def test_nearest(word, said):
    assert nearest(word, ["date", "flow"]) == said
    assert nearest("zzz", ["date", "flow"]) == ""


def test_columns_are_matched_to_the_model(tmp_path):
    from types import SimpleNamespace
    from typing import NamedTuple

    class Seen(NamedTuple):
        cases: float
        deaths: float

    model = SimpleNamespace(
        observation=Seen, observation_names=("cases", "deaths"), covariates=float, name=""
    )
    path = tmp_path / "a.csv"
    path.write_text("week,deaths,cases,rain\n1,2,3,4\n2,,5,6\n")
    read = load_observations(model, str(path), covariates=["rain"])
    np.testing.assert_array_equal(read.y, [[3, 2], [5, np.nan]])
    np.testing.assert_array_equal(read.u, [4, 6])
    np.testing.assert_array_equal(read.time, [1, 2])
    with pytest.raises(ValueError, match=r"2 values at each time \(cases, deaths\); got 1 column"):
        load_observations(model, str(path), ["cases"])
    with pytest.raises(ValueError, match="one value at each time"):
        load_observations(model, "nile")


def test_the_first_fit_sees_oil():
    oil = load_observations(StochasticVolatility(), "wti")
    assert oil.y.shape == (1500,)
    assert oil.view.state == "Volatility (% per day)"
    assert "106 missing" in oil.words


# --- models and parameters -----------------------------------------------------------------------


def test_a_model_may_be_made_by_a_function(place):
    made = load_model("my_model.py:make")
    named = load_model("my_model.py:model")
    assert made.label == "wandering level"
    assert made.digest == named.digest
    (place / "my_model.py").write_text(MODEL + "\n# changed\n")
    assert load_model("my_model.py:model").digest != named.digest


def test_parameters_are_completed_by_constants(place):
    model = load_model("my_model.py:model").model
    assert read_parameters(model, "noise=2, level=1") == (1.0, 2.0, 1000.0)
    assert read_parameters(model, "noise=2,level=1,start=5") == (1.0, 2.0, 5.0)
    assert parse_params("a=1;b=-2e3") == {"a": 1.0, "b": -2000.0}


# --- the folder ----------------------------------------------------------------------------------


def test_a_folder_knows_its_run(tmp_path):
    folder = tmp_path / "run"
    settings = {"model": "a", "seed": 0, "draws": 10}
    claim(folder, settings, overwrite=False)
    assert not is_finished(folder)
    finish(folder, settings)
    claim(folder, settings, overwrite=False)
    assert is_finished(folder)
    # More draws continue the run, which is then not finished any more.
    claim(folder, settings | {"draws": 20}, overwrite=False)
    assert not is_finished(folder)
    with pytest.raises(ValueError, match="seed: 0, now 1"):
        claim(folder, settings | {"seed": 1}, overwrite=False)
    (folder / "run.aisle").write_text("old")
    (folder / "keep.txt").write_text("mine")
    claim(folder, settings | {"seed": 1}, overwrite=True)
    assert not (folder / "run.aisle").exists()
    assert (folder / "keep.txt").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(ValueError, match=r"it has report\.html and no run\.json"):
        claim(tmp_path, {"seed": 0}, overwrite=False)
    assert (tmp_path / "report.html").read_text() == "mine"
    (tmp_path / "report.html").unlink()
    (tmp_path / "run.json").write_text("not json")
    with pytest.raises(ValueError, match="another version"):
        claim(tmp_path, {"seed": 0}, overwrite=False)


# --- the terminal --------------------------------------------------------------------------------


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_colour_is_for_people_who_want_it(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert Terminal(Screen()).strong("a") == "\033[1ma\033[0m"
    assert Terminal(io.StringIO()).strong("a") == "a"
    monkeypatch.setenv("NO_COLOR", "1")
    assert Terminal(Screen()).strong("a") == "a"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert Terminal(Screen()).strong("a") == "a"


def test_words_are_wrapped_and_labelled():
    stream = io.StringIO()
    Terminal(stream).say("word " * 60)
    assert max(map(len, stream.getvalue().splitlines())) <= 88
    stream = io.StringIO()
    Terminal(stream).item("ok", "first\nsecond")
    assert stream.getvalue() == "ok           first\n             second\n"
    assert duration(59.94) == "59.9 s"
    assert number(9999) == "9999"
    assert number(12345) == "12 345"


def flat(text):
    return " ".join(text.split())


def test_flat_is_flat():
    assert flat(textwrap.dedent(" a\n  b ")) == "a b"


def test_large_levels_are_stored_in_double_precision():
    xarray = pytest.importorskip("xarray")
    from aisle_smc.cli.fit import _storage

    near = np.random.default_rng(1).normal(size=(2, 50))
    for values, kind in ((near, "f4"), (2e8 + near, np.float64), (near[0], np.float64)):
        dims = ("draw", "time") if values.ndim == 2 else ("draw",)
        assert _storage(xarray.DataArray(values, dims=dims)) == kind
