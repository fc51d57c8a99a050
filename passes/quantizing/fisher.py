"""The law that a board makes of a dense codebook point, and how far it is from the law wanted.

Realised: cells y ~ N(0, A⁻¹) read as x = R diag(r) y, covariance Σ_l; wanted: covariance Σ. R is the identity unless
chains of cells are read as one variable (then R is `embed`'s read-out). All divergences are forward,
KL = ½[tr(QΣ) − logdet(QΣ) − L], Q = Σ_l⁻¹ (mapping.md §0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from spucc.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class Law:
    """The law wanted: `cov` [L, L], read from cells by `read` [L, n] (None: every cell is a variable)."""

    cov: FloatArray
    read: FloatArray | None = None


@dataclass(eq=False)
class Point:
    """S = A⁻¹, H = YΣ_lYᵀ and Z = YΣYᵀ with Y = S R̃ᵀQ, R̃ = R diag(r): for a change K → K + dK the divergence changes by
    ½ tr(dK (Z − H)), and ¼ tr(dK H dK H) is its curvature at the optimum. Without a read-out matrix H = S."""

    s: FloatArray
    h: FloatArray
    z: FloatArray


def point(law: Law, precision: FloatArray, r: FloatArray) -> Point:
    """The matrices of a positive definite precision [n, n] read with scales r [n]. Raises LinAlgError if it is not."""
    s = inverse(precision)
    if law.read is None:
        return Point(s, s, law.cov / np.outer(r, r))
    reading = law.read * r
    half = s @ reading.T
    realised = reading @ half
    y = half @ inverse(realised)
    return Point(s, y @ realised @ y.T, y @ law.cov @ y.T)


def inverse(matrix: FloatArray) -> FloatArray:
    """The inverse of a symmetric positive definite matrix, scaled to a unit diagonal first: badly scaled models keep
    their digits. Raises LinAlgError if it is not."""
    diagonal = np.diagonal(matrix)
    if not (diagonal > 0).all():
        raise linalg.LinAlgError("a diagonal entry is not positive")
    scale = 1.0 / np.sqrt(diagonal)
    factor = linalg.cholesky(matrix * np.outer(scale, scale), lower=True, check_finite=False)
    half = linalg.solve_triangular(factor, np.diag(scale), lower=True, check_finite=False)
    return np.asarray(half.T @ half)


def divergence(law: Law, precision: FloatArray, r: FloatArray) -> float:
    """KL(wanted ‖ realised) in nats, from the eigenvalues of the whitened precision, so that it is right to
    about 1e-16 · cond even when it is tiny; inf when the precision is not positive definite."""
    if not (np.diagonal(precision) > 0).all():
        return float("inf")
    try:
        root = linalg.cholesky(law.cov, lower=True)
        if law.read is None:
            half = root / r[:, None]
            excess = linalg.eigvalsh(half.T @ precision @ half) - 1.0
            if excess[0] < -0.99:
                # What is left of 1 has to be more than the rounding of the products.
                size = np.abs(half)
                excess[0] -= len(r) * np.finfo(float).eps * (size.T @ np.abs(precision) @ size).max()
        else:
            reading = law.read * r
            realised = reading @ inverse(precision) @ reading.T
            half = linalg.solve_triangular(root, realised, lower=True)
            share = linalg.eigvalsh(linalg.solve_triangular(root, half.T, lower=True))
            excess = (1.0 - share) / share
    except linalg.LinAlgError:
        return float("inf")
    if not (excess > -1.0).all():
        return float("inf")
    return float(0.5 * np.sum(excess - np.log1p(excess)))


def definite(matrix: FloatArray) -> bool:
    """Whether a symmetric matrix is positive definite."""
    try:
        np.linalg.cholesky(matrix)
    except linalg.LinAlgError:
        return False
    return True


def refit(law: Law, precision: FloatArray, r: FloatArray, steps: int = 30) -> FloatArray:
    """The read-out scales r [n] of least divergence for a given precision, from a start.

    Cells read one by one: d = 1/r minimises ½ dᵀ(A∘Σ)d − Σ log d, convex and self-concordant (mapping.md §0.2), by damped
    Newton steps. Chains: Gauss–Newton on log r with backtracking, as good as its start. A precision that is not positive
    definite leaves r as it is.
    """
    if not definite(precision):
        return r
    if law.read is not None:
        return _refit_chains(law, precision, r, steps)
    d = refit_plain(precision * law.cov, 1.0 / r, steps)
    return np.asarray(1.0 / d)


def refit_plain(weights: FloatArray, d: FloatArray, steps: int = 30) -> FloatArray:
    """argmin ½ dᵀWd − Σ log d > 0 for W [..., n, n] from d [..., n], in the variables log d (Newton, damped)."""
    n = d.shape[-1]
    eye = np.arange(n)
    for _ in range(steps):
        scaled = weights * d[..., :, None] * d[..., None, :]
        gradient = scaled.sum(axis=-1) - 1.0
        scaled[..., eye, eye] += 1.0
        step = np.linalg.solve(scaled, gradient[..., None])[..., 0]
        decrement = np.sqrt(np.maximum(np.einsum("...i,...i->...", step, gradient), 0.0))
        d = d * (1.0 - step / (1.0 + decrement[..., None]) * _inside(step, decrement))
        if np.all(decrement < 1e-9):
            break
    return d


def _inside(step: FloatArray, decrement: FloatArray) -> FloatArray:
    """1, or less where the full step would leave d > 0."""
    largest = np.max(step, axis=-1) / (1.0 + decrement)
    return np.asarray(np.where(largest < 0.9, 1.0, 0.9 / np.maximum(largest, 1e-300)))[..., None]


def _refit_chains(law: Law, precision: FloatArray, r: FloatArray, steps: int) -> FloatArray:
    assert law.read is not None
    s = inverse(precision)
    best = _chain_loss(law, s, r)
    for _ in range(steps):
        reading = law.read * r
        half = s @ reading.T
        realised = reading @ half
        q = inverse(realised)
        y = half @ q
        qr = q @ reading
        gradient = -np.einsum("la,al->a", qr, y @ (law.cov - realised))
        curvature = (reading.T @ qr) * (y @ realised @ y.T) + (y @ reading) * (y @ reading).T
        curvature[np.diag_indices_from(curvature)] *= 1.0 + 1e-9
        curvature[np.diag_indices_from(curvature)] += 1e-12
        step = -np.linalg.solve(curvature, gradient)
        share = min(1.0, 0.5 / max(float(np.abs(step).max()), 1e-300))
        while share > 1e-4:
            trial = r * np.exp(share * step)
            value = _chain_loss(law, s, trial)
            if value < best:
                break
            share *= 0.5
        else:
            break
        gain, best, r = best - value, value, trial
        if gain < 1e-13 * max(1.0, abs(best)):
            break
    return r


def _chain_loss(law: Law, s: FloatArray, r: FloatArray) -> float:
    assert law.read is not None
    reading = law.read * r
    realised = reading @ s @ reading.T
    try:
        factor = linalg.cho_factor(realised)
    except linalg.LinAlgError:
        return float("inf")
    return float(0.5 * np.trace(linalg.cho_solve(factor, law.cov)) + np.sum(np.log(np.diagonal(factor[0]))))
