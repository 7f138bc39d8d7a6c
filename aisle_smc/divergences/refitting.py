r"""The closed-form step: refit a proposal to weighted particles.

For any family of proposals that is fitted by weighted maximum likelihood, the step

.. math:: \phi \leftarrow \arg\max_\phi \sum_k \omega_k \log q_\phi(x_k), \qquad
    \omega_k \propto v_k y_k^a, \qquad y = \gamma / (q \hat Z),

with the present q in the weights has the stationary points of the divergence of order a as its
fixed points: there :math:`E_q[y^a \nabla_\phi \log q] = 0`, which is the score form of the
gradient. For KL (a = 1) the weights do not hold q at all, and one step is the minimum: weighted
moment matching of an exponential family *is* AISLE-KL, and a weighted EM step of a mixture is
AISLE-KL by EM.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
from aisle_kernels import pareto
from aisle_kernels import weights as kernels

from aisle_smc.arrays import Floats
from aisle_smc.divergences.frameworks import log_weights
from aisle_smc.divergences.functions import Divergence
from aisle_smc.divergences.powers import KL
from aisle_smc.divergences.stabilisers import Stabiliser
from aisle_smc.particles import Particles

__all__ = ["Fittable", "Update", "update"]

_KL = KL()


class Fittable(Protocol):
    """A proposal that can be fitted to weighted particles."""

    def fit(self, x: Floats, weights: Floats) -> Self:
        """Return a new proposal, fitted to `x`, shape (n, d), with normalised weights."""
        ...


P = TypeVar("P", bound=Fittable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Update(Generic[P]):
    """A refitted proposal, and how far its weights can be trusted.

    Attributes
    ----------
    proposal : Fittable
        The new proposal; the old one, unchanged, if there was nothing to fit it to.
    weights : ndarray, shape (n,)
        Normalised weights of the fit; all zero if no particle has weight.
    ess : float
        Effective sample size of the weights of the fit before they were stabilised.
    khat : float
        Shape of their tail: beyond 0.7 the fit is not reliable, ``inf`` if nothing is known.
    exponent : float or None
        The power by which a stabiliser tempered them.
    stabiliser : Stabiliser or None
        The one to pass to the next update.
    degenerate : bool
        True if no particle has weight.
    """

    proposal: P
    weights: Floats
    ess: float
    khat: float
    exponent: float | None
    stabiliser: Stabiliser | None
    degenerate: bool


def update(
    proposal: P,
    particles: Particles,
    divergence: Divergence = _KL,
    stabiliser: Stabiliser | None = None,
    *,
    log_ratio: Floats | None = None,
) -> Update[P]:
    r"""Refit a proposal by one closed-form step on a divergence of the power family.

    The weights of the fit are :math:`\omega \propto w u^{a - 1}` for particles weighted by w, with
    u the ratio of the target to the present proposal: :math:`w` for KL, :math:`w^a` on draws from
    the proposal. They are stabilised, and for a > 1 mixed with those of the proposal itself,

    .. math:: \frac1a \omega + \Bigl(1 - \frac1a\Bigr) v .

    Parameters
    ----------
    proposal : Fittable
        Its ``fit`` maximises the weighted log-likelihood, or improves on it.
    particles : Particles
        Weighted for the target. With KL they may come from any sampler.
    divergence : KL, ChiSquare, Hellinger or Alpha of positive order
        What the proposal is to minimise.
    stabiliser : Stabiliser, optional
        Applied to the weights of the fit.
    log_ratio : ndarray, shape (n,), optional
        ``log gamma - log q`` at the particles, in nats, for particles from elsewhere than the
        proposal q; by default their log-weights. KL does not use it.

    Returns
    -------
    Update
        The new proposal and what its weights were.

    Raises
    ------
    ValueError
        If the divergence has no such step, a log-weight is NaN or ``+inf``, shapes differ, or
        a > 1 and a particle from elsewhere has weight zero.

    Notes
    -----
    *Fixed point.* For an exponential family with moments mu(q) of its statistics T it is
    :math:`\mu(q) \propto \int T \pi^a q^{1-a}`: power-weighted moment matching, a stationary point
    of :math:`D_a` and, at a = 1 only, always its minimum.

    *Descent.* For 0 < a <= 1 no step increases the divergence, even when ``fit`` only improves the
    weighted likelihood, as EM does: by Jensen's inequality
    :math:`\int \pi^a q'^{1-a} \ge \int \pi^a q^{1-a}` whenever
    :math:`E_\omega[\log q'] \ge E_\omega[\log q]`. For a > 1 the bare step overshoots: near a
    target inside the family it multiplies the error by ``1 - a``, so that chi-square oscillates
    for ever. Mixing the weights with v makes the factor ``1 - a / a = 0``. Far from the target
    nothing is promised for a > 1; start with KL.

    References
    ----------
    .. [1] T. Minka (2005). Divergence measures and message passing. MSR-TR-2005-173, section 4.
    .. [2] K. Daudel, R. Douc and F. Roueff (2023). Monotonic alpha-divergence minimisation for
       variational inference. Journal of Machine Learning Research 24: the descent.
    .. [3] T. Guilmeau, E. Chouzenoux and V. Elvira (2022). Regularized Renyi divergence
       minimization through Bregman proximal gradient algorithms. arXiv 2211.04776: relaxed moment
       matching.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import numpy as np
    >>> from aisle_smc import Particles
    >>> from aisle_smc.divergences import Truncation, update
    >>> @dataclass
    ... class Exponential:
    ...     mean: float
    ...     def fit(self, x, weights):
    ...         return Exponential(float(weights @ x[:, 0]))
    >>> particles = Particles(np.array([[1.0], [2.0], [6.0]]), np.log([2.0, 1.0, 1.0]))
    >>> update(Exponential(1.0), particles).proposal
    Exponential(mean=2.5)
    """
    order = _order(divergence)
    log_w = log_weights(particles.log_w, "particles.log_w")
    n = log_w.shape[0]
    if log_w.ndim != 1:
        raise ValueError(
            f"particles.log_w must have shape (n,), one population; got shape {log_w.shape}"
        )
    ratio = log_w
    if log_ratio is not None and order != 1.0:
        ratio = log_weights(log_ratio, "log_ratio")
        if ratio.shape != log_w.shape:
            raise ValueError(
                f"log_ratio must have shape ({n},), one value per particle; got {ratio.shape}"
            )
        lost = (ratio == -math.inf) & (log_w > -math.inf)
        if order > 1.0:
            lost |= log_w == -math.inf
        if lost.any():
            i = int(np.flatnonzero(lost)[0])
            raise ValueError(
                "particles from another sampler must have positive weight and a finite log_ratio "
                f"with {divergence!r}; those of particle {i} are exp({log_w[i]}) and {ratio[i]}; "
                "use KL(), or leave such particles out"
            )
    alive = log_w > -math.inf
    power = np.where(alive, ratio, 0.0) * (order - 1.0)
    log_omega = np.where(alive, log_w + power, -math.inf)
    ess = float(kernels.ess(log_omega))
    khat = float(pareto.pareto_k(log_omega, int(pareto.tail_length(n, 1.0))))
    exponent, following = None, stabiliser
    if stabiliser is not None:
        found = stabiliser.apply(log_omega)
        log_omega, following = found.log_w, found.stabiliser
        exponent = None if found.exponent is None else float(found.exponent)
    weights = np.empty(n)
    kernels.normalise(log_omega, weights)
    degenerate = not alive.any()
    if order > 1.0 and not degenerate:
        stay = np.empty(n)
        kernels.normalise(log_w - ratio if log_ratio is not None else np.zeros(n), stay)
        weights = weights / order + stay * (1.0 - 1.0 / order)
    return Update(
        proposal=proposal if degenerate else proposal.fit(particles.x, weights),
        weights=weights,
        ess=ess,
        khat=khat,
        exponent=exponent,
        stabiliser=following,
        degenerate=degenerate,
    )


def _order(divergence: Divergence) -> float:
    """Return the order of a divergence of the power family, if it has a step that descends."""
    order = getattr(divergence, "order", None)
    if not isinstance(order, int | float) or not order > 0.0:
        raise ValueError(
            "a closed-form update needs KL(), ChiSquare(), Hellinger() or Alpha of positive "
            "order, whose weights are a power of the ratio; "
            f"got {divergence!r}; follow its gradient instead, or use KL()"
        )
    return float(order)
