"""The capacitor network within given ranges that is nearest in KL to a law: what a board's ranges cost a model.

Forward KL of N(0, K⁻¹) to N(0, (D⁻¹ A D⁻¹)⁻¹) is ½[tr(A Σ_D) − log det A + 2 Σ log d_i] + constant, Σ_D =
D⁻¹ΣD⁻¹. For fixed D it is convex in the capacitors of A, and for fixed A the best D minimises the convex ½
tᵀ(A∘Σ)t − Σ log t_i, t = 1/d (mapping §0.2). One step of each, then both together by L-BFGS in (log d, capacitors); the
result is a local minimum, and `range_floor` tells how far from the best it can be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse
from scipy.linalg import lapack

from spucc.arrays import FloatArray, IntArray
from spucc.passes.fitting.lossy import Lossy
from spucc.passes.fitting.spring_scaling import Box
from spucc.passes.realising.moments import inverse

Stop = Callable[[], bool]


FIRST = 25
"""Steps that are taken in any case: they gain most, and before them the network is nothing worth keeping."""


def never() -> bool:
    """Nobody asks for an early end."""
    return False


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
    k: sparse.csr_array,
    edges: IntArray,
    sign: FloatArray,
    box: Box,
    optimal: bool = False,
    scales: Sequence[FloatArray] | None = None,
    stop: Stop = never,
) -> Nearest:
    """The best of local searches from several scales d: those given, or Jacobi's and one between it and the conditional.

    `sign` [m] is −1 for negative couplers. Dense: O((n + m) n²) an evaluation, meant for n ≤ 300. Once `stop` says so each
    search ends where it stands.
    """
    sigma = inverse(k.toarray())
    if scales is None:
        high = np.where(np.isfinite(box.ground_high), box.ground_high, 1.0)
        root = np.sqrt(high / np.maximum(k.diagonal(), 1e-300))
        scales = (root, np.sqrt(root * np.sqrt(high * np.diagonal(sigma))))
    found: list[Nearest] = []
    for d in scales:
        if not found or not stop():
            found.append(_local(sigma, edges, sign, box, d, 1000 if optimal else 300, stop))
    return min(found, key=lambda near: near.divergence)


def _local(
    sigma: FloatArray,
    edges: IntArray,
    sign: FloatArray,
    box: Box,
    d: FloatArray,
    iterations: int,
    stop: Stop,
) -> Nearest:
    n = d.size
    low = np.concatenate([box.ground_low, box.coupling_low])
    high = np.concatenate([box.ground_high, box.coupling_high])
    high = np.where(
        np.isfinite(high), high, 1e3 * np.max(box.ground_high[np.isfinite(box.ground_high)], initial=1.0)
    )
    w = np.clip(np.concatenate([np.full(n, 0.3), np.full(edges.shape[0], 0.1)]) * high, low, high)
    w = _network_step(sigma / np.outer(d, d), edges, sign, w, low, high, stop)
    d = 1.0 / scale_step(matrix(n, edges, sign, w) * sigma, 1.0 / d)
    d, w = joint_step(sigma, edges, sign, d, w, low, high, iterations, stop=stop)
    a = matrix(n, edges, sign, w)
    d = 1.0 / scale_step(a * sigma, 1.0 / d)
    loss = np.abs(np.diagonal(a @ (sigma / np.outer(d, d))) - 1.0)
    return Nearest(d, w[:n], w[n:], law_divergence(a, sigma, d) / n, np.argsort(-loss)[:4].astype(np.int64))


def matrix(n: int, edges: IntArray, sign: FloatArray, w: FloatArray) -> FloatArray:
    """The dense matrix of ground capacitors w[:n] and couplers w[n:] of the given signs."""
    i, j, c = edges[:, 0], edges[:, 1], w[n:]
    a = np.diag(w[:n] + np.bincount(i, c, n) + np.bincount(j, c, n))
    a[i, j] = a[j, i] = -sign * c
    return a


def effective(s: FloatArray, edges: IntArray, sign: FloatArray) -> FloatArray:
    """a_eᵀ S a_e of every capacitor: S_ii to ground, S_ii + S_jj ∓ 2 S_ij across a coupler."""
    i, j, diagonal = edges[:, 0], edges[:, 1], np.diagonal(s)
    return np.concatenate([diagonal, diagonal[i] + diagonal[j] - 2 * sign * s[i, j]])


def _network_step(
    t: FloatArray,
    edges: IntArray,
    sign: FloatArray,
    w: FloatArray,
    low: FloatArray,
    high: FloatArray,
    stop: Stop,
) -> FloatArray:
    """min tr(A T) − log det A over the capacitors in [low, high], by L-BFGS-B in units of each one's own
    curvature."""
    wanted = effective(t, edges, sign)
    unit = 1.0 / np.maximum(wanted, 1e-300)

    def objective(z: FloatArray) -> tuple[float, FloatArray]:
        found = inverse_of(matrix(t.shape[0], edges, sign, z * unit))
        if found is None:
            return 1e30, np.zeros_like(z)
        s, logdet = found
        return float(wanted @ (z * unit)) - logdet, unit * (wanted - effective(s, edges, sign))

    z = bounded(objective, w / unit, low / unit, high / unit, 300, stop)
    return np.asarray(np.clip(z * unit, low, high))


def joint_step(
    sigma: FloatArray,
    edges: IntArray,
    sign: FloatArray,
    d: FloatArray,
    w: FloatArray,
    low: FloatArray,
    high: FloatArray,
    iterations: int,
    lossy: Lossy | None = None,
    stop: Stop = never,
) -> tuple[FloatArray, FloatArray]:
    """Scales and capacitors together: min ½ tr(A Σ_D) − ½ log det A + Σ log d over log d and the capacitors in range.

    With `lossy` for Λ(A) instead of A; then the mean of log d stays, as losses are least on the smallest capacitors, which
    are rounded worst.
    """
    n = d.size
    start = sigma / np.outer(d, d)
    unit = 1.0 / np.maximum(effective(start, edges, sign), 1e-300)

    def objective(z: FloatArray) -> tuple[float, FloatArray]:
        y = z[:n] if lossy is None else z[:n] - z[:n].mean()
        t = np.exp(y)
        a = matrix(n, edges, sign, z[n:] * unit)
        law = a if lossy is None else lossy.law(a)
        found = inverse_of(law)
        if found is None:
            return 1e30, np.zeros_like(z)
        s, logdet = found
        scaled = start * np.outer(t, t)
        own = law * scaled
        value = 0.5 * (float(own.sum()) - logdet) - float(y.sum())
        pull = scaled - s if lossy is None else lossy.back(a, scaled - s)
        slope = 0.5 * unit * effective(pull, edges, sign)
        turn = own.sum(axis=1) - 1.0
        return value, np.concatenate([turn if lossy is None else turn - turn.mean(), slope])

    reach = np.full(n, 40.0)
    z = bounded(
        objective,
        np.concatenate([np.zeros(n), w / unit]),
        np.concatenate([-reach, low / unit]),
        np.concatenate([reach, high / unit]),
        iterations,
        stop,
    )
    y = z[:n] if lossy is None else z[:n] - z[:n].mean()
    return np.asarray(d / np.exp(y)), np.asarray(np.clip(z[n:] * unit, low, high))


def bounded(
    objective: Callable[[FloatArray], tuple[float, FloatArray]],
    z: FloatArray,
    low: FloatArray,
    high: FloatArray,
    iterations: int,
    stop: Stop = never,
) -> FloatArray:
    """The z in [low, high] that L-BFGS-B ends at from z; `objective` gives value and gradient."""

    from scipy import optimize

    steps = 0

    def look(_: FloatArray) -> None:
        nonlocal steps
        steps += 1
        if steps >= FIRST and stop():
            raise StopIteration

    result = optimize.minimize(
        objective,
        np.clip(z, low, high),
        jac=True,
        method="L-BFGS-B",
        bounds=optimize.Bounds(low, high),
        callback=look,
        options={"maxiter": iterations, "maxfun": 2 * iterations, "ftol": 1e-13, "gtol": 1e-9, "maxcor": 30},
    )
    return np.asarray(np.clip(result.x, low, high))


def inverse_of(a: FloatArray) -> tuple[FloatArray, float] | None:
    """A⁻¹ and log det A; None when A is not positive definite."""
    factor, fault = lapack.dpotrf(a, lower=True)
    if fault:
        return None
    s, fault = lapack.dpotri(factor, lower=True)
    if fault:
        return None
    return np.tril(s) + np.tril(s, -1).T, 2 * float(np.log(np.diagonal(factor)).sum())


def scale_step(s: FloatArray, t: FloatArray) -> FloatArray:
    """min ½ tᵀ S t − Σ log t_i over t > 0 for a positive definite S (A∘Σ, by Schur's product theorem), by
    damped Newton in units of t."""
    for _ in range(60):
        scaled = s * np.outer(t, t)
        gradient = scaled.sum(axis=1) - 1.0
        step = linalg.solve(scaled + np.eye(t.size), -gradient, assume_a="pos")
        decrement = float(np.sqrt(max(-gradient @ step, 0.0)))
        # The function is self-concordant: 1/(1+λ) is a safe step.
        t = t * (1.0 + (step / (1.0 + decrement) if decrement > 0.25 else step))
        if decrement < 1e-10:
            break
    return t


def law_divergence(a: FloatArray, sigma: FloatArray, d: FloatArray) -> float:
    """KL(N(0, Σ) ‖ N(0, D A⁻¹ D)) in nats, from the eigenvalues of the whitened precision."""
    factor = linalg.cholesky(sigma / np.outer(d, d), lower=True)
    values = np.maximum(linalg.eigvalsh(factor.T @ a @ factor), 1e-300)
    return 0.5 * float(np.sum(values - 1.0 - np.log(values)))
