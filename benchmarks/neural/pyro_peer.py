"""A training step of Pyro on the autoencoder of step.py, which runs it in Pyro's environment.

`iwae` is RenyiELBO at alpha = 0, `rws` ReweightedWakeSleep without a sleep phase, both with the
particles vectorised and validation off.  Adam is torch's own, as in the hand-written step that
runs before each of Pyro's.  On the same noise Pyro's loss must be the hand-written bound: for
RenyiELBO the sum over images, for ReweightedWakeSleep, which has one weight for a particle of the
whole minibatch, the bound of the minibatch.

All but one of those weights vanish, many as subnormal numbers, on which a processor is slow: the
backward pass of ReweightedWakeSleep then takes several times as long.  That is no cost of Pyro's
code, so `ms` and `ratio` are with subnormals flushed to zero, and `as_is_ratio` without; nothing
of ours is measured with the flush.  Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics

import pyro
import pyro.distributions as dist
import torch
from autoencoder import BATCH, LATENT, PARTICLES, paired, start
from pyro.infer import RenyiELBO, ReweightedWakeSleep

AS_IS_ROUNDS = 5
SETTING = {"num_particles": PARTICLES, "vectorize_particles": True, "max_plate_nesting": 1}
OBJECTIVES = {
    "iwae": lambda: RenyiELBO(alpha=0, **SETTING),
    "rws": lambda: ReweightedWakeSleep(insomnia=1.0, **SETTING),
}


def bound_by_hand(net, x, name):
    log_w = net.log_weights(x).detach()
    if name == "rws":
        log_w = log_w.sum(1)
    return float((torch.logsumexp(log_w, 0) - math.log(PARTICLES)).sum())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=OBJECTIVES)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    pyro.enable_validation(False)
    net, x = start()
    objective = OBJECTIVES[options.name]()

    def model(x):
        pyro.module("autoencoder", net)
        with pyro.plate("images", BATCH):
            z = pyro.sample("z", dist.Normal(torch.zeros(LATENT), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=net.decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("autoencoder", net)
        with pyro.plate("images", BATCH):
            mean, log_sd = net.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(mean, log_sd.exp()).to_event(1))

    def loss_of_pyro():
        net.optimiser.zero_grad()
        loss = objective.loss_and_grads(model, guide, x)
        return loss[0] if isinstance(loss, tuple) else loss

    def theirs():
        loss_of_pyro()
        net.optimiser.step()

    torch.manual_seed(1)
    bound = -float(loss_of_pyro())
    torch.manual_seed(1)
    by_hand = bound_by_hand(net, x, options.name)
    if not math.isclose(bound, by_hand, rel_tol=1e-5):
        raise SystemExit(f"Pyro's bound is {bound}, the hand-written one {by_hand}")
    if not all(p.grad is not None and bool(p.grad.any()) for p in net.parameters()):
        raise SystemExit("Pyro's step left a parameter without gradient")

    def by_hand_step():
        net.learn(net.by_hand(x))

    as_is = paired(by_hand_step, theirs, min(options.rounds, AS_IS_ROUNDS))
    if not torch.set_flush_denormal(True):
        raise SystemExit("this processor cannot flush subnormal numbers")
    pairs = paired(by_hand_step, theirs, options.rounds)
    found = {
        "ms": 1e3 * statistics.median(b for _, b in pairs),
        "by_hand_ms": 1e3 * statistics.median(a for a, _ in pairs),
        "ratio": statistics.median(b / a for a, b in pairs),
        "as_is_ratio": statistics.median(b / a for a, b in as_is),
        "bound": bound / BATCH,
        "bound_by_hand": by_hand / BATCH,
        "pyro": pyro.__version__,
        "torch": torch.__version__,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
