"""Taking distributions from elsewhere: SciPy's frozen ones, and torch-like ones."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aisle_smc.arrays import Array, Floats
from aisle_smc.distributions.gaussian import Gaussian, cholesky
from aisle_smc.distributions.independent import Independent
from aisle_smc.distributions.protocol import Distribution, check_draw, read_points, settle
from aisle_smc.distributions.student_t import StudentT

__all__ = ["ScipyUnivariate", "TorchLike", "as_distribution"]

ACCEPTED = (
    "an object with dim, sample(n, rng), log_density(x) and fit(x, weights); a frozen continuous "
    "SciPy distribution such as scipy.stats.norm(0, 1) or multivariate_normal(mean, cov); a "
    "sequence of frozen univariate ones; an object with sample(shape) and log_prob(x); one with "
    "as_distribution(), which gives any of these"
)


def as_distribution(source: Any) -> Distribution:
    """Return a proposal made of what was given.

    Parameters
    ----------
    source : object
        One of

        - an object that is a :class:`Distribution` already: returned as it is;
        - a frozen univariate continuous distribution of SciPy: points are (n, 1);
        - SciPy's frozen ``multivariate_normal`` or ``multivariate_t``: becomes a
          :class:`Gaussian` or :class:`StudentT`;
        - a sequence of these: their product, an :class:`Independent`;
        - an object with ``sample(shape)`` and ``log_prob(x)``, as torch's distributions and flows
          have; if ``sample`` gives torch tensors, ``log_prob`` receives some;
        - an object with a method ``as_distribution()``, as the proposals of
          :mod:`aisle_smc.neural` have: what that returns.

    Returns
    -------
    Distribution

    Raises
    ------
    TypeError
        If it is none of these: a distribution that was not frozen, a discrete one, a class
        instead of an object.
    ValueError
        If a SciPy distribution has impossible parameters.

    Notes
    -----
    A distribution of SciPy or torch does not learn: its ``fit`` raises a TypeError, except for
    the two that become ours and the proposals of :mod:`aisle_smc.neural`.  Torch draws with its
    own global random state; it is seeded from `rng` at each call and put back afterwards, so that
    a result depends on `rng` alone.

    Examples
    --------
    >>> from scipy.stats import gamma, norm
    >>> q = as_distribution([norm(0.0, 1.0), gamma(2.0)])
    >>> q.dim, q.log_density([[0.0, 1.0], [0.0, -1.0]]).round(3).tolist()
    (2, [-1.919, -inf])
    """
    if isinstance(source, type):
        raise TypeError(
            f"a proposal is an object, not a class; got the class {source.__name__}; "
            f"call it with its parameters; accepted are {ACCEPTED}"
        )
    if all(callable(getattr(source, name, None)) for name in ("sample", "log_density", "fit")):
        if not isinstance(getattr(source, "dim", None), int | np.integer):
            raise TypeError(
                "a distribution needs an integer attribute dim, its number of coordinates; "
                f"{type(source).__name__}.dim is {getattr(source, 'dim', 'missing')!r}"
            )
        return source  # type: ignore[no-any-return]
    if callable(getattr(source, "as_distribution", None)):
        return as_distribution(source.as_distribution())
    if isinstance(source, Sequence) and not isinstance(source, str | bytes):
        if not source:
            raise TypeError(f"a sequence of distributions must not be empty; accepted: {ACCEPTED}")
        return Independent(parts=tuple(as_distribution(each) for each in source))
    if type(source).__module__.startswith("scipy.stats"):
        return _from_scipy(source)
    if callable(getattr(source, "sample", None)) and callable(getattr(source, "log_prob", None)):
        return TorchLike(source=source)
    raise TypeError(f"cannot use {source!r} as a distribution; accepted are {ACCEPTED}")


def _from_scipy(source: Any) -> Distribution:
    name = type(source).__name__
    if name == "multivariate_normal_frozen":
        cov = source.cov_object.covariance if hasattr(source, "cov_object") else source.cov
        return Gaussian(mean=np.atleast_1d(source.mean), root=cholesky("cov", np.atleast_2d(cov)))
    if name == "multivariate_t_frozen":
        if not np.isfinite(source.df):
            return Gaussian.from_covariance(np.atleast_1d(source.loc), np.atleast_2d(source.shape))
        return StudentT.from_scale(
            np.atleast_1d(source.loc), np.atleast_2d(source.shape), float(source.df)
        )
    if hasattr(source, "dist") and hasattr(source, "args"):
        if not hasattr(source, "logpdf") or not hasattr(source.dist, "_pdf"):
            raise TypeError(
                f"a proposal needs a density; scipy.stats.{source.dist.name} is discrete; "
                f"accepted are {ACCEPTED}"
            )
        return ScipyUnivariate(source=source)
    if hasattr(source, "freeze"):
        raise TypeError(
            "freeze the distribution with its parameters, as in scipy.stats.norm(0, 1); got the "
            f"unfrozen {getattr(source, 'name', name)}"
        )
    raise TypeError(f"cannot use scipy.stats' {name} as a distribution; accepted are {ACCEPTED}")


def _no_fit(what: str) -> TypeError:
    return TypeError(
        f"{what} has fixed parameters and cannot be fitted; start from a Gaussian, a StudentT, "
        "or what fit_mixture returns"
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScipyUnivariate:
    """A frozen univariate continuous distribution of SciPy as a distribution of rows (n, 1).

    Attributes
    ----------
    source : frozen distribution
        For example ``scipy.stats.gamma(2.0, scale=0.1)``.
    """

    source: Any

    def __post_init__(self) -> None:
        arguments = [*self.source.args, *self.source.kwds.values()]
        if any(np.ndim(value) > 0 for value in arguments):
            raise TypeError(
                f"a univariate distribution needs scalar parameters; {self.source.dist.name} got "
                f"{arguments}; pass a list of frozen distributions instead"
            )
        if np.isnan(self.source.support()).any():
            raise ValueError(
                f"scipy.stats.{self.source.dist.name} is not defined for the parameters "
                f"{arguments}; see its documentation for their ranges"
            )

    @property
    def dim(self) -> int:
        """One."""
        return 1

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw `n` independent points, shape (n, 1)."""
        check_draw(n, rng)
        drawn = self.source.rvs(size=n, random_state=rng)
        return np.asarray(drawn, dtype=np.float64)[:, None]

    def log_density(self, x: Floats) -> Floats:
        """Return the log-density of each row of `x`, shape (n,)."""
        x = read_points(x, 1)
        with np.errstate(all="ignore"):
            log_q = np.asarray(self.source.logpdf(x[:, 0]), dtype=np.float64)
        # SciPy returns NaN for some families at the edge of the support or at infinity.
        return np.where(np.isnan(log_q), -np.inf, log_q)

    def fit(self, x: Floats, weights: Floats) -> ScipyUnivariate:
        """Raise: the parameters are fixed."""
        raise _no_fit(f"scipy.stats.{self.source.dist.name}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TorchLike:
    """An object with ``sample(shape)`` and ``log_prob(x)`` as a distribution.

    Attributes
    ----------
    source : object
        For example a distribution of ``torch.distributions`` or what a zuko flow returns.
    """

    source: Any
    _dim: int = field(init=False, repr=False)
    _vector: bool = field(init=False, repr=False)
    _like: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shape = getattr(self.source, "event_shape", None)
        batch = tuple(getattr(self.source, "batch_shape", ()))
        # One draw tells what draws are: tensors of which precision and where, or arrays.
        like = self._drawn(1, 0)
        if shape is None:
            shape = np.shape(_to_numpy(like))[1:]
        shape = tuple(int(s) for s in shape)
        if batch or len(shape) > 1:
            raise TypeError(
                "a distribution must be one of vectors, event shape (d,) and no batch shape; got "
                f"event shape {shape} and batch shape {batch}; wrap it in Independent(q, 1)"
            )
        object.__setattr__(self, "_dim", shape[0] if shape else 1)
        object.__setattr__(self, "_vector", bool(shape))
        object.__setattr__(self, "_like", like)

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self._dim

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw `n` independent points, shape (n, d)."""
        check_draw(n, rng)
        drawn = self._drawn(n, int(rng.integers(2**63 - 1)))
        return _to_numpy(drawn).reshape(n, self._dim)

    def log_density(self, x: Floats) -> Floats:
        """Return the log-density of each row of `x`, shape (n,)."""
        x = read_points(x, self._dim)
        points: Any = x if self._vector else x[:, 0]
        torch = sys.modules.get("torch")
        if torch is None:
            return self._checked(self.source.log_prob(points), x)
        if isinstance(self._like, torch.Tensor):
            points = torch.as_tensor(points, dtype=self._like.dtype, device=self._like.device)
        with torch.random.fork_rng(), torch.no_grad():
            return self._checked(self.source.log_prob(points), x)

    def _drawn(self, n: int, seed: int) -> Any:
        """Return `n` draws as the source gives them; torch's global state is put back."""
        torch = sys.modules.get("torch")
        if torch is None:
            return self.source.sample((n,))
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            return self.source.sample((n,))

    def _checked(self, values: Any, x: Floats) -> Floats:
        log_q = _to_numpy(values)
        if log_q.shape != x.shape[:1]:
            raise ValueError(
                f"log_prob must return one value per point, shape {x.shape[:1]}; got shape "
                f"{log_q.shape}; wrap the distribution in torch.distributions.Independent(q, 1)"
            )
        return settle(log_q, x)

    def fit(self, x: Floats, weights: Floats) -> TorchLike:
        """Raise: the parameters are fixed."""
        raise _no_fit(type(self.source).__name__)


def _to_numpy(values: Any) -> Array:
    """Return an array or tensor as float64."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
