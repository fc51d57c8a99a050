"""Kernels of `place`: subgraphs, templates, heuristics, proofs."""
