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
    stray_ground: FloatArray | float = 0.0,
) -> sparse.csr_array:
    """The matrix of a network, in the unit of its components (physics.md §1).

    For springs (capacitors) C_pp = ground_p + stray_p + Σ|coupling|, C_pq = −coupling; for the other families
    C_pp = ground_p, C_pq = −coupling. `edges` [m, 2], `ground` [n], `coupling` [m].
    """
    diagonal = np.asarray(ground, dtype=np.float64) + stray_ground
    if family.springs:
        size = np.abs(coupling)
        diagonal = diagonal + np.bincount(edges[:, 0], size, diagonal.size)
        diagonal = diagonal + np.bincount(edges[:, 1], size, diagonal.size)
    return symmetric(diagonal.size, edges, -np.asarray(coupling, dtype=np.float64), diagonal)


def stray_ground(device: Device, cells: IntArray) -> FloatArray:
    """What stands between each of the cells and ground although nobody set it, measured where it was measured [F].

    Besides the cell's own stray capacitance this is the floor of every coupler of the board that leads to a cell which the
    program does not use: an idle cell shorted to ground makes that coupler a ground capacitor.
    """
    table = device.calibration.stray_ground
    own = np.full(cells.size, device.spec.strays.ground) if table is None else np.asarray(table[cells])
    return np.asarray(own, dtype=np.float64)
