"""A placed job as a codebook: which levels its components have, and what law its cells were to have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from spucc import circuit
from spucc.arrays import FloatArray, IntArray
from spucc.device import Bank, Device
from spucc.passes.quantizing import codebook
from spucc.passes.quantizing.codebook import Codebook, Levels
from spucc.readback import Affine
from spucc.stages import Job, Placed, Role

_LONGEST_TABLE = 1 << 16


def board(placed: Placed, device: Device, bits: int | None = None) -> Codebook:
    """The codebook of the cells and couplers that a placed job uses, strays in its base.

    `bits` restricts every bank to 2^bits of its codes, evenly spread (a continuous one to values evenly spread over its
    range), for experiments.
    """
    spec, n = device.spec, placed.n
    ids = device.coupler_ids(placed.cell[placed.edges]) if device.topology.nodes is not None else None
    ids = np.zeros(placed.edges.shape[0], dtype=np.int64) if ids is None else ids
    measured = device.calibration
    ground = _levels(
        spec.ground,
        None if measured.ground_levels is None else device.ground_levels(placed.cell),
        placed.ground,
        None,
        bits,
    )
    sign = np.where(placed.coupling < 0, -1.0, 1.0) if placed.family.springs else None
    size = placed.coupling if sign is None else np.abs(placed.coupling)
    coupling = _levels(
        spec.coupling,
        None if measured.coupling_levels is None else device.coupling_levels(ids),
        size,
        sign,
        bits,
    )
    levels = codebook.stacked([ground, coupling]) if placed.edges.size else ground
    zero = np.zeros(placed.edges.shape[0])
    base = circuit.network(device, placed.cell, placed.edges, np.zeros(n), zero)
    base.eliminate_zeros()
    stray = base if base.nnz else None
    if sign is not None:
        return codebook.springs(placed.edges, levels, n, sign, stray)
    return codebook.free(placed.edges, levels, n, stray)


def _levels(
    bank: Bank, table: FloatArray | None, values: FloatArray, sign: FloatArray | None, bits: int | None
) -> Levels:
    """Levels of the components of one bank. `sign` is given where a component keeps the sign of its value (springs), and
    its parameter is then the magnitude."""
    m = values.size
    both = bank.signed and sign is None
    if bank.continuous and bits is None:
        high = np.full(m, bank.max)
        return codebook.unlimited(-high if both else np.full(m, bank.min), high)
    if bank.continuous:
        top = bank.max if np.isfinite(bank.max) else float(np.max(np.abs(values), initial=0.0)) or 1.0
        count = 2 ** (bits or 1) - 1
        step = (top - bank.min) / count
        if both and bank.min > 0:
            grid = bank.min + step * np.arange(count + 1)
            return _table(np.broadcast_to(grid, (m, count + 1)), np.arange(count + 1), True)
        return codebook.uniform(
            np.full(m, bank.min),
            np.full(m, step),
            np.full(m, -count if both else 0.0),
            np.full(m, float(count)),
        )
    chosen = _chosen(bank.codes, bits)
    stride = int(chosen[1] - chosen[0]) if chosen.size > 1 else 1
    even = chosen.size < 2 or bool((np.diff(chosen) == stride).all())
    if table is None and bank.levels is None and even and stride == 1 and not (both and bank.min > 0):
        count = float(bank.codes - 1)
        levels = codebook.uniform(
            np.full(m, bank.min),
            np.full(m, bank.step),
            np.full(m, -count if both else 0.0),
            np.full(m, count),
        )
        negative = sign is not None and bank.min > 0
        return (
            replace(levels, first=np.where(sign < 0, 1.0, 0.0)) if negative and sign is not None else levels
        )
    nominal = np.broadcast_to(bank.table(), (m, bank.codes)) if table is None else table
    levels = _table(nominal[:, chosen], chosen, both)
    return levels


def _chosen(codes: int, bits: int | None) -> IntArray:
    if bits is None or 2**bits >= codes:
        return np.arange(codes) if codes <= _LONGEST_TABLE else np.arange(2)
    return np.rint(np.linspace(0, codes - 1, 2**bits)).astype(np.int64)


def _table(values: FloatArray, codes: IntArray, both: bool) -> Levels:
    code = np.broadcast_to(codes, values.shape)
    if both:
        positive = codes > 0
        values = np.concatenate([-values[:, positive], values], axis=1)
        code = np.concatenate([-code[:, positive], code], axis=1)
    return codebook.tabled(np.asarray(values), code)


def codes_of(book: Codebook, k: FloatArray, sign: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """Device codes (values on a continuous bank) of ground and couplings from indices k [m]."""
    levels = book.levels
    code = k.copy()
    if levels.codes is not None:
        at = np.where(levels.continuous, 0, k).astype(np.int64)
        code = np.where(levels.continuous, k, levels.codes[np.arange(k.size), at])
    ground, coupling = code[: book.n], code[book.n :]
    return ground, coupling if sign is None else coupling * sign


def reading(job: Job, placed: Placed) -> sparse.csr_array | None:
    """The read-out [L, n] from cells to the variables whose law counts: down to where chains of cells have become one
    cell and hidden cells are gone; None where every cell is such a variable."""
    chains = np.unique(placed.chain).size
    hidden = bool((placed.role == Role.AUXILIARY).any())
    if chains == placed.n and not hidden:
        return None
    map_ = sparse.csr_array(sparse.eye_array(placed.n, format="csr"))
    for back in reversed(job.readbacks()):
        if not isinstance(back, Affine) or back.n_in != map_.shape[0]:
            break
        map_ = sparse.csr_array(back.matrix @ map_)
        if map_.shape[0] < placed.n:
            return map_
    return None
