r"""Off-policy steps: the proposal learns from particles that something else has made.

Both forms of the gradient are averages under the target, so that its weighted particles may come
from a defensive mixture, an SMC sampler, a chain or a replay buffer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from aisle_smc.divergences import KL, Divergence, JensenShannon, Stabiliser
from aisle_smc.divergences import off_policy as coefficients
from aisle_smc.neural.ascent import Form, LogJoint, ascend
from aisle_smc.neural.paths import conditioned, replay
from aisle_smc.neural.rows import Rows, rows_of
from aisle_smc.neural.steps import Step

__all__ = ["off_policy"]


def off_policy(
    z: Tensor,
    log_weights: Tensor | None,
    log_joint: LogJoint,
    proposal: Any,
    x: Any = None,
    *,
    divergence: Divergence | None = None,
    path: bool = True,
    baseline: bool = False,
    log_sampler: Tensor | None = None,
    log_evidence: Tensor | float | None = None,
    stabiliser: Stabiliser | None = None,
) -> Step:
    r"""Return a loss that teaches a proposal, and the model, by weighted particles.

    With normalised weights W and the ratio :math:`u = \gamma / (q \hat Z)`

    .. math:: \sum_k W_k u_k f''(u_k) \, T_k \qquad \text{or} \qquad
        \sum_k W_k \Bigl(f'(u_k) - \frac{f(u_k)}{u_k}\Bigr) s_k;

    for KL both have the coefficient W.

    Parameters
    ----------
    z : Tensor, shape (K, ..., \*event)
        The particles.
    log_weights : Tensor, shape (K, ...), or None
        Their log-weights for the target, in nats; None to have them computed from `log_sampler`.
    log_joint, proposal, x
        As for :func:`~aisle_smc.neural.surrogates.surrogate`.
    divergence : Divergence, optional
        ``KL()`` by default.
    path : bool
        The path form, which maps the particles back through the proposal with its parameters held
        fixed; otherwise the score form, for any proposal.
    baseline : bool
        Whether the score form has its control variate, see
        :func:`aisle_smc.divergences.off_policy`.
    log_sampler : Tensor, shape (K, ...), optional
        Log-density of the sampler that made the particles, in nats, *at the particles*: for a
        mixture that of the whole mixture. The weights are then ``log_joint - log_sampler``, of
        the evaluation of `log_joint` that is made anyway.
    log_evidence : float or Tensor, shape (...), optional
        Log of the target's mass by the same particles; by default that of the mean weight.
    stabiliser : Stabiliser, optional
        Applied to the weights.

    Returns
    -------
    Step

    Raises
    ------
    TypeError, ValueError
        As :func:`~aisle_smc.neural.surrogates.surrogate`; and if not exactly one of `log_weights`
        and `log_sampler` is given, their shape is wrong, the proposal cannot be inverted, or the
        score form has a single particle.

    Notes
    -----
    On draws from the proposal itself, with their weights, the path form is that of AISLE with the
    same divergence. It needs a target density that is continuous, also at the edge of its support;
    where it jumps to zero inside the proposal's support use ``path=False``.

    References
    ----------
    A. Finke and A. H. Thiery (2019). On importance-weighted autoencoders. arXiv 1907.10477.
    M. Bauer and A. Mnih (2021). Generalized doubly reparameterized gradient estimators. ICML.
    """
    if (log_weights is None) == (log_sampler is None):
        raise ValueError(
            "pass either log_weights, or log_sampler with log_weights=None; got "
            + ("neither" if log_weights is None else "both")
        )
    if not path and z.shape[0] == 1:
        raise ValueError(
            "the score form with a single particle does not see its weight, which is 1 once "
            "normalised, and fits the proposal to the sampler; use at least 2 particles, better "
            "16; draws of the target itself, one for each datapoint, are for sleep(proposal, z, x)"
        )
    chosen = KL() if divergence is None else divergence
    q = conditioned(proposal, x)
    following = stabiliser
    raw = torch.empty(0)

    def weigh(log_gamma: Tensor, log_density: Tensor) -> Rows:
        nonlocal following, raw
        given = log_sampler if log_weights is None else log_weights
        assert given is not None
        if given.shape != log_gamma.shape:
            raise ValueError(
                f"{'log_sampler' if log_weights is None else 'log_weights'} must have one value "
                f"for each value of log_joint, {tuple(log_gamma.shape)}; got {tuple(given.shape)}"
            )
        given = given.detach().double()
        raw = log_gamma - given if log_weights is None else given
        log_w = raw
        if stabiliser is not None:
            stabilised = stabiliser.apply(log_w)
            following, log_w = stabilised.stabiliser, stabilised.log_w
        found = coefficients(
            log_w,
            log_gamma - log_density,
            chosen,
            log_evidence=log_evidence,
            path=path,
            baseline=baseline,
        )
        return rows_of(found)

    # The ratio of both coefficients is u f''(u), and off the policy u is not at most K.
    bounded = isinstance(chosen, KL | JensenShannon)
    form = Form(path=path, score=not path, coupled=False, bounded=bounded)
    draws = replay(q, z) if path else z.detach()
    found = ascend(log_joint, q, draws, x, form, weigh)
    return Step(
        loss=found.loss,
        log_evidence=found.rows.log_evidence,
        log_w=raw,
        weights=found.rows.weights,
        z=z.detach(),
        degenerate=found.rows.degenerate,
        stabiliser=following,
    )
