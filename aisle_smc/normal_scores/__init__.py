"""Normal scores: coordinates in which independent parameters are standard normal variables.

The score of a value under its distribution is ``z = Phi^{-1}(F(theta))``.  A prior is N(0, I) in
its scores, whatever its families, supports and scales.
"""

from aisle_smc.normal_scores.circle import Rotation, circular_columns, rotate, widest_gap
from aisle_smc.normal_scores.maps import NormalScores, read_scores

__all__ = [
    "NormalScores",
    "Rotation",
    "circular_columns",
    "read_scores",
    "rotate",
    "widest_gap",
]
