"""A run in a file survives whatever ends it: the same call goes on to the same bits."""

from __future__ import annotations

import errno
import os
import re
import runpy
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from aisle_smc import sample
from aisle_smc.errors import BadDensity, TargetFailed
from tests.sampling.toys import QUIET, Box, same_bits

PRIOR = {"a": norm(0, 2), "b": norm(0, 1)}


def log_density(x):
    return -0.5 * (x[0] - 1.0) ** 2 - np.exp(1.3 * x[1]), x[0] * x[1]


class Trap:
    """A function that remembers its points and does something else at one of them.

    What it holds is in slots, which the fingerprint of a target does not look into.
    """

    __slots__ = ("at", "instead", "points")

    def __init__(self, at=None, instead=None):
        self.points, self.at, self.instead = [], at, instead

    @property
    def calls(self):
        return len(self.points)

    def __call__(self, x):
        self.points.append(x.tobytes())
        if self.calls == self.at:
            return self.instead(x)
        return log_density(x)


def run(function, file, **options):
    return sample(function, PRIOR, file=file, **{**QUIET, "n": 100, "workers": 1, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    function = Trap()
    result = run(function, tmp_path_factory.mktemp("whole") / "run")
    return result, function.points


def interrupt(x):
    raise KeyboardInterrupt


def fail(x):
    raise ZeroDivisionError("a gap in the data")


def stuck(x):
    return np.nan, 0.0


@pytest.mark.parametrize("at", [60, 250, 1234, 4000])
@pytest.mark.parametrize(
    ("instead", "error"),
    [(interrupt, KeyboardInterrupt), (fail, TargetFailed), (stuck, BadDensity)],
)
def test_an_error_loses_nothing_that_was_evaluated(whole, tmp_path, at, instead, error):
    result, points = whole
    file = tmp_path / "run"
    function = Trap(at, instead)
    with pytest.raises(error) as caught:
        run(function, file)
    if error is TargetFailed:
        assert "ZeroDivisionError: a gap in the data" in str(caught.value)
        assert set(caught.value.point) == {"a", "b"}
    function = Trap()
    same_bits(run(function, file), result)
    probes = len(points) - result.evaluations
    # Of the points before the fault none is lost; before an interrupt, the piece under way.
    kept = at - 1 - probes if error is not KeyboardInterrupt else 0
    assert function.calls <= len(points) - kept


def test_the_same_call_again_evaluates_nothing(whole, tmp_path):
    file = tmp_path / "run"
    first = run(Trap(), file)
    size = file.stat().st_size
    function = Trap()
    again = run(function, file)
    same_bits(again, first)
    same_bits(again, whole[0])
    assert function.calls == len(whole[1]) - whole[0].evaluations
    assert file.stat().st_size == size
    assert again.evaluations == first.evaluations


# --- kill -9 -------------------------------------------------------------------------------------

SCRIPT = """
import os, signal, sys
import numpy as np
from scipy.stats import norm
from aisle_smc import sample
from aisle_smc.targets import evaluation

path, log = sys.argv[1:3]
evaluation._PIECE_SECONDS = float(sys.argv[4])  # 0: each value is in the file before the next
log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
count = 0

def log_density(x):
    global count
    count += 1
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    os.write(log, x.tobytes())
    return -0.5 * (x[0] - 1.0) ** 2 - np.exp(1.3 * x[1]), x[0] * x[1]

result = sample(
    log_density, {"a": norm(0, 2), "b": norm(0, 1)}, file=path, progress=False, workers=1,
    n=100, ess=500.0, evidence_error=0.1,
)
for array in (result.x, result.weights, result.blobs, np.array(result.log_evidence)):
    print(array.tobytes().hex())
print(result.evaluations)
"""


def killed_again_and_again(folder, deadly, seconds=0.0):
    """Run until it ends: what it printed, and the points that each process evaluated."""
    folder.mkdir()
    script = folder / "run.py"
    script.write_text(textwrap.dedent(SCRIPT))
    points = []
    for count in (*deadly, 0):
        log = folder / f"log{len(points)}"
        arguments = [str(script), str(folder / "run"), str(log), str(count), str(seconds)]
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, timeout=300, check=False
        )
        rows = log.read_bytes()
        points.append([rows[i : i + 16] for i in range(0, len(rows), 16)])
        if count:
            assert done.returncode == -signal.SIGKILL, done.stderr
        else:
            assert done.returncode == 0, done.stderr
    return done.stdout, points


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_killed_anywhere_it_ends_with_the_same_bits(whole, tmp_path):
    result, every = whole
    expected = [
        *(a.tobytes().hex() for a in (result.x, result.weights, result.blobs)),
        np.array(result.log_evidence).tobytes().hex(),
        str(result.evaluations),
    ]
    # Before anything else the function is tried at a few points, in every process again.
    probes = set(every[: len(every) - result.evaluations])
    assert len(set(every)) == result.evaluations + len(probes)
    # Killed while it explores, and while it draws.
    printed, points = killed_again_and_again(tmp_path / "killed", [150, 1500])
    assert printed.decode().split() == expected
    evaluated = [p for each in points for p in each if p not in probes]
    assert len(evaluated) == len(set(evaluated)) == result.evaluations
    # With pieces of many points, a death costs the piece under way and no more.
    at = int(np.random.default_rng(7).integers(100, 4000))
    printed, points = killed_again_and_again(tmp_path / "pieces", [at], 0.001)
    assert printed.decode().split() == expected, at
    evaluated = [p for each in points for p in each if p not in probes]
    assert result.evaluations <= len(evaluated) < result.evaluations + 300, at
    assert set(evaluated) == set(every) - probes, at


# --- Ctrl-C --------------------------------------------------------------------------------------

SLOW = """
import sys, time
import numpy as np
from scipy.stats import norm
from aisle_smc import sample

def log_density(x):
    time.sleep(5e-4)
    return -0.5 * (x[0] - 1.0) ** 2 - np.exp(1.3 * x[1])

def run(file, workers):
    return sample(
        log_density, {"a": norm(0, 2), "b": norm(0, 1)}, file=file, workers=workers,
        max_evaluations=700, n=100, progress=False,
    )

if __name__ == "__main__":
    run(sys.argv[1], 2)
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_ctrl_c_says_how_to_go_on_and_workers_say_nothing(tmp_path):
    script, file = tmp_path / "run.py", tmp_path / "journal"
    script.write_text(textwrap.dedent(SLOW))
    # A process group of its own: what a terminal sends Ctrl-C to, workers included.
    process = subprocess.Popen(
        [sys.executable, str(script), str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    # 200 evaluations of 8 bytes each, and more for what surrounds them.
    while not (file.exists() and file.stat().st_size > 3000):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (-signal.SIGINT, "")
    assert said.count("Traceback") == 1, said
    words = r"KeyboardInterrupt: sample\(\) was interrupted after (\d+) evaluations, which are in "
    words += re.escape(f"{file}; the same call goes on from there")
    found = re.fullmatch(words, said.strip().splitlines()[-1])
    assert found, said
    assert 0 < int(found[1]) < 700
    mine = runpy.run_path(str(script))["run"]
    before = file.stat().st_size
    same_bits(mine(file, 1), mine(None, 1))
    assert file.stat().st_size > before


def test_ctrl_c_without_a_file_says_that_nothing_is_kept():
    with pytest.raises(KeyboardInterrupt, match="after 0 evaluations, none of which is kept; wit"):
        run(Trap(60, interrupt), None)


# --- other files ---------------------------------------------------------------------------------


def other(x):
    return -0.5 * (x[0] - 1.1) ** 2 - np.exp(1.3 * x[1]), x[0] * x[1]


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("target", {"target": other}),
        ("prior", {"prior": {"a": norm(0, 2), "b": norm(0, 1.5)}}),
        ("prior", {"prior": {"a": norm(0, 2), "b": norm(0, 1.0 + 1e-12)}}),
        ("prior", {"prior": {"a": norm(0, 2), "b": norm(0, 1), "c": 3.0}}),
        ("names", {"prior": {"b": norm(0, 2), "a": norm(0, 1)}}),
        ("prior", {"prior": multivariate_normal([0.0, 0.0], [4.0, 1.0])}),
        ("seed", {"seed": 1}),
        ("n", {"n": 101}),
        ("init", {"init": np.random.default_rng(1).normal(size=(20, 2))}),
    ],
)
def test_a_file_of_another_run_is_refused(tmp_path, part, changes):
    file = tmp_path / "run"
    options = {**QUIET, "n": 100, "max_evaluations": 200}
    sample(log_density, PRIOR, file=file, **options)
    content = file.read_bytes()
    arguments = {"target": log_density, "prior": PRIOR, **options, **changes}
    with pytest.raises(ValueError, match="holds a run of something else") as caught:
        sample(file=file, **arguments)
    named = [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:-1]]
    assert part in named
    assert file.read_bytes() == content
    assert "choose another file, or delete this one" in str(caught.value)


def test_how_it_is_evaluated_is_part_of_it(tmp_path):
    def both(x):
        return -0.5 * x[..., 0] ** 2 - x[..., 1] ** 2

    options = {**QUIET, "n": 100, "max_evaluations": 200, "file": tmp_path / "run"}
    sample(both, PRIOR, **options)
    with pytest.raises(ValueError, match=r"evaluation: the file has vectorised.*, this call pyt"):
        sample(both, PRIOR, vectorized=False, **options)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (multivariate_normal([0, 0], [1, 2]), multivariate_normal([0, 0], [1, 2 + 1e-12])),
        (Box((0.0, 0.0), (1.0, 1.0)), Box((0.0, 0.0), (1.0, 2.0))),
    ],
)
def test_joint_priors_are_told_apart(tmp_path, one, two):
    file = tmp_path / "run"
    options = {**QUIET, "n": 100, "max_evaluations": 200, "file": file}
    sample(log_density, one, **options)
    sample(log_density, one, **options)
    with pytest.raises(ValueError, match="prior: the file has"):
        sample(log_density, two, **options)


def test_bounds_are_part_of_it(tmp_path):
    file = tmp_path / "run"
    options = {**QUIET, "n": 100, "max_evaluations": 200, "file": file}
    sample(log_density, bounds=[(0, 1), (0, 1)], **options)
    with pytest.raises(ValueError, match="offset: the file has"):
        sample(log_density, bounds=[(0, 1), (0, 2)], **options)
    init = np.random.default_rng(1).uniform(0.2, 0.8, size=(20, 2))
    for bounds in ([(0, 1), (0, 1)], [(0, 1), (0, None)]):
        with pytest.raises(ValueError, match="prior: the file has"):
            sample(log_density, bounds=bounds, init=init, **options)


def test_aims_and_workers_are_no_part_of_it(tmp_path, whole):
    file = tmp_path / "run"
    run(log_density, file, max_evaluations=300)
    run(log_density, file, ess=700.0, evidence_error=0.2)
    same_bits(run(Trap(), tmp_path / "other"), run(log_density, file))
    same_bits(run(log_density, file), whole[0])


def test_a_file_of_another_kind_is_left_alone(tmp_path):
    file = tmp_path / "thesis.tex"
    file.write_bytes(b"years of work, more than the head of a journal takes")
    with pytest.raises(ValueError, match="must be a journal of evaluations"):
        run(log_density, file)
    assert file.read_bytes().startswith(b"years of work")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        run(log_density, tmp_path / "nowhere" / "run")


def test_a_full_disk_keeps_what_was_written(tmp_path, whole):
    resource = pytest.importorskip("resource")
    file = tmp_path / "run"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="evaluations before them are safe in it") as caught:
            run(Trap(), file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert "run the same call again" in str(caught.value)
    assert 10_000 < os.path.getsize(file) <= 20_000
    function = Trap()
    same_bits(run(function, file), whole[0])
    assert function.calls < len(whole[1]) - 300
