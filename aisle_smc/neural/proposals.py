"""Proposals that look at data: modules that turn x into distributions of z."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from aisle_smc.arrays import Floats
from aisle_smc.neural.amortised import AmortisedProposal, inverse_softplus, positive
from aisle_smc.neural.conditionals import (
    Diagonal,
    Elliptical,
    NormalNoise,
    Place,
    StudentNoise,
    Triangular,
)
from aisle_smc.neural.encoders import Head
from aisle_smc.neural.maximisers import (
    fit_gaussian,
    fit_mixture,
    fit_student,
)
from aisle_smc.neural.mixtures import GaussianMixture

__all__ = [
    "GaussianProposal",
    "MixtureProposal",
    "StudentTProposal",
]

Covariance = Literal["diagonal", "full"]
# Learnt degrees of freedom stay above this; with fewer no mean exists.
LEAST_DF = 1.0


class GaussianProposal(AmortisedProposal):
    r"""A Gaussian :math:`N(m(x), L(x) L(x)^\top)`.

    Parameters
    ----------
    dim : int
        Number d of coordinates of z.
    encoder : int or Module, optional
        The number of features of x, for a default :class:`MLP`; or a module of one's own, whose
        output (N, width) a linear layer turns into parameters.  None for a proposal that does not
        look at data.
    width : int, optional
        What a module of one's own gives; by default its attribute ``width``.
    covariance : str
        ``"diagonal"``, or ``"full"`` for a triangular root L.
    scale : float
        Standard deviations before training; the means are 0.
    floor : float
        What standard deviations (the diagonal of L) stay above: ``floor + softplus(raw)``.

    Examples
    --------
    >>> import torch
    >>> q = GaussianProposal(2, encoder=5)(torch.zeros(10, 5))
    >>> q.rsample((4,)).shape, q.log_prob(torch.zeros(4, 10, 2)).shape
    (torch.Size([4, 10, 2]), torch.Size([4, 10]))
    """

    def __init__(
        self,
        dim: int,
        encoder: int | nn.Module | None = None,
        *,
        width: int | None = None,
        covariance: Covariance = "diagonal",
        scale: float = 1.0,
        floor: float = 1e-3,
    ) -> None:
        super().__init__(dim)
        _check_scales(scale, floor, covariance)
        self.covariance, self.floor = covariance, floor
        self.head = Head(_start(dim, covariance, scale, floor), encoder, width)

    def forward(self, x: Tensor | None = None) -> Elliptical:
        """Return the Gaussians given data, see :class:`AmortisedProposal`."""
        return Elliptical(place=_place(self.head(x), self.dim, self.floor), noise=NormalNoise())

    def start_fit(self, z: Floats, weights: Floats, x: Tensor | None) -> bool:
        """Take the weighted mean and covariance."""
        mean, root = fit_gaussian(z, weights, full=self.covariance == "full")
        self.head.move_to(_raw(mean, root, self.covariance, self.floor, self.head.bias), x)
        return True


class StudentTProposal(AmortisedProposal):
    r"""A multivariate Student-t distribution of centre m(x), root L(x) and :math:`\nu(x)`.

    Parameters
    ----------
    dim, encoder, width, covariance, floor
        As for :class:`GaussianProposal`; `floor` is that of the scales.
    df : float, optional
        Degrees of freedom :math:`\nu`; learnt by default, above 1, from 5 on.
    scale : float
        Scales before training.

    Notes
    -----
    One chi-square is shared by all coordinates of a point.  With `df` fixed it is invertible; with
    `df` learnt the gradient of `df` along a path is right to about 1e-4 of itself, a limit of
    torch, and exact in the score forms.
    """

    def __init__(
        self,
        dim: int,
        encoder: int | nn.Module | None = None,
        *,
        width: int | None = None,
        df: float | None = None,
        covariance: Covariance = "diagonal",
        scale: float = 1.0,
        floor: float = 1e-3,
    ) -> None:
        super().__init__(dim)
        _check_scales(scale, floor, covariance)
        if df is not None and not 0.0 < df < math.inf:
            raise ValueError(f"df must be positive and finite; got {df}; or use GaussianProposal")
        self.covariance, self.floor, self.df = covariance, floor, df
        initial = _start(dim, covariance, scale, floor)
        if df is None:
            initial = torch.cat([initial, inverse_softplus(torch.tensor([5.0]), LEAST_DF)])
        self.head = Head(initial, encoder, width)

    def forward(self, x: Tensor | None = None) -> Elliptical:
        """Return the Student-t distributions given data, see :class:`AmortisedProposal`."""
        raw = self.head(x)
        if self.df is None:
            df, raw = positive(raw[..., -1], LEAST_DF), raw[..., :-1]
        else:
            df = raw.new_tensor(self.df)
        noise = StudentNoise(df=df, is_fixed=self.df is not None)
        return Elliptical(place=_place(raw, self.dim, self.floor), noise=noise)

    def start_fit(self, z: Floats, weights: Floats, x: Tensor | None) -> bool:
        """Run weighted expectation-maximisation."""
        full = self.covariance == "full"
        location, root, df = fit_student(z, weights, self.df, full=full, least_df=LEAST_DF)
        raw = _raw(location, root, self.covariance, self.floor, self.head.bias)
        if self.df is None:
            raw = torch.cat([raw, inverse_softplus(raw.new_tensor([df]), LEAST_DF)])
        self.head.move_to(raw, x)
        return True


class MixtureProposal(AmortisedProposal):
    """A mixture of Gaussians with independent coordinates.

    Parameters
    ----------
    dim, encoder, width, floor
        As for :class:`GaussianProposal`.
    parts : int
        Number C of parts.
    spread : float
        Standard deviation of the centres before training, which are random: parts that are all
        the same would stay so.
    scale : float
        Standard deviations of the parts before training.

    Notes
    -----
    Draws follow all parameters exactly, the probabilities of the parts included, by implicit
    reparametrisation: see :class:`GaussianMixture`.
    """

    def __init__(
        self,
        dim: int,
        encoder: int | nn.Module | None = None,
        *,
        parts: int,
        width: int | None = None,
        spread: float = 1.0,
        scale: float = 1.0,
        floor: float = 1e-3,
    ) -> None:
        super().__init__(dim)
        _check_scales(scale, floor, "diagonal")
        if isinstance(parts, bool) or not isinstance(parts, int) or parts < 1:
            raise ValueError(f"parts must be a number of parts, 1 or more; got {parts!r}")
        self.parts, self.floor = parts, floor
        raw_scale = inverse_softplus(torch.full((parts * dim,), float(scale)), floor)
        centres = spread * torch.randn(parts * dim)
        self.head = Head(torch.cat([torch.zeros(parts), centres, raw_scale]), encoder, width)

    def forward(self, x: Tensor | None = None) -> GaussianMixture:
        """Return the mixtures given data, see :class:`AmortisedProposal`."""
        raw = self.head(x)
        logits, table = raw[..., : self.parts], raw[..., self.parts :]
        table = table.unflatten(-1, (2, self.parts, self.dim))
        return GaussianMixture(
            log_weights=torch.log_softmax(logits, -1),
            location=table[..., 0, :, :],
            scale=positive(table[..., 1, :, :], self.floor),
        )

    def start_fit(self, z: Floats, weights: Floats, x: Tensor | None) -> bool:
        """Run weighted expectation-maximisation."""
        with torch.no_grad():
            q = self(x)
            present = tuple(
                each.reshape(shape).double().cpu().numpy()
                for each, shape in (
                    (q.log_weights.exp(), (self.parts,)),
                    (q.location, (self.parts, self.dim)),
                    (q.scale, (self.parts, self.dim)),
                )
            )
            shares, location, scale = fit_mixture(z, weights, present)
            raw_scale = inverse_softplus(torch.as_tensor(scale).flatten(), self.floor)
            raw = torch.cat(
                [torch.as_tensor(shares).log(), torch.as_tensor(location).flatten(), raw_scale]
            )
            self.head.move_to(raw.to(self.head.bias), x)
        return True


def _check_scales(scale: float, floor: float, covariance: str) -> None:
    if covariance not in ("diagonal", "full"):
        raise ValueError(f"covariance must be 'diagonal' or 'full'; got {covariance!r}")
    if not 0.0 < floor < scale < math.inf:
        raise ValueError(
            f"scale must be finite and above floor, which is positive; got scale {scale} and "
            f"floor {floor}"
        )


def _start(dim: int, covariance: Covariance, scale: float, floor: float) -> Tensor:
    """Return raw parameters of centre zero and equal scales."""
    rest = dim * (dim - 1) // 2 if covariance == "full" else 0
    raw_scale = inverse_softplus(torch.full((dim,), float(scale)), floor)
    return torch.cat([torch.zeros(dim), raw_scale, torch.zeros(rest)])


def _place(raw: Tensor, dim: int, floor: float) -> Place:
    """Return what raw parameters (..., p) stand for: centre, scales, and what is below them."""
    location, scale = raw[..., :dim], positive(raw[..., dim : 2 * dim], floor)
    if raw.shape[-1] == 2 * dim:
        return Diagonal(location=location, scale=scale)
    root = torch.diag_embed(scale)
    row, column = torch.tril_indices(dim, dim, offset=-1, device=raw.device)
    root[..., row, column] = raw[..., 2 * dim :]
    return Triangular(location=location, root=root)


def _raw(
    location: Floats, root: Floats, covariance: Covariance, floor: float, like: Tensor
) -> Tensor:
    """Return the raw parameters of a centre (d,) and a root (d, d)."""
    centre, factor = torch.as_tensor(location), torch.as_tensor(root)
    parts = [centre, inverse_softplus(factor.diagonal(), floor)]
    if covariance == "full":
        row, column = torch.tril_indices(factor.shape[0], factor.shape[1], offset=-1)
        parts.append(factor[row, column])
    return torch.cat(parts).to(like)
