r"""The controller: how much the weights of a step can be trusted decides what is done to them.

========================  =====================================================================
tail of the weights       what is done
========================  =====================================================================
:math:`\hat k < 1/2`      nothing
1/2 to 7/10               the weights of the datapoint are truncated
7/10 to 1, lately         a tenth of the draws comes from a safe distribution, truncated as well
above 1                   the weights of the datapoint are tempered until ESS / K is 1/5
above 1 and ESS below 2   for too many steps in a row: training stops with an error
========================  =====================================================================
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, StudentT

from aisle_smc.arguments import check_count
from aisle_smc.divergences import (
    Divergence,
    ParetoSmoothing,
    Stabilised,
    Truncation,
    WeightTempering,
)
from aisle_smc.errors import AisleError
from aisle_smc.neural import coefficients as c
from aisle_smc.neural.ascent import LogJoint
from aisle_smc.neural.defensive import DefensiveMixture
from aisle_smc.neural.estimators import resolved
from aisle_smc.neural.formulas import Estimator, Formula
from aisle_smc.neural.offpolicy import off_policy
from aisle_smc.neural.paths import conditioned, replay
from aisle_smc.neural.steps import Step
from aisle_smc.neural.surrogates import surrogate

__all__ = ["FEWEST", "ByTail", "Control", "Controller", "Regime", "TrainingStuck"]

# With fewer the tail of a fifth of them has less than five, and no k-hat.
FEWEST = 25
_UNSMOOTHED = ParetoSmoothing(threshold=math.inf)


class TrainingStuck(AisleError):
    """The proposal has missed the target for too many steps: start again from elsewhere."""


class Regime(StrEnum):
    """What the tails of the last steps ask for."""

    RAW = "raw"
    TRUNCATE = "truncate"
    DEFEND = "defend"
    TEMPER = "temper"


@dataclass(frozen=True, slots=True, kw_only=True)
class ByTail:
    """A stabiliser that treats each datapoint by the tail of its own weights.

    Attributes
    ----------
    truncate, temper : float
        Values of k-hat: above the first weights are truncated, above the second tempered.
    tempering : WeightTempering
        How.
    khat : Tensor, shape (...), or None
        The tails it has seen in its last use.
    exponent : float or None
        The smallest power it has raised weights to then, if any.
    """

    truncate: float = 0.5
    temper: float = 1.0
    tempering: WeightTempering = field(default_factory=WeightTempering)
    khat: Tensor | None = None
    exponent: float | None = None

    def apply(self, log_w: Tensor) -> Stabilised:
        """Stabilise log-weights, see :class:`~aisle_smc.divergences.Stabiliser`."""
        khat = _tails(log_w)
        degenerate = torch.amax(log_w, 0) == -math.inf
        heavy, very = khat > self.truncate, (khat > self.temper) & ~degenerate
        changed, powers, least = log_w, torch.ones_like(khat), None
        if bool(heavy.any()):
            changed = torch.where(heavy, Truncation().apply(log_w).log_w, log_w)
        if bool(very.any()):
            tempered = self.tempering.apply(log_w)
            assert tempered.exponent is not None
            changed = torch.where(very, tempered.log_w, changed)
            powers = torch.where(very, tempered.exponent, powers)
            least = float(powers[very].min())
        return Stabilised(
            log_w=changed,
            degenerate=degenerate,
            stabiliser=replace(self, khat=khat, exponent=least),
            khat=khat,
            exponent=powers,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    r"""Thresholds and remedies.

    Attributes
    ----------
    truncate, defend, temper : float
        The values of k-hat at which each remedy begins, in increasing order.
    share : float
        Share of safe draws, in [0, 1); with 0 there are none, and any estimator will do.
    safety : distribution or callable, optional
        Where safe draws come from, such as the prior: as for
        :class:`~aisle_smc.neural.defensive.DefensiveProposal`. By default Student-t
        distributions of 3 degrees of freedom, at the centre of the proposal's draws and twice as
        wide; discrete latents have no such default.
    ess : float
        The effective sample size that tempering reaches, as a share of K.
    window : int
        Steps whose median k-hat is "lately". With minibatches, tempering never goes below the
        smallest power of the last so many steps that tempered.
    patience : int
        Steps in a row with k-hat above `temper` and ESS below 2 that are one too many.

    Raises
    ------
    TypeError, ValueError
        If a number is out of its range.

    Notes
    -----
    The power of tempering is bounded below by what was reached before: an objective that is
    tempered more in one step than in the one before oscillates. With one target this is the power
    of the step before, so that powers never decrease.

    A step costs 1 to 2 ms more for 100 datapoints of 64 particles.

    Safe draws teach the proposal off-policy, with the weights of the mixture that made them; the
    k-hat that decides is that of the proposal's own draws. A step looks at no other step's
    gradient, so that ``fit`` and a loop of one's own can use it alike: ``step, control =
    control.step(...)``, from ``control = Controller().start()``.

    References
    ----------
    A. Vehtari et al. (2024), Pareto smoothed importance sampling, for the thresholds; E. L.
    Ionides (2008), Truncated importance sampling; T. Hesterberg (1995), for safe draws; D. Prangle
    and C. Viscardi (2023), Distilling importance sampling, for tempering.
    """

    truncate: float = 0.5
    defend: float = 0.7
    temper: float = 1.0
    share: float = 0.1
    safety: Any = None
    ess: float = 0.2
    window: int = 10
    patience: int = 200

    def __post_init__(self) -> None:
        if not self.truncate <= self.defend <= self.temper:
            raise ValueError(
                "truncate, defend and temper are values of k-hat in increasing order; got "
                f"{self.truncate}, {self.defend}, {self.temper}"
            )
        if not 0.0 <= self.share < 1.0:
            raise ValueError(f"share must be in [0, 1), a share of the draws; got {self.share!r}")
        check_count("window", self.window)
        check_count("patience", self.patience)
        WeightTempering(share=self.ess)

    def start(self) -> Control:
        """Return the state before the first step."""
        return Control(controller=self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """A controller and what it remembers.

    Attributes
    ----------
    controller : Controller
    khats : tuple of float
        Median k-hat of each of the last steps, the oldest first.
    powers : tuple of float
        The smallest powers of the last steps that tempered.
    least : float
        Lower bound of the next power.
    lost : int
        Steps in a row with k-hat above the last threshold and ESS below 2.
    """

    controller: Controller
    khats: tuple[float, ...] = ()
    powers: tuple[float, ...] = ()
    least: float = 0.0
    lost: int = 0

    @property
    def khat(self) -> float:
        """Median of the last k-hats; NaN before the first step."""
        return sorted(self.khats)[(len(self.khats) - 1) // 2] if self.khats else math.nan

    @property
    def regime(self) -> Regime:
        """What the next step does."""
        if self.khat > self.controller.temper:
            return Regime.TEMPER
        if self.khat > self.controller.defend:
            return Regime.DEFEND
        return Regime.TRUNCATE if self.khat > self.controller.truncate else Regime.RAW

    @property
    def memory(self) -> dict[str, Any]:
        """All but the controller, which may hold what cannot be kept in a file."""
        names = ("khats", "powers", "least", "lost")
        return {name: getattr(self, name) for name in names}

    def step(
        self,
        log_joint: LogJoint,
        proposal: Any,
        x: Any = None,
        *,
        estimator: str | Estimator = "aisle-kl",
        particles: int = 32,
    ) -> tuple[Step, Control]:
        """Do what :func:`~aisle_smc.neural.surrogates.surrogate` does, with the remedies.

        Parameters
        ----------
        log_joint, proposal, x, estimator, particles
            As there; at least 25 particles, and one of the estimators of a divergence
            (``"aisle-..."``, ``"rws"``) unless the share of safe draws is 0.

        Returns
        -------
        step : Step
        control : Control
            For the next one.

        Raises
        ------
        TrainingStuck
            If the proposal has missed the target for too long.
        TypeError, ValueError
            As there, and if safe draws cannot be used with the estimator or the proposal.
        """
        chosen = resolved(estimator)
        if particles < FEWEST:
            raise ValueError(
                f"a controller needs k-hat, and k-hat at least {FEWEST} particles; got {particles}"
            )
        options = self.controller
        q = conditioned(proposal, x)
        if options.share > 0.0 and not self.khats:
            _check_safe(options, q, chosen)
        if self.regime is Regime.DEFEND and options.share > 0.0:
            step, khat = _defended(options, log_joint, q, x, chosen, particles)
            power = None
        else:
            tail = ByTail(
                truncate=options.truncate,
                temper=options.temper,
                tempering=WeightTempering(share=options.ess, least=self.least),
            )
            step = surrogate(
                log_joint, q, x, estimator=chosen, particles=particles, stabiliser=tail
            )
            used = step.stabiliser
            assert isinstance(used, ByTail)
            assert used.khat is not None
            khat, power = used.khat, used.exponent
        return step, self._next(khat, step.ess, power)

    def _next(self, khat: Tensor, ess: Tensor, power: float | None) -> Control:
        options, median = self.controller, float(khat.median())
        khats = tuple(deque([*self.khats, median], options.window))
        is_lost = median > options.temper and float(ess.median()) < 2.0
        lost = self.lost + 1 if is_lost else 0
        if lost >= options.patience:
            raise TrainingStuck(
                f"in {lost} steps in a row k-hat was above {options.temper:g} and the effective "
                f"sample size below 2 (now {median:.2f} and {float(ess.median()):.2f}, medians of "
                "the datapoints): the proposal does not find the target; start from a wider one, "
                "use more particles, or train off-policy on draws of aisle_smc.sample"
            )
        powers, least = self.powers, self.least
        if power is not None:
            window = 1 if khat.numel() == 1 else options.window
            powers = tuple(deque([*powers, power], window))
            if len(powers) == window:
                least = max(least, min(powers))
        return replace(self, khats=khats, powers=powers, least=least, lost=lost)


def _defended(
    options: Controller, log_joint: LogJoint, q: Any, x: Any, chosen: Estimator, particles: int
) -> tuple[Step, Tensor]:
    """Take a step with safe draws among the particles; return it with the proposal's own tails."""
    divergence, path, baseline = _aim(chosen)
    mixture = DefensiveMixture(
        proposal=q,
        safety=_safety(options, q, x, particles),
        share=options.share,
        strata=particles,
    )
    z = mixture.sample((particles,))
    with torch.no_grad():
        log_m = mixture.log_prob(z).double()
        log_q = q.log_prob(z).double()
    step = off_policy(
        z,
        None,
        log_joint,
        q,
        x,
        divergence=divergence,
        path=path,
        baseline=baseline,
        log_sampler=log_m,
        stabiliser=Truncation(),
    )
    own = particles - round(mixture.exact_share * particles)
    return step, _tails((step.log_w + log_m - log_q)[:own])


def _safety(options: Controller, q: Any, x: Any, particles: int) -> Any:
    given = options.safety
    if given is not None:
        if callable(getattr(given, "log_prob", None)):
            return given
        return given() if x is None else given(x)
    draws = q.sample(torch.Size([particles]))
    centre, spread = draws.mean(0), draws.std(0)
    smallest = torch.finfo(draws.dtype).tiny
    return Independent(StudentT(3.0, centre, 2.0 * spread + smallest), 1)


def _aim(chosen: Estimator) -> tuple[Divergence, bool, bool]:
    """Return the divergence of an estimator, whether by paths, and whether with a baseline."""
    if isinstance(chosen, Formula) and chosen.rule in (c.divergence_path, c.divergence_score):
        parameters: dict[str, Any] = dict(chosen.parameters)
        return parameters["divergence"], chosen.needs_path, bool(parameters.get("baseline", False))
    raise ValueError(
        "safe draws need the estimator of a divergence, such as 'aisle-kl', 'aisle-chi2' or "
        f"'rws'; got {chosen.name!r}; or leave them out by Controller(share=0.0)"
    )


def _check_safe(options: Controller, q: Any, chosen: Estimator) -> None:
    """Raise at the first step rather than at the first that needs safe draws."""
    _, path, _ = _aim(chosen)
    draws = q.sample(torch.Size([2]))
    event = tuple(getattr(q, "event_shape", ()))
    if len(event) != 1:
        raise ValueError(
            "safe draws need latents that are vectors, event shape (d,); got event shape "
            f"{event}; use torch.distributions.Independent(q, 1), or leave them "
            "out by Controller(share=0.0)"
        )
    follows = draws.is_floating_point() and getattr(q, "has_rsample", True)
    if options.safety is None and not follows:
        raise ValueError(
            "discrete latents need a safe distribution, such as the prior: Controller(safety=...);"
            " or leave safe draws out by Controller(share=0.0)"
        )
    if path:
        replay(q, draws)


def _tails(log_w: Tensor) -> Tensor:
    """Return the shape of the tail of log-weights (K, ...) of each datapoint, shape (...)."""
    return torch.as_tensor(_UNSMOOTHED.apply(log_w).khat, device=log_w.device)
