"""The exceptions a caller can act on; every other mistake is a ``ValueError`` or ``TypeError``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


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


class BadDensity(AisleError):
    """A log-density or its gradient is not a number where it has to be one.

    Attributes
    ----------
    point : dict from str to float
        The parameters at which it happened.
    value : float
        What came: NaN or an infinity.
    """

    def __init__(self, message: str, *, point: Mapping[str, float], value: float) -> None:
        super().__init__(message)
        self.point = dict(point)
        self.value = value

    def __reduce__(self) -> tuple[object, ...]:
        return (_bad_density, (str(self), self.point, self.value))


class TargetFailed(AisleError):
    """The user's log-density raised an exception, which is the cause of this one.

    Attributes
    ----------
    point : dict from str to float
        The parameters at which it happened.
    """

    def __init__(self, message: str, *, point: Mapping[str, float]) -> None:
        super().__init__(message)
        self.point = dict(point)

    def __reduce__(self) -> tuple[object, ...]:
        return (_target_failed, (str(self), self.point))


def _degenerate(message: str, t: int, ess: tuple[float, ...]) -> DegenerateWeights:
    return DegenerateWeights(message, t=t, ess=ess)


def _bad_density(message: str, point: dict[str, float], value: float) -> BadDensity:
    return BadDensity(message, point=point, value=value)


def _target_failed(message: str, point: dict[str, float]) -> TargetFailed:
    return TargetFailed(message, point=point)
