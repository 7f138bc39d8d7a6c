r"""Rainforth et al.'s Gaussian model, where every gradient is a sum over standard normal noise.

z ~ N(0, I) and x given z ~ N(z, I), so that the posterior of a datum is N(nu, I/2); the proposal
is N(nu + b, 2/3 I), and the gradient is by b at b = OFFSET in each of the D coordinates.
"""

from __future__ import annotations

import math

import torch

D = 4
OFFSET = 0.25
SCALE = math.sqrt(2.0 / 3.0)  # of the proposal
PATH = 1.0 / SCALE - 2.0 * SCALE  # path atom: -2 OFFSET + PATH e; score atom: e / SCALE


def log_weights(e):
    """log gamma - log q up to a constant, for noise of shape (K, n, D)."""
    linear, square = -2.0 * OFFSET * SCALE, 0.5 - SCALE**2
    return linear * e.sum(-1) + square * torch.linalg.vecdot(e, e)


def ascent(rule, e):
    """The ascent directions of an estimator, shape (n, D), for noise of shape (K, n, D)."""
    rows = rule.rows(log_weights(e))
    mixed = torch.einsum("kn,knd->nd", PATH * rows.path + rows.score / SCALE, e)
    return mixed - 2.0 * OFFSET * rows.path.sum(0)[:, None]


def gradients(rule, particles):
    """Replicates of the ascent direction, for `signal_to_noise`."""

    def replicates(loss, parameters, n):
        # Noise in single precision, which is drawn four times as fast.
        return {"b": ascent(rule, torch.randn(particles, n, D).double())}

    return replicates


def stl_ratio(particles):
    """The signal-to-noise ratio of sticking the landing, exactly."""
    return math.sqrt(particles) * 2.0 * OFFSET / abs(PATH)


def vae_ratio(particles):
    """That of the plain evidence lower bound, exactly."""
    return math.sqrt(particles) * OFFSET / SCALE
