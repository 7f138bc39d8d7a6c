"""Weighted draws of named parameters, which know the posterior and nothing of the evidence."""

from aisle_smc.weighted.draws import WeightedDraws

__all__ = ["WeightedDraws"]
