"""Passes and kernels of the p-bit family."""
