"""A torch proposal at one datapoint as a distribution of NumPy arrays, without a copy on CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from aisle_smc.arrays import Array, Floats
from aisle_smc.distributions.protocol import check_draw, read_points, read_weighted, settle
from aisle_smc.neural.likelihood import MaximumLikelihood, seeded

__all__ = ["TorchProposal", "for_numpy"]

# A flow keeps a few kilobytes for each point it looks at.
ROWS = 2**15
_LIKELIHOOD = MaximumLikelihood()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TorchProposal:
    """A torch proposal, given one datapoint, as a :class:`~aisle_smc.distributions.Distribution`.

    Made by :func:`for_numpy`, or by ``proposal.as_distribution(x)``.

    Attributes
    ----------
    proposal : callable
        What gives the distribution of z: a module of this package, another module, or a function.
    x : object or None
        The datapoint, as `proposal` takes it, a batch of one; None where it takes none.
    dim : int
        Number of coordinates.
    likelihood : MaximumLikelihood
        How ``fit`` trains what has no formula.

    Notes
    -----
    It looks at the module and does not copy it: what the module learns later counts at once.
    Where the module is float64 and on the CPU, points and densities are the same memory on both
    sides; a float32 module computes in float32, and needs a copy.
    """

    proposal: Callable[..., Any]
    x: Any
    dim: int
    likelihood: MaximumLikelihood = _LIKELIHOOD

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw `n` independent points, shape (n, d).

        Torch draws with a state of its own, seeded from `rng`; its global one is left as it was.
        """
        check_draw(n, rng)
        with torch.no_grad():
            q = self._given()
            with seeded(int(rng.integers(2**63 - 1)), self._like()):
                drawn = [q.sample((min(ROWS, n - i),)) for i in range(0, n, ROWS)]
        return _joined(drawn).reshape(n, self.dim)

    def log_density(self, x: Floats) -> Floats:
        """Return the log-density of each row of `x`, shape (n,); -inf off the support."""
        points = read_points(x, self.dim)
        with torch.no_grad():
            q, like = self._given(), self._like()
            ahead = (1,) * len(q.batch_shape)
            event = tuple(q.event_shape)
            found = [
                q.log_prob(
                    torch.from_numpy(points[i : i + ROWS])
                    .to(device=like.device, dtype=like.dtype)
                    .reshape(-1, *ahead, *event)
                )
                for i in range(0, points.shape[0], ROWS)
            ]
        log_q = _joined(found) if found else np.empty(0)
        if log_q.size != points.shape[0]:
            raise ValueError(
                f"log_prob must give one value for each point, shape ({points.shape[0]},); got "
                f"{log_q.shape}; the last axis of z is the coordinates of one point"
            )
        return settle(log_q.reshape(-1), points)

    def fit(self, x: Floats, weights: Floats) -> TorchProposal:
        r"""Return the proposal trained on weighted points, by AISLE-KL.

        .. math:: \phi = \arg\max_\phi \sum_k W_k \log q_\phi(z_k \mid x)

        Parameters
        ----------
        x : ndarray, shape (n, d)
            Points z.
        weights : ndarray, shape (n,)
            Weights; zeros are allowed, and they need not sum to one.

        Returns
        -------
        TorchProposal
            Of a copy of the module; this one stays as it is.

        Raises
        ------
        TypeError
            If there is no module with parameters to train.
        ValueError
            If a shape is wrong, a weight is negative or NaN, or no weight is positive.

        Notes
        -----
        In closed form for Gaussian, Bernoulli and categorical proposals, by
        expectation-maximisation for Student-t ones and mixtures, by Adam for flows and other
        modules.  An amortised proposal is trained at its one datapoint, and forgets the others.
        """
        z, w = read_weighted(x, weights, self.dim)
        module = self.proposal
        if not isinstance(module, nn.Module) or not any(p.requires_grad for p in _all(module)):
            raise TypeError(
                f"{type(module).__name__} has no parameters to train and cannot be fitted; start "
                "from one of the proposals of aisle_smc.neural or from another torch module"
            )
        learnt = copy.deepcopy(module)
        part = getattr(learnt, "learner", learnt)
        start = getattr(part, "start_fit", None)
        if start is None or not start(z, w, self.x):
            self.likelihood.train(part, z, w, self.x)
        return replace(self, proposal=learnt)

    def _given(self) -> Any:
        return self.proposal() if self.x is None else self.proposal(self.x)

    def _like(self) -> Tensor:
        """Return a tensor of the precision and device that the proposal works in."""
        if isinstance(self.proposal, nn.Module):
            for each in _all(self.proposal):
                if each.is_floating_point():
                    return each
        with seeded(0, torch.empty(0)):
            drawn: Tensor = self._given().sample((1,))
        return drawn if drawn.is_floating_point() else torch.empty(0, device=drawn.device)


def for_numpy(
    proposal: Callable[..., Any],
    x: Any = None,
    *,
    likelihood: MaximumLikelihood = _LIKELIHOOD,
) -> TorchProposal:
    """Return a torch proposal, given one datapoint, as a distribution of NumPy arrays.

    Parameters
    ----------
    proposal : callable
        ``proposal(x)``, or ``proposal()`` without x, gives an object with ``sample(shape)``,
        ``log_prob(z)``, ``batch_shape`` and ``event_shape``, as torch's distributions have.
    x : object, optional
        The datapoint, a batch of one: ``data[i : i + 1]``.
    likelihood : MaximumLikelihood, optional
        How ``fit`` trains what has no formula.

    Returns
    -------
    TorchProposal

    Raises
    ------
    TypeError
        If the proposal gives no distribution of vectors, or needs an x.
    ValueError
        If there is more than one datapoint, or a part of the module is random or changes with the
        batch: dropout and batch normalisation that train.

    Examples
    --------
    >>> import numpy as np
    >>> from aisle_smc.neural import GaussianProposal, for_numpy
    >>> q = for_numpy(GaussianProposal(2))
    >>> q.log_density(np.zeros((1, 2))).round(3).tolist()
    [-1.838]
    """
    if isinstance(proposal, nn.Module):
        for name, part in proposal.named_modules():
            if part.training and isinstance(part, _DropoutNd | _BatchNorm):
                raise ValueError(
                    f"{type(part).__name__} at {name!r} is training, so that the proposal is "
                    "another one at each call; call proposal.eval() first"
                )
    with torch.no_grad():
        q = proposal() if x is None else proposal(x)
    event, batch = (tuple(getattr(q, a, (0, 0))) for a in ("event_shape", "batch_shape"))
    if not callable(getattr(q, "log_prob", None)) or len(event) > 1 or 0 in event:
        raise TypeError(
            "the proposal must give a distribution of vectors, event shape (d,), with sample and "
            f"log_prob; got {type(q).__name__} of event shape {event}"
        )
    if batch not in ((), (1,)):
        raise ValueError(
            f"there must be one datapoint, batch shape () or (1,); got {batch}; pass "
            "x[i : i + 1], or wrap coordinates in torch.distributions.Independent(q, 1)"
        )
    return TorchProposal(
        proposal=proposal, x=x, dim=event[0] if event else 1, likelihood=likelihood
    )


def _all(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _joined(parts: list[Tensor]) -> Array:
    """Return tensors one after another as float64; a single one is not copied if it need not."""
    whole = parts[0] if len(parts) == 1 else torch.cat(parts)
    return np.asarray(whole.detach().cpu().numpy(), dtype=np.float64)
