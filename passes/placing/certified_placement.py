"""The best placement of at most nine variables, with its optimality proved by an integer program (cvxpy, HiGHS)."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray
from spucc.diagnostics import fail

LARGEST = 9


def certified(w: FloatArray, board: sparse.csr_array, usable: IntArray) -> tuple[IntArray, float]:
    """The placement on cells of `usable` with the greatest Σ w_ij over couplers, and that value.

    x_iu says whether variable i sits at cell u, y_ij whether a coupler joins i and j: if i is at u, then y_ij needs j at a
    neighbour of u. y may be fractional: with x integral the constraints leave only 0 and 1. Raises E0546 for more than
    nine variables and E0547 when HiGHS does not finish.
    """
    import cvxpy as cp

    n, cells = w.shape[0], usable.size
    if n > LARGEST:
        fail(
            "E0546",
            f"the best placement of {n} variables cannot be certified",
            help=f"`certify` takes up to {LARGEST}",
        )
    B = sparse.csr_array(board[usable][:, usable])
    i, j = np.triu_indices(n, 1)
    weight = w[i, j]
    x = cp.Variable((n, cells), boolean=True)
    y = cp.Variable(i.size, nonneg=True)
    reach = x @ B  # [n, cells]: whether i is next to u
    rows = sparse.csr_array(
        (np.ones(2 * i.size), (np.concatenate([i, j]), np.tile(np.arange(i.size), 2))), shape=(n, i.size)
    )
    degree = np.diff(B.indptr)
    constraints = [
        cp.sum(x, axis=1) == 1,
        cp.sum(x, axis=0) <= 1,
        y <= 1,
        rows @ y <= x @ degree,  # a cell has no more partners than couplers
        cp.sum(y) <= B.nnz / 2,
    ]
    for e in range(i.size):
        constraints += [y[e] + x[i[e]] <= 1 + reach[j[e]], y[e] + x[j[e]] <= 1 + reach[i[e]]]
    problem = cp.Problem(cp.Maximize(weight @ y), constraints)
    try:
        problem.solve(solver=cp.SCIPY)  # its `milp` is HiGHS, without the banner that highspy prints
    except cp.SolverError:
        problem = None
    if problem is None or problem.status != cp.OPTIMAL or x.value is None:
        fail(
            "E0547",
            "the certified placement was not found",
            help="leave out `certify`: the search needs no solver",
        )
    at = np.asarray(x.value).argmax(axis=1)
    return usable[at], float(problem.value)
