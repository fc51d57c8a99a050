"""From an embedding to component values: what `place` hands on when a variable is a chain of cells.

The couplers between two chains share their coupling evenly, the cells of a chain share what the variable has to ground in
proportion to the couplers that load them, and every coupler inside a chain has the same strength κ. Then VᵀKV is the wanted
matrix whatever κ, so nothing is lost: `embed` finds P there, and strong chains give it at once.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.device import Device
from spucc.energy import Domain
from spucc.passes.placing.chains import Chains
from spucc.readback import Affine, Majority, ReadBack
from spucc.stages import Couplings, Placed

_STRENGTH = 8.0
"""κ of the start in units of the variable's own K_ii; `embed` chooses the final strengths."""


def chained(couplings: Couplings, chains: Chains, device: Device) -> tuple[Placed, ReadBack]:
    """The couplings on chains, dimensionless (scale 1), and the read-back from cells to variables: the chain's mean, or its
    majority for spins. Every live coupler between cells of coupled chains, or inside a chain, is used; every other one
    among the cells is there with value 0 where the family allows it to help or the board does not let it be removed."""
    n = couplings.n
    chain = np.repeat(np.arange(n), [len(c) for c in chains])
    cell = np.concatenate([np.sort(np.asarray(c, dtype=np.int64)) for c in chains])
    edges = _couplers(device, cell)
    i, j = chain[edges[:, 0]], chain[edges[:, 1]]
    K = sparse.csr_array(couplings.matrix)
    wanted = np.where(i == j, 0.0, np.asarray(K[i, j]).ravel())
    forced = device.spec.coupling.min > 0 or device.spec.strays.coupling > 0
    forced = forced or device.calibration.stray_coupling is not None
    keep = (i == j) | (wanted != 0) | forced | (not device.family.springs and couplings.domain is Domain.REAL)
    edges, i, j, wanted = edges[keep], i[keep], j[keep], wanted[keep]
    key = np.minimum(i, j) * n + np.maximum(i, j)
    _, which, count = np.unique(key, return_inverse=True, return_counts=True)
    coupling = -wanted / count[which]
    size = np.abs(coupling)
    load = np.asarray(
        np.bincount(edges[:, 0], size, cell.size) + np.bincount(edges[:, 1], size, cell.size), np.float64
    )
    share = _shares(load, chain)
    diagonal = np.asarray(K.diagonal(), dtype=np.float64)
    inner = i == j
    ground, coupling = _values(couplings, device, edges, chain, share, load, diagonal, inner, coupling, i)
    placed = Placed(
        family=device.family,
        domain=couplings.domain,
        cell=frozen(cell, np.int64),
        chain=frozen(chain, np.int64),
        edges=frozen(edges, np.int64),
        ground=frozen(ground),
        coupling=frozen(coupling),
        bias=frozen(couplings.bias[chain] * share),
        scale=1.0,
        coordinate=frozen(couplings.coordinate[chain], np.int64),
        role=frozen(couplings.role[chain], np.int64),
    )
    if couplings.domain is Domain.SPIN:
        return placed, Majority(placed.chain, n)
    return placed, Affine(averages(chain), frozen(np.zeros(n)))


def averages(chain: IntArray) -> sparse.csr_array:
    """The matrix [variables, cells] that takes the mean of every chain."""
    weight = (1.0 / np.bincount(chain))[chain]
    return sparse.csr_array(sparse.coo_array((weight, (chain, np.arange(chain.size)))))


def _couplers(device: Device, cell: IntArray) -> IntArray:
    """The live couplers among the cells, as sorted pairs of positions."""
    position = np.full(device.topology.nodes or 0, -1, dtype=np.int64)
    position[cell] = np.arange(cell.size)
    ends = np.sort(position[device.topology.edges[device.live_edges]], axis=1)
    ends = ends[ends[:, 0] >= 0]
    return ends[np.lexsort((ends[:, 1], ends[:, 0]))]


def _shares(load: FloatArray, chain: IntArray) -> FloatArray:
    """Each cell's part of its variable: by load, a tenth of it evenly; the parts of a chain sum to 1."""
    total = np.bincount(chain, load)[chain]
    even = 1.0 / np.bincount(chain)[chain]
    by_load = np.divide(load, total, out=even.copy(), where=total > 0)
    return np.asarray(0.9 * by_load + 0.1 * even)


def _values(
    couplings: Couplings,
    device: Device,
    edges: IntArray,
    chain: IntArray,
    share: FloatArray,
    load: FloatArray,
    diagonal: FloatArray,
    inner: np.ndarray,
    coupling: FloatArray,
    owner: IntArray,
) -> tuple[FloatArray, FloatArray]:
    """Self values and couplings with κ inside the chains."""
    if couplings.domain is Domain.SPIN:
        # A chain that is torn gains at most the field of its couplings and bias; 1.5 times the half of it holds.
        field = np.bincount(chain, load) + np.abs(couplings.bias)
        return np.zeros(chain.size), np.where(inner, 0.75 * field[owner], coupling)
    kappa = _STRENGTH * diagonal[owner]
    coupling = np.where(inner, kappa, coupling)
    if device.family.springs:
        to_ground = diagonal - np.bincount(chain, load)
        return to_ground[chain] * share, coupling
    ends = edges[inner]
    links = np.bincount(ends[:, 0], kappa[inner], chain.size) + np.bincount(
        ends[:, 1], kappa[inner], chain.size
    )
    return diagonal[chain] * share + links, coupling
