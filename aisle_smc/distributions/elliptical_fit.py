"""Fitting a mixture of elliptical distributions, its number of parts included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.distributions.elliptical import fit_elliptical
from aisle_smc.distributions.mixture import Mixture
from aisle_smc.distributions.mixture_fit import Half, better, halves, thinned
from aisle_smc.distributions.moments import shrunk_moments, tempered, whiten
from aisle_smc.distributions.protocol import check_draw, read_weighted, without_copies
from aisle_smc.distributions.splitting import split
from aisle_smc.distributions.student_em import Parts, em, join, one_part, share_out

__all__ = ["fit_elliptical_mixture", "grown_elliptical"]

DOUBLINGS = 2


def fit_elliptical_mixture(x: Floats, weights: Floats, rng: np.random.Generator) -> Mixture:
    """Fit a mixture of one, two or four elliptical distributions to weighted points.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        Points.
    weights : ndarray, shape (n,)
        Weights; zeros are allowed, and they need not sum to one.
    rng : numpy.random.Generator
        Halves the points and starts the splits.

    Returns
    -------
    Mixture
        Of :class:`Elliptical` parts; their number is doubled as long as the log-score of held-out
        points rises by more than its standard error.

    Raises
    ------
    ValueError
        If a shape is wrong, a weight is negative or NaN, or no weight is positive.
    """
    check_draw(1, rng)
    x, w = read_weighted(x, weights)
    x, w = without_copies(x, w)
    w = tempered(w, x.shape[1] + 1.0)
    one, other = halves(*thinned(x, w, rng), rng) if x.shape[0] >= 4 else ((x, w), (x, w))
    return grown_elliptical(one, other, rng).fit(x, w)


def grown_elliptical(one: Half, other: Half, rng: np.random.Generator) -> Mixture:
    """Fit a mixture to one half of the points, its number of parts chosen with the other half."""
    best = Mixture(weights=np.ones(1), parts=(fit_elliptical(*one),))
    score = best.log_density(other[0])
    for start in _doubled(*one, rng):
        found = start.fit(*one)
        new = found.log_density(other[0])
        if not better(new, score, other[1]):
            break
        best, score = found, new
    return best


def _doubled(x: Floats, w: Floats, rng: np.random.Generator) -> Iterator[Mixture]:
    """Yield mixtures of two and four parts to start from, those that can be had."""
    mean, root = shrunk_moments(x, w)
    z = whiten(x, mean, root)
    parts = em(z, w, one_part(z, w))
    for _ in range(DOUBLINGS):
        share = share_out(z, w, parts).share
        pieces: list[Parts] = []
        for k in range(parts.k):
            single = parts.take(np.array([k]))
            two = split(z, share[k], single, root, rng) or single
            pieces.append(replace(two, weights=two.weights * parts.weights[k]))
        grown = em(z, w, join(pieces))
        if grown.k == parts.k:
            break
        parts = grown
        share = share_out(z, w, parts).share
        members = []
        for c in share:
            own = c > 0.0
            members.append(fit_elliptical(x[own], c[own] / c[own].sum()))
        yield Mixture(weights=share.sum(axis=1) / share.sum(), parts=tuple(members))
