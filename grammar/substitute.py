"""Variables that are carried by others: x = mean + L z for a singular law, x = x0 + N z under exact linear
observations.

The order of statements has no meaning, so all substitutions are gathered first and then applied to everything
at once.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from spucc.arrays import BoolArray, FloatArray, IntArray
from spucc.diagnostics import Label, Span, fail
from spucc.grammar.components import support
from spucc.grammar.context import AddedBlock, Carried, Fixed
from spucc.grammar.linear import Linear, spread
from spucc.grammar.poly import Affine, Poly, Term

# Coordinates that exact linear observations may couple.
MOST_CONSTRAINED = 3000


class Substitution:
    """x = matrix @ x + offset, where carried coordinates no longer occur on the right."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.gone = np.zeros(width, dtype=bool)
        self.rows: sparse.csr_array = sparse.csr_array(sparse.eye_array(width, format="csr"))
        self.offset = np.zeros(width)

    @property
    def trivial(self) -> bool:
        return not self.gone.any()

    def replace(self, index: IntArray, linear: sparse.csr_array, offset: FloatArray) -> None:
        """Coordinates `index` become `linear @ x + offset`, everywhere they occur."""
        self.gone[index] = True
        keep = np.ones(self.width)
        keep[index] = 0.0
        place = sparse.csr_array(
            sparse.coo_array(
                (np.ones(index.size), (index, np.arange(index.size))), shape=(self.width, index.size)
            )
        )
        step = sparse.csr_array(
            sparse.dia_array((keep[None, :], [0]), shape=(self.width, self.width)) + place @ linear
        )
        shift = np.zeros(self.width)
        shift[index] = offset
        self.offset = self.offset + self.rows @ shift
        self.rows = sparse.csr_array(self.rows @ step)
        self.rows.eliminate_zeros()

    def affine(self, a: Affine) -> Affine:
        if self.trivial or a.linear.is_zero or not self.gone[a.linear.support()].any():
            return a
        matrix = a.linear.csr(self.width)
        return Affine(
            Linear.of(sparse.csr_array(matrix @ self.rows)),
            spread(a.offset, a.size) + matrix @ self.offset,
            a.names,
        )

    def poly(self, p: Poly) -> Poly:
        if self.trivial:
            return p
        moved: dict[int, Affine] = {}

        def once(a: Affine) -> Affine:
            if id(a) not in moved:
                moved[id(a)] = self.affine(a)
            return moved[id(a)]

        terms = tuple(Term(tuple(once(f) for f in t.factors), t.weight, t.rows) for t in p.terms)
        return Poly(once(p.affine), terms)

    def block(self, b: AddedBlock) -> AddedBlock | Poly:
        """A block that touches carried coordinates becomes products of forms."""
        touched = self.gone[b.rows].any() or (b.cols is not None and self.gone[b.cols].any())
        if not touched:
            return b
        left = self.affine(Affine(Linear.coordinates(b.rows, self.width), 0.0, frozenset()))
        cols = b.rows if b.cols is None else b.cols
        right = self.affine(Affine(Linear.coordinates(cols, self.width), 0.0, frozenset()))
        factor = 0.5 if b.cols is None else 1.0
        return Poly(left).times(Poly(right.multiplied(b.matrix))).scaled(factor)


def carried(substitution: Substitution, laws: list[Carried]) -> None:
    """Apply all singular laws; a mean may depend on other carried variables, not on its own."""
    owner = np.full(substitution.width, -1)
    for k, law in enumerate(laws):
        twice = law.index[owner[law.index] >= 0]
        if twice.size:
            first = laws[int(owner[twice[0]])]
            fail(
                "E0414",
                "a variable has two singular laws",
                law.span,
                labels=(Label(first.span, "the first"),),
                help="give one of them a small jitter",
            )
        owner[law.index] = k
    order: list[int] = []
    state = [0] * len(laws)
    for k in range(len(laws)):
        _visit(k, laws, owner, state, order)
    for k in order:
        law = laws[k]
        mean = substitution.affine(law.mean.affine)
        matrix = mean.linear.csr(substitution.width)
        rank = law.factor.shape[1]
        columns = np.arange(law.z, law.z + rank)
        n = law.index.size
        z = sparse.csr_array(
            (law.factor.ravel(), np.tile(columns, n), np.arange(n + 1) * rank), shape=(n, substitution.width)
        )
        substitution.replace(law.index, sparse.csr_array(matrix + z), spread(mean.offset, n))


def _visit(k: int, laws: list[Carried], owner: IntArray, state: list[int], order: list[int]) -> None:
    """Depth first, so that a mean's own variables are replaced before it."""
    stack = [(k, iter(_needs(laws[k], owner)))] if state[k] == 0 else []
    if stack:
        state[k] = 1
    while stack:
        node, needs = stack[-1]
        for other in needs:
            if state[other] == 1:
                fail(
                    "E0414",
                    "the mean of a singular law depends on the variable itself",
                    laws[node].span,
                    help="give the law a small jitter, or write the model without the cycle",
                )
            if state[other] == 0:
                state[other] = 1
                stack.append((other, iter(_needs(laws[other], owner))))
                break
        else:
            stack.pop()
            state[node] = 2
            order.append(node)


def _needs(law: Carried, owner: IntArray) -> list[int]:
    found = np.unique(owner[law.mean.affine.linear.support()])
    return [int(k) for k in found if k >= 0]


def constrained(
    substitution: Substitution,
    constraints: list[Fixed],
    discrete: BoolArray,
    known: IntArray,
    value: FloatArray,
) -> None:
    """Exact linear observations `poly = 0`, solved for as many coordinates as there are independent rows."""
    if not constraints:
        return
    rows = []
    offsets = []
    for c in constraints:
        a = substitution.affine(c.poly.affine)
        rows.append(a.linear.csr(substitution.width))
        offsets.append(spread(a.offset, a.size))
    matrix = sparse.csr_array(sparse.vstack(rows, format="csr"))
    right = -np.concatenate(offsets)
    if known.size:
        values = np.zeros(substitution.width)
        values[known] = value
        right = right - matrix @ values
        mask = np.ones(substitution.width)
        mask[known] = 0.0
        matrix = sparse.csr_array(matrix.multiply(mask[None, :]))
        matrix.eliminate_zeros()
    columns = support(matrix)
    span = constraints[0].span
    if discrete[columns].any():
        fail(
            "E0416",
            "`observe` of a combination that reads spins or bits",
            span,
            help="observe single entries, or add an energy that favours the combination",
        )
    if max(columns.size, matrix.shape[0]) > MOST_CONSTRAINED:
        fail(
            "E0416",
            f"exact observations that couple {columns.size:,} coordinates are too many",
            span,
            help="use a soft constraint: `expression ~ normal(value, small)`",
        )
    _eliminate(substitution, matrix[:, columns].toarray(), right, columns, span)


def _eliminate(
    substitution: Substitution, dense: FloatArray, right: FloatArray, columns: IntArray, span: Span
) -> None:
    from scipy.linalg import qr, solve_triangular

    if columns.size == 0:
        rank = 0
        q, r, order = np.eye(right.size), np.zeros((right.size, 0)), np.zeros(0, dtype=np.int64)
    else:
        q, r, order = qr(dense, pivoting=True)
        diagonal = np.abs(np.diagonal(r))
        rank = int((diagonal > 1e-11 * max(float(diagonal[0]), 1e-300)).sum()) if diagonal.size else 0
    turned = q.T @ right
    if np.any(np.abs(turned[rank:]) > 1e-8 * max(1.0, float(np.abs(right).max(initial=0.0)))):
        fail("E0424", "the observed values contradict one another: no state satisfies them all", span)
    if rank == 0:
        return
    head, tail = columns[order[:rank]], columns[order[rank:]]
    solution = solve_triangular(r[:rank, :rank], np.column_stack([turned[:rank], r[:rank, rank:]]))
    coefficient = -solution[:, 1:]
    coefficient[np.abs(coefficient) < 1e-14] = 0.0
    linear = sparse.lil_array((rank, substitution.width))
    if tail.size:
        linear = sparse.csr_array(
            sparse.coo_array(
                (coefficient.ravel(), (np.repeat(np.arange(rank), tail.size), np.tile(tail, rank))),
                shape=(rank, substitution.width),
            )
        )
    substitution.replace(head, sparse.csr_array(linear), solution[:, 0])
