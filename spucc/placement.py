"""Whether a placement is one: the conformance check for placers, shipped so that a third party's can be held to it.

`diagnose` finds every fault; `verify` raises them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from spucc.circuit import required_edges
from spucc.device import Bank, Device
from spucc.diagnostics import Diagnostic, SpuccError
from spucc.stages import Couplings, Placed, edge_list


def diagnose(
    placed: Placed, couplings: Couplings, device: Device, ranges: bool = False
) -> Iterator[Diagnostic]:
    """Every way in which `placed` is not a placement of `couplings` on `device`, as E0561.

    Cells exist, work and are used once; every coupler exists, works and is named once, in order; couplers that cannot be
    switched off are named; chains are connected; coupled logical cells touch; every logical cell has a place. With `ranges`
    also that the values are within the banks, which holds only once they have units (after `fit`).
    """

    def fault(title: str, help: str = "") -> Diagnostic:
        return Diagnostic("E0561", title, help=help or "the pass before this check is at fault: report it")

    n, nodes = placed.n, device.topology.nodes
    cell, chain, edges = placed.cell, placed.chain, placed.edges
    lengths = {
        "chain": chain.size, "ground": placed.ground.size, "bias": placed.bias.size,
        "coordinate": placed.coordinate.size, "role": placed.role.size,
    }  # fmt: skip
    for name, size in lengths.items():
        if size != n:
            yield fault(f"`{name}` has {size} entries for {n} cells")
    if edges.shape != (placed.coupling.size, 2):
        yield fault(f"{edges.shape[0]} couplers have {placed.coupling.size} values")
        return
    if np.setdiff1d(np.arange(couplings.n), chain).size or (n and chain.max() >= couplings.n):
        yield fault("some logical cells have no place", f"`chain` has to name each of 0 … {couplings.n - 1}")
        return
    if edges.size:
        key = edges[:, 0] * n + edges[:, 1]
        if (
            (edges[:, 0] >= edges[:, 1]).any()
            or (np.diff(key) <= 0).any()
            or edges.min() < 0
            or edges.max() >= n
        ):
            yield fault("the couplers are not distinct pairs p < q in lexicographic order")
            return
    for name in ("ground", "coupling", "bias"):
        if not np.isfinite(getattr(placed, name)).all():
            yield fault(f"`{name}` holds values that are not finite")
    if nodes is not None:
        if np.unique(cell).size != n or (n and (cell.min() < 0 or cell.max() >= nodes)):
            yield fault(f"the cells are not distinct cells of the device (0 … {nodes - 1})")
            return
        for c in cell[~device.alive[cell]]:
            yield fault(f"cell {c} is dead", "run `place` again for this device")
        ids = device.coupler_ids(cell[edges]) if edges.size else np.zeros(0, dtype=np.int64)
        for k in np.flatnonzero(ids < 0):
            yield fault(
                f"cells {cell[edges[k, 0]]} and {cell[edges[k, 1]]} have no coupler",
                "run `project`, or allow chains",
            )
        for k in np.flatnonzero((ids >= 0) & ~device.live_edges[ids]):
            yield fault(
                f"the coupler of cells {cell[edges[k, 0]]} and {cell[edges[k, 1]]} is dead",
                "run `place` again",
            )
        forced = required_edges(device, cell)
        if forced.size:
            missing = ~np.isin(forced[:, 0] * n + forced[:, 1], edges[:, 0] * n + edges[:, 1])
            for p, q in forced[missing]:
                yield fault(
                    f"the coupler of cells {cell[p]} and {cell[q]} cannot be switched off, and is not in the list"
                )
    i, j = chain[edges[:, 0]], chain[edges[:, 1]]
    inner = edges[i == j]
    links = sparse.coo_array((np.ones(inner.shape[0]), (inner[:, 0], inner[:, 1])), shape=(n, n))
    count, _ = csgraph.connected_components(links, directed=False)
    if count != couplings.n:
        yield fault(f"the chains fall into {count} parts, but stand for {couplings.n} logical cells")
    wanted, values = edge_list(couplings.matrix)
    wanted = wanted[values != 0]
    have = np.unique(np.minimum(i, j) * couplings.n + np.maximum(i, j))
    for a, b in wanted[~np.isin(wanted[:, 0] * couplings.n + wanted[:, 1], have)]:
        yield fault(
            f"logical cells {a} and {b} are coupled, but no coupler joins their chains", "run `place` again"
        )
    if ranges:
        for name, bank in (
            ("ground", device.spec.ground),
            ("coupling", device.spec.coupling),
            ("bias", device.spec.bias),
        ):
            if bank is not None:
                yield from _out_of_range(name, getattr(placed, name), bank)


def _out_of_range(name: str, values: np.ndarray, bank: Bank) -> Iterator[Diagnostic]:
    table = None if bank.levels is None else bank.table()
    low, high = (bank.min, bank.max) if table is None else (float(table[0]), float(table[-1]))
    size = np.abs(values) if bank.signed else values
    slack = 1e-9 * (high if np.isfinite(high) else 1.0)
    for k in np.flatnonzero((size < low - slack) | (size > high + slack)):
        title = f"{name} {k} is {values[k]:g} {bank.unit}, outside {low:g} … {high:g}"
        yield Diagnostic("E0561", title, help="run `fit`, or choose a target with a wider range")


def verify(placed: Placed, couplings: Couplings, device: Device, ranges: bool = False) -> None:
    """Raises `SpuccError` with everything that `diagnose` finds."""
    found = list(diagnose(placed, couplings, device, ranges))
    if found:
        raise SpuccError(found)
