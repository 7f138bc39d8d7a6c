"""The best family of proposals for weighted points, by held-out score."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TypeAlias

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.distributions.dependence import dependent_blocks
from aisle_smc.distributions.elliptical_fit import grown_elliptical
from aisle_smc.distributions.independent import grown_independent
from aisle_smc.distributions.mixture_fit import (
    Half,
    better,
    fit_mixture,
    grown_mixture,
    halves,
    thinned,
    without_negligible,
)
from aisle_smc.distributions.moments import tempered
from aisle_smc.distributions.protocol import (
    Distribution,
    check_draw,
    read_weighted,
    without_copies,
)
from aisle_smc.distributions.triangular import fit_triangular

__all__ = ["fit_proposal"]

# Dimensions up to which a triangular map is tried.
FEW = 30

Fit: TypeAlias = Callable[[Half, Half, np.random.Generator], Distribution]


def fit_proposal(
    x: Floats,
    weights: Floats,
    rng: np.random.Generator,
    *,
    among: Collection[str] | None = None,
) -> tuple[Distribution, tuple[tuple[str, float], ...]]:
    r"""Fit the family of proposals that predicts held-out points best.

    Every family is fitted to one half of the points and scored on the other, which also says how
    many parts a mixture should have, by :math:`\sum_i w_i \log q(x_i)`, an estimate of
    :math:`-\mathrm{KL}(\pi \| q)` up to a constant.  The winner, its structure kept, is fitted to
    all points.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        Points.
    weights : ndarray, shape (n,)
        Weights; zeros are allowed, and they need not sum to one.
    rng : numpy.random.Generator
        Halves the points and starts the fits.
    among : collection of str, optional
        Names of the families to try, those of the table; all of them by default.

    Returns
    -------
    proposal : Distribution
        Of the first family, in the order of the table, that no other beats by more than the
        standard error of the difference.
    scores : tuple of (str, float)
        The families tried with their held-out scores, in nats.

    Raises
    ------
    ValueError
        If a shape is wrong, a weight is negative or NaN, or no weight is positive.

    Notes
    -----
    The families: a mixture of Student-t distributions (:func:`fit_mixture`); up to four elliptical
    distributions of any radius, for shells; a product over blocks of dependent coordinates
    (:func:`fit_independent`), if there is more than one block; a triangular map with quadratic
    terms (:func:`fit_triangular`), for bananas and funnels, in up to 30 dimensions: beyond, its
    order takes many times as long to find as all other families together.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((500, 3))
    >>> shell = x / np.sqrt((x**2).sum(axis=1, keepdims=True)) * rng.normal(2.0, 0.1, (500, 1))
    >>> q, scores = fit_proposal(shell, np.ones(500), rng)
    >>> max(scores, key=lambda row: row[1])[0]
    'elliptical'
    """
    check_draw(1, rng)
    x, w = read_weighted(x, weights)
    x, w = without_copies(*without_negligible(x, w))
    if x.shape[0] < 8:
        return fit_mixture(x, w, rng, most=1), ()
    w = tempered(w, x.shape[1] + 1.0)
    one, other = halves(*thinned(x, w, rng), rng)
    families = _families(x, w)
    if among is not None:
        kept = {name: fit for name, fit in families.items() if name in among}
        families = kept or families
    fits = [fit(one, other, rng) for fit in families.values()]
    scores = [q.log_density(other[0]) for q in fits]
    best = 0
    for j, score in enumerate(scores):
        if better(score, scores[best], other[1]):
            best = j
    means = [float(other[1] @ score) for score in scores]
    return fits[best].fit(x, w), tuple(zip(families, means, strict=True))


def _families(x: Floats, w: Floats) -> dict[str, Fit]:
    """Return the families worth trying, the ones to prefer first."""
    families: dict[str, Fit] = {"student-t mixture": grown_mixture}
    if x.shape[1] == 1:
        return families
    families["elliptical"] = grown_elliptical
    blocks = dependent_blocks(x, w)
    if len(blocks) > 1:
        families["independent blocks"] = partial(grown_independent, blocks=blocks)
    if x.shape[1] <= FEW:
        families["triangular"] = _triangular
    return families


def _triangular(one: Half, other: Half, rng: np.random.Generator) -> Distribution:
    """Fit a triangular map to one half of the points; its complexity is not held out for."""
    return fit_triangular(*one, rng)
