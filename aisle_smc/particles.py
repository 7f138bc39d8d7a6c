"""The one value: a weighted particle population that estimates an unnormalised measure.

A population stands for

    gamma_hat = exp(log_z) (1/n) sum_i exp(log_w[i]) delta(x[i]),      E gamma_hat(f) = gamma(f),

and each of its operations keeps that expectation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from aisle_kernels import weights as kernels

from aisle_smc.arguments import check_count
from aisle_smc.arrays import Array, Floats, Integers
from aisle_smc.errors import DegenerateWeights
from aisle_smc.resampling import Resampler, systematic

__all__ = ["Particles", "merge"]


@dataclass(frozen=True, slots=True)
class Particles:
    """A properly weighted population of `n` particles.

    Attributes
    ----------
    x : ndarray, shape (n, ...)
        States; the engine only ever indexes them along the first axis.
    log_w : ndarray, shape (n,)
        Unnormalised log-weights, in nats.
    log_z : float
        Log of the mass factored out of the weights, in nats.
    ancestors : ndarray of int, shape (n,), or None
        Index in the previous population of each particle's parent; None when each particle
        descends from the one of the same index.

    Examples
    --------
    >>> import numpy as np
    >>> particles = Particles(np.array([0.0, 1.0]), np.log([1.0, 3.0]))
    >>> round(float(np.exp(particles.log_evidence)), 12)
    2.0
    >>> float(particles.expect(lambda x: x))
    0.75
    """

    x: Any
    log_w: Floats
    log_z: float = 0.0
    ancestors: Integers | None = None

    @property
    def n(self) -> int:
        """Number of particles."""
        return int(self.log_w.shape[0])

    @property
    def log_evidence(self) -> float:
        """Log of the estimated total mass, ``log_z + log_mean_exp(log_w)``, in nats.

        The mass itself is unbiased; its log is biased down by about half its variance.
        """
        return self.log_z + float(kernels.log_mean_exp(self.log_w))

    @property
    def ess(self) -> float:
        """Effective sample size ``(sum w)^2 / sum w^2``, between 0 and `n`."""
        return float(kernels.ess(self.log_w))

    @property
    def weights(self) -> Floats:
        """Normalised weights, shape (n,); all zero when no particle has mass."""
        out = np.empty_like(self.log_w)
        kernels.normalise(self.log_w, out)
        return out

    def reweight(self, log_g: Floats) -> Particles:
        """Multiply the weights by ``exp(log_g)``.

        Parameters
        ----------
        log_g : ndarray, shape (n,)
            Log-potentials in nats; ``-inf`` removes a particle, NaN and ``+inf`` are errors.

        Raises
        ------
        ValueError
            If `log_g` has the wrong shape or holds NaN or ``+inf``; the index is named.
        """
        if log_g.shape != self.log_w.shape:
            raise ValueError(
                f"log_g must have shape {self.log_w.shape}, one log-potential per particle; "
                f"got shape {log_g.shape}"
            )
        log_w = self.log_w + log_g
        if not kernels.largest(log_w) < math.inf:
            i = int(np.flatnonzero(~(log_w < math.inf))[0])
            raise ValueError(
                f"log_g must be finite or -inf; log_g[{i}] is {log_g[i]} "
                f"(log-weight before: {self.log_w[i]})"
            )
        return replace(self, log_w=log_w)

    def resample(
        self,
        resampler: Resampler,
        rng: np.random.Generator,
        log_eta: Floats | None = None,
        m: int | None = None,
    ) -> Particles:
        """Select `m` offspring in proportion to ``exp(log_w + log_eta)``.

        The offspring of particle ``a`` starts with weight ``exp(-log_eta[a])``, so that looking
        ahead changes the variance and never the expectation.

        Parameters
        ----------
        resampler : Resampler
            The scheme, for example :data:`aisle_smc.resampling.systematic`.
        rng : numpy.random.Generator
            Source of the uniforms.
        log_eta : ndarray, shape (n,), optional
            Log of the look-ahead function, in nats; zero by default.
        m : int, optional
            Size of the new population; `n` by default.

        Raises
        ------
        ValueError
            If a weight is NaN or ``+inf``, or `m` is not what the scheme can draw.
        DegenerateWeights
            If no particle has positive weight.
        """
        if m is not None:
            check_count("m", m)
        log_v = self.log_w if log_eta is None else self.log_w + log_eta
        w = np.empty_like(log_v)
        kernels.exponentiate(log_v, w)
        log_mean = float(kernels.log_mean_exp(log_v))
        if not log_mean < math.inf:
            i = int(np.flatnonzero(~(log_v < math.inf))[0])
            raise ValueError(
                f"weights and look-ahead must be finite or -inf; their sum at {i} is {log_v[i]} "
                f"(log-weight {self.log_w[i]})"
            )
        if log_mean == -math.inf:
            raise DegenerateWeights(
                f"cannot resample: none of {self.n} particles has positive weight", t=-1
            )
        ancestors, new_w = resampler.draw(w, self.n if m is None else m, rng)
        log_w = np.zeros(ancestors.shape[0]) if new_w is None else np.log(new_w)
        if log_eta is not None:
            log_w -= log_eta[ancestors]
        return Particles(self.x[ancestors], log_w, self.log_z + log_mean, ancestors)

    def move(self, x: Any) -> Particles:
        """Replace the states, keeping the weights."""
        return replace(self, x=x)

    def expect(self, f: Callable[[Any], Array]) -> Array:
        """Return the self-normalised average of ``f(x)``.

            sum_i W_i f(x_i),    W = exp(log_w) / sum exp(log_w)

        Parameters
        ----------
        f : callable
            Takes `x` and returns an array whose first axis is the particle axis.

        Notes
        -----
        Consistent, with a bias of order ``1/n``.
        """
        return np.tensordot(self.weights, np.asarray(f(self.x)), axes=1)

    def sample(self, m: int, rng: np.random.Generator, resampler: Resampler = systematic) -> Any:
        """Draw `m` equally weighted states, by a scheme that gives equal weights."""
        drawn = self.resample(resampler, rng, m=m)
        if drawn.log_w.any():
            raise ValueError(
                f"{resampler!r} gives its draws unequal weights; use another scheme, for example "
                "systematic"
            )
        return drawn.x


def merge(
    populations: Sequence[Particles],
    log_proposals: Sequence[Callable[[Any], Floats]] | None = None,
) -> Particles:
    """Concatenate populations that estimate the same measure.

    Each keeps its own mass: with ``N = sum_k n_k``, the result estimates
    ``sum_k (n_k / N) gamma_hat_k``, which is unbiased when every part is.

    Parameters
    ----------
    populations : sequence of Particles
        At least one; their states must concatenate along the first axis.
    log_proposals : sequence of callables, optional
        For each population the log-density it was drawn from, a function of states.  The
        particles are then weighted against the mixture of all of them (the balance heuristic),

            w = gamma(x) / sum_k (n_k / N) q_k(x).

    Raises
    ------
    ValueError
        If there is no population, not one proposal for each, or a weight is NaN or ``+inf``.

    References
    ----------
    Veach and Guibas (1995); Elvira, Martino, Luengo and Bugallo (2019), Generalized multiple
    importance sampling, equation 14.
    """
    if len(populations) == 0:
        raise ValueError("merge needs at least one population; got none")
    if log_proposals is not None and len(log_proposals) != len(populations):
        raise ValueError(
            f"merge needs one proposal density for each of the {len(populations)} populations; "
            f"got {len(log_proposals)}"
        )
    x = np.concatenate([p.x for p in populations])
    log_w = np.concatenate([p.log_w + p.log_z for p in populations])
    if log_proposals is not None:
        sizes = np.array([p.n for p in populations])
        log_q = np.empty((len(populations), x.shape[0]))
        for k, log_proposal in enumerate(log_proposals):
            value = np.asarray(log_proposal(x), dtype=np.float64)
            if value.shape != log_w.shape:
                raise ValueError(
                    f"log_proposals[{k}] must return shape {log_w.shape}, one log-density per "
                    f"particle of all populations; it returned shape {value.shape}"
                )
            log_q[k] = value
        own = log_q[np.repeat(np.arange(len(populations)), sizes), np.arange(x.shape[0])]
        bad = ~(np.isfinite(own) & (log_q < math.inf).all(axis=0))
        if bad.any():
            i = int(np.flatnonzero(bad)[0])
            raise ValueError(
                "log_proposals must be finite where their own population has particles and never "
                f"NaN or +inf; at particle {i} of the merged ones they are {log_q[:, i]}"
            )
        log_shares = np.log(sizes / sizes.sum())
        log_w = log_w + own - np.logaddexp.reduce(log_q + log_shares[:, None], axis=0)
    log_z = float(kernels.largest(log_w))
    if not log_z < math.inf:
        i = int(np.flatnonzero(~(log_w < math.inf))[0])
        raise ValueError(
            f"log-weights must be finite or -inf; that of particle {i} of the merged ones is "
            f"{log_w[i]}"
        )
    return Particles(x, log_w - log_z, log_z) if math.isfinite(log_z) else Particles(x, log_w)
