"""Mixtures of Gaussians as conditional distributions, with an exact path."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from aisle_smc.neural.conditionals import Shape, check_points

__all__ = ["GaussianMixture"]

HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class _Implicit(torch.autograd.Function):
    """Points z that follow from ``S(z, phi) = constant``: dz = -J^-1 dS, with J = dS/dz.

    J is lower triangular with ones on the diagonal; only what lies below it is read.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, held: Tensor, jacobian: Tensor) -> Tensor:
        """Return z; `held` is S with its graph to the parameters."""
        ctx.save_for_backward(jacobian)
        return z.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[None, Tensor, None]:
        """Return the cotangent of S."""
        (jacobian,) = ctx.saved_tensors
        found = torch.linalg.solve_triangular(
            jacobian.mT, slopes[0][..., None], upper=True, unitriangular=True
        )
        return None, -found[..., 0], None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GaussianMixture:
    r"""A mixture :math:`q(z) = \sum_c \pi_c \prod_i N(z_i; m_{ci}, s_{ci}^2)`.

    Attributes
    ----------
    log_weights : Tensor, shape (*batch, C)
        Normalised logarithms of the probabilities.
    location, scale : Tensor, shape (*batch, C, d)
        Centres and positive scales of the parts.

    Notes
    -----
    A draw picks a part and is not a smooth function of the probabilities; but it is one of the
    values :math:`F_i(z_i \mid z_{<i})` of the conditional distribution functions, which are
    uniform noise.  Differentiating those at a draw that was made in any way gives its path
    exactly, probabilities included.  The values are divided by the conditional densities first,
    so that the far tails neither overflow nor vanish.  O(C d + d^2) numbers for each draw.

    The path is steep where the density is low, as between parts that are far apart: a draw that
    crosses over when probabilities change goes a long way.  Draws of the mixture itself are
    seldom there; particles from elsewhere may well be, and then the score form has less variance.

    References
    ----------
    Graves (2016), Stochastic backpropagation through mixture density distributions, equation 6;
    Figurnov, Mohamed and Mnih (2018), Implicit reparameterization gradients, section 4.
    """

    log_weights: Tensor
    location: Tensor
    scale: Tensor

    @property
    def batch_shape(self) -> Shape:
        """(N,), or () without data."""
        return tuple(self.location.shape[:-2])

    @property
    def event_shape(self) -> Shape:
        """(d,)."""
        return tuple(self.location.shape[-1:])

    @property
    def has_rsample(self) -> bool:
        """True."""
        return True

    @property
    def has_inverse(self) -> bool:
        """True."""
        return True

    def sample(self, shape: Shape = ()) -> Tensor:
        """Draw constants, shape (*shape, N, d)."""
        with torch.no_grad():
            flat = self.log_weights.exp().reshape(-1, self.log_weights.shape[-1])
            chosen = torch.multinomial(flat, math.prod(shape), replacement=True)
            chosen = chosen.T.reshape((*shape, *self.batch_shape))
            index = chosen[..., None, None].expand(*chosen.shape, 1, *self.event_shape)
            parts = (*chosen.shape, *self.location.shape[-2:])
            location = self.location.expand(parts).gather(-2, index)[..., 0, :]
            scale = self.scale.expand(parts).gather(-2, index)[..., 0, :]
            return torch.addcmul(location, scale, torch.randn_like(location))

    def rsample(self, shape: Shape = ()) -> Tensor:
        """Draw points that follow the parameters, shape (*shape, N, d)."""
        return self.reattach(self.sample(shape))

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log-densities in nats, shape (*shape, N)."""
        check_points(z, self.batch_shape, self.event_shape[0])
        _, log_terms = self._terms(z)
        return torch.logsumexp(self.log_weights + log_terms.sum(-1), -1)

    def rsample_and_log_prob(self, shape: Shape = ()) -> tuple[Tensor, Tensor]:
        """Draw points and return their log-densities, both with gradients."""
        z = self.rsample(shape)
        return z, self.log_prob(z)

    def inverse(self, z: Tensor) -> Tensor:
        r"""Return the noise :math:`F_i(z_i \mid z_{<i})`, uniform on the unit cube."""
        check_points(z, self.batch_shape, self.event_shape[0])
        e, log_terms = self._terms(z)
        noise: Tensor = (self._conditional(log_terms).exp() * torch.special.ndtr(e)).sum(-2)
        return noise

    def reattach(self, z: Tensor) -> Tensor:
        """Return the same values, following the parameters as if they were draws."""
        z = z.detach()
        check_points(z, self.batch_shape, self.event_shape[0])
        e, log_terms = self._terms(z)
        log_w = self._conditional(log_terms)
        with torch.no_grad():
            joint = log_w + log_terms
            log_p = torch.logsumexp(joint, -2, keepdim=True)
            share = (joint - log_p).exp()
            # F is used where it is small and 1 - F where that is: neither loses digits then.
            below = (log_w.exp() * torch.special.ndtr(e)).sum(-2, keepdim=True)
            sign = torch.where(below < 0.5, 1.0, -1.0).to(e)
            mass = sign * (log_w + torch.special.log_ndtr(sign * e) - log_p).exp()
            # d log w_ci / d z_j = slope_cj - sum_c w_ci slope_cj, for j < i: the solve reads no
            # other entry.
            centred = mass - mass.sum(-2, keepdim=True) * log_w.exp()
            jacobian = torch.einsum("...ci,...cj->...ij", centred, -e / self.scale)
        held = (share * self.scale.detach() * e + mass * log_w).sum(-2)
        out: Tensor = _Implicit.apply(z.expand(held.shape), held, jacobian)  # type: ignore[no-untyped-call]
        return out

    def _terms(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return standardised points and log-densities of each part, (*shape, *batch, C, d)."""
        e = (z[..., None, :] - self.location) / self.scale
        return e, -0.5 * e.square() - self.scale.log() - HALF_LOG_TWO_PI

    def _conditional(self, log_terms: Tensor) -> Tensor:
        """Return the log-probability of each part given the coordinates before each one."""
        before = log_terms.cumsum(-1) - log_terms
        return torch.log_softmax(self.log_weights[..., None] + before, -2)
