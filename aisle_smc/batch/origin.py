"""Which file a study comes from: two of one name must not share a folder unnoticed."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from aisle_smc.batch.lock import alive
from aisle_smc.batch.store import LOCK, Store

__all__ = ["Origin", "claim"]


@dataclass(frozen=True, slots=True)
class Origin:
    """The file that describes a study.

    Attributes
    ----------
    path : str
        Where it is, in full.
    content : str
        A digest of what it says.
    """

    path: str
    content: str

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> Self:
        """Return the origin of the study that a file describes now."""
        file = Path(path).resolve()
        return cls(str(file), hashlib.sha256(file.read_bytes()).hexdigest()[:24])


def claim(store: Store, origin: Origin | None, **facts: Any) -> None:
    """Note which file's study a store holds, and other facts of a run that is about to begin.

    Parameters
    ----------
    store : Store
        The study's store.
    origin : Origin or None
        The file; None for a study made in Python, which is not compared.
    **facts
        As in :meth:`aisle_smc.batch.Store.note`.

    Raises
    ------
    ValueError
        If the store holds the study of another file, which is still there and says something
        else.

    Notes
    -----
    Where another driver is at work nothing is noted: the facts are those of its run, and this one
    will be refused.
    """
    then = store.fact("origin")
    if origin is not None and then is not None:
        other = Origin(*then)
        moved = not Path(other.path).is_file()
        if origin.path != other.path and origin.content != other.content and not moved:
            raise ValueError(
                f"{store.folder} holds the study of another file, {other.path}; this one is "
                f"{origin.path}; give it another name, or another folder (--folder, or folder=)"
            )
    if origin is not None:
        facts["origin"] = [origin.path, origin.content]
    if facts and not alive(store.folder / LOCK):
        store.note(**facts)
