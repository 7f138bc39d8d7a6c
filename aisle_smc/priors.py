"""Priors by parameter name: independent SciPy distributions, in natural or free coordinates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from aisle_smc.coordinates import Array, Coordinate, describe, read_coordinate
from aisle_smc.normal_scores import NormalScores, read_scores


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Prior:
    """Hold independent priors by parameter name; a plain number fixes its parameter.

    The density in unconstrained coordinates is that of the book with the Jacobian,

        log p(z) = sum_j log p_j(theta_j(z_j)) + log d theta_j / d z_j.

    Parameters
    ----------
    distributions : mapping from str to SciPy frozen continuous distribution or float
        For example ``{"mu": norm(0, 10), "sigma": gamma(2, scale=0.1), "df": 5}``: ``mu`` and
        ``sigma`` are sampled, ``df`` is fixed at 5.

    Attributes
    ----------
    names : tuple of str
        All parameters, in the order given.
    free : tuple of str
        Those sampled, in the order of every vector `theta` and `z` (their last axis, length d).
    constants : dict from str to float
        Those fixed.

    Raises
    ------
    TypeError
        If a value is neither a frozen continuous distribution of one variable nor a number.
    ValueError
        If the mapping is empty, a constant is not finite, or a distribution has impossible
        parameters or no proper density.

    Notes
    -----
    Improper and flat priors are not supported: without a proper prior there is no evidence, and
    the posterior need not exist.  Supports are open intervals: the density at a bound is zero.
    All methods are pure functions and may be called from several threads.

    Examples
    --------
    >>> from scipy.stats import beta, gamma, norm
    >>> prior = Prior({"mu": norm(0, 10), "rho": beta(20, 1.5), "sigma": gamma(2, scale=0.1)})
    >>> prior
    Prior(mu ~ norm(loc=0, scale=10), rho ~ beta(a=20, b=1.5), sigma ~ gamma(a=2, scale=0.1))
    >>> z = prior.unconstrain([0.5, 0.9, 0.2])
    >>> prior.constrain(z).round(12).tolist()
    [0.5, 0.9, 0.2]
    """

    distributions: Mapping[str, Any]
    names: tuple[str, ...] = field(init=False)
    free: tuple[str, ...] = field(init=False)
    constants: dict[str, float] = field(init=False)
    coordinates: tuple[Coordinate, ...] = field(init=False)
    _normal: NormalScores | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        given = self.distributions
        if not isinstance(given, Mapping):
            raise TypeError(
                "a prior is a dict from parameter names to SciPy frozen distributions; "
                f"came {type(given).__name__}; write for example {{'mu': scipy.stats.norm(0, 10)}}"
            )
        if not given:
            raise ValueError(
                "a prior needs at least one parameter; came an empty dict; "
                "give every parameter of the model a distribution or a fixed number"
            )
        coordinates = []
        constants = {}
        for name, value in given.items():
            if not isinstance(name, str):
                raise TypeError(
                    f"parameter names are strings; came {name!r} of type {type(name).__name__}; "
                    "use the field names of the model's parameters"
                )
            if isinstance(value, Real) and not isinstance(value, bool):
                constants[name] = _constant(name, float(value))
            else:
                coordinates.append(read_coordinate(name, value))
        object.__setattr__(self, "distributions", dict(given))
        object.__setattr__(self, "names", tuple(given))
        object.__setattr__(self, "free", tuple(c.name for c in coordinates))
        object.__setattr__(self, "constants", constants)
        object.__setattr__(self, "coordinates", tuple(coordinates))

    def __repr__(self) -> str:
        return f"Prior({', '.join(self._lines())})"

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for name, value in self.distributions.items():
            if name in self.constants:
                yield f"{name} = {self.constants[name]:g}"
            else:
                yield f"{name} ~ {describe(value)}"

    def constrain(self, z: ArrayLike) -> Array:
        """Map unconstrained coordinates to parameters.

        Parameters
        ----------
        z : array_like, shape (..., d)
            Unconstrained coordinates of the free parameters.

        Returns
        -------
        ndarray, shape (..., d)
            Parameters, strictly inside their supports for every finite `z`.
        """
        z = self._columns(z)
        out = np.empty_like(z)
        for j, coordinate in enumerate(self.coordinates):
            out[..., j] = coordinate.constrain(z[..., j])
        return out

    def from_normal(self, z: ArrayLike) -> Array:
        """Map standard normal coordinates to parameters, so that the prior of `z` is N(0, I).

        Each parameter is ``theta_j = F_j^{-1}(Phi(z_j))``, computed from whichever tail is the
        smaller.

        Parameters
        ----------
        z : array_like, shape (..., d)
            Standard normal coordinates of the free parameters.

        Returns
        -------
        ndarray, shape (..., d)
            Parameters, strictly inside their supports and finite for every finite `z`.

        Notes
        -----
        Most families of SciPy take 10 to 50 ns per number; gamma, beta and Student's t take 0.3
        to 1 us; a distribution without a fast map takes what its own ``ppf`` and ``isf`` take,
        and is as accurate as they are.  Beyond ``abs(z) = 37.5``, where the normal tail
        underflows, all but the families that are functions of a normal variable stay put.

        Examples
        --------
        >>> from scipy.stats import expon, norm
        >>> prior = Prior({"mu": norm(1, 10), "rate": expon()})
        >>> theta = prior.from_normal([-0.5, 8.0])
        >>> theta.round(4).tolist()
        [-4.0, 35.0134]
        >>> prior.to_normal(theta).round(9).tolist()
        [-0.5, 8.0]
        """
        return self._scores().from_normal(self._columns(z))

    def to_normal(self, theta: ArrayLike) -> Array:
        """Map parameters to standard normal coordinates, ``z_j = Phi^{-1}(F_j(theta_j))``.

        Parameters
        ----------
        theta : array_like, shape (..., d)
            The free parameters, in the order of `free`.

        Returns
        -------
        ndarray, shape (..., d)

        Raises
        ------
        ValueError
            If a value is not strictly inside its support: it names the parameter.
        """
        theta = self._columns(theta)
        self._require_inside(theta)
        return self._scores().to_normal(theta)

    def _scores(self) -> NormalScores:
        # Made on first use, since most priors never need it.  Threads that meet here make equal
        # values, so that it does not matter whose is kept.
        if self._normal is None:
            object.__setattr__(self, "_normal", read_scores(self.coordinates))
        assert self._normal is not None
        return self._normal

    def unconstrain(self, values: ArrayLike) -> Array:
        """Map parameters to unconstrained coordinates.

        Parameters
        ----------
        values : array_like, shape (..., d)
            The free parameters, in the order of `free`.

        Returns
        -------
        ndarray, shape (..., d)

        Raises
        ------
        ValueError
            If a value is not strictly inside its support: it names the parameter.
        """
        theta = self._columns(values)
        self._require_inside(theta)
        out = np.empty_like(theta)
        for j, coordinate in enumerate(self.coordinates):
            out[..., j] = coordinate.unconstrain(theta[..., j])
        return out

    def _require_inside(self, theta: Array) -> None:
        for j, coordinate in enumerate(self.coordinates):
            column = theta[..., j]
            inside = coordinate.inside(column)
            if not inside.all():
                raise ValueError(coordinate.outside(float(column[~inside].flat[0])))

    def log_jacobian(self, z: ArrayLike) -> Any:
        """Return log |d theta / d z|, shape (...,), finite for every finite `z`."""
        z = self._columns(z)
        total = np.zeros(z.shape[:-1])
        for j, coordinate in enumerate(self.coordinates):
            total += coordinate.log_jacobian(z[..., j])
        return total[()]

    def log_density(self, theta: ArrayLike) -> Any:
        """Evaluate the prior.

        Parameters
        ----------
        theta : array_like, shape (..., d)
            The free parameters.

        Returns
        -------
        float or ndarray, shape (...,)
            Log-density in nats; -inf outside the support, never NaN.
        """
        theta = self._columns(theta)
        total = np.zeros(theta.shape[:-1])
        with np.errstate(all="ignore"):
            for j, coordinate in enumerate(self.coordinates):
                total += coordinate.log_density(theta[..., j])
        return total[()]

    def log_density_unconstrained(self, z: ArrayLike) -> Any:
        """Evaluate the prior density of `z`: ``log_density(constrain(z)) + log_jacobian(z)``.

        Parameters
        ----------
        z : array_like, shape (..., d)
            Unconstrained coordinates of the free parameters.

        Returns
        -------
        float or ndarray, shape (...,)
            Log-density in nats, never NaN.

        Notes
        -----
        One point, the case that counts in Markov chain Monte Carlo, skips the argument handling
        of SciPy's ``logpdf``, about ten times the cost of the density itself; the two agree to
        rounding.
        """
        z = self._columns(z)
        if z.ndim == 1:
            return self._point_log_density(z)
        total = np.zeros(z.shape[:-1])
        with np.errstate(all="ignore"):
            for j, coordinate in enumerate(self.coordinates):
                column = z[..., j]
                total += coordinate.log_density(coordinate.constrain(column))
                total += coordinate.log_jacobian(column)
        return np.where(np.isnan(total), -np.inf, total)[()]

    def _point_log_density(self, z: Array) -> Any:
        total: Any = np.float64(0.0)
        with np.errstate(all="ignore"):
            for coordinate, value in zip(self.coordinates, z, strict=True):
                total += coordinate.point_log_density(coordinate.constrain(value))
                total += coordinate.log_jacobian(value)
        return np.float64(-np.inf) if math.isnan(total) else total

    def sample(self, rng: np.random.Generator, n: int) -> Array:
        """Draw from the prior by inversion.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of ``n * d`` uniforms, no more and no less.
        n : int
            Number of draws.

        Returns
        -------
        ndarray, shape (n, d)
            Draws of the free parameters, strictly inside their supports.  The first rows do not
            depend on `n`.
        """
        # Inversion rather than SciPy's `rvs`, which stores the generator inside the
        # distribution while it draws and so is not safe when threads share a prior.
        u = np.maximum(rng.random((n, len(self.coordinates))), 2.0**-54)
        for j, coordinate in enumerate(self.coordinates):
            u[:, j] = coordinate.clip(coordinate.distribution.ppf(u[:, j]))
        return u

    def vector(self, values: Mapping[str, float]) -> Array:
        """Return the free parameters of a mapping as a vector `theta`, after `check`."""
        self.check(values)
        return np.array([float(values[name]) for name in self.free])

    def with_constants(self, theta: ArrayLike) -> Array:
        """Return all parameters in the order of `names`: shape (..., d) to (..., len(names))."""
        theta = self._columns(theta)
        out = np.empty(theta.shape[:-1] + (len(self.names),))
        free = 0
        for j, name in enumerate(self.names):
            if name in self.constants:
                out[..., j] = self.constants[name]
            else:
                out[..., j] = theta[..., free]
                free += 1
        return out

    def check(self, values: Mapping[str, float]) -> None:
        """Raise if values are not usable parameters under this prior.

        Parameters
        ----------
        values : mapping from str to float
            One number per free parameter.  Constants may be present, and may differ from the
            prior's: fixing a parameter says nothing about which other values make sense.

        Raises
        ------
        ValueError
            If a parameter is missing, unknown, not finite, or has density zero.
        """
        missing = [name for name in self.free if name not in values]
        unknown = [name for name in values if name not in self.names]
        if missing or unknown:
            raise ValueError(
                f"expected the parameters {', '.join(self.names)}; "
                f"missing: {', '.join(missing) or 'none'}, unknown: {', '.join(unknown) or 'none'}"
                "; correct the names"
            )
        for name in self.constants:
            if name in values:
                _constant(name, float(values[name]))
        for coordinate in self.coordinates:
            value = float(values[coordinate.name])
            on_bound = math.isfinite(value) and value in (coordinate.lower, coordinate.upper)
            # A bound is a possible value where the density does not vanish, as for the uniform.
            if on_bound and coordinate.distribution.logpdf(value) > -np.inf:
                continue
            if not (coordinate.lower < value < coordinate.upper):
                raise ValueError(coordinate.outside(value))

    def _columns(self, values: ArrayLike) -> Array:
        array = np.asarray(values, dtype=np.float64)
        d = len(self.coordinates)
        if array.ndim == 0 or array.shape[-1] != d:
            raise ValueError(
                f"expected {d} numbers on the last axis ({', '.join(self.free)}); "
                f"came shape {array.shape}; give the free parameters in this order"
            )
        return array


def _constant(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(
            f"parameter {name!r} must be a finite number; came {value}; correct its value"
        )
    return value
