"""Expectations over one and two particles as plain sums: a skewed target, a skewed proposal.

The trapezoid rule on the noise e in [-10, 10] has no error but rounding for such integrands, so
that identities between means of estimators hold to the digits of the arithmetic.  Objectives are
sums too, and their gradients are those of automatic differentiation through the sum.

The proposal is z = m + s sinh(asinh(e) + r) with e standard normal and phi = (m, log s, r).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

POINTS = 700
E = torch.linspace(-10.0, 10.0, POINTS, dtype=torch.float64)
STEP = float(E[1] - E[0])
LOG_P = -0.5 * E**2 - 0.5 * math.log(2.0 * math.pi) + math.log(STEP)  # of each node, for q
P = torch.exp(LOG_P)
Z = torch.linspace(-25.0, 30.0, 12001, dtype=torch.float64)  # grid of the target's space
DZ = float(Z[1] - Z[0])

PHI = torch.tensor([0.8, 0.25, 0.1], dtype=torch.float64)


def log_gamma(z):
    """A normal times a logistic ramp: skewed, unnormalised."""
    return 0.7 - 0.5 * z**2 + torch.nn.functional.softplus(1.5 * z - 1.0)


def draw(e, phi):
    mean, log_sd, skew = phi.unbind(-1)
    return mean + torch.exp(log_sd) * (
        e * torch.cosh(skew) + torch.sqrt(1.0 + e**2) * torch.sinh(skew)
    )


def noise(z, phi):
    """The inverse of `draw`."""
    mean, log_sd, skew = phi.unbind(-1)
    y = (z - mean) / torch.exp(log_sd)
    return y * torch.cosh(skew) - torch.sqrt(1.0 + y**2) * torch.sinh(skew)


def log_q(z, phi):
    mean, log_sd, skew = phi.unbind(-1)
    y = (z - mean) / torch.exp(log_sd)
    slope = torch.cosh(skew) - y / torch.sqrt(1.0 + y**2) * torch.sinh(skew)
    return -0.5 * noise(z, phi) ** 2 - 0.5 * math.log(2.0 * math.pi) - log_sd + torch.log(slope)


LOG_Z = float(torch.logsumexp(log_gamma(Z), 0)) + math.log(DZ)


def log_ratio(z, phi):
    return log_gamma(z) - log_q(z, phi)


# --- atoms ---------------------------------------------------------------------------------------


def slopes(f, at, by):
    """Derivative of the scalar f(at_i, by) by `by`, at every node: shape (n, 3)."""
    return torch.func.vmap(torch.func.grad(f, argnums=1), in_dims=(0, None))(at, by)


def score_atoms(z, phi):
    return slopes(log_q, z, phi)


def path_atoms(z, phi, value=log_ratio):
    """Derivative of value(z, phi) along the draws that arrive at z, phi in it held fixed."""
    return slopes(lambda e, live: value(draw(e, live), phi), noise(z, phi), phi)


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """The noise's grid, seen as weighted draws of the proposal: log-weights and both atoms."""

    z: torch.Tensor
    log_w: torch.Tensor
    path: torch.Tensor
    score: torch.Tensor


def nodes(phi):
    z = draw(E, phi)
    return Nodes(z=z, log_w=log_ratio(z, phi), path=path_atoms(z, phi), score=score_atoms(z, phi))


# --- two particles -------------------------------------------------------------------------------


def pairs(values):
    """Values at the nodes, shape (n,), of both particles of every pair: shape (2, n, n)."""
    n = values.shape[0]
    return torch.stack([values[:, None].expand(n, n), values[None, :].expand(n, n)])


def mean_direction(path, score, at, *, first=P, second=P):
    """E[sum_k a_k T_k + b_k s_k] over pairs; the coefficients have shape (2, n, n).

    `first` and `second` are the probabilities of the nodes for each particle.
    """
    found = 0.0
    for coefficient, atoms in ((path, at.path), (score, at.score)):
        found = found + (first * (coefficient[0] @ second)) @ atoms
        found = found + (second * (first @ coefficient[1])) @ atoms
    return found


def pair_mean(values):
    """E of a function of two particles, given at every pair: shape (n, n)."""
    return P @ values @ P


def live_pairs(phi):
    """Log-weights of both particles with everything that depends on phi alive."""
    return pairs(log_ratio(draw(E, phi), phi))


def gradient(objective, phi):
    """Gradient of a scalar objective(phi) by automatic differentiation."""
    live = phi.clone().requires_grad_()
    (found,) = torch.autograd.grad(objective(live), live)
    return found


# --- objectives ----------------------------------------------------------------------------------


def divergence(f, phi):
    """D_f(pi || q_phi), with f a function of the ratio u, on the grid of the target's space."""
    q = torch.exp(log_q(Z, phi))
    return torch.sum(f(torch.exp(log_gamma(Z) - LOG_Z - log_q(Z, phi))) * q) * DZ


def evidence_bound(phi):
    """L_1, the bound of one particle."""
    return P @ log_ratio(draw(E, phi), phi)


def importance_weighted_bound(phi):
    """L_2, the bound of two particles."""
    return pair_mean(torch.logsumexp(live_pairs(phi), 0) - math.log(2.0))


def renyi_bound(phi, alpha):
    """The VR-IWAE bound of two particles; alpha is Li and Turner's."""
    power = (1.0 - alpha) * live_pairs(phi)
    return pair_mean(torch.logsumexp(power, 0) - math.log(2.0)) / (1.0 - alpha)
