"""The autoencoder of step.py and of its peer, on plain torch, with a hand-written bound."""

from __future__ import annotations

import math
import time

import torch
from torch import distributions as D
from torch import nn
from torch.nn import functional as F

PIXELS, HIDDEN, LATENT, BATCH, PARTICLES = 784, 200, 50, 100, 64


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = net(PIXELS, 2 * LATENT)
        self.decoder = net(LATENT, PIXELS)
        self.optimiser = torch.optim.Adam(self.parameters(), lr=1e-5)

    def log_joint(self, z, x):
        logits = self.decoder(z)
        bits = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
        return -bits.sum(-1) - 0.5 * z.square().sum(-1) - 0.5 * LATENT * math.log(2 * math.pi)

    def proposal(self, x):
        mean, log_sd = self.encoder(x).chunk(2, -1)
        return D.Independent(D.Normal(mean, log_sd.exp(), validate_args=False), 1)

    def log_weights(self, x):
        mean, log_sd = self.encoder(x).chunk(2, -1)
        e = torch.randn(PARTICLES, BATCH, LATENT)
        z = mean + log_sd.exp() * e
        log_q = (-0.5 * e.square() - log_sd).sum(-1) - 0.5 * LATENT * math.log(2 * math.pi)
        return self.log_joint(z, x) - log_q

    def by_hand(self, x):
        """Burda et al.'s loop, with no package."""
        return -(torch.logsumexp(self.log_weights(x), 0) - math.log(PARTICLES)).mean()

    def learn(self, loss):
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()


def net(width, out):
    layers = [nn.Linear(width, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(HIDDEN, out))


def start():
    """Return the model and the images, the same in every process with the same torch."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return Autoencoder(), (torch.rand(BATCH, PIXELS) < 0.2).float()


def paired(first, second, rounds):
    """Return process times of two acts in turn, after one of each that is not counted."""
    first(), second()
    return [(timed(first), timed(second)) for _ in range(rounds)]


def timed(act):
    begun = time.process_time()
    act()
    return time.process_time() - begun
