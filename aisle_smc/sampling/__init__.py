"""The one call: a log-density in, posterior draws and a log-evidence with its error out."""

from aisle_smc.sampling.result import SampleResult
from aisle_smc.sampling.sample import bridge, sample
from aisle_smc.sampling.trace import Step

__all__ = ["SampleResult", "Step", "bridge", "sample"]
