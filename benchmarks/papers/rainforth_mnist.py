"""Rainforth et al. (2018), table 1: IWAE, PIWAE, MIWAE, CIWAE and VAE on handwritten digits.

    python benchmarks/papers/rainforth_mnist.py --data FOLDER             half an hour on two cores
    python benchmarks/papers/rainforth_mnist.py --data FOLDER --full      the paper's: days a run

FOLDER has the four IDX files of MNIST; by default it is `mnist` in the folder that the environment
variable AISLE_SHARED_DATA names, or in ../shared/data beside the repository; without one the small
digits of the package take their place.

The network of Burda et al. (2016): 784-200-200-50, tanh, normal latents, Bernoulli pixels that are
drawn anew for every batch; 64 particles in every method, batches of 20, Adam.  The paper has four
runs of 3280 epochs, 3^i of them at the rate 1e-3 * 10^(-i/7) for i = 0 to 7.  By default there are
two runs of two epochs, the rate falling from 2e-3 to 2e-4.

Metrics, on test images that are the same for all: IWAE-64; minus KL, the mean over a subset of
IWAE-64 minus IWAE-5000; log p, IWAE-64 minus that.

A run is kept under --work after every leg of its steps, and goes on from there to the same bits.
Results: benchmarks/results/papers/rainforth_mnist.json, written after every run.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from itertools import combinations, product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from records import read, write
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torch.nn import functional as F

from aisle_smc.neural import digits, estimator, mnist, surrogate
from aisle_smc.plots.style import CHAINS, MUTED, canvas, style

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "papers" / "rainforth_mnist.json"
FIGURE = ROOT / "docs" / "figures" / "rainforth-mnist.png"
WORK = ROOT / "benchmarks" / "results" / "papers" / "rainforth_mnist_runs"

METHODS: dict[str, tuple[str, dict[str, object]]] = {
    "IWAE": ("iwae", {}),
    "PIWAE(4,16)": ("piwae", {"groups": 4}),
    "PIWAE(8,8)": ("piwae", {"groups": 8}),
    "MIWAE(4,16)": ("miwae", {"groups": 4}),
    "MIWAE(8,8)": ("miwae", {"groups": 8}),
    "CIWAE(.05)": ("ciwae", {"beta": 0.05}),
    "CIWAE(.5)": ("ciwae", {"beta": 0.5}),
    "VAE": ("vae", {}),
}
METRICS = {"iwae_64": "IWAE-64", "log_p": "log p", "minus_kl": "−KL(Q‖P)"}
# Rainforth et al. (2018), table 1: mean and standard deviation over four runs.
PAPER = {
    "iwae_64": (
        (-86.11, 0.10),
        (-85.68, 0.06),
        (-85.74, 0.07),
        (-85.60, 0.07),
        (-85.69, 0.04),
        (-85.91, 0.11),
        (-86.08, 0.08),
        (-86.69, 0.08),
    ),
    "log_p": (
        (-84.52, 0.02),
        (-84.40, 0.17),
        (-84.46, 0.06),
        (-84.56, 0.05),
        (-84.97, 0.10),
        (-84.57, 0.09),
        (-85.24, 0.08),
        (-86.21, 0.19),
    ),
    "minus_kl": (
        (-1.59, 0.10),
        (-1.28, 0.17),
        (-1.28, 0.09),
        (-1.04, 0.08),
        (-0.72, 0.11),
        (-1.34, 0.14),
        (-0.84, 0.11),
        (-0.47, 0.20),
    ),
}
PAPER_RUNS = 4
SEPARATED = 3.0  # standard errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long a run learns, and on how much it is judged."""

    steps: int = 6000
    leg: int = 250  # steps between two checkpoints
    first_rate: float = 2e-3
    last_rate: float = 2e-4
    batch: int = 20
    particles: int = 64
    hidden: int = 200
    latent: int = 50
    test_images: int = 10_000
    subset: int = 500
    many: int = 5000
    paper: bool = False

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        share = step / self.steps
        if not self.paper:
            return float(self.first_rate * (self.last_rate / self.first_rate) ** share)
        # 3^0 + ... + 3^7 = 3280 epochs; the first i of these terms are (3^i - 1) / 2.
        part = sum(3280.0 * share >= (3**i - 1) / 2 for i in range(1, 8))
        return float(1e-3 * 10.0 ** (-part / 7.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Grey values from 0 to 1, shape (image, pixel)."""

    train: Tensor
    test: Tensor
    origin: str


def data_of(folder: str | None) -> Data:
    if folder is None:
        found = digits()
        grey = found.intensities()[torch.randperm(len(found), generator=seeded(0))]
        return Data(train=grey[:1500], test=grey[1500:], origin=found.origin)
    train, test = mnist(folder, "train"), mnist(folder, "test")
    return Data(train=train.intensities(), test=test.intensities(), origin=train.origin)


def default_folder() -> str | None:
    shared = Path(os.environ.get("AISLE_SHARED_DATA", ROOT.parent / "shared" / "data"))
    return str(shared / "mnist") if (shared / "mnist").is_dir() else None


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Autoencoder(nn.Module):
    """Burda et al.'s network with one stochastic layer."""

    def __init__(self, pixels: int, hidden: int, latent: int, grey: Tensor) -> None:
        super().__init__()
        self.encoder = net(pixels, hidden, 2 * latent)
        self.decoder = net(latent, hidden, pixels)
        with torch.no_grad():
            self.decoder[-1].bias.copy_(torch.logit(grey, eps=1e-3))

    def log_joint(self, z: Tensor, x: Tensor) -> Tensor:
        logits = self.decoder(z)
        bits = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
        return -bits.sum(-1) - 0.5 * (z.square() + math.log(2.0 * math.pi)).sum(-1)

    def proposal(self, x: Tensor) -> Independent:
        mean, log_sd = self.encoder(x).chunk(2, -1)
        normal = Normal(mean, log_sd.exp(), validate_args=False)
        return Independent(normal, 1, validate_args=False)


def net(width: int, hidden: int, out: int) -> nn.Sequential:
    layers = [nn.Linear(width, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, out)]
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of one method."""

    method: str
    seed: int
    schedule: Schedule
    folder: str | None
    work: Path
    device: str = "cpu"

    @property
    def file(self) -> Path:
        name = self.method.lower().replace("(", "-").replace(")", "").replace(",", "x")
        return self.work / f"{name}-seed{self.seed}.pt"


def run(job: Job) -> dict[str, Any]:
    """Learn from where the run was left, judge, and return the metrics."""
    torch.set_num_threads(1)
    # Weights below 1e-38 of the largest are denormal in single precision, and so are gradients of
    # theirs: the backward pass then takes three times as long.
    torch.set_flush_denormal(True)
    data = data_of(job.folder)
    schedule = job.schedule
    grey = data.train.to(job.device)
    torch.manual_seed(job.seed)
    model = Autoencoder(grey.shape[1], schedule.hidden, schedule.latent, data.train.mean(0))
    model.to(job.device)
    adam = torch.optim.Adam(model.parameters(), eps=1e-4)
    made = {"schedule": asdict(schedule), "data": data.origin, "method": job.method}
    state = torch.load(job.file) if job.file.exists() else {}
    if any(state.get(key) != value for key, value in made.items()):
        state = {**made, "step": 0, "cpu_seconds": 0.0}
    else:
        model.load_state_dict(state["model"])
        adam.load_state_dict(state["adam"])
    if "metrics" in state:
        return dict(state["metrics"])
    chosen = estimator(METHODS[job.method][0], **METHODS[job.method][1])
    while state["step"] < schedule.steps:
        start = time.process_time()
        first = state["step"]
        last = min(first + schedule.leg, schedule.steps)
        # A seed for every leg: a run that was cut off goes on with the same draws.
        torch.manual_seed(10_000_019 * (job.seed + 1) + first)
        bound = 0.0
        for step in range(first, last):
            index = torch.randint(len(grey), (schedule.batch,), device=grey.device)
            x = torch.bernoulli(grey[index])
            found = surrogate(
                model.log_joint,
                model.proposal,
                x,
                estimator=chosen,
                particles=schedule.particles,
            )
            adam.zero_grad()
            found.loss.backward()
            adam.param_groups[0]["lr"] = schedule.rate(step)
            adam.step()
            bound -= float(found.loss.detach())
        state["step"] = last
        state["cpu_seconds"] += time.process_time() - start
        state["model"], state["adam"] = model.state_dict(), adam.state_dict()
        save(job.file, state)
        print(
            f"{job.method}, seed {job.seed}: step {last}, bound {bound / (last - first):.2f}, "
            f"{1e3 * state['cpu_seconds'] / last:.0f} ms a step",
            flush=True,
        )
    start = time.process_time()
    few, gap = judge(model, data.test.to(job.device), schedule)
    state["iwae_64"], state["gap"] = few, gap
    state["metrics"] = {
        "iwae_64": float(few.mean()),
        "minus_kl": -float(gap.mean()),
        "log_p": float(few.mean() + gap.mean()),
        "steps": schedule.steps,
        "learning_cpu_seconds": round(state["cpu_seconds"], 1),
        "judging_cpu_seconds": round(time.process_time() - start, 1),
    }
    save(job.file, state)
    return dict(state["metrics"])


def save(file: Path, state: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    (file.parent / ".gitignore").write_text("*\n", encoding="utf-8")
    torch.save(state, file.with_suffix(".tmp"))
    file.with_suffix(".tmp").replace(file)


@torch.no_grad()
def judge(model: Autoencoder, grey: Tensor, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """IWAE-64 of all images, and what more particles add to it on the first of them."""
    torch.manual_seed(0)  # the same bits for all runs
    images = torch.bernoulli(grey[: schedule.test_images].cpu()).to(grey.device)
    few = torch.cat([bound(model, x, schedule.particles) for x in images.split(40)])
    subset = images[: schedule.subset]
    many = torch.cat([bound(model, x, schedule.many) for x in subset.split(40)])
    return few, many - few[: len(subset)]


def bound(model: Autoencoder, x: Tensor, particles: int) -> Tensor:
    """Log of the mean weight of each image, in nats."""
    q = model.proposal(x)
    parts = []
    for count in torch.arange(particles).split(64):
        z = q.sample(torch.Size([len(count)]))
        log_w = (model.log_joint(z, x) - q.log_prob(z)).double()
        parts.append(torch.logsumexp(log_w, 0))
    return torch.logsumexp(torch.stack(parts), 0).cpu() - math.log(particles)


# --- what the results say ------------------------------------------------------------------------


def image_values(jobs: list[Job]) -> dict[str, tuple[Tensor, Tensor]]:
    """IWAE-64 and its gap for every image, averaged over the runs of each method."""
    found = {}
    for method in {job.method for job in jobs}:
        states = [torch.load(job.file) for job in jobs if job.method == method]
        found[method] = tuple(
            torch.stack([state[key] for state in states]).mean(0) for key in ("iwae_64", "gap")
        )
    return found


def mean_and_spread(
    runs: dict[str, dict[str, Any]], metric: str
) -> dict[str, tuple[float, float]]:
    """Mean over the seeds of each method, and the spread of a run that all methods share."""
    values = {
        method: torch.tensor([row[metric] for row in rows.values()], dtype=torch.float64)
        for method, rows in runs.items()
    }
    spare = sum(len(v) - 1 for v in values.values())
    squares = sum(float((v - v.mean()).square().sum()) for v in values.values())
    spread = math.sqrt(squares / spare) if spare else math.nan
    return {method: (float(v.mean()), spread) for method, v in values.items()}


def orderings(
    runs: dict[str, dict[str, Any]], images: dict[str, tuple[Tensor, Tensor]]
) -> dict[str, list[dict[str, Any]]]:
    """Differences of all pairs with their standard errors, beside those of the paper.

    An error has two parts: how runs of a method differ, pooled over the methods, and how the
    difference of the two methods varies between images.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    names = [name for name in METHODS if name in runs]
    for metric, (first, second) in product(METRICS, combinations(names, 2)):
        table = mean_and_spread(runs, metric)
        difference = table[first][0] - table[second][0]
        few, gap = (a - b for a, b in zip(images[first], images[second], strict=True))
        by_image = 0.0
        if metric != "minus_kl":
            by_image += float(few.var()) / len(few)
        if metric != "iwae_64":
            by_image += float(gap.var()) / len(gap)
        counts = len(runs[first]), len(runs[second])
        by_run = table[first][1] ** 2 * (1 / counts[0] + 1 / counts[1])
        error = math.sqrt(by_run + by_image)
        paper, paper_error = paper_difference(metric, first, second)
        apart = abs(difference) > SEPARATED * error
        paper_apart = abs(paper) > SEPARATED * paper_error
        verdict = "not separated here"
        if apart and paper_apart:
            verdict = "agrees" if difference * paper > 0.0 else "opposite"
        elif apart:
            verdict = "not separated in the paper"
        found.setdefault(metric, []).append(
            {
                "first": first,
                "second": second,
                "difference": round(difference, 3),
                "error": round(error, 3),
                "paper_difference": round(paper, 2),
                "paper_error": round(paper_error, 2),
                "separated_in_the_paper": paper_apart,
                "verdict": verdict,
            }
        )
    return found


def paper_difference(metric: str, first: str, second: str) -> tuple[float, float]:
    rows = dict(zip(METHODS, PAPER[metric], strict=True))
    (a, sd_a), (b, sd_b) = rows[first], rows[second]
    return a - b, math.hypot(sd_a, sd_b) / math.sqrt(PAPER_RUNS)


def table(record: dict[str, Any]) -> str:
    names = list(record["runs"])
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for metric, title in METRICS.items():
        means = mean_and_spread(record["runs"], metric)
        cells = [f"{means[name][0]:.2f}" for name in names]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
        paper = dict(zip(METHODS, PAPER[metric], strict=True))
        lines.append("| paper | " + " | ".join(f"{paper[name][0]:.2f}" for name in names) + " |")
    for metric, title in METRICS.items():
        spread = mean_and_spread(record["runs"], metric)[names[0]][1]
        lines.append(f"spread of the runs of a method, {title}: {spread:.3f}")
    for metric, rows in record.get("orderings", {}).items():
        verdicts = [row["verdict"] for row in rows]
        counts = ", ".join(f"{verdicts.count(v)} {v}" for v in sorted(set(verdicts)))
        lines.append(f"{METRICS[metric]}: {counts}")
    return "\n".join(lines)


def draw(record: dict[str, Any], path: Path) -> None:
    """Draw every run beside the paper's mean: one panel a metric, one line a method."""
    from matplotlib.ticker import MaxNLocator

    names = list(record["runs"])
    with style():
        figure, grid = canvas(1, 3, width=7.6, heights=[0.3 * len(names) + 1.1], sharey=True)
        for (metric, title), axes in zip(METRICS.items(), grid[0], strict=True):
            paper = dict(zip(METHODS, PAPER[metric], strict=True))
            offset = 0.0
            if metric != "minus_kl":
                # Levels depend on how long a run is: the paper's are moved onto the mean of ours.
                ours = mean_and_spread(record["runs"], metric)
                offset = sum(ours[n][0] - paper[n][0] for n in names) / len(names)
            for i, name in enumerate(names):
                values = [row[metric] for row in record["runs"][name].values()]
                axes.plot(values, [i] * len(values), "o", ms=4, color=CHAINS[0], label="run")
                value, sd = paper[name]
                axes.errorbar(
                    value + offset,
                    i + 0.25,
                    xerr=sd,
                    fmt="|",
                    color=CHAINS[1],
                    lw=0.9,
                    label="paper",
                )
            moved = f", paper {offset:+.1f}".replace("-", "−") if offset else ""
            axes.set_title(f"{title}{moved}")
            axes.grid(axis="x")
            axes.margins(x=0.06)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.set_xlabel("nats", color=MUTED)
        grid[0, 0].set_yticks(range(len(names)), names)
        grid[0, 0].invert_yaxis()
        handles, labels = grid[0, 0].get_legend_handles_labels()
        once = dict(zip(labels, handles, strict=True))
        figure.legend(once.values(), once.keys(), loc="outside lower center", ncols=2)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=140)


def finished(jobs: list[Job], workers: int) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Run the jobs, and yield each when it ends."""
    if workers == 1:
        for job in jobs:
            yield job, run(job)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(run, job): job for job in jobs}
        for future in as_completed(waiting):
            yield waiting[future], future.result()


def study(jobs: list[Job], out: Path, *, workers: int = 1) -> dict[str, Any]:
    """Run the jobs seed by seed and say what they say."""
    metrics: dict[tuple[str, int], dict[str, Any]] = {}
    record: dict[str, Any] = {}
    for job, found in finished(jobs, workers):
        metrics[job.method, job.seed] = found
        done = [job for job in jobs if (job.method, job.seed) in metrics]
        runs: dict[str, dict[str, Any]] = {}
        for method in METHODS:
            rows = {str(j.seed): metrics[method, j.seed] for j in done if j.method == method}
            if rows:
                runs[method] = rows
        origin = data_of(job.folder).origin
        record = {"data": origin, "schedule": asdict(job.schedule), "runs": runs}
        if len(done) == len(jobs):
            record["orderings"] = orderings(runs, image_values(done))
        write(out, record)
        print(f"{job.method}, seed {job.seed}: {found}", flush=True)
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default=default_folder(), help="folder of the IDX files")
    parser.add_argument("--full", action="store_true", help="the schedule of the paper")
    parser.add_argument("--steps", type=int, default=Schedule().steps, help="of a reduced run")
    parser.add_argument("--seeds", type=int, default=2, help="runs of every method")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--device", default="cpu", help="of torch, such as cuda")
    parser.add_argument("--table", action="store_true", help="print the table of what is there")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the checkpoints")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--figure", type=Path, default=FIGURE)
    options = parser.parse_args()
    schedule = Schedule(steps=options.steps)
    if options.full:
        steps = 3280 * 60_000 // schedule.batch
        schedule = replace(schedule, steps=steps, leg=3000, subset=10_000, paper=True)
    jobs = [
        Job(
            method=method,
            seed=seed,
            schedule=schedule,
            folder=options.data,
            work=options.work,
            device=options.device,
        )
        for seed, method in product(range(options.seeds), options.methods)
    ]
    if options.table:
        record = read(options.out)
    else:
        record = study(jobs, options.out, workers=options.workers)
    draw(record, options.figure)
    print(table(record))


if __name__ == "__main__":
    main()
