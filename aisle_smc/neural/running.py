"""A training under way: the loop, where it stands, when it stops, and its file."""

from __future__ import annotations

import math
import re
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FunctionType
from typing import Any, Self, TypeAlias

import numpy as np
import torch

from aisle_smc import checkpoint
from aisle_smc.neural.annealing import Schedule
from aisle_smc.neural.ascent import LogJoint
from aisle_smc.neural.checkpoints import Learner, RandomStates
from aisle_smc.neural.controller import FEWEST, Control, TrainingStuck
from aisle_smc.neural.evaluation import evaluate
from aisle_smc.neural.history import REGIMES, Epoch, History, StepNumbers, counted
from aisle_smc.neural.minibatches import Minibatches, minibatches, moved
from aisle_smc.neural.progress import Progress
from aisle_smc.neural.steps import Step
from aisle_smc.neural.surrogates import surrogate

__all__ = ["Callback", "Limits", "Moment", "Run"]

SECONDS_BETWEEN_SAVES = 5.0
# Held-out bounds of different epochs differ by the parameters alone.
HELD_OUT_SEED = 20190702
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moment:
    """What a callback sees after a step.

    Attributes
    ----------
    steps : int
        Steps taken so far.
    step : Step
        The step just taken, with its draws and weights.
    numbers : StepNumbers
        The same in a few numbers.
    epoch : Epoch or None
        The epoch, if this step was its last.
    history : History
    control : Control or None
    """

    steps: int
    step: Step
    numbers: StepNumbers
    epoch: Epoch | None
    history: History
    control: Control | None


Callback: TypeAlias = Callable[[Moment], bool | None]
"""Called after every step; True ends the training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When to stop: each is None, or infinite, where it does not matter."""

    epochs: int | None
    steps: int | None
    patience: int | None
    seconds: float


@dataclass(slots=True, kw_only=True)
class Run:
    """A training: what it is given, and where it stands."""

    log_joint: LogJoint
    proposal: Any
    source: Minibatches
    learner: Learner
    schedule: Schedule
    particles: int
    held_out: Any
    batch: int
    limits: Limits
    callbacks: tuple[Callback, ...]
    file: Path | None
    seed: int | None
    show: bool
    control: Control | None
    history: History = field(default_factory=History)
    epoch: int = 0
    index: int = 0
    seconds: float = 0.0
    best: dict[str, Any] | None = None
    _order: np.random.Generator = field(init=False)
    _epoch_start: RandomStates = field(init=False)
    _before: float = 0.0
    _began: float = field(init=False)
    _saved: float = field(init=False)
    _pause: float = SECONDS_BETWEEN_SAVES
    _warned: bool = False

    def go(self) -> str:
        """Train, and say why it ended."""
        self._began = self._saved = time.monotonic()
        self._pause = SECONDS_BETWEEN_SAVES
        self._order = np.random.default_rng(int(torch.randint(2**62, (1,))))
        self._epoch_start = self._random()
        if self.file is not None and self.file.exists():
            self._load(self.file)
        elif self.file is not None:
            # Before any work: a folder that cannot be written to is better known now.
            checkpoint.save(self.file, self._state())
        stopped = self._limit()
        if stopped is None:
            stopped = self._go_on()
            self._save()
        if self.limits.patience is not None and self.best is not None:
            self.learner.take(self.best)
        return stopped

    def _go_on(self) -> str:
        progress = Progress(self._total(), done=len(self.history), show=self.show)
        note = "no step yet"
        try:
            with _Interrupts() as interrupts:
                for moment in self._moments():
                    note = self._note(moment)
                    progress.update(len(self.history), note)
                    # Every callback is called, whatever the others say.
                    ends = [callback(moment) for callback in self.callbacks]
                    if interrupts.asked:
                        self._save()
                        raise KeyboardInterrupt(self._how_to_continue())
                    stopped = "a callback ended it" if any(ends) else self._limit()
                    if stopped is not None:
                        return stopped
                    if time.monotonic() - self._saved > self._pause:
                        self._save()
        finally:
            self.seconds = self._elapsed()
            progress.close(note)
        raise AssertionError("a training without limit")

    def _moments(self) -> Iterator[Moment]:
        """Take steps for ever."""
        while True:
            taken = len(self.history)
            for x in self._items():
                try:
                    step, numbers = self._step(moved(x, self.learner.device))
                except ValueError as error:
                    error.add_note(f"at step {len(self.history) + 1} of the training")
                    raise
                self.index += 1
                is_last = self.index == self.source.length
                yield self._moment(step, numbers, self._end_epoch() if is_last else None)
                if is_last:
                    break
            if len(self.history) == taken:
                raise ValueError(
                    f"data must have at least one minibatch in each epoch; epoch {self.epoch + 1} "
                    "had none; pass something that can be gone through again, such as a list or a "
                    "DataLoader"
                )
            if self.index:
                self._end_epoch()

    def _items(self) -> Iterator[Any]:
        """Go through what is left of the epoch."""
        now = self._random()
        if self.index:
            # What the data drew for the minibatches before is drawn again, and left.
            self._epoch_start.restore(*self._generators)
        items = self.source.epoch(self._order)
        for _ in range(self.index):
            next(items)
        if self.index:
            now.restore(*self._generators)
        return items

    def _step(self, x: Any) -> tuple[Step, StepNumbers]:
        for optimiser in self.learner.optimisers:
            optimiser.zero_grad(set_to_none=True)
        chosen = self.schedule(len(self.history))
        control = self.control
        if control is None:
            step = surrogate(
                self.log_joint, self.proposal, x, estimator=chosen, particles=self.particles
            )
            regime = 0
        else:
            regime = REGIMES.index(control.regime)
            step, control = control.step(
                self.log_joint, self.proposal, x, estimator=chosen, particles=self.particles
            )
        if step.loss.requires_grad:
            step.loss.backward()  # type: ignore[no-untyped-call]
        self.learner.check_gradients()
        for optimiser in self.learner.optimisers:
            optimiser.step()
        self.control = control
        numbers = self._numbers(step, regime)
        self.history.add(numbers)
        return step, numbers

    def _numbers(self, step: Step, regime: int) -> StepNumbers:
        alive = ~step.degenerate
        khat = math.nan
        if self.control is not None:
            khat = self.control.khats[-1]
        elif self.particles >= FEWEST:
            khat = float(step.khat.median())
        return StepNumbers(
            epoch=self.epoch,
            bound=float(step.log_evidence[alive].mean()),
            ess=float(step.ess.mean()) / step.log_w.shape[0],
            khat=khat,
            largest=float(step.largest_weight.mean()),
            degenerate=1.0 - float(alive.double().mean()),
            regime=regime,
        )

    def _end_epoch(self) -> Epoch:
        held_out = math.nan
        if self.held_out is not None:
            held_out = evaluate(
                self.log_joint,
                self.proposal,
                self.held_out,
                particles=self.particles,
                batch=self.batch,
                seed=HELD_OUT_SEED,
            ).bound
        ended = self.history.end_epoch(held_out, self._elapsed())
        if self.limits.patience is not None and self.history.best == self.epoch:
            self.best = self.learner.values()
        self.epoch += 1
        self.index = 0
        self._epoch_start = self._random()
        if ended.degenerate == 1.0:
            raise TrainingStuck(
                f"in epoch {self.epoch} no draw for any datapoint had a positive target density, "
                "and nothing was learnt; start from a proposal inside the target's support, or "
                "from a wider one, or check that log_joint is finite where it should be"
            )
        return ended

    def _moment(self, step: Step, numbers: StepNumbers, epoch: Epoch | None) -> Moment:
        return Moment(
            steps=len(self.history),
            step=step,
            numbers=numbers,
            epoch=epoch,
            history=self.history,
            control=self.control,
        )

    def _limit(self) -> str | None:
        limits, best = self.limits, self.history.best
        if limits.epochs is not None and self.epoch >= limits.epochs:
            return f"{counted(limits.epochs, 'epoch')} done"
        if limits.steps is not None and len(self.history) >= limits.steps:
            return f"{counted(limits.steps, 'step')} done"
        if limits.patience is not None and best is not None:
            waited = self.epoch - 1 - best
            if waited >= limits.patience:
                so_long = counted(waited, "epoch")
                return f"no better held-out bound for {so_long}, back at epoch {best + 1}"
        if time.monotonic() - self._began > limits.seconds:
            return "max_seconds over"
        return None

    def _total(self) -> int | None:
        if self.limits.steps is not None:
            return self.limits.steps
        assert self.limits.epochs is not None
        return None if self.source.length is None else self.limits.epochs * self.source.length

    def _note(self, moment: Moment) -> str:
        numbers = moment.numbers
        khat = "" if math.isnan(numbers.khat) else f", k-hat {numbers.khat:.2f}"
        regime = "" if numbers.regime == 0 else f", {REGIMES[numbers.regime]}"
        ess = numbers.ess * self.particles
        said = f"bound {numbers.bound:.2f}, ESS {ess:.1f} of {self.particles}{khat}{regime}"
        if numbers.degenerate > 0.0:
            said += f", {numbers.degenerate:.1%} of the datapoints without weight"
        if self.history.epochs and not math.isnan(self.history.epochs[-1].held_out):
            said += f", held out {self.history.epochs[-1].held_out:.2f}"
        return said

    @property
    def _generators(self) -> tuple[np.random.Generator, torch.device, Sequence[torch.Generator]]:
        held_out = minibatches(self.held_out, batch=self.batch).generators
        return self._order, self.learner.device, (*self.source.generators, *held_out)

    def _random(self) -> RandomStates:
        return RandomStates.of(*self._generators)

    def _elapsed(self) -> float:
        return self._before + time.monotonic() - self._began

    def _made_of(self) -> dict[str, str]:
        chosen = ADDRESS.sub("", repr(self.schedule))
        if isinstance(self.schedule, FunctionType):
            chosen = f"{self.schedule.__name__} ({checkpoint.digest(self.schedule)})"
        options = None if self.control is None else self.control.controller
        return {
            "data": self.source.made_of,
            "held-out data": minibatches(self.held_out, batch=self.batch).made_of,
            "parameters": self.learner.made_of,
            "estimator": f"{chosen} of {self.particles} particles",
            "controller": ADDRESS.sub("", repr(options)),
            "seed": str(self.seed),
        }

    def _state(self) -> dict[str, Any]:
        return {
            "made_of": self._made_of(),
            "learner": self.learner.state(),
            "random": self._random(),
            "epoch_start": self._epoch_start,
            "position": (self.epoch, self.index),
            "control": None if self.control is None else self.control.memory,
            "history": self.history,
            "best": self.best,
            "seconds": self._elapsed(),
        }

    def _load(self, file: Path) -> None:
        state = checkpoint.load(file)
        checkpoint.compare(file, state["made_of"], self._made_of())
        self.learner.restore(state["learner"])
        self.epoch, self.index = state["position"]
        self.history, self.best = state["history"], state["best"]
        if self.control is not None:
            self.control = replace(self.control, **state["control"])
        self.seconds = self._before = state["seconds"]
        self._epoch_start = state["epoch_start"]
        state["random"].restore(*self._generators)

    def _save(self) -> None:
        """Write the checkpoint; a disk that is full does not end the training."""
        if self.file is None:
            return
        start = time.monotonic()
        try:
            checkpoint.save(self.file, self._state())
        except OSError as error:
            if not self._warned:
                warnings.warn(
                    f"the checkpoint {self.file} could not be written ({error}); training goes "
                    "on, and the file holds what was last written",
                    RuntimeWarning,
                    stacklevel=2,
                )
            self._warned = True
        self._saved = time.monotonic()
        # Saving takes at most a twentieth of the time.
        self._pause = max(SECONDS_BETWEEN_SAVES, 20.0 * (self._saved - start))

    def _how_to_continue(self) -> str:
        after = f"interrupted after {len(self.history)} steps"
        if self.file is None:
            return f"{after}; the parameters are those of that step; nothing else is kept"
        return f"{after}; the state is in {self.file}: make the same call again to continue"


class _Interrupts:
    """Let the step under way end before an interrupt from the keyboard does its work."""

    def __init__(self) -> None:
        self.asked = False
        self._previous: Any = None

    def __enter__(self) -> Self:
        # Only the main thread may, and only Python's own handler is replaced.
        if threading.current_thread() is threading.main_thread():
            previous = signal.getsignal(signal.SIGINT)
            if previous is signal.default_int_handler:
                self._previous = previous
                signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
