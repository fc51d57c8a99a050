"""The law nearest in KL that a capacitor network can have (physics §2): argmin KL(N(0, P⁻¹) ‖ N(0, B⁻¹)) over scaled
diagonally dominant B, with couplings of the signs that the board has.

The cone is that of sums of 2×2 blocks, so the problem is convex: cvxpy up to 32 variables, otherwise capacitors and scales by
turns (`spring_box`), which can stop at a local minimum.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

from spucc.arrays import FloatArray
from spucc.passes.fitting.spring_box import Stop, matrix, nearest_in_box, never
from spucc.passes.fitting.spring_scaling import Box
from spucc.passes.realising.moments import inverse
from spucc.stages import edge_list

CONIC_LIMIT = 32


def best_gauge(p: FloatArray, sweeps: int = 20) -> FloatArray:
    """s = ±1 that leaves little repulsive weight Σ max(0, s_i s_j P̃_ij): single flips from the eigenvector of the lowest
    mode of the couplings."""
    n = p.shape[0]
    a = 1.0 / np.sqrt(np.diagonal(p))
    off = p * np.outer(a, a) - np.eye(n)
    _, vectors = linalg.eigh(off, subset_by_index=[0, 0])
    s = np.where(vectors[:, 0] >= 0, 1.0, -1.0)
    for _ in range(sweeps * n):
        # Flipping i changes Σ s_i s_j P̃_ij by −2 s_i (P̃ s)_i.
        gain = s * (off @ s)
        k = int(np.argmax(gain))
        if gain[k] <= 1e-12:
            break
        s[k] = -s[k]
    return np.asarray(s * s[0])


def nearest(
    p: sparse.csr_array, signed: bool, conic: bool, stop: Stop = never
) -> tuple[FloatArray, FloatArray, float]:
    """B [n, n], the gauge s [n] for which S B S has no repulsive coupling (ones if `signed`), and KL per variable [nat]."""
    dense = p.toarray()
    n = dense.shape[0]
    s = np.ones(n) if signed else best_gauge(dense)
    gauged = dense * np.outer(s, s)
    edges, values = edge_list(sparse.csr_array(gauged))
    sign = np.where(values > 0, -1.0, 1.0)
    if not signed:
        attractive = values < 0
        edges, sign = edges[attractive], sign[attractive]
    found = _conic(gauged, edges, sign) if conic and n <= CONIC_LIMIT and not stop() else None
    if found is None:
        m, top = edges.shape[0], np.full(n, 1.0)
        box = Box(np.full(n, 1e-9), top * np.inf, np.zeros(m), np.full(m, np.inf), np.zeros(n), np.zeros(m))
        near = nearest_in_box(sparse.csr_array(gauged), edges, sign, box, optimal=True, stop=stop)
        a = matrix(n, edges, sign, np.concatenate([near.ground, near.coupling]))
        found = a / np.outer(near.scale, near.scale)
    b = found * np.outer(s, s)
    return b, s, divergence(dense, found * np.outer(s, s)) / n


def divergence(p: FloatArray, b: FloatArray) -> float:
    """KL(N(0, P⁻¹) ‖ N(0, B⁻¹)) in nats."""
    values = np.maximum(linalg.eigh(b, p, eigvals_only=True), 1e-300)
    return 0.5 * float(np.sum(values - 1.0 - np.log(values)))


def _conic(p: FloatArray, edges: np.ndarray, sign: FloatArray) -> FloatArray | None:
    """The same by cvxpy in the variables scaled to unit variance; None when the solver does not converge."""
    import warnings

    import cvxpy as cp

    sigma = inverse(p)
    scale = 1.0 / np.sqrt(np.diagonal(sigma))
    c = sigma * np.outer(scale, scale)
    n, m = p.shape[0], edges.shape[0]
    own, left, right, between = (
        cp.Variable(n, nonneg=True),
        cp.Variable(m),
        cp.Variable(m),
        cp.Variable(m, nonneg=True),
    )
    at_i = sparse.csr_array((np.ones(m), (edges[:, 0], np.arange(m))), shape=(n, m))
    at_j = sparse.csr_array((np.ones(m), (edges[:, 1], np.arange(m))), shape=(n, m))
    diagonal = own + at_i @ left + at_j @ right
    spread = np.zeros((n * n, m))
    spread[edges[:, 0] * n + edges[:, 1], np.arange(m)] = -sign
    spread[edges[:, 1] * n + edges[:, 0], np.arange(m)] = -sign
    b = cp.diag(diagonal) + cp.reshape(sparse.csr_array(spread) @ between, (n, n), order="C")
    cone = cp.SOC(left + right, cp.vstack([2 * between, left - right]), axis=0)
    problem = cp.Problem(cp.Minimize(cp.trace(b @ c) - cp.log_det(b)), [cone, left >= 0, right >= 0])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            problem.solve(solver=cp.CLARABEL)
    except cp.error.SolverError:
        return None
    if problem.status not in ("optimal", "optimal_inaccurate") or b.value is None:
        return None
    return np.asarray((b.value + b.value.T) / 2 * np.outer(scale, scale))
