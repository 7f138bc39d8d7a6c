"""Feynman-Kac models on a finite set: everything about a particle filter is a matrix product.

The model has law ``initial`` at time 0, moves by ``transition`` and is weighed at time t by
``potentials[t]``.  Exact: the measures, the evidence, its variance in the limit of many particles
split by generation, and its second moment at any number of particles.  `run` filters many
replicates at once, in plain NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class FiniteModel:
    initial: np.ndarray  # (states,)
    transition: np.ndarray  # (states, states), rows sum to one
    potentials: np.ndarray  # (T, states)

    @property
    def length(self):
        return self.potentials.shape[0]

    def gammas(self):
        """Unnormalised predictive measures, before the potential of their time: (T, states)."""
        out = [self.initial]
        for g in self.potentials[:-1]:
            out.append((out[-1] * g) @ self.transition)
        return np.array(out)

    def evidence(self):
        """Z, with the potentials of all T times."""
        return float(self.gammas()[-1] @ self.potentials[-1])

    def evidences(self):
        """Z of every beginning of the series: (T,)."""
        return (self.gammas() * self.potentials).sum(axis=1)

    def filters(self):
        """Laws of the state given the potentials up to its time: (T, states)."""
        weighed = self.gammas() * self.potentials
        return weighed / weighed.sum(axis=1, keepdims=True)

    def futures(self):
        """Q_t(x): expected product of the potentials from time t on, from x at time t."""
        out = [self.potentials[-1]]
        for g in self.potentials[-2::-1]:
            out.append(g * (self.transition @ out[-1]))
        return np.array(out[::-1])

    def smoothers(self):
        """Laws of the state given all potentials: (T, states)."""
        return self.gammas() * self.futures() / self.evidence()

    def variance_terms(self):
        """n times the contributions of each generation to Var(Z_hat / Z) as n grows.

        Multinomial resampling at every step: the variance of the normalised future under the
        predictive law.
        """
        gamma = self.gammas()
        second = gamma.sum(axis=1) * (gamma * self.futures() ** 2).sum(axis=1)
        return second / self.evidence() ** 2 - 1.0

    def asymptotic_variance(self):
        return float(self.variance_terms().sum())

    def second_moment(self, n):
        """E Z_hat^2 with n particles, multinomial resampling at every step.

        The expected product measure E gamma_hat x gamma_hat moves linearly: two different
        particles, with probability 1 - 1/n, are independent given the population before; else they
        are one.
        """
        apart, same = 1.0 - 1.0 / n, 1.0 / n
        pairs = apart * np.outer(self.initial, self.initial) + same * np.diag(self.initial)
        for t, g in enumerate(self.potentials):
            weighed = pairs * np.outer(g, g)
            if t == self.length - 1:
                return float(weighed.sum())
            moved = weighed @ self.transition
            pairs = apart * self.transition.T @ moved + same * np.diag(moved.sum(axis=0))

    def relative_variance(self, n):
        """Var(Z_hat / Z) with n particles, multinomial resampling at every step."""
        return self.second_moment(n) / self.evidence() ** 2 - 1.0


def random_model(seed, *, states=4, length=8, stay=0.5, spread=1.0):
    """An asymmetric model: the chain stays with probability `stay`, else it jumps by some law.

    `spread` is the standard deviation of the log-potentials.
    """
    rng = np.random.default_rng(seed)
    jump = rng.dirichlet(np.full(states, 0.7), states)
    return FiniteModel(
        initial=rng.dirichlet(np.ones(states)),
        transition=stay * np.eye(states) + (1.0 - stay) * jump,
        potentials=np.exp(spread * rng.normal(size=(length, states))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Replicates of a bootstrap filter; time comes first, then the replicate."""

    evidence: np.ndarray  # (R,)
    states: np.ndarray  # (T, R, n)
    weights: np.ndarray  # (T, R, n), normalised, after weighing and before resampling
    ancestors: np.ndarray  # (T, R, n), parents at t - 1; identity at 0 and without resampling
    resampled: np.ndarray  # (T, R), never at 0
    drawn: np.ndarray  # (T, R, n), normalised weights at t - 1 that resampling goes by

    def feed(self, r, *accumulators, drawn=False):
        """Hand replicate r to accumulators: update(weights, ancestors), and drawn if asked."""
        for t in range(self.weights.shape[0]):
            parents = self.ancestors[t, r] if self.resampled[t, r] else None
            more = (self.drawn[t, r],) if drawn and parents is not None else ()
            for accumulator in accumulators:
                accumulator.update(self.weights[t, r], parents, *more)


def multinomial(weights, rng):
    cumulative = np.cumsum(weights, axis=1)[:, None, :-1]
    return (rng.random(weights.shape)[:, :, None] >= cumulative).sum(axis=2)


def systematic(weights, rng):
    replicates, n = weights.shape
    reached = np.ceil(n * np.cumsum(weights, axis=1) - rng.random((replicates, 1)))
    reached = reached.clip(0, n).astype(np.int64)
    reached[:, -1] = n
    counts = np.diff(reached, axis=1, prepend=0)
    return np.repeat(np.tile(np.arange(n), replicates), counts.ravel()).reshape(weights.shape)


def run(model, n, replicates, seed, *, resample=multinomial, threshold=2.0, lookahead=None):
    """Filter with n particles; above 1, `threshold` resamples at every step.

    With `lookahead`, positive and of shape (T, states), the filter is auxiliary: ancestors at t
    are drawn by weight times ``lookahead[t - 1]`` of their state and start from its reciprocal.
    """
    rng = np.random.default_rng(seed)
    start = np.cumsum(model.initial)[:-1]
    moves = np.cumsum(model.transition, axis=1)[:, :-1]
    shape = (replicates, n)
    identity = np.broadcast_to(np.arange(n), shape)
    x = (rng.random(shape)[:, :, None] >= start).sum(axis=2)
    weights = np.full(shape, 1.0 / n)
    evidence = np.ones(replicates)
    record = ([], [], [], [], [])
    for t, g in enumerate(model.potentials):
        chosen = np.zeros(replicates, dtype=bool)
        parents, first = identity, weights
        if t > 0:
            eta = np.ones(shape) if lookahead is None else lookahead[t - 1][x]
            first = weights * eta
            mean = first.sum(axis=1)
            first = first / mean[:, None]
            chosen = 1.0 / (first**2).sum(axis=1) < threshold * n
            parents = np.where(chosen[:, None], resample(first, rng), identity)
            start_weights = 1.0 / (n * np.take_along_axis(eta, parents, axis=1))
            total = start_weights.sum(axis=1)
            evidence = np.where(chosen, evidence * mean * total, evidence)
            weights = np.where(chosen[:, None], start_weights / total[:, None], weights)
            x = np.take_along_axis(x, parents, axis=1)
            x = (rng.random(shape)[:, :, None] >= moves[x]).sum(axis=2)
        weights = weights * g[x]
        total = weights.sum(axis=1)
        evidence = evidence * total
        weights = weights / total[:, None]
        for column, value in zip(record, (x, weights, parents, chosen, first), strict=True):
            column.append(value)
    states, kept, ancestors, resampled, drawn = map(np.array, record)
    return Runs(
        evidence=evidence,
        states=states,
        weights=kept,
        ancestors=ancestors,
        resampled=resampled,
        drawn=drawn,
    )
