"""Dask clusters: one on this machine, one at an address, or a client of the user's."""

from __future__ import annotations

import contextlib
import queue
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import CancelledError
from typing import Any

from aisle_smc.batch.executors import Death, Ended, cores
from aisle_smc.batch.shipment import pack
from aisle_smc.batch.worker import Report, Session, cannot_load, perform_shipped
from aisle_smc.errors import AisleError

__all__ = ["Cluster"]

# Chunks under way for each thread: one at work, one on its way.
_AHEAD = 2
_PATIENCE = 30.0
_LOST = Death("it was lost with its worker or the scheduler", None, lost=True)


class Cluster:
    """Workers of a Dask cluster.

    Parameters
    ----------
    session : Session
        What the workers need to know; it goes to each of them once.
    where : str or distributed.Client
        ``"dask"`` for a cluster of processes on this machine, the address of a scheduler, or a
        client, which is left open.
    workers : int, optional
        How many processes a cluster on this machine has; chunks under way at most, elsewhere.
    limited : bool
        Whether tasks have limits of time or memory, which are those of a process.

    Raises
    ------
    ImportError
        If Dask is not installed.
    AisleError
        If there is no scheduler at the address, or it has no workers.
    ValueError
        If tasks with limits would share a process.

    Notes
    -----
    The scheduler holds two chunks for every thread, however many tasks there are.  When a worker
    is lost Dask runs its chunks elsewhere, and tasks whose results are there are not run again.
    """

    def __init__(
        self, session: Session, where: Any, workers: int | None, *, limited: bool
    ) -> None:
        try:
            import distributed
        except ImportError as error:
            raise ImportError(
                f"a Dask cluster needs distributed ({error}): pip install 'aisle-smc[dask]'"
            ) from None
        self._session = session
        self._shipped: Any = None
        self._number = 0
        self._lost: float | None = None
        self._heard = time.monotonic()
        self._busy: dict[str, tuple[Any, Sequence[int]]] = {}
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._own: list[Any] = []
        if where == "dask":
            self._client = self._local(distributed, workers or cores())
        elif isinstance(where, str):
            self._client = self._at(distributed, where)
        elif isinstance(where, distributed.Client):
            self._client = where
        else:
            raise TypeError(
                'executor must be "processes", "threads", "dask", the address of a Dask scheduler '
                f"or a distributed.Client; got {where!r}"
            )
        try:
            self._threads = self._count(limited)
            if workers is not None:
                self._threads = min(self._threads, workers)
        except BaseException:
            self.close(now=True)
            raise

    def _local(self, distributed: Any, workers: int) -> Any:
        import dask

        # A task that keeps Python's lock for minutes is no reason to give its worker up.
        with dask.config.set({"distributed.scheduler.worker-ttl": None}):
            cluster = distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                memory_limit=0,
                env={"NUMBA_NUM_THREADS": "1"},
            )
        client = distributed.Client(cluster)
        self._own = [client, cluster]
        return client

    def _at(self, distributed: Any, address: str) -> Any:
        try:
            client = distributed.Client(address, timeout=_PATIENCE)
        except (OSError, ValueError, TimeoutError) as error:
            raise AisleError(f"no Dask scheduler answers at {address}: {error}") from error
        self._own = [client]
        return client

    def _count(self, limited: bool) -> int:
        """Return the threads of all workers."""
        until = time.monotonic() + _PATIENCE
        while not (threads := self._client.nthreads()):
            if time.monotonic() > until:
                raise AisleError("the Dask cluster has no workers; start some")
            time.sleep(0.2)
        if limited and max(threads.values()) > 1:
            raise ValueError(
                "limits of time and memory need workers of one thread each (dask worker "
                f"--nthreads 1); one has {max(threads.values())}"
            )
        return sum(threads.values())

    @property
    def workers(self) -> int:
        """How many tasks run at the same time."""
        return self._threads

    @property
    def room(self) -> int:
        """How many more chunks it takes now."""
        return 0 if self._lost is not None else _AHEAD * self._threads - len(self._busy)

    def submit(self, indices: Sequence[int]) -> None:
        """Give a chunk to the scheduler."""
        if self._shipped is None:
            self._shipped = self._ship()
        self._number += 1
        future = self._client.submit(
            perform_shipped,
            self._shipped,
            list(indices),
            key=f"study-{self._session.token}-{self._number}",
        )
        self._busy[future.key] = future, indices
        future.add_done_callback(self._done.put)

    def _ship(self) -> Any:
        """Send the shipment: the scheduler keeps it, and each worker fetches it once.

        Data that is scattered lives on workers alone, and is lost with the last of them.
        """
        self._number += 1
        shipment = pack(self._session.token, self._session)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")
            return self._client.submit(
                _keep, shipment, key=f"shipment-{self._session.token}-{self._number}"
            )

    def collect(self, timeout: float) -> list[Ended]:
        """Wait for a chunk to end, or to be lost with a worker or the scheduler.

        Raises
        ------
        AisleError
            If the scheduler is gone and does not come back.
        """
        if self._client.status != "running":
            return self._without_scheduler(timeout)
        self._lost = None
        futures = []
        with contextlib.suppress(queue.Empty):
            futures.append(self._done.get(timeout=timeout))
            while True:
                futures.append(self._done.get_nowait())
        if futures:
            self._heard = time.monotonic()
        elif time.monotonic() - self._heard > _PATIENCE and not self._client.nthreads():
            raise AisleError("the Dask cluster has no workers any more")
        futures = [future for future in futures if future.key in self._busy]
        return list(map(self._ended, futures, self._reports(futures)))

    def _without_scheduler(self, timeout: float) -> list[Ended]:
        """Take back all that was under way, and wait for the scheduler for a while."""
        now = time.monotonic()
        self._lost = now if self._lost is None else self._lost
        if now - self._lost > _PATIENCE or self._client.status == "closed":
            raise AisleError("the Dask scheduler is gone")
        lost = [Ended(indices, death=_LOST) for _, indices in self._busy.values()]
        self._busy, self._shipped = {}, None
        time.sleep(timeout)
        return lost

    def _reports(self, futures: list[Any]) -> list[Report | None]:
        """Fetch all reports in one trip; None for those that have to be asked for one by one."""
        if all(future.status == "finished" for future in futures):
            # A worker may have died with its report, or the scheduler be gone.
            with contextlib.suppress(CancelledError, OSError):
                return list(self._client.gather(futures))
        return [None] * len(futures)

    def _ended(self, future: Any, report: Report | None) -> Ended:
        from distributed.scheduler import KilledWorker

        _, indices = self._busy.pop(future.key)
        try:
            return Ended(indices, report=future.result() if report is None else report)
        except (CancelledError, KilledWorker, OSError):
            return Ended(indices, death=_LOST)
        except Exception as error:
            raise cannot_load(error) from error

    def running(self) -> list[tuple[int, float]]:
        """Return nothing: only the workers know."""
        return []

    def close(self, *, now: bool) -> None:
        """Leave the cluster as it was found, and close it if it was made here."""
        if now:
            with contextlib.suppress(Exception):
                self._client.cancel([future for future, _ in self._busy.values()], force=True)
        self._busy, self._shipped = {}, None
        for each in self._own:
            with contextlib.suppress(Exception):
                each.close()


def _keep(shipment: Any) -> Any:
    """Keep a shipment on a worker."""
    return shipment
