"""Mixtures of multivariate Student-t and Gaussian parts, by the textbook formulas."""

from __future__ import annotations

import numpy as np


def distances(x, location, inverse):
    """Shape (k, n)."""
    return np.array(
        [
            [np.sum((a @ (row - m)) ** 2) for row in x]
            for m, a in zip(location, inverse, strict=True)
        ]
    ).reshape(len(location), len(x))


def log_terms(distance, d, level, df):
    """Shape (k, n)."""
    out = np.empty(distance.shape)
    for k in range(len(level)):
        if np.isinf(df[k]):
            out[k] = level[k] - distance[k] / 2
        else:
            out[k] = level[k] - (df[k] + d) / 2 * np.log(1 + distance[k] / df[k])
    return out


def log_density(x, location, inverse, level, df):
    terms = log_terms(distances(x, location, inverse), x.shape[1], level, df)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(terms).sum(axis=0))


def share_out(distance, d, level, df, w):
    p = np.exp(log_terms(distance, d, level, df))
    return w * p / p.sum(axis=0)


def tail_sums(distance, share, df, w):
    near = distance / (df[:, None] + distance)
    rows = [
        share,
        share * w,
        share * np.log(1 + distance / df[:, None]),
        share * near,
        share * near / (df[:, None] + distance),
    ]
    return np.stack([row.sum(axis=1) for row in rows], axis=1)


def moment_sums(x, share, distance, df, location):
    d = x.shape[1]
    mass, shift, scatter = [], [], []
    for k in range(len(location)):
        u = share[k].copy()
        if np.isfinite(df[k]):
            u *= (df[k] + d) / (df[k] + distance[k])
        away = x - location[k]
        mass.append(u.sum())
        shift.append(u @ away)
        scatter.append(sum(c * np.outer(a, a) for c, a in zip(u, away, strict=True)))
    return np.array(mass), np.array(shift), np.array(scatter)
