"""The capacitor network within given ranges that is nearest in KL to a law: the representability floor of a board.

Forward KL of N(0, K⁻¹) to N(0, (D⁻¹ A D⁻¹)⁻¹) is ½[tr(A Σ_D) − log det A + 2 Σ log d_i] + constant, Σ_D =
D⁻¹ΣD⁻¹. For fixed D it is convex in the capacitors of A, and for fixed A the best D minimises the convex ½
tᵀ(A∘Σ)t − Σ log t_i, t = 1/d (mapping §0.2). The two steps alternate; the result is a local minimum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize, sparse

from spucc.arrays import FloatArray, IntArray
from spucc.passes.fitting.spring_scaling import Box
from spucc.passes.realising.moments import inverse


@dataclass(frozen=True, eq=False)
class Nearest:
    """Scales d [n], total ground capacitors [n] and coupler magnitudes [m], the divergence in nats per cell, and the
    positions that lose most, worst first."""

    scale: FloatArray
    ground: FloatArray
    coupling: FloatArray
    divergence: float
    worst: IntArray


def nearest_in_box(
    k: sparse.csr_array, edges: IntArray, sign: FloatArray, box: Box, rounds: int = 60, optimal: bool = False
) -> Nearest:
    """Alternate between the capacitors and the scales, from two starts, until a round gains under 0.1 %.

    `sign` [m] is −1 for negative couplers. Dense: O((n + m) n²) an evaluation, meant for n ≤ 300.
    """
    sigma = inverse(k.toarray())
    n = sigma.shape[0]
    high = np.where(np.isfinite(box.ground_high), box.ground_high, 1.0)
    best: Nearest | None = None
    root = np.sqrt(high / np.maximum(k.diagonal(), 1e-300))
    conditional = np.sqrt(high * np.diagonal(sigma))
    for start in (root, np.sqrt(root * conditional)):
        found = _alternate(sigma, edges, sign, box, start, rounds, tight=optimal)
        if best is None or found.divergence < best.divergence:
            best = found
    assert best is not None and best.scale.size == n
    return best


def _alternate(
    sigma: FloatArray, edges: IntArray, sign: FloatArray, box: Box, d: FloatArray, rounds: int, tight: bool
) -> Nearest:
    n = d.size
    i, _j = edges[:, 0], edges[:, 1]
    low = np.concatenate([box.ground_low, box.coupling_low])
    high = np.concatenate([box.ground_high, box.coupling_high])
    high = np.where(
        np.isfinite(high), high, 1e3 * np.max(box.ground_high[np.isfinite(box.ground_high)], initial=1.0)
    )
    w = np.clip(np.concatenate([np.full(n, 0.3), np.full(i.size, 0.1)]) * high, low, high)
    w[:n] = np.maximum(w[:n], 1e-6 * high[:n])
    previous = np.inf
    for _ in range(rounds):
        w = _network_step(sigma / np.outer(d, d), edges, sign, w, low, high)
        a = matrix(n, edges, sign, w)
        d = 1.0 / scale_step(a * sigma, 1.0 / d)
        value = _divergence(a, sigma, d)
        if previous - value < (1e-5 if tight else 1e-3) * abs(value) + 1e-13:
            break
        previous = value
    a = matrix(n, edges, sign, w)
    t = sigma / np.outer(d, d)
    loss = np.abs(np.diagonal(a @ t) - 1.0)
    return Nearest(d, w[:n], w[n:], _divergence(a, sigma, d) / n, np.argsort(-loss)[:4].astype(np.int64))


def matrix(n: int, edges: IntArray, sign: FloatArray, w: FloatArray) -> FloatArray:
    """The dense matrix of ground capacitors w[:n] and couplers w[n:] of the given signs."""
    i, j, c = edges[:, 0], edges[:, 1], w[n:]
    a = np.diag(w[:n] + np.bincount(i, c, n) + np.bincount(j, c, n))
    a[i, j] = a[j, i] = -sign * c
    return a


def _network_step(
    t: FloatArray, edges: IntArray, sign: FloatArray, w: FloatArray, low: FloatArray, high: FloatArray
) -> FloatArray:
    """min tr(A T) − log det A over the capacitors in [low, high], by L-BFGS-B in units of each one's own
    curvature."""
    n = t.shape[0]
    i, j = edges[:, 0], edges[:, 1]

    def effective(s: FloatArray) -> FloatArray:
        diagonal = np.diagonal(s)
        return np.concatenate([diagonal, diagonal[i] + diagonal[j] - 2 * sign * s[i, j]])

    wanted = effective(t)
    unit = 1.0 / np.maximum(wanted, 1e-300)

    def objective(z: FloatArray) -> tuple[float, FloatArray]:
        a = matrix(n, edges, sign, z * unit)
        try:
            factor = linalg.cholesky(a, lower=True)
        except linalg.LinAlgError:
            return 1e30, np.zeros_like(z)
        half = linalg.solve_triangular(factor, np.eye(n), lower=True)
        value = float(wanted @ (z * unit)) - 2 * float(np.log(np.diagonal(factor)).sum())
        return value, unit * (wanted - effective(half.T @ half))

    bounds = optimize.Bounds(low / unit, high / unit)
    result = optimize.minimize(
        objective,
        np.clip(w / unit, bounds.lb, bounds.ub),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 300, "maxfun": 600, "ftol": 1e-13, "gtol": 1e-9, "maxcor": 20},
    )
    return np.asarray(np.clip(np.clip(result.x, bounds.lb, bounds.ub) * unit, low, high))


def scale_step(s: FloatArray, t: FloatArray) -> FloatArray:
    """min ½ tᵀ S t − Σ log t_i over t > 0 for a positive definite S (A∘Σ, by Schur's product theorem), by
    damped Newton."""
    for _ in range(50):
        gradient = s @ t - 1.0 / t
        hessian = s + np.diag(1.0 / t**2)
        step = linalg.solve(hessian, -gradient, assume_a="pos")
        decrement = float(np.sqrt(max(-gradient @ step, 0.0)))
        # The function is self-concordant: 1/(1+λ) is a safe step.
        t = t + step / (1.0 + decrement) if decrement > 0.25 else t + step
        if decrement < 1e-10:
            break
    return t


def _divergence(a: FloatArray, sigma: FloatArray, d: FloatArray) -> float:
    """KL in nats, from the eigenvalues of the whitened precision."""
    factor = linalg.cholesky(sigma / np.outer(d, d), lower=True)
    values = np.maximum(linalg.eigvalsh(factor.T @ a @ factor), 1e-300)
    return 0.5 * float(np.sum(values - 1.0 - np.log(values)))
