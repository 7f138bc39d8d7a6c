"""The log-evidence of a state-space model by the fused filter: no interpreter inside."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from aisle_kernels.fused import evidence_loop
from aisle_kernels.genealogy import lineages
from aisle_kernels.hilbert import hilbert_order

from aisle_smc.arguments import check_count, check_threshold
from aisle_smc.arrays import Floats
from aisle_smc.resampling import Scheme, systematic
from aisle_smc.smc import smc
from aisle_smc.ssm.description import Bound
from aisle_smc.ssm.model import StateSpaceModel
from aisle_smc.ssm.proposals import Bootstrap, Proposal, check_proposal
from aisle_smc.ssm.stage import FilterStage, nan_density
from aisle_smc.streams import stream

__all__ = ["EvidenceFilter", "log_evidence", "log_evidences"]


class EvidenceFilter:
    """A filter with its work space, to be run again and again on one series.

    Compiled models run fused; models of other dialects run through the same loop as
    :func:`aisle_smc.ssm.particle_filter`, to the same bits.

    Parameters
    ----------
    model : StateSpaceModel, VectorModel or PythonModel
        The model.
    y : array_like, shape (T,) or (T, k)
        Observations, NaN where missing.
    n : int
        Number of particles.
    u : array_like, optional
        Covariates, one row for each time.
    proposal, resampler, threshold
        As in :func:`aisle_smc.ssm.particle_filter`.
    keep_paths : bool
        Keep states and ancestors of the last run, so that :meth:`path` can draw a trajectory.
    sort : bool
        Resample the particles in the order of their states (Hilbert order if there are several
        components), so that runs with nearly equal random numbers give nearly equal evidences.

    Attributes
    ----------
    log_evidences : ndarray, shape (T,)
        Log-evidence of observations 0 to t in the last run.
    ess : ndarray, shape (T,)
        Effective sample sizes in the last run.
    """

    def __init__(
        self,
        model: Any,
        y: Any,
        n: int,
        *,
        u: Any = None,
        proposal: Proposal = Bootstrap(),  # noqa: B008 - a frozen value
        resampler: Scheme = systematic,
        threshold: float = 0.5,
        keep_paths: bool = False,
        sort: bool = False,
    ) -> None:
        check_count("n", n)
        check_proposal(proposal)
        check_threshold(threshold)
        if not isinstance(resampler, Scheme):
            raise TypeError(
                "resampler must be one of multinomial, residual, stratified, systematic, ssp and "
                f"killing; got {resampler!r}; a scheme of your own works with particle_filter"
            )
        self.model, self.n, self.proposal = model, n, proposal
        self.resampler, self.threshold, self.sort = resampler, float(threshold), sort
        self.y = model.observations(y)
        self.u = model.covariate_rows(u, self.y.shape[0])
        self.keep_paths = keep_paths
        length, width = self.y.shape[0], model._layouts[0].width
        shape = (n, width) if width else (n,)
        self.log_evidences = np.empty(length)
        self.ess = np.empty(length)
        rows = length if keep_paths else 0
        self._paths = np.empty((rows, *shape))
        self._parents = np.empty((rows, n), dtype=np.int64)
        self._loops: dict[Any, Callable[..., tuple[float, int]]] = {}
        self._log_w = np.empty(n)
        self._w = np.empty(n)
        self._x, self._x_next = np.empty(shape), np.empty(shape)
        self._scratch = np.empty(n)
        self._ancestors = np.empty(n, dtype=np.int64)
        self._uniforms = np.empty(resampler.uniforms(n, n))

    def __call__(self, params: Any, rng: np.random.Generator | Sequence[Any]) -> float:
        """Run the filter and return its log-evidence in nats.

        Parameters
        ----------
        params : NamedTuple
            As ``model.parameters`` returns them.
        rng : numpy.random.Generator or sequence of them
            One stream for the whole series, or several for consecutive blocks of times of
            nearly equal length.

        Raises
        ------
        ValueError
            If a density is NaN; time, particle and parameters are named.
        """
        rngs = [rng] if isinstance(rng, np.random.Generator) else list(rng)
        if not isinstance(self.model, StateSpaceModel):
            return self._interpreted(self._bind(params), rngs)
        # One loop serves all parameters of the same types, which floats nearly always are.
        types = tuple((type(value), np.ndim(value)) for value in params)
        advance = self._loops.get(types)
        if advance is None:
            advance = self._loops[types] = evidence_loop(
                self._bind(params).population,
                self.proposal.auxiliary,
                self.resampler.kernel,
                self.resampler.uniforms,
                hilbert_order if self.sort else None,
            )
        length = self.y.shape[0]
        edges = [0, length]
        if len(rngs) > 1:
            edges = np.linspace(0, length, len(rngs) + 1).astype(int).tolist()
        log_z, flag = 0.0, -1
        for block, generator in enumerate(rngs):
            log_z, flag = advance(
                generator, params, self.y, self.u, edges[block], edges[block + 1],
                self.threshold, log_z, self._x, self._x_next, self._log_w, self._scratch,
                self._w, self._ancestors, self._uniforms, self.log_evidences, self.ess,
                self._paths, self._parents,
            )  # fmt: skip
            if flag >= 0:
                break
        if flag >= 0:
            if not self._log_w.max() < math.inf:
                raise nan_density(self.model, params, self.y, flag, self._x, self._log_w)
            self.log_evidences[flag:] = -math.inf
            self.ess[flag:] = 0.0
            return -math.inf
        return float(self.log_evidences[-1])

    def _bind(self, params: Any) -> Bound:
        guided, auxiliary = self.proposal.guided, self.proposal.auxiliary
        bound: Bound = self.model.bind(params, self.y, self.u, guided=guided, auxiliary=auxiliary)
        return bound

    def _interpreted(self, bound: Any, rngs: list[np.random.Generator]) -> float:
        if len(rngs) > 1 or self.sort:
            raise ValueError("blocks of random numbers need a compiled model (StateSpaceModel)")
        stage = FilterStage(bound=bound)
        steps = smc(stage, self.n, rngs[0], resampler=self.resampler, threshold=self.threshold)
        for step, particles in steps:
            self.log_evidences[step.t] = particles.log_evidence
            self.ess[step.t] = particles.ess
            if particles.log_evidence == -math.inf:
                self.log_evidences[step.t :] = -math.inf
                self.ess[step.t :] = 0.0
                return -math.inf
            if self.keep_paths:
                self._paths[step.t] = particles.x
                same = particles.ancestors is None
                self._parents[step.t] = np.arange(self.n) if same else particles.ancestors
        self._w[:] = particles.weights
        return float(self.log_evidences[-1])

    def path(self, rng: np.random.Generator) -> Floats:
        """Draw one state trajectory from the last run, shape (T,) or (T, d).

        Notes
        -----
        The draw a particle marginal Metropolis-Hastings chain keeps (Andrieu, Doucet and
        Holenstein, 2010): the lineage of a final particle chosen by weight.
        """
        if not self.keep_paths:
            raise ValueError("path() needs keep_paths=True; this filter keeps none")
        last = systematic.draw(self._w, 1, rng)[0]
        out = np.empty((1, self.y.shape[0]), dtype=np.int64)
        lineages(self._parents[1:], last, out)
        return np.array(self._paths[np.arange(out.shape[1]), out[0]])


def log_evidence(
    model: Any,
    params: Any,
    y: Any,
    n: int,
    *,
    u: Any = None,
    proposal: Proposal = Bootstrap(),  # noqa: B008 - a frozen value
    resampler: Scheme = systematic,
    threshold: float = 0.5,
    seed: int = 0,
) -> float:
    """Estimate the log-evidence of a series, fast.

    Parameters
    ----------
    model : StateSpaceModel, VectorModel or PythonModel
        The model.
    params : NamedTuple, mapping or sequence
        Its parameters.
    y : array_like, shape (T,) or (T, k)
        Observations, NaN where missing.
    n : int
        Number of particles.
    u, proposal, resampler, threshold, seed
        As in :func:`aisle_smc.ssm.particle_filter`.

    Returns
    -------
    float
        Log-evidence in nats; ``-inf`` if all weights vanish.

    Raises
    ------
    ValueError, TypeError
        For bad input, before any work, and for a NaN density.

    Notes
    -----
    The evidence itself is unbiased, its log is biased down by about half its variance.  Bit-equal
    to ``particle_filter(...).log_evidence`` with the same arguments.
    """
    run = EvidenceFilter(
        model, y, n, u=u, proposal=proposal, resampler=resampler, threshold=threshold
    )
    return run(model.parameters(params), stream(seed))


def log_evidences(
    model: Any,
    many_params: Any,
    y: Any,
    n: int,
    *,
    u: Any = None,
    proposal: Proposal = Bootstrap(),  # noqa: B008 - a frozen value
    resampler: Scheme = systematic,
    threshold: float = 0.5,
    seed: int = 0,
    workers: int | None = None,
) -> Floats:
    """Estimate the log-evidence at many parameter vectors, over all cores.

    Parameters
    ----------
    model, y, n, u, proposal, resampler, threshold
        As in :func:`log_evidence`.
    many_params : sequence, or array_like of shape (k, number of parameters)
        Parameter vectors.
    seed : int
        Vector ``i`` uses the stream of ``(seed, i)``.
    workers : int, optional
        Number of threads; all cores by default.  The result does not depend on it.

    Returns
    -------
    ndarray, shape (k,)
        Log-evidences in nats.
    """
    rows = [model.parameters(row) for row in many_params]
    count = min(os.cpu_count() or 1 if workers is None else workers, max(len(rows), 1))
    check_count("workers", count)

    def filter_() -> EvidenceFilter:
        return EvidenceFilter(
            model, y, n, u=u, proposal=proposal, resampler=resampler, threshold=threshold
        )

    return np.array(over_threads(filter_, rows, seed, count))


def over_threads(
    build: Callable[[], EvidenceFilter], rows: Sequence[Any], seed: int, workers: int
) -> list[float]:
    """Run one filter for each row of parameters on a few threads, each with its work space."""
    if not rows:
        return []
    first = build()
    results = [first(rows[0], stream(seed, 0))]  # compiles, in one thread
    if workers == 1 or len(rows) == 1:
        return results + [first(p, stream(seed, i)) for i, p in enumerate(rows[1:], start=1)]
    runs = [first] + [build() for _ in range(workers - 1)]
    chunks = [range(1 + k, len(rows), workers) for k in range(workers)]

    def work(k: int) -> list[tuple[int, float]]:
        return [(i, runs[k](rows[i], stream(seed, i))) for i in chunks[k]]

    with ThreadPoolExecutor(workers) as pool:
        found = dict(pair for part in pool.map(work, range(workers)) for pair in part)
    return results + [found[i] for i in range(1, len(rows))]
