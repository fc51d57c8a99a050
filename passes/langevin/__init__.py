"""Passes and kernels of the Langevin family."""
