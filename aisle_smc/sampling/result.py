"""What :func:`aisle_smc.sample` returns: posterior, evidence, and how far to trust them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aisle_smc.arrays import Floats
from aisle_smc.sampling.aim import Aim
from aisle_smc.sampling.estimates import Estimate
from aisle_smc.sampling.growth import GROWTH
from aisle_smc.sampling.session import Session
from aisle_smc.sampling.trace import Step
from aisle_smc.summary import Summary
from aisle_smc.targets import Target
from aisle_smc.weighted import WeightedDraws
from aisle_smc.weighted.statistics import VARIANCE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SampleResult"]

# Two estimates disagree when they are farther apart than this many of their joint errors.
DISAGREE = 4.0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class SampleResult:
    """A weighted sample of a posterior, with its log-evidence.

    Attributes
    ----------
    posterior : WeightedDraws
        The weighted draws by name; whatever is selected from them carries no evidence.
    log_evidence : float
        Log of the integral of prior times likelihood, or of the bare density, in nats.
    log_evidence_error : float
        Its standard error, in nats.
    method : str
        Where the evidence comes from: "draws" (independent draws of a frozen proposal: unbiased),
        "replicates" (samplers that no longer adapt: unbiased) or "pool" (exploring alone: neither
        unbiased nor with an error that knows of all its parts).
    estimates : mapping from str to Estimate
        Every estimate there is, by method.
    khat : float
        Shape of the tail of the weights: below 0.5 they have a variance, above 0.7 they cannot be
        trusted.
    evaluations : int
        Evaluations of the target; after :meth:`reweight` those of the changed one alone.
    seconds : mapping from str to float
        Where the time went: "target" inside the user's function, "fitting" proposals and kernels,
        and the phases "guessing", "exploring", "drawing" and "replicating", which include both;
        or "reweighting".  Those of the target are added up over workers, and may exceed the rest.
    trace : tuple of Step
        The run stage by stage.
    stopped : str or None
        The limit that ended the run early, if one did: "max_evaluations" or "max_seconds"; or
        "growth", of a density that seems to have no finite integral.
    log_likelihood : ndarray, shape (n,)
        What the target gave at the weighted draws, in nats.
    dialect : str
        What kind of function the target is.
    notes : tuple of str
        What to know of how it was evaluated: workers that were not there, a gradient that failed,
        a file that was damaged.
    aim : Aim
        What was asked for.
    hidden : float
        Share of the mass that the exploration saw at places where the draws have not been.
    """

    posterior: WeightedDraws
    log_evidence: float
    log_evidence_error: float
    method: str
    estimates: Mapping[str, Estimate]
    khat: float
    evaluations: int
    seconds: Mapping[str, float]
    trace: tuple[Step, ...]
    stopped: str | None
    log_likelihood: Floats
    dialect: str
    notes: tuple[str, ...]
    aim: Aim
    hidden: float
    _log_w: Floats = field(repr=False)
    _again: Callable[[Aim], SampleResult] = field(repr=False)
    _session: Session = field(repr=False)

    # --- the posterior ------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters."""
        return tuple(self.posterior.names)

    @property
    def x(self) -> Floats:
        """The weighted draws, shape (n, d)."""
        return self.posterior.x

    @property
    def weights(self) -> Floats:
        """Their normalised weights, shape (n,)."""
        return self.posterior.weights

    @property
    def blobs(self) -> Any:
        """What else the target returned for each draw, or None."""
        return self.posterior.blobs

    @property
    def ess(self) -> float:
        """Effective sample size of the weighted draws."""
        return self.posterior.ess

    @property
    def mean(self) -> Floats:
        """Posterior means, shape (d,)."""
        return self.posterior.mean

    @property
    def sd(self) -> Floats:
        """Posterior standard deviations, shape (d,)."""
        return self.posterior.sd

    @property
    def covariance(self) -> Floats:
        """Posterior covariance, shape (d, d)."""
        return self.posterior.covariance

    def quantile(self, q: float | Sequence[float] | Floats) -> Floats:
        """Return posterior quantiles, shape (d,) or (len(q), d)."""
        return self.posterior.quantile(q)

    def draws(self, n: int, seed: int = 0) -> Floats:
        """Return `n` equally weighted draws, shape (n, d)."""
        return self.posterior.draws(n, seed)

    def expect(self, f: Callable[[Floats], Any]) -> Any:
        """Return the posterior mean of a function of all draws, (n, d) to (n, ...)."""
        return self.posterior.expect(f)

    def standard_error(self, f: Callable[[Floats], Any]) -> Any:
        """Return the Monte Carlo standard error of :meth:`expect`.

        See :meth:`aisle_smc.weighted.WeightedDraws.standard_error`.  Replicates count as
        independent samplers, each with its share of the evidence, and an exploration by its
        islands.
        """
        return self.posterior.standard_error(f)

    def __getitem__(self, name: str) -> Floats:
        """Return the weighted draws of one parameter, shape (n,)."""
        return self.posterior[name]

    def summary(self) -> Summary:
        """Return means, spreads, intervals and Monte Carlo errors by parameter."""
        return self.posterior.summary()

    def to_arviz(self) -> Any:
        """Return an ``xarray.DataTree`` in ArviZ's conventions (needs the ``report`` extra)."""
        tree = self.posterior.to_arviz()
        tree.attrs.update(
            log_evidence=self.log_evidence,
            log_evidence_error=self.log_evidence_error,
            log_evidence_method=self.method,
            evaluations=self.evaluations,
        )
        return tree

    def plot_pairs(self) -> Figure:
        """Draw every parameter and every pair of them."""
        return self.posterior.plot_pairs()

    def plot_run(self) -> Figure:
        """Draw the run: evidence, temperature, effective sample size, acceptance."""
        from aisle_smc.plots import plot_run

        return plot_run(self)

    # --- more ---------------------------------------------------------------------------------

    def refine(
        self,
        *,
        ess: float | None = None,
        evidence_error: float | None = None,
        max_evaluations: int | None = None,
        max_seconds: float | None = None,
    ) -> SampleResult:
        """Go on where the run stopped, and return a better result.

        Parameters
        ----------
        ess, evidence_error : float, optional
            What to reach; by default what was asked for before.
        max_evaluations : int, optional
            Evaluations in all, those already made included.
        max_seconds : float, optional
            Seconds from now.

        Returns
        -------
        SampleResult
            Draws from a frozen proposal are those that one call with the higher aims would have
            given, unless that call had not explored a second time; replicates may be more.  This
            result stays as it is, and can be refined again: the same aims give the same bits.
        """
        return self._again(
            Aim(
                ess=self.aim.ess if ess is None else ess,
                evidence_error=(
                    self.aim.evidence_error if evidence_error is None else evidence_error
                ),
                max_evaluations=max_evaluations,
                max_seconds=max_seconds,
                patience=self.aim.patience + 1,
            )
        )

    def reweight(
        self, target: Target | Callable[..., Any] | None = None, *, prior: Any = None
    ) -> SampleResult:
        """Return the result for a changed likelihood or prior, without drawing again.

            w'_i = w_i exp(f'(theta_i) - f(theta_i)) p'(theta_i) / p(theta_i)

        Parameters
        ----------
        target : callable or Target, optional
            The new log-likelihood, called as the old one was; the old one by default.
        prior : mapping or Prior, optional
            New priors of the same parameters; the old ones by default.

        Returns
        -------
        SampleResult
            With the evidence of the new posterior; its k-hat says whether the old draws cover it.

        Raises
        ------
        ValueError
            If the draws do not come from a frozen proposal, or the new prior has other parameters.

        References
        ----------
        Vehtari et al. (2024), Pareto smoothed importance sampling, for the k-hat.
        """
        from aisle_smc.sampling.reweighting import reweighted

        return reweighted(self, target, prior)

    # --- words --------------------------------------------------------------------------------

    @property
    def trusted(self) -> bool:
        """Whether nothing found speaks against the evidence and its error."""
        return not self._doubts()

    def _doubts(self) -> list[str]:
        """Return in words what speaks against the result."""
        doubts = []
        if self.stopped == GROWTH:
            doubts.append(
                "stopped, for its population only grows, as that of a density without a finite "
                "integral does; a prior or bounds would rule that out, and first draws (init) "
                "that are as wide as the density"
            )
        elif self.stopped is not None:
            doubts.append(f"stopped by {self.stopped} before it was done")
        if self.method == "pool":
            doubts.append(
                "nothing but the exploration: its evidence is not unbiased and its error "
                "leaves out what adapting did; refine() goes on"
            )
        even = self.estimates[self.method].even
        if self.method == "draws" and not (even or self.khat < 0.7):
            doubts.append(f"k-hat {self.khat:.2f} says the weights have no reliable mean")
        elif self.method == "draws" and not (even or self.khat < VARIANCE):
            doubts.append(
                f"k-hat {self.khat:.2f} says the weights hardly have a variance: the error may be "
                "too small"
            )
        if self.hidden > self.log_evidence_error:
            doubts.append(
                f"the exploration saw {self.hidden:.1%} of the mass where the draws have hardly "
                "been: the evidence may be too low by as much"
            )
        if self.method == "reweighted" and not (even or self.khat < 0.7):
            doubts.append(
                f"k-hat {self.khat:.2f} says that the old draws do not cover the new posterior: "
                "sample it afresh"
            )
        if self.estimates[self.method].dominated and self.khat < VARIANCE:
            doubts.append(
                "one draw makes more than a fifth of the variance of the weights: the error rests "
                "on it and may be too small"
            )
        drawn = self.estimates.get("draws")
        heavy = drawn is not None and not (drawn.even or drawn.khat < 0.7)
        if heavy and not self._session.found.proper:
            doubts.append(
                "the tail of the weights may be that of a density without a finite integral; a "
                "prior or bounds would rule that out"
            )
        uneven = math.isfinite(self.khat) and not self.khat < 0.7
        if self.method == "replicates" and (uneven or not self.log_evidence_error < 0.5):
            doubts.append("the replicates differ too much for their mean to be known")
        elif self.method == "replicates" and not math.isfinite(self.khat):
            doubts.append("so few replicates do not show whether some would be far larger")
        other = self.estimates.get("draws"), self.estimates.get("replicates")
        if other[0] is not None and other[1] is not None:
            gap = abs(other[0].log_evidence - other[1].log_evidence)
            joint = math.hypot(other[0].error, other[1].error)
            if gap > DISAGREE * joint:
                doubts.append(
                    f"two estimates disagree: draws {other[0].log_evidence:.3f} +- "
                    f"{other[0].error:.3f}, replicates {other[1].log_evidence:.3f} +- "
                    f"{other[1].error:.3f}; one that misses a part of the posterior is too low"
                )
        return doubts

    def __repr__(self) -> str:
        how = {
            "reweighted": "from the draws of another posterior",
            "draws": "from independent draws of a frozen proposal",
            "replicates": "from samplers that no longer adapt",
            "pool": "from the exploration alone",
        }[self.method]
        if self._higher_of_two:
            how += ", the higher of two estimates, which errs upwards if neither misses a part"
        khat = f", k-hat {self.khat:.2f}" if math.isfinite(self.khat) else ""
        if self.khat >= VARIANCE and self.estimates[self.method].even:
            khat += " but no weight stands out"
        doubts = self._doubts()
        lines = [
            f"SampleResult: {len(self.names)} parameters, {self.posterior.n} weighted draws, "
            f"ESS {self.ess:.0f}",
            f"  log-evidence {self.log_evidence:.3f} +- {self.log_evidence_error:.3f} "
            f"({how}{khat})",
            "  " + ("; ".join(doubts) if doubts else "nothing found speaks against either"),
            *self._short_of_the_aim(),
            self._cost(),
        ]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    @property
    def _higher_of_two(self) -> bool:
        """Whether the estimate was chosen because it is the higher one."""
        both = {"draws", "replicates"} <= set(self.estimates)
        return both and not self._session.found.trusted

    def _short_of_the_aim(self) -> list[str]:
        """Return in words what replicates have not reached."""
        if self.method != "replicates" or self.stopped is not None:
            return []
        short = []
        if self.ess < self.aim.ess:
            short.append(f"ESS {self.ess:.0f} of {self.aim.ess:.0f}")
        if self.log_evidence_error > self.aim.evidence_error:
            short.append(f"error {self.log_evidence_error:.3f} of {self.aim.evidence_error:g}")
        if not short:
            return []
        return [f"  less than was asked for ({', '.join(short)}); refine() makes more replicates"]

    def _cost(self) -> str:
        """Say in words what the result cost."""
        target = f"{self.seconds['target']:.1f} s in the target"
        if self.method == "reweighted":
            return (
                f"  {self.evaluations} evaluations more ({self.dialect}) in "
                f"{self.total_seconds:.1f} s, of which {target}"
            )
        line = (
            f"  {self.evaluations} evaluations ({self.dialect}) in {self.total_seconds:.1f} s, "
            "of which "
        )
        fitting = f"{self.seconds['fitting']:.1f} s fitting proposals"
        workers = self._session.posterior.evaluator.workers
        if workers == 1:
            return f"{line}{target} and {fitting}"
        return f"{line}{fitting}; {target}, added up over {workers} workers"

    @property
    def total_seconds(self) -> float:
        """Seconds of the whole run."""
        return sum(
            taken for phase, taken in self.seconds.items() if phase not in ("target", "fitting")
        )
