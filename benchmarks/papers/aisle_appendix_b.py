"""Finke and Thiery (2019), appendix B: how proposals learn, judged by the exact KL(pi | q).

    python benchmarks/papers/aisle_appendix_b.py             a few minutes on one core
    python benchmarks/papers/aisle_appendix_b.py --full      100 replicates, 10 000 iterations

z ~ N(mu, Sigma) and x given z ~ N(z, I) in D dimensions; the proposal is N(A x + b, diag exp(2c))
with A, b and c free, from a standard normal start; mu is at its maximum likelihood.  Every
replicate has 25 data of its own.  Step i has length 1 / sqrt(i), along the gradient over its L1
norm or by Adam.  With Sigma = I the proposal can be the posterior; with Sigma_de =
0.95^(|d-e| + 1) it cannot.

All methods and replicates are one tensor; the gradients are closed forms in the noise, and the
coefficients of the particles are those of `aisle_smc.neural.estimator`.  All methods see the same
data, starts and noise.

Results: benchmarks/results/papers/aisle_appendix_b.json, written after every setting; settings
that are in it already are not run again unless `--again` says so.  `--table` prints what is there.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from records import read, write
from torch import Tensor

from aisle_smc.neural import estimator
from aisle_smc.plots.style import CHAINS, MUTED, canvas, style

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "papers" / "aisle_appendix_b.json"
FIGURE = ROOT / "docs" / "figures" / "aisle-appendix-b.png"

METHODS: dict[str, tuple[str, dict[str, object]]] = {
    "IWAE": ("iwae", {}),
    "IWAE-DREG": ("iwae-dreg", {}),
    "AISLE-KL": ("aisle-kl", {}),
    "AISLE-chi2": ("aisle-chi2", {}),
    "RWS": ("rws", {"baseline": False}),
    "RWS - 1/K": ("rws", {}),
    "RWS-DREG": ("rws-dreg", {}),
    "chi2 scores": ("aisle-chi2-score", {"baseline": False}),
}
# The same direction as another one under normalised steps.
NOT_DRAWN = {"IWAE-DREG", "chi2 scores"}

# Medians of an earlier run of the same study, independent of this code: 6 replicates, normalised
# steps; 1500 iterations for D = 2, 1200 for D = 5.  By (Sigma, D, K).
EARLIER = {
    ("identity", 2, 1): (0.0020, 0.0001, 0.0001, 31.8, None, None, 31.8),
    ("identity", 2, 10): (0.0146, 0.0001, 0.0001, 0.0013, 0.0001, 0.0001, 0.0004),
    ("identity", 2, 100): (0.0591, 0.0001, 0.0001, 0.0003, 0.0001, 0.0001, 0.0001),
    ("identity", 5, 1): (0.0110, 0.0002, 0.0002, 312.0, None, None, 312.0),
    ("identity", 5, 10): (0.4194, 0.0001, 0.0001, 0.0255, 0.0001, 0.0001, 0.1112),
    ("identity", 5, 100): (1.8588, 0.0001, 0.0001, 0.0004, 0.0001, 0.0001, 0.0002),
    ("correlated", 2, 1): (2.30, 2.46, 2.46, 25.4, None, None, 25.4),
    ("correlated", 2, 10): (0.7437, 0.7463, 0.7243, 0.9232, 0.9027, 0.8630, 0.7076),
    ("correlated", 2, 100): (0.8891, 0.7067, 0.7524, 0.7097, 0.7104, 0.7083, 0.7470),
    ("correlated", 5, 10): (3.81, 3.10, 3.24, 7.29, 6.59, 5.08, 7.22),
    ("correlated", 5, 100): (4.57, 2.82, 4.04, 2.95, 2.93, 2.71, 3.22),
}
EARLIER_METHODS = (
    "IWAE",
    "AISLE-KL",
    "AISLE-chi2",
    "RWS",
    "RWS - 1/K",
    "RWS-DREG",
    "chi2 scores",
)
ROUNDING = 1e-4  # the last digit of that table


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One panel of the study."""

    covariance: str
    dimension: int
    particles: int
    optimiser: str
    iterations: int
    replicates: int
    data: int = 25
    seed: int = 1

    @property
    def key(self) -> str:
        return f"{self.covariance}, D = {self.dimension}, K = {self.particles}, {self.optimiser}"


def reduced(replicates: int) -> Iterator[Setting]:
    lengths = {2: 1500, 5: 1200}
    yield from settings((2, 5), lengths, replicates)


def full() -> Iterator[Setting]:
    yield from settings((2, 5, 10), dict.fromkeys((2, 5, 10), 10_000), 100)


def settings(
    dimensions: tuple[int, ...], iterations: dict[int, int], replicates: int
) -> Iterator[Setting]:
    for dimension, covariance, optimiser, particles in product(
        dimensions, ("identity", "correlated"), ("normalised", "adam"), (1, 10, 100)
    ):
        yield Setting(
            covariance=covariance,
            dimension=dimension,
            particles=particles,
            optimiser=optimiser,
            iterations=iterations[dimension],
            replicates=replicates,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Posteriors:
    """Data of every replicate, shape (replicate, datum, D), and their posteriors N(nu, P)."""

    x: Tensor
    nu: Tensor
    precision: Tensor  # of P, (D, D)

    @property
    def covariance(self) -> Tensor:
        return torch.linalg.inv(self.precision)

    @property
    def least_kl(self) -> float:
        """KL(pi | q) at the best diagonal proposal."""
        p = self.covariance
        return 0.5 * float(p.diagonal().log().sum() - torch.logdet(p))

    @property
    def exclusive_kl(self) -> float:
        """KL(pi | q) at the proposal that minimises KL(q | pi)."""
        p, c = self.covariance, 1.0 / self.precision.diagonal()
        return 0.5 * float((p.diagonal() / c - 1.0 + c.log()).sum() - torch.logdet(p))


def covariance_of(name: str, dimension: int) -> Tensor:
    if name == "identity":
        return torch.eye(dimension, dtype=torch.float64)
    index = torch.arange(dimension, dtype=torch.float64)
    return 0.95 ** ((index[:, None] - index).abs() + 1.0)


def posteriors(setting: Setting, generator: torch.Generator) -> Posteriors:
    """Draw the data of every replicate and put mu at its maximum likelihood."""
    sigma = covariance_of(setting.covariance, setting.dimension)
    shape = (setting.replicates, setting.data, setting.dimension)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, dtype=torch.float64, generator=generator)

    mu = normal(shape[0], 1, shape[2])
    z = mu + normal(*shape) @ torch.linalg.cholesky(sigma).T
    x = z + normal(*shape)
    mu = x.mean(1, keepdim=True)
    inverse = torch.linalg.inv(sigma)
    precision = inverse + torch.eye(shape[2], dtype=torch.float64)
    nu = torch.linalg.solve(precision, mu @ inverse + x, left=False)
    return Posteriors(x=x, nu=nu, precision=precision)


def split(phi: Tensor, dimension: int) -> tuple[Tensor, Tensor, Tensor]:
    """A, b and c of parameters, shape (method, replicate, D^2 + 2 D)."""
    a, b, c = phi.split([dimension**2, dimension, dimension], -1)
    return a.unflatten(-1, (dimension, dimension)), b, c


def error_and_sd(phi: Tensor, target: Posteriors) -> tuple[Tensor, Tensor]:
    """A x + b - nu, shape (method, replicate, datum, D), and exp(c) with an axis for the datum."""
    a, b, c = split(phi, target.x.shape[-1])
    return target.x @ a.mT + b[:, :, None] - target.nu, c.exp()[:, :, None]


def exact_kl(phi: Tensor, target: Posteriors) -> Tensor:
    """KL(pi | q), averaged over the data, shape (method, replicate)."""
    error, sd = error_and_sd(phi, target)
    p = target.covariance
    squares = (p.diagonal() + error.square()) / sd.square()
    inner = 0.5 * (squares - 1.0).sum(-1) + sd.log().sum(-1)
    return inner.mean(-1) - 0.5 * torch.logdet(p)


def moments(coefficients: list[Tensor], powers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of 1, e and e e^T over the particles, each with the methods first."""
    weights = torch.stack(coefficients).permute(2, 3, 0, 1)
    d = math.isqrt(powers.shape[-1])
    total, first, second = (weights @ powers).movedim(2, 0).split([1, d, d * d], -1)
    return total, first, second.unflatten(-1, (d, d))


def ascent(phi: Tensor, e: Tensor, target: Posteriors, rules: list[Any]) -> Tensor:
    """Ascent directions of all methods, in the shape of phi.

    `e` is the noise, shape (replicate, datum, K, D).  A draw is nu + error + sd e, so that its
    log-weight is a polynomial of e, as are its atoms: e / sd - precision (error + sd e) for the
    path, e / sd for the score of the mean.  A gradient takes the moments of e under the
    coefficients, and no array has both the particles and the methods but the weights.
    """
    error, sd = error_and_sd(phi, target)
    d = error.shape[-1]
    pull = error @ target.precision
    coupling = sd[..., :, None] * target.precision * sd[..., None, :]
    square = 0.5 * (torch.eye(d, dtype=e.dtype) - coupling).flatten(-2)
    polynomial = torch.cat(
        [torch.zeros_like(pull[..., :1]), -sd * pull, square.expand(*pull.shape[:-1], -1)], -1
    )
    powers = torch.cat(
        [torch.ones_like(e[..., :1]), e, (e[..., :, None] * e[..., None, :]).flatten(-2)], -1
    )
    log_w = (polynomial.movedim(0, 2) @ powers.mT).movedim((2, 3), (0, 1)).contiguous()
    # Below exp(-708), squares included, the exponential of torch takes fifty times as long.
    log_w = torch.maximum(log_w, log_w.amax(1, keepdim=True) - 300.0)
    rows = [rule.rows(log_w[m]) for m, rule in enumerate(rules)]
    path_0, path_1, path_2 = moments([row.path for row in rows], powers)
    score_0, score_1, score_2 = moments([row.score for row in rows], powers)
    by_mean = (path_1 + score_1) / sd - (error * path_0 + sd * path_1) @ target.precision
    by_log_sd = (
        (path_2 + score_2).diagonal(dim1=-2, dim2=-1)
        - score_0
        - sd * pull * path_1
        - (coupling * path_2).sum(-1)
    )
    by_a = by_mean.mT @ target.x / target.x.shape[1]
    return torch.cat([by_a.flatten(-2), by_mean.mean(2), by_log_sd.mean(2)], -1)


def learn(setting: Setting) -> dict[str, Any]:
    """Run every method on every replicate; return the course of the exact KL."""
    start = time.process_time()
    generator = torch.Generator().manual_seed(setting.seed)
    target = posteriors(setting, generator)
    d, rules = setting.dimension, [estimator(name, **given) for name, given in METHODS.values()]
    first = torch.randn(
        setting.replicates, d * d + 2 * d, dtype=torch.float64, generator=generator
    )
    phi = first.expand(len(rules), -1, -1).clone()
    step = torch.optim.Adam([phi]) if setting.optimiser == "adam" else torch.optim.SGD([phi])
    # Single precision is drawn four times as fast.
    size = (setting.replicates, setting.data, setting.particles, d)
    marks = sorted(
        {round(i) for i in torch.logspace(0, math.log10(setting.iterations), 30).tolist()}
    )
    course = {0: exact_kl(phi, target)}
    for i in range(1, setting.iterations + 1):
        gradient = -ascent(phi, torch.randn(size, generator=generator).double(), target, rules)
        if setting.optimiser == "normalised":
            length = gradient.abs().sum(-1, keepdim=True)
            gradient = torch.where(length > 0.0, gradient / length, 0.0)
        phi.grad = gradient
        step.param_groups[0]["lr"] = i**-0.5
        step.step()
        if i in marks:
            course[i] = exact_kl(phi, target)
    return {
        **asdict(setting),
        "least_kl": target.least_kl,
        "exclusive_kl": target.exclusive_kl,
        "cpu_seconds": round(time.process_time() - start, 1),
        "iteration": list(course),
        "median": {
            name: [short(statistics.median(kl[m].tolist())) for kl in course.values()]
            for m, name in enumerate(METHODS)
        },
        "final": {
            name: [short(kl) for kl in course[setting.iterations][m].tolist()]
            for m, name in enumerate(METHODS)
        },
    }


def short(value: float) -> float:
    return float(f"{value:.5g}")


# --- what the results say ------------------------------------------------------------------------


def growth(results: dict[str, Any], name: str, dimension: int) -> dict[str, Any]:
    """How the exact KL depends on K where the proposal can be the posterior.

    Data and starts are the same for every K, so that replicates can be compared one by one.
    """
    rows = {
        row["particles"]: row
        for row in results.values()
        if (row["covariance"], row["dimension"], row["optimiser"])
        == ("identity", dimension, "normalised")
    }
    least, most = min(rows), max(rows)
    pairs = list(zip(rows[least]["final"][name], rows[most]["final"][name], strict=True))
    worse = sum(b > a + 0.01 for a, b in pairs)
    medians = {count: rows[count]["median"][name][-1] for count in sorted(rows)}
    return {
        "median_kl_by_k": medians,
        "factor_from_least_to_most_k": short(medians[most] / medians[least]),
        "replicates_worse_by_more_than_0.01": f"{worse} of {len(pairs)}",
    }


def beside_earlier(results: dict[str, Any]) -> list[tuple[str, str, float, float, float]]:
    """Setting, method, median here, median of the earlier run, and the factor between the two."""
    found = []
    for (covariance, dimension, particles), row in EARLIER.items():
        key = f"{covariance}, D = {dimension}, K = {particles}, normalised"
        if key not in results:
            continue
        for name, said in zip(EARLIER_METHODS, row, strict=True):
            if said is not None:
                here = results[key]["median"][name][-1]
                factor = max(here, ROUNDING) / max(said, ROUNDING)
                found.append((key, name, here, said, factor))
    return found


def claims(results: dict[str, Any]) -> dict[str, Any]:
    dimensions = sorted(
        {
            row["dimension"]
            for row in results.values()
            if (row["covariance"], row["optimiser"]) == ("identity", "normalised")
        }
    )
    found: dict[str, Any] = {}
    for dimension, name in product(dimensions, ("IWAE", "AISLE-KL")):
        found[f"{name}, Sigma = I, D = {dimension}"] = growth(results, name, dimension)
    pairs = beside_earlier(results)
    outside = [pair for pair in pairs if not 0.5 <= pair[-1] <= 2.0]
    found["cells_beside_the_earlier_run"] = len(pairs)
    found["cells_outside_a_factor_of_two"] = [
        {"setting": key, "method": name, "here": here, "earlier": said}
        for key, name, here, said, _ in outside
    ]
    return found


def table(results: dict[str, Any]) -> str:
    names = list(METHODS)
    lines = [
        "| Sigma, D, steps | K | " + " | ".join(names) + " |",
        "|---|---:|" + "---:|" * len(names),
    ]
    for row in results.values():
        cells = []
        for name in names:
            course = row["median"][name]
            cells.append("no move" if course[-1] == course[0] else digits(course[-1]))
        where = f"{row['covariance']}, {row['dimension']}, {row['optimiser']}"
        lines.append(f"| {where} | {row['particles']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def digits(value: float) -> str:
    if value < 5e-5:
        return "< .0001"
    return f"{value:.4f}" if value < 1.0 else f"{value:.2f}" if value < 100.0 else f"{value:.3g}"


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw the course of the exact KL under normalised steps."""
    rows = [
        (covariance, dimension)
        for dimension, covariance in ((2, "identity"), (2, "correlated"), (5, "identity"))
        if f"{covariance}, D = {dimension}, K = 1, normalised" in results
    ]
    shown = [name for name in METHODS if name not in NOT_DRAWN]
    with style():
        figure, grid = canvas(
            len(rows), 3, width=7.6, heights=[1.9] * len(rows), sharey="row", sharex="all"
        )
        for (covariance, dimension), line in zip(rows, grid, strict=True):
            for particles, axes in zip((1, 10, 100), line, strict=True):
                row = results[f"{covariance}, D = {dimension}, K = {particles}, normalised"]
                sigma = "Σ = I" if covariance == "identity" else "Σ correlated"
                axes.set_title(f"{sigma}, D = {dimension}, K = {particles}")
                axes.set_xscale("log")
                axes.set_yscale("log")
                for name, colour in zip(shown, CHAINS, strict=True):
                    axes.plot(
                        row["iteration"][1:],
                        row["median"][name][1:],
                        color=colour,
                        label=name.replace("-", "−") if " " in name else name,
                        ls=(0, (4, 2)) if "RWS-DREG" in name else "-",
                    )
                if covariance == "correlated":
                    axes.set_ylim(bottom=0.55 * row["least_kl"])
                    mark(axes, row["least_kl"], "best q", -9)
                    mark(axes, row["exclusive_kl"], "exclusive", 2)
        for axes in grid[-1]:
            axes.set_xlabel("iteration")
        figure.supylabel("median KL(π | q), nats", fontsize=8.5, color=MUTED)
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=6)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)


def mark(axes: Any, level: float, said: str, points: int) -> None:
    """Draw a level, and name it so many points above."""
    axes.axhline(level, color=MUTED, lw=0.6, ls=(0, (4, 3)))
    axes.annotate(
        said,
        (1.0, level),
        xycoords=("axes fraction", "data"),
        xytext=(-2, points),
        textcoords="offset points",
        ha="right",
        fontsize=7,
        color=MUTED,
    )


def study(chosen: list[Setting], out: Path, *, again: bool = False) -> dict[str, Any]:
    """Run the settings that are not in the file yet."""
    old = read(out).get("settings", {})
    results: dict[str, Any] = {}
    for setting in chosen:
        known = old.get(setting.key, {})
        same = all(known.get(key) == value for key, value in asdict(setting).items())
        results[setting.key] = known if same and not again else learn(setting)
        print(f"{setting.key}: {results[setting.key]['cpu_seconds']} s", flush=True)
        versions = {"torch": torch.__version__, "threads": torch.get_num_threads()}
        write(out, {**versions, "claims": claims(results), "settings": results})
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true", help="the settings of the paper")
    parser.add_argument("--replicates", type=int, default=12, help="of the reduced study")
    parser.add_argument("--again", action="store_true", help="run also what is there already")
    parser.add_argument("--table", action="store_true", help="print the table of what is there")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--figure", type=Path, default=FIGURE)
    options = parser.parse_args()
    if options.table:
        results = read(options.out)["settings"]
    else:
        torch.set_num_threads(1)
        chosen = list(full() if options.full else reduced(options.replicates))
        results = study(chosen, options.out, again=options.again)
    draw(results, options.figure)
    print(table(results))
    print(json.dumps(claims(results), indent=1))


if __name__ == "__main__":
    main()
