"""Rainforth et al. (2018), section 4: signal-to-noise of gradients in a Gaussian model.

    python benchmarks/papers/rainforth_snr.py             some minutes on one core
    python benchmarks/papers/rainforth_snr.py --full      10 000 replicates: hours

z ~ N(mu, I) and x given z ~ N(z, I) in 20 dimensions, 1024 data; the proposal is
N(A x + b, 2/3 I).  The gradients are those by mu, b and A at the optimum, mu = mean(x), A = I / 2,
b = mu / 2, moved by normal noise of standard deviation 0.01 ("near") or 0.5 ("far"), averaged over
the data.  IWAE with K particles, the evidence lower bound (VAE) with M draws, and two estimators
of the proposal's gradient whose signal does not vanish.

The coefficients of the particles are those of `aisle_smc.neural.estimator`, ratios and slopes
those of `aisle_smc.neural.signal_to_noise` and `slope`; all estimators are measured on the same
draws.

The signal of IWAE's gradient by b and A drowns in its noise: "IWAE, known mean" takes the mean
from the doubly reparametrised gradient, which has the same, and the noise from IWAE's own.

Results: benchmarks/results/papers/rainforth_snr.json, written after every number of particles.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from records import read, write
from torch import Tensor

from aisle_smc.neural import Ratio, SignalToNoise, estimator, signal_to_noise, slope
from aisle_smc.plots.style import CHAINS, MUTED, canvas, style

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "papers" / "rainforth_snr.json"
FIGURES = ROOT / "docs" / "figures"

SD = math.sqrt(2.0 / 3.0)  # of the proposal
METHODS = {"IWAE": "iwae", "VAE": "vae", "IWAE-DREG": "iwae-dreg", "AISLE-KL": "aisle-kl"}
KNOWN = "IWAE, known mean"
PERTURBATIONS = {"near": 0.01, "far": 0.5}
PARAMETERS = ("mu", "b", "A")
COUNTS = (1, 10, 100, 1000)
TOGETHER = 2**14  # particles at once: their noise stays in the cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Sizes of the study."""

    dimension: int = 20
    data: int = 1024
    replicates: int = 200
    counts: tuple[int, ...] = COUNTS
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the gradient is taken: the data, shape (datum, D), and the parameters."""

    x: Tensor
    mu: Tensor
    b: Tensor
    A: Tensor

    @property
    def nu(self) -> Tensor:
        """Means of the posteriors N(nu, I/2)."""
        return 0.5 * (self.mu + self.x)

    @property
    def error(self) -> Tensor:
        """Mean of the proposal minus that of the posterior."""
        return self.x @ self.A.T + self.b - self.nu


def place(study: Study, spread: float) -> Place:
    """Draw the data, the same for every spread, and move the parameters from their optimum."""
    generator = torch.Generator().manual_seed(study.seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, dtype=torch.float64, generator=generator)

    d = study.dimension
    x = normal(d) + math.sqrt(2.0) * normal(study.data, d)
    best = x.mean(0)
    mu = best + spread * normal(d)
    b = 0.5 * best + spread * normal(d)
    matrix = 0.5 * torch.eye(d, dtype=torch.float64) + spread * normal(d, d)
    return Place(x=x, mu=mu, b=b, A=matrix)


def log_weights(at: Place, e: Tensor, data: Tensor) -> Tensor:
    """Log-weights up to a constant, shape (K, column), for noise of shape (column, K, D)."""
    linear = torch.linalg.vecdot(e, -2.0 * SD * at.error[data][:, None])
    log_w = (linear + (0.5 - SD**2) * torch.linalg.vecdot(e, e)).T.contiguous()
    # Below exp(-708), squares included, the exponential of torch takes fifty times as long.
    return torch.maximum(log_w, log_w.amax(0) - 300.0)


def effective_size(at: Place, particles: int, seed: int) -> float:
    """Median of the effective sample size over the data."""
    generator = torch.Generator().manual_seed(seed)
    data = torch.arange(min(100, len(at.x)))
    e = torch.randn(len(data), particles, at.x.shape[1], generator=generator).double()
    weights = estimator("iwae").rows(log_weights(at, e, data)).weights
    return float((1.0 / weights.square().sum(0)).median())


def directions(at: Place, e: Tensor, data: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Ascent directions by mu and by the proposal's mean, each of shape (column, D), by method.

    `e` is the noise, shape (column, K, D), and `data` the datum of each column.  A draw is
    nu + error + SD e; the inverse of the posterior's covariance is 2 I.
    """
    error, pull = at.error[data], (at.nu - at.mu)[data]
    log_w = log_weights(at, e, data)
    rows = [estimator(name).rows(log_w) for name in METHODS.values()]
    coefficients = torch.stack([k for row in rows for k in (row.theta, row.path, row.score)])
    totals = coefficients.sum(1)[..., None]
    sums = (coefficients.permute(2, 0, 1) @ e).movedim(1, 0)
    found = {}
    for i, method in enumerate(METHODS):
        theta, path, score = sums[3 * i : 3 * i + 3]
        found[method] = (
            totals[3 * i] * (pull + error) + SD * theta,
            (1.0 / SD - 2.0 * SD) * path - 2.0 * totals[3 * i + 1] * error + score / SD,
        )
    return found


def gradients_at(at: Place, particles: int) -> Any:
    """Replicates of all gradients at once, as `signal_to_noise` takes them."""
    n_data, d = at.x.shape

    def replicates(loss: Any, parameters: Any, n: int) -> dict[str, Tensor]:
        columns = torch.arange(n_data).repeat(n)
        parts = []
        for data in columns.split(max(1, TOGETHER // particles)):
            # Single precision is drawn four times as fast.
            parts.append(directions(at, torch.randn(len(data), particles, d).double(), data))
        found = {}
        for method in METHODS:
            by_mu, by_mean = (
                torch.cat([part[method][i] for part in parts]).view(n, n_data, d) for i in (0, 1)
            )
            found[f"{method}, mu.at"] = by_mu.mean(1)
            found[f"{method}, b.at"] = by_mean.mean(1)
            found[f"{method}, A.at"] = by_mean.mT @ at.x / n_data
        return found

    return replicates


def measure(study: Study, at: Place, particles: int) -> SignalToNoise:
    return signal_to_noise(
        lambda: None,
        {
            f"{method}, {name}": {"at": getattr(at, name).clone()}
            for method in METHODS
            for name in PARAMETERS
        },
        gradients=gradients_at(at, particles),
        replicates=study.replicates,
        block=min(8, study.replicates // 4),
        seed=1000 * study.seed + particles,
    )


def known_mean(found: SignalToNoise, name: str) -> Ratio:
    """The ratio of IWAE's gradient, its mean from the doubly reparametrised one."""

    def noise(method: str) -> float:
        return sum(float(sd.square().sum()) for sd in found.group(f"{method}, {name}").sd.values())

    doubly = found.group(f"IWAE-DREG, {name}").total
    factor = noise("IWAE-DREG") / noise("IWAE")
    return Ratio(
        squared=factor * doubly.squared,
        squared_error=factor * doubly.squared_error,
        level=doubly.level,
    )


def summary(found: SignalToNoise) -> dict[str, Any]:
    """Ratios of all methods, by name of the parameter."""
    said: dict[str, Any] = {}
    for name in PARAMETERS:
        rows: dict[str, Any] = {}
        for method in METHODS:
            group = found.group(f"{method}, {name}")
            rows[method] = {
                "snr": asdict(group.total),
                "dsnr": asdict(group.directional),
                "alignment": group.alignment,
                "median_coordinate": float(
                    torch.cat([v.flatten() for v in group.snr.values()]).median()
                ),
            }
        if name != "mu":
            rows[KNOWN] = {"snr": asdict(known_mean(found, name))}
        said[name] = rows
    return said


# --- what the results say ------------------------------------------------------------------------


def curve(rows: dict[str, Any], parameter: str, method: str, kind: str) -> dict[int, Ratio]:
    """Ratios by the number of draws."""
    return {
        int(count): Ratio(**row[parameter][method][kind])
        for count, row in rows.items()
        if kind in row[parameter].get(method, {})
    }


def slopes(rows: dict[str, Any], least: int = 10) -> dict[str, Any]:
    """Exponents in the number of draws, from `least` on; None where noise hides the signal."""
    found: dict[str, Any] = {}
    for parameter in PARAMETERS:
        for method in (*METHODS, KNOWN):
            for kind in ("snr", "dsnr"):
                ratios = {
                    n: r for n, r in curve(rows, parameter, method, kind).items() if n >= least
                }
                if len(ratios) < 2:
                    continue
                try:
                    fit = slope(ratios)
                except ValueError:
                    fitted = None
                else:
                    fitted = {"value": fit.value, "error": fit.error, "misfit": fit.misfit}
                found.setdefault(parameter, {}).setdefault(method, {})[kind] = fitted
    return found


def noise_level(dimension: int) -> float:
    """The directional ratio of normal noise without any signal, in `dimension` coordinates."""
    inverse = math.lgamma(0.5 * dimension - 1.0) - math.lgamma(0.5 * (dimension - 1.0))
    return math.exp(inverse) / math.sqrt(math.pi)


def table(results: dict[str, Any]) -> str:
    lines = ["| | parameter | estimator | SNR slope | DSNR slope |", "|---|---|---|---:|---:|"]
    for where, rows in results.items():
        for parameter, methods in slopes(rows).items():
            for method, fits in methods.items():
                cells = [said(fits.get(kind)) for kind in ("snr", "dsnr")]
                lines.append(f"| {where} | {parameter} | {method} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def said(fit: dict[str, float] | None) -> str:
    if fit is None:
        return ""
    return f"{fit['value']:+.2f} ± {fit['error']:.2f}".replace("-", "−")


TITLES = {"mu": "of the model (μ)", "b": "of the proposal (b)"}
PLACES = {"near": "near the optimum", "far": "far from it"}
LINES = {
    "IWAE": "IWAE in K",
    "VAE": "VAE in M",
    "IWAE-DREG": "DREG in K",
    "AISLE-KL": "AISLE-KL in K",
}


def draw(results: dict[str, Any], kind: str, dimension: int, path: Path) -> None:
    """Draw one kind of ratio against the number of draws: near and far, model and proposal."""
    from matplotlib.ticker import NullFormatter

    what = {"snr": "SNR", "dsnr": "Directional SNR"}[kind]
    with style():
        figure, grid = canvas(
            len(results), 2, width=7.6, heights=[2.3] * len(results), sharex=True
        )
        for (where, rows), line in zip(results.items(), grid, strict=True):
            for parameter, axes in zip(TITLES, line, strict=True):
                axes.set_xscale("log")
                axes.set_yscale("log")
                axes.set_title(f"{what} {TITLES[parameter]}, {PLACES[where]}")
                axes.yaxis.set_minor_formatter(NullFormatter())
                lows, highs = [], []
                for (method, label), colour in zip(LINES.items(), CHAINS, strict=False):
                    if parameter == "mu" and method not in {"IWAE", "VAE"}:
                        continue
                    known = kind == "snr" and method == "IWAE" and parameter != "mu"
                    ratios = curve(rows, parameter, KNOWN if known else method, kind)
                    values = {n: r for n, r in ratios.items() if r.squared > 0.0}
                    axes.plot(
                        list(values),
                        [r.value for r in values.values()],
                        color=colour,
                        marker="o",
                        ms=3,
                        label=label,
                    )
                    lows += [r.value for r in values.values()]
                    highs += [r.upper for r in values.values()]
                    for n, r in curve(rows, parameter, method, kind).items():
                        foot = r.lower if r.lower > 0.0 else 1e-6
                        axes.plot([n, n], [foot, r.upper], color=colour, lw=3.5, alpha=0.3)
                low, high = min(lows) / 1.5, max(highs) * 1.5
                axes.set_ylim(low, high)
                # The slopes of the theorem: -1/2 for IWAE's proposal, else +1/2.
                exponent = 0.5 if parameter == "mu" else -0.5
                counts = [min(values), max(values)]
                axes.plot(
                    counts,
                    [lows[0] * (n / counts[0]) ** exponent for n in counts],
                    color=MUTED,
                    lw=0.7,
                    ls=(0, (4, 3)),
                )
                if kind == "dsnr":
                    axes.axhline(noise_level(dimension), color=MUTED, lw=0.7, ls=(0, (1, 2)))
        for axes in grid[-1]:
            axes.set_xlabel("particles K, or draws M")
        handles, labels = grid[0, 1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)


def run(study: Study, out: Path) -> dict[str, Any]:
    results: dict[str, Any] = {where: {} for where in PERTURBATIONS}
    for particles in study.counts:
        for where, spread in PERTURBATIONS.items():
            start = time.process_time()
            at = place(study, spread)
            results[where][str(particles)] = {
                **summary(measure(study, at, particles)),
                "effective_size": effective_size(at, particles, study.seed),
            }
            print(f"{where}, {particles} draws: {time.process_time() - start:.1f} s", flush=True)
        fits = {where: slopes(rows) for where, rows in results.items()}
        record = {**asdict(study), "torch": torch.__version__, "slopes": fits, "ratios": results}
        write(out, record)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true", help="10 000 replicates, as in the paper")
    parser.add_argument("--replicates", type=int, default=200, help="of the reduced study")
    parser.add_argument("--table", action="store_true", help="print the slopes of what is there")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--figures", type=Path, default=FIGURES, help="folder of the two figures")
    options = parser.parse_args()
    if options.table:
        record = read(options.out)
        results, dimension = record["ratios"], record["dimension"]
    else:
        torch.set_num_threads(1)
        study = Study(replicates=10_000 if options.full else options.replicates)
        results, dimension = run(study, options.out), study.dimension
    for kind in ("snr", "dsnr"):
        draw(results, kind, dimension, options.figures / f"rainforth-{kind}.png")
    print(table(results))


if __name__ == "__main__":
    main()
