"""The journal gives back what it was told, whatever happened to the process or the disk."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap

import numba
import numpy as np
import pytest

from aisle_smc.errors import BadDensity, TargetFailed
from aisle_smc.targets import Journal, Target, evaluator
from aisle_smc.targets.forms import Part
from aisle_smc.targets.records import RecordFile

NAMES = ("a", "b")
PROBE = np.random.default_rng(1).normal(size=(6, 2))
THETA = np.random.default_rng(2).normal(size=(700, 2))
MADE_OF = {"target": "abc", "seed": "3"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.journal"


class Counted:
    """A function of one point or of a batch that remembers how many points it was called for."""

    def __init__(self, function):
        self.function = function
        self.points = 0

    def __call__(self, x):
        self.points += 1 if x.ndim == 1 else x.shape[0]
        return self.function(x)


def run(path, function, batches, *, slopes=False, workers=1, made_of=MADE_OF, **options):
    """Evaluate batches with a journal: what came, how many points were called for, and notes."""
    target = Counted(function)
    whole = Target(target, gradient=(lambda x: -2 * x) if slopes else None)
    journal = Journal(path, made_of)
    with evaluator(whole, NAMES, PROBE, workers=workers, journal=journal, **options) as evaluate:
        target.points = 0
        call = evaluate.with_gradients if slopes else evaluate
        found = [call(theta) for theta in batches]
        assert evaluate.calls == sum(len(theta) for theta in batches)
        assert evaluate.replayed == evaluate.calls - target.points
        return found, target.points, evaluate.note


def same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.log_density.tobytes() == b.log_density.tobytes()
        if a.gradients is not None:
            assert a.gradients.tobytes() == b.gradients.tobytes()
        if a.blobs is not None:
            assert a.blobs.dtype == b.blobs.dtype
            assert a.blobs.tolist() == b.blobs.tolist()


BATCHES = [THETA[:300], THETA[300:310], THETA[310:]]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: -float(x @ x),
        lambda x: -np.sum(x**2, axis=1),
        lambda x: (-np.sum(x**2, axis=-1), x[..., 0]),
        lambda x: (-float(x @ x), {"a": x[0], "text": str(x[1])}),
        lambda x: (-float(x @ x) if x[0] < 0 else -np.inf, {1: 2}),
    ],
)
@pytest.mark.parametrize("slopes", [False, True])
def test_the_same_run_again_calls_nothing(path, function, slopes):
    first, points, note = run(path, function, BATCHES, slopes=slopes)
    assert points == 700
    again, points, note = run(path, function, BATCHES, slopes=slopes)
    assert points == 0
    assert note == ""
    same(first, again)
    # A longer run goes on from there.
    longer, points, _ = run(path, function, [*BATCHES, THETA[:50]], slopes=slopes)
    assert points == 50
    same(first, longer[:3])


def test_compiled_functions_and_threads(path):
    @numba.njit
    def f(x):
        return -np.exp(x[0]) - x[1] ** 2, x[0]

    def go(workers):
        with evaluator(f, NAMES, PROBE, workers=workers, journal=Journal(path, {})) as evaluate:
            return [evaluate(theta) for theta in BATCHES], evaluate.replayed

    first, replayed = go(4)
    assert replayed == 0
    again, replayed = go(1)
    assert replayed == 700
    same(first, again)


def test_a_batch_that_was_begun_is_finished_in_whole_chunks(path):
    f = Counted(lambda x: -np.sum((x @ np.array([[1.3, 0.2], [0.1, 0.7]])) ** 2, axis=1))
    (whole,), _, _ = run(path, f.function, [THETA])
    os.unlink(path)
    journal = Journal(path, MADE_OF)
    with evaluator(f, NAMES, PROBE, journal=journal):
        pass
    journal = Journal(path, MADE_OF)
    # Of the chunks 0 to 256, 256 to 512 and 512 to 700: the second, and a bit of the last.
    for first, last in ((256, 512), (512, 600)):
        journal.append(0, first, THETA[first:last], Part(whole.log_density[first:last]))
    with evaluator(f, NAMES, PROBE, journal=journal) as evaluate:
        f.points = 0
        again = evaluate(THETA)
        assert f.points == 256 + 188
    same([whole], [again])
    same([whole], run(path, f.function, [THETA])[0])


def test_other_points_drop_what_follows(path):
    first, _, _ = run(path, lambda x: -float(x @ x), BATCHES)
    changed = [BATCHES[0], BATCHES[1] + 1e-12, BATCHES[2]]
    again, points, note = run(path, lambda x: -float(x @ x), changed)
    assert points == 400
    assert "from batch 1 on" in note
    assert "400 evaluations of other points" in note
    same(first[:1], again[:1])
    _, points, note = run(path, lambda x: -float(x @ x), changed)
    assert (points, note) == (0, "")


def test_fewer_points_in_a_batch_drop_it(path):
    run(path, lambda x: -float(x @ x), BATCHES)
    _, points, _ = run(path, lambda x: -float(x @ x), [BATCHES[0][:100]])
    assert points == 100


def test_values_do_not_stand_in_for_gradients(path):
    run(path, lambda x: -np.sum(x**2, axis=-1), BATCHES)
    journal = Journal(path, MADE_OF)
    found = Part(np.zeros(300), np.zeros((300, 2)))
    assert not journal.replay(0, BATCHES[0], found).any()
    journal.close()


def test_another_run_is_refused_and_its_file_left_alone(path):
    run(path, lambda x: -float(x @ x), BATCHES)
    content = path.read_bytes()
    with pytest.raises(ValueError, match="holds a run of something else") as caught:
        Journal(path, {"target": "abd", "seed": "4"})
    assert "target: the file has abc, this call abd" in str(caught.value)
    assert "seed: the file has 3, this call 4" in str(caught.value)
    with pytest.raises(ValueError, match=r"evaluation: .*python, 1 points .*vectorised, 256"):
        run(path, lambda x: -np.sum(x**2, axis=-1), BATCHES)
    with pytest.raises(ValueError, match="parameters: the file has a, b, this call b, a"):
        evaluator(lambda x: -float(x @ x), ("b", "a"), PROBE, journal=Journal(path, MADE_OF))
    assert path.read_bytes() == content


def test_a_file_of_another_kind_is_refused(path):
    path.write_bytes(b"precious data of someone else")
    with pytest.raises(
        ValueError, match="must be a journal of evaluations; it starts with b'prec"
    ):
        Journal(path, MADE_OF)
    assert path.read_bytes() == b"precious data of someone else"


def test_two_runs_cannot_share_a_file(path):
    pytest.importorskip("fcntl")
    journal = Journal(path, MADE_OF)
    with pytest.raises(BlockingIOError, match="one run at a time"):
        Journal(path, MADE_OF)
    journal.close()
    journal.close()
    Journal(path, MADE_OF).close()
    with pytest.raises(ValueError, match="must be open; it was closed"):
        journal.append(0, 0, PROBE, Part(np.zeros(6)))


def journal_of_three(path):
    """A journal of three records and what they hold."""
    values = np.array([-1.5, -2.5, -3.5])
    journal = Journal(path, MADE_OF)
    for i in range(3):
        journal.append(0, i, PROBE[i : i + 1], Part(values[i : i + 1]))
    journal.close()
    return values, path.read_bytes()


def known(path, values):
    """How many of the three records a journal knows; those must be right."""
    journal = Journal(path, MADE_OF)
    found = Part(np.full(3, np.nan))
    done = journal.replay(0, PROBE[:3], found)
    assert (found.log_density[done] == values[done]).all()
    rows = journal.rows
    journal.close()
    assert rows == done.sum()
    return rows


def test_a_file_cut_anywhere_keeps_the_whole_records_before(path):
    values, content = journal_of_three(path)
    counts = []
    for length in range(len(content)):
        path.write_bytes(content[:length])
        counts.append(known(path, values))
        assert known(path, values) == counts[-1]
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2}


def test_a_byte_that_changes_anywhere_is_noticed(path):
    values, content = journal_of_three(path)
    head = content.index(b"rec1")
    for i in range(len(content)):
        path.write_bytes(content[:i] + bytes([content[i] ^ 0x41]) + content[i + 1 :])
        if i < head:
            with pytest.raises(ValueError, match=r"damaged|must be a journal"):
                known(path, values)
        else:
            assert known(path, values) < 3


def test_damage_is_noted_and_overwritten(path):
    _, content = journal_of_three(path)
    path.write_bytes(content[:-5])
    journal = Journal(path, MADE_OF)
    assert "bytes of" in journal.note
    assert "were not whole: dropped" in journal.note
    journal.append(0, 2, PROBE[2:3], Part(np.array([-3.5])))
    journal.close()
    assert path.read_bytes() == content


def test_records_reach_the_file_at_once(path):
    journal = Journal(path, MADE_OF)
    sizes = []
    for i in range(3):
        sizes.append(path.stat().st_size)
        journal.append(0, i, PROBE[i : i + 1], Part(np.zeros(1)))
    assert sizes[0] < sizes[1] < sizes[2] < path.stat().st_size
    journal.close()


@pytest.mark.parametrize("room", [0, 1, 30, 100, 5000])
def test_a_full_disk_keeps_what_was_there(path, room):
    resource = pytest.importorskip("resource")
    first, _, _ = run(path, lambda x: -float(x @ x), BATCHES[:1])
    size = path.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, hard))
    try:
        with pytest.raises(OSError, match="300 evaluations before them are safe") as caught:
            run(path, lambda x: -float(x @ x), [*BATCHES[:1], np.tile(THETA, (8, 1))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == str(path)
    assert "make room and run the same call again" in str(caught.value)
    assert path.stat().st_size == size
    again, points, note = run(path, lambda x: -float(x @ x), BATCHES)
    assert (points, note) == (400, "")
    same(first, again[:1])


def test_a_write_that_stops_half_way_is_taken_back(path, monkeypatch):
    journal = Journal(path, MADE_OF)
    journal.append(0, 0, PROBE[:1], Part(np.array([-1.0])))
    content = path.read_bytes()
    real, calls = os.write, []

    def full(file, view):
        calls.append(len(view))
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, view[: len(view) // 2])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left") as caught:
        journal.append(0, 1, PROBE[1:2], Part(np.array([-2.0])))
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == content
    monkeypatch.undo()
    journal.append(0, 1, PROBE[1:2], Part(np.array([-2.0])))
    journal.close()
    assert len(path.read_bytes()) > len(content)


def test_what_came_before_a_fault_is_in_the_file(path):
    def faulty(far):
        def f(x):
            if x[0] == 20.0:
                raise ValueError("too far")
            return np.nan if x[0] == 30.0 else -float(x @ x)

        theta = BATCHES[2].copy()
        theta[101, 0] = far
        return f, [*BATCHES[:2], theta]

    for far, error in ((20.0, TargetFailed), (30.0, BadDensity)):
        path.unlink(missing_ok=True)
        f, batches = faulty(far)
        with pytest.raises(error):
            run(path, f, batches)
        journal = Journal(path, MADE_OF)
        assert journal.rows == 310 + 101
        journal.close()
        # The point itself was not kept: repaired, the run goes on with it.
        _, points, note = run(path, lambda x: -float(x @ x), batches)
        assert (points, note) == (390 - 101, "")


def test_blobs_that_do_not_pickle_are_refused(path):
    with pytest.raises(TypeError, match="objects that can be pickled"):
        run(path, lambda x: (-float(x @ x), lambda: x), BATCHES)


def test_conditions_are_kept(path):
    journal = Journal(path, {})
    journal.require({"how": "this way"})
    journal.append(0, 0, PROBE, Part(np.zeros(6)))
    journal.close()
    journal = Journal(path, {})
    journal.require({"how": "this way"})
    with pytest.raises(ValueError, match="how: the file has this way, this call that way"):
        journal.require({"how": "that way"})
    assert journal.rows == 6
    journal.close()


def test_a_file_of_records_of_any_size(path):
    file = RecordFile(path, {})
    rng = np.random.default_rng(0)
    bodies = [rng.bytes(int(size)) for size in rng.integers(0, 5000, size=30)]
    for i, body in enumerate(bodies):
        file.append(json.dumps(i).encode(), body)
    file.close()
    file = RecordFile(path, {})
    found = list(file.scan())
    assert [json.loads(record.label) for record in found] == list(range(30))
    assert [file.read(record) for record in found] == bodies
    assert file.notes == []
    file.truncate(found[10])
    file.close()
    file = RecordFile(path, {})
    assert len(list(file.scan())) == 10
    file.close()


SCRIPT = """
import os, signal, sys
import numpy as np
from aisle_smc.targets import Journal, evaluation, evaluator

path, log, deadly, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
evaluation._PIECE_SECONDS = seconds  # 0: every value is written before the next point
probe = np.random.default_rng(1).normal(size=(6, 2))
log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
count = -1000  # while the dialect is told

def log_density(x):
    global count
    count += 1
    if count == deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    os.write(log, x.tobytes())
    return -float(x @ x) ** 1.5, x[0] ** 3

journal = Journal(path, {})
with evaluator(log_density, ["a", "b"], probe, workers=1, journal=journal) as evaluate:
    count = 0
    os.write(log, b"probe is over...")
    # What comes next depends on what came before, as in a sampler.
    theta = np.random.default_rng(2).normal(size=(40, 2))
    for _ in range(5):
        found = evaluate(theta)
        theta = theta[::-1] * 0.9 + found.log_density[:, None] * 0.01
    print(found.log_density.tobytes().hex() + found.blobs.tobytes().hex())
"""


def killed_runs(tmp_path, deadly, seconds):
    """Run a script again and again until it ends: its output and all points it evaluated."""
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(SCRIPT))
    arguments = [str(script), str(tmp_path / "journal"), str(tmp_path / "log")]
    points, deaths = [], 0
    for count in (*deadly, 0):
        done = subprocess.run(
            [sys.executable, *arguments, str(count), str(seconds)],
            capture_output=True,
            timeout=300,
            check=False,
        )
        log = (tmp_path / "log").read_bytes()
        points.append(log.rpartition(b"probe is over...")[2])
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        deaths += 1
    rows = b"".join(points)
    return done.stdout, [rows[i : i + 16] for i in range(0, len(rows), 16)], deaths


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_killed_runs_end_with_the_same_bits_and_evaluate_each_point_once(tmp_path):
    for folder in ("alive", "killed", "loose"):
        (tmp_path / folder).mkdir()
    whole, points, deaths = killed_runs(tmp_path / "alive", [], 0.0)
    assert (len(points), deaths) == (200, 0)
    assert len(set(points)) == 200
    # Deaths at the first point of a run and anywhere.
    deadly = [1, *np.random.default_rng(4).integers(2, 70, size=2)]
    out, points, deaths = killed_runs(tmp_path / "killed", deadly, 0.0)
    assert deaths == 3
    assert out == whole
    assert len(points) == len(set(points)) == 200
    # With pieces of many points, a death costs the piece that it interrupts and no more.
    out, points, deaths = killed_runs(tmp_path / "loose", [25], 10.0)
    assert deaths == 1
    assert out == whole
    assert len(points) == 200 + 24
    assert len(set(points)) == 200
