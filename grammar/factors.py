"""Square roots, inverses and condition numbers of correlation matrices without a diagonalisation, which takes twenty times as
long as a Cholesky factor."""

from __future__ import annotations

import numpy as np

from spucc.arrays import FloatArray

# Eigenvalues below this part of the largest are zero.
RANK_TOLERANCE = 1e-12
# Up to this size a root is taken from the eigenvectors: coordinates that observations alike everywhere do not couple. Beyond,
# that takes longer than what the couplings cost.
DIAGONALISED = 2000
# How far a root of less than full rank may be from the correlations, entry by entry.
CLOSE = 1e-11
# Steps of a power iteration: some per cent.
STEPS = 30


def inverse_of(factor: FloatArray) -> FloatArray:
    """(L Lᵀ)⁻¹ of a lower factor."""
    from scipy.linalg.lapack import dpotri

    lower = np.tril(dpotri(factor, lower=1)[0])
    return np.asarray(lower + np.tril(lower, -1).T)


def condition(a: FloatArray, inverse: FloatArray, enough: float) -> float:
    """The condition number of a symmetric positive definite matrix: a bound by norms where that is below `enough`, else within
    some per cent."""
    bound = float(np.abs(a).sum(axis=1).max() * np.abs(inverse).sum(axis=1).max())
    return bound if bound < enough else _largest(a) * _largest(inverse)


def _largest(a: FloatArray) -> float:
    """The largest eigenvalue by power iteration: from below."""
    v = np.asarray(np.random.default_rng(0).normal(size=a.shape[0]))
    for _ in range(STEPS):
        v = np.asarray(a @ (v / np.linalg.norm(v)))
    return float(np.linalg.norm(v))


def quick_root(a: FloatArray, factor: FloatArray | None) -> FloatArray | None:
    """R with R Rᵀ = a of a large matrix: its Cholesky factor where it has one, else one of its rank; None for a small matrix and
    one that has no root."""
    n = a.shape[0]
    if n <= DIAGONALISED:
        return None
    if factor is not None and np.diagonal(factor).min() ** 2 > n * RANK_TOLERANCE:
        return factor
    from scipy.linalg.lapack import dpstrf

    lower, pivots, rank, _ = dpstrf(a, tol=RANK_TOLERANCE, lower=1)
    root = np.zeros((n, rank))
    root[pivots - 1] = np.tril(lower)[:, :rank]
    if np.abs(root @ root.T - a).max() > CLOSE:
        return None
    # The same root turned to the eigenvectors.
    return np.asarray((root @ np.linalg.eigh(root.T @ root)[1])[:, ::-1]) if 2 * rank < n else root
