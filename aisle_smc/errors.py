"""The exceptions a caller can act on; every other mistake is a ``ValueError`` or ``TypeError``."""

from __future__ import annotations

from collections.abc import Sequence


class AisleError(Exception):
    """Base of the exceptions raised by this package while work is under way."""


class DegenerateWeights(AisleError):
    """Every particle has weight zero.

    Attributes
    ----------
    t : int
        Time index at which it happened.
    ess : tuple of float
        Effective sample sizes of the last ten steps before, oldest first.
    """

    def __init__(self, message: str, *, t: int, ess: Sequence[float] = ()) -> None:
        super().__init__(message)
        self.t = t
        self.ess = tuple(ess)

    def __reduce__(self) -> tuple[object, ...]:
        return (_degenerate, (str(self), self.t, self.ess))


def _degenerate(message: str, t: int, ess: tuple[float, ...]) -> DegenerateWeights:
    return DegenerateWeights(message, t=t, ess=ess)
