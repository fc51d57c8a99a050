"""Sweeps of a host loop through dense maps and through sparse factors: one step of x, from the maps themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import sparse

from spucc.diagnostics import SpuccError
from spucc.readback import HostLoop
from spucc.targets.hostloop import DenseSweep, SparseSweep, Sweep, sweep
from spucc.targets.law import DENSE_LAW, Gaussian

from . import circuits_by_hand as hand

MAKERS: dict[str, Callable[[HostLoop, Gaussian], Sweep]] = {
    "dense": DenseSweep,
    "sparse": lambda loop, law: SparseSweep(loop, law.mean, sparse.csr_array(law.precision)),
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("singular", [False, True])
def test_a_sweep_keeps_the_model(kind: str, singular: bool) -> None:
    """x ~ N(P⁻¹h, P⁻¹) before it is so after it: G P⁻¹ Gᵀ + noise + M⁻¹ = P⁻¹, and P⁻¹h is the fixed point."""
    p = hand.lattice(20, 22, 0.3)
    n = p.shape[0]
    # Dropped couplers: their weight on the diagonal, so that M − P = Σ w (e_i + e_j)(e_i + e_j)ᵀ is singular.
    upper = sparse.triu(p, 1).tocoo()
    drop = np.arange(upper.nnz) % 7 == 0
    i, j, w = upper.row[drop], upper.col[drop], np.abs(upper.data[drop])
    sign = np.sign(upper.data[drop])
    edge = sparse.coo_array((w, (i, i)), (n, n)) + sparse.coo_array((w, (j, j)), (n, n))
    edge = edge - sparse.coo_array((sign * w, (i, j)), (n, n)) - sparse.coo_array((sign * w, (j, i)), (n, n))
    m = sparse.csr_array(p + edge) + (0 if singular else 0.1) * sparse.eye_array(n)
    h = np.random.default_rng(0).standard_normal(n)
    loop = HostLoop(sparse.csr_array(p), h, 1, 0.5)
    made = MAKERS[kind](loop, Gaussian(np.full(n, 2.0), sparse.csr_array(m)))
    law = np.linalg.inv(p.toarray())
    zero, eye = np.zeros((n, n)), np.eye(n)
    push = made(zero, zero + 2.0, zero)[0]
    gain = made(eye, zero + 2.0, zero) - push
    noise = made(zero, zero + 2.0, eye) - push
    after = gain.T @ law @ gain + noise.T @ noise + np.linalg.inv(m.toarray())
    assert np.abs(after - law).max() < 1e-8 * np.abs(law).max()
    mean = law @ h
    assert np.abs(gain.T @ mean + push - mean).max() < 1e-8 * np.abs(mean).max()


def test_large_loops_are_sparse_and_those_that_are_none_are_errors() -> None:
    p = sparse.csr_array(hand.lattice(70, 70, 0.3))
    n = p.shape[0]
    assert n > DENSE_LAW
    loop = HostLoop(p, np.zeros(n), 1, 0.5)
    zero = np.zeros(n)
    assert isinstance(sweep(loop, Gaussian(zero, sparse.csr_array(1.1 * p))), SparseSweep)
    for law, code in (
        (Gaussian(zero, sparse.csr_array(0.9 * p)), "E0725"),
        (Gaussian(zero, covariance=np.broadcast_to(0.0, (n, n))), "E0724"),
    ):
        with pytest.raises(SpuccError, match=code):
            sweep(loop, law)
    small = HostLoop(sparse.csr_array(np.eye(3)), np.zeros(3), 1, 0.5)
    with pytest.raises(SpuccError, match="E0725"):
        sweep(small, Gaussian(np.zeros(3), sparse.csr_array(0.5 * np.eye(3))))
