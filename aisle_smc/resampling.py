"""Resampling schemes: values that turn weights into ancestor indices.

A scheme draws its uniforms from an explicit generator and leaves the arithmetic to a kernel of
:mod:`aisle_kernels.resampling`, which is a deterministic function of weights and uniforms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from aisle_kernels import resampling as kernels

from aisle_smc.arrays import Floats, Integers

__all__ = [
    "Resampler",
    "Scheme",
    "killing",
    "multinomial",
    "optimal",
    "residual",
    "ssp",
    "stratified",
    "systematic",
]


class Resampler(Protocol):
    """What the engine asks of a resampling scheme."""

    def draw(self, w: Floats, m: int, rng: np.random.Generator) -> tuple[Integers, Floats | None]:
        """Draw `m` ancestors of `n` weighted particles.

        Parameters
        ----------
        w : ndarray, shape (n,)
            Nonnegative weights with a positive finite sum; they need not sum to one.
        m : int
            How many ancestors to draw.
        rng : numpy.random.Generator
            Source of the uniforms.

        Returns
        -------
        ancestors : ndarray of int, shape (m,)
            Indices into `w`, each of positive weight.
        new_w : ndarray, shape (m,), or None
            Weights of the offspring with mean one, or None when they are equal.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """A scheme that returns equally weighted offspring.

    Attributes
    ----------
    name : str
        Name of the scheme, which is also its name in this module.
    kernel : callable
        ``kernel(w, u, ancestors)``, a compiled function of weights and uniforms.
    uniforms : callable
        ``uniforms(n, m)``, how many uniforms the kernel reads.
    """

    name: str
    kernel: Callable[..., Any]
    uniforms: Callable[[int, int], int]

    def draw(self, w: Floats, m: int, rng: np.random.Generator) -> tuple[Integers, Floats | None]:
        """Draw `m` equally weighted ancestors, see :class:`Resampler`."""
        if self.name == "killing" and m != w.shape[0]:
            raise ValueError(
                f"killing keeps the number of particles, {w.shape[0]}; asked for {m}; use another "
                "scheme, for example systematic"
            )
        ancestors = np.empty(m, dtype=np.int64)
        self.kernel(w, rng.random(self.uniforms(w.shape[0], m)), ancestors)
        return ancestors, None

    def __reduce__(self) -> tuple[Any, ...]:
        return _scheme, (self.name,)

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Optimal:
    """The optimal finite-state scheme: heavy particles stay once with their own weight.

    References
    ----------
    Fearnhead and Clifford (2003), On-line inference for hidden Markov models, section 4.
    """

    def draw(self, w: Floats, m: int, rng: np.random.Generator) -> tuple[Integers, Floats | None]:
        """Draw `m` distinct ancestors and their weights, see :class:`Resampler`.

        Fewer if fewer have positive weight: all those are then kept.
        """
        n = w.shape[0]
        ancestors = np.empty(m, dtype=np.int64)
        new_w = np.empty(m)
        u = rng.random(kernels.optimal_uniforms(n, m))
        kept = kernels.optimal(w, u, ancestors, new_w)
        return ancestors[:kept], kept * new_w[:kept]

    def __repr__(self) -> str:
        return "optimal"


def _scheme(name: str) -> Scheme:
    return _SCHEMES[name]


_SCHEMES = {
    name: Scheme(
        name=name,
        kernel=getattr(kernels, name),
        uniforms=getattr(kernels, f"{name}_uniforms"),
    )
    for name in ("multinomial", "residual", "stratified", "systematic", "ssp", "killing")
}
multinomial = _SCHEMES["multinomial"]
residual = _SCHEMES["residual"]
stratified = _SCHEMES["stratified"]
systematic = _SCHEMES["systematic"]
ssp = _SCHEMES["ssp"]
killing = _SCHEMES["killing"]
optimal = Optimal()
