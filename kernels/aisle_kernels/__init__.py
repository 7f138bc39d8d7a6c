"""Numba kernels of the weighted-particle engine: arrays in, arrays out, NumPy and Numba only."""
