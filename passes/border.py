"""`border`: a linear solve becomes a covariance where a device's cells have no means of their own. See
`spucc.passes.realising.border` for the mathematics (physics §2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.device import Device
from spucc.energy import Domain, Energy, Form, Origin, Product, Quadratic, Query, QueryKind, Variable
from spucc.passes.realising.border import border_entry
from spucc.pipeline import Context, Pass
from spucc.readback import Affine
from spucc.stages import Stage, State, Step


@dataclass(frozen=True)
class Border(Pass):
    """Gives each `solve` one cell more, whose covariances with the others are the answer.

    The cell is coupled to as many others as b has entries. Where the device has no such cell, or none to spare, the mean is left
    to the host, which the ledger says; `always` insists."""

    always: bool = False

    name: ClassVar[str] = "border"
    takes: ClassVar[Stage] = Stage.ENERGY
    gives: ClassVar[Stage] = Stage.ENERGY
    why: ClassVar[str] = (
        "without bias currents a mean would be the host's own arithmetic; the energy itself changes, so this comes first"
    )

    def run(self, state: State, context: Context) -> State:
        model, notes = state.source, []
        if state.device.spec.bias is None and state.model is model:
            for k, query in enumerate(model.queries):
                if query.kind is not QueryKind.SOLVE or query.products or not np.any(query.rhs):
                    continue
                lacking = "" if self.always else _lacking(state.device, query)
                if lacking:
                    notes.append(f"the mean of `{query.name}` is the host's own arithmetic: {lacking}")
                    continue
                model = bordered(model, k, dominant=state.device.family.springs)
                notes.append(f"`{query.name}` is read from its covariances with a cell more")
            state = replace(state, source=model, model=model)
        step = Step(str(self), Affine.identity(state.model.n), tuple(notes))
        return replace(state, steps=(*state.steps, step))


def _lacking(device: Device, query: Query) -> str:
    """What a device lacks for a border, if anything."""
    assert query.rhs is not None
    if device.topology.nodes is None:
        return ""
    cells = int(device.alive.sum())
    joined = int(np.bincount(device.topology.edges[device.live_edges].ravel(), minlength=1).max())
    if query.rhs.size + 1 > cells:
        return f"a border takes {query.rhs.size + 1} cells, and {cells} work"
    wanted = int(np.count_nonzero(query.rhs))
    return f"a border takes {wanted} couplers at one cell, and there are {joined}" if wanted > joined else ""


def bordered(model: Energy, number: int, dominant: bool) -> Energy:
    """The model in which x, the variable of query `number`, a `solve` with A and b, has no mean but a border z:

        K = [[A, −b], [−bᵀ, c]],   A⁻¹b = Cov(x, z)/Var(z)

    and the query asks for the products x z, x² and z², and a multiple: b is divided by its largest entry. `dominant`: choose c
    so that K keeps dominant what A has dominant."""
    n, query = model.n, model.queries[number]
    form = query.form
    assert form is not None and query.rhs is not None and query.matrix is not None
    x: IntArray = form.matrix.indices.astype(np.int64)
    # The energy is T ½ xᵀAx − T bᵀx.
    t, unit = model.temperature, float(np.abs(query.rhs).max())
    column = np.asarray(model.linear)[x] / unit
    c = t * border_entry(sparse.csr_array(query.matrix), query.rhs / unit, dominant)
    rows, cols = np.concatenate([x, np.full(x.size, n), [n]]), np.concatenate([np.full(x.size, n), x, [n]])
    more = sparse.coo_array((np.concatenate([column, column, [c]]), (rows, cols)), shape=(n + 1, n + 1))
    own = sparse.coo_array(model.quadratic.sparse)
    own = sparse.coo_array((own.data, own.coords), shape=(n + 1, n + 1))
    linear = np.append(model.linear, 0.0)
    linear[x] = 0.0
    z = Variable(f"{query.name}.border", (), Domain.REAL, n, query.span, stands_for=query.name)
    origins = model.origins
    if query.span is not None:
        origins = (*origins, Origin(query.span, frozen(np.append(np.sort(x), n), np.int64)))
    return replace(
        model,
        variables=(*model.variables, z),
        linear=frozen(linear),
        quadratic=Quadratic(sparse.csr_array(own + more), model.quadratic.blocks),
        queries=tuple(
            _products(q, x, n, unit) if k == number else _asked(q, n) for k, q in enumerate(model.queries)
        ),
        origins=origins,
    )


def _products(query: Query, x: IntArray, z: int, unit: float) -> Query:
    """x z, x² and z² in place of x."""
    left = _reading(np.concatenate([x, x, [z]]), z + 1)
    right = _reading(np.concatenate([np.full(x.size, z), x, [z]]), z + 1)
    nothing = Form(sparse.csr_array((x.size, z + 1)), frozen(np.zeros(x.size)), (x.size,))
    gather = sparse.csr_array(unit * sparse.eye_array(x.size, left.size))
    return replace(query, form=nothing, products=(Product(left, right, gather),))


def _reading(coordinates: IntArray, width: int) -> Form:
    rows = np.arange(coordinates.size)
    matrix = sparse.csr_array(
        (np.ones(rows.size), (rows, coordinates)), shape=(rows.size, width), dtype=np.float64
    )
    return Form(matrix, frozen(np.zeros(rows.size)), (rows.size,))


def _asked(query: Query, n: int) -> Query:
    """The same question about a model of one coordinate more."""

    def wide(form: Form) -> Form:
        m = form.matrix
        return replace(
            form, matrix=sparse.csr_array((m.data, m.indices, m.indptr), shape=(m.shape[0], n + 1))
        )

    def longer(start: FloatArray) -> FloatArray:
        return frozen(np.append(start, 0.0))

    return replace(
        query,
        form=None if query.form is None else wide(query.form),
        products=tuple(replace(p, left=wide(p.left), right=wide(p.right)) for p in query.products),
        start=None if query.start is None else longer(query.start),
    )
