"""Whether a gradient belongs to its log-density: a loose look, for wrong signs and scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from aisle_smc.arrays import Floats, Integers
from aisle_smc.targets.calls import show_point

__all__ = ["check_gradients"]

# Of a long vector this many components are looked at, spread evenly.
_COMPONENTS = 16
_STEPS = (1e-3, 1e-4, 1e-5)


def check_gradients(
    density: Callable[[Floats], Floats | None],
    gradients: Floats,
    points: Floats,
    names: Sequence[str],
    name: str,
) -> None:
    """Raise if gradients are far from central differences.

    With three steps h, component j of the gradient at x is compared with

        (f(x + h e_j) - f(x - h e_j)) / 2 h.

    Parameters
    ----------
    density : callable
        Takes points, shape (n, k), returns log-densities, or None if some have none.
    gradients : ndarray, shape (m, k)
        What the gradient function returned.
    points : ndarray, shape (m, k)
        Where.
    names : sequence of str
        The parameters.
    name : str
        The gradient function, for the error.

    Raises
    ------
    ValueError
        If the differences agree with each other and not with the gradient; the parameter is named.

    Notes
    -----
    Up to 96 evaluations at each point.  Where the differences do not agree, at a kink, at the edge
    of the support, or for a density with noise of its own, nothing is said.
    """
    k = points.shape[1]
    spread = np.ptp(points, axis=0)
    looked = np.unique(np.linspace(0, k - 1, min(k, _COMPONENTS)).astype(int))
    for point, gradient in zip(points, gradients, strict=True):
        scale = np.where(point == 0.0, np.where(spread > 0.0, spread, 1.0), np.abs(point))
        given = gradient[looked]
        found = [_differences(density, point, looked, step * scale) for step in _STEPS]
        wrong = np.ones(looked.shape, dtype=bool)
        for slope, noise in found:
            size = np.maximum(np.abs(slope), np.abs(given))
            wrong &= np.abs(slope - found[0][0]) <= 0.02 * size + noise
            wrong &= np.abs(slope - given) > 0.2 * size + 10.0 * noise
        if wrong.any():
            i = int(np.argmax(wrong))
            raise ValueError(
                f"{name} must return the gradient of the log-density; for parameter "
                f"{names[looked[i]]} it returned {given[i]:.6g} where differences of the "
                f"log-density give {found[-1][0][i]:.6g}, at {show_point(names, point)}; "
                "check its sign, its scale and the order of the parameters"
            )


def _differences(
    density: Callable[[Floats], Floats | None], point: Floats, looked: Integers, steps: Floats
) -> tuple[Floats, Floats]:
    """Return central differences and their rounding error, NaN where there is no density."""
    m = looked.shape[0]
    points = np.repeat(point[None], 2 * m, axis=0)
    row = np.arange(m)
    points[row, looked] += steps[looked]
    points[m + row, looked] -= steps[looked]
    widths = points[row, looked] - points[m + row, looked]
    values = density(points)
    if values is None:
        values = np.full(2 * m, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        slopes = (values[:m] - values[m:]) / widths
        return slopes, 1e-14 * (1.0 + np.abs(values[:m])) / widths
