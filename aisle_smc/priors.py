"""Priors by parameter name: independent SciPy distributions, in natural and free coordinates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from aisle_smc.coordinates import Array, Coordinate
from aisle_smc.frozen import describe
from aisle_smc.normal_scores import NormalScores, read_scores
from aisle_smc.parameters import (
    Layout,
    constant,
    read_box,
    read_parameters,
    require_names,
    require_ties,
)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Prior:
    """Hold independent priors by parameter name; a number fixes a parameter, a name ties it.

    The density in unconstrained coordinates is that of the book with the Jacobian,

        log p(z) = sum_j log p_j(theta_j(z_j)) + log d theta_j / d z_j.

    Parameters
    ----------
    distributions : mapping from str to SciPy frozen continuous distribution, float or str
        For example ``{"mu": norm(0, 10), "sigma": gamma(2, scale=0.1), "tau": "sigma", "df": 5}``:
        ``mu`` and ``sigma`` are sampled, ``tau`` always equals ``sigma``, ``df`` is fixed at 5.
        SciPy's random variables, such as ``scipy.stats.Normal(mu=0.0, sigma=1.0)``, serve too.

    Attributes
    ----------
    names : tuple of str
        All parameters, in the order given.
    free : tuple of str
        Those sampled, in the order of every vector `theta` and `z` (their last axis, length d).
    constants : dict from str to float
        Those fixed, those tied to a fixed one included.
    ties : dict from str to str
        Those tied, each with the untied parameter at the end of its chain.

    Raises
    ------
    TypeError
        If a value is neither a continuous distribution of one variable, nor a number, nor the
        name of a parameter.
    ValueError
        If the mapping is empty, a constant is not finite, a distribution has impossible
        parameters or no proper density, or ties form a ring.

    Notes
    -----
    Improper and flat priors are not supported: without a proper prior there is no evidence, and
    the posterior need not exist.  Supports are open intervals: the density at a bound is zero.
    A density, and so the evidence, is that of the free parameters: a tie adds no factor.
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
    ties: dict[str, str] = field(init=False)
    coordinates: tuple[Coordinate, ...] = field(init=False)
    _layout: Layout = field(init=False)
    _normal: NormalScores | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        given = self.distributions
        every, ties = read_parameters(given)
        names = tuple(every)
        constants = {n: c for n, c in every.items() if not isinstance(c, Coordinate)}
        coordinates = tuple(
            c for n, c in every.items() if n not in ties and isinstance(c, Coordinate)
        )
        held = {c.name: c.distribution for c in coordinates}
        for attribute, content in (
            ("distributions", {name: held.get(name, given[name]) for name in names}),
            ("names", names),
            ("free", tuple(held)),
            ("constants", constants),
            ("ties", ties),
            ("coordinates", coordinates),
            ("_layout", Layout.of(names, constants, ties)),
        ):
            object.__setattr__(self, attribute, content)

    def __repr__(self) -> str:
        return f"Prior({', '.join(self._lines())})"

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for name, value in self.distributions.items():
            if isinstance(value, str):
                yield f"{name} = {value}"
            elif name in self.constants:
                yield f"{name} = {self.constants[name]:g}"
            else:
                yield f"{name} ~ {describe(value)}"

    @classmethod
    def box(cls, bounds: Any, names: Sequence[str] | None = None) -> Self:
        """Return the uniform prior inside a box.

        Parameters
        ----------
        bounds : mapping from str to pair of float, or array_like, shape (d, 2)
            Finite ends (low, high) of each parameter.
        names : sequence of str, optional
            Names for bounds without them; by default ``x0``, ``x1``, ...

        Raises
        ------
        TypeError, ValueError
            If an item is not a pair of finite numbers in order, or names do not fit.

        Examples
        --------
        >>> Prior.box([(0, 1), (-5, 5)], names=["a", "b"])
        Prior(a ~ uniform(loc=0, scale=1), b ~ uniform(loc=-5, scale=10))
        """
        return cls(read_box(bounds, names))

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
        """Map coordinates with prior N(0, I) to parameters, ``theta_j = F_j^{-1}(Phi(z_j))``.

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
        Most families take 10 to 60 ns per number, gamma, beta and Student's t 0.3 to 1 us.  Others
        take what their own ``ppf`` and ``isf`` take, and are as accurate.  Beyond
        ``abs(z) = 37.5``, where the normal tail underflows, most stay put.

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
        for j, coordinate in enumerate(self.coordinates):
            coordinate.require_inside(theta[..., j])
        return self._scores().to_normal(theta)

    def normal_jacobian(self, z: ArrayLike) -> Array:
        """Return d theta_j / d z_j of `from_normal`, shape (..., d), finite.

        It is ``phi(z_j) / f_j(theta_j)``, accurate in both tails.  A gradient in `theta` times it
        is the gradient in `z`.
        """
        return self._scores().slope(self._columns(z))

    def _scores(self) -> NormalScores:
        # Made on first use, since most priors never need it.  Threads that meet here make equal
        # values, so that it does not matter whose is kept.
        scores = self._normal or read_scores(self.coordinates)
        object.__setattr__(self, "_normal", scores)
        return scores

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
        out = np.empty_like(theta)
        for j, coordinate in enumerate(self.coordinates):
            coordinate.require_inside(theta[..., j])
            out[..., j] = coordinate.unconstrain(theta[..., j])
        return out

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
        of SciPy's ``logpdf``, ten times as dear as the density; the two agree to rounding.
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
        """Return the free parameters of a mapping as a vector `theta`, after `check`.

        A tied parameter need not be there; where it is, it must equal the one it is tied to.
        """
        self.check(values)
        require_ties(values, {n: end for n, end in self.ties.items() if end in self.free})
        return np.array([float(values[name]) for name in self.free])

    def with_constants(self, theta: ArrayLike) -> Array:
        """Return all parameters, fixed and tied ones included, in the order of `names`.

        The shape changes from (..., d) to (..., len(names)).
        """
        return self._layout.spread(self._columns(theta))

    def gather(self, gradients: ArrayLike) -> Array:
        """Turn gradients in all parameters into gradients in the free ones.

        The transpose of the linear map `with_constants`, from shape (..., len(names)) to (..., d):
        a parameter collects the shares of those tied to it.
        """
        return self._layout.gather(self._columns(gradients, self.names), len(self.free))

    def check(self, values: Mapping[str, float]) -> None:
        """Raise if values are not usable parameters under this prior.

        Parameters
        ----------
        values : mapping from str to float
            One number per free parameter.  Constants may be present, and may differ from the
            prior's: fixing a parameter says nothing about which other values make sense.  So may
            tied parameters, inside the support of the one they are tied to.

        Raises
        ------
        ValueError
            If a parameter is missing, unknown, not finite, or has density zero.
        """
        require_names(values, self.names, self.free)
        for name, value in values.items():
            if name in self.constants:
                constant(name, float(value))
            else:
                end = self.coordinates[self.free.index(self.ties.get(name, name))]
                replace(end, name=name).require(float(value))

    def _columns(self, values: ArrayLike, names: tuple[str, ...] | None = None) -> Array:
        array = np.asarray(values, dtype=np.float64)
        names = self.free if names is None else names
        if array.ndim == 0 or array.shape[-1] != len(names):
            raise ValueError(
                f"expected {len(names)} numbers on the last axis ({', '.join(names)}); "
                f"came shape {array.shape}; give the parameters in this order"
            )
        return array
