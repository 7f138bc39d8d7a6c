"""Which coordinate should come first when each is explained by earlier ones."""

from __future__ import annotations

import numpy as np

from aisle_smc.arrays import Floats, Integers
from aisle_smc.distributions.regression import NU, TINY, Row, fit_row
from aisle_smc.distributions.univariate import fit_line

__all__ = ["explained", "improved_order", "likely_orders"]

# Nats by which a direction must be better, times the effective number of points, to count.
CHANCE = 10.0


def explained(z: Floats, c: Floats, h: Floats, w: Floats) -> Floats:
    r"""Return how much better each coordinate is explained nonlinearly by each other one.

    For every pair the log-likelihood per point of

    .. math:: z_b = \alpha + \beta z_a + \gamma z_a^2
              + \exp(\delta c_a + \epsilon \log(1 + c_a^2))\, e

    less that with :math:`\gamma = \delta = \epsilon = 0`, with a Student-t law for e.  The linear
    part is left out because it is the same in both directions.

    Parameters
    ----------
    z, c, h : ndarray, shape (d, n)
        Standardised coordinates, the same clipped, and ``log(1 + c^2)``.
    w : ndarray, shape (n,)
        Weights with sum one.

    Returns
    -------
    ndarray, shape (d, d)
        Entry (a, b) is the gain, in nats, of b given a.
    """
    d, n = z.shape
    found = np.zeros((d, d))
    trusted = w * (NU + 1.0) / (NU + z**2)
    for a in range(d):
        x = np.stack([np.ones(n), z[a], (2.0 * z[a] - c[a]) * c[a]])
        gram = np.stack([trusted @ (x[i] * x[j]) for i in range(3) for j in range(3)], axis=1)
        gram = gram.reshape(d, 3, 3)
        right = np.stack([(trusted * z) @ x[i] for i in range(3)], axis=1)
        line = _solve(gram[:, :2, :2], right[:, :2]) @ x[:2]
        curve = _solve(gram, right) @ x
        plain = _log_likelihood(z - line, w)
        bent = z - curve
        g = np.stack([np.ones(n), c[a], h[a]])
        logs = np.log(np.maximum(np.abs(bent), TINY * _spread(bent, w)[:, None]))
        slopes = _solve((g * w) @ g.T, (logs * w) @ g.T)
        s = slopes[:, 1:] @ g[1:]
        gain = _log_likelihood(bent * np.exp(-s), w) - s @ w
        found[a] = np.maximum(gain, _log_likelihood(bent, w)) - plain
    np.fill_diagonal(found, 0.0)
    return found


def _solve(gram: Floats, right: Floats) -> Floats:
    """Solve small systems after adding a hair to their diagonals."""
    hair = 1e-9 * np.einsum("...ii->...i", gram)[..., None] * np.eye(gram.shape[-1])
    return np.asarray(np.linalg.solve(gram + hair, right[..., None])[..., 0])


def _spread(r: Floats, w: Floats) -> Floats:
    """Return the scale of a Student-t law fitted to each row."""
    square = r**2
    scale = np.abs(r) @ w + 1e-300
    for _ in range(4):
        scale = np.sqrt((square * (NU + 1.0) / (NU + square / scale[:, None] ** 2)) @ w)
        scale = np.maximum(scale, 1e-300)
    return np.asarray(scale)


def _log_likelihood(r: Floats, w: Floats) -> Floats:
    """Return the log-likelihood per point of a Student-t law, up to its constant."""
    scale = _spread(r, w)
    return np.asarray(
        -np.log(scale) - 0.5 * (NU + 1.0) * (np.log1p((r / scale[:, None]) ** 2 / NU) @ w)
    )


def likely_orders(z: Floats, c: Floats, h: Floats, w: Floats, size: float) -> list[Integers]:
    """Return some orders worth trying; only the given one where no direction is better.

    The first follows every lead ``gain[a, b] - gain[b, a]`` of :func:`explained` that is no
    chance.  The second follows strong leads only, for weak ones are often those of a common
    cause, and then puts first what is most correlated with the rest.  The others are the given
    order and its reverse: people write what the rest depends on first, or else last.
    """
    given = np.arange(z.shape[0])
    gain = explained(z, c, h, w)
    lead = gain - gain.T
    lead[np.abs(lead) < CHANCE / size] = 0.0
    if not lead.any():
        return [given]
    strong = np.where(np.abs(lead) < 0.5 * lead.max(), 0.0, lead)
    centred = c - (c @ w)[:, None]
    covariance = (centred * w) @ centred.T
    variance = np.maximum(np.diag(covariance), 1e-300)
    shared = (covariance**2 / np.outer(variance, variance)).sum(axis=1)
    return [follow(lead, np.zeros(z.shape[0])), follow(strong, shared), given, given[::-1]]


def follow(lead: Floats, rank: Floats) -> Integers:
    """Return an order that maximises the sum over pairs, a before b, of ``lead[a, b]``.

    The coordinate that leads most comes first, and so on, and of equals that of higher rank; then
    single coordinates are moved to a better place until none has one.
    """
    d = lead.shape[0]
    left, order = list(range(d)), []
    while left:
        order.append(max(left, key=lambda item: (lead[item, left].sum(), rank[item])))
        left.remove(order[-1])
    for _ in range(d):
        moved = False
        for item in range(d):
            at = order.index(item)
            rest = order[:at] + order[at + 1 :]
            # Value of standing before rest[k], for k = 0 to d - 1, up to a constant.
            value = np.append(0.0, np.cumsum(-2.0 * lead[item, rest]))
            best = int(np.argmax(value))
            if value[best] > value[at] + 1e-12:
                order = rest[:best] + [item] + rest[best:]
                moved = True
        if not moved:
            break
    return np.array(order)


def improved_order(
    orders: list[Integers], z: Floats, c: Floats, h: Floats, w: Floats, size: float
) -> Integers:
    """Take the best of some orders and exchange neighbours while the fitted map gains by it.

    An exchange changes the regressions of the two coordinates only.  Where both are linear it
    changes nothing and is not tried.  One pass goes from the end to the front, so that a
    coordinate can move all the way, and one back.
    """
    if len(orders) == 1:
        return orders[0]
    known: dict[tuple[int, frozenset[int]], tuple[float, bool]] = {}

    def code(item: int, before: list[int]) -> tuple[float, bool]:
        """Return the score of one regression, and whether it is nonlinear."""
        key = item, frozenset(before)
        if key not in known:
            earlier = sorted(before)
            row = fit_row(z[earlier], c[earlier], h[earlier], z[item], w, size)
            known[key] = row_score(row, w, size), row.terms > 0
        return known[key]

    def total(order: list[int]) -> float:
        return sum(code(item, order[:place])[0] for place, item in enumerate(order))

    now = max(([int(item) for item in order] for order in orders), key=total)
    d = len(now)
    for place in [*range(d - 2, -1, -1), *range(1, d - 1)]:
        before, (a, b) = now[:place], now[place : place + 2]
        first, second = code(a, before), code(b, [*before, a])
        if first[1] or second[1]:
            other = code(b, before)[0] + code(a, [*before, b])[0]
            if other > first[0] + second[0] + CHANCE / size:
                now[place : place + 2] = b, a
    return np.array(now)


def row_score(row: Row, w: Floats, size: float) -> float:
    """Return the log-likelihood per point of one regression, less its complexity, in nats."""
    value = fit_line(row.residuals, w, size)[1] - float(w @ row.log_scales)
    return float(value - 0.5 * row.terms * np.log(size) / size)
