"""One call from a log-density to its posterior and evidence."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from aisle_smc.arguments import check_count
from aisle_smc.arrays import Floats
from aisle_smc.checkpoint import digest
from aisle_smc.moves import Level
from aisle_smc.normal_scores import circular_columns
from aisle_smc.sampling.aim import Aim
from aisle_smc.sampling.assembly import assemble
from aisle_smc.sampling.bridges import FromPrior, Posterior
from aisle_smc.sampling.meter import Meter
from aisle_smc.sampling.request import Request, read_request
from aisle_smc.sampling.result import SampleResult
from aisle_smc.sampling.session import Session
from aisle_smc.sampling.spaces import DistributionSpace, PriorSpace, WhiteSpace
from aisle_smc.sampling.status import Status
from aisle_smc.streams import stream
from aisle_smc.targets import Journal, Target, as_target, evaluator
from aisle_smc.tempering import BASE, Threshold
from aisle_smc.version import __version__

__all__ = ["bridge", "sample"]

# The key of the stream of the first points to try; sessions have 0 to 4 and 8, requests 5 and 7.
PROBE, PROBES = 6, 12
# Points of a stage, at least.
LEAST = 10
UNHARMED = "refine() was interrupted; the result that it was called on stays as it is"


def sample(
    target: Target | Callable[..., Any],
    prior: Any = None,
    *,
    init: Any = None,
    proposal: Any = None,
    bounds: Any = None,
    periodic: Sequence[str] = (),
    names: Sequence[str] | None = None,
    vectorized: bool | None = None,
    workers: int | None = None,
    file: str | os.PathLike[str] | None = None,
    ess: float = 2000,
    evidence_error: float = 0.05,
    max_evaluations: int | None = None,
    max_seconds: float | None = None,
    progress: bool = True,
    seed: int = 0,
    n: int | None = None,
    path: Level = BASE,
) -> SampleResult:
    r"""Sample a posterior and estimate its evidence.

    With a prior, the target is the log-likelihood and the evidence
    :math:`Z = \int p(\theta) \, e^{f(\theta)} \, d\theta`.  Without one it is a density that
    stands alone, and :math:`Z = \int e^{f(\theta)} \, d\theta` over the bounds.

    Parameters
    ----------
    target : callable or Target
        The log-likelihood, or the bare log-density, in nats.  It takes one vector of the
        parameters in the order of the prior, or names them (``def f(mu, sigma)``); or a batch
        (n, k), to return (n,).  Numba functions of one point, NumPy and torch functions of a
        batch or of one point, and plain Python are told apart by calling them.  ``-inf`` rules a
        point out.  Further values it returns are kept (`blobs`).  A torch function, or
        ``Target(f, gradient=g)``, is explored with its gradient.
    prior : mapping, Prior or distribution, optional
        SciPy frozen distributions by parameter name; a number fixes a parameter and a string ties
        it to another one.  Or a joint distribution: a frozen ``multivariate_normal``, or anything
        with the methods of :class:`aisle_smc.distributions.Distribution`.
    init : array_like, shape (m, d), or mapping, optional
        First draws, from an earlier fit for instance.  They say where to start and never enter
        the estimates.
    proposal : distribution, optional
        A guess at the posterior, in the free parameters as the target takes them: an object with
        ``sample(n, rng)`` and ``log_density(x)``, SciPy frozen distributions (in order, or by
        name), a distribution or flow of torch.  If `n` draws of it, a tenth of them from the
        prior, weigh evenly, it takes the place of exploring; if not, the run explores without it.
    bounds : mapping or sequence of pairs, optional
        Without a prior: the box to integrate over, or with `init` the bounds of parameters that
        have some (None for no bound).
    periodic : sequence of str
        Parameters whose two ends are one point, such as angles.
    names : sequence of str, optional
        Names of the parameters, where neither prior nor bounds have them.
    vectorized : bool, optional
        Whether the target takes batches; tried out by default.
    workers : int, optional
        Threads or processes to share the evaluations.  The result does not depend on it.
    file : path, optional
        Where every evaluation is kept.  The same call with the same file goes on where a killed
        one stopped, to the same bits; it is refused if target, prior or settings have changed.
    ess : float
        Effective sample size of the posterior draws to reach.
    evidence_error : float
        Standard error of the log-evidence to reach, in nats.
    max_evaluations : int, optional
        Evaluations at most.  The run is cut there, and the result says so.
    max_seconds : float, optional
        Seconds at most.
    progress : bool
        Show progress: a line on a terminal, a line now and then in a log.
    seed : int
        The same seed gives the same bits.
    n : int, optional
        Points of a stage, 10 or more; by default 1000, or 20 for each parameter.
    path : Level
        How the target is approached: ``Temperature(0.0)`` tempers the likelihood (the default),
        ``Threshold(-math.inf)`` climbs by levels of it, as nested sampling does.

    Returns
    -------
    SampleResult
        Weighted draws, log-evidence with its error, and in words how far to trust them.

    Raises
    ------
    TypeError, ValueError
        For arguments that contradict each other or cannot be used, before work starts.
    BadDensity
        If the target returns NaN or ``+inf``; the point is named.
    TargetFailed
        If the target raises; the point is named, and what was evaluated is in the file.
    DegenerateWeights
        If the target is ``-inf`` at all of 64 n points where the run starts.
    KeyboardInterrupt
        At Ctrl-C; its words say how to go on.

    Notes
    -----
    1. *Coordinates.*  Independent priors become a standard normal distribution, so that bounds
       are never in the way.
    2. *Exploring.*  Stages from the prior to the posterior, or with gradients from normal
       approximations at its modes.  Each fits a proposal to all points so far, weighted for the
       next level (balance heuristic), and adds draws from it; where no proposal fits, Markov
       moves instead.
    3. *Drawing.*  The proposal that did best is frozen, and fresh independent draws from it give
       posterior and evidence.  For a given number of draws the evidence is unbiased, its error
       that of independent weights, its log biased down by half the squared error.  How many
       draws are made depends on the weights, which this leaves out.
    4. Where the weights of the draws have too heavy a tail (k-hat), the target is explored once
       more with four times as many points.  Where that does not help either, samplers that repeat
       the stages without adapting give an unbiased evidence, with an error from their spread; of
       two estimates that cannot be trusted the higher one is returned, for what misses part of a
       posterior is too low, and the result says so.  Where neither misses any, that choice errs
       upwards, by at most 0.4 of the error of their difference.

    References
    ----------
    Karamanis and Seljak (2025) and Cornuet et al. (2012) for the weights; Cappe et al. (2008) for
    the fitted proposals; Hesterberg (1995) for their wide part; Vehtari et al. (2024) for k-hat;
    Del Moral, Doucet and Jasra (2006) for the samplers.

    Examples
    --------
    A normal mean with known variance, where the evidence is known:

    >>> import numpy as np
    >>> from scipy.stats import norm
    >>> from aisle_smc import sample
    >>> y = np.array([1.2, 0.4, 0.9])
    >>> def log_likelihood(mu):
    ...     return norm.logpdf(y, mu, 1.0).sum()
    >>> result = sample(log_likelihood, {"mu": norm(0, 2)}, progress=False)
    >>> bool(abs(result.log_evidence - -4.283) < 4 * result.log_evidence_error)
    True
    >>> result.mean.round(1).tolist()
    [0.8]
    """
    periodic = (periodic,) if isinstance(periodic, str) else tuple(periodic or ())
    request = read_request(prior, init, bounds, names, seed, proposal)
    aim = Aim(
        ess=ess,
        evidence_error=evidence_error,
        max_evaluations=max_evaluations,
        max_seconds=max_seconds,
    )
    turned = _circles(periodic, request)
    d = request.space.dim
    if n is None:
        n = max(1000, 20 * d) if d <= 100 else 200
    check_count("n", n)
    if n < LEAST:
        raise ValueError(
            f"a stage needs at least {LEAST} points to learn from; got n = {n}; leave n out"
        )
    if vectorized not in (None, True, False):
        raise TypeError(
            "vectorized must be True (the target takes batches), False (one point) or None (tried "
            f"out); got {vectorized!r}"
        )
    if path not in (BASE, Threshold(-math.inf)):
        raise ValueError(
            "path must be a level of aisle_smc.tempering that leaves the base as it is, "
            f"Temperature(0.0) or Threshold(-math.inf); got {path!r}"
        )
    probes = _probes(request, seed)
    made_of = {} if file is None else _fingerprint(target, request, init, periodic, seed, n, path)
    if request.offer is not None and file is not None:
        # By what it draws and what it says of that, whatever kind of object it is.
        x = request.offer.sample(PROBES, stream(seed, PROBE))
        made_of["proposal"] = digest([x, request.offer.log_density(x)])

    def begin() -> Session:
        journal = None if file is None else Journal(file, made_of)
        try:
            ev = evaluator(
                target,
                request.names,
                probes,
                vectorized=vectorized,
                workers=workers,
                journal=journal,
            )
        except BaseException:
            if journal is not None:
                journal.close()
            raise
        meter = Meter()
        posterior = Posterior(
            space=request.space, evaluator=ev, meter=meter, offset=request.offset
        )
        return Session(
            posterior=posterior,
            meter=meter,
            seed=seed,
            n=n,
            base=request.base,
            path=path,
            circles=turned,
            offer=request.offer,
        )

    def run(session: Session | None, aim: Aim) -> SampleResult:
        # With a file the run is done again from it, which costs no evaluation.
        refined = session is not None
        session = begin() if session is None or file is not None else session.branch()
        status = Status(show=progress)
        for note in () if refined else session.posterior.evaluator.note.splitlines():
            status.say(note)
        session.watch = status
        try:
            session.run(aim)
            return assemble(session, request, aim, lambda more: run(session, more))
        except KeyboardInterrupt:
            calls = session.posterior.evaluator.calls
            words = UNHARMED if refined and file is None else _interrupted(calls, file)
            raise KeyboardInterrupt(words) from None
        finally:
            status.close()
            session.posterior.evaluator.close()

    return run(None, aim)


def _interrupted(calls: int, file: str | os.PathLike[str] | None) -> str:
    """Say in words what is left of a run that was interrupted."""
    if file is None:
        return (
            f"sample() was interrupted after {calls} evaluations, none of which is kept; with "
            "file= the same call would go on from there"
        )
    return (
        f"sample() was interrupted after {calls} evaluations, which are in {os.fspath(file)}; the "
        "same call goes on from there"
    )


def _circles(periodic: Sequence[str], request: Request) -> tuple[int, ...]:
    """Return the places of the periodic parameters among the free ones."""
    if not periodic:
        return ()
    if not isinstance(request.space, PriorSpace) or request.base is not None:
        raise ValueError(
            "periodic parameters need a prior by names (or finite bounds) and no init; got "
            f"periodic = {list(periodic)}"
        )
    return tuple(circular_columns(request.space.prior.coordinates, periodic).tolist())


def _probes(request: Request, seed: int) -> Floats:
    """Return a few points to tell the target's dialect by."""
    start = request.space if request.base is None else request.base
    return request.space.parameters(start.sample(PROBES, stream(seed, PROBE)))


def _fingerprint(
    target: Any,
    request: Request,
    init: Any,
    periodic: Sequence[str],
    seed: int,
    n: int,
    path: Level,
) -> dict[str, str]:
    """Return what a run is made from; aims and limits are not part of it."""
    return {
        **as_target(target).fingerprint(),
        "prior": _described(request),
        "names": ", ".join(request.names),
        "offset": f"{request.offset!r}",
        "init": "none" if init is None else digest(_plain(init)),
        "periodic": ", ".join(periodic),
        "path": f"{path!r}",
        "seed": f"{seed}",
        "n": f"{n}",
        "version": __version__,
    }


def _described(request: Request) -> str:
    """Return a description of the prior that changes with its last digit."""
    space = request.space
    if isinstance(space, WhiteSpace):
        return digest([space.prior.mean, space.prior.root])
    if isinstance(space, DistributionSpace):
        return digest([space.prior, getattr(space.prior, "__dict__", None)])
    if request.prior is None:
        return digest(space)
    exact = [
        (c.distribution.args, c.distribution.kwds, c.lower, c.upper)
        for c in request.prior.coordinates
    ]
    return f"{request.prior!r} ({digest([exact, request.prior.constants])})"


def _plain(init: Any) -> Any:
    """Return first draws as arrays."""
    if isinstance(init, Mapping):
        return {key: np.asarray(value, dtype=np.float64) for key, value in init.items()}
    return np.asarray(init, dtype=np.float64)


def bridge(
    target: Target | Callable[..., Any],
    prior: Any,
    *,
    names: Sequence[str] | None = None,
    vectorized: bool | None = None,
    workers: int | None = None,
    seed: int = 0,
) -> FromPrior:
    """Return the way from a prior to a posterior, for samplers that you assemble yourself.

    Parameters
    ----------
    target, prior, names, vectorized, workers
        As in :func:`sample`.
    seed : int
        Of the points that the target is tried at.

    Returns
    -------
    Bridge
        For the stages of :mod:`aisle_smc.tempering`.  Its coordinates are those of the prior, in
        which it is standard normal; ``bridge.posterior.space.draws(z)`` gives parameters.

    Examples
    --------
    >>> from scipy.stats import norm
    >>> from aisle_smc import smc, stream
    >>> from aisle_smc.moves import Portfolio, RandomWalk
    >>> from aisle_smc.tempering import Tempering
    >>> way = bridge(lambda mu: norm.logpdf(1.2, mu, 0.1), {"mu": norm(0, 1)})
    >>> first = Tempering(bridge=way, portfolio=Portfolio(kernels=(RandomWalk(),)))
    >>> for stage, particles in smc(first, 500, stream(1)):
    ...     pass
    >>> stage.level, round(particles.log_evidence, 1)
    (Temperature(beta=1.0), -1.6)
    """
    request = read_request(prior, None, None, names, seed)
    ev = evaluator(
        target, request.names, _probes(request, seed), vectorized=vectorized, workers=workers
    )
    return FromPrior(posterior=Posterior(space=request.space, evaluator=ev, meter=Meter()))
