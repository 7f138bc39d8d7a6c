"""One interface for SciPy's univariate distributions: the frozen ones and the random variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

_METHODS = ("icdf", "iccdf", "logpdf", "logcdf", "logccdf", "support")


@dataclass(frozen=True, slots=True, eq=False)
class RandomVariable:
    """Show one of SciPy's random variables, new in 1.15, the methods of a frozen distribution.

    Parameters
    ----------
    variable : SciPy continuous random variable
        For example ``scipy.stats.exp(scipy.stats.Normal())`` or a ``scipy.stats.Mixture``.
    """

    variable: Any
    dist: ClassVar[None] = None  # it has no generic distribution behind it

    @property
    def args(self) -> tuple[str]:
        """What tells this distribution from others."""
        return (repr(self.variable),)

    @property
    def kwds(self) -> dict[str, Any]:
        """Nothing: `args` says all."""
        return {}

    def pdf(self, x: Any) -> Any:
        """Return the density."""
        return self.variable.pdf(x)

    def logpdf(self, x: Any) -> Any:
        """Return the log-density."""
        return self.variable.logpdf(x)

    def cdf(self, x: Any) -> Any:
        """Return the distribution function."""
        return self.variable.cdf(x)

    def logcdf(self, x: Any) -> Any:
        """Return the log of the distribution function."""
        return self.variable.logcdf(x)

    def sf(self, x: Any) -> Any:
        """Return the survival function."""
        return self.variable.ccdf(x)

    def logsf(self, x: Any) -> Any:
        """Return the log of the survival function."""
        return self.variable.logccdf(x)

    def ppf(self, p: Any) -> Any:
        """Return the quantile of a lower tail."""
        return self.variable.icdf(p)

    def isf(self, q: Any) -> Any:
        """Return the quantile of an upper tail."""
        return self.variable.iccdf(q)

    def support(self) -> tuple[float, float]:
        """Return the ends of the support."""
        lower, upper = self.variable.support()
        return float(lower), float(upper)

    def mean(self) -> float:
        """Return the mean."""
        return float(self.variable.mean())

    def median(self) -> float:
        """Return the median."""
        return float(self.variable.median())

    def std(self) -> float:
        """Return the standard deviation."""
        return float(self.variable.standard_deviation())


def read_distribution(name: str, value: Any) -> Any:
    """Return what a user gave as the prior of a parameter, with the methods of a frozen one.

    Parameters
    ----------
    name : str
        The parameter.
    value : object
        SciPy's frozen continuous distribution, returned as it is but for the von Mises one, or a
        random variable.

    Returns
    -------
    frozen distribution or RandomVariable

    Raises
    ------
    TypeError
        If it is neither, or not of one variable.
    """
    # Whoever holds a frozen distribution has paid for this import already; others need not.
    from scipy.stats import rv_continuous, rv_discrete, vonmises, vonmises_line

    expected = (
        f"the prior of {name!r} must be a SciPy frozen continuous distribution or a fixed number"
    )
    if value is None or isinstance(value, str):
        raise TypeError(
            f"{expected}; came {value!r}; improper and flat priors are not supported: "
            "use a proper one, however wide, such as scipy.stats.norm(0, 100)"
        )
    if isinstance(value, rv_continuous):
        raise TypeError(
            f"{expected}; came {value.name!r} without its parameters; "
            f"freeze it by calling it: scipy.stats.{value.name}(...)"
        )
    dist = getattr(value, "dist", None)
    if isinstance(value, rv_discrete) or isinstance(dist, rv_discrete):
        raise TypeError(
            f"{expected}; came the discrete distribution {(dist or value).name!r}, which has no "
            "density; use a continuous one, or fix the parameter to a number"
        )
    if isinstance(dist, rv_continuous):
        arguments = [*value.args, *value.kwds.values()]
        if any(np.ndim(a) > 0 for a in arguments):
            raise TypeError(_several(expected, repr(dist.name)))
        if type(dist) is type(vonmises) and dist.name == "vonmises":
            # SciPy spreads it over the whole line, with infinite mass; this is one turn of it.
            return vonmises_line(*value.args, **value.kwds)
        return value
    module = getattr(type(value), "__module__", "")
    if module.startswith("scipy.stats") and all(hasattr(value, m) for m in _METHODS):
        return _read_variable(expected, value)
    if _is_multivariate(value):
        raise TypeError(
            f"{expected}; came {type(value).__name__}, a distribution of several variables; "
            "pass it alone as prior=, with the parameters' names, and not inside the dict"
        )
    if isinstance(value, type) and all(hasattr(value, m) for m in _METHODS):
        raise TypeError(
            f"{expected}; came the class {value.__name__} without its parameters; "
            f"make a random variable by calling it: {value.__name__}(...)"
        )
    raise TypeError(
        f"{expected}; came {type(value).__name__}, which is not one; "
        "use a univariate one such as scipy.stats.norm(0, 10)"
    )


def _read_variable(expected: str, variable: Any) -> Any:
    from scipy import stats

    kind = type(variable).__name__
    if any(c.__name__ == "DiscreteDistribution" for c in type(variable).__mro__):
        raise TypeError(
            f"{expected}; came the discrete distribution {kind!r}, which has no "
            "density; use a continuous one, or fix the parameter to a number"
        )
    if np.ndim(variable.icdf(0.5)) > 0:
        raise TypeError(_several(expected, repr(kind)))
    # Those that have a frozen equal are replaced by it, which is faster and has known families.
    if type(variable) is getattr(stats, "Normal", None) or kind == "StandardNormal":
        return stats.norm(loc=float(variable.mu), scale=float(variable.sigma))
    if type(variable) is getattr(stats, "Uniform", None):
        low, high = float(variable.a), float(variable.b)
        return stats.uniform(loc=low, scale=high - low)
    return RandomVariable(variable)


def _several(expected: str, what: str) -> str:
    return (
        f"{expected} of one variable; came {what} with array arguments; "
        "give each parameter of the model its own name and its own distribution"
    )


def _is_multivariate(value: Any) -> bool:
    names = {c.__name__ for c in type(value).__mro__}
    return bool(names & {"multi_rv_frozen", "multi_rv_generic"})


def shapes_of(frozen: Any) -> list[str]:
    """Return the names of a frozen distribution's shape parameters."""
    return [s for s in (frozen.dist.shapes or "").replace(" ", "").split(",") if s]


def arguments_of(frozen: Any) -> dict[str, Any]:
    """Return the arguments of a frozen distribution by name."""
    names = [*shapes_of(frozen), "loc", "scale"]
    return {**dict(zip(names, frozen.args, strict=False)), **frozen.kwds}


def describe(distribution: Any) -> str:
    """Write a distribution the way a person would: ``norm(loc=0, scale=10)``."""
    if isinstance(distribution, RandomVariable):
        return " ".join(str(distribution.variable).split())
    arguments = arguments_of(distribution)
    return f"{distribution.dist.name}({', '.join(f'{k}={v:.6g}' for k, v in arguments.items())})"
