"""Chains of finite strength whose read-out has exactly the wanted precision (mapping.md §3).

Chains are weighted read-outs x = Wᵀy with WᵀV = I (V: cell → variable). The cells' matrix

    K = Σ_e c_e b_e b_eᵀ + diag(g),   b_e = e_p − s_e e_q

gives x the precision Q = (WᵀK⁻¹W)⁻¹. With P = L Lᵀ wanted, T = L⁻¹ Q L⁻ᵀ has to become the identity. In
U = K⁻¹ W L T every parameter moves T by little:

    coupler   dT = z zᵀ dc,                      z = Uᵀb_e
    ground    dT = u_p u_pᵀ dg
    weight    dT = −w_a (t_i (u_a − ū_i)ᵀ + transposed) dφ,   w = softmax of φ on each chain, t_i = T Lᵀe_i, ū_i = Σ w_a u_a

Levenberg–Marquardt takes the step of least relative change; on capacitors it is taken in the logarithms of c and g, so that
neither ever turns negative.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import linalg, sparse
from scipy.sparse import linalg as sparse_linalg

from spucc.arrays import FloatArray, IntArray

_DENSE_EQUATIONS = 900
"""Up to this many equations n(n+1)/2 the normal matrix is formed; beyond, conjugate gradients use products only."""

_SLOW = 4
"""After so many steps in a row that gain less than a fifth, the equations are taken to have no exact solution."""


@dataclass(frozen=True, eq=False)
class Network:
    """Chains with values. `edges` [m, 2], `sign` [m] (+1: attractive), `coupling` [m] and `ground` [cells] as in the formula
    of the module; `chain` [cells] numbers each cell's variable; `weight` [cells] is W. With `positive`, coupling and ground
    stay ≥ 0."""

    edges: IntArray
    sign: FloatArray
    coupling: FloatArray
    ground: FloatArray
    chain: IntArray
    weight: FloatArray
    positive: bool

    @property
    def inner(self) -> np.ndarray:
        """Which couplers join two cells of one chain."""
        return np.asarray(self.chain[self.edges[:, 0]] == self.chain[self.edges[:, 1]])

    def matrix(self) -> sparse.csc_array:
        n, (i, j) = self.ground.size, self.edges.T
        off = -self.sign * self.coupling
        diagonal = self.ground + np.bincount(i, self.coupling, n) + np.bincount(j, self.coupling, n)
        d = np.arange(n)
        data = np.concatenate([off, off, diagonal])
        rows, cols = np.concatenate([i, j, d]), np.concatenate([j, i, d])
        return sparse.csc_array(sparse.coo_array((data, (rows, cols)), shape=(n, n)))

    def readout(self) -> sparse.csr_array:
        """Wᵀ [variables, cells]."""
        cells = self.chain.size
        shape = (int(self.chain.max()) + 1, cells)
        return sparse.csr_array(sparse.coo_array((self.weight, (self.chain, np.arange(cells))), shape=shape))


@dataclass(frozen=True, eq=False)
class Reading:
    """What a network gives: T, U (see the module), and KL(target ‖ read-out) in nats per variable."""

    T: FloatArray
    U: FloatArray
    kl: float

    @property
    def residual(self) -> float:
        return float(np.linalg.norm(self.T - np.eye(self.T.shape[0])))


def read(network: Network, L: FloatArray) -> Reading | None:
    """The read-out's law against P = L Lᵀ; None when K is not positive definite."""
    n = L.shape[0]
    wanted = np.asarray(network.readout().T @ L)
    X = solve_cells(network.matrix(), wanted)
    if X is None:
        return None
    F = wanted.T @ X
    try:
        factor = linalg.cho_factor((F + F.T) / 2, lower=True)
    except linalg.LinAlgError:
        return None
    T = linalg.cho_solve(factor, np.eye(n))
    logdet = 2 * float(np.log(np.diagonal(factor[0])).sum())
    # tr T − n − log det T loses all digits near 0, where it is the squared residual over two.
    r2 = float(np.linalg.norm(T - np.eye(n))) ** 2
    kl = r2 / 4 if r2 < 1e-8 else max(0.5 * (float(np.trace(T)) - n + logdet), 0.0)
    return Reading(T, X @ T, kl / n)


def solve_cells(K: sparse.csc_array, B: FloatArray) -> FloatArray | None:
    """K⁻¹B for a positive definite K, else None."""
    if K.shape[0] <= 300:
        try:
            return np.asarray(linalg.cho_solve(linalg.cho_factor(K.toarray(), lower=True), B))
        except linalg.LinAlgError:
            return None
    try:
        lu = sparse_linalg.splu(
            K, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )
    except RuntimeError:
        return None
    if (lu.U.diagonal() <= 0).any():
        return None
    return np.asarray(lu.solve(B), dtype=np.float64)


def tune(
    network: Network, L: FloatArray, iterations: int = 40, goal: float = 1e-9
) -> tuple[Network, Reading] | None:
    """The network with its read-out's residual ‖T − I‖ brought below `goal`, or as low as it gets; None when the start is not
    positive definite."""
    reading = read(network, L)
    if reading is None:
        return None
    damping, slow = 1e-8, 0
    for _ in range(iterations):
        if reading.residual < goal or slow == _SLOW:
            break
        jacobian = Jacobian(network, reading, L)
        # Half of what is allowed to stay may stay: exactness that nobody needs would strengthen the chains.
        share = 1 - 0.5 * goal / reading.residual
        S = jacobian.solve(share * (np.eye(L.shape[0]) - reading.T), damping)
        trial = jacobian.move(network, *jacobian.adjoint(S))
        after = read(trial, L)
        if after is not None and after.residual < reading.residual * (1 - 1e-4):
            slow = slow + 1 if after.residual > 0.8 * reading.residual else 0
            network, reading = trial, after
            damping = max(damping / 8, 1e-14)
        else:
            damping *= 16
            if damping > 1e4:
                break
    return network, reading


def _scales(network: Network) -> tuple[FloatArray, FloatArray]:
    """By how much a coupler and a ground are willing to change: their size on capacitors; on free devices also the size of
    their neighbours, as values may pass through 0."""
    if network.positive:
        return network.coupling, network.ground
    K = network.matrix()
    size = np.sqrt(np.abs(K.diagonal()))
    i, j = network.edges.T
    return 0.3 * np.abs(network.coupling) + 0.1 * size[i] * size[j], 0.5 * size**2


class Jacobian:
    """dT as a function of relative changes: of couplings and grounds in the units of `_scales`, and of φ."""

    def __init__(self, network: Network, reading: Reading, L: FloatArray) -> None:
        U, (i, j) = reading.U, network.edges.T
        self.by_c, self.by_g = _scales(network)
        Z = (U[i] - network.sign[:, None] * U[j]) * np.sqrt(self.by_c)[:, None]
        self.V = np.concatenate([Z, U * np.sqrt(self.by_g)[:, None]])  # dT = Σ v vᵀ
        mean = np.asarray(network.readout() @ U)
        self.several = np.bincount(network.chain)[network.chain] > 1
        self.A = ((L @ reading.T)[network.chain] * network.weight[:, None])[self.several]
        self.B = (U - mean[network.chain])[self.several]
        self.n, self.m = L.shape[0], i.size

    def forward(self, v: FloatArray, w: FloatArray) -> FloatArray:
        """dT of relative changes `v` (couplings, then grounds) and `w` (φ of the cells of true chains)."""
        cross = self.A.T @ (w[:, None] * self.B)
        return np.asarray(self.V.T @ (v[:, None] * self.V) - (cross + cross.T))

    def adjoint(self, S: FloatArray) -> tuple[FloatArray, FloatArray]:
        v = np.einsum("kn,kn->k", self.V @ S, self.V)
        return v, -2 * np.einsum("kn,kn->k", self.A @ S, self.B)

    @cached_property
    def _normal(self) -> FloatArray:
        """J Jᵀ on the upper triangle, off-diagonals times √2."""
        a, b = np.triu_indices(self.n)
        root = np.where(a == b, 1.0, np.sqrt(2.0))
        J = self.V[:, a] * self.V[:, b] * root
        JW = -(self.A[:, a] * self.B[:, b] + self.A[:, b] * self.B[:, a]) * root
        return np.asarray(J.T @ J + JW.T @ JW)

    def solve(self, right: FloatArray, damping: float) -> FloatArray:
        """The symmetric S with J Jᵀ S + damping·(mean of J Jᵀ)·S = right."""
        a, b = np.triu_indices(self.n)
        if a.size > _DENSE_EQUATIONS:
            return self._solve_by_products(right, damping)
        root = np.where(a == b, 1.0, np.sqrt(2.0))
        N = self._normal.copy()
        N[np.diag_indices_from(N)] += damping * float(np.trace(N)) / N.shape[0] + 1e-300
        try:
            s = linalg.cho_solve(linalg.cho_factor(N, lower=True), right[a, b] * root)
        except linalg.LinAlgError:
            s = linalg.lstsq(N, right[a, b] * root)[0]
        S = np.zeros((self.n, self.n))
        S[a, b] = s / root
        return np.asarray(S + np.triu(S, 1).T)

    def _solve_by_products(self, right: FloatArray, damping: float) -> FloatArray:
        n = self.n
        shift = damping * float((np.einsum("kn,kn->k", self.V, self.V) ** 2).sum()) / (n * (n + 1) // 2)

        def product(x: FloatArray) -> FloatArray:
            S = x.reshape(n, n)
            S = (S + S.T) / 2
            return np.asarray(self.forward(*self.adjoint(S)) + shift * S).ravel()

        operator = sparse_linalg.LinearOperator((n * n, n * n), matvec=product, dtype=np.float64)
        x, _ = sparse_linalg.cg(operator, right.ravel(), rtol=1e-3, maxiter=200)
        S = x.reshape(n, n)
        return np.asarray((S + S.T) / 2)

    def move(self, network: Network, v: FloatArray, w: FloatArray) -> Network:
        """The network after relative changes; on capacitors they are changes of logarithms, at most 1 each."""
        phi = np.zeros(network.chain.size)
        phi[self.several] = w
        if network.positive:
            coupling = network.coupling * np.exp(np.clip(v[: self.m], -1, 1))
            ground = network.ground * np.exp(np.clip(v[self.m :], -1, 1))
        else:
            coupling, ground = (
                network.coupling + v[: self.m] * self.by_c,
                network.ground + v[self.m :] * self.by_g,
            )
        raw = network.weight * np.exp(np.clip(phi, -1, 1))
        total = np.bincount(network.chain, raw)
        return replace(network, coupling=coupling, ground=ground, weight=raw / total[network.chain])
