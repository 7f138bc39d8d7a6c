"""SMC samplers: paths from a base to a target, and the stages that follow them."""

from aisle_smc.tempering.levels import Temperature, Threshold
from aisle_smc.tempering.persistent import History, Persistent, Record, defended, heavy
from aisle_smc.tempering.pool import Pool, Source
from aisle_smc.tempering.standard import Plan, Tempering, WasteFree, replicate

__all__ = [
    "History",
    "Persistent",
    "Plan",
    "Pool",
    "Record",
    "Source",
    "Temperature",
    "Tempering",
    "Threshold",
    "WasteFree",
    "defended",
    "heavy",
    "replicate",
]
