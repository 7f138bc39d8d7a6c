"""SMC samplers: paths from a base to a target, and the stages that follow them."""

from aisle_smc.tempering.data import DataTempering, Observed, Pointwise
from aisle_smc.tempering.history import History, Record
from aisle_smc.tempering.ibis import IbisResult, ibis
from aisle_smc.tempering.levels import BASE, TARGET, Temperature, Threshold
from aisle_smc.tempering.persistent import Persistent
from aisle_smc.tempering.pool import Pool, Source
from aisle_smc.tempering.standard import Plan, Tempering, WasteFree, replicate

__all__ = [
    "BASE",
    "TARGET",
    "DataTempering",
    "History",
    "IbisResult",
    "Observed",
    "Persistent",
    "Plan",
    "Pointwise",
    "Pool",
    "Record",
    "Source",
    "Temperature",
    "Tempering",
    "Threshold",
    "WasteFree",
    "ibis",
    "replicate",
]
