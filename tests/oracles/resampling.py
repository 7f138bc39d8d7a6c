"""Resampling by searching the cumulative sum, one offspring at a time; O(n m) and plain."""

import numpy as np


def parent_at(w, mass):
    """Return the parent on whose stretch of the cumulative sum ``mass`` lies."""
    c = 0.0
    for j, weight in enumerate(w):
        c += weight
        if mass < c:
            return j
    raise ValueError(f"{mass} lies beyond the total of {c}")


def parents_at(w, points):
    """Return the parents at ``points`` in [0, 1)."""
    W = np.asarray(w) / np.sum(w)
    return np.array([parent_at(W, p) for p in points], dtype=np.int64)


def sorted_uniforms(u):
    """Return len(u) - 1 sorted uniforms by exponential spacings."""
    e = -np.log1p(-np.asarray(u))
    return np.cumsum(e)[:-1] / e.sum()


def multinomial(w, u, m):
    return parents_at(w, sorted_uniforms(u[: m + 1]))


def residual(w, u, m):
    x = m * np.asarray(w) / np.sum(w)
    whole = np.floor(x).astype(int)
    count = m - whole.sum()
    fixed = np.repeat(np.arange(len(w)), whole)
    if count == 0:
        return fixed
    return np.sort(np.concatenate([fixed, multinomial(x - whole, u[: count + 1], count)]))


def stratified(w, u, m):
    return parents_at(w, (np.arange(m) + u) / m)


def systematic(w, u, m):
    return parents_at(w, (np.arange(m) + u[0]) / m)


def ssp(w, u, m):
    """Move probability between two fractional counts at a time until at most one is fractional."""
    x = m * np.asarray(w) / np.sum(w)
    i = 0
    for j in range(1, len(w)):
        xi, xj = x[i] - np.floor(x[i]), x[j] - np.floor(x[j])
        to_i = min(xj, 1 - xi)  # by how much i can rise at the expense of j
        to_j = min(xi, 1 - xj)
        if to_i + to_j == 0:
            continue
        if u[j] * (to_i + to_j) < to_i:
            x[i], x[j] = x[i] - to_j, x[j] + to_j
        else:
            x[i], x[j] = x[i] + to_i, x[j] - to_i
        # Go on with the one that is still fractional.
        if abs(x[i] - round(x[i])) < 1e-12:
            x[i] = round(x[i])
            i = j
        else:
            x[j] = round(x[j])
    return np.repeat(np.arange(len(w)), np.round(x).astype(int))


def killing(w, u, m):
    n = len(w)
    return np.array(
        [i if u[i] < w[i] / max(w) else parents_at(w, [u[n + i]])[0] for i in range(n)],
        dtype=np.int64,
    )


def threshold(w, m):
    """Return kappa with sum min(w / kappa, 1) = m by bisection."""
    low, high = 0.0, float(np.sum(w))
    for _ in range(2000):
        kappa = (low + high) / 2
        if kappa in (low, high):
            break
        low, high = (kappa, high) if np.minimum(w / kappa, 1).sum() > m else (low, kappa)
    return kappa


def optimal(w, u, m):
    """Return parents and weights."""
    W = np.asarray(w) / np.sum(w)
    if np.count_nonzero(W) <= m:
        return np.flatnonzero(W), W[W > 0]
    kappa = threshold(W, m)
    heavy = kappa * (1 - 1e-9) <= W
    light = np.where(heavy, 0.0, W)
    count = m - heavy.sum()
    chosen = systematic(light, u, count) if count else np.array([], dtype=int)
    parents = np.sort(np.concatenate([np.flatnonzero(heavy), chosen]))
    return parents, np.where(heavy[parents], W[parents], kappa)
