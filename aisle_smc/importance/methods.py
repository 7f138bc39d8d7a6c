"""The named algorithms of the literature, each a composition of strategies.

Every function returns a :class:`Method`, a value for :func:`adaptive_importance_sampling`.  They
differ in three things only: where the proposals start, what the target is divided by, and how
proposals follow from draws.

=======  ====================  =========  =====================================================
method   proposals             weighting  adaptation
=======  ====================  =========  =====================================================
PMC      one for each draw     standard   resample the draws
DMPMC    one for each draw     balance    resample the draws
GRPMC    several draws each    balance    resample all draws together
LRPMC    several draws each    balance    resample the draws of each proposal
MPMC     one mixture           balance    expectation-maximisation
AMIS     one                   temporal   fit to all draws so far
NPMC     one                   balance    fit with clipped weights
APIS     several draws each    balance    means of the draws of each proposal
LAIS     several draws each    balance    Markov chains
GAPIS    several draws each    balance    gradients and curvature
GRAMIS   several draws each    balance    the same, and repulsion
OPMC     several draws each    balance    resample each, then gradients and curvature
=======  ====================  =========  =====================================================

Papers fix the width of the proposals beforehand; here it is by default that of a kernel estimate
of the target (:class:`Kernel`), which starts from the spread of the initial proposal.  Give
``spread=kept`` for the width as it was, and ``df=math.inf`` for Gaussians.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.distributions import Distribution, fit_mixture
from aisle_smc.divergences import Clipping, Stabiliser
from aisle_smc.importance.adaptation import (
    Adaptation,
    FitProposal,
    InTurn,
    LocalMeans,
    ResampleGlobally,
    ResampleLocally,
)
from aisle_smc.importance.ascent import Ascend
from aisle_smc.importance.chains import MarkovLocations
from aisle_smc.importance.spread import Spread, kept, kernel, wide
from aisle_smc.importance.starts import Blended, Scattered, Start, Whole
from aisle_smc.importance.weighting import Weighting, balance, standard, temporal
from aisle_smc.resampling import Resampler, systematic

__all__ = [
    "AMIS",
    "APIS",
    "DMPMC",
    "GAPIS",
    "GRAMIS",
    "GRPMC",
    "LAIS",
    "LRPMC",
    "MPMC",
    "NPMC",
    "OPMC",
    "PMC",
    "Method",
]

_CLIPPING = Clipping()


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """An adaptive importance sampler.

    Attributes
    ----------
    name : str
        What it is called.
    start : Start
        Its first proposals.
    weighting : Weighting
        What the target is divided by while it adapts.
    adaptation : Adaptation
        How proposals follow from draws.

    Examples
    --------
    Chains for the locations, an own-proposal denominator, three draws in a group of two:

    >>> from aisle_smc.importance import MarkovLocations, Scattered, partial
    >>> Method(
    ...     name="chains in pairs",
    ...     start=Scattered(locations=20),
    ...     weighting=partial(2),
    ...     adaptation=MarkovLocations(steps=3),
    ... ).name
    'chains in pairs'
    """

    name: str
    start: Start
    weighting: Weighting = balance
    adaptation: Adaptation


def PMC(
    *,
    locations: int | None = None,
    resampler: Resampler = systematic,
    spread: Spread = wide,
    df: float = 5.0,
) -> Method:
    """Weigh each draw by its own proposal and resample them all: population Monte Carlo.

    By default each proposal is as wide as the target: weighted by itself, it has to cover it.

    References
    ----------
    Cappe, Guillin, Marin and Robert (2004), Population Monte Carlo.
    """
    return Method(
        name="PMC",
        start=Scattered(locations=locations, df=df, kernel=wide),
        weighting=standard,
        adaptation=ResampleGlobally(resampler=resampler, spread=spread),
    )


def DMPMC(
    *,
    locations: int | None = None,
    resampler: Resampler = systematic,
    spread: Spread = kernel,
    df: float = 5.0,
) -> Method:
    """Do as PMC with the weights of the deterministic mixture; n^2 densities a round.

    References
    ----------
    Elvira, Martino, Luengo and Bugallo (2017), Improving population Monte Carlo: alternative
    weighting and resampling schemes.
    """
    return Method(
        name="DM-PMC",
        start=Scattered(locations=locations, df=df),
        adaptation=ResampleGlobally(resampler=resampler, spread=spread),
    )


def GRPMC(
    *,
    locations: int = 50,
    resampler: Resampler = systematic,
    spread: Spread = kernel,
    df: float = 5.0,
) -> Method:
    """Make several draws of each proposal and resample them together.

    References
    ----------
    Elvira, Martino, Luengo and Bugallo (2017), global resampling.
    """
    return Method(
        name="GR-PMC",
        start=Scattered(locations=locations, df=df),
        adaptation=ResampleGlobally(resampler=resampler, spread=spread),
    )


def LRPMC(*, locations: int = 50, spread: Spread = kernel, df: float = 5.0) -> Method:
    """Make several draws of each proposal, one of which takes its place.

    References
    ----------
    Elvira, Martino, Luengo and Bugallo (2017), local resampling.
    """
    return Method(
        name="LR-PMC",
        start=Scattered(locations=locations, df=df),
        adaptation=ResampleLocally(spread=spread),
    )


def MPMC(*, parts: int = 10, df: float = 5.0, stabiliser: Stabiliser | None = None) -> Method:
    """Fit a mixture by expectation-maximisation, weights by the whole of it.

    Rao-Blackwellised twice: which part a draw came from is integrated out of its weight and of the
    fit.  A round iterates to the maximum instead of making one step.

    References
    ----------
    Cappe, Douc, Guillin, Marin and Robert (2008), Adaptive importance sampling in general mixture
    classes.
    """
    return Method(
        name="M-PMC",
        start=Blended(Scattered(locations=parts, df=df)),
        adaptation=FitProposal(stabiliser=stabiliser),
    )


def AMIS(
    *,
    fit: Callable[[Floats, Floats, np.random.Generator], Distribution] | None = fit_mixture,
    stabiliser: Stabiliser | None = None,
) -> Method:
    """Fit one proposal to all draws so far, weighted by all proposals so far.

    `fit` may be :func:`aisle_smc.distributions.fit_mixture`, :data:`moments` (one Student-t
    distribution by mean and covariance: much faster, and coarser), a function of your own
    ``fit(x, weights, rng)``, or None for the ``fit`` of the present proposal.

    References
    ----------
    Cornuet, Marin, Mira and Robert (2012), Adaptive multiple importance sampling.
    """
    return Method(
        name="AMIS",
        start=Whole(),
        weighting=temporal,
        adaptation=FitProposal(fit=fit, stabiliser=stabiliser),
    )


def NPMC(
    *,
    fit: Callable[[Floats, Floats, np.random.Generator], Distribution] | None = fit_mixture,
    stabiliser: Stabiliser = _CLIPPING,
) -> Method:
    """Fit a proposal with transformed weights; those of the evidence are left as they are.

    References
    ----------
    Koblents and Miguez (2015), A population Monte Carlo scheme with transformed weights and its
    application to stochastic kinetic models.
    """
    return Method(
        name="N-PMC", start=Whole(), adaptation=FitProposal(fit=fit, stabiliser=stabiliser)
    )


def APIS(*, locations: int = 50, spread: Spread = kernel, df: float = 5.0) -> Method:
    """Move each proposal to the mean its own draws estimate; an epoch is a round.

    References
    ----------
    Martino, Elvira, Luengo and Corander (2015), An adaptive population importance sampler.
    """
    return Method(
        name="APIS",
        start=Scattered(locations=locations, df=df),
        adaptation=LocalMeans(spread=spread),
    )


def LAIS(
    *,
    locations: int = 50,
    steps: int = 5,
    step: float | None = None,
    spread: Spread = kernel,
    df: float = 5.0,
) -> Method:
    """Let Markov chains carry the locations, and weigh draws around them.

    References
    ----------
    Martino, Elvira, Luengo and Corander (2017), Layered adaptive importance sampling.
    """
    return Method(
        name="LAIS",
        start=Scattered(locations=locations, df=df),
        adaptation=MarkovLocations(steps=steps, step=step, spread=spread),
    )


def GAPIS(*, locations: int = 20, df: float = 5.0) -> Method:
    """Let the locations climb the target, with scales from its curvature.

    References
    ----------
    Elvira, Martino, Luengo and Corander (2015), A gradient adaptive population importance sampler;
    Schuster (2015), Gradient importance sampling.
    """
    return Method(name="GAPIS", start=Scattered(locations=locations, df=df), adaptation=Ascend())


def GRAMIS(
    *, locations: int = 20, repulsion: float = 1.0, decay: float = 0.8, df: float = 5.0
) -> Method:
    """Let the locations climb the target and repel one another.

    References
    ----------
    Elvira, Chouzenoux, Akyildiz and Martino (2023), Gradient-based adaptive importance samplers.
    """
    return Method(
        name="GRAMIS",
        start=Scattered(locations=locations, df=df),
        adaptation=Ascend(repulsion=repulsion, decay=decay),
    )


def OPMC(*, locations: int = 50, df: float = 5.0) -> Method:
    """Resample each proposal's own draws, then take a scaled gradient step from there.

    References
    ----------
    Elvira and Chouzenoux (2022), Optimized population Monte Carlo.
    """
    return Method(
        name="O-PMC",
        start=Scattered(locations=locations, df=df),
        adaptation=InTurn((ResampleLocally(spread=kept), Ascend())),
    )
