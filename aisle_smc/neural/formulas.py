r"""Formulas: an estimator is a rule from log-weights to coefficients, and four facts about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import torch
from torch import Tensor

from aisle_smc.arguments import check_count
from aisle_smc.neural import coefficients as c
from aisle_smc.neural.rows import Rows

__all__ = ["Estimator", "Formula", "Single", "grouped"]


class Single(Enum):
    """What an estimator is with a single particle."""

    MEANINGFUL = "meaningful"
    ZERO = "identically zero"
    NOISE = "noise of mean zero"
    UNDEFINED = "not defined"


class Estimator(Protocol):
    """What a surrogate asks of an estimator; a user's own object may satisfy it.

    Attributes
    ----------
    name : str
        What it is called in messages.
    needs_path, needs_score : bool
        Whether any path, or any score coefficient is not zero. Path coefficients need
        reparametrised draws.
    coupled : bool
        Whether the score coefficient is minus the path coefficient: the derivative of a function
        of the live log-weights.
    bounded : bool
        Whether the path coefficient is at most a constant times that of theta, so that one
        backward pass serves both.
    single : Single
        What becomes of it with one particle.
    auxiliary : int
        Number of further draws it needs, whose log-weights are the last.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def needs_path(self) -> bool: ...  # noqa: D102
    @property
    def needs_score(self) -> bool: ...  # noqa: D102
    @property
    def coupled(self) -> bool: ...  # noqa: D102
    @property
    def bounded(self) -> bool: ...  # noqa: D102
    @property
    def single(self) -> Single: ...  # noqa: D102
    @property
    def auxiliary(self) -> int: ...  # noqa: D102

    def rows(self, log_w: Tensor) -> Rows:
        """Return the coefficients for log-weights in nats, shape (K, ...)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """An estimator as a function of the log-weights with its parameters.

    Attributes
    ----------
    name, needs_path, needs_score, coupled, bounded, single, auxiliary
        As in :class:`Estimator`.
    rule : callable
        ``rule(log_w, **parameters) -> Rows``.
    parameters : tuple of (str, object)
        Names and values of the rule's parameters.
    groups : int
        Number of groups of particles that do not see each other; `single` is about such a group.
    """

    name: str
    rule: Callable[..., Rows]
    parameters: tuple[tuple[str, object], ...] = ()
    needs_path: bool = False
    needs_score: bool = False
    coupled: bool = False
    bounded: bool = False
    single: Single = Single.MEANINGFUL
    auxiliary: int = 0
    groups: int = 1

    def rows(self, log_w: Tensor) -> Rows:
        """Compute the coefficients.

        Parameters
        ----------
        log_w : Tensor, shape (K, ...)
            ``log gamma - log q`` at each draw, in nats; ``-inf`` is allowed. Each column of the
            further axes is a datapoint.

        Returns
        -------
        Rows
            In float64, detached; zero in a column without any weight.

        Raises
        ------
        TypeError
            If the log-weights are not real numbers.
        ValueError
            If a log-weight is NaN or ``+inf``, the estimator is not defined for this number of
            particles, or a coefficient is infinite.
        """
        if self.single is Single.UNDEFINED and log_w.ndim > 0 and log_w.shape[0] == 1:
            raise ValueError(
                f"{self.name!r} compares each particle with the others and is not defined for "
                "one; use at least 2 particles"
            )
        found = self.rule(log_w, **dict(self.parameters))
        bad = ~torch.isfinite(found.path + found.score)
        if bool(bad.any()):
            index = ", ".join(map(str, torch.argwhere(bad)[0].tolist()))
            raise ValueError(
                f"{self.name!r} has an infinite coefficient at log_w[{index}]: either the other "
                "particles have no weight at all, or a power of the weights overflows; use an "
                "estimator of bounded coefficients, such as 'aisle-kl'"
            )
        return found


def grouped(base: Estimator, *, groups: int) -> Formula:
    """Average an estimator over equal groups of the particles: M groups of K / M each.

    Parameters
    ----------
    base : Estimator
        Without auxiliary draws.
    groups : int
        The number M of groups, which divides the number of particles.

    Returns
    -------
    Formula
        Its ``log_evidence`` and ``weights`` are those of all particles together.

    Notes
    -----
    M groups multiply the signal-to-noise ratio by sqrt(M). A group without any weight contributes
    nothing.
    """
    check_count("groups", groups)
    if base.auxiliary:
        raise ValueError(f"{base.name!r} has auxiliary draws and cannot be grouped")
    return Formula(
        name=f"{base.name}, {groups} groups",
        rule=_grouped,
        parameters=(("base", base), ("groups", groups)),
        needs_path=base.needs_path,
        needs_score=base.needs_score,
        coupled=base.coupled,
        bounded=base.bounded,
        single=base.single,
        groups=groups,
    )


def _grouped(log_w: Tensor, *, base: Estimator, groups: int) -> Rows:
    return c.grouped(log_w, rule=base.rows, groups=groups)
