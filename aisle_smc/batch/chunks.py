"""The queue of tasks, handed out in chunks that are worth a trip."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

__all__ = ["Chunks"]

# A trip to a worker costs a few milliseconds, which is little beside this.
_SECONDS = 0.25
_MOST = 1000


class Chunks:
    """Tasks in the order in which they start, tiny ones many at a time.

    Parameters
    ----------
    tasks : iterable of (int, int)
        Number and grid of each; tasks of one grid are taken to be of about the same length.
    """

    def __init__(self, tasks: Iterable[tuple[int, int]]) -> None:
        self._queue = deque(tasks)
        self._grid = dict(self._queue)
        self._seconds: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._queue)

    def take(self, workers: int) -> Sequence[int]:
        """Return the next chunk: a quarter of a second of work, if the rest is enough for all."""
        grid = self._queue[0][1]
        seconds = self._seconds.get(grid)
        size = 1 if seconds is None else int(_SECONDS / max(seconds, 1e-6))
        size = max(1, min(size, _MOST, len(self._queue) // (4 * workers)))
        chunk: list[int] = []
        while self._queue and len(chunk) < size and self._queue[0][1] == grid:
            chunk.append(self._queue.popleft()[0])
        return chunk

    def took(self, indices: Sequence[int], seconds: float) -> None:
        """Note what a chunk took."""
        if indices:
            self._seconds[self._grid[indices[0]]] = seconds / len(indices)

    def back(self, indices: Sequence[int]) -> None:
        """Take tasks back that did not run, to be handed out first."""
        self._queue.extendleft((index, self._grid[index]) for index in reversed(indices))
