"""`place`: variables to cells of the device (mapping.md §3, §5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.circuit import required_edges
from spucc.device import Device
from spucc.diagnostics import fail
from spucc.energy import Energy
from spucc.pipeline import Context, JobPass, Outcome
from spucc.stages import Couplings, Job, Placed, Stage, edge_list


@dataclass(frozen=True)
class Place(JobPass):
    """Choose a cell for every variable."""

    name: ClassVar[str] = "place"
    takes: ClassVar[Stage] = Stage.COUPLINGS
    gives: ClassVar[Stage] = Stage.PLACED
    why: ClassVar[str] = "the couplings are known, and what a coupler can hold depends on where it is"

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        couplings = job.value
        assert isinstance(couplings, Couplings)
        pairs, values = edge_list(couplings.matrix)
        cells = choose_cells(couplings, pairs, device, job.target)
        return Outcome(realise_at(couplings, pairs, values, cells, device))


def choose_cells(couplings: Couplings, pairs: IntArray, device: Device, energy: Energy) -> IntArray:
    """The device's cell for each logical cell."""
    n, nodes = couplings.n, device.topology.nodes
    if nodes is None:
        return np.arange(n)
    live = np.flatnonzero(device.alive)
    if n > live.size:
        dead = f" ({nodes - live.size} more are dead)" if live.size < nodes else ""
        fail(
            "E0541",
            f"`{device.name}` has {live.size} cells{dead}, but the model needs {n}",
            help="condition on some variables, choose a larger target (`spucc targets`), or `--target ideal`",
        )
    cells = live[:n]
    if pairs.size:
        ids = device.coupler_ids(cells[pairs])
        if (ids < 0).any() or not device.live_edges[ids].all():
            i, j = pairs[np.flatnonzero(ids < 0)[0] if (ids < 0).any() else 0]
            fail("E0543", f"`{energy.label(int(couplings.coordinate[i]))}` and `{energy.label(int(couplings.coordinate[j]))}` have no coupler")
    return cells


def realise_at(
    couplings: Couplings, pairs: IntArray, values: FloatArray, cells: IntArray, device: Device
) -> Placed:
    """The dimensionless matrix K as components at the chosen cells, scale 1."""
    n = couplings.n
    edges, coupling = pairs, -values
    forced = required_edges(device, cells)
    if forced.size:
        key = edges[:, 0] * n + edges[:, 1]
        union = np.union1d(key, forced[:, 0] * n + forced[:, 1])
        at = np.searchsorted(union, key)
        wide = np.zeros(union.size)
        wide[at] = coupling
        edges, coupling = np.stack(np.divmod(union, n), axis=1), wide
    ground = np.asarray(couplings.matrix.diagonal(), dtype=np.float64)
    if device.family.springs:
        size = np.abs(coupling)
        ground = ground - np.bincount(edges[:, 0], size, n) - np.bincount(edges[:, 1], size, n)
    return Placed(
        family=device.family,
        domain=couplings.domain,
        cell=frozen(cells, np.int64),
        chain=frozen(np.arange(n), np.int64),
        edges=frozen(edges, np.int64),
        ground=frozen(ground),
        coupling=frozen(coupling),
        bias=couplings.bias,
        scale=1.0,
        coordinate=couplings.coordinate,
        role=couplings.role,
        quartic=couplings.quartic,
    )
