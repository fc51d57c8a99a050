"""Facts about constant matrices: symmetry and definiteness, each verified once."""

from __future__ import annotations

from typing import Any

import numpy as np

from spucc.arrays import FloatArray
from spucc.grammar.values import Const, SparseConst

# Two entries that should be equal may differ by this much of the largest.
SYMMETRY_TOLERANCE = 1e-9
_STRIP = 256


def asymmetry(value: Const | SparseConst) -> tuple[int, int, float, float] | None:
    """The first pair of entries that should be equal and are not, or None."""
    if isinstance(value, SparseConst):
        m = value.matrix
        gap = abs(m - m.T).tocoo()
        top = float(np.abs(m.data).max(initial=0.0))
        bad = np.flatnonzero(~(gap.data <= SYMMETRY_TOLERANCE * top))
        if not bad.size:
            return None
        i, j = int(gap.coords[0][bad[0]]), int(gap.coords[1][bad[0]])
        return i, j, float(m[i, j]), float(m[j, i])
    a = np.asarray(value.array, dtype=np.float64)
    n = a.shape[0]
    top = -1.0
    for start in range(0, n, _STRIP):
        rows = a[start : start + _STRIP, start:]
        columns = a[start:, start : start + _STRIP].T
        if np.array_equal(rows, columns):
            continue
        if top < 0.0:
            top = float(np.abs(a).max(initial=0.0))
        apart = ~(np.abs(rows - columns) <= SYMMETRY_TOLERANCE * top)
        if apart.any():
            i, j = (int(k) for k in np.unravel_index(int(np.argmax(apart)), apart.shape))
            return start + i, start + j, float(rows[i, j]), float(columns[i, j])
    return None


def symmetrised(a: FloatArray) -> FloatArray:
    """The same array where it is exactly symmetric, else its symmetric part."""
    n = a.shape[0]
    for start in range(0, n, _STRIP):
        if not np.array_equal(a[start : start + _STRIP, start:], a[start:, start : start + _STRIP].T):
            return np.asarray(0.5 * (a + a.T))
    return a


def cholesky(a: FloatArray) -> FloatArray | None:
    """The lower factor of a positive definite matrix, or None."""
    try:
        return np.asarray(np.linalg.cholesky(a))
    except np.linalg.LinAlgError:
        return None


def descent(a: Any) -> tuple[float, FloatArray]:
    """The least eigenvalue of a symmetric matrix and its eigenvector."""
    values, vectors = np.linalg.eigh(np.asarray(a, dtype=np.float64))
    return float(values[0]), np.asarray(vectors[:, 0])
