"""Models from arrays and graphs: the same `Energy` that a `.spu` program gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, frozen
from spucc.diagnostics import fail
from spucc.energy import Block, Domain, Energy, Quadratic, layout

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def gaussian(
    mean: ArrayLike,
    cov: ArrayLike | None = None,
    *,
    precision: ArrayLike | sparse.sparray | None = None,
    name: str = "x",
) -> Energy:
    """N(mean, cov) or N(mean, precision⁻¹) over a variable `name` of n entries.

    `mean` [n] or a scalar; exactly one of `cov` and `precision` [n, n], the latter dense or SciPy sparse. Raises E0381 for a
    wrong shape, E0382 for NaN or infinity, E0383 for a matrix that is not symmetric and E0384 for one that is not positive
    definite.
    """
    if (cov is None) == (precision is None):
        fail("E0381", "give exactly one of `cov` and `precision`")
    if precision is None:
        from scipy import linalg

        matrix = _symmetric(cov, "cov")
        try:
            factor = linalg.cho_factor(matrix, lower=True)
        except linalg.LinAlgError:
            fail(
                "E0384",
                "`cov` is not positive definite",
                help="give a precision, or a model with `multi_normal`",
            )
        omega: FloatArray | sparse.csr_array = np.asarray(linalg.cho_solve(factor, np.eye(matrix.shape[0])))
        omega = (omega + omega.T) / 2
    else:
        omega = _symmetric(precision, "precision")
        _definite(omega)
    n = omega.shape[0]
    mu = (
        np.broadcast_to(np.asarray(mean, dtype=np.float64), (n,))
        if np.ndim(mean) == 0
        else _vector(mean, n, "mean")
    )
    if not np.isfinite(mu).all():
        fail("E0382", "`mean` has an entry that is not a finite number")
    return Energy(
        variables=layout([(name, (n,), Domain.REAL, None)]),
        linear=frozen(-(omega @ mu)),
        quadratic=_quadratic(omega),
        constant=0.5 * float(mu @ (omega @ mu)),
    )


def ising(
    J: ArrayLike | sparse.sparray, h: ArrayLike | None = None, *, beta: float = 1.0, name: str = "s"
) -> Energy:
    """Spins ±1 with E = −½ s·J·s − h·s at temperature 1/beta. J [n, n] symmetric with zero diagonal, h [n] or None.

    Raises E0381 to E0383 as `gaussian` does, and E0385 for a diagonal that is not zero or a beta that is not positive.
    """
    matrix = _symmetric(J, "J")
    n = matrix.shape[0]
    if np.any(matrix.diagonal() != 0):
        fail("E0385", "`J` has entries on its diagonal", help="s² is 1: move them to a constant")
    if not (0 < beta < np.inf):
        fail("E0385", f"`beta` is {beta}, and has to be positive and finite")
    field = np.zeros(n) if h is None else _vector(h, n, "h")
    return Energy(
        variables=layout([(name, (n,), Domain.SPIN, None)]),
        linear=frozen(-field),
        quadratic=_quadratic(-matrix),
        temperature=1.0 / beta,
    )


def from_networkx(
    graph: Any,
    *,
    kind: str = "gaussian",
    weight: str = "weight",
    field: str = "field",
    kappa2: float = 0.0,
    name: str = "x",
) -> Energy:
    """A model on a NetworkX graph; entry k is the k-th node in the graph's order.

    `gaussian`: E = ½ Σ_(ij) w_ij (x_i − x_j)² + ½ κ² Σ x_i² − Σ field_i x_i, with κ² = `kappa2`. `ising`:
    E = −Σ_(ij) w_ij s_i s_j − Σ field_i s_i. A missing weight is 1, a missing field 0. Raises E0381 for another kind or a
    directed graph and E0382 for weights that are not finite.
    """
    if graph.is_directed():
        fail("E0381", "the graph is directed; couplings are symmetric", help="use graph.to_undirected()")
    number = {node: k for k, node in enumerate(graph)}
    pairs = np.array([(number[a], number[b]) for a, b in graph.edges()], dtype=np.int64).reshape(-1, 2)
    w = np.array([float(d.get(weight, 1.0)) for _, _, d in graph.edges(data=True)])
    h = np.array([float(d.get(field, 0.0)) for _, d in graph.nodes(data=True)])
    if not (np.isfinite(w).all() and np.isfinite(h).all()):
        fail("E0382", "the graph has a weight or field that is not a finite number")
    n = len(number)
    loops = pairs[:, 0] == pairs[:, 1]
    if loops.any():
        fail("E0381", f"the graph joins a node to itself ({list(number)[pairs[loops][0, 0]]!r})")
    a = sparse.coo_array((w, (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    adjacency = sparse.csr_array(a + a.T)
    if kind == "ising":
        return ising(adjacency, h, name=name)
    if kind != "gaussian":
        fail("E0381", f"there is no model `{kind}` on a graph", help="choose gaussian or ising")
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    precision = sparse.csr_array(sparse.diags_array(degree + kappa2) - adjacency)
    _definite(precision)
    return Energy(layout([(name, (n,), Domain.REAL, None)]), frozen(-h), Quadratic(precision))


def _vector(value: ArrayLike, n: int, name: str) -> FloatArray:
    array = np.asarray(value, dtype=np.float64)
    if array.shape != (n,):
        fail("E0381", f"`{name}` has the shape {array.shape}, not ({n},)")
    if not np.isfinite(array).all():
        fail("E0382", f"`{name}` has an entry that is not a finite number")
    return array


def _symmetric(value: Any, name: str) -> FloatArray | sparse.csr_array:
    matrix = (
        sparse.csr_array(value, dtype=np.float64)
        if sparse.issparse(value)
        else np.asarray(value, dtype=np.float64)
    )
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
        fail("E0381", f"`{name}` has the shape {matrix.shape}; a square matrix is needed")
    values = matrix.data if sparse.issparse(matrix) else matrix
    if not np.isfinite(np.asarray(values)).all():
        fail("E0382", f"`{name}` has an entry that is not a finite number")
    gap = abs(matrix - matrix.T)
    if gap.max() > 1e-9 * abs(matrix).max():
        fail("E0383", f"`{name}` is not symmetric: it differs from its transpose by up to {gap.max():.3g}")
    return (matrix + matrix.T) / 2


def _definite(matrix: FloatArray | sparse.csr_array) -> None:
    """E0384 for a matrix that is not positive definite."""
    from scipy import linalg

    if sparse.issparse(matrix):
        from scipy.sparse import linalg as sparse_linalg

        try:
            lu = sparse_linalg.splu(
                sparse.csc_matrix(matrix),
                permc_spec="MMD_AT_PLUS_A",
                diag_pivot_thresh=0.0,
                options={"SymmetricMode": True},
            )
            good = bool((lu.U.diagonal() > 0).all())
        except RuntimeError:
            good = False
    else:
        try:
            linalg.cholesky(matrix, lower=True)
            good = True
        except linalg.LinAlgError:
            good = False
    if not good:
        fail(
            "E0384",
            "the precision is not positive definite",
            help="some combination of the variables has no spread bound",
        )


def _quadratic(matrix: FloatArray | sparse.csr_array) -> Quadratic:
    if sparse.issparse(matrix):
        return Quadratic(sparse.csr_array(matrix))
    n = matrix.shape[0]
    index = frozen(np.arange(n), np.int64)
    return Quadratic(sparse.csr_array((n, n), dtype=np.float64), (Block(index, index, frozen(matrix)),))
