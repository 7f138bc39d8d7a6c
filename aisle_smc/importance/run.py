"""Importance sampling in one call: plain, multiple and adaptive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Any, cast

import numpy as np

from aisle_smc.arguments import check_count
from aisle_smc.distributions import as_distribution
from aisle_smc.importance.drawn import Drawn, follow
from aisle_smc.importance.methods import AMIS, Method
from aisle_smc.importance.proposals import Several
from aisle_smc.importance.result import Estimate, ImportanceResult, estimate, weighted_draws
from aisle_smc.importance.stage import AdaptiveImportance
from aisle_smc.importance.weighting import Weighting, balance
from aisle_smc.smc import smc
from aisle_smc.streams import stream
from aisle_smc.targets import Evaluator, Target, evaluator

__all__ = ["adaptive_importance_sampling", "importance_sampling", "multiple_importance_sampling"]

# The key of the stream that finds out what kind of function the target is.
_PROBE = (2**31, 5)


def importance_sampling(
    target: Target | Callable[..., Any] | Evaluator,
    proposal: Any,
    n: int,
    *,
    seed: int = 0,
    names: Sequence[str] | None = None,
    vectorized: bool | None = None,
    workers: int | None = None,
) -> ImportanceResult:
    r"""Estimate the evidence and the moments of a density from draws of another.

    .. math:: \hat Z = \frac1n \sum_i w_i, \qquad w_i = \frac{\gamma(x_i)}{q(x_i)}, \qquad
        x_i \sim q

    Parameters
    ----------
    target : callable, Target or Evaluator
        The unnormalised log-density, see :class:`aisle_smc.targets.Target`.
    proposal : Distribution
        What to draw from: anything :func:`aisle_smc.distributions.as_distribution` takes, such as
        a Gaussian, a mixture, a SciPy frozen distribution or an object of your own.  It must have
        mass wherever the target has.
    n : int
        Number of draws.
    seed : int
        The same seed gives the same bits.
    names : sequence of str, optional
        Names of the parameters; ``x0, x1, ...`` by default.
    vectorized : bool, optional
        Whether the target takes many points at once; found out by default.
    workers : int, optional
        Threads or processes for the target.  The result does not depend on it.

    Returns
    -------
    ImportanceResult

    Raises
    ------
    TypeError, ValueError
        For bad input, and for a proposal that has no density where it draws.
    BadDensity, TargetFailed
        If the target is NaN or ``+inf`` somewhere or raises an exception: the point is named.

    Notes
    -----
    The evidence is unbiased, its log biased down by about half its variance.  Moments are ratios,
    with a bias of order 1/n.

    References
    ----------
    Owen (2013), Monte Carlo theory, methods and examples, chapter 9.

    Examples
    --------
    >>> import numpy as np
    >>> from aisle_smc.distributions import StudentT
    >>> from aisle_smc.importance import importance_sampling
    >>> def log_density(x):  # integrates to 3
    ...     return np.log(3.0) - np.abs(x[:, 0]) - np.log(2.0)
    >>> q = StudentT(location=np.zeros(1), root=np.eye(1), df=3.0)
    >>> found = importance_sampling(log_density, q, 4000)
    >>> bool(abs(found.log_evidence - np.log(3.0)) < 4 * found.log_evidence_error < 0.1)
    True
    """
    return multiple_importance_sampling(
        target,
        (proposal,),
        n,
        seed=seed,
        names=names,
        vectorized=vectorized,
        workers=workers,
    )


def multiple_importance_sampling(
    target: Target | Callable[..., Any] | Evaluator,
    proposals: Sequence[Any],
    n: int,
    *,
    weighting: Weighting = balance,
    seed: int = 0,
    names: Sequence[str] | None = None,
    vectorized: bool | None = None,
    workers: int | None = None,
) -> ImportanceResult:
    r"""Estimate the evidence and the moments of a density from draws of several others.

    .. math:: \hat Z = \frac1n \sum_i \frac{\gamma(x_i)}{\varphi(x_i)}

    with the denominator :math:`\varphi` that the weighting says, by default the mixture of all
    proposals.

    Parameters
    ----------
    target : callable, Target or Evaluator
        The unnormalised log-density.
    proposals : sequence
        What to draw from, each as in :func:`importance_sampling`.
    n : int
        Number of draws in all, shared out evenly.
    weighting : Weighting
        `balance` (the mixture of all), `standard` (each draw's own proposal, which must then have
        mass wherever the target has) or ``partial(size)`` in between.
    seed, names, vectorized, workers
        As in :func:`importance_sampling`.

    Returns
    -------
    ImportanceResult

    Raises
    ------
    TypeError, ValueError, BadDensity, TargetFailed
        As in :func:`importance_sampling`.

    Notes
    -----
    Unbiased under each of these weightings.  With `balance` the variance is never more than with
    `standard`, and the proposals need only have mass between them wherever the target has.

    References
    ----------
    Veach and Guibas (1995), Optimally combining sampling techniques for Monte Carlo rendering;
    Elvira, Martino, Luengo and Bugallo (2019), Generalized multiple importance sampling.
    """
    check_count("n", n)
    parts = Several(tuple(as_distribution(each) for each in proposals))
    known, own = _evaluator(target, parts, names, vectorized, workers, seed)
    try:
        stage = AdaptiveImportance(target=known, proposals=parts, weighting=weighting)
        before = known.calls
        ((_, particles),) = smc(stage, n, stream(seed), threshold=0.0)
        name = "importance sampling" if parts.count == 1 else "multiple importance sampling"
        return _result([cast(Drawn, particles.x)], 0, known, before, name)
    finally:
        if own:
            known.close()


def adaptive_importance_sampling(
    target: Target | Callable[..., Any] | Evaluator,
    proposal: Any,
    n: int = 1000,
    *,
    method: Method | None = None,
    iterations: int = 10,
    fresh: int | None = None,
    defence: float = 0.05,
    seed: int = 0,
    names: Sequence[str] | None = None,
    vectorized: bool | None = None,
    workers: int | None = None,
) -> ImportanceResult:
    """Adapt proposals to a density in rounds, then draw from them once more.

    Parameters
    ----------
    target : callable, Target or Evaluator
        The unnormalised log-density.
    proposal : Distribution
        Where to begin, as in :func:`importance_sampling`: a prior, or anything that covers the
        target roughly.
    n : int
        Draws of each round.
    method : Method, optional
        ``AMIS()`` by default; see :mod:`aisle_smc.importance.methods` for the others and for how
        to compose one.
    iterations : int
        Rounds that adapt.
    fresh : int, optional
        Draws from the proposals of the end, which are no longer adapted; as many as all rounds
        before by default.  With 0 the evidence comes from the draws of the rounds, see Notes.
    defence : float
        Share of the fresh draws that come from `proposal` as it was given.  They find what the
        adaptation lost, such as a mode, and the evidence and its error then show it; 0 for none.
    seed : int
        The same seed gives the same bits.
    names, vectorized, workers
        As in :func:`importance_sampling`.

    Returns
    -------
    ImportanceResult

    Raises
    ------
    TypeError, ValueError, BadDensity, TargetFailed
        As in :func:`importance_sampling`.

    Notes
    -----
    The evidence from fresh draws is unbiased whatever the adaptation did, and its error is that
    of plain importance sampling.  Without them:

    * methods that weigh each round by itself (all but AMIS) pool the rounds, each with the same
      share.  That is unbiased too, since a round is unbiased given those before, and its error is
      right; but early rounds can be so poor that they spoil the rest.
    * AMIS reuses all draws under all proposals.  Its evidence is consistent and biased low, for
      proposals follow the draws that are then divided by them; the error does not contain that.

    References
    ----------
    Bugallo, Elvira, Martino, Luengo, Miguez and Djuric (2017), Adaptive importance sampling: the
    past, the present, and the future.

    Examples
    --------
    >>> import numpy as np
    >>> from aisle_smc.distributions import Gaussian
    >>> from aisle_smc.importance import LAIS, adaptive_importance_sampling
    >>> def banana(x):
    ...     return -0.5 * x[:, 0] ** 2 - 2.0 * (x[:, 1] - x[:, 0] ** 2) ** 2
    >>> wide = Gaussian(mean=np.zeros(2), root=4.0 * np.eye(2))
    >>> found = adaptive_importance_sampling(banana, wide, 500, method=LAIS())
    >>> bool(abs(found.log_evidence - np.log(np.pi)) < 4 * found.log_evidence_error < 0.2)
    True
    """
    check_count("n", n)
    check_count("iterations", iterations)
    fresh = n * iterations if fresh is None else fresh
    if fresh != 0:
        check_count("fresh", fresh)
    if not 0.0 <= defence < 1.0:
        raise ValueError(f"defence must be a share, 0 or more and below 1; got {defence}")
    method = AMIS() if method is None else method
    if not isinstance(method, Method):
        raise TypeError(
            f"method must be a Method such as AMIS() or LAIS(); got {method!r}; call it if you "
            "passed the function itself"
        )
    initial = as_distribution(proposal)
    known, own = _evaluator(target, Several((initial,)), names, vectorized, workers, seed)
    try:
        rng, before = stream(seed), known.calls
        stage = AdaptiveImportance(
            target=known,
            proposals=method.start.begin(initial, n, rng),
            weighting=method.weighting,
            adaptation=method.adaptation,
            iterations=iterations,
            fresh=fresh,
            safety=initial if defence else None,
            share=defence or 0.05,
        )
        rounds = (cast(Drawn, p.x) for _, p in smc(stage, n, rng, threshold=0.0))
        return _result(rounds, fresh, known, before, method.name)
    finally:
        if own:
            known.close()


def _evaluator(
    target: Any,
    proposals: Several,
    names: Sequence[str] | None,
    vectorized: bool | None,
    workers: int | None,
    seed: int,
) -> tuple[Evaluator, bool]:
    """Return the evaluator of a target, and whether it was made here."""
    if isinstance(target, Evaluator):
        if any(given is not None for given in (names, vectorized, workers)):
            raise ValueError(
                "an Evaluator has its own names, dialect and workers; got names, vectorized or "
                "workers besides; leave them out, or pass the function"
            )
        if len(target.names) != proposals.dim:
            raise ValueError(
                f"target and proposal must have one dimension; the target has {len(target.names)} "
                f"parameters and the proposal draws {proposals.dim} coordinates"
            )
        return target, False
    found = tuple(f"x{j}" for j in range(proposals.dim)) if names is None else names
    if len(found) != proposals.dim:
        raise ValueError(
            f"names must be one for each of the proposal's {proposals.dim} coordinates; got "
            f"{len(found)}: {', '.join(found)}"
        )
    probe = proposals.part(0, 1).sample(4, stream(seed, *_PROBE))
    return evaluator(target, found, probe, vectorized=vectorized, workers=workers), True


def _result(
    rounds: Iterable[Drawn], fresh: int, target: Evaluator, before: int, method: str
) -> ImportanceResult:
    """Return what the rounds found; the last one is of fresh draws if there are any."""
    each: list[Estimate] = []
    kept: list[Drawn] = []
    for drawn in rounds:
        each.append(estimate(drawn))
        # A population of several rounds holds those before it.
        kept = [drawn] if len(drawn.rounds) > 1 else [*kept, drawn]
    adapting = kept[:-1] if fresh else kept
    pool = reduce(_join, adapting)
    last = kept[-1] if fresh else pool
    found = estimate(last)
    return ImportanceResult(
        log_evidence=found.log_evidence,
        log_evidence_error=found.error,
        n=found.draws,
        ess=found.ess,
        khat=found.khat,
        draws=weighted_draws(last, target.names),
        recycled=weighted_draws(pool, target.names) if fresh else None,
        proposal=kept[-1].proposals.distribution(),
        rounds=tuple(each),
        evaluations=target.calls - before,
        method=method,
        unbiased=bool(fresh) or len(adapting[0].rounds) == 1,
    )


def _join(one: Drawn, other: Drawn) -> Drawn:
    """Return two populations as one, in which each keeps its weights."""
    return follow(one, other, np.concatenate([one.log_proposal, other.log_proposal]))
