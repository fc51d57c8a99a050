"""What plain capacitors can realise: signs by two-colouring, dominance by the comparison matrix (physics §2,
mapping §4).

The comparison matrix M(P) has P's diagonal and −|P_ij| off it. P can be scaled to diagonal dominance, which is what a
network of capacitors is, exactly when M is positive definite (P is an H-matrix, the model is walk-summable); it
needs no negative coupler exactly when the signed graph of P has no cycle with an odd number of repulsive
couplings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse
from scipy.sparse import csgraph
from scipy.sparse import linalg as sparse_linalg

from spucc.arrays import FloatArray, frozen

# Up to here the eigenproblem is solved densely.
DENSE = 400


@dataclass(frozen=True, eq=False)
class Verdict:
    """What is true of a symmetric positive definite P [n, n].

    `gauge` [n] is ±1 with s_i s_j P_ij ≤ 0 for all i ≠ j if `balanced`, else ones. `h_matrix` says whether M(P) is
    positive definite. The certificate `vector` [n]: if `h_matrix`, d > 0 with M d > 0 entrywise; else the
    Perron vector u ≥ 0 of the scaled comparison matrix, |N| u = ρ u with ρ ≥ 1, which has uᵀ M̃ u ≤ 0. `radius`
    is ρ (NaN when the model is large and realisable, where it is not needed).
    """

    balanced: bool
    gauge: FloatArray
    h_matrix: bool
    vector: FloatArray
    radius: float


def comparison(p: sparse.csr_array) -> sparse.csr_array:
    """M(P): the diagonal of P, −|P_ij| elsewhere. [n, n], P's unit."""
    m = sparse.csr_array(-abs(p))
    m.setdiag(p.diagonal())
    return m


def jacobi(p: sparse.csr_array) -> tuple[FloatArray, sparse.csr_array]:
    """a_i = P_ii^(−½) and N = |A P A| − I without its diagonal."""
    a = 1.0 / np.sqrt(p.diagonal())
    coo = sparse.coo_array(p)
    off = coo.row != coo.col
    i, j = coo.row[off], coo.col[off]
    return a, sparse.csr_array(sparse.coo_array((np.abs(coo.data[off]) * a[i] * a[j], (i, j)), shape=p.shape))


def congruence(p: sparse.csr_array, d: FloatArray) -> sparse.csr_array:
    """diag(d) P diag(d), symmetric to the last bit."""
    coo = sparse.coo_array(p)
    data = coo.data * (d[coo.row] * d[coo.col])
    k = sparse.csr_array(sparse.coo_array((data, (coo.row, coo.col)), shape=p.shape))
    k.sort_indices()
    return k


def two_colouring(p: sparse.csr_array) -> tuple[bool, FloatArray]:
    """Whether P is balanced, and the gauge s [n] (ones if it is not).

    In the graph of 2n nodes i⁺, i⁻ an attractive coupling joins equal signs and a repulsive one opposite signs; P is
    balanced exactly when no i⁺ is connected to its own i⁻ (Zaslavsky's double cover).
    """
    n = int(p.shape[0])
    coo = sparse.coo_array(p)
    off = (coo.row < coo.col) & (coo.data != 0)
    i, j, flip = coo.row[off], coo.col[off], coo.data[off] > 0
    rows = np.concatenate([i, i + n])
    cols = np.concatenate([j + n * flip, j + n * ~flip])
    graph = sparse.coo_array((np.ones(rows.size, np.int8), (rows, cols)), shape=(2 * n, 2 * n))
    _, label = csgraph.connected_components(sparse.csr_array(graph), directed=False)
    plus, minus = label[:n], label[n:]
    if (plus == minus).any():
        return False, frozen(np.ones(n))
    return True, frozen(np.where(plus < minus, 1.0, -1.0))


def positive_scaling(m: sparse.csr_array) -> FloatArray | None:
    """d > 0 with M d > 0 for a symmetric Z-matrix M, or None when there is none, i.e. M is not positive definite.

    d = A (A M A)⁻¹ 1 with A = diag(M)^(−½), so every row gets the same margin relative to its diagonal's root.
    Positive pivots of LDLᵀ decide.
    """
    diagonal = m.diagonal()
    if (diagonal <= 0).any():
        return None
    n = int(m.shape[0])
    a = 1.0 / np.sqrt(diagonal)
    scaled = sparse.csr_array(sparse.diags_array(a) @ m @ sparse.diags_array(a))
    u = positive_definite_solve(scaled, np.ones(n))
    if u is None or (u <= 0).any() or ((scaled @ u) <= 0).any():
        return None
    return np.asarray(a * u)


def positive_definite_solve(a: sparse.csr_array, b: FloatArray) -> FloatArray | None:
    """A⁻¹ b for a symmetric A, or None when A is not positive definite to rounding."""
    n = int(a.shape[0])
    if n <= DENSE:
        try:
            return np.asarray(linalg.cho_solve(linalg.cho_factor(a.toarray(), lower=True), b))
        except linalg.LinAlgError:
            return None
    factor = ldl(a)
    if factor is None:
        return None
    return np.asarray(factor.solve(np.asarray(b)))


def ldl(a: sparse.csr_array) -> sparse_linalg.SuperLU | None:
    """The sparse LDLᵀ of a symmetric A (SuperLU in symmetric mode: U = D Lᵀ), or None when a pivot is not
    positive."""
    try:
        lu = sparse_linalg.splu(
            sparse.csc_array(a),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
    except RuntimeError:
        return None
    if (lu.perm_r != lu.perm_c).any() or (lu.U.diagonal() <= 0).any():
        return None
    return lu


def perron(n_matrix: sparse.csr_array) -> tuple[float, FloatArray]:
    """The spectral radius ρ of a non-negative symmetric matrix and its Perron vector u ≥ 0, ‖u‖ = 1."""
    n = int(n_matrix.shape[0])
    if n_matrix.nnz == 0:
        return 0.0, np.full(n, n**-0.5)
    if n <= DENSE:
        values, vectors = linalg.eigh(n_matrix.toarray(), subset_by_index=[n - 1, n - 1])
        return float(values[0]), np.abs(vectors[:, 0])
    values, vectors = sparse_linalg.eigsh(n_matrix, k=1, which="LA", v0=np.ones(n), tol=1e-9)
    return float(values[0]), np.abs(vectors[:, 0])


def judge(p: sparse.csr_array) -> Verdict:
    """The verdict on a symmetric P with a positive diagonal. Costs one sparse LDLᵀ, and an eigenvector when P
    is not an H-matrix or is small."""
    balanced, gauge = two_colouring(p)
    d = positive_scaling(comparison(p))
    small = p.shape[0] <= DENSE
    if d is not None and not small:
        return Verdict(balanced, gauge, True, frozen(d), float("nan"))
    radius, u = perron(jacobi(p)[1])
    if d is not None:
        return Verdict(balanced, gauge, True, frozen(d), radius)
    return Verdict(balanced, gauge, False, frozen(u), radius)


def dominant_scaling(m: sparse.csr_array) -> FloatArray:
    """The d > 0 of `positive_scaling` for a Z-matrix that is known to be positive definite: D M D is row dominant.

    Weakly coupled rows keep Jacobi's scale, nearly critical ones follow the Perron vector (physics §2, u = M⁻¹r
    with r = 1).
    """
    d = positive_scaling(m)
    if d is None:
        raise ValueError("the comparison matrix is not positive definite")
    return d
