"""`project`: against cvxpy, against the moment conditions, and against the closed form on chordal patterns."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import sparse

from spucc.device import TopologySpec
from spucc.passes.projecting import banded_inverse, chordal, projection
from spucc.topology import build


def king(side: int) -> np.ndarray:
    return np.asarray(build(TopologySpec(kind="king", rows=side, cols=side)).edges)


def smooth(side: int, length: float = 1.5) -> np.ndarray:
    at = np.array([(i, j) for i in range(side) for j in range(side)], dtype=float)
    square = ((at[:, None] - at[None]) ** 2).sum(-1)
    return np.exp(-square / (2 * length**2)) + 0.05 * np.eye(side * side)


def kl(sigma: np.ndarray, q: np.ndarray) -> float:
    s = q @ sigma
    return 0.5 * (np.trace(s) - s.shape[0] - np.linalg.slogdet(s)[1])


def by_cvxpy(sigma: np.ndarray, edges: np.ndarray, springs: bool) -> np.ndarray:
    import cvxpy as cp

    n = sigma.shape[0]
    q = cp.Variable((n, n), symmetric=True)
    mask = np.ones((n, n)) - np.eye(n)
    mask[edges[:, 0], edges[:, 1]] = mask[edges[:, 1], edges[:, 0]] = 0
    constraints = [cp.multiply(mask, q) == 0]
    if springs:
        constraints.append(cp.multiply(1 - np.eye(n), q) <= 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cp.Problem(cp.Minimize(cp.trace(q @ sigma) - cp.log_det(q)), constraints).solve(
            solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10
        )
    return np.asarray(q.value)


@pytest.mark.parametrize("springs", [False, True])
@pytest.mark.parametrize("kind", ["smooth", "wishart"])
def test_agrees_with_cvxpy_to_1e6(springs: bool, kind: str) -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(9, 30))
    sigma = smooth(3) if kind == "smooth" else x @ x.T / 30
    edges = np.asarray(build(TopologySpec(kind="grid", rows=3, cols=3)).edges)
    found = projection.project_covariance(sigma, edges, springs)
    oracle = by_cvxpy(sigma, edges, springs)
    assert kl(sigma, found.q.toarray()) == pytest.approx(kl(sigma, oracle), abs=1e-6)
    # The solver's own point is good to the root of its gap.
    np.testing.assert_allclose(found.q.toarray(), oracle, atol=1e-4 * np.abs(oracle).max())


@pytest.mark.parametrize("springs", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_what_the_gap_certifies_cvxpy_confirms(seed: int, springs: bool) -> None:
    """Up to condition 1e5: the gap is below 1e-6 nat, and cvxpy's divergence is neither lower than the bound nor, within its
    own accuracy, away from ours."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 9))
    turn = np.linalg.qr(rng.normal(size=(n, n)))[0]
    sigma = (turn * 10.0 ** rng.uniform(-2.5, 2.5, n)) @ turn.T
    i, j = np.triu_indices(n, 1)
    keep = rng.random(i.size) < 0.5
    edges = np.stack([i[keep], j[keep]], axis=1)
    found = projection.project_covariance(sigma, edges, springs)
    assert found.gap < 1e-6
    ours = kl(sigma, found.q.toarray())
    root = np.sqrt(np.diag(sigma))
    unit = sigma / np.outer(root, root)
    theirs = kl(unit, by_cvxpy(unit, edges, springs))
    assert theirs >= ours - found.gap - 1e-8
    assert theirs == pytest.approx(ours, abs=1e-6)


@pytest.mark.parametrize("springs", [False, True])
def test_cvxpy_takes_over_where_newton_does_not_certify(
    springs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sigma, edges = smooth(3), np.asarray(build(TopologySpec(kind="grid", rows=3, cols=3)).edges)
    wanted = projection.project_covariance(sigma, edges, springs)
    monkeypatch.setattr(projection, "_newton", lambda problem, w, tolerance: (w, 1.0, 0))
    found = projection.project_covariance(sigma, edges, springs)
    assert found.gap < projection.CERTIFIED and found.evaluations == 0
    np.testing.assert_allclose(found.q.toarray(), wanted.q.toarray(), atol=1e-3 * np.abs(wanted.q).max())
    monkeypatch.setattr(projection, "_by_cvxpy", lambda problem, cross: None)
    spoilt = projection.project_covariance(sigma, edges, springs)
    excess = kl(sigma, spoilt.q.toarray()) - kl(sigma, wanted.q.toarray())
    assert excess > projection.CERTIFIED and spoilt.gap >= excess - 1e-9


def test_the_sparse_gap_is_the_dense_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loose and tight answers, with couplings held at zero and without."""
    p, edges = matern(8, 0.2), king(8)
    for springs in (False, True):
        for tolerance in (3e-3, 1e-6):
            gaps = []
            for route in (projection.dense_gap, projection.sparse_gap):
                monkeypatch.setattr(projection, "DENSE", 10)
                monkeypatch.setattr(projection, "sparse_gap", route)
                gaps.append(projection.project_precision(p, edges, springs, tolerance).gap)
            assert gaps[0] == pytest.approx(gaps[1], rel=1e-4, abs=1e-10)


@pytest.mark.parametrize("side", [4, 8, 12])
def test_moments_match_on_the_pattern(side: int) -> None:
    sigma, edges = smooth(side), king(side)
    found = projection.project_covariance(sigma, edges)
    realised = np.linalg.inv(found.q.toarray())
    i, j = edges.T
    np.testing.assert_allclose(np.diag(realised), np.diag(sigma), rtol=1e-7)
    np.testing.assert_allclose(realised[i, j], sigma[i, j], atol=1e-7)
    outside = np.ones_like(sigma, dtype=bool)
    outside[i, j] = outside[j, i] = False
    np.fill_diagonal(outside, False)
    assert not found.q.toarray()[outside].any()


def test_projection_adds_losses_exactly() -> None:
    """KL(P‖R) = KL(P‖Q*) + KL(Q*‖R) for R on the pattern (mapping §0.1)."""
    sigma, edges = smooth(4), king(4)
    q = projection.project_covariance(sigma, edges).q.toarray()
    r = q + 0.1 * np.diag(np.diag(q))
    assert kl(sigma, r) == pytest.approx(kl(sigma, q) + kl(np.linalg.inv(q), r), abs=1e-8)


def test_chordal_patterns_have_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 40))
    sigma = x @ x.T / 40
    edges = np.array([(i, j) for i in range(12) for j in range(i + 1, min(i + 4, 12))])
    order = chordal.perfect_elimination(12, edges)
    assert order is not None
    found = projection.project_covariance(sigma, edges)
    assert found.evaluations == 1
    realised = np.linalg.inv(found.q.toarray())
    np.testing.assert_allclose(
        realised[edges[:, 0], edges[:, 1]], sigma[edges[:, 0], edges[:, 1]], rtol=1e-9, atol=1e-12
    )
    assert chordal.perfect_elimination(4, np.array([[0, 1], [0, 3], [1, 2], [2, 3]])) is None


def matern(side: int, kappa2: float) -> sparse.csr_array:
    line = (
        np.diag(np.r_[1.0, np.full(side - 2, 2.0), 1.0])
        - np.diag(np.ones(side - 1), 1)
        - np.diag(np.ones(side - 1), -1)
    )
    one = sparse.eye_array(side)
    laplacian = sparse.kron(sparse.csr_array(line), one) + sparse.kron(one, sparse.csr_array(line))
    a = sparse.csr_array(laplacian + kappa2 * sparse.eye_array(side * side))
    return sparse.csr_array(a @ a)


def test_sparse_and_dense_routes_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    p, edges = matern(10, 0.2), king(10)
    dense = projection.project_precision(p, edges, tolerance=1e-9).q.toarray()
    monkeypatch.setattr(projection, "DENSE", 50)
    found = projection.project_precision(p, edges, tolerance=1e-8)
    assert found.mismatch < 1e-7
    np.testing.assert_allclose(found.q.toarray(), dense, atol=1e-6 * np.abs(dense).max())


def test_matern_on_a_thousand_king_cells_reaches_the_prototype() -> None:
    p = matern(32, 0.2)
    found = projection.project_precision(p, king(32), tolerance=1e-5)
    sigma = np.linalg.inv(p.toarray())
    assert kl(sigma, found.q.toarray()) / 1024 <= 0.034


@pytest.mark.slow
def test_matern_on_ten_thousand_king_cells() -> None:
    p = matern(100, 0.2)
    found = projection.project_precision(p, king(100), tolerance=1e-5)
    logdets = [banded_inverse.factorise(a).logdet for a in (p, found.q)]
    assert found.mismatch < 1e-5 and 0.5 * (logdets[0] - logdets[1]) / 10_000 <= 0.036


@pytest.mark.parametrize("n", [1, 2, 17, 60])
def test_banded_inverse_against_the_dense_one(n: int) -> None:
    rng = np.random.default_rng(n)
    a = np.triu(rng.normal(size=(n, n)) * (rng.random((n, n)) < 3 / n), 1)
    a = a + a.T
    a += np.diag(np.abs(a).sum(axis=1) + 0.5)
    factor = banded_inverse.factorise(sparse.csr_array(a))
    assert factor is not None
    assert factor.logdet == pytest.approx(np.linalg.slogdet(a)[1], rel=1e-12, abs=1e-12)
    i, j = np.nonzero(a)
    np.testing.assert_allclose(factor.entries(i, j), np.linalg.inv(a)[i, j], rtol=1e-9, atol=1e-12)
    assert banded_inverse.factorise(sparse.csr_array(a - 3 * np.abs(a).max() * n * np.eye(n))) is None
