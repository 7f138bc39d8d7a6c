"""Which coordinate should come first when each is explained by earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.distributions.features import Features
from aisle_smc.distributions.regression import fit_regression
from aisle_smc.distributions.regression_scale import NU, TINY
from aisle_smc.distributions.univariate import fit_line

__all__ = ["Scores", "best_order", "exchanged", "explained", "likely_orders"]

# Nats by which a direction must be better, times the effective number of points, to count.
CHANCE = 10.0


def explained(features: Features, w: Floats) -> Floats:
    r"""Return how much better each coordinate is explained nonlinearly by each other one.

    For every pair the log-likelihood per point of

    .. math:: z_b = \alpha + \beta z_a + \gamma z_a^2
              + \exp(\delta z_a + \epsilon \log(1 + z_a^2))\, e

    less that with :math:`\gamma = \delta = \epsilon = 0`, with a Student-t law for e.  The linear
    part is left out because it is the same in both directions.

    Parameters
    ----------
    features : Features
        d coordinates at n points.
    w : ndarray, shape (n,)
        Weights with sum one.

    Returns
    -------
    ndarray, shape (d, d)
        Entry (a, b) is the gain, in nats, of b given a.
    """
    z, c = features.plain, features.clipped
    d, n = z.shape
    found = np.zeros((d, d))
    trusted = w * (NU + 1.0) / (NU + z**2)
    for a in range(d):
        x = np.stack([np.ones(n), z[a], (2.0 * z[a] - c[a]) * c[a]])
        gram = np.stack([trusted @ (x[i] * x[j]) for i in range(3) for j in range(3)], axis=1)
        gram = gram.reshape(d, 3, 3)
        right = np.stack([(trusted * z) @ x[i] for i in range(3)], axis=1)
        line = _solve(gram[:, :2, :2], right[:, :2]) @ x[:2]
        bent = z - _solve(gram, right) @ x
        g = np.stack([np.ones(n), c[a], features.even[a]])
        logs = np.log(np.maximum(np.abs(bent), TINY * _spread(bent, w)[:, None]))
        slopes = _solve((g * w) @ g.T, (logs * w) @ g.T)
        s = slopes[:, 1:] @ g[1:]
        varying = _log_likelihood(bent * np.exp(-s), w) - s @ w
        found[a] = np.maximum(varying, _log_likelihood(bent, w)) - _log_likelihood(z - line, w)
    np.fill_diagonal(found, 0.0)
    return found


def _solve(gram: Floats, right: Floats) -> Floats:
    """Solve small systems after adding a hair to their diagonals."""
    hair = (1e-9 * np.einsum("...ii->...i", gram)[..., None] + 1e-12) * np.eye(gram.shape[-1])
    return np.asarray(np.linalg.solve(gram + hair, right[..., None])[..., 0])


def _spread(r: Floats, w: Floats) -> Floats:
    """Return the scale of a Student-t law fitted to each row."""
    square = r**2
    scale = np.abs(r) @ w + 1e-100
    for _ in range(4):
        scale = np.sqrt((square * (NU + 1.0) / (NU + square / scale[:, None] ** 2)) @ w)
        scale = np.maximum(scale, 1e-100)
    return np.asarray(scale)


def _log_likelihood(r: Floats, w: Floats) -> Floats:
    """Return the log-likelihood per point of a Student-t law, up to its constant."""
    scale = _spread(r, w)
    return np.asarray(
        -np.log(scale) - 0.5 * (NU + 1.0) * (np.log1p((r / scale[:, None]) ** 2 / NU) @ w)
    )


def likely_orders(features: Features, w: Floats, size: float) -> list[list[int]]:
    """Return orders worth trying; the given one only where no direction is better.

    The first follows every lead, ``gain[a, b] - gain[b, a]`` of :func:`explained`, that is not
    chance.  The second follows strong leads only, for weak ones often come from a common cause,
    and then puts first what is most correlated with the rest.  The others are the given order and
    its reverse: people write what the rest depends on first, or else last.
    """
    given = list(range(features.plain.shape[0]))
    gain = explained(features, w)
    lead = gain - gain.T
    lead[np.abs(lead) < CHANCE / size] = 0.0
    if not lead.any():
        return [given]
    strong = np.where(np.abs(lead) < 0.5 * lead.max(), 0.0, lead)
    centred = features.clipped - (features.clipped @ w)[:, None]
    covariance = (centred * w) @ centred.T
    variance = np.maximum(np.diag(covariance), 1e-100)
    shared = (covariance**2 / np.outer(variance, variance)).sum(axis=1)
    return [follow(lead, np.zeros(len(given))), follow(strong, shared), given, given[::-1]]


def follow(lead: Floats, rank: Floats) -> list[int]:
    """Return an order with a large sum over pairs, a before b, of ``lead[a, b]``.

    The coordinate that leads most comes first, and so on, among equals that of higher rank; then
    single coordinates are moved to a better place until none has one.
    """
    left, order = list(range(rank.size)), list[int]()
    while left:
        order.append(max(left, key=lambda item: (lead[item, left].sum(), rank[item])))
        left.remove(order[-1])
    for _ in range(rank.size):
        before = list(order)
        for item in range(rank.size):
            at = order.index(item)
            rest = order[:at] + order[at + 1 :]
            # What standing before rest[k] is worth, for each k, up to a constant.
            value = np.append(0.0, np.cumsum(-2.0 * lead[item, rest]))
            best = int(np.argmax(value))
            if value[best] > value[at] + 1e-12:
                order = [*rest[:best], item, *rest[best:]]
        if order == before:
            break
    return order


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """Scores of regressions of one coordinate on some others, each computed once.

    Attributes
    ----------
    features : Features
        All coordinates.
    w : ndarray, shape (n,)
        Weights with sum one.
    size : float
        Effective number of points.
    """

    features: Features
    w: Floats
    size: float
    known: dict[tuple[int, frozenset[int]], tuple[float, bool]] = field(default_factory=dict)

    def of(self, item: int, before: Sequence[int]) -> tuple[float, bool]:
        """Return log-likelihood less complexity, in nats per point, and whether it is bent."""
        key = item, frozenset(before)
        if key not in self.known:
            fit = fit_regression(
                self.features.rows(sorted(before)), self.features.plain[item], self.w, self.size
            )
            value = fit_line(fit.residuals, self.w, self.size)[1] - float(self.w @ fit.log_scales)
            complexity = 0.5 * fit.terms * float(np.log(self.size)) / self.size
            self.known[key] = value - complexity, fit.terms > 0
        return self.known[key]

    def total(self, order: Sequence[int]) -> float:
        """Return the score of a whole map with coordinates in this order."""
        return sum(self.of(item, order[:place])[0] for place, item in enumerate(order))


def best_order(orders: list[list[int]], scores: Scores) -> list[int]:
    """Return the first order of highest score; a single one is not scored."""
    return orders[0] if len(orders) == 1 else max(orders, key=scores.total)


def exchanged(order: list[int], scores: Scores) -> list[int]:
    """Exchange neighbours in the order where that raises the score.

    An exchange changes the regressions of the two coordinates only.  Where both are linear it
    changes nothing and is not tried.  One pass goes from the end to the front, so that a
    coordinate can move all the way, and one back.
    """
    now = list(order)
    d = len(now)
    for place in [*range(d - 2, -1, -1), *range(1, d - 1)]:
        before, (a, b) = now[:place], now[place : place + 2]
        first, second = scores.of(a, before), scores.of(b, [*before, a])
        if first[1] or second[1]:
            other = scores.of(b, before)[0] + scores.of(a, [*before, b])[0]
            if other > first[0] + second[0] + CHANCE / scores.size:
                now[place : place + 2] = b, a
    return now
