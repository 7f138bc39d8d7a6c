"""All that a training is made of, as one value: kept in a file, and put back to the same bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

__all__ = ["Learner", "RandomStates", "Stateful", "learner"]


class Stateful(Protocol):
    """What a checkpoint can hold: modules, schedulers of learning rates, and the like."""

    def state_dict(self) -> Any:
        """Return the state."""
        ...

    def load_state_dict(self, state: Any, /) -> Any:
        """Take the state back."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomStates:
    """The states of the generators that a training draws from."""

    cpu: Tensor
    cuda: tuple[Tensor, ...]
    order: Mapping[str, Any]
    data: tuple[Tensor, ...]

    @classmethod
    def of(
        cls, order: np.random.Generator, device: torch.device, data: Sequence[torch.Generator]
    ) -> RandomStates:
        """Read the states of torch, of the generator that orders rows, and of the data's own."""
        return cls(
            cpu=torch.get_rng_state(),
            cuda=(torch.cuda.get_rng_state(device),) if device.type == "cuda" else (),
            order=order.bit_generator.state,
            data=tuple(each.get_state() for each in data),
        )

    def restore(
        self, order: np.random.Generator, device: torch.device, data: Sequence[torch.Generator]
    ) -> None:
        """Put the states back."""
        for each, state in zip(data, self.data, strict=True):
            each.set_state(state)
        torch.set_rng_state(self.cpu)
        for state in self.cuda if device.type == "cuda" else ():
            torch.cuda.set_rng_state(state, device)
        order.bit_generator.state = self.order


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """What changes while training.

    Attributes
    ----------
    optimisers : tuple of Optimizer
    modules : mapping of Module
        By name; they hold parameters and buffers.
    others : mapping of Stateful
        What else there is, by name.
    """

    optimisers: tuple[Optimizer, ...]
    modules: Mapping[str, nn.Module]
    others: Mapping[str, Stateful]

    @property
    def parameters(self) -> list[Tensor]:
        """The tensors that the optimisers change."""
        return [
            each
            for optimiser in self.optimisers
            for group in optimiser.param_groups
            for each in group["params"]
        ]

    @property
    def device(self) -> torch.device:
        """Where the first parameter is."""
        return self.parameters[0].device

    @property
    def made_of(self) -> str:
        """How many numbers, and optimisers of what settings, in words."""
        shapes = ", ".join(str(tuple(each.shape)) for each in self.parameters)
        settings = "; ".join(
            f"{type(optimiser).__name__} of {optimiser.defaults}" for optimiser in self.optimisers
        )
        return f"{settings}, for tensors of shape {shapes}"

    def check_gradients(self) -> None:
        """Raise if no parameter has a gradient, or one has some that is not finite."""
        found = [(i, at.grad) for i, at in enumerate(self.parameters) if at.grad is not None]
        if not found:
            raise ValueError(
                "at least one parameter of the optimisers must get a gradient; none did; build "
                "the optimisers from the parameters that log_joint and proposal use, after the "
                "modules have their final dtype and device"
            )
        are_finite = [torch.isfinite(_numbers(grad)).all().to(self.device) for _, grad in found]
        if bool(torch.stack(are_finite).all()):
            return
        i = found[next(j for j, fine in enumerate(are_finite) if not fine)][0]
        raise ValueError(
            f"gradients must be finite; that of {self._name(i)} is not; a formula that is not "
            "taken still has a gradient: mask its input and not its value, as in "
            "torch.where(z > 0, torch.log(torch.where(z > 0, z, 1.0)), 0.0)"
        )

    def _name(self, i: int) -> str:
        at = self.parameters[i]
        for owner, module in self.modules.items():
            for name, each in module.named_parameters():
                if each is at:
                    return f"{name} of the {owner}"
        return f"parameter {i} of the optimisers, shape {tuple(at.shape)},"

    def values(self) -> dict[str, Any]:
        """Return copies of parameters and buffers, on the CPU."""
        return {
            "parameters": _copied(self.parameters),
            "modules": {name: _copied(part.state_dict()) for name, part in self.modules.items()},
        }

    def take(self, values: Mapping[str, Any]) -> None:
        """Set parameters and buffers."""
        for name, part in self.modules.items():
            part.load_state_dict(values["modules"][name])
        with torch.no_grad():
            for at, value in zip(self.parameters, values["parameters"], strict=True):
                at.copy_(value)

    def state(self) -> dict[str, Any]:
        """Return copies of everything."""
        return {
            "values": self.values(),
            "optimisers": [_copied(optimiser.state_dict()) for optimiser in self.optimisers],
            "others": {name: _copied(part.state_dict()) for name, part in self.others.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set everything."""
        self.take(state["values"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        for name, part in self.others.items():
            part.load_state_dict(state["others"][name])


def learner(
    optimiser: Optimizer | Sequence[Optimizer],
    modules: Mapping[str, nn.Module],
    others: Mapping[str, Stateful],
) -> Learner:
    """Check what is to be trained, and by what.

    Raises
    ------
    TypeError, ValueError
        If an optimiser is none, or shares a parameter with another.
    """
    several = tuple(optimiser) if isinstance(optimiser, Sequence) else (optimiser,)
    for each in several:
        if not isinstance(each, Optimizer):
            raise TypeError(
                "optimiser must be an optimiser of torch such as torch.optim.Adam(parameters), or "
                f"a list of them; got a {type(each).__name__}"
            )
        if isinstance(each, LBFGS):
            raise TypeError(
                "LBFGS evaluates the loss several times a step, on the same draws; take an "
                "optimiser of one evaluation such as Adam"
            )
    for name, part in others.items():
        if not (hasattr(part, "state_dict") and hasattr(part, "load_state_dict")):
            raise TypeError(
                f"stateful[{name!r}] must have state_dict and load_state_dict; got a "
                f"{type(part).__name__}"
            )
    made = Learner(optimisers=several, modules=modules, others=others)
    ids = [id(each) for each in made.parameters]
    if not ids or len(set(ids)) < len(ids):
        raise ValueError(
            "every parameter must belong to one optimiser; got "
            f"{len(ids)} parameters, {len(set(ids))} of them different"
        )
    return made


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(part) for part in value)
    return value


def _numbers(grad: Tensor) -> Tensor:
    return grad.coalesce().values() if grad.is_sparse else grad
