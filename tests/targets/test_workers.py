"""Threads and processes give the bits, the blobs and the faults of one worker."""

from __future__ import annotations

import builtins
import os
import signal
import subprocess
import sys
import textwrap
import threading

import numba
import numpy as np
import pytest

from aisle_smc.errors import AisleError, TargetFailed
from aisle_smc.targets import Target, evaluator
from aisle_smc.targets.work import spans

NAMES = ("a", "b", "c")
PROBE = np.random.default_rng(1).normal(size=(6, 3))
THETA = np.random.default_rng(2).normal(size=(1500, 3))


@numba.njit
def compiled(x):
    return -np.exp(np.sin(x[0]) + 0.1 * x[1]) - x[2] ** 2, np.log(np.abs(x[0]))


def vectorised(x):
    # A product of matrices: its last bits depend on how many points come together.
    return -np.sum((x @ np.sqrt(np.arange(1.0, 10.0)).reshape(3, 3)) ** 2, axis=1), x[:, 0]


def evaluations(target, workers, theta=THETA, **options):
    with evaluator(target, NAMES, PROBE, workers=workers, **options) as evaluate:
        found = evaluate(theta)
        assert evaluate.workers == workers
        assert evaluate.calls == theta.shape[0]
    return found


@pytest.mark.parametrize("function", [compiled, vectorised])
def test_the_same_bits_for_any_number_of_threads(function):
    one, two, eight = (evaluations(function, workers) for workers in (1, 2, 8))
    for other in (two, eight):
        assert one.log_density.tobytes() == other.log_density.tobytes()
        assert one.blobs.tobytes() == other.blobs.tobytes()


def test_the_same_bits_for_any_number_of_processes():
    shift = 0.3  # closed over, like the lambda's globals

    def f(a, b, c):
        value = -((a - shift) ** 2) - np.exp(b) * c**2
        return value, {"a": a, "pair": [b, c], "text": f"{a:.2f}"}

    one, two, eight = (evaluations(f, workers) for workers in (1, 2, 8))
    for other in (two, eight):
        assert one.log_density.tobytes() == other.log_density.tobytes()
        assert one.blobs["text"].tolist() == other.blobs["text"].tolist()
        assert one.blobs["pair"].tobytes() == other.blobs["pair"].tobytes()


def test_processes_do_gradients_faults_and_several_batches():
    def f(x):
        if x[0] == 20.0:
            return 1 / (x[0] - 20.0)
        return -0.5 * float(x @ x)

    target = Target(f, gradient=lambda x: -x)
    with np.errstate(divide="raise"), evaluator(target, NAMES, PROBE, workers=2) as evaluate:
        for theta in (THETA[:100], THETA[100:300]):
            np.testing.assert_array_equal(evaluate.with_gradients(theta).gradients, -theta)
        theta = THETA.copy()
        theta[400, 0] = theta[700, 0] = 20.0
        for _ in range(2):
            with pytest.raises(TargetFailed, match=r"a = 20.0, .*FloatingPointError") as caught:
                evaluate(theta)
            assert caught.value.point["b"] == theta[400, 1]
            notes = caught.value.__cause__.__notes__
            assert any("return 1 / (x[0] - 20.0)" in note for note in notes)
        assert evaluate(THETA[:50]).log_density.shape == (50,)
        evaluate.close()


def test_a_process_that_dies_is_an_error_that_says_so():
    parent = os.getpid()

    def f(x):
        if x[0] == 20.0 and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return -0.5 * float(x @ x)

    theta = THETA[:200].copy()
    theta[50, 0] = 20.0
    with evaluator(f, NAMES, PROBE, workers=2) as evaluate:
        with pytest.raises(AisleError, match="one of 2 worker processes died"):
            evaluate(theta)
        assert evaluate(THETA[:20]).log_density.shape == (20,)


def test_functions_of_main_and_no_close(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(
        textwrap.dedent("""
        import numpy as np
        from aisle_smc.targets import evaluator

        class Blob:
            def __init__(self, value):
                self.value = value

        def log_density(x):
            return -float(x @ x), Blob(x[0])

        names = ["a", "b"]
        if __name__ == "__main__":
            theta = np.random.default_rng(0).normal(size=(40, 2))
            one, two = (evaluator(log_density, names, theta, workers=w)(theta) for w in (1, 2))
            assert (one.log_density == two.log_density).all()
            assert [b.value for b in two.blobs] == theta[:, 0].tolist()
            print("same")
        """)
    )
    run = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.stdout.strip() == "same", run.stderr


def test_without_joblib_there_is_one_process_and_a_note(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **options):
        if name.split(".")[0] == "joblib":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with evaluator(lambda x: -float(x @ x), NAMES, PROBE, workers=2) as evaluate:
        assert evaluate.workers == 1
        assert "pip install aisle-smc[batch]" in evaluate.note
        assert "pip install aisle-smc[batch]" in evaluate.describe()
        np.testing.assert_allclose(evaluate(THETA).log_density, -np.sum(THETA**2, axis=1))


def test_what_cannot_travel_is_refused():
    lock = threading.Lock()

    def f(x):
        with lock:
            return -float(x @ x)

    with pytest.raises(TypeError, match="workers=2 needs a function that can be pickled"):
        evaluator(f, NAMES, PROBE, workers=2)


def test_cheap_functions_are_not_spread():
    with evaluator(lambda x: -float(x @ x), NAMES, PROBE) as evaluate:
        assert evaluate.workers == 1
    with evaluator(vectorised, NAMES, PROBE) as evaluate:
        assert evaluate.workers == 1


def test_threads_see_how_the_caller_treats_errors():
    def f(x):
        return -np.sum(x**2, axis=1) + np.log(x[:, 0] * 0 + 1)

    theta = THETA.copy()
    theta[1000, 0] = np.inf
    with (
        np.errstate(invalid="raise"),
        evaluator(f, NAMES, PROBE, workers=2) as evaluate,
        pytest.raises(TargetFailed, match=r"a = inf, .*FloatingPointError"),
    ):
        evaluate(theta)


@pytest.mark.parametrize("chunk", [1, 4, 16])
@pytest.mark.parametrize("points", [0, 5, 16, 1000])
def test_pieces_hold_all_that_is_left_in_whole_chunks(chunk, points):
    rng = np.random.default_rng(chunk + points)
    for n in (1, 15, 16, 17, 100):
        for share in (0.0, 0.1, 0.5, 1.0):
            todo = rng.uniform(size=n) < share
            pieces = list(spans(todo, chunk, points))
            covered = np.zeros(n, dtype=bool)
            for first, last in pieces:
                assert first % chunk == 0
                assert last % chunk == 0 or last == n
                assert first < last <= first + max(points, chunk)
                assert not covered[first:last].any()
                covered[first:last] = True
            assert covered[todo].all()
            # No chunk without anything to do.
            for first, last in pieces:
                for start in range(first, last, chunk):
                    assert todo[start : start + chunk].any()
