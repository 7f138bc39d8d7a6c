"""Points of a bridge between two densities, with what is known of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from aisle_smc.arrays import Array, Floats

__all__ = ["Bridge", "Level", "Points", "join"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Places on the way from a base density to a target density.

    Attributes
    ----------
    z : ndarray, shape (n, d)
        Coordinates.
    log_base : ndarray, shape (n,)
        Log-density of the base, in nats.
    log_ratio : ndarray, shape (n,)
        Log of target over base, in nats; ``-inf`` where the target vanishes.  With a prior as the
        base this is the log-likelihood.
    scores : ndarray, shape (2, n, d), or None
        Gradients of `log_base` and of `log_ratio` with respect to `z`, where they are known.
    blobs : ndarray, shape (n, ...), or None
        What else the target returned.
    """

    z: Floats
    log_base: Floats
    log_ratio: Floats
    scores: Floats | None = None
    blobs: Array | None = None

    @property
    def n(self) -> int:
        """Number of points."""
        return int(self.z.shape[0])

    def __getitem__(self, index: Any) -> Points:
        """Select points along the particle axis."""
        return Points(
            z=self.z[index],
            log_base=self.log_base[index],
            log_ratio=self.log_ratio[index],
            scores=None if self.scores is None else self.scores[:, index],
            blobs=None if self.blobs is None else self.blobs[index],
        )

    def replaced(self, other: Points, where: npt.NDArray[np.bool_]) -> Points:
        """Return these points with those of `other` in the places `where`."""
        column = where[:, None]
        scores = blobs = None
        if self.scores is not None and other.scores is not None:
            scores = np.where(column, other.scores, self.scores)
        if self.blobs is not None and other.blobs is not None:
            blobs = self.blobs.copy()
            blobs[where] = other.blobs[where]
        return Points(
            z=np.where(column, other.z, self.z),
            log_base=np.where(where, other.log_base, self.log_base),
            log_ratio=np.where(where, other.log_ratio, self.log_ratio),
            scores=scores,
            blobs=blobs,
        )

    def without_scores(self) -> Points:
        """Return the same points with their gradients forgotten."""
        return Points(z=self.z, log_base=self.log_base, log_ratio=self.log_ratio, blobs=self.blobs)


def join(parts: Sequence[Points]) -> Points:
    """Concatenate points; gradients are kept where all parts have them."""
    scores = [p.scores for p in parts if p.scores is not None]
    blobs = [p.blobs for p in parts if p.blobs is not None]
    return Points(
        z=np.concatenate([p.z for p in parts]),
        log_base=np.concatenate([p.log_base for p in parts]),
        log_ratio=np.concatenate([p.log_ratio for p in parts]),
        scores=np.concatenate(scores, axis=1) if len(scores) == len(parts) else None,
        blobs=np.concatenate(blobs) if len(blobs) == len(parts) else None,
    )


class Bridge(Protocol):
    """A base that can be sampled and a target that can be evaluated."""

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        ...

    @property
    def has_scores(self) -> bool:
        """Whether gradients are available."""
        ...

    def start(self, n: int, rng: np.random.Generator) -> Points:
        """Draw points from the base."""
        ...

    def at(self, z: Floats, *, scores: bool = False) -> Points:
        """Evaluate base and target, with gradients on request."""
        ...


class Level(Protocol):
    """A place on the path: the density ``base(z) exp(log_potential(log_ratio(z)))``."""

    def log_potential(self, log_ratio: Floats) -> Floats:
        """Return the log of what the base is multiplied by, shape (n,), in nats."""
        ...

    @property
    def slope(self) -> float:
        """Derivative of the log-potential by the log-ratio."""
        ...
