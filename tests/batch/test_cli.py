"""The commands about studies as a person meets them: words, exit codes, stopping in the middle."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest

from aisle_smc.batch import Grid, Store, Study, status
from aisle_smc.batch.glance import fault_kinds, glance
from aisle_smc.batch.lock import locked
from aisle_smc.batch.record import Record
from aisle_smc.batch.store import LOCK
from aisle_smc.cli import main, standing
from aisle_smc.cli.batch import say_faults
from aisle_smc.cli.standing import can_redraw, live, watch
from aisle_smc.cli.study import study_folder
from aisle_smc.cli.terminal import Terminal
from docs.examples.figures import blocks
from tests.batch import jobs

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"

WORK = """
import time


def work(x, rng, seconds=0.0):
    time.sleep(seconds)
    if x == 3:
        raise ArithmeticError("no such number")
    return {"draw": float(rng.random()), "square": x * x}
"""
STUDY = """
name = "few"
replicates = 2

[[task]]
kind = "function"
over = { x = [1, 2, 3] }
options = { function = "work.py:work" }
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work.py").write_text(WORK)
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path


@pytest.fixture
def done(place):
    assert main(["batch", "study.toml", "--executor", "threads", "--workers", "1"]) == 1
    return place


def said(capsys, *command, code=0):
    capsys.readouterr()
    assert main(list(command)) == code
    return capsys.readouterr()


class Screen(io.StringIO):
    """A terminal that a person looks at."""

    def isatty(self):
        return True


# --- running -------------------------------------------------------------------------------------


def test_batch_says_what_failed_and_where(place, capsys):
    out = said(capsys, "batch", "study.toml", "--executor", "threads", code=1)
    assert "few: 6 tasks (3, 2 times each), kept in few" in out.out
    assert "4 of 6 tasks done" in out.out
    assert "2 tasks, the first task 2 (function=work, x=3, replicate=0), failed: Arithm" in out.out
    assert 'raise ArithmeticError("no such number")' in out.out
    assert "few: 6 of 6 tasks" in out.err  # one line for a log
    assert "\033" not in out.out + out.err
    assert out.out.count("--retry-failed") == 1


def test_batch_again_runs_nothing_and_retries_on_request(done, capsys):
    before = glance("few")
    out = said(capsys, "batch", "study.toml", "--executor", "threads", code=1)
    assert "4 of 6 tasks done" in out.out
    assert glance("few").status.summary == before.status.summary
    (done / "work.py").write_text(WORK.replace("x == 3", "x == 4"))
    # A changed function makes every task a new one: old results are not taken for new ones.
    out = said(capsys, "batch", "study.toml", "--executor", "threads")
    assert "6 of 6 tasks done" in out.out
    assert status("few").summary.former == 6


def test_retry_failed_runs_only_what_failed(place, capsys):
    (place / "work.py").write_text(
        "from pathlib import Path\n\n\ndef work(x):\n"
        "    with Path(f'seen-{x}').open('a') as file:\n        file.write('x')\n"
        "    if x == 3 and not Path('ready').exists():\n        raise OSError('not yet')\n"
        "    return x\n"
    )
    said(capsys, "batch", "study.toml", "--executor", "threads", code=1)
    (place / "ready").touch()
    said(capsys, "batch", "study.toml", "--executor", "threads", code=1)
    out = said(capsys, "batch", "study.toml", "--executor", "threads", "--retry-failed")
    assert "6 of 6 tasks done" in out.out
    assert "--retry-failed" not in out.out
    runs = {k: len((place / f"seen-{k}").read_text()) for k in (1, 2, 3)}
    assert runs == {1: 2, 2: 2, 3: 4}  # two replicates, and those of 3 once more


def test_ctrl_c_says_how_to_go_on(place):
    (place / "study.toml").write_text(
        STUDY.replace("x = [1, 2, 3]", f"x = {[0, *range(4, 40)]}").replace(
            '"work.py:work"', '"work.py:work", seconds = 0.1'
        )
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'kernels'}"}
    command = [sys.executable, "-m", "aisle_smc", "batch", "study.toml", "--executor", "threads",
               "--workers", "1", "--retry-failed"]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=place, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if (place / "few" / "index.sqlite").exists() and status("few").summary.done:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    kept = status("few").summary
    assert 0 < kept.done < 74
    assert f"Stopped. {kept.done} of 74 tasks are done and kept in few." in err
    assert "study.toml --executor threads --workers 1\n" in err
    assert "--retry-failed" not in err


def test_two_files_of_one_name_do_not_share_a_folder(done, capsys):
    again = ["batch", "other/study.toml", "--executor", "threads"]
    (done / "other").mkdir()
    (done / "other" / "work.py").write_text(WORK)
    (done / "other" / "study.toml").write_text(STUDY)  # the same content: a copy goes on
    out = said(capsys, *again, code=1)
    assert "4 of 6 tasks done" in out.out
    (done / "other" / "study.toml").write_text(STUDY.replace("1, 2, 3", "1, 2"))
    said(capsys, *again)  # the file that was last run here, edited
    facts = Store.open("few").fact("origin"), glance("few").command
    out = said(capsys, "batch", "study.toml", code=2)
    assert "holds the study of another file" in out.err
    assert str(done / "other" / "study.toml") in "".join(out.err.split("\n"))
    assert (Store.open("few").fact("origin"), glance("few").command) == facts
    said(capsys, "batch", "study.toml", "--executor", "threads", "--folder", "mine", code=1)
    (done / "other" / "study.toml").unlink()  # a file that has moved is no other one
    said(capsys, "batch", "study.toml", "--executor", "threads", code=1)


def test_python_run_of_a_file_is_compared_too(done):
    (done / "other.toml").write_text(STUDY.replace("1, 2, 3", "1, 2"))
    with pytest.raises(ValueError, match="holds the study of another file"):
        Study.from_toml("other.toml").run(1, "threads", progress=False)


def test_refused_second_driver_leaves_the_facts_of_the_first(done, capsys):
    before = glance("few").command
    with locked(done / "few" / LOCK):
        out = said(capsys, "batch", "study.toml", "--executor", "processes", code=2)
    assert "is being run by" in out.err
    assert glance("few").command == before
    said(capsys, "batch", "study.toml", "--executor", "processes", code=1)
    assert glance("few").command != before


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["batch", "stduy.toml"], "did you mean 'study.toml'?"),
        (["batch", "study.toml", "--workers", "0"], "--workers"),
        (["batch", "bad.toml"], "unknown key 'replicate'; did you mean 'replicates'?"),
        (["batch", "study.toml", "--folder", "work.py"], "work.py is a file"),
        (["status", "fw"], "no study is kept in fw; did you mean 'few'?"),
        (["status", "other.toml"], "no study file other.toml"),
        (["results", "few", "--format", "parquet"], "--output FILE"),
        (["report", "study.toml", "--folder", "nowhere"], "no study is kept in nowhere"),
    ],
)
def test_what_cannot_work_is_said_in_one_paragraph(done, capsys, command, words):
    (done / "bad.toml").write_text(STUDY.replace("replicates", "replicate"))
    error = said(capsys, *command, code=2).err
    assert error.startswith("aisle: ")
    assert words in error
    assert "Traceback" not in error


def test_index_that_cannot_be_read_is_said(done, capsys):
    (done / "few" / "index.sqlite").write_bytes(b"no index" * 1000)
    error = said(capsys, "status", "few", code=2).err
    assert "index of the study cannot be used (file is not a database)" in error
    assert "Traceback" not in error


# --- looking -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["few", "study.toml", "./few"])
def test_study_is_found_by_folder_or_file(done, name):
    assert study_folder(name).resolve() == (done / "few").resolve()


def test_status_once(done, capsys):
    lines = said(capsys, "status", "few").out.splitlines()
    assert lines[:2] == ["few", "  4 of 6 tasks done, 2 failed"]
    assert "2 tasks  ArithmeticError: no such number" in lines[3]
    full = said(capsys, "status", "few", "--failed").out
    assert full.count("raise ArithmeticError") == 2
    assert "task 5 (function=work, x=3, replicate=1): ArithmeticError" in full


def test_status_says_how_to_go_on_with_a_run_that_was_killed(done, capsys):
    Store.open("few").reopen([row["fingerprint"] for row in Store.open("few").rows()])
    out = said(capsys, "status", "few").out
    assert "4 of 6 tasks done, 2 to do, nobody runs it" in out
    assert "batch study.toml --executor threads --workers 1" in out


def test_results_as_csv(done, capsys):
    rows = list(csv.DictReader(io.StringIO(said(capsys, "results", "few").out)))
    assert [row["x"] for row in rows] == ["1", "2", "3"] * 2
    assert [row["square"] for row in rows] == ["1", "4", ""] * 2
    assert len({row["draw"] for row in rows if row["draw"]}) == 4
    out = said(capsys, "results", "study.toml", "--output", "t.csv").out
    assert out.startswith("t.csv    6 rows")
    assert list(csv.DictReader((done / "t.csv").read_text().splitlines())) == rows


def test_results_as_parquet(done, capsys):
    parquet = pytest.importorskip("pyarrow.parquet")
    said(capsys, "results", "few", "--output", "t.parquet")
    assert parquet.read_table("t.parquet").num_rows == 6


def test_report_is_written_where_it_is_wanted(done, capsys):
    assert said(capsys, "report", "few").out == f"{Path('few') / 'report.html'}\n"
    assert said(capsys, "report", "few", "--output", "page.html").out == "page.html\n"
    page = (done / "page.html").read_text()
    assert "ArithmeticError: no such number" in page


# --- the picture on a terminal -------------------------------------------------------------------


def many(folder, count=400, failed=3):
    """A study of which much is done, and which a driver seems to run."""
    study = Study(
        tasks=Grid(kind="function", options={"function": jobs.square}, over={"x": range(count)})
    )
    store = Store.create(folder)
    store.enrol(list(study))
    ended = [task.fingerprint for task in study][: count // 2]
    store.record([Record(fingerprint=name, status="done", seconds=1.0) for name in ended[failed:]])
    store.record(
        [
            Record(fingerprint=name, status="failed", fault=f"fault {k % 2}", traceback="there")
            for k, name in enumerate(ended[:failed])
        ]
    )
    now = time.time()
    store.note(name="many", command="aisle batch many.toml", running=[[300, now - 9]], rate=0.5)
    return store


def test_glance_at_a_study_that_runs(tmp_path):
    from aisle_smc.batch.lock import locked

    store = many(tmp_path)
    with locked(tmp_path / "driver.lock"):
        seen = glance(tmp_path)
        lines = standing.standing(seen, Terminal(io.StringIO()))
        picture = standing.standing(seen, Terminal(Screen()))
    assert not seen.over
    assert [(task.task, task.labels["x"]) for task in seen.at_work] == [(300, 300)]
    assert lines[1] == "  197 of 400 tasks done, 3 failed"
    assert "1 running, 30 a minute, 6 min 40 s left" in lines[2]
    assert "task 300  function=square, x=300" in lines[4]
    assert "\N{FULL BLOCK}" * 11 in picture[1]
    assert "\N{MULTIPLICATION SIGN}" in picture[1]
    assert [(k.reason, k.count, k.task) for k in fault_kinds(store, 5)] == [
        ("fault 0", 2, 0),
        ("fault 1", 1, 1),
    ]
    assert [k.reason for k in fault_kinds(store, 1)] == ["fault 0"]


def test_faults_that_are_not_shown_are_counted(tmp_path):
    store = many(tmp_path)
    out = io.StringIO()
    say_faults(Terminal(out), glance(store.folder, faults=1))
    assert "1 more failed for other reasons" in out.getvalue()


def test_watch_ends_when_nobody_runs_the_study(tmp_path, monkeypatch):
    many(tmp_path)
    monkeypatch.setattr(standing, "SOON", 0.01)
    monkeypatch.setenv("TERM", "xterm")
    for stream in (io.StringIO(), Screen()):
        watch(tmp_path, Terminal(stream))
        assert "197 of 400 tasks done, 3 failed, 200 to do, nobody runs it" in stream.getvalue()


def test_live_picture_draws_over_itself_and_goes_away(tmp_path, monkeypatch):
    many(tmp_path)
    monkeypatch.setattr(standing, "SOON", 0.01)
    monkeypatch.setattr(standing.shutil, "get_terminal_size", lambda _: os.terminal_size((60, 24)))
    drawn = threading.Event()

    class Seen(Screen):
        def write(self, text):
            if text.count("\033[J"):
                drawn.set()
            return super().write(text)

    screen = Seen()
    with live(tmp_path, Terminal(screen)):
        assert drawn.wait(30)
    text = screen.getvalue()
    assert text.endswith("F\033[J")  # up, and clear: nothing is left
    for line in text.replace("\033[J", "\n").splitlines():
        assert len(line.replace("\033[1m", "").replace("\033[0m", "").replace("\033[2m", "")) < 60


def test_where_lines_cannot_be_drawn_over(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert not can_redraw(Terminal(Screen()))
    monkeypatch.setenv("TERM", "xterm")
    assert can_redraw(Terminal(Screen()))
    assert not can_redraw(Terminal(io.StringIO()))


# --- the study that is shipped -------------------------------------------------------------------


def test_shipped_study_is_the_one_described():
    said = tomllib.loads((EXAMPLES / "volatility_study.toml").read_text(encoding="utf-8"))
    assert list(said["data"]) == [str(year) for year in range(1986, 2019)]
    assert len(said["models"]) == 3
    assert said["replicates"] == 2
    assert [task["kind"] for task in said["task"]] == ["fit", "score"]
    for year, table in said["data"].items():
        assert (table["first"].year, table["last"].year) == (int(year), int(year))
        assert (table["first"].month, table["last"].month) == (1, 12)


def test_shipped_studies_are_accepted():
    pytest.importorskip("arviz_stats")
    full = Study.from_toml(EXAMPLES / "volatility_study.toml")
    quick = Study.from_toml(EXAMPLES / "volatility_quick.toml")
    assert len(full) == 2 * 3 * 33 * 2
    assert len(quick) == 2 * 3 * 3 * 2
    # Every year is one of trading days; together they are the whole series up to 2018.
    assert sum(series.y.shape[0] for series in full.data.values()) == 8608
    assert set(quick.data) < set(full.data)


def test_page_shows_the_study_that_is_shipped():
    pytest.importorskip("arviz_stats")
    page = ROOT / "docs" / "batch.md"
    quick = (EXAMPLES / "volatility_quick.toml").read_text(encoding="utf-8")
    assert f"```toml\n{quick}```" in page.read_text(encoding="utf-8")
    # The page writes it once more in Python: the same tasks, or else the page is wrong.
    made = {}
    exec(blocks(page)[0].code, made)
    known = [task.fingerprint for task in Study.from_toml(EXAMPLES / "volatility_quick.toml")]
    assert [task.fingerprint for task in made["study"]] == known
