"""What must hold of values that were read from a text that anyone may have edited, so that no later stage can be upset.

Each function yields sentences; the reader raises them as E0614 at the block that they are about. The second argument is
the reader, for the device that was read before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from spucc.device import Calibration, Device, Topology
from spucc.energy import Block, Domain, Energy, Form, Monomials, Product, Quadratic, Query
from spucc.readback import Affine, HostLoop, Majority, ReadBack
from spucc.stages import (
    Configuration,
    Couplings,
    Job,
    Placed,
    Quantized,
    Role,
    Schedule,
    Stage,
    Step,
)

if TYPE_CHECKING:
    from spucc.ir.text import Reader

# Relative to the largest entry: what rounding may leave of symmetry.
_ASYMMETRY = 1e-9


def _sized(**arrays: tuple[Any, int]) -> Iterator[str]:
    for name, (array, n) in arrays.items():
        if array is not None and array.shape[-1] != n:
            yield f"`{name}` has {array.shape[-1]} entries, but {n} are wanted"


def _finite(**arrays: Any) -> Iterator[str]:
    for name, array in arrays.items():
        values = array.data if sparse.issparse(array) else array
        if values is not None and np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            yield f"`{name}` has an entry that is not finite"


def _within(name: str, index: np.ndarray, low: int, high: int) -> Iterator[str]:
    if index.size and (index.min() < low or index.max() >= high):
        bad = index[(index < low) | (index >= high)].flat[0]
        yield f"`{name}` says {bad}, which is not one of {low} … {high - 1}"


def _distinct(name: str, index: np.ndarray) -> Iterator[str]:
    if np.unique(index).size != index.size:
        yield f"`{name}` names something twice"


def _ascending(name: str, index: np.ndarray) -> Iterator[str]:
    if (np.diff(index) <= 0).any():
        yield f"`{name}` has to be sorted and distinct"


def _symmetric(name: str, matrix: Any) -> Iterator[str]:
    if matrix.shape[0] != matrix.shape[1]:
        yield f"`{name}` is {matrix.shape[0]}x{matrix.shape[1]}, but has to be square"
        return
    apart = abs(matrix - matrix.T)
    most = float(apart.max()) if matrix.shape[0] else 0.0
    if most > _ASYMMETRY * float(abs(matrix).max() if matrix.shape[0] else 0.0):
        yield f"`{name}` is not symmetric"


# --- the model ------------------------------------------------------------------------------------------------------


def form(value: Form, src: Reader) -> Iterator[str]:
    if math.prod(value.shape) != value.size:
        yield f"a form of {value.size} rows cannot have the shape {list(value.shape)}"
    yield from _sized(offset=(value.offset, value.size))
    yield from _finite(matrix=value.matrix, offset=value.offset)


def product(value: Product, src: Reader) -> Iterator[str]:
    if not value.left.size == value.right.size == value.gather.shape[1]:
        yield f"a product of {value.left.size} and {value.right.size} factors cannot be gathered from {value.gather.shape[1]}"
    yield from _finite(gather=value.gather)


def query(value: Query, src: Reader) -> Iterator[str]:
    yield from _finite(levels=value.levels, matrix=value.matrix, rhs=value.rhs, start=value.start)
    if value.levels is not None and not ((value.levels >= 0) & (value.levels <= 1)).all():
        yield "`levels` are probabilities"
    if value.matrix is not None and value.matrix.ndim != 2:
        yield "`matrix` has to have two dimensions"
    if value.form is not None and any(p.gather.shape[0] != value.form.size for p in value.products):
        yield "a product has other entries than the form that it adds to"
    if value.duration is not None and not value.duration >= 0:
        yield "`duration` has to be a positive number"


def block(value: Block, src: Reader) -> Iterator[str]:
    if value.matrix.shape != (value.rows.size, value.cols.size):
        yield f"a block of {value.rows.size} rows and {value.cols.size} columns has a matrix of {list(value.matrix.shape)}"
        return
    yield from _distinct("rows", value.rows)
    yield from _distinct("cols", value.cols)
    yield from _finite(matrix=value.matrix)
    if value.diagonal_block:
        yield from _symmetric("matrix", value.matrix)
    elif np.intersect1d(value.rows, value.cols).size:
        yield "the rows and columns of a block are the same or have nothing in common"


def quadratic(value: Quadratic, src: Reader) -> Iterator[str]:
    yield from _symmetric("sparse", value.sparse)
    yield from _finite(sparse=value.sparse)
    for b in value.blocks:
        yield from _within("rows", b.rows, 0, value.sparse.shape[0])
        yield from _within("cols", b.cols, 0, value.sparse.shape[0])


def monomials(value: Monomials, src: Reader) -> Iterator[str]:
    index = value.index
    if index.shape[1] < 3:
        yield f"terms of degree {index.shape[1]} belong in `linear` or `quadratic`"
        return
    if (np.diff(index, axis=1) < 0).any():
        yield "the coordinates of a term have to be sorted"
    order = np.lexsort(index.T[::-1])
    if not np.array_equal(order, np.arange(order.size)) or (
        len(index) > 1 and (np.diff(index, axis=0) == 0).all(1).any()
    ):
        yield "the terms have to be sorted and distinct"
    yield from _finite(coefficient=value.coefficient)


def energy(value: Energy, src: Reader) -> Iterator[str]:
    n, start = value.n, 0
    for v in value.variables:
        if v.entries is not None:
            yield from _within(f"entries of {v.name}", v.entries, 0, math.prod(v.shape))
            yield from _ascending(f"entries of {v.name}", v.entries)
        if v.start != start:
            yield f"the variable `{v.name}` starts at {v.start}, but the ones before it end at {start}"
            return
        start = v.stop
    if start != n:
        yield f"the variables have {start} entries, but `linear` has {n}"
        return
    if len({v.name for v in value.variables}) != len(value.variables):
        yield "two variables have the same name"
    if value.quadratic.n != n:
        yield f"`quadratic` is for {value.quadratic.n} coordinates, but there are {n}"
    if not (np.isfinite(value.constant) and np.isfinite(value.temperature) and value.temperature > 0):
        yield "`constant` has to be finite, and `temperature` finite and above 0"
    yield from _finite(linear=value.linear, observed=value.observed.value)
    for terms in value.higher:
        yield from _within("index", terms.index, 0, n)
    observed = value.observed
    yield from _within("observed", observed.index, 0, n)
    yield from _ascending("observed", observed.index)
    for o in value.origins:
        yield from _within("origins", o.coordinates, 0, n)
        yield from _ascending("origins", o.coordinates)
    for q in value.queries:
        for f in q.forms():
            if f.matrix.shape[1] != n:
                yield f"the query `{q.name}` speaks of {f.matrix.shape[1]} coordinates, but there are {n}"
        if q.start is not None and q.start.shape != (n,):
            yield f"the query `{q.name}` starts from {q.start.size} coordinates, but there are {n}"
    if observed.index.size and not (observed.index.min() < 0 or observed.index.max() >= n):
        _, spin, bit = value.domains
        for domain, held in ((Domain.SPIN, spin), (Domain.BIT, bit)):
            values = observed.value[np.isin(observed.index, held)]
            if not np.isin(values, (-1, 1) if domain is Domain.SPIN else (0, 1)).all():
                yield f"a {domain} is observed at a value that it cannot take"


# --- the way back ---------------------------------------------------------------------------------------------------


def affine(value: Affine, src: Reader) -> Iterator[str]:
    yield from _sized(offset=(value.offset, value.n_out))
    yield from _finite(matrix=value.matrix, offset=value.offset)


def host_loop(value: HostLoop, src: Reader) -> Iterator[str]:
    yield from _symmetric("precision", value.precision)
    yield from _sized(potential=(value.potential, value.precision.shape[0]))
    yield from _finite(precision=value.precision, potential=value.potential)
    if value.sweeps < 1 or not value.contraction >= 0:
        yield "`sweeps` has to be at least 1, and `contraction` at least 0"


def majority(value: Majority, src: Reader) -> Iterator[str]:
    if not 0 <= value.n_out <= value.n_in or not np.array_equal(
        np.unique(value.chain), np.arange(value.n_out)
    ):
        yield f"`chain` has to name each of {value.n_out} spins"


def n_out(back: ReadBack) -> int:
    return int(back.potential.size) if isinstance(back, HostLoop) else int(back.n_out)


def n_in(back: ReadBack) -> int:
    return int(back.potential.size) if isinstance(back, HostLoop) else int(back.n_in)


def _chained(backs: Sequence[ReadBack], outer: int, inner: int | None) -> Iterator[str]:
    """Each read-back takes what the next one gives; the first gives `outer`, the last takes `inner` coordinates."""
    at = outer
    for k, back in enumerate(backs):
        if n_out(back) != at:
            yield f"read-back {k} gives {n_out(back)} coordinates, but {at} are wanted"
            return
        at = n_in(back)
    if inner is not None and at != inner:
        yield f"the read-backs take {at} cells, but there are {inner}"


def backs_of(steps: Sequence[Step]) -> list[ReadBack]:
    return [s.readback for s in steps if s.readback is not None]


# --- what a job is --------------------------------------------------------------------------------------------------


def _cells(value: Couplings | Placed | Quantized) -> Iterator[str]:
    roles = [int(r) for r in Role]
    if not np.isin(value.role, roles).all():
        yield "`role` has a number that is no role"


def couplings(value: Couplings, src: Reader) -> Iterator[str]:
    n = value.n
    yield from _cells(value)
    yield from _sized(matrix=(value.matrix, n))
    yield from _symmetric("matrix", value.matrix)
    yield from _finite(matrix=value.matrix, bias=value.bias, quartic=value.quartic)


def _on_device(value: Placed | Quantized, device: Device | None) -> Iterator[str]:
    """Cells and couplers that exist."""
    n, edges = value.n, value.edges
    yield from _cells(value)
    yield from _distinct("cell", value.cell)
    nodes = device.topology.nodes if device else None
    yield from _within("cell", value.cell, 0, 2**31 if nodes is None else nodes)
    yield from _within("chain", value.chain, 0, n)
    yield from _within("edges", edges, 0, n)
    if len(edges):
        ahead = (np.diff(edges[:, 0]) > 0) | ((np.diff(edges[:, 0]) == 0) & (np.diff(edges[:, 1]) > 0))
        if not ((edges[:, 0] < edges[:, 1]).all() and ahead.all()):
            yield "the couplers p q have to be sorted and distinct, p < q"
    if device and device.family is not value.family:
        yield f"cells of the family `{value.family}` do not fit a device of the family `{device.family}`"


def placed(value: Placed, src: Reader) -> Iterator[str]:
    yield from _on_device(value, _device_of(value, src))
    yield from _finite(ground=value.ground, coupling=value.coupling, bias=value.bias, quartic=value.quartic)
    if not (np.isfinite(value.scale) and value.scale > 0):
        yield "`scale` has to be finite and above 0"


def quantized(value: Quantized, src: Reader) -> Iterator[str]:
    yield from _on_device(value, _device_of(value, src))
    members = value.members
    banks = {"ground": value.ground, "coupling": value.coupling, "bias": value.bias, "quartic": value.quartic}
    for name, codes in banks.items():
        if codes is None:
            continue
        if codes.shape[0] != members:
            yield f"`{name}` has codes for {codes.shape[0]} members, but there are {members}"
        yield from _finite(**{name: codes})
        yield from _code_range(name, codes, _device_of(value, src))
    if members < 1:
        yield "an ensemble has at least one member"
    yield from _finite(scale=value.scale, weight=value.weight)
    if not (
        (value.scale > 0).all() and (value.weight >= 0).all() and (members == 0 or value.weight.sum() > 0)
    ):
        yield "`scale` has to be above 0; `weight` at least 0, and not 0 for every member"
    if len(value.readback) != members:
        yield f"there are {len(value.readback)} read-backs for {members} members"
    for back in value.readback:
        if back.n_in != value.n:
            yield f"a member's read-back takes {back.n_in} cells, but there are {value.n}"


def _device_of(value: Placed | Quantized, src: Reader) -> Device | None:
    return src.device.of(value.family) if src.device else None


def _code_range(name: str, codes: np.ndarray, device: Device | None) -> Iterator[str]:
    """Codes that the bank has."""
    bank = getattr(device.spec, name) if device else None
    if bank is None or bank.continuous or not codes.size:
        return
    if not np.issubdtype(codes.dtype, np.integer):
        yield f"`{name}` has to be integer codes: the device's bank has levels"
        return
    low = -(bank.codes - 1) if bank.signed else 0
    yield from _within(name, codes, low, bank.codes)


def schedule(value: Schedule, src: Reader) -> Iterator[str]:
    counts = (value.settle, value.interval, value.ess_per_draw, value.host_operations, value.loads_per_draw)
    if not all(c >= 0 for c in counts):
        yield "times and counts of a schedule are at least 0"
    if value.draws < 0 or value.chains < 1:
        yield "`draws` has to be at least 0, and `chains` at least 1"


def configuration(value: Configuration, src: Reader) -> Iterator[str]:
    if value.readback:
        inner = n_out(value.codes.readback[0]) if value.codes.readback else value.codes.n
        yield from _chained(value.readback, n_out(value.readback[0]), inner)


def job(value: Job, src: Reader) -> Iterator[str]:
    n, inside = value.target.n, value.value
    yield from _sized(coordinates=(value.coordinates, n))
    yield from _distinct("coordinates", value.coordinates)
    if isinstance(inside, Configuration):
        codes: Any = inside.codes
        if inside.readback and n_out(inside.readback[0]) != n:
            yield f"the read-back gives {n_out(inside.readback[0])} coordinates, but the job has {n}"
    else:
        codes = inside
    if not isinstance(codes, Energy):
        yield from _within("coordinate", codes.coordinate, -1, max(n, 0))
    yield from _chained(backs_of(value.steps), n, None)


# --- the device and the whole ---------------------------------------------------------------------------------------


def topology(value: Topology, src: Reader) -> Iterator[str]:
    nodes = value.nodes
    if nodes is None:
        if len(value.edges) or len(value.position):
            yield "a device without a number of cells has no list of couplers"
        return
    if nodes < 0 or len(value.position) not in (0, nodes):
        yield f"{len(value.position)} positions do not fit {nodes} cells"
    yield from _within("edges", value.edges, 0, nodes)
    if len(value.edges):
        i, j = value.edges[:, 0], value.edges[:, 1]
        if not ((i < j).all() and ((np.diff(i) > 0) | ((np.diff(i) == 0) & (np.diff(j) > 0))).all()):
            yield "the couplers i j of a device have to be sorted and distinct, i < j"


def device(value: Device, src: Reader) -> Iterator[str]:
    nodes, couplers = value.topology.nodes, len(value.topology.edges)
    dead, faults = value.spec.dead, value.spec.faults
    named = {
        "dead": [*dead.cells, *(c for pair in dead.couplers for c in pair)],
        "faults": [
            *faults.dead_cells,
            *(c for pair in faults.dead_couplers for c in pair),
            *(part[0] for part in faults.stuck_cells),
            *(c for part in faults.stuck_couplers for c in part[:2]),
        ],
    }
    for section, numbers in named.items():
        cells = np.array(numbers, dtype=object)
        yield from _within(section, cells, 0, 2**31 if nodes is None else nodes)
        if nodes is None and len(cells):
            yield f"a device without a number of cells has no {'dead' if section == 'dead' else 'faulty'} ones"
    yield from _calibration(value.calibration, nodes or 0, couplers, value)


def _calibration(value: Calibration, nodes: int, couplers: int, owner: Device) -> Iterator[str]:
    for name, table in vars(value).items():
        if table is None:
            continue
        rows = couplers if name.endswith("coupling") or name == "coupling_levels" else nodes
        if len(table) != rows:
            yield f"the calibration `{name}` has {len(table)} rows, but {rows} are wanted"
        if name.endswith("levels"):
            bank = owner.spec.ground if name == "ground_levels" else owner.spec.coupling
            if table.shape[1] != bank.codes:
                yield f"the calibration `{name}` has {table.shape[1]} levels, but the bank has {bank.codes} codes"
        yield from _finite(**{name: table})


_VALUES: dict[Stage, type] = {
    Stage.JOBS: Energy,
    Stage.COUPLINGS: Couplings,
    Stage.PLACED: Placed,
    Stage.QUANTIZED: Quantized,
    Stage.PROGRAM: Configuration,
}


def whole(value: Any, stage: Stage) -> Iterator[str]:
    """A `State` or a `Program`: jobs at its stage, over its model's coordinates, and a way back to its source."""
    if stage is Stage.ENERGY and value.jobs:
        yield "there are no jobs before the model is split"
    for k in value.jobs:
        wanted = _VALUES.get(stage)
        if wanted is not None and not isinstance(k.value, wanted):
            yield f"the job `{k.name}` is a {type(k.value).__name__}, but the stage is `{stage}`"
        yield from _within("coordinates", k.coordinates, 0, value.model.n)
    yield from _chained(backs_of(value.steps), value.source.n, value.model.n)
