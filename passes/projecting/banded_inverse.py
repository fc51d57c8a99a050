"""The entries of a sparse matrix's inverse on its own pattern, without the rest (Takahashi's recursion on blocks).

The matrix is put in an order of small bandwidth β and cut into blocks of β: block tridiagonal. Forward, S_1 = A_11,
S_i = A_ii − B_i S_{i−1}⁻¹ B_iᵀ with B_i = A_{i,i−1}; backward, the inverse's blocks Z_ii = S_i⁻¹ + G_i Z_{i+1,i+1} G_iᵀ,
Z_{i+1,i} = −Z_{i+1,i+1} G_iᵀ, G_i = S_i⁻¹ B_{i+1}ᵀ. O(n β²) work, O(n β) memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse
from scipy.sparse import csgraph

from spucc.arrays import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Frame:
    """Where the entries of a pattern go: the order of the variables, the blocks' size, and for pairs (i, j) of
    the pattern the block and place in it."""

    order: IntArray
    size: int
    place: IntArray  # [n] position of each variable in `order`


def frame(pattern: sparse.csr_array) -> Frame:
    """The better of the given order and reverse Cuthill–McKee."""
    n = int(pattern.shape[0])
    coo = sparse.coo_array(pattern)
    best = np.arange(n)
    width = int(np.abs(coo.row - coo.col).max(initial=0))
    order = np.asarray(
        csgraph.reverse_cuthill_mckee(sparse.csr_array(pattern), symmetric_mode=True), dtype=np.int64
    )
    place = np.argsort(order)
    other = int(np.abs(place[coo.row] - place[coo.col]).max(initial=0))
    if other < width:
        best, width = order, other
    return Frame(best, max(width, 1), np.argsort(best))


@dataclass(frozen=True, eq=False)
class Factor:
    """The log determinant and the inverse's diagonal blocks [k, β, β] and lower blocks [k−1, β, β]."""

    logdet: float
    diagonal: FloatArray
    lower: FloatArray
    frame: Frame

    def entries(self, i: IntArray, j: IntArray) -> FloatArray:
        """The inverse's entries at pairs (i, j) within the block band."""
        p, q = self.frame.place[i], self.frame.place[j]
        p, q = np.maximum(p, q), np.minimum(p, q)
        b = self.frame.size
        bp, bq, rp, rq = p // b, q // b, p % b, q % b
        inside = bp == bq
        out = np.empty(p.size)
        out[inside] = self.diagonal[bp[inside], rp[inside], rq[inside]]
        out[~inside] = self.lower[bq[~inside], rp[~inside], rq[~inside]]
        return out


def factorise(a: sparse.csr_array, at: Frame | None = None) -> Factor | None:
    """Factor a symmetric matrix; None when it is not positive definite."""
    at = at or frame(a)
    n, b = int(a.shape[0]), at.size
    count = -(-n // b)
    coo = sparse.coo_array(a)
    p, q = at.place[coo.row], at.place[coo.col]
    main = np.zeros((count, b, b))
    low = np.zeros((max(count - 1, 0), b, b))
    bp, bq = p // b, q // b
    same = bp == bq
    np.add.at(main, (bp[same], p[same] % b, q[same] % b), coo.data[same])
    below = bp == bq + 1
    np.add.at(low, (bq[below], p[below] % b, q[below] % b), coo.data[below])
    pad = count * b - n
    if pad:
        tail = np.arange(b - pad, b)
        main[-1, tail, tail] = 1.0
    inverse, gain = np.empty_like(main), np.empty_like(low)
    logdet = 0.0
    s = main[0]
    identity = np.eye(b)
    for k in range(count):
        try:
            factor = linalg.cholesky(s, lower=True, check_finite=False)
        except linalg.LinAlgError:
            return None
        logdet += 2 * float(np.log(np.diagonal(factor)).sum())
        inverse[k] = linalg.cho_solve((factor, True), identity, check_finite=False)
        if k + 1 < count:
            gain[k] = inverse[k] @ low[k].T
            s = main[k + 1] - low[k] @ gain[k]
    for k in range(count - 2, -1, -1):
        low[k] = -inverse[k + 1] @ gain[k].T
        inverse[k] -= gain[k] @ low[k]
    return Factor(logdet, inverse, low, at)


def selected_inverse(a: sparse.csr_array) -> sparse.csr_array:
    """The entries of A⁻¹ on A's pattern, as a symmetric sparse matrix. Raises ValueError when A is not positive
    definite."""
    factor = factorise(a)
    if factor is None:
        raise ValueError("the matrix is not positive definite")
    coo = sparse.coo_array(a)
    return sparse.csr_array(
        sparse.coo_array((factor.entries(coo.row, coo.col), (coo.row, coo.col)), shape=a.shape)
    )
