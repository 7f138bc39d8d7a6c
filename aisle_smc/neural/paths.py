r"""Paths: what a proposal must give for its draws to carry gradients.

A reparametrised draw is :math:`z = h_\phi(e)` of noise e. A draw from anywhere is **replayed**: as
if the proposal had made it, of the noise :math:`e = h_\phi^{-1}(z)`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributions as D

__all__ = ["conditioned", "replay", "require_floating", "require_paths"]

_LOCATED = (D.Normal, D.Laplace, D.Cauchy, D.StudentT)


def conditioned(proposal: Any, x: Any) -> Any:
    """Return the distribution that a proposal, amortised or not, gives for `x`."""
    if hasattr(proposal, "log_prob"):
        return proposal
    if not callable(proposal):
        raise TypeError(
            "proposal must be a distribution with log_prob, or a callable that returns one; got a "
            f"{type(proposal).__name__}"
        )
    q = proposal() if x is None else proposal(x)
    if not hasattr(q, "log_prob"):
        raise TypeError(
            f"proposal must return a distribution with log_prob; got a {type(q).__name__}"
        )
    return q


def require_paths(q: Any, name: str) -> None:
    """Raise unless draws of `q` can carry gradients, as the estimator called `name` needs."""
    try:
        discrete = bool(q.support.is_discrete)
    except (AttributeError, NotImplementedError):
        discrete = False
    if discrete:
        raise ValueError(
            f"{name!r} needs draws that are differentiable; the latents of {type(q).__name__} are "
            "discrete; use a score form, such as 'aisle-kl-score' or 'vimco'"
        )
    if not (hasattr(q, "rsample") and getattr(q, "has_rsample", True)):
        raise ValueError(
            f"{name!r} needs reparametrised draws; {type(q).__name__} has no rsample; use a score "
            "form, such as 'aisle-kl-score' or 'vimco'"
        )


def require_floating(z: Tensor, name: str) -> None:
    """Raise unless the draws are numbers that can carry gradients."""
    if not z.is_floating_point():
        raise ValueError(
            f"{name!r} needs draws that are differentiable; rsample gave {z.dtype}; use a score "
            "form, such as 'aisle-kl-score'"
        )


def replay(q: Any, z: Tensor) -> Tensor:
    r"""Return z with the gradient by the proposal's parameters that a reparametrised draw has.

    .. math:: h_\phi(h_{\bar\phi}^{-1}(z))

    where the parameters in the inverse are held fixed; the value is z itself.

    Parameters
    ----------
    q : distribution
        One with a method ``reattach(z)`` that does this, as the proposals of this package; one
        of torch's families of location and scale, a uniform or multivariate normal; or a flow, of
        torch or zuko, on one of these.
    z : Tensor, shape (K, ..., *event)
        Draws from anywhere, in its support.

    Raises
    ------
    ValueError
        If the map from noise to draws cannot be inverted.

    References
    ----------
    M. Bauer and A. Mnih (2021). Generalized doubly reparameterized gradient estimators. ICML.
    """
    if hasattr(q, "reattach"):
        reattached: Tensor = q.reattach(z)
        return reattached
    fixed = z.detach()
    with torch.no_grad():
        noise = _inverse(q, fixed)
    live: Tensor = _forward(q, noise)
    # The rounding of the inverse is kept out of the weights.
    return fixed + (live - live.detach())


def _inverse(q: Any, z: Tensor) -> Any:
    if isinstance(q, D.Independent):
        return _inverse(q.base_dist, z)
    if isinstance(q, D.TransformedDistribution):
        for transform in reversed(q.transforms):
            z = transform.inv(z)
        return _inverse(q.base_dist, z)
    if _is_flow(q):
        return _inverse(q.base, q.transform(z))
    if isinstance(q, D.MultivariateNormal):
        centred = (z - q.loc).unsqueeze(-1)
        return torch.linalg.solve_triangular(q.scale_tril, centred, upper=False).squeeze(-1)
    if isinstance(q, D.Uniform):
        return (z - q.low) / (q.high - q.low)
    if isinstance(q, _LOCATED):
        if isinstance(q, D.StudentT) and q.df.requires_grad:
            raise ValueError(
                "a StudentT is replayed with its df fixed; got a df that requires gradient; "
                "detach it, or use the score form"
            )
        return (z - q.loc) / q.scale
    raise ValueError(
        f"the path form needs a proposal whose draws can be inverted; got {type(q).__name__}; use "
        "the score form, or give it a method reattach(z)"
    )


def _forward(q: Any, e: Tensor) -> Any:
    if isinstance(q, D.Independent):
        return _forward(q.base_dist, e)
    if isinstance(q, D.TransformedDistribution):
        z = _forward(q.base_dist, e)
        for transform in q.transforms:
            z = transform(z)
        return z
    if _is_flow(q):
        return q.transform.inv(_forward(q.base, e))
    if isinstance(q, D.MultivariateNormal):
        return q.loc + (q.scale_tril @ e.unsqueeze(-1)).squeeze(-1)
    if isinstance(q, D.Uniform):
        return q.low + (q.high - q.low) * e
    return q.loc + q.scale * e


def _is_flow(q: Any) -> bool:
    """Say whether `q` is laid out as zuko's flows, whose transform maps draws to noise."""
    return hasattr(q, "base") and hasattr(getattr(q, "transform", None), "inv")
