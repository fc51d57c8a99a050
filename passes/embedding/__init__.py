"""Kernels of `embed`: chains whose finite strength is made up for."""
