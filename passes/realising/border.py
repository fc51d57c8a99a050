"""A linear solve as a sampling problem: one more cell z whose covariances with the others are the mean (physics §2).

K = [[P, −b], [−bᵀ, c]],  c > bᵀP⁻¹b:   Cov(x, z)/Var(z) = P⁻¹b,   Var(z) = 1/(c − bᵀP⁻¹b).
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray
from spucc.diagnostics import fail
from spucc.passes.realising.comparison import comparison, positive_definite_solve


def border(p: sparse.csr_array, b: FloatArray, c: float | None = None) -> sparse.csr_array:
    """P [n, n] bordered by the potential b [n]: [n+1, n+1], the new cell last; c as by `border_entry`.

    The marginal law of x is N(0, P⁻¹ + μμᵀ Var z), the conditional one given z is untouched. Raises E0510 when P is not
    positive definite and E0514 when c is too small.
    """
    least = _least(p, b)
    value = c if c is not None else border_entry(p, b, dominant=False)
    if not value > least:
        fail(
            "E0514",
            f"the border's own entry is {value:g}, but it has to exceed bᵀA⁻¹b = {least:g}",
            help="leave it out",
        )
    column = sparse.csr_array(-np.asarray(b)[:, None])
    k = sparse.csr_array(sparse.block_array([[p, column], [column.T, sparse.csr_array([[value]])]]))
    k.eliminate_zeros()
    k.sort_indices()
    return k


def border_entry(p: sparse.csr_array, b: FloatArray, dominant: bool) -> float:
    """c = 2 bᵀP⁻¹b, so that x explains half of z's variance; with `dominant` c = 2 |b|ᵀM⁻¹|b| where P's comparison matrix M
    is positive definite, so that the bordered one is too and the couplings stay realisable as they are (physics §2).

    Raises E0510 when P is not positive definite."""
    least = _least(p, b)
    if dominant:
        size = np.abs(np.asarray(b))
        found = positive_definite_solve(comparison(p), size)
        if found is not None:
            least = max(least, float(size @ found))
    return 2.0 * least if least > 0 else 1.0


def _least(p: sparse.csr_array, b: FloatArray) -> float:
    mean = positive_definite_solve(p, b)
    if mean is None:
        fail(
            "E0510",
            "the matrix of the linear system is not positive definite",
            help="`solve` by sampling needs A ≻ 0",
        )
    return float(b @ mean)


def solution(cov: FloatArray) -> FloatArray:
    """P⁻¹b [n] from the covariance [n+1, n+1] of the bordered cells."""
    return np.asarray(cov[:-1, -1] / cov[-1, -1])
