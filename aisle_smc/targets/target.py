"""What a user hands over: a log-density, perhaps its gradient, and whether it takes batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

__all__ = ["Target", "as_target"]


@dataclass(frozen=True, slots=True)
class Target:
    """A log-density and what is known about it.

    Parameters
    ----------
    function : callable
        The log-density in nats, up to a constant.  It takes one vector of the parameters, or names
        them (``def f(mu, sigma)``), and returns one number; values beside it (``return log_p, a,
        b``) are kept as blobs.  Numba functions of one point, NumPy or torch functions of a batch
        (n, k) or of one point, and plain Python are told apart by calling them.
    gradient : callable, optional
        Its gradient, called the same way: k numbers in the order of the parameters for one point,
        shape (n, k) for a batch.  Torch functions need none.
    value_and_gradient : callable, optional
        Both in one call, ``(log_p, gradient)`` and then the blobs; instead of `gradient`.
    vectorized : bool, optional
        Whether the functions take batches; None (the default) tries it.

    Raises
    ------
    TypeError
        If a function is not callable or `vectorized` is not a bool.
    ValueError
        If both `gradient` and `value_and_gradient` are given.

    Examples
    --------
    >>> target = Target(lambda x: -0.5 * x @ x, gradient=lambda x: -x)
    >>> target.vectorized is None
    True
    """

    function: Callable[..., Any]
    _: KW_ONLY
    gradient: Callable[..., Any] | None = None
    value_and_gradient: Callable[..., Any] | None = None
    vectorized: bool | None = None

    def __post_init__(self) -> None:
        for name in ("function", "gradient", "value_and_gradient"):
            given = getattr(self, name)
            if not callable(given) and (given is not None or name == "function"):
                raise TypeError(
                    f"the {name} of a target must be callable; got {type(given).__name__}; "
                    "give a function of one vector of the parameters, or of the parameters by name"
                )
        if self.vectorized not in (None, True, False):
            raise TypeError(
                "vectorized must be True (the function takes a batch of shape (n, k)), False "
                f"(one point) or None (tried out); got {self.vectorized!r}"
            )
        if self.gradient is not None and self.value_and_gradient is not None:
            raise ValueError(
                "a target takes gradient or value_and_gradient; both came; leave one out"
            )


def as_target(target: Target | Callable[..., Any]) -> Target:
    """Return a target as it is, and a bare function as the target it stands for."""
    return target if isinstance(target, Target) else Target(target)
