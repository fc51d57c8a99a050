"""From component values to the matrix that they make."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray
from spucc.device import Device, Family
from spucc.stages import symmetric


def assemble(
    family: Family,
    edges: IntArray,
    ground: FloatArray,
    coupling: FloatArray,
) -> sparse.csr_array:
    """The matrix of a network, in the unit of its components (physics.md §1).

    For springs (capacitors) C_pp = ground_p + Σ|coupling|, C_pq = −coupling; for the other families
    C_pp = ground_p, C_pq = −coupling. `edges` [m, 2], `ground` [n], `coupling` [m].
    """
    diagonal = np.asarray(ground, dtype=np.float64)
    if family.springs:
        size = np.abs(coupling)
        diagonal = diagonal + np.bincount(edges[:, 0], size, diagonal.size)
        diagonal = diagonal + np.bincount(edges[:, 1], size, diagonal.size)
    return symmetric(diagonal.size, edges, -np.asarray(coupling, dtype=np.float64), diagonal)


def strays(device: Device, cells: IntArray, edges: IntArray) -> tuple[FloatArray, FloatArray]:
    """What is there although nobody set it: [n] to ground at each of the cells, [m] across each coupler of `edges`.

    Measured values replace the file's. A cell that the program does not use is shorted to ground by its switch, so the
    stray of a coupler that leads to one is a ground capacitor of the used cell.
    """
    spec, measured = device.spec.strays, device.calibration
    n, m = cells.size, edges.shape[0]
    ground = np.full(n, spec.ground) if measured.stray_ground is None else measured.stray_ground[cells].copy()
    if device.topology.nodes is None or (spec.coupling == 0 and measured.stray_coupling is None):
        return ground, np.zeros(m)
    board = device.topology.edges
    every = (
        np.full(board.shape[0], spec.coupling) if measured.stray_coupling is None else measured.stray_coupling
    )
    position = np.full(device.topology.nodes, -1, dtype=np.int64)
    position[cells] = np.arange(n)
    ends = position[board]
    for used, other in ((0, 1), (1, 0)):
        open_end = (ends[:, used] >= 0) & (ends[:, other] < 0)
        np.add.at(ground, ends[open_end, used], every[open_end])
    ids = device.coupler_ids(cells[edges])
    return ground, np.where(ids >= 0, every[ids], 0.0) if m else np.zeros(0)


def network(
    device: Device, cells: IntArray, edges: IntArray, ground: FloatArray, coupling: FloatArray
) -> sparse.csr_array:
    """The matrix that programmed component values make on a device, strays included.

    A stray across a coupler adds to a positive coupling; on a signed (transformer) coupler it stays positive. Every coupler
    of the device that joins two used cells has to be in `edges` where the device has coupler strays or a floor.
    """
    to_ground, across = strays(device, cells, edges)
    family = device.family
    if not family.springs or not across.any():
        return assemble(family, edges, ground + to_ground, coupling + across)
    programmed = assemble(family, edges, ground + to_ground, coupling)
    return sparse.csr_array(programmed + assemble(family, edges, np.zeros(cells.size), across))


def required_edges(device: Device, cells: IntArray) -> IntArray:
    """Pairs (p, q) of positions whose couplers exist and cannot be switched off: all couplers among `cells` where the bank
    has a floor or the board has coupler strays, else none."""
    spec = device.spec
    measured = device.calibration.stray_coupling is not None
    if device.topology.nodes is None or not (spec.coupling.min > 0 or spec.strays.coupling > 0 or measured):
        return np.zeros((0, 2), dtype=np.int64)
    position = np.full(device.topology.nodes, -1, dtype=np.int64)
    position[cells] = np.arange(cells.size)
    ends = np.sort(position[device.topology.edges], axis=1)
    ends = ends[ends[:, 0] >= 0]
    return ends[np.lexsort((ends[:, 1], ends[:, 0]))]
