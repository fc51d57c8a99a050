"""`reduce`: variables that no query asks about are integrated out where that makes no fill.

Marginalising coordinate i of a Gaussian takes its row out and leaves the Schur complement on its neighbours:

    Q' = Q_rr − Q_ri Q_ir / Q_ii,   linear' = linear_r − Q_ri linear_i / Q_ii

which couples every pair of neighbours. A coordinate whose neighbours are coupled already (a simplicial one: a leaf, a
member of a clique) costs no coupler at all.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy import sparse

from spucc.arrays import BoolArray, IntArray, frozen
from spucc.conditioning import restrict_origins
from spucc.diagnostics import fail
from spucc.energy import Energy, Quadratic, QueryKind, restrict_variables
from spucc.passes.normalise import without_rounding
from spucc.pipeline import Context, Pass
from spucc.readback import Affine, fold
from spucc.stages import Stage, State, Step

# Beyond so many couplings of one variable its elimination is not tried: the pairs of its neighbours are too many.
_DEGREE_LIMIT = 64

# Beyond so many coordinates the model is for a device without limits, where nothing is gained.
_SIZE_LIMIT = 100_000


@dataclass(frozen=True)
class Reduce(Pass):
    """Integrates out real variables that no query asks about, while each adds at most `fill` couplings."""

    name: ClassVar[str] = "reduce"
    takes: ClassVar[Stage] = Stage.ENERGY
    gives: ClassVar[Stage] = Stage.ENERGY
    why: ClassVar[str] = "a nuisance variable whose neighbours are coupled anyway only uses up a cell"

    fill: int = 0

    def run(self, state: State, context: Context) -> State:
        model = state.model
        if not model.is_gaussian or any(
            q.kind in (QueryKind.ARGMIN, QueryKind.LOGZ) for q in state.source.queries
        ):
            return self._unchanged(state)
        free = ~_asked(state)
        if not free.any() or model.n > _SIZE_LIMIT:
            return self._unchanged(state)
        gone = eliminate(model, free, self.fill)
        if gone is None:
            return self._unchanged(state)
        reduced, keep = gone
        rows = sparse.csr_array(
            (np.ones(keep.size), (keep, np.arange(keep.size))), shape=(model.n, keep.size), dtype=np.float64
        )
        note = f"{model.n - keep.size} integrated out, {keep.size} left"
        step = Step(str(self), Affine(rows, frozen(np.zeros(model.n))), (note,))
        return replace(state, model=reduced, steps=(*state.steps, step))

    def _unchanged(self, state: State) -> State:
        return replace(state, steps=(*state.steps, Step(str(self), Affine.identity(state.model.n))))


def _asked(state: State) -> BoolArray:
    """Coordinates of the model that some query reads."""
    back = fold([s.readback for s in state.steps if s.readback is not None], state.source.n)[0]
    assert isinstance(back, Affine)
    asked = np.zeros(state.model.n, dtype=bool)
    for query in state.source.queries:
        for form in query.forms():
            touched = np.unique(form.matrix.indices[form.matrix.data != 0])
            asked[back.matrix[touched].indices] = True
    for v in state.model.variables:
        if v.stands_for:
            asked[v.start : v.stop] = True
    return asked


def eliminate(model: Energy, free: BoolArray, fill: int) -> tuple[Energy, IntArray] | None:
    """The energy with coordinates of `free` integrated out in the order of least degree, each adding at most `fill`
    couplings, and the coordinates that stay; None when none can go. Raises E0491 when a variable to go has no spread."""
    q = model.quadratic.tocsr()
    rows: list[dict[int, float]] = [
        dict(zip(q.indices[a:b].tolist(), q.data[a:b].tolist())) for a, b in zip(q.indptr[:-1], q.indptr[1:])
    ]
    linear = np.array(model.linear)
    constant = model.constant
    alive = np.ones(model.n, dtype=bool)
    queue = [(len(rows[i]), int(i)) for i in np.flatnonzero(free)]
    heapq.heapify(queue)
    while queue:
        _, i = heapq.heappop(queue)
        if not alive[i]:
            continue
        neighbours = sorted(j for j in rows[i] if j != i)
        if len(neighbours) > _DEGREE_LIMIT:
            continue
        missing = sum(k not in rows[j] for a, j in enumerate(neighbours) for k in neighbours[a + 1 :])
        if missing > fill:
            continue
        pivot = rows[i].get(i, 0.0)
        if not pivot > 0:
            fail("E0491", f"`{model.label(i)}` has no spread of its own, so it cannot be integrated out")
        for j in neighbours:
            share = rows[i][j] / pivot
            for k in neighbours:
                rows[j][k] = rows[j].get(k, 0.0) - share * rows[i][k]
            linear[j] -= share * linear[i]
            del rows[j][i]
            if free[j]:
                heapq.heappush(queue, (len(rows[j]), j))
        t = model.temperature
        constant -= 0.5 * float(linear[i]) ** 2 / pivot + 0.5 * t * float(np.log(2 * np.pi * t / pivot))
        alive[i] = False
    if alive.all():
        return None
    keep = np.flatnonzero(alive)
    position = np.cumsum(alive) - 1
    kept = [(position[i], position[j], v) for i in keep.tolist() for j, v in rows[i].items()]
    r, c, v = (
        (np.array(column) for column in zip(*kept))
        if kept
        else (np.zeros(0, int), np.zeros(0, int), np.zeros(0))
    )
    matrix = sparse.csr_array(sparse.coo_array((v, (r, c)), shape=(keep.size, keep.size)))
    matrix.sort_indices()
    return (
        Energy(
            variables=restrict_variables(model.variables, keep),
            linear=frozen(linear[keep]),
            # Eliminating makes such couplings anew, where contributions cancel.
            quadratic=without_rounding(Quadratic(matrix)),
            constant=constant,
            temperature=model.temperature,
            origins=restrict_origins(model.origins, keep),
        ),
        keep,
    )
