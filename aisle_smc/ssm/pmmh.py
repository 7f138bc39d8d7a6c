"""Particle marginal Metropolis-Hastings: the posterior of parameters and states together."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from aisle_smc import checkpoint
from aisle_smc.arguments import check_count
from aisle_smc.arrays import Floats
from aisle_smc.priors import Prior
from aisle_smc.resampling import Scheme, systematic
from aisle_smc.ssm.adaptation import RandomWalk
from aisle_smc.ssm.blocks import Blocks
from aisle_smc.ssm.chain import Chain, Estimate
from aisle_smc.ssm.evidence import EvidenceFilter
from aisle_smc.ssm.model import StateSpaceModel
from aisle_smc.ssm.posterior import Posterior
from aisle_smc.ssm.proposals import Bootstrap, Proposal
from aisle_smc.ssm.run import Run
from aisle_smc.ssm.tuning import spread_of
from aisle_smc.streams import stream

__all__ = ["Blocks", "pmmh"]


def pmmh(
    model: Any,
    y: Any,
    n: int | None = None,
    *,
    u: Any = None,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    proposal: Proposal = Bootstrap(),  # noqa: B008 - a frozen value
    resampler: Scheme = systematic,
    threshold: float = 0.5,
    correlation: Blocks | None = None,
    initial: Any = None,
    file: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: bool = True,
    seed: int = 0,
) -> Posterior:
    """Draw parameters and states from their posterior.

    A chain on the parameters whose acceptance uses the evidence estimates of a particle filter,

        a = min(1, Z_hat(theta') p(theta') q(theta | theta')
                   / (Z_hat(theta) p(theta) q(theta' | theta))),

    and keeps `Z_hat` and one trajectory of the filter with each accepted `theta`.

    Parameters
    ----------
    model : StateSpaceModel, VectorModel or PythonModel
        The model; its ``prior`` names the parameters to draw.
    y : array_like, shape (T,) or (T, k)
        Observations, NaN where missing.
    n : int, optional
        Number of particles.  By default as many as give the log-evidence a standard deviation of
        about 0.75 at a central point, found after the first part of tuning.
    u : array_like, optional
        Covariates, one row for each time.
    draws, tune, chains : int
        Draws kept from each chain, iterations before them, and chains.
    proposal, resampler, threshold
        As in :func:`aisle_smc.ssm.particle_filter`.
    correlation : Blocks, optional
        Renew the filter's random numbers one block at a time.  `n`, if not given, is chosen as
        without correlation, which is more than is needed.
    initial : mapping, sequence of mappings or array_like, optional
        Where the chains start: one set of parameter values for all, or one for each.  By default
        each starts at the best of 64 draws of the prior.
    file : path, optional
        Checkpoint.  Written every few seconds and at the end; if it exists, the run continues
        from it, to the same bits as a run that was never stopped.  More `draws` than it holds
        extend it.
    workers : int, optional
        Number of threads; all cores by default.  The result does not depend on it.
    progress : bool
        Show a progress bar, or a line now and then where there is no terminal.
    seed : int
        The same seed gives the same bits.

    Returns
    -------
    Posterior

    Raises
    ------
    ValueError, TypeError
        For bad input, before any work; for a NaN density; for a `file` of another model, other
        data or other settings.
    AisleError
        If a chain finds no place to start.
    KeyboardInterrupt
        When interrupted, after the checkpoint is written; the message says how to continue.

    Notes
    -----
    Exact for every `n`: the estimates' noise costs speed, not correctness.  Proposals live in
    unconstrained coordinates.  Tuning has three parts: each chain adapts a random walk by itself
    (Vihola 2012); the chains then agree on `n`, on the shape of the walk, and on an independent
    Student-t proposal that takes half of the steps; then once more.  While drawing everything is
    fixed.  Chains talk only between these parts, in a fixed order.  An evidence estimate of zero
    is a rejection, and is tallied in the result.

    Memory of order ``n T`` for each chain at work, and for what is kept ``draws T`` in double
    precision.

    References
    ----------
    Andrieu, Doucet and Holenstein (2010), Particle Markov chain Monte Carlo methods, section
    2.4.2.
    Silva, Giordani, Kohn and Pitt (2009), Particle filtering within adaptive Metropolis-Hastings
    sampling.
    Sherlock, Thiery, Roberts and Rosenthal (2015); Doucet, Pitt, Deligiannidis and Kohn (2015),
    on the best standard deviation of the log-evidence.
    """
    for what, count in (("draws", draws), ("chains", chains)):
        check_count(what, count)
    if n is not None:
        check_count("n", n)
    if isinstance(tune, bool) or not isinstance(tune, int | np.integer) or tune < 0:
        raise ValueError(f"tune must be an int >= 0; got {tune!r}")
    prior = model.prior
    if not isinstance(prior, Prior) or not prior.free:
        raise ValueError(
            "pmmh draws the parameters that have a prior distribution; this model has "
            f"{prior!r}; give the model prior={{'name': scipy.stats.norm(0, 1), ...}}"
        )
    if not isinstance(resampler, Scheme):
        raise TypeError(f"pmmh needs an equal-weight resampling scheme; got {resampler!r}")
    series = model.observations(y)
    rows = model.covariate_rows(u, series.shape[0])
    if correlation is not None:
        _check_blocks(correlation, model, series.shape[0])
    starts = _starts(prior, initial, chains)

    def build(size: int, keep_paths: bool) -> EvidenceFilter:
        return EvidenceFilter(
            model, series, size, u=u, proposal=proposal, resampler=resampler,
            threshold=threshold, keep_paths=keep_paths, sort=correlation is not None,
        )  # fmt: skip

    estimate = Estimate(
        prior=prior, params=_reader(model, prior), filter=build, blocks=correlation
    )
    run = Run(
        estimate=estimate,
        n=n,
        tune=int(tune),
        draws=int(draws),
        starts=starts,
        seed=seed,
        workers=_workers(workers),
        file=None if file is None else Path(file),
        made_of=_fingerprint(
            model, series, rows, n=n, tune=tune, chains=chains, proposal=proposal,
            resampler=resampler, threshold=threshold, correlation=correlation,
            initial=None if initial is None else checkpoint.digest(np.array(starts)), seed=seed,
        ),
        chains=[
            Chain(
                index=c,
                estimate=estimate,
                rng=stream(seed, c),
                walk=RandomWalk(root=np.diag(0.3 * spread_of(prior))),
            )
            for c in range(chains)
        ],
        show=progress,
    )  # fmt: skip
    run.go()
    return _posterior(run, model, series, u, proposal)


def _posterior(run: Run, model: Any, y: Floats, u: Any, proposal: Proposal) -> Posterior:
    """Collect the draws."""
    prior, m = run.estimate.prior, run.draws
    points = [[chain.kept[k] for k in chain.which[:m]] for chain in run.chains]
    parameters = prior.constrain(np.array([[point.z for point in row] for row in points]))
    accepted = np.array([chain.moved[:m] for chain in run.chains])
    return Posterior(
        model=model,
        y=y,
        u=u,
        n=run.phases[-1].n,
        names=prior.free,
        parameters=parameters,
        states=np.array([[point.path for point in row] for row in points]),
        log_likelihood=np.array([[point.increments for point in row] for row in points]),
        log_evidences=np.array([[point.log_evidence for point in row] for row in points]),
        log_prior=np.asarray(prior.log_density(parameters)),
        accepted=accepted,
        acceptance=accepted.mean(axis=1),
        degenerate=np.array([chain.degenerate for chain in run.chains]),
        proposal=proposal,
        log_evidence_sd=run.spread,
        seconds=run.seconds,
        seed=run.seed,
    )


def _reader(model: Any, prior: Prior) -> Callable[[Floats], Any]:
    """Return the function from unconstrained coordinates to the model's parameters."""
    place = [prior.names.index(name) for name in model.parameter_names]

    def read(z: Floats) -> Any:
        values = prior.with_constants(prior.constrain(z)).tolist()
        return model.params(*(values[k] for k in place))

    return read


def _starts(prior: Prior, initial: Any, chains: int) -> list[Floats | None]:
    """Return the unconstrained coordinates of every chain's start, None to look for one."""
    if initial is None:
        return [None] * chains
    if isinstance(initial, Mapping) or hasattr(initial, "_fields"):
        given = [initial] * chains
    elif np.ndim(initial[0]) == 0 and not isinstance(initial[0], Mapping):
        given = [dict(zip(prior.free, initial, strict=True))] * chains
    else:
        given = [
            row
            if isinstance(row, Mapping) or hasattr(row, "_fields")
            else dict(zip(prior.free, row, strict=True))
            for row in initial
        ]
    if len(given) != chains:
        raise ValueError(
            f"initial must hold one set of values, or one for each of {chains} chains; "
            f"got {len(given)}"
        )
    values = [dict(row) if isinstance(row, Mapping) else row._asdict() for row in given]
    return [prior.unconstrain(prior.vector(row)) for row in values]


def _check_blocks(blocks: Blocks, model: Any, length: int) -> None:
    if not isinstance(blocks, Blocks):
        raise TypeError(f"correlation must be Blocks(count) or None; got {blocks!r}")
    if not isinstance(model, StateSpaceModel):
        raise TypeError(
            "blocks of random numbers need a compiled model (StateSpaceModel); "
            f"got {type(model).__name__}"
        )
    if blocks.count > length:
        raise ValueError(
            f"the count of blocks must be at most the {length} observations; got {blocks.count}"
        )


def _workers(workers: int | None) -> int:
    if workers is None:
        return os.cpu_count() or 1
    check_count("workers", workers)
    return int(workers)


def _fingerprint(model: Any, y: Floats, u: Floats, **settings: Any) -> dict[str, str]:
    """Describe everything that the bits of a run depend on, except `draws`."""
    from aisle_smc.version import __version__

    skip = {"prior", "name", "workers", "_layouts"}
    parts = {f.name: getattr(model, f.name) for f in fields(model) if f.name not in skip}
    prior = model.prior
    exact = [(d.args, d.kwds) for d in (c.distribution for c in prior.coordinates)]
    return {
        "version": __version__,
        "model": f"{type(model).__name__} {model.name} ({checkpoint.digest(parts)})".strip(),
        "prior": f"{prior!r} ({checkpoint.digest([exact, prior.constants])})",
        "observations": f"{y.shape} ({checkpoint.digest(y)})",
        "covariates": f"{u.shape} ({checkpoint.digest(u)})",
    } | {name: str(value) for name, value in settings.items()}
