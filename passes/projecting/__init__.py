"""Kernels of `project`: the nearest law on a board's couplers."""
