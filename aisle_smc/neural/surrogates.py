r"""Surrogates: losses whose gradient is that of an estimator, for a loop of one's own.

>>> import torch
>>> from aisle_smc.neural import surrogate
>>> _ = torch.manual_seed(0)
>>> mean = torch.zeros(2, requires_grad=True)
>>> def log_joint(z, x):
...     return -0.5 * (z - x).square().sum(-1)
>>> def proposal(x):
...     return torch.distributions.Independent(torch.distributions.Normal(mean + 0 * x, 1.0), 1)
>>> x = torch.ones(5, 2)
>>> step = surrogate(log_joint, proposal, x, estimator="aisle-kl", particles=16)
>>> step.loss.backward()
>>> mean.grad.shape, step.log_evidence.shape
(torch.Size([2]), torch.Size([5]))
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from aisle_smc.arguments import check_count
from aisle_smc.divergences import Stabiliser
from aisle_smc.neural.ascent import Ascent, Form, LogJoint, ascend
from aisle_smc.neural.estimators import resolved
from aisle_smc.neural.formulas import Estimator, Single
from aisle_smc.neural.paths import conditioned, replay, require_floating, require_paths
from aisle_smc.neural.rows import Rows
from aisle_smc.neural.steps import Step

__all__ = ["markovian", "sleep", "surrogate"]


def surrogate(
    log_joint: LogJoint,
    proposal: Any,
    x: Any = None,
    *,
    estimator: str | Estimator = "aisle-kl",
    particles: int = 16,
    stabiliser: Stabiliser | None = None,
) -> Step:
    r"""Draw from the proposal and return a loss with the gradient of an estimator.

    The proposal's parameters phi and those of the model theta get

    .. math::
        -\nabla_\phi = \frac1N \sum_n \sum_k a_k T_k + b_k s_k, \qquad
        -\nabla_\theta = \frac1N \sum_n \sum_k c_k \nabla_\theta \log \gamma_\theta(z_k)

    in one ``loss.backward()``, and neither leaks into the other.

    Parameters
    ----------
    log_joint : callable
        ``log_joint(z, x)`` in nats, shape (K, N), for z of shape (K, N, \*event); with a proposal
        that has no datapoints, shape (K,) for z of shape (K, \*event).
    proposal : callable or distribution
        ``proposal(x)`` returns an object with ``log_prob``, ``sample`` and, for paths,
        ``rsample``: for example a distribution of torch or zuko. Without `x` it is called with
        nothing. An object with ``log_prob`` is used as it is.
    x : object, optional
        The minibatch.
    estimator : str or Estimator
        A name of :data:`~aisle_smc.neural.estimators.ESTIMATORS`, or the value returned by
        :func:`~aisle_smc.neural.estimators.estimator`.
    particles : int
        The number K of draws for each datapoint.
    stabiliser : Stabiliser, optional
        Applied to the weights before the coefficients are taken.

    Returns
    -------
    Step

    Raises
    ------
    TypeError
        If an argument is not of its kind.
    ValueError
        If the estimator needs paths and the draws have none, or is zero, noise or undefined with
        one particle; if a density has the wrong shape or is not finite, with the particle and the
        datapoint.

    Notes
    -----
    The divergences from the target to the proposal are those of many particles: with one, the path
    form of KL is that of KL(q | pi), with few it is between the two; 16 or more are better.

    A path form is the gradient only if the target's density is continuous, also at the edge of its
    support: where it jumps to zero among the draws, as that of a half-normal target under a
    Gaussian proposal, what the edge contributes is missing, and a warning says so once. Use a
    score form there, such as ``"rws"``, or a proposal with the support of the target.

    Both densities are evaluated once. A draw of zero target density contributes nothing, provided
    that the gradient of `log_joint` by theta is finite there. Weights and coefficients are float64
    whatever the networks are.
    """
    check_count("particles", particles)
    chosen = resolved(estimator)
    _check_single(chosen, particles)
    if stabiliser is not None and chosen.auxiliary:
        raise ValueError(f"{chosen.name!r} has auxiliary draws and takes no stabiliser")
    q = conditioned(proposal, x)
    shape = torch.Size([particles + chosen.auxiliary])
    log_q = None
    if not chosen.needs_path:
        z = q.sample(shape)
    else:
        require_paths(q, chosen.name)
        if chosen.coupled and hasattr(q, "rsample_and_log_prob"):
            z, log_q = q.rsample_and_log_prob(shape)
        else:
            z = q.rsample(shape)
        require_floating(z, chosen.name)
    return _step(log_joint, q, z, x, chosen, stabiliser, log_q)


def markovian(
    log_joint: LogJoint,
    proposal: Any,
    x: Any = None,
    *,
    retained: Tensor,
    estimator: str | Estimator = "msc",
    particles: int = 16,
) -> Step:
    r"""Markovian score climbing: a step with one particle kept from the step before.

    The particles are the retained state and K - 1 fresh draws. ``step.draw()`` is the state to
    retain for the next step, a move of iterated sampling importance resampling, which leaves the
    posterior invariant; once the retained state has that law, the step is exactly
    :math:`-\nabla KL(\pi \| q)` in mean for any K.

    Parameters
    ----------
    log_joint, proposal, x
        As for :func:`surrogate`.
    retained : Tensor, shape (N, \*event)
        A state for each datapoint of `x`.
    estimator : str or Estimator
        ``"msc"``, or ``"msc-path"`` where the proposal can be inverted.
    particles : int
        The number K, at least 2.

    Returns
    -------
    Step
        Its ``log_evidence`` is that of all K weights, the retained one included.

    Raises
    ------
    TypeError, ValueError
        As for :func:`surrogate`, and if the retained state has not the shape of a draw.

    References
    ----------
    C. A. Naesseth, F. Lindsten and D. Blei (2020). Markovian score climbing: variational inference
    with KL(p||q). NeurIPS, algorithm 1.
    """
    check_count("particles", particles)
    chosen = resolved(estimator)
    _check_single(chosen, particles)
    q = conditioned(proposal, x)
    shape = torch.Size([particles - 1])
    if chosen.needs_path:
        require_paths(q, chosen.name)
    fresh = q.rsample(shape) if chosen.needs_path else q.sample(shape)
    if retained.shape != fresh.shape[1:]:
        raise ValueError(
            f"retained must have the shape of a draw, {tuple(fresh.shape[1:])}, one state for "
            f"each datapoint; got {tuple(retained.shape)}"
        )
    kept = retained.detach().to(fresh.dtype)[None]
    first = replay(q, kept) if chosen.needs_path else kept
    return _step(log_joint, q, torch.cat([first, fresh]), x, chosen, None, None)


def sleep(proposal: Any, z: Tensor, x: Any) -> Tensor:
    r"""Return the sleep-phase loss of a proposal, on pairs simulated from the model.

    .. math:: -\frac1N \sum_n \log q_\phi(z_n \mid x_n), \qquad (z_n, x_n) \sim p_\theta

    Parameters
    ----------
    proposal : callable or distribution
        As for :func:`surrogate`.
    z : Tensor, shape (..., N, \*event)
        Latent variables.
    x : object
        Observations simulated from them.

    Returns
    -------
    Tensor, shape ()

    Notes
    -----
    Unbiased for the gradient of :math:`E_{p(x)} KL(p(z \mid x) \| q)`, over the model's data and
    not over the observed ones: for a start, or mixed with another step.

    References
    ----------
    J. Bornschein and Y. Bengio (2015). Reweighted wake-sleep. ICLR.
    """
    log_q = conditioned(proposal, x).log_prob(z.detach())
    if not bool(torch.isfinite(log_q).all()):
        raise ValueError(
            "the proposal's log_prob must be finite at every simulated latent; it is "
            f"{float(log_q[~torch.isfinite(log_q)][0])} at one; its support must cover the prior's"
        )
    return -torch.mean(log_q)


def _step(
    log_joint: LogJoint,
    q: Any,
    z: Tensor,
    x: Any,
    chosen: Estimator,
    stabiliser: Stabiliser | None,
    log_q: Tensor | None,
) -> Step:
    following = stabiliser

    def weigh(log_gamma: Tensor, log_density: Tensor) -> Rows:
        nonlocal following
        log_w = log_gamma - log_density
        if stabiliser is not None:
            stabilised = stabiliser.apply(log_w)
            following, log_w = stabilised.stabiliser, stabilised.log_w
        return chosen.rows(log_w)

    form = Form(
        path=chosen.needs_path,
        score=chosen.needs_score,
        coupled=chosen.coupled,
        bounded=chosen.bounded,
    )
    found: Ascent = ascend(log_joint, q, z, x, form, weigh, log_q=log_q)
    main = z.shape[0] - chosen.auxiliary
    return Step(
        loss=found.loss,
        log_evidence=found.rows.log_evidence,
        log_w=found.log_ratio[:main],
        weights=found.rows.weights[:main],
        z=z.detach()[:main],
        degenerate=found.rows.degenerate,
        stabiliser=following,
    )


def _check_single(chosen: Estimator, particles: int) -> None:
    groups = getattr(chosen, "groups", 1)
    if particles // groups == 1 and chosen.single is not Single.MEANINGFUL:
        each = "" if groups == 1 else " in each group"
        raise ValueError(
            f"{chosen.name!r} with a single particle{each} is {chosen.single.value}; use at least "
            f"2 particles{each}, better 16, or a path form such as 'aisle-kl'"
        )
