"""Conditional resampling by finding the retained slot first and the other points after it."""

import numpy as np

from tests.oracles import resampling
from tests.oracles.resampling import parents_at


def multinomial(w, u, retained, m):
    others = parents_at(w, resampling.sorted_uniforms(u[:m]))
    return np.concatenate([[retained], others]).astype(np.int64)


def retained_point(w, v, retained, m):
    """Return the point on the line of length m that lies a fraction v into the retained parent."""
    x = m * np.asarray(w) / np.sum(w)
    return x[:retained].sum() + v * x[retained]


def systematic(w, u, retained, m):
    """Return the unconditional result for the shift that u implies, rotated."""
    point = retained_point(w, u[0], retained, m)
    slot = int(point)
    return np.roll(resampling.systematic(w, [point - slot], m), -slot)


def stratified(w, u, retained, m):
    point = retained_point(w, u[m], retained, m)
    points = point - u[0] + np.arange(m) + u[:m]
    points[0] = point
    return parents_at(w, (points % m) / m)


def killing(w, u, retained, m):
    n = len(w)
    # law[k]: probability that slot k descends from the retained parent; first of all, by survival.
    survival = w / np.max(w)
    W = w / np.sum(w)
    law = np.concatenate([[survival[retained]], (1 - survival) * W[retained]])
    choice = parents_at(law, [u[2 * n]])[0]
    slot = retained if choice == 0 else choice - 1
    ancestors = resampling.killing(w, u[: 2 * n], m)
    ancestors[slot] = ancestors[0]
    ancestors[0] = retained
    return ancestors
