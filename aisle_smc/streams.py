"""Random streams: a generator is a function of a seed and a key, never of who asks first."""

from __future__ import annotations

import numpy as np

__all__ = ["stream"]


def stream(seed: int, *key: int) -> np.random.Generator:
    """Return the generator of `seed` and `key`.

    Parameters
    ----------
    seed : int
        Nonnegative; what a person types.
    *key : int
        Which replicate, chain or chunk; different keys give independent streams.

    Returns
    -------
    numpy.random.Generator
        An SFC64 generator, the fastest of NumPy's inside compiled loops.

    Raises
    ------
    TypeError, ValueError
        If `seed` is not a nonnegative integer.

    Examples
    --------
    >>> bool(stream(1, 2).random() == stream(1, 2).random())
    True
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"seed must be an int; got {type(seed).__name__}")
    if seed < 0:
        raise ValueError(f"seed must be nonnegative; got {seed}")
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(int(seed), spawn_key=key)))
