"""The Hilbert curve by its recursive definition: four (or 2^d) smaller turned copies of itself."""

from __future__ import annotations

import numpy as np


def curve_2d(bits):
    """Return the cells of the two-dimensional curve in order, by replacing the copies literally.

    The curve of one more bit starts with itself transposed, goes on with two shifted copies, and
    ends with itself transposed about the other diagonal.
    """
    cells = np.zeros((1, 2), dtype=np.int64)
    for level in range(bits):
        half = 1 << level
        flipped = (half - 1) - cells[:, ::-1]
        cells = np.concatenate(
            [
                cells[:, ::-1],
                cells + [0, half],
                cells + [half, half],
                flipped + [half, 0],
            ]
        )
    return cells


def grid(d, bits):
    """Return all cells of the grid, one per row."""
    axes = [np.arange(1 << bits)] * d
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, d)


def hilbert_order(x, key):
    """Sort standardised points by any key of their cell, through Python's own stable sort."""
    return np.array(sorted(range(len(x)), key=lambda i: key(x[i])), dtype=np.int64)
