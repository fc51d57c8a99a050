"""Diagonal dominance: the cheapest proof that a quadratic form is positive definite."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray
from spucc.energy import Quadratic
from spucc.grammar.components import components

# Rows of a sparse matrix that are looked at in one go.
STRIP = 1 << 16


def dominant(q: Quadratic, free: Any) -> bool:
    """Whether every row is weakly dominated by its diagonal, one row of each component strictly."""
    if q.blocks:
        return False
    rows = q.sparse
    diagonal = q.diagonal()
    slack = diagonal + np.abs(diagonal) - _magnitudes(rows, free.astype(np.float64))
    slack, diagonal = slack[free], diagonal[free]
    if not (diagonal > 0).all() or (slack < -1e-13 * diagonal).any():
        return False
    strict = slack > 1e-9 * diagonal
    if strict.all():
        return True
    part = rows if free.all() else rows[np.flatnonzero(free)][:, np.flatnonzero(free)]
    label = components(part)
    held = np.zeros(label.size, dtype=bool)
    held[label[strict]] = True
    return bool(held[label].all())


def _magnitudes(matrix: sparse.csr_array, weight: FloatArray) -> FloatArray:
    """|matrix| @ weight, a strip of rows at a time: no copy of a large matrix is made."""
    n = matrix.shape[0]
    total = np.empty(n)
    for start in range(0, n, STRIP):
        pointer = matrix.indptr[start : start + STRIP + 1]
        a, b = pointer[0], pointer[-1]
        parts = (np.abs(matrix.data[a:b]), matrix.indices[a:b], pointer - a)
        total[start : start + STRIP] = sparse.csr_array(parts, shape=(pointer.size - 1, n)) @ weight
    return total
