r"""What a proposal gives for data: distributions of z, one for each datapoint.

Draws have shape (K, N, d), axes (particle, datapoint, coordinate), and log-densities (K, N); a
proposal that does not look at data leaves N out.  All quack like torch's distributions.  Beyond
those they know their *path*: draws are :math:`z = h_\phi(e)` of noise e that knows nothing of
:math:`\phi`, and where h is invertible any z can be made to follow :math:`\phi`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = [
    "Conditional",
    "Diagonal",
    "Elliptical",
    "NormalNoise",
    "Place",
    "StudentNoise",
    "Triangular",
    "check_points",
    "follow",
]

Shape = tuple[int, ...]


class Conditional(Protocol):
    """What every proposal gives."""

    @property
    def batch_shape(self) -> Shape:
        """(N,), or () without data."""

    @property
    def event_shape(self) -> Shape:
        """(d,)."""

    @property
    def has_rsample(self) -> bool:
        """Whether draws follow the parameters: False where z is discrete."""

    @property
    def has_inverse(self) -> bool:
        """Whether `inverse` and `reattach` work."""

    def sample(self, shape: Shape = ()) -> Tensor:
        """Draw constants, shape (*shape, N, d)."""

    def rsample(self, shape: Shape = ()) -> Tensor:
        """Draw points that follow the parameters, shape (*shape, N, d)."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log-densities in nats, shape (*shape, N)."""

    def rsample_and_log_prob(self, shape: Shape = ()) -> tuple[Tensor, Tensor]:
        """Do both for less, with the gradients of ``log_prob(rsample(shape))``."""

    def inverse(self, z: Tensor) -> Tensor:
        """Return the noise that z is made of, whoever drew z."""

    def reattach(self, z: Tensor) -> Tensor:
        """Return the same values, following the parameters as if they were draws."""


def check_points(z: Tensor, batch: Shape, dim: int) -> None:
    """Raise unless `z` are points of `dim` numbers for a distribution of batch shape `batch`."""
    fits = z.ndim > 0 and z.shape[-1] == dim
    for have, want in zip(reversed(z.shape[:-1]), reversed(batch), strict=False):
        fits = fits and (have == want or 1 in (have, want))
    if not fits:
        axes = "(particle, datapoint, coordinate)" if batch else "(particle, coordinate)"
        wanted = ", ".join(map(str, ("K", *batch, dim)))
        raise ValueError(f"z must have shape ({wanted}), axes {axes}; got {tuple(z.shape)}")


def follow(z: Tensor, path: Tensor) -> Tensor:
    """Return the values of `z` with the gradients of `path`, which has these values too."""
    return z.detach() + (path - path.detach())


class Place(Protocol):
    """An affine map of standard noise to where a distribution is."""

    @property
    def location(self) -> Tensor:
        """Its centre, shape (*batch, d)."""

    def forward(self, e: Tensor) -> Tensor:
        """Return ``location + root e``."""

    def inverse(self, z: Tensor) -> Tensor:
        """Return ``root^-1 (z - location)``."""

    def log_det(self) -> Tensor:
        """Return ``log det root``, shape (*batch,)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Diagonal:
    """Independent coordinates.

    Attributes
    ----------
    location, scale : Tensor, shape (*batch, d)
        Centre, and positive scales.
    """

    location: Tensor
    scale: Tensor

    def forward(self, e: Tensor) -> Tensor:
        """Return ``location + scale e``."""
        return torch.addcmul(self.location, self.scale, e)

    def inverse(self, z: Tensor) -> Tensor:
        """Return ``(z - location) / scale``."""
        return (z - self.location) / self.scale

    def log_det(self) -> Tensor:
        """Return the sum of the log-scales."""
        return self.scale.log().sum(-1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Triangular:
    """Dependent coordinates.

    Attributes
    ----------
    location : Tensor, shape (*batch, d)
        Centre.
    root : Tensor, shape (*batch, d, d)
        Lower triangular with a positive diagonal.
    """

    location: Tensor
    root: Tensor

    def forward(self, e: Tensor) -> Tensor:
        """Return ``location + root e``."""
        return self.location + _columns(lambda c: self.root @ c, e, self.location.ndim)

    def inverse(self, z: Tensor) -> Tensor:
        """Return ``root^-1 (z - location)``."""
        solve = torch.linalg.solve_triangular
        centred = z - self.location
        return _columns(lambda c: solve(self.root, c, upper=False), centred, self.location.ndim)

    def log_det(self) -> Tensor:
        """Return the sum of the logarithms of the diagonal."""
        return self.root.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _columns(apply: Callable[[Tensor], Tensor], e: Tensor, ndim: int) -> Tensor:
    """Apply a matrix of shape (*batch, d, d) to points (*shape, *batch, d), all at once.

    As columns of one right-hand side: a product or a solve for each particle alone is slow.
    """
    lead = e.shape[: max(e.ndim - ndim, 0)]
    if not lead:
        return apply(e[..., None])[..., 0]
    out = apply(e.flatten(0, len(lead) - 1).movedim(0, -1)).movedim(-1, 0)
    return out.reshape(*lead, *out.shape[1:])


class Noise(Protocol):
    """A spherical distribution."""

    def draw(self, shape: Shape, like: Tensor) -> Tensor:
        """Draw noise of a shape (..., d), which follows its parameters if it has any."""

    def log_prob(self, e: Tensor) -> Tensor:
        """Return its log-density, shape (...,)."""

    @property
    def is_fixed(self) -> bool:
        """Whether it has no parameters to learn."""


@dataclass(frozen=True, slots=True)
class NormalNoise:
    """Standard normal noise."""

    @property
    def is_fixed(self) -> bool:
        """True."""
        return True

    def draw(self, shape: Shape, like: Tensor) -> Tensor:
        """Draw standard normal numbers."""
        return torch.randn(shape, dtype=like.dtype, device=like.device)

    def log_prob(self, e: Tensor) -> Tensor:
        """Return the log-density of d independent numbers."""
        return -0.5 * (e.square().sum(-1) + e.shape[-1] * math.log(2.0 * math.pi))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudentNoise:
    r"""Standard multivariate Student-t noise, :math:`e \sqrt{\nu / \chi^2_\nu}`.

    Attributes
    ----------
    df : Tensor, shape (*batch,)
        Degrees of freedom :math:`\nu`.
    is_fixed : bool
        Whether they are constants.

    Notes
    -----
    The gradient of a draw with respect to `df` is torch's implicit one of the gamma
    distribution, which is right to about 1e-4 of itself.
    """

    df: Tensor
    is_fixed: bool

    def draw(self, shape: Shape, like: Tensor) -> Tensor:
        """Draw Student-t vectors."""
        e = torch.randn(shape, dtype=like.dtype, device=like.device)
        half = (0.5 * self.df).expand(shape[:-1])
        return e * torch.sqrt(half / torch._standard_gamma(half))[..., None]

    def log_prob(self, e: Tensor) -> Tensor:
        """Return the log-density."""
        df, d = self.df, e.shape[-1]
        constant = torch.lgamma(0.5 * (df + d)) - torch.lgamma(0.5 * df)
        constant = constant - 0.5 * d * torch.log(df * math.pi)
        return constant - 0.5 * (df + d) * torch.log1p(e.square().sum(-1) / df)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Elliptical:
    r"""Spherical noise moved and scaled: Gaussian and Student-t distributions.

    .. math:: z = m + L e, \qquad \log q(z) = \log p(L^{-1}(z - m)) - \log \det L

    Attributes
    ----------
    place : Place
        Centre m and root L.
    noise : Noise
        The density p of e.
    """

    place: Place
    noise: Noise

    @property
    def batch_shape(self) -> Shape:
        """(N,), or () without data."""
        return tuple(self.place.location.shape[:-1])

    @property
    def event_shape(self) -> Shape:
        """(d,)."""
        return tuple(self.place.location.shape[-1:])

    @property
    def has_rsample(self) -> bool:
        """True."""
        return True

    @property
    def has_inverse(self) -> bool:
        """Whether the noise has no parameters of its own."""
        return self.noise.is_fixed

    def sample(self, shape: Shape = ()) -> Tensor:
        """Draw constants, shape (*shape, N, d)."""
        with torch.no_grad():
            return self.rsample(shape)

    def rsample(self, shape: Shape = ()) -> Tensor:
        """Draw points that follow the parameters, shape (*shape, N, d)."""
        return self.place.forward(self._draw(shape))

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log-densities in nats, shape (*shape, N)."""
        check_points(z, self.batch_shape, self.event_shape[0])
        return self.noise.log_prob(self.place.inverse(z)) - self.place.log_det()

    def rsample_and_log_prob(self, shape: Shape = ()) -> tuple[Tensor, Tensor]:
        """Do both; the density comes from the noise, with nothing solved."""
        e = self._draw(shape)
        return self.place.forward(e), self.noise.log_prob(e) - self.place.log_det()

    def inverse(self, z: Tensor) -> Tensor:
        """Return the noise ``L^-1 (z - m)``."""
        self._check_inverse()
        check_points(z, self.batch_shape, self.event_shape[0])
        return self.place.inverse(z)

    def forward(self, noise: Tensor) -> Tensor:
        """Return ``m + L noise``."""
        self._check_inverse()
        return self.place.forward(noise)

    def reattach(self, z: Tensor) -> Tensor:
        """Return the same values, following the parameters as if they were draws."""
        return follow(z, self.forward(self.inverse(z).detach()))

    def _draw(self, shape: Shape) -> Tensor:
        location = self.place.location
        return self.noise.draw((*shape, *location.shape), location)

    def _check_inverse(self) -> None:
        if not self.has_inverse:
            raise TypeError(
                "a Student-t distribution whose degrees of freedom are learnt has no inverse: its "
                "noise has a parameter; fix df, or use the score form"
            )
