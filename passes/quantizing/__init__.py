"""Kernels of `quantize`: the closest-vector problem in the Fisher metric."""
