"""Markov kernels for populations: values that are fitted, frozen for a stage, and rescaled."""

from aisle_smc.moves.hamiltonian import MALA, Hamiltonian
from aisle_smc.moves.metropolis import Kernel, Moved, metropolis
from aisle_smc.moves.points import Bridge, Level, Points, join
from aisle_smc.moves.portfolio import Portfolio, Swept
from aisle_smc.moves.reversible import CrankNicolson, Independence
from aisle_smc.moves.splitting import SplitHamiltonian
from aisle_smc.moves.walks import DifferentialEvolution, RandomWalk

__all__ = [
    "MALA",
    "Bridge",
    "CrankNicolson",
    "DifferentialEvolution",
    "Hamiltonian",
    "Independence",
    "Kernel",
    "Level",
    "Moved",
    "Points",
    "Portfolio",
    "RandomWalk",
    "SplitHamiltonian",
    "Swept",
    "join",
    "metropolis",
]
