"""Splitting: a board matrix M ⪰ P, corrected by host noise, samples any P exactly (mapping §3, result 8).

x ← M⁻¹(N x + h + ξ) + η with η ~ N(0, M⁻¹) from the board, ξ ~ N(0, N), N = M − P, keeps N(P⁻¹h, P⁻¹): with B =
M⁻¹N the step has the covariance B Σ Bᵀ + M⁻¹N M⁻¹ + M⁻¹ = Σ. The covariance error falls by ρ(B)² a sweep, ρ = 1
− λ_min(M⁻¹P). M keeps the attractive couplings of P that stand on the pattern; a dropped coupling becomes edge
noise |P_ij|(e_i ± r e_j)(…)ᵀ, which makes M dominant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from spucc.arrays import BoolArray
from spucc.passes.realising.comparison import congruence
from spucc.stages import edge_list, symmetric


@dataclass(frozen=True, eq=False)
class Splitting:
    """M [n, n], the spectral radius of M⁻¹(M − P), and the sweeps that bring a covariance error below the
    accuracy asked for."""

    m: sparse.csr_array
    radius: float
    sweeps: int


def split(p: sparse.csr_array, signed: bool, room: float = 0.0, accuracy: float = 1e-4) -> Splitting:
    """The best of two splittings: edge noise with scales optimised, and the least multiple of P's diagonal.

    A coupling is kept when the board has its sign (negative ones only if `signed`). M is made dominant with a
    margin, and multiplied by 1 + `room` so that M − P keeps a margin too. n ≤ 2000 dense.
    """
    best: Splitting | None = None
    a = 1.0 / np.sqrt(p.diagonal())
    p = congruence(p, a)  # the search compares variables with one another, so they get one unit
    _edges, values = edge_list(p)
    keep = np.ones(values.size, dtype=bool) if signed else values <= 0
    for candidate in (edge_noise(p, keep), edge_noise(p, np.zeros_like(keep)), shifted(p, keep)):
        lifted = sparse.csr_array(candidate * (1 + room))
        radius = contraction(lifted, p)
        if best is None or radius < best.radius:
            best = Splitting(congruence(lifted, 1 / a), radius, sweeps_for(radius, accuracy))
    assert best is not None
    return best


def contraction(m: sparse.csr_array, p: sparse.csr_array) -> float:
    """ρ(M⁻¹(M − P)) = 1 − λ_min(M⁻¹P) for M ⪰ P ≻ 0."""
    values = linalg.eigh(p.toarray(), m.toarray(), eigvals_only=True)
    return float(max(1.0 - values[0], values[-1] - 1.0, 0.0))


def sweeps_for(radius: float, accuracy: float) -> int:
    """Sweeps between draws that are kept so that what is left of the last one is below `accuracy` in
    covariance: ρ^(2s) ≤ accuracy."""
    if radius <= 0:
        return 1
    if radius >= 1:
        return 2**31
    return max(int(np.ceil(np.log(accuracy) / (2 * np.log(radius)))), 1)


def edge_noise(p: sparse.csr_array, keep: BoolArray, rounds: int = 30) -> sparse.csr_array:
    """M = kept part of P + Σ over dropped pairs of |P_ij| diag(r_ij, 1/r_ij), M ⪰ P for every r > 0, made dominant.

    The ratios r follow from scales w: r_ij = w_j/w_i, w the vector that makes P's slowest mode relative to M as
    fast as a fixed-point iteration finds.
    """
    n = int(p.shape[0])
    edges, values = edge_list(p)
    i, j = edges[:, 0], edges[:, 1]
    size = np.abs(values)
    diagonal = p.diagonal()
    dropped = ~keep
    w = 1.0 / np.sqrt(diagonal)
    best, best_radius = None, np.inf
    for _ in range(rounds):
        extra = np.zeros(n)
        ratio = w[j] / w[i]
        np.add.at(extra, i[dropped], size[dropped] * ratio[dropped])
        np.add.at(extra, j[dropped], size[dropped] / ratio[dropped])
        lifted = diagonal + extra
        off = np.where(keep, values, 0.0)
        need = np.zeros(n)
        np.add.at(need, i, np.abs(off) * ratio)
        np.add.at(need, j, np.abs(off) / ratio)
        lifted = np.maximum(lifted, 1.02 * need)
        m = symmetric(n, edges[keep], off[keep], lifted)
        values_, vectors = linalg.eigh(p.toarray(), m.toarray(), subset_by_index=[0, 0])
        radius = 1.0 - float(values_[0])
        if radius < best_radius - 1e-9:
            best, best_radius = m, radius
        slow = np.abs(vectors[:, 0]) + 1e-3 * np.abs(vectors[:, 0]).max()
        new = np.sqrt(w * slow / np.sqrt(np.mean(slow**2)) * np.sqrt(np.mean(w**2)))
        if np.allclose(new, w, rtol=1e-3):
            break
        w = new
    assert best is not None
    return best


def shifted(p: sparse.csr_array, keep: BoolArray) -> sparse.csr_array:
    """M = kept part of P + λ diag(P) with the least λ for M ⪰ P and M dominant after scaling."""
    n = int(p.shape[0])
    edges, values = edge_list(p)
    diagonal = p.diagonal()
    a = 1.0 / np.sqrt(diagonal)
    off = symmetric(n, edges[~keep], (values * a[edges[:, 0]] * a[edges[:, 1]])[~keep], np.zeros(n)).toarray()
    low = float(linalg.eigvalsh(off)[-1]) if n else 0.0
    size = np.abs(values * a[edges[:, 0]] * a[edges[:, 1]])
    rho = (
        float(linalg.eigvalsh(symmetric(n, edges[keep], size[keep], np.zeros(n)).toarray())[-1]) if n else 0.0
    )
    lift = max(low, 1.02 * rho - 1.0, 0.0) * (1 + 1e-9) + 1e-12
    return symmetric(n, edges[keep], values[keep], diagonal * (1 + lift))
