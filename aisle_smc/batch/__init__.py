"""Batch runs: many fits, filters, samples and functions, over all cores, that survive faults."""

from aisle_smc.batch.grid import Grid
from aisle_smc.batch.limits import Limits
from aisle_smc.batch.result import StudyResult
from aisle_smc.batch.series import Series
from aisle_smc.batch.status import status
from aisle_smc.batch.store import Store
from aisle_smc.batch.study import Study
from aisle_smc.batch.table import Table
from aisle_smc.batch.tasks import Task

__all__ = [
    "Grid",
    "Limits",
    "Series",
    "Store",
    "Study",
    "StudyResult",
    "Table",
    "Task",
    "status",
]
