"""KL projection onto king lattices: seconds and KL per variable against the figures that were set.

    python benchmarks/projection.py

Targets: a dense Gaussian process on 64 cells in 20 ms; 256 cells in 3 s; a Matérn field on 32×32 with KL/n ≤
0.034 in 10 s and on 100×100
with KL/n ≤ 0.036 in 120 s; agreement with cvxpy to 1e-6 (9 cells). CPU seconds of one thread.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
from scipy import sparse

from spucc.device import TopologySpec
from spucc.passes.projecting.banded_inverse import factorise
from spucc.passes.projecting.projection import project_covariance, project_precision
from spucc.topology import build


def king(side: int) -> np.ndarray:
    return np.asarray(build(TopologySpec(kind="king", rows=side, cols=side)).edges)


def process(side: int) -> np.ndarray:
    """A squared-exponential process at random places of a square, in the order of a snake of cells."""
    at = np.random.default_rng(0).uniform(0, side, (side * side, 2))
    at = at[np.lexsort((at[:, 1], np.floor(at[:, 0])))]
    square = ((at[:, None] - at[None]) ** 2).sum(-1)
    return np.asarray(np.exp(-square / 4) + 0.1 * np.eye(side * side))


def matern(side: int, kappa2: float = 0.2) -> sparse.csr_array:
    line = sparse.diags_array(
        [-np.ones(side - 1), np.r_[1.0, np.full(side - 2, 2.0), 1.0], -np.ones(side - 1)], offsets=[-1, 0, 1]
    )
    one = sparse.eye_array(side)
    a = sparse.csr_array(
        sparse.kron(line, one) + sparse.kron(one, line) + kappa2 * sparse.eye_array(side * side)
    )
    return sparse.csr_array(a @ a)


def by_cvxpy(sigma: np.ndarray, edges: np.ndarray) -> np.ndarray:
    import cvxpy as cp

    n = sigma.shape[0]
    q = cp.Variable((n, n), symmetric=True)
    mask = np.ones((n, n)) - np.eye(n)
    mask[edges[:, 0], edges[:, 1]] = mask[edges[:, 1], edges[:, 0]] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cp.Problem(cp.Minimize(cp.trace(q @ sigma) - cp.log_det(q)), [cp.multiply(mask, q) == 0]).solve(
            solver=cp.CLARABEL
        )
    return np.asarray(q.value)


def main() -> None:
    sigma, edges = process(3), king(3)
    own = project_covariance(sigma, edges).q.toarray()
    objective = [
        float(np.trace(q @ sigma) - np.linalg.slogdet(q)[1]) / 2 for q in (own, by_cvxpy(sigma, edges))
    ]
    print(f"9 cells: KL above cvxpy's {objective[0] - objective[1]:.1e} (bound 1e-6)")
    for side, bound in ((8, 0.02), (16, 3.0)):
        sigma, edges = process(side), king(side)
        project_covariance(sigma, edges)
        start = time.process_time()
        found = project_covariance(sigma, edges)
        spent = time.process_time() - start
        print(
            f"dense {side * side}: {spent:.3f} s ({spent / bound:.2f} of the bound), mismatch {found.mismatch:.0e}"
        )
    for side, bound, limit in ((32, 10.0, 0.034), (100, 120.0, 0.036)):
        p = matern(side)
        start = time.process_time()
        found = project_precision(p, king(side), tolerance=1e-5)
        spent = time.process_time() - start
        factors = [factorise(a) for a in (p, found.q)]
        kl = 0.5 * sum(s * f.logdet for s, f in zip((1, -1), factors) if f is not None) / side**2
        print(
            f"Matérn {side}x{side}: {spent:.1f} s ({spent / bound:.2f} of the bound), KL/n {kl:.4f} (≤ {limit})"
        )


if __name__ == "__main__":
    main()
