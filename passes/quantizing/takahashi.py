"""Entries of the inverse of a large sparse positive definite matrix where the matrix itself has entries.

A = L D Lᵀ gives them without the rest of the inverse (Takahashi, Fagan and Chin 1973): from the last column to the first,
Z_ij = −Σ_k Z_ik L_kj over the rows k of column j, Z_jj = 1/D_j − Σ_k Z_kj L_kj. Cost: the squares of the column counts of L.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Selected:
    """`diagonal` [n] and `off` [m] of A⁻¹ (at the pairs asked for), and log det A."""

    diagonal: FloatArray
    off: FloatArray
    logdet: float


def _takahashi(
    indptr: IntArray, indices: IntArray, low: FloatArray, pivot: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Z on the pattern of strictly lower L (columns sorted), and its diagonal."""
    n = pivot.size
    z = np.zeros(low.size)
    diagonal = np.zeros(n)
    place = np.full(n, -1)
    sums = np.zeros(n)
    for j in range(n - 1, -1, -1):
        start, stop = indptr[j], indptr[j + 1]
        for t in range(start, stop):
            place[indices[t]] = t - start
            sums[t - start] = 0.0
        for t in range(start, stop):
            k = indices[t]
            sums[t - start] += diagonal[k] * low[t]
            for q in range(indptr[k], indptr[k + 1]):
                at = place[indices[q]]
                if at >= 0:
                    sums[at] += z[q] * low[t]
                    sums[t - start] += z[q] * low[start + at]
        total = 1.0 / pivot[j]
        for t in range(start, stop):
            z[t] = -sums[t - start]
            total -= z[t] * low[t]
            place[indices[t]] = -1
        diagonal[j] = total
    return z, diagonal


@cache
def _compiled() -> Callable[..., Any]:
    from numba import njit

    compiled: Callable[..., Any] = njit(cache=True)(_takahashi)
    return compiled


def factored(matrix: sparse.csr_array) -> Any:
    """A symmetric-mode LU of a positive definite matrix, pivots on the diagonal; None when it has a pivot that is not
    positive."""
    from scipy.sparse.linalg import splu

    try:
        lu = splu(
            sparse.csc_matrix(matrix),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
    except RuntimeError:
        return None
    if not (lu.U.diagonal() > 0).all() or not (lu.perm_r == lu.perm_c).all():
        return None
    return lu


def logdet(matrix: sparse.csr_array) -> float:
    """log det of a sparse symmetric matrix; −inf when it is not positive definite."""
    lu = factored(matrix)
    return -np.inf if lu is None else float(np.sum(np.log(lu.U.diagonal())))


def selected_inverse(matrix: sparse.csr_array, pairs: IntArray) -> Selected | None:
    """Entries of the inverse of A [n, n] on the diagonal and at pairs [m, 2] of its pattern; None when A is not positive
    definite."""
    lu = factored(matrix)
    if lu is None:
        return None
    n = matrix.shape[0]
    low = sparse.csc_array(sparse.tril(lu.L, k=-1))
    low.sort_indices()
    pivot = np.asarray(lu.U.diagonal())
    z, diagonal = _compiled()(low.indptr.astype(np.int64), low.indices.astype(np.int64), low.data, pivot)
    # lu.perm_c[v] is the place of cell v in the order of elimination
    place = np.asarray(lu.perm_c, dtype=np.int64)
    first, second = place[pairs[:, 0]], place[pairs[:, 1]]
    rows, cols = np.maximum(first, second), np.minimum(first, second)
    keys = np.repeat(np.arange(n), np.diff(low.indptr)) * n + low.indices
    at = np.minimum(np.searchsorted(keys, cols * n + rows), max(keys.size - 1, 0))
    off = z[at] if keys.size else np.zeros(0)
    return Selected(diagonal[place], off, float(np.sum(np.log(pivot))))
