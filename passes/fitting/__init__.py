"""Kernels of `fit`: component values within their ranges."""
