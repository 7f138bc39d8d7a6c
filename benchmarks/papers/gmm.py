"""Le, Kosiorek, Siddharth, Teh and Wood (2019), section 4.2: a mixture with a discrete latent.

    python benchmarks/papers/gmm.py             a quarter of an hour on one core
    python benchmarks/papers/gmm.py --full      10 replicates, 100 000 iterations: hours

One of 20 components, z ~ Categorical(theta), and x given z ~ N(10 z, 5^2).  Only the probabilities
of the components are learnt; they start with nearly all of it on the first component and should
become proportional to z + 5.  The proposal q(z | x) is a network 1-16-16-20 with tanh units.  Each
iteration has 100 fresh observations of the true model; Adam with step 1e-3.  The short schedule
has 5 replicates and 10 000 iterations of step 5e-3: half the way, since theta alone has some
17 000 steps of 1e-3 to go.

The score forms of AISLE are beside wake-phi as in the paper (which has no baseline), VIMCO,
wake-phi with a fifth of the draws from the uniform distribution, and sleep-phi.  All have
wake-theta.  All replicates are one tensor.

Two errors are reported: the Euclidean distance of p(z) from the truth, and that of q(z | x) from
the true posterior, averaged over 100 observations.

Results: benchmarks/results/papers/gmm.json, written after every setting; settings that are in it
already are not run again unless `--again` says so.  `--table` prints what is there.
"""

from __future__ import annotations

import argparse
import math
import platform
import statistics
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from records import read, write
from torch import Tensor, nn

from aisle_smc.neural import estimator, off_policy, sleep, surrogate
from aisle_smc.neural.defensive import DefensiveMixture
from aisle_smc.neural.discrete import Categorical
from aisle_smc.plots.style import CHAINS, INK, canvas, style

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "papers" / "gmm.json"
FIGURE = ROOT / "docs" / "figures" / "gmm.png"

COMPONENTS, SPACING, SPREAD = 20, 10.0, 5.0
BATCH, TESTED, HIDDEN = 100, 100, 16
SHARE = 0.2
BY_SCORE: dict[str, tuple[str, dict[str, object]]] = {
    "wake-phi": ("rws", {"baseline": False}),
    "AISLE-KL": ("aisle-kl-score", {}),
    "AISLE-chi2": ("aisle-chi2-score", {}),
    "VIMCO": ("vimco", {}),
}
METHODS = (*BY_SCORE, "wake-phi, defensive", "sleep-phi")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One curve of the study."""

    method: str
    particles: int
    iterations: int
    replicates: int
    length: float
    seed: int = 1

    @property
    def key(self) -> str:
        return f"{self.method}, K = {self.particles}"


class Mixtures(nn.Module):
    """The models of all replicates; the datapoints of a replicate follow each other."""

    def __init__(self, replicates: int) -> None:
        super().__init__()
        start = 2.0 * torch.arange(COMPONENTS).flip(0)
        self.raw = nn.Parameter(start.expand(replicates, -1).clone())

    @property
    def log_prior(self) -> Tensor:
        """Log-probabilities of the components, shape (replicate, component)."""
        return torch.log_softmax(0.5 * self.raw, -1)

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        table = self.log_prior.repeat_interleave(x.shape[0] // self.raw.shape[0], 0)
        log_prior = table.expand(z.shape[0], -1, -1).gather(-1, z)[..., 0]
        return log_prior + log_likelihood(z[..., 0], x)


class Networks(nn.Module):
    """The proposals of all replicates."""

    def __init__(self, replicates: int) -> None:
        super().__init__()
        sizes = (1, HIDDEN, HIDDEN, COMPONENTS)
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for before, after in pairwise(sizes):
            # As torch starts a linear layer.
            bound = 1.0 / math.sqrt(before)
            self.weights.append(
                nn.Parameter(bound * (2 * torch.rand(replicates, before, after) - 1))
            )
            self.biases.append(nn.Parameter(bound * (2 * torch.rand(replicates, 1, after) - 1)))

    def forward(self, x: Tensor) -> Categorical:
        hidden = x.reshape(self.weights[0].shape[0], -1, 1)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, torch.tanh(hidden) if i else hidden, weight)
        log_p = torch.log_softmax(hidden, -1).flatten(0, 1)
        return Categorical(log_probabilities=log_p[:, None])


def log_likelihood(z: Tensor, x: Tensor) -> Tensor:
    error = (x - SPACING * z) / SPREAD
    return -0.5 * error.square() - math.log(SPREAD * math.sqrt(2.0 * math.pi))


def truth() -> Tensor:
    """The probabilities of the components."""
    p = torch.arange(COMPONENTS) + 5.0
    return p / p.sum()


def simulate(log_prior: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Draw components and observations, shapes (rows of log_prior * count, 1) and (same,)."""
    z = torch.multinomial(log_prior.exp(), count, replacement=True).flatten()
    return z[:, None], SPACING * z + SPREAD * torch.randn(z.shape)


def loss_of(setting: Setting, model: Mixtures, networks: Networks, x: Tensor) -> Tensor:
    """Return the loss of all replicates, of which each has the gradient of its own mean."""
    k = setting.particles
    if setting.method in BY_SCORE:
        name, given = BY_SCORE[setting.method]
        loss = surrogate(model, networks, x, estimator=estimator(name, **given), particles=k).loss
    elif setting.method == "sleep-phi":
        q = networks(x)
        constant = Categorical(log_probabilities=q.log_probabilities.detach())
        wake = surrogate(model, constant, x, estimator="aisle-kl-score", particles=k).loss
        loss = wake + sleep(networks, *simulate(model.log_prior.detach(), BATCH))
    else:
        q = networks(x)
        uniform = Categorical(log_probabilities=torch.full((1, COMPONENTS), -math.log(COMPONENTS)))
        mixture = DefensiveMixture(proposal=q, safety=uniform, share=SHARE)
        z = mixture.sample((k,))
        log_m = mixture.log_prob(z).detach()
        loss = off_policy(z, None, model, q, x, path=False, log_sampler=log_m).loss
    return setting.replicates * loss


def errors(model: Mixtures, networks: Networks, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distances of p(z) and of q(z | x) from the truth, shape (replicate,)."""
    replicates = model.raw.shape[0]
    with torch.no_grad():
        prior = (model.log_prior.exp() - truth()).norm(dim=-1)
        log_joint = truth().log() + log_likelihood(torch.arange(COMPONENTS), x[:, None])
        q = networks(x.repeat(replicates)).log_probabilities.exp()
        apart = q.unflatten(0, (replicates, -1))[:, :, 0] - torch.softmax(log_joint, -1)
        return prior, apart.norm(dim=-1).mean(-1)


def learn(setting: Setting) -> dict[str, Any]:
    """Train all replicates and return the course of both errors."""
    start = time.process_time()
    torch.manual_seed(setting.seed)
    _, tested = simulate(truth().log()[None], TESTED)
    model, networks = Mixtures(setting.replicates), Networks(setting.replicates)
    optimiser = torch.optim.Adam([*model.parameters(), *networks.parameters()], lr=setting.length)
    marks = torch.logspace(1, math.log10(setting.iterations), 30).round().int().tolist()
    course = {0: errors(model, networks, tested)}
    for i in range(1, setting.iterations + 1):
        _, x = simulate(truth().log().expand(setting.replicates, -1), BATCH)
        optimiser.zero_grad()
        loss_of(setting, model, networks, x).backward()
        optimiser.step()
        if i in marks:
            course[i] = errors(model, networks, tested)
    row: dict[str, Any] = asdict(setting) | {
        "cpu_seconds": round(time.process_time() - start, 1),
        "iteration": list(course),
    }
    for n, what in enumerate(("prior", "posterior")):
        values = [pair[n].tolist() for pair in course.values()]
        quartiles = [statistics.quantiles(v, n=4, method="inclusive") for v in values]
        row[what] = [[short(q) for q in each] for each in quartiles]
        row[f"final_{what}"] = [short(v) for v in values[-1]]
    return row


def short(value: float) -> float:
    return float(f"{value:.4g}")


# --- what the results say ------------------------------------------------------------------------


def medians(results: dict[str, Any], method: str, what: str) -> dict[int, float]:
    """Return the last medians of an error, by the number of particles."""
    return {
        row["particles"]: row[what][-1][1] for row in results.values() if row["method"] == method
    }


def claims(results: dict[str, Any]) -> dict[str, Any]:
    """Return what the paper says, and whether it is so here."""
    found: dict[str, Any] = {}
    for method in METHODS:
        for what in ("prior", "posterior"):
            by_k = medians(results, method, what)
            counts = sorted(by_k)
            if len(counts) > 1:
                found[f"{method}: {what} better at K = {counts[-1]} than at {counts[0]}"] = (
                    by_k[counts[-1]] < by_k[counts[0]]
                )
    return found


def table(results: dict[str, Any]) -> str:
    counts = sorted({row["particles"] for row in results.values()})
    lines = [
        "| error of | method | " + " | ".join(f"K = {k}" for k in counts) + " |",
        "|---|---|" + "---:|" * len(counts),
    ]
    for what, said in (("prior", "p(z)"), ("posterior", "q(z given x)")):
        for method in METHODS:
            by_k = medians(results, method, what)
            cells = [f"{by_k[k]:.3f}" if k in by_k else "" for k in counts]
            lines.append(f"| {said} | {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw the course of both errors, the median over the replicates."""
    counts = sorted({row["particles"] for row in results.values()})
    with style():
        figure, grid = canvas(
            2, len(counts), width=7.6, heights=[1.7, 1.7], sharex=True, sharey="row"
        )
        for column, k in enumerate(counts):
            for axes, what in zip(grid[:, column], ("prior", "posterior"), strict=True):
                axes.set_xscale("log")
                axes.set_yscale("log")
                for method, colour in zip(METHODS, CHAINS, strict=True):
                    row = results.get(f"{method}, K = {k}")
                    if row is None:
                        continue
                    low, middle, high = zip(*row[what][1:], strict=True)
                    at = row["iteration"][1:]
                    axes.plot(at, middle, color=colour, label=method)
                    axes.fill_between(at, low, high, color=colour, alpha=0.15, lw=0)
            grid[0, column].set_title(f"K = {k}")
            grid[1, column].set_xlabel("iteration")
        grid[0, 0].set_ylabel("error of p(z)", color=INK)
        grid[1, 0].set_ylabel("error of q(z | x)", color=INK)
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=6)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=140)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="10 replicates, 100 000 iterations")
    parser.add_argument("--again", action="store_true", help="run what is there already too")
    parser.add_argument("--table", action="store_true", help="print the results and draw them")
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--replicates", type=int)
    parser.add_argument("--particles", type=int, nargs="+", default=[2, 5, 10, 20])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--figure", type=Path, default=FIGURE)
    given = parser.parse_args()
    torch.set_num_threads(1)
    record = read(given.results)
    results: dict[str, Any] = record.get("results", {})
    for k in [] if given.table else given.particles:
        for method in METHODS:
            setting = Setting(
                method=method,
                particles=k,
                iterations=given.iterations or (100_000 if given.full else 10_000),
                replicates=given.replicates or (10 if given.full else 5),
                length=1e-3 if given.full else 5e-3,
            )
            there = results.get(setting.key, {})
            if not given.again and all(
                there.get(name) == value for name, value in asdict(setting).items()
            ):
                continue
            results[setting.key] = row = learn(setting)
            print(
                f"{setting.key}: p(z) {row['prior'][-1][1]:.3f}, q(z | x) "
                f"{row['posterior'][-1][1]:.3f}, {row['cpu_seconds']:.0f} s",
                flush=True,
            )
            record = {
                "paper": "Le et al. (2019), Revisiting reweighted wake-sleep, section 4.2",
                "machine": f"{platform.machine()}, one thread, torch {torch.__version__}",
                "claims": claims(results),
                "results": results,
            }
            write(given.results, record)
    print(table(results))
    draw(results, given.figure)


if __name__ == "__main__":
    main()
