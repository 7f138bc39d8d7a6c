r"""Coefficients: what each particle contributes to a gradient step of the proposal.

Every step here is an ascent direction (downhill in the divergence)

.. math:: \sum_k a_k T_k + \sum_k b_k s_k

with the **path atom** :math:`T_k = (\partial h(e_k) / \partial \phi)^T \nabla_z \log(\gamma / q)`
of a reparametrised draw :math:`z_k = h_\phi(e_k)`, the density's own :math:`\phi` held fixed, and
the **score atom** :math:`s_k = \nabla_\phi \log q_\phi(z_k)` at a fixed draw. The coefficients are
functions of the weights alone and are constants to any differentiation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from aisle_smc.divergences.frameworks import (
    Values,
    in_kind_of,
    log_mean_exp,
    log_sum_exp,
    log_weights,
    namespace,
)
from aisle_smc.divergences.functions import Divergence

__all__ = ["Coefficients", "coefficients", "off_policy", "reparametrise_score"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficients:
    r"""Coefficients of one step, unpacked as ``path, score = coefficients(...)``.

    Attributes
    ----------
    path : array or tensor, shape (n, ...)
        The coefficients a of the path atoms.
    score : array or tensor, shape (n, ...)
        The coefficients b of the score atoms.
    weights : array or tensor, shape (n, ...)
        Normalised weights W of the particles for the target. They are the coefficients of
        :math:`\nabla_\theta \log \gamma_\theta(z_k)` for parameters of the target, whatever the
        divergence.
    log_evidence : array or tensor, shape (...)
        Log of the estimate of the target's mass, in nats.
    degenerate : array or tensor of bool, shape (...)
        True where no particle has weight: every coefficient is then zero.
    """

    path: Values
    score: Values
    weights: Values
    log_evidence: Values
    degenerate: Values

    def __iter__(self) -> Iterator[Values]:
        yield self.path
        yield self.score

    @property
    def ess(self) -> Values:
        """Effective sample size of the weights, shape (...): 1 to n, and 0 where degenerate."""
        xp = namespace(self.weights)
        squares = xp.sum(self.weights**2, 0)
        return xp.where(self.degenerate, 0.0, 1.0 / xp.where(self.degenerate, 1.0, squares))


def coefficients(
    log_w: Values,
    divergence: Divergence,
    *,
    log_v: Values | None = None,
    path: bool = True,
    baseline: bool = True,
) -> Coefficients:
    r"""Compute the coefficients of a step on draws from the proposal itself.

    With weights v of the draws for the proposal (1/n for independent ones) and the plug-in ratio

    .. math:: y_k = \frac{w_k}{\hat Z}, \qquad \hat Z = \sum_k v_k w_k, \qquad W_k = v_k y_k,

    the path form is :math:`a_k = v_k y_k^2 f''(y_k)` and the score form
    :math:`b_k = v_k (y_k f'(y_k) - f(y_k))`; one of the two is zero.

    Parameters
    ----------
    log_w : array or tensor, shape (n, ...)
        Log of target over proposal at each draw, in nats: ``log gamma - log q``, or in a
        sequential step the log of the increment. ``-inf`` is allowed. Each column of the further
        axes is a problem of its own.
    divergence : Divergence
        For example ``KL()``.
    log_v : array or tensor, shape (n, ...), optional
        Log of the weights with which the draws come in, normalised here: those of the population
        before the step, when it was not resampled.
    path : bool
        The path form, for reparametrised draws; otherwise the score form, for any proposal.
    baseline : bool
        Whether the score form has its control variate, which makes it zero at q = pi.

    Returns
    -------
    Coefficients
        In the framework and on the device of `log_w`: float64 arrays, or tensors of its dtype
        computed in double precision, without gradient.

    Raises
    ------
    TypeError
        If the log-weights are not real numbers.
    ValueError
        If a log-weight is NaN or ``+inf``, the shapes differ, the divergence is infinite at a draw
        of target density zero, or it has no such form.

    Notes
    -----
    Biased by O(1/n) for the gradient of the divergence, consistent, with variance O(1/n): the
    signal-to-noise ratio grows as sqrt(n). A constant added to `log_w` changes nothing.

    References
    ----------
    A. Finke and A. H. Thiery (2019). On importance-weighted autoencoders. arXiv 1907.10477,
    equations 9 and 10.

    Examples
    --------
    >>> import numpy as np
    >>> from aisle_smc.divergences import KL, coefficients
    >>> a, b = coefficients(np.log([1.0, 2.0, 5.0]), KL())
    >>> a.round(12).tolist(), b.tolist()
    ([0.125, 0.25, 0.625], [0.0, 0.0, 0.0])
    >>> a, b = coefficients(np.log([1.0, 2.0, 5.0]), KL(), path=False)
    >>> b.round(4).tolist()
    [-0.2083, -0.0833, 0.2917]
    """
    log_v, log_y, log_z = _ratios(log_w, log_v)
    return _evaluate(
        log_w, divergence, log_v, log_y, log_z, log_z == -math.inf, path=path, baseline=baseline
    )


def off_policy(
    log_w: Values,
    log_ratio: Values,
    divergence: Divergence,
    *,
    log_evidence: Values | None = None,
    path: bool = True,
    baseline: bool = False,
) -> Coefficients:
    r"""Compute the coefficients of a step on particles from anywhere, properly weighted.

    Both forms of the gradient are averages under the target, so that its particles may come from a
    defensive mixture, an SMC sampler, a chain or a replay buffer. With their normalised weights W
    and the ratio u of the normalised target to the proposal that is trained,

    .. math:: a_k = W_k u_k f''(u_k), \qquad b_k = W_k (f'(u_k) - f(u_k) / u_k), \qquad
        u_k = \frac{\gamma(z_k)}{q(z_k) \hat Z}.

    Parameters
    ----------
    log_w : array or tensor, shape (n, ...)
        Log-weights of the particles for the target, in nats.
    log_ratio : array or tensor, shape (n, ...)
        ``log gamma - log q`` at each particle, in nats, q the proposal that is trained.
    divergence : Divergence
        For KL the ratio drops out: both forms have the coefficient W.
    log_evidence : float, array or tensor, shape (...), optional
        Log of the target's mass as estimated by the same particles, in nats; by default that of
        ``mean(w)``, which is right for ``w = gamma / m`` on independent draws from m. For a
        population it is ``particles.log_evidence``.
    path : bool
        The path form. Its atoms are taken at the draw mapped back by the proposal,
        ``e = h^-1(z)``, held fixed; the form needs an invertible h.
    baseline : bool
        Whether the score form has its control variate. It then holds ``v = W / u``, a weight for
        q that is as heavy-tailed as q is wider than the sampler; it is zero at q = pi.

    Returns
    -------
    Coefficients
        As from :func:`coefficients`, which this equals on draws from q.

    Raises
    ------
    TypeError
        If the log-weights are not real numbers.
    ValueError
        If the shapes differ, a log-weight is NaN or ``+inf``, a particle with weight has the ratio
        zero or infinity, or one without weight would need a term that the weights do not hold.

    Notes
    -----
    Without the baseline a particle of weight zero contributes nothing. That is exact for the
    divergences of this package; with :class:`General` it needs ``f(0) = 0`` where q reaches
    beyond the support of the target.

    References
    ----------
    M. Bauer and A. Mnih (2021). Generalized doubly reparameterized gradient estimators. ICML.
    """
    w, ratio = log_weights(log_w, "log_w"), log_weights(log_ratio, "log_ratio")
    _same_shape(w, ratio, "log_ratio")
    xp = namespace(w)
    total = log_sum_exp(w)
    degenerate = total == -math.inf
    if log_evidence is None:
        log_evidence = log_mean_exp(w)
    else:
        log_evidence = xp.zeros_like(total) + log_evidence
        _refuse(
            ~(degenerate | xp.isfinite(log_evidence)),
            f"log_evidence must be finite where a particle has weight; got {log_evidence}",
        )
    shift = xp.where(degenerate, 0.0, log_evidence)
    absent = w == -math.inf
    _refuse(
        ~absent & (ratio == -math.inf),
        "log_ratio must be finite where log_w is; log_ratio[{index}] is -inf and log_w is not; "
        "both are -inf where the target has no density",
    )
    if (not path and baseline) or not divergence.finite_at_zero:
        _refuse(
            absent & ~degenerate,
            "every particle must have weight with a baseline, or with a divergence that is "
            "infinite at zero; log_w[{index}] is -inf; use baseline=False and, for example, KL()",
        )
    log_y = xp.where(absent, 0.0, ratio - shift)
    log_v = w - xp.where(degenerate, 0.0, total) - log_y
    return _evaluate(
        log_w, divergence, log_v, log_y, log_evidence, degenerate, path=path, baseline=baseline
    )


def reparametrise_score(
    log_w: Values, divergence: Divergence, *, log_v: Values | None = None
) -> Coefficients:
    r"""Compute the path coefficients whose mean is that of the score form, at every n.

    .. math:: a_k = (1 - W_k) \, v_k y_k^2 f''(y_k)

    is the derivative of :math:`v_k h(y_k)` by :math:`\log w_k`, the others held fixed, and so the
    doubly reparametrised form of the score coefficients; for KL it is ``W - W^2``.

    Parameters
    ----------
    log_w, divergence, log_v
        As for :func:`coefficients`.

    Returns
    -------
    Coefficients
        Path coefficients; those of the score are zero.

    Raises
    ------
    TypeError, ValueError
        As for :func:`coefficients`.

    Notes
    -----
    The coefficients all go to zero as one particle takes all the weight: the step then stalls
    where that of :func:`coefficients` does not. ``1 - W`` is summed from the other weights, since
    the subtraction has no digits left when W is near 1.

    References
    ----------
    G. Tucker, D. Lawson, S. Gu and C. J. Maddison (2019). Doubly reparameterized gradient
    estimators for Monte Carlo objectives. ICLR.
    """
    log_v, log_y, log_z = _ratios(log_w, log_v)
    found = _evaluate(
        log_w, divergence, log_v, log_y, log_z, log_z == -math.inf, path=True, baseline=True
    )
    xp = namespace(log_y)
    w = xp.exp(log_v + log_y)
    heavy = w > 0.5
    others = xp.where(heavy, xp.sum(xp.where(heavy, 0.0, w), 0), 1.0 - w)
    return replace(found, path=found.path * in_kind_of(log_w, others))


def _ratios(given: Values, given_v: Values | None) -> tuple[Values, Values, Values]:
    """Return log v, log y and the log-evidence; y is zero in a column without weight."""
    log_w = log_weights(given, "log_w")
    xp = namespace(log_w)
    if given_v is None:
        log_v = xp.full_like(log_w, -math.log(log_w.shape[0]))
        log_evidence = log_mean_exp(log_w)
    else:
        log_v = log_weights(given_v, "log_v")
        _same_shape(log_w, log_v, "log_v")
        total = log_sum_exp(log_v)
        log_v = log_v - xp.where(total == -math.inf, 0.0, total)
        log_evidence = log_sum_exp(log_v + log_w)
    return log_v, log_w - xp.where(log_evidence == -math.inf, 0.0, log_evidence), log_evidence


def _evaluate(
    given: Values,
    divergence: Divergence,
    log_v: Values,
    log_y: Values,
    log_evidence: Values,
    degenerate: Values,
    *,
    path: bool,
    baseline: bool,
) -> Coefficients:
    """Ask the divergence, away from the columns and the particles that have nothing to say."""
    xp = namespace(log_y)
    weights = xp.where(degenerate, 0.0, xp.exp(log_v + log_y))
    log_v = xp.where(degenerate, -math.log(log_y.shape[0]), log_v)
    log_y = xp.where(degenerate | (log_v == -math.inf), 0.0, log_y)
    if not divergence.finite_at_zero:
        _refuse(
            log_y == -math.inf,
            f"{divergence!r} needs a positive target density at every draw, else it is infinite; "
            "log_w[{index}] is -inf; use a score form, such as that of KL() ('rws' by name), or "
            "keep the proposal in the support",
        )
    if path:
        used = divergence.path(log_y, log_v)
    else:
        used = divergence.score(log_y, log_v, baseline=baseline)
    used = in_kind_of(given, xp.where(degenerate, 0.0, used))
    zero = xp.zeros_like(used)
    return Coefficients(
        path=used if path else zero,
        score=zero if path else used,
        weights=in_kind_of(given, weights),
        log_evidence=log_evidence,
        degenerate=degenerate,
    )


def _same_shape(log_w: Values, other: Values, what: str) -> None:
    if namespace(other) is not namespace(log_w):
        raise TypeError(
            f"{what} must be of the same framework as log_w, which is a {type(log_w).__name__}; "
            f"got a {type(other).__name__}"
        )
    if other.shape != log_w.shape:
        raise ValueError(
            f"{what} must have shape {tuple(log_w.shape)}, one value per log-weight; got shape "
            f"{tuple(other.shape)}"
        )


def _refuse(bad: Values, message: str) -> None:
    """Raise, naming the first index, if any entry of `bad` is true."""
    if bool(bad.any()):
        index = ", ".join(map(str, namespace(bad).argwhere(bad)[0].tolist()))
        raise ValueError(message.replace("{index}", index))
