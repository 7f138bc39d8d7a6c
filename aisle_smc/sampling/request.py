"""What a person asks for, read once: a prior, bounds or draws, as coordinates and a start."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.coordinates import Coordinate
from aisle_smc.distributions import (
    Defensive,
    Distribution,
    Gaussian,
    StudentT,
    fit_mixture,
)
from aisle_smc.priors import Prior
from aisle_smc.sampling.offers import Offer, read_offer
from aisle_smc.sampling.spaces import BareSpace, DistributionSpace, PriorSpace, Space, WhiteSpace
from aisle_smc.streams import stream

__all__ = ["Request", "read_request"]

INIT_AT_LEAST = 10
# How much wider than the draws it was fitted to the start of a bare density is.
WIDER = 1.5
INIT, OFFER = 5, 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A posterior as it will be explored.

    Attributes
    ----------
    space : Space
        Coordinates and reference density.
    names : tuple of str
        What the target is called with.
    free : tuple of str
        What is drawn.
    base : Distribution or None
        Where to start, in coordinates; None for the reference.
    offset : float
        What to add to the target, in nats: the log-volume of a box that stands in for a prior.
    prior : Prior or None
        The prior by name, for figures.
    offer : Offer or None
        A person's proposal, in the free parameters.
    """

    space: Space
    names: tuple[str, ...]
    free: tuple[str, ...]
    base: Distribution | None = None
    offset: float = 0.0
    prior: Prior | None = None
    offer: Offer | None = None


def read_request(
    prior: Any,
    init: Any,
    bounds: Any,
    names: Sequence[str] | None,
    seed: int,
    proposal: Any = None,
) -> Request:
    """Return the coordinates that a prior, bounds, first draws and a proposal stand for.

    Raises
    ------
    TypeError, ValueError
        If they contradict each other or are not enough.
    """
    if isinstance(names, str):
        names = (names,)
    if prior is not None and bounds is not None:
        raise ValueError(
            "prior and bounds were both given; the support of a prior is its bounds: leave bounds "
            "out, or leave the prior out to integrate the bare density"
        )
    if prior is None and init is None and bounds is None:
        raise TypeError(
            "sample() needs a prior (a dict of SciPy distributions by name), or for a density "
            "that stands alone finite bounds or first draws (init); got none of them"
        )
    if prior is not None:
        request = _with_prior(prior, init, names, seed)
    elif init is None:
        request = _in_a_box(bounds, names)
    else:
        request = _bare(init, bounds, names, seed)
    if proposal is None:
        return request
    offer = read_offer(proposal, request.free, stream(seed, OFFER))
    return replace(request, offer=offer)


def _with_prior(prior: Any, init: Any, names: Sequence[str] | None, seed: int) -> Request:
    if isinstance(prior, Mapping):
        prior = Prior(prior)
    elif isinstance(prior, Sequence) and not isinstance(prior, str):
        labels = _labels(names, len(prior))
        prior = Prior(dict(zip(labels, prior, strict=True)))
        names = None
    if isinstance(prior, Prior):
        if names is not None and tuple(names) != prior.names:
            raise ValueError(
                f"names must be those of the prior, {', '.join(prior.names)}, or left out; got "
                f"{', '.join(map(str, names))}"
            )
        if not prior.free:
            raise ValueError(
                "the prior fixes every parameter, so there is nothing to sample; give at least "
                "one of them a distribution"
            )
        space: Space = PriorSpace(prior=prior)
        request = Request(space=space, names=prior.names, free=prior.free, prior=prior)
        if init is None:
            return request
        theta = _draws(init, prior.free, prior.names)
        inside = np.isfinite(prior.log_density(theta))
        if not inside.all():
            i = int(np.argmin(inside))
            raise ValueError(
                f"init must lie inside the support of the prior; init[{i}] is "
                f"{_point(prior.free, theta[i])}, where the prior density is zero"
            )
        z = np.asarray(prior.to_normal(theta))
        wide = Gaussian(mean=np.zeros(z.shape[1]), root=np.eye(z.shape[1]))
        base = Defensive(proposal=_around(z, seed), safety=wide, share=0.1)
        return Request(space=space, names=prior.names, free=prior.free, prior=prior, base=base)
    from aisle_smc.distributions import as_distribution

    joint = as_distribution(prior)
    labels = _labels(names, joint.dim)
    space = (
        WhiteSpace(prior=joint) if isinstance(joint, Gaussian) else DistributionSpace(prior=joint)
    )
    if init is not None:
        raise ValueError(
            "init needs a prior by names or none at all; with a joint prior leave init out"
        )
    return Request(space=space, names=labels, free=labels)


def _in_a_box(bounds: Any, names: Sequence[str] | None) -> Request:
    """Integrate a bare density over a box: a uniform prior, and its volume given back."""
    labels, ends = _read_bounds(bounds, names, None)
    for name, (low, high) in zip(labels, ends, strict=True):
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(
                f"without a prior or first draws (init) bounds must be finite; those of {name!r} "
                f"are ({low:g}, {high:g}); narrow them, or give init or a prior"
            )
    prior = Prior.box(dict(zip(labels, ends, strict=True)))
    volume = float(sum(math.log(high - low) for low, high in ends))
    return Request(space=PriorSpace(prior=prior), names=labels, free=labels, offset=volume)


def _bare(init: Any, bounds: Any, names: Sequence[str] | None, seed: int) -> Request:
    if names is None:
        # Who writes names somewhere means them everywhere.
        named = next((given for given in (bounds, init) if isinstance(given, Mapping)), None)
        names = None if named is None else tuple(named)
    theta = _draws(init, tuple(names) if names is not None else None)
    d = theta.shape[1]
    if bounds is None:
        labels = _labels(names, d)
        ends = [(-math.inf, math.inf)] * d
    else:
        labels, ends = _read_bounds(bounds, names, d)
    coordinates = []
    for j, (name, (low, high)) in enumerate(zip(labels, ends, strict=True)):
        coordinates.append(Coordinate(name=name, distribution=None, lower=low, upper=high))
        inside = coordinates[-1].inside(theta[:, j])
        if not inside.all():
            i = int(np.argmin(inside))
            raise ValueError(
                f"init must lie strictly inside the bounds; init[{i}] has {name} = "
                f"{theta[i, j]:g}, outside of ({low:g}, {high:g}); correct the bounds or leave "
                "that draw out"
            )
    space = BareSpace(coordinates=tuple(coordinates))
    z = space.coordinates_of(theta)
    return Request(space=space, names=labels, free=labels, base=_around(z, seed))


def _around(z: Floats, seed: int) -> Distribution:
    """Return a distribution that covers first draws, with room around them."""
    n, d = z.shape
    weights = np.full(n, 1.0 / n)
    fitted = fit_mixture(z, weights, stream(seed, INIT), most=16)
    parts = tuple(
        StudentT(location=p.location, root=WIDER * p.root, df=5.0)
        for p in fitted.parts
        if isinstance(p, StudentT)
    )
    whole = StudentT(location=np.zeros(d), root=np.eye(d)).fit(z, weights)
    wide = StudentT(location=whole.location, root=2.0 * WIDER * whole.root, df=3.0)
    return Defensive(proposal=replace_parts(fitted, parts), safety=wide, share=0.2)


def replace_parts(mixture: Any, parts: tuple[StudentT, ...]) -> Any:
    """Return a mixture with other parts of the same weights."""
    return type(mixture)(weights=mixture.weights, parts=parts)


def _labels(names: Sequence[str] | None, d: int) -> tuple[str, ...]:
    if names is None:
        return tuple(f"x{j}" for j in range(d))
    labels = tuple(names)
    if len(labels) != d or len(set(labels)) != d or not all(isinstance(v, str) for v in labels):
        raise ValueError(
            f"names must be {d} different strings, one for each parameter; got {labels!r}"
        )
    return labels


def _read_bounds(
    bounds: Any, names: Sequence[str] | None, d: int | None
) -> tuple[tuple[str, ...], list[tuple[float, float]]]:
    if isinstance(bounds, Mapping):
        if names is not None and tuple(names) != tuple(bounds):
            raise ValueError(
                f"names must be those of the bounds, {', '.join(bounds)}, or left out; got "
                f"{', '.join(names)}"
            )
        names, pairs = tuple(bounds), list(bounds.values())
    else:
        if isinstance(bounds, str) or not np.iterable(bounds):
            raise TypeError(
                "bounds must be pairs (low, high), one for each parameter, by name or in order; "
                f"got {bounds!r}"
            )
        pairs = list(bounds)
    labels = _labels(names, len(pairs))
    if d is not None and len(pairs) != d:
        raise ValueError(f"init has {d} parameters and bounds {len(pairs)}; give a pair for each")
    ends = []
    for name, pair in zip(labels, pairs, strict=True):
        try:
            low, high = pair
            low = -math.inf if low is None else float(low)
            high = math.inf if high is None else float(high)
        except (TypeError, ValueError):
            raise ValueError(
                f"the bounds of {name!r} must be a pair of numbers (low, high), None for no "
                f"bound; got {pair!r}"
            ) from None
        if not low < high:
            raise ValueError(
                f"the bounds of {name!r} must be (low, high) with low < high; got ({low:g}, "
                f"{high:g})"
            )
        ends.append((low, high))
    return labels, ends


def _draws(
    init: Any, names: tuple[str, ...] | None, known: tuple[str, ...] | None = None
) -> Floats:
    """Return first draws, a column for each name; there may be some of other `known` names."""
    if isinstance(init, Mapping):
        keys = names or tuple(init)
        missing = [name for name in keys if name not in init]
        if missing:
            raise ValueError(
                f"init has no draws of {', '.join(missing)}; it has {', '.join(init)}"
            )
        unknown = [str(name) for name in init if name not in (known or keys)]
        if unknown:
            raise ValueError(
                f"init has draws of {', '.join(unknown)}, which is no parameter; the parameters "
                f"are {', '.join(keys)}"
            )
        init = np.stack([np.asarray(init[name]) for name in keys], axis=-1)
    theta = np.asarray(init)
    if theta.dtype.kind not in "fiu":
        raise TypeError(
            f"init must be draws, real numbers of shape (m, d); got {theta.dtype}; convert it"
        )
    theta = theta.astype(np.float64)
    if theta.ndim == 1 and names is not None and len(names) == 1:
        theta = theta[:, None]
    if theta.ndim != 2 or (names is not None and theta.shape[1] != len(names)):
        wanted = "(m, d)" if names is None else f"(m, {len(names)})"
        raise ValueError(f"init must be draws of shape {wanted}; got shape {theta.shape}")
    if theta.shape[0] < INIT_AT_LEAST:
        raise ValueError(
            f"init must hold at least {INIT_AT_LEAST} draws, to tell how wide the density is; got "
            f"{theta.shape[0]}"
        )
    if not np.isfinite(theta).all():
        i = int(np.argmin(np.isfinite(theta).all(axis=1)))
        raise ValueError(f"init must be finite; init[{i}] is {theta[i]}")
    alike = (theta == theta[0]).all(axis=0)
    if alike.any():
        j = int(np.argmax(alike))
        raise ValueError(
            f"init must tell how wide the density is; {names[j] if names else f'column {j}'} is "
            f"{theta[0, j]:g} in all {theta.shape[0]} draws; give draws that differ"
        )
    return theta


def _point(names: Sequence[str], values: Floats) -> str:
    return ", ".join(f"{name} = {value:g}" for name, value in zip(names, values, strict=True))
