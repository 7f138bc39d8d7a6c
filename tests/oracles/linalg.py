"""Matrix functions with exact rational arithmetic where that is possible, else NumPy's."""

from __future__ import annotations

from fractions import Fraction

import numpy as np


def determinant(a):
    """Return the determinant of a float matrix without rounding, by fraction elimination."""
    rows = [[Fraction(float(v)) for v in row] for row in a]
    d = len(rows)
    result = Fraction(1)
    for j in range(d):
        pivot = next((i for i in range(j, d) if rows[i][j] != 0), None)
        if pivot is None:
            return Fraction(0)
        if pivot != j:
            rows[j], rows[pivot] = rows[pivot], rows[j]
            result = -result
        result *= rows[j][j]
        for i in range(j + 1, d):
            factor = rows[i][j] / rows[j][j]
            rows[i] = [x - factor * y for x, y in zip(rows[i], rows[j], strict=True)]
    return result


def is_positive_definite(a):
    """Decide by Sylvester's criterion, without rounding."""
    return all(determinant(a[:k, :k]) > 0 for k in range(1, a.shape[0] + 1))


def quadratic_form(a, x):
    return float(np.einsum("i,ij,j->", x, a, x))


def inverse_quadratic_form(a, x):
    """Evaluate ``x' A^-1 x`` by Cramer's rule for the bordered matrix, without rounding."""
    d = len(x)
    bordered = np.zeros((d + 1, d + 1))
    bordered[:d, :d] = a
    bordered[:d, d] = bordered[d, :d] = x
    return float(-determinant(bordered) / determinant(a))
