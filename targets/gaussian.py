"""Independent draws of a Gaussian given by its precision: x = mean + L⁻ᵀ z with K = L Lᵀ, z standard normal.

Dense and small matrices go through LAPACK and one product a batch, large sparse ones through nested
dissection (`spucc.targets.multifrontal`); a matrix is never made dense where the factor can be sparse.
"""

from __future__ import annotations

from typing import Any, Never, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from spucc.arrays import FloatArray
from spucc.diagnostics import fail

# Below this order a dense factor is always quicker than any sparse one.
DENSE_ORDER = 384
# A sparse matrix with a larger share of entries than this is treated as dense.
DENSE_SHARE = 0.1
# Rows of random numbers that one product takes: they stay in the cache between their making and their use.
_CACHED = 2**16


class Factor(Protocol):
    """A matrix square root of a covariance: draws of N(0, Σ) are standard normal numbers times its
    transpose."""

    @property
    def n(self) -> int: ...

    @property
    def logdet(self) -> float:
        """log det of the precision."""
        ...

    def colour(self, z: NDArray[Any]) -> NDArray[Any]:
        """z [m, n] standard normal → m draws [m, n] of N(0, Σ). `z` may be overwritten."""
        ...

    def solve(self, b: FloatArray) -> FloatArray:
        """Σ b for b [n] or [n, m]."""
        ...


class DenseFactor:
    """T upper triangular with T Tᵀ = Σ = K⁻¹, so that one triangular product a batch makes the draws."""

    def __init__(self, precision: FloatArray, dtype: Any = np.float64) -> None:
        lower = cholesky(precision)
        self.logdet = 2.0 * float(np.log(np.diagonal(lower)).sum())
        inverse, info = linalg.lapack.dtrtri(lower, lower=1)
        if info != 0:
            _not_positive()
        self._inverse = np.ascontiguousarray(inverse)
        self._product = np.ascontiguousarray(self._inverse, dtype=dtype)
        self.n = int(precision.shape[0])

    def colour(self, z: NDArray[Any]) -> NDArray[Any]:
        return product(z, self._product)

    def solve(self, b: FloatArray) -> FloatArray:
        return np.asarray(self._inverse.T @ (self._inverse @ b))


class CovarianceFactor:
    """The same from a dense covariance Σ, which may be singular."""

    def __init__(self, covariance: FloatArray, dtype: Any = np.float64) -> None:
        self._covariance = covariance
        self._root = root(covariance)
        self._product = np.ascontiguousarray(self._root.T, dtype=dtype)
        self.n = int(covariance.shape[0])

    @property
    def logdet(self) -> float:
        return -float(np.linalg.slogdet(self._covariance)[1])

    def colour(self, z: NDArray[Any]) -> NDArray[Any]:
        return product(z, self._product)

    def solve(self, b: FloatArray) -> FloatArray:
        return np.asarray(self._covariance @ b)


def product(z: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """z @ right in stretches that stay in the cache."""
    out = np.empty((z.shape[0], right.shape[1]), dtype=z.dtype)
    step = max(64, _CACHED // max(z.shape[1], 1))
    for start in range(0, z.shape[0], step):
        np.matmul(z[start : start + step], right, out=out[start : start + step])
    return out


def cholesky(matrix: FloatArray) -> FloatArray:
    """The lower Cholesky factor. Raises E0721 where the matrix is not positive definite."""
    lower, info = linalg.lapack.dpotrf(matrix, lower=1, clean=1)
    if info != 0 or not np.isfinite(lower).all():
        _not_positive()
    return np.asarray(lower)


def root(covariance: FloatArray) -> FloatArray:
    """R with R Rᵀ = Σ for a positive semidefinite Σ [n, n]; eigenvalues below rounding count as zero.

    Raises E0721 for a matrix with eigenvalues below −1e-8 of the largest.
    """
    size = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    size[size == 0] = 1.0
    scaled = covariance / size[:, None] / size
    if not np.isfinite(scaled).all():
        _not_positive()
    values, vectors = np.linalg.eigh(0.5 * (scaled + scaled.T))
    if values.size and values[0] < -1e-8 * max(values[-1], 1.0):
        _not_positive()
    return np.asarray(size[:, None] * vectors * np.sqrt(np.maximum(values, 0.0)))


def factorise(precision: sparse.csr_array | FloatArray, dtype: Any = np.float64) -> Factor:
    """The factor of a symmetric positive definite precision [n, n], dense or sparse as it pays.

    Raises:
        SpuccError: E0721 where the matrix is not positive definite.
    """
    n = int(precision.shape[0])
    if not isinstance(precision, np.ndarray):
        if n > DENSE_ORDER and precision.nnz < DENSE_SHARE * n * n:
            from spucc.targets.multifrontal import SparseFactor

            return SparseFactor(sparse.csr_array(precision), dtype)
        precision = precision.toarray()
    return DenseFactor(np.asarray(precision, dtype=np.float64), dtype)


def _not_positive() -> Never:
    fail(
        "E0721",
        "the configuration makes a network without a stable law: its matrix is not positive definite",
        help="the codes ask for more coupling than the ground components carry; compile again",
    )
