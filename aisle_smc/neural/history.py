"""The history of a training: numbers of every step and of every epoch, printed and drawn."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.neural.controller import Regime
from aisle_smc.plots.style import BLUE, GREEN, MUTED, VERMILION, WIDE, canvas, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Epoch", "History", "StepNumbers", "counted"]

ROWS_PRINTED = 12
REGIMES = tuple(Regime)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepNumbers:
    """What a step was like, averaged over its datapoints.

    Attributes
    ----------
    epoch : int
        The epoch it belongs to, from 0.
    bound : float
        Mean log-evidence by K particles, in nats a datapoint; datapoints without any weight are
        left out, and it is NaN if that is all of them.
    ess : float
        Mean effective sample size as a share of K.
    khat : float
        Median shape of the weights' tails; NaN for fewer than 25 particles.
    largest : float
        Mean of the largest self-normalised weight.
    degenerate : float
        Share of the datapoints without any weight.
    regime : int
        Index of the controller's regime in ``raw, truncate, defend, temper``; 0 without one.
    """

    epoch: int
    bound: float
    ess: float
    khat: float
    largest: float
    degenerate: float
    regime: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What an epoch was like.

    Attributes
    ----------
    steps : int
        Steps from the start of the training to the end of this epoch.
    bound, ess, khat, largest, degenerate : float
        Means over its steps, as in :class:`StepNumbers`; steps without any weight have no bound.
    held_out : float
        Mean log-evidence of the held-out data after it; NaN if there are none.
    regime : str
        The regime of most steps.
    seconds : float
        Time since the start of the training, of all its parts.
    """

    steps: int
    bound: float
    ess: float
    khat: float
    largest: float
    degenerate: float
    held_out: float
    regime: str
    seconds: float


def counted(n: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


class History:
    """Numbers of every step, and of every epoch.

    Attributes
    ----------
    epochs : list of Epoch
    """

    def __init__(self) -> None:
        self._columns = {field.name: array("d") for field in fields(StepNumbers)}
        self.epochs: list[Epoch] = []

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self._columns["bound"])

    @property
    def steps(self) -> Mapping[str, Floats]:
        """The numbers of :class:`StepNumbers` by name, each of shape (steps,)."""
        return MappingProxyType(
            {name: np.array(column, dtype=np.float64) for name, column in self._columns.items()}
        )

    @property
    def best(self) -> int | None:
        """The epoch with the highest held-out bound, from 0; None without any."""
        found = [epoch.held_out for epoch in self.epochs]
        known = [i for i, value in enumerate(found) if not math.isnan(value)]
        return max(known, key=found.__getitem__) if known else None

    def add(self, numbers: StepNumbers) -> None:
        """Add a step."""
        for name, column in self._columns.items():
            column.append(getattr(numbers, name))

    def end_epoch(self, held_out: float, seconds: float) -> Epoch:
        """Add the epoch that the last steps make."""
        first = self.epochs[-1].steps if self.epochs else 0
        part = {name: np.array(column[first:]) for name, column in self._columns.items()}
        regimes = np.bincount(part["regime"].astype(int), minlength=len(REGIMES))
        means = {
            name: float(part[name].mean()) for name in ("ess", "khat", "largest", "degenerate")
        }
        known = part["bound"][~np.isnan(part["bound"])]
        epoch = Epoch(
            steps=len(self),
            bound=float(known.mean()) if known.size else math.nan,
            held_out=held_out,
            regime=REGIMES[int(regimes.argmax())],
            seconds=seconds,
            **means,
        )
        self.epochs.append(epoch)
        return epoch

    def plot(self, *, width: float = WIDE) -> Figure:
        """Draw the bound, the effective sample size and k-hat against the steps.

        Returns
        -------
        matplotlib.figure.Figure
        """
        steps = self.steps
        with style():
            figure, grid = canvas(
                3, 1, width=width, heights=[0.26 * width, 0.14 * width, 0.17 * width]
            )
            bound, ess, khat = grid[:, 0]
            self._curve(bound, steps["bound"], "bound", BLUE)
            bound.set_title("Mean log-evidence, nats a datapoint")
            known = [e for e in self.epochs if not math.isnan(e.held_out)]
            if known:
                x, y = [e.steps for e in known], [e.held_out for e in known]
                bound.plot(x, y, "o-", color=VERMILION, ms=2.5, lw=0.8, label="held out")
                bound.legend(loc="lower right", frameon=False)
            low = np.nanquantile(steps["bound"], 0.05) if len(self) else 0.0
            top = np.nanmax(np.concatenate([steps["bound"], [e.held_out for e in known]]))
            if np.isfinite([low, top]).all() and top > low:
                bound.set_ylim(low - 0.05 * (top - low), top + 0.08 * (top - low))
            self._curve(ess, 100.0 * steps["ess"], "ess", GREEN, scale=100.0)
            ess.set_title("Effective sample size, per cent of the particles")
            ess.set_ylim(0.0, 100.0)
            self._curve(khat, steps["khat"], "khat", BLUE)
            khat.set_title("k-hat: trust weights below 0.5, distrust above 0.7")
            for level in (0.5, 0.7, 1.0):
                khat.axhline(level, color=MUTED, lw=0.6, ls=(0, (4, 3)))
            shown = steps["khat"][np.isfinite(steps["khat"])]
            if shown.size:
                a, b = np.quantile(shown, [0.01, 0.99])
                khat.set_ylim(min(0.0, float(a)) - 0.05, max(1.1, float(b) + 0.05))
            khat.set_xlabel("steps")
        return figure

    def _curve(
        self, axes: Axes, values: Floats, name: str, colour: Any, scale: float = 1.0
    ) -> None:
        n = np.arange(1, len(values) + 1)
        ends = np.array([0, *(epoch.steps for epoch in self.epochs)])
        if len(ends) > 2:
            axes.plot(n, values, color=colour, lw=0.5, alpha=0.35)
            # A mean over an epoch belongs to its middle.
            means = [scale * getattr(epoch, name) for epoch in self.epochs]
            axes.plot(0.5 * (ends[1:] + ends[:-1]), means, color=colour, label="training")
        else:
            axes.plot(n, values, color=colour, lw=0.8, label="training")

    def __repr__(self) -> str:
        lines = [f"{counted(len(self), 'step')}, {counted(len(self.epochs), 'epoch')}"]
        if not self.epochs:
            return lines[0]
        shows_held_out = self.best is not None
        shows_degenerate = any(epoch.degenerate > 0.0 for epoch in self.epochs)
        shows_regime = any(epoch.regime != Regime.RAW for epoch in self.epochs)
        lines.append(
            "  epoch   steps      bound"
            + ("   held out" if shows_held_out else "")
            + "   ESS/K   k-hat"
            + ("   without weight" if shows_degenerate else "")
            + ("   regime" if shows_regime else "")
        )
        chosen = np.unique(
            np.linspace(0, len(self.epochs) - 1, min(ROWS_PRINTED, len(self.epochs))).round()
        ).astype(int)
        for i in chosen:
            epoch = self.epochs[i]
            lines.append(
                f"  {i + 1:5d} {epoch.steps:7d} {epoch.bound:10.3f}"
                + (f" {epoch.held_out:10.3f}" if shows_held_out else "")
                + f" {epoch.ess:7.2f} "
                + (f"{epoch.khat:7.2f}" if math.isfinite(epoch.khat) else "      -")
                + (f" {epoch.degenerate:16.1%}" if shows_degenerate else "")
                + (f"   {epoch.regime}" if shows_regime else "")
            )
        return "\n".join(lines)
