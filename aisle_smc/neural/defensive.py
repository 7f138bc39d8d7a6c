"""A proposal beside a safe distribution that bounds its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aisle_smc.neural.amortised import AmortisedProposal
from aisle_smc.neural.bridge import TorchProposal, for_numpy
from aisle_smc.neural.conditionals import Conditional, Shape
from aisle_smc.neural.likelihood import MaximumLikelihood

__all__ = ["DefensiveMixture", "DefensiveProposal"]

_LIKELIHOOD = MaximumLikelihood()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DefensiveMixture:
    r"""A proposal with a share of draws from a safe distribution.

    .. math:: m(z) = (1 - \delta) q_\phi(z) + \delta p(z)

    Attributes
    ----------
    proposal : Conditional
        The density q, which is learnt.
    safety : torch-like distribution
        The density p, with event shape (d,) and batch shape () or that of the proposal; constant.
    share : float
        The share :math:`\delta`.
    strata : int or None
        Draw this many particles at a time, of which the share is exact: the last ``round(share *
        strata)`` are from the safe distribution, one at least.  None draws each particle's origin
        by lot.

    Notes
    -----
    Weights ``gamma / m`` are at most :math:`1 / \delta` times those under p.  The density is that
    of the mixture at draws of the mixture, whichever part they came from; with strata its share is
    the one in which the draws really come, so that evidences are unbiased.  Draws from q follow
    its parameters and those from p are constants, which is the exact path of the mixture.

    References
    ----------
    Hesterberg (1995), Weighted average importance sampling and defensive mixture distributions.
    """

    proposal: Conditional
    safety: Any
    share: float
    strata: int | None = None

    @property
    def batch_shape(self) -> Shape:
        """(N,), or () without data."""
        return tuple(self.proposal.batch_shape)

    @property
    def event_shape(self) -> Shape:
        """(d,)."""
        return tuple(self.proposal.event_shape)

    @property
    def has_rsample(self) -> bool:
        """Whether the proposal has it."""
        return self.proposal.has_rsample

    @property
    def has_inverse(self) -> bool:
        """False: a point does not tell which part drew it."""
        return False

    @property
    def exact_share(self) -> float:
        """The share in which draws come."""
        return self.share if self.strata is None else self._safe(self.strata) / self.strata

    def sample(self, shape: Shape = ()) -> Tensor:
        """Draw constants, shape (*shape, N, d)."""
        return self._mixed(self.proposal.sample(shape), shape).detach()

    def rsample(self, shape: Shape = ()) -> Tensor:
        """Draw points that follow the parameters of the proposal, shape (*shape, N, d)."""
        return self._mixed(self.proposal.rsample(shape), shape)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log-densities of the mixture in nats, shape (*shape, N)."""
        log_q = self.proposal.log_prob(z) + math.log1p(-self.exact_share)
        log_p = self.safety.log_prob(z) + math.log(self.exact_share)
        return torch.logaddexp(log_q, log_p.to(log_q.dtype))

    def rsample_and_log_prob(self, shape: Shape = ()) -> tuple[Tensor, Tensor]:
        """Draw points and return their log-densities, both with gradients."""
        z = self.rsample(shape)
        return z, self.log_prob(z)

    def inverse(self, z: Tensor) -> Tensor:
        """Raise: there is none."""
        raise TypeError(
            "a defensive mixture has no inverse: a point does not tell which part drew it; learn "
            "its proposal, off the policy of the mixture"
        )

    def reattach(self, z: Tensor) -> Tensor:
        """Raise: there is no inverse."""
        return self.inverse(z)

    def _safe(self, count: int) -> int:
        return min(max(1, round(self.share * count)), count - 1)

    def _mixed(self, z: Tensor, shape: Shape) -> Tensor:
        """Replace some of the proposal's draws by safe ones."""
        lead = z.shape[: z.ndim - 1]
        batch = self.batch_shape if not tuple(self.safety.batch_shape) else ()
        safe = self.safety.sample((*shape, *batch)).to(z)
        if self.strata is None:
            is_safe = torch.rand(lead, device=z.device) < self.share
        else:
            if tuple(shape[:1]) != (self.strata,):
                raise ValueError(
                    f"this mixture is stratified for K = {self.strata} particles; asked for shape "
                    f"{tuple(shape)}, axes (particle, ...); build it for the number you draw"
                )
            k = torch.arange(self.strata, device=z.device) >= self.strata - self._safe(self.strata)
            is_safe = k.reshape(-1, *[1] * (len(lead) - 1)).expand(lead)
        return torch.where(is_safe[..., None], safe, z)


class DefensiveProposal(AmortisedProposal):
    r"""A proposal beside a safe distribution, :math:`(1 - \delta) q_\phi + \delta p`.

    Parameters
    ----------
    proposal : AmortisedProposal
        What is learnt.
    safety : torch-like distribution, or callable
        What is safe, such as the prior: with ``sample``, ``log_prob``, event shape (d,) and batch
        shape () or (N,); or a function of x that returns it.  It is not learnt.
    share : float
        The share :math:`\delta`, strictly between 0 and 1.
    particles : int, optional
        Stratify: draw this many at a time, exactly ``round(share * particles)`` of them safe, the
        last ones; at least one and not all.  By default each particle's origin is drawn.

    Notes
    -----
    To learn q towards the target itself, and not the mixture towards it, weight the draws of the
    mixture and learn off-policy.
    """

    def __init__(
        self,
        proposal: AmortisedProposal,
        safety: Any,
        *,
        share: float = 0.1,
        particles: int | None = None,
    ) -> None:
        super().__init__(proposal.dim)
        if not 0.0 < share < 1.0:
            raise ValueError(f"share must lie strictly between 0 and 1; got {share}")
        if particles is not None and (not isinstance(particles, int) or particles < 2):
            raise ValueError(f"particles must be 2 or more, some of each kind; got {particles!r}")
        self.proposal, self.share, self.particles = proposal, share, particles
        self.safety = safety
        if callable(getattr(safety, "log_prob", None)):
            self._check_safety(safety)

    def forward(self, x: Tensor | None = None) -> DefensiveMixture:
        """Return the mixtures given data, see :class:`AmortisedProposal`."""
        safety = self.safety
        if not callable(getattr(safety, "log_prob", None)):
            safety = safety() if x is None else safety(x)
            self._check_safety(safety)
        q: Conditional = self.proposal(x)
        return DefensiveMixture(proposal=q, safety=safety, share=self.share, strata=self.particles)

    @property
    def learner(self) -> AmortisedProposal:
        """The proposal: what is safe stays as it is."""
        return self.proposal.learner

    def as_distribution(
        self, x: Any = None, *, likelihood: MaximumLikelihood = _LIKELIHOOD
    ) -> TorchProposal:
        """Return the mixture for one datapoint as a distribution of NumPy arrays.

        Its draws are independent, whether those of the module are stratified or not.
        """
        independent = DefensiveProposal(self.proposal, self.safety, share=self.share)
        return for_numpy(independent, x, likelihood=likelihood)

    def _check_safety(self, safety: Any) -> None:
        if tuple(getattr(safety, "event_shape", ())) != (self.dim,):
            raise ValueError(
                f"safety must have event shape ({self.dim},), axes (coordinate,), as the proposal "
                f"has; got {tuple(getattr(safety, 'event_shape', ()))}; wrap it in "
                "torch.distributions.Independent(safety, 1)"
            )
