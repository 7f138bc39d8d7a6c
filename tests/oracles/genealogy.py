"""Genealogies by full storage."""

from __future__ import annotations

import numpy as np


def lineages(ancestors, final):
    out = [list(final)]
    for row in ancestors[::-1]:
        out.append([row[i] for i in out[-1]])
    return np.array(out[::-1]).T


def same_and_different(eve, w, families):
    mass = np.array([w[eve == k].sum() for k in range(families)])
    pairs = np.outer(mass, mass)
    return np.trace(pairs), pairs.sum() - np.trace(pairs)


class FullStorage:
    """What a tree of ancestors must give back, every state kept."""

    def __init__(self):
        self.states = []
        self.ancestors = []

    def insert(self, x, ancestors):
        if self.states:
            self.ancestors.append(np.arange(len(x)) if ancestors is None else ancestors)
        self.states.append(x)

    def paths(self, chosen):
        indices = np.array(chosen)
        out = [self.states[-1][indices]]
        for x, parents in zip(self.states[-2::-1], self.ancestors[::-1], strict=True):
            indices = parents[indices]
            out.append(x[indices])
        return np.stack(out[::-1], axis=1)

    def living(self):
        """Number of states with a descendant in the last generation."""
        alive = set(range(len(self.states[-1])))
        count = len(alive)
        for parents in self.ancestors[::-1]:
            alive = {int(parents[i]) for i in alive}
            count += len(alive)
        return count


def first_families(ancestors, n):
    """Families of the last population, by composing from the front."""
    eve = np.arange(n)
    for row in ancestors:
        eve = eve[row]
    return eve


def eve_variance(weights, ancestors):
    """Lee and Whiteley's estimator from whole histories, as a double sum over particles."""
    n = len(weights[-1])
    resampled = [a for a in ancestors if a is not None]
    eve = first_families(resampled, n)
    w = weights[-1]
    pairs = sum(w[i] * w[j] for i in range(n) for j in range(n) if eve[i] != eve[j])
    return 1.0 - (n / (n - 1)) ** (1 + len(resampled)) * pairs


def lag_variance(weights, ancestors, starts):
    """The lag estimator from whole histories, for levels that start at the given times."""
    n = len(weights[0])
    last = len(weights) - 1

    def collected(s, u):
        eve = np.arange(n)
        gain = np.zeros(n)
        for t in range(s, u + 1):
            if t > s and ancestors[t - 1] is not None:
                eve = eve[ancestors[t - 1]]
            fresh = t == 0 or ancestors[t - 1] is not None
            before = np.full(n, 1.0 / n) if fresh else weights[t - 1]
            for i in range(n):
                gain[eve[i]] += weights[t][i] - before[i]
        return n / (n - 1) * (gain**2).sum()

    total = 0.0
    for s, following, end in zip(starts, starts[1:], starts[2:], strict=False):
        total += collected(s, end - 1) - collected(following, end - 1)
    return total + collected(starts[max(len(starts) - 2, 0)], last)
