"""Time of a training step of every estimator, beside a hand-written IWAE loop in plain torch.

    python benchmarks/neural/step.py

A variational autoencoder of the size of MNIST: 784 pixels, two layers of 200, 50 latents; 100
images, 64 particles, single precision, Adam, one thread.  Each step of ours runs right after a
hand-written one, and the ratio is that of their process times: the median over the rounds.

What a step must cost is its count of multiplications in the nets, in units of the hand-written
loop's: one forward pass and one backward pass to the weights and to the draws.  Score forms have
no need of the last; estimators whose path coefficient is not bounded by theta's go back to the
draws once more; a fresh draw more is a particle more.  The last column is the time over the count.
Results: benchmarks/results/neural_step.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import time
from pathlib import Path

import torch
from torch import distributions as D
from torch import nn
from torch.nn import functional as F

from aisle_smc.divergences import KL
from aisle_smc.neural import ESTIMATORS, estimator, surrogate

PIXELS, HIDDEN, LATENT, BATCH, PARTICLES = 784, 200, 50, 100, 64
RESULTS = Path(__file__).parents[1] / "results" / "neural_step.json"
PARAMETERS = {
    "aisle-alpha": {"order": 0.5},
    "aisle-alpha-score": {"order": 0.5},
    "aisle-alpha-score-dreg": {"order": 1.5},
    "aisle-f": {"divergence": KL()},
    "aisle-f-score": {"divergence": KL()},
    "vr": {"alpha": 0.5},
    "vr-iwae": {"alpha": 0.5},
    "vr-dreg": {"alpha": 0.5},
    "vr-score": {"alpha": 0.5},
    "miwae": {"groups": 8},
    "piwae": {"groups": 8},
    "ciwae": {"beta": 0.5},
}
# Not a step by itself: the first particle is that of the step before.
LEFT_OUT = {"msc", "msc-path"}
# Powers of raw weights, which overflow or vanish at the evidence of an image.
SCALED = {"cubo", "cubo-score"}


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

    def by_hand(self, x):
        """Burda et al.'s loop, with no package."""
        mean, log_sd = self.encoder(x).chunk(2, -1)
        e = torch.randn(PARTICLES, BATCH, LATENT)
        z = mean + log_sd.exp() * e
        log_q = (-0.5 * e.square() - log_sd).sum(-1) - 0.5 * LATENT * math.log(2 * math.pi)
        log_w = self.log_joint(z, x) - log_q
        return -(torch.logsumexp(log_w, 0) - math.log(PARTICLES)).mean()

    def learn(self, loss):
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()


def net(width, out):
    layers = [nn.Linear(width, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(HIDDEN, out))


def count(chosen):
    """Multiplications of a step over those of the hand-written one."""
    decoder = [LATENT * HIDDEN, HIDDEN * HIDDEN, HIDDEN * PIXELS]
    draws = PARTICLES + chosen.auxiliary if chosen else PARTICLES
    encoder = 3 * (HIDDEN * PIXELS + HIDDEN * HIDDEN + HIDDEN * 2 * LATENT) - HIDDEN * PIXELS
    passes = 3 * sum(decoder)
    if chosen and not chosen.needs_path:
        passes -= decoder[0]
    elif chosen and not chosen.bounded:
        passes += sum(decoder)
    return draws * passes + encoder


def timed(act):
    start = time.process_time()
    act()
    return time.process_time() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", nargs="*", help="names of estimators; all by default")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Autoencoder()
    x = (torch.rand(BATCH, PIXELS) < 0.2).float()
    rows = {}
    print(f"{'estimator':24s} {'ms':>8s} {'by hand':>8s} {'ratio':>6s} {'count':>6s} {'over':>6s}")
    for name in options.only or [n for n in ESTIMATORS if n not in LEFT_OUT | SCALED]:
        chosen = estimator(name, **PARAMETERS.get(name, {}))

        def ours(chosen=chosen):
            step = surrogate(
                model.log_joint, model.proposal, x, estimator=chosen, particles=PARTICLES
            )
            model.learn(step.loss)

        def theirs():
            model.learn(model.by_hand(x))

        theirs(), ours()
        pairs = [(timed(theirs), timed(ours)) for _ in range(options.rounds)]
        ratio = statistics.median(b / a for a, b in pairs)
        operations = count(chosen) / count(None)
        rows[name] = {
            "ms": 1e3 * statistics.median(b for _, b in pairs),
            "by_hand_ms": 1e3 * statistics.median(a for a, _ in pairs),
            "ratio": ratio,
            "operations": operations,
            "over_operations": ratio / operations,
        }
        print(
            f"{name:24s} {rows[name]['ms']:8.1f} {rows[name]['by_hand_ms']:8.1f} {ratio:6.3f} "
            f"{operations:6.3f} {ratio / operations:6.3f}",
            flush=True,
        )
    worst = max(rows, key=lambda name: rows[name]["over_operations"])
    print(f"worst: {worst}, {rows[worst]['over_operations']:.3f} times its operation count")
    machine = {"machine": platform.processor() or platform.machine(), "cpus": os.cpu_count()}
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    setting = {"batch": BATCH, "particles": PARTICLES, "rounds": options.rounds}
    options.out.parent.mkdir(exist_ok=True)
    record = {**machine, **versions, **setting, "rows": rows}
    options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
