"""Time of a training step of every estimator, beside a hand-written IWAE loop in plain torch.

    python benchmarks/neural/step.py --pyro peer-pyro/bin/python

A variational autoencoder of the size of MNIST: 784 pixels, two layers of 200, 50 latents; 100
images, 64 particles, single precision, Adam, one thread.  Each step of ours runs right after a
hand-written one, and the ratio is that of their process times: the median over the rounds.

What a step must cost is its count of multiplications in the nets, in units of the hand-written
loop's: one forward pass and one backward pass to the weights and to the draws.  Score forms have
no need of the last; estimators whose path coefficient is not bounded by theta's go back to the
draws once more; a fresh draw more is a particle more.  `over` is the time over the count.

With `--pyro` the rows that Pyro has too (RenyiELBO at alpha = 0, ReweightedWakeSleep) are followed
by its step, beside the hand-written one in its own process: `pyro` is that ratio, and `/ours` is
it over ours, above 1 where ours is faster.  Its bound must be ours on the same nets and noise.
Results: benchmarks/results/neural_step.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from autoencoder import BATCH, HIDDEN, LATENT, PARTICLES, PIXELS, paired, start

from aisle_smc.divergences import KL
from aisle_smc.neural import ESTIMATORS, estimator, markovian, surrogate

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "neural_step.json"
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
# Steps that start from a particle of the step before.
RETAINING = {"msc", "msc-path"}
# Powers of raw weights, which vanish at the evidence of an image: its mean is added to the target.
SCALED = {"cubo", "cubo-score"}
# Those that Pyro has too.
OF_PYRO = ("iwae", "rws")


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


def step_of(name, chosen, model, x):
    """Return a training step of ours, to be called without arguments."""
    shift = float(-model.by_hand(x).detach()) if name in SCALED else None

    def log_joint(z, x):
        value = model.log_joint(z, x)
        return value if shift is None else value - shift

    setting = {"estimator": chosen, "particles": PARTICLES}
    state = model.proposal(x).sample()

    def plain():
        model.learn(surrogate(log_joint, model.proposal, x, **setting).loss)

    def retaining():
        nonlocal state
        step = markovian(log_joint, model.proposal, x, retained=state, **setting)
        state = step.draw()
        model.learn(step.loss)

    return retaining if name in RETAINING else plain


def bounds(model, x):
    """Return the bounds of Pyro's two objectives by our weights, on the noise that it uses."""
    torch.manual_seed(1)
    log_w = surrogate(
        model.log_joint, model.proposal, x, estimator="iwae", particles=PARTICLES
    ).log_w
    sums = {"iwae": log_w, "rws": log_w.sum(1)}
    return {
        name: float((torch.logsumexp(value, 0) - math.log(PARTICLES)).sum()) / BATCH
        for name, value in sums.items()
    }


def pyro_row(python, name, rounds, bound):
    """Run Pyro's step in its own environment, and check its bound against ours."""
    command = [python, str(HERE / "pyro_peer.py"), name, "--rounds", str(rounds)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    found = json.loads(done.stdout.splitlines()[-1])
    if not math.isclose(found["bound"], bound, rel_tol=1e-5):
        sys.exit(f"{name}: Pyro's bound is {found['bound']}, ours {bound}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", nargs="*", help="names of estimators; all by default")
    parser.add_argument("--pyro", metavar="PYTHON", help="an interpreter with pyro-ppl")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    model, x = start()
    expected = bounds(model, x)
    rows = {}
    print(
        f"{'estimator':24s} {'ms':>8s} {'by hand':>8s} {'ratio':>6s} {'count':>6s} {'over':>6s} "
        f"{'pyro':>6s} {'/ours':>6s}"
    )
    for name in options.only or ESTIMATORS:
        chosen = estimator(name, **PARAMETERS.get(name, {}))
        ours = step_of(name, chosen, model, x)
        pairs = paired(lambda: model.learn(model.by_hand(x)), ours, options.rounds)
        ratio = statistics.median(b / a for a, b in pairs)
        operations = count(chosen) / count(None)
        row = {
            "ms": 1e3 * statistics.median(b for _, b in pairs),
            "by_hand_ms": 1e3 * statistics.median(a for a, _ in pairs),
            "ratio": ratio,
            "operations": operations,
            "over_operations": ratio / operations,
        }
        line = (
            f"{name:24s} {row['ms']:8.1f} {row['by_hand_ms']:8.1f} {ratio:6.3f} "
            f"{operations:6.3f} {ratio / operations:6.3f}"
        )
        if options.pyro and name in OF_PYRO:
            row["pyro"] = pyro_row(options.pyro, name, options.rounds, expected[name])
            row["pyro_over_ours"] = row["pyro"]["ratio"] / ratio
            line += f" {row['pyro']['ratio']:6.3f} {row['pyro_over_ours']:6.3f}"
        rows[name] = row
        print(line, flush=True)
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
