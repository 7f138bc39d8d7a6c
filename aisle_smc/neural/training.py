r"""Training: minibatches, an estimator, the user's optimiser, and a file that it goes on from.

>>> import torch
>>> from aisle_smc.neural import GaussianProposal, fit
>>> _ = torch.manual_seed(0)
>>> x = 2.0 + 1.4 * torch.randn(500, 1)
>>> mean = torch.zeros(1, requires_grad=True)
>>> def log_joint(z, x):
...     return -0.5 * ((z - mean) ** 2 + (x - z) ** 2).sum(-1)
>>> proposal = GaussianProposal(1, encoder=torch.nn.Identity(), width=1)
>>> optimiser = torch.optim.Adam([mean, *proposal.parameters()], lr=0.02)
>>> found = fit(log_joint, proposal, x, optimiser=optimiser, epochs=60, progress=False)
>>> bool(abs(mean - x.mean()) < 0.05)
True
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from aisle_smc.arguments import check_count
from aisle_smc.neural.annealing import Schedule
from aisle_smc.neural.ascent import LogJoint
from aisle_smc.neural.checkpoints import Stateful, learner
from aisle_smc.neural.controller import FEWEST, Control, Controller
from aisle_smc.neural.estimators import estimator as named
from aisle_smc.neural.evaluation import modules_of, seeded
from aisle_smc.neural.formulas import Estimator
from aisle_smc.neural.history import History
from aisle_smc.neural.minibatches import minibatches
from aisle_smc.neural.running import Callback, Limits, Run

__all__ = ["Fit", "fit"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Fit:
    """What a training was like.

    Attributes
    ----------
    history : History
        Numbers of every step and of every epoch; it prints itself, and ``history.plot()`` draws
        it.
    stopped : str
        Why it ended.
    seconds : float
        How long it took, over all its parts.
    control : Control or None
        The controller at the end.
    """

    history: History
    stopped: str
    seconds: float
    control: Control | None

    def __repr__(self) -> str:
        return f"Fit: {self.stopped}, {self.seconds:.1f} s; {self.history!r}"


def fit(
    log_joint: LogJoint,
    proposal: Any,
    data: Any = None,
    *,
    optimiser: Optimizer | Sequence[Optimizer],
    epochs: int | None = None,
    steps: int | None = None,
    estimator: str | Estimator | Schedule = "aisle-kl",
    particles: int = 32,
    batch: int = 100,
    controller: Controller | None = None,
    held_out: Any = None,
    patience: int | None = None,
    callbacks: Sequence[Callback] = (),
    file: str | Path | None = None,
    stateful: Mapping[str, Stateful] | None = None,
    max_seconds: float = math.inf,
    progress: bool = True,
    seed: int | None = None,
) -> Fit:
    r"""Train a model and its proposal.

    Parameters
    ----------
    log_joint, proposal
        As for :func:`~aisle_smc.neural.surrogates.surrogate`. What is trained is what the
        optimisers hold.
    data : object
        Rows of a tensor, array or data frame, (n, ...), or of a tuple or mapping of those, which
        come in minibatches in a new order in each epoch; or an iterable of minibatches, gone
        through once in each epoch, such as a DataLoader. A minibatch is the x of `log_joint` and
        `proposal`, on the device of the parameters. None where there are no data: an epoch then
        has 100 steps.
    optimiser : Optimizer, or sequence of them
        Of torch: one for everything, or one for the model and one for the proposal. All of them
        make a step after each minibatch.
    epochs, steps : int
        How long to train, one of the two; counted from the start, also in a run that goes on.
    estimator : str, Estimator or callable
        As for :func:`~aisle_smc.neural.surrogates.surrogate`; or a function of the number of
        steps taken so far that returns it, such as an
        :class:`~aisle_smc.neural.annealing.Annealing`.
    particles : int
        The number K of draws for each datapoint; k-hat needs at least 25.
    batch : int
        Datapoints in a minibatch, of rows.
    controller : Controller, optional
        Stabilises weights and adds safe draws, as k-hat demands.
    held_out : object, optional
        Data that are not trained on; their mean log-evidence by K particles is found after each
        epoch, with the same random numbers every time.
    patience : int, optional
        Stop when the held-out bound has not improved for so many epochs. However training ends,
        the parameters are then those of the best epoch; the file holds those of the last.
    callbacks : sequence of callable
        Called after every step with a :class:`~aisle_smc.neural.running.Moment`; if one returns
        True, training stops.
    file : path, optional
        Checkpoint. Written every few seconds and at the end; if it exists, training goes on from
        it, to the same bits (on a CPU) as a run that was never stopped. It holds the parameters,
        the optimisers, the random states, the position in the data, the controller and the
        history. Random states are those of torch and of the generators of a DataLoader and its
        samplers; an iterable that draws from elsewhere does not go on to the same bits.
    stateful : mapping, optional
        What the file should hold beside that, by name: schedulers of the learning rate, and
        modules with buffers that `log_joint` uses but is no method of.
    max_seconds : float
        Stop after the step at which this call has taken so long.
    progress : bool
        Show a progress line, or a line now and then where there is no terminal.
    seed : int, optional
        Seed of the draws and of the order of the data, for this call; torch's states are left as
        they were. Without one both follow from torch's state.

    Returns
    -------
    Fit

    Raises
    ------
    TypeError, ValueError
        For bad input, before any work; for a `file` of other data or settings; as
        :func:`~aisle_smc.neural.surrogates.surrogate`; and if no parameter gets a gradient, or
        one gets some that is not finite: the step is then not made.
    TrainingStuck
        By the controller, or if no draw of a whole epoch had a positive target density.
    KeyboardInterrupt
        When interrupted, after the step under way and the checkpoint; the message says how to go
        on. A second interrupt does not wait.

    Notes
    -----
    The training bound is the mean of ``log_evidence`` by K particles: it is not always what the
    estimator minimises, and it moves with K. Dropout and batch normalisation are left as they
    are, and put in evaluation mode for held-out data only.

    A file is a pickle: continue only from files that you wrote yourself.
    """
    if (epochs is None) == (steps is None):
        raise ValueError(
            "say how long to train, by either epochs or steps; got "
            + ("neither" if epochs is None else "both")
        )
    for what, count in (
        ("epochs", epochs),
        ("steps", steps),
        ("patience", patience),
        ("particles", particles),
        ("batch", batch),
    ):
        if count is not None:
            check_count(what, count)
    for each in callbacks if isinstance(callbacks, Sequence) else (callbacks,):
        if not (isinstance(callbacks, Sequence) and callable(each)):
            raise TypeError(f"callbacks must be a sequence of functions; got {callbacks!r}")
    if controller is not None and not isinstance(controller, Controller):
        raise TypeError(f"controller must be a value such as Controller(); got {controller!r}")
    minibatches(held_out, batch=batch)
    if patience is not None and held_out is None:
        raise ValueError("patience needs held_out data, whose bound it watches; got none")
    if controller is not None and particles < FEWEST:
        raise ValueError(
            f"a controller needs k-hat, and k-hat at least {FEWEST} particles; got {particles}"
        )
    if not float(max_seconds) > 0.0:
        raise ValueError(f"max_seconds must be positive; got {max_seconds!r}")
    modules = modules_of(log_joint, proposal)
    run = Run(
        log_joint=log_joint,
        proposal=proposal,
        source=minibatches(data, batch=batch),
        learner=learner(optimiser, modules, dict(stateful or {})),
        schedule=_schedule(estimator),
        particles=particles,
        held_out=held_out,
        batch=batch,
        limits=Limits(epochs=epochs, steps=steps, patience=patience, seconds=float(max_seconds)),
        callbacks=tuple(callbacks),
        file=None if file is None else Path(file),
        seed=seed,
        show=progress,
        control=None if controller is None else controller.start(),
    )
    with seeded(seed, run.learner.device):
        stopped = run.go()
    return Fit(history=run.history, stopped=stopped, seconds=run.seconds, control=run.control)


def _schedule(given: str | Estimator | Schedule) -> Schedule:
    chosen: Any = named(given) if isinstance(given, str) else given
    if hasattr(chosen, "rows"):
        return _Constant(estimator=chosen)
    if not callable(chosen):
        raise TypeError(
            "estimator must be a name of ESTIMATORS, an Estimator, or a function of the step that "
            f"returns one; got a {type(chosen).__name__}"
        )
    schedule: Schedule = chosen
    return schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class _Constant:
    """One estimator for all steps."""

    estimator: Estimator

    def __call__(self, step: int) -> Estimator:
        return self.estimator
