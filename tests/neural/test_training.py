"""Training: what it learns, that it goes on to the same bits, when it stops, what it says."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import distributions as D  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils import data  # noqa: E402

from aisle_smc import checkpoint  # noqa: E402
from aisle_smc.neural import (  # noqa: E402
    Annealing,
    CategoricalProposal,
    Controller,
    GaussianProposal,
    TrainingStuck,
    estimator,
    evaluate,
    fit,
    running,
    surrogate,
)
from aisle_smc.neural.checkpoints import RandomStates  # noqa: E402
from aisle_smc.neural.minibatches import minibatches  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _double():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# --- what it learns ------------------------------------------------------------------------------

DIM = 2


class Conjugate(nn.Module):
    """z ~ N(theta, 1), x ~ N(z, 1): the posterior is N((theta + x) / 2, 1 / 2)."""

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([2.0, 0.0]))

    def forward(self, z, x):
        prior = D.Normal(self.theta, 1.0).log_prob(z).sum(-1)
        return prior + D.Normal(z, 1.0).log_prob(x).sum(-1)


class Wrapped(nn.Module):
    """A module with a log-joint of its own."""

    def __init__(self, model, log_joint):
        super().__init__()
        self.model, self.log_joint = model, log_joint

    def forward(self, z, x):
        return self.log_joint(z, x)


def linear():
    return GaussianProposal(DIM, nn.Identity(), width=DIM)


def observed(n=200):
    return torch.tensor([0.7, 1.9]) + math.sqrt(2.0) * torch.randn(n, DIM)


@pytest.mark.parametrize(
    ("chosen", "two"),
    [
        ("aisle-kl", False),
        ("aisle-kl", True),
        ("rws", False),
        ("vae", True),
        # The chi-square divergence from the start is noisy: from one to the other it is not.
        (Annealing(at=((0, 0.0), (100, 1.0), (250, 2.0))), False),
    ],
    ids=str,
)
def test_a_conjugate_model_and_its_posterior_are_found(chosen, two):
    model, proposal, x = Conjugate(), linear(), observed()
    parts = [list(model.parameters()), list(proposal.parameters())]
    optimisers = [torch.optim.Adam(p, lr=0.1) for p in (parts if two else [parts[0] + parts[1]])]
    falling = [torch.optim.lr_scheduler.ExponentialLR(o, 0.99) for o in optimisers]

    def far():
        theta, q = model.theta.detach(), proposal(x)
        location, scale = q.place.location.detach(), q.place.scale.detach()
        return (
            float((theta - x.mean(0)).abs().max()),
            float((location - 0.5 * (theta + x)).abs().max()),
            float((scale - math.sqrt(0.5)).abs().max()),
        )

    def fall(moment):
        for each in falling:
            each.step()

    assert min(far()) > 0.2
    fit(
        model,
        proposal,
        x,
        optimiser=optimisers if two else optimisers[0],
        steps=400,
        estimator=chosen,
        callbacks=[fall],
        progress=False,
    )
    assert max(far()) < 0.02


def test_evidence_by_the_exact_posterior_is_exact():
    model, x = Conjugate(), observed(30)

    def posterior(x):
        return D.Independent(D.Normal(0.5 * (model.theta + x), math.sqrt(0.5)), 1)

    exact = D.Normal(model.theta, math.sqrt(2.0)).log_prob(x).sum(-1)
    for particles, at_once in ((1, 1000), (7, 1000), (7, 60)):
        found = evaluate(model, posterior, x, particles=particles, batch=8, at_once=at_once)
        torch.testing.assert_close(found.log_evidence, exact, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found.ess, torch.full((30,), float(particles)))
    assert repr(found).endswith("nats a datapoint (30 datapoints, 7 particles), ESS 7 (median)")


def test_evaluation_leaves_modes_and_generators_as_they_were():
    model, proposal = Conjugate(), linear()
    proposal.extra = nn.Dropout(0.5)
    proposal.head.eval()
    before = torch.get_rng_state()
    seen = []

    def log_joint(z, x):
        seen.append(proposal.extra.training)
        return model(z, x)

    first = evaluate(log_joint, proposal, observed(5), particles=3, seed=4)
    torch.set_rng_state(before)
    again = evaluate(log_joint, proposal, observed(5), particles=3, seed=4)
    assert torch.equal(first.log_evidence, again.log_evidence)
    assert seen == [False, False, False, False]
    assert proposal.training
    assert not proposal.head.training


# --- the same bits -------------------------------------------------------------------------------


class Noisy(nn.Module):
    """A model with everything that a checkpoint must hold: dropout, buffers, parameters."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Dropout(0.3), nn.Linear(5, 3))

    def log_joint(self, z, x):
        prior = -0.5 * z.square().sum(-1)
        return prior - 0.5 * (self.norm(x) - self.net(z)).square().sum(-1)


def loader(kind, x):
    """A DataLoader that is shuffled by torch's state, by a generator, or by a sampler's."""
    generator = torch.Generator().manual_seed(3)
    if kind == "loader":
        return data.DataLoader(x, 12, shuffle=True)
    if kind == "loader, generator":
        return data.DataLoader(x, 12, shuffle=True, generator=generator)
    sampler = data.RandomSampler(x, generator=generator)
    if kind == "loader, sampler":
        return data.DataLoader(x, 12, sampler=sampler)
    return data.DataLoader(x, batch_sampler=data.BatchSampler(sampler, 12, drop_last=False))


class Setting:
    """A training with two optimisers, a schedule, annealing, a controller and held-out data."""

    def __init__(self, kind="rows"):
        torch.manual_seed(5)
        self.model = Noisy()
        self.proposal = GaussianProposal(3, nn.Linear(3, 4), width=4)
        self.optimisers = [
            torch.optim.Adam(self.model.parameters(), lr=0.01),
            torch.optim.SGD(self.proposal.parameters(), lr=0.01, momentum=0.9),
        ]
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimisers[0], 3, 0.7)
        x = torch.randn(50, 3)
        self.held_out = torch.randn(20, 3)
        if kind == "loader, generator":
            self.held_out = loader(kind, self.held_out)
        self.data = x if kind == "rows" else loader(kind, x)

    def fit(self, *, steps=23, file=None, callbacks=(), seed=7, **options):
        return fit(
            self.model.log_joint,
            self.proposal,
            self.data,
            optimiser=self.optimisers,
            steps=steps,
            estimator=Annealing(at=((0, 0.5), (20, 2.0))),
            particles=30,
            batch=12,
            controller=Controller(),
            held_out=self.held_out,
            patience=100,
            callbacks=[lambda moment: self.scheduler.step(), *callbacks],
            file=file,
            stateful={"scheduler": self.scheduler},
            progress=False,
            seed=seed,
            **options,
        )

    def everything(self, found):
        """All that must agree."""
        return {
            "model": self.model.state_dict(),
            "proposal": self.proposal.state_dict(),
            "optimisers": [each.state_dict() for each in self.optimisers],
            "scheduler": self.scheduler.state_dict(),
            "steps": dict(found.history.steps),
            "epochs": [
                (e.steps, e.bound, e.held_out, e.khat, e.ess) for e in found.history.epochs
            ],
            "control": found.control.memory,
        }


def assert_same(a, b):
    """Assert that nested values are equal to the bit."""
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, np.ndarray):
        np.testing.assert_array_equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    else:
        assert a == b


def stopping(at):
    return lambda moment: moment.steps in at


@pytest.mark.parametrize(
    "kind", ["rows", "loader", "loader, generator", "loader, sampler", "loader, batch sampler"]
)
@pytest.mark.parametrize("stops", [(1,), (5, 6), (4, 10, 20)], ids=str)
def test_a_training_in_parts_is_the_one_in_one_piece(kind, stops, tmp_path):
    # 50 rows in minibatches of 12 are five steps an epoch: stops within and between epochs.
    whole = Setting(kind)
    expected = whole.everything(whole.fit())
    for _ in stops:
        part = Setting(kind)
        found = part.fit(file=tmp_path / "run", callbacks=[stopping(stops)])
        assert found.stopped == "a callback ended it"
    last = Setting(kind)
    found = last.fit(file=tmp_path / "run", callbacks=[stopping(stops)])
    assert found.stopped == "23 steps done"
    assert_same(last.everything(found), expected)
    # A call more changes nothing, and more steps go on.
    again = Setting(kind)
    assert_same(again.everything(again.fit(file=tmp_path / "run")), expected)
    longer, more = Setting(kind), Setting(kind)
    expected = longer.everything(longer.fit(steps=31))
    assert_same(more.everything(more.fit(steps=31, file=tmp_path / "run")), expected)


def test_without_a_seed_torch_s_own_state_is_kept_too(tmp_path):
    torch.manual_seed(11)
    whole = Setting()
    expected = whole.everything(whole.fit(seed=None))
    state = torch.get_rng_state()
    part = Setting()
    part.fit(seed=None, file=tmp_path / "run", callbacks=[stopping((8,))])
    torch.manual_seed(12)
    last = Setting()
    assert_same(last.everything(last.fit(seed=None, file=tmp_path / "run")), expected)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_training_that_forgets_its_random_states_is_another_one(tmp_path, monkeypatch):
    whole = Setting()
    expected = whole.everything(whole.fit())
    Setting().fit(file=tmp_path / "run", callbacks=[stopping((8,))])
    monkeypatch.setattr(RandomStates, "restore", lambda *_: None)
    last = Setting()
    found = last.everything(last.fit(file=tmp_path / "run"))
    assert found["steps"]["bound"][7] == expected["steps"]["bound"][7]
    assert found["steps"]["bound"][8] != expected["steps"]["bound"][8]


def test_a_seeded_training_leaves_torch_s_state_alone():
    before = torch.get_rng_state()
    setting = Setting()
    torch.set_rng_state(before)
    setting.fit(steps=3)
    assert torch.equal(torch.get_rng_state(), before)


KILLED = """
    import sys, time
    import torch
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    from aisle_smc.neural import running
    from tests.neural.test_training import Setting
    running.SECONDS_BETWEEN_SAVES = 0.0
    def say(moment):
        print(moment.steps, flush=True)
        time.sleep(0.02)
    Setting().fit(steps=100_000, file=sys.argv[1], callbacks=[say])
"""


def test_a_killed_process_goes_on_to_the_same_bits(tmp_path):
    file = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(file)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    # Killed at any moment, once the file holds a few steps.
    for line in process.stdout:
        if int(line) > 6 and len(checkpoint.load(file)["history"]) > 5:
            process.send_signal(signal.SIGKILL)
            break
    process.stdout.close()
    assert process.wait(timeout=60) == -signal.SIGKILL
    kept = len(checkpoint.load(file)["history"])
    whole, last, seen = Setting(), Setting(), []
    expected = whole.everything(whole.fit(steps=kept + 13))
    found = last.fit(
        steps=kept + 13, file=file, callbacks=[lambda moment: seen.append(moment.steps)]
    )
    assert seen[0] == kept + 1
    assert_same(last.everything(found), expected)


def test_an_interrupt_waits_for_the_step_and_leaves_a_checkpoint(tmp_path):
    whole = Setting()
    expected = whole.everything(whole.fit())

    def press(moment):
        if moment.steps == 6:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=r"after 6 steps; the state is in .*run: make the"):
        Setting().fit(file=tmp_path / "run", callbacks=[press])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    last = Setting()
    assert_same(last.everything(last.fit(file=tmp_path / "run")), expected)
    with pytest.raises(KeyboardInterrupt, match="after 6 steps; the parameters are those of that"):
        Setting().fit(callbacks=[press])


def test_a_second_interrupt_does_not_wait():
    def press_twice(moment):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("not reached")

    with pytest.raises(KeyboardInterrupt):
        Setting().fit(callbacks=[press_twice])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_file_of_another_training_is_not_continued(tmp_path):
    Setting().fit(steps=2, file=tmp_path / "run")
    other = Setting()
    other.data = other.data + 1.0
    with pytest.raises(ValueError, match=r"(?s)holds a run of something else.*data: the file has"):
        other.fit(file=tmp_path / "run")
    other = Setting()
    other.optimisers[1].defaults["lr"] = 0.5
    with pytest.raises(ValueError, match="parameters: the file has"):
        other.fit(file=tmp_path / "run")
    with pytest.raises(ValueError, match="seed: the file has 7, this call 8"):
        Setting().fit(file=tmp_path / "run", seed=8)


def test_a_folder_that_cannot_be_written_to_is_an_error_before_any_work(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        Setting().fit(file=tmp_path / "nowhere" / "run", callbacks=[lambda _: pytest.fail("work")])


def test_a_disk_that_fills_up_does_not_end_the_training(tmp_path, monkeypatch):
    setting = Setting()

    def full(moment):
        def fail(*_):
            raise OSError("no space left")

        monkeypatch.setattr(running.checkpoint, "save", fail)

    with pytest.warns(RuntimeWarning, match=r"could not be written \(no space left\)"):
        assert setting.fit(steps=3, file=tmp_path / "run", callbacks=[full]).stopped


# --- when it stops -------------------------------------------------------------------------------


def simple(**options):
    """A training of the conjugate model that a test says when to stop."""
    model, proposal = Conjugate(), linear()
    optimiser = torch.optim.Adam([*model.parameters(), *proposal.parameters()], lr=0.05)
    settings = {"data": observed(40), "batch": 10, "progress": False} | options
    data = settings.pop("data")
    return model, proposal, fit(model, proposal, data, optimiser=optimiser, **settings)


def test_it_stops_when_held_out_data_get_worse_and_goes_back_to_the_best():
    # One row to learn from, and others far from it: theta soon passes them.
    held = observed(50)
    model, proposal, found = simple(
        data=torch.full((1, DIM), 9.0), held_out=held, epochs=500, patience=3
    )
    best = found.history.best
    assert best is not None
    assert len(found.history.epochs) == best + 4 < 500
    assert found.stopped == f"no better held-out bound for 3 epochs, back at epoch {best + 1}"
    held_out = [epoch.held_out for epoch in found.history.epochs]
    assert max(held_out) == held_out[best]
    again = evaluate(model, proposal, held, particles=32, batch=10, seed=running.HELD_OUT_SEED)
    assert again.bound == held_out[best]


def test_it_stops_in_time():
    start = time.monotonic()
    _, _, found = simple(epochs=10**6, max_seconds=0.2)
    assert found.stopped == "max_seconds over"
    assert 0.2 < time.monotonic() - start < 20.0
    assert found.seconds > 0.2


def test_a_callback_sees_every_step_and_can_end_it():
    seen = []

    def watch(moment):
        seen.append((moment.steps, moment.numbers, moment.epoch))
        assert moment.step.log_w.shape == (32, 10)
        return moment.steps == 6

    _, _, found = simple(epochs=3, callbacks=[watch])
    assert found.stopped == "a callback ended it"
    assert [steps for steps, _, _ in seen] == [1, 2, 3, 4, 5, 6]
    assert [epoch is not None for _, _, epoch in seen] == [False, False, False, True, False, False]
    assert seen[3][2] is found.history.epochs[0]


def test_the_history_holds_what_the_steps_said():
    kept = []
    _, _, found = simple(epochs=2, callbacks=[lambda moment: kept.append(moment.step)])
    steps = found.history.steps
    assert len(found.history) == 8
    for i, step in enumerate(kept):
        assert steps["bound"][i] == pytest.approx(float(step.log_evidence.mean()), rel=1e-12)
        assert steps["ess"][i] == pytest.approx(float(step.ess.mean()) / 32, rel=1e-12)
        assert steps["khat"][i] == float(step.khat.median())
        assert steps["largest"][i] == pytest.approx(float(step.largest_weight.mean()), rel=1e-12)
    epochs = found.history.epochs
    assert [epoch.steps for epoch in epochs] == [4, 8]
    assert epochs[1].bound == pytest.approx(steps["bound"][4:].mean(), rel=1e-12)


def test_the_history_prints_and_draws_itself():
    _, _, found = simple(epochs=30, held_out=observed(10), controller=Controller())
    said = repr(found)
    assert said.startswith("Fit: 30 epochs done")
    assert "120 steps, 30 epochs" in said
    assert "  epoch   steps      bound   held out   ESS/K   k-hat" in said
    assert len(said.splitlines()) == 14
    figure = found.history.plot()
    bound, ess, khat = figure.axes
    assert [line.get_label() for line in bound.lines[1:]] == ["training", "held out"]
    np.testing.assert_array_equal(bound.lines[0].get_ydata(), found.history.steps["bound"])
    np.testing.assert_allclose(ess.lines[0].get_ydata(), 100.0 * found.history.steps["ess"])
    levels = [line.get_ydata()[0] for line in khat.lines if len(line.get_xdata()) == 2]
    assert levels == [0.5, 0.7, 1.0]
    # One epoch, or none that is complete, draws as well.
    assert len(simple(steps=3)[2].history.plot().axes) == 3


def test_few_particles_have_no_khat():
    _, _, found = simple(epochs=1, particles=8)
    assert np.isnan(found.history.steps["khat"]).all()
    assert len(found.history.plot().axes) == 3
    assert repr(found).splitlines()[-1].endswith("-")


def test_datapoints_without_weight_are_counted_and_teach_nothing():
    model, proposal = Conjugate(), linear()

    def log_joint(z, x):
        return torch.where(x[:, 0] > 0.0, model(z, x), -math.inf)

    optimiser = torch.optim.SGD(proposal.parameters(), lr=0.0)
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-2.0, 0.0], [3.0, 0.0]])
    found = fit(log_joint, proposal, x, optimiser=optimiser, steps=1, progress=False)
    assert found.history.steps["degenerate"][0] == 0.5
    assert math.isfinite(found.history.steps["bound"][0])


def without_weight(x, *, epochs, **options):
    """Train where datapoints with negative data are impossible; one datapoint a step."""
    model, proposal = Conjugate(), linear()
    return fit(
        lambda z, x: torch.where(x[:, 0] > 0.0, model(z, x), -math.inf),
        proposal,
        list(x.split(1)),
        optimiser=torch.optim.SGD(proposal.parameters(), lr=0.01),
        epochs=epochs,
        **options,
    )


def test_steps_without_weight_do_not_hide_the_bound_of_the_others(capsys):
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [2.0, 0.0], [-2.0, 0.0]])
    history = without_weight(x, epochs=2).history
    bounds = history.steps["bound"]
    assert np.isnan(bounds).tolist() == [False, True] * 4
    assert history.epochs[0].bound == pytest.approx((bounds[0] + bounds[2]) / 2, rel=1e-12)
    assert [epoch.degenerate for epoch in history.epochs] == [0.5, 0.5]
    lines = repr(history).splitlines()
    assert lines[1].endswith("without weight")
    assert lines[2].endswith("50.0%")
    assert "100.0% of the datapoints without weight" in capsys.readouterr().err
    assert "without" not in repr(simple(epochs=1)[2])
    assert len(history.plot().axes) == 3


def test_an_epoch_without_any_weight_is_an_error():
    x = torch.tensor([[-1.0, 0.0], [-2.0, 0.0]])
    with pytest.raises(TrainingStuck, match="in epoch 1 no draw for any datapoint had a positive"):
        without_weight(x, epochs=3, progress=False)


def test_a_log_has_a_line_at_the_end_and_a_terminal_a_bar(capsys, monkeypatch):
    simple(epochs=2, progress=True)
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("fit: 8 of 8 steps, bound -")
    assert " of 32, k-hat " in said.err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    simple(epochs=2, progress=True, held_out=observed(10))
    said = capsys.readouterr().err
    assert "fit: 100%" in said
    assert "held out -" in said


# --- data ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tensor", "array", "tuple", "mapping"])
def test_rows_come_once_in_an_epoch_in_a_new_order(kind):
    rows = torch.arange(10.0)
    made = {
        "tensor": rows,
        "array": rows.numpy(),
        "tuple": (rows, 10 * rows),
        "mapping": {"a": rows, "b": 10 * rows},
    }[kind]
    source = minibatches(made, batch=4)
    assert source.length == 3
    rng = np.random.default_rng(0)
    orders = []
    for _ in range(2):
        batches = list(source.epoch(rng))
        if kind == "tuple":
            assert all(torch.equal(10 * a, b) for a, b in batches)
            batches = [a for a, _ in batches]
        elif kind == "mapping":
            assert all(torch.equal(10 * x["a"], x["b"]) for x in batches)
            batches = [x["a"] for x in batches]
        assert [len(x) for x in batches] == [4, 4, 2]
        orders.append(torch.cat(batches).tolist())
    assert sorted(orders[0]) == sorted(orders[1]) == rows.tolist()
    assert orders[0] != orders[1]


def test_an_iterable_of_minibatches_is_gone_through_once_an_epoch():
    _, _, found = simple(data=[observed(5), observed(7), observed(2)], epochs=4)
    assert [epoch.steps for epoch in found.history.epochs] == [3, 6, 9, 12]

    class Stream:
        def __iter__(self):
            return iter([observed(5), observed(7)])

    _, _, found = simple(data=Stream(), epochs=4)
    assert [epoch.steps for epoch in found.history.epochs] == [2, 4, 6, 8]


def test_a_target_without_data_is_trained_for_steps():
    proposal = GaussianProposal(2)

    def log_joint(z, x):
        assert x is None
        return D.Normal(torch.tensor([1.0, -2.0]), 0.5).log_prob(z).sum(-1)

    optimiser = torch.optim.Adam(proposal.parameters(), lr=0.05)
    found = fit(log_joint, proposal, optimiser=optimiser, steps=400, progress=False)
    assert [epoch.steps for epoch in found.history.epochs] == [100, 200, 300, 400]
    q = proposal()
    torch.testing.assert_close(
        q.place.location.detach(), torch.tensor([1.0, -2.0]), atol=1e-2, rtol=0
    )
    assert abs(evaluate(log_joint, proposal, particles=500).bound) < 0.01


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "either epochs or steps; got neither"),
        ({"epochs": 1, "steps": 1}, "either epochs or steps; got both"),
        ({"epochs": 0}, "epochs must be at least 1; got 0"),
        ({"epochs": 1, "patience": 2}, "patience needs held_out data"),
        ({"epochs": 1, "particles": 20, "controller": Controller()}, "at least 25 particles"),
        ({"epochs": 1, "max_seconds": 0.0}, "max_seconds must be positive"),
        ({"epochs": 1, "estimator": "aisel-kl"}, "did you mean 'aisle-kl'"),
        ({"epochs": 1, "data": torch.zeros(0, 2)}, r"at least one; got \[0\] rows"),
        ({"epochs": 1, "data": (torch.zeros(3, 2), torch.zeros(4))}, r"got \[3, 4\] rows"),
        ({"epochs": 1, "data": []}, "epoch 1 had none"),
        ({"epochs": 2, "data": iter([torch.zeros(3, 2)])}, "epoch 2 had none"),
    ],
)
def test_bad_input_is_an_error_that_says_what_to_do(options, said):
    with pytest.raises(ValueError, match=said):
        simple(**options)


def test_what_is_no_optimiser_data_or_estimator_is_a_type_error():
    with pytest.raises(TypeError, match="iterable of minibatches such as a DataLoader; got a int"):
        simple(epochs=1, data=3)
    with pytest.raises(TypeError, match="a name of ESTIMATORS, an Estimator, or a function"):
        simple(epochs=1, estimator=3)
    with pytest.raises(TypeError, match=r"such as torch.optim.Adam\(parameters\)"):
        fit(Conjugate(), linear(), observed(), optimiser=[0.1], epochs=1)
    model = Conjugate()
    twice = [torch.optim.SGD(model.parameters(), lr=0.1) for _ in range(2)]
    with pytest.raises(ValueError, match="belong to one optimiser; got 2 parameters, 1 of them"):
        fit(model, linear(), observed(), optimiser=twice, epochs=1)
    with pytest.raises(TypeError, match=r"stateful\['rate'\] must have state_dict"):
        simple(epochs=1, stateful={"rate": 3})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"callbacks": len}, "a sequence of functions"),
        ({"callbacks": [3]}, r"a sequence of functions; got \[3\]"),
        ({"controller": Controller}, r"a value such as Controller\(\)"),
        ({"held_out": 0.2}, "data must be a tensor"),
        ({"data": [[1.0, 2.0], [3.0, 4.0]]}, r"a list of numbers, of which torch.tensor\(data\)"),
    ],
)
def test_what_is_of_another_kind_is_a_type_error(options, said):
    with pytest.raises(TypeError, match=said):
        simple(epochs=1, **options)


def test_an_optimiser_of_several_evaluations_is_refused():
    proposal = linear()
    optimiser = torch.optim.LBFGS(proposal.parameters())
    with pytest.raises(TypeError, match="LBFGS evaluates the loss several times"):
        fit(Conjugate(), proposal, observed(), optimiser=optimiser, epochs=1)


def test_a_loader_of_a_tensor_data_set_gives_its_tensor():
    x = observed(9)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), 4)
    assert torch.equal(torch.cat(list(minibatches(loader, batch=1).epoch(None))), x)
    arrays = [x[:4].numpy(), x[4:].numpy()]
    assert len(simple(data=arrays, epochs=2)[2].history) == 4


def test_a_data_frame_has_rows():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(observed(9).numpy(), columns=["a", "b"])
    assert simple(data=frame, epochs=1, batch=4)[2].history.epochs[0].steps == 3


def test_an_error_in_the_middle_says_at_which_step():
    model = Conjugate()

    def log_joint(z, x):
        return model(z, x) * (math.nan if model.theta[0] > 2.0 else 1.0)

    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, maximize=True)
    with pytest.raises(ValueError, match="must be finite") as caught:
        fit(log_joint, linear(), observed(), optimiser=optimiser, epochs=2, progress=False)
    assert caught.value.__notes__ == ["at step 2 of the training"]


def test_an_optimiser_of_other_parameters_is_an_error():
    other = torch.optim.SGD(Conjugate().parameters(), lr=0.1)
    with pytest.raises(ValueError, match="at least one parameter of the optimisers must get a g"):
        fit(Conjugate(), linear(), observed(), optimiser=other, epochs=1, progress=False)


@pytest.mark.parametrize("known", [True, False])
def test_a_gradient_that_is_no_number_is_named_and_not_kept(known, tmp_path):
    model, proposal = Conjugate(), linear()

    def log_joint(z, x):
        # Finite, yet where(...) sends 0 * inf back into theta after some steps.
        unused = torch.sqrt(torch.where(model.theta[0] < 1.95, 0.0, 1.0) * model.theta[0].abs())
        return model(z, x) + torch.where(model.theta[0] < 1.95, 0.0, unused)

    def train(given, steps):
        return fit(
            given,
            proposal,
            observed(10),
            optimiser=torch.optim.SGD([*model.parameters(), *proposal.parameters()], lr=0.05),
            steps=steps,
            file=tmp_path / "run",
            progress=False,
            seed=1,
        )

    log_joint = Wrapped(model, log_joint) if known else log_joint
    named = (
        "model.theta of the model" if known else r"parameter 0 of the optimisers, shape \(2,\),"
    )
    with pytest.raises(ValueError, match=f"that of {named} is not; .* torch.where") as caught:
        train(log_joint, 100)
    assert int(re.findall("[0-9]+", caught.value.__notes__[0])[0]) > 1
    assert bool(torch.isfinite(model.theta).all())
    saved = checkpoint.load(tmp_path / "run")["learner"]["values"]["parameters"]
    assert all(bool(torch.isfinite(each).all()) for each in saved)


def test_what_the_surrogate_says_reaches_the_user():
    q = CategoricalProposal(1, classes=3)
    optimiser = torch.optim.SGD(q.parameters(), lr=0.1)
    with pytest.raises((TypeError, ValueError), match="score form"):
        fit(lambda z, x: -z[..., 0], q, optimiser=optimiser, steps=1, progress=False)
    model, proposal = Conjugate(), linear()
    optimiser = torch.optim.SGD(proposal.parameters(), lr=0.1)
    with pytest.raises(
        ValueError, match="log_joint must be finite or -inf; it is nan at particle"
    ):
        fit(
            lambda z, x: model(z, x) * math.nan,
            proposal,
            observed(5),
            optimiser=optimiser,
            steps=1,
            progress=False,
        )


def test_a_schedule_is_asked_with_the_number_of_steps():
    asked = []

    def schedule(step):
        asked.append(step)
        return "stl" if step < 3 else estimator("aisle-chi2")

    simple(steps=5, estimator=schedule)
    assert asked == [0, 1, 2, 3, 4]


def test_one_step_of_training_is_one_step_of_a_loop_of_one_s_own():
    x = observed(8)
    ours, theirs = (Conjugate(), linear()), (Conjugate(), linear())
    theirs[1].load_state_dict(ours[1].state_dict())
    optimisers = [
        torch.optim.SGD([*model.parameters(), *proposal.parameters()], lr=0.1)
        for model, proposal in (ours, theirs)
    ]

    def loop():
        for _ in range(3):
            optimisers[1].zero_grad()
            surrogate(theirs[0], theirs[1], x, particles=32).loss.backward()
            optimisers[1].step()

    with torch.random.fork_rng():
        torch.manual_seed(3)
        torch.randint(2**62, (1,))  # the seed of the order, which one minibatch has none of
        loop()
    fit(*ours, [x], optimiser=optimisers[0], epochs=3, seed=3, progress=False)
    assert_same(ours[0].state_dict(), theirs[0].state_dict())
    assert_same(ours[1].state_dict(), theirs[1].state_dict())


# --- discrete latents ----------------------------------------------------------------------------


class Mixture(nn.Module):
    """One of 20 components, z ~ Categorical(theta), and x ~ N(10 z, 5^2): Le et al. (2019)."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(20))

    def forward(self, z, x):
        log_prior = torch.log_softmax(self.logits, -1)[z[..., 0]]
        return log_prior + D.Normal(10.0 * z[..., 0], 5.0).log_prob(x)

    @staticmethod
    def truth():
        weight = torch.arange(20) + 5.0
        return weight / weight.sum()


class Fresh:
    """Ten minibatches of new observations of the true model in each epoch."""

    def __iter__(self):
        for _ in range(10):
            z = torch.multinomial(Mixture.truth(), 100, replacement=True)
            yield 10.0 * z + 5.0 * torch.randn(100)


def mixture_errors(model, proposal):
    """Distances of p(z) and of q(z | x) from the truth, as in the paper."""
    x = torch.linspace(-10.0, 200.0, 60)
    with torch.no_grad():
        prior = torch.softmax(model.logits, -1) - Mixture.truth()
        every = D.Normal(10.0 * torch.arange(20), 5.0).log_prob(x[:, None])
        posterior = torch.softmax(Mixture.truth().log() + every, -1)
        apart = proposal(x).log_probabilities.exp()[:, 0] - posterior
        return float(prior.norm()), float(apart.norm(dim=-1).mean())


class Standardised(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())

    def forward(self, x):
        return self.net((x[:, None] - 95.0) / 20.0)


@pytest.mark.parametrize("name", ["rws", "aisle-kl-score", "aisle-chi2-score"])
def test_a_mixture_with_a_discrete_latent_is_learnt_by_every_score_form(name):
    model, proposal = Mixture(), CategoricalProposal(1, Standardised(), width=32, classes=20)
    optimiser = torch.optim.Adam([*model.parameters(), *proposal.parameters()], lr=0.02)
    before = mixture_errors(model, proposal)
    fit(
        model,
        proposal,
        Fresh(),
        optimiser=optimiser,
        steps=300,
        estimator=name,
        particles=20,
        progress=False,
    )
    after = mixture_errors(model, proposal)
    assert before[0] > 0.08
    assert after[0] < 0.04
    assert after[1] < 0.4 * before[1]


@pytest.mark.slow
def test_the_study_of_the_paper(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "papers" / "gmm.py")]
    options = ["--particles", "2", "20", "--results", "r.json", "--figure", "f.png"]
    subprocess.run([*command, *options], cwd=tmp_path, check=True, timeout=3600)
    results = json.loads((tmp_path / "r.json").read_text())["results"]

    def last(method, k, what):
        return results[f"{method}, K = {k}"][what][-1][1]

    for method in ("wake-phi", "AISLE-KL"):
        assert last(method, 20, "prior") < 0.05
        assert last(method, 20, "posterior") < 0.15
        assert last(method, 20, "prior") < last(method, 2, "prior")
    assert (tmp_path / "f.png").stat().st_size > 1000
