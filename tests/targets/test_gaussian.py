"""Factors of precisions, dense and sparse, against LAPACK, closed forms and the definition of a draw."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from spucc.diagnostics import SpuccError
from spucc.targets.chebyshev import FunctionFactor
from spucc.targets.dissection import dissect
from spucc.targets.gaussian import BandedFactor, CovarianceFactor, DenseFactor, Factor, factorise, root
from spucc.targets.multifrontal import SparseFactor

from . import circuits_by_hand as hand


def wishart(n: int, seed: int) -> np.ndarray:
    w = np.random.default_rng(seed).standard_normal((n, 2 * n))
    return np.asarray(w @ w.T / (2 * n))


def transfer(factor: Factor) -> np.ndarray:
    """The matrix T of x = z T, column by column, from unit vectors."""
    n, rows = factor.n, -(-factor.n // factor.tile) * factor.tile
    return np.asarray(factor.colour(np.eye(rows, n)))[:n]


@pytest.mark.parametrize("n", [1, 2, 7, 64, 200, 300])
def test_dense_factor_squares_to_the_covariance(n: int) -> None:
    k = wishart(n, n)
    factor = DenseFactor(k)
    t = transfer(factor)
    assert np.allclose(t.T @ t @ k, np.eye(n), atol=1e-9)
    assert np.isclose(factor.logdet, np.linalg.slogdet(k)[1])
    b = np.random.default_rng(0).standard_normal((n, 3))
    assert np.allclose(factor.solve(b), np.linalg.solve(k, b), atol=1e-9)


def irregular(n: int, seed: int) -> sparse.csr_array:
    """A connected random graph with a hub that touches every node and another component beside it."""
    rng = np.random.default_rng(seed)
    i = np.arange(1, n)
    parent = (i * rng.random(n - 1)).astype(int)
    rows = np.concatenate([i, np.full(n - 1, 0), rng.integers(0, n, n // 4)])
    cols = np.concatenate([parent, i, rng.integers(0, n, n // 4)])
    keep = rows != cols
    a = sparse.coo_array((-rng.random(keep.sum()), (rows[keep], cols[keep])), shape=(n, n)).tocsr()
    a = sparse.csr_array(a + a.T)
    a = sparse.csr_array(a + sparse.diags_array(np.asarray(abs(a).sum(axis=1)).ravel() + 0.1))
    return sparse.csr_array(sparse.block_diag([a, hand.lattice(9, 11)], format="csr"))


SPARSE = {
    "lattice": lambda: hand.lattice(30, 41),
    "path": lambda: hand.lattice(1, 900),
    "irregular": lambda: irregular(900, 1),
    "diagonal": lambda: sparse.csr_array(sparse.diags_array(np.linspace(1.0, 2.0, 500))),
    "thin": lambda: hand.lattice(3, 250),
}


@pytest.mark.parametrize("kind", SPARSE)
def test_sparse_factor_against_dense_linear_algebra(kind: str) -> None:
    k = sparse.csr_array(SPARSE[kind]())
    n = k.shape[0]
    factor = SparseFactor(k)
    dense = k.toarray()
    b = np.random.default_rng(0).standard_normal((n, 3))
    assert np.allclose(factor.solve(b), np.linalg.solve(dense, b), rtol=1e-8, atol=1e-9)
    assert np.allclose(factor.solve(b[:, 0]), np.linalg.solve(dense, b[:, 0]), rtol=1e-8, atol=1e-9)
    assert np.isclose(factor.logdet, np.linalg.slogdet(dense)[1])
    t = transfer(factor)
    assert np.allclose(t.T @ t @ dense, np.eye(n), atol=1e-7)


def test_dissection_is_a_permutation_and_the_factor_stays_lean() -> None:
    k = hand.lattice(100, 100)
    tree = dissect(k)
    assert np.array_equal(np.sort(tree.order), np.arange(10_000))
    assert tree.starts[0][-1] == 10_000 and tree.starts[-1][0] == 0
    # 31/4 n log₂ n entries is George's bound for a square lattice; padding of fronts takes its share.
    assert SparseFactor(k).size < 2.0 * 7.75 * 10_000 * np.log2(10_000) / 2


def test_large_lattice_logdet_is_the_closed_form() -> None:
    m = 150
    wave = 2.0 - 2.0 * np.cos(np.pi * np.arange(1, m + 1) / (m + 1))
    factor = factorise(hand.lattice(m, m, 0.3))
    assert np.isclose(factor.logdet, np.log(wave[:, None] + wave + 0.3).sum(), rtol=1e-12)


def test_draws_of_a_large_lattice_have_the_model_as_their_energy() -> None:
    k = hand.lattice(120, 120)
    n = k.shape[0]
    z = np.random.default_rng(5).standard_normal((16, n))
    x = factorise(k).colour(z.copy())
    # xᵀKx = zᵀz draw by draw, to rounding: exact, no statistics.
    assert np.allclose(np.einsum("ki,ik->k", x, k @ x.T), (z * z).sum(axis=1), rtol=1e-10)


def test_single_precision_draws_are_the_double_ones_rounded() -> None:
    k = hand.lattice(40, 40)
    z = np.random.default_rng(5).standard_normal((16, 1600))
    double = factorise(k).colour(z.copy())
    single = factorise(k, np.float32).colour(z.astype(np.float32))
    assert single.dtype == np.float32
    assert np.allclose(single, double, atol=2e-5)


@pytest.mark.parametrize(
    "k",
    [
        np.array([[1.0, 2.0], [2.0, 1.0]]),
        np.array([[np.nan]]),
        sparse.csr_array(hand.lattice(30, 30) - 1.0 * sparse.eye_array(900)),
        np.zeros((3, 3)),
    ],
)
def test_what_is_not_positive_definite_is_an_error(k: np.ndarray | sparse.csr_array) -> None:
    with pytest.raises(SpuccError, match="E0721"):
        factorise(k)


def test_a_tangled_factor_is_refused_before_it_is_made() -> None:
    rng = np.random.default_rng(0)
    a = sparse.random_array((3000, 3000), density=0.004, rng=rng)
    k = sparse.csr_array(a + a.T + 40 * sparse.eye_array(3000))
    with pytest.raises(SpuccError, match="E0724"):
        SparseFactor(k, limit=1e7)


def test_root_takes_singular_covariances_of_any_units() -> None:
    rng = np.random.default_rng(1)
    b = rng.standard_normal((6, 3)) * np.array([1, 1e-6, 1e3, 1e-9, 1, 1])[:, None]
    s = b @ b.T
    r = root(s)
    size = np.sqrt(np.diagonal(s))
    assert np.allclose((r @ r.T) / size[:, None] / size, s / size[:, None] / size, atol=1e-12)
    with pytest.raises(SpuccError, match="E0721"):
        root(np.diag([1.0, -1.0]))


def test_function_factor_is_the_matrix_function() -> None:
    k = hand.lattice(9, 10, 0.5)
    values, vectors = np.linalg.eigh(k.toarray())
    s = (vectors * (1.0 / (values + values**2))) @ vectors.T
    factor = FunctionFactor(k, lambda m: 1.0 / (m + m * m), "float64")
    t = transfer(factor)
    assert np.allclose(t.T @ t, s, atol=1e-9)
    assert np.allclose(factor.solve(np.eye(90)), s, atol=1e-9)
    assert np.isclose(factor.logdet, -np.linalg.slogdet(s)[1])
    assert np.isclose(CovarianceFactor(s).logdet, factor.logdet)


def test_draws_are_gaussian() -> None:
    """Whitened χ² of 4000 draws of 12 coordinates; false-alarm rate 1e-6 for each of the two sides."""
    k = wishart(12, 3)
    z = np.random.default_rng(11).standard_normal((4096, 12))
    x = DenseFactor(k).colour(z)
    total = float(np.einsum("ki,ij,kj->", x, k, x))
    assert stats.chi2.ppf(1e-6, 4096 * 12) < total < stats.chi2.isf(1e-6, 4096 * 12)


@pytest.mark.parametrize("width", [0, 1, 3])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_bands_are_factored_as_bands(width: int, dtype: str) -> None:
    """Independent variables and time series: draws are Lᵀ-solves of the numbers, log det and solves are the dense ones."""
    n = 500
    rng = np.random.default_rng(width)
    diagonals = [
        np.full(n - k, 2.5 if k == 0 else -1.0 / (1 + k)) * (1 + 0.1 * rng.random(n - k))
        for k in range(width + 1)
    ]
    upper = sparse.diags_array(diagonals, offsets=list(range(width + 1)))
    precision = sparse.csr_array(upper + sparse.triu(upper, k=1).T)
    factor = factorise(precision, dtype)
    assert isinstance(factor, BandedFactor)
    dense = precision.toarray()
    assert factor.logdet == pytest.approx(np.linalg.slogdet(dense)[1], rel=1e-12)
    np.testing.assert_allclose(factor.solve(np.eye(n)), np.linalg.inv(dense), atol=1e-12)
    z = rng.normal(size=(3, n)).astype(dtype)
    expected = np.linalg.solve(np.linalg.cholesky(dense).T, z.T.astype(float)).T
    np.testing.assert_allclose(
        factor.colour(z.copy()), expected, rtol=1e-5 if dtype == "float32" else 1e-10, atol=1e-5
    )
