"""The targets made from files of the shared data: Gaussian mixtures, logistic regressions, pines.

The environment variable ``AISLE_SHARED_DATA`` names the folder of the data; without one it is
``../shared/data`` seen from the repository root.  Use these through `targets.load`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from targets import LOG_2PI, Array, Likelihood, Target, cube, normals


def data_file(name: str) -> Path:
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    return Path(os.environ.get("AISLE_SHARED_DATA", default)) / "static" / name


def gaussian_mixture(name: str, file: str, sd: float) -> Target:
    """Return 40 equal Gaussians in the plane; uniform prior on [-50, 50]^2, L = 100^2 density."""
    side = 50.0
    means = np.loadtxt(data_file(file), delimiter=",", skiprows=1)
    constant = 2.0 * math.log(2.0 * side) - LOG_2PI - math.log(sd**2 * len(means))
    precision = 0.5 / sd**2

    def batch(xp: Any) -> Likelihood:
        mean_x, mean_y = xp.asarray(means[:, 0].copy()), xp.asarray(means[:, 1].copy())

        def log_likelihood(theta: Any) -> Any:
            x, y = theta[..., :1] - mean_x, theta[..., 1:] - mean_y
            terms = -precision * (x * x + y * y)
            top = xp.amax(terms, -1)
            return constant + top + xp.log(xp.exp(terms - top[..., None]).sum(-1))

        return log_likelihood

    def row(jit: Callable[..., Any]) -> Likelihood:
        @jit
        def log_likelihood(theta):
            top = -np.inf
            for k in range(means.shape[0]):
                square = (theta[0] - means[k, 0]) ** 2 + (theta[1] - means[k, 1]) ** 2
                top = max(top, -precision * square)
            total = 0.0
            for k in range(means.shape[0]):
                square = (theta[0] - means[k, 0]) ** 2 + (theta[1] - means[k, 1]) ** 2
                total += math.exp(-precision * square - top)
            return constant + top + math.log(total)

        return log_likelihood

    return Target(
        name=name,
        prior=cube(-side, side, 2),
        log_evidence=0.0,
        batch=batch,
        row=row,
        mean=means.mean(0),
        note="L is the density times 100^2 on [-50, 50]^2, which holds all but 1e-10 of it",
    )


def logistic(
    name: str, design: Array, sign: Array, prior_sd: float, log_evidence: float
) -> Target:
    """Return a Bernoulli-logit regression: log L = -sum_i log(1 + exp(-s_i x_i'w)), s_i = +-1."""
    signed = np.ascontiguousarray(sign[:, None] * design)

    def batch(xp: Any) -> Likelihood:
        columns = xp.asarray(signed.T.copy())

        def log_likelihood(theta: Any) -> Any:
            score = theta @ columns
            size = abs(score)
            return 0.5 * (score - size).sum(-1) - xp.log1p(xp.exp(-size)).sum(-1)

        return log_likelihood

    def row(jit: Callable[..., Any]) -> Likelihood:
        @jit
        def log_likelihood(theta):
            total = 0.0
            for i in range(signed.shape[0]):
                score = 0.0
                for j in range(signed.shape[1]):
                    score += signed[i, j] * theta[j]
                total += min(score, 0.0) - math.log1p(math.exp(-abs(score)))
            return total

        return log_likelihood

    return Target(
        name=name,
        prior=normals(prior_sd, design.shape[1]),
        log_evidence=log_evidence,
        log_evidence_error=0.007,
        batch=batch,
        row=row,
        note=f"logistic regression, {len(sign)} cases, prior N(0, {prior_sd:g}^2) on all weights",
    )


def standardised(file: str) -> tuple[Array, Array]:
    """Return the design with the constant first, columns of mean 0 and sd 1, and labels +-1."""
    table = np.loadtxt(data_file(file), delimiter=",", skiprows=1)
    x, y = table[:, :-1], table[:, -1]
    sd = x.std(0)
    x = (x - x.mean(0)) / np.where(sd > 0.0, sd, 1.0)
    return np.column_stack([np.ones(len(x)), x]), y


def ionosphere() -> Target:
    return logistic("ionosphere", *standardised("ionosphere.csv"), 1.0, -111.608)


def sonar() -> Target:
    return logistic("sonar", *standardised("sonar_pm1.csv"), 1.0, -108.381)


def german_credit() -> Target:
    """Return German credit with columns divided by their sd but not centred, constant first."""
    table = np.loadtxt(data_file("german.data-numeric"))
    x = table[:, :-1] / table[:, :-1].std(0)
    sign = np.where(table[:, -1] == 1.0, 1.0, -1.0)
    design = np.column_stack([np.ones(len(x)), x])
    return logistic("german-credit", design, sign, 10.0, -585.101)


def pines_counts(cells: int) -> Array:
    """Return the number of pines in each cell of a square grid, row by row."""
    points = np.genfromtxt(data_file("pines.csv"), delimiter=",", skip_header=1)[:, 1:]
    at = np.minimum((points * cells).astype(int), cells - 1)
    counts = np.zeros((cells, cells))
    np.add.at(counts, (at[:, 0], at[:, 1]), 1.0)
    return counts.ravel()


def cox_process(cells: int = 40) -> Target:
    """Return the log-Gaussian Cox process of Moller, Syversveen and Waagepetersen (1998).

    The field f on the grid is Gaussian with mean log 126 - s2/2 and covariance
    s2 exp(-|i - j| / (cells beta)) in units of cells, s2 = 1.91, beta = 1/33; log L =
    sum_c (y_c f_c - exp(f_c)/cells^2), without the factorials.  The parameters are the whitened
    z, f = mean + root z with the lower Cholesky root of the covariance, so the prior is N(0, I):
    the evidence is the same in z and in f.
    """
    variance, beta, d = 1.91, 1.0 / 33.0, cells * cells
    counts = pines_counts(cells)
    grid = np.arange(cells, dtype=float)
    i, j = (axis.ravel() for axis in np.meshgrid(grid, grid, indexing="ij"))
    distance = np.hypot(i[:, None] - i, j[:, None] - j)
    root = np.linalg.cholesky(variance * np.exp(-distance / (cells * beta)))
    mean = math.log(126.0) - 0.5 * variance

    def batch(xp: Any) -> Likelihood:
        mix, y = xp.asarray(root.T.copy()), xp.asarray(counts)

        def log_likelihood(theta: Any) -> Any:
            field = mean + theta @ mix
            return (y * field - xp.exp(field) / d).sum(-1)

        return log_likelihood

    return Target(
        name=f"lgcp-{d}",
        prior=normals(1.0, d),
        log_evidence=501.75,
        log_evidence_error=0.03,
        batch=batch,
        note="log-Gaussian Cox process of the pines on a grid, whitened; no compiled form, since "
        "a row costs a product with a dense matrix that BLAS does best for many rows at once",
    )


FROM_DATA: dict[str, Callable[[], Target]] = {
    "gmm-40-torch": lambda: gaussian_mixture(
        "gmm-40-torch", "gmm40_means_fabtorch_seed0.csv", 1.3132616875182228
    ),
    "gmm-40-jax": lambda: gaussian_mixture("gmm-40-jax", "gmm40_means_jax_key0_legacy.csv", 1.0),
    "ionosphere": ionosphere,
    "sonar": sonar,
    "german-credit": german_credit,
    "lgcp-1600": cox_process,
}
