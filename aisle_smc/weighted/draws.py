r"""A weighted sample of named parameters: its moments, quantiles, table and equal-weight draws.

A sample of `n` draws stands for the distribution

.. math:: \sum_i W_i \delta_{x_i}, \qquad W_i = w_i / \sum_j w_j.

It is the posterior and no more than that: it knows nothing of the evidence, so whatever is
selected or drawn from it cannot be mistaken for an estimate of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from aisle_kernels import pareto
from aisle_kernels import weights as kernels

from aisle_smc.arguments import check_count
from aisle_smc.arrays import Array, Floats, Integers
from aisle_smc.priors import Prior
from aisle_smc.resampling import systematic
from aisle_smc.streams import stream
from aisle_smc.summary import Summary
from aisle_smc.weighted.rows import per_draw, read_rows
from aisle_smc.weighted.statistics import judge, quantiles, spread, summarise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["WeightedDraws"]

# The key of the stream that draws from a sample: no other use of the same seed shares it.
RESAMPLING = (2**31, 4)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class WeightedDraws:
    """Draws of named parameters with importance weights.

    Attributes
    ----------
    names : sequence of str
        The parameters, kept as a tuple.
    x : ndarray, shape (n, d)
        The draws; finite wherever the weight is positive.
    log_w : ndarray, shape (n,)
        Log-weights, in nats, with any common factor; ``-inf`` is a weight of zero.  They are kept
        normalised, ``sum exp(log_w) = 1``, so that no evidence can be read off them.
    blobs : ndarray, shape (n, ...), optional
        What else the target returned for each draw.
    prior : Prior, optional
        The prior of the parameters, for figures.
    log_density : ndarray, shape (n,), optional
        Unnormalised log-density of the posterior at each draw, in nats.
    groups : ndarray of int, shape (n,), optional
        Which independent sampler each draw comes from, where draws of one depend on each other.

    Raises
    ------
    TypeError
        If an array does not hold real numbers.
    ValueError
        If the shapes do not fit, a name comes twice, a log-weight is NaN or ``+inf``, or a draw
        with weight is not finite: its index is named.
    DegenerateWeights
        If no draw has positive weight.

    Notes
    -----
    Weighted moments are consistent, with a bias of order ``1 / ess``.  Error bars are those of
    importance sampling from independent draws, or with `groups` those of the spread between them.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(1).normal(size=(1000, 1))
    >>> draws = WeightedDraws(names=("mu",), x=x, log_w=0.5 * x[:, 0])  # N(0, 1) to N(1/2, 1)
    >>> draws
    WeightedDraws: 1000 draws of 1 parameter (mu), ESS 777
      Pareto k-hat 0.14: averages and their errors can be trusted
    >>> draws.summary()
        mean    sd  hdi_3%  hdi_97%  mcse_mean  ess
    mu  0.44  1.00   -1.44     2.20      0.042  560
    """

    names: tuple[str, ...]
    x: Floats
    log_w: Floats
    blobs: Array | None = None
    prior: Prior | None = None
    log_density: Floats | None = None
    groups: Integers | None = None
    _found: dict[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        names = (self.names,) if isinstance(self.names, str) else tuple(self.names)
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(
                f"names must differ; {twice!r} comes {names.count(twice)} times: rename one"
            )
        x, log_w = read_rows(names, self.x, self.log_w)
        n = x.shape[0]
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "log_w", log_w)
        if self.log_density is not None:
            object.__setattr__(self, "log_density", per_draw("log_density", self.log_density, n))
        if self.groups is not None:
            object.__setattr__(self, "groups", per_draw("groups", self.groups, n).astype(np.int64))
        if self.blobs is not None:
            blobs = np.asarray(self.blobs)
            if blobs.ndim == 0 or blobs.shape[0] != n:
                raise ValueError(
                    f"blobs must have one entry for each of the {n} draws on the first axis; got "
                    f"shape {blobs.shape}"
                )
            object.__setattr__(self, "blobs", blobs)

    # --- the weights -----------------------------------------------------------------------------

    @property
    def n(self) -> int:
        """Number of draws, those without weight included."""
        return int(self.x.shape[0])

    @property
    def d(self) -> int:
        """Number of parameters."""
        return int(self.x.shape[1])

    @property
    def weights(self) -> Floats:
        """Normalised weights, shape (n,); their sum is 1."""
        out = np.empty_like(self.log_w)
        kernels.normalise(self.log_w, out)
        return out

    @property
    def ess(self) -> float:
        """Effective sample size of Kish, ``1 / sum W^2``, between 1 and `n`."""
        return float(kernels.ess(self.log_w))

    @property
    def khat(self) -> float:
        """Shape of the generalised-Pareto tail of the weights.

        Below ``min(1 - 1 / log10(n), 0.7)`` moments and their errors can be trusted; ``-inf`` for
        equal weights, ``inf`` when too few draws have weight to tell.

        References
        ----------
        Vehtari, Simpson, Gelman, Yao and Gabry (2024), section 3.
        """
        if "khat" not in self._found:
            length = pareto.tail_length(self.n, 1.0)
            self._found["khat"] = float(pareto.pareto_k(self.log_w, length))
        return float(self._found["khat"])

    # --- what they say ---------------------------------------------------------------------------

    @property
    def mean(self) -> Floats:
        """Weighted means, shape (d,)."""
        x, weights = self._weighted()
        return np.asarray(weights @ x)

    @property
    def sd(self) -> Floats:
        """Weighted standard deviations, shape (d,), about the weighted mean."""
        return spread(*self._weighted(), self.mean)[0]

    @property
    def covariance(self) -> Floats:
        """Weighted covariance, shape (d, d): ``sum_i W_i (x_i - mean) (x_i - mean)^T``."""
        x, weights = self._weighted()
        away = (x - self.mean) * np.sqrt(weights)[:, None]
        return np.asarray(away.T @ away)

    def quantile(self, q: float | Sequence[float] | Floats) -> Floats:
        """Return weighted quantiles of every parameter.

        Parameters
        ----------
        q : float or array_like, shape (m,)
            Probabilities between 0 and 1.

        Returns
        -------
        ndarray, shape (d,) for a number, (m, d) for several

        Raises
        ------
        ValueError
            If a probability is not between 0 and 1.

        Notes
        -----
        The k-th smallest draw stands at the probability ``W_1 + ... + W_{k-1} + W_k / 2``; between
        draws the quantile is linear.  With equal weights it is ``np.quantile(..., "hazen")``.
        """
        levels = np.asarray(q, dtype=np.float64)
        if levels.ndim > 1 or not ((levels >= 0.0) & (levels <= 1.0)).all():
            raise ValueError(
                f"q must be a probability between 0 and 1, or several in one dimension; got {q!r}"
            )
        return quantiles(*self._weighted(), levels)

    def expect(self, f: Callable[[Floats], Array]) -> Array:
        """Return the weighted average of ``f(x)``, ``sum_i W_i f(x_i)``.

        Parameters
        ----------
        f : callable
            Takes draws, shape (m, d), and returns an array whose first axis is theirs.  Only draws
            of positive weight are handed over.

        Raises
        ------
        ValueError
            If `f` does not return one value for each draw.
        """
        values, weights = self._values(f)
        return np.asarray(np.tensordot(weights, values, axes=1))

    def standard_error(self, f: Callable[[Floats], Array]) -> Array:
        r"""Return the Monte Carlo standard error of :meth:`expect`, in the units of `f`.

        With the mean :math:`\bar f = \sum_i W_i f(x_i)` it is, for independent draws and for G
        independent groups of draws,

        .. math::

            \sqrt{\sum_i W_i^2 (f(x_i) - \bar f)^2}, \qquad
            \sqrt{\tfrac{G}{G - 1} \sum_g \bigl(\sum_{i \in g} W_i (f(x_i) - \bar f)\bigr)^2}.

        Parameters
        ----------
        f : callable
            As in :meth:`expect`; real values.

        Notes
        -----
        The delta method for a ratio of two means.  It means what it says where the weights times
        `f` have a variance, see `khat`.

        References
        ----------
        Owen (2013), Monte Carlo theory, methods and examples, section 9.2.
        """
        values, weights = self._values(f)
        mean = np.tensordot(weights, values, axes=1)
        return np.asarray(spread(values, weights, mean, self._kept(self.groups))[1])

    def __getitem__(self, name: str) -> Floats:
        """Return the draws of one parameter, shape (n,); they are weighted by `weights`."""
        if name not in self.names:
            raise KeyError(f"no parameter {name!r}; drawn were {', '.join(self.names)}")
        return np.asarray(self.x[:, self.names.index(name)])

    # --- other samples ---------------------------------------------------------------------------

    def indices(self, n: int, seed: int = 0) -> Integers:
        """Draw which rows make an equally weighted sample of `n`.

        Systematic resampling over the draws in random order: row i comes ``floor(n W_i)`` or
        ``ceil(n W_i)`` times, and the rows come shuffled.

        Parameters
        ----------
        n : int
            How many to draw; beyond `ess` most are repeats.
        seed : int
            The rows are a function of it, of `n` and of the weights.

        Returns
        -------
        ndarray of int, shape (n,)
            Rows of `x`, `blobs` and `log_density`.
        """
        check_count("n", n)
        rng = stream(seed, *RESAMPLING)
        order = rng.permutation(self.n)
        rows, _ = systematic.draw(self.weights[order], n, rng)
        return np.asarray(rng.permutation(order[rows]))

    def draws(self, n: int, seed: int = 0) -> Floats:
        """Return `n` equally weighted draws, shape (n, d): the rows of :meth:`indices`."""
        return np.asarray(self.x[self.indices(n, seed)])

    def select(self, rows: Any) -> WeightedDraws:
        """Return the sample of some rows, their weights normalised anew.

        Parameters
        ----------
        rows : array_like of bool, shape (n,), or of int, shape (m,)
            Which draws to keep.

        Raises
        ------
        TypeError
            If `rows` is neither a mask nor indices.
        DegenerateWeights
            If none of them has positive weight.

        Notes
        -----
        A mask of a region gives the posterior given that region.
        """
        chosen = np.asarray(rows)
        mask = chosen.dtype.kind == "b" and chosen.shape == (self.n,)
        if not mask and not (chosen.dtype.kind in "iu" and chosen.ndim == 1):
            raise TypeError(
                f"rows must be a mask of shape ({self.n},) or indices in one dimension; got "
                f"{chosen.dtype} of shape {chosen.shape}"
            )
        return replace(
            self,
            x=self.x[chosen],
            log_w=self.log_w[chosen],
            blobs=None if self.blobs is None else self.blobs[chosen],
            log_density=None if self.log_density is None else self.log_density[chosen],
            groups=None if self.groups is None else self.groups[chosen],
        )

    # --- to people and other tools ---------------------------------------------------------------

    def summary(self) -> Summary:
        """Return means, spreads, shortest intervals of 94 % and the error of the means.

        Notes
        -----
        ``mcse_mean`` is the :meth:`standard_error` of the mean, and ``ess = (sd / mcse_mean)^2``:
        how many independent draws of the posterior would know the mean as well.

        References
        ----------
        Owen (2013), Monte Carlo theory, methods and examples, section 9.2.
        """
        if "summary" not in self._found:
            self._found["summary"] = summarise(
                self.names, *self._weighted(), self._kept(self.groups)
            )
        return self._found["summary"]  # type: ignore[no-any-return]

    def to_arviz(self, n: int | None = None, seed: int = 0) -> Any:
        """Return equally weighted draws, and the weighted ones, as an ``xarray.DataTree``.

        `n` is the number of equally weighted draws, by default the effective sample size.  Needs
        the ``report`` extra; :func:`aisle_smc.results.weighted_datatree` says what is where.
        """
        from aisle_smc.results import weighted_datatree

        return weighted_datatree(self, n, seed=seed)

    def plot_pairs(self) -> Figure:
        """Draw the parameters against each other; return the figure."""
        from aisle_smc.plots import plot_pairs

        return plot_pairs(self)

    def __repr__(self) -> str:
        shown = ", ".join(self.names[:6]) + (", ..." if self.d > 6 else "")
        return (
            f"WeightedDraws: {self.n} draws of {self.d} parameter{'s' * (self.d > 1)} ({shown}), "
            f"ESS {self.ess:.0f}\n  {judge(self.khat, self.n)}"
        )

    def _weighted(self) -> tuple[Floats, Floats]:
        """Return the draws of positive weight and their weights: others may not be finite."""
        return self._kept(self.x), self._kept(self.weights)

    def _kept(self, rows: Any) -> Any:
        """Return the rows of positive weight."""
        kept = self.weights > 0.0
        return rows if rows is None or kept.all() else rows[kept]

    def _values(self, f: Callable[[Floats], Array]) -> tuple[Array, Floats]:
        """Return a function of the draws of positive weight, and these weights."""
        x, weights = self._weighted()
        values = np.asarray(f(x))
        if values.ndim == 0 or values.shape[0] != x.shape[0]:
            raise ValueError(
                f"f must return one value for each of the {x.shape[0]} draws on its first axis; "
                f"it returned shape {values.shape}"
            )
        return values, weights
