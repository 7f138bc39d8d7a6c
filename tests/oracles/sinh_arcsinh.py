"""A model and a proposal in three dimensions, and their gradient atoms, all written the long way.

The target is correlated and skewed, with four parameters theta; the proposal is
z = m + s sinh(asinh(e) + r), coordinate by coordinate, with nine parameters phi = (m, log s, r).
Nothing here looks at the package: the atoms are gradients of one particle at a time.
"""

from __future__ import annotations

import math

import torch

THETA = torch.tensor([0.3, -0.5, 0.7, 0.2], dtype=torch.float64)
PHI = torch.tensor([0.1, -0.2, 0.3, 0.1, -0.1, 0.2, 0.3, -0.2, 0.1], dtype=torch.float64)


def log_gamma(z, theta):
    """A correlated normal, bent, with a logistic ramp; unnormalised."""
    a, b, c = z.unbind(-1)
    bend = b - 0.5 * theta[0] * a**2 - 0.4 * a
    tail = c - theta[1] * b + 0.3 * torch.sin(theta[3] + a)
    ramp = torch.nn.functional.softplus(2.0 * theta[2] * a - theta[3])
    return 0.3 - 0.5 * (a**2 + 1.5 * bend**2 + 0.8 * tail**2) + ramp


def draw(e, phi):
    mean, log_sd, skew = phi.reshape(3, 3)
    return mean + torch.exp(log_sd) * torch.sinh(torch.asinh(e) + skew)


def noise(z, phi):
    mean, log_sd, skew = phi.reshape(3, 3)
    return torch.sinh(torch.asinh((z - mean) / torch.exp(log_sd)) - skew)


def log_q(z, phi):
    mean, log_sd, skew = phi.reshape(3, 3)
    u = (z - mean) / torch.exp(log_sd)
    inner = torch.asinh(u) - skew
    e = torch.sinh(inner)
    log_slope = torch.log(torch.cosh(inner)) - 0.5 * torch.log1p(u**2) - log_sd
    return (-0.5 * e**2 - 0.5 * math.log(2.0 * math.pi) + log_slope).sum(-1)


class SinhArcsinh:
    """The proposal with the methods that surrogates ask for; draws are those of a given noise."""

    has_rsample = True

    def __init__(self, phi, e):
        self.phi, self.e = phi, e

    def rsample(self, shape):
        assert tuple(shape) == self.e.shape[:1]
        return draw(self.e, self.phi)

    def sample(self, shape):
        return self.rsample(shape).detach()

    def log_prob(self, z):
        return log_q(z, self.phi)

    def reattach(self, z):
        return draw(noise(z, self.phi).detach(), self.phi)


class Atoms:
    """Path, score and model atoms of particles, each by itself: rows T, s, and theta."""

    def __init__(self, e, phi=PHI, theta=THETA):
        self.e = e
        self.log_w = log_gamma(draw(e, phi), theta) - log_q(draw(e, phi), phi)
        self.path, self.score, self.model = (
            torch.stack([atom(row, phi, theta) for row in e])
            for atom in (path_atom, score_atom, model_atom)
        )

    def phi(self, a=None, b=None):
        """Combine atoms by coefficients."""
        total = torch.zeros(9, dtype=torch.float64)
        if a is not None:
            total = total + a @ self.path
        return total if b is None else total + b @ self.score

    def theta(self, c):
        return c @ self.model


def path_atom(e, phi, theta):
    live = phi.clone().requires_grad_()
    z = draw(e, live)
    return torch.autograd.grad(log_gamma(z, theta) - log_q(z, phi), live)[0]


def score_atom(e, phi, theta):
    live = phi.clone().requires_grad_()
    return torch.autograd.grad(log_q(draw(e, phi), live), live)[0]


def model_atom(e, phi, theta):
    live = theta.clone().requires_grad_()
    return torch.autograd.grad(log_gamma(draw(e, phi), live), live)[0]
