"""Fitting mixtures of Student-t parts, by the textbook formulas."""

from __future__ import annotations

import math

import numpy as np

from tests.oracles import student

TERMS = 20_000


def digamma(x):
    """Euler's series, its tail by the integral."""
    k = np.arange(TERMS)
    tail = math.log((TERMS + x - 0.5) / (TERMS + 0.5))
    return -0.5772156649015329 + math.fsum(1.0 / (k + 1.0) - 1.0 / (k + x)) + tail


def trigamma(x):
    return math.fsum(1.0 / (np.arange(TERMS) + x) ** 2) + 1.0 / (TERMS + x - 0.5)


def levels(weights, root, df):
    out = []
    for p, r, nu in zip(weights, root, df, strict=True):
        d = len(r)
        if np.isinf(nu):
            norm = -d / 2 * math.log(2 * math.pi)
        else:
            norm = math.lgamma((nu + d) / 2) - math.lgamma(nu / 2) - d / 2 * math.log(nu * math.pi)
        out.append(norm + math.log(p) - math.log(np.linalg.det(r)))
    return np.array(out)


def better_df(a, b, e, count, df, d):
    """One Newton step in log df on the likelihood and a weak prior, of 0.7 at most."""
    rise = d / df
    first = digamma((df + d) / 2) - digamma(df / 2) - rise - a + (1 + rise) * b
    second = trigamma((df + d) / 2) / 2 - trigamma(df / 2) / 2 + rise / df
    second += b / df - rise * b / df - (1 + rise) * e
    slope = df / 2 * first * count - 0.25 * math.log(df / 8)
    bend = df / 2 * (df * second + first) * count - 0.25
    step = -slope / bend if bend < 0 else math.copysign(math.inf, slope)
    return np.clip(df * math.exp(np.clip(step, -0.7, 0.7)), 3.0, 1000.0)


def shrink(scatter, total, count):
    d = scatter.shape[1]
    enough = 2.0 * (d + 1)
    within = np.einsum("k,kij->ij", total / total.sum(), scatter) + 1e-8 * np.eye(d)
    lack = max(0.0, 1.0 - count.sum() / enough)
    within = (1.0 - lack) * within + lack * np.trace(within) / d * np.eye(d)
    out = []
    for matrix, m in zip(scatter, count, strict=True):
        share = max(0.0, 1.0 - m / enough)
        size = (m * np.trace(matrix @ np.linalg.inv(within)) / d + 1.0) / (m + 1.0)
        out.append((1.0 - share) * matrix + share * size * within)
    return np.array(out)


def em_step(x, w, weights, location, root, df):
    d = x.shape[1]
    inverse = np.linalg.inv(root)
    distance = student.distances(x, location, inverse)
    share = student.share_out(distance, d, levels(weights, root, df), df, w)
    sums = student.tail_sums(distance, share, df, w)
    count = sums[:, 0] ** 2 / sums[:, 1]
    averages = (sums / sums[:, :1])[:, 2:]
    spare = np.maximum(count - d - 1, 0)
    df = np.array(
        [better_df(*row, m, nu, d) for row, m, nu in zip(averages, spare, df, strict=True)]
    )
    mass, shift, scatter = student.moment_sums(x, share, distance, df, location)
    shift, scatter = shift / mass[:, None], scatter / mass[:, None, None]
    scatter = scatter - shift[:, :, None] * shift[:, None, :]
    root = np.linalg.cholesky(shrink(scatter, sums[:, 0], count))
    return sums[:, 0] / sums[:, 0].sum(), location + shift, root, df


def unseen(distance, share, df, d):
    near = share * (df + d)[:, None] / (df[:, None] + distance)
    near = near / near.sum(axis=1, keepdims=True)
    return distance / np.maximum(1.0 - near * (1.0 + distance), 0.1)


def calibrate(far, share, sums, d, df):
    found = []
    for m, c, row, nu in zip(far, share, sums, df, strict=True):
        c, count, nu, size = c / row[0], row[0] ** 2 / row[1], min(nu, 50.0), 1.0
        for _ in range(6):
            scaled = m / size
            ratio = scaled / (nu + scaled)
            averages = c @ np.log(1 + scaled / nu), c @ ratio, c @ (ratio / (nu + scaled))
            size = max(size * (nu + d) * averages[1] / d, 0.1)
            nu = better_df(*averages, count, nu, d)
        found.append((nu, size))
    return np.array(found).T
