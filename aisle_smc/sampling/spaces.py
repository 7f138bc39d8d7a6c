"""Coordinates in which a posterior is explored, and the density of the prior in them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.linalg.blas import dtrmm

from aisle_smc.arrays import Floats
from aisle_smc.coordinates import Coordinate
from aisle_smc.distributions import Distribution, Gaussian
from aisle_smc.normal_scores import Rotation
from aisle_smc.priors import Prior
from aisle_smc.sampling.scores import score

__all__ = [
    "AffineSpace",
    "BareSpace",
    "DistributionSpace",
    "PriorSpace",
    "Space",
    "WhiteSpace",
    "log_normal",
]

_LOG_2PI = math.log(2.0 * math.pi)


class Space(Protocol):
    """Coordinates z of the free parameters.

    The reference density is that of the prior in `z`; where there is none it is the Jacobian of
    the coordinates alone.
    """

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        ...

    @property
    def proper(self) -> bool:
        """Whether the reference is a probability density that can be sampled."""
        ...

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw coordinates from the reference."""
        ...

    def parameters(self, z: Floats) -> Floats:
        """Return the parameters that the target is called with, shape (n, k)."""
        ...

    def draws(self, z: Floats) -> Floats:
        """Return the free parameters, shape (n, d)."""
        ...

    def supported(self, z: Floats) -> npt.NDArray[np.bool_] | None:
        """Return where the target may be called, shape (n,), or None for everywhere."""
        ...

    def log_reference(self, z: Floats) -> Floats:
        """Return the log of the reference density, shape (n,), in nats."""
        ...

    def reference_score(self, z: Floats) -> Floats:
        """Return the gradient of the log of the reference density, shape (n, d)."""
        ...

    def pull_back(self, z: Floats, gradients: Floats) -> Floats:
        """Return gradients with respect to `z` of a function of the parameters."""
        ...


def log_normal(z: Floats) -> Floats:
    """Return the log-density of the standard normal distribution, shape (n,)."""
    return np.asarray(-0.5 * (np.einsum("ij,ij->i", z, z) + z.shape[1] * _LOG_2PI))


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorSpace:
    """Normal coordinates of independent priors: ``z_j = Phi^-1(F_j(theta_j))``.

    The reference is the standard normal distribution.

    Attributes
    ----------
    prior : Prior
        The priors by name.
    rotation : Rotation, optional
        How the circles of periodic parameters are turned.
    """

    prior: Prior
    rotation: Rotation | None = None

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return len(self.prior.free)

    @property
    def proper(self) -> bool:
        """Whether the reference can be sampled: it can."""
        return True

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw coordinates from the reference."""
        return rng.standard_normal((n, self.dim))

    def parameters(self, z: Floats) -> Floats:
        """Return all parameters, fixed and tied ones included, shape (n, k)."""
        return np.asarray(self.prior.with_constants(self.draws(z)))

    def draws(self, z: Floats) -> Floats:
        """Return the free parameters, shape (n, d)."""
        return np.asarray(self.prior.from_normal(self._scores(z)))

    def _scores(self, z: Floats) -> Floats:
        return z if self.rotation is None else self.rotation.undo(z)

    def supported(self, z: Floats) -> None:
        """Return None: the coordinates never leave the support."""
        return

    def log_reference(self, z: Floats) -> Floats:
        """Return the log of the standard normal density, shape (n,)."""
        return log_normal(z)

    def reference_score(self, z: Floats) -> Floats:
        """Return the gradient of the log of the reference density, shape (n, d)."""
        return -z

    def pull_back(self, z: Floats, gradients: Floats) -> Floats:
        """Return gradients with respect to `z` of a function of the parameters."""
        slopes = self.prior.normal_jacobian(self._scores(z))
        if self.rotation is not None:
            slopes = slopes * self.rotation.jacobian(z)
        return np.asarray(self.prior.gather(gradients) * slopes)


@dataclass(frozen=True, slots=True, kw_only=True)
class WhiteSpace:
    """Whitened coordinates of a normal prior: ``theta = mean + root z``.

    Attributes
    ----------
    prior : Gaussian
        The joint prior.
    """

    prior: Gaussian

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self.prior.dim

    @property
    def proper(self) -> bool:
        """Whether the reference can be sampled: it can."""
        return True

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw coordinates from the reference."""
        return rng.standard_normal((n, self.dim))

    def parameters(self, z: Floats) -> Floats:
        """Return the parameters, shape (n, d)."""
        return np.asarray(self.prior.mean + z @ self.prior.root.T)

    def draws(self, z: Floats) -> Floats:
        """Return the parameters, all of them free, shape (n, d)."""
        return self.parameters(z)

    def supported(self, z: Floats) -> None:
        """Return None: the coordinates never leave the support."""
        return

    def log_reference(self, z: Floats) -> Floats:
        """Return the log of the standard normal density, shape (n,)."""
        return log_normal(z)

    def reference_score(self, z: Floats) -> Floats:
        """Return the gradient of the log of the reference density, shape (n, d)."""
        return -z

    def pull_back(self, z: Floats, gradients: Floats) -> Floats:
        """Return gradients with respect to `z` of a function of the parameters."""
        return np.asarray(gradients @ self.prior.root)


@dataclass(frozen=True, slots=True, kw_only=True)
class DistributionSpace:
    """The parameters themselves, with a joint prior that is any distribution.

    Attributes
    ----------
    prior : Distribution
        The joint prior.
    """

    prior: Distribution

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self.prior.dim

    @property
    def proper(self) -> bool:
        """Whether the reference can be sampled: it can."""
        return True

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw coordinates from the reference."""
        return self.prior.sample(n, rng)

    def parameters(self, z: Floats) -> Floats:
        """Return the parameters, shape (n, d)."""
        return z

    def draws(self, z: Floats) -> Floats:
        """Return the parameters, all of them free, shape (n, d)."""
        return z

    def supported(self, z: Floats) -> npt.NDArray[np.bool_]:
        """Return where the prior is positive, shape (n,)."""
        return np.asarray(self.log_reference(z) > -math.inf)

    def log_reference(self, z: Floats) -> Floats:
        """Return the log of the prior density, shape (n,)."""
        return self.prior.log_density(z)

    def reference_score(self, z: Floats) -> Floats:
        """Return the gradient of the log of the prior density, by central differences."""
        return score(self.prior, z)

    def pull_back(self, z: Floats, gradients: Floats) -> Floats:
        """Return the gradients: the coordinates are the parameters."""
        return gradients


@dataclass(frozen=True, slots=True, kw_only=True)
class BareSpace:
    """Unconstrained coordinates of a density without a prior.

    Attributes
    ----------
    coordinates : tuple of Coordinate
        One for each parameter, with its bounds.
    """

    coordinates: tuple[Coordinate, ...]

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return len(self.coordinates)

    @property
    def proper(self) -> bool:
        """Whether the reference can be sampled: it cannot."""
        return False

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Raise: there is no prior to draw from."""
        raise ValueError("a density without a prior has no reference to draw from")

    def parameters(self, z: Floats) -> Floats:
        """Return the parameters, shape (n, d)."""
        columns = [c.constrain(z[:, j]) for j, c in enumerate(self.coordinates)]
        return np.stack(columns, axis=1)

    def draws(self, z: Floats) -> Floats:
        """Return the parameters, all of them free, shape (n, d)."""
        return self.parameters(z)

    def coordinates_of(self, theta: Floats) -> Floats:
        """Return the coordinates of parameters inside their bounds."""
        columns = [c.unconstrain(theta[:, j]) for j, c in enumerate(self.coordinates)]
        return np.stack(columns, axis=1)

    def supported(self, z: Floats) -> None:
        """Return None: the coordinates never leave the support."""
        return

    def log_reference(self, z: Floats) -> Floats:
        """Return the log of the Jacobian, shape (n,)."""
        total = np.zeros(z.shape[0])
        for j, c in enumerate(self.coordinates):
            total += c.log_jacobian(z[:, j])
        return total

    def reference_score(self, z: Floats) -> Floats:
        """Return the gradient of the log of the Jacobian, shape (n, d)."""
        out = np.empty_like(z)
        for j, c in enumerate(self.coordinates):
            match c.support:
                case "real line":
                    out[:, j] = 0.0
                case "above":
                    out[:, j] = 1.0
                case "below":
                    out[:, j] = -1.0
                case "interval":
                    out[:, j] = -np.tanh(0.5 * z[:, j])
        return out

    def pull_back(self, z: Floats, gradients: Floats) -> Floats:
        """Return gradients with respect to `z` of a function of the parameters."""
        slopes = [np.exp(c.log_jacobian(z[:, j])) for j, c in enumerate(self.coordinates)]
        return np.asarray(gradients * np.stack(slopes, axis=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class AffineSpace:
    """Coordinates of another space, moved and whitened: ``z = mean + root y``.

    Attributes
    ----------
    inner : Space
        The other space.
    mean : ndarray, shape (d,)
        The centre.
    root : ndarray, shape (d, d)
        Lower-triangular root of the covariance that becomes the identity.

    Notes
    -----
    One evaluation asks for the same coordinates several times, and in many dimensions the product
    with `root` is the dear part: the last one is kept.
    """

    inner: Space
    mean: Floats
    root: Floats
    _columns: Floats = field(init=False, repr=False, compare=False)
    _last: dict[str, Floats] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_columns", np.asfortranarray(self.root))

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return int(self.mean.size)

    @property
    def proper(self) -> bool:
        """Whether the reference can be sampled: not in these coordinates."""
        return False

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Raise: draw from the other space."""
        raise ValueError("draw from the space that was whitened")

    def parameters(self, z: Floats) -> Floats:
        """Return the parameters that the target is called with, shape (n, k)."""
        return self.inner.parameters(self.inside(z))

    def draws(self, z: Floats) -> Floats:
        """Return the free parameters, shape (n, d)."""
        return self.inner.draws(self.inside(z))

    def inside(self, z: Floats) -> Floats:
        """Return the coordinates of the other space, shape (n, d)."""
        if self._last.get("z") is not z:
            inside = dtrmm(1.0, self._columns, z.T, lower=1).T
            inside += self.mean
            self._last.update(z=z, inside=inside)
        return self._last["inside"]

    def supported(self, z: Floats) -> npt.NDArray[np.bool_] | None:
        """Return where the target may be called, shape (n,), or None for everywhere."""
        return self.inner.supported(self.inside(z))

    def log_reference(self, z: Floats) -> Floats:
        """Return the log of the reference density, shape (n,)."""
        log_det = float(np.log(np.diag(self.root)).sum())
        return np.asarray(self.inner.log_reference(self.inside(z)) + log_det)

    def reference_score(self, z: Floats) -> Floats:
        """Return the gradient of the log of the reference density, shape (n, d)."""
        return self.outside(self.inner.reference_score(self.inside(z)))

    def pull_back(self, z: Floats, gradients: Floats) -> Floats:
        """Return gradients with respect to `z` of a function of the parameters."""
        return self.outside(self.inner.pull_back(self.inside(z), gradients))

    def outside(self, slopes: Floats) -> Floats:
        """Return gradients by `z` from gradients by the coordinates of the other space."""
        return np.asarray(dtrmm(1.0, self._columns, slopes.T, trans_a=1, lower=1).T)
