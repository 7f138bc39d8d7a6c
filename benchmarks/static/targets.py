"""Targets with a known evidence: a proper prior, a log-likelihood in several dialects, log Z.

The evidence of every target is

    Z = integral of p(x) L(x) dx,   p the prior of the target, a product of uniforms or of normals.

`load("rospair-10")` returns one target; `NAMES` lists all of them and `EXACT` those whose log Z is
known to 1e-5 or better.  Only NumPy is imported here, so that every environment can load a target:
numba, torch, jax and SciPy are imported by the methods that need them.

The log-likelihood is written once for whole arrays, `batch(xp)(x)` with `xp` the module numpy,
torch or jax.numpy and `x` of shape (..., d), and once more as a loop over one row for numba.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray
Likelihood = Callable[[Any], Any]

LOG_2PI = math.log(2.0 * math.pi)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Box:
    """Independent uniforms on [low_j, high_j]."""

    low: Array
    high: Array

    def scipy(self) -> list[Any]:
        from scipy.stats import uniform

        return [uniform(a, b - a) for a, b in zip(self.low, self.high, strict=True)]

    def from_unit(self, u: Array) -> Array:
        return self.low + (self.high - self.low) * u

    def log_density(self, xp: Any) -> Likelihood:
        low, high = xp.asarray(self.low), xp.asarray(self.high)
        inside = -float(np.log(self.high - self.low).sum())

        def log_prior(x: Any) -> Any:
            out = (x < low) | (x > high)
            return xp.where(out.any(-1), -math.inf, inside)

        return log_prior


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Normals:
    """Independent normals N(mean_j, sd_j^2)."""

    mean: Array
    sd: Array

    def scipy(self) -> list[Any]:
        from scipy.stats import norm

        return [norm(m, s) for m, s in zip(self.mean, self.sd, strict=True)]

    def from_unit(self, u: Array) -> Array:
        from scipy.special import ndtri

        return self.mean + self.sd * ndtri(u)

    def log_density(self, xp: Any) -> Likelihood:
        mean, sd = xp.asarray(self.mean), xp.asarray(self.sd)
        constant = -float(np.log(self.sd).sum()) - 0.5 * self.sd.size * LOG_2PI

        def log_prior(x: Any) -> Any:
            return constant - 0.5 * (((x - mean) / sd) ** 2).sum(-1)

        return log_prior


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """A prior, a log-likelihood and the log-evidence of the two.

    `log_evidence_error` is the standard error of the reference value, 0 where it is exact to 1e-5;
    `mean` is the posterior mean where it is known; `note` says what is integrated.
    """

    name: str
    prior: Box | Normals
    log_evidence: float
    batch: Callable[[Any], Likelihood]
    row: Callable[[Callable[..., Any]], Likelihood] | None = None
    log_evidence_error: float = 0.0
    mean: Array | None = None
    note: str = ""

    @property
    def d(self) -> int:
        return int(self.prior.from_unit(np.array(0.5)).size)

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(f"x{j}" for j in range(self.d))

    def scipy_prior(self) -> dict[str, Any]:
        """Return the prior as a dict from parameter names to SciPy frozen distributions."""
        return dict(zip(self.parameters, self.prior.scipy(), strict=True))

    def dialects(self) -> tuple[str, ...]:
        compiled = ("compiled",) if self.row is not None else ()
        return (*compiled, "vectorised", "python", "torch")

    def log_likelihood(self, dialect: str) -> Likelihood:
        """Return the log-likelihood as a function of one argument in one of the dialects.

        `compiled`: a numba function of one row; `vectorised`: NumPy, (n, d) to (n,); `python`: one
        row to a float; `torch`: a tensor (n, d) to a tensor (n,), differentiable; `jax`: (..., d)
        to (...), differentiable.
        """
        if dialect == "compiled":
            if self.row is None:
                raise ValueError(
                    f"expected one of the dialects {', '.join(self.dialects())} for {self.name}; "
                    "came 'compiled', which it does not have; take 'vectorised'"
                )
            from numba import njit

            return self.row(njit(nogil=True))
        if dialect == "torch":
            return _tensors(self.batch)
        if dialect == "jax":
            import jax.numpy

            return self.batch(jax.numpy)
        vectorised = self.batch(np)
        return vectorised if dialect == "vectorised" else _python(vectorised)


def _python(vectorised: Likelihood) -> Likelihood:
    def log_likelihood(theta: Array) -> float:
        return float(vectorised(np.asarray(theta)))

    return log_likelihood


def _tensors(batch: Callable[[Any], Likelihood]) -> Likelihood:
    import torch

    function = batch(torch)

    def log_likelihood(theta: Any) -> Any:
        return function(torch.as_tensor(theta))

    return log_likelihood


def cube(low: float, high: float, d: int) -> Box:
    return Box(low=np.full(d, low), high=np.full(d, high))


def normals(sd: float, d: int) -> Normals:
    return Normals(mean=np.zeros(d), sd=np.full(d, sd))


def rospair(d: int, log_evidence: float) -> Target:
    def batch(xp: Any) -> Likelihood:
        def log_likelihood(theta: Any) -> Any:
            x, y = theta[..., 0::2], theta[..., 1::2]
            return -(10.0 * (x * x - y) ** 2 + (x - 1.0) ** 2).sum(-1)

        return log_likelihood

    def row(jit: Callable[..., Any]) -> Likelihood:
        @jit
        def log_likelihood(theta):
            total = 0.0
            for i in range(0, theta.size, 2):
                x, y = theta[i], theta[i + 1]
                total -= 10.0 * (x * x - y) ** 2 + (x - 1.0) ** 2
            return total

        return log_likelihood

    return Target(
        name=f"rospair-{d}",
        prior=cube(-10.0, 10.0, d),
        log_evidence=log_evidence,
        batch=batch,
        row=row,
        note="d/2 independent Rosenbrock pairs; L is not normalised",
    )


def shells(d: int, log_evidence: float) -> Target:
    radius, width, centre = 2.0, 0.1, 3.5
    constant = -0.5 * math.log(2.0 * math.pi * width**2)
    precision = 0.5 / width**2

    def batch(xp: Any) -> Likelihood:
        def log_likelihood(theta: Any) -> Any:
            rest = (theta[..., 1:] ** 2).sum(-1)
            left = xp.sqrt((theta[..., 0] + centre) ** 2 + rest) - radius
            right = xp.sqrt((theta[..., 0] - centre) ** 2 + rest) - radius
            return constant + xp.logaddexp(-precision * left**2, -precision * right**2)

        return log_likelihood

    def row(jit: Callable[..., Any]) -> Likelihood:
        @jit
        def log_likelihood(theta):
            rest = 0.0
            for j in range(1, theta.size):
                rest += theta[j] * theta[j]
            left = -precision * (math.sqrt((theta[0] + centre) ** 2 + rest) - radius) ** 2
            right = -precision * (math.sqrt((theta[0] - centre) ** 2 + rest) - radius) ** 2
            return constant + max(left, right) + math.log1p(math.exp(-abs(left - right)))

        return log_likelihood

    return Target(
        name=f"shells-{d}",
        prior=cube(-6.0, 6.0, d),
        log_evidence=log_evidence,
        batch=batch,
        row=row,
        note="two shells of radius 2 and width 0.1 around (+-3.5, 0, ...)",
    )


def log_gamma(d: int) -> Target:
    scale = 1.0 / 30.0
    split = (d + 2) // 2
    log_scale, half = math.log(scale), math.log(0.5)

    def batch(xp: Any) -> Likelihood:
        def gamma(x: Any, location: float) -> Any:
            z = (x - location) / scale
            return z - xp.exp(z) - log_scale

        def normal(x: Any, location: float) -> Any:
            return -0.5 * ((x - location) / scale) ** 2 - log_scale - 0.5 * LOG_2PI

        def log_likelihood(theta: Any) -> Any:
            a, b = theta[..., 0], theta[..., 1]
            return (
                2.0 * half
                + xp.logaddexp(gamma(a, 1.0 / 3.0), gamma(a, 2.0 / 3.0))
                + xp.logaddexp(normal(b, 1.0 / 3.0), normal(b, 2.0 / 3.0))
                + gamma(theta[..., 2:split], 2.0 / 3.0).sum(-1)
                + normal(theta[..., split:], 2.0 / 3.0).sum(-1)
            )

        return log_likelihood

    def row(jit: Callable[..., Any]) -> Likelihood:
        @jit
        def add(a, b):
            return max(a, b) + math.log1p(math.exp(-abs(a - b)))

        @jit
        def gamma(x, location):
            z = (x - location) / scale
            return z - math.exp(z) - log_scale

        @jit
        def normal(x, location):
            z = (x - location) / scale
            return -0.5 * z * z - log_scale - 0.5 * LOG_2PI

        @jit
        def log_likelihood(theta):
            total = 2.0 * half
            total += add(gamma(theta[0], 1.0 / 3.0), gamma(theta[0], 2.0 / 3.0))
            total += add(normal(theta[1], 1.0 / 3.0), normal(theta[1], 2.0 / 3.0))
            for j in range(2, split):
                total += gamma(theta[j], 2.0 / 3.0)
            for j in range(split, theta.size):
                total += normal(theta[j], 2.0 / 3.0)
            return total

        return log_likelihood

    return Target(
        name=f"loggamma-{d}",
        prior=cube(0.0, 1.0, d),
        log_evidence=-2.27e-5,
        batch=batch,
        row=row,
        note="a density in x, less what lies outside the unit cube",
    )


def correlated_funnel(d: int = 20, log_evidence: float = -0.000381) -> Target:
    m, rho = d - 1, 0.95
    pull = rho / (1.0 - rho + rho * m)
    log_det = (m - 1) * math.log(1.0 - rho) + math.log(1.0 - rho + rho * m)
    constant = d * (math.log(20.0) - 0.5 * LOG_2PI) - 0.5 * log_det

    def batch(xp: Any) -> Likelihood:
        def log_likelihood(theta: Any) -> Any:
            x = 20.0 * (theta - 0.5)
            t, x = x[..., 0], x[..., 1:]
            square = ((x * x).sum(-1) - pull * x.sum(-1) ** 2) / (1.0 - rho)
            return constant - 0.5 * (t * t + m * t + xp.exp(-t) * square)

        return log_likelihood

    def row(jit: Callable[..., Any]) -> Likelihood:
        @jit
        def log_likelihood(theta):
            t = 20.0 * (theta[0] - 0.5)
            total, squares = 0.0, 0.0
            for j in range(1, theta.size):
                x = 20.0 * (theta[j] - 0.5)
                total += x
                squares += x * x
            square = (squares - pull * total * total) / (1.0 - rho)
            return constant - 0.5 * (t * t + m * t + math.exp(-t) * square)

        return log_likelihood

    return Target(
        name=f"corr-funnel-{d}",
        prior=cube(0.0, 1.0, d),
        log_evidence=log_evidence,
        batch=batch,
        row=row,
        note="x = 20 (u - 1/2): t ~ N(0, 1), the rest N(0, e^t R), R with 0.95 off the diagonal; "
        "a density in u, less what lies outside the cube",
    )


def funnel(d: int = 10) -> Target:
    reference = 100.0
    prior = Normals(mean=np.zeros(d), sd=np.array([3.0] + [reference] * (d - 1)))
    precision, constant = reference**-2, (d - 1) * math.log(reference)

    def batch(xp: Any) -> Likelihood:
        def log_likelihood(theta: Any) -> Any:
            v = theta[..., 0]
            square = (theta[..., 1:] ** 2).sum(-1)
            return constant - 0.5 * ((d - 1) * v + (xp.exp(-v) - precision) * square)

        return log_likelihood

    def row(jit: Callable[..., Any]) -> Likelihood:
        @jit
        def log_likelihood(theta):
            square = 0.0
            for j in range(1, theta.size):
                square += theta[j] * theta[j]
            v = theta[0]
            return constant - 0.5 * ((d - 1) * v + (math.exp(-v) - precision) * square)

        return log_likelihood

    return Target(
        name=f"funnel-{d}",
        prior=prior,
        log_evidence=0.0,
        batch=batch,
        row=row,
        note="prior v ~ N(0, 3^2) and x_i ~ N(0, 100^2), L = prod_i N(x_i; 0, e^v) / N(x_i; 0, "
        "100^2), so that p L is the funnel on all of R^d",
    )


def many_well(d: int = 32, log_evidence: float = 164.695675) -> Target:
    side = 6.0
    constant = d * math.log(2.0 * side)

    def batch(xp: Any) -> Likelihood:
        def log_likelihood(theta: Any) -> Any:
            x, y = theta[..., 0::2], theta[..., 1::2]
            square = x * x
            return constant + (square * (6.0 - square) + 0.5 * x - 0.5 * y * y).sum(-1)

        return log_likelihood

    def row(jit: Callable[..., Any]) -> Likelihood:
        @jit
        def log_likelihood(theta):
            total = constant
            for i in range(0, theta.size, 2):
                x, y = theta[i], theta[i + 1]
                square = x * x
                total += square * (6.0 - square) + 0.5 * x - 0.5 * y * y
            return total

        return log_likelihood

    return Target(
        name=f"many-well-{d}",
        prior=cube(-side, side, d),
        log_evidence=log_evidence,
        batch=batch,
        row=row,
        note="L is the unnormalised density times 12^d on [-6, 6]^d, which holds all but 1e-7",
    )


def boundary(d: int = 4, rate: float = 20.0) -> Target:
    def batch(xp: Any) -> Likelihood:
        return lambda theta: -rate * theta.sum(-1)

    def row(jit: Callable[..., Any]) -> Likelihood:
        @jit
        def log_likelihood(theta):
            total = 0.0
            for j in range(theta.size):
                total += theta[j]
            return -rate * total

        return log_likelihood

    lost = math.exp(-rate)
    return Target(
        name=f"boundary-{d}",
        prior=cube(0.0, 1.0, d),
        log_evidence=d * math.log((1.0 - lost) / rate),
        batch=batch,
        row=row,
        mean=np.full(d, 1.0 / rate - lost / (1.0 - lost)),
        note="L = exp(-20 sum u): the mass lies against the bounds",
    )


def half(d: int = 4) -> Target:
    """Return a Gaussian likelihood that is zero where x_0 < 0, half of the prior."""

    def batch(xp: Any) -> Likelihood:
        def log_likelihood(theta: Any) -> Any:
            inside = -2.0 * ((theta - 1.0) ** 2).sum(-1)
            return xp.where(theta[..., 0] > 0.0, inside, -math.inf)

        return log_likelihood

    def row(jit: Callable[..., Any]) -> Likelihood:
        @jit
        def log_likelihood(theta):
            if theta[0] <= 0.0:
                return -np.inf
            total = 0.0
            for j in range(theta.size):
                total -= 2.0 * (theta[j] - 1.0) ** 2
            return total

        return log_likelihood

    # Posterior of one coordinate without the cut: N(4/5, 1/5).
    cut = 0.8 / math.sqrt(0.2)
    kept = 0.5 * math.erfc(-cut / math.sqrt(2.0))
    mean = np.full(d, 0.8)
    mean[0] += math.sqrt(0.2) * math.exp(-0.5 * (cut * cut + LOG_2PI)) / kept
    return Target(
        name=f"half-{d}",
        prior=normals(1.0, d),
        log_evidence=d * (0.5 * math.log(0.2) - 0.4) + math.log(kept),
        batch=batch,
        row=row,
        mean=mean,
        note="prior N(0, I), L = exp(-2 sum (x - 1)^2) where x_0 > 0 and zero elsewhere",
    )


SYNTHETIC: dict[str, Callable[[], Target]] = {
    "rospair-10": lambda: rospair(10, -29.995788),
    "rospair-16": lambda: rospair(16, -47.993261),
    "rospair-20": lambda: rospair(20, -59.991576),
    "shells-2": lambda: shells(2, -1.745642),
    "shells-10": lambda: shells(10, -14.590491),
    "shells-30": lambda: shells(30, -60.127767),
    "loggamma-10": lambda: log_gamma(10),
    "loggamma-30": lambda: log_gamma(30),
    "corr-funnel-20": correlated_funnel,
    "funnel-10": funnel,
    "many-well-32": many_well,
    "boundary-4": boundary,
    "half-4": half,
}
MIXTURES = ("gmm-40-torch", "gmm-40-jax")
REAL = ("ionosphere", "sonar", "german-credit", "lgcp-1600")
EXACT = (*SYNTHETIC, *MIXTURES)
NAMES = (*EXACT, *REAL)


def load(name: str) -> Target:
    """Return a target by name; those of `MIXTURES` and `REAL` read the shared data."""
    if name in SYNTHETIC:
        return SYNTHETIC[name]()
    if name not in NAMES:
        raise ValueError(f"expected one of {', '.join(NAMES)}; came {name!r}; correct the name")
    from data_targets import FROM_DATA

    return FROM_DATA[name]()
