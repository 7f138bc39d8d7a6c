"""A run of several chains: what they agree on between phases, who works when, and their file."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from aisle_smc import checkpoint
from aisle_smc.arrays import Floats
from aisle_smc.ssm.chain import Chain, Estimate, Phase
from aisle_smc.ssm.progress import Progress
from aisle_smc.ssm.tuning import PILOT, choose_particles, next_phase
from aisle_smc.streams import stream

__all__ = ["Run"]

SECONDS_BETWEEN_SAVES = 5.0


@dataclass(slots=True, kw_only=True)
class Run:
    """A run of several chains: what they agree on, and its file."""

    estimate: Estimate
    n: int | None
    tune: int
    draws: int
    starts: list[Floats | None]
    seed: int
    workers: int
    file: Path | None
    made_of: dict[str, str]
    chains: list[Chain]
    show: bool
    phases: list[Phase] = field(default_factory=list)
    spread: float = math.nan
    seconds: float = 0.0
    stop: Event = field(default_factory=Event)
    progress: Progress = field(init=False)
    began: float = field(init=False)
    _saved: float = -math.inf
    _pause: float = 0.0
    _warned: bool = False

    def go(self) -> None:
        """Take every iteration that is still to be taken."""
        self.began = time.monotonic()
        self._pause = SECONDS_BETWEEN_SAVES
        if self.file is not None and self.file.exists():
            self._load(self.file)
        lengths = self._lengths()
        self._resize(lengths)
        if self._taken() == sum(lengths) * len(self.chains):
            return
        if self.file is not None:
            # Before any work: a folder that cannot be written to is better known now.
            checkpoint.save(self.file, self._state())
        self.progress = Progress(
            sum(lengths) * len(self.chains), show=self.show, done=self._taken()
        )
        try:
            self._run(lengths)
        except KeyboardInterrupt:
            self._save()
            raise KeyboardInterrupt(self._how_to_continue()) from None
        except ValueError as error:
            if self._save():
                raise ValueError(f"{error}\n  {self._how_to_read()}") from error
            raise
        except BaseException:
            self._save()
            raise
        finally:
            self.stop.set()
            self.progress.close(self._note())
        self._save()
        self.seconds += time.monotonic() - self.began

    def _lengths(self) -> list[int]:
        """Return the iterations of each phase: three of tuning, one of drawing."""
        first = second = (3 * self.tune) // 10
        return [first, second, self.tune - first - second, self.draws]

    def _resize(self, lengths: list[int]) -> None:
        if len(self.phases) == len(lengths):
            self.phases[-1] = replace(self.phases[-1], length=self.draws)

    def _run(self, lengths: list[int]) -> None:
        pilot = min(self.n or PILOT, PILOT)
        self._compile(pilot)
        self._together(lambda chain: chain.start(pilot, self.starts[chain.index]))
        for index in range(len(lengths)):
            if index == len(self.phases):
                self._agree(index, lengths)
            phase = self.phases[index]
            behind = [c for c in self.chains if (c.phase, c.done) < (index, phase.length)]
            if behind:
                self._together(partial(Chain.run, phase=phase, stop=self.stop))

    def _agree(self, index: int, lengths: list[int]) -> None:
        """Settle what the next phase will use: a function of the chains and the seed alone."""
        last = self.phases[-1] if self.phases else None
        n = last.n if last is not None else self.n or PILOT
        if index == 1:
            n, self.spread = choose_particles(
                self.estimate, self.chains, self.n, seed=self.seed, workers=self.workers
            )
            self.progress.say(
                f"pmmh: {n} particles; the log-evidence has a standard deviation of "
                f"{self.spread:.2f} at a central point"
            )
        adapt = index < len(lengths) - 1
        self.phases.append(next_phase(self.chains, last, n, lengths[index], adapt=adapt))

    def _compile(self, n: int) -> None:
        """Run one filter in this thread: several threads must not compile at the same time."""
        rng = stream(self.seed, len(self.chains), 0)
        z = self.estimate.prior.unconstrain(self.estimate.prior.sample(rng, 1))[0]
        self.estimate.filter(n, False)(self.estimate.params(z), rng)

    def _together(self, task: Callable[[Chain], None]) -> None:
        """Give every chain its task on a few threads, and watch them."""
        with ThreadPoolExecutor(min(self.workers, len(self.chains))) as pool:
            futures = [pool.submit(task, chain) for chain in self.chains]
            try:
                while True:
                    done, pending = wait(futures, timeout=0.2, return_when=FIRST_EXCEPTION)
                    self.progress.update(self._taken(), self._note())
                    if not pending or any(future.exception() for future in done):
                        break
                    if time.monotonic() - self._saved > self._pause:
                        self._save()
            finally:
                if any(not future.done() or future.exception() for future in futures):
                    self.stop.set()
                    pool.shutdown(cancel_futures=True)
        for future in futures:
            if not future.cancelled():
                future.result()

    def _taken(self) -> int:
        before = [0, *np.cumsum(self._lengths()).tolist()]
        return sum(
            before[max(c.phase, 0)] + min(c.done, self._lengths()[max(c.phase, 0)])
            for c in self.chains
        )

    def _note(self) -> str:
        share = np.mean([c.accepted / max(c.done, 1) for c in self.chains])
        part = "drawing" if len(self.phases) == 4 else "tuning"
        return f"{part}, acceptance {share:.2f}"

    def _state(self) -> dict[str, Any]:
        return {
            "made_of": self.made_of,
            "phases": self.phases,
            "spread": self.spread,
            "seconds": self.seconds + time.monotonic() - self.began,
            "chains": [chain.snapshot() for chain in self.chains],
        }

    def _save(self) -> bool:
        """Write the checkpoint and say whether it is; a disk that is full does not end the run."""
        if self.file is None:
            return False
        start, saved = time.monotonic(), False
        try:
            checkpoint.save(self.file, self._state())
            saved = True
        except OSError as error:
            if not self._warned:
                warnings.warn(
                    f"the checkpoint {self.file} could not be written ({error}); the run goes on, "
                    "and the file holds what was last written",
                    RuntimeWarning,
                    stacklevel=2,
                )
            self._warned = True
        self._saved = time.monotonic()
        # Saving takes at most a twentieth of the time.
        self._pause = max(SECONDS_BETWEEN_SAVES, 20.0 * (self._saved - start))
        return saved

    def _load(self, file: Path) -> None:
        state = checkpoint.load(file)
        checkpoint.compare(file, state["made_of"], self.made_of)
        self.phases, self.spread = state["phases"], state["spread"]
        self.seconds = state["seconds"]
        for chain, saved in zip(self.chains, state["chains"], strict=True):
            chain.restore(saved)

    def _how_to_continue(self) -> str:
        if self.file is None:
            return "interrupted; nothing is kept without file=..."
        return (
            f"interrupted after {self._taken()} iterations; the state is in {self.file}: "
            "make the same call again to continue"
        )

    def _how_to_read(self) -> str:
        """Say what the file of a run that failed holds, and how to get at it."""
        drawing = len(self._lengths()) - 1
        drawn = min(chain.done if chain.phase == drawing else 0 for chain in self.chains)
        if drawn == 0:
            return f"the state before it is in {self.file}, without a draw from every chain yet"
        return (
            f"the draws before it are in {self.file}: the same call with draws={drawn} or less "
            "returns them"
        )
