"""The best family of proposals for weighted points, by held-out score."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.distributions.dependence import dependent_blocks
from aisle_smc.distributions.elliptical_fit import grown_elliptical
from aisle_smc.distributions.independent import grown_independent
from aisle_smc.distributions.mixture_fit import (
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
from aisle_smc.distributions.triangular import FEW, fit_triangular

__all__ = ["fit_proposal"]

STUDENT, ELLIPTICAL = "student-t mixture", "elliptical"
BLOCKS, TRIANGULAR = "independent blocks", "triangular"


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
    order takes many times as long to find as all other families together.  Where the product beats
    the first two, no map of all coordinates is tried.

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
    blocks = dependent_blocks(x, w)
    names = _families(x.shape[1], len(blocks))
    if among is not None:
        names = tuple(name for name in names if name in among) or names
    fits: dict[str, Distribution] = {}
    scores: dict[str, Floats] = {}
    best = names[0]
    for name in names:
        # The product is made of such maps, and nothing else was found to hang together.
        if name == TRIANGULAR and best == BLOCKS and len(scores) > 1:
            continue
        if name == STUDENT:
            fits[name] = grown_mixture(one, other, rng)
        elif name == ELLIPTICAL:
            fits[name] = grown_elliptical(one, other, rng)
        elif name == BLOCKS:
            fits[name] = grown_independent(one, other, rng, blocks)
        else:
            fits[name] = fit_triangular(*one, rng)
        scores[name] = fits[name].log_density(other[0])
        if better(scores[name], scores[best], other[1]):
            best = name
    means = tuple((name, float(other[1] @ score)) for name, score in scores.items())
    return fits[best].fit(x, w), means


def _families(dim: int, blocks: int) -> tuple[str, ...]:
    """Return the names of the families worth trying, the ones to prefer first."""
    if dim == 1:
        return (STUDENT,)
    names = [STUDENT, ELLIPTICAL]
    if blocks > 1:
        names.append(BLOCKS)
    if dim <= FEW:
        names.append(TRIANGULAR)
    return tuple(names)
