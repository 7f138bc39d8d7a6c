"""What Markov chains return: draws of parameters and states, and how far to trust them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from aisle_smc.arrays import Array, Floats
from aisle_smc.ssm.marginal import MarginalEvidence, marginal_evidence
from aisle_smc.ssm.proposals import Bootstrap, Proposal
from aisle_smc.summary import Row, Summary

__all__ = ["Posterior", "Row", "Summary"]

COLUMNS = ("mean", "sd", "hdi_3%", "hdi_97%", "ess_bulk", "ess_tail", "r_hat", "mcse_mean")
# Vehtari, Gelman, Simpson, Carpenter and Burkner (2021).
R_HAT_AT_MOST = 1.01
ESS_PER_CHAIN = 100.0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Posterior:
    """Draws of parameters and states from their joint posterior.

    Attributes
    ----------
    model : StateSpaceModel, VectorModel or PythonModel
        What was fitted.
    y, u : ndarray
        The observations, and the covariates as they were given.
    n : int
        Particles of each filter.
    names : tuple of str
        The parameters drawn; constants are not among them.
    parameters : ndarray, shape (chains, draws, k)
        Their draws, in the order of `names`.
    states : ndarray, shape (chains, draws, T) or (chains, draws, T, d)
        One trajectory with each draw.
    log_likelihood : ndarray, shape (chains, draws, T)
        Estimates of ``log p(y_t | y_0, ..., y_{t-1}, theta)``, in nats; they sum to
        `log_evidences`.
    log_evidences : ndarray, shape (chains, draws)
        The estimates that the chain stood on, which are not unbiased.
    log_prior : ndarray, shape (chains, draws)
        Log prior densities of the parameters, in nats.
    accepted : ndarray of bool, shape (chains, draws)
        Whether the proposal was accepted.
    acceptance : ndarray, shape (chains,)
        Share of proposals accepted.
    degenerate : ndarray of int, shape (chains,)
        How many proposals had an evidence estimate of zero.
    proposal : Bootstrap, Guided or Auxiliary
        How the filters proposed particles.
    log_evidence_sd : float
        Standard deviation of the log-evidence at a central point with `n` particles, NaN if the
        run was not tuned.
    seconds : float
        Time the run took, all its parts together.
    seed : int
        Its seed.
    evidence : MarginalEvidence or None
        The model's evidence, once estimated; see :attr:`log_evidence`.
    """

    model: Any
    y: Floats
    u: Any
    n: int
    names: tuple[str, ...]
    parameters: Floats
    states: Array
    log_likelihood: Floats
    log_evidences: Floats
    log_prior: Floats
    accepted: npt.NDArray[np.bool_]
    acceptance: Floats
    degenerate: npt.NDArray[Any]
    proposal: Proposal = Bootstrap()  # noqa: RUF009 - a frozen value
    log_evidence_sd: float = float("nan")
    seconds: float = 0.0
    seed: int = 0
    evidence: MarginalEvidence | None = None
    _found: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __getitem__(self, name: str) -> Floats:
        """Return the draws of one parameter, shape (chains, draws)."""
        if name not in self.names:
            raise KeyError(f"no parameter {name!r}; drawn were {', '.join(self.names)}")
        return np.asarray(self.parameters[..., self.names.index(name)])

    def summary(self) -> Summary:
        """Return means, spreads, intervals and diagnostics (needs the ``report`` extra).

        Raises
        ------
        ImportError
            If ArviZ is not installed.
        """
        if "summary" not in self._found:
            self._found["summary"] = _summarise(self.names, self.parameters)
        return self._found["summary"]  # type: ignore[no-any-return]

    @property
    def log_evidence(self) -> MarginalEvidence:
        """The model's log-evidence, estimated when first asked for.

        See :func:`aisle_smc.ssm.marginal.marginal_evidence`.
        """
        if self.evidence is not None:
            return self.evidence
        if "evidence" not in self._found:
            self._found["evidence"] = marginal_evidence(self, seed=self.seed)
        return self._found["evidence"]  # type: ignore[no-any-return]

    def with_evidence(
        self, draws: int = 1000, *, seed: int = 0, workers: int | None = None
    ) -> Posterior:
        """Return this posterior with its `evidence` estimated from `draws` new parameters."""
        found = marginal_evidence(self, draws=draws, seed=seed, workers=workers)
        return replace(self, evidence=found)

    def to_arviz(self) -> Any:
        """Return everything as an ``xarray.DataTree`` in ArviZ's conventions.

        Groups: posterior (parameters and states), posterior_predictive (if the model has
        ``observe``), log_likelihood, sample_stats, observed_data, constant_data (covariates).
        Needs the ``report`` extra; ``.to_netcdf(path)`` writes it to a file.
        """
        from aisle_smc.results import posterior_datatree

        return posterior_datatree(self)

    def forecast(self, h: int, *, u: Any = None, seed: int = 0, draws: int = 1000) -> Any:
        """Draw states and observations `h` steps ahead: :func:`aisle_smc.ssm.forecast`."""
        from aisle_smc.ssm.forecast import forecast

        return forecast(self, h, u=u, seed=seed, draws=draws)

    def plot_pairs(self) -> Any:
        """Draw the parameters against each other; return the figure."""
        from aisle_smc.plots import plot_pairs

        return plot_pairs(self)

    def plot_traces(self) -> Any:
        """Draw every chain's trace; return the figure."""
        from aisle_smc.plots import plot_traces

        return plot_traces(self)

    def plot_states(self, *, view: Any = None) -> Any:
        """Draw the states with bands over the observations; return the figure.

        `view` is an :class:`aisle_smc.plots.View`: dates, units, a scale for the state.
        """
        from aisle_smc.plots import View, plot_states

        return plot_states(self, view=View() if view is None else view)

    def plot_forecast(self, h: int, *, u: Any = None, view: Any = None) -> Any:
        """Draw the predictive distribution of the next `h` steps; return the figure.

        `u` holds the `h` rows of covariates to come, if the model has any; `view` is as in
        :meth:`plot_states`.
        """
        from aisle_smc.plots import View, plot_forecast

        return plot_forecast(self, h, u=u, view=View() if view is None else view)

    def __repr__(self) -> str:
        chains, draws, k = self.parameters.shape
        name = self.model.name or "a state-space model"
        lines = [
            f"Posterior: {name}, {self.y.shape[0]} times, {k} parameters, "
            f"{chains} chains of {draws} draws, {self.n} particles"
        ]
        lines += [f"  {line}" for line in _judge(self)]
        return "\n".join(lines)


def _summarise(names: tuple[str, ...], parameters: Floats) -> Summary:
    try:
        import arviz_stats
        from arviz_base import from_dict
    except ImportError as error:
        raise ImportError(
            f"a summary needs ArviZ ({error}); install it: pip install 'aisle-smc[report]'"
        ) from None
    draws = {name: parameters[..., k] for k, name in enumerate(names)}
    data = from_dict({"posterior": draws})
    untyped: Any = arviz_stats
    # A chain that never moved has no R-hat: NaN says so without a warning.
    with np.errstate(all="ignore"):
        table = untyped.summary(data, round_to="none")
    rows = []
    for name in names:
        values = {c: float(table.loc[name, c]) for c in COLUMNS if not c.startswith("hdi")}
        # In arviz_stats 0.8.0 the table's "hdi" columns hold equal-tailed intervals.
        ends = untyped.hdi(draws[name].reshape(-1), prob=0.94)
        values |= {"hdi_3%": float(ends[0]), "hdi_97%": float(ends[1])}
        rows.append(Row(name, {c: values[c] for c in COLUMNS}))
    return Summary(tuple(rows), COLUMNS)


def _judge(posterior: Posterior) -> list[str]:
    """Say in words how far to trust the draws."""
    chains = posterior.parameters.shape[0]
    lines = []
    try:
        rows = posterior.summary().rows
    except ImportError:
        lines.append("R-hat and ESS need ArviZ: pip install 'aisle-smc[report]'")
    else:
        r_hat = [row.values["r_hat"] for row in rows]
        ess = [min(row.values["ess_bulk"], row.values["ess_tail"]) for row in rows]
        worst = int(np.argmax(np.nan_to_num(r_hat, nan=np.inf)))
        least = int(np.argmin(np.nan_to_num(ess, nan=-np.inf)))
        text = (
            f"worst R-hat {r_hat[worst]:.3f} ({rows[worst].name}), "
            f"least ESS {ess[least]:.0f} ({rows[least].name}): "
        )
        if not r_hat[worst] <= 1.05:
            text += "the chains disagree; do not use these draws: run longer, or narrow the prior"
        elif not (r_hat[worst] <= R_HAT_AT_MOST and ess[least] >= ESS_PER_CHAIN * chains):
            text += "fit for a look; draw more before quoting intervals"
        else:
            text += "the chains agree"
        lines.append(text)
    share = posterior.acceptance
    text = f"acceptance {share.min():.2f} to {share.max():.2f}"
    if np.isfinite(posterior.log_evidence_sd):
        text += f", log-evidence sd {posterior.log_evidence_sd:.2f} at a central point"
    if share.min() < 0.05 or posterior.log_evidence_sd > 2.0:
        text += "; low or noisy: use more particles"
    lines.append(text)
    lost = int(posterior.degenerate.sum())
    if lost:
        lines.append(
            f"{lost} of {posterior.accepted.size} proposals had an evidence estimate of zero"
            + ("; use more particles" if lost > 0.05 * posterior.accepted.size else "")
        )
    found = posterior.evidence or posterior._found.get("evidence")
    if found is not None:
        lines.append(str(found))
    return lines
