"""Progress of a run: one line that is rewritten on a terminal, a line now and then in a log."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

from aisle_smc.sampling.trace import Step

__all__ = ["Status", "sentence"]

_SECONDS_BETWEEN_LINES = 15.0


def sentence(step: Step) -> str:
    """Return what a person wants to know of a stage."""
    error = f" +- {step.error:.3f}" if math.isfinite(step.error) else ""
    value = f"log-evidence {step.log_evidence:.2f}{error}"
    if step.phase in ("prior", "tempering"):
        return f"temperature {step.beta:.3g}, {value} so far"
    if step.phase == "nested":
        return f"nested levels, {value} so far"
    if step.phase == "stay":
        return f"at the target, {value}, ESS {step.ess:.0f}"
    if step.phase in ("proposal", "final"):
        how = "trying the proposal" if step.phase == "proposal" else "drawing"
        return f"{how}, {value}, ESS {step.ess:.0f}, k-hat {step.khat:.2f}"
    return f"replicates, {value}"


class Status:
    """Show a run stage by stage.

    Parameters
    ----------
    show : bool
        False to say nothing.
    """

    def __init__(self, *, show: bool) -> None:
        self._bar: Any = None
        self._lines = False
        self._said = time.monotonic()
        self._last: Step | None = None
        if show and (sys.stderr.isatty() or "ipykernel" in sys.modules):
            from tqdm.auto import tqdm

            self._bar = tqdm(unit=" evaluations", unit_scale=True, desc="sample", leave=True)
        elif show:
            self._lines = True

    def __call__(self, step: Step) -> None:
        """Show a stage that has ended."""
        self._last = step
        if self._bar is not None:
            self._bar.set_postfix_str(sentence(step), refresh=False)
            self._bar.update(step.evaluations - self._bar.n)
        elif self._lines and time.monotonic() - self._said > _SECONDS_BETWEEN_LINES:
            self._line(step)

    def say(self, text: str) -> None:
        """Say something that should be known before the end."""
        if self._bar is not None:
            self._bar.write(f"sample: {text}", file=sys.stderr)
        elif self._lines:
            print(f"sample: {text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Show the end."""
        if self._bar is not None:
            self._bar.close()
        elif self._lines and self._last is not None:
            self._line(self._last)

    def _line(self, step: Step) -> None:
        self._said = time.monotonic()
        text = f"sample: {step.evaluations} evaluations, {step.seconds:.0f} s, {sentence(step)}"
        print(text, file=sys.stderr, flush=True)
