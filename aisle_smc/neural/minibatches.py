"""Minibatches: rows of tensors in a shuffled order, or whatever the user's iterable yields."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from aisle_smc.checkpoint import digest

__all__ = ["Minibatches", "minibatches", "moved"]

# Without data there are no passes over them, and so many steps are called an epoch.
STEPS_WITHOUT_DATA = 100


class Minibatches(Protocol):
    """A source of minibatches that can be gone through again and again."""

    @property
    def made_of(self) -> str:
        """What it is, in words, for the error of a checkpoint of other data."""
        ...

    @property
    def length(self) -> int | None:
        """Minibatches in an epoch, where that is known."""
        ...

    @property
    def generators(self) -> tuple[torch.Generator, ...]:
        """The generators of its own that it draws from, other than torch's global ones."""
        ...

    def epoch(self, rng: np.random.Generator) -> Iterator[Any]:
        """Go through the data once; `rng` orders them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _None:
    """No data: every step is at the same target."""

    made_of: str = "no data"
    length: int | None = STEPS_WITHOUT_DATA
    generators: tuple[torch.Generator, ...] = ()

    def epoch(self, rng: np.random.Generator) -> Iterator[Any]:
        yield from [None] * STEPS_WITHOUT_DATA


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """Rows of tensors, in tuples or mappings or alone."""

    data: Any
    count: int
    batch: int
    shuffle: bool
    generators: tuple[torch.Generator, ...] = ()

    @property
    def made_of(self) -> str:
        parts = [f"{tuple(t.shape)} of {t.dtype} ({_digest(t)})" for t in _tensors(self.data)]
        return f"{' and '.join(parts)}, {self.batch} rows at a time"

    @property
    def length(self) -> int | None:
        return math.ceil(self.count / self.batch)

    def epoch(self, rng: np.random.Generator) -> Iterator[Any]:
        order = rng.permutation(self.count) if self.shuffle else np.arange(self.count)
        for i in range(0, self.count, self.batch):
            yield _mapped(self.data, partial(_picked, torch.from_numpy(order[i : i + self.batch])))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Iterated:
    """An iterable of the user's, such as a DataLoader."""

    items: Iterable[Any]

    @property
    def made_of(self) -> str:
        kind = type(self.items).__name__
        return f"minibatches of a {kind} (generators of its own: {len(self.generators)})"

    @property
    def length(self) -> int | None:
        try:
            return len(self.items)  # type: ignore[arg-type]
        except TypeError:
            return None

    @property
    def generators(self) -> tuple[torch.Generator, ...]:
        batches = getattr(self.items, "batch_sampler", None)
        loader_and_batches = (self.items, batches)
        samplers = (getattr(each, "sampler", None) for each in loader_and_batches)
        owners = (*loader_and_batches, *samplers)
        found = [getattr(owner, "generator", None) for owner in owners]
        return tuple({id(g): g for g in found if isinstance(g, torch.Generator)}.values())

    def epoch(self, rng: np.random.Generator) -> Iterator[Any]:
        for x in self.items:
            yield x[0] if isinstance(x, list | tuple) and len(x) == 1 else x


def minibatches(data: Any, *, batch: int, shuffle: bool = True) -> Minibatches:
    """Return the minibatches of data.

    Parameters
    ----------
    data : object
        None; a tensor, array or data frame whose rows are datapoints; a tuple or mapping of those,
        all of the same length, whose minibatches are tuples or mappings too; or an iterable of
        minibatches. One that yields lists of a single tensor, as a DataLoader of a TensorDataset,
        counts as one that yields the tensor.
    batch : int
        Datapoints in a minibatch, of tensors; the last one may have fewer.
    shuffle : bool
        Whether rows come in a new order in each epoch.

    Raises
    ------
    TypeError, ValueError
        If data is nothing of this, or has no rows, or not the same number everywhere.
    """
    if data is None:
        return _None()
    data = data.to_numpy() if hasattr(data, "to_numpy") else data
    if isinstance(data, Tensor | np.ndarray | tuple | Mapping):
        held = _mapped(data, _tensor)
        lengths = [t.shape[0] if t.ndim else 0 for t in _tensors(held)]
        if not lengths or min(lengths) == 0 or len(set(lengths)) > 1:
            raise ValueError(
                "data must have one row for each datapoint, in every tensor the same number and "
                f"at least one; got {lengths} rows"
            )
        return _Rows(data=held, count=lengths[0], batch=batch, shuffle=shuffle)
    is_list_of_numbers = isinstance(data, list) and not all(map(_has_tensors, data))
    if isinstance(data, Iterable) and not isinstance(data, str | bytes) and not is_list_of_numbers:
        return _Iterated(items=data)
    raise TypeError(
        "data must be a tensor, an array, a tuple or mapping of those, or an iterable of "
        f"minibatches such as a DataLoader; got a {type(data).__name__}"
        + (" of numbers, of which torch.tensor(data) makes rows" if is_list_of_numbers else "")
    )


def moved(x: Any, device: torch.device) -> Any:
    """Return a minibatch with its tensors on a device, and its arrays made tensors."""

    def to_device(part: Any) -> Any:
        part = _tensor(part) if isinstance(part, np.ndarray) else part
        return part.to(device) if isinstance(part, Tensor) else part

    return _mapped(x, to_device)


def _has_tensors(x: Any) -> bool:
    return any(isinstance(part, Tensor | np.ndarray) for part in _tensors(x))


def _mapped(data: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(data, Mapping):
        return {name: _mapped(part, change) for name, part in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(_mapped(part, change) for part in data))
    if isinstance(data, tuple | list):
        return type(data)(_mapped(part, change) for part in data)
    return change(data)


def _tensor(part: Any) -> Tensor:
    # Torch would write into arrays that must not be written to.
    is_locked = isinstance(part, np.ndarray) and not part.flags.writeable
    return torch.as_tensor(part.copy() if is_locked else part)


def _picked(index: Tensor, rows: Tensor) -> Tensor:
    return rows[index.to(rows.device)]


def _tensors(data: Any) -> list[Tensor]:
    if isinstance(data, Mapping):
        return [t for part in data.values() for t in _tensors(part)]
    if isinstance(data, tuple | list):
        return [t for part in data for t in _tensors(part)]
    return [data]


def _digest(rows: Tensor) -> str:
    # Through bytes: NumPy does not know every type of torch.
    return digest(rows.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
