"""Kernels of `realise`: what a family can do, and the ways to it."""
