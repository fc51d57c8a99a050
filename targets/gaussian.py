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
# Up to this distance from the diagonal a large sparse matrix is treated as a band.
BANDED = 16
# From this order on the product with a triangle beats the one with a square.
_TRIANGULAR = 192


class Factor(Protocol):
    """A matrix square root of a covariance: draws of N(0, Σ) are standard normal numbers times its
    transpose."""

    @property
    def n(self) -> int: ...

    @property
    def logdet(self) -> float:
        """log det of the precision."""
        ...

    @property
    def tile(self) -> int:
        """How many draws are made by one product."""
        ...

    def colour(self, z: NDArray[Any]) -> NDArray[Any]:
        """z [m, n] standard normal → m draws [m, n] of N(0, Σ); m is a multiple of `tile`. `z` may be
        overwritten.

        A draw's bytes depend on its numbers and its place in its tile, not on the other tiles: products of
        one shape round alike, those of different shapes do not.
        """
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
        self._inverse = np.asarray(inverse)
        self.n = int(precision.shape[0])
        self.tile = tile_of(self.n)
        self._triangle = np.asarray(inverse, dtype=dtype, order="F" if self.n >= _TRIANGULAR else "C")
        kind = linalg.blas.strmm if self._triangle.dtype == np.float32 else linalg.blas.dtrmm
        self._trmm = kind if self.n >= _TRIANGULAR else None

    def colour(self, z: NDArray[Any]) -> NDArray[Any]:
        if self._trmm is None:
            return product(z, self._triangle, self.tile)
        for start in range(0, z.shape[0], self.tile):
            # In place: the transpose of a stretch of rows is what Fortran calls a matrix.
            rows = z[start : start + self.tile].T
            self._trmm(1.0, self._triangle, rows, lower=1, trans_a=1, overwrite_b=1)
        return z

    def solve(self, b: FloatArray) -> FloatArray:
        return np.asarray(self._inverse.T @ (self._inverse @ b))


class CovarianceFactor:
    """The same from a dense covariance Σ, which may be singular."""

    def __init__(self, covariance: FloatArray, dtype: Any = np.float64) -> None:
        self._covariance = covariance
        self._root = root(covariance)
        self._product = np.ascontiguousarray(self._root.T, dtype=dtype)
        self.n = int(covariance.shape[0])
        self.tile = tile_of(self.n)

    @property
    def logdet(self) -> float:
        return -float(np.linalg.slogdet(self._covariance)[1])

    def colour(self, z: NDArray[Any]) -> NDArray[Any]:
        return product(z, self._product, self.tile)

    def solve(self, b: FloatArray) -> FloatArray:
        return np.asarray(self._covariance @ b)


class BandedFactor:
    """The Cholesky factor of a band matrix (independent variables, time series), by LAPACK."""

    tile = 1

    def __init__(self, precision: sparse.csr_array, dtype: Any = np.float64) -> None:
        width = bandwidth(precision)
        self.n = int(precision.shape[0])
        entries = sparse.coo_array(precision)
        lower = entries.row >= entries.col
        band = np.zeros((width + 1, self.n), order="F")
        np.add.at(band, (entries.row[lower] - entries.col[lower], entries.col[lower]), entries.data[lower])
        factor, info = linalg.lapack.dpbtrf(band, lower=1)
        if info != 0 or not np.isfinite(factor[0]).all():
            _not_positive()
        self._factor = factor
        self._band = np.asarray(factor, dtype=dtype, order="F")
        self._solve = linalg.lapack.stbtrs if self._band.dtype == np.float32 else linalg.lapack.dtbtrs
        self.logdet = 2.0 * float(np.log(factor[0]).sum())

    def colour(self, z: NDArray[Any]) -> NDArray[Any]:
        # Rows of z are the columns of what Fortran solves in place: Lᵀ x = z.
        x, _ = self._solve(self._band, z.T, uplo="L", trans="T", overwrite_b=1)
        return np.asarray(x.T)

    def solve(self, b: FloatArray) -> FloatArray:
        return np.asarray(linalg.cho_solve_banded((self._factor, True), b))


def bandwidth(matrix: sparse.csr_array) -> int:
    """The largest distance of a stored entry from the diagonal."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return int(np.abs(rows - matrix.indices).max(initial=0))


def tile_of(n: int) -> int:
    """Rows of a tile: many enough for a good product, few enough to stay in the cache and to waste little."""
    return 256 if n <= 128 else 64


def product(z: NDArray[Any], right: NDArray[Any], tile: int) -> NDArray[Any]:
    """z @ right, tile by tile."""
    out = np.matmul(z.reshape(-1, tile, z.shape[1]), right)
    return np.asarray(out.reshape(z.shape[0], right.shape[1]))


def cholesky(matrix: FloatArray) -> FloatArray:
    """The lower Cholesky factor. Raises E0721 where the matrix is not positive definite."""
    lower, info = linalg.lapack.dpotrf(matrix, lower=1, clean=1)
    if info != 0 or not np.isfinite(lower).all():
        _not_positive()
    return np.asarray(lower)


def root(covariance: FloatArray) -> FloatArray:
    """R with R Rᵀ = Σ for a positive semidefinite Σ [n, n]: Cholesky's, or the symmetric one where Σ is close
    to singular; eigenvalues below rounding count as zero.

    Raises E0721 for a matrix with eigenvalues below −1e-8 of the largest.
    """
    size = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    size[size == 0] = 1.0
    scaled = covariance / size[:, None] / size
    if not np.isfinite(scaled).all():
        _not_positive()
    lower, info = linalg.lapack.dpotrf(scaled, lower=1, clean=1)
    if info == 0 and np.diagonal(lower).min(initial=1.0) > 1e-6:
        return np.asarray(size[:, None] * lower)
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
            if bandwidth(precision) <= BANDED:
                return BandedFactor(precision, dtype)
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
