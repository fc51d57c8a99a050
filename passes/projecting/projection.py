"""The KL projection of a Gaussian onto a pattern of couplings (mapping §2).

Q* = argmin KL(N(0, Σ) ‖ N(0, Q⁻¹)) over Q with the given support. It matches the covariances of Σ on the
pattern, so that the losses of this and of what comes after add up. In capacitor ("spring") parameters Q = Σ_i
g_i e_i e_iᵀ + Σ_e k_e a_e a_eᵀ the objective tr(QΣ) − log det Q has the gradient R_e − r_e and the Hessian
(a_eᵀ Q⁻¹ a_f)², where R and r are the effective resistances a_eᵀΣa_e and a_eᵀQ⁻¹a_e.

Newton where the Hessian is small, Newton with conjugate gradients where Q⁻¹ still fits as a dense matrix,
L-BFGS in the metric of the Hessian's diagonal r_e² on block-tridiagonal factors beyond. Steps are cut back to
stay inside the cone. With `springs` also k_e ≥ 0: attractive couplings only, which is all that an M-matrix
needs, as a scale makes it dominant.

Every answer carries the gap to a dual bound: log det Q ≤ tr(QW) − log det W − n for any W ≻ 0, so that a W with
Σ's entries on the pattern (at least those where k_e is held at 0) proves that no Q there has less than ½(log
det W − log det Σ). Such a W is Q⁻¹ with those entries put right. Where Newton's answer is not proved to
`CERTIFIED` cvxpy solves up to 32 variables instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from spucc.arrays import BoolArray, FloatArray, IntArray
from spucc.passes.projecting.banded_inverse import Factor, Frame, factorise, frame
from spucc.passes.projecting.chordal import chordal_projection, perfect_elimination
from spucc.passes.realising.comparison import ldl
from spucc.stages import symmetric

NEWTON = 1600
"""Up to so many parameters the Hessian is formed."""

DENSE = 400
"""Up to so many variables Q⁻¹ is formed."""


CERTIFIED = 1e-6
"""The gap [nat, all variables together] within which an answer counts as the nearest."""

CONIC = 32
"""Up to so many variables cvxpy takes over where the gap is larger."""


@dataclass(frozen=True, eq=False)
class Projection:
    """Q* (sparse, on the pattern) of Σ's scale, the worst mismatch of a matched covariance in units of the standard
    deviations, the evaluations it took, and the `gap` [nat] between its divergence and a bound that none on the pattern is
    below (infinite where no bound was found)."""

    q: sparse.csr_array
    mismatch: float
    evaluations: int
    gap: float = 0.0


@dataclass(frozen=True, eq=False)
class _Problem:
    """The pattern `edges` [m, 2] and what is wanted on it: variances [n] all 1, effective resistances `wanted`
    [n + m]."""

    n: int
    edges: IntArray
    wanted: FloatArray
    bounded: BoolArray

    def matrix(self, w: FloatArray) -> sparse.csr_array:
        i, j, k = self.edges[:, 0], self.edges[:, 1], w[self.n :]
        diagonal = w[: self.n] + np.bincount(i, k, self.n) + np.bincount(j, k, self.n)
        return symmetric(self.n, self.edges, -k, diagonal)

    def resistances(self, variance: FloatArray, cross: FloatArray) -> FloatArray:
        i, j = self.edges[:, 0], self.edges[:, 1]
        return np.concatenate([variance, variance[i] + variance[j] - 2 * cross])


def project_covariance(
    sigma: FloatArray, edges: IntArray, springs: bool = False, tolerance: float = 1e-9
) -> Projection:
    """Project a dense covariance [n, n] onto couplings `edges` [m, 2] (i < j, lexicographic).

    The closed form is taken when the pattern is chordal (and needs no sign constraint or happens to satisfy it).
    """
    root = np.sqrt(np.diagonal(sigma))
    n = root.size
    correlation = sigma / np.outer(root, root)
    order = perfect_elimination(n, edges)
    if order is not None:
        q = chordal_projection(correlation, edges, order)
        if not springs or (np.asarray(q[edges[:, 0], edges[:, 1]]).ravel() <= 0).all():
            return Projection(_scaled(q, 1 / root), 0.0, 1)
    cross = correlation[edges[:, 0], edges[:, 1]]
    problem = _problem(n, edges, cross, springs)
    solve = _newton if problem.wanted.size <= NEWTON or n <= DENSE else _lbfgs
    w, mismatch, count = solve(problem, _start(problem, cross), tolerance)
    gap = dense_gap(problem, w, cross)
    if gap > CERTIFIED and n <= CONIC:
        other = _by_cvxpy(problem, cross)
        better = np.inf if other is None else dense_gap(problem, other, cross)
        if other is not None and better < gap:
            w, gap = other, better
    return Projection(_scaled(problem.matrix(w), 1 / root), mismatch, count, gap)


def project_precision(
    p: sparse.csr_array,
    edges: IntArray,
    springs: bool = False,
    tolerance: float = 1e-6,
    evaluations: int | None = None,
) -> Projection:
    """Project N(0, P⁻¹) with a sparse P whose pattern contains the couplings `edges`, or P small enough to be
    inverted."""
    n = int(p.shape[0])
    if n <= DENSE:
        from spucc.passes.realising.moments import covariance

        return project_covariance(covariance(p), edges, springs, tolerance)
    pattern = symmetric(n, edges, np.ones(edges.shape[0]), np.ones(n))
    factor = factorise(p, frame(sparse.csr_array(abs(p) + pattern)))
    if factor is None:
        raise ValueError("the matrix is not positive definite")
    cells = np.arange(n)
    root = np.sqrt(factor.entries(cells, cells))
    cross = factor.entries(edges[:, 0], edges[:, 1]) / (root[edges[:, 0]] * root[edges[:, 1]])
    problem = _problem(n, edges, cross, springs)
    most = evaluations or max(600, 3_000_000 // n)
    w, mismatch, count = _lbfgs(problem, _start(problem, cross), tolerance, most)
    gap = sparse_gap(problem, w, cross)
    return Projection(_scaled(problem.matrix(w), 1 / root), mismatch, count, gap)


def _scaled(q: sparse.csr_array, d: FloatArray) -> sparse.csr_array:
    out = sparse.csr_array(sparse.diags_array(d) @ q @ sparse.diags_array(d))
    out.sort_indices()
    return out


def _problem(n: int, edges: IntArray, cross: FloatArray, springs: bool) -> _Problem:
    bounded = np.concatenate([np.zeros(n, dtype=bool), np.full(edges.shape[0], springs)])
    return _Problem(n, edges, np.concatenate([np.ones(n), 2 - 2 * cross]), bounded)


def dense_gap(problem: _Problem, w: FloatArray, cross: FloatArray) -> float:
    """½[tr(QΣ) − log det Q − n − log det W] for W = Q⁻¹ with Σ's entries on the pattern; infinite unless W is definite."""
    found = _dense_value(problem, w)
    if found is None:
        return np.inf
    value, dual = found
    i, j = problem.edges.T
    dual[i, j] = np.where(_held(problem, w), np.maximum(dual[i, j], cross), cross)
    dual[j, i] = dual[i, j]
    np.fill_diagonal(dual, 1.0)
    factor, info = linalg.lapack.dpotrf(dual, lower=1)
    if info != 0:
        return np.inf
    return max(0.5 * (value - problem.n - 2 * float(np.log(np.diagonal(factor)).sum())), 0.0)


def sparse_gap(problem: _Problem, w: FloatArray, cross: FloatArray) -> float:
    """The same without dense matrices: W = Q⁻¹ + Δ, Δ on the pattern, has log det W = log det(Q + QΔQ) − 2 log det Q."""
    q = problem.matrix(w)
    factor = factorise(q)
    if factor is None:
        return np.inf
    i, j, cells = problem.edges[:, 0], problem.edges[:, 1], np.arange(problem.n)
    across = cross - factor.entries(i, j)
    across = np.where(_held(problem, w), np.maximum(across, 0.0), across)
    delta = symmetric(problem.n, problem.edges, across, 1.0 - factor.entries(cells, cells))
    dual = ldl(sparse.csr_array(q + q @ delta @ q))
    if dual is None:
        return np.inf
    logdet = float(np.log(dual.U.diagonal()).sum()) - 2 * factor.logdet
    return max(0.5 * (float(problem.wanted @ w) - factor.logdet - problem.n - logdet), 0.0)


def _held(problem: _Problem, w: FloatArray) -> BoolArray:
    """Which couplings may only be attractive and are absent."""
    return np.asarray(problem.bounded[problem.n :] & (w[problem.n :] <= 0))


def _by_cvxpy(problem: _Problem, cross: FloatArray) -> FloatArray | None:
    """The same problem by cvxpy's interior-point solver; None when it does not converge."""
    import warnings

    import cvxpy as cp

    n, m = problem.n, problem.edges.shape[0]
    i, j, e = problem.edges[:, 0], problem.edges[:, 1], np.arange(m)
    own, k = cp.Variable(n), cp.Variable(m)
    ends = np.concatenate([i, j]), np.concatenate([e, e])
    at = sparse.csr_array((np.ones(2 * m), ends), shape=(n, m))
    rows = np.concatenate([i * n + j, j * n + i])
    spread = sparse.csr_array((-np.ones(2 * m), (rows, np.concatenate([e, e]))), shape=(n * n, m))
    q = cp.diag(own + at @ k) + cp.reshape(spread @ k, (n, n), order="C")
    bounded = np.flatnonzero(problem.bounded[n:])
    trace = problem.wanted[:n] @ own + problem.wanted[n:] @ k
    limits = [k[bounded] >= 0] if bounded.size else []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cp.Problem(cp.Minimize(trace - cp.log_det(q)), limits).solve(
                solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10
            )
    except (cp.error.SolverError, ValueError):
        return None
    if own.value is None or k.value is None:
        return None
    coupling = np.where(problem.bounded[n:], np.maximum(k.value, 0.0), k.value)
    # What an interior point leaves next to the bound stands for a coupling that is absent.
    small = problem.bounded[n:] & (coupling < 1e-7 * np.abs(coupling).max(initial=0.0))
    return np.concatenate([own.value, np.where(small, 0.0, coupling)])


def _start(problem: _Problem, cross: FloatArray) -> FloatArray:
    """Bethe's precision, exact on trees, with its couplings weakened until it is definite: each pair's
    [[1, ρ], [ρ, 1]]⁻¹ less the identity, summed."""
    n, (i, j) = problem.n, problem.edges.T
    rho = np.clip(cross, -0.999999, 0.999999)
    coupling = rho / (1 - rho**2)
    coupling = np.where(problem.bounded[n:], np.maximum(coupling, 0.0), coupling)
    own = rho * coupling
    diagonal = 1 + np.bincount(i, own, n) + np.bincount(j, own, n)
    # Largest dominant share of the couplings; at 1 it is Bethe's own.
    load = np.bincount(i, np.abs(coupling), n) + np.bincount(j, np.abs(coupling), n)
    share = np.minimum(1.0, 0.95 * diagonal / np.maximum(load, 1e-300))
    k = coupling * np.minimum(share[i], share[j])
    ground = diagonal - np.bincount(i, k, n) - np.bincount(j, k, n)
    return np.concatenate([ground, k])


def _newton(problem: _Problem, w: FloatArray, tolerance: float) -> tuple[FloatArray, float, int]:
    """Damped Newton; bounded couplings at zero that want to be negative are held there. CG beyond `NEWTON`
    parameters."""
    n, (i, j) = problem.n, problem.edges.T
    count, mismatch = 0, np.inf
    current = _dense_value(problem, w)
    assert current is not None
    for _ in range(100):
        value, s = current
        count += 1
        gradient = problem.wanted - problem.resistances(np.diagonal(s), s[i, j])
        held = problem.bounded & (w <= 0) & (gradient > 0)
        free = np.flatnonzero(~held)
        mismatch = float(np.abs(gradient[free]).max(initial=0.0))
        if mismatch < tolerance:
            break
        step = np.zeros_like(w)
        if w.size <= NEWTON:
            step[free] = _newton_step(problem, s, gradient, free)
        else:
            step[free] = _cg_step(problem, s, gradient, free)
        slope = float(gradient @ step)
        size, accepted = 1.0, False
        while size > 1e-10:
            new = w + size * step
            new = np.where(problem.bounded, np.maximum(new, 0.0), new)
            trial = _dense_value(problem, new)
            if trial is not None and trial[0] <= value + 1e-4 * float(gradient @ (new - w)) + 1e-13 * abs(
                value
            ):
                accepted = True
                break
            size *= 0.5
        if not accepted or trial is None:
            break
        w, current = new, trial
        # The decrement bounds what is left to gain: |slope|/2 nats.
        if -slope < 1e-4 * tolerance * n:
            break
    return w, mismatch, count


def _dense_value(problem: _Problem, w: FloatArray) -> tuple[float, FloatArray] | None:
    q = problem.matrix(w).toarray()
    factor, info = linalg.lapack.dpotrf(q, lower=1)
    if info != 0:
        return None
    logdet = 2 * float(np.log(np.diagonal(factor)).sum())
    s, info = linalg.lapack.dpotri(factor, lower=1)
    if info != 0:
        return None
    s = np.tril(s) + np.tril(s, -1).T
    return float(problem.wanted @ w) - logdet, s


def _newton_step(problem: _Problem, s: FloatArray, gradient: FloatArray, free: IntArray) -> FloatArray:
    n, (i, j) = problem.n, problem.edges.T
    rows = np.concatenate([s, s[i] - s[j]])  # a_eᵀ S
    reach = np.concatenate([rows[:, :n], rows[:, i] - rows[:, j]], axis=1)
    hessian = (reach**2)[np.ix_(free, free)]
    try:
        return np.asarray(linalg.cho_solve(linalg.cho_factor(hessian, lower=True), -gradient[free]))
    except linalg.LinAlgError:
        return np.asarray(-gradient[free] / np.diagonal(hessian))


def _cg_step(problem: _Problem, s: FloatArray, gradient: FloatArray, free: IntArray) -> FloatArray:
    """Conjugate gradients on H v = −gradient, H v = resistances of S A(v) S, preconditioned by the diagonal r_e²."""
    i, j = problem.edges.T
    full = np.zeros(gradient.size)
    curvature = problem.resistances(np.diagonal(s), s[i, j])[free] ** 2

    def apply(v: FloatArray) -> FloatArray:
        full[free] = v
        half = np.asarray(problem.matrix(full) @ s)
        variance = np.einsum("ij,ij->j", s, half)
        cross = (
            np.einsum("ij,ij->i", s[i], half.T[j])
            if i.size * s.shape[0] < 2**22
            else _pairwise(s, half, i, j)
        )
        return problem.resistances(variance, cross)[free]

    x = np.zeros(free.size)
    r = -gradient[free]
    z = r / curvature
    d, rz = z.copy(), float(r @ z)
    stop = min(0.1, np.sqrt(rz / free.size)) ** 2 * rz
    for _ in range(60):
        hd = apply(d)
        alpha = rz / float(d @ hd)
        x += alpha * d
        r -= alpha * hd
        z = r / curvature
        new = float(r @ z)
        if new < stop:
            break
        d, rz = z + new / rz * d, new
    return x


def _pairwise(s: FloatArray, half: FloatArray, i: IntArray, j: IntArray) -> FloatArray:
    """s_i · half_j for pairs, in pieces that stay in the cache."""
    columns = np.ascontiguousarray(half.T)
    out = np.empty(i.size)
    for at in range(0, i.size, 256):
        part = slice(at, at + 256)
        out[part] = np.einsum("ij,ij->i", s[i[part]], columns[j[part]])
    return out


def _lbfgs(
    problem: _Problem, w: FloatArray, tolerance: float, evaluations: int = 3000, memory: int = 20
) -> tuple[FloatArray, float, int]:
    """L-BFGS whose initial metric is the Hessian's diagonal r_e², on block-tridiagonal factors."""
    at = frame(problem.matrix(np.ones(w.size)))
    found = _sparse_value(problem, w, at)
    if found is None:
        raise ValueError("the start is not positive definite")
    w, found, used = _approach(problem, w, found, at)
    value, gradient, r = found
    pairs: list[tuple[FloatArray, FloatArray, float]] = []
    count, mismatch = 1 + used, np.inf
    while count < evaluations:
        held = problem.bounded & (w <= 0) & (gradient > 0)
        pull = np.where(held, 0.0, gradient)
        mismatch = float(np.abs(pull).max(initial=0.0))
        if mismatch < tolerance:
            break
        step = -np.where(held, 0.0, _two_loop(pull, pairs, 1.0 / r**2))
        if gradient @ step >= 0:
            pairs, step = [], -pull / r**2
        size, accepted = min(1.0, 1.0 / _load(problem, step * r)), False
        while size > 1e-8:
            new = w + size * step
            new = np.where(problem.bounded, np.maximum(new, 0.0), new)
            found = _sparse_value(problem, new, at)
            count += 1
            # A step that all but leaves the cone lowers the value but spoils the metric: resistances may grow
            # fourfold, not more.
            calm = found is not None and float((found[2] / r).max()) < 4.0
            if found is not None and calm and found[0] <= value + 1e-4 * float(gradient @ (new - w)):
                accepted = True
                break
            size *= 0.5
        if not accepted or found is None:
            if not pairs:
                break
            pairs = []
            continue
        s, y = new - w, found[1] - gradient
        sy = float(s @ y)
        if sy > 1e-12 * float(np.linalg.norm(s) * np.linalg.norm(y)):
            pairs = [*pairs[-(memory - 1) :], (s, y, sy)]
        w, (value, gradient, r) = new, found
    return w, mismatch, count


_Found = tuple[float, FloatArray, FloatArray]


def _approach(
    problem: _Problem, w: FloatArray, found: _Found, at: Frame, most: int = 60
) -> tuple[FloatArray, _Found, int]:
    """Steps in log w, which cannot leave the cone while all capacitors are positive: Δ log w_e = (r_e −
    R_e)/(w_e r_e²), cut to a factor of two, as long as they lower the value."""
    if not (w > 0).all():
        positive = np.where(w > 0, w, 1e-3 / problem.wanted)
        start = _sparse_value(problem, positive, at)
        if start is None or start[0] > found[0] + 0.2 * problem.n:
            return w, found, 1
        w, found = positive, start
    size = 1.0
    for k in range(most):
        value, gradient, r = found
        step = np.clip(-gradient / (w * r**2), -0.7, 0.7)
        new = w * np.exp(size * step)
        trial = _sparse_value(problem, new, at)
        if trial is None or trial[0] > value:
            size *= 0.5
            if size < 0.1:
                return w, found, k + 1
            continue
        gain, w, found = value - trial[0], new, trial
        size = min(1.0, 1.2 * size)
        if gain < 1e-3 * problem.n:
            return w, found, k + 1
    return w, found, most


def _load(problem: _Problem, relative: FloatArray) -> float:
    """The largest sum of relative changes |δ_e| r_e at a cell: about where a step would leave the cone."""
    n, (i, j), size = problem.n, problem.edges.T, np.abs(relative)
    return max(
        float((size[:n] + 0.5 * (np.bincount(i, size[n:], n) + np.bincount(j, size[n:], n))).max()), 1e-300
    )


def _two_loop(
    g: FloatArray, pairs: list[tuple[FloatArray, FloatArray, float]], metric: FloatArray
) -> FloatArray:
    q = g.copy()
    alphas = []
    for s, y, sy in reversed(pairs):
        alpha = float(s @ q) / sy
        alphas.append(alpha)
        q -= alpha * y
    if pairs:
        s, y, sy = pairs[-1]
        metric = metric * (sy / float(y @ (metric * y)))
    q = metric * q
    for (s, y, sy), alpha in zip(pairs, reversed(alphas)):
        q += (alpha - float(y @ q) / sy) * s
    return q


def _sparse_value(problem: _Problem, w: FloatArray, at: Frame) -> tuple[float, FloatArray, FloatArray] | None:
    factor: Factor | None = factorise(problem.matrix(w), at)
    if factor is None:
        return None
    cells = np.arange(problem.n)
    r = problem.resistances(
        factor.entries(cells, cells), factor.entries(problem.edges[:, 0], problem.edges[:, 1])
    )
    return float(problem.wanted @ w) - factor.logdet, problem.wanted - r, r
