"""How a filter proposes particles: from the model, by a look at the data, or by looking ahead."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Auxiliary", "Bootstrap", "Guided", "Proposal", "check_proposal"]


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Propose from the transition and weigh by the observation density.

    References
    ----------
    Gordon, Salmond and Smith (1993).
    """

    @property
    def guided(self) -> bool:
        """Whether particles come from the model's ``proposal``."""
        return False

    @property
    def auxiliary(self) -> bool:
        """Whether resampling looks ahead."""
        return False


@dataclass(frozen=True, slots=True)
class Guided:
    """Propose from the model's ``proposal``, which sees the observation.

    The weight is ``g(y | x) f(x | x_prev) / q(x | x_prev, y)``.

    References
    ----------
    Doucet, Godsill and Andrieu (2000).
    """

    @property
    def guided(self) -> bool:
        """Whether particles come from the model's ``proposal``."""
        return True

    @property
    def auxiliary(self) -> bool:
        """Whether resampling looks ahead."""
        return False


@dataclass(frozen=True, slots=True)
class Auxiliary:
    """Resample in proportion to ``w exp(log_lookahead)``, and divide that out afterwards.

    Parameters
    ----------
    proposal : Bootstrap or Guided
        How the particles then move.

    References
    ----------
    Pitt and Shephard (1999); Johansen and Doucet (2008).
    """

    proposal: Bootstrap | Guided = Bootstrap()

    @property
    def guided(self) -> bool:
        """Whether particles come from the model's ``proposal``."""
        return self.proposal.guided

    @property
    def auxiliary(self) -> bool:
        """Whether resampling looks ahead."""
        return True


Proposal = Bootstrap | Guided | Auxiliary


def check_proposal(value: object) -> None:
    """Raise unless `value` is one of the three proposals."""
    if not isinstance(value, Bootstrap | Guided | Auxiliary):
        raise TypeError(
            "proposal must be Bootstrap(), Guided() or Auxiliary(), the value and not the class; "
            f"got {value!r}"
        )
