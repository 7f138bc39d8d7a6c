"""Whether a density is the density of the draws it claims to describe.

Both are treated as black boxes.  A scalar density is integrated numerically, and the probability
integral transform of the draws must be uniform.  For several components two facts are used: the
density integrates to one (importance sampling from a Student-t distribution fitted to the draws),
and no density explains draws better than their own (Gibbs' inequality), so that on average over
the draws

    E log f(x) >= E log q(x)

must hold for every normalised q; with q a fitted Gaussian that is a sharp test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from aisle_smc.arrays import Floats

__all__ = ["Place", "Verdict", "agreement", "uniformity"]

# A test is failed at about one false alarm in a million: many are made in one check.
LEAST_P = 1e-6
LARGEST_Z = 5.0


class Verdict(NamedTuple):
    """What a comparison came to: "ok", "problem" or "cannot tell", and why."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """Draws at fixed arguments, and the density that should be theirs.

    Attributes
    ----------
    name : str
        Where this is, for the report.
    draws : ndarray, shape (m, d)
        What the drawing function returned.
    log_density : callable
        Takes values (k, d) and returns log-densities (k,).
    """

    name: str
    draws: Floats
    log_density: Callable[[Floats], Floats]


def agreement(places: Sequence[Place], rng: np.random.Generator) -> Verdict:
    """Compare draws and density at several places.

    Parameters
    ----------
    places : sequence of Place
        At least one.
    rng : numpy.random.Generator
        Used for importance sampling, and to break ties between integers.

    Returns
    -------
    Verdict
        "cannot tell" if no place could be judged.
    """
    unknown = Verdict("cannot tell", "there is no place to compare")
    transforms = []
    judged = 0
    for place in places:
        verdict = _at_draws(place)
        if verdict is None:
            varying = np.ptp(place.draws, axis=0) > 0
            if varying.sum() == 1:
                verdict, transform = _one_component(place, int(np.argmax(varying)), rng)
                transforms.append(transform)
            else:
                verdict = _several_components(place, varying, rng)
        if verdict.kind == "problem":
            return Verdict("problem", f"at {place.name} {verdict.text}")
        if verdict.kind == "ok":
            judged += 1
        else:
            unknown = verdict
    if not judged:
        return unknown
    if transforms and uniformity(np.concatenate(transforms)) < LEAST_P:
        return Verdict("problem", "over all places together the draws do not follow the density")
    m = places[0].draws.shape[0]
    return Verdict("ok", f"{judged} place{'s' * (judged > 1)}, {m} draws each")


def uniformity(u: Floats) -> float:
    """Return the p-value of the Kolmogorov-Smirnov test that `u` is uniform on (0, 1).

    A test of the whole sample rather than of bins: it needs no choice of their number, and small
    samples do not thin it out.
    """
    from scipy.special import kolmogorov

    u = np.sort(u)
    k = np.arange(u.size)
    distance = max(np.max(u - k / u.size), np.max((k + 1) / u.size - u))
    # Stephens' correction makes the limit law good from ten values on.
    root = math.sqrt(u.size)
    return float(kolmogorov((root + 0.12 + 0.11 / root) * distance))


def _at_draws(place: Place) -> Verdict | None:
    """Return what can be said from the density at the draws alone; None to go on."""
    draws = place.draws
    if not np.isfinite(draws).all():
        return Verdict("problem", f"draws are not finite: {draws[~np.isfinite(draws).all(1)][0]}")
    log_f = place.log_density(draws)
    bad = np.isnan(log_f) | (log_f == math.inf)
    if bad.any():
        return Verdict("problem", f"the density of a draw, {draws[bad][0]}, is {log_f[bad][0]}")
    zero = np.isneginf(log_f)
    if zero.any():
        return Verdict(
            "problem",
            f"the density is zero at {zero.sum()} of {zero.size} draws, one of them "
            f"{draws[zero][0]}",
        )
    varying = np.ptp(draws, axis=0) > 0
    if not varying.any():
        return Verdict("cannot tell", "all draws are the same: there is no density to compare")
    whole = (draws == np.rint(draws)).all(axis=0)
    if varying.sum() > 1 and whole[varying].any() and not whole[varying].all():
        return Verdict("cannot tell", "some components are whole numbers and others are not")
    if not whole[varying].all():
        distinct = np.unique(draws[:, varying & ~whole], axis=0).shape[0]
        if distinct < 0.9 * draws.shape[0]:
            return Verdict("cannot tell", "many draws coincide: a mixture of atoms and a density")
    return None


def _one_component(place: Place, column: int, rng: np.random.Generator) -> tuple[Verdict, Floats]:
    """Compare the distribution function of one varying component."""
    draws = place.draws[:, column]
    low, high = draws.min(), draws.max()
    whole = bool((draws == np.rint(draws)).all())
    if whole:
        pad = max(high - low, 10.0)
        stride = max(1.0, math.ceil((high - low + 2 * pad) / 8000))
        grid = np.arange(low - pad, high + pad + 1, stride)
    else:
        middle, spread = np.median(draws), np.subtract(*np.quantile(draws, (0.75, 0.25)))
        # Spacing of a hundredth of the spread in the middle, tails to a thousand times the spread.
        wide = middle + spread * np.sinh(np.linspace(-8.0, 8.0, 1601))
        grid = np.union1d(draws, wide)
    log_density = _restricted(place, np.arange(place.draws.shape[1]) == column)

    def density(x: Floats) -> Floats:
        return np.exp(log_density(x[:, None]))

    if whole:
        f = stride * density(grid)
        upper = np.cumsum(f)
        mass = upper[-1]
        index = np.searchsorted(grid, draws, side="right") - 1
        transform = upper[index] - rng.random(draws.size) * f[index]
    else:
        grid, f = _refined(density, grid)
        pieces = 0.5 * (f[1:] + f[:-1]) * np.diff(grid)
        cdf = np.concatenate([[0.0], np.cumsum(pieces)])
        mass = cdf[-1]
        transform = np.interp(draws, grid, cdf)
        f = np.concatenate([[0.0], pieces])
    if not abs(mass - 1.0) < 0.005:
        how = "sums" if whole else "integrates"
        return Verdict("problem", f"the density {how} to {mass:.4g}, not to 1"), transform
    transform /= mass
    if uniformity(transform) < LEAST_P:
        mean = float(f @ grid / mass)
        sd = math.sqrt(max(float(f @ (grid - mean) ** 2 / mass), 0.0))
        return Verdict("problem", _contrast(draws.mean(), draws.std(), mean, sd)), transform
    return Verdict("ok", ""), transform


def _restricted(place: Place, varying: Any) -> Callable[[Floats], Floats]:
    """Return the log-density of the varying components, the others being as drawn."""

    def log_density(x: Floats) -> Floats:
        values = np.repeat(place.draws[:1], x.shape[0], axis=0)
        values[:, varying] = x
        log_f = place.log_density(values)
        # Away from the draws a density may be undefined: there is nothing to find there.
        return np.where(np.isnan(log_f) | (log_f == math.inf), -math.inf, log_f)

    return log_density


def _refined(density: Callable[[Floats], Floats], grid: Floats) -> tuple[Floats, Floats]:
    """Halve the intervals in which a density rises or falls too much for the trapezoid rule.

    For a monotone density the error of an interval is at most half its rise times its width, so
    poles and edges are found out and nothing is spent elsewhere.
    """
    f = density(grid)
    for _ in range(60):
        coarse = np.flatnonzero(0.5 * np.abs(np.diff(f)) * np.diff(grid) > 1e-4)
        if not coarse.size or grid.size > 30_000:
            break
        middle = 0.5 * (grid[coarse] + grid[coarse + 1])
        grid = np.insert(grid, coarse + 1, middle)
        f = np.insert(f, coarse + 1, density(middle))
    return grid, f


def _contrast(mean: float, sd: float, f_mean: float, f_sd: float) -> str:
    return (
        f"the draws have mean {mean:.4g} and sd {sd:.4g}, "
        f"the density has mean {f_mean:.4g} and sd {f_sd:.4g}"
    )


def _several_components(place: Place, varying: Floats, rng: np.random.Generator) -> Verdict:
    draws = place.draws[:, varying]
    if (draws == np.rint(draws)).all():
        return _cells(place, draws)
    m, d = draws.shape
    fit, test = draws[: m // 2], draws[m // 2 :]
    mean, covariance = fit.mean(axis=0), np.atleast_2d(np.cov(fit.T))
    scale = np.sqrt(np.diag(covariance))
    smallest = np.linalg.eigvalsh(covariance / np.outer(scale, scale))[0]
    if smallest < 1e-9:
        return Verdict("cannot tell", "some components are functions of the others")
    root: Floats = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    log_det = float(np.log(np.diag(root)).sum())

    density = _restricted(place, varying)
    z = np.linalg.solve(root, (test - mean).T).T
    log_q = -0.5 * (z**2).sum(axis=1) - log_det - 0.5 * d * math.log(2 * math.pi)
    gain = density(test) - log_q
    lead = gain.mean() / (gain.std() / math.sqrt(gain.size) + 1e-12)
    # The fit itself is from draws: its expected loss is what no density can be blamed for.
    if gain.mean() < -d * (d + 3) / m and lead < -LARGEST_Z:
        return Verdict(
            "problem",
            f"the density explains the draws worse than a Gaussian fitted to them, "
            f"by {-gain.mean():.3g} nats for each draw",
        )
    return _by_importance(density, test, mean, root, log_det, rng)


def _by_importance(
    density: Callable[[Floats], Floats],
    test: Floats,
    mean: Floats,
    root: Floats,
    log_det: float,
    rng: np.random.Generator,
) -> Verdict:
    """Compare mass and moments, estimated by importance sampling from a fitted Student-t."""
    m, d = 4 * test.shape[0], test.shape[1]
    df = 5.0
    z = rng.standard_normal((m, d)) * np.sqrt(df / rng.chisquare(df, size=(m, 1)))
    log_q = (
        math.lgamma((df + d) / 2) - math.lgamma(df / 2) - 0.5 * d * math.log(df * math.pi)
        - log_det - 0.5 * (df + d) * np.log1p((z**2).sum(axis=1) / df)
    )  # fmt: skip
    w = np.exp(density(mean + z @ root.T) - log_q)
    ess = w.sum() ** 2 / (w @ w) if w.any() else 0.0
    if ess < 200:
        return Verdict("cannot tell", f"importance sampling keeps only {ess:.0f} effective draws")
    error = w.std() / math.sqrt(m)
    if abs(w.mean() - 1.0) > max(LARGEST_Z * error, 0.02):
        return Verdict(
            "problem", f"the density integrates to {w.mean():.4g} +- {error:.2g}, not to 1"
        )
    own = np.linalg.solve(root, (test - mean).T).T
    for powers in (1, 2):
        left, right = own**powers, z**powers
        centre = (w @ right) / w.sum()
        f_error = np.sqrt(w**2 @ (right - centre) ** 2) / w.sum()
        gap = (left.mean(axis=0) - centre) / np.hypot(
            f_error, left.std(axis=0) / test.shape[0] ** 0.5
        )
        k = int(np.argmax(np.abs(gap)))
        if abs(gap[k]) > LARGEST_Z:
            values = mean + z @ root.T
            f_mean = (w @ values[:, k]) / w.sum()
            f_sd = math.sqrt((w @ (values[:, k] - f_mean) ** 2) / w.sum())
            words = _contrast(test[:, k].mean(), test[:, k].std(), f_mean, f_sd)
            return Verdict("problem", f"in component {k} {words}")
    return Verdict("ok", "")


def _cells(place: Place, draws: Floats) -> Verdict:
    """Compare the frequencies of whole-number states with their probabilities."""
    from scipy.special import chdtrc

    cells, first, counts = np.unique(draws, axis=0, return_index=True, return_counts=True)
    m = draws.shape[0]
    p = np.exp(place.log_density(place.draws[first]))
    if p.sum() > 1.0 + 1e-9:
        return Verdict("problem", f"the probabilities of {len(cells)} states sum to {p.sum():.4g}")
    frequent = p * m >= 5
    if (p * m)[frequent].sum() < 0.5 * m:
        if (counts >= 20).any() and not frequent[counts >= 20].all():
            k = int(np.argmax(counts))
            return Verdict("problem", _cell_words(cells[k], counts[k] / m, p[k]))
        return Verdict("cannot tell", "the draws spread over too many whole-number states")
    expected = np.append(m * p[frequent], m * (1.0 - p[frequent].sum()))
    seen = np.append(counts[frequent], counts[~frequent].sum())
    inside = expected >= 1.0
    if not inside[-1] and seen[-1] > 20:
        return Verdict("problem", f"{seen[-1]} of {m} draws have almost no probability")
    terms = (seen[inside] - expected[inside]) ** 2 / expected[inside]
    if chdtrc(max(inside.sum() - 1, 1), terms.sum()) < LEAST_P:
        k = int(np.argmax(terms))
        if k < frequent.sum():
            words = _cell_words(cells[frequent][k], counts[frequent][k] / m, p[frequent][k])
        else:
            words = "the rare states are drawn with other frequencies than their probabilities"
        return Verdict("problem", words)
    return Verdict("ok", "")


def _cell_words(cell: Floats, frequency: float, p: float) -> str:
    return f"state {cell} is drawn with frequency {frequency:.4g}; its probability is {p:.4g}"
