"""Particle filters: a state-space model run through the one loop, and what the run returns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from aisle_kernels.genealogy import lineages
from aisle_kernels.weights import largest, normalise

from aisle_smc.arguments import check_count, check_resampler, check_threshold
from aisle_smc.arrays import Floats, Integers
from aisle_smc.diagnostics import LagVariance, distinct_ancestors
from aisle_smc.genealogy import AncestorTree
from aisle_smc.particles import Particles
from aisle_smc.resampling import Resampler, optimal, systematic
from aisle_smc.smc import smc
from aisle_smc.ssm.description import Model
from aisle_smc.ssm.proposals import Bootstrap, Proposal, check_proposal
from aisle_smc.ssm.stage import FilterStage, degenerate
from aisle_smc.streams import stream

__all__ = ["FilterResult", "particle_filter"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class FilterResult:
    """What a particle filter learnt about the states and the evidence.

    Attributes
    ----------
    log_evidence : float
        Log of the unbiased evidence estimate, in nats.
    log_evidence_error : float
        Its standard error in nats, estimated from this one run (see
        :class:`aisle_smc.diagnostics.LagVariance`); NaN for a single particle.
    log_evidence_increments : ndarray, shape (T,)
        ``log p(y_t | y_0, ..., y_{t-1})`` estimates; they add up to `log_evidence`.
    mean, variance : ndarray, shape (T,) or (T, d)
        Filtering moments of the state.
    quantile_levels : tuple of float
        Levels of `quantiles`.
    quantiles : ndarray, shape (T, k) or (T, k, d)
        Filtering quantiles of each component.
    ess : ndarray, shape (T,)
        Effective sample sizes.
    resampled : ndarray of bool, shape (T,)
        At which times the particles were resampled before they moved.
    particles : Particles
        The last population.
    tree : AncestorTree or None
        The surviving paths (``keep="tree"``).
    history : tuple or None
        States (T, n, ...), log-weights (T, n) and ancestors (T, n) (``keep="all"``).
    """

    model: Model
    params: Any
    y: Floats
    u: Floats
    log_evidence: float
    log_evidence_error: float
    log_evidence_increments: Floats
    mean: Floats
    variance: Floats
    quantile_levels: tuple[float, ...]
    quantiles: Floats
    ess: Floats
    resampled: Any
    particles: Particles
    tree: AncestorTree | None = None
    history: tuple[Floats, Floats, Integers] | None = None

    @property
    def n(self) -> int:
        """Number of particles."""
        return self.particles.n

    def paths(self, m: int, *, seed: int = 0) -> Floats:
        """Draw `m` state trajectories from the surviving lineages.

        Parameters
        ----------
        m : int
            How many.
        seed : int
            Seed of the draw.

        Returns
        -------
        ndarray, shape (m, T) or (m, T, d)
            Trajectories; far in the past they share ancestors, see :attr:`tree`.

        Raises
        ------
        ValueError
            If the filter kept no paths.
        """
        check_count("m", m)
        w = self.particles.weights
        chosen = systematic.draw(w, m, stream(seed))[0]
        if self.tree is not None:
            paths = self.tree.paths(chosen)
            return paths[:, :, 0] if self.mean.ndim == 1 else paths
        if self.history is not None:
            x, _, ancestors = self.history
            index = np.empty((m, x.shape[0]), dtype=np.int64)
            lineages(ancestors[1:], chosen, index)
            return np.array(x[np.arange(x.shape[0]), index])
        raise ValueError('paths() needs keep="tree" or keep="all"; this filter kept moments')

    def distinct_ancestors(self) -> Integers:
        """Count, for every time, the particles from which the last population descends.

        Returns
        -------
        ndarray of int, shape (T,)
            Where it is small, what the paths say of that time rests on that many states.

        Raises
        ------
        ValueError
            If the filter did not keep everything.
        """
        if self.history is None:
            raise ValueError('distinct_ancestors() needs keep="all"')
        return distinct_ancestors(list(self.history[2][1:]), self.n)

    def to_xarray(self) -> Any:
        """Return the per-time results as an ``xarray.Dataset`` (needs the ``report`` extra)."""
        from aisle_smc.results import filter_dataset

        return filter_dataset(self)

    def plot(self, truth: Floats | None = None) -> Any:
        """Draw states with bands, observations, increments and ESS; return the figure."""
        from aisle_smc.plots import plot_filter

        return plot_filter(self, truth=truth)

    def __repr__(self) -> str:
        name = self.model.name or "a state-space model"
        low = int(np.argmin(self.ess))
        return (
            f"FilterResult: {name}, {self.y.shape[0]} times, {self.n} particles\n"
            f"  log-evidence {self.log_evidence:.3f} +- {self.log_evidence_error:.3f}\n"
            f"  ESS {self.ess.min():.0f} to {self.ess.max():.0f} (least at t = {low}), "
            f"resampled {int(self.resampled.sum())} times"
        )


@dataclass(slots=True)
class _Record:
    """What is written down at each time while the filter runs."""

    length: int
    n: int
    width: int
    levels: Floats
    keep: str
    evidence: LagVariance = field(init=False)
    log_evidences: Floats = field(init=False)
    mean: Floats = field(init=False)
    variance: Floats = field(init=False)
    quantiles: Floats = field(init=False)
    ess: Floats = field(init=False)
    resampled: Any = field(init=False)
    tree: AncestorTree | None = None
    history: tuple[Floats, Floats, Integers] | None = None

    def __post_init__(self) -> None:
        d, shape = max(self.width, 1), (self.length,)
        self.evidence = LagVariance()
        self.log_evidences, self.ess = np.empty(shape), np.empty(shape)
        self.mean, self.variance = np.empty((*shape, d)), np.empty((*shape, d))
        self.quantiles = np.empty((*shape, self.levels.size, d))
        self.resampled = np.zeros(shape, dtype=bool)
        if self.keep == "tree":
            self.tree = AncestorTree(self.n, d)
        if self.keep == "all":
            states = (self.n, self.width) if self.width else (self.n,)
            self.history = (
                np.empty((*shape, *states)),
                np.empty((*shape, self.n)),
                np.empty((*shape, self.n), dtype=np.int64),
            )

    def write(self, t: int, particles: Particles, log_drawn: Floats | None) -> None:
        """Record the population of time `t` and the log-weights its ancestors were drawn by."""
        ancestors = particles.ancestors
        w = np.empty(self.n)
        self.log_evidences[t] = particles.log_z + normalise(particles.log_w, w)
        self.ess[t] = particles.ess
        self.resampled[t] = ancestors is not None
        drawn = None
        if log_drawn is not None:
            drawn = np.empty(self.n)
            normalise(log_drawn, drawn)
        self.evidence.update(w, ancestors, drawn)
        states = columns = particles.x.reshape(self.n, -1)
        if not np.isfinite(columns).all():
            # A state that weighs nothing may be infinite: it would make NaN of the sums.
            columns = np.where(w[:, None] > 0.0, columns, 0.0)
            if np.isnan(columns).any():
                i = int(np.argwhere(np.isnan(columns))[0][0])
                raise ValueError(
                    f"a state is NaN at time {t}, particle {i}: {columns[i]}; does a function use "
                    "a missing observation (y_prev is NaN after one)?"
                )
        self.mean[t] = w @ columns
        self.variance[t] = w @ (columns - self.mean[t]) ** 2
        if self.levels.size:
            for k in range(columns.shape[1]):
                self.quantiles[t, :, k] = weighted_quantiles(columns[:, k], w, self.levels)
        if self.tree is not None:
            self.tree.insert(states, ancestors)
        if self.history is not None:
            self.history[0][t] = particles.x
            self.history[1][t] = particles.log_w
            self.history[2][t] = np.arange(self.n) if ancestors is None else ancestors


def particle_filter(
    model: Model,
    params: Any,
    y: Any,
    n: int = 1000,
    *,
    u: Any = None,
    proposal: Proposal = Bootstrap(),  # noqa: B008 - a frozen value
    resampler: Resampler = systematic,
    threshold: float = 0.5,
    keep: Literal["moments", "tree", "all"] = "moments",
    quantiles: Sequence[float] = (0.05, 0.5, 0.95),
    progress: bool = False,
    seed: int = 0,
) -> FilterResult:
    """Run a particle filter over a series.

    Parameters
    ----------
    model : StateSpaceModel, VectorModel or PythonModel
        The model.
    params : NamedTuple, mapping or sequence
        Its parameters.
    y : array_like, shape (T,) or (T, k)
        Observations, NaN where missing; the state of index 0 belongs to the first.
    n : int
        Number of particles.
    u : array_like, optional
        Covariates, one row for each time, if the model declares them.
    proposal : Bootstrap, Guided or Auxiliary
        How particles are proposed.
    resampler : Resampler
        How offspring are drawn.
    threshold : float
        Resample when the effective sample size falls below ``threshold * n``.
    keep : {"moments", "tree", "all"}
        Moments only; also the surviving paths, in memory of order ``n log n + T``; or everything.
    quantiles : sequence of float
        Levels of the filtering quantiles to record; empty to save their sorting.
    progress : bool
        Show a progress bar.
    seed : int
        The same seed gives the same bits.

    Returns
    -------
    FilterResult

    Raises
    ------
    ValueError, TypeError
        For bad input, before any work, and for a NaN density.
    DegenerateWeights
        If every particle has weight zero; the report says when and how close the best came.

    References
    ----------
    Gordon, Salmond and Smith (1993); Pitt and Shephard (1999); Chopin and Papaspiliopoulos
    (2020), An Introduction to Sequential Monte Carlo, algorithms 10.1 to 10.3.
    """
    check_count("n", n)
    check_proposal(proposal)
    check_resampler(resampler)
    check_threshold(threshold)
    if keep not in ("moments", "tree", "all"):
        raise ValueError(f'keep must be "moments", "tree" or "all"; got {keep!r}')
    if resampler is optimal:
        raise ValueError(
            "the optimal scheme selects fewer particles than it is given; a filter of constant "
            "size needs one of the others, for example systematic"
        )
    levels = np.asarray(quantiles, dtype=np.float64)
    if levels.ndim != 1 or not ((levels >= 0) & (levels <= 1)).all():
        raise ValueError(f"quantiles must be levels between 0 and 1; got {quantiles}")
    series = model.observations(y)
    rows = model.covariate_rows(u, series.shape[0])
    p = model.parameters(params)
    bound = model.bind(p, series, rows, guided=proposal.guided, auxiliary=proposal.auxiliary)
    record = _Record(series.shape[0], n, model._layouts[0].width, levels, keep)
    rng, before = stream(seed), None
    steps: Iterable[tuple[FilterStage, Particles]] = smc(
        FilterStage(bound=bound), n, rng, resampler=resampler, threshold=threshold
    )
    if progress:
        from tqdm.auto import tqdm

        steps = tqdm(steps, total=series.shape[0], unit="time", desc="filter")
    for stage, particles in steps:
        if largest(particles.log_w) == -math.inf:
            raise degenerate(model, p, series, stage, particles, record.ess, before)
        log_drawn = None
        if proposal.auxiliary and particles.ancestors is not None and before is not None:
            log_eta = stage.lookahead(before)
            log_drawn = None if log_eta is None else before.log_w + log_eta
        record.write(stage.t, particles, log_drawn)
        before = particles
    flat = model._layouts[0].width == 0
    return FilterResult(
        model=model,
        params=p,
        y=series,
        u=rows,
        log_evidence=float(record.log_evidences[-1]),
        log_evidence_error=record.evidence.error,
        log_evidence_increments=np.diff(record.log_evidences, prepend=0.0),
        mean=record.mean[:, 0] if flat else record.mean,
        variance=record.variance[:, 0] if flat else record.variance,
        quantile_levels=tuple(levels.tolist()),
        quantiles=record.quantiles[:, :, 0] if flat else record.quantiles,
        ess=record.ess,
        resampled=record.resampled,
        particles=particles,
        tree=record.tree,
        history=record.history,
    )


def weighted_quantiles(x: Floats, w: Floats, levels: Floats) -> Floats:
    """Return the smallest values whose cumulative normalised weight reaches each level."""
    order = np.argsort(x)
    cumulative = np.cumsum(w[order])
    index = np.searchsorted(cumulative, levels * cumulative[-1])
    return np.asarray(x[order[np.minimum(index, x.shape[0] - 1)]])
